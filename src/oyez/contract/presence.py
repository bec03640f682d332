"""Presence: a kind of room for which an event is published when a user comes or goes, to the room or to others.

The server publishes the events. They have no other fields than those that the server can fill in: the user, the number
of users, the time at which a user was last seen, and the placeholders of the room. Events without the user tell the
number only, and are published when it has changed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import msgspec
from msgspec import inspect

from oyez.contract.calls import plainly
from oyez.contract.rooms import DerivedRoom, Everyone, NamedNamespace, NamedRoom, Place, Room, Target
from oyez.contract.schema import fields_of, is_key, is_time, options, write_key
from oyez.contract.shown_claims import check_claims, fill_claims
from oyez.contract.types import Payload, Time, read_scalar

if TYPE_CHECKING:
    from oyez.contract.declare import Namespace
    from oyez.contract.declared import DeclaredEvent


_NONE: Mapping[str, str] = {}


@plainly
@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """The events of a kind of room, by their names or their payloads, and the names of their fields on the wire."""

    joined: "str | type[Payload] | None" = None
    """A user is in the room with its first socket, on all nodes together. None: no event says so."""
    left: "str | type[Payload] | None" = None
    """The last socket of a user has left the room, on all nodes together. None: no event says so."""
    user: str = "userId"
    """The field with the user's id. It may be missing if there is a count."""
    count: str = "count"
    """The field with the number of users in the room after the change. It may be missing."""
    last_seen: str = "lastSeen"
    """The field with the time at which the user was connected last. It may be missing. A time, or a whole number of
    milliseconds."""
    claims: Mapping[str, str] = field(default_factory=dict)
    """Further fields, and for each the claim of the user's token that it shows: `{"userName": "name"}`."""


@dataclass(frozen=True, slots=True)
class PresenceEvents:
    """Makes the events of one kind of room with presence."""

    kind: Room
    presence: Presence
    joined: "DeclaredEvent | None"
    left: "DeclaredEvent | None"

    @property
    def counts_only(self) -> bool:
        """True if no event has the user: what is published then is the number of users."""
        payloads = [event.payload for event in (self.joined, self.left) if event is not None]
        return all(self.presence.user not in payload.__struct_encode_fields__ for payload in payloads)

    def join(
        self, room: NamedRoom, user: str, count: int, at: float, claims: Mapping[str, str] = _NONE
    ) -> "PresenceEvent | None":
        """The event for a user who has come at `at`, in seconds since 1970; None if none says so."""
        return self._fill(self.joined, room, user, count, at, claims)

    def leave(
        self, room: NamedRoom, user: str, count: int, last_seen: float, claims: Mapping[str, str] = _NONE
    ) -> "PresenceEvent | None":
        """The event for a user who was connected until `last_seen`, in seconds since 1970; None if none says so."""
        return self._fill(self.left, room, user, count, last_seen, claims)

    def _fill(
        self,
        event: "DeclaredEvent | None",
        room: NamedRoom,
        user: str,
        count: int,
        last_seen: float,
        claims: Mapping[str, str],
    ) -> "PresenceEvent | None":
        if event is None:
            return None
        presence, found = self.presence, fields_of(inspect.type_info(event.payload))
        texts = {**room.values, presence.user: user}
        shown = fill_claims(event.payload, presence.claims, claims)
        values: dict[str, Any] = {}
        for each in found:
            name = each.encode_name
            if name in texts:
                values[name] = write_key(texts[name], each.type)
            elif name == presence.count:
                values[name] = count
            elif name == presence.last_seen:
                values[name] = str(Time.at(last_seen)) if is_time(each.type) else round(last_seen * 1000)
            elif each.name in shown:
                values[name] = shown[each.name]
        payload = msgspec.convert(values, event.payload, dec_hook=read_scalar)
        return PresenceEvent(payload, self._find_rooms(event, room))

    def _find_rooms(self, event: "DeclaredEvent", room: NamedRoom) -> tuple[Place, ...]:
        namespace = NamedNamespace(room.namespace)
        if self.kind not in event.targets:
            # Without a name, the event also goes to the rooms of its other namespaces.
            return () if room.namespace == self.kind.namespace else (namespace,)
        fixed = [namespace.everyone for target in event.targets if isinstance(target, Everyone)]
        others = [target for target in event.targets if is_fixed(target) and target is not self.kind]
        return (room, *fixed, *(NamedRoom(room.namespace, other.pattern) for other in others))


