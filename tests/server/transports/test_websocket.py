"""WebSockets on picows: a frame that breaks RFC 6455 closes its sender, and no other client, with the right code."""

import asyncio
import struct

import pytest
import websockets.asyncio.client as websockets
from websockets.exceptions import ConnectionClosedError

from oyez.protocol import engineio
from oyez.server.connections.connection import Connection
from tests.support.logged import capture_logs
from tests.support.serving import PLAIN_PATH, Running, serve
from tests.support.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, WEBSOCKET, SocketWire, Wire, encode_frame

EURO = "€".encode()


def length_64(length: int) -> bytes:
    """The head of a text frame with a length in 64 bits."""
    return struct.pack("!BBQ", 0x81, 0xFF, length) + b"\0\0\0\0"


def fragments(*payloads: bytes, opcode: int = TEXT) -> bytes:
    """One message in several frames."""
    first, *others = payloads
    frames = [encode_frame(opcode, first, fin=False)]
    frames += [encode_frame(CONTINUATION, payload, fin=False) for payload in others[:-1]]
    return b"".join([*frames, encode_frame(CONTINUATION, others[-1])])


MALFORMED = {
    "reserved bit 1 without compression": (encode_frame(TEXT, b"4", rsv=4), 1002),
    "reserved bit 2": (encode_frame(TEXT, b"4", rsv=2), 1002),
    "reserved bit 3": (encode_frame(TEXT, b"4", rsv=1), 1002),
    "reserved bit on a ping": (encode_frame(PING, b"", rsv=4), 1002),
    **{
        f"reserved opcode {opcode}": (encode_frame(opcode, b""), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    },
    "not masked": (encode_frame(TEXT, b"3", mask=None), 1002),
    "not masked close": (encode_frame(CLOSE, b"\x03\xe8", mask=None), 1002),
    "oversized ping": (encode_frame(PING, b"x" * 126), 1002),
    "oversized pong": (encode_frame(PONG, b"x" * 126), 1002),
    "oversized close": (encode_frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
    "oversized ping in 64 bits": (encode_frame(PING, b"x" * 65_536), 1002),
    "fragmented ping": (encode_frame(PING, b"", fin=False), 1002),
    "fragmented close": (encode_frame(CLOSE, b"", fin=False), 1002),
    "continuation of nothing": (encode_frame(CONTINUATION, b"4"), 1002),
    "unfinished continuation of nothing": (encode_frame(CONTINUATION, b"4", fin=False), 1002),
    "message inside a message": (encode_frame(TEXT, b"4", fin=False) + encode_frame(TEXT, b"3"), 1002),
    "binary inside a message": (encode_frame(TEXT, b"4", fin=False) + encode_frame(BINARY, b"3"), 1002),
    "second beginning": (encode_frame(TEXT, b"4", fin=False) * 2, 1002),
    "tiny fragments (CVE-2026-48779)": (
        encode_frame(TEXT, b"4", fin=False) + encode_frame(CONTINUATION, b"x", fin=False) * 256,
        1008,
    ),
    "empty fragments": (encode_frame(TEXT, b"4", fin=False) + encode_frame(CONTINUATION, b"", fin=False) * 256, 1008),
    "invalid UTF-8": (encode_frame(TEXT, b'42["\xff"]'), 1007),
    "overlong UTF-8": (encode_frame(TEXT, b'42["\xc0\x80"]'), 1007),
    "surrogate in UTF-8": (encode_frame(TEXT, b'42["\xed\xa0\x80"]'), 1007),
    "half a character": (encode_frame(TEXT, b'42["' + EURO[:2]), 1007),
    "invalid UTF-8 over fragments": (fragments(b'42["', EURO[:2], b'"]'), 1007),
    "too long by its head alone": (length_64(1_000_001), 1009),
    "far too long by its head alone": (length_64(2**62), 1009),
    "too long": (encode_frame(TEXT, b"4" * 1_000_001), 1009),
    "too long over fragments": (fragments(b"4" * 600_000, b"4" * 400_001), 1009),
    "too long binary over fragments": (fragments(b"4" * 600_000, b"4" * 400_001, opcode=BINARY), 1009),
    "length with the highest bit": (length_64(2**63), 1002),
    "short length in 64 bits": (length_64(65_535), 1002),
    "short length in 16 bits": (b"\x81\xfe\x00\x7d\0\0\0\0", 1002),
    "close of one byte": (encode_frame(CLOSE, b"\x03"), 1002),
    "close reason that is not UTF-8": (encode_frame(CLOSE, b"\x03\xe8\xff"), 1007),
    **{
        f"close code {code}": (encode_frame(CLOSE, struct.pack("!H", code)), 1002)
        for code in (1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535)
    },
}


@pytest.mark.parametrize(("frames", "code"), MALFORMED.values(), ids=list(MALFORMED))
async def test_a_malformed_frame_closes_its_sender(
    crowd: Running, crowd_wire: SocketWire, frames: bytes, code: int
) -> None:
    crowd_wire.send(frames)
    await crowd_wire.expect_close(code)
    await crowd.market.expect_gone(crowd_wire.id)


@pytest.mark.parametrize(("frames", "code"), MALFORMED.values(), ids=list(MALFORMED))
async def test_a_malformed_frame_that_comes_with_the_upgrade_request(
    crowd_http: Wire, frames: bytes, code: int
) -> None:
    # CVE-2022-21676: before the transport is attached.
    crowd_http.send_upgrade()
    crowd_http.send(frames)
    assert (await crowd_http.read_answer()).status == 101
    await crowd_http.expect_close(code)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (MALFORMED["reserved opcode 3"][0], "parse error"),
        (MALFORMED["reserved bit 2"][0], "parse error"),
        (MALFORMED["invalid UTF-8"][0], "invalid text"),
        (MALFORMED["close reason that is not UTF-8"][0], "invalid text"),
        (MALFORMED["too long by its head alone"][0], "message too large"),
        (MALFORMED["too long over fragments"][0], "message too large"),
        (MALFORMED["tiny fragments (CVE-2026-48779)"][0], "too many fragments"),
        (encode_frame(CLOSE, b"\x03\xe8"), "transport close"),
    ],
)
async def test_the_application_receives_the_reason_of_a_close(
    crowd: Running, crowd_wire: SocketWire, frames: bytes, reason: str
) -> None:
    crowd_wire.send(frames)
    assert await crowd.market.expect_gone(crowd_wire.id) == reason


