"""The form in which entries are stored and sent to other nodes: MessagePack, with a checksum.

An entry is an array of nine elements. The first eight are the fields that the first version of Oyez had, in an order
that never changes. The ninth, the trailer, is an array: the fields that later versions have added, then the checksum of
all bytes before it. Versions from before the trailer read the same bytes, because they ignore the ninth element except
its last five bytes, which have always been the checksum. So during a rolling upgrade each version can read the entries
of the other.
"""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import msgspec

from oyez.log.log import Entry
from oyez.protocol.binary import Spans

_PLAIN_ARRAY = b"\x98"
"""The first byte of an entry without a checksum: an array of eight elements."""
_CHECKED_ARRAY = b"\x99"
"""The first byte of an entry with a checksum."""
_TRAILER = b"\x92"
"""The first byte of a trailer: an array of the event's name and the checksum."""
_BINARY_TRAILER = b"\x93"
"""The same with the places of binary values between them."""
_TRACED_TRAILER = b"\x94"
"""The same with the trace context after these places."""
_CHECKSUM = b"\xce"
"""The byte before the four bytes of the checksum: MessagePack's mark for an unsigned integer of 32 bits."""


class _StoredEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The elements of a stored entry."""

    namespace: str
    rooms: tuple[str, ...]
    excluded: tuple[str, ...]
    data: bytes
    volatile: bool
    key: str
    control: str
    position: None
    trailer: Any = None
    """Name, the places of binary values and the trace context if there are any, and checksum. Versions without names
    wrote only the checksum, and the first version wrote nothing."""


class _Trailers(dict[str, bytes]):
    """The bytes of a trailer without its checksum, by the event's name: a contract has a few dozen names."""

    def __missing__(self, name: str) -> bytes:
        trailer = self[name] = _TRAILER + _encode(name)
        return trailer


STORED = b"\xc1"
"""The first byte of stored entries that are sent to other processes. No stored entry begins with it."""

_encode = msgspec.msgpack.Encoder().encode
_decode_stored = msgspec.msgpack.Decoder(tuple[str, int, list[bytes]]).decode
_decode = msgspec.msgpack.Decoder(_StoredEntry).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_trailers = _Trailers()


def encode_entry(entry: Entry) -> bytes:
    """Encode an entry without its position."""
    trailer = _trailers[entry.name]
    encoded = _encode(entry)
    if entry.trace:
        trailer = b"".join((_TRACED_TRAILER, trailer[1:], _encode(entry.binary), _encode(entry.trace)))
        checked = encoded[1 : 1 - len(trailer)] + trailer
    elif entry.binary:
        trailer = b"".join((_BINARY_TRAILER, trailer[1:], _encode(entry.binary)))
        # The last field is an empty string of one byte.
        checked = encoded[1 : -len(trailer)] + trailer
    else:
        # The last fields are the name, which is one byte shorter than the trailer, and two empty ones of one byte each.
        checked = encoded[1 : -len(trailer) - 1] + trailer
    return b"".join((_CHECKED_ARRAY, checked, _CHECKSUM, crc32(checked).to_bytes(4, "big")))


def decode_entry(encoded: bytes, position: str | None = None) -> Entry:
    """Decode an entry that this or an earlier version of `encode_entry` encoded, and set its `position`.

    Raises msgspec.MsgspecError or ValueError if a bit of it has changed.
    """
    if encoded[:1] == _CHECKED_ARRAY:
        if encoded[-5:-4] != _CHECKSUM or crc32(encoded[1:-5]) != int.from_bytes(encoded[-4:], "big"):
            raise ValueError("its checksum is wrong")
    elif encoded[:1] != _PLAIN_ARRAY:
        raise ValueError("it does not begin like an entry")
    stored = _decode(encoded)
    trailer = stored.trailer
    return Entry(
        namespace=stored.namespace,
        rooms=stored.rooms,
        excluded=stored.excluded,
        data=stored.data,
        volatile=stored.volatile,
        key=stored.key,
        control=stored.control,
        position=position,
        name=trailer[0] if type(trailer) is list else _find_name(stored),
        binary=_read_spans(trailer[1]) if type(trailer) is list and len(trailer) > 2 else (),
        trace=str(trailer[2]) if type(trailer) is list and len(trailer) > 3 else "",
    )


def encode_stored(epoch: str, first: int, entries: Sequence[bytes]) -> bytes:
    """Entries that the log has stored one after the other, the first one with the number `first`, as a message."""
    return STORED + _encode((epoch, first, entries))


def decode_stored(message: bytes) -> tuple[str, int, list[bytes]]:
    """The epoch, the first number and the entries of such a message. Raises msgspec.MsgspecError."""
    return _decode_stored(memoryview(message)[1:])


def _read_spans(trailed: Any) -> Spans:
    return tuple((start, end) for start, end in trailed)


def _find_name(stored: _StoredEntry) -> str:
    """The name of an event that an earlier version has stored: the first element of its data."""
    return "" if stored.control else msgspec.json.decode(_decode_array(stored.data)[0], type=str)
