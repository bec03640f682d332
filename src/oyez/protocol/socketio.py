"""Socket.IO v5: packets, namespaces, acknowledgement ids, attachments.

Source: Socket.IO protocol, revision 5. A packet is `<type>[<attachments>-][<namespace>,][<ack id>][<JSON>]`.
The JSON stays encoded: the contract's codec, which knows the event's type, decodes it once. This module checks that the
JSON is well-formed, within the limits, and of the shape that its packet type requires.
"""

import re
from array import array
from collections.abc import Callable, Sequence
from enum import IntEnum
from itertools import accumulate
from typing import Any, Literal, TypeVar

import msgspec

from oyez.protocol.engineio import MalformedError, check_text
from oyez.settings import Limits

T = TypeVar("T")


class PacketType(IntEnum):
    """The first character of a packet (Socket.IO protocol 5, "Packet encoding")."""

    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


RESERVED_EVENTS = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Names that the client and server libraries use themselves: an event must not have one of them."""

MAX_ACK_ID = 2**53 - 1
"""The largest integer that JavaScript represents exactly; an official client's ids start at 0."""


CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Control characters are refused in names of namespaces and events, because they could forge a line of a log."""


class Packet(msgspec.Struct, gc=False):
    """One Socket.IO packet.

    `data` is JSON: an object for CONNECT and CONNECT_ERROR, an array for events and acknowledgements (its first
    element is the event's name, also given as `name`), empty if the packet has none. In `data` every attachment is
    `{"_placeholder":true,"num":<index into attachments>}`.
    """

    type: PacketType
    namespace: str = "/"
    data: bytes = b""
    ack_id: int | None = None
    name: str = ""
    attachments: tuple[bytes, ...] = ()
    missing_attachments: int = 0
    """Number of binary packets that must follow before this packet is complete."""


def encode_packet(packet: Packet) -> bytes:
    """Encode the packet's text. Its attachments follow as binary packets."""
    return b"".join(
        (
            b"%d" % packet.type,
            b"%d-" % len(packet.attachments) if packet.type in _BINARY else b"",
            encode_namespace(packet.namespace),
            b"%d" % packet.ack_id if packet.ack_id is not None else b"",
            packet.data,
        )
    )


def encode_namespace(namespace: str) -> bytes:
    """Encode a namespace for its place in a packet: nothing for the main namespace."""
    return b"" if namespace == "/" else namespace.encode() + b","


def encode_event(namespace: str, data: bytes, ack_id: int | None = None) -> bytes:
    """Encode the text of an EVENT. `data` is the JSON array that starts with the name."""
    if namespace == "/" and ack_id is None:
        return b"2" + data
    return encode_packet(Packet(PacketType.EVENT, namespace, data, ack_id))


def decode_packet(text: bytes, limits: Limits) -> Packet:
    """Decode one packet from the UTF-8 text of an Engine.IO message. Raises MalformedError."""
    if not text:
        raise MalformedError("Socket.IO packet: empty")
    if not text.isascii():
        check_text(text)
    kind = text[0] - 48
    if kind == 2 and (start := text.find(b"[", 1, 17)) > 0 and (start == 1 or text[1:start].isdigit()):
        # A fast path, because most packets are events of the main namespace. So few digits stay under MAX_ACK_ID.
        packet = Packet(_EVENT, "/", text[start:], int(text[1:start]) if start > 1 else None)
        _check_event(packet, limits)
        return packet
    if not 0 <= kind <= 6:
        raise MalformedError(f"Socket.IO packet type {text[:1]!r}: expected a digit from 0 to 6")
    start, attachments = _decode_attachment_count(text, limits) if kind >= 5 else (1, 0)
    start, namespace = _decode_namespace(text, start, limits)
    start, ack_id = _decode_ack_id(text, start)
    packet = Packet(_TYPES[kind], namespace, text[start:], ack_id, missing_attachments=attachments)
    try:
        _CHECKS[kind](packet, limits)
    except MalformedError as error:
        error.connect = namespace if packet.type is PacketType.CONNECT else None
        raise
    return packet


def check_packet(packet: Packet, limits: Limits) -> None:
    """Check the data of a packet, and set the name of an event. Raises MalformedError."""
    _CHECKS[packet.type](packet, limits)


def _decode_attachment_count(text: bytes, limits: Limits) -> tuple[int, int]:
    end = text.find(b"-", 1, 12)
    digits = text[1:end]
    if end < 0 or not digits.isdigit():
        raise MalformedError("binary packet: no attachment count")
    if not 1 <= int(digits) <= limits.max_attachments:
        raise MalformedError(f"binary packet: {int(digits)} attachments, expected 1 to {limits.max_attachments}")
    return end + 1, int(digits)


def _decode_namespace(text: bytes, start: int, limits: Limits) -> tuple[int, str]:
    if text[start : start + 1] != b"/":
        return start, "/"
    end = text.find(b",", start, start + limits.max_namespace_length + 1)
    if end < 0:
        # Without a comma the namespace is all there is (`1/chat`), unless it is longer than it may be.
        end = len(text)
        if end - start > limits.max_namespace_length:
            raise MalformedError(f"namespace: longer than {limits.max_namespace_length} characters")
    try:
        namespace = text[start:end].decode()
    except UnicodeDecodeError:
        raise MalformedError("namespace: not UTF-8") from None
    if CONTROL_CHARACTER.search(namespace):
        raise MalformedError("namespace: a control character")
    return end + 1, namespace


def _decode_ack_id(text: bytes, start: int) -> tuple[int, int | None]:
    # An id stands before an array; no more than 17 digits are looked at, the bound has 16.
    end = text.find(b"[", start, start + 18)
    digits = text[start:end] if end >= 0 else text[start : start + 17]
    if not digits.isdigit():
        digits = digits[: len(digits) - len(digits.lstrip(b"0123456789"))]
    if not digits:
        return start, None
    ack_id = int(digits)
    if ack_id > MAX_ACK_ID:
        raise MalformedError(f"acknowledgement id: over {MAX_ACK_ID}")
    return start + len(digits), ack_id


_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_string = msgspec.json.Decoder(str).decode
_decode_error = msgspec.json.Decoder(str | dict[str, msgspec.Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode

_HALF = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F][0-9a-fA-F]{2})"
)
"""A JSON escape of a lone surrogate: half of a character."""
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[{]},"'))
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))


