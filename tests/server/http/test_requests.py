"""HTTP requests that are slow, long, endless or no requests at all, and clients that do not take their answers."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from tests.support.clock import PATIENCE
from tests.support.server_steps import open_requests
from tests.support.serving import Running, serve, turn_until
from tests.support.tasks import Spawn
from tests.support.wire import POLLING, WEBSOCKET, PollingWire, SocketWire, Wire

NOBODY = f"{POLLING}&sid=nobody"
CHUNKS = 100_000
"""In a body; with their line ends they are read in a few turns of the loop."""

GARBAGE = {
    "noise": b"\x00\x01\x02\x03 nonsense\r\n\r\n",
    "a TLS handshake": bytes.fromhex("16030100a5010000a10303") + b"\x42" * 160,
    "a WebSocket frame": b"\x81\x85\x01\x02\x03\x04abcde",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "an unknown method": b"FETCH / HTTP/1.1\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a length and chunks": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative length": b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "a length of 30 digits": b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n",
    "a chunk that is no number": b"POST " + NOBODY.encode() + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    "a header with a control character": b"GET / HTTP/1.1\r\nA: \x00\r\n\r\n",
    "a header without name": b"GET / HTTP/1.1\r\n: a\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nA: b\r\n\tc d\x01\r\n\r\n",
    "a target that is no URL": b"GET \xff\xfe HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=list(GARBAGE))
async def test_garbage_instead_of_http(crowd_http: Wire, garbage: bytes) -> None:
    crowd_http.send(garbage)
    answer = await crowd_http.read_rest()
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 ")), answer


async def test_garbage_after_a_request_that_waits(crowd: Running, crowd_polling: PollingWire) -> None:
    async with Wire.open(crowd) as wire:
        wire.send_request("GET", crowd_polling.target)
        wire.send(b"\x00" * 100)
        await open_requests(crowd, polls=1)
        await crowd.publish("hello", to=crowd_polling.id)
        assert (await wire.read_answer()).body == b'42["hello"]'
        assert (await wire.read_rest()).startswith(b"HTTP/1.1 400 ")
    await crowd_polling.leave()


# Slow heads.


@pytest.fixture(scope="module")
async def impatient() -> AsyncIterator[Running]:
    async with serve(limits={"header_timeout": 0.15, "max_header_bytes": 2_000}) as running:
        yield running


@pytest.mark.parametrize("begun", ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n", "\r\n\r\nGET /"])
async def test_a_head_that_does_not_end_in_time(impatient: Running, begun: str) -> None:
    async with Wire.open(impatient) as wire:
        wire.send(begun)
        answer = await wire.read_answer()
        assert (answer.status, json.loads(answer.body)["detail"]) == (408, "The request's head took too long.")
        assert await wire.read_rest() == b""


async def test_a_head_that_drips(impatient: Running, spawn: Spawn) -> None:
    async with Wire.open(impatient) as wire:
        wire.send("GET / HTTP/1.1\r\n")
        answering = spawn(wire.read_answer())
        while not answering.done():
            wire.send("A: b\r\n")
            await asyncio.wait({answering}, timeout=0.02)
        assert (await answering).status == 408


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
async def test_a_client_that_never_begins(impatient: Running, sent: bytes) -> None:
    async with Wire.open(impatient) as wire:
        wire.send(sent)
        assert await wire.read_rest() == b""


async def test_line_ends_do_not_keep_a_connection_open(impatient: Running, spawn: Spawn) -> None:
    async with Wire.open(impatient) as wire:
        assert (await wire.request("GET", NOBODY)).status == 400
        ended = spawn(wire.read_rest())
        async with asyncio.timeout(PATIENCE):
            while not ended.done():
                wire.send("\r\n")
                await asyncio.wait({ended}, timeout=0.02)
        assert await ended == b""


async def test_a_second_head_that_does_not_end_in_time(impatient: Running) -> None:
    async with Wire.open(impatient) as wire:
        assert (await wire.request("GET", NOBODY)).status == 400
        wire.send("GET / HT")
        assert (await wire.read_answer()).status == 408


# Long heads.


async def test_a_head_as_long_as_is_allowed(impatient: Running) -> None:
    async with Wire.open(impatient) as wire:
        target = f"{NOBODY}&{'x' * 1_000}"
        assert (await wire.request("GET", target, headers={"A": "x" * 800})).error == (400, 1)
        assert (await wire.request("GET", target, headers={"A": "x" * 800})).error == (400, 1)


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\r\n" + "A: b\r\n" * 2_000 + "\r\n",
        "GET / HTTP/1.1\r\nA: " + "b" * 2_000 + "\r\n\r\n",
        "GET /" + "b" * 2_000 + " HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\n" + "b" * 2_000 + ": c\r\n\r\n",
        f"GET {WEBSOCKET} HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nA: {'b' * 2_000}\r\n\r\n",
    ],
)
async def test_a_head_that_is_too_long(impatient: Running, head: str) -> None:
    async with Wire.open(impatient) as wire:
        wire.send(head)
        assert (await wire.read_rest()).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("piece", ["GET /x", "A: b\r\n", "b", " "])
async def test_an_endless_head(impatient: Running, piece: str, spawn: Spawn) -> None:
    async with Wire.open(impatient) as wire:
        wire.send("GET / HTTP/1.1\r\n" if not piece.startswith("GET") else "")
        ended = spawn(wire.read_rest())
        async with asyncio.timeout(PATIENCE):
            while not ended.done():
                wire.send(piece * 100)
                await asyncio.wait({ended}, timeout=0.001)
        assert (await ended).startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))


@pytest.mark.parametrize(
    "head",
    [
        f"GET {NOBODY} HTTP/1.1\r\nHost: x\r\n" + "A:\r\n" * 150,
        f"GET {NOBODY}{'&a=' * 150} HTTP/1.1\r\nHost: x\r\n",
        f"GET {WEBSOCKET}{'&a=' * 150} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    ],
)
async def test_more_headers_or_parameters_than_anybody_sends(crowd_http: Wire, head: str) -> None:
    crowd_http.send(head + "\r\n")
    assert (await crowd_http.read_rest()).startswith(b"HTTP/1.1 431 ")


# Bodies in tiny pieces.


async def test_others_are_served_between_chunks_of_one_byte(crowd: Running, spawn: Spawn) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with Wire.open(crowd) as wire:
        counting = spawn(count_turns())
        wire.send(f"POST {NOBODY} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        wire.send(b"1\r\na\r\n" * CHUNKS + b"0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await wire.read_answer()).error == (400, 1)
        assert (await wire.read_answer()).status == 404
        counting.cancel()
    # Taken as they are read, they would be a few turns of the loop.
    assert turns > 20


async def test_a_body_is_not_read_for_long_after_its_answer(crowd: Running) -> None:
    most = crowd.server.limits.max_publish_bytes
    async with Wire.open(crowd) as wire:
        wire.send(f"POST {NOBODY} HTTP/1.1\r\nHost: x\r\nContent-Length: {100 * most}\r\n\r\n")
        assert (await wire.read_answer()).error == (400, 1)
        for _ in range(most // CHUNKS + 2):
            wire.send(b"x" * CHUNKS)
        # Much sooner than the time that the whole body would have.
        assert await wire.read_rest() == b""


# Requests in a row.


async def test_requests_sent_in_a_row_are_answered_in_a_row(crowd_http: Wire) -> None:
    for _ in range(50):
        crowd_http.send_request("GET", NOBODY)
    for _ in range(50):
        assert (await crowd_http.read_answer()).error == (400, 1)


async def test_a_long_body_does_not_count_for_the_next_head(crowd: Running, crowd_polling: PollingWire) -> None:
    async with Wire.open(crowd) as wire:
        wire.send_request("POST", crowd_polling.target, b'42["a","' + b"x" * 60_000 + b'"]')
        wire.send("GET /")
        assert (await wire.read_answer()).body == b"ok"
        wire.send("socket.io/?EIO=4&transport=polling&sid=nobody HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await wire.read_answer()).error == (400, 1)
    await crowd_polling.leave()


# Clients that go, or do not read.


@pytest.mark.parametrize("sent", ["", "GET", f"GET {WEBSOCKET} HTTP/1.1\r\nUpgrade: websocket\r\n"])
async def test_a_reset_before_the_head_is_complete(crowd: Running, sent: str) -> None:
    for _ in range(20):
        async with Wire.open(crowd) as wire:
            wire.send(sent)
            wire.abort()


async def test_a_reset_before_the_connection_is_taken(crowd: Running) -> None:
    for _ in range(50):
        client = socket.create_connection(("127.0.0.1", crowd.port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    await turn_until(lambda: not crowd.http.server_state.connections)


async def test_a_client_that_does_not_take_its_answer() -> None:
    async with serve(limits={"close_timeout": 0.1, "max_polling_buffer": 20_000_000}) as running:
        client = await PollingWire.connect(running)
        async with Wire.open(running, receive_buffer=4_096) as wire:
            for _ in range(15):
                await running.publish("filling", "x" * 1_000_000, to=client.id)
            wire.send_request("GET", client.target)
            # The answer is longer than the network holds: the rest would wait here for ever.
            await turn_until(lambda: len(running.http.server_state.connections) == 1)
            await turn_until(lambda: not running.http.server_state.connections)


async def test_a_client_that_takes_its_answer_slowly() -> None:
    async with serve(limits={"close_timeout": 0.2, "max_polling_buffer": 20_000_000}) as running:
        client = await PollingWire.connect(running)
        async with Wire.open(running, receive_buffer=4_096) as wire:
            for _ in range(10):
                await running.publish("filling", "x" * 1_000_000, to=client.id)
            wire.send_request("GET", client.target)
            head = await wire.read_until(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split()[0])
            assert length > 10_000_000
            while length:
                length -= len(await wire.read(min(length, 250_000)))
                await asyncio.sleep(0.01)


async def test_a_reset_with_an_upgrade_just_answered(crowd: Running) -> None:
    for _ in range(20):
        async with SocketWire.begin(crowd) as wire:
            wire.send(struct.pack("!BB", 0x81, 0xFE))
            wire.abort()
