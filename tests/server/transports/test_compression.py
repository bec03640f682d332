"""Compression: permessage-deflate as negotiated and over a threshold, and gzip of polling answers."""

import gzip
import zlib
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
import websockets.asyncio.client as websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from oyez.log.log import Entry
from tests.support.js_client import JsDriver
from tests.support.serving import Running, serve
from tests.support.wire import BINARY, CONTINUATION, POLLING, TEXT, WEBSOCKET, PollingWire, SocketWire, Wire

AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
OFFER = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}

ACCEPTED = [
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; client_max_window_bits=9; server_no_context_takeover",
    'permessage-deflate; server_max_window_bits="15"',
    "permessage-deflate;server_no_context_takeover;client_no_context_takeover",
    # The first offer cannot be kept, the second can.
    "permessage-deflate; server_max_window_bits=10, permessage-deflate",
    "unknown-extension; a=b, permessage-deflate",
]
DECLINED = [
    "",
    "permessage-deflate; server_max_window_bits=8",
    "permessage-deflate; server_max_window_bits=14",
    "permessage-deflate; server_max_window_bits",
    "permessage-deflate; client_max_window_bits=16",
    "permessage-deflate; client_max_window_bits=0",
    "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    "permessage-deflate; server_no_context_takeover=yes",
    "permessage-deflate; unknown",
    "permessage-deflate-2",
    "x-webkit-deflate-frame",
]


def deflate(payload: bytes) -> bytes:
    """As a client does it."""
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


def inflate(payload: bytes) -> bytes:
    return zlib.decompressobj(wbits=-15).decompress(payload + b"\0\0\xff\xff")


@pytest.fixture
async def squeezed(own: Running) -> AsyncIterator[SocketWire]:
    """A client that has agreed to compression, in a room with one that has not been asked."""
    async with SocketWire.connect(own, {"rooms": ["a"]}, headers=OFFER) as wire:
        yield wire


# What is agreed on.


@pytest.mark.parametrize("offer", ACCEPTED)
async def test_offers_that_are_accepted(crowd_http: Wire, offer: str) -> None:
    answer = await crowd_http.upgrade(headers={"Sec-WebSocket-Extensions": offer})
    window = "; server_max_window_bits=15" if "server_max_window_bits" in offer and "15" in offer else ""
    assert answer.headers["sec-websocket-extensions"] == AGREED + window


@pytest.mark.parametrize("offer", DECLINED)
async def test_offers_that_are_declined(crowd: Running, offer: str) -> None:
    async with SocketWire.open(crowd) as wire:
        answer = await wire.upgrade(headers={"Sec-WebSocket-Extensions": offer})
        assert (answer.status, answer.headers.get("sec-websocket-extensions")) == (101, None)
        await wire.read_frame()
        wire.id = await wire.enter()
        await crowd.publish("hello", "x" * 5_000, to=wire.id)
        await wire.expect_event("hello", "x" * 5_000)


async def test_without_a_threshold_every_offer_is_declined() -> None:
    async with serve(compression_threshold=0) as running:
        async with SocketWire.open(running) as wire:
            answer = await wire.upgrade(headers=OFFER)
            assert (answer.status, answer.headers.get("sec-websocket-extensions")) == (101, None)
            await wire.read_frame()
            wire.id = await wire.enter()
            await running.publish("hello", "x" * 100_000, to=wire.id)
            await wire.expect_event("hello", "x" * 100_000)
        client = await PollingWire.connect(running, None, **{"Accept-Encoding": "gzip"})
        await running.publish("hello", "x" * 100_000, to=client.id)
        answer = await client.request("GET")
        assert "content-encoding" not in answer.headers
        assert answer.body == b'42["hello","' + b"x" * 100_000 + b'"]'


# What is sent.


async def test_messages_from_the_threshold_on_are_deflated(own: Running, squeezed: SocketWire) -> None:
    for length, deflated in ((1_022, False), (1_023, False), (1_024, True), (1_025, True), (200_000, True)):
        text = '42["hello","' + "x" * (length - 14) + '"]'
        assert len(text) == length
        await own.publish("hello", "x" * (length - 14), to="a")
        frame = await squeezed.read_frame()
        assert (frame.opcode, frame.rsv1, frame.fin) == (TEXT, deflated, True)
        assert (inflate(frame.payload) if deflated else frame.payload) == text.encode()


