"""Events and commands between bytes and typed objects: built once for each type, one msgspec pass for each message.

Decoding raises nothing but InvalidDataError, whatever the bytes are. A codec knows types, not who may send what.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from functools import cached_property
from types import GenericAlias
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta, inspect

from oyez.contract.declare import DeclaredCommand
from oyez.contract.lenient import (
    check_fields,
    check_whole,
    convert_leniently,
    decode_again,
    decode_leniently,
    describe_type,
    fields_with_whole,
    settle,
)
from oyez.contract.schema import describe, iter_types
from oyez.contract.types import SCALARS, Command, Money, Payload, Time, read_scalar
from oyez.contract.validation import REQUIRED, explain, explain_unknown, split_message
from oyez.errors import ContractError, InvalidDataError
from oyez.protocol.engineio import MalformedError
from oyez.protocol.socketio import find_placeholders

P = TypeVar("P", bound=Payload)
T = TypeVar("T")

MAX_ID = 128
"""Characters of a command's idempotency key: a UUID has 36."""
KEY_HINT = '; a key for repeats is {"idempotencyKey": "…"}, not a string'
MAX_FAULTS = 20
"""Faults told of one payload: more help nobody, and an answer should not be longer than what was sent."""

_BINARY = (inspect.BytesType, inspect.ByteArrayType, inspect.MemoryViewType)

_NUL = b"\\u0000"
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def read_exact(kind: type[Any], value: Any) -> Any:
    """msgspec's hook that takes values only in the form in which clients get them."""
    return kind.from_exact(value)


def write_scalar(value: Any) -> Any:
    """The other way: msgspec writes exact `str` and `Decimal`, but not their subclasses."""
    if isinstance(value, Time):
        return str(value)
    if isinstance(value, Money):
        return Decimal(value)
    raise TypeError(f"{type(value).__name__} cannot be part of an event")


encode_json = msgspec.json.Encoder(enc_hook=write_scalar, decimal_format="number").encode
"""JSON of anything made of a contract's types. Raises TypeError for other types, ValueError for half a character."""


def check_types(struct: type[msgspec.Struct], *, binary: bool = False) -> None:
    """Raise ContractError where msgspec and this module cannot carry `struct`; `binary`: it may hold `bytes`."""
    try:
        msgspec.json.Decoder(struct, dec_hook=read_scalar)
        kinds = list(iter_types(inspect.type_info(struct)))
    except (TypeError, NameError) as error:
        raise ContractError(str(error)) from None
    for kind in kinds:
        if isinstance(kind, inspect.CustomType) and kind.cls not in SCALARS:
            raise ContractError(f"{kind.cls.__name__} is not a type that an event can carry")
        if isinstance(kind, _BINARY) and not (binary and isinstance(kind, inspect.BytesType)):
            raise ContractError("binary data is what an event cannot carry, and a command carries it as bytes only")


