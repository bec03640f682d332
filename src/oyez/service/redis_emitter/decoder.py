"""What back ends in Node publish with `@socket.io/redis-emitter`, as entries for the log, checked like all events.

The emitter publishes in Redis what the classic Redis adapter would: an event as a msgpack array `[uid, packet,
options]` in the channel `KEY#NAMESPACE#` (or `KEY#NAMESPACE#ROOM#`), and requests about sockets as JSON in
`KEY-request#NAMESPACE#`. Emitters receive no answers. This module does not use Redis.

Back ends in Python that have python-socketio's `RedisManager(url, write_only=True)` write the same as JSON in one
channel. Versions before 5.14 write pickles, which run code when they are read: these are refused and never read.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from enum import IntEnum
from typing import Any

import msgspec

from oyez.contract.codec import encode_json
from oyez.contract.rooms import Everyone, NamedNamespace, NamedRoom, Place
from oyez.contract.schema import format_path, quote
from oyez.contract.types import Time
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
from oyez.logger import get_logger
from oyez.protocol.socket_ids import SOCKET_ID
from oyez.protocol.socketio import mend_halves
from oyez.runtime import control
from oyez.runtime.publisher import Publisher

logger = get_logger("oyez.service")

DEFAULT_KEY = "socket.io"
"""The emitter's default `key`."""
PYTHON_CHANNEL = "socketio"
"""The `channel` of python-socketio's managers if their user gives none. Others are called like an emitter's key."""
UID = "emitter"
"""The emitter's name. Servers of a Node cluster use the same channels, and have ids instead."""

_EVENT = 2
"""The packet type of events."""
_ARRAY, _OWN_ARRAY = b"\x93", b"\x93\xa7emitter"
_HALF = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
"""Half of a surrogate pair, which some encoders write although it is not UTF-8."""


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


class EmitterMessageError(OyezError):
    """A message of an emitter was refused. `what` is the event's name, or the request about sockets."""

    def __init__(self, what: str, refusal: Refusal, reason: str) -> None:
        super().__init__(reason)
        self.what = what
        self.refusal = refusal


class _PythonMessage(msgspec.Struct):
    """A message of a manager of python-socketio. Its other members are not used here."""

    method: str
    namespace: str | None = None
    event: str = ""
    data: Any = None
    binary: bool = False
    callback: Any = None
    room: str | list[str] | None = None
    skip_sid: str | list[str] | None = None
    sid: str | None = None


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
_decode_python = msgspec.json.Decoder(_PythonMessage).decode
_PICKLE = b"\x80"
"""The first byte of pickles of protocol 2 and later. JSON never begins with it."""
_OLD_PYTHON = (
    "It is a pickle. Oyez never reads pickles, because reading one runs code. Use python-socketio 5.14 or later, which"
    " writes JSON, or publish over HTTP."
)


