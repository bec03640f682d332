"""Recovery: clients that reconnect receive what they missed, in order and once, or are informed that it is lost."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from oyez.client import Client, ConnectFailed, connect
from oyez.errors import LogUnavailableError
from oyez.log.local_bus import MAX_SENT_BYTES
from oyez.log.log import Checkpoint, Deliver, Entry, split_position
from oyez.log.memory import MemoryLog
from oyez.log.sqlite import SqliteLog
from oyez.protocol import engineio
from oyez.server.namespaces.event_frames import NO_POSITION, POSITION_ARGUMENT, POSITION_EVENT
from oyez.server.namespaces.socket import Socket
from oyez.server.recovery import recovery, replay, session_store
from oyez.server.recovery.positions import choose_positions
from oyez.server.types import Handshake
from tests.support import py_client
from tests.support.application import Market
from tests.support.js_client import JsClient, JsDriver
from tests.support.serving import Running, serve, turn_until
from tests.support.tasks import Spawn
from tests.support.wire import SocketWire

ANNA = {"user": "anna", "rooms": ["room"]}


@asynccontextmanager
async def lost(running: Running, auth: dict[str, Any]) -> AsyncIterator[Client]:
    """A client whose connection breaks at the end, and the server has noticed."""
    async with connect(running.url, auth=auth, transports=["websocket"]) as client:
        yield client
        sid = client.sid
        client.connection.drop()
    await running.market.expect_gone(sid)


async def expect_all(client: Client, name: str, values: list[Any]) -> None:
    assert [(await client.expect_event(name)).args for _ in values] == [[value] for value in values]
    await client.expect_nothing(name)


# Official JavaScript clients, with no code of their own.


async def reconnect(js: JsDriver, running: Running, client: JsClient, missed: list[Any]) -> dict[str, Any]:
    """Cut a client, publish what it misses, let it come back; what it reports of that."""
    await client.cut()
    await running.market.expect_gone(client.id)
    for value in missed:
        await running.publish("news", value, to="room")
    return await client.expect("connect")


@pytest.mark.parametrize("transports", [["websocket"], ["polling", "websocket"]], ids=["websocket", "upgrade"])
async def test_a_javascript_client_recovers_by_itself(running: Running, js: JsDriver, transports: list[str]) -> None:
    client = await js.connect(
        running.url, auth=ANNA, transports=transports, reconnection=True, reconnectionDelay=500, randomizationFactor=0
    )
    await running.publish("news", "before", to="room")
    assert await client.expect_event("news") == ["before"]
    report = await reconnect(js, running, client, ["one", "two"])
    assert report["recovered"] and report["id"] == client.id
    await running.publish("news", "after", to="room")
    assert [await client.expect_event("news") for _ in range(3)] == [["one"], ["two"], ["after"]]
    await client.expect_event("oyez:recovery")
    await client.expect_nothing()


async def test_a_javascript_client_recovers_where_it_had_seen_no_event_yet(own: Running, js: JsDriver) -> None:
    client = await js.connect(own.url, auth=ANNA, reconnection=True, reconnectionDelay=300)
    report = await reconnect(js, own, client, ["first"])
    assert report["recovered"]
    assert await client.expect_event("news") == ["first"]
    answer = await client.expect_event("oyez:recovery")
    assert answer[0]["recovered"] and answer[0]["replayed"] == 1


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_an_event_right_before_the_close_is_received_once(running: Running, js: JsDriver, transport: str) -> None:
    client = await js.connect(
        running.url, auth=ANNA, transports=[transport], reconnection=True, reconnectionDelay=100, randomizationFactor=0
    )
    news = Entry(namespace="/", rooms=("room",), data=b'["news","last"]')
    # Together in the log, so handed over in one turn.
    await running.log.append([news, Entry(namespace="/", rooms=("room",), data=b"", control="close")])
    assert await client.expect_event("news") == ["last"]
    assert (await client.expect("connect"))["recovered"]
    assert (await client.expect_event("oyez:recovery"))[0]["replayed"] == 0
    await client.expect_nothing()


async def test_rooms_that_were_joined_by_command_are_restored(own: Running, js: JsDriver) -> None:
    client = await js.connect(own.url, auth={"user": "anna"}, reconnection=True, reconnectionDelay=300)
    await client.call("join", "room")
    report = await reconnect(js, own, client, ["missed"])
    assert report["recovered"]
    assert await client.expect_event("news") == ["missed"]


# What is asked of a session.


async def test_missed_events_come_right_after_the_answer_to_connect(own: Running) -> None:
    """Not before it: official clients keep those until they are connected, over whichever connection that is."""
    async with lost(own, ANNA) as client:
        await own.publish("news", 0, to="room")
        await client.expect_event("news")
    for value in range(1, 4):
        await own.publish("news", value, to="room")
    async with SocketWire.begin(own) as back:
        # What comes first is the answer.
        assert await back.enter({**ANNA, **client.recovery}) == client.sid
        for value in range(1, 4):
            await back.expect_event("news", value)
            assert json.loads((await back.read_frame()).payload[2:])[0] == "oyez:position"
        assert json.loads((await back.read_frame()).payload[2:])[0] == "oyez:recovery"


async def test_a_session_is_another_user_s(own: Running) -> None:
    async with lost(own, ANNA) as client:
        pass
    await own.publish("news", "for anna", to="room")
    stolen = {"user": "eve", **client.recovery}
    async with connect(own.url, auth=stolen, transports=["websocket"]) as eve:
        answer = (await eve.expect_event("oyez:recovery")).args[0]
        assert not answer["recovered"] and answer["reason"] == recovery.UNKNOWN_SESSION
        assert (eve.welcome or {})["pid"] != client.recovery["pid"]
        await eve.expect_nothing("news")
    async with connect(own.url, auth={**ANNA, **client.recovery}, transports=["websocket"]) as back:
        await expect_all(back, "news", ["for anna"])


async def test_a_session_is_continued_by_one_client_only(own: Running) -> None:
    async with (
        connect(own.url, auth=ANNA, transports=["websocket"]) as client,
        connect(own.url, auth={**ANNA, **client.recovery}, transports=["websocket"]) as back,
    ):
        # The first is taken for dead.
        assert await client.expect_disconnect() == "transport close"
        await own.publish("news", 1, to="room")
        await expect_all(back, "news", [1])
        assert list(own.namespace.sockets) == [back.sid]


async def test_a_room_whose_right_was_lost_is_not_recovered(own: Running) -> None:
    async with lost(own, {"user": "anna"}) as client:
        await client.call("join", "room")
        await client.call("join", "other")
    await own.publish("news", "secret", to="room")
    await own.publish("news", "open", to="other")
    own.market.closed_rooms.add("room")
    async with connect(own.url, auth={"user": "anna", **client.recovery}, transports=["websocket"]) as back:
        await expect_all(back, "news", ["open"])


async def test_a_client_that_disconnected_on_purpose_has_no_session(own: Running) -> None:
    async with connect(own.url, auth=ANNA, transports=["websocket"]) as client:
        pid = client.recovery
    await own.market.expect_gone(client.sid)
    async with connect(own.url, auth={**ANNA, **pid}, transports=["websocket"]) as back:
        answer = (await back.expect_event("oyez:recovery")).args[0]
        assert not answer["recovered"] and answer["reason"] == recovery.UNKNOWN_SESSION


async def test_a_pong_confirms_what_was_received(own: Running) -> None:
    """So an event that is too old to be kept is no reason to recover nothing (and no event at all is none either)."""
    async with serve(ping_interval=0.2) as running, lost(running, {"user": "anna"}) as client:
        before = running.server.progress.position
        for value in range(5):
            await running.publish("elsewhere", value, to="room")
        socket = running.namespace.sockets[client.sid]
        assert socket.session.acknowledged_position == before
        await turn_until(lambda: socket.session.acknowledged_position == running.server.progress.position)


# Clients without a session: they send their position.


async def test_a_position_is_enough_for_the_rooms_one_is_in_and_for_those_one_joins(own: Running) -> None:
    async with lost(own, ANNA) as client:
        await own.publish("news", 0, to="room")
        await client.expect_event("news")
        await own.publish("news", "in both", to=("room", "late"))
        offset = (await client.expect_event("news"), client.offset)[1]
    await own.publish("news", 1, to="room")
    await own.publish("news", "late", to="late")
    await own.publish("news", "both again", to=("room", "late"))
    await own.publish("news", 2, to="room")
    async with connect(own.url, auth={**ANNA, "offset": offset}, transports=["websocket"]) as back:
        answer = (await back.expect_event("oyez:recovery")).args[0]
        assert answer == {
            "recovered": True,
            "replayed": 3,
            "from": offset,
            "to": own.server.progress.position,
            "reason": None,
        }
        await expect_all(back, "news", [1, "both again", 2])
        position = back.offset
        await back.call("join", "late")
        assert (await back.expect_event("oyez:recovery")).args[0]["room"] == "late"
        await expect_all(back, "news", ["late"])
        # An older position would bring everything once more.
        assert back.offset == position


async def test_a_python_client_gets_positions_where_it_asks(own: Running) -> None:
    async with (
        py_client.connect(own.url, auth=ANNA) as plain,
        py_client.connect(own.url, auth={**ANNA, "recovery": True}) as asking,
    ):
        [answer] = await asking.expect_event("oyez:recovery")
        assert answer["reason"] == recovery.NEW and answer["to"] == own.server.progress.position
        await own.publish("news", 1, to="room")
        assert await plain.expect_event("news") == [1]
        assert await asking.expect_event("news") == [1, own.server.progress.position]
    await own.publish("news", 2, to="room")
    async with py_client.connect(own.url, auth={**ANNA, "offset": answer["to"]}) as back:
        assert await back.expect_event("news") == [1]
        assert await back.expect_event("news") == [2]


async def test_a_python_client_gets_what_was_published_whatever_it_calls_itself(own: Running) -> None:
    """The client's handler for all events does not receive positions either."""
    async with py_client.connect(own.url, auth=ANNA, headers={"User-Agent": "shop/1.0"}) as client:
        await own.publish("news", 1, to="room")
        await own.publish("news", 2, to="room")
        assert [await client.next_event() for _ in range(2)] == [("news", [1]), ("news", [2])]
        await client.call("echo", "still here")
        assert client.take_events() == []