async def test_a_room_with_and_without_compression(own: Running, squeezed: SocketWire) -> None:
    async with (
        SocketWire.connect(own, {"rooms": ["a"]}) as plain,
        SocketWire.connect(own, {"rooms": ["a"]}, headers=OFFER) as other,
    ):
        long = "x" * 2_000
        for word in ("short", long, "short again", long):
            await own.publish("hello", word, to="a")
        for word in ("short", long, "short again", long):
            await plain.expect_event("hello", word)
            ours, others = await squeezed.read_frame(), await other.read_frame()
            assert ours == others
            assert ours.rsv1 is (word == long)


async def test_a_run_of_long_events_is_one_write_for_each_client(own: Running, squeezed: SocketWire) -> None:
    async with SocketWire.connect(own, {"rooms": ["a"]}) as plain:
        written: dict[str, int] = {}
        for wire in (squeezed, plain):
            socket = own.market.socket(wire.id)
            network = socket.write
            assert network is not None

            def write(data: bytes, id: str = wire.id, network: Callable[[bytes], None] = network) -> None:
                written[id] = written.get(id, 0) + 1
                network(data)

            socket.write = write
        words = ["x" * 1_500, "short", "y" * 1_500]
        await own.log.append(
            [Entry(namespace="/", rooms=("a",), data=msgspec.json.encode(["hello", word])) for word in words]
        )
        for word in words:
            await plain.expect_event("hello", word)
            frame = await squeezed.read_frame()
            assert frame.rsv1 is (len(word) > 5)
        assert written == {squeezed.id: 1, plain.id: 1}


async def test_attachments_are_sent_uncompressed_after_a_compressed_text(own: Running, squeezed: SocketWire) -> None:
    squeezed.send_text('451-5["echo",{"_placeholder":true,"num":0},"' + "x" * 2_000 + '"]')
    squeezed.send_frame(BINARY, b"\0" * 3_000)
    text, attachment = await squeezed.read_frame(), await squeezed.read_frame()
    assert inflate(text.payload).startswith(b'461-5[{"_placeholder":true,"num":0},"xx')
    assert attachment == (BINARY, b"\0" * 3_000, True, False)


# What is received.


async def test_deflated_messages(squeezed: SocketWire) -> None:
    squeezed.send_frame(TEXT, deflate(b'421["echo","short"]'), rsv=4)
    await squeezed.expect_text('431["short"]')
    squeezed.send_frame(TEXT, b'422["echo","plain"]')
    await squeezed.expect_text('432["plain"]')
    squeezed.send_text('451-3["echo",{"_placeholder":true,"num":0}]')
    squeezed.send_frame(BINARY, deflate(b"\1\2\3"), rsv=4)
    await squeezed.expect_text('461-3[{"_placeholder":true,"num":0}]')
    assert (await squeezed.read_frame()).payload == b"\1\2\3"


async def test_a_deflated_message_in_fragments(squeezed: SocketWire) -> None:
    data = deflate(b'421["echo","' + b"x" * 500 + b'"]')
    squeezed.send_frame(TEXT, data[:5], rsv=4, fin=False)
    squeezed.send_frame(CONTINUATION, data[5:9], fin=False)
    squeezed.send_frame(CONTINUATION, data[9:])
    await squeezed.expect_text('431["' + "x" * 500 + '"]')


async def test_a_message_that_ends_its_last_block(squeezed: SocketWire) -> None:
    # RFC 7692 section 7.2.3.4: a block with BFINAL set, made whole by an empty byte.
    compressor = zlib.compressobj(wbits=-15)
    squeezed.send_frame(TEXT, compressor.compress(b'421["echo",1]') + compressor.flush() + b"\0", rsv=4)
    await squeezed.expect_text("431[1]")


MALFORMED = {
    "not deflated": (TEXT, b"\xff\xff\xff\xff", 1007),
    "invalid UTF-8 when inflated": (TEXT, deflate(b'42["\xff"]'), 1007),
    "malformed when inflated": (TEXT, deflate(b"42[]"), 1002),
    "too long when inflated": (TEXT, deflate(b"x" * 1_000_001), 1009),
    "a bomb": (TEXT, deflate(b"\0" * 200_000_000), 1009),
    "a bomb of attachments": (BINARY, deflate(b"\0" * 1_000_001), 1009),
}


