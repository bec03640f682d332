"""JSON of values of a contract's types, and checks of such values. event_codec.py and command_codec.py have the codecs.

Decoding takes one msgspec pass, and raises only InvalidDataError.
"""

import re
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from oyez.contract.arguments import (
    shapes_of,
)
from oyez.contract.lenient import (
    check_whole,
    convert_leniently,
    describe_type,
)
from oyez.contract.schema import describe, iter_types
from oyez.contract.types import SCALARS, Money, Time, read_scalar
from oyez.contract.validation import explain
from oyez.errors import ContractError, InvalidDataError

T = TypeVar("T")


_NUL = b"\\u0000"
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def write_scalar(value: Any) -> Any:
    """msgspec's hook that encodes Time and Money: msgspec encodes `str` and `Decimal`, but not their subclasses."""
    if isinstance(value, Time):
        return str(value)
    if isinstance(value, Money):
        return Decimal(value)
    raise TypeError(f"{type(value).__name__} cannot be part of an event")


encode_json = msgspec.json.Encoder(enc_hook=write_scalar, decimal_format="number").encode
"""JSON of values of a contract's types. Raises TypeError for other types, ValueError for half a surrogate pair."""


def decode_json(data: bytes, kind: type[T]) -> T:
    """What `encode_json` made of a value of that type. Raises msgspec.ValidationError for anything else."""
    return msgspec.json.decode(data, type=kind, dec_hook=read_scalar)


def check_types(struct: Any) -> None:
    """Raise ContractError if a struct or another type cannot be encoded and decoded."""
    try:
        msgspec.json.Decoder(struct, dec_hook=read_scalar)
        kinds = list(iter_types(inspect.type_info(struct)))
    except (TypeError, NameError) as error:
        raise ContractError(str(error)) from None
    for kind in kinds:
        if isinstance(kind, inspect.CustomType) and kind.cls not in SCALARS:
            raise ContractError(f"{kind.cls.__name__} is not a type that an event can carry; Any is any JSON")
        if isinstance(kind, inspect.ByteArrayType | inspect.MemoryViewType):
            raise ContractError("binary data is declared as bytes")


@lru_cache(maxsize=4_096)
def has_bytes(kind: Any) -> bool:
    """True if values of a type, a class or a union of classes, may hold `bytes`.

    Each event and command has several codecs, and to look through its type takes half of the time to build one.
    """
    return any(
        isinstance(part, inspect.BytesType)
        for shape in shapes_of(kind)
        for part in iter_types(inspect.type_info(shape))
    )


def decode_answer(data: bytes, reply: type[T]) -> T:
    """The first argument of a client's acknowledgement, which is a JSON array. Raises InvalidDataError."""
    kind: Any = reply
    try:
        arguments = msgspec.json.decode(data, type=list) or [None]
        answer: T = convert_leniently(arguments[0], kind)
    except (ValueError, RecursionError) as error:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            raise explain(error, "the acknowledgement", kind) from None
        raise InvalidDataError("", f"an acknowledgement with {describe(describe_type(kind))}") from None
    if isinstance(answer, msgspec.Struct):
        check_whole(answer)
    refuse_nul(data)
    return answer


def check_made(command: T, kind: Any, name: str) -> T:
    """A command that a program has made, as clients could have sent it. Raises InvalidDataError if they could not."""
    try:
        made: T = decode_json(encode_json(command), kind)
    except (TypeError, ValueError, RecursionError) as error:
        raise explain(error, name, type(command)) from None  # type: ignore[arg-type]
    if isinstance(made, msgspec.Struct):
        check_whole(made)
    return made


def refuse_nul(data: bytes) -> None:
    """Raise InvalidDataError if a text in this JSON contains the character U+0000."""
    # The first check is cheap, and almost always the only one.
    if _NUL in data and _ESCAPED_NUL.search(data):
        raise InvalidDataError("", "text without NUL characters: databases and many clients cannot hold them")
