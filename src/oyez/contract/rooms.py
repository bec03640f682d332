"""Rooms: a pattern names a kind of room, its filled placeholders name one room, and a name belongs to one kind only.

The last rule makes joining safe: a client that may join `user_{userId}` can never join `user_operations` by it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from oyez.contract.patterns import PLACEHOLDER, NamespaceName, Pattern
from oyez.contract.policy import InRoom, Member, NotARule, Rule, Values, anyone
from oyez.contract.schema import quote
from oyez.errors import UNKNOWN_NAMESPACE, UNKNOWN_ROOM, ContractError, RefusedError
from oyez.protocol.socket_ids import SOCKET_ID, own_room, socket_of

if TYPE_CHECKING:
    from oyez.contract.backends import Backend
    from oyez.contract.presence import Presence

OnConnect = bool | Literal["required"]
EVERYONE = "*"
"""The name by which publishers address every client of a namespace."""


@dataclass(frozen=True, slots=True)
class NamedRoom:
    """One room of one namespace, to which events can be emitted."""

    namespace: str
    name: str
    values: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """The values of the placeholders of the namespace and of the room, if they are known."""

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Everyone:
    """Every client of a namespace, as a target in a contract and of `emit`."""

    namespace: str
    text = "everyone in the namespace"

    def __str__(self) -> str:
        return EVERYONE


@dataclass(frozen=True, slots=True)
class NamedNamespace:
    """One namespace, as a target of `emit`: the rooms in it that follow from the payload, and those that need no name.

    `shop("17")` is the namespace `/shop-17` of `shop = contract.namespace("/shop-{shopId}")`.
    """

    namespace: str
    values: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def everyone(self) -> Everyone:
        """Every client of the namespace."""
        return Everyone(self.namespace)

    def __str__(self) -> str:
        return self.namespace


Place = NamedRoom | Everyone | NamedNamespace
"""Where an event can be emitted."""


def find_only_namespace(places: "Sequence[Place | str]") -> str | None:
    """The namespace of all these places; None if they are in several, or if a name says nothing about it."""
    names = {None if isinstance(place, str) else place.namespace for place in places}
    return names.pop() if len(names) == 1 else None


@dataclass(frozen=True, slots=True)
class Caller:
    """The client whose connection or command is being handled. Only `client.emit` sends to it."""

    namespace: str
    text = "the client concerned"


@dataclass(frozen=True, slots=True)
class DerivedRoom:
    """The rooms of one kind whose names follow from an event's payload."""

    room: "Room"
    paths: Mapping[str, str] = field(hash=False)
    """For each placeholder, the dotted path, in wire names, of the field that fills it."""
    fault: str = ""
    """What is wrong with the paths; `build` reports it."""

    @property
    def namespace(self) -> str:
        return self.room.namespace

    @property
    def text(self) -> str:
        return self.room.describe(self.paths)