async def test_an_offset_of_null_counts_as_none(own: Running) -> None:
    """Some clients send it if they reconnect without having received an event: they get what they missed, unchanged."""
    async with lost(own, ANNA) as client:
        pass
    await own.publish("news", "missed", to="room")
    async with SocketWire.begin(own) as back:
        assert await back.enter({**ANNA, "pid": client.recovery["pid"], "offset": None}) == client.sid
        await back.expect_event("news", "missed")
        assert json.loads((await back.read_frame()).payload[2:]) == ["oyez:position", own.server.progress.position]
        assert json.loads((await back.read_frame()).payload[2:])[1]["recovered"]


JAVASCRIPT, OTHER = "EIO=4&transport=polling", "transport=polling&EIO=4"


@pytest.mark.parametrize(
    ("query", "auth", "chosen"),
    [
        (JAVASCRIPT, {}, POSITION_EVENT),
        (f"lang=en&{JAVASCRIPT}&t=1", {}, POSITION_EVENT),
        ("EIO=4&t=1&transport=polling", {}, POSITION_EVENT),
        (OTHER, {}, NO_POSITION),
        (f"{OTHER}&t=1", {}, NO_POSITION),
        (OTHER, {"pid": "p"}, POSITION_EVENT),
        (OTHER, {"pid": "p", "offset": None}, POSITION_EVENT),
        (OTHER, {"offset": "e.1"}, NO_POSITION),
        (OTHER, {"offset": None}, NO_POSITION),
        (OTHER, {"pid": None, "recovery": None}, NO_POSITION),
        (OTHER, {"recovery": 1}, NO_POSITION),
        (OTHER, {"recovery": ["true"]}, NO_POSITION),
        (OTHER, {"recovery": True}, POSITION_ARGUMENT),
        (JAVASCRIPT, {"recovery": "true", "pid": "p", "offset": "e.1"}, POSITION_ARGUMENT),
        (JAVASCRIPT, {"recovery": False, "pid": "p", "offset": "e.1"}, NO_POSITION),
        (JAVASCRIPT, {"recovery": "false"}, NO_POSITION),
    ],
)
def test_only_clients_that_ask_get_one_more_argument(query: str, auth: dict[str, Any], chosen: int) -> None:
    handshake = Handshake(headers={}, query_string=query, address="", secure=False, time=0)
    assert choose_positions(handshake, auth) == chosen


