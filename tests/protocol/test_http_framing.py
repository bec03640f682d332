"""HTTP framing: heads, bodies and ends come out as they are, however the bytes are cut; and nothing ambiguous does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oyez.protocol.http_framing import END, Event, FramingError, Head, RequestFramer, encode_chunk

GET = b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = CHUNKED + b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: z\r\n\r\n"


def read(framer: RequestFramer) -> list[Event]:
    events = []
    while (event := framer.next_event()) is not None:
        events.append(event)
    return events


def frame(data: bytes, max_head: int = 1_000) -> list[Event]:
    framer = RequestFramer(max_head)
    framer.receive(data)
    return read(framer)


def summarize(events: list[Event]) -> list[tuple[bytes, bytes, bool]]:
    """Each request's target and body, and whether it has come to its end."""
    requests: list[tuple[bytes, bytes, bool]] = []
    for event in events:
        if isinstance(event, Head):
            requests.append((event.target, b"", False))
        else:
            target, body, _ = requests.pop()
            requests.append((target, body, True) if event is END else (target, body + bytes(event), False))  # type: ignore[arg-type]
    return requests


@given(st.lists(st.sampled_from([GET, POST, CHUNKS, b"\r\n"])), st.lists(st.integers(1, 50)))
def test_requests_come_out_alike_however_they_are_cut(requests: list[bytes], sizes: list[int]) -> None:
    data, framer, events = b"".join(requests), RequestFramer(1_000), []
    for size in [*sizes, len(data)]:
        framer.receive(data[:size])
        data = data[size:]
        events += read(framer)
    bodies = {GET: (b"/a?b", b""), POST: (b"/c", b"hello"), CHUNKS: (b"/d", b"abc0123456789")}
    assert summarize(events) == [(*bodies[request], True) for request in requests if request != b"\r\n"]
    assert (framer.waiting, framer.in_message) == (0, False)


def test_a_head() -> None:
    (head, end) = frame(b"GET /a HTTP/1.0\r\nX-One:  two words \t\r\nx-one:\r\n\r\n")
    assert head == Head(b"GET", b"/a", b"1.0", [(b"x-one", b"two words"), (b"x-one", b"")], 0, upgrade=False)
    assert end is END
    assert isinstance(head, Head)
    assert head.encode([b"a", b"b"]) == b"GET /a HTTP/1.0\r\nx-one: two words\r\nx-one: \r\n\r\nab"


def test_a_websocket_ends_what_is_read() -> None:
    framer = RequestFramer(1_000)
    framer.receive(
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nConnection:  Upgrade \r\nUpgrade: WebSocket\r\n\r\nab"
    )
    head = framer.next_event()
    assert isinstance(head, Head)
    assert head.upgrade
    assert framer.take_rest() == b"ab"


@pytest.mark.parametrize("connection", ["Upgrade, HTTP2-Settings", "keep-alive", "close"])
@pytest.mark.parametrize("upgrade", ["h2c", "TLS/1.2", ""])
def test_another_upgrade_is_ignored(connection: str, upgrade: str) -> None:
    asked = f"Connection: {connection}\r\nUpgrade: {upgrade}\r\n".encode()
    head, body, end = frame(b"POST / HTTP/1.1\r\nHost: x\r\n" + asked + b"Content-Length: 2\r\n\r\nab")
    assert isinstance(head, Head)
    assert (head.upgrade, body, end) == (False, b"ab", END)
    assert b"upgrade" not in dict(head.fields)


def test_an_unfinished_request_is_waited_for() -> None:
    for request in (GET, POST, CHUNKS):
        for size in range(len(request)):
            assert not summarize(frame(request[:size])) or not summarize(frame(request[:size]))[0][2]


@pytest.mark.parametrize("begun", [b"\x16\x03\x01", b"\x81\x85", b"SSH-2.0\r\n", b"\n", b"get /", b"GET / HTTP/1.1\n"])
def test_what_cannot_become_a_request_is_refused_at_once(begun: bytes) -> None:
    with pytest.raises(FramingError):
        frame(begun)


@pytest.mark.parametrize("data", [b"GET /" + b"x" * 100, b"GET / HTTP/1.1\r\nA: " + b"x" * 100 + b"\r\n\r\n"])
def test_long_heads(data: bytes) -> None:
    with pytest.raises(FramingError) as caught:
        frame(data, max_head=100)
    assert caught.value.status.startswith("431 ")


def test_trailers_without_end() -> None:
    with pytest.raises(FramingError):
        frame(CHUNKS[:-2] + b"T: z\r\n" * 100, max_head=100)


def test_a_chunk_is_read_as_it_was_written() -> None:
    _, *body, end = frame(CHUNKED + encode_chunk(b"ab") + encode_chunk(b""))
    assert (body, end) == ([b"ab"], END)