@pytest.mark.parametrize(("opcode", "payload", "code"), MALFORMED.values(), ids=list(MALFORMED))
async def test_malformed_messages(crowd: Running, opcode: int, payload: bytes, code: int) -> None:
    async with SocketWire.connect(crowd, headers=OFFER) as wire:
        wire.send_frame(opcode, payload, rsv=4)
        await wire.expect_close(code)


async def test_a_continuation_that_says_it_is_deflated(crowd: Running) -> None:
    async with SocketWire.connect(crowd, headers=OFFER) as wire:
        wire.send_frame(TEXT, b"42", rsv=4, fin=False)
        wire.send_frame(CONTINUATION, b"42", rsv=4)
        await wire.expect_close(1002)


async def test_a_message_as_long_as_is_allowed_when_inflated(squeezed: SocketWire) -> None:
    filling = b"x" * (1_000_000 - len(b'421["echo",""]'))
    squeezed.send_frame(TEXT, deflate(b'421["echo","' + filling + b'"]'), rsv=4)
    assert inflate((await squeezed.read_frame()).payload) == b'431["' + filling + b'"]'


# Clients that others have written.


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
async def test_the_javascript_client(kind: str, js: JsDriver, transports: list[str]) -> None:
    async with serve(kind) as running:
        client = await js.connect(
            running.url, transports=transports, perMessageDeflate={"threshold": 1_024}, auth={"rooms": ["a"]}
        )
        for size in (10, 2_000, 300_000):
            word = "€" * (size // 3)
            assert await client.call("echo", word) == word
            await running.publish("hello", word, to="a")
            assert await client.expect_event("hello") == [word]
        await client.disconnect()
        await running.settle()


@pytest.mark.parametrize("bits", [None, 9, 15])
async def test_the_websockets_library(own: Running, bits: int | None) -> None:
    offer = ClientPerMessageDeflateFactory(client_max_window_bits=bits or True)
    url = f"ws://localhost:{own.port}{WEBSOCKET}"
    async with websockets.connect(url, compression=None, extensions=[offer]) as client:
        assert [extension.name for extension in client.protocol.extensions] == ["permessage-deflate"]
        await client.recv()
        await client.send("40")
        await client.recv()
        for size in (10, 2_000, 300_000):
            for _ in range(2):
                await client.send(f'421["echo","{"€" * size}"]')
                assert await client.recv() == f'431["{"€" * size}"]'


# Polling.


@pytest.mark.parametrize(
    ("accepts", "length", "zipped"),
    [
        ("gzip, deflate, br", 2_000, True),
        ("gzip", 1_024, True),
        ("gzip", 1_023, False),
        ("br;q=1.0, gzip;q=0.8", 2_000, True),
        ("deflate", 2_000, False),
        ("identity", 2_000, False),
        ("", 2_000, False),
        ("gzip;q=0", 2_000, False),
        ("br, gzip;q=0.0", 2_000, False),
        ("GZIP", 2_000, True),
        ("x-gzipped", 2_000, False),
    ],
)
async def test_polling_answers(kind: str, accepts: str, length: int, zipped: bool) -> None:
    async with serve(kind) as running:
        client = await PollingWire.connect(running, None, **{"Accept-Encoding": accepts} if accepts else {})
        text = '42["hello","' + "x" * (length - 14) + '"]'
        await running.publish("hello", "x" * (length - 14), to=client.id)
        answer = await client.request("GET")
        assert answer.headers.get("content-encoding") == ("gzip" if zipped else None)
        assert (gzip.decompress(answer.body) if zipped else answer.body) == text.encode()
        assert int(answer.headers["content-length"]) == len(answer.body)


async def test_errors_are_not_compressed(own: Running) -> None:
    async with Wire.open(own) as wire:
        answer = await wire.request("GET", f"{POLLING}&sid=nobody", headers={"Accept-Encoding": "gzip"})
        assert (answer.error, answer.headers.get("content-encoding")) == ((400, 1), None)
