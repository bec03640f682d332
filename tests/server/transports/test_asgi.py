"""Oyez mounted in a FastAPI application under plain uvicorn: WebSockets over ASGI behave as those on Oyez' own port."""

import asyncio

import pytest

from oyez.protocol import engineio
from oyez.server.transports.asgi import AsgiWebSocket
from oyez.server.transports.polling import Polling
from tests.support.clock import PATIENCE
from tests.support.js_client import JsConnectError, JsDriver
from tests.support.server_steps import open_requests, read_up_to_close, stop, stuff
from tests.support.serving import PATH, Running, serve, transport_of, turn_until
from tests.support.tasks import Spawn
from tests.support.wire import BINARY, POLLING, TEXT, WEBSOCKET, PollingWire, SocketWire, Wire

TRANSPORTS = [["websocket"], ["polling"], ["polling", "websocket"]]


# The JavaScript client.


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_events_and_answers_in_both_directions(mounted: Running, js: JsDriver, transports: list[str]) -> None:
    client = await js.connect(
        mounted.url, transports=transports, auth={"rooms": ["a"]}, answers={"question": {"is": ["42"]}}
    )
    carried_by = transport_of(mounted.market.socket(client.id))
    assert isinstance(carried_by, Polling if transports == ["polling"] else AsgiWebSocket)
    binary = {"nested": [{"base64": "AAEC"}, {"base64": ""}]}
    for value in (None, 1, "€", {"a": [1, 2]}, "x" * 100_000, binary):
        assert await client.call("echo", value) == value
    assert await client.call("ask") == {"is": ["42"]}
    await client.expect("event", event="question")
    for number in range(100):
        await mounted.publish("hello", number, to="a")
        await mounted.publish("not for you", to="b")
    for number in range(100):
        assert await client.expect_event("hello") == [number]
    await client.expect_nothing()
    await client.disconnect()
    assert await mounted.market.expect_gone(client.id) == "client namespace disconnect"
    await mounted.settle()


@pytest.mark.parametrize("transports", TRANSPORTS[:2])
async def test_refused_clients(mounted: Running, js: JsDriver, transports: list[str]) -> None:
    with pytest.raises(JsConnectError) as refused:
        await js.connect(mounted.url, transports=transports, auth={"refuse": True})
    assert refused.value.message == "The market is closed today."
    assert refused.value.data == {"code": "closed_today", "opens": "tomorrow"}
    with pytest.raises(JsConnectError) as crashed:
        await js.connect(mounted.url, transports=transports, auth={"crash": True})
    assert crashed.value.data["code"] == "internal"
    with pytest.raises(JsConnectError) as unknown:
        await js.connect(f"{mounted.url}/elsewhere", transports=transports)
    assert unknown.value.message == "Invalid namespace"
    assert mounted.market.sockets == []


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_a_server_that_disconnects(mounted: Running, js: JsDriver, transports: list[str]) -> None:
    client = await js.connect(mounted.url, transports=transports)
    mounted.market.socket(client.id).disconnect(close=True)
    await client.expect("disconnect", reason="io server disconnect")
    await mounted.settle()


@pytest.mark.parametrize("transports", TRANSPORTS[::2])
async def test_a_network_that_breaks(mounted: Running, js: JsDriver, transports: list[str]) -> None:
    client = await js.connect(mounted.url, transports=transports)
    await client.cut()
    assert await mounted.market.expect_gone(client.id) == "transport close"
    await mounted.settle()


async def test_the_rest_of_the_application_is_served_too(mounted: Running) -> None:
    async with SocketWire.connect(mounted) as wire, Wire.open(mounted) as other:
        answer = await other.request("GET", "/hello")
        assert (answer.status, answer.body) == (200, b'"world"')
        await wire.expect_echo()


# Byte for byte.