class EmitterDecoder:
    """Decodes the messages for one system, from emitters with one of `keys`."""

    def __init__(self, publisher: Publisher, keys: Sequence[str], systems: Sequence[str] = ()) -> None:
        """`systems`, if given, are all that are served: then it warns of emitters that name none of them."""
        self._channels = frozenset(PYTHON_CHANNEL if key == DEFAULT_KEY else key for key in keys)
        patterns = [pattern for key in keys for pattern in (f"{key}#*", f"{key}-request#*")]
        self._systems = systems
        self._warned = False
        unclaimed = [PYTHON_CHANNEL, f"{DEFAULT_KEY}#*"] if systems else []
        self.patterns = (*patterns, *sorted(self._channels), *unclaimed)
        """The channels to read, as patterns for PSUBSCRIBE."""
        self._publisher = publisher
        self._contract = publisher.contract
        self._limits = publisher.limits
        self._requests = tuple(f"{key}-request#" for key in keys)

    def is_emitter_message(self, channel: str, body: bytes) -> bool:
        """True if it is for Oyez, and not a message between the servers of a Node cluster."""
        if self._systems and (channel == PYTHON_CHANNEL or channel.startswith(f"{DEFAULT_KEY}#")):
            if not self._warned and (channel == PYTHON_CHANNEL or body.startswith(_OWN_ARRAY)):
                self._warn_of_unclaimed(channel)
            return False
        if channel in self._channels:
            # Also messages that cannot be read, so that an emitter of an unknown version is noticed.
            return True
        if channel.startswith(self._requests):
            # The emitter writes only JSON here.
            return body.startswith(b"{") and b'"requestId"' not in body
        return body.startswith(_OWN_ARRAY) or not body.startswith(_ARRAY)

    def read(self, channel: str, body: bytes) -> list[Entry]:
        """The entries for the request in a message; none if the message is not from an emitter.

        Raises EmitterMessageError.
        """
        what = "a message"
        try:
            if channel in self._channels:
                said = _read_python(body)
                what = said.event[: self._limits.max_event_name] or said.method[: self._limits.max_event_name]
                return self._python(said)
            if channel.startswith(self._requests):
                asked = _decode(_decode_asked, body)
                what = _name(asked.type)
                return self._control(channel.partition("#")[2].removesuffix("#"), asked)
            uid, packet, options = _decode(_decode_emitted, body)
            if packet.data and isinstance(packet.data[0], str):
                what = packet.data[0][: self._limits.max_event_name]
            return self._event(packet, options) if uid == UID else []
        except RefusedError as error:
            raise EmitterMessageError(what, error.refusal, error.message) from None
        except InvalidDataError as error:
            raise EmitterMessageError(what, INVALID_DATA, str(error)) from None

    def _warn_of_unclaimed(self, channel: str) -> None:
        self._warned = True
        logger.warning(
            "no system reads what an emitter writes; give the emitter the name of a system as its key or channel",
            channel=channel,
            keys=list(self._systems),
        )

    # python-socketio.

    def _python(self, said: _PythonMessage) -> list[Entry]:
        namespace = said.namespace or "/"
        if said.method == "emit":
            if said.callback is not None:
                raise RefusedError(MALFORMED, "It asks for an acknowledgement, which cannot reach its sender.")
            if said.binary:
                raise InvalidDataError("", "no binary data from python-socketio; send bytes as base64 text")
            arguments = said.data if isinstance(said.data, list) else [said.data]
            options = _Options(_names(said.room), _names(said.skip_sid))
            return self._event(_Packet(_EVENT, [said.event, *arguments], namespace), options)
        if said.method == "callback":
            # An answer to another server of python-socketio.
            return []
        kind, sockets, rooms = _PYTHON_REQUESTS.get(said.method, (0, "", ""))
        named = _names(getattr(said, sockets, None))
        if not named:
            raise RefusedError(MALFORMED, "It is not an emit, or does not say which sockets it is for.")
        asked = _Asked(kind, opts=_Options(named), rooms=_names(getattr(said, rooms, None)))
        return self._control(namespace, asked)

    # Events.

    def _event(self, packet: _Packet, options: _Options) -> list[Entry]:
        if packet.type != _EVENT or not packet.data or not isinstance(packet.data[0], str):
            raise RefusedError(MALFORMED, "It is no event with a name.")
        name, *arguments = packet.data
        namespace = packet.nsp
        self._check_namespace(namespace)
        self._check_rooms(namespace, options.excluded, sockets=True)
        binary = self._publisher.takes_binary(name)
        encoded = [_to_json(argument, binary) for argument in arguments]
        to = self._targets(name, namespace, options)
        entries = self._publisher.prepare_arguments(name, encoded, to, options.excluded)
        # If rooms follow from the payload, there may be rooms of other namespaces too.
        found = [entry for entry in entries if entry.namespace == namespace]
        if not found:
            raise RefusedError(FOREIGN_ROOM, f"{name} does not go to namespace {namespace} by itself: give it a room.")
        return found

    def _targets(self, name: str, namespace: str, options: _Options) -> list[Place] | None:
        """The targets that the emitter names. No room means everyone, if the contract allows that."""
        if options.rooms:
            return [NamedRoom(namespace, room) for room in options.rooms]
        event, declared = self._contract.find_event(name), self._contract.find_declared(namespace)
        if event is not None and Everyone(declared) in event.targets.get(declared, ()):
            return [Everyone(namespace)]
        return None if declared == namespace else [NamedNamespace(namespace)]

    # Sockets.

    def _control(self, namespace: str, asked: _Asked) -> list[Entry]:
        if asked.uid != UID:
            return []
        if asked.type == _Request.SERVER_SIDE_EMIT:
            raise RefusedError(UNKNOWN_EVENT, "It is for servers in Node; there are none here.")
        if asked.opts is None:
            # Older versions name a socket in another way. If it was ignored, the request would be for all sockets.
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

    # Checks that publishing over HTTP makes in other places, or does not need.

    def _check_namespace(self, name: str) -> None:
        if self._contract.find_namespace(name) is None:
            known = ", ".join(namespace.name for namespace in self._contract.namespaces)
            raise RefusedError(UNKNOWN_NAMESPACE, f"There is no namespace {quote(name)}, only {known}.")

    def _check_rooms(self, namespace: str, names: Sequence[str], *, sockets: bool) -> None:
        """`sockets`: True if the id of a socket may stand for a room."""
        most = self._limits.max_rooms_per_event
        if len(names) > most:
            raise InvalidDataError("rooms", f"at most {most}, not {len(names)}")
        for name in names:
            if self._contract.find_room(namespace, name) is None and not (sockets and SOCKET_ID.fullmatch(name)):
                raise RefusedError(UNKNOWN_ROOM, f"There is no room {quote(name)}.")


