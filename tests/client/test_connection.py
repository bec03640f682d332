"""The client's connection: how it begins and fails to, upgrades, beats and ends; and what tests may do to it."""

import asyncio
import ssl

import pytest
import trustme
from picows import WSMsgType
from websockets.asyncio.server import ServerConnection

from oyez.client import ConnectFailed, connect, join, open_connection
from oyez.protocol import engineio
from tests.client.peer import Peer, serve_bytes, serve_peer, serve_script
from tests.support.clock import PATIENCE
from tests.support.tasks import Spawn

# Failures.


async def test_no_server_listens(unused_port: int, ways: tuple[str, ...]) -> None:
    with pytest.raises(ConnectFailed) as failed:
        async with connect(f"http://127.0.0.1:{unused_port}", transports=ways):
            pass
    assert failed.value.status is None


@pytest.fixture
async def unused_port() -> int:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_an_http_refusal_is_shown(transport: str) -> None:
    async with serve_bytes(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!") as url:
        with pytest.raises(ConnectFailed) as failed:
            async with connect(url, transports=[transport]):
                pass
    assert (failed.value.status, failed.value.body) == (403, b"no!")


async def test_the_caller_may_ask_for_nonsense(peer: Peer) -> None:
    with pytest.raises(ConnectFailed) as failed:
        async with open_connection(peer.url, transport="polling", query={"EIO": "3"}):
            pass
    assert failed.value.status == 400
    assert b"unsupported version" in failed.value.body


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n4", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n9"]
)
async def test_a_server_that_does_not_speak_the_protocol(transport: str, answer: bytes) -> None:
    async with serve_bytes(answer) as url:
        with pytest.raises(ConnectFailed):
            async with connect(url, transports=[transport]):
                pass


async def test_a_server_that_does_not_answer() -> None:
    async with serve_bytes(None) as url:
        with pytest.raises(ConnectFailed, match="did not answer within"):
            async with connect(url, timeout=0.05):
                pass


# The heartbeat.


async def test_a_dropped_connection_says_nothing(peer: Peer) -> None:
    gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    peer.sio.on("disconnect", lambda sid, reason: gone.set_result(reason))
    async with connect(peer.url, transports=["websocket"]) as client:
        client.connection.drop()
        assert await client.expect_disconnect() == "transport error"
        async with asyncio.timeout(PATIENCE):
            assert await gone == "transport close"


async def test_a_caller_that_is_cancelled_while_it_closes_ends(peer: Peer, spawn: Spawn) -> None:
    async with connect(peer.url, transports=["websocket"]) as client:
        client.connection.drop()
        closing = spawn(client.connection.close())
        # It has cancelled the task that reads, and waits for its end.
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing


async def test_it_answers_pings() -> None:
    async def script(server: ServerConnection) -> None:
        for _ in range(3):
            await server.send("2")
            assert await server.recv() == "3"
        await server.send('42["alive"]')
        await server.wait_closed()

    async with serve_script(script) as url, connect(url, transports=["websocket"]) as client:
        await client.expect_event("alive")


async def test_it_can_play_dead() -> None:
    heard: asyncio.Queue[str | bytes] = asyncio.Queue()

    async def script(server: ServerConnection) -> None:
        await server.send("2")
        await server.send('42["pinged"]')
        async for message in server:
            heard.put_nowait(message)

    async with serve_script(script) as url:
        for answers, expected in ((True, "3"), (False, '42["alive"]')):
            async with connect(url, transports=["websocket"]) as client:
                client.connection.answers_pings = answers
                await client.expect_event("pinged")
                await client.emit("alive")
                async with asyncio.timeout(PATIENCE):
                    assert await heard.get() == expected


async def test_it_notices_a_server_that_has_gone_silent() -> None:
    silent = serve_script(lambda server: server.wait_closed(), ping_milliseconds=20)
    async with silent as url, connect(url, transports=["websocket"]) as client:
        assert await client.expect_disconnect() == "ping timeout"


# The connection to the server.


