"""Types as they are on the wire: the fields of an object, the type at a path, and a type described in words.

Everything is read from msgspec's own description of a type, so it always agrees with the decoders.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache

import msgspec
from msgspec import inspect

from oyez.contract.types import SCALARS, Id, Millis, Time

_ID_PATTERN = Id.__metadata__[0].pattern  # type: ignore[attr-defined]

Path = tuple[str | int, ...]
"""The place of a value: wire names of fields, indexes of array elements."""

MAX_SHOWN = 100
"""Characters of a sender's text that an error repeats."""


def quote(text: str) -> str:
    """A sender's text for an error's message: quoted, and cut to MAX_SHOWN characters."""
    return repr(text[:MAX_SHOWN])


def wire_names(struct: type[msgspec.Struct]) -> dict[str, str]:
    """The fields' names in Python, by their names on the wire."""
    return dict(zip(struct.__struct_encode_fields__, struct.__struct_fields__, strict=True))


@cache
def find_field(struct: type[msgspec.Struct], dotted: str) -> tuple[tuple[str, ...], inspect.Field] | None:
    """The field at a dotted path of wire names, with the Python names that lead to it; None if there is none.

    The path goes from object to object: values in arrays and maps have no such path.
    """
    names: list[str] = []
    field: inspect.Field | None = None
    fields = fields_of(inspect.type_info(struct))
    for step in dotted.split("."):
        field = next((field for field in fields if field.encode_name == step), None)
        if field is None:
            return None
        names.append(field.name)
        fields = fields_of(field.type)
    return (tuple(names), field) if field else None


def count_required(struct: type[msgspec.Struct]) -> int:
    """Number of fields that a value must have."""
    return sum(field.required for field in msgspec.structs.fields(struct))


def is_text(found: inspect.Type) -> bool:
    """True if every value of this type that is not null is a string, so that it can be part of a room's name."""
    texts = [option for option in options(found) if not isinstance(option, inspect.NoneType)]
    return bool(texts) and all(
        isinstance(text, inspect.StrType)
        or (isinstance(text, inspect.LiteralType) and all(isinstance(value, str) for value in text.values))
        for text in texts
    )


def is_id(found: inspect.Type) -> bool:
    """True if every value of this type that is not null is an `Id`."""
    texts = [option for option in options(found) if not isinstance(option, inspect.NoneType)]
    return bool(texts) and all(isinstance(text, inspect.StrType) and text.pattern == _ID_PATTERN for text in texts)


def is_key(found: inspect.Type) -> bool:
    """True if every value of this type that is not null is a string or a whole number, so that it can name a room."""
    keys = [option for option in options(found) if not isinstance(option, inspect.NoneType)]
    return bool(keys) and all(
        isinstance(key, inspect.StrType | inspect.IntType)
        or (isinstance(key, inspect.LiteralType) and all(type(value) in (str, int) for value in key.values))
        for key in keys
    )


def read_key(value: object) -> str | None:
    """A value of such a type as it is written in a room's name; None for null and an omitted value."""
    if isinstance(value, str):
        return value
    return str(value) if type(value) is int else None


def write_key(text: str, found: inspect.Type) -> str | int:
    """The value of type `found` that is written as `text` in a room's name; the reverse of `read_key`.

    Raises ValueError if the type has only whole numbers, and the text is none.
    """
    kinds = [type(option) for option in options(found)]
    return read_number(text) if inspect.IntType in kinds and inspect.StrType not in kinds else text


def read_number(text: str) -> int:
    """The whole number that `read_key` writes as `text`.

    Raises ValueError for other texts, such as `007`, which would be the number of another user.
    """
    if not _fits_number(text):
        raise ValueError(f"{quote(text)} is not a whole number")
    return int(text)


_fits_number = re.compile(r"0|-?[1-9]\d{0,15}", re.ASCII).fullmatch


def is_whole(found: inspect.Type) -> bool:
    """True if every value of this type is a whole number."""
    return all(isinstance(option, inspect.IntType) for option in options(found))


def is_time(found: inspect.Type) -> bool:
    """True if every value of this type is a `Time`."""
    return all(isinstance(option, inspect.CustomType) and option.cls is Time for option in options(found))


def is_millis(found: inspect.Type) -> bool:
    """True if every value of this type is a `Millis`."""
    return all(option == _MILLIS for option in options(found))


_MILLIS = inspect.type_info(Millis)


def find_type(struct: type[msgspec.Struct], path: Sequence[str | int]) -> inspect.Type | None:
    """The type at `path`, or None if the struct has nothing there."""
    found: inspect.Type | None = inspect.type_info(struct)
    for step in path:
        below = next((below for option in options(found) if (below := _step(option, step))), None)
        found = below or _find_tags(found, step)
        if found is None:
            return None
    return found


