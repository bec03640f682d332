"""A session as it is stored in the log: its record, its checksum, and how records of it are compared."""

from zlib import crc32

import msgspec

from oyez.log.log import epoch_of, escape_name, split_position
from oyez.logger import get_logger

logger = get_logger("oyez.server")

_STORED_NAMES = {
    "user_id": "owner",
    "acknowledged_position": "seen",
    "replay_unconfirmed": "unconfirmed",
    "generation": "turn",
}
"""Field → name in the record, which versions before this one read and write too."""


class StoredSession(msgspec.Struct, frozen=True, rename=_STORED_NAMES):
    """What is stored about a socket."""

    sid: str
    user_id: str
    rooms: tuple[str, ...]
    acknowledged_position: str
    """The client has certainly received everything up to this position."""
    replay_unconfirmed: bool = False
    """True if a room was being replayed, and it is not known how much of it the client has received."""
    generation: int = 0
    """Number of times this session was resumed."""
    node: str = ""
    """The node of the socket."""
    checksum: int = 0
    """Of the record with 0 in this place; 0 in a record of a version that wrote none."""


class GuestSession(StoredSession, frozen=True, rename=_STORED_NAMES):
    """The session of a client that connected as a guest and has signed in. Earlier versions cannot read it."""

    guest: str = ""
    """The guest's id. The client may come back as this guest, or as the user."""
    waiting_rooms: tuple[str, ...] = ()
    """The user's rooms, if the client is a guest again."""
    waiting_since: str = ""
    """The position from which they must be replayed; empty if the client is signed in."""
    waiting_sid: str = ""
    """The id that the user's socket had."""


_decode = msgspec.msgpack.Decoder(GuestSession).decode


def make_key(namespace: str, pid: str) -> str:
    """The key of a session's record."""
    # An id in the name of a namespace, and the `pid`, are chosen by clients: the first colon must end the name.
    return f"session:{escape_name(namespace)}:{pid}"


def encode_session(session: StoredSession) -> bytes:
    """The record of a session, with its checksum."""
    plain = _find_plain(session)
    checksum = crc32(msgspec.msgpack.encode(plain))
    return msgspec.msgpack.encode(msgspec.structs.replace(plain, checksum=checksum))


def decode_session(data: bytes | None) -> GuestSession | None:
    """The session in a record; None if there is none, or if a bit of it has changed."""
    if not data:
        return None
    try:
        session = _decode(data)
    except (msgspec.MsgspecError, ValueError) as error:
        logger.error("a session cannot be read: its client starts without it", reason=str(error))
        return None
    if session.checksum and crc32(msgspec.msgpack.encode(_find_plain(session))) != session.checksum:
        logger.error("a session cannot be read: its client starts without it", reason="its checksum is wrong")
        return None
    return session


def _find_plain(session: StoredSession) -> StoredSession:
    """The session without its checksum, and without the fields of a guest if there was none: as it is written."""
    if isinstance(session, GuestSession) and not session.guest:
        session = StoredSession(*[getattr(session, name) for name in StoredSession.__struct_fields__])
    return msgspec.structs.replace(session, checksum=0) if session.checksum else session


def generation_of(data: bytes | None) -> int:
    """Number of times the session in a record was resumed; -1 without one."""
    session = decode_session(data)
    return session.generation if session is not None else -1


def later_position(offset: str | None, acknowledged: str, delivered: str) -> str:
    """The later of the position that the client states and the one in its session.

    Positions of two epochs have no order. An official client that was notified of lost history states its old position
    until it receives another event. Its session is then right: its epoch is that of `delivered`, where delivery is now.
    """
    if offset is None:
        return acknowledged
    try:
        epoch, number = split_position(offset)
    except KeyError:
        # An official client keeps the last argument of an event if it is a string. If the connection ends before the
        # position that follows the event, the client states that string.
        return acknowledged
    try:
        known_epoch, known = split_position(acknowledged)
    except KeyError:
        return offset
    if epoch != known_epoch:
        return acknowledged if known_epoch == epoch_of(delivered) else offset
    return acknowledged if known > number else offset