@pytest.mark.parametrize("offset", ["nonsense", "00000000.0", ".", "x" * 64, "1.2.3", ""])
async def test_a_position_of_no_log_is_answered_plainly(own: Running, offset: str) -> None:
    async with connect(own.url, auth={**ANNA, "offset": offset, "pid": "unknown"}, transports=["websocket"]) as client:
        answer = (await client.expect_event("oyez:recovery")).args[0]
        assert not answer["recovered"]
        assert answer["reason"] in (recovery.UNKNOWN_POSITION, recovery.UNKNOWN_SESSION)
        await own.publish("news", 1, to="room")
        await expect_all(client, "news", [1])


async def test_a_position_that_does_not_exist_yet_is_made_up(own: Running) -> None:
    epoch, number = split_position(own.server.progress.position)
    async with connect(own.url, auth={**ANNA, "offset": f"{epoch}.{number + 1}"}, transports=["websocket"]) as client:
        answer = (await client.expect_event("oyez:recovery")).args[0]
        assert not answer["recovered"] and answer["reason"] == recovery.UNKNOWN_POSITION


# Further back than the window, and ahead of it.


async def test_what_is_not_at_hand_is_read_from_the_log_in_pages(own: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async with lost(own, ANNA) as client:
        await own.publish("news", -1, to="room")
        await client.expect_event("news")
    entries = [Entry(namespace="/", rooms=("room",), data=b'["news",%d]' % value) for value in range(1_203)]
    entries[5:5] = [Entry(namespace="/", rooms=("elsewhere",), data=b'["news",0]')] * 10
    await own.log.append(entries)
    await own.server.progress.wait_for_position(await own.log.position())
    # As in a process that has just been started with an empty window.
    own.server.replay_buffer.start_after(own.server.progress.position)
    async with connect(own.url, auth={**ANNA, **client.recovery}, transports=["websocket"]) as back:
        assert (await back.expect_event("oyez:recovery")).args[0]["replayed"] == 1_203
        await own.publish("news", "live", to="room")
        await expect_all(back, "news", [*range(1_203), "live"])


class SlowLog(MemoryLog):
    """A log that holds entries back as long as `held` is a list."""

    held: list[Entry] | None = None

    async def tail(self, deliver: Deliver, after: str | None = None) -> None:
        def pass_on(entries: Sequence[Entry]) -> None:
            if self.held is None:
                deliver(entries)
            else:
                self.held += entries

        await super().tail(pass_on, after)


async def test_nothing_is_sent_twice_where_the_log_is_ahead_of_this_node(spawn: Spawn) -> None:
    log = SlowLog()
    async with serve(log=log) as running, AsyncExitStack() as stack:
        async with lost(running, ANNA) as client:
            await running.publish("news", 0, to="room")
            await client.expect_event("news")
        held: list[Entry] = []
        log.held = held
        progress = running.server.progress
        await running.publish("news", 1, to="room")
        await turn_until(lambda: bool(held))
        running.server.replay_buffer.start_after(progress.position)
        # The client has received, on another node, an event that is not here yet.
        auth = {**ANNA, "offset": await log.position()}
        opening = spawn(stack.enter_async_context(connect(running.url, auth=auth, transports=["websocket"])))
        await turn_until(lambda: progress.awaited)
        log.held = None
        running.server.consumer.deliver(held)
        back = await opening
        await running.publish("news", 2, to="room")
        await expect_all(back, "news", [2])


async def test_entries_after_their_retention_are_reported_as_lost() -> None:
    now = [0.0]
    log = MemoryLog(retention=300, clock=lambda: now[0])
    async with serve(log=log) as running:
        async with lost(running, ANNA) as client:
            await running.publish("news", 0, to="room")
            await client.expect_event("news")
        await running.publish("news", 1, to="room")
        now[0] = 301.0
        await running.publish("news", 2, to="room")
        await running.server.progress.wait_for_position(await log.position())
        running.server.replay_buffer.start_after(running.server.progress.position)
        async with connect(running.url, auth={**ANNA, "offset": client.offset}, transports=["websocket"]) as back:
            answer = (await back.expect_event("oyez:recovery")).args[0]
            assert not answer["recovered"] and answer["reason"] == recovery.TOO_OLD
            await back.expect_nothing("news")


async def test_what_is_appended_while_the_log_is_read_comes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class BusyLog(MemoryLog):
        async def read(self, after: str, namespace: str, rooms: frozenset[str], limit: int) -> list[Entry]:
            await self.append([Entry(namespace="/", rooms=("room",), data=b'["news",2]')])
            await running.server.progress.wait_for_position(await self.position())
            return await super().read(after, namespace, rooms, limit)

    async with serve(log=BusyLog()) as running:
        async with lost(running, ANNA) as client:
            await running.publish("news", 0, to="room")
            await client.expect_event("news")
        await running.publish("news", 1, to="room")
        await running.server.progress.wait_for_position(await running.log.position())
        running.server.replay_buffer.start_after(running.server.progress.position)
        async with connect(running.url, auth={**ANNA, **client.recovery}, transports=["websocket"]) as back:
            await expect_all(back, "news", [1, 2])


# What is too much.


@pytest.mark.parametrize("transports", [["websocket"], ["polling"]])
async def test_too_many_missed_events_are_reported_as_such(
    own: Running, transports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MAX_MISSED", 4)
    async with lost(own, ANNA) as client:
        await own.publish("news", 0, to="room")
        await client.expect_event("news")
    for value in range(5):
        await own.publish("news", value, to="room")
    async with connect(own.url, auth={**ANNA, **client.recovery}, transports=transports) as back:
        answer = (await back.expect_event("oyez:recovery")).args[0]
        assert not answer["recovered"] and answer["reason"] == recovery.TOO_MUCH
        await back.expect_nothing("news")
        # An official client would else take itself for recovered.
        assert (back.welcome or {})["pid"] != client.recovery["pid"]


async def test_a_client_that_is_not_recovered_gets_a_new_session(own: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a new id and is in no room that it had joined: it fetches its state and joins again."""
    monkeypatch.setattr(replay, "MAX_MISSED", 0)
    async with lost(own, ANNA) as client:
        await client.call("join", "other")
    await own.publish("news", 1, to="other")
    async with connect(own.url, auth={**ANNA, **client.recovery}, transports=["websocket"]) as back:
        assert not (await back.expect_event("oyez:recovery")).args[0]["recovered"]
        assert back.sid != client.sid and (back.welcome or {})["pid"] != client.recovery["pid"]
        await own.publish("news", "of the other room", to="other")
        await own.publish("news", "of its own", to="room")
        await expect_all(back, "news", ["of its own"])
        assert own.namespace.sockets[back.sid].rooms == {"room"}


@pytest.mark.parametrize(
    "reason", [engineio.TOKEN_EXPIRED, engineio.RATE_LIMIT, engineio.TOO_LARGE, engineio.PARSE_ERROR]
)
async def test_a_javascript_client_keeps_its_session_and_rooms_however_it_was_closed(
    running: Running, js: JsDriver, reason: engineio.CloseReason
) -> None:
    client = await js.connect(
        running.url, auth=ANNA, transports=["websocket"], reconnection=True, reconnectionDelay=300
    )
    await client.call("join", "other")
    running.namespace.sockets[client.id].connection.close(reason)
    await running.market.expect_gone(client.id)
    await running.publish("news", "missed", to="other")
    report = await client.expect("connect")
    assert report["recovered"] and report["id"] == client.id
    assert await client.expect_event("news") == ["missed"]
    assert (await client.expect_event("oyez:recovery"))[0]["recovered"]


async def test_recovered_and_the_answer_never_disagree(own: Running, js: JsDriver) -> None:
    """Also for a session that is gone although its position is known."""
    client = await js.connect(own.url, auth=ANNA, transports=["websocket"], reconnection=True, reconnectionDelay=300)
    await own.publish("news", "before", to="room")
    assert await client.expect_event("news") == ["before"]
    pid = own.namespace.sockets[client.id].session.pid
    await client.cut()
    await own.market.expect_gone(client.id)
    await own.server.sessions.flush()
    assert await own.log.get_and_delete(f"session:/:{pid}") is not None
    assert not (await client.expect("connect"))["recovered"]
    answer = (await client.expect_event("oyez:recovery"))[0]
    assert not answer["recovered"] and answer["reason"] == recovery.UNKNOWN_SESSION
    await client.expect_nothing()


# Rooms.


async def test_an_excluded_client_gets_no_replay_either(own: Running) -> None:
    async with lost(own, ANNA) as client:
        await own.publish("news", 0, to="room")
        await client.expect_event("news")
    await own.publish("news", "not in the room", to="late", excluded=("room",))
    await own.publish("news", "late", to="late")
    async with connect(own.url, auth={**ANNA, "offset": client.offset}, transports=["websocket"]) as back:
        await back.call("join", "late")
        await expect_all(back, "news", ["late"])


async def test_rooms_that_the_application_puts_a_client_into_are_caught_up_with() -> None:
    """What it was put into while it was away it could not join itself."""

    class Host(Market):
        into = ""

        async def _settle(self, socket: Socket) -> None:
            await asyncio.sleep(0)
            if self.into:
                await socket.replay_room(self.into)
                socket.join(self.into)

        def connected(self, socket: Socket) -> Coroutine[Any, Any, None]:
            return self._settle(socket)

    host = Host()
    async with serve(market=host) as running:
        async with lost(running, ANNA) as client:
            await running.publish("news", 0, to="room")
            await client.expect_event("news")
        host.into = "order"
        await running.publish("news", "of the order", to="order")
        async with connect(running.url, auth={**ANNA, **client.recovery}, transports=["websocket"]) as back:
            await expect_all(back, "news", ["of the order"])
            await running.publish("news", "goes on", to="order")
            await expect_all(back, "news", ["goes on"])
            # Now it is up to the client again.
            await back.call("join", "late")
            await back.expect_event("oyez:recovery")
            assert [event for event in back.pending if event.name == "oyez:recovery" and "late" in str(event)] == []


async def test_an_offset_of_a_history_that_was_lost_does_not_spoil_the_session(js: JsDriver) -> None:
    """Official clients keep it until they receive another event."""
    async with serve() as lost_one:
        client = await js.connect(lost_one.url, auth=ANNA, reconnection=True, reconnectionDelay=300)
        await lost_one.publish("news", "before", to="room")
        assert await client.expect_event("news") == ["before"]
        port = lost_one.port
    async with serve(port=port) as running:
        report = await client.expect("connect")
        assert not report["recovered"]
        assert (await client.expect_event("oyez:recovery"))[0]["reason"] == "unknown_position"
        client.id = report["id"]
        report = await reconnect(js, running, client, ["missed"])
        assert report["recovered"]
        assert await client.expect_event("news") == ["missed"]


# Sessions that are written while other things happen.


class HeldLog(MemoryLog):
    """A log that writes no records while it is held."""

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Event()
        self.free.set()
        self.waiting = 0

    async def put_all(self, records: Mapping[str, bytes | None], ttl: float) -> None:
        self.waiting += 1
        await self.free.wait()
        self.waiting -= 1
        await super().put_all(records, ttl)


async def test_a_command_is_acknowledged_when_what_it_joined_is_remembered(spawn: Spawn) -> None:
    """Otherwise a server that dies after the acknowledgement would lose the room without notice."""
    log = HeldLog()
    async with serve(log=log) as running, connect(running.url, auth=ANNA, transports=["websocket"]) as client:
        await running.server.sessions.flush()
        log.free.clear()
        joining = spawn(client.call("join", "other"))
        await turn_until(lambda: log.waiting > 0)
        await client.expect_nothing()
        assert not joining.done()
        log.free.set()
        assert await joining == "other"


async def test_a_join_is_acknowledged_after_the_session_was_written(spawn: Spawn) -> None:
    log = HeldLog()
    async with serve(log=log) as running:
        log.free.clear()
        async with connect(running.url, auth=ANNA, transports=["websocket"]) as client:
            await turn_until(lambda: log.waiting > 0)
            joining = spawn(client.call("join", "other"))
            await running.market.expect("join", "other")
            log.free.set()
            # No other client causes sessions to be written again.
            assert await joining == "other"


async def test_a_command_that_joins_nothing_is_acknowledged_without_the_log() -> None:
    log = HeldLog()
    async with serve(log=log, log_retention=1.5) as running:
        log.free.clear()
        async with connect(running.url, auth=ANNA, transports=["websocket"]) as client:
            # The session is new; later it is due to be written again.
            await turn_until(lambda: log.waiting > 0)
            assert await client.call("echo", "hello") == "hello"
            log.free.set()
            await turn_until(lambda: log.waiting == 0)
            log.free.clear()
            await turn_until(lambda: log.waiting > 0)
            assert await client.call("echo", "again") == "again"
            log.free.set()


async def test_sessions_do_not_pile_up_while_the_log_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    class AwayLog(MemoryLog):
        away = False

        async def put_all(self, records: Mapping[str, bytes | None], ttl: float) -> None:
            if self.away:
                raise LogUnavailableError("away")
            await super().put_all(records, ttl)

    monkeypatch.setattr(session_store, "MAX_PENDING", 2)
    log = AwayLog()
    async with serve(log=log) as running:
        log.away = True
        gone = []
        for _ in range(4):
            async with lost(running, ANNA) as client:
                gone.append(client.recovery)
        with pytest.raises(LogUnavailableError):
            await running.server.sessions.flush()
        log.away = False
        await running.server.sessions.flush()
        reasons = []
        for known in gone:
            async with connect(running.url, auth={**ANNA, **known}, transports=["websocket"]) as back:
                _, args = await back.expect_event("oyez:recovery")
                reasons.append(args[0]["reason"])
        assert reasons == ["unknown_session", "unknown_session", None, None]


async def test_a_node_that_is_late_does_not_overwrite_a_session() -> None:
    log = MemoryLog()
    async with (
        serve(log=log) as first,
        serve(log=log) as second,
        connect(first.url, auth=ANNA, transports=["websocket"]) as client,
    ):
        await first.server.sessions.flush()
        async with lost(second, {**ANNA, **client.recovery}) as moved:
            assert moved.sid == client.sid
            await moved.call("join", "other")
            # Only now the first node notices that its connection was dead.
            client.connection.drop()
            await first.market.expect_gone(client.sid)
            await first.server.sessions.flush()
        await second.server.sessions.flush()
        await second.publish("news", "of the other room", to="other")
        async with connect(first.url, auth={**ANNA, **client.recovery}, transports=["websocket"]) as back:
            await expect_all(back, "news", ["of the other room"])


async def test_a_session_that_goes_on_elsewhere_on_the_same_node_is_kept_once(own: Running) -> None:
    async with connect(own.url, auth=ANNA, transports=["websocket"]) as client:
        async with lost(own, {**ANNA, **client.recovery}) as back:
            await back.call("join", "other")
        await own.server.sessions.flush()
        assert await own.log.get(f"session:/:{client.recovery['pid']}") is not None
        assert await own.log.get("session:/:") is None


async def test_a_session_survives_a_log_that_is_away_for_a_moment() -> None:
    class AwayLog(MemoryLog):
        away = False

        async def read(self, after: str, namespace: str, rooms: frozenset[str], limit: int) -> list[Entry]:
            if self.away:
                raise LogUnavailableError("away")
            return await super().read(after, namespace, rooms, limit)

    log = AwayLog()
    async with serve(log=log) as running:
        async with lost(running, {"user": "anna"}) as client:
            await client.call("join", "room")
        await running.publish("news", 1, to="room")
        await running.server.progress.wait_for_position(await log.position())
        running.server.replay_buffer.start_after(running.server.progress.position)
        auth = {"user": "anna", **client.recovery}
        log.away = True
        with pytest.raises(ConnectFailed):
            async with connect(running.url, auth=auth, transports=["websocket"]):
                pass
        log.away = False
        async with connect(running.url, auth=auth, transports=["websocket"]) as back:
            await expect_all(back, "news", [1])


# What the storage has spoiled.


class DamagingLog(SqliteLog):
    """A log of another process, in which a bit of each entry that holds `spoiled` is flipped before it is stored."""

    async def append(self, entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
        positions = await super().append(entries, checkpoint)
        with sqlite3.connect(self._path) as db:
            for position, one in zip(positions, entries, strict=True):
                if b"spoiled" in one.data:
                    number = split_position(position)[1]
                    db.execute("UPDATE entries SET entry = entry || x'00' WHERE number = ?", (number,))
        return positions


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
async def test_a_damaged_entry_costs_only_the_clients_that_may_have_missed_it(
    tmp_path: Path, js: JsDriver, restarted: bool
) -> None:
    path = tmp_path / "log.sqlite"
    # Too long for a message between processes, so the running server reads it from the file.
    spoiled = Entry(namespace="/", rooms=("elsewhere",), data=b'["news","spoiled%b"]' % (b"x" * MAX_SENT_BYTES))
    other = DamagingLog(path)
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(serve(log=SqliteLog(path)))
        client = await js.connect(
            running.url, auth=ANNA, transports=["websocket"], reconnection=True, reconnectionDelay=300
        )
        await running.publish("news", 1, to="room")
        assert await client.expect_event("news") == [1]
        if restarted:
            port = running.port
            await stack.aclose()
            await other.append([spoiled, Entry(namespace="/", rooms=("room",), data=b'["news",2]')])
            running = await stack.enter_async_context(serve(log=SqliteLog(path), port=port))
        else:
            # Spoiled before this loop turns, and so before the running server reads it.
            await other.append([spoiled])
        await other.close()
        report = await client.expect("connect")
        answer = (await client.expect_event("oyez:recovery"))[0]
        assert not report["recovered"] and not answer["recovered"] and answer["reason"] == recovery.DAMAGED
        # Publishing, connecting and recovery work on.
        await running.publish("news", 3, to="room")
        assert await client.expect_event("news") == [3]
        client.id = report["id"]
        assert (await reconnect(js, running, client, [4]))["recovered"]
        assert await client.expect_event("news") == [4]
        await client.disconnect()


async def test_a_session_that_cannot_be_read_is_no_session(own: Running) -> None:
    async with lost(own, ANNA) as client:
        pass
    await own.server.sessions.flush()
    key = f"session:/:{client.recovery['pid']}"
    record = bytearray(await own.log.get(key) or b"")
    # In the position from which it would be caught up with.
    record[record.index(b"seen") + 10] ^= 1
    await own.log.put(key, bytes(record), 60)
    async with connect(own.url, auth={**ANNA, **client.recovery}, transports=["websocket"]) as back:
        answer = (await back.expect_event("oyez:recovery")).args[0]
        assert not answer["recovered"] and answer["reason"] == recovery.UNKNOWN_SESSION
