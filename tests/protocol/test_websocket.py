"""WebSocket without I/O: what is offered is answered, and frames are those that the `websockets` library reads."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.streams import StreamReader

from oyez.protocol.engineio import MalformedError
from oyez.protocol.websocket import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    deflate,
    encode_close,
    encode_frame,
    inflate,
    negotiate_deflate,
)
from tests.support.wire import encode_frame as encode_masked_frame

LENGTHS = (0, 1, 125, 126, 127, 65_535, 65_536, 65_537)


def read(data: bytes, extensions: Sequence[Extension] | None = None) -> list[Frame]:
    """Frames of a server as a client's library reads them."""
    reader, frames = StreamReader(), []
    reader.feed_data(data)
    reader.feed_eof()
    while reader.buffer:
        parsing = Frame.parse(reader.read_exact, mask=False, max_size=None, extensions=extensions)
        try:
            next(parsing)
        except StopIteration as done:
            frames.append(done.value)
    return frames


def inflating() -> list[Extension]:
    return [PerMessageDeflate(True, True, 15, 15)]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_messages_of_any_length(opcode: int, length: int) -> None:
    payload = b"x" * length
    (frame,) = read(encode_frame(opcode, payload))
    assert (frame.opcode, bytes(frame.data), frame.fin) == (opcode, payload, True)
    assert not (frame.rsv1 or frame.rsv2 or frame.rsv3)


@pytest.mark.parametrize(("length", "head"), [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)])
def test_heads_are_as_short_as_may_be(length: int, head: int) -> None:
    assert len(encode_frame(TEXT, b"x" * length)) == head + length


@pytest.mark.parametrize("length", LENGTHS)
def test_a_masked_frame_of_the_tests_is_the_librarys(length: int) -> None:
    payload = bytes(number % 256 for number in range(length))
    reader = StreamReader()
    reader.feed_data(encode_masked_frame(TEXT, payload))
    parsing = Frame.parse(reader.read_exact, mask=True)
    with pytest.raises(StopIteration) as done:
        next(parsing)
    assert bytes(done.value.value.data) == payload


@pytest.mark.parametrize("opcode", [PING, PONG])
def test_control_frames(opcode: int) -> None:
    for payload in (b"", b"x" * 125):
        (frame,) = read(encode_frame(opcode, payload))
        assert (frame.opcode, bytes(frame.data)) == (Opcode(opcode), payload)


@pytest.mark.parametrize(
    ("reason", "sent"),
    [("", ""), ("server shutting down", "server shutting down"), ("x" * 200, "x" * 123)],
)
def test_close_frames(reason: str, sent: str) -> None:
    (frame,) = read(encode_close(1012, reason))
    assert frame.opcode is Opcode.CLOSE == CLOSE
    assert Close.parse(bytes(frame.data)) == Close(1012, sent)


@pytest.mark.parametrize("length", LENGTHS)
def test_deflated_frames_inflate_again(length: int) -> None:
    payload = (b'{"bid":%d}' * 10_000)[:length]
    data = encode_frame(TEXT, deflate(payload), deflated=True)
    (frame,) = read(data, inflating())
    assert bytes(frame.data) == payload
    assert data[0] == 0xC1, "the first reserved bit, and no other"


@given(st.lists(st.binary(max_size=5_000), min_size=1, max_size=4))
def test_every_deflated_message_stands_alone(payloads: list[bytes]) -> None:
    for payload in payloads:
        assert inflate(deflate(payload), 5_000) == payload
    frames = read(b"".join(encode_frame(BINARY, deflate(payload), deflated=True) for payload in payloads), inflating())
    assert [bytes(frame.data) for frame in frames] == payloads


def test_inflating_is_bounded() -> None:
    assert inflate(deflate(b"x" * 10_000), 100) == b"x" * 101
    with pytest.raises(MalformedError, match="cannot be inflated"):
        inflate(b"\xff\xff\xff", 100)


@pytest.mark.parametrize(
    ("extensions", "accepted"),
    [
        ("", False),
        ("permessage-deflate", True),
        ("permessage-deflate; client_max_window_bits", True),
        ("permessage-deflate; client_max_window_bits=8", True),
        ("permessage-deflate; client_max_window_bits=7", False),
        ("permessage-deflate; client_max_window_bits=16", False),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", True),
        ("permessage-deflate; server_no_context_takeover=1", False),
        ("permessage-deflate; server_max_window_bits=15", True),
        ('permessage-deflate; server_max_window_bits="15"', True),
        ("permessage-deflate; server_max_window_bits=12", False),
        ("permessage-deflate; server_max_window_bits", False),
        ("permessage-deflate; server_max_window_bits=12, permessage-deflate", True),
        ("permessage-deflate; unknown", False),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits", False),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits=9", False),
        ("permessage-bzip2", False),
        ("x-webkit-deflate-frame, permessage-deflate", True),
        (";;;,,,===", False),
    ],
)
def test_offers_of_compression(extensions: str, accepted: bool) -> None:
    assert (negotiate_deflate(extensions) is not None) is accepted