def _find_tags(found: inspect.Type | None, step: str | int) -> inspect.Type | None:
    """The tags of the options, if `step` is the field that holds them."""
    structs = [option for option in options(found) if isinstance(option, inspect.StructType)]
    tags = [option.tag for option in structs if option.tag_field == step and option.tag is not None]
    return inspect.LiteralType(tuple(tags)) if tags else None


def options(found: inspect.Type | None) -> Iterator[inspect.Type]:
    """The types of a union, or the one type itself."""
    if isinstance(found, inspect.Metadata):
        found = found.type
    if isinstance(found, inspect.UnionType):
        for option in found.types:
            yield from options(option)
    elif found is not None:
        yield found


def fields_of(found: inspect.Type | None) -> tuple[inspect.Field, ...]:
    """The fields, if a value of this type may be an object; otherwise none."""
    return next((option.fields for option in options(found) if isinstance(option, inspect.StructType)), ())


def iter_types(found: inspect.Type, seen: frozenset[type] = frozenset()) -> Iterator[inspect.Type]:
    """Every type inside a type, and the type itself."""
    for option in options(found):
        yield option
        if isinstance(option, inspect.StructType) and option.cls not in seen:
            for field in option.fields:
                yield from iter_types(field.type, seen | {option.cls})
        elif isinstance(option, inspect.DictType):
            yield from iter_types(option.value_type, seen)
        else:
            for item in _items(option):
                yield from iter_types(item, seen)


def format_path(path: Sequence[str | int]) -> str:
    """`message.sender.role`, `serviceCategories[2]`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def describe(found: inspect.Type) -> str:
    """The type in words, for an error's message."""
    texts = list(dict.fromkeys(_describe(option) for option in options(found)))
    if "a number" in texts and "a whole number" in texts:
        texts.remove("a whole number")
    # null reads best at the end.
    texts.sort(key=lambda text: text == "null")
    return " or ".join(texts)


def _step(found: inspect.Type, step: str | int) -> inspect.Type | None:
    if isinstance(found, inspect.DictType):
        return found.value_type
    if isinstance(step, int):
        items = _items(found)
        return items[min(step, len(items) - 1)] if items else None
    return next((field.type for field in fields_of(found) if field.encode_name == step), None)


def _items(found: inspect.Type) -> tuple[inspect.Type, ...]:
    if isinstance(found, inspect.CollectionType):
        return (found.item_type,)
    return found.item_types if isinstance(found, inspect.TupleType) else ()


def _describe(found: inspect.Type) -> str:
    if isinstance(found, inspect.CustomType):
        return next((scalar.expected for scalar in SCALARS if issubclass(found.cls, scalar)), "a value")
    if isinstance(found, inspect.LiteralType):
        return _choice(found.values)
    if isinstance(found, inspect.EnumType):
        return _choice([member.value for member in found.cls])
    if isinstance(found, inspect.StrType):
        return f"a string{_length(found, 'characters')}{_describe_pattern(found.pattern)}"
    if isinstance(found, inspect.BytesType):
        return f"binary data{_length(found, 'bytes')}, which is base64 where JSON carries it"
    if isinstance(found, inspect.IntType | inspect.FloatType):
        return f"a {'whole ' if isinstance(found, inspect.IntType) else ''}number{_range(found)}"
    if isinstance(found, inspect.CollectionType):
        return f"an array{_length(found, 'items')}"
    if isinstance(found, inspect.TupleType):
        count = len(found.item_types)
        return f"an array of {count} item{'s' * (count != 1)}"
    return _PLAIN.get(type(found), "a value")


_PLAIN = {
    inspect.NoneType: "null",
    inspect.BoolType: "true or false",
    inspect.StructType: "an object",
    inspect.DictType: "an object",
    inspect.DateTimeType: "a time in ISO 8601 such as 2026-01-31T12:00:00Z",
    inspect.DateType: "a date such as 2026-01-31",
    inspect.UUIDType: "a UUID",
    inspect.DecimalType: "a decimal number such as 1.50",
}


def _describe_pattern(pattern: str | None) -> str:
    if pattern is None:
        return ""
    return ", without control characters" if pattern == _ID_PATTERN else f" that matches {pattern}"


def _choice(values: Sequence[object]) -> str:
    return repr(values[0]) if len(values) == 1 else f"one of {', '.join(map(repr, values))}"


def _length(found: inspect.StrType | inspect.BytesType | inspect.CollectionType, unit: str) -> str:
    low, high = found.min_length, found.max_length
    if low and high:
        return f" of {low} to {high} {unit}"
    if low:
        return f" of at least {low} {unit if low > 1 else unit.removesuffix('s')}"
    return f" of at most {high} {unit}" if high is not None else ""


def _range(found: inspect.IntType | inspect.FloatType) -> str:
    low = f"from {found.ge}" if found.ge is not None else f"over {found.gt}" if found.gt is not None else ""
    high = f"to {found.le}" if found.le is not None else f"below {found.lt}" if found.lt is not None else ""
    return "".join(f" {bound}" for bound in (low, high) if bound)
