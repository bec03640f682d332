"""Engine.IO v4: packets, polling payloads, the handshake, and the tables of errors and close reasons.

Source: Engine.IO protocol, revision 4. A packet is one type digit and its data. On WebSocket a frame carries one packet
(a binary frame is always a message, without the digit). On polling a body carries several packets, joined by 0x1e; a
binary packet is `b` and base64.
"""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import NamedTuple

import msgspec

PROTOCOL = "4"
SEPARATOR = b"\x1e"
_USUAL_BASE64 = bytes.maketrans(b"-_", b"+/")


class PacketType(IntEnum):
    """The first character of a packet (Engine.IO protocol 4, "Packet encoding")."""

    OPEN = 0
    CLOSE = 1
    PING = 2
    PONG = 3
    MESSAGE = 4
    UPGRADE = 5
    NOOP = 6


class Packet(NamedTuple):
    """One Engine.IO packet. `data` is UTF-8 text unless `binary`."""

    type: PacketType
    data: bytes = b""
    binary: bool = False


CLOSE = b"1"
PING = b"2"
PONG = b"3"
UPGRADE = b"5"
NOOP = b"6"
PROBE_PING = b"2probe"
PROBE_PONG = b"3probe"


class HandshakeError(NamedTuple):
    """The reason why an HTTP request is refused. The JSON body of the answer is `{code, message}`."""

    code: int
    message: str
    status: int


UNKNOWN_TRANSPORT = HandshakeError(0, "Transport unknown", 400)
UNKNOWN_SESSION = HandshakeError(1, "Session ID unknown", 400)
BAD_METHOD = HandshakeError(2, "Bad handshake method", 400)
BAD_REQUEST = HandshakeError(3, "Bad request", 400)
FORBIDDEN = HandshakeError(4, "Forbidden", 403)
UNSUPPORTED_VERSION = HandshakeError(5, "Unsupported protocol version", 400)
OVERLOADED = HandshakeError(6, "Too many connections", 503)
"""Not an official code: those end at 5. Official clients show the message of any code."""
ALREADY_UPGRADED = HandshakeError(3, "The session has a WebSocket already.", 101)
"""A second WebSocket of a session is accepted and then closed, as official servers do: some clients crash at a 400."""
RETRY_AFTER = 1
"""Seconds, for the header of a 503. Official clients ignore it: they wait at random, and longer each time."""


class CloseReason(NamedTuple):
    """The reason why a connection ended. `text` is the official servers' name, if they have one.

    `recoverable` is True if the client's session may be resumed: always, unless the client or the server ended it on
    purpose. The server verifies a returning client again. `code` is the WebSocket close code that is sent.
    """

    text: str
    recoverable: bool
    code: int


TRANSPORT_CLOSE = CloseReason("transport close", True, 1000)
TRANSPORT_ERROR = CloseReason("transport error", True, 1011)
PING_TIMEOUT = CloseReason("ping timeout", True, 1001)
FORCED_CLOSE = CloseReason("forced close", True, 1002)
SERVER_SHUTDOWN = CloseReason("server shutting down", True, 1012)
SLOW_CONSUMER = CloseReason("slow consumer", True, 1013)
SERVER_BUSY = CloseReason("server busy", True, 1013)
SERVER_UNAVAILABLE = CloseReason("server unavailable", True, 1013)
"""The server cannot reach something that it needs, such as its database. The client reconnects by itself."""
RATE_LIMIT = CloseReason("rate limited", True, 1008)
FORCED_SERVER_CLOSE = CloseReason("forced server close", True, 1000)
PARSE_ERROR = CloseReason("parse error", True, 1002)
INVALID_TEXT = CloseReason("invalid text", True, 1007)
TOO_LARGE = CloseReason("message too large", True, 1009)
TOO_MANY_FRAGMENTS = CloseReason("too many fragments", True, 1008)
CONNECT_TIMEOUT = CloseReason("connect timeout", False, 1008)
TOKEN_EXPIRED = CloseReason("token expired", True, 1008)
REFUSED = CloseReason("refused", False, 1008)
CLIENT_DISCONNECT = CloseReason("client namespace disconnect", False, 1000)
SERVER_DISCONNECT = CloseReason("server namespace disconnect", False, 1000)


class OpenPacket(msgspec.Struct, rename="camel", frozen=True):
    """The data of the open packet. Its times are milliseconds; all other times in the code are seconds."""

    sid: str
    upgrades: list[str]
    ping_interval: int
    ping_timeout: int
    max_payload: int


