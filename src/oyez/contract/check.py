"""Looks for contradictions in a contract: each `_check_…` reads one part of the declarations and yields sentences.

All errors are found at once, so that the author of a contract can correct them together.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import inspect

from oyez import errors
from oyez.contract.codec import EventCodec, check_types
from oyez.contract.declare import Declarations, DeclaredCommand, DeclaredEvent, Namespace, description_of
from oyez.contract.policy import ROLE, USER, HasRole, Member, Nobody, Own, Resolved, Rule
from oyez.contract.rooms import EVERYONE, Caller, DerivedRoom, Room, Target
from oyez.contract.schema import fields_of, find_field, is_text, is_time
from oyez.contract.types import Command, Payload
from oyez.errors import ContractError, InvalidDataError, Refusal
from oyez.protocol.socketio import RESERVED_EVENTS
from oyez.settings import Limits

ERROR_EVENT = "error"
"""The event that reports a refusal to a client, in every system."""
OWN_PREFIX = "oyez:"
"""The prefix of the server's own events, such as `oyez:recovery`."""

_LIMITS = Limits()
_ROLES_ONLY = ("namespace", "gateway", "user attribute")
"""Declarations whose `who` is decided before any room is known."""


def find_errors(declared: Declarations) -> list[str]:
    """Every contradiction, one sentence each; empty for a correct contract."""
    return list(dict.fromkeys(_errors(declared)))


def _errors(declared: Declarations) -> Iterator[str]:
    yield from _check_head(declared)
    for namespace in declared.namespaces:
        yield from _check_namespace(namespace)
        yield from _check_rooms(namespace)
        for event in namespace.events:
            yield from (f"event {event.name}: {error}" for error in _check_event(event))
        for command in namespace.commands:
            yield from (f"command {command.name}: {error}" for error in _check_command(command))
    yield from _check_event_names([event for namespace in declared.namespaces for event in namespace.events])
    yield from _check_command_names([command for namespace in declared.namespaces for command in namespace.commands])
    yield from _check_rules(declared)


# The head: the contract's name, roles, refusals, user attributes.


def _check_head(declared: Declarations) -> Iterator[str]:
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", declared.name):
        yield f"name {declared.name!r}: expected lower-case letters, digits, - and _, because addresses contain it"
    if not declared.roles:
        yield "no roles: give at least one"
    if declared.default_role is not None and declared.default_role not in declared.roles:
        yield f"default role {declared.default_role!r} is not one of the roles"
    if not declared.tokens:
        yield "no token sources: no client could connect"
    for kind, claim in declared.subjects.items():
        if kind in (USER, ROLE):
            yield f"subject {kind!r}: every contract has that kind already"
        elif not re.fullmatch(r"[a-z][a-z0-9_-]*", kind) or not claim:
            yield f"subject {kind!r}: expected lower-case letters, digits, - and _, and the name of a claim"
    if not declared.namespaces:
        yield "no namespaces: declare one, such as /"
    known = [value.code for value in vars(errors).values() if isinstance(value, Refusal)]
    codes = [refusal.code for refusal in declared.refusals]
    yield from _duplicates("role", declared.roles)
    yield from _duplicates("namespace", (namespace.name for namespace in declared.namespaces))
    yield from _duplicates("user attribute", (attribute.name for attribute in declared.attributes))
    yield from _duplicates("refusal", [*codes, *(code for code in known if code in codes)])


def _duplicates(what: str, names: Iterable[str]) -> Iterator[str]:
    yield from (f"{what} {name!r} is declared twice" for name, count in Counter(names).items() if count > 1)


# Namespaces, gateways and rooms.


def _check_namespace(namespace: Namespace) -> Iterator[str]:
    if not re.fullmatch(r"/[^\s,?]*", namespace.name) or len(namespace.name) > _LIMITS.max_namespace_length:
        yield f"namespace {namespace.name!r}: expected / and a short name without spaces, commas and question marks"
    yield from _duplicates("gateway", (gateway.name for gateway in namespace.gateways))
    for gateway in namespace.gateways:
        if "," in gateway.name or not gateway.name.strip():
            yield f"gateway {gateway.name!r}: a name without commas, because clients separate gateways by commas"
        if not any(room.gateway == gateway.name for room in namespace.rooms.kinds):
            yield f"gateway {gateway.name}: has no room"
    yield from _duplicates("event", (event.name for event in namespace.events))
    yield from _duplicates("command", (command.name for command in namespace.commands))


