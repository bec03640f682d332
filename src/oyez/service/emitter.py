"""What back ends in Node say with `@socket.io/redis-emitter`, as entries for the log: checked like everything else.

The emitter publishes in Redis what the classic Redis adapter would: an event as a msgpack array `[uid, packet,
options]` in the channel `KEY#NAMESPACE#` (or `KEY#NAMESPACE#ROOM#`), and what is to become of sockets as JSON in
`KEY-request#NAMESPACE#`. Nobody can be answered. Knows nothing of Redis itself.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from enum import IntEnum
from typing import Any

import msgspec

from oyez.contract import control
from oyez.contract.codec import encode_json
from oyez.contract.publish import SOCKET_ID, Publisher
from oyez.contract.rooms import Everyone, NamedRoom
from oyez.contract.types import Time
from oyez.contract.wire import format_path, shown
from oyez.errors import (
    FOREIGN_ROOM,
    INVALID_DATA,
    MALFORMED,
    UNKNOWN_EVENT,
    UNKNOWN_NAMESPACE,
    UNKNOWN_ROOM,
    InvalidDataError,
    OyezError,
    Refusal,
    RefusedError,
)
from oyez.log.log import Entry

DEFAULT_KEY = "socket.io"
"""The emitter's `key` where its user gives none."""
UID = "emitter"
"""How the emitter calls itself; the servers of a Node cluster, which speak in the same channels, have ids."""

_EVENT = 2
"""The packet type of events."""
_ARRAY, _OWN_ARRAY = b"\x93", b"\x93\xa7emitter"
_HALF = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
"""Half a character (one of a pair of surrogates), as some encoders write it in place of UTF-8."""


class _Request(IntEnum):
    JOIN = 2
    LEAVE = 3
    DISCONNECT = 4
    SERVER_SIDE_EMIT = 6


_NAMES: dict[int, str] = {
    _Request.JOIN: "socketsJoin",
    _Request.LEAVE: "socketsLeave",
    _Request.DISCONNECT: "disconnectSockets",
    _Request.SERVER_SIDE_EMIT: "serverSideEmit",
}


class EmissionError(OyezError):
    """What an emitter has said cannot be done. `what` is the event's name, or what was to become of sockets."""

    def __init__(self, what: str, refusal: Refusal, reason: str) -> None:
        super().__init__(reason)
        self.what = what
        self.refusal = refusal


class _Packet(msgspec.Struct):
    type: int
    data: list[Any]
    nsp: str


class _Options(msgspec.Struct):
    rooms: list[str] = []
    excluded: list[str] = msgspec.field(name="except", default_factory=list)


class _Asked(msgspec.Struct):
    type: int
    uid: str = UID
    opts: _Options | None = None
    rooms: list[str] = []
    close: bool = False


_decode_emitted = msgspec.msgpack.Decoder(tuple[str, _Packet, _Options]).decode
_decode_asked = msgspec.json.Decoder(_Asked).decode


