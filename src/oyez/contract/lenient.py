"""Other forms of values that back ends and front ends send, tried only if data does not fit its type.

An id that is a whole number, and a number that is a string ("4.5", as ORMs write decimals), are accepted if they can
have only one meaning. Times and amounts read their other forms themselves (`types.py`). The result has the contract's
own types, so clients receive exactly what the contract says.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import inspect

from oyez.contract.schema import Path, format_path, iter_types, options
from oyez.contract.types import Id, read_scalar
from oyez.errors import InvalidDataError

MAX_WHOLE = 2**53 - 1
"""The largest whole number that JavaScript holds exactly; it is safe on the wire (RFC 8259, section 6)."""
MAX_LENIENT_BYTES = 100_000
"""Bytes of JSON that are decoded a second time to try other forms. No command is longer, and a client must not be able
to have a megabyte decoded twice."""
_WHOLE = re.compile(r"-?(?:0|[1-9]\d*)", re.ASCII)
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)
_ID = next(options(inspect.type_info(Id)))
_MANY = (inspect.ListType, inspect.VarTupleType, inspect.SetType, inspect.FrozenSetType)


@lru_cache(maxsize=1024)
def describe_type(kind: Any) -> inspect.Type:
    """msgspec's description of a type."""
    return inspect.type_info(kind)


def decode_leniently(data: bytes, kind: Any, *, ignore_unknown: bool = False) -> Any:
    """JSON as a `kind`, in any accepted form. Raises msgspec.ValidationError, ValueError or RecursionError.

    With `ignore_unknown`, fields of objects that the type does not have are left out, and arguments at the end.
    """
    return convert_leniently(decode_again(data), kind, ignore_unknown=ignore_unknown)


def decode_again(data: bytes, kind: Any = Any) -> Any:
    """JSON as plain Python objects. Raises ValueError if it is not a `kind`, or is longer than MAX_LENIENT_BYTES."""
    if len(data) > MAX_LENIENT_BYTES:
        raise ValueError(f"{len(data)} bytes are too many to look for other forms")
    return msgspec.json.decode(data, type=kind)


def convert_leniently(
    value: Any, kind: Any, builtin_types: tuple[type, ...] = (), *, ignore_unknown: bool = False
) -> Any:
    """`decode_leniently` for data that is already decoded to plain Python objects."""
    value = settle(value, describe_type(kind), ignore_unknown)
    return msgspec.convert(value, kind, dec_hook=read_scalar, str_keys=True, builtin_types=builtin_types)


def settle(value: Any, found: inspect.Type, ignore_unknown: bool = False) -> Any:
    """`value` in the form of the type, if it can have only one meaning; otherwise unchanged."""
    # Not isinstance: bool is a subclass of int, and not an id.
    if type(value) is int:
        return _settle_id(value, found)
    if type(value) is float:
        return _settle_whole(value, found)
    if isinstance(value, str):
        return _settle_number(value, found)
    if isinstance(value, dict):
        return _settle_object(value, found, ignore_unknown)
    if isinstance(value, list):
        return _settle_array(value, found, ignore_unknown)
    return value


def _settle_id(value: int, found: inspect.Type) -> Any:
    kinds = list(options(found))
    takes_id = _ID in kinds and all(isinstance(kind, inspect.StrType | inspect.NoneType) for kind in kinds)
    # A larger number may have lost digits in JavaScript, and so be another id.
    return str(value) if takes_id and abs(value) <= MAX_WHOLE else value


def _settle_whole(value: float, found: inspect.Type) -> Any:
    """Some languages write the whole number 2 as 2.0."""
    kinds = list(options(found))
    takes_whole = any(isinstance(kind, inspect.IntType | inspect.LiteralType) for kind in kinds) and not any(
        isinstance(kind, inspect.FloatType) for kind in kinds
    )
    return int(value) if takes_whole and value.is_integer() and abs(value) <= MAX_WHOLE else value


def _settle_number(value: str, found: inspect.Type) -> Any:
    kinds = [kind for kind in options(found) if not isinstance(kind, inspect.NoneType)]
    if not kinds or not all(isinstance(kind, inspect.IntType | inspect.FloatType) for kind in kinds):
        return value
    if _WHOLE.fullmatch(value) and len(value) < len(str(MAX_WHOLE)) + 2:
        return int(value)
    takes_float = any(isinstance(kind, inspect.FloatType) for kind in kinds)
    return float(value) if takes_float and _DECIMAL.fullmatch(value) else value


