"""Boards on which several users draw, as a user writes a system: other clients receive what one client has sent."""

from typing import Literal

from oyez.contract import (
    UNSET,
    Command,
    Contract,
    Id,
    Maybe,
    Payload,
    Stamped,
    anyone,
    own,
    per_address,
    per_room,
    role,
)
from oyez.runtime import Client
from oyez.service.outbox.transaction import Transaction
from oyez.service.system import Services, System, SystemServices

contract = Contract("boards", roles=("user", "staff"), default_role="user")
root = contract.namespace("/")
back = contract.namespace("/back")
user = root.room("user:{userId}", members=own("userId"), on_connect=True)
board = root.room("board:{boardId}", members=anyone(), join="board:join", leave="board:leave")
staff = root.room("staff", members=role("staff"), on_connect=True)
back_staff = back.room("staff", members=role("staff"), on_connect=True)


@root.event("note", to=[board.of("boardId")], example={"boardId": "b", "text": "hi"})
class Note(Stamped, rename="camel"):
    """A user has written a note."""

    board_id: Id
    text: str


@root.event("pointer", to=[board], volatile=True, latest=60.0, example={"x": 1})
class Pointer(Payload):
    """Where a user points."""

    x: int


@root.event("sold", to=[user.of("userId"), staff], example={"userId": "ada", "number": 1})
@back.event("sold", to=[back_staff])
class Sold(Stamped, rename="camel"):
    """A user has bought a board."""

    user_id: Id
    number: int


@root.event("renamed", to=[board.of("boardId"), user], example={"boardId": "b"})
class Renamed(Stamped, rename="camel"):
    """A board has another name. The publisher names its owner."""

    board_id: Id


@root.event("outage", to=[staff, root.everyone], example={})
class Outage(Stamped):
    """The boards are closed."""


@root.event("hint", to=[root.sockets, staff], example={"text": "hi"})
class Hint(Stamped):
    """Something for one client."""

    text: str


@root.event("signal", to=[root.sockets.of("socketId")], volatile=True, example={"socketId": "a" * 20, "text": "hi"})
@back.event("signal", to=[back.sockets.of("socketId")], volatile=True)
class Signal(Payload, rename="camel"):
    """One client signals another."""

    socket_id: Id
    text: str


class Place(Payload, rename="camel"):
    """A place on a board."""

    board_id: Id
    x: int


@root.relay(
    "cursor",
    to=[board.of("at.boardId")],
    volatile=True,
    sender="userId",
    limit=["100/s", per_room("40/m")],
    example={"at": {"boardId": "b", "x": 1}, "userId": "ada"},
)
class Cursor(Payload, rename="camel"):
    """The place of a user's cursor."""

    at: Place
    user_id: Id
    color: Maybe[str] = UNSET


@root.relay(
    "drawn",
    to=[board.of("boardId")],
    sender="userId",
    limit=["8/h", per_address("1000/h")],
    example={"boardId": "b", "userId": "ada", "shape": "circle", "tags": []},
)
class Drawn(Stamped, rename="camel"):
    """A user has drawn a shape."""

    board_id: Id
    user_id: Id
    shape: Literal["circle", "square"]
    tags: tuple[str, ...] = ()


@root.relay(
    "seat:taken",
    to=[board.of("boardId")],
    sender="userId",
    limit=per_room("4/m", board),
    example={"boardId": 1, "userId": 42},
)
class SeatTaken(Payload, rename="camel"):
    """A user sits down at a board. Ids are numbers."""

    board_id: int
    user_id: int


@root.relay("laser", to=[board.of("boardId")], sender="userId", arguments="positional", max_bytes=60)
class Laser(Payload, rename="camel"):
    """A user points at a board for a moment. The fields are the arguments."""

    user_id: int
    board_id: Id
    text: str
    x: int = 0


@root.relay("wave", to=[root.everyone], who=role("staff"), limit=per_address("2/m"), example={}, volatile=True)
class Wave(Payload):
    """The staff greets everyone."""


@root.command("vote", arguments="positional", limit=per_room("9/m", board))
class Vote(Command, rename="camel"):
    """Vote for a board."""

    board_id: Id


@root.command("note:write", arguments="positional")
class WriteNote(Command, rename="camel"):
    """Write a note, in a transaction if it is about money."""

    board_id: Id
    text: str


@root.command("point", arguments="positional")
class Point(Command, rename="camel"):
    """Point at a place of a board."""

    board_id: Id
    x: int


@root.command("hint:send", arguments="positional")
class SendHint(Command, rename="camel"):
    """Send a hint to one client, and to the caller."""

    socket_id: Id
    text: str


def store_note(tx: Transaction, client: Client, command: WriteNote) -> None:
    tx.publish(client, Note(board_id=command.board_id, text=command.text))
    tx.publish(client, Pointer(x=-1), board(command.board_id))


def build(services: Services) -> SystemServices:
    async def write_note(command: WriteNote, client: Client) -> None:
        if command.text.startswith("$"):
            await services.outbox.run(store_note, client, command)
        else:
            await client.publish(Note(board_id=command.board_id, text=command.text))

    async def point(command: Point, client: Client) -> None:
        await client.publish(Pointer(x=command.x), board(command.board_id))

    async def send_hint(command: SendHint, client: Client) -> None:
        await services.publisher.emit(Hint(text=command.text), root.sockets(command.socket_id))
        await services.publisher.emit(Hint(text="sent"), root.sockets(client.id))

    def vote(command: Vote, client: Client) -> None:
        """The limit is the question."""

    return SystemServices(handlers={WriteNote: write_note, Point: point, SendHint: send_hint, Vote: vote})


system = System(contract=contract, build=build)
