"""The rooms of an event: those that follow from its payload, those that need no name, and single sockets."""

from collections.abc import Sequence
from typing import Any

import pytest

from oyez.contract import Contract, NamedRoom, Payload, anyone, own
from oyez.contract.rooms import Everyone
from oyez.errors import ContractError, InvalidDataError, RefusedError
from oyez.log.memory import MemoryLog
from oyez.protocol.socket_ids import own_room
from oyez.runtime.publisher import Publication, Publisher
from oyez.settings import Limits
from tests.support import boards
from tests.support.boards import Hint, Note, Outage, Pointer, Renamed, Signal, Sold, back, board, root, staff, user

SOCKET = "abcdefghij_-01234567"


@pytest.fixture
def publisher() -> Publisher:
    return Publisher(boards.contract, MemoryLog(), Limits())


@pytest.mark.parametrize(
    ("payload", "rooms", "expected"),
    [
        (Sold(user_id="ada", number=1), [], {"/": ("staff", "user:ada"), "/back": ("staff",)}),
        (Sold(user_id="ada", number=1), [user("ada")], {"/": ("user:ada",)}),
        (Sold(user_id="ada", number=1), [staff()], {"/": ("staff",)}),
        (Renamed(board_id="b"), [], {"/": ("board:b",)}),
        (Renamed(board_id="b"), [user("ada")], {"/": ("user:ada",)}),
        (Outage(), [], {"/": ()}),
        (Outage(), [staff()], {"/": ("staff",)}),
        (Hint(text="x"), [root.sockets(SOCKET)], {"/": (own_room(SOCKET),)}),
        (Hint(text="x"), [NamedRoom("/", SOCKET), staff()], {"/": (own_room(SOCKET), "staff")}),
        (Signal(socket_id=SOCKET, text="x"), [], {"/": (own_room(SOCKET),), "/back": (own_room(SOCKET),)}),
        (Signal(socket_id=SOCKET, text="x"), [back.sockets(SOCKET)], {"/back": (own_room(SOCKET),)}),
    ],
)
def test_rooms(
    publisher: Publisher, payload: Payload, rooms: Sequence[NamedRoom], expected: dict[str, tuple[str, ...]]
) -> None:
    assert {entry.namespace: entry.rooms for entry in publisher.prepare(payload, *rooms)} == expected


def publish(publisher: Publisher, event: str, to: Any, data: bytes = b'{"text":"x"}') -> tuple[str, ...]:
    [entry] = publisher.prepare_json(event, data, to)
    return entry.rooms


def test_a_publisher_names_a_socket_by_its_id(publisher: Publisher) -> None:
    assert publish(publisher, "hint", [SOCKET]) == (own_room(SOCKET),)
    assert publish(publisher, "hint", ["staff", SOCKET]) == ("staff", own_room(SOCKET))


@pytest.mark.parametrize(
    ("event", "to", "code"),
    [
        ("hint", None, "room_required"),
        ("hint", [SOCKET[1:]], "unknown_room"),
        ("hint", [SOCKET + "x"], "unknown_room"),
        ("hint", ["board:b"], "foreign_room"),
        ("pointer", [SOCKET], "unknown_room"),
        ("pointer", [own_room(SOCKET)], "unknown_room"),
    ],
)
def test_other_names_are_refused(publisher: Publisher, event: str, to: list[str] | None, code: str) -> None:
    data = b'{"x":1}' if event == "pointer" else b'{"text":"x"}'
    with pytest.raises(RefusedError) as refused:
        publish(publisher, event, to, data)
    assert refused.value.refusal.code == code
    assert "\x1f" not in refused.value.message


def test_a_socket_of_the_payload_must_be_an_id(publisher: Publisher) -> None:
    with pytest.raises(InvalidDataError, match=r"socketId: .*'everyone' is not the id of a socket"):
        publisher.prepare_json("signal", b'{"socketId":"everyone","text":"x"}', None)
    with pytest.raises(RefusedError, match="contradicts the payload"):
        publisher.prepare_json("signal", b'{"socketId":"%b","text":"x"}' % SOCKET.encode(), ["a" * 20])


async def test_a_publication_over_http_may_name_a_socket(publisher: Publisher) -> None:
    publication = Publication(event="hint", data=b'{"text":"x"}', to=SOCKET)  # type: ignore[arg-type]
    [[entry]] = await publisher.prepare_all([publication])
    assert entry.rooms == (own_room(SOCKET),)


@pytest.mark.parametrize("rooms", [[], [Everyone("/")]])
def test_the_id_of_a_socket_is_no_room_that_clients_can_join(rooms: list[Everyone]) -> None:
    assert boards.root.rooms.resolve(own_room(SOCKET)) is None
    with pytest.raises(RefusedError):
        board("\x1f" + SOCKET)


def test_an_event_to_sockets_and_rooms_whose_names_could_be_ids() -> None:
    contract = Contract("c", roles=("user",))
    root = contract.namespace("/")
    bare = root.room("{userId}", members=own("userId"), on_connect=True)

    @root.event("hint", to=[root.sockets, bare], example={}, volatile=True, latest=1.0)
    class _Hint(Payload):
        """A hint."""

    with pytest.raises(ContractError, match=r"goes to `\{userId\}` and to sockets, and a name could be either"):
        contract.build()


def test_events_to_sockets_are_not_kept_and_rooms_have_printable_names() -> None:
    contract = Contract("c", roles=("user",))
    root = contract.namespace("/")
    root.room("\x1f{userId}", members=anyone())

    @root.event("hint", to=[root.sockets], example={}, volatile=True, latest=1.0)
    class _Hint(Payload):
        """A hint."""

    with pytest.raises(ContractError) as error:
        contract.build()
    assert "latest is for clients that join a room" in str(error.value)
    assert "cannot hold control characters" in str(error.value)


def test_documents_describe_sockets() -> None:
    texts = [target.text for event in (Hint, Signal) for target in event_targets(event)]
    assert texts == ["one client", "`staff`", "the client with the socket id `socketId`"]


def event_targets(payload: type[Payload]) -> Sequence[Any]:
    event = next(event for event in boards.contract.build().events.values() if event.payload is payload)
    return event.targets["/"]


def test_a_note_goes_to_its_board_alone(publisher: Publisher) -> None:
    [entry] = publisher.prepare(Note(board_id="b", text="x"), excluding=[root.sockets(SOCKET)])
    assert (entry.rooms, entry.excluded) == (("board:b",), (own_room(SOCKET),))
    [entry] = publisher.prepare(Pointer(x=1), board("b"))
    assert entry.rooms == ("board:b",)
