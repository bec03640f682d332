"""Binary values of events: base64 in JSON, and attachments in the packets of Socket.IO.

The log, HTTP and plain WebSocket clients have each binary value as a base64 string. Beside the JSON, its *spans* say
where those strings are, so that a packet with attachments is built without decoding the JSON.
"""

from binascii import a2b_base64, b2a_base64
from decimal import Decimal
from typing import Any

import msgspec

Spans = tuple[tuple[int, int], ...]
"""For each binary value in JSON, in order, the start and the end of its base64, without the quotes."""

_MARK = b"\x00"
"""Stands before base64 while its place is not known. JSON escapes this character, so no other text has it."""


def mark_bytes(value: Any) -> Any:
    """`value`, in plain Python types, with each `bytes` in it as marked base64, for a JSON encoder and `locate`."""
    if isinstance(value, bytes):
        return msgspec.Raw(b'"%b%b"' % (_MARK, b2a_base64(value, newline=False)))
    if isinstance(value, dict):
        return {key: mark_bytes(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mark_bytes(item) for item in value]
    return value


BUILTIN_TYPES = (bytes, Decimal)
"""Types that `msgspec.to_builtins` must leave as they are, for `mark_bytes` and the encoder."""


def locate(marked: bytes) -> tuple[bytes, Spans]:
    """JSON without the marks of `mark_bytes`, and its spans."""
    first, *others = marked.split(_MARK)
    spans, place = [], len(first)
    for piece in others:
        spans.append((place, place + piece.index(b'"')))
        place += len(piece)
    return b"".join((first, *others)), tuple(spans)


def detach(data: bytes, spans: Spans) -> tuple[bytes, tuple[bytes, ...]]:
    """JSON with a placeholder for each binary value, and the binary values."""
    pieces, attachments, place = [], [], 0
    for number, (start, end) in enumerate(spans):
        # The quotes are replaced too.
        pieces += [data[place : start - 1], b'{"_placeholder":true,"num":%d}' % number]
        attachments.append(a2b_base64(data[start:end]))
        place = end + 1
    return b"".join((*pieces, data[place:])), tuple(attachments)


def count_saved(data: bytes, spans: Spans) -> int:
    """Number of bytes that the base64 in `data` has more than the binary values."""
    return sum(end - start - (end - start) // 4 * 3 + data.count(b"=", start, end) for start, end in spans)
