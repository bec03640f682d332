"""Makes an example of an event's or command's data from its types, for documents and tools if a contract gives none."""

import re
from typing import Any
from uuid import UUID

import msgspec
from msgspec import inspect

from oyez.contract.arguments import Arguments, shapes_of
from oyez.contract.schema import is_millis, options
from oyez.contract.types import Money, Time

MAX_DEPTH = 4
"""Objects inside each other up to which optional fields get a value, because a type may contain itself."""
MOMENT = "2026-01-31T12:00:00Z"
AMOUNT = 9.5
TEXT = "text"
_ID = re.compile(r"(.*?)_?[iI]ds?", re.ASCII)


def make_example(kind: Any, arguments: Arguments = "object") -> Any:
    """Data of this type, as `publish` takes it. Its values are as simple as the types allow.

    A pattern may allow other values only: then the example does not fit.
    """
    found = inspect.type_info(shapes_of(kind)[0])
    assert isinstance(found, inspect.StructType)
    if arguments == "object":
        return _make_object(found, 0)
    values = [_make_value(field.type, field.encode_name, 1) for field in found.fields]
    return values if len(values) > 1 else values[0] if values else None


def _make_object(found: inspect.StructType, depth: int) -> Any:
    fields = [field for field in found.fields if field.required or depth < MAX_DEPTH]
    if found.array_like:
        return [_make_value(field.type, field.encode_name, depth + 1) for field in fields]
    tag = {found.tag_field: found.tag} if found.tag_field is not None else {}
    return {**tag, **{field.encode_name: _make_value(field.type, field.encode_name, depth + 1) for field in fields}}


def _make_value(found: inspect.Type, name: str, depth: int) -> Any:
    if is_millis(found):
        return Time(MOMENT).millis
    # null is the least telling value of a field.
    kinds = sorted(options(found), key=lambda option: isinstance(option, inspect.NoneType))
    kind = kinds[0]
    match kind:
        case inspect.NoneType():
            return None
        case inspect.BoolType():
            return True
        case inspect.IntType() | inspect.FloatType():
            return _make_number(kind)
        case inspect.StrType():
            return _make_text(kind, name)
        case inspect.CustomType(cls=cls):
            return MOMENT if issubclass(cls, Time) else AMOUNT if issubclass(cls, Money) else None
        case inspect.LiteralType(values=values):
            return values[0]
        case inspect.EnumType(cls=cls):
            return next(iter(cls)).value
        case inspect.DateTimeType():
            return MOMENT
        case inspect.DateType():
            return MOMENT[:10]
        case inspect.DecimalType():
            return AMOUNT
        case inspect.UUIDType():
            return str(UUID(int=1))
        case inspect.TimeDeltaType():
            return "PT1S"
        case inspect.StructType():
            return _make_object(kind, depth)
    return _make_collection(kind, name, depth)


def _make_collection(kind: inspect.Type, name: str, depth: int) -> Any:
    if isinstance(kind, inspect.CollectionType):
        if depth > MAX_DEPTH and not kind.min_length:
            return []
        return [_make_value(kind.item_type, name, depth + 1)] * (kind.min_length or 1)
    if isinstance(kind, inspect.TupleType):
        return [_make_value(item, name, depth + 1) for item in kind.item_types]
    if isinstance(kind, inspect.DictType):
        if depth > MAX_DEPTH and not kind.min_length:
            return {}
        key = "key" if isinstance(kind.key_type, inspect.AnyType) else str(_make_value(kind.key_type, "key", depth + 1))
        return {key: _make_value(kind.value_type, name, depth + 1)}
    return b"data" if isinstance(kind, inspect.BytesType) else {}


def _make_number(kind: inspect.IntType | inspect.FloatType) -> int | float:
    value: int | float = kind.multiple_of or 1
    if kind.ge is not None:
        value = max(value, kind.ge)
    if kind.gt is not None and value <= kind.gt:
        value = kind.gt + 1
    if kind.le is not None:
        value = min(value, kind.le)
    if kind.lt is not None and value >= kind.lt:
        value = kind.lt - 1
    return value


def _make_text(kind: inspect.StrType, name: str) -> str:
    found = _ID.fullmatch(name)
    text = f"{found[1].lower() or 'id'}-1" if found else TEXT
    return text.ljust(kind.min_length or 0, "x")[: kind.max_length]


def encode_example(example: Any) -> bytes:
    """An example as JSON; nothing for an event without arguments."""
    return b"" if example is None else msgspec.json.encode(example)
