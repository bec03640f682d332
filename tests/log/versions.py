"""How earlier versions of Oyez stored entries: what a rolling upgrade meets.

This is their code, and so it stays as it is.
"""

from zlib import crc32

import msgspec
from msgspec.structs import replace

from oyez.log.log import Entry


class EarlierEntry(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """An entry without a name, as all versions before 0.2 had it."""

    namespace: str
    rooms: tuple[str, ...]
    excluded: tuple[str, ...] = ()
    data: bytes
    volatile: bool = False
    key: str = ""
    control: str = ""
    position: str | None = None


def without_name(entry: Entry) -> EarlierEntry:
    fields = {name: getattr(entry, name) for name in EarlierEntry.__struct_fields__}
    return EarlierEntry(**{**fields, "position": None})


def encode_unchecked(entry: Entry) -> bytes:
    """The first form: without a checksum."""
    return msgspec.msgpack.encode(without_name(entry))


def encode_checked(entry: Entry) -> bytes:
    """The second form: the checksum is the ninth element."""
    body = msgspec.msgpack.encode(without_name(entry))[1:]
    return b"".join((b"\x99", body, b"\xce", crc32(body).to_bytes(4, "big")))


def decode(encoded: bytes, position: str | None = None) -> EarlierEntry:
    """How the version before this one reads an entry. Raises ValueError or msgspec.MsgspecError if it cannot."""
    if encoded[:1] == b"\x99":
        if encoded[-5:-4] != b"\xce" or crc32(encoded[1:-5]) != int.from_bytes(encoded[-4:], "big"):
            raise ValueError("its checksum is wrong")
    elif encoded[:1] != b"\x98":
        raise ValueError("it does not begin like an entry")
    entry = msgspec.msgpack.decode(encoded, type=EarlierEntry)
    return entry if position is None else replace(entry, position=position)