def _check_rooms(namespace: Namespace) -> Iterator[str]:
    kinds = namespace.rooms.kinds
    for number, room in enumerate(kinds):
        yield from (f"room {room.pattern}: {error}" for error in _check_room(room))
        for other in kinds[:number]:
            if room.overlaps(other):
                yield f"room {room.pattern}: a name could also belong to {other.pattern}; begin them differently"


def _check_room(room: Room) -> Iterator[str]:
    if room.pattern in ("", EVERYONE):
        yield "a room needs a name of its own"
    for placeholder, values in room.values.items():
        if placeholder not in room.placeholders:
            yield f"values are given for {{{placeholder}}}, which is not a placeholder of the room"
        elif not values:
            yield f"no values are given for {{{placeholder}}}: no such room could exist"
        yield from (
            f"{value!r} cannot be a value of {{{placeholder}}}, because such a name could be read in two ways"
            for value in values
            if not room.can_hold(placeholder, value)
        )
    if any(isinstance(part, Nobody) for part in room.rule.parts()):
        yield "no rule says who may be in it; give members=…"
        return
    for part in room.rule.parts():
        if isinstance(part, Own | Resolved) and part.placeholder not in room.placeholders:
            yield f"its rule names {{{part.placeholder}}}, which is not a placeholder of the room"
    if room.on_connect:
        named = {part.placeholder for part in room.rule.parts() if isinstance(part, Own | Resolved)}
        if missing := [placeholder for placeholder in room.placeholders if placeholder not in named]:
            yield f"nothing fills {{{missing[0]}}} on connecting; a rule such as own({missing[0]!r}) would"


# Events.


def _check_event(event: DeclaredEvent) -> Iterator[str]:
    yield from _check_name(event.name)
    if not (isinstance(event.payload, type) and issubclass(event.payload, Payload)):
        yield f"{event.payload!r} is not a Payload"
        return
    yield from _check_docstring(event.payload)
    try:
        check_types(event.payload)
    except ContractError as error:
        yield str(error)
        return
    if not event.targets:
        yield "has no target; list at least one kind of room in to=[…]"
    for target in event.targets:
        yield from _check_target(event, target)
    yield from _check_time(event)
    yield from _check_latest(event)
    if event.example is not None:
        yield from _check_example(event, event.example)


def _check_name(name: str) -> Iterator[str]:
    if name in RESERVED_EVENTS:
        yield "the name is reserved by Socket.IO: it cannot be emitted"
    if name == ERROR_EVENT or name.startswith(OWN_PREFIX):
        yield "the name is the server's own; every contract has that event already"
    if not name or not name.isprintable() or len(name) > _LIMITS.max_event_name:
        yield f"a name has 1 to {_LIMITS.max_event_name} printable characters"


def _check_docstring(struct: type) -> Iterator[str]:
    if not description_of(struct):
        yield f"{struct.__name__} has no docstring: say what it means"


def _check_target(event: DeclaredEvent, target: Target) -> Iterator[str]:
    if target.namespace != event.namespace:
        yield f"goes to {target.text} of namespace {target.namespace}, but is declared in {event.namespace}"
    if isinstance(target, DerivedRoom):
        for path in target.paths.values():
            found = find_field(event.payload, path)
            if found is None:
                yield f"goes to {target.text}, but {event.payload.__name__} has no field {path}"
            elif not is_text(found[1].type):
                yield f"goes to {target.text}, but {path} is not a string"


def _check_time(event: DeclaredEvent) -> Iterator[str]:
    fields = fields_of(inspect.type_info(event.payload))
    if event.timestamp is not None:
        named = [field for field in fields if field.encode_name == event.timestamp]
        if not named or named[0].required or not is_time(named[0].type):
            yield f"timestamp {event.timestamp}: expected a field `Time | UnsetType = UNSET`, to be filled in"
    elif event.volatile or all(isinstance(target, Caller) for target in event.targets):
        return
    elif not any(is_time(field.type) and field.required for field in fields):
        yield "a stored event needs its time: give it a field of type Time, or derive it from Stamped"


def _check_latest(event: DeclaredEvent) -> Iterator[str]:
    if event.latest and not event.volatile:
        yield "latest is for volatile events: stored ones are sent again by themselves"
    elif event.latest and not any(isinstance(target, Room | DerivedRoom) for target in event.targets):
        yield "latest is for clients that join a room: list a room in to=[…]"


def _check_example(event: DeclaredEvent, example: object) -> Iterator[str]:
    try:
        EventCodec(event.name, event.payload).check_exact(msgspec.json.encode(example))
    except InvalidDataError as error:
        yield f"its example does not fit: {error}"
    except (TypeError, ValueError) as error:
        yield f"its example is not JSON: {error}"