class EventCodec(Generic[P]):
    """The codec of one event."""

    def __init__(self, name: str, payload: type[P]) -> None:
        self._name = name
        self._payload = payload
        self._head = msgspec.json.encode([name])[:-1] + b","
        self._decode = msgspec.json.Decoder(payload, dec_hook=read_scalar).decode
        self._decode_exactly = msgspec.json.Decoder(payload, dec_hook=read_exact).decode
        self._whole = fields_with_whole(payload)

    def decode_payload(self, data: bytes) -> P:
        """The payload in `data`, JSON in UTF-8. Raises InvalidDataError with the field's path on the wire."""
        try:
            payload = self._decode(data)
        except msgspec.ValidationError as error:
            payload = self._decode_leniently(data, error)
        except (ValueError, RecursionError) as error:
            raise explain(error, self._name, self._payload) from None
        if self._whole:
            check_fields(payload, self._whole)
        refuse_nul(data)
        return payload

    def _decode_leniently(self, data: bytes, error: msgspec.ValidationError) -> P:
        """Raises InvalidDataError for the first `error` if other forms do not help."""
        try:
            payload: P = decode_leniently(data, self._payload)
        except (ValueError, RecursionError):
            raise explain(error, self._name, self._payload) from None
        return payload

    def find_errors(self, data: bytes) -> list[InvalidDataError]:
        """What keeps `data` from being decoded, as far as can be told: the first fault of every field.

        Empty where nothing does, or where `data` is no object at all.
        """
        try:
            settled = settle(msgspec.json.decode(data), describe_type(self._payload))
            given = msgspec.json.decode(msgspec.json.encode(settled), type=dict[str, msgspec.Raw])
        except (ValueError, RecursionError):
            return []
        faults = []
        for name, required, decode in self._fields:
            value = given.pop(name, None)
            if value is not None:
                try:
                    decode(b"[" + bytes(value) + b"]")
                except (ValueError, RecursionError) as error:
                    faults.append(explain(error, self._name, self._payload, (name,)))
            elif required:
                faults.append(InvalidDataError(name, REQUIRED))
        faults += [explain_unknown(name, self._name, self._payload) for name in given]
        return faults[:MAX_FAULTS]

    @cached_property
    def _fields(self) -> list[tuple[str, bool, Callable[[bytes], object]]]:
        """Each field's name, whether it must be there, and a decoder of its value.

        The value is the one element of an array: so the path in a message begins with a step to put the name in.
        """
        return [
            (
                field.encode_name,
                field.required,
                msgspec.json.Decoder(GenericAlias(tuple, (field.type,)), dec_hook=read_scalar).decode,
            )
            for field in msgspec.structs.fields(self._payload)
        ]

    def encode_payload(self, payload: P) -> bytes:
        """The payload as JSON. Raises InvalidDataError where it holds what its type does not allow."""
        try:
            data = encode_json(payload)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidDataError("", f"a payload of {self._name} ({error})") from None
        # mypy knows the types of a payload made in Python, but not its lengths, ranges and patterns.
        self.check_exact(data)
        return data

    def check_exact(self, data: bytes) -> None:
        """Raises InvalidDataError unless `data` is a payload in the form in which clients get it."""
        try:
            payload = self._decode_exactly(data)
        except (ValueError, RecursionError) as error:
            raise explain(error, self._name, self._payload) from None
        if self._whole:
            check_fields(payload, self._whole)
        refuse_nul(data)

    def wrap(self, data: bytes) -> bytes:
        """The Socket.IO event array around an encoded payload: `["chat:message",{…}]`."""
        return self._head + data + b"]"

    def encode_event(self, payload: P) -> bytes:
        """The event array of a payload. Raises InvalidDataError as `encode_payload` does."""
        return self.wrap(self.encode_payload(payload))


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


