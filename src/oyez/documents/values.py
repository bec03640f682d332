"""Values in the example of a command that exist only at run time: where a client finds real ones."""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import inspect

from oyez.contract.contract import Contract
from oyez.contract.declare import Namespace
from oyez.contract.declared import DeclaredCommand
from oyez.contract.examples import list_given
from oyez.contract.policy import SUBJECT_CLAIMS, Own, Resolved
from oyez.contract.schema import fields_of, is_id, is_key, iter_types, options

_ID = re.compile(r"(?:.*[a-z0-9])?(?:Id|_id)|id", re.ASCII)
MAX_LISTED = 3
"""Number of events that are named as places of a value."""


def describe_values(contract: Contract, namespace: Namespace, command: DeclaredCommand) -> dict[str, str]:
    """For each such field of the command's example, one sentence: where the value comes from."""
    placeholders = {name for room in namespace.rooms.kinds for name in room.placeholders}
    named = command.pattern.placeholders if command.pattern is not None else ()
    described = {}
    for field in fields_of(inspect.type_info(command.shapes[0])):
        name = field.encode_name
        if name == command.signs_in:
            described[name] = "The token of a user."
        elif own := _describe_own(command, name):
            described[name] = own
        elif name in named or _names_something(field, placeholders):
            described[name] = _describe_places(contract, namespace, name)
    return described


def _names_something(field: inspect.Field, placeholders: set[str]) -> bool:
    """True if the field's value names something that the system has, such as an order."""
    listed = any(isinstance(found, inspect.LiteralType) for found in options(field.type))
    if listed or list_given(field.type) or not is_key(field.type):
        return False
    name = field.encode_name
    return is_id(field.type) or name in placeholders or _ID.fullmatch(name) is not None


def _describe_own(command: DeclaredCommand, name: str) -> str:
    rules = [command.who, *(room.rule for room in (command.joins, command.leaves) if room is not None)]
    for part in (part for rule in rules for part in rule.parts()):
        if isinstance(part, Own) and part.placeholder == name:
            return "Your own id." if part.claim in SUBJECT_CLAIMS else f"The claim `{part.claim}` of your token."
        if isinstance(part, Resolved) and part.placeholder == name:
            return f"Your own {part.attribute}, as the server has it."
    return ""


def _describe_places(contract: Contract, namespace: Namespace, name: str) -> str:
    events = [event.name for event in namespace.events if name in _list_names(contract.events[event.name].payload)]
    if not events:
        return "One that exists in the system: its app or back end knows it."
    shown = ", ".join(f"`{event}`" for event in events[:MAX_LISTED])
    more = f" and {len(events) - MAX_LISTED} more" if len(events) > MAX_LISTED else ""
    return f"One that exists, as in the event{'s' if len(events) > 1 else ''} {shown}{more}."


def _list_names(payload: Any) -> Mapping[str, None]:
    """The names of all fields of a payload. The `id` of an object in the field `order` also counts as `orderId`."""
    names: dict[str, None] = {}
    for found in iter_types(inspect.type_info(payload)):
        for field in fields_of(found) if isinstance(found, inspect.StructType) else ():
            names[field.encode_name] = None
            if any(inner.encode_name == "id" for inner in fields_of(field.type)):
                names |= {f"{field.encode_name}Id": None, f"{field.encode_name}_id": None}
    return names
