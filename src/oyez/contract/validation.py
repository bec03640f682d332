"""Turns msgspec's errors about bad data into errors that name the field and what is expected there."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import inspect

from oyez.contract.schema import MAX_SHOWN, Path, describe, fields_of, find_type, format_path, options
from oyez.errors import InvalidDataError

# A field's name may itself hold backquotes and look like a path: only the last path counts.
_MESSAGE = re.compile(r"(?P<said>.*?)(?: - at `(?:key in )?(?P<path>\$[^`]*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
REQUIRED = "is required"
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)


def explain(
    error: Exception, name: str, struct: type[msgspec.Struct], prefix: Path | None = None, data: bytes = b""
) -> InvalidDataError:
    """The same error about the data of `name`, whose type is `struct`. `data` is the JSON that did not fit.

    If the data was an element of an event array, `prefix` replaces the first step of the path, its index.
    """
    if isinstance(error, RecursionError):
        return InvalidDataError("", "less deeply nested data")
    if not isinstance(error, msgspec.ValidationError):
        return InvalidDataError("", f"valid JSON in UTF-8 ({error})")
    said, path = split_message(str(error))
    wrong = path
    if prefix is not None:
        path = (*prefix, *path[1:])
    if missing := _MISSING.fullmatch(said):
        return InvalidDataError(format_path((*path, missing[1])), REQUIRED)
    found = find_type(struct, path)
    if unknown := _UNKNOWN.fullmatch(said):
        return InvalidDataError(format_path((*path, unknown[1][:MAX_SHOWN])), _unknown_field(name, path, found))
    if found is None:
        return InvalidDataError(format_path(path), said)
    expected = describe(found) if path else _describe_whole(found)
    return InvalidDataError(format_path(path), expected, show_value(data, wrong) if path else None)


def _describe_whole(found: inspect.Type) -> str:
    """What the whole data may be. Nothing else would say which object is meant, so its fields are named."""
    names = [field.encode_name for field in fields_of(found)]
    if len(list(options(found))) > 1 or not names:
        return describe(found)
    return f"an object with the {'field' if len(names) == 1 else 'fields'} {', '.join(names)}"


def show_value(data: bytes, path: Path) -> str | None:
    """The value at a path in JSON, for a message; None if it is not there.

    Of texts, which may be secrets, only their length is shown.
    """
    try:
        value: Any = msgspec.json.decode(data)
        for step in path:
            value = value[step]
    except (ValueError, RecursionError, LookupError, TypeError):
        return None
    match value:
        case None | bool() | int() | float():
            return msgspec.json.encode(value).decode()[:MAX_SHOWN]
        case str():
            return f"a string of {len(value):,} characters" if len(value) != 1 else "a string of 1 character"
        case list():
            return f"an array of {len(value):,}"
    return "an object"


def explain_unknown(field: str, name: str, struct: type[msgspec.Struct]) -> InvalidDataError:
    """The error that the data of `name`, whose type is `struct`, has an unknown `field`."""
    return InvalidDataError(field[:MAX_SHOWN], _unknown_field(name, (), find_type(struct, ())))


def split_message(message: str) -> tuple[str, Path]:
    """msgspec's message without the path, and the path: `$[1].message.sender` is `(1, "message", "sender")`."""
    matched = _MESSAGE.fullmatch(message)
    if matched is None or matched["path"] is None:
        return message, ()
    steps: Sequence[tuple[str, str]] = _STEP.findall(matched["path"])
    return matched["said"], tuple(name or (int(index) if index.isdigit() else index) for name, index in steps)


def _unknown_field(name: str, path: Path, found: inspect.Type | None) -> str:
    owner = f"{format_path(path)} in {name}" if path else name
    tags = {option.tag_field for option in options(found) if isinstance(option, inspect.StructType)} - {None}
    known = ", ".join([*map(str, tags), *(field.encode_name for field in fields_of(found))])
    return (
        f"is not a field of {owner}; known fields are {known}" if known else f"is not a field of {owner}; it has none"
    )
