"""Namespaces: who is let in, who is in which room, who gets what."""

import json
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest

from oyez.protocol import engineio
from oyez.server.namespaces.socket import Socket
from tests.support.application import Market
from tests.support.clock import Clock
from tests.support.js_client import JsConnectError, JsDriver
from tests.support.logged import capture_logs
from tests.support.serving import Running, serve
from tests.support.wire import PollingWire, SocketWire


async def expect_only(wire: SocketWire, *numbers: int) -> None:
    """These events `n` and no others."""
    for number in numbers:
        await wire.expect_event("n", number)
    await wire.expect_echo()


# Connecting.


async def test_a_namespace_answers_with_the_sockets_id(running: Running) -> None:
    async with SocketWire.connect(running, {"any": "thing"}) as wire:
        socket = running.market.socket(wire.id)
        assert (socket.connected, socket.data, len(wire.id)) == (True, {"any": "thing"}, 20)


async def test_a_connect_without_payload(running: Running, wire: SocketWire) -> None:
    assert running.market.socket(wire.id).data == {}


async def test_a_refusal_says_why_and_ends_the_connection(running: Running) -> None:
    async with SocketWire.begin(running) as wire:
        wire.send_text('40{"refuse":true,"rooms":["a"]}')
        answer = (await wire.read_frame()).payload
        assert json.loads(answer[2:]) == {
            "message": "The market is closed today.",
            "data": {"code": "closed_today", "opens": "tomorrow"},
        }
        assert answer[:2] == b"44"
        await wire.expect_close(1000)
        assert running.namespace.rooms == {}
        assert running.market.gone == []


async def test_a_connect_that_crashes_is_refused_without_saying_how(running: Running) -> None:
    with capture_logs() as logged:
        async with SocketWire.begin(running) as wire:
            wire.send_text('40{"crash":true,"rooms":["a"]}')
            answer = json.loads((await wire.read_frame()).payload[2:])
            assert running.namespace.rooms == {}
    [failed] = [entry for entry in logged if entry["event"] == "connect failed"]
    assert answer == {
        "message": "Something went wrong on the server.",
        "data": {"code": "internal", "error_id": failed["error_id"]},
    }


async def test_a_refused_polling_client_fetches_why_and_then_the_end(kind: str) -> None:
    async with serve(kind, limits={"refused_timeout": 0.05}) as running:
        client = await PollingWire.begin(running)
        await client.post('40{"refuse":true}')
        answer = await client.get()
        assert answer.startswith("44{")
        # The client has not disconnected.
        assert await client.get() == "41"


async def test_an_unknown_namespace(wire: SocketWire) -> None:
    wire.send_text("40/nowhere,")
    await wire.expect_text('44/nowhere,{"message":"Invalid namespace","data":{"code":"unknown_namespace"}}')
    await wire.expect_echo()


@pytest.mark.parametrize("name", ["/constructor", "/__proto__", "//", "/.", "/ünknown", "/nowhere?token=x"])
async def test_unknown_namespaces_with_odd_names(wire: SocketWire, name: str) -> None:
    wire.send_text(f"40{name},")
    assert (await wire.read_frame()).payload.startswith(f"44{name},{{".encode())
    await wire.expect_echo()


async def test_several_namespaces_over_one_connection(kind: str) -> None:
    other = Market()
    async with serve(kind, namespaces={"/other": other}) as running, SocketWire.connect(running) as wire:
        id = await wire.enter({"rooms": ["a"]}, "/other")
        assert id != wire.id
        await running.publish("n", 1)
        await running.publish("there", to="a", namespace="/other")
        await running.publish("nobody", namespace="/unknown")
        await wire.expect_event("n", 1)
        await wire.expect_text('42/other,["there"]')
        wire.send_text('42/other,7["echo",1]')
        await wire.expect_text("43/other,7[1]")
        wire.send_text("41/other,")
        assert await other.expect_gone(id) == "client namespace disconnect"
        await wire.expect_echo()
        # And once more.
        assert await wire.enter(None, "/other") != id


async def test_more_namespaces_than_are_allowed(kind: str) -> None:
    names = [f"/{number}" for number in range(3)]
    limits = {"max_namespaces_per_connection": 2}
    market = serve(kind, namespaces={name: Market() for name in names}, limits=limits)
    async with market as running, SocketWire.connect(running) as wire:
        await wire.enter(None, "/0")
        wire.send_text("40/1,")
        answer = (await wire.read_frame()).payload
        assert answer.startswith(b"44/1,{") and b"rate_limited" in answer
        wire.send_text("41/0,")
        await wire.enter(None, "/1")


async def test_coming_and_going_without_end(kind: str) -> None:
    clock, limits = Clock(), {"max_connects_per_minute": 3, "connect_timeout": 600.0}
    async with (
        serve(kind, clock=clock, ping_interval=600.0, limits=limits) as running,
        SocketWire.connect(running) as wire,
    ):
        for _ in range(2):
            wire.send_text("41")
            await wire.enter(None)
        wire.send_text("41")
        for _ in range(2):
            wire.send_text("40")
            answer = (await wire.read_frame()).payload
            assert answer.startswith(b"44{") and b'"code":"rate_limited","retry_after":60.0' in answer
        clock.now += 60.0
        await wire.enter(None)
        await wire.expect_echo()


