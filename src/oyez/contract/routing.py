"""Finds the rooms of an event: the rooms that the publisher names, if the contract allows them, or those that follow
from its payload. Does not know which clients are in a room.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from oyez.contract.contract import Contract, Event
from oyez.contract.declare import Namespace
from oyez.contract.rooms import EVERYONE, Caller, DerivedRoom, Everyone, NamedRoom, Room, Sockets, Target
from oyez.contract.schema import find_field, quote, read_key
from oyez.contract.types import Payload
from oyez.errors import FOREIGN_ROOM, ROOM_REQUIRED, UNKNOWN_ROOM, InvalidDataError, RefusedError
from oyez.protocol.socket_ids import SOCKET_ID, own_room, socket_of


@dataclass(frozen=True, slots=True)
class Destination:
    """The rooms of an event in one namespace. No rooms: every client of the namespace."""

    namespace: str
    rooms: tuple[str, ...]


class EventRouter:
    """Finds the rooms of one event."""

    def __init__(self, event: Event, contract: Contract) -> None:
        self._event = event
        self._contract = contract
        namespaces = {namespace.name: namespace for namespace in contract.namespaces}
        self._reaches = [_Reach(event, namespaces[name]) for name in event.targets]

    def route(self, payload: Payload, to: Iterable[NamedRoom | Everyone | str] | None) -> list[Destination]:
        """The destinations of `payload`. `to` names rooms, sockets by their ids, or everyone (`*`).

        None: the rooms that follow from the payload, and those that need no name. A name without a namespace means the
        room of that name in every namespace of the event.

        Raises RefusedError: room_required, unknown_room, foreign_room; InvalidDataError if a value of the payload
        cannot be part of a room's name.
        """
        derived = {reach.namespace: reach.derive(payload) for reach in self._reaches}
        found: dict[str, dict[str, None]] = {}
        for room in to or ():
            for namespace, name in self._find(room, derived):
                found.setdefault(namespace, {})[name] = None
        if to is None:
            for reach in self._reaches:
                rooms = dict.fromkeys([*reach.implied, *derived[reach.namespace]])
                if rooms:
                    found[reach.namespace] = rooms
        if not found:
            raise RefusedError(ROOM_REQUIRED, f"{self._event.name} needs a room to go to: {self._patterns()}.")
        return [Destination(namespace, () if EVERYONE in rooms else tuple(rooms)) for namespace, rooms in found.items()]

    def _find(self, room: NamedRoom | Everyone | str, derived: Mapping[str, list[str]]) -> list[tuple[str, str]]:
        """The namespaces in which the event may go to `room`, and its name there. Raises RefusedError."""
        name = str(room)
        only = None if isinstance(room, str) else room.namespace
        reaches = [reach for reach in self._reaches if only in (None, reach.namespace)]
        named = [(reach.namespace, reach.find(name, derived[reach.namespace])) for reach in reaches]
        found = [(namespace, name) for namespace, name in named if name is not None]
        if not found:
            raise self._refused(name, only, [name for reach in reaches for name in derived[reach.namespace]])
        return found

    def _refused(self, name: str, only: str | None, expected: list[str]) -> RefusedError:
        name = socket_of(name)
        quoted = quote(name)
        if any(reach.derives(name) for reach in self._reaches):
            wanted = " or ".join(expected) or "none"
            return RefusedError(
                FOREIGN_ROOM, f"{quoted} contradicts the payload of {self._event.name}: from it follows {wanted}."
            )
        namespaces = [given for given in self._contract.namespaces if only in (None, given.name)]
        if name == EVERYONE or any(namespace.rooms.resolve(name) for namespace in namespaces):
            return RefusedError(
                FOREIGN_ROOM, f"{self._event.name} does not go to {quoted}, only to {self._patterns()}."
            )
        return RefusedError(UNKNOWN_ROOM, f"There is no room {quoted}. {self._event.name} goes to {self._patterns()}.")

    def _patterns(self) -> str:
        texts = [text for reach in self._reaches for text in reach.texts]
        return " or ".join(dict.fromkeys(texts)) or "nobody but the client concerned"


class _Reach:
    """The targets of an event in one namespace."""

    def __init__(self, event: Event, namespace: Namespace) -> None:
        targets = [target for target in event.targets[namespace.name] if not isinstance(target, Caller)]
        self.namespace = namespace.name
        self.texts = [target.text for target in targets]
        self._rooms = namespace.rooms
        self._named = {target for target in targets if isinstance(target, Room)}
        self._derivations = [_Derivation(event, target) for target in targets if isinstance(target, DerivedRoom)]
        self._everyone = any(isinstance(target, Everyone) for target in targets)
        self._sockets = any(isinstance(target, Sockets) for target in targets)
        self.implied = self._find_implied(targets)
        """Names of rooms to which the event goes if the publisher names none."""

    def _find_implied(self, targets: Sequence[Target]) -> list[str]:
        fixed = [str(target) for target in targets if isinstance(target, Everyone)]
        fixed += [room.pattern for room in self._named if not room.placeholders]
        # If the publisher has to name a room, it has to name all of them.
        must_name = any(room.placeholders for room in self._named) and not self._derivations
        return [] if must_name else fixed

    def find(self, name: str, derived: Collection[str]) -> str | None:
        """The room, or the socket's own room, that a publisher means by `name`; None if the event may not go there.

        `derived` are the rooms that follow from the payload.
        """
        if name == EVERYONE:
            return name if self._everyone else None
        if name in derived or ((resolved := self._rooms.resolve(name)) is not None and resolved[0] in self._named):
            return name
        own = own_room(socket_of(name))
        return own if own in derived or (self._sockets and SOCKET_ID.fullmatch(socket_of(name))) else None

    def derives(self, name: str) -> bool:
        """True if only a payload may choose rooms of the kind of `name`."""
        return any(derivation.room.match(name) is not None for derivation in self._derivations)

    def derive(self, payload: Payload) -> list[str]:
        """The names of the rooms that follow from `payload`."""
        return [name for derivation in self._derivations if (name := derivation.derive(payload)) is not None]


class _Derivation:
    """One kind of room whose name follows from the payload."""

    def __init__(self, event: Event, target: DerivedRoom) -> None:
        self.room = target.room
        self._paths = target.paths
        self._readers = {shape: _make_readers(shape, target) for shape in event.shapes}

    def derive(self, payload: Payload) -> str | None:
        """The room's name, or None if the payload omits a value of it."""
        values: dict[str, str] = {}
        for placeholder, read in self._readers[type(payload)].items():
            try:
                value = read_key(read(payload))
            except AttributeError:  # An object on the path is null or omitted.
                return None
            if value is None:
                return None
            values[placeholder] = value
        try:
            return self.room.name(values)
        except RefusedError as error:
            raise InvalidDataError(next(iter(self._paths.values()), ""), f"the name of a room ({error})") from None


def _make_readers(payload: type[Payload], target: DerivedRoom) -> dict[str, Callable[[Payload], object]]:
    """For each placeholder of the room, a function that reads its value from such a payload."""
    readers: dict[str, Callable[[Payload], object]] = {}
    for placeholder, path in target.paths.items():
        found = find_field(payload, path)
        assert found is not None, "a built contract's paths exist"
        readers[placeholder] = attrgetter(".".join(found[0]))
    return readers
