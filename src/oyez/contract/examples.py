"""Makes an example of an event's or command's data from the types and names of its fields, if a contract gives none.

The values are the same each time. They name nobody: addresses are in the domains and telephone numbers that are
reserved for documents.
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec
from msgspec import inspect

from oyez.contract.arguments import Arguments, shapes_of
from oyez.contract.schema import is_id, is_millis, options
from oyez.contract.types import Money, Time

V = TypeVar("V")

MAX_DEPTH = 4
"""Objects inside each other up to which optional fields get a value, because a type may contain itself."""
NOW = "2026-01-31T12:00:00Z"
"""The time of the event."""
EARLIER = "2026-01-31T11:30:00Z"
LATER = "2026-02-01T09:00:00Z"
LAST = "2026-02-01T10:00:00Z"
TEXT = "text"

# Values by words of a field's name: the last word that a table has decides.
_TIMES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("created", "placed", "started", "joined", "registered", "seen", "since"), EARLIER),
        **dict.fromkeys(("start", "starts", "scheduled", "due", "eta", "estimated"), LATER),
        **dict.fromkeys(("end", "ends", "expires", "deadline", "until"), LAST),
    }
)
_TEXTS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("avatar", "icon", "image", "photo", "picture"), "https://example.org/image.png"),
        **dict.fromkeys(("url", "link"), "https://example.org/"),
        "address": "1 Example Street",
        "code": "CODE-1",
        "currency": "EUR",
        "email": "name@example.org",
        "number": "NO-1001",
        "phone": "+44 20 7946 0100",
        "token": "token-1",
        "version": "1.0.0",
    }
)
_SENTENCES = frozenset(("comment", "content", "description", "message", "notes", "note", "reason", "response", "text"))
"""Last words of names whose values are sentences."""
_NUMBERS: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys(("lat", "latitude"), 51.5),
        **dict.fromkeys(("lng", "lon", "longitude"), -0.12),
        **dict.fromkeys(("discount", "percent"), 10),
        **dict.fromkeys(("count", "members", "stock", "remaining"), 3),
        "quantity": 2,
        "rating": 4.5,
        "year": 2026,
    }
)
_AMOUNTS: Mapping[str, float] = MappingProxyType(
    {**dict.fromkeys(("old", "original", "previous"), 12.5), **dict.fromkeys(("subtotal", "total", "earnings"), 19)}
)
AMOUNT = 9.5
_FORMER = frozenset(("old", "original", "previous"))
"""Words of names whose values differ from those of the field beside them."""
_ID = re.compile(r"(.*?)_?[iI]ds?", re.ASCII)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", re.ASCII)


def make_example(kind: Any, arguments: Arguments = "object") -> Any:
    """Data of this type, as `publish` takes it: values that their names suggest, as far as the types allow them.

    A pattern may allow other values only: then the example does not fit. A type has its own example in
    `Meta(examples=[…])`, of which the first is taken.
    """
    found = inspect.type_info(shapes_of(kind)[0])
    assert isinstance(found, inspect.StructType)
    if arguments == "object":
        return _make_object(found, "", 0)
    values = [_make_value(field.type, field.encode_name, 1) for field in found.fields]
    return values if len(values) > 1 else values[0] if values else None


def _make_object(found: inspect.StructType, name: str, depth: int) -> Any:
    """An object that is the value of the field `name`. Its own `id` has the name as a prefix."""
    # A class with type parameters, such as Page[int], has the hints of the class itself.
    hints = get_type_hints(get_origin(found.cls) or found.cls, include_extras=True)
    values = {}
    for field in found.fields:
        if field.required or depth < MAX_DEPTH:
            called = f"{name}_id" if field.encode_name in ("id", "_id") else field.encode_name
            kind = _restore_order(field.type, hints[field.name])
            values[field.encode_name] = _make_value(kind, called, depth + 1)
    if found.array_like:
        return list(values.values())
    return values if found.tag_field is None else {found.tag_field: found.tag, **values}


def _restore_order(kind: inspect.Type, hint: Any) -> inspect.Type:
    """`kind` with the values of a Literal in the contract's order, because msgspec sorts them."""
    if isinstance(kind, inspect.LiteralType):
        return inspect.LiteralType(tuple(_find_literals(hint)) or kind.values)
    if isinstance(kind, inspect.UnionType):
        return inspect.UnionType(tuple(_restore_order(option, hint) for option in kind.types))
    if isinstance(kind, inspect.CollectionType):
        return msgspec.structs.replace(kind, item_type=_restore_order(kind.item_type, hint))
    return kind


