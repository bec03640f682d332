"""What has to be tried in a system, computed from its contract; nothing in here knows any system.

For every event: each kind of room it goes to, and each of its fields. For every command: that it is done, and every way
in which it is refused. If a case needs a user or a record, a `Fixture` provides it; `find_gaps` names
what a fixture leaves out.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import inspect

from oyez.contract import Identity
from oyez.contract.contract import Contract, Event
from oyez.contract.declare import Namespace
from oyez.contract.declared import DeclaredCommand
from oyez.contract.policy import Anyone, Member
from oyez.contract.rooms import EVERYONE, Caller, DerivedRoom, Everyone, Room, Target
from oyez.contract.schema import options
from oyez.systems.loader import load_system

# What a fixture provides.


@dataclass(frozen=True, slots=True)
class Person:
    """A client that is connected to one namespace during all tests."""

    role: str | None
    claims: Mapping[str, Any] = field(default_factory=dict)
    namespace: str = "/"


@dataclass(frozen=True, slots=True)
class Place:
    """One room of a kind, who is in it, and who else might be."""

    name: str
    inside: frozenset[str]
    allowed: frozenset[str] = frozenset()
    leaver: str | None = None
    """Where only members may be in it: one who is, and who is removed."""
    enter: tuple[Any, ...] = ()
    """The command and its arguments by which one gets into it, where that is not the room's own."""
    leave: tuple[Any, ...] = ()
    """The same for getting out."""


Attempt = Callable[[Any], Awaitable[Any]]
"""Given the harness, does something and returns the acknowledgement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """How a command that does more than join a room is tried."""

    person: str
    """Who may send it."""
    arguments: Sequence[Any]
    """What fits the contract."""
    done: Attempt | None = None
    """Does it successfully; just sends `arguments` where there is none."""
    wrong_person: tuple[str | Attempt, str] | None = None
    """Who may not send it (or an attempt), and the refusal's code. None: all clients may."""
    wrong_state: tuple[Attempt, str] | None = None
    """What is done too early or too late, and the refusal's code. None: the command knows no states."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixture:
    """Who and what has to be there so that everything in a system can be tried."""

    people: Mapping[str, Person]
    places: Mapping[tuple[str, str], Place]
    """By namespace and pattern."""
    prepare: Callable[[Any], Awaitable[None]] | None = None
    """Creates, over HTTP, the records that are needed before clients connect."""
    tries: Mapping[tuple[str, str], Tries] = field(default_factory=dict)
    """By namespace and command."""
    answers: Mapping[tuple[str, str], Attempt] = field(default_factory=dict)
    """By namespace and event: what a client does, and gives back the data it then hears, for events that only go to
    whoever causes them."""
    excused: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """By namespace and name: what is declared and never happens there, with the reason."""


# Events.


@dataclass(frozen=True, slots=True)
class Trial:
    """One event, sent to one kind of room."""

    event: str
    namespace: str
    kind: str
    """The room's pattern, or `*`."""
    data: dict[str, Any]
    to: str | None
    audience: frozenset[str]


def contract_of(system: str) -> Contract:
    return load_system(system).contract


def find_targets(event: Event) -> Iterator[tuple[str, Target]]:
    """Every kind of room, or everyone; without the client concerned, whom no publisher reaches."""
    for namespace, targets in event.targets.items():
        for target in targets:
            if not isinstance(target, Caller):
                yield namespace, target


def find_answers(contract: Contract) -> list[tuple[str, str]]:
    """Namespace and event wherever an event goes to the client concerned, and nowhere else."""
    return [
        (namespace, event.name)
        for event in contract.events.values()
        for namespace, targets in event.targets.items()
        if all(isinstance(target, Caller) for target in targets)
    ]


def kind_of(target: Target) -> str:
    if isinstance(target, DerivedRoom):
        return target.room.pattern
    return target.pattern if isinstance(target, Room) else EVERYONE


def build_trial(event: Event, namespace: str, target: Target, fixture: Fixture) -> Trial:
    """The event's example, so that it goes to the world's room of this kind."""
    data: Any = deepcopy(dict(event.example))
    kind = kind_of(target)
    if isinstance(target, Everyone):
        rooms, to = None, EVERYONE
    else:
        place = fixture.places[namespace, kind]
        to, rooms = place.name, {place.name}
        if isinstance(target, DerivedRoom):
            values = target.room.match(place.name) or {}
            for placeholder, path in target.paths.items():
                set_field(data, path, values[placeholder])
            to = None
            rooms = {name for _, other in find_targets(event) if (name := derive(other, data)) is not None}
    reached = set(event.targets) if rooms is not None else {namespace}
    if rooms is None:
        # `*` names everyone in every namespace where the event goes to everyone.
        reached = {name for name, other in find_targets(event) if isinstance(other, Everyone)}
        audience = {name for name, person in fixture.people.items() if person.namespace in reached}
    else:
        places = [place for (where, _), place in fixture.places.items() if where in reached and place.name in rooms]
        audience = {name for place in places for name in place.inside}
    return Trial(event.name, namespace, kind, data, to, frozenset(audience))


def find_trials(contract: Contract, fixture: Fixture) -> Iterator[Trial]:
    """Each event at each kind of room that it goes to."""
    for event in contract.events.values():
        for namespace, target in find_targets(event):
            yield build_trial(event, namespace, target, fixture)


def build_publication(trial: Trial) -> dict[str, Any]:
    """The body of the request that publishes it."""
    return {"event": trial.event, "data": trial.data} | ({"to": trial.to} if trial.to is not None else {})


def is_it(trial: Trial, event: str, arguments: Sequence[Any]) -> bool:
    """True if a client received the event of the trial. A position may follow the data."""
    return event == trial.event and bool(arguments) and arguments[0] == trial.data