def _elements(packet: Packet, limits: Limits, names: int) -> list[msgspec.Raw]:
    """The elements of a packet's array. The first `names` elements are names; the others are arguments."""
    # Check first, because the decoder creates an object for each element of the array.
    check_shape(packet.data, limits)
    try:
        elements = _decode_array(packet.data)
    except (msgspec.MsgspecError, RecursionError):
        elements = _decode_mended(packet, _decode_array, limits, "payload: not a JSON array")
    if len(elements) - names > limits.max_arguments:
        raise MalformedError(f"payload: more than {limits.max_arguments} arguments")
    return elements


def _decode_mended(packet: Packet, decode: Callable[[bytes], T], limits: Limits, fault: str) -> T:
    """Replace lone surrogates in a packet's data, and return the result of `decode`. Raises MalformedError."""
    if not may_be_mended(packet.data, limits):
        raise MalformedError(fault) from None
    packet.data = mend_halves(packet.data)
    try:
        return decode(packet.data)
    except (msgspec.MsgspecError, RecursionError):
        raise MalformedError(fault) from None


def may_be_mended(data: bytes, limits: Limits) -> bool:
    """True if `data` may contain lone surrogates, and few enough of them to examine each."""
    return 0 < data.count(rb"\ud") + data.count(rb"\uD") <= limits.max_json_elements


def mend_halves(data: bytes) -> bytes:
    """JSON with each lone surrogate replaced by U+FFFD, as every browser does when it encodes text.

    JavaScript's JSON.stringify writes lone surrogates as escapes, for example if a preview was cut inside an emoji.
    """
    # An escaped backslash begins no other escape. Meanwhile it is replaced by bytes that do not occur in UTF-8.
    mended = _HALF.sub(rb"\\ufffd", data.replace(rb"\\", b"\xff\xff"))
    return mended.replace(b"\xff\xff", rb"\\")


def check_shape(data: bytes, limits: Limits) -> None:
    """Raise MalformedError if JSON is nested too deep or has too many elements.

    Only C code reads all of `data`; Python code reads at most as many elements as `max_json_elements`. Invalid JSON may
    pass, but then the decoder stops before it has created more elements than that.
    """
    # This count is cheap, and never too low, because brackets within strings count too. Nearly all packets end here.
    brackets = data.count(b"[") + data.count(b"{")
    most = limits.max_json_elements
    if brackets <= limits.max_json_depth and (len(data) <= most or data.count(b",") <= most):
        return
    structure = _find_structure(data, limits)
    if len(structure.translate(None, b"]}")) > most:
        raise _too_many_elements(limits)
    # Each opening bracket is 1 and each closing bracket is -1 as a signed byte, so that the sum is the depth.
    steps = array("b", structure.translate(_STEPS, _NO_BRACKETS))
    if max(accumulate(steps), default=0) > limits.max_json_depth:
        raise MalformedError(f"payload: nested deeper than {limits.max_json_depth}")


