"""Finds the rooms of an event: the rooms that the publisher names, if the contract allows them, or those that follow
from its payload. Does not know which clients are in a room.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from oyez.contract.contract import Contract, Event
from oyez.contract.declare import Namespace
from oyez.contract.rooms import EVERYONE, Caller, DerivedRoom, Everyone, NamedNamespace, Place, Room, Sockets, Target
from oyez.contract.schema import find_field, is_key, quote, read_key
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
        self._reaches = {name: _Reach(event, namespaces[name], contract) for name in event.targets}

    def route(
        self, payload: Payload, to: Iterable[Place | str] | None, namespace: str | None = None
    ) -> list[Destination]:
        """The destinations of `payload`. `to` names rooms, sockets by their ids, everyone (`*`), or a namespace.

        None, and a namespace: the rooms that follow from the payload, and those that need no name. A name without a
        namespace means the room of that name in every namespace of the event that is known, or in `namespace`.

        Raises RefusedError: room_required, unknown_room, foreign_room; InvalidDataError if a value of the payload
        cannot be part of a room's name.
        """
        places = self._find_places(payload, namespace)
        found: dict[str, dict[str, None]] = {}
        for room in to or ():
            for name, rooms in self._find(room, places, payload):
                found.setdefault(name, {}).update(dict.fromkeys(rooms))
        if to is None:
            for place in places:
                if rooms := place.list_rooms():
                    found[place.namespace] = dict.fromkeys(rooms)
        if not found:
            raise RefusedError(ROOM_REQUIRED, f"{self._event.name} needs a room to go to: {self._patterns()}.")
        return [Destination(name, () if EVERYONE in rooms else tuple(rooms)) for name, rooms in found.items()]

    def _find_places(self, payload: Payload, namespace: str | None) -> "list[_Place]":
        if namespace is not None:
            place = self._find_place(payload, namespace)
            if place is None:
                known = " or ".join(self._reaches)
                wanted = f"a namespace of {self._event.name}, such as {known}; got {quote(namespace)}"
                raise InvalidDataError("namespace", wanted)
            return [place]
        return [place for reach in self._reaches.values() if (place := reach.place(payload)) is not None]

    def _find_place(self, payload: Payload, namespace: str) -> "_Place | None":
        """The event in the namespace of this name; None if it is not declared there."""
        found = self._contract.find_namespace(namespace)
        reach = self._reaches.get(found[0].name) if found is not None else None
        if reach is None:
            return None
        follows = reach.name(payload)
        if follows not in (None, namespace):
            text = f"{quote(namespace)} contradicts the payload of {self._event.name}: from it follows {follows}."
            raise RefusedError(FOREIGN_ROOM, text)
        return _Place(reach, namespace, reach.derive(payload))

    def _find(self, room: Place | str, places: "list[_Place]", payload: Payload) -> list[tuple[str, list[str]]]:
        """The namespaces in which the event may go to `room`, and its names there. Raises RefusedError."""
        only = None if isinstance(room, str) else room.namespace
        if only is not None:
            places = [place for place in places if place.namespace == only]
            other = self._find_place(payload, only) if not places else None
            places = [*places, other] if other is not None else places
        if isinstance(room, NamedNamespace):
            listed = [(place.namespace, rooms) for place in places if (rooms := place.list_rooms())]
            if not listed:
                text = f"{self._event.name} needs a room to go to in {only}: {self._patterns()}."
                raise RefusedError(ROOM_REQUIRED, text)
            return listed
        name = str(room)
        named = [(place.namespace, place.reach.find(name, place.derived)) for place in places]
        found = [(namespace, [name]) for namespace, name in named if name is not None]
        if not found:
            raise self._refused(name, only, [name for place in places for name in place.derived])
        return found

    def _refused(self, name: str, only: str | None, expected: list[str]) -> RefusedError:
        name = socket_of(name)
        quoted = quote(name)
        if any(reach.derives(name) for reach in self._reaches.values()):
            wanted = " or ".join(expected) or "none"
            return RefusedError(
                FOREIGN_ROOM, f"{quoted} contradicts the payload of {self._event.name}: from it follows {wanted}."
            )
        declared = self._contract.find_namespace(only) if only is not None else None
        namespaces = self._contract.namespaces if only is None else [declared[0]] if declared is not None else []
        if name == EVERYONE or any(namespace.rooms.resolve(name) for namespace in namespaces):
            return RefusedError(
                FOREIGN_ROOM, f"{self._event.name} does not go to {quoted}, only to {self._patterns()}."
            )
        return RefusedError(UNKNOWN_ROOM, f"There is no room {quoted}. {self._event.name} goes to {self._patterns()}.")

    def _patterns(self) -> str:
        texts = [text for reach in self._reaches.values() for text in reach.texts]
        return " or ".join(dict.fromkeys(texts)) or "nobody but the client concerned"


class _Place(NamedTuple):
    """An event in one namespace."""

    reach: "_Reach"
    namespace: str
    derived: list[str]
    """The rooms that follow from the payload."""

    def list_rooms(self) -> list[str]:
        """The rooms to which the event goes if the publisher names none."""
        return [*self.reach.implied, *self.derived]


class _Reach:
    """The targets of an event in one namespace, or in all namespaces of one form."""

    def __init__(self, event: Event, namespace: Namespace, contract: Contract) -> None:
        targets = [target for target in event.targets[namespace.name] if not isinstance(target, Caller)]
        self.texts = [target.text for target in targets]
        if namespace.placeholders:
            self.texts = [f"{text} of a namespace {namespace.name}, which must be named" for text in self.texts]
        self._namespace = namespace
        self._contract = contract
        self._name_readers = _find_name_readers(event, namespace)
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

    def place(self, payload: Payload) -> _Place | None:
        """The event in its namespace; None if the publisher has to name the namespace."""
        name = self.name(payload)
        return None if name is None else _Place(self, name, self.derive(payload))

    def name(self, payload: Payload) -> str | None:
        """The name of the namespace, if it is literal or follows from the payload.

        Raises InvalidDataError if a value of the payload cannot be part of it.
        """
        if not self._namespace.placeholders:
            return self._namespace.name
        values = _read(payload, self._name_readers.get(type(payload)))
        if values is None:
            return None
        try:
            name = self._rooms.fill(values)
        except RefusedError as error:
            raise InvalidDataError(next(iter(values)), f"a part of the name of a namespace ({error})") from None
        found = self._contract.find_namespace(name)
        if found is None or found[0] is not self._namespace:
            raise InvalidDataError(next(iter(values)), f"a part of the name of a namespace, and {name} is another one")
        return name

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
        values = _read(payload, self._readers[type(payload)])
        if values is None:
            return None
        try:
            return self.room.name(values)
        except RefusedError as error:
            raise InvalidDataError(next(iter(self._paths.values()), ""), f"the name of a room ({error})") from None


def _read(payload: Payload, readers: "_Readers | None") -> dict[str, str] | None:
    """The values of placeholders; None if the payload omits one of them."""
    if readers is None:
        return None
    values: dict[str, str] = {}
    for placeholder, read in readers.items():
        try:
            value = read_key(read(payload))
        except AttributeError:  # An object on the path is null or omitted.
            return None
        if value is None:
            return None
        values[placeholder] = value
    return values


def _make_readers(payload: type[Payload], target: DerivedRoom) -> "_Readers":
    """For each placeholder of the room, a function that reads its value from such a payload."""
    readers: dict[str, Callable[[Payload], object]] = {}
    for placeholder, path in target.paths.items():
        found = find_field(payload, path)
        assert found is not None, "a built contract's paths exist"
        readers[placeholder] = attrgetter(".".join(found[0]))
    return readers


def _find_name_readers(event: Event, namespace: Namespace) -> "dict[type[Payload], _Readers]":
    """For each class with fields that have the names of the namespace's placeholders, functions that read them."""
    found: dict[type[Payload], _Readers] = {}
    for shape in event.shapes:
        fields = {placeholder: find_field(shape, placeholder) for placeholder in namespace.placeholders}
        known = {placeholder: field for placeholder, field in fields.items() if field and is_key(field[1].type)}
        if known.keys() == fields.keys():
            found[shape] = {placeholder: attrgetter(".".join(field[0])) for placeholder, field in known.items()}
    return found


_Readers = Mapping[str, Callable[[Payload], object]]