# What is allowed.


async def test_a_message_in_fragments(crowd_wire: SocketWire) -> None:
    cut = ('421["echo","' + "€" * 100 + '"]').encode()
    crowd_wire.send(fragments(cut[:13], cut[13:14], b"", cut[14:]))
    await crowd_wire.expect_text('431["' + "€" * 100 + '"]')


async def test_a_byte_at_a_time(crowd_wire: SocketWire) -> None:
    for byte in encode_frame(TEXT, b'421["echo","slowly"]'):
        crowd_wire.send(bytes((byte,)))
        await crowd_wire.writer.drain()
        await asyncio.sleep(0)
    await crowd_wire.expect_text('431["slowly"]')


async def test_as_many_fragments_as_are_allowed(crowd_wire: SocketWire) -> None:
    text = b'421["echo","' + b"x" * 242 + b'"]'
    assert len(text) == 256
    crowd_wire.send(fragments(*(bytes((byte,)) for byte in text)))
    await crowd_wire.expect_text('431["' + "x" * 242 + '"]')


async def test_a_message_as_long_as_is_allowed(crowd_wire: SocketWire) -> None:
    filling = "x" * (1_000_000 - len('421["echo",""]'))
    crowd_wire.send_text(f'421["echo","{filling}"]')
    answer = await crowd_wire.read_frame()
    assert answer.payload.decode() == f'431["{filling}"]'


async def test_pings_are_answered_also_between_fragments(crowd_wire: SocketWire) -> None:
    crowd_wire.send_frame(TEXT, b'421["echo",', fin=False)
    await crowd_wire.expect_pong()
    await crowd_wire.expect_pong(b"x" * 125)
    await crowd_wire.expect_pong(b"")
    crowd_wire.send_frame(PONG, b"nobody asked")
    crowd_wire.send_frame(CONTINUATION, b"1]")
    await crowd_wire.expect_text("431[1]")


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe9going", b"\x03\xf6", b"\x0b\xb8", b"\x13\x87"])
async def test_a_close_is_answered(crowd_wire: SocketWire, payload: bytes) -> None:
    # CVE-2026-45736: with what came and nothing else.
    crowd_wire.send_frame(CLOSE, payload)
    answer = await crowd_wire.read_frame()
    assert (answer.opcode, answer.payload) == (CLOSE, payload[:2])
    assert await crowd_wire.read_rest() == b""


async def test_a_close_in_the_middle_of_a_message(crowd: Running, crowd_wire: SocketWire) -> None:
    crowd_wire.send(encode_frame(TEXT, b'42["unfinished', fin=False) + encode_frame(CLOSE, b"\x03\xe8"))
    await crowd_wire.expect_close(1000)
    assert "unfinished" not in crowd.market.names()


async def test_what_comes_after_a_close_is_not_processed(crowd: Running, crowd_wire: SocketWire) -> None:
    crowd_wire.send(encode_frame(CLOSE, b"\x03\xe8") + encode_frame(TEXT, b'42["too late"]'))
    await crowd_wire.expect_close(1000)
    assert "too late" not in crowd.market.names()


async def test_what_comes_after_a_protocol_error_is_not_processed(crowd: Running, crowd_wire: SocketWire) -> None:
    crowd_wire.send(encode_frame(TEXT, b"", rsv=1) + encode_frame(TEXT, b'42["too late"]') + encode_frame(PING, b""))
    await crowd_wire.expect_close(1002)
    assert "too late" not in crowd.market.names()


