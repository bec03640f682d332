"""Relays, and limits per room."""

from collections.abc import Iterator

from msgspec import inspect

from oyez.contract.declared import DeclaredCommand, DeclaredEvent
from oyez.contract.rooms import Caller, DerivedRoom, Room, Sockets, Target
from oyez.contract.schema import fields_of, is_key
from oyez.contract.shown_claims import check_claims
from oyez.contract.types import Payload


def check_relay(command: DeclaredCommand, event: DeclaredEvent) -> Iterator[str]:
    """`event` is the event of the relay."""
    for target in event.targets:
        yield from _check_target(target)
    relay = command.relays
    sender = relay.sender if relay is not None else None
    if relay is not None and issubclass(event.payload, Payload):
        yield from check_claims(event.payload, relay.claims)
    if sender is not None and issubclass(event.payload, Payload):
        fields = {field.encode_name: field.type for field in fields_of(inspect.type_info(event.payload))}
        if sender not in fields or not is_key(fields[sender]):
            yield f"sender {sender}: expected a string or integer field of {event.payload.__name__}"


def _check_target(target: Target) -> Iterator[str]:
    if isinstance(target, Sockets) or (isinstance(target, DerivedRoom) and isinstance(target.room, Sockets)):
        yield "a relay goes to rooms that its sender is in, not to one client; publish the event in a handler"
    elif isinstance(target, Caller):
        yield "a relay does not go to the client that sends it; emit the event in a handler"
    elif isinstance(target, Room) and target.placeholders:
        yield f"goes to {target.text}, which the command does not name; write .of(…) with the fields that name it"


def check_shared_limits(command: DeclaredCommand) -> Iterator[str]:
    """A limit per room needs a room."""
    if len({shared.room for shared in command.shared if shared.room is not None}) > 1:
        yield "per_room names several kinds of room; a command counts for one"
    for shared in command.shared:
        if shared.scope != "room":
            continue
        if command.joins or command.leaves:
            yield "per_room is for clients in a room; a command that joins or leaves it has limits per user or address"
        elif shared.room is None and command.relays is None:
            yield "per_room needs the kind of room that the command names: per_room('50/s', room)"
        elif not isinstance(shared.room, Room | None):
            yield f"per_room names {shared.room!r}, which is not a room; give what namespace.room(…) has returned"
        elif shared.room is not None:
            yield from _check_room(command, shared.room)


def _check_room(command: DeclaredCommand, room: Room) -> Iterator[str]:
    if room.namespace != command.namespace:
        yield f"per_room names {room.pattern} of another namespace, {room.namespace}"
    for shape in command.shapes:
        fields = {field.encode_name: field for field in fields_of(inspect.type_info(shape))}
        for placeholder in room.placeholders:
            if placeholder not in fields or not fields[placeholder].required or not is_key(fields[placeholder].type):
                yield f"per_room needs a string or integer field {placeholder}, for the room {room.pattern}"
