"""The port: a stop that notifies clients first and always ends in time, and TLS."""

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator, Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from oyez.server.http.port import FILES_CHECK_TICKS
from tests.support.js_client import JsConnectError, JsDriver
from tests.support.server_steps import begin_stop, expect_echo, open_requests, read_up_to_close, stop, stuff
from tests.support.serving import Certificates, Running, serve, turn_until
from tests.support.wire import POLLING, TEXT, PollingWire, SocketWire, Wire

# Stopping.


async def test_websocket_clients_are_notified(own: Running) -> None:
    async with SocketWire.connect(own) as wire:
        running = own.stop()
        await wire.expect_close(1012)
        await running
        assert await own.market.expect_gone(wire.id) == "server shutting down"
    assert own.server.registry.connections == {}
    assert own.server.registry.websockets == set()


async def test_what_was_published_before_the_stop_comes_first(own: Running) -> None:
    async with SocketWire.connect(own) as wire:
        for number in range(10):
            await own.publish("hello", number, "x" * 20_000)
        await own.publish("last")
        await wire.expect_event("hello", 0, "x" * 20_000)
        stopping = own.stop()
        frames, code = await read_up_to_close(wire)
        assert [frame.payload[:12] for frame in frames[-2:]] == [b'42["hello",9', b'42["last"]']
        assert code == 1012
        wire.writer.close()
        await stopping


async def test_polls_end_with_a_status_after_which_any_client_comes_back(own: Running) -> None:
    client = await PollingWire.connect(own)
    async with Wire.open(own) as wire:
        wire.send_request("GET", client.target)
        await open_requests(own, polls=1)
        stopping = own.stop()
        assert (await wire.read_answer()).error == (400, 1)
        await stopping
        assert await own.market.expect_gone(client.id) == "server shutting down"


async def test_polls_that_come_while_stopping_bring_what_was_kept_and_then_the_end(own: Running) -> None:
    client = await PollingWire.connect(own)
    async with Wire.open(own) as wire:
        assert (await wire.request("POST", client.target, b'42["hold"]')).status == 200
        await own.publish("hello")
        await own.market.until(lambda: own.market.held == 1)
        await begin_stop(own)
        assert (await wire.request("GET", client.target)).body == b'42["hello"]'
        assert (await wire.request("GET", client.target)).error == (400, 1)
        own.market.release()
        await own.stop()


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
async def test_javascript_clients_are_notified(own: Running, js: JsDriver, transports: list[str]) -> None:
    client = await js.connect(own.url, transports=transports)
    if transports == ["polling"]:
        await open_requests(own, polls=1)
    await stop(own)
    await client.expect("disconnect", reason="transport error" if transports == ["polling"] else "transport close")


async def test_new_clients_are_refused_while_stopping(own: Running) -> None:
    port = own.port
    async with SocketWire.connect(own) as wire, Wire.open(own) as polling, Wire.open(own) as websocket:
        # Both are known to the server: they have been answered.
        for kept in (polling, websocket):
            assert (await kept.request("GET", f"{POLLING}&sid=nobody")).status == 400
        wire.send_text('42["hold"]')
        await own.market.until(lambda: own.market.held == 1)
        await begin_stop(own)
        answer = await polling.request("GET", POLLING)
        assert answer.error == (503, 6)
        refused = await websocket.upgrade()
        assert (refused.status, refused.body) == (503, b"Too many connections")
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)
        own.market.release()
        await own.stop()


async def test_a_running_handler_may_finish(own: Running) -> None:
    async with SocketWire.connect(own) as wire:
        wire.send_text('42["hold",1]')
        await own.market.until(lambda: own.market.held == 1)
        stopping = own.stop()
        await turn_until(lambda: own.server.registry.stopping)
        assert not stopping.done()
        own.market.release()
        await own.market.expect("hold done", 1)
        await wire.expect_close(1012)
        await stopping


async def test_a_handler_that_never_ends_is_ended() -> None:
    async with serve(shutdown_timeout=0.3) as running, SocketWire.connect(running) as wire:
        wire.send_text('42["hold",1]')
        await running.market.until(lambda: running.market.held == 1)
        await stop(running)
        assert ("hold done", 1) not in running.market.heard


