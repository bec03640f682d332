"""Events."""

from collections.abc import Iterator

import msgspec
from msgspec import inspect

from oyez.contract.check.names import check_docstring, check_name
from oyez.contract.codec import EventCodec, check_types
from oyez.contract.declare import DeclaredEvent
from oyez.contract.rooms import Caller, DerivedRoom, Room, Sockets, Target
from oyez.contract.schema import fields_of, find_field, is_text, is_time
from oyez.contract.types import Payload
from oyez.errors import ContractError, InvalidDataError

_ANY_SOCKET = "aaaaaaaaaaaaaaaaaaaa"
"""A text of the form of a socket's id. Ids are random, so none has the text with which a room's name begins."""


def check_event(event: DeclaredEvent) -> Iterator[str]:
    yield from check_name(event.name)
    if not (isinstance(event.payload, type) and issubclass(event.payload, Payload)):
        yield f"{event.payload!r} is not a Payload"
        return
    yield from check_docstring(event.payload)
    try:
        check_types(event.payload)
    except ContractError as error:
        yield str(error)
        return
    if not event.targets:
        yield "has no target; list at least one kind of room in to=[…]"
    for target in event.targets:
        yield from _check_target(event, target)
    yield from _check_sockets(event)
    yield from _check_time(event)
    yield from _check_latest(event)
    if event.example is not None:
        yield from _check_example(event, event.example)


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


def _check_sockets(event: DeclaredEvent) -> Iterator[str]:
    """A name that a publisher gives must mean either a room or a socket."""
    if any(isinstance(target, Sockets) for target in event.targets):
        for target in event.targets:
            if isinstance(target, Room) and not isinstance(target, Sockets) and target.match(_ANY_SOCKET) is not None:
                yield f"goes to {target.text} and to sockets, and a name could be either; begin the room with a text"


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
    elif event.latest and not any(_is_joined(target) for target in event.targets):
        yield "latest is for clients that join a room: list a room in to=[…]"


def _is_joined(target: Target) -> bool:
    """True if clients can join the target."""
    room = target.room if isinstance(target, DerivedRoom) else target
    return isinstance(room, Room) and not isinstance(room, Sockets)


def _check_example(event: DeclaredEvent, example: object) -> Iterator[str]:
    try:
        EventCodec(event.name, event.payload).check_exact(msgspec.json.encode(example))
    except InvalidDataError as error:
        yield f"its example does not fit: {error}"
    except (TypeError, ValueError) as error:
        yield f"its example is not JSON: {error}"


def check_event_names(events: list[DeclaredEvent]) -> Iterator[str]:
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