class EmitterReader:
    """Reads what is said to one system, by emitters with one of `keys`."""

    def __init__(self, publisher: Publisher, keys: Sequence[str]) -> None:
        self.patterns = tuple(pattern for key in keys for pattern in (f"{key}#*", f"{key}-request#*"))
        """Where it is said, as Redis wants it for PSUBSCRIBE."""
        self._publisher = publisher
        self._contract = publisher.contract
        self._limits = publisher.limits
        self._requests = tuple(f"{key}-request#" for key in keys)
        self._namespaces = {namespace.name: namespace for namespace in self._contract.namespaces}

    def concerns(self, channel: str, body: bytes) -> bool:
        """Whether it is for Oyez: not what the servers of a Node cluster say to each other."""
        if channel.startswith(self._requests):
            # The emitter writes nothing but JSON here.
            return body.startswith(b"{") and b'"requestId"' not in body
        return body.startswith(_OWN_ARRAY) or not body.startswith(_ARRAY)

    def read(self, channel: str, body: bytes) -> list[Entry]:
        """The entries that do what a message asks for; none where it turns out not to be an emitter's.

        Raises EmissionError.
        """
        what = "a message"
        try:
            if channel.startswith(self._requests):
                asked = _decode(_decode_asked, body)
                what = _name(asked.type)
                return self._control(channel.partition("#")[2].removesuffix("#"), asked)
            uid, packet, options = _decode(_decode_emitted, body)
            if packet.data and isinstance(packet.data[0], str):
                what = packet.data[0][: self._limits.max_event_name]
            return self._event(packet, options) if uid == UID else []
        except RefusedError as error:
            raise EmissionError(what, error.refusal, error.message) from None
        except InvalidDataError as error:
            raise EmissionError(what, INVALID_DATA, str(error)) from None

    # Events.

    def _event(self, packet: _Packet, options: _Options) -> list[Entry]:
        if packet.type != _EVENT or not packet.data or not isinstance(packet.data[0], str):
            raise RefusedError(MALFORMED, "It is no event with a name.")
        name, *arguments = packet.data
        namespace = packet.nsp
        self._check_namespace(namespace)
        self._check_rooms(namespace, options.excluded, sockets=True)
        if len(arguments) != 1:
            raise InvalidDataError("", f"one argument, the payload, not {len(arguments)}")
        data = _to_json(arguments[0])
        entries = self._publisher.prepare_json(name, data, self._targets(name, namespace, options), options.excluded)
        # Where rooms follow from the payload, also those of namespaces nobody has asked for do.
        found = [entry for entry in entries if entry.namespace == namespace]
        if not found:
            raise RefusedError(FOREIGN_ROOM, f"{name} does not go to namespace {namespace} by itself: give it a room.")
        return found

    def _targets(self, name: str, namespace: str, options: _Options) -> list[NamedRoom | Everyone] | None:
        """Where to, as far as the emitter says: without a room it means everybody, where the contract allows that."""
        if options.rooms:
            return [NamedRoom(namespace, room) for room in options.rooms]
        everyone = Everyone(namespace)
        event = self._contract.events.get(name)
        return [everyone] if event is not None and everyone in event.targets.get(namespace, ()) else None

    # Sockets.

    def _control(self, namespace: str, asked: _Asked) -> list[Entry]:
        if asked.uid != UID:
            return []
        if asked.type == _Request.SERVER_SIDE_EMIT:
            raise RefusedError(UNKNOWN_EVENT, "It is for servers in Node: nobody hears it here.")
        if asked.opts is None:
            # Older ones name a socket in another way; without it everybody would be meant.
            raise RefusedError(MALFORMED, "It does not say which sockets it is for.")
        self._check_namespace(namespace)
        excluded = asked.opts.excluded
        self._check_rooms(namespace, [*asked.opts.rooms, *excluded], sockets=True)
        self._check_rooms(namespace, asked.rooms, sockets=False)
        rooms = [NamedRoom(namespace, room) for room in asked.rooms]
        named = [NamedRoom(namespace, room) for room in asked.opts.rooms]
        places: Sequence[NamedRoom | Everyone] = named or [Everyone(namespace)]
        match asked.type:
            case _Request.JOIN:
                return [control.join(place, rooms, excluded, asking=True) for place in places]
            case _Request.LEAVE:
                return [control.leave(place, rooms, excluded) for place in places]
            case _Request.DISCONNECT:
                return [control.disconnect(place, excluded, close=asked.close) for place in places]
        raise RefusedError(MALFORMED, f"There is no request of type {asked.type}.")

    # Checks that publishing over HTTP does in other places, or need not do.

    def _check_namespace(self, name: str) -> None:
        if name not in self._namespaces:
            known = ", ".join(self._namespaces)
            raise RefusedError(UNKNOWN_NAMESPACE, f"There is no namespace {shown(name)}, only {known}.")

    def _check_rooms(self, namespace: str, names: Sequence[str], *, sockets: bool) -> None:
        """`sockets`: whether a socket's id may stand for a room."""
        most = self._limits.max_rooms_per_event
        if len(names) > most:
            raise InvalidDataError("rooms", f"at most {most}, not {len(names)}")
        rooms = self._namespaces[namespace].rooms
        for name in names:
            if rooms.resolve(name) is None and not (sockets and SOCKET_ID.fullmatch(name)):
                raise RefusedError(UNKNOWN_ROOM, f"There is no room {shown(name)}.")


def _decode(decode: Any, body: bytes) -> Any:
    try:
        try:
            return decode(body)
        except UnicodeDecodeError:
            # U+FFFD has as many bytes, so all lengths in the message stay right.
            return decode(_HALF.sub("\ufffd".encode(), body))
    except (ValueError, RecursionError) as error:
        raise RefusedError(MALFORMED, f"It is not what @socket.io/redis-emitter 5 says: {error}.") from None


def _name(kind: int) -> str:
    return _NAMES.get(kind, "a request")


def _to_json(payload: Any) -> bytes:
    try:
        return encode_json(_plain(payload, ()))
    except RecursionError:
        raise InvalidDataError("", "less deeply nested data") from None
    except (TypeError, ValueError) as error:
        raise InvalidDataError("", f"what JSON can say ({error})") from None


def _plain(value: Any, path: tuple[str | int, ...]) -> Any:
    """`value` as JSON has it, which is how JavaScript would say it. Raises InvalidDataError where there is no way."""
    if isinstance(value, dict):
        return {key: _plain(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, (*path, index)) for index, item in enumerate(value)]
    if isinstance(value, datetime):
        return Time.of(value)
    if isinstance(value, bytes | msgspec.msgpack.Ext):
        raise InvalidDataError(format_path(path), "no binary data: an event cannot carry it")
    return value
