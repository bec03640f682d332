"""Records of sessions: those of guests, and those that earlier versions have written."""

from zlib import crc32

import msgspec

from oyez.server.recovery.session import GuestSession, StoredSession, decode_session, encode_session

PLAIN = StoredSession("sid", "ada", ("a", "b"), "e.7", False, 3, "node")
SIGNED_IN = GuestSession("sid", "ada", ("a",), "e.7", False, 3, "node", guest="guest:x")
WAITING = GuestSession("new", "ada", ("a",), "e.9", False, 4, "node", 0, "guest:x", ("b",), "e.7", "sid")


class Earlier(msgspec.Struct, rename={"user_id": "owner", "acknowledged_position": "seen"}):
    """The record as earlier versions write and read it."""

    sid: str
    user_id: str
    rooms: tuple[str, ...]
    acknowledged_position: str
    unconfirmed: bool = False
    turn: int = 0
    node: str = ""
    checksum: int = 0


def test_a_session_is_read_as_it_was_written() -> None:
    for session in (PLAIN, SIGNED_IN, WAITING):
        read = decode_session(encode_session(session))
        assert read is not None
        kept = {name: getattr(read, name) for name in session.__struct_fields__ if name != "checksum"}
        assert kept == {name: getattr(session, name) for name in kept}
        # Written again without a change.
        assert decode_session(encode_session(read)) == read


def test_a_session_without_a_guest_is_as_in_earlier_versions() -> None:
    earlier = msgspec.msgpack.decode(encode_session(PLAIN), type=Earlier)
    assert (earlier.sid, earlier.user_id, earlier.turn) == ("sid", "ada", 3)
    sum = earlier.checksum
    earlier.checksum = 0
    assert sum == crc32(msgspec.msgpack.encode(earlier))
    earlier.checksum = sum
    read = decode_session(msgspec.msgpack.encode(earlier))
    assert read is not None
    assert (read.user_id, read.guest, read.waiting_rooms) == ("ada", "", ())


def test_a_changed_bit_is_noticed() -> None:
    data = bytearray(encode_session(WAITING))
    data[data.index(b"guest:x") + 6] ^= 1
    assert decode_session(bytes(data)) is None