def _settle_object(value: dict[str, Any], found: inspect.Type, ignore_unknown: bool) -> dict[str, Any]:
    kind = _choose_object(value, found)
    if isinstance(kind, inspect.StructType):
        types = {field.encode_name: field.type for field in kind.fields}
        return {
            name: settle(item, types[name], ignore_unknown) if name in types else item
            for name, item in value.items()
            if name in types or not ignore_unknown or name == kind.tag_field
        }
    if isinstance(kind, inspect.DictType):
        return {name: settle(item, kind.value_type, ignore_unknown) for name, item in value.items()}
    return value


def _choose_object(value: dict[str, Any], found: inspect.Type) -> inspect.Type | None:
    """The type of the object among the options: its tag decides if there are several."""
    kinds = [kind for kind in options(found) if isinstance(kind, inspect.StructType | inspect.DictType)]
    if len(kinds) < 2:
        return kinds[0] if kinds else None
    return next((kind for kind in kinds if isinstance(kind, inspect.StructType) and _has_tag(value, kind)), None)


def _has_tag(value: dict[str, Any], kind: inspect.StructType) -> bool:
    return kind.tag_field is not None and value.get(kind.tag_field) == kind.tag


def _settle_array(value: list[Any], found: inspect.Type, ignore_unknown: bool) -> list[Any]:
    for kind in options(found):
        if isinstance(kind, _MANY):
            return [settle(item, kind.item_type, ignore_unknown) for item in value]
        if isinstance(kind, inspect.TupleType):
            types = kind.item_types
            return [
                settle(item, types[index], ignore_unknown) if index < len(types) else item
                for index, item in enumerate(value)
            ]
        if isinstance(kind, inspect.StructType) and kind.array_like:
            return _settle_arguments(value, kind.fields, ignore_unknown)
    return value


def _settle_arguments(value: list[Any], fields: tuple[inspect.Field, ...], ignore_unknown: bool) -> list[Any]:
    """Positional arguments. JavaScript sends null for `undefined`: at the end it means an argument that is left out."""
    given = value[: len(fields)] if ignore_unknown else list(value)
    while given and given[-1] is None and len(given) <= len(fields):
        field = fields[len(given) - 1]
        if field.required or any(isinstance(kind, inspect.NoneType | inspect.AnyType) for kind in options(field.type)):
            break
        given.pop()
    return [
        settle(item, fields[index].type, ignore_unknown) if index < len(fields) else item
        for index, item in enumerate(given)
    ]


# Whole numbers that JavaScript cannot represent.


def check_whole(struct: msgspec.Struct, path: Path = ()) -> None:
    """Raises InvalidDataError if a field holds a whole number that JavaScript would change."""
    check_fields(struct, fields_with_whole(type(struct)), path)


def check_fields(struct: msgspec.Struct, fields: Iterable[tuple[str, str]], path: Path = ()) -> None:
    """`check_whole` for a struct whose `fields_with_whole` are known."""
    for name, wire_name in fields:
        value = getattr(struct, name)
        # Check the usual number without a call, because every command and reply passes here.
        if type(value) is not int or not -MAX_WHOLE <= value <= MAX_WHOLE:
            _check_value(value, (*path, wire_name))


def _check_value(value: Any, path: Path) -> None:
    if isinstance(value, int):
        if not -MAX_WHOLE <= value <= MAX_WHOLE:
            most = f"{-MAX_WHOLE} to {MAX_WHOLE}"
            raise InvalidDataError(format_path(path), f"a whole number from {most}; declare larger ones as strings")
    elif isinstance(value, msgspec.Struct):
        check_whole(value, path)
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_value(item, (*path, name))
    elif isinstance(value, list | tuple | set | frozenset):
        for index, item in enumerate(value):
            _check_value(item, (*path, index))


@lru_cache(maxsize=1024)
def fields_with_whole(struct: type[msgspec.Struct]) -> tuple[tuple[str, str], ...]:
    """The fields, by name and wire name, that may hold a whole number without bounds of its own."""
    return tuple(
        (field.name, field.encode_name)
        for field in inspect.type_info(struct).fields  # type: ignore[attr-defined]
        if any(map(_is_unbounded, iter_types(field.type)))
    )


def _is_unbounded(found: inspect.Type) -> bool:
    if not isinstance(found, inspect.IntType):
        return isinstance(found, inspect.AnyType)
    low, high = found.ge if found.ge is not None else found.gt, found.le if found.le is not None else found.lt
    return low is None or high is None or low < -MAX_WHOLE or high > MAX_WHOLE
