"""The consumer: entries reach the sockets of their rooms in order, runs of them in one write, and nothing stops it."""

import asyncio
import re
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from oyez.client import ConnectFailed, connect
from oyez.log.log import Deliver, Entry
from oyez.log.memory import MemoryLog
from oyez.protocol import engineio
from oyez.protocol.engineio import CloseReason
from oyez.protocol.websocket import TEXT, encode_frame
from oyez.server.delivery import progress
from oyez.server.delivery.consumer import LogConsumer
from oyez.server.namespaces.event_frames import DEFLATED, FORMS, JSON, POSITION_ARGUMENT, POSITION_EVENT
from oyez.server.namespaces.namespace import Namespace
from oyez.server.namespaces.session_keeper import SocketSession
from oyez.server.transports.outgoing import OutboundPacket
from oyez.settings import Settings
from tests.support.application import Market
from tests.support.parts import make_parts
from tests.support.serving import Running, serve, turn_until
from tests.support.wire import PollingWire, SocketWire

# The consumer alone.


class Connection:
    """As much of one as a namespace sends to."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed_for: CloseReason | None = None

    def close(self, reason: CloseReason, detail: str) -> None:
        self.closed_for = reason

    def send(self, outgoing: OutboundPacket) -> None:
        self.sent.append(outgoing.text)


class Socket:
    """As much of one as a namespace writes to: `written` has one item for every call."""

    def __init__(self, namespace: Namespace, id: str, *rooms: str, slow: bool = False, encoding: int = 0) -> None:
        self.id = id
        self.namespace = namespace
        self.rooms = set[str]()
        self.session = SocketSession()
        self.connected = self.ready = True
        self.encoding = encoding
        self.form = encoding & FORMS
        self.ended = False
        self.connection = Connection()
        self.written: list[bytes] = []
        self.write: Any = None if slow else self.written.append
        namespace.sockets[id] = self  # type: ignore[assignment]
        for room in rooms:
            namespace.join(self, room)  # type: ignore[arg-type]

    def describe(self) -> dict[str, str]:
        return {"socket": self.id}


def make_namespace(name: str, settings: Settings | None = None) -> Namespace:
    return make_parts().make_namespace(name, Market(), settings)


def make_consumer(namespaces: dict[str, Namespace]) -> LogConsumer:
    parts = make_parts()
    return LogConsumer(MemoryLog(), parts.make_table(*namespaces.values()), parts.replay_buffer, parts.progress)


@pytest.fixture
def namespace() -> Namespace:
    return make_namespace("/")


@pytest.fixture
def consumer(namespace: Namespace) -> LogConsumer:
    return make_consumer({"/": namespace, "/other": make_namespace("/other")})


def entry(name: str, *rooms: str, namespace: str = "/", excluded: tuple[str, ...] = ()) -> Entry:
    return Entry(namespace=namespace, rooms=rooms, excluded=excluded, data=msgspec.json.encode([name]))


def frames(*names: str) -> bytes:
    return b"".join(encode_frame(TEXT, b'42["%b"]' % name.encode()) for name in names)


def test_a_run_to_the_same_rooms_is_one_write(consumer: LogConsumer, namespace: Namespace) -> None:
    first, second, stranger = Socket(namespace, "1", "a"), Socket(namespace, "2", "a"), Socket(namespace, "3")
    consumer.deliver([entry("one", "a"), entry("two", "a"), entry("three", "a")])
    assert first.written == second.written == [frames("one", "two", "three")]
    assert first.written[0] is second.written[0], "made once"
    assert stranger.written == []
    assert consumer.delivered == 6


def test_order_is_kept_between_different_rooms(consumer: LogConsumer, namespace: Namespace) -> None:
    both, one = Socket(namespace, "1", "a", "b"), Socket(namespace, "2", "b")
    consumer.deliver(
        [entry("1", "a"), entry("2", "b"), entry("3", "b"), entry("4", "a"), entry("5"), entry("6", "a", "b")]
    )
    assert both.written == [frames("1"), frames("2", "3"), frames("4"), frames("5"), frames("6")]
    assert one.written == [frames("2", "3"), frames("5"), frames("6")]


def test_a_client_in_several_rooms_receives_an_entry_once(consumer: LogConsumer, namespace: Namespace) -> None:
    both = Socket(namespace, "1", "a", "b")
    consumer.deliver([entry("one", "a", "b", "c", "1")])
    assert both.written == [frames("one")]


def test_an_excluded_client_receives_nothing(consumer: LogConsumer, namespace: Namespace) -> None:
    inside, outside = Socket(namespace, "1", "a"), Socket(namespace, "2", "a", "muted")
    consumer.deliver([entry("one", "a", excluded=("muted",)), entry("two", "a"), entry("three", excluded=("1",))])
    assert inside.written == [frames("one"), frames("two")]
    assert outside.written == [frames("two"), frames("three")]


def test_a_control_entry_is_done_in_its_turn_and_never_sent(consumer: LogConsumer, namespace: Namespace) -> None:
    class Mover(Market):
        def control(self, entry: Entry, sockets: Collection[Any]) -> None:
            for socket in sockets:
                {"join": namespace.join, "leave": namespace.leave}[entry.control](socket, entry.data.decode())

    namespace.application = Mover()
    first, second = Socket(namespace, "1", "a"), Socket(namespace, "2", "a", "kept")
    move = Entry(namespace="/", rooms=("a",), excluded=("kept",), data=b"b", control="join")
    back = Entry(namespace="/", rooms=("a",), data=b"a", control="leave")
    consumer.deliver(
        [entry("1", "b"), move, entry("2", "b"), move, entry("3", "b"), entry("4", "a"), back, entry("5", "a")]
    )
    assert first.written == [frames("2"), frames("3"), frames("4")]
    assert second.written == [frames("4")]
    assert consumer.delivered == 4


def test_a_control_entry_that_fails_or_has_no_namespace_stops_nothing(
    consumer: LogConsumer, namespace: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Market):
        def control(self, entry: Entry, sockets: Collection[Any]) -> None:
            raise RuntimeError("as asked")

    namespace.application = Broken()
    socket = Socket(namespace, "1", "a")
    bad = Entry(namespace="/", rooms=("a",), data=b"{}", control="dance")
    consumer.deliver([entry("one", "a"), bad, replace(bad, namespace="/unknown"), entry("two", "a")])
    assert socket.written == [frames("one"), frames("two")]
    assert "delivery failed" in caplog.text


def test_an_unknown_namespace_or_room_is_skipped(consumer: LogConsumer, namespace: Namespace) -> None:
    socket = Socket(namespace, "1", "a")
    consumer.deliver(
        [entry("one", "a"), entry("lost", "a", namespace="/unknown"), entry("lost", "b"), entry("two", "a")]
    )
    assert socket.written == [frames("one"), frames("two")]
    assert consumer.delivered == 2


def test_an_exception_does_not_stop_delivery(
    consumer: LogConsumer, namespace: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = Socket(namespace, "1", "a"), Socket(namespace, "2", "b")

    def fail(data: bytes) -> None:
        raise RuntimeError("as asked")

    broken.write = fail
    consumer.deliver([entry("one", "a"), entry("two", "b"), entry("three", "a"), entry("four", "b")])
    assert sound.written == [frames("two"), frames("four")]
    assert len(re.findall(r"^ERROR .*delivery failed", caplog.text, re.MULTILINE)) == 2


def test_a_client_without_direct_writes_receives_each_message(consumer: LogConsumer, namespace: Namespace) -> None:
    slow, gone = Socket(namespace, "1", "a", slow=True), Socket(namespace, "2", "a", slow=True)
    gone.connected = False
    consumer.deliver([entry("one", "a"), entry("two", "a")])
    assert slow.connection.sent == [b'42["one"]', b'42["two"]']
    assert gone.connection.sent == []


def test_a_long_message_is_deflated_once_for_all_clients_that_agreed(
    consumer: LogConsumer, namespace: Namespace
) -> None:
    plain = [Socket(namespace, id, "a") for id in "12"]
    agreed = [Socket(namespace, id, "a", encoding=DEFLATED) for id in "34"]
    consumer.deliver([entry("short", "a"), entry("x" * 1_024, "a")])
    long = OutboundPacket(b'42["%b"]' % (b"x" * 1_024))
    for sockets, expected in ((plain, long.frames), (agreed, long.deflated_frames)):
        assert [socket.written for socket in sockets] == [[frames("short") + expected]] * 2
        assert sockets[0].written[0] is sockets[1].written[0], "made once"


def test_plain_clients_get_json_frames_made_once(consumer: LogConsumer, namespace: Namespace) -> None:
    plain = [Socket(namespace, id, "a", encoding=JSON) for id in "12"]
    slow = Socket(namespace, "3", "a", encoding=JSON, slow=True)
    agreed = Socket(namespace, "4", "a", encoding=JSON | DEFLATED)
    socket_io = Socket(namespace, "5", "a")
    consumer.deliver([entry("one", "a"), entry("x" * 1_024, "a")])
    one, long = (b'{"event":"%b"}' % name for name in (b"one", b"x" * 1_024))
    assert plain[0].written == [encode_frame(TEXT, one) + encode_frame(TEXT, long)]
    assert plain[0].written[0] is plain[1].written[0], "made once"
    assert slow.connection.sent == [one, long]
    assert agreed.written == [encode_frame(TEXT, one) + OutboundPacket(long).deflated_frames]
    assert socket_io.written == [frames("one", "x" * 1_024)]


def test_each_form_has_the_position_in_its_way(consumer: LogConsumer, namespace: Namespace) -> None:
    forms = [0, POSITION_EVENT, POSITION_ARGUMENT, JSON, JSON | POSITION_EVENT, JSON | POSITION_ARGUMENT]
    sockets = [Socket(namespace, str(form), "a", encoding=form) for form in forms]
    stored = msgspec.structs.replace(entry("e", "a"), data=b'["e",1]', position="ep.1")
    consumer.deliver([stored])
    consumer.deliver([msgspec.structs.replace(stored, position=None, volatile=True)])
    event, frame = b'42["e",1]', b'{"event":"e","data":1}'
    expected = [
        [event],
        [event, b'42["oyez:position","ep.1"]'],
        [b'42["e",1,"ep.1"]'],
        [frame],
        [frame],
        [b'{"event":"e","data":1,"offset":"ep.1"}'],
    ]
    assert [socket.written[0] for socket in sockets] == [
        b"".join(encode_frame(TEXT, text) for text in texts) for texts in expected
    ]
    assert [socket.written[1] for socket in sockets] == 3 * [encode_frame(TEXT, event)] + 3 * [
        encode_frame(TEXT, frame)
    ]


def test_a_namespace_of_its_own_is_named_in_the_packet(consumer: LogConsumer) -> None:
    socket = Socket(consumer._namespaces["/other"], "1")
    consumer.deliver([entry("one", namespace="/other")])
    assert socket.written == [encode_frame(TEXT, b'42/other,["one"]')]


# With a log, live.


async def test_all_clients_receive_everything_in_log_order(running: Running) -> None:
    async with (
        SocketWire.connect(running, {"rooms": ["a", "b"]}) as both,
        SocketWire.connect(running, {"rooms": ["a"]}) as one,
    ):
        client = await PollingWire.connect(running, {"rooms": ["a", "b"]})
        await running.log.append([entry(str(number), "ab"[number % 2]) for number in range(100)])
        for number in range(100):
            await both.expect_event(str(number))
        for number in range(0, 100, 2):
            await one.expect_event(str(number))
        assert await client.get() == "\x1e".join(f'42["{number}"]' for number in range(100))
        await client.leave()


class Fragile(MemoryLog):
    """A log whose tail fails on request."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = asyncio.Event()

    async def tail(self, deliver: Deliver, after: str | None = None) -> None:
        def pass_on(entries: Sequence[Entry]) -> None:
            if self.broken.is_set():
                self.broken.clear()
                raise OSError("the log has gone")
            deliver(entries)

        await super().tail(pass_on, after)


