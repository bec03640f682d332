"""Data for tests: the contract's example of an event, with changes."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from oyez.contract.arguments import join_values, name_values
from oyez.contract.contract import Contract
from oyez.contract.schema import wire_names
from oyez.errors import UNKNOWN_EVENT, RefusedError


def make_data(contract: Contract, event: str, changes: Mapping[str, Any]) -> Any:
    """The contract's example of an event, with changed fields; `bid_summary__bid_id` changes a nested one.

    Fields have their names in Python or on the wire. Raises RefusedError (unknown_event).
    """
    declared = contract.events.get(event)
    if declared is None:
        known = ", ".join(contract.events) or "none"
        raise RefusedError(UNKNOWN_EVENT, f"There is no event {event!r} in {contract.name}. Its events: {known}.")
    data = copy.deepcopy(declared.example)
    names = find_names(declared.shapes)
    if declared.arguments == "positional":
        named = {names.get(name, name): value for name, value in changes.items()}
        return join_values({**name_values(declared.payload, data), **named})
    for path, value in changes.items():
        first, *steps = path.split("__")
        inside, last = data, names.get(first, first)
        for step in steps:
            inside, last = inside[last], step
        inside[last] = value
    return data


def find_names(shapes: Iterable[type[msgspec.Struct]]) -> dict[str, str]:
    """The names on the wire of all fields of these classes, by their names in Python."""
    return {name: on_wire for shape in shapes for on_wire, name in wire_names(shape).items()}
