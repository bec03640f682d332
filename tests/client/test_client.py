"""The client against python-socketio's server: it must be right with another server before it tests ours."""

import asyncio
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from oyez.client import (
    ConnectRefused,
    Disconnected,
    Event,
    connect,
    join,
)
from tests.client.peer import Peer, serve_script
from tests.support.clock import PATIENCE
from tests.support.tasks import Spawn

WAYS = [("polling",), ("websocket",), ("polling", "websocket")]


async def test_it_connects_over_every_transport(peer: Peer, ways: tuple[str, ...]) -> None:
    async with connect(peer.url, transports=ways) as client:
        assert client.transport == ways[-1]
        assert client.sid
        assert client.engine_sid == client.connection.open_packet.sid != client.sid
        assert await client.call("echo", "a") == "a"


async def test_events_keep_their_order_and_wait_to_be_expected(peer: Peer, ways: tuple[str, ...]) -> None:
    async with connect(peer.url, transports=ways) as client:
        for number in range(20):
            await peer.sio.emit("even" if number % 2 == 0 else "odd", number, to=client.sid)
        assert [await client.expect_event("odd") for _ in range(10)] == [("odd", [n]) for n in range(1, 20, 2)]
        assert client.pending == [Event("even", [n]) for n in range(0, 20, 2)]
        name, args = await client.expect_event("even")
        assert (name, args) == ("even", [0])


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ([], None),
        ([1], 1),
        ([[1, 2]], [1, 2]),
        (["a", {"b": None}], ["a", {"b": None}]),
        ([{"€": "😀"}], {"€": "😀"}),
        ([b"bytes"], b"bytes"),
        (["a", {"b": [b"\x00\xff", {"c": b""}]}, "d"], ["a", {"b": [b"\x00\xff", {"c": b""}]}, "d"]),
    ],
)
async def test_arguments_and_attachments_go_there_and_back(
    peer: Peer, ways: tuple[str, ...], sent: list[Any], answer: Any
) -> None:
    async with connect(peer.url, transports=ways) as client:
        assert await client.call("echo", *sent) == answer
        assert await client.expect_event("echoed") == Event("echoed", sent)


async def test_large_messages_come_whole(peer: Peer, ways: tuple[str, ...]) -> None:
    async with connect(peer.url, transports=ways) as client:
        large = "€" * 150_000
        assert await client.call("echo", large) == large


async def test_calls_at_the_same_time_get_their_own_answers(peer: Peer, ways: tuple[str, ...]) -> None:
    async with connect(peer.url, transports=ways) as client:
        numbers = range(1, 20)
        assert await asyncio.gather(*(client.call("echo", number) for number in numbers)) == list(numbers)


async def test_a_call_without_an_answer_times_out(peer: Peer) -> None:
    async with connect(peer.url, transports=["websocket"]) as client:
        with pytest.raises(TimeoutError):
            await client.call("unknown", timeout=0.01)


async def test_it_answers_the_server(peer: Peer, ways: tuple[str, ...]) -> None:
    async with connect(peer.url, transports=ways) as client:
        client.answer("question", lambda value: value * 2)
        assert await client.call("ask_back", 21) == 42
        assert await client.expect_event("question") == ("question", [21])


async def test_an_answer_can_wait_for_the_test(peer: Peer, spawn: Spawn) -> None:
    async with connect(peer.url) as client:
        answer = spawn(client.call("ask_back", b"?"))
        args, reply = await client.expect_call("question")
        assert args == [b"?"]
        await reply({"late": b"!"})
        assert await answer == {"late": b"!"}


# Namespaces.


async def test_a_namespace_of_its_own(peer: Peer, ways: tuple[str, ...]) -> None:
    async with connect(peer.url, "/chat", auth={"token": "t"}, transports=ways) as client:
        # It was sent before the CONNECT was answered, and has not been lost.
        assert await client.expect_event("welcome") == ("welcome", [{"token": "t"}])