async def test_headers_and_query_reach_the_server(peer: Peer, ways: tuple[str, ...]) -> None:
    headers = {"Authorization": "Bearer t", "X-Name": "x"}
    async with connect(peer.url, transports=ways, headers=headers, query={"a": "b c"}) as client:
        query, found = await client.call("session")
        assert "a=b+c" in query
        assert (found["authorization"], found["x-name"]) == ("Bearer t", "x")


async def test_tls(ways: tuple[str, ...]) -> None:
    authority = trustme.CA()
    server, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(trusting)
    async with serve_peer(server) as peer:
        async with connect(peer.url, transports=ways, ssl=trusting) as client:
            assert await client.call("echo", 1) == 1
        with pytest.raises(ConnectFailed):
            async with connect(peer.url, transports=ways):
                pass


# Low level.


async def test_a_test_can_say_what_it_likes(peer: Peer) -> None:
    async with open_connection(peer.url) as connection:
        await connection.transport.send_raw('40{"refuse":false}')
        await connection.transport.send_raw('421["echo",1]')
        client = await join(connection, "/chat")
        await client.expect_event("welcome")
        connection.websocket.wire.send(WSMsgType.TEXT, b"9", rsv2=True)
        assert await client.expect_disconnect() == "transport close"


@pytest.mark.parametrize(
    ("sent", "code"), [(b"\x03\xe8", 1000), (b"\x03\xf1why", 1009), (b"\x0f\xa1", 4001), (b"", None)]
)
async def test_the_close_code_is_kept(sent: bytes, code: int | None) -> None:
    async def script(server: ServerConnection) -> None:
        server.transport.write(bytes((0x88, len(sent))) + sent)
        await server.wait_closed()

    async with serve_script(script) as url, connect(url, transports=["websocket"]) as client:
        assert await client.expect_disconnect() == "transport close"
        assert client.connection.transport.close_code == code


async def test_frames_that_are_none_end_the_connection() -> None:
    async def script(server: ServerConnection) -> None:
        server.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await server.wait_closed()

    async with serve_script(script) as url, connect(url, transports=["websocket"]) as client:
        assert await client.expect_disconnect() == "transport close"


async def test_fragments_are_put_together() -> None:
    async def script(server: ServerConnection) -> None:
        await server.send(["4", '51-["a",{"_placehol', 'der":true,"num":0}]'])
        await server.ping()
        await server.send([b"by", b"", b"tes"])
        await server.wait_closed()

    async with serve_script(script) as url, connect(url, transports=["websocket"]) as client:
        assert await client.expect_event("a") == ("a", [b"bytes"])


@pytest.mark.parametrize(
    "messages",
    [
        ["9"],
        ["4"],
        ["42{}"],
        [b"stray"],
        ['451-["a",{"_placeholder":true,"num":0}]', '42["a"]'],
        ['451-["a",{"_placeholder":true,"num":1}]', b"x"],
        ['42["a",1e999]'],
    ],
)
async def test_a_server_that_breaks_the_protocol_is_a_parse_error(messages: list[str | bytes]) -> None:
    async def script(server: ServerConnection) -> None:
        for message in messages:
            await server.send(message)
        await server.wait_closed()

    async with serve_script(script) as url, connect(url, transports=["websocket"]) as client:
        assert await client.expect_disconnect() == "parse error"


async def test_an_upgrade_can_be_made_by_hand(peer: Peer) -> None:
    async with open_connection(peer.url, transport="polling") as connection:
        with pytest.raises(TypeError):
            _ = connection.websocket
        client = await join(connection)
        await connection.upgrade()
        assert client.transport == "websocket"
        with pytest.raises(ConnectFailed):
            await connection.upgrade()
        assert await client.call("echo", 1) == 1


async def test_an_upgrade_that_is_refused_leaves_polling() -> None:
    async with serve_peer(allow_upgrades=False) as peer, connect(peer.url) as client:
        assert client.transport == "polling"
        assert await client.call("echo", 1) == 1


async def test_the_handshake_is_there(peer: Peer) -> None:
    async with open_connection(peer.url) as connection:
        assert isinstance(connection.open_packet, engineio.OpenPacket)
        assert connection.open_packet.max_payload == 1_000_000