@pytest.mark.parametrize("kind", ["picows", "asgi"])
async def test_a_connect_that_is_never_decided_is_ended(kind: str) -> None:
    async with serve(kind, shutdown_timeout=0.3) as running, SocketWire.begin(running) as wire:
        wire.send_text('40{"hold":true}')
        await running.market.until(lambda: running.market.held == 1)
        await stop(running)
        assert running.market.sockets == []


async def test_a_client_that_never_reads_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    limits = {"close_timeout": 60.0}
    async with (
        serve(shutdown_timeout=0.3, limits=limits) as running,
        SocketWire.connect(running, receive_buffer=4_096) as wire,
    ):
        await stuff(running, wire)
        await stop(running)
        assert await running.market.expect_gone(wire.id) == "server shutting down"
        assert running.server.registry.websockets == set()
    assert "stopping although clients or handlers have not finished" in caplog.text


async def test_a_client_that_does_not_answer_its_close_is_cut() -> None:
    limits = {"close_timeout": 60.0}
    async with serve(shutdown_timeout=0.3, limits=limits) as running, SocketWire.connect(running) as wire:
        await stop(running)
        assert (await read_up_to_close(wire))[1] == 1012
        await wire.read_rest()


@pytest.mark.parametrize("begun", [b"", b"GET /socket.io/", b"POST /socket.io/?EIO=4 HTTP/1.1\r\nHost: x\r\n"])
async def test_half_a_request_does_not_hold_the_stop_up(begun: bytes) -> None:
    async with serve(shutdown_timeout=0.5) as running, Wire.open(running) as wire:
        assert (await wire.request("GET", f"{POLLING}&sid=nobody")).status == 400
        wire.send(begun)
        await stop(running)
        await wire.read_rest()


async def test_half_a_body_does_not_hold_the_stop_up(caplog: pytest.LogCaptureFixture) -> None:
    async with serve(shutdown_timeout=0.5) as running:
        client = await PollingWire.connect(running)
        async with Wire.open(running) as wire:
            wire.send_request("POST", client.target, b"42", {"Content-Length": "100"})
            await open_requests(running, posts=1)
            await stop(running)
            assert (await wire.read_answer()).status == 503
            await wire.read_rest()
    assert "Traceback" not in caplog.text


async def test_a_poll_whose_client_never_reads_does_not_hold_the_stop_up() -> None:
    async with serve(shutdown_timeout=0.5, limits={"close_timeout": 60.0}, compression_threshold=0) as running:
        client = await PollingWire.connect(running)
        for _ in range(18):
            await running.publish("filling", "x" * 50_000, to=client.id)
        async with Wire.open(running, receive_buffer=4_096) as wire:
            wire.send_request("GET", client.target)
            await wire.read_until(b"\r\n\r\n")
            await stop(running)


async def test_a_server_can_be_started_again(own: Running) -> None:
    async with SocketWire.connect(own):
        await own.server.stop()
    async with own.server.running(), SocketWire.connect(own) as wire:
        await own.publish("hello")
        await wire.expect_event("hello")


# TLS.


@pytest.fixture(scope="module")
def authority(certificates: Certificates) -> str:
    return Path(certificates.authority).read_text()


@pytest.fixture(scope="module")
async def secure(certificates: Certificates) -> AsyncIterator[Running]:
    async with serve(ssl_certfile=certificates.chain, ssl_keyfile=certificates.key) as running:
        yield running


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
async def test_tls(secure: Running, authority: str, js: JsDriver, transports: list[str]) -> None:
    assert secure.url.startswith("https:")
    client = await js.connect(secure.url, transports=transports, ca=authority, auth={"rooms": ["a"]})
    assert await client.transport() == transports[-1]
    for size in (1, 1_000, 100_000):
        await expect_echo(client, "x" * size)
    await secure.publish("hello", "€" * 50_000, to="a")
    assert await client.expect_event("hello") == ["€" * 50_000]
    assert secure.market.socket(client.id).handshake.secure
    await client.disconnect()
    await secure.market.expect_gone(client.id)


async def test_a_certificate_that_is_not_trusted(secure: Running, js: JsDriver) -> None:
    for transport in ("websocket", "polling"):
        with pytest.raises(JsConnectError):
            await js.connect(secure.url, transports=[transport])