async def test_several_namespaces_over_one_connection(peer: Peer) -> None:
    async with connect(peer.url) as root:
        chat = await join(root.connection, "/chat", {"token": "t"})
        await chat.expect_event("welcome")
        await peer.sio.emit("news", 1, to=root.sid)
        await root.expect_event("news")
        await chat.expect_nothing()
        await chat.disconnect()
        assert await root.call("echo", 1) == 1


async def test_a_refusal_carries_message_and_data(peer: Peer, ways: tuple[str, ...]) -> None:
    with pytest.raises(ConnectRefused) as refused:
        async with connect(peer.url, auth={"refuse": True}, transports=ways):
            pass
    assert (refused.value.message, refused.value.data) == ("not you", {"code": 7})


async def test_an_unknown_namespace_is_refused(peer: Peer) -> None:
    with pytest.raises(ConnectRefused):
        async with connect(peer.url, "/unknown"):
            pass


# The end.


async def test_the_server_disconnects_the_namespace(peer: Peer, ways: tuple[str, ...]) -> None:
    async with connect(peer.url, transports=ways) as client:
        await client.emit("leave")
        assert await client.expect_disconnect() == "io server disconnect"
        with pytest.raises(Disconnected, match="io server disconnect"):
            await client.emit("echo")
        with pytest.raises(Disconnected):
            await client.expect_event("anything")


async def test_the_client_disconnects(peer: Peer, ways: tuple[str, ...]) -> None:
    gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    peer.sio.on("disconnect", lambda sid, reason: gone.set_result(reason))
    async with connect(peer.url, transports=ways) as client:
        await client.disconnect()
        assert await client.expect_disconnect() == "io client disconnect"
    async with asyncio.timeout(PATIENCE):
        assert await gone == "client disconnect"


async def test_leaving_the_block_closes_the_connection(peer: Peer, ways: tuple[str, ...]) -> None:
    async with connect(peer.url, transports=ways) as client:
        pass
    assert client.connection.reason == "io client disconnect"
    with pytest.raises(Disconnected):
        await client.call("echo")


async def test_events_end_with_the_connection(peer: Peer) -> None:
    async with connect(peer.url) as client:
        await peer.sio.emit("one", 1, to=client.sid)
        await peer.sio.emit("two", 2, to=client.sid)
        await client.emit("leave")
        assert [event async for event in client.events()] == [("one", [1]), ("two", [2])]


# Nothing.


async def test_nothing_is_certain(peer: Peer, ways: tuple[str, ...]) -> None:
    async with connect(peer.url, transports=ways) as client:
        await client.expect_nothing()
        for number in range(10):
            await peer.sio.emit("event", number, to=client.sid)
            with pytest.raises(AssertionError, match="expected no event, got"):
                await client.expect_nothing()
            await client.expect_nothing("another")
            await client.expect_event("event")
            await client.expect_nothing()


async def test_a_missing_event_of_a_dead_connection_is_not_reported(peer: Peer) -> None:
    async with connect(peer.url) as client:
        client.connection.drop()
        with pytest.raises(Disconnected):
            await client.expect_nothing()


async def test_what_was_expected_in_vain_says_what_came(peer: Peer) -> None:
    async with connect(peer.url) as client:
        await peer.sio.emit("other", 1, to=client.sid)
        with pytest.raises(AssertionError, match=r"expected 'event' within 0\.05 s, got \[Event\(name='other'"):
            await client.expect_event("event", timeout=0.05)


async def test_what_recovery_needs_is_remembered() -> None:
    async def script(server: ServerConnection) -> None:
        await server.send('42["a",{},"0dd1e5a2.7"]')
        await server.send('42["b",{}]')
        await server.wait_closed()

    async with serve_script(script) as url, connect(url, auth={"recovery": True}, transports=["websocket"]) as client:
        await client.expect_event("b")
        assert client.recovery == {"pid": "u", "offset": "0dd1e5a2.7"}
        assert client.pending == [("a", [{}])]
