"""Commands."""

from collections.abc import Iterator

from msgspec import inspect

from oyez.contract.backends import DecidedBy
from oyez.contract.check.names import block, check_name, check_switches
from oyez.contract.check.types import check_named, check_shapes, check_size, check_unknown_fields
from oyez.contract.declared import DeclaredCommand
from oyez.contract.policy import InRoom, Member, Own, Resolved
from oyez.contract.rooms import Room
from oyez.contract.schema import fields_of, is_key, is_text
from oyez.contract.types import Command


def check_command(command: DeclaredCommand) -> Iterator[str]:
    yield from check_name(command.name)
    yield from check_switches(command, "volatile")
    errors = [*check_shapes(command.command, Command, command.arguments), *check_size(command.max_bytes)]
    errors += check_unknown_fields(command.unknown_fields)
    if not block(errors):
        errors += check_named(command.command, command.name)
    yield from errors
    if block(errors):
        return
    if len(command.shapes) > 1 and (command.joins or command.leaves):
        yield "has several shapes, and joins or leaves a room; give that command one class"
        return
    yield from _check_claims(command)
    yield from _check_sign_in(command)
    for room in (command.joins, command.leaves):
        if room is not None:
            yield from _check_room_command(command, room)


def _fields(command: DeclaredCommand) -> tuple[inspect.Field, ...]:
    return tuple(field for shape in command.shapes for field in fields_of(inspect.type_info(shape)))


def _check_claims(command: DeclaredCommand) -> Iterator[str]:
    for part in command.who.parts():
        if isinstance(part, Own | Resolved):
            for shape in command.shapes:
                fields = fields_of(inspect.type_info(shape))
                if not any(field.encode_name == part.placeholder and is_key(field.type) for field in fields):
                    name = part.placeholder
                    yield f"its rule names {name}, which is not a string or integer field of {shape.__name__}"
        elif isinstance(part, Member):
            yield "member() is about a room; a command has none. Write in_room(…), or in_room(…, 'host')"
        elif isinstance(part, DecidedBy):
            yield "decided_by() is about a room; have the back end handle the command, with handled_by=…"
        elif isinstance(part, InRoom):
            yield from _check_in_room(command, part)


def _check_in_room(command: DeclaredCommand, rule: InRoom) -> Iterator[str]:
    for shape in command.shapes:
        fields = {field.encode_name: field for field in fields_of(inspect.type_info(shape))}
        for placeholder in rule.placeholders:
            named = fields.get(placeholder)
            if named is None or not named.required or not is_key(named.type):
                yield f"its rule in_room() needs a string or integer field {placeholder}, for the room {rule.pattern}"


def _check_sign_in(command: DeclaredCommand) -> Iterator[str]:
    if command.signs_in is None:
        return
    named = [field for field in _fields(command) if field.encode_name == command.signs_in]
    if not named or not named[0].required or not is_text(named[0].type):
        yield f"signs_in={command.signs_in!r} must name a required string field of the command, which holds the token"
    if command.joins or command.leaves or command.volatile or len(command.shapes) > 1:
        yield "a command that signs a client in has one shape, and cannot be volatile, or join or leave a room"


def _check_room_command(command: DeclaredCommand, room: Room) -> Iterator[str]:
    if not isinstance(room, Room):
        yield f"joins or leaves {room!r}, which is not a room; give what namespace.room(…) has returned"
        return
    if room.namespace != command.namespace:
        yield f"joins or leaves {room.pattern} of another namespace, {room.namespace}"
    for placeholder in room.placeholders:
        named = [field for field in _fields(command) if field.encode_name == placeholder]
        if not named or not named[0].required or not is_key(named[0].type):
            yield f"needs a string or integer field {placeholder}, for the room {room.pattern}"


def check_command_names(commands: list[DeclaredCommand]) -> Iterator[str]:
    for command in dict.fromkeys(shape for declared in commands for shape in declared.shapes):
        names = dict.fromkeys(declared.name for declared in commands if command in declared.shapes)
        if len(names) > 1:
            yield f"{getattr(command, '__name__', command)} is the command of {' and '.join(names)}: give each its own"
