"""Private fields: their values are for the event's clients only, and hidden where operators look at events.

email: Annotated[str, PRIVATE]
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Meta, inspect

from oyez.contract.contract import Event

MARK = "x-private"
"""The name of the mark in JSON schemas."""
PRIVATE = Meta(extra_json_schema={MARK: True})
"""Marks a field, or the elements of a list, as private."""
HIDDEN = "[private]"
"""Stands for a private value."""


def hide_private(event: Event | None, data: bytes) -> Any:
    """The data of an event of the log, `["name", …]`, as `publish` takes it, without private values.

    Everything is hidden if the event is not known, or if the data has another form than the contract's.
    """
    try:
        arguments = msgspec.json.decode(data)[1:]
    except (msgspec.DecodeError, TypeError):
        return HIDDEN
    if event is None:
        return HIDDEN
    found = inspect.type_info(event.payload)
    if event.arguments == "object":
        return _hide(found, arguments[0]) if len(arguments) == 1 else HIDDEN
    if not isinstance(found, inspect.StructType) or len(arguments) > len(found.fields):
        return HIDDEN
    values = [_hide(field.type, value) for field, value in zip(found.fields, arguments, strict=False)]
    return values[0] if len(found.fields) == 1 and values else values


def _hide(found: inspect.Type, value: Any) -> Any:
    """`value` of the type `found`, without private values."""
    if value is None:
        return None
    options = list(_options(found))
    if any(private for _, private in options):
        return HIDDEN
    kinds = [kind for kind, _ in options]
    if isinstance(value, dict):
        known = not any(isinstance(kind, inspect.StructType) for kind in kinds)
        tags = {kind.tag_field for kind in kinds if isinstance(kind, inspect.StructType)}
        return {
            name: _hide_all(_types_of(kinds, name), one, shown=known or name in tags) for name, one in value.items()
        }
    if isinstance(value, list):
        return [_hide_all(_types_at(kinds, index), one, shown=True) for index, one in enumerate(value)]
    return value


def _hide_all(kinds: list[inspect.Type], value: Any, *, shown: bool) -> Any:
    """As `_hide`, for a value of one of these types. `shown`: False if a value of no known type is hidden.

    An earlier contract may have had a private field that no class has now.
    """
    if not kinds:
        return value if shown else HIDDEN
    hidden = [_hide(kind, value) for kind in kinds]
    return next((one for one in hidden if one != value), value)


def _options(found: inspect.Type, private: bool = False) -> Iterator[tuple[inspect.Type, bool]]:
    """The types of a union, or the one type itself, and whether each is marked."""
    if isinstance(found, inspect.Metadata):
        marked = private or bool((found.extra_json_schema or {}).get(MARK))
        yield from _options(found.type, marked)
    elif isinstance(found, inspect.UnionType):
        for option in found.types:
            yield from _options(option, private)
    else:
        yield found, private


def _types_of(kinds: list[inspect.Type], name: str) -> list[inspect.Type]:
    """The types that the value under `name` of an object may have."""
    found: list[inspect.Type] = []
    for kind in kinds:
        if isinstance(kind, inspect.StructType):
            found += [field.type for field in kind.fields if field.encode_name == name]
        elif isinstance(kind, inspect.DictType):
            found.append(kind.value_type)
    return found


def _types_at(kinds: list[inspect.Type], index: int) -> list[inspect.Type]:
    """The types that an element of a list may have."""
    found: list[inspect.Type] = []
    for kind in kinds:
        if isinstance(kind, inspect.TupleType):
            found += kind.item_types[index : index + 1]
        elif isinstance(kind, inspect.ListType | inspect.VarTupleType | inspect.SetType | inspect.FrozenSetType):
            found.append(kind.item_type)
    return found