async def test_tls_byte_for_byte(secure: Running, certificates: Certificates) -> None:
    async with SocketWire.connect(secure, trust=certificates.trust) as wire:
        assert secure.market.socket(wire.id).handshake.secure
        await wire.expect_pong()
        wire.send_frame(TEXT, b"2")
        await wire.expect_close(1002)


@pytest.mark.parametrize(("origin", "statuses"), [("https://localhost", (200, 101)), ("http://localhost", (403, 400))])
async def test_a_page_that_came_in_the_clear_is_of_another_origin(
    secure: Running, certificates: Certificates, origin: str, statuses: tuple[int, int]
) -> None:
    headers = {"Origin": origin, "Host": "localhost"}
    async with (
        Wire.open(secure, trust=certificates.trust) as polling,
        Wire.open(secure, trust=certificates.trust) as websocket,
    ):
        answer = await polling.request("GET", POLLING, headers=headers)
        upgraded = await websocket.upgrade(headers=headers)
        assert (answer.status, upgraded.status) == statuses


async def test_plain_http_to_the_tls_port(secure: Running, certificates: Certificates) -> None:
    async with SocketWire.connect(secure, trust=certificates.trust) as bystander:
        async with Wire.open(secure) as wire:
            wire.send_request("GET", POLLING)
            assert b"HTTP" not in await wire.read_rest()
        await bystander.expect_echo()


async def test_a_tls_client_that_does_not_read_is_closed(certificates: Certificates) -> None:
    limits = {"max_send_buffer": 100_000}
    async with (
        serve(ssl_certfile=certificates.chain, ssl_keyfile=certificates.key, limits=limits) as running,
        SocketWire.connect(running, trust=certificates.trust, receive_buffer=4_096) as slow,
        SocketWire.connect(running, trust=certificates.trust) as reader,
    ):
        sent = 0
        while slow.id not in dict(running.market.gone):
            await running.publish("filling", "x" * 50_000, to=slow.id)
            sent += 1
            await asyncio.sleep(0)
            assert sent < 400, "no bound"
        assert await running.market.expect_gone(slow.id) == "slow consumer"
        await reader.expect_echo()


@pytest.mark.parametrize("reads", [True, False])
async def test_stopping_over_tls(certificates: Certificates, reads: bool) -> None:
    async with (
        serve(ssl_certfile=certificates.chain, ssl_keyfile=certificates.key, shutdown_timeout=0.5) as running,
        # One that has not even begun its TLS handshake.
        Wire.open(running),
        SocketWire.connect(running, trust=certificates.trust, receive_buffer=None if reads else 4_096) as wire,
    ):
        if reads:
            stopping = running.stop()
            await wire.expect_close(1012)
            await stopping
        else:
            await stuff(running, wire)
            await stop(running)


@pytest.mark.parametrize("begun", [b"", b"\x16\x03\x01"])
async def test_a_tls_client_that_says_nothing_is_hung_up_on(certificates: Certificates, begun: bytes) -> None:
    limits = {"header_timeout": 0.1}
    async with (
        serve(ssl_certfile=certificates.chain, ssl_keyfile=certificates.key, limits=limits) as running,
        Wire.open(running) as wire,
    ):
        wire.send(begun)
        assert await wire.read_rest() == b""


# Open files.


async def test_a_server_without_files_says_so_and_goes_on(own: Running, caplog: pytest.LogCaptureFixture) -> None:
    async with SocketWire.connect(own) as wire:
        await own.http.on_tick(FILES_CHECK_TICKS)
        assert "no file can be opened" not in caplog.text
        with no_files_left(), socket.socket() as late:
            late.setblocking(False)
            await asyncio.get_running_loop().sock_connect(late, ("127.0.0.1", own.port))
            # Its connection is accepted and closed: no client stays in the queue for ever.
            assert await asyncio.get_running_loop().sock_recv(late, 1) == b""
            await wire.expect_echo()
            for _ in range(3):
                await own.http.on_tick(FILES_CHECK_TICKS)
            assert caplog.text.count("no file can be opened") == 1
        async with SocketWire.connect(own) as other:
            await other.expect_echo()


@contextmanager
def no_files_left() -> Generator[None]:
    """No file can be opened but the one that `socket.socket()` takes next."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        highest = max(int(file.name) for file in Path("/dev/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, before[1]))
        filling = []
        with suppress(OSError):
            while True:
                filling.append(stack.enter_context(Path(os.devnull).open()))
        filling.pop().close()
        yield