class Room:
    """A kind of room of a namespace. `room("42")` or `room(userId="42")` is one room of that kind.

    In a namespace with placeholders, their values come first: `order("17", "42")` in `/shop-{shopId}`.
    """

    def __init__(
        self,
        pattern: str,
        rooms: "Rooms",
        *,
        rule: Rule,
        join: str | None = None,
        leave: str | None = None,
        on_connect: OnConnect = False,
        gateway: str | None = None,
        values: Mapping[str, Sequence[str]] | None = None,
        presence: "Presence | None" = None,
        welcomed_by: "Backend | None" = None,
    ) -> None:
        self.faults: list[str] = []
        """What is wrong with arguments that could not be recorded as they are written; `build` reports it."""
        if not isinstance(values, Mapping | None) or any(isinstance(listed, str) for listed in (values or {}).values()):
            self.faults.append(f"values is {values!r}; write a dict of lists, as {{'id': ['a', 'b']}}")
            values = None
        if not isinstance(pattern, str):
            self.faults.append(f"its name is {pattern!r}: expected a text")
            pattern = str(pattern)
        self.pattern = pattern
        try:
            self._pattern = Pattern(pattern)
        except ContractError as error:
            self.faults.append(str(error))
            self._pattern = Pattern(re.sub(r"[{}]", "", pattern))
        self.placeholders = self._pattern.placeholders
        self.rule = rule
        """Who may be in it."""
        self.join = join
        self.leave = leave
        if not isinstance(on_connect, bool) and on_connect != "required":
            self.faults.append(f"on_connect is {on_connect!r}: write True, False or 'required'")
        self.on_connect = bool(on_connect)
        self.required = on_connect == "required"
        """True if a client that may not be in it may not be in the namespace."""
        self.gateway = gateway
        self.values = {placeholder: tuple(listed) for placeholder, listed in (values or {}).items()}
        """The only values that a placeholder may hold. A placeholder that is not listed may hold any value."""
        self.presence = presence
        """The events about users who come and go, if there are any."""
        self.welcomed_by = welcomed_by
        """The back end that has the room's state for clients that join, if there is one."""
        self._rooms = rooms

    def __repr__(self) -> str:
        return f"<Room {self.namespace} {self.pattern}>"

    @property
    def namespace(self) -> str:
        return self._rooms.namespace

    @property
    def text(self) -> str:
        return f"`{self.pattern}`"

    def __call__(self, *values: str | int, **named: str | int) -> NamedRoom:
        """The room whose placeholders hold `values` (in order) or `named`. A whole number stands for its digits.

        Raises RefusedError (unknown_room, unknown_namespace) if a value cannot be part of a name, because values come
        from clients.
        """
        texts = {name: str(value) for name, value in named.items()}
        placeholders = (*self._rooms.name.placeholders, *self.placeholders)
        filled = self._by_placeholder(tuple(map(str, values)), texts, placeholders)
        return NamedRoom(self._rooms.fill(filled), self.name(filled), filled)

    def of(self, *paths: str, **named: str) -> DerivedRoom:
        """The rooms that follow from the payload: the field at each path fills one placeholder.

        `offers.of("userId")`. Give several paths in the order of the placeholders, or by name.
        """
        try:
            return DerivedRoom(self, self._by_placeholder(paths, named, self.placeholders))
        except ContractError as error:
            # A room that is wrong itself has the wrong placeholders.
            return DerivedRoom(self, {}, "" if self.faults else f"to=… has .of(…) of {error}")

    def describe(self, paths: Mapping[str, str]) -> str:
        """The rooms that follow from the fields at `paths`, as documents show them."""
        return f"`{PLACEHOLDER.sub(lambda found: '{' + paths[found[1]] + '}', self.pattern)}`"

    def name(self, values: Values) -> str:
        """The name of the room with these values. Raises RefusedError as `__call__` does."""
        try:
            name = self._pattern.fill(values)
        except ValueError as error:
            raise self._refused(str(error)) from None
        if not self._lists(values) or self._is_taken(name):
            raise self._refused(name)
        return name

    def _refused(self, name: str) -> RefusedError:
        return RefusedError(UNKNOWN_ROOM, f"There is no room {quote(name)} of the form {self.pattern}.")

    def match(self, name: str) -> dict[str, str] | None:
        """The values of the placeholders in `name`, or None if it is not a room of this kind."""
        values = self._pattern.match(name)
        return values if values is not None and not self._is_taken(name) and self._lists(values) else None

    def can_hold(self, placeholder: str, value: str) -> bool:
        """True if a name with that value can be read in one way only."""
        return placeholder not in self.placeholders or self._pattern.can_hold(placeholder, value)

    def _lists(self, values: Values) -> bool:
        """True if each placeholder may hold its value."""
        return all(values[placeholder] in listed for placeholder, listed in self.values.items())

    def overlaps(self, other: "Room") -> bool:
        """True if one name could belong to both kinds, judged by the text around their placeholders."""
        if not self.placeholders or not other.placeholders:
            return self.pattern == other.pattern
        return self._pattern.overlaps(other._pattern)

    def _is_taken(self, name: str) -> bool:
        """True if a room without placeholders has this name."""
        return bool(self.placeholders) and name in self._rooms.plain

    def _by_placeholder(
        self, ordered: tuple[str, ...], named: Mapping[str, str], placeholders: tuple[str, ...]
    ) -> dict[str, str]:
        values = {**dict(zip(placeholders, ordered, strict=False)), **named}
        if len(ordered) + len(named) != len(placeholders) or values.keys() != set(placeholders):
            wanted = ", ".join(placeholders) or "nothing"
            raise ContractError(f"room {self.pattern}: got {[*ordered, *named]}, expected {wanted}")
        return values


class Sockets(Room):
    """Single clients of a namespace, by the ids of their sockets: `sockets(client.id)` is one of them.

    These rooms are not in `Rooms.kinds`: no client can join them.
    """

    text = "one client"

    def __init__(self, rooms: "Rooms") -> None:
        super().__init__(own_room("{socketId}"), rooms, rule=anyone())

    def describe(self, paths: Mapping[str, str]) -> str:
        return f"the client with the socket id `{paths['socketId']}`"

    def name(self, values: Values) -> str:
        id = values["socketId"]
        if not SOCKET_ID.fullmatch(id):
            raise RefusedError(UNKNOWN_ROOM, f"{quote(id)} is not the id of a socket.")
        return own_room(id)

    def match(self, name: str) -> dict[str, str] | None:
        id = socket_of(name)
        return {"socketId": id} if SOCKET_ID.fullmatch(id) else None


def in_room(room: Room, *parts: str) -> Rule:
    """For `who` of a command: the client must be in the room that the command's fields name.

    `in_room(table, "host")`: it must also be a member of the room with one of these parts.
    """
    if not isinstance(room, Room):
        return NotARule(f"in_room({room!r})", "give it the room itself, as in_room(table)")
    return InRoom(room.pattern, room.placeholders, room.name, Member(parts) if parts else None)


Target = Room | DerivedRoom | Everyone | Caller
"""One destination of an event, as a contract declares it."""


class Rooms:
    """The kinds of room of one namespace."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.name = NamespaceName(namespace)
        self.kinds: list[Room] = []
        self.plain: dict[str, Room] = {}
        """Rooms without a placeholder. No room of another kind can have their names."""

    def fill(self, values: Values) -> str:
        """The name of the namespace with these values. Raises RefusedError (unknown_namespace)."""
        try:
            return self.name.fill(values)
        except ValueError as error:
            form = f"There is no namespace {quote(str(error))} of the form {self.namespace}."
            raise RefusedError(UNKNOWN_NAMESPACE, form) from None

    def add(self, room: Room) -> None:
        """Record a kind of room."""
        self.kinds.append(room)
        if not room.placeholders:
            self.plain[room.pattern] = room

    def resolve(self, name: str) -> tuple[Room, dict[str, str]] | None:
        """The kind of room to which `name` belongs, and the values of its placeholders; None if there is none."""
        plain = self.plain.get(name)
        if plain is not None:
            return plain, {}
        for room in self.kinds:
            values = room.match(name)
            if values is not None:
                return room, values
        return None
