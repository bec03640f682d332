"""Codecs convert events and commands between bytes and typed objects. A codec is built once for each type.

Decoding takes one msgspec pass, and raises only InvalidDataError. A codec knows types, not who may send what.
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
MAX_ERRORS = 20
"""Errors reported of one payload: more do not help, and an answer should not be longer than the request."""

_BINARY = (inspect.BytesType, inspect.ByteArrayType, inspect.MemoryViewType)

_NUL = b"\\u0000"
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def read_exact(kind: type[Any], value: Any) -> Any:
    """msgspec's hook that accepts values only in the form that clients receive."""
    return kind.from_exact(value)


def write_scalar(value: Any) -> Any:
    """msgspec's hook that encodes Time and Money: msgspec encodes `str` and `Decimal`, but not their subclasses."""
    if isinstance(value, Time):
        return str(value)
    if isinstance(value, Money):
        return Decimal(value)
    raise TypeError(f"{type(value).__name__} cannot be part of an event")


encode_json = msgspec.json.Encoder(enc_hook=write_scalar, decimal_format="number").encode
"""JSON of values of a contract's types. Raises TypeError for other types, ValueError for half a surrogate pair."""


def check_types(struct: Any, *, binary: bool = False) -> None:
    """Raise ContractError if a struct or another type cannot be encoded and decoded.

    `binary` is True if it may hold `bytes`.
    """
    try:
        msgspec.json.Decoder(struct, dec_hook=read_scalar)
        kinds = list(iter_types(inspect.type_info(struct)))
    except (TypeError, NameError) as error:
        raise ContractError(str(error)) from None
    for kind in kinds:
        if isinstance(kind, inspect.CustomType) and kind.cls not in SCALARS:
            raise ContractError(f"{kind.cls.__name__} is not a type that an event can carry")
        if isinstance(kind, _BINARY) and not (binary and isinstance(kind, inspect.BytesType)):
            raise ContractError("an event cannot carry binary data, and a command can carry it only as bytes")


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
        """The errors in `data`, the first one of each field. Empty if there are none, or if `data` is not an object."""
        try:
            settled = settle(msgspec.json.decode(data), describe_type(self._payload))
            given = msgspec.json.decode(msgspec.json.encode(settled), type=dict[str, msgspec.Raw])
        except (ValueError, RecursionError):
            return []
        errors = []
        for name, required, decode in self._fields:
            value = given.pop(name, None)
            if value is not None:
                try:
                    decode(b"[" + bytes(value) + b"]")
                except (ValueError, RecursionError) as error:
                    errors.append(explain(error, self._name, self._payload, (name,)))
            elif required:
                errors.append(InvalidDataError(name, REQUIRED))
        errors += [explain_unknown(name, self._name, self._payload) for name in given]
        return errors[:MAX_ERRORS]

    @cached_property
    def _fields(self) -> list[tuple[str, bool, Callable[[bytes], object]]]:
        """Each field's name, True if it is required, and a decoder of its value.

        The decoder takes an array with the value as its only element, so the path in a message begins with an index
        that the field's name can replace.
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
        """The payload as JSON. Raises InvalidDataError if a value does not fit its type."""
        try:
            data = encode_json(payload)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidDataError("", f"a payload of {self._name} ({error})") from None
        # mypy checks the types of a payload made in Python, but not its lengths, ranges and patterns.
        self.check_exact(data)
        return data

    def check_exact(self, data: bytes) -> None:
        """Raises InvalidDataError unless `data` is a payload in the form that clients receive."""
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
        """The event array of a payload. Raises InvalidDataError if a value does not fit its type."""
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
        # The name has already selected this codec, so it only has to be a string.
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
                # A command without fields accepts no argument, null, or an empty object.
                array = [array[0]] if self._positional else [array[0], {}]
            return convert_leniently(array, self._array, (bytes,))
        except (ValueError, RecursionError):
            raise self._explain(error, data) from None

    @staticmethod
    def split_id(data: bytes) -> tuple[bytes, str]:
        """The event array without the idempotency key, and the key; empty if there is none.

        The key follows the command's own arguments, as an object `{"idempotencyKey": "…"}`. A bare string is not a key:
        a client may send one argument too many, and its next command would be taken for a repeat.
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
        # Older programs send the key as a bare string.
        return expected + (KEY_HINT if self._has_extra_string(data) else "")

    def _has_extra_string(self, data: bytes) -> bool:
        try:
            array = msgspec.json.decode(data, type=list[msgspec.Raw])
        except (ValueError, RecursionError):
            return False
        arguments = len(self._fields) if self._positional else 1
        return len(array) > 1 + arguments and bytes(array[-1]).startswith(b'"')


def refuse_nul(data: bytes) -> None:
    """Raise InvalidDataError if a text in this JSON contains the character U+0000."""
    # The first check is cheap, and almost always the only one.
    if _NUL in data and _ESCAPED_NUL.search(data):
        raise InvalidDataError("", "text without NUL characters: databases and many clients cannot hold them")
