"""Records with a checksum: a changed bit in the storage is found before a record's value is used.

Sessions have a checksum of their own, in their fields (`server/recovery/session.py`).
"""

from zlib import crc32

_MARK = b"\xc1oyezrec"
"""The first bytes of a record with a checksum. Neither JSON nor MessagePack begins with the first of them."""
HEAD_BYTES = len(_MARK) + 4
"""Bytes before the value of a record: the mark and the checksum."""


def encode_record(value: bytes) -> bytes:
    """Encode `value` as a record with a checksum."""
    return _MARK + crc32(value).to_bytes(4, "big") + value


def decode_record(record: bytes) -> bytes:
    """The value of a record. Raises ValueError if a bit of it has changed.

    Earlier versions wrote records without a checksum; the value is then the whole record.
    """
    different = sum(left != right for left, right in zip(record, _MARK, strict=False))
    if len(record) < HEAD_BYTES or different > 1:
        return record
    value = record[HEAD_BYTES:]
    if different or crc32(value).to_bytes(4, "big") != record[len(_MARK) : HEAD_BYTES]:
        raise ValueError("its checksum is wrong")
    return value