async def test_what_a_client_may_not_send_closes_it_alone(mounted: Running) -> None:
    offences = [
        ((TEXT, b"4" * 1_000_001), 1009, "message too large"),
        ((BINARY, b"4" * 1_000_001), 1009, "message too large"),
        ((TEXT, b"2"), 1002, "parse error"),
        ((TEXT, b"42[]"), 1002, "forced close"),
        ((BINARY, b"nobody announced"), 1002, "forced close"),
        ((TEXT, b'42["\xff"]'), 1007, None),
    ]
    async with SocketWire.connect(mounted) as bystander:
        for (opcode, payload), code, reason in offences:
            async with SocketWire.connect(mounted) as wire:
                wire.send_frame(opcode, payload)
                await wire.expect_close(code)
                gone = await mounted.market.expect_gone(wire.id)
                assert reason is None or gone == reason
        await bystander.expect_echo()
        await mounted.settle(but_for=bystander.sid)


async def test_a_message_as_long_as_is_allowed(mounted: Running) -> None:
    async with SocketWire.connect(mounted) as wire:
        filling = "x" * (1_000_000 - len('421["echo",""]'))
        wire.send_text(f'421["echo","{filling}"]')
        assert (await wire.read_frame()).payload.decode() == f'431["{filling}"]'


async def test_a_client_that_does_not_read_costs_no_more_than_its_limit() -> None:
    async with (
        serve("asgi", limits={"max_send_buffer": 100_000}) as running,
        SocketWire.connect(running, receive_buffer=4_096) as slow,
    ):
        transport = transport_of(running.market.socket(slow.id))
        assert isinstance(transport, AsgiWebSocket)
        sent = 0
        while slow.id not in dict(running.market.gone):
            await running.publish("filling", "x" * 30_000, to=slow.id)
            assert transport._buffer.size <= 150_000
            await asyncio.sleep(0)
            sent += 1
            assert sent < 1_000, "no bound"
        assert await running.market.expect_gone(slow.id) == "slow consumer"
        await running.settle()


async def test_a_client_that_sends_faster_than_its_handlers_work_waits(mounted: Running) -> None:
    async with SocketWire.connect(mounted) as wire:
        wire.send_text('421["hold"]')
        for number in range(300):
            wire.send_text(f'42["later",{number}]')
        await mounted.market.until(lambda: mounted.market.held == 1)
        queue = mounted.market.socket(wire.id)._queue
        assert queue is not None
        await turn_until(lambda: len(queue) >= 64)
        for _ in range(100):
            await asyncio.sleep(0)
        # A message that had been read already still comes in.
        assert len(queue) <= 65
        mounted.market.release()
        await mounted.market.expect("later", 299)
        assert [number for name, number in mounted.market.heard if name == "later"] == list(range(300))
        await wire.expect_text("431[]")
        await wire.expect_echo()


# Upgrades.

REFUSED = [
    (f"{PATH}?EIO=4", {}, 400, "Transport unknown"),
    (f"{PATH}?EIO=4&transport=__proto__", {}, 400, "Transport unknown"),
    (POLLING, {}, 400, "Bad request"),
    (f"{WEBSOCKET}&sid=nobody", {}, 400, "Session ID unknown"),
    (f"{WEBSOCKET}&j=0", {}, 400, "Bad request"),
    (f"{PATH}?EIO=3&transport=websocket", {}, 400, "Unsupported protocol version"),
    (WEBSOCKET, {"Origin": "https://elsewhere.example"}, 403, "Forbidden"),
]


@pytest.mark.parametrize(("target", "headers", "status", "message"), REFUSED)
async def test_refused_upgrades(
    mounted: Running, target: str, headers: dict[str, str], status: int, message: str
) -> None:
    async with Wire.open(mounted) as wire:
        answer = await wire.upgrade(target, headers)
        body = answer.body or (await wire.read_rest())
        assert (answer.status, answer.headers["content-type"]) == (status, "text/html")
        assert message in body.decode()
    await mounted.settle()


@pytest.mark.parametrize("frame", [(TEXT, b"4"), (TEXT, b"2"), (BINARY, b"2probe"), (TEXT, b"4" * 1_000_001)])
async def test_a_probe_that_says_something_else_is_closed_and_polling_goes_on(
    mounted: Running, frame: tuple[int, bytes]
) -> None:
    client = await PollingWire.connect(mounted)
    async with SocketWire.open(mounted) as wire:
        assert (await wire.upgrade(f"{WEBSOCKET}&sid={client.sid}")).status == 101
        wire.send_frame(*frame)
        assert (await read_up_to_close(wire))[0] == []
    await client.expect_echo()


