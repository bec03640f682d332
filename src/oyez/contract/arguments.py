"""The arguments of an event or a command as they are on the wire: one object or, if positional, the fields in order.

An object may have several shapes, which a tag distinguishes: then the type is a union of classes with `tag=`.
"""

from collections.abc import Sequence
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, UNSET

from oyez.errors import InvalidDataError

Arguments = Literal["object", "positional"]
UnknownFields = Literal["refuse", "ignore"]
"""What becomes of fields that a contract does not know."""


def shapes_of(kind: Any) -> tuple[Any, ...]:
    """The classes of a union, or the one class itself."""
    return get_args(kind) if isinstance(kind, UnionType) or get_origin(kind) is Union else (kind,)


def array_of(struct: type[msgspec.Struct], *head: type) -> Any:
    """The type of a JSON array with elements of the types `head`, and then the fields of `struct` in their order.

    Fields with a default may be missing at its end.
    """
    fields: list[Any] = [(f"_{index}", kind) for index, kind in enumerate(head)]
    for field in msgspec.structs.fields(struct):
        if field.default_factory is not NODEFAULT:
            fields.append((field.name, field.type, msgspec.field(default_factory=field.default_factory)))
        elif field.default is not NODEFAULT:
            fields.append((field.name, field.type, field.default))
        else:
            fields.append((field.name, field.type))
    return msgspec.defstruct("Arguments", fields, array_like=True, forbid_unknown_fields=True, frozen=True)


def split_fields(payload: msgspec.Struct) -> list[Any]:
    """The values of the fields in order, without those that are omitted at the end.

    Raises InvalidDataError if another field is omitted: the arguments after it would change their places.
    """
    values = list(msgspec.structs.astuple(payload))
    while values and values[-1] is UNSET:
        values.pop()
    if UNSET in values:
        name = payload.__struct_encode_fields__[values.index(UNSET)]
        raise InvalidDataError(name, "a value, because an argument after it has one")
    return values


def find_shape(kind: Any, data: bytes) -> Any:
    """The class whose tag the JSON object `data` has; `kind` itself if it has one shape, or `data` has no known tag."""
    shapes = shapes_of(kind)
    if len(shapes) == 1:
        return kind
    try:
        given = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        tags = {shape.__struct_config__.tag: shape for shape in shapes}
        return tags[msgspec.json.decode(given[shapes[0].__struct_config__.tag_field])]
    except (ValueError, TypeError, KeyError, RecursionError):
        return kind


def describe_arguments(names: Sequence[str], required: int) -> str:
    """What is expected of an array of arguments, for an error's message."""
    if not names:
        return "no arguments"
    count = f"{len(names)}" if required == len(names) else f"{required} to {len(names)}"
    return f"{count} argument{'s' * (len(names) > 1)}: {', '.join(names)}"


def name_values(struct: type[msgspec.Struct], data: Any) -> dict[str, Any]:
    """The values of positional arguments by their names on the wire. `data` is as `publish` takes it."""
    names = struct.__struct_encode_fields__
    values = [] if data is None else data if len(names) > 1 else [data]
    return dict(zip(names, values, strict=False))


def join_values(named: dict[str, Any]) -> Any:
    """What `name_values` was made from."""
    values = list(named.values())
    return values if len(values) > 1 else values[0] if values else None
