"""Events."""

from collections.abc import Iterator

from msgspec import inspect

from oyez.contract.check.names import block, check_name, check_switches
from oyez.contract.check.types import check_named, check_shapes, check_size, check_unknown_fields
from oyez.contract.codec import has_bytes
from oyez.contract.declared import DeclaredEvent
from oyez.contract.event_codec import EventCodec
from oyez.contract.examples import encode_example, make_example
from oyez.contract.rooms import Caller, DerivedRoom, Room, Sockets, Target
from oyez.contract.schema import fields_of, find_field, is_key, is_millis, is_time
from oyez.contract.types import Payload
from oyez.errors import InvalidDataError
from oyez.settings import MAX_DECLARED_BYTES, MAX_VOLATILE_BINARY_BYTES, MAX_VOLATILE_BYTES

MAX_LATEST = 604_800
"""Seconds for which the newest event may be kept: a week."""
_ANY_SOCKET = "aaaaaaaaaaaaaaaaaaaa"
"""A text of the form of a socket's id. Ids are random, so none has the text with which a room's name begins."""


def check_event(event: DeclaredEvent) -> Iterator[str]:
    yield from check_name(event.name)
    yield from check_switches(event, "volatile", "name_only", "receipts")
    errors = [*check_shapes(event.payload, Payload, event.arguments), *check_unknown_fields(event.unknown_fields)]
    most = MAX_VOLATILE_BYTES if event.volatile else MAX_DECLARED_BYTES
    if event.volatile and not block(errors) and has_bytes(event.payload):
        most = MAX_VOLATILE_BINARY_BYTES
    errors += check_size(event.max_bytes, most)
    if not block(errors):
        errors += check_named(event.payload, event.name)
    yield from errors
    if block(errors):
        return
    wrong = [target for target in event.targets if not isinstance(target, Target)]
    yield from (f"to=… has {target!r}: list rooms, as to=[room], or everyone of the namespace" for target in wrong)
    if wrong:
        return
    if not event.targets:
        yield "has no target; list at least one kind of room in to=[…]"
    for target in event.targets:
        for shape in event.shapes:
            yield from _check_target(event, target, shape)
    yield from _check_sockets(event)
    yield from _check_time(event)
    yield from _check_latest(event)
    yield from _check_webhook(event)
    yield from _check_receipts(event)
    if event.name_only and event.pattern is None:
        yield "name_only is for fields that fill placeholders of the name, and the name has none"
    yield from _check_example(event)


def _check_target(event: DeclaredEvent, target: Target, payload: type[Payload]) -> Iterator[str]:
    if target.namespace != event.namespace:
        kind = target.room if isinstance(target, DerivedRoom) else target
        yield f"goes to {kind.text} of namespace {target.namespace}, but is declared in {event.namespace}"
    if isinstance(target, DerivedRoom) and target.fault:
        yield target.fault
    elif isinstance(target, DerivedRoom) and not target.room.faults:
        for path in target.paths.values():
            found = find_field(payload, path)
            if found is None:
                yield f"goes to {target.text}, but {payload.__name__} has no field {path}"
            elif not is_key(found[1].type):
                yield f"goes to {target.text}, but {path} is not a string or a whole number"


def _check_sockets(event: DeclaredEvent) -> Iterator[str]:
    """A name that a publisher gives must mean either a room or a socket."""
    if any(isinstance(target, Sockets) for target in event.targets):
        for target in event.targets:
            if isinstance(target, Room) and not isinstance(target, Sockets) and target.match(_ANY_SOCKET) is not None:
                yield f"goes to {target.text} and to sockets, and a name could be either; begin the room with a text"


def _check_time(event: DeclaredEvent) -> Iterator[str]:
    if event.timestamp is None:
        return
    for shape in event.shapes:
        named = [field for field in fields_of(inspect.type_info(shape)) if field.encode_name == event.timestamp]
        if not named or named[0].required or not (is_time(named[0].type) or is_millis(named[0].type)):
            yield (
                f"timestamp {event.timestamp}: expected a field `Time | UnsetType = UNSET` or"
                f" `Millis | UnsetType = UNSET` of {shape.__name__}, to be filled in"
            )


def _check_latest(event: DeclaredEvent) -> Iterator[str]:
    if not isinstance(event.latest, int | float) or not 0 <= event.latest <= MAX_LATEST:
        yield f"latest is {event.latest!r:.40}: expected a number of seconds up to {MAX_LATEST:,}"
    elif event.latest and not event.volatile:
        yield "latest is for volatile events: stored ones are sent again by themselves"
    elif event.latest and event.pattern is not None:
        yield "latest keeps the newest event of a name, and this name has a placeholder; leave latest=… out"
    elif event.latest and not any(_is_joined(target) for target in event.targets):
        yield "latest is for clients that join a room: list a room in to=[…]"


def _check_webhook(event: DeclaredEvent) -> Iterator[str]:
    if event.webhook is not True and event.webhook is not False:
        yield f"webhook={event.webhook!r}: write True or False; the operator chooses the receivers"
    elif event.webhook and event.volatile:
        yield "webhook is for stored events: a volatile event may be lost before it is sent"
    elif event.webhook and all(isinstance(target, Caller) for target in event.targets):
        yield "webhook is for stored events: one that goes only to the caller is not in the log"


def _check_receipts(event: DeclaredEvent) -> Iterator[str]:
    if event.receipts and event.volatile:
        yield "receipts are for stored events: a volatile event is not replayed; leave one of the two out"
    elif event.receipts and all(isinstance(target, Caller) for target in event.targets):
        yield "receipts are for stored events: one that goes only to the caller is an answer, and is not in the log"


def _is_joined(target: Target) -> bool:
    """True if clients can join the target."""
    room = target.room if isinstance(target, DerivedRoom) else target
    return isinstance(room, Room) and not isinstance(room, Sockets)


def _check_example(event: DeclaredEvent) -> Iterator[str]:
    example = make_example(event.payload, event.arguments) if event.example is None else event.example
    try:
        EventCodec(event.name, event.payload, event.arguments).check_exact(encode_example(example))
    except InvalidDataError as error:
        if event.example is None:
            yield f"no example of its data can be made from the types; give example=… ({error})"
        else:
            yield f"its example does not fit: {error}"
    except (TypeError, ValueError) as error:
        yield f"its example is not JSON: {error}"


_SAME = (
    "payload",
    "volatile",
    "timestamp",
    "latest",
    "arguments",
    "max_bytes",
    "unknown_fields",
    "name_only",
    "webhook",
    "receipts",
    "was",
)
"""What all declarations of one event have in common."""


def check_event_names(events: list[DeclaredEvent]) -> Iterator[str]:
    """An event has the same payload in every namespace, and no other event has that payload."""
    for name in dict.fromkeys(event.name for event in events):
        same = [event for event in events if event.name == name]
        for attribute in _SAME:
            if len({getattr(event, attribute) for event in same}) > 1:
                yield f"event {name}: has a different {attribute} in {' and '.join(event.namespace for event in same)}"
        if sum(event.example is not None for event in same) > 1:
            yield f"event {name}: has several examples; give it one"
    for payload in dict.fromkeys(shape for event in events for shape in event.shapes):
        names = dict.fromkeys(event.name for event in events if payload in event.shapes)
        if len(names) > 1:
            payload_name = getattr(payload, "__name__", payload)
            yield f"{payload_name} is the payload of {' and '.join(names)}: give each event its own"
