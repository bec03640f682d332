"""From polling to WebSocket: the probe, the switch, and all that can interrupt them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from oyez.protocol import engineio
from oyez.protocol.engineio import CloseReason
from oyez.protocol.websocket import encode_close
from oyez.server.transports.polling import Polling
from tests.support.clock import PATIENCE
from tests.support.js_client import JsConnectError, JsDriver
from tests.support.serving import Running, serve, turn_until
from tests.support.tasks import Spawn
from tests.support.wire import BINARY, CLOSE, TEXT, WEBSOCKET, PollingWire, SocketWire, Wire, encode_frame


@asynccontextmanager
async def candidate_of(running: Running, client: PollingWire, *, probe: bool = True) -> AsyncIterator[SocketWire]:
    """A WebSocket that wants to take over from `client`."""
    async with SocketWire.open(running) as wire:
        assert (await wire.upgrade(f"{WEBSOCKET}&sid={client.sid}")).status == 101
        if probe:
            wire.send_text("2probe")
            await wire.expect_text("3probe")
        yield wire


async def test_the_switch(running: Running) -> None:
    client = await PollingWire.connect(running, {"rooms": ["a"]})
    async with candidate_of(running, client) as wire:
        wire.send_text("5")
        await running.publish("hello", to="a")
        await wire.expect_event("hello")
        await wire.expect_echo()
        for method in ("GET", "POST"):
            assert (await client.request(method, body=b"3")).error == (400, 3)
        await running.publish("still", to="a", volatile=True)
        await wire.expect_event("still")
    assert await running.market.expect_gone(client.id) == "transport close"


async def test_an_open_poll_is_ended_by_the_probe(running: Running, polling: PollingWire) -> None:
    async with Wire.open(running) as poll:
        poll.send_request("GET", polling.target)
        await polling.post("3")
        async with candidate_of(running, polling):
            assert (await poll.read_answer()).body == b"6"


async def test_polls_are_short_while_a_websocket_probes(running: Running, polling: PollingWire) -> None:
    async with candidate_of(running, polling):
        async with asyncio.timeout(PATIENCE):
            assert await polling.get() == "6"
            assert await polling.get() == "6"


async def test_a_poll_that_is_open_at_the_switch_is_ended(running: Running, polling: PollingWire) -> None:
    async with candidate_of(running, polling) as wire, Wire.open(running) as poll:
        poll.send_request("GET", polling.target)
        # The answer comes after it.
        await polling.post("3")
        wire.send_text("5")
        assert (await poll.read_answer()).body == b"1"
        await wire.expect_echo()


async def test_what_was_not_fetched_goes_over_the_websocket(running: Running) -> None:
    client = await PollingWire.connect(running, {"rooms": ["a"]})
    async with candidate_of(running, client) as wire:
        for number in range(3):
            await running.publish("before", number, to="a")
        await client.post('451-5["echo",{"_placeholder":true,"num":0}]\x1ebAQID')
        wire.send_text("5")
        await running.publish("after", to="a")
        for number in range(3):
            await wire.expect_event("before", number)
        await wire.expect_text('461-5[{"_placeholder":true,"num":0}]')
        assert (await wire.read_frame())[:2] == (BINARY, b"\x01\x02\x03")
        await wire.expect_event("after")


async def test_until_the_switch_everything_goes_by_polling(running: Running) -> None:
    client = await PollingWire.connect(running, {"rooms": ["a"]})
    async with candidate_of(running, client) as wire:
        await running.publish("before", to="a")
        assert await client.get() == '42["before"]'
        await client.post('421["echo",1]')
        assert await client.get() == "431[1]"
        wire.send_text("5")
        await wire.expect_echo()


# What goes wrong.

NO_PROBE = {
    "ping without the word": encode_frame(TEXT, b"2"),
    "another word": encode_frame(TEXT, b"2probes"),
    "message": encode_frame(TEXT, b'42["early"]'),
    "connect": encode_frame(TEXT, b"40"),
    "nothing": encode_frame(TEXT, b""),
    "binary": encode_frame(BINARY, b"2probe"),
    "too long": encode_frame(TEXT, b"2" * 1_000_001),
}
MALFORMED = {
    "reserved bits": encode_frame(TEXT, b"2probe", rsv=1),
    "not UTF-8": encode_frame(TEXT, b"\xff"),
    "not masked": encode_frame(TEXT, b"2probe", mask=None),
    "close": encode_frame(CLOSE, b"\x03\xe8"),
    "fragments": encode_frame(TEXT, b"2", fin=False) * 2,
}


@pytest.mark.parametrize("frame", NO_PROBE.values(), ids=list(NO_PROBE))
async def test_polling_survives_a_websocket_that_does_not_probe(
    running: Running, polling: PollingWire, frame: bytes
) -> None:
    async with candidate_of(running, polling, probe=False) as wire:
        wire.send(frame)
        assert (await wire.read_frame()).opcode == CLOSE
        await polling.expect_echo()
        assert "early" not in running.market.names()
    await switch(running, polling)


@pytest.mark.parametrize("frame", MALFORMED.values(), ids=list(MALFORMED))
async def test_polling_survives_a_websocket_that_breaks_its_protocol(
    running: Running, polling: PollingWire, frame: bytes
) -> None:
    async with candidate_of(running, polling) as wire:
        wire.send(frame)
        assert (await wire.read_frame()).opcode == CLOSE
        await polling.expect_echo()
    await switch(running, polling)


async def switch(running: Running, client: PollingWire) -> None:
    """It can be tried again: the server has let go of the one before."""
    connection = running.server.registry.connections[client.sid]
    await turn_until(lambda: connection.upgrade is None)
    async with candidate_of(running, client) as wire:
        wire.send_text("5")
        await wire.expect_echo()


async def test_polling_survives_a_websocket_that_goes(running: Running, polling: PollingWire) -> None:
    async with candidate_of(running, polling) as wire:
        wire.abort()
    await polling.expect_echo()
    await switch(running, polling)


async def test_an_upgrade_without_a_probe(running: Running) -> None:
    # elephant.io (PHP) and SocketIOClient (C#) send nothing else, and official servers accept it.
    client = await PollingWire.connect(running, {"rooms": ["a"]})
    await running.publish("before", to="a")
    async with candidate_of(running, client, probe=False) as wire:
        wire.send_text("5")
        await wire.expect_event("before")
        await wire.expect_echo()


async def test_a_probe_may_be_repeated(running: Running, polling: PollingWire) -> None:
    async with candidate_of(running, polling) as wire:
        wire.send_text("2probe")
        await wire.expect_text("3probe")
        wire.send_text("5")
        await wire.expect_echo()


@pytest.mark.parametrize("probe", [True, False])
async def test_an_upgrade_that_takes_too_long_is_given_up(kind: str, probe: bool) -> None:
    async with serve(kind, limits={"upgrade_timeout": 0.1}) as running:
        client = await PollingWire.connect(running)
        async with candidate_of(running, client, probe=probe) as wire:
            await wire.expect_close(1008)
        await client.expect_echo()
        await switch(running, client)
        assert running.market.gone == [] or running.market.gone[0][1] == "transport close"


async def expect_refused(wire: Wire, sid: str) -> None:
    """A session's second WebSocket is accepted and closed, as by official servers."""
    assert (await wire.upgrade(f"{WEBSOCKET}&sid={sid}")).status == 101
    close = encode_close(1008, "The session has a WebSocket already.")
    assert await wire.read(len(close)) == close


