"""The endpoint of plain WebSockets, as clients of the `websockets` library use it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Close

from oyez.protocol.json_frames import MAX_TEXT_IDS
from oyez.protocol.json_session import MAX_PENDING_FRAMES
from tests.support.application import Market
from tests.support.clock import PATIENCE, Clock
from tests.support.serving import PLAIN_PATH, Running, serve
from tests.support.wire import TEXT, SocketWire, encode_frame


class Plain:
    """One plain client."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket
        self.id = ""

    async def send(self, frame: Any) -> None:
        await self.websocket.send(json.dumps(frame))

    async def expect(self) -> Any:
        async with asyncio.timeout(PATIENCE):
            return json.loads(await self.websocket.recv())

    async def expect_echo(self) -> None:
        """All that was sent before now has arrived: nothing else comes before the answer."""
        await self.send({"event": "echo", "data": "?", "id": 99})
        assert await self.expect() == {"id": 99, "data": "?"}

    async def expect_close(self) -> Close:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(ConnectionClosed) as closed:
                await self.websocket.recv()
        assert closed.value.rcvd is not None
        return closed.value.rcvd


@asynccontextmanager
async def reach(running: Running, **query: str) -> AsyncIterator[Plain]:
    """A client that has opened its WebSocket."""
    url = f"ws://localhost:{running.port}{PLAIN_PATH}?{urlencode(query)}"
    async with connect(url, compression="deflate" if query.pop("deflate", "") else None) as websocket:
        yield Plain(websocket)


@asynccontextmanager
async def enter(running: Running, **query: str) -> AsyncIterator[Plain]:
    """A client that has been let in."""
    async with reach(running, **query) as plain:
        frame = await plain.expect()
        assert frame["event"] == "connect"
        plain.id = frame["data"]["sid"]
        yield plain


@pytest.mark.parametrize("namespace", ["/nowhere", "nowhere", '/a,{"b":1}', 'x,{"data":', "/1[", "\r\n", "/\x1e"])
async def test_a_namespace_that_does_not_exist_is_not_part_of_the_answer(running: Running, namespace: str) -> None:
    async with reach(running, namespace=namespace) as plain:
        frame = await plain.expect()
        assert (frame["event"], frame["data"]["data"]) == ("connect_error", {"code": "unknown_namespace"})
        assert namespace not in json.dumps(frame)


# Coming back.


async def test_what_was_missed_comes_in_the_same_words(running: Running) -> None:
    asking = {"recovery": "true"}
    async with enter(running, **asking) as plain:
        begin = await plain.expect()
        assert (begin["event"], begin["data"]["reason"]) == ("oyez:recovery", "new")
        await running.publish("news", 1)
        heard = await plain.expect()
        assert (heard["event"], heard["data"]) == ("news", 1)
    await running.market.expect_gone(plain.id)
    await running.publish("news", 2)
    async with enter(running, **asking, offset=heard["offset"]) as back:
        missed = await back.expect()
        assert (missed["event"], missed["data"]) == ("news", 2)
        answer = await back.expect()
        assert answer["event"] == "oyez:recovery"
        assert answer["data"] == {
            "recovered": True,
            "replayed": 1,
            "from": heard["offset"],
            "to": missed["offset"],
            "reason": None,
        }


# Events.


async def test_what_is_sent_arrives_and_is_answered(running: Running) -> None:
    async with enter(running) as plain:
        await plain.send({"event": "echo", "data": {"price": 12.5}, "id": 7})
        assert await plain.expect() == {"id": 7, "data": {"price": 12.5}}
        await plain.send({"event": "nothing"})
        await plain.send({"event": "several", "data": ["a", 2], "id": 0})
        await running.market.expect("several", "a")
        assert running.market.heard[-2] == ("nothing", None)


async def test_each_event_reaches_the_right_rooms(running: Running) -> None:
    async with enter(running, rooms="a") as inside, enter(running, rooms="b") as outside, enter(running) as excluded:
        await running.publish("new", {"n": 1}, to="a")
        await running.publish("all", {"n": 2}, excluded=(excluded.id,))
        await running.publish("hint", {"n": 3}, volatile=True, to=("a", "b"))
        assert [await inside.expect() for _ in range(3)] == [
            {"event": name, "data": {"n": number}} for number, name in enumerate(("new", "all", "hint"), 1)
        ]
        assert [(await outside.expect())["event"] for _ in range(2)] == ["all", "hint"]
        await excluded.expect_echo()