class MalformedError(ValueError):
    """Input that is against the protocol. `Session` turns this error into a close reason."""

    connect: str | None = None
    """The namespace that the client wants to enter, if the input is a CONNECT."""


class TooManyPacketsError(MalformedError):
    """A polling body with more packets than allowed; its packets may be well-formed."""


def encode_open(packet: OpenPacket) -> bytes:
    """The packet that opens a session."""
    return b"0" + msgspec.json.encode(packet)


def decode_open(data: bytes) -> OpenPacket:
    """Raises MalformedError."""
    try:
        return msgspec.json.decode(data, type=OpenPacket)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"open packet: {error}") from None


def encode_packet(packet: Packet) -> bytes:
    """Encode one packet for a polling payload or, unless it is binary, for a WebSocket text frame."""
    if packet.binary:
        return b"b" + b64encode(packet.data)
    return b"%d%b" % (packet.type, packet.data)


def decode_packet(encoded: bytes) -> Packet:
    """Decode one packet of a polling payload or a WebSocket text frame. Raises MalformedError."""
    first = encoded[:1]
    if first == b"4":
        return Packet(PacketType.MESSAGE, encoded[1:])
    if first == b"b":
        return Packet(PacketType.MESSAGE, _decode_base64(encoded[1:]), binary=True)
    if first in (b"0", b"1", b"2", b"3", b"5", b"6"):
        return Packet(PacketType(int(first)), encoded[1:])
    raise MalformedError(f"packet type {first!r}: expected a digit from 0 to 6, or b")


def _decode_base64(encoded: bytes) -> bytes:
    """Decode base64. Some clients write it with line breaks (Java), without padding, or with the alphabet of URLs."""
    try:
        return b64decode(encoded, validate=True)
    except binascii.Error:
        usual = encoded.translate(_USUAL_BASE64, b"\r\n\t ").rstrip(b"=")
    try:
        return b64decode(usual + b"=" * (-len(usual) % 4), validate=True)
    except binascii.Error:
        raise MalformedError("binary packet: not base64") from None


def encode_payload(packets: Iterable[bytes]) -> bytes:
    """Join encoded packets to a polling body."""
    return SEPARATOR.join(packets)


def decode_payload(body: bytes, max_packets: int) -> list[Packet]:
    """The packets of a polling body. Raises MalformedError; TooManyPacketsError if there are more than `max_packets`.

    An official server decodes the packets before the first malformed one; here one malformed packet makes the whole
    body malformed.
    """
    if body.count(SEPARATOR) >= max_packets:
        raise TooManyPacketsError(f"payload: more than {max_packets} packets")
    if not body.isascii():
        check_text(body)
    return [decode_packet(encoded) for encoded in body.split(SEPARATOR)]


def check_text(body: bytes) -> None:
    """Raises MalformedError if `body` is not UTF-8."""
    try:
        body.decode()
    except UnicodeDecodeError:
        raise MalformedError("not UTF-8") from None


def check_request(method: str, query: Mapping[str, str], *, known: bool, upgrade: bool) -> HandshakeError | None:
    """Check a request as official servers do, in the same order. Returns None if the request is accepted.

    `known` is True if the session of the query's session id is open, `upgrade` if this is a WebSocket upgrade.
    """
    transport = query.get("transport")
    if transport not in ("polling", "websocket"):
        return UNKNOWN_TRANSPORT
    # JSONP (`j`) is not supported, because its callers execute the answer as code.
    if "j" in query or (upgrade and transport != "websocket"):
        return BAD_REQUEST
    # An empty session id counts as none, as with official servers.
    if query.get("sid"):
        return _check_session_request(query, known, upgrade)
    if method != "GET":
        return BAD_METHOD
    if transport == "websocket" and not upgrade:
        return BAD_REQUEST
    if query.get("EIO") != PROTOCOL:
        return UNSUPPORTED_VERSION
    return None


def _check_session_request(query: Mapping[str, str], known: bool, upgrade: bool) -> HandshakeError | None:
    if not known:
        return UNKNOWN_SESSION
    if (query.get("transport") == "websocket") != upgrade:
        return BAD_REQUEST
    if query.get("EIO", PROTOCOL) != PROTOCOL:
        return BAD_REQUEST
    return None