async def test_more_namespaces_at_once_than_are_allowed() -> None:
    markets = {f"/{number}": Market() for number in range(12)}
    async with serve(namespaces=markets) as running, SocketWire.begin(running) as wire:
        for name in markets:
            wire.send_text(f'40{name},{{"hold":true}}')
        for name in ("/10", "/11"):
            assert (await wire.read_frame()).payload.startswith(f"44{name},{{".encode())
        for market in list(markets.values())[:10]:
            await market.until(lambda market=market: market.held == 1)  # type: ignore[misc]
            market.release()
        for name in list(markets)[:10]:
            assert (await wire.read_frame()).payload.startswith(f"40{name},{{".encode())


async def test_events_before_the_answer_to_connect(crowd: Running) -> None:
    async with SocketWire.begin(crowd) as wire:
        wire.send_text('40{"hold":true}')
        wire.send_text('42["early"]')
        await wire.expect_close(1002)
        crowd.market.release()
        assert "early" not in crowd.market.names()


async def test_a_second_connect_before_the_first_is_answered(crowd: Running) -> None:
    async with SocketWire.begin(crowd) as wire:
        wire.send_text('40{"hold":true}')
        wire.send_text("40")
        await wire.expect_close(1002)
        crowd.market.release()


async def test_a_client_that_goes_while_it_is_looked_at(running: Running) -> None:
    async with SocketWire.begin(running) as wire:
        wire.send_text('40{"hold":true,"rooms":["a"]}')
        await running.market.until(lambda: running.market.held == 1)
        assert len(running.namespace.rooms["a"]) == 1
        wire.abort()
        await running.settle()
    running.market.release()
    await running.namespace.tasks.drain()
    assert (running.namespace.rooms, running.namespace.sockets, running.market.gone) == ({}, {}, [])


async def test_events_reach_a_socket_after_the_answer_to_its_connect(running: Running) -> None:
    async with SocketWire.begin(running) as wire:
        wire.send_text('40{"hold":true,"rooms":["a"]}')
        await running.market.until(lambda: running.market.held == 1)
        await running.publish("n", 1, to="a")
        await running.publish("n", 2)
        running.market.release()
        assert (await wire.read_frame()).payload.startswith(b"40{")
        await running.publish("n", 3, to="a")
        await expect_only(wire, 3)


# Rooms.


async def test_rooms_everybody_and_exceptions(running: Running) -> None:
    async with (
        SocketWire.connect(running, {"rooms": ["a", "b"]}) as both,
        SocketWire.connect(running, {"rooms": ["a"]}) as first,
        SocketWire.connect(running) as none,
    ):
        await running.publish("n", 1, to="a")
        await running.publish("n", 2, to="b")
        await running.publish("n", 3)
        await running.publish("n", 4, to=("a", "b"))
        await running.publish("n", 5, to="a", excluded=("b",))
        await running.publish("n", 6, excluded=("a",))
        await running.publish("n", 7, to=("a", "b", "nobody"), excluded=("nobody",))
        await running.publish("n", 8, to="nobody")
        await running.publish("n", 9, to=none.id)
        await running.publish("n", 10, excluded=(none.id, both.id))
        await running.publish("n", 11, to=(none.id, "b"))
        await expect_only(both, 1, 2, 3, 4, 7, 11)
        await expect_only(first, 1, 3, 4, 5, 7, 10)
        await expect_only(none, 3, 6, 9, 11)


async def test_polling_and_websocket_share_rooms(running: Running) -> None:
    polling = await PollingWire.connect(running, {"rooms": ["a"]})
    async with SocketWire.connect(running, {"rooms": ["a"]}) as wire:
        for number in range(3):
            await running.publish("n", number, to="a")
        await expect_only(wire, 0, 1, 2)
    assert await polling.get() == '42["n",0]\x1e42["n",1]\x1e42["n",2]'


async def test_joining_and_leaving(running: Running, wire: SocketWire) -> None:
    socket = running.market.socket(wire.id)
    socket.join("a")
    socket.join("a")
    await running.publish("n", 1, to="a")
    await wire.expect_event("n", 1)
    socket.leave("a")
    socket.leave("a")
    await running.publish("n", 2, to="a")
    await expect_only(wire)
    assert (socket.rooms, running.namespace.rooms) == (set(), {})


async def test_a_socket_that_goes_leaves_its_rooms(running: Running) -> None:
    async with SocketWire.connect(running, {"rooms": ["a", "b"]}) as wire:
        assert set(running.namespace.rooms) == {"a", "b"}
        wire.abort()
        await running.market.expect_gone(wire.id)
        assert (running.namespace.rooms, running.namespace.sockets) == ({}, {})