async def test_a_second_websocket_is_refused_while_one_probes(running: Running, polling: PollingWire) -> None:
    async with candidate_of(running, polling) as wire, Wire.open(running) as other:
        await expect_refused(other, polling.sid)
        wire.send_text("5")
        await wire.expect_echo()


async def test_a_websocket_is_refused_after_the_switch(running: Running, polling: PollingWire) -> None:
    async with candidate_of(running, polling) as wire:
        wire.send_text("5")
        await wire.expect_echo()
        async with Wire.open(running) as other:
            await expect_refused(other, polling.sid)
        await wire.expect_echo()


async def test_a_websocket_is_refused_for_a_session_that_began_as_one(running: Running, wire: SocketWire) -> None:
    async with Wire.open(running) as other:
        await expect_refused(other, wire.sid)
        await wire.expect_echo()


async def test_a_session_that_ends_takes_the_websocket_that_probes_along(
    running: Running, polling: PollingWire
) -> None:
    async with candidate_of(running, polling) as wire:
        await polling.post("1")
        await wire.expect_close(1000)
    await running.settle()


ENDS = {
    engineio.SERVER_SHUTDOWN: 1012,
    engineio.TOKEN_EXPIRED: 1008,
    engineio.PING_TIMEOUT: 1001,
    engineio.FORCED_SERVER_CLOSE: 1000,
}


@pytest.mark.parametrize(("reason", "code"), ENDS.items(), ids=[reason.text for reason in ENDS])
async def test_a_client_that_has_stopped_polling_is_closed_over_the_websocket(
    running: Running, polling: PollingWire, reason: CloseReason, code: int
) -> None:
    async with candidate_of(running, polling) as wire:
        socket = running.market.socket(polling.id)
        socket.send(b'["last words"]')
        socket.connection.close(reason)
        assert await running.market.expect_gone(polling.id) == reason.text
        # The client has paused polling after `3probe`, so it would not fetch the end of the session.
        wire.send_text("5")
        if reason is not engineio.PING_TIMEOUT:
            await wire.expect_event("last words")
        await wire.expect_close(code)
    await running.settle()
    assert (await polling.request("GET")).error == (400, 1)


async def test_a_close_while_the_last_poll_is_being_answered_is_sent_over_the_websocket(
    running: Running, monkeypatch: pytest.MonkeyPatch, spawn: Spawn
) -> None:
    """The answer has its payload already. The client stops polling after it, and receives only the WebSocket."""
    client = await PollingWire.connect(running)
    socket = running.market.socket(client.id)
    end_get = Polling.end_get

    def close_first(polling: Polling, *, aborted: bool) -> None:
        socket.connection.close(engineio.SERVER_SHUTDOWN)
        end_get(polling, aborted=aborted)

    polling = spawn(client.get())
    async with candidate_of(running, client) as wire:
        monkeypatch.setattr(Polling, "end_get", close_first)
        assert await polling == "6"
        connection = running.server.registry.find(client.sid)
        assert connection is not None and connection.closed and connection.upgrade is not None
        wire.send_text("5")
        await wire.expect_close(1012)
    await running.settle()


