"""Presence: a kind of room whose users receive an event when another user comes or goes.

The server publishes the events. They have no other fields than those that the server can fill in: the user, the number
of users, the time at which a user was last seen, and the placeholders of the room. Events without the user tell the
number only, and are published when it has changed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import inspect

from oyez.contract.schema import fields_of, is_text, is_time, options
from oyez.contract.types import Payload, Time, read_scalar

if TYPE_CHECKING:
    from oyez.contract.declare import DeclaredEvent, Namespace
    from oyez.contract.rooms import NamedRoom, Room


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """The events of a kind of room, by their names or their payloads, and the names of their fields on the wire."""

    joined: "str | type[Payload]"
    """A user is in the room with its first socket, on all nodes together."""
    left: "str | type[Payload]"
    """The last socket of a user has left the room, on all nodes together."""
    user: str = "userId"
    """The field with the user's id. It may be missing if there is a count."""
    count: str = "count"
    """The field with the number of users in the room after the change. It may be missing."""
    last_seen: str = "lastSeen"
    """The field with the time at which the user was connected last. It may be missing. A time, or a whole number of
    milliseconds."""


@dataclass(frozen=True, slots=True)
class PresenceEvents:
    """Makes the events of one kind of room with presence."""

    presence: Presence
    joined: type[Payload]
    left: type[Payload]

    @property
    def counts_only(self) -> bool:
        """True if no event has the user: what is published then is the number of users."""
        return all(self.presence.user not in payload.__struct_encode_fields__ for payload in (self.joined, self.left))

    def join(self, room: "NamedRoom", user: str, count: int, at: float) -> Payload:
        """The event for a user who has come at `at`, in seconds since 1970."""
        return self._fill(self.joined, room, user, count, at)

    def leave(self, room: "NamedRoom", user: str, count: int, last_seen: float) -> Payload:
        """The event for a user who was connected until `last_seen`, in seconds since 1970."""
        return self._fill(self.left, room, user, count, last_seen)

    def _fill(self, payload: type[Payload], room: "NamedRoom", user: str, count: int, last_seen: float) -> Payload:
        presence, found = self.presence, fields_of(inspect.type_info(payload))
        known: Mapping[str, Any] = {**room.values, presence.user: user, presence.count: count}
        values = {field.encode_name: known[field.encode_name] for field in found if field.encode_name in known}
        for field in found:
            if field.encode_name == presence.last_seen:
                values[field.encode_name] = str(Time.at(last_seen)) if is_time(field.type) else round(last_seen * 1000)
        return msgspec.convert(values, payload, dec_hook=read_scalar)


def find_presence(namespace: "Namespace", room: "Room") -> PresenceEvents | None:
    """The events of a kind of room in a contract that was checked; None if the room has no presence."""
    if room.presence is None:
        return None
    joined, left = _find_event(namespace, room.presence.joined), _find_event(namespace, room.presence.left)
    assert joined is not None
    assert left is not None
    return PresenceEvents(room.presence, joined.payload, left.payload)


def check_presence(namespace: "Namespace", room: "Room") -> Iterator[str]:
    """What is wrong with the presence of a kind of room, one sentence each."""
    presence = room.presence
    if presence is None:
        return
    if not isinstance(presence, Presence):
        yield f"presence is a {type(presence).__name__}: write Presence(joined='…', left='…')"
        return
    for part in ("joined", "left"):
        yield from (f"presence {part}: {error}" for error in _check_event(namespace, room, presence, part))


def _check_event(namespace: "Namespace", room: "Room", presence: Presence, part: str) -> Iterator[str]:
    named = getattr(presence, part)
    event = _find_event(namespace, named)
    if event is None:
        shown = named if isinstance(named, str) else getattr(named, "__name__", repr(named))
        yield f"{shown} is not an event of namespace {namespace.name}; declare it there"
        return
    if not any(target is room for target in event.targets):
        yield f"{event.name} does not go to this room; list the room in its to=[…], without .of(…)"
    if not (isinstance(event.payload, type) and issubclass(event.payload, Payload)):
        # Another error says so.
        return
    found = {field.encode_name: field for field in fields_of(inspect.type_info(event.payload))}
    user, count = found.get(presence.user), found.get(presence.count)
    if (user is None and count is None) or (user is not None and not is_text(user.type)):
        yield (
            f"{event.name} needs a text field {presence.user} for the user's id, or name another with user='…'; "
            f"or only a field {presence.count} for the number of users"
        )
    if count is not None and not all(isinstance(option, inspect.IntType) for option in options(count.type)):
        yield f"{event.name} has a field {presence.count} that is not a whole number; make it an int"
    filled = {presence.user, presence.count, presence.last_seen, event.timestamp, *room.placeholders}
    missing = [name for name, field in found.items() if field.required and name not in filled]
    if missing:
        known = ", ".join([presence.user, presence.count, presence.last_seen, *room.placeholders])
        yield f"{event.name} has a field {missing[0]} that nothing fills; the server fills {known}"


def _find_event(namespace: "Namespace", named: "str | type[Payload]") -> "DeclaredEvent | None":
    return next((event for event in namespace.events if named in (event.name, event.payload)), None)
