"""Rooms: a pattern names a kind of room, its filled placeholders name one room, and a name belongs to one kind only.

The last rule makes joining safe: a client that may join `user_{userId}` can never join `user_operations` by it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oyez.contract.policy import InRoom, Member, NotARule, Rule, Values, anyone
from oyez.contract.schema import quote
from oyez.contract.types import MAX_ID_LENGTH
from oyez.errors import UNKNOWN_ROOM, ContractError, RefusedError
from oyez.protocol.socket_ids import SOCKET_ID, own_room, socket_of

if TYPE_CHECKING:
    from oyez.contract.presence import Presence

EVERYONE = "*"
"""The name by which publishers address every client of a namespace."""

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}", re.ASCII)
_CONTROL = r"\x00-\x1f\x7f-\x9f"


@dataclass(frozen=True, slots=True)
class NamedRoom:
    """One room of one namespace, to which events can be emitted."""

    namespace: str
    name: str
    values: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """The values of the placeholders, if they are known."""

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

    @property
    def namespace(self) -> str:
        return self.room.namespace

    @property
    def text(self) -> str:
        return self.room.describe(self.paths)


class Room:
    """A kind of room of a namespace. `room("42")` or `room(userId="42")` is one room of that kind."""

    def __init__(
        self,
        pattern: str,
        rooms: "Rooms",
        *,
        rule: Rule,
        join: str | None = None,
        leave: str | None = None,
        on_connect: bool = False,
        gateway: str | None = None,
        values: Mapping[str, Sequence[str]] | None = None,
        presence: "Presence | None" = None,
    ) -> None:
        if not isinstance(values, Mapping | None) or any(isinstance(listed, str) for listed in (values or {}).values()):
            raise ContractError(f"room {pattern}: values is {values!r}; write a dict of lists, as {{'id': ['a', 'b']}}")
        self.pattern = pattern
        self.placeholders = tuple(_PLACEHOLDER.findall(pattern))
        self.rule = rule
        """Who may be in it."""
        self.join = join
        self.leave = leave
        self.on_connect = on_connect
        self.gateway = gateway
        self.values = {placeholder: tuple(listed) for placeholder, listed in (values or {}).items()}
        """The only values that a placeholder may hold. A placeholder that is not listed may hold any value."""
        self.presence = presence
        """The events about users who come and go, if there are any."""
        self._rooms = rooms
        shapes, self._shape = _compile(pattern)
        self._fits = tuple(re.compile(shape).fullmatch for shape in shapes)
        self._template = _PLACEHOLDER.sub("%s", pattern.replace("%", "%%"))

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

        Raises RefusedError (unknown_room) if a value cannot be part of a room's name, because values come from clients.
        """
        texts = {name: str(value) for name, value in named.items()}
        filled = self._by_placeholder(tuple(map(str, values)), texts)
        return NamedRoom(self.namespace, self.name(filled), filled)

    def of(self, *paths: str, **named: str) -> DerivedRoom:
        """The rooms that follow from the payload: the field at each path fills one placeholder.

        `offers.of("userId")`. Give several paths in the order of the placeholders, or by name.
        """
        return DerivedRoom(self, self._by_placeholder(paths, named))

    def describe(self, paths: Mapping[str, str]) -> str:
        """The rooms that follow from the fields at `paths`, as documents show them."""
        return f"`{_PLACEHOLDER.sub(lambda found: '{' + paths[found[1]] + '}', self.pattern)}`"

    def name(self, values: Values) -> str:
        """The name of the room with these values. Raises RefusedError as `__call__` does."""
        filled = tuple([values[placeholder] for placeholder in self.placeholders])
        name = self._template % filled
        fits = all(fits(value) for fits, value in zip(self._fits, filled, strict=True))
        if not fits or not self._lists(values) or self._is_taken(name):
            raise RefusedError(UNKNOWN_ROOM, f"There is no room {quote(name)} of the form {self.pattern}.")
        return name

    def match(self, name: str) -> dict[str, str] | None:
        """The values of the placeholders in `name`, or None if it is not a room of this kind."""
        found = self._shape.fullmatch(name)
        if found is None or self._is_taken(name):
            return None
        values = found.groupdict()
        return values if self._lists(values) else None

    def can_hold(self, placeholder: str, value: str) -> bool:
        """True if a name with that value can be read in one way only."""
        fits = dict(zip(self.placeholders, self._fits, strict=True)).get(placeholder)
        return fits is None or fits(value) is not None

    def _lists(self, values: Values) -> bool:
        """True if each placeholder may hold its value."""
        return all(values[placeholder] in listed for placeholder, listed in self.values.items())

    def overlaps(self, other: "Room") -> bool:
        """True if one name could belong to both kinds, judged by the text around their placeholders."""
        if not self.placeholders or not other.placeholders:
            return self.pattern == other.pattern
        heads = [_PLACEHOLDER.split(room.pattern)[0] for room in (self, other)]
        tails = [_PLACEHOLDER.split(room.pattern)[-1] for room in (self, other)]
        return (heads[0].startswith(heads[1]) or heads[1].startswith(heads[0])) and (
            tails[0].endswith(tails[1]) or tails[1].endswith(tails[0])
        )

    def _is_taken(self, name: str) -> bool:
        """True if a room without placeholders has this name."""
        return bool(self.placeholders) and name in self._rooms.plain

    def _by_placeholder(self, ordered: tuple[str, ...], named: Mapping[str, str]) -> dict[str, str]:
        values = {**dict(zip(self.placeholders, ordered, strict=False)), **named}
        if len(ordered) + len(named) != len(self.placeholders) or values.keys() != set(self.placeholders):
            wanted = ", ".join(self.placeholders) or "nothing"
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
        self.kinds: list[Room] = []
        self.plain: dict[str, Room] = {}
        """Rooms without a placeholder. No room of another kind can have their names."""

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


def _compile(pattern: str) -> tuple[list[str], re.Pattern[str]]:
    """A regular expression for each placeholder's value, and one for the whole name. Raises ContractError.

    A value may hold anything except control characters and the character that follows it in the pattern, so a name can
    be read in one way only.
    """
    literals = _PLACEHOLDER.split(pattern)
    if "{" in "".join(literals[::2]) or "}" in "".join(literals[::2]):
        raise ContractError(f"room {pattern!r}: placeholders are written {{name}}")
    if len(set(literals[1::2])) < len(literals[1::2]):
        raise ContractError(f"room {pattern!r}: a placeholder is named twice")
    if "" in literals[2:-1:2]:
        raise ContractError(f"room {pattern!r}: put some text between two placeholders")
    values = [f"[^{_CONTROL}{re.escape(following[:1])}]{{1,{MAX_ID_LENGTH}}}" for following in literals[2::2]]
    shape = re.escape(literals[0])
    for placeholder, value, following in zip(literals[1::2], values, literals[2::2], strict=True):
        shape += f"(?P<{placeholder}>{value}){re.escape(following)}"
    return values, re.compile(shape)
