"""The classes of events and commands: their types must be those that JSON and each client can carry."""

from collections.abc import Iterator
from typing import Any

import msgspec

from oyez.contract.arguments import Arguments, shapes_of
from oyez.contract.check.names import check_docstring
from oyez.contract.codec import check_types
from oyez.errors import ContractError
from oyez.settings import MAX_DECLARED_BYTES


def check_shapes(kind: Any, base: type[msgspec.Struct], arguments: Arguments, *, binary: bool = False) -> Iterator[str]:
    """The errors in the class, or the union of classes, that is declared for an event or command."""
    shapes = shapes_of(kind)
    for shape in shapes:
        if not (isinstance(shape, type) and issubclass(shape, base)):
            yield f"{_show(shape)} is not a {base.__name__}; declare a class that is derived from {base.__name__}"
            return
        yield from check_docstring(shape)
    if len(shapes) > 1:
        yield from _check_tags(kind, arguments)
    for shape in shapes:
        try:
            check_types(shape, binary=binary)
        except ContractError as error:
            yield str(error) if len(shapes) == 1 else f"{shape.__name__}: {error}"
    if arguments == "positional" and len(shapes) == 1:
        yield from _check_order(shapes[0])


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


def _check_order(struct: type[msgspec.Struct]) -> Iterator[str]:
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


def check_size(max_bytes: int | None, most: int = MAX_DECLARED_BYTES) -> Iterator[str]:
    """The errors in a declared `max_bytes`."""
    if max_bytes is not None and not (type(max_bytes) is int and 0 < max_bytes <= most):
        yield f"max_bytes is {max_bytes!r}: expected a whole number of bytes from 1 to {most:,}"


def _show(value: object) -> str:
    return value.__name__ if isinstance(value, type) else repr(value)