def _check_event_names(events: list[DeclaredEvent]) -> Iterator[str]:
    """An event has the same payload in every namespace, and no other event has that payload."""
    for name in dict.fromkeys(event.name for event in events):
        same = [event for event in events if event.name == name]
        for attribute in ("payload", "volatile", "timestamp", "latest"):
            if len({getattr(event, attribute) for event in same}) > 1:
                yield f"event {name}: has a different {attribute} in {' and '.join(event.namespace for event in same)}"
        if sum(event.example is not None for event in same) != 1:
            yield f"event {name}: needs one example"
    for payload in dict.fromkeys(event.payload for event in events):
        names = dict.fromkeys(event.name for event in events if event.payload is payload)
        if len(names) > 1:
            yield f"{payload.__name__} is the payload of {' and '.join(names)}: give each event its own"


# Commands.


def _check_command(command: DeclaredCommand) -> Iterator[str]:
    yield from _check_name(command.name)
    if not (isinstance(command.command, type) and issubclass(command.command, Command)):
        yield f"{command.command!r} is not a Command"
        return
    yield from _check_docstring(command.command)
    try:
        check_types(command.command, binary=True)
    except ContractError as error:
        yield str(error)
        return
    if command.arguments == "positional" and not all(field.required for field in _fields(command)):
        yield "has an optional field, which positional arguments cannot leave out; use an object"
    if command.reply is not None:
        yield from _check_reply(command.reply)
    yield from _check_claims(command)
    for room in (command.joins, command.leaves):
        if room is not None:
            yield from _check_room_command(command, room)


def _fields(command: DeclaredCommand) -> tuple[inspect.Field, ...]:
    return fields_of(inspect.type_info(command.command))


def _check_reply(reply: type[Payload]) -> Iterator[str]:
    if "ok" in reply.__struct_encode_fields__:
        yield "its reply has a field `ok`, which every acknowledgement has already"
    try:
        check_types(reply)
    except ContractError as error:
        yield f"its reply: {error}"


def _check_claims(command: DeclaredCommand) -> Iterator[str]:
    for part in command.who.parts():
        if isinstance(part, Own | Resolved):
            if not any(field.encode_name == part.placeholder and is_text(field.type) for field in _fields(command)):
                yield f"its rule names {part.placeholder}, which is not a string field of the command"
        elif isinstance(part, Member):
            yield "member() is about a room; a command has none"


def _check_room_command(command: DeclaredCommand, room: Room) -> Iterator[str]:
    if room.namespace != command.namespace:
        yield f"joins or leaves {room.pattern} of another namespace, {room.namespace}"
    for placeholder in room.placeholders:
        named = [field for field in _fields(command) if field.encode_name == placeholder]
        if not named or not named[0].required or not is_text(named[0].type):
            yield f"needs a string field {placeholder}, for the room {room.pattern}"


def _check_command_names(commands: list[DeclaredCommand]) -> Iterator[str]:
    for command in dict.fromkeys(command.command for command in commands):
        names = dict.fromkeys(declared.name for declared in commands if declared.command is command)
        if len(names) > 1:
            yield f"{command.__name__} is the command of {' and '.join(names)}: give each its own"


# Rules.


def _check_rules(declared: Declarations) -> Iterator[str]:
    attributes = {attribute.name for attribute in declared.attributes}
    used: set[str] = set()
    for where, rule in _rules(declared):
        for part in rule.parts():
            if isinstance(part, HasRole):
                unknown = [role for role in part.roles if role not in declared.roles]
                yield from (f"{where}: role {role!r} is not one of the roles" for role in unknown)
            elif isinstance(part, Resolved):
                used.add(part.attribute)
                if part.attribute not in attributes:
                    yield f"{where}: user attribute {part.attribute!r} is not declared"
            if isinstance(part, Own | Resolved | Member) and where.startswith(_ROLES_ONLY):
                yield f"{where}: who=… can name roles only, because there is no room yet"
    yield from (f"user attribute {name}: no rule uses it" for name in sorted(attributes - used))


def _rules(declared: Declarations) -> Iterator[tuple[str, Rule]]:
    for attribute in declared.attributes:
        yield f"user attribute {attribute.name}", attribute.who
    for namespace in declared.namespaces:
        yield f"namespace {namespace.name}", namespace.who
        for gateway in namespace.gateways:
            yield f"gateway {gateway.name}", gateway.who
        for room in namespace.rooms.kinds:
            yield f"room {room.pattern}", room.rule
        for command in namespace.commands:
            yield f"command {command.name}", command.who
