"""A gallery of pictures: binary data, and names that contain an id, in every form. Served by its path."""

from oyez.contract import UNSET, Command, Contract, Id, Payload, UnsetType, anyone
from oyez.contract.rooms import NamedRoom
from oyez.runtime import RoomHooks
from oyez.runtime.client import Client
from oyez.service.outbox.transaction import Transaction
from oyez.service.system import Services, System, SystemServices

contract = Contract("gallery", roles=("painter",), default_role="painter")
root = contract.namespace("/")
album = root.room("album:{albumId}", members=anyone(), join="album:join")
live = root.room("live:{albumId}", members=anyone(), join="live:join")
welcomed = root.room("wall:{albumId}", members=anyone(), join="wall:join")


@root.event("photo", to=[album.of("albumId")], max_bytes=100_000)
class Photo(Payload):
    """A photograph, with smaller ones."""

    albumId: Id
    title: str
    photo: bytes
    thumbs: list[bytes]


@root.event("scan", to=[album], arguments="positional")
class Scan(Payload):
    """A page, and perhaps a remark."""

    page: bytes
    remark: str | UnsetType = UNSET


@root.event("frame", to=[live], arguments="positional", volatile=True, latest=60)
class Frame(Payload):
    """The newest picture of a camera."""

    picture: bytes


@root.event("wall", to=[root.caller])
class Wall(Payload):
    """What hangs on the wall."""

    picture: bytes


@root.event("sign", to=[root.caller])
class Sign(Payload):
    """The server wants a signature."""

    paper: bytes


@root.relay("stroke", to=[album.of("albumId")], volatile=True)
class Stroke(Payload):
    """A painter's stroke on everybody's canvas."""

    albumId: Id
    points: bytes


@root.event("picture:{pictureId}:sold", to=[album], name_only=True)
class Sold(Payload):
    """A picture is sold; its id is in the name only."""

    pictureId: int
    price: float


@root.event("picture:{pictureId}:bids", to=[album], arguments="positional", name_only=True)
class Bids(Payload):
    """The number of bids for a picture, as a bare value."""

    pictureId: Id
    bids: int


@root.event("hall:{albumId}:opened", to=[album.of("albumId")])
class Opened(Payload):
    """A hall is open; its id is in the data too."""

    albumId: Id
    by: str


PictureGone = root.signal(
    "picture:{pictureId}:gone", to=[album], description="A picture was taken away.", volatile=True
)


@root.relay("cursor:{albumId}", to=[album.of("albumId")], name_only=True)
class Cursor(Payload):
    """Where a painter points."""

    albumId: Id
    x: int


class Priced(Payload):
    """What was understood."""

    done: str


@root.command("picture:{pictureId}:price", reply=Priced, limit="5/s")
class Price(Command):
    """Ask for a price."""

    pictureId: int
    currency: str


@root.command("picture:{pictureId}:at:{place}", arguments="positional", reply=Priced)
class Hang(Command):
    """Hang a picture somewhere, perhaps in another height."""

    pictureId: Id
    place: Id
    height: int = 1


@root.command("halls:{albumId}:open")
class Open(Command):
    """Open a hall, in a transaction."""

    albumId: Id


class Stored(Payload):
    """What was stored, as it arrived."""

    size: int
    photo: bytes


@root.command("upload", reply=Stored, max_bytes=100_000)
class Upload(Command):
    """Publish a photograph."""

    albumId: Id
    title: str
    photo: bytes


@root.command("page", arguments="positional")
class Page(Command):
    """Publish a page."""

    albumId: Id
    page: bytes
    remark: str = ""


@root.command("ask", reply=Stored)
class Ask(Command):
    """Have the server ask for a signature."""

    paper: bytes


contract.build()


def store(tx: Transaction, command: Upload) -> None:
    tx.emit(Photo(albumId=command.albumId, title=command.title, photo=command.photo, thumbs=[command.photo[:2], b""]))


def price(command: Price, client: Client) -> Priced:
    return Priced(done=f"{command.pictureId} in {command.currency}")


def hang(command: Hang, client: Client) -> Priced:
    return Priced(done=f"{command.pictureId} at {command.place}, {command.height}")


def store_opened(tx: Transaction, command: Open, user: str) -> None:
    tx.emit(Opened(albumId=command.albumId, by=user))


async def ask(command: Ask, client: Client) -> Stored:
    signature = await client.call(Sign(paper=command.paper), bytes)
    return Stored(size=len(signature), photo=signature)


async def welcome(client: Client, room: NamedRoom) -> Wall:
    return Wall(picture=b"\x00wall\xff")


def build(services: Services) -> SystemServices:
    async def upload(command: Upload, client: Client) -> Stored:
        await services.outbox.run(store, command)
        return Stored(size=len(command.photo), photo=command.photo)

    async def open_hall(command: Open, client: Client) -> None:
        await services.outbox.run(store_opened, command, client.identity.subject)

    async def page(command: Page, client: Client) -> None:
        await services.publisher.emit(Scan(page=command.page, remark=command.remark or UNSET), album(command.albumId))

    return SystemServices(
        handlers={Upload: upload, Page: page, Ask: ask, Price: price, Hang: hang, Open: open_hall},
        rooms={welcomed: RoomHooks(welcome=welcome)},
    )


system = System(contract=contract, build=build)