async def test_fetch_sockets(running: Running) -> None:
    async with (
        SocketWire.connect(running, {"rooms": ["b", "a"]}) as one,
        SocketWire.connect(running, {"rooms": ["a"]}) as other,
    ):
        found = {info.id: info for info in running.server.fetch_sockets("/")}
        assert set(found) == {one.id, other.id}
        assert (found[one.id].rooms, found[one.id].address) == (("a", "b"), "127.0.0.1")
        assert found[one.id].data == {"rooms": ["b", "a"]}
        assert [info.id for info in running.server.fetch_sockets("/", ["b"])] == [one.id]
        assert running.server.fetch_sockets("/", ["nobody"]) == []


async def test_disconnecting_rooms(running: Running) -> None:
    async with (
        SocketWire.connect(running, {"rooms": ["a"]}) as one,
        SocketWire.connect(running, {"rooms": ["a"]}) as two,
        SocketWire.connect(running) as three,
    ):
        assert running.server.disconnect_sockets("/", ["a"]) == 2
        for wire in (one, two):
            await wire.expect_text("41")
            assert await running.market.expect_gone(wire.id) == "server namespace disconnect"
            # The connection stays, and so what it had sent by then is no offence.
            wire.send_text('42["late"]')
            wire.send_text("43123[]")
            wire.send_text("41")
            await wire.enter()
            await wire.expect_echo()
        assert "late" not in running.market.names()
        await three.expect_echo()
        assert running.server.disconnect_sockets("/", close=True) == 3
        for wire in (one, two, three):
            await wire.expect_close(1000)


async def test_an_application_that_crashes_on_disconnect(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running.market, "disconnect", None)
    with capture_logs() as logged:
        async with SocketWire.connect(running) as wire:
            wire.abort()
            await running.settle()
    assert "disconnect handler failed" in [entry["event"] for entry in logged]
    assert running.namespace.sockets == {}


# The official client.


async def test_javascript_in_two_namespaces(kind: str, js: JsDriver) -> None:
    other = Market()
    async with serve(kind, namespaces={"/other": other}) as running:
        root = await js.connect(running.url)
        client = await js.connect(f"{running.url}/other", auth={"rooms": ["a"]})
        await running.publish("hello", {"x": 1}, "two", to="a", namespace="/other")
        assert await client.expect_event("hello") == [{"x": 1}, "two"]
        assert await client.call("echo", 5) == 5
        await root.expect_nothing()
        assert client.id in running.server.namespaces["/other"].sockets
        for each in (root, client):
            await each.disconnect()
        assert await other.expect_gone(client.id) == "client namespace disconnect"


async def test_javascript_asks_for_a_namespace_there_is_not(running: Running, js: JsDriver) -> None:
    with pytest.raises(JsConnectError) as refused:
        await js.connect(f"{running.url}/nowhere")
    assert (refused.value.message, refused.value.data) == ("Invalid namespace", {"code": "unknown_namespace"})


@pytest.mark.parametrize("transports", [["polling"], ["websocket"]])
async def test_javascript_is_disconnected(running: Running, js: JsDriver, transports: list[str]) -> None:
    client = await js.connect(running.url, transports=transports)
    running.market.socket(client.id).send(b'["last words"]')
    running.server.disconnect_sockets("/", [client.id])
    await running.publish("too late")
    assert await client.expect_event("last words") == []
    await client.expect("disconnect", reason="io server disconnect")
    assert client.events() == []
    await running.settle()


class Polite(Market):
    """Sends an event when a client enters and when it leaves."""

    async def _greet(self, socket: Socket) -> None:
        await self._hold()
        socket.send(b'["welcome"]')

    def connected(self, socket: Socket) -> Coroutine[Any, Any, None]:
        return self._greet(socket)

    def on_closing(self, socket: Socket, reason: str) -> None:
        socket.send(msgspec.json.encode(["goodbye", reason]))


@pytest.mark.parametrize("transports", [["polling"], ["websocket"]])
async def test_javascript_is_greeted_first_and_receives_the_reason_of_its_end(
    kind: str, js: JsDriver, transports: list[str]
) -> None:
    market = Polite()
    async with serve(kind, market=market) as running:
        client = await js.connect(running.url, transports=transports)
        await client.emit("early")
        await running.publish("hello")
        assert await client.expect_event("hello") == []
        assert market.heard == []
        market.release()
        assert await client.expect_event("welcome") == []
        await market.expect("early")
        running.server.disconnect_sockets("/", [client.id])
        assert await client.expect_event("goodbye") == ["disconnected"]
        await client.expect("disconnect", reason="io server disconnect")


async def test_javascript_is_hung_up_on(running: Running, js: JsDriver) -> None:
    client = await js.connect(running.url, transports=["websocket"])
    running.namespace.sockets[client.id].connection.close(engineio.FORCED_SERVER_CLOSE)
    await client.expect("disconnect", reason="transport close")