async def test_a_close_at_the_moment_at_which_a_poll_times_out_is_its_answer(
    running: Running, monkeypatch: pytest.MonkeyPatch, spawn: Spawn
) -> None:
    """After a noop, the client would stop polling, and would wait for the WebSocket, which is closed already."""
    client = await PollingWire.connect(running)
    connection = running.server.registry.connections[client.sid]
    async with candidate_of(running, client):
        polling = connection.transport
        assert isinstance(polling, Polling)
        monkeypatch.setattr("oyez.server.transports.polling.PROBED_POLL_SECONDS", 0)
        assert polling.begin_get()
        fetching = spawn(polling.fetch())
        # The poll begins, then its time is over; its task has not continued yet.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not fetching.done()
        connection.close(engineio.SERVER_SHUTDOWN)
        assert connection.upgrade is None
        # An error status, after which the client closes and reconnects.
        assert await fetching is None
        polling.end_get(aborted=False)
    await running.settle()


async def test_a_server_that_stops_waits_for_websockets_that_have_probed(kind: str) -> None:
    async with serve(kind) as running:
        client = await PollingWire.connect(running)
        async with candidate_of(running, client) as wire:
            stopping = running.stop()
            assert await running.market.expect_gone(client.id) == "server shutting down"
            wire.send_text("5")
            await wire.expect_close(1012)
            await stopping


async def test_a_client_that_does_not_upgrade_is_not_waited_for_longer(kind: str) -> None:
    async with serve(kind, limits={"upgrade_timeout": 0.1}) as running:
        client = await PollingWire.connect(running)
        async with candidate_of(running, client) as wire:
            running.market.socket(client.id).connection.close(engineio.SERVER_SHUTDOWN)
            await wire.expect_close(1008)
        await running.settle()
        assert running.server.registry.find(client.sid) is None


async def test_javascript_clients_that_come_while_a_server_stops_all_notice(js: JsDriver) -> None:
    # Of a mounted server the ASGI server closes the WebSockets itself, before it stops the application.
    async with serve("picows") as running:
        crowd = await js.crowd(running.url, count=60, seconds=0.5)
        await running.market.until(lambda: len(running.market.sockets) >= 20)
        await running.stop()
        assert await crowd.count_deaf() == 0


async def test_another_version_is_no_upgrade_of_the_session(running: Running, polling: PollingWire) -> None:
    async with Wire.open(running) as wire:
        assert (await wire.upgrade(f"{WEBSOCKET.replace('EIO=4', 'EIO=3')}&sid={polling.sid}")).status == 400
    await polling.expect_echo()


# The official client.


async def test_javascript_switches_and_loses_nothing(running: Running, js: JsDriver) -> None:
    client = await js.connect(running.url, auth={"rooms": ["a"]})
    assert await client.transport() == "websocket"
    assert await client.call("echo", "there") == "there"
    await client.disconnect()


async def test_javascript_is_sent_events_all_the_while_it_switches(
    running: Running, js: JsDriver, spawn: Spawn
) -> None:
    done = asyncio.Event()

    async def publish() -> None:
        number = 0
        while not done.is_set():
            await running.publish("number", number, to="a")
            number += 1
            await asyncio.sleep(0)

    publishing = spawn(publish())
    client = await js.connect(running.url, auth={"rooms": ["a"]})
    done.set()
    await publishing
    await client.call("oyez:barrier")
    numbers = [args[0] for _, args in client.events()]
    assert len(numbers) > 3
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    await client.disconnect()


@pytest.mark.parametrize(
    ("options", "transport"),
    [
        ({"upgrade": False}, "polling"),
        ({"transports": ["polling"]}, "polling"),
        ({"transports": ["websocket"]}, "websocket"),
    ],
)
async def test_javascript_with_one_transport(
    running: Running, js: JsDriver, options: Mapping[str, Any], transport: str
) -> None:
    client = await js.connect(running.url, **{"transports": ["polling"], **options})
    assert await client.transport() == transport
    assert await client.call("echo", {"a": [1, None, "€"]}) == {"a": [1, None, "€"]}
    await client.disconnect()
    await running.settle()


@pytest.mark.parametrize("transports", [["polling", "websocket"], ["polling"], ["websocket"], ["websocket", "polling"]])
async def test_javascript_receives_the_reason_of_a_refusal(
    running: Running, js: JsDriver, transports: list[str]
) -> None:
    with pytest.raises(JsConnectError) as refused:
        await js.connect(running.url, auth={"refuse": True}, transports=transports)
    assert refused.value.message == "The market is closed today."
    assert refused.value.data == {"code": "closed_today", "opens": "tomorrow"}
    await running.settle()
