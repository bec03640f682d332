"""Commands."""

from collections.abc import Iterator

from msgspec import inspect

from oyez.contract.check.names import check_docstring, check_name
from oyez.contract.codec import check_types
from oyez.contract.declare import DeclaredCommand
from oyez.contract.policy import Member, Own, Resolved
from oyez.contract.rooms import Room
from oyez.contract.schema import fields_of, is_text
from oyez.contract.types import Command
from oyez.errors import ContractError


def check_command(command: DeclaredCommand) -> Iterator[str]:
    yield from check_name(command.name)
    if not (isinstance(command.command, type) and issubclass(command.command, Command)):
        yield f"{command.command!r} is not a Command"
        return
    yield from check_docstring(command.command)
    try:
        check_types(command.command, binary=True)
    except ContractError as error:
        yield str(error)
        return
    if command.arguments == "positional" and not all(field.required for field in _fields(command)):
        yield "has an optional field, which positional arguments cannot leave out; use an object"
    yield from _check_claims(command)
    for room in (command.joins, command.leaves):
        if room is not None:
            yield from _check_room_command(command, room)


def _fields(command: DeclaredCommand) -> tuple[inspect.Field, ...]:
    return fields_of(inspect.type_info(command.command))


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


def check_command_names(commands: list[DeclaredCommand]) -> Iterator[str]:
    for command in dict.fromkeys(command.command for command in commands):
        names = dict.fromkeys(declared.name for declared in commands if declared.command is command)
        if len(names) > 1:
            yield f"{command.__name__} is the command of {' and '.join(names)}: give each its own"