async def test_a_frame_that_is_too_long_is_not_processed_even_if_it_is_complete(
    crowd: Running, crowd_wire: SocketWire
) -> None:
    crowd_wire.send(encode_frame(TEXT, b'421["echo","' + b"x" * 1_000_000 + b'"]'))
    frame = await crowd_wire.read_frame()
    assert frame.close_code == 1009
    crowd_wire.send_text('422["too late"]')
    assert await crowd_wire.read_rest() == b""
    assert await crowd.market.expect_gone(crowd_wire.id) == "message too large"
    assert "too late" not in crowd.market.names()


ANSWERS: dict[int | None, int | None] = {
    **dict.fromkeys((0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535), 1002),
    **{code: code for code in (1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999)},
    None: None,
}
"""The code with which `ws` in Node answers a CLOSE, by its code."""


@pytest.mark.parametrize("doubled", [False, True])
@pytest.mark.parametrize(("code", "answer"), ANSWERS.items())
async def test_a_close_is_answered_once_and_as_ws_does(
    crowd: Running, code: int | None, answer: int | None, doubled: bool
) -> None:
    close = encode_frame(CLOSE, struct.pack("!H", code) if code is not None else b"")
    async with SocketWire.connect(crowd) as wire:
        wire.send(encode_frame(TEXT, b'4277["echo",1]') + close * (2 if doubled else 1))
        await wire.expect_text("4377[1]")
        assert (await wire.read_frame()).close_code == answer
        wire.send(close)
        assert await wire.read_rest() == b""


async def test_two_closes(crowd: Running, crowd_wire: SocketWire) -> None:
    crowd_wire.send(encode_frame(CLOSE, b"\x03\xe8") * 2)
    assert (await crowd_wire.read_frame()).opcode == CLOSE
    await crowd_wire.read_rest()
    await crowd.market.expect_gone(crowd_wire.id)


# Clients that go.


@pytest.mark.parametrize("count", [1, 3, 7, 20])
async def test_half_a_frame_and_gone(crowd: Running, crowd_wire: SocketWire, count: int) -> None:
    crowd_wire.send(encode_frame(TEXT, b'42["' + b"x" * 200 + b'"]')[:count])
    crowd_wire.writer.write_eof()
    assert await crowd.market.expect_gone(crowd_wire.id) == "transport close"


async def test_a_reset(crowd: Running, crowd_wire: SocketWire) -> None:
    crowd_wire.send(encode_frame(TEXT, b'42["half')[:8])
    crowd_wire.abort()
    assert await crowd.market.expect_gone(crowd_wire.id) == "transport close"


async def test_a_reset_at_once(crowd: Running) -> None:
    for _ in range(20):
        async with Wire.open(crowd) as wire:
            wire.send_upgrade()
            await asyncio.sleep(0)
            wire.abort()


async def test_a_close_that_is_not_answered_ends_in_time() -> None:
    async with serve(limits={"close_timeout": 0.1}) as running, SocketWire.connect(running) as wire:
        running.market.socket(wire.id).disconnect(close=True)
        await wire.expect_text("41")
        assert (await wire.read_frame()).close_code == 1000
        assert await wire.read_rest() == b""


async def test_the_java_client_is_notified_by_the_end_of_the_tcp_connection(crowd: Running) -> None:
    # OkHttp stops reading at a CLOSE frame, and the client never learns that the connection is over.
    async with SocketWire.connect(crowd, {"rooms": ["a"]}, headers={"User-Agent": "okhttp/3.12.12"}) as wire:
        await crowd.publish("last", 1, to="a")
        await wire.expect_event("last", 1)
        crowd.market.socket(wire.id).connection.close(engineio.SERVER_SHUTDOWN)
        assert await wire.read_rest() == b""
        assert await crowd.market.expect_gone(wire.id) == "server shutting down"
    # Other programs with OkHttp have listeners of their own.
    async with Wire.open(crowd) as wire:
        assert (await wire.upgrade(PLAIN_PATH, {"User-Agent": "okhttp/4.12.0"})).status == 101
        await wire.read_frame()
        next(iter(crowd.market.sockets[-1:])).connection.close(engineio.SERVER_SHUTDOWN)
        await wire.expect_close(1012)


async def test_an_error_of_ours_closes_with_1011_and_is_logged(crowd: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SocketWire.connect(crowd) as wire:
        monkeypatch.setattr(Connection, "on_text", None)
        with capture_logs() as logged:
            wire.send_text("3")
            await wire.expect_close(1011)
        monkeypatch.undo()
    assert "receiving failed" in [entry["event"] for entry in logged]


# The oracle.


async def test_the_websockets_library_agrees(crowd: Running) -> None:
    async with websockets.connect(f"ws://localhost:{crowd.port}{WEBSOCKET}", compression=None) as client:
        assert str(await client.recv()).startswith("0{")
        await client.send("40")
        assert str(await client.recv()).startswith("40{")
        await client.send(["421[", '"echo",', "1]"])
        assert await client.recv() == "431[1]"
        await (await client.ping(b"payload"))
        await client.send("2")
        with pytest.raises(ConnectionClosedError) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1002, "parse error")