def _find_structure(data: bytes, limits: Limits) -> bytes:
    """The brackets and commas of JSON outside of its strings. Raises MalformedError if there are too many strings."""
    if b"\\" in data:
        # An escaped quote does not end a string.
        data = data.replace(rb"\\", b"").replace(rb"\"", b"")
    structure = data.translate(None, _NOT_STRUCTURE)
    quotes = structure.count(b'"')
    if not quotes:
        return structure
    # Each element has at most a string and a key, and each of them has two quotes.
    if quotes > 4 * limits.max_json_elements + 4:
        raise _too_many_elements(limits)
    return b"".join(structure.split(b'"')[::2])


def _too_many_elements(limits: Limits) -> MalformedError:
    return MalformedError(f"payload: more than {limits.max_json_elements} elements in its arrays and objects")


def _check_event(packet: Packet, limits: Limits) -> None:
    elements = _elements(packet, limits, names=1)
    try:
        name = _decode_string(elements[0])
    except (IndexError, msgspec.MsgspecError):
        raise MalformedError("event: no name") from None
    if name in RESERVED_EVENTS:
        raise MalformedError(f"event: {name!r} is reserved")
    if len(name) > limits.max_event_name:
        raise MalformedError(f"event: name longer than {limits.max_event_name} characters")
    # All control characters are unprintable, and `isprintable` is several times faster than the regular expression.
    if not name.isprintable() and CONTROL_CHARACTER.search(name):
        raise MalformedError("event: a control character in its name")
    packet.name = name


def _check_ack(packet: Packet, limits: Limits) -> None:
    if packet.ack_id is None:
        raise MalformedError("acknowledgement: no id")
    _elements(packet, limits, names=0)


def _check_connect(packet: Packet, limits: Limits) -> None:
    if packet.ack_id is not None:
        raise MalformedError("CONNECT: an acknowledgement id")
    if not packet.data:
        return
    check_shape(packet.data, limits)
    try:
        _decode_object(packet.data)
    except (msgspec.MsgspecError, RecursionError):
        _decode_mended(packet, _decode_object, limits, "CONNECT: payload is not a JSON object")


def _check_disconnect(packet: Packet, limits: Limits) -> None:
    if packet.data or packet.ack_id is not None:
        raise MalformedError("DISCONNECT: a payload")


def _check_connect_error(packet: Packet, limits: Limits) -> None:
    if packet.ack_id is not None:
        raise MalformedError("CONNECT_ERROR: an acknowledgement id")
    check_shape(packet.data, limits)
    try:
        _decode_error(packet.data)
    except (msgspec.MsgspecError, RecursionError):
        raise MalformedError("CONNECT_ERROR: payload is neither a string nor an object") from None


_EVENT = PacketType.EVENT
_BINARY = frozenset({PacketType.BINARY_EVENT, PacketType.BINARY_ACK})
_TYPES = tuple(PacketType)
# A tuple and not a dict, because an IntEnum's hash is computed in Python.
_CHECKS = (
    _check_connect,
    _check_disconnect,
    _check_event,
    _check_ack,
    _check_connect_error,
    _check_event,
    _check_ack,
)


class _MsgpackConnect(msgspec.Struct):
    """A CONNECT as the msgpack parser of official clients encodes it; `data` is ignored."""

    type: Literal[0]
    nsp: str


_decode_msgpack_connect = msgspec.msgpack.Decoder(_MsgpackConnect).decode


def read_msgpack_connect(data: bytes, limits: Limits) -> str | None:
    """The namespace of a CONNECT that a client with the msgpack parser sends; None for any other binary message.

    The server refuses such clients: it supports JSON only.
    """
    try:
        namespace = _decode_msgpack_connect(data).nsp
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return namespace if len(namespace) <= limits.max_namespace_length else None


def encode_msgpack(kind: PacketType, namespace: str, data: Any = None) -> bytes:
    """Encode a packet without acknowledgement id as a binary message for a client with the msgpack parser."""
    fields = {"type": int(kind), "nsp": namespace}
    return msgspec.msgpack.encode(fields if data is None else {**fields, "data": data})


def find_placeholders(value: Any, attachments: Sequence[bytes]) -> Any:
    """Replace the placeholders in `value`, decoded from a binary packet's JSON, by the attachments that they name.

    Raises MalformedError if a placeholder's number is not that of an attachment (CVE-2022-2421), or if two placeholders
    have the same number: many placeholders of one large attachment would become many large values.
    """
    return _fill(value, dict(enumerate(attachments)))


def _fill(value: Any, left: dict[int, bytes]) -> Any:
    if isinstance(value, list):
        return [_fill(item, left) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("_placeholder") is True:
        number = value.get("num")
        if type(number) is not int or number not in left:
            shown = number if type(number) is int else type(number).__name__
            raise MalformedError(f"placeholder: {shown} is not the number of an attachment, or it is named twice")
        return left.pop(number)
    return {key: _fill(item, left) for key, item in value.items()}
