"""The classes of events and commands: their types must be those that JSON and each client can carry."""

from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import inspect

from oyez.contract.arguments import Arguments, UnknownFields, shapes_of
from oyez.contract.check.names import check_docstring
from oyez.contract.codec import check_types
from oyez.contract.patterns import find_pattern
from oyez.contract.schema import fields_of, is_key
from oyez.contract.types import read_scalar
from oyez.errors import ContractError
from oyez.settings import MAX_DECLARED_BYTES


def check_shapes(kind: Any, base: type[msgspec.Struct], arguments: Arguments) -> Iterator[str]:
    """The errors in the class, or the union of classes, that is declared for an event or command."""
    shapes = shapes_of(kind)
    for shape in shapes:
        if not (isinstance(shape, type) and issubclass(shape, base)):
            if get_origin(shape) is not None and isinstance(get_origin(shape), type):
                yield (
                    f"{shape} has type parameters; declare a class that is derived from {base.__name__}, with the types"
                    " in its fields"
                )
                return
            yield f"{_show(shape)} is not a {base.__name__}; declare a class that is derived from {base.__name__}"
            return
        yield from check_docstring(shape)
    if len(shapes) > 1:
        yield from _check_tags(kind, arguments)
    for shape in shapes:
        errors = list(dict.fromkeys(_check_fields(shape, "", set())))
        if not errors:
            try:
                check_types(shape)
            except ContractError as error:
                errors.append(str(error))
        yield from errors if len(shapes) == 1 else (f"{shape.__name__}: {error}" for error in errors)
    yield from check_arguments(arguments)
    if arguments == "positional" and len(shapes) == 1:
        yield from check_order(shapes[0])


def check_arguments(arguments: object) -> Iterator[str]:
    """The errors in declared `arguments`."""
    if arguments not in get_args(Arguments):
        yield f"arguments is {arguments!r}: expected one of {', '.join(get_args(Arguments))}"


def _check_fields(struct: type[msgspec.Struct], path: str, seen: set[type]) -> Iterator[str]:
    """The types of fields, at any depth, that JSON cannot carry or that nothing distinguishes."""
    seen.add(struct)
    try:
        fields = msgspec.structs.fields(struct)
    except (NameError, TypeError) as error:
        yield f"a type of {struct.__name__} is not known ({error}); define it at the top of the file, or import it"
        return
    for field in fields:
        name = f"{path}{field.encode_name}"
        parts = list(_iter_parts(field.type))
        if any(isinstance(part, TypeVar) for part in parts):
            yield f"{name} has a type parameter; write the type itself"
            continue
        keys = [get_args(part)[0] for part in parts if get_origin(part) is dict]
        if any(not _is_key(key) for key in keys):
            yield f"{name} is a map whose keys are not strings or whole numbers; JSON has no others"
            continue
        objects = [part for part in parts if isinstance(part, type) and issubclass(part, msgspec.Struct)]
        new = [part for part in objects if part not in seen]
        inside = [error for part in new for error in _check_fields(part, f"{name}.", seen)]
        if inside:
            yield from inside
            continue
        try:
            msgspec.json.Decoder(field.type, dec_hook=read_scalar)
            if not objects:
                check_types(field.type)
        except (TypeError, NameError, ContractError) as error:
            explained = list(_explain_union(name, str(error)))
            # An error in the fields of an object has been reported with their own names.
            yield from explained or ([] if objects else [f"{name}: {error}"])


def _iter_parts(kind: Any) -> Iterator[Any]:
    yield kind
    if get_origin(kind) is not Literal:
        for part in get_args(kind):
            yield from _iter_parts(part)


def _is_key(kind: Any) -> bool:
    """True if JSON can hold such keys of a map."""
    key = next(iter(_iter_parts(get_args(kind)[0] if get_origin(kind) is Annotated else kind)))
    if get_origin(key) is Literal:
        return all(isinstance(value, str | int) for value in get_args(key))
    return key is Any or (isinstance(key, type) and key is not bool and issubclass(key, str | int | Enum))


def _explain_union(name: str, said: str) -> Iterator[str]:
    if "Struct types must be tagged" in said:
        yield f'{name} is one of several objects: give each class a tag, such as tag_field="type", tag="first"'
    elif "custom type" in said:
        yield f"{name} is a Time, Money or Total or another type; nothing but None may stand beside these three"
    elif "dict-like" in said:
        yield f"{name} is a map or an object, and nothing distinguishes them; use one of the two"
    elif "array-like" in said:
        yield f"{name} is one of several arrays; use one array, such as list[int | str]"
    elif "Can only set" in said and "|" not in said:
        yield f"{name} has limits that do not fit its type; length is for text, bytes and arrays, ge and le for numbers"
    elif "Can only set" in said:
        yield f"{name} has limits that do not fit its type; write them at each part: Annotated[int, Meta(ge=0)] | None"
    elif "not supported" in said and "union" in said:
        yield f"{name} is a union whose values cannot be distinguished; use one type ({said})"


def check_named(kind: Any, name: str) -> Iterator[str]:
    """The errors in the placeholders of a name, which fields of the class must fill."""
    try:
        pattern = find_pattern(name)
    except ContractError:
        # Another error says so.
        return
    if pattern is None:
        return
    if len(shapes_of(kind)) > 1:
        yield "has several shapes, and its name has a placeholder; give it one class"
        return
    fields = {field.encode_name: field for field in fields_of(inspect.type_info(kind))}
    for placeholder in pattern.placeholders:
        if placeholder not in fields or not fields[placeholder].required or not is_key(fields[placeholder].type):
            yield (
                f"its name has {{{placeholder}}}, which is not a required string or integer field of {kind.__name__}"
            )


def _check_tags(kind: Any, arguments: Arguments) -> Iterator[str]:
    shapes = shapes_of(kind)
    names = " and ".join(shape.__name__ for shape in shapes)
    if arguments == "positional":
        yield f"has the shapes {names}, and only an object can have several shapes; leave arguments=… out"
    tags = [shape.__struct_config__.tag for shape in shapes]
    fields = {shape.__struct_config__.tag_field for shape in shapes}
    if None in tags:
        yield f'nothing distinguishes {names}: give each class a tag, such as tag_field="type", tag="first"'
    elif len(fields) > 1:
        yield f"{names} have their tags in different fields, {', '.join(sorted(map(str, fields)))}; use one tag_field"
    elif len(set(tags)) < len(tags):
        yield f"{names} have the same tag; give each class its own"


def check_order(struct: type[msgspec.Struct]) -> Iterator[str]:
    """Positional arguments can be left out only at the end."""
    optional = None
    for field in msgspec.structs.fields(struct):
        if field.required and optional is not None:
            yield (
                f"{optional} may be omitted, and the argument {field.encode_name} after it may not; move the optional"
                " fields to the end, or use an object"
            )
            return
        if not field.required:
            optional = field.encode_name


def check_unknown_fields(unknown_fields: object) -> Iterator[str]:
    """The errors in a declared `unknown_fields`."""
    if unknown_fields not in get_args(UnknownFields):
        yield f"unknown_fields is {unknown_fields!r}: expected one of {', '.join(get_args(UnknownFields))}"


def check_size(max_bytes: int | None, most: int = MAX_DECLARED_BYTES) -> Iterator[str]:
    """The errors in a declared `max_bytes`."""
    if max_bytes is not None and not (type(max_bytes) is int and 0 < max_bytes <= most):
        yield f"max_bytes is {max_bytes!r}: expected a whole number of bytes from 1 to {most:,}"


def _show(value: object) -> str:
    return value.__name__ if isinstance(value, type) else repr(value)
