"""Records with a checksum: any bit that changes is found, and records of earlier versions are read."""

import pytest

from oyez.log.record_codec import decode_record, encode_record


@pytest.mark.parametrize("value", [b"", b"x", b'{"total":5}', bytes(range(256))])
def test_a_record_gives_its_value_back(value: bytes) -> None:
    assert decode_record(encode_record(value)) == value


def test_any_bit_that_has_changed_is_found() -> None:
    record = encode_record(b'{"total":5}')
    for bit in range(8 * len(record)):
        changed = bytearray(record)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="checksum"):
            decode_record(bytes(changed))


@pytest.mark.parametrize("record", [b"", b"{}", b"\x93\xcc\xc8\x90\xc4\x00", b"\x07" * 16, b'["1.2",null]'])
def test_a_record_of_an_earlier_version_is_its_value(record: bytes) -> None:
    assert decode_record(record) == record
