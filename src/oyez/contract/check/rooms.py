"""Namespaces, gateways and rooms."""

from collections.abc import Iterator

from oyez.contract.check.names import find_duplicates, find_overlaps
from oyez.contract.declare import Namespace
from oyez.contract.patterns import PLACEHOLDER, is_namespace
from oyez.contract.policy import Nobody, Own, Resolved
from oyez.contract.presence import check_presence
from oyez.contract.rooms import EVERYONE, Room


def check_namespace(namespace: Namespace) -> Iterator[str]:
    if not isinstance(namespace.name, str):
        yield f"namespace {namespace.name!r}: expected a text, such as /shop"
        return
    if "*" in namespace.name:
        yield f"namespace {namespace.name!r} has a *; name what varies, as in /shop-{{shopId}}"
    if namespace.rooms.name.fault:
        yield f"namespace {namespace.name!r}: {namespace.rooms.name.fault}"
    elif not is_namespace(PLACEHOLDER.sub("1", namespace.name)):
        yield f"namespace {namespace.name!r}: expected / and a short name without spaces, commas and question marks"
    yield from find_duplicates("gateway", (gateway.name for gateway in namespace.gateways))
    for gateway in namespace.gateways:
        if "," in gateway.name or not gateway.name.strip():
            yield f"gateway {gateway.name!r}: a name without commas, because clients separate gateways by commas"
        if not any(room.gateway == gateway.name for room in namespace.rooms.kinds):
            yield f"gateway {gateway.name}: has no room"
    yield from find_duplicates("event", (event.name for event in namespace.events))
    yield from find_duplicates("command", (command.name for command in namespace.commands))
    for what, names in (("event", namespace.events), ("command", namespace.commands)):
        yield from find_overlaps(what, (declared.name for declared in names if isinstance(declared.name, str)))


def check_rooms(namespace: Namespace) -> Iterator[str]:
    kinds = namespace.rooms.kinds
    for number, room in enumerate(kinds):
        yield from (f"room {room.pattern}: {error}" for error in room.faults)
        if room.faults:
            continue
        yield from (f"room {room.pattern}: {error}" for error in _check_room(room, namespace.placeholders))
        yield from (f"room {room.pattern}: {error}" for error in check_presence(namespace, room))
        for other in kinds[:number]:
            if room.overlaps(other):
                yield f"room {room.pattern}: a name could also belong to {other.pattern}; begin them differently"


def _check_room(room: Room, outer: tuple[str, ...]) -> Iterator[str]:
    """`outer` are the placeholders of its namespace."""
    if room.required and (room.gateway is not None or room.leave is not None):
        yield "on_connect='required' is not for rooms that clients leave, or of a gateway, which clients may omit"
    if room.pattern in ("", EVERYONE):
        yield "a room needs a name of its own"
    if not room.pattern.isprintable():
        yield "a room's name cannot hold control characters, because names that begin with one are the server's own"
    for placeholder in room.placeholders:
        if placeholder in outer:
            yield f"{{{placeholder}}} is a placeholder of its namespace too; give one of them another name"
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
        if isinstance(part, Own | Resolved) and part.placeholder not in (*room.placeholders, *outer):
            yield f"its rule names {{{part.placeholder}}}, which is not a placeholder of the room"
    if room.on_connect:
        named = {part.placeholder for part in room.rule.parts() if isinstance(part, Own | Resolved)}
        if missing := [placeholder for placeholder in room.placeholders if placeholder not in named]:
            yield f"nothing fills {{{missing[0]}}} on connecting; a rule such as own({missing[0]!r}) would"
