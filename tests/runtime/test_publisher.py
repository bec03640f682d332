"""Publishing: the entries in the log, their rooms, and refusals."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from oyez.contract import Money, NamedRoom, Payload, Time
from oyez.errors import ContractError, InvalidDataError, LogUnavailableError, Refusal, RefusedError
from oyez.log.log import Checkpoint, Entry
from oyez.log.memory import MemoryLog
from oyez.runtime.publisher import Publication, Publisher, RejectedError
from oyez.settings import Limits
from tests.support.market import (
    BidRejected,
    NewBid,
    NewRequest,
    NewTicket,
    Owner,
    Part,
    RequestCancelled,
    Stats,
    Told,
    Typing,
    contract,
    garage,
    offer,
    operations,
    root,
    ticket,
    user,
)


class RecordingLog(MemoryLog):
    """Records its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.appended: list[list[Entry]] = []
        self.broadcasted: list[Entry] = []
        self.silent = False

    async def append(self, entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
        positions = await super().append(entries, checkpoint)
        self.appended.append(list(entries))
        return positions

    async def broadcast(self, entry: Entry) -> None:
        if self.silent:
            raise LogUnavailableError("Nobody listens.")
        self.broadcasted.append(entry)


@pytest.fixture
def log() -> RecordingLog:
    return RecordingLog()


@pytest.fixture
def publisher(log: RecordingLog) -> Publisher:
    return Publisher(contract, log, Limits(), clock=lambda: 1769860800.0)


NOW = "2026-01-31T12:00:00.000Z"


def where(entry: Entry) -> tuple[str, tuple[str, ...]]:
    return entry.namespace, entry.rooms


def content(entry: Entry) -> Any:
    return msgspec.json.decode(entry.data)


async def test_a_stored_event_is_appended_and_has_a_position(publisher: Publisher, log: RecordingLog) -> None:
    position = await publisher.emit(BidRejected(bid_id="b1", timestamp=Time("2026-01-01T00:00:00Z")), garage("g1"))
    [[entry]] = log.appended
    assert where(entry) == ("/", ("garage_g1",))
    assert content(entry) == ["bid_rejected", {"timestamp": "2026-01-01T00:00:00Z", "bid_id": "b1"}]
    assert not entry.volatile
    assert position == await log.position()


async def test_an_omitted_time_is_filled_in(publisher: Publisher, log: RecordingLog) -> None:
    await publisher.emit(BidRejected(bid_id="b1"), user("u1"))
    assert content(log.appended[0][0])[1]["timestamp"] == NOW


async def test_a_volatile_event_is_broadcast_and_has_no_position(publisher: Publisher, log: RecordingLog) -> None:
    assert await publisher.emit(Typing(user_id="u1", typing=True), user("u2")) is None
    [entry] = log.broadcasted
    assert where(entry) == ("/", ("user_u2",))
    assert entry.volatile
    assert log.appended == []


async def test_clients_of_some_rooms_can_be_excluded(publisher: Publisher, log: RecordingLog) -> None:
    await publisher.emit(Typing(user_id="u1", typing=True), user("u2"), excluding=[user("u1"), "socket-id"])
    assert log.broadcasted[0].excluded == ("user_u1", "socket-id")


@pytest.mark.parametrize(
    ("payload", "rooms", "expected"),
    [
        (BidRejected(bid_id="b"), [garage("g"), user("u"), garage("g")], [("/", ("garage_g", "user_u"))]),
        (NewBid(owner=Owner(id="u7"), amount=Money(1)), [], [("/", ("user_u7",))]),
        (NewBid(owner=Owner(id="u7"), amount=Money(1)), [user("u7")], [("/", ("user_u7",))]),
        (NewRequest(request_id="r", parts=[]), [], [("/", ())]),
        (NewTicket(ticket_id="t", at=Time(NOW)), [], [("/", ("user_operations",))]),
        (RequestCancelled(request_id="r"), [garage("g")], [("/", ("garage_g",))]),
        (RequestCancelled(request_id="r"), [root.everyone], [("/", ())]),
        (RequestCancelled(request_id="r"), [garage("g"), root.everyone], [("/", ())]),
        (Told(maybe="u1"), [], [("/", ("user_u1",))]),
        (Told(maybe="u1", who=Owner(id="u2")), [], [("/", ("user_u1", "offers:u2"))]),
        (Told(maybe=None, who=Owner(id="u2")), [], [("/", ("offers:u2",))]),
        (Told(maybe="u1", who=Owner(id="u2")), [offer("u2")], [("/", ("offers:u2",))]),
        (Typing(user_id="u", typing=True), [NamedRoom("/back", "user_u")], [("/back", ("user_u",))]),
    ],
)
def test_destinations(
    publisher: Publisher, payload: Payload, rooms: list[NamedRoom], expected: list[tuple[str, tuple[str, ...]]]
) -> None:
    assert [where(entry) for entry in publisher.prepare(payload, *rooms)] == expected


@pytest.mark.parametrize(
    ("payload", "rooms", "code", "message"),
    [
        (BidRejected(bid_id="b"), [], "room_required", "`garage_{garage_id}` or `user_{userId}`"),
        (RequestCancelled(request_id="r"), [], "room_required", "`garage_{garage_id}` or everyone in the namespace"),
        (Told(), [], "room_required", "`user_{maybe}` or `offers:{who.id}`"),
        (Stats(sockets=1), [], "room_required", "nobody but the client concerned"),
        (BidRejected(bid_id="b"), [ticket("t")], "foreign_room", "'ticket_t'"),
        (BidRejected(bid_id="b"), [operations()], "foreign_room", "only to `garage_{garage_id}` or `user_{userId}`"),
        (BidRejected(bid_id="b"), [root.everyone], "foreign_room", "'*'"),
        (BidRejected(bid_id="b"), [NamedRoom("/back", "user_u")], "foreign_room", "'user_u'"),
        (NewBid(owner=Owner(id="u7"), amount=Money(1)), [user("u8")], "foreign_room", "from it follows user_u7"),
        (BidRejected(bid_id="b"), [NamedRoom("/", "nowhere")], "unknown_room", "There is no room 'nowhere'"),
    ],
)
async def test_forbidden_destinations(
    publisher: Publisher, log: RecordingLog, payload: Payload, rooms: list[NamedRoom], code: str, message: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        await publisher.emit(payload, *rooms)
    assert refused.value.refusal.code == code
    assert message in refused.value.message
    assert not log.appended and not log.broadcasted


def test_a_value_that_cannot_be_in_a_rooms_name_is_reported_with_its_field(publisher: Publisher) -> None:
    for value in ("operations", "a\nb", ""):
        with pytest.raises(InvalidDataError) as error:
            publisher.prepare(Told(maybe=value))
        assert error.value.field == "maybe"


async def test_a_bad_payload_made_in_python_is_not_published(publisher: Publisher, log: RecordingLog) -> None:
    with pytest.raises(InvalidDataError) as error:
        await publisher.emit(BidRejected(bid_id=""), user("u"))
    assert error.value.field == "bid_id"
    with pytest.raises(ContractError, match="Part is not the payload of an event"):
        await publisher.emit(Part(name="x", price=Money(1)), user("u"))
    assert log.appended == []


# By name.


def publication(event: str, data: Any, to: Any = None) -> Publication:
    return Publication(event, msgspec.Raw(msgspec.json.encode(data)), to)


async def test_publishing_by_name(publisher: Publisher, log: RecordingLog) -> None:
    positions = await publisher.publish(
        [
            publication("bid_rejected", {"bid_id": "b1"}, "user_u1"),
            publication("typing", {"userId": "u1", "typing": False}, ("user_u2", "user_u3")),
            publication("new_bid", {"owner": {"id": "u9"}, "amount": 12}),
        ]
    )
    assert [where(entry) for entry in log.appended[0]] == [("/", ("user_u1",)), ("/", ("user_u9",))]
    assert [content(entry)[0] for entry in log.appended[0]] == ["bid_rejected", "new_bid"]
    assert content(log.appended[0][1]) == ["new_bid", {"timestamp": NOW, "owner": {"id": "u9"}, "amount": 12}]
    assert positions == [f"{log.epoch}.1", None, f"{log.epoch}.2"]


async def test_a_name_stands_for_its_room_in_every_namespace(publisher: Publisher, log: RecordingLog) -> None:
    await publisher.publish([publication("typing", {"userId": "u", "typing": True}, "user_u2")])
    assert [where(entry) for entry in log.broadcasted] == [("/", ("user_u2",)), ("/back", ("user_u2",))]


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (publication("nope", {}), "There is no event 'nope' in market."),
        (Publication("nope", msgspec.Raw(b"{}"), excluding="x"), "except: rooms and ids of sockets"),
        (publication("bid_rejected", {"bid_id": True}, "user_u"), "bid_id: expected a string of 1 to 128 characters"),
        (publication("bid_rejected", {"bid_id": "1"}), "bid_rejected needs a room to go to"),
        (publication("bid_rejected", {"bid_id": "1"}, ("user_u", "x")), "There is no room 'x'"),
        (publication("stats", {"sockets": 1}, "user_u"), "stats does not go to 'user_u'"),
        (publication("new_bid", {"owner": {"id": "operations"}, "amount": 1}), "owner.id: the name of a room"),
        (Publication("bid_rejected", msgspec.Raw(b"{"), "user_u"), "valid JSON"),
    ],
)
async def test_a_list_is_published_whole_or_not_at_all(
    publisher: Publisher, log: RecordingLog, given: Publication, fault: str
) -> None:
    good = publication("bid_rejected", {"bid_id": "b1"}, "user_u1")
    volatile = publication("typing", {"userId": "u1", "typing": False}, "user_u2")
    with pytest.raises(RejectedError) as rejected:
        await publisher.publish([good, given, volatile, given])
    assert [index for index, _ in rejected.value.errors] == [1, 3]
    assert fault in str(rejected.value.errors[0][1])
    assert not log.appended and not log.broadcasted