async def test_socket_io_clients_in_the_same_room_receive_the_same(running: Running) -> None:
    async with enter(running, rooms="a") as plain, SocketWire.connect(running, {"rooms": ["a"]}) as wire:
        for number in range(3):
            await running.publish("new", {"n": number}, to="a")
            assert await plain.expect() == {"event": "new", "data": {"n": number}}
            await wire.expect_text(f'42["new",{{"n":{number}}}]')


async def test_a_client_that_does_not_read_gets_the_events_in_order() -> None:
    limits = {"max_send_buffer": 50_000_000}
    async with serve("picows", limits=limits) as running, enter(running, rooms="a") as plain:
        plain.websocket.transport.pause_reading()
        # More than the buffers of both networks hold, so the last ones wait in the server.
        for number in range(400):
            await running.publish("new", {"n": number, "text": "x" * 50_000}, to="a")
        plain.websocket.transport.resume_reading()
        assert [(await plain.expect())["data"]["n"] for _ in range(400)] == list(range(400))


async def test_a_long_message_is_compressed_where_that_was_agreed(running: Running) -> None:
    async with enter(running, rooms="a", deflate="yes") as squeezed, enter(running, rooms="a") as plain:
        await running.publish("long", {"text": "x" * 5_000}, to="a")
        for client in (squeezed, plain):
            assert (await client.expect())["data"]["text"] == "x" * 5_000


async def test_the_server_may_ask_for_an_answer(running: Running) -> None:
    async with enter(running) as plain:
        await plain.send({"event": "ask", "data": {}, "id": 1})
        assert await plain.expect() == {"event": "question", "id": 0}
        await plain.send({"id": 0, "data": "yes"})
        assert await plain.expect() == {"id": 1, "data": "yes"}


async def test_half_a_character_is_mended_as_elsewhere(running: Running) -> None:
    async with enter(running) as plain:
        await plain.websocket.send(r'{"event": "echo", "data": "cut \ud83d", "id": 1}')
        assert await plain.expect() == {"id": 1, "data": "cut \ufffd"}


# Coming.


async def test_early_frames_wait_until_the_client_is_accepted(running: Running) -> None:
    async with reach(running, hold="yes") as plain:
        for number in range(5):
            await plain.send({"event": "echo", "data": number, "id": number})
        running.market.release()
        assert (await plain.expect())["event"] == "connect"
        assert [await plain.expect() for _ in range(5)] == [{"id": number, "data": number} for number in range(5)]


async def test_a_refused_client_receives_the_reason(running: Running) -> None:
    async with reach(running, refuse="yes") as plain:
        refusal = {"message": "The market is closed today.", "data": {"code": "closed_today", "opens": "tomorrow"}}
        assert await plain.expect() == {"event": "connect_error", "data": refusal}
        assert await plain.expect_close() == Close(1008, "refused")
    await running.settle()


async def test_another_namespace_is_named_in_the_address(kind: str) -> None:
    back = Market()
    async with serve(kind, namespaces={"/back": back}) as running:
        async with enter(running, namespace="/back", rooms="a") as plain:
            await plain.send({"event": "echo", "data": 1, "id": 1})
            assert await plain.expect() == {"id": 1, "data": 1}
            await running.publish("new", {}, to="a", namespace="/back")
            await running.publish("new", {}, to="a")
            assert await plain.expect() == {"event": "new", "data": {}}
            await plain.expect_echo()
        assert back.names()[0] == "echo"
        async with reach(running, namespace="/none") as plain:
            assert (await plain.expect())["data"]["data"]["code"] == "unknown_namespace"
            assert (await plain.expect_close()).code == 1008


async def test_a_page_of_another_origin_is_refused(running: Running) -> None:
    url = f"ws://localhost:{running.port}{PLAIN_PATH}"
    with pytest.raises(InvalidStatus):
        async with connect(url, origin="https://elsewhere.example"):  # type: ignore[arg-type]
            pass


async def test_plain_http_is_asked_to_upgrade() -> None:
    async with serve("asgi") as running, httpx.AsyncClient(timeout=PATIENCE) as client:
        answer = await client.get(f"{running.url}{PLAIN_PATH}")
        assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")


# Going.


async def test_a_client_that_goes_is_gone(running: Running) -> None:
    async with enter(running) as plain:
        pass
    assert await running.market.expect_gone(plain.id) == "transport close"
    await running.settle()


@pytest.mark.parametrize("close", [False, True])
async def test_a_client_that_is_disconnected_is_closed(running: Running, close: bool) -> None:
    async with enter(running) as plain:
        running.market.socket(plain.id).disconnect(close)
        assert (await plain.expect_close()).code == 1000
    await running.settle()