def derive(target: Target, data: Any) -> str | None:
    """The room that follows from `data`."""
    if not isinstance(target, DerivedRoom):
        return None
    values = {placeholder: get_field(data, path) for placeholder, path in target.paths.items()}
    return target.room.name(values) if all(isinstance(value, str) for value in values.values()) else None


def get_field(data: Any, path: str) -> Any:
    for step in path.split("."):
        data = data.get(step) if isinstance(data, dict) else None
    return data


def set_field(data: Any, path: str, value: Any) -> None:
    *steps, last = path.split(".")
    for step in steps:
        data = data[step]
    data[last] = value


def spoil(struct: type[msgspec.Struct], data: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """`data` with each of its fields made wrong, and with one too many; with the field's name."""
    for declared in msgspec.structs.fields(struct):
        name = declared.encode_name
        yield name, {**data, name: wrong_value(declared.type)}
        if declared.required:
            yield name, {other: value for other, value in data.items() if other != name}
    yield "surprise", {**data, "surprise": 1}


def wrong_value(kind: Any) -> Any:
    """Something that is no value of that type."""
    lists = any(isinstance(option, inspect.CollectionType) for option in options(inspect.type_info(kind)))
    return {} if lists else []


# Commands.


def find_commands(contract: Contract) -> Iterator[tuple[Namespace, DeclaredCommand]]:
    for namespace in contract.namespaces:
        for command in namespace.commands:
            yield namespace, command


def build_tries(command: DeclaredCommand, fixture: Fixture) -> Tries:
    """How a command is tried: joining and leaving follow from the room, the rest from the fixture."""
    room = command.joins or command.leaves
    given = fixture.tries.get((command.namespace, command.name))
    if room is None or given is not None:
        return fixture.tries[command.namespace, command.name]
    place = fixture.places[command.namespace, room.pattern]
    arguments = list((room.match(place.name) or {}).values())
    person = min(place.inside)
    if command.leaves:
        # To leave a room where one is not is harmless.
        return Tries(person=person, arguments=arguments)
    # A room without an id for all clients of the namespace has no strangers.
    strangers = [name for name in outsiders(place, command.namespace, fixture) if name not in place.allowed]
    wrong = (strangers[0], "forbidden") if strangers else None
    return Tries(person=person, arguments=arguments, wrong_person=wrong)


def spoil_arguments(command: DeclaredCommand, arguments: Sequence[Any]) -> Iterator[list[Any]]:
    """Arguments that do not fit."""
    if command.arguments == "object":
        given = arguments[0] if arguments else {}
        yield from ([spoiled] for _, spoiled in spoil(command.command, given))
        yield ["nothing"]
        return
    for index, declared in enumerate(msgspec.structs.fields(command.command)):
        yield [*arguments[:index], wrong_value(declared.type), *arguments[index + 1 :]]
    # A string more would be the command's id.
    yield [*arguments, 7]


def outsiders(place: Place, namespace: str, fixture: Fixture) -> list[str]:
    """Who is connected to the namespace, and not in the room."""
    return [
        name
        for name, person in fixture.people.items()
        if person.namespace == namespace and name not in place.inside and name != place.leaver
    ]


# What is missing.


def find_gaps(contract: Contract, fixture: Fixture | None) -> list[str]:
    """The events and commands of which a case cannot be tried, each with what is missing."""
    if fixture is None:
        return [f"{contract.name}: has no world"]
    gaps: dict[str, None] = {}
    for event in contract.events.values():
        for namespace, target in find_targets(event):
            gaps |= dict.fromkeys(
                f"{event.name}: {gap}" for gap in _find_room_gaps(contract, namespace, target, fixture)
            )
    for namespace, name in find_answers(contract):
        if (namespace, name) not in fixture.answers.keys() | fixture.excused.keys():
            gaps[f"{name}: nobody causes it in {namespace}"] = None
    for declared, command in find_commands(contract):
        room = command.joins or command.leaves
        if room is not None:
            gaps |= dict.fromkeys(
                f"{command.name}: {gap}" for gap in _find_room_gaps(contract, declared.name, room, fixture)
            )
        elif (declared.name, command.name) not in fixture.tries:
            gaps[f"{command.name}: is not tried in {declared.name}"] = None
        elif fixture.tries[declared.name, command.name].wrong_person is None and not isinstance(command.who, Anyone):
            gaps[f"{command.name}: no wrong person tries it in {declared.name}"] = None
    return list(gaps)


def _find_room_gaps(contract: Contract, namespace: str, target: Target, fixture: Fixture) -> Iterator[str]:
    if isinstance(target, Everyone):
        return
    place = fixture.places.get((namespace, kind_of(target)))
    room = target.room if isinstance(target, DerivedRoom) else target
    if place is None or not place.inside or not isinstance(room, Room):
        yield f"there is no room {kind_of(target)} in {namespace} with somebody in it"
        return
    inside = {fixture.people[name].role for name in place.inside}
    others = [fixture.people[name].role for name in outsiders(place, namespace, fixture)]
    admitting = next(declared for declared in contract.namespaces if declared.name == namespace)
    roles = {role for role in contract.roles if admitting.who.admits(Identity(subject="somebody", role=role))}
    for_members = any(isinstance(part, Member) for part in room.rule.parts())
    if room.placeholders and not (inside & set(others)):
        yield f"there is no stranger to {kind_of(target)} in {namespace}"
    if not (roles - inside) <= set(others):
        yield f"somebody of another role is missing for {kind_of(target)} in {namespace}"
    if for_members and place.leaver is None:
        yield f"nobody leaves {kind_of(target)} in {namespace}"