async def test_volatile_events_of_a_list_follow_the_stored_ones_in_their_order(log: RecordingLog) -> None:
    order: list[str] = []

    class Ordered(RecordingLog):
        async def append(self, entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
            order.extend("stored" for _ in entries)
            return await super().append(entries, checkpoint)

        async def broadcast(self, entry: Entry) -> None:
            order.append(content(entry)[1]["userId"])

    stored = publication("bid_rejected", {"bid_id": "b1"}, "user_u1")
    first, second = (publication("typing", {"userId": name, "typing": False}, "user_u2") for name in ("u1", "u2"))
    await Publisher(contract, Ordered(), Limits()).publish([first, stored, second, stored])
    # Each goes to a room of that name in both namespaces.
    assert order == ["stored", "stored", "u1", "u1", "u2", "u2"]


async def test_rooms_are_limited(log: RecordingLog) -> None:
    publisher = Publisher(contract, log, Limits(max_rooms_per_event=3))
    rooms = [user(f"u{number}") for number in range(4)]
    await publisher.emit(BidRejected(bid_id="b"), *rooms[:3])
    with pytest.raises(InvalidDataError, match="to: at most 3 rooms, not 4; publish bid_rejected several times"):
        await publisher.emit(BidRejected(bid_id="b"), *rooms)
    assert len(log.appended) == 1


async def test_sizes_are_limited(log: RecordingLog) -> None:
    publisher = Publisher(contract, log, Limits(max_event_bytes=100, max_events_per_publish=2))

    def parts(count: int) -> NewRequest:
        return NewRequest(request_id="r", parts=[Part(name="x" * 20, price=Money(1))] * count)

    await publisher.emit(parts(0))
    refusals: list[Refusal] = []
    for work in (publisher.emit(parts(3)), publisher.publish([publication("new_ticket", {})] * 3)):
        with pytest.raises(RefusedError, match=r"at most (100|2)\b") as refused:
            await work
        refusals.append(refused.value.refusal)
    assert [refusal.code for refusal in refusals] == ["too_large"] * 2


async def test_an_unavailable_log_is_reported(publisher: Publisher, log: RecordingLog) -> None:
    await log.close()
    with pytest.raises(LogUnavailableError):
        await publisher.emit(NewRequest(request_id="r", parts=[]))


async def test_a_lost_volatile_event_does_not_undo_stored_ones(publisher: Publisher, log: RecordingLog) -> None:
    log.silent = True
    volatile = publication("typing", {"userId": "u", "typing": True}, "user_u2")
    with pytest.raises(LogUnavailableError):
        await publisher.publish([volatile])
    assert await publisher.publish([volatile, publication("new_request", {"request_id": "r", "parts": []})]) == [
        None,
        await log.position(),
    ]


async def test_an_empty_list_is_published(publisher: Publisher) -> None:
    assert await publisher.publish([]) == []
