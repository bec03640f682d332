"""HTTP/1.1 request framing: which bytes of a connection belong to which request (RFC 9112).

If a proxy and the server read the same bytes differently, an attacker can smuggle requests: the proxy sees one request,
the server two. Therefore this module refuses all input that is malformed or ambiguous, and the connection is closed.
`receive` takes bytes; `next_event` returns a Head, the bytes of its body, END, and so on.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

Field = tuple[bytes, bytes]
"""The name of a header, lower-case, and its value without the white space around it."""

MAX_CHUNK_LINE = 256
"""Bytes of the line before a chunk: the chunk's size, and extensions, which no known client sends."""
MAX_CHUNK_DIGITS = 12
MAX_LENGTH_DIGITS = 15

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_TEXT = rb"[\t -~\x80-\xff]"
_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) ([!-~]++) HTTP/(1\.[01])\r\n")
_FIELD = re.compile(rb"(?:(?<=\n)|\A)(%b++):[ \t]*+(%b*+)\r\n" % (_TOKEN, _TEXT))
"""A whole header line, without a bare CR or LF in it. A head is valid if it has as many such lines as line ends."""
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,%d})(?:[ \t]*+;%b*+)?\r\n" % (MAX_CHUNK_DIGITS, _TEXT))
_LENGTH = re.compile(rb"[0-9]{1,%d}" % MAX_LENGTH_DIGITS)
_HOST = re.compile(rb"[\w.~:\[\]%!$&'()*+,;=-]*+")
_BEGUN = re.compile(rb"[A-Z]{1,20}(?: |\Z)")
"""The beginning of every request."""
_BROKEN_LINE = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\x00")
"""A bare CR or LF, or a NUL: no head may contain them."""
_EMPTY_LINES = re.compile(rb"(?:\r\n)*+")
_HEAD_END = b"\r\n\r\n"
_FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade"})


class FramingError(Exception):
    """The input is not HTTP, or is ambiguous. The message names what was expected."""

    def __init__(self, message: str, status: str = "400 Bad Request") -> None:
        super().__init__(message)
        self.status = status


class End:
    """The request is complete."""


END: Final = End()


class Head(NamedTuple):
    """The head of a request."""

    method: bytes
    target: bytes
    version: bytes
    """`1.0` or `1.1`."""
    fields: list[Field]
    length: int | None
    """Bytes of the body; None if the body is chunked."""
    upgrade: bool
    """True if the request asks for a WebSocket. Any other Upgrade is ignored and removed from `fields`."""

    def encode(self, body: Iterable[bytes] = ()) -> bytes:
        """The head in a form that all servers read in the same way, followed by `body`."""
        lines = [b"%b %b HTTP/%b" % (self.method, self.target, self.version)]
        lines += [name + b": " + value for name, value in self.fields]
        return b"\r\n".join([*lines, b"", b"".join(body)])