async def test_a_probe_that_is_not_completed_is_closed_and_polling_goes_on() -> None:
    async with serve("asgi", limits={"upgrade_timeout": 0.1}) as running:
        client = await PollingWire.connect(running)
        async with SocketWire.open(running) as wire:
            await wire.upgrade(f"{WEBSOCKET}&sid={client.sid}")
            wire.send_text("2probe")
            await wire.expect_text("3probe")
            await wire.expect_close(1008)
        await client.expect_echo()


async def test_only_one_websocket_probes_and_none_after_the_upgrade(mounted: Running) -> None:
    client = await PollingWire.connect(mounted)
    target = f"{WEBSOCKET}&sid={client.sid}"
    async with (
        SocketWire.open(mounted) as wire,
        SocketWire.open(mounted) as second,
        SocketWire.open(mounted) as third,
    ):
        await wire.upgrade(target)
        await second.upgrade(target)
        await second.expect_close(1008)
        wire.send_text("2probe")
        await wire.expect_text("3probe")
        await mounted.publish("hello", to=client.id)
        assert await client.get() == '42["hello"]'
        await mounted.publish("kept", to=client.id)
        wire.send_text("5")
        await wire.expect_event("kept")
        await wire.expect_echo()
        await third.upgrade(target)
        await third.expect_close(1008)
        assert (await client.request("GET")).error == (400, 3)


# Stopping.


async def test_a_client_whose_websocket_is_closed_while_it_upgrades_gets_an_error_from_its_poll() -> None:
    """It would not poll again: after any other answer, it would be deaf until its ping time-out."""
    async with serve("asgi") as running:
        client = await PollingWire.connect(running)
        async with SocketWire.open(running) as wire, Wire.open(running) as poll:
            await wire.upgrade(f"{WEBSOCKET}&sid={client.sid}")
            wire.send_text("2probe")
            await wire.expect_text("3probe")
            poll.send_request("GET", client.target)
            await turn_until(lambda: any(each.get_open for each in running.polling))
            # As uvicorn does when it stops, before it ends the lifespan.
            for connection in tuple(running.http.server_state.connections):
                if hasattr(connection, "handshake_complete") or hasattr(connection, "handshake_completed_event"):
                    connection.shutdown()
            await wire.expect_close(1012)
            assert (await poll.read_answer()).error == (400, 1)


async def test_a_client_that_does_not_notice_a_close_frame_notices_the_end_of_the_network(mounted: Running) -> None:
    async with SocketWire.connect(mounted, {"rooms": ["a"]}, headers={"User-Agent": "okhttp/3.12.12"}) as wire:
        mounted.market.socket(wire.id).connection.close(engineio.SERVER_SHUTDOWN)
        assert await wire.read_rest() == b""


async def test_websocket_clients_are_notified_that_the_server_stops(mounted: Running, js: JsDriver) -> None:
    client = await js.connect(mounted.url, transports=["websocket"])
    async with SocketWire.connect(mounted) as wire:
        stopping = mounted.stop()
        await wire.expect_close(1012)
        await stopping
    await client.expect("disconnect", reason="transport close")
    assert mounted.server.registry.connections == {}


async def test_clients_are_notified_when_the_lifespan_ends(mounted: Running, spawn: Spawn) -> None:
    client = await PollingWire.connect(mounted)
    async with SocketWire.connect(mounted) as wire, Wire.open(mounted) as poll:
        poll.send_request("GET", client.target)
        await open_requests(mounted, polls=1)
        stopping = spawn(mounted.server.stop())
        await wire.expect_close(1012)
        assert (await poll.read_answer()).error == (400, 1)
        await stopping
        assert await mounted.market.expect_gone(client.id) == "server shutting down"
        assert (await client.request("GET", POLLING)).error == (503, 6)


async def test_a_client_that_never_reads_does_not_hold_the_stop_up() -> None:
    async with (
        serve("asgi", shutdown_timeout=0.3, limits={"close_timeout": 3600.0}) as running,
        SocketWire.connect(running, receive_buffer=4_096) as wire,
    ):
        await stuff(running, wire)
        async with asyncio.timeout(PATIENCE):
            await running.server.stop()
        assert running.server.registry.connections == {}
        await running.settle()
        await stop(running)