class _Key(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The idempotency key of a command, as its last argument."""

    idempotency_key: Annotated[str, Meta(min_length=1, max_length=MAX_ID)]


_decode_key = msgspec.json.Decoder(_Key).decode


class CommandCodec:
    """The codec of one command."""

    def __init__(self, declared: DeclaredCommand) -> None:
        self._name = declared.name
        self._command = declared.command
        self._positional = declared.arguments == "positional"
        self._fields = declared.command.__struct_fields__
        self._wire_names = declared.command.__struct_encode_fields__
        fields = [field.type for field in msgspec.structs.fields(declared.command)]
        # The name has led here, so that it is a string is all that is left to say of it.
        self._array: Any = GenericAlias(tuple, (str, *(fields if self._positional else [declared.command])))
        self._decode = msgspec.json.Decoder(self._array, dec_hook=read_scalar).decode
        self._required = any(field.required for field in msgspec.structs.fields(declared.command))
        kinds = iter_types(inspect.type_info(declared.command))
        self._takes_binary = any(isinstance(kind, inspect.BytesType) for kind in kinds)
        self._whole = fields_with_whole(declared.command)

    def decode_command(self, data: bytes, attachments: tuple[bytes, ...] = ()) -> Command:
        """The command in an event array in which placeholders stand for `attachments`.

        Raises InvalidDataError with the field's path on the wire.
        """
        try:
            array = self._decode_binary(data, attachments) if attachments else self._decode(data)
        except msgspec.ValidationError as error:
            array = self._decode_leniently(data, attachments, error)
        except (ValueError, RecursionError) as error:
            raise self._explain(error, data) from None
        refuse_nul(data)
        command: Command = self._build(array[1:]) if self._positional else array[1]
        if self._whole:
            check_fields(command, self._whole)
        return command

    def _build(self, arguments: tuple[Any, ...]) -> Command:
        return self._command(**dict(zip(self._fields, arguments, strict=False)))

    def _decode_leniently(self, data: bytes, attachments: tuple[bytes, ...], error: msgspec.ValidationError) -> Any:
        """Raises InvalidDataError for the first `error` if other forms do not help."""
        try:
            array: Any = decode_again(data, list)
            if attachments:
                array = find_placeholders(array, attachments)
            if not self._required and array and array[1:] in ([], [None], [{}]):
                # A command without fields needs no argument, and takes one that says nothing.
                array = [array[0]] if self._positional else [array[0], {}]
            return convert_leniently(array, self._array, (bytes,))
        except (ValueError, RecursionError):
            raise self._explain(error, data) from None

    def split_id(self, data: bytes) -> tuple[bytes, str]:
        """The event array without the idempotency key after the command's own arguments, and the key; empty if there is
        none.

        The key is one argument more, an object `{"idempotencyKey": "…"}`. A bare string is not: a client may send one
        argument too many, and its next command would be taken for a repeat.
        """
        try:
            *rest, last = msgspec.json.decode(data, type=list[msgspec.Raw])
            key = _decode_key(last).idempotency_key
        except (ValueError, RecursionError):
            return data, ""
        return b"[" + b",".join(map(bytes, rest)) + b"]", key

    def _decode_binary(self, data: bytes, attachments: tuple[bytes, ...]) -> Any:
        if not self._takes_binary:
            raise InvalidDataError("", f"no binary data: {self._name} takes none")
        try:
            array = find_placeholders(msgspec.json.decode(data), attachments)
        except MalformedError as error:
            raise InvalidDataError("", f"attachments that fit their placeholders ({error})") from None
        return msgspec.convert(array, self._array, dec_hook=read_scalar, builtin_types=(bytes,))

    def _explain(self, error: Exception, data: bytes) -> InvalidDataError:
        if not isinstance(error, msgspec.ValidationError):
            return explain(error, self._name, self._command)
        index = (split_message(str(error))[1] or (0,))[0]
        if not isinstance(index, int) or index == 0:
            return InvalidDataError("", self._expected_arguments(data))
        return explain(error, self._name, self._command, (self._wire_names[index - 1],) if self._positional else ())

    def _expected_arguments(self, data: bytes) -> str:
        names = ", ".join(self._wire_names)
        if not self._positional:
            expected = f"one argument, an object of {names}" if names else "one argument, an empty object"
        else:
            count = len(self._fields)
            expected = f"{count} argument{'s' * (count > 1)}: {names}" if names else "no arguments"
        # A bare string was the key of older programs.
        return expected + (KEY_HINT if self._has_extra_string(data) else "")

    def _has_extra_string(self, data: bytes) -> bool:
        try:
            array = msgspec.json.decode(data, type=list[msgspec.Raw])
        except (ValueError, RecursionError):
            return False
        arguments = len(self._fields) if self._positional else 1
        return len(array) > 1 + arguments and bytes(array[-1]).startswith(b'"')


def refuse_nul(data: bytes) -> None:
    """Raise InvalidDataError where a text in this JSON holds the character U+0000."""
    # Nearly no data holds it, and then the first look, which is cheap, is the only one.
    if _NUL in data and _ESCAPED_NUL.search(data):
        raise InvalidDataError("", "text without NUL characters: databases and many clients cannot hold them")