class PresenceEvent(NamedTuple):
    """An event about a user who has come or gone."""

    payload: Payload
    rooms: tuple[Place, ...]
    """Empty: the rooms that follow from the payload, and the fixed targets."""


def find_presence(namespace: "Namespace", room: Room) -> PresenceEvents | None:
    """The events of a kind of room in a contract that was checked; None if the room has no presence."""
    if room.presence is None:
        return None
    joined, left = _find_event(namespace, room.presence.joined), _find_event(namespace, room.presence.left)
    return PresenceEvents(room, room.presence, joined, left)


def check_presence(namespace: "Namespace", room: Room) -> Iterator[str]:
    """What is wrong with the presence of a kind of room, one sentence each."""
    presence = room.presence
    if presence is None:
        return
    if not isinstance(presence, Presence):
        yield f"presence is a {type(presence).__name__}: write Presence(joined='…', left='…')"
        return
    for part in ("joined", "left"):
        if getattr(presence, part) is None:
            continue
        yield from (f"presence {part}: {error}" for error in _check_event(namespace, room, presence, part))


def _check_event(namespace: "Namespace", room: Room, presence: Presence, part: str) -> Iterator[str]:
    named = getattr(presence, part)
    event = _find_event(namespace, named)
    if event is None:
        shown = named if isinstance(named, str) else getattr(named, "__name__", repr(named))
        yield f"{shown} is not an event of namespace {namespace.name}; declare it there"
        return
    others = [target for target in event.targets if target is not room]
    if len(others) < len(event.targets):
        if any(isinstance(target, DerivedRoom) for target in others):
            yield f"{event.name} goes to this room and to rooms with .of(…); list one or the other in its to=[…]"
    elif not all(isinstance(target, Everyone | DerivedRoom) or is_fixed(target) for target in others):
        yield (
            f"{event.name} does not go to this room; list the room in its to=[…], without .of(…), or only other targets"
            " that need no name: rooms without placeholders, everyone, or room.of(…)"
        )
    if not (isinstance(event.payload, type) and issubclass(event.payload, Payload)):
        # Another error says so.
        return
    found = {field.encode_name: field for field in fields_of(inspect.type_info(event.payload))}
    user, count = found.get(presence.user), found.get(presence.count)
    if (user is None and count is None) or (user is not None and not is_key(user.type)):
        yield (
            f"{event.name} needs a string or integer field {presence.user} for the user's id, or name another with"
            f" user='…'; or only a field {presence.count} for the number of users"
        )
    if count is not None and not all(isinstance(option, inspect.IntType) for option in options(count.type)):
        yield f"{event.name} has a field {presence.count} that is not a whole number; make it an int"
    placeholders = (*namespace.placeholders, *room.placeholders)
    claims = list(check_claims(event.payload, presence.claims))
    yield from claims
    if claims:
        return
    filled = {presence.user, presence.count, presence.last_seen, event.timestamp, *placeholders, *presence.claims}
    missing = [name for name, field in found.items() if field.required and name not in filled]
    if missing:
        known = ", ".join([presence.user, presence.count, presence.last_seen, *placeholders, *presence.claims])
        yield f"{event.name} has a field {missing[0]} that nothing fills; the server fills {known}"


def is_fixed(target: Target) -> TypeGuard[Room]:
    """True if `target` is a room that has no placeholders."""
    return isinstance(target, Room) and not target.placeholders


def _find_event(namespace: "Namespace", named: "str | type[Payload] | None") -> "DeclaredEvent | None":
    return next((event for event in namespace.events if named in (event.name, event.payload)), None)
