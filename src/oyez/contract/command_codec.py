"""The codec of a command: from the bytes that a client sends to a typed command. It is built once for each command.

A codec knows types, not who may send what.
"""

from dataclasses import replace
from types import GenericAlias
from typing import Annotated, Any

import msgspec
from msgspec import Meta, inspect

from oyez.contract.arguments import (
    array_of,
    describe_arguments,
    find_shape,
)
from oyez.contract.codec import (
    has_bytes,
    refuse_nul,
)
from oyez.contract.declared import DeclaredCommand
from oyez.contract.lenient import (
    check_fields,
    convert_leniently,
    decode_again,
    fields_with_whole,
)
from oyez.contract.named_fields import NamedFields
from oyez.contract.patterns import Pattern
from oyez.contract.schema import count_required, options
from oyez.contract.types import Command, read_scalar
from oyez.contract.validation import explain, split_message
from oyez.errors import InvalidDataError
from oyez.protocol.engineio import MalformedError
from oyez.protocol.socketio import find_placeholders
from oyez.tracing import read_trace

MAX_ID = 128
"""Characters of a command's idempotency key: a UUID has 36."""
KEY_HINT = '; a key for repeats is {"idempotencyKey": "…"}, not a string'


class _Traced(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The last argument of a command with a trace context, and perhaps a key."""

    traceparent: str
    tracestate: str = ""
    idempotency_key: msgspec.Raw = msgspec.Raw()


_decode_traced = msgspec.json.Decoder(_Traced).decode


def split_trace(data: bytes) -> tuple[bytes, str]:
    """A command's event array without the trace context that the client has given, and this context.

    It stands beside or in place of the idempotency key: `{"traceparent": "…", "tracestate": "…"}`. It is empty if there
    is no valid one.
    """
    if b'"traceparent"' not in data:
        return data, ""
    try:
        *rest, last = msgspec.json.decode(data, type=list[msgspec.Raw])
        given = _decode_traced(last)
    except (ValueError, RecursionError):
        return data, ""
    kept = [bytes(one) for one in rest]
    if key := bytes(given.idempotency_key):
        kept.append(b'{"idempotencyKey":%b}' % key)
    return b"[" + b",".join(kept) + b"]", read_trace((given.traceparent,), (given.tracestate,))


class _Key(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The idempotency key of a command, as its last argument."""

    idempotency_key: Annotated[str, Meta(min_length=1, max_length=MAX_ID)]


_decode_key = msgspec.json.Decoder(_Key).decode


class CommandCodec:
    """The codec of one command."""

    def __init__(self, declared: DeclaredCommand) -> None:
        self._name = declared.name
        self._command = declared.command
        self._shapes = declared.shapes
        self._ignores = declared.unknown_fields == "ignore"
        self._positional = declared.arguments == "positional"
        fields = msgspec.structs.fields(declared.shapes[0]) if len(declared.shapes) == 1 else ()
        self._fields = [field.name for field in fields]
        self._wire_names = [field.encode_name for field in fields]
        # The name has already selected this codec, so it only has to be a string.
        self._array: Any = (
            array_of(declared.command, str) if self._positional else GenericAlias(tuple, (str, declared.command))
        )
        self._decode = msgspec.json.Decoder(self._array, dec_hook=read_scalar).decode
        self._required = count_required(declared.command) if fields else len(declared.shapes) - 1
        self._takes_binary = has_bytes(declared.command)
        self._whole = {shape: whole for shape in declared.shapes if (whole := fields_with_whole(shape))}
        # An optional argument that may be any object would take the idempotency key for its value.
        optional = [field.type for field in fields if self._positional and not field.required]
        self._id_first = any(
            isinstance(option, inspect.DictType | inspect.AnyType)
            for kind in optional
            for option in options(inspect.type_info(kind))
        )

    def decode(self, data: bytes, attachments: tuple[bytes, ...] = ()) -> tuple[Command, str]:
        """The command in an event array, and its idempotency key; empty if it has none. Raises as `decode_command`."""
        if not self._id_first:
            try:
                return self._finish(self._decode_array(data, attachments), data), ""
            except (msgspec.ValidationError, InvalidDataError):
                # Look for a key only if the command does not fit: most commands have none.
                pass
            except (ValueError, RecursionError) as error:
                raise self._explain(error, data) from None
        data, id = self.split_id(data)
        return self.decode_command(data, attachments), id

    def decode_command(self, data: bytes, attachments: tuple[bytes, ...] = ()) -> Command:
        """The command in an event array in which placeholders stand for `attachments`.

        Raises InvalidDataError with the field's path on the wire.
        """
        try:
            array = self._decode_array(data, attachments)
        except msgspec.ValidationError as error:
            array = self._decode_leniently(data, attachments, error)
        except (ValueError, RecursionError) as error:
            raise self._explain(error, data) from None
        return self._finish(array, data)

    def _decode_array(self, data: bytes, attachments: tuple[bytes, ...]) -> Any:
        return self._decode_binary(data, attachments) if attachments else self._decode(data)

    def _finish(self, array: Any, data: bytes) -> Command:
        refuse_nul(data)
        command: Command = self._build(array) if self._positional else array[1]
        if self._whole:
            check_fields(command, self._whole.get(type(command), ()))
        return command

    def _build(self, arguments: msgspec.Struct) -> Command:
        values = msgspec.structs.astuple(arguments)[1:]
        return self._shapes[0](**dict(zip(self._fields, values, strict=True)))

    def _decode_leniently(self, data: bytes, attachments: tuple[bytes, ...], error: msgspec.ValidationError) -> Any:
        """Raises InvalidDataError for the first `error` if other forms do not help."""
        try:
            array: Any = decode_again(data, list)
            if attachments:
                array = find_placeholders(array, attachments)
            if not self._required and array and array[1:] in ([], [None], [{}]):
                # A command without required fields accepts no argument, null, or an empty object.
                array = [array[0]] if self._positional else [array[0], {}]
            return convert_leniently(array, self._array, (bytes,), ignore_unknown=self._ignores)
        except (ValueError, RecursionError):
            raise self._explain(error, data) from None

    @staticmethod
    def split_id(data: bytes) -> tuple[bytes, str]:
        """The event array without the idempotency key and a trace context, and the key; empty if there is none.

        The key follows the command's own arguments, as an object `{"idempotencyKey": "…"}`. A bare string is not a key:
        a client may send one argument too many, and its next command would be taken for a repeat.
        """
        data, _ = split_trace(data)
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
        if self._positional:
            return explain(error, self._name, self._command, (self._wire_names[index - 1],), data)
        shape = self._command
        if len(self._shapes) > 1:
            shape = find_shape(self._command, bytes(msgspec.json.decode(data, type=list[msgspec.Raw])[1]))
        return explain(error, self._name, shape, (), data)

    def _expected_arguments(self, data: bytes) -> str:
        names = ", ".join(self._wire_names)
        if self._positional:
            expected = describe_arguments(self._wire_names, self._required)
        elif len(self._shapes) > 1:
            tags = ", ".join(str(shape.__struct_config__.tag) for shape in self._shapes)
            expected = f"one argument, an object whose {self._shapes[0].__struct_config__.tag_field} is one of {tags}"
        else:
            expected = f"one argument, an object of {names}" if names else "one argument, an empty object"
        # Older programs send the key as a bare string.
        return expected + (KEY_HINT if self._has_extra_string(data) else "")

    def _has_extra_string(self, data: bytes) -> bool:
        try:
            array = msgspec.json.decode(data, type=list[msgspec.Raw])
        except (ValueError, RecursionError):
            return False
        arguments = len(self._fields) if self._positional else 1
        return len(array) > 1 + arguments and bytes(array[-1]).startswith(b'"')


class NamedCommandCodec(CommandCodec):
    """The codec of a command whose name has values of its fields."""

    def __init__(self, declared: DeclaredCommand, pattern: Pattern) -> None:
        super().__init__(replace(declared, command=declared.sent))
        self._complete = declared.command
        self._named = NamedFields(pattern, declared.command)

    def _finish(self, array: Any, data: bytes) -> Command:
        sent = super()._finish(array, data)
        name: str = msgspec.json.decode(msgspec.json.decode(data, type=list[msgspec.Raw])[0])
        values = {field: getattr(sent, field) for field in sent.__struct_fields__}
        command: Command = self._complete(**self._named.fill(values, name))
        return command


def make_command_codec(declared: DeclaredCommand) -> CommandCodec:
    """The codec of a command."""
    return CommandCodec(declared) if declared.pattern is None else NamedCommandCodec(declared, declared.pattern)