def encode_chunk(data: bytes) -> bytes:
    """Encode a chunk of a body; empty `data` ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


Event = Head | bytes | End


class RequestFramer:
    """Splits the bytes of one connection into requests. It reads nothing after the head of a WebSocket request."""

    def __init__(self, max_head: int) -> None:
        self._max_head = max_head
        self._buffer = b""
        self._at = 0
        self._checked = 0
        """Bytes of an unfinished head that have been checked for broken lines."""
        self._left = 0
        """Bytes of the body or of its chunk that have not arrived yet; in trailers, bytes that have arrived."""
        self._read: Callable[[RequestFramer], Event | None] = RequestFramer._read_head
        """The method that reads the next event. It is not bound, because a reference cycle would keep the buffer of a
        closed connection until the garbage collector runs."""

    def receive(self, data: bytes) -> None:
        """Add bytes that were received over the connection."""
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    def next_event(self) -> Event | None:
        """The next event; None if more bytes are needed. Raises FramingError; no event can be read after it."""
        return self._read(self)

    def read_whole(self) -> Iterable[bytes]:
        """The body of a request whose last byte has been received."""
        while (event := self.next_event()) is not END:
            assert isinstance(event, bytes)
            yield event

    @property
    def rest(self) -> bytes:
        """The bytes that were received after the last event."""
        return self._buffer[self._at :]

    def take_rest(self) -> bytes:
        """Remove and return `rest`, for another protocol."""
        rest, self._buffer, self._at = self.rest, b"", 0
        return rest

    @property
    def waiting(self) -> int:
        """Number of bytes in `rest`."""
        return len(self._buffer) - self._at

    @property
    def in_message(self) -> bool:
        """True if the head of a request has been read, but not its END."""
        return self._read is not RequestFramer._read_head

    @property
    def head_begun(self) -> bool:
        """True if a part of a head has been received."""
        return not self.in_message and self.waiting > 0

    # The head.

    def _read_head(self) -> Head | None:
        self._skip_empty_lines()
        end = self._buffer.find(_HEAD_END, self._at)
        size = (end + len(_HEAD_END) if end >= 0 else len(self._buffer)) - self._at
        if size > self._max_head:
            raise FramingError("The request's head is too long.", "431 Request Header Fields Too Large")
        if end < 0:
            self._check_unfinished()
            return None
        self._checked = 0
        head = read_head(self._buffer, self._at, end + 2)
        self._at = end + len(_HEAD_END)
        if not head.upgrade:
            self._begin_body(head)
        return head

    def _skip_empty_lines(self) -> None:
        # RFC 9112 section 2.2.
        skipped = _EMPTY_LINES.match(self._buffer, self._at)
        self._at = skipped.end() if skipped is not None else self._at

    def _check_unfinished(self) -> None:
        """Refuse input that cannot become a head, such as a TLS handshake, before its end arrives."""
        if self.waiting == 0 or self._buffer[self._at :] == b"\r":
            return
        if _BEGUN.match(self._buffer, self._at) is None:
            raise FramingError("This is not HTTP/1.1.")
        if _BROKEN_LINE.search(self._buffer, max(self._at, self._at + self._checked - 1)) is not None:
            raise FramingError("A line of the request's head does not end with CR LF.")
        self._checked = self.waiting

    # The body.

    def _begin_body(self, head: Head) -> None:
        if head.length is None:
            self._read = RequestFramer._read_chunk_line
        else:
            self._left = head.length
            self._read = RequestFramer._read_length if head.length else RequestFramer._read_end

    def _read_end(self) -> End:
        self._left = 0
        self._read = RequestFramer._read_head
        return END

    def _read_length(self) -> bytes | None:
        data = self._take_left()
        if not self._left:
            self._read = RequestFramer._read_end
        return data

    def _take_left(self) -> bytes | None:
        data = self._buffer[self._at : self._at + self._left]
        self._at += len(data)
        self._left -= len(data)
        return data or None

    def _read_chunk_line(self) -> Event | None:
        line = self._take_line(MAX_CHUNK_LINE)
        if line is None:
            return None
        found = _CHUNK.fullmatch(line)
        if found is None:
            raise FramingError("A chunk of the body does not begin with its size in hexadecimal digits and CR LF.")
        self._left = int(found[1], 16)
        self._read = RequestFramer._read_chunk if self._left else RequestFramer._read_trailer
        return self._read(self)

    def _read_chunk(self) -> bytes | None:
        data = self._take_left()
        if not self._left:
            self._read = RequestFramer._read_chunk_end
        return data

    def _read_chunk_end(self) -> Event | None:
        if self.waiting < 2 and b"\r\n".startswith(self._buffer[self._at :]):
            return None
        if not self._buffer.startswith(b"\r\n", self._at):
            raise FramingError("A chunk of the body is longer than its size says.")
        self._at += 2
        self._read = RequestFramer._read_chunk_line
        return self._read(self)

    def _read_trailer(self) -> End | None:
        """Read trailers and drop them, because no handler uses them."""
        while (line := self._take_line(self._max_head)) is not None:
            if line == b"\r\n":
                return self._read_end()
            self._left += len(line)
            if self._left > self._max_head:
                raise FramingError("The trailers after the body are too long.", "431 Request Header Fields Too Large")
            if _FIELD.fullmatch(line) is None:
                raise FramingError("A trailer after the body is not a name, a colon, a value and CR LF.")
        return None

    def _take_line(self, most: int) -> bytes | None:
        """The next line with its end; None if its end has not arrived."""
        end = self._buffer.find(b"\n", self._at, self._at + most)
        if end < 0:
            if self.waiting >= most:
                raise FramingError(f"A line within the body is longer than {most} bytes.")
            return None
        line = self._buffer[self._at : end + 1]
        self._at = end + 1
        return line


def read_head(data: bytes, start: int, end: int) -> Head:
    """The head whose lines are between `start` and `end`. Raises FramingError."""
    line = _REQUEST_LINE.match(data, start, end)
    if line is None:
        raise FramingError("The request does not begin with a method, a path and HTTP/1.1.")
    method, target, version = line.groups()
    fields = _read_fields(data, line.end(), end)
    framing: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        if name in _FRAMING:
            framing.setdefault(name, []).append(value)
    _check_host(framing.get(b"host", []), version)
    if method == b"CONNECT":
        raise FramingError("CONNECT is for proxies, and this server is not a proxy.")
    length = _read_body_length(framing.get(b"content-length", []), framing.get(b"transfer-encoding", []), version)
    upgrade = b"upgrade" in framing and _is_websocket(method, version, length, framing)
    if b"upgrade" in framing and not upgrade:
        fields = [field for field in fields if field[0] != b"upgrade"]
    return Head(method, target, version, fields, length, upgrade)


def _read_fields(data: bytes, start: int, end: int) -> list[Field]:
    found = _FIELD.findall(data, start, end)
    if len(found) != data.count(b"\n", start, end):
        raise FramingError("A header is not a name, a colon, a value and CR LF.")
    return [(name.lower(), value.rstrip(b" \t")) for name, value in found]


def _check_host(hosts: list[bytes], version: bytes) -> None:
    # RFC 9112 section 3.2.
    if len(hosts) > 1 or (not hosts and version == b"1.1"):
        raise FramingError(f"{len(hosts)} Host headers came. Send exactly one.")
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        raise FramingError("The Host header is not the name of a host.")


def _read_body_length(lengths: list[bytes], codings: list[bytes], version: bytes) -> int | None:
    """The length of the body by RFC 9112 section 6.3, without the exceptions that it permits."""
    if codings:
        if lengths:
            raise FramingError("Both Content-Length and Transfer-Encoding came. Send only one of them.")
        if version == b"1.0" or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise FramingError("The Transfer-Encoding is not `chunked`, in HTTP/1.1.")
        return None
    if len(lengths) > 1:
        raise FramingError(f"{len(lengths)} Content-Length headers came. Send one.")
    if lengths and _LENGTH.fullmatch(lengths[0]) is None:
        raise FramingError(f"Content-Length is not a number of at most {MAX_LENGTH_DIGITS} digits.")
    return int(lengths[0]) if lengths else 0


def _is_websocket(method: bytes, version: bytes, length: int | None, framing: Mapping[bytes, list[bytes]]) -> bool:
    """True if the request, which has an Upgrade header, asks for a WebSocket."""
    # RFC 9110 section 7.8: an Upgrade is valid only in HTTP/1.1, and only if Connection names it.
    named = version == b"1.1" and b"upgrade" in split_list(framing.get(b"connection", []))
    if not named or b"websocket" not in split_list(framing[b"upgrade"]):
        return False
    if method != b"GET" or length != 0:
        raise FramingError("A WebSocket is opened by a GET without a body.")
    return True


def split_list(values: Iterable[bytes]) -> list[bytes]:
    """The lower-case elements of a list header, which may occur several times (RFC 9110 section 5.6.1)."""
    return [element.strip(b" \t").lower() for value in values for element in value.split(b",")]