def _decode(decode: Any, body: bytes) -> Any:
    try:
        try:
            return decode(body)
        except UnicodeDecodeError:
            # U+FFFD has as many bytes, so all lengths in the message stay right.
            return decode(_HALF.sub("\ufffd".encode(), body))
    except (ValueError, RecursionError) as error:
        raise RefusedError(MALFORMED, f"It is not what @socket.io/redis-emitter 5 says: {error}.") from None


_PYTHON_REQUESTS = {
    "enter_room": (_Request.JOIN, "sid", "room"),
    "leave_room": (_Request.LEAVE, "sid", "room"),
    "close_room": (_Request.LEAVE, "room", "room"),
    "disconnect": (_Request.DISCONNECT, "sid", ""),
}
"""Requests about sockets, by the method's name: the request, and its members with the sockets and the rooms."""


def _read_python(body: bytes) -> _PythonMessage:
    if body.startswith(_PICKLE):
        raise RefusedError(MALFORMED, _OLD_PYTHON)
    try:
        said: _PythonMessage = _decode_python(body if b"\\u" not in body else mend_halves(body))
    except (ValueError, RecursionError) as error:
        raise RefusedError(MALFORMED, f"It is not what python-socketio 5.14 or later writes: {error}.") from None
    return said


def _names(said: str | list[str] | None) -> list[str]:
    return [said] if isinstance(said, str) else said or []


def _name(kind: int) -> str:
    return _NAMES.get(kind, "a request")


def _to_json(payload: Any, binary: bool) -> bytes:
    """An argument as JSON. `binary` is True if the event may have binary values, which become base64."""
    try:
        return encode_json(_plain(payload, (), binary))
    except RecursionError:
        raise InvalidDataError("", "less deeply nested data") from None
    except (TypeError, ValueError) as error:
        raise InvalidDataError("", f"what JSON can say ({error})") from None


def _plain(value: Any, path: tuple[str | int, ...], binary: bool) -> Any:
    """`value` as in JSON, as JavaScript would write it. Raises InvalidDataError if JSON has no such value."""
    if isinstance(value, dict):
        return {key: _plain(item, (*path, key), binary) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, (*path, index), binary) for index, item in enumerate(value)]
    if isinstance(value, datetime):
        return Time.of(value)
    if isinstance(value, msgspec.msgpack.Ext) or (isinstance(value, bytes) and not binary):
        raise InvalidDataError(format_path(path), "no binary data: the event has none")
    return value