async def test_a_log_that_fails_is_listened_to_again_from_where_it_stopped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("oyez.server.server.RETRY_SECONDS", 0.01)
    log = Fragile()
    async with serve(log=log) as running, SocketWire.connect(running) as wire:
        log.broken.set()
        await running.publish("one")
        await running.publish("two")
        await wire.expect_event("one")
        await wire.expect_event("two")
        assert "the log cannot be listened to" in caplog.text


async def test_a_log_that_has_lost_something_sends_clients_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("oyez.server.server.RETRY_SECONDS", 0.01)
    log = Fragile()
    async with serve(log=log) as running:
        async with SocketWire.connect(running) as wire:
            log.broken.set()
            await running.publish("lost")
            log.epoch = "0dd1e5a2"
            await wire.expect_close(1011)
            assert await running.market.expect_gone(wire.id) == "transport error"
        assert "the log has lost what was not delivered yet" in caplog.text
        async with SocketWire.connect(running) as wire:
            await turn_until(lambda: bool(log._subscribers))
            await running.publish("found")
            await wire.expect_event("found")


async def test_a_client_that_cannot_be_written_to_does_not_affect_others(
    consumer: LogConsumer, namespace: Namespace
) -> None:
    sockets = [Socket(namespace, str(number), "a") for number in range(3)]

    def fail(frames: bytes) -> None:
        raise RuntimeError("gone")

    sockets[1].write = fail
    consumer.deliver([entry("one", "a")])
    assert sockets[0].written == sockets[2].written == [frames("one")]
    await asyncio.sleep(0)
    # It will come back for what it has missed.
    assert sockets[1].connection.closed_for == engineio.TRANSPORT_ERROR


async def test_clients_that_connect_while_the_log_is_not_delivered_are_refused_in_time(
    monkeypatch: pytest.MonkeyPatch, running: Running
) -> None:
    monkeypatch.setattr(progress, "LIVE_TIMEOUT", 0.05)
    running.server.progress.live.clear()
    with pytest.raises(ConnectFailed, match="transport close"):
        async with connect(running.url, auth={"rooms": ["a"]}, transports=["websocket"]):
            raise AssertionError("it was let in")
    running.server.progress.live.set()
    async with connect(running.url, auth={"rooms": ["a"]}, transports=["websocket"]):
        pass