def _find_literals(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Literal:
        yield from (value for value in get_args(hint) if value is not None)
    else:
        for part in get_args(hint):
            yield from _find_literals(part)


def _make_value(found: inspect.Type, name: str, depth: int) -> Any:
    if given := list_given(found):
        return given[0]
    words = _split(name)
    if is_millis(found):
        return Time(_choose(_TIMES, words, NOW)).millis
    # null is the least telling value of a field.
    kinds = sorted(options(found), key=lambda option: isinstance(option, inspect.NoneType))
    kind = kinds[0]
    match kind:
        case inspect.NoneType():
            return None
        case inspect.BoolType():
            return True
        case inspect.IntType() | inspect.FloatType():
            return _make_number(kind, words)
        case inspect.StrType():
            return _make_text(kind, name, words)
        case inspect.CustomType(cls=cls):
            return _make_scalar(cls, words)
        case inspect.LiteralType(values=values):
            return values[-1 if _FORMER.intersection(words) else 0]
        case inspect.EnumType(cls=cls):
            return next(iter(cls)).value
        case inspect.DateTimeType():
            return _choose(_TIMES, words, NOW)
        case inspect.DateType():
            return _choose(_TIMES, words, NOW)[:10]
        case inspect.DecimalType():
            return AMOUNT
        case inspect.UUIDType():
            return str(UUID(int=1))
        case inspect.TimeDeltaType():
            return "PT1S"
        case inspect.StructType():
            return _make_object(kind, name, depth)
    return _make_collection(kind, name, depth)


def list_given(found: inspect.Type) -> list[Any]:
    """The examples that a type has in `Meta(examples=[…])`."""
    if isinstance(found, inspect.Metadata):
        return (found.extra_json_schema or {}).get("examples") or list_given(found.type)
    if isinstance(found, inspect.UnionType):
        return next((given for option in found.types if (given := list_given(option))), [])
    return []


def _make_scalar(cls: type, words: list[str]) -> Any:
    if issubclass(cls, Time):
        return _choose(_TIMES, words, NOW)
    return _choose(_AMOUNTS, words, AMOUNT) if issubclass(cls, Money) else None


def _make_collection(kind: inspect.Type, name: str, depth: int) -> Any:
    if isinstance(kind, inspect.CollectionType):
        if depth > MAX_DEPTH and not kind.min_length:
            return []
        return [_make_value(kind.item_type, _singular(name), depth + 1)] * (kind.min_length or 1)
    if isinstance(kind, inspect.TupleType):
        return [_make_value(item, name, depth + 1) for item in kind.item_types]
    if isinstance(kind, inspect.DictType):
        if depth > MAX_DEPTH and not kind.min_length:
            return {}
        key = "key" if isinstance(kind.key_type, inspect.AnyType) else str(_make_value(kind.key_type, "key", depth + 1))
        return {key: _make_value(kind.value_type, _singular(name), depth + 1)}
    return b"data" if isinstance(kind, inspect.BytesType) else {}


def _make_number(kind: inspect.IntType | inspect.FloatType, words: list[str]) -> int | float:
    value: int | float = kind.multiple_of or _choose(_NUMBERS, words, 1)
    if isinstance(kind, inspect.IntType):
        value = int(value)
    if kind.ge is not None:
        value = max(value, kind.ge)
    if kind.gt is not None and value <= kind.gt:
        value = kind.gt + 1
    if kind.le is not None:
        value = min(value, kind.le)
    if kind.lt is not None and value >= kind.lt:
        value = kind.lt - 1
    return value


def _make_text(kind: inspect.StrType, name: str, words: list[str]) -> str:
    found = _ID.fullmatch(name)
    if found or is_id(kind):
        text = f"{'-'.join(_split(found[1] if found else name)) or 'id'}-1"
    elif words and words[-1] in _SENTENCES:
        text = f"Example {' '.join(words)}."
    else:
        text = _choose(_TEXTS, words, " ".join(words).capitalize() or TEXT)
    return text.ljust(kind.min_length or 0, "x")[: kind.max_length]


def _split(name: str) -> list[str]:
    """The words of a name in camelCase or snake_case."""
    return [word.lower() for word in _WORD.findall(name)]


def _singular(name: str) -> str:
    """The name of one of several values."""
    if name.endswith("ies"):
        return f"{name[:-3]}y"
    return name if name.endswith(("ss", "us")) else name.removesuffix("s")


def _choose(table: Mapping[str, V], words: list[str], otherwise: V) -> V:
    return next((table[word] for word in reversed(words) if word in table), otherwise)


def encode_example(example: Any) -> bytes:
    """An example as JSON; nothing for an event without arguments."""
    return b"" if example is None else msgspec.json.encode(example)
