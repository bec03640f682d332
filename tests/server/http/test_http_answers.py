"""What strangers see and cause over HTTP: bounded memory, no traceback, no long log lines, kept connections."""

import asyncio
import logging
import resource
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from oyez.settings import Settings
from tests.support.clock import PATIENCE
from tests.support.round_robin import NGINX, balance_by_nginx
from tests.support.served import Served
from tests.support.served import serve as serve_process
from tests.support.server_steps import open_requests
from tests.support.serving import Running, serve, turn_until
from tests.support.wire import KEY, POLLING, WEBSOCKET, PollingWire, Wire

NOBODY = f"{POLLING}&sid=nobody"
UPGRADE = (
    f"GET {WEBSOCKET} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
)
MEGABYTE = 2**20


@pytest.fixture(autouse=True)
def no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that a client does leaves a traceback in the log, or a long line."""
    with caplog.at_level(logging.DEBUG):
        yield
    assert "Traceback" not in caplog.text
    assert max((len(record.getMessage()) for record in caplog.records), default=0) < 1_000


# Requests in a row.


async def test_pipelined_polls_whose_client_hangs_up(crowd: Running) -> None:
    for ending in ("reset", "close"):
        for tail in ("", "GET / HT", "GET / HTTP/1.1\r\n\r\n"):
            client = await PollingWire.connect(crowd)
            async with Wire.open(crowd) as wire:
                for _ in range(3):
                    wire.send_request("GET", client.target)
                wire.send(tail)
                await open_requests(crowd, polls=1)
                if ending == "reset":
                    wire.abort()
            assert await crowd.market.expect_gone(client.id) == "transport close"


async def test_many_requests_in_a_row_are_read_one_by_one(crowd: Running) -> None:
    async with Wire.open(crowd, receive_buffer=4_096) as wire, PipeliningWire.open(crowd) as other:
        wire.send(f"GET {NOBODY} HTTP/1.1\r\nHost: x\r\n\r\n" * 5_000)
        # Another client's request is not answered after thousands of the first one's.
        await turn_until(lambda: crowd.http.server_state.total_requests > 100)
        before = crowd.http.server_state.total_requests
        assert (await other.request("GET", NOBODY)).status == 400
        assert crowd.http.server_state.total_requests - before < 50


class PipeliningWire(Wire):
    """A client beside the one that sends thousands."""


async def test_a_client_that_sends_ahead_and_never_reads_is_hung_up_on() -> None:
    async with serve(limits={"close_timeout": 0.2}) as running, Wire.open(running, receive_buffer=4_096) as wire:
        wire.send(f"GET {NOBODY} HTTP/1.1\r\nHost: x\r\n\r\n" * 20_000)
        connections = running.http.server_state.connections
        await turn_until(lambda: len(connections) == 1)
        await turn_until(lambda: not connections)


async def test_a_client_that_sends_ahead_and_reads_slowly_is_answered() -> None:
    async with serve(limits={"close_timeout": 1.0}) as running, Wire.open(running, receive_buffer=4_096) as wire:
        wire.send(f"GET {NOBODY} HTTP/1.1\r\nHost: x\r\n\r\n" * 4_000)
        read = 0
        while read < 4_000 * 150:
            read += len(await wire.read(2_000))
            await asyncio.sleep(0.004)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read as Linux shows it")
async def test_what_is_sent_ahead_waits_in_the_network(tmp_path: Path) -> None:
    async with serve_process(tmp_path / "data", "quotes") as node:
        before = read_memory(node)
        wires = [await send_ahead(node) for _ in range(40)]
        try:
            # Each has been read as far as it will be when its next request is not answered any more.
            assert await count_readyz(node) == 20
            assert read_memory(node) - before < 40 * MEGABYTE
        finally:
            for wire in wires:
                wire.transport.abort()


def read_memory(node: Served) -> int:
    """Bytes of the process's resident memory."""
    pages = int(Path(f"/proc/{node.process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def send_ahead(node: Served) -> asyncio.StreamWriter:
    """A client that sends 250 KB of requests and reads no answer."""
    _, writer = await asyncio.open_connection("127.0.0.1", int(node.url.rpartition(":")[2]), limit=4_096)
    writer.write(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" * 7_500)
    return writer


async def count_readyz(node: Served) -> int:
    """The number of twenty requests of another client that are answered in time."""
    answered = 0
    for _ in range(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(node.url.rpartition(":")[2]))
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            answered += (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
    return answered


# Connections that are kept.


async def test_a_connection_is_kept_longer_than_balancers_keep_theirs() -> None:
    assert Settings().keep_alive > 60
    async with serve(keep_alive=2.0) as running, Wire.open(running) as wire:
        for _ in range(3):
            assert (await wire.request("GET", NOBODY)).status == 400
            await asyncio.sleep(0.2)
        # It is closed in the end, and not before its time.
        begun = asyncio.get_running_loop().time()
        assert await wire.read_rest() == b""
        assert asyncio.get_running_loop().time() - begun > 0.1


async def test_connections_that_only_wait_are_bounded() -> None:
    async with serve(limits={"max_idle_connections": 2}) as running, AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(Wire.open(running)) for _ in range(4)]
        polling = await PollingWire.connect(running)
        wires[0].send_request("GET", polling.target)
        await open_requests(running, polls=1)
        for wire in wires[1:]:
            assert (await wire.request("GET", NOBODY)).status == 400
        # The one that has waited longest is closed; a request that is being answered does not wait.
        assert await wires[1].read_rest() == b""
        for wire in wires[2:]:
            assert (await wire.request("GET", NOBODY)).status == 400
        await running.publish("hello", to=polling.id)
        assert (await wires[0].read_answer()).body == b'42["hello"]'


@pytest.mark.skipif(NGINX is None, reason="there is no nginx")
async def test_no_request_meets_a_connection_that_is_being_closed(tmp_path: Path) -> None:
    # nginx keeps its connections for 0.3 s; the server keeps them for longer, also on a busy machine.
    pause, count = 0.3, 40
    async with (
        serve(keep_alive=10 * pause) as running,
        balance_by_nginx(tmp_path, [running.port], keep=f"{pause * 1000:.0f}ms") as url,
    ):
        port = int(url.rpartition(":")[2])
        statuses = await asyncio.gather(*(post_in_a_rhythm(port, pause) for _ in range(count)))
        assert {status for each in statuses for status in each} == {b"400"}


async def post_in_a_rhythm(port: int, pause: float) -> list[bytes]:
    """The statuses of POSTs, each sent when the connection of the one before has been idle for `pause` seconds."""
    statuses = []
    for _ in range(4):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST {NOBODY} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\n2".encode())
        statuses.append((await reader.read()).split()[1])
        writer.close()
        await asyncio.sleep(pause)
    return statuses


# Headers of every answer.


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (f"GET {WEBSOCKET} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", 400),
        (f"{UPGRADE}Origin: http://{'x' * 8_000}\r\n\r\n", 400),
        (f"{UPGRADE.replace('/socket.io/', '/<b>evil/')}\r\n", 404),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        ("GET /" + "x" * 20_000 + " HTTP/1.1\r\n\r\n", 431),
        ("BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET /<evil>\x7f HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ],
)
async def test_a_refusal_forbids_sniffing_and_repeats_nothing(crowd_http: Wire, sent: str, status: int) -> None:
    crowd_http.send(sent)
    answer = await crowd_http.read_answer()
    assert answer.status == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    for part in ("x" * 20, "evil", "nonsense", "BREW"):
        assert part not in str((answer.headers, answer.body))