async def test_a_server_that_stops_says_so(running: Running) -> None:
    async with enter(running) as plain:
        stopping = running.stop()
        assert (await plain.expect_close()).code == 1012
        await stopping


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"data": 1}',
        '{"event": 7}',
        '{"event": "e", "id": -1}',
        '{"event": "e", "id": 1.5}',
        '{"event": "e", "id": 9007199254740991}',
        '{"event": "e", "id": "' + "x" * 129 + '"}',
        '{"id": "x", "data": 1}',
        "hello",
        '42["hello"]',
        '{"event": "e", "extra": 1}',
        '{"event": "disconnect"}',
        '{"event": "e", "data": ' + "[" * 40 + "]" * 40 + "}",
    ],
)
async def test_what_is_no_frame_is_answered_with_what_is_expected(running: Running, text: str) -> None:
    async with enter(running) as plain:
        await plain.websocket.send(text)
        error = await plain.expect()
        assert (error["event"], error["data"]["code"]) == ("error", "malformed")
        assert "The frame is not understood: " in error["data"]["message"]
        assert 'Send text frames, each a JSON object: {"event": "name",' in error["data"]["message"]
        await plain.expect_echo()


async def test_binary_frames_are_answered_with_what_is_expected(running: Running) -> None:
    async with enter(running) as plain:
        await plain.websocket.send(b"{}")
        assert (await plain.expect())["data"]["message"].startswith("The frame is not understood: the frame is binary.")
        await plain.expect_echo()


async def test_a_client_that_is_never_understood_is_closed(kind: str) -> None:
    async with serve(kind, clock=Clock()) as running, enter(running) as plain:
        most = running.server.limits.max_malformed_frames
        for _ in range(most + 1):
            await plain.websocket.send("hello")
        assert [(await plain.expect())["event"] for _ in range(most)] == ["error"] * most
        last = (await plain.expect())["data"]["message"]
        assert last.startswith("The connection was closed: too many frames that are not understood")
        assert (await plain.expect_close()).code == 1002
    assert await running.market.expect_gone(plain.id) == "forced close"


async def test_ids_may_be_texts(running: Running) -> None:
    async with enter(running) as plain:
        for number, name in enumerate(["a", '€ "', "7", ""] * 600):
            await plain.send({"event": "echo", "data": number, "id": name})
            assert await plain.expect() == {"id": name, "data": number}
        await plain.send({"event": "echo", "data": 1, "id": 7})
        assert await plain.expect() == {"id": 7, "data": 1}


async def test_too_many_texts_that_wait_for_answers(running: Running) -> None:
    async with enter(running) as plain:
        for number in range(MAX_TEXT_IDS):
            await plain.send({"event": "never answered", "id": f"id-{number}"})
        await plain.send({"event": "echo", "id": "one more"})
        assert "wait for their answers" in (await plain.expect())["data"]["message"]
        await plain.expect_echo()


async def test_a_stranger_does_not_make_the_server_keep_much() -> None:
    head = (
        f"GET {PLAIN_PATH}?hold=yes HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with serve("picows") as running:
        reader, writer = await asyncio.open_connection("localhost", running.port)
        # Right after the request, so before the server could ask the client to wait.
        writer.write(head.encode() + encode_frame(TEXT, b'{"event":"e"}') * (MAX_PENDING_FRAMES + 1))
        async with asyncio.timeout(PATIENCE):
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 101 ")
            assert (await reader.read(100))[-14:] == b"\x88\x0e\x03\xeaforced close"[-14:]
        writer.close()
        await running.settle()


# Its heartbeat is WebSocket's own, which an ASGI server has itself.


async def test_pings_are_answered_by_any_client() -> None:
    async with serve("picows", clock=Clock()) as running, enter(running) as plain:
        (connection,) = running.server.registry.connections.values()
        for _ in range(3):
            before = connection._heartbeat.deadline
            running.pass_time(26)
            # The server processed the pong before this answer.
            await plain.expect_echo()
            await plain.expect_echo()
            assert connection._heartbeat.deadline > before


async def test_a_client_that_answers_no_ping_is_gone() -> None:
    async with serve("picows", clock=Clock()) as running, enter(running) as plain:
        plain.websocket.transport.pause_reading()
        running.pass_time(26)
        running.pass_time(21)
        assert await running.market.expect_gone(plain.id) == "ping timeout"
        plain.websocket.transport.resume_reading()


async def test_over_asgi_the_server_sends_no_websocket_pings() -> None:
    async with serve("asgi", clock=Clock()) as running, enter(running) as plain:
        for _ in range(5):
            running.pass_time(26)
        await plain.expect_echo()
