"""A shop with three versions of clients: events and commands had other names, arguments and payloads."""

from collections import Counter

from msgspec import UNSET, UnsetType

from oyez.contract import Command, Contract, Id, NamedRoom, Payload, Time, Was, anyone, in_room
from oyez.errors import RefusedError
from oyez.runtime import Client
from oyez.runtime.hooks import RoomHooks
from oyez.service.outbox.transaction import Transaction
from oyez.service.system import Services, System, SystemServices

contract = Contract("shop", roles=("buyer",), default_role="buyer", versions=("1", "2", "3"))
no_such_place = contract.refusal("no_such_place", "There is no such place.")
root = contract.namespace("/")
back = contract.namespace("/back")
orders = root.room("order:{orderId}", members=anyone(), join="order:watch")
parcels = back.room("parcel:{order}", members=anyone(), join="parcel:watch")
converted: Counter[str] = Counter()
"""How often each function was called, by the version of the form that it makes."""


class OrderUpdate(Payload):
    """Version 1: an order has a new status."""

    order: Id
    status: str


class OrderPlaced(Payload):
    """Version 2: an order is at a place."""

    orderId: Id
    place: str
    at: Time | UnsetType = UNSET


def to_update(placed: OrderPlaced) -> OrderUpdate | None:
    converted["1"] += 1
    return OrderUpdate(order=placed.orderId, status=placed.place.upper()) if placed.place != "hidden" else None


def to_placed(moved: "OrderMoved") -> OrderPlaced:
    converted["2"] += 1
    if moved.place.name == "broken":
        raise ValueError("no place")
    return OrderPlaced(orderId=moved.orderId, place=moved.place.name, at=moved.at)


class Place(Payload):
    """A place."""

    name: str
    shelf: int


@root.event(
    "order:moved",
    to=[orders.of("orderId"), root.caller],
    timestamp="at",
    webhook=True,
    was=[
        Was("1", OrderUpdate, convert=to_update, name="order:update", arguments="positional"),
        Was("2", OrderPlaced, convert=to_placed),
    ],
)
class OrderMoved(Payload):
    """An order is somewhere else."""

    orderId: Id
    place: Place
    at: Time | UnsetType = UNSET


class Photo(Payload):
    """Version 2: a picture."""

    order: Id
    jpeg: bytes


PHOTO = Was("2", Photo, lambda new: Photo(order=new.order, jpeg=new.image))


@back.event("picture", to=[parcels.of("order")], was=PHOTO)
@root.event("picture", to=[root.everyone], was=PHOTO)
class Picture(Payload):
    """A picture of a parcel."""

    order: Id
    image: bytes
    width: int


class Spot(Payload):
    """Version 1: where a parcel is."""

    orderId: Id
    text: str


@root.event(
    "order:at",
    to=[orders.of("orderId")],
    volatile=True,
    latest=60,
    was=Was("1", Spot, lambda at: Spot(orderId=at.orderId, text=f"{at.x},{at.y}"), arguments="positional"),
)
class OrderAt(Payload):
    """Where a parcel is."""

    orderId: Id
    x: int
    y: int


class OldNote(Payload):
    """Version 1: a text about an order, before its author was known."""

    order: Id
    words: str


class MiddleNote(Payload):
    """Version 2: its author was known, and texts had no language."""

    orderId: Id
    text: str
    userId: Id


@root.relay(
    "note:{orderId}",
    to=[orders.of("orderId")],
    sender="userId",
    was=[
        Was(
            "2",
            MiddleNote,
            convert=lambda new: MiddleNote(orderId=new.orderId, text=new.text, userId=new.userId),
            convert_back=lambda old: Note(orderId=old.orderId, text=old.text, userId=old.userId, language="en"),
        ),
        Was(
            "1",
            OldNote,
            convert=lambda new: OldNote(order=new.orderId, words=new.text) if new.text != "new" else None,
            convert_back=lambda old: MiddleNote(orderId=old.order, text=old.words, userId="nobody"),
            name="note",
            arguments="positional",
        ),
    ],
)
class Note(Payload):
    """A text about an order, for the others who watch it."""

    orderId: Id
    text: str
    userId: Id
    language: str


class Answer(Payload):
    """The reply to `order:move`."""

    place: Place


class OldAnswer(Payload):
    """Version 2: the reply to `move`."""

    where: str


class OldMove(Command):
    """Version 1: move an order."""

    order: Id
    where: str


def from_old(old: OldMove) -> "Move":
    return Move(orderId=old.order, place=Place(name=old.where, shelf=1))


@root.command(
    "order:move",
    who=in_room(orders),
    reply=Answer,
    was=Was(
        "2",
        OldMove,
        from_old,
        name="move",
        arguments="positional",
        reply=OldAnswer,
        convert_reply=lambda answer: OldAnswer(where=answer.place.name),
    ),
)
class Move(Command):
    """Move an order."""

    orderId: Id
    place: Place


def move(tx: Transaction, order: str, place: Place) -> None:
    tx.emit(OrderMoved(orderId=order, place=place))


def build(services: Services) -> SystemServices:
    async def handle(command: Move, client: Client) -> Answer:
        if command.place.name == "moon":
            raise RefusedError(no_such_place)
        await services.outbox.run(move, command.orderId, command.place)
        return Answer(place=command.place)

    async def welcome(client: Client, room: NamedRoom) -> OrderMoved:
        return OrderMoved(orderId=room.values["orderId"], place=Place(name="start", shelf=0))

    return SystemServices(handlers={Move: handle}, rooms={orders: RoomHooks(welcome=welcome)})


system = System(contract=contract, build=build)
