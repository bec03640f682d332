"""Codecs convert events and commands between bytes and typed objects. A codec is built once for each type.

Decoding takes one msgspec pass, and raises only InvalidDataError. A codec knows types, not who may send what.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cached_property, lru_cache
from types import GenericAlias
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta, inspect

from oyez.contract.arguments import (
    Arguments,
    UnknownFields,
    array_of,
    describe_arguments,
    find_shape,
    shapes_of,
    split_fields,
)
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
from oyez.contract.named_fields import NamedFields, check_same
from oyez.contract.patterns import Pattern
from oyez.contract.schema import count_required, describe, iter_types, options
from oyez.contract.types import SCALARS, Command, Money, Payload, Time, read_scalar
from oyez.contract.validation import REQUIRED, explain, explain_unknown, split_message
from oyez.errors import ContractError, InvalidDataError
from oyez.protocol.binary import BUILTIN_TYPES, Spans, locate, mark_bytes
from oyez.protocol.engineio import MalformedError
from oyez.protocol.socketio import find_placeholders
from oyez.tracing import read_trace

P = TypeVar("P", bound=Payload)
T = TypeVar("T")

MAX_ID = 128
"""Characters of a command's idempotency key: a UUID has 36."""
KEY_HINT = '; a key for repeats is {"idempotencyKey": "…"}, not a string'
MAX_ERRORS = 20
"""Errors reported of one payload: more do not help, and an answer should not be longer than the request."""

_NOTHING = (b"", b"null", b"{}", b"[]")
"""The data of an event without arguments; some programs always send an object or a list."""
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


class EventCodec(Generic[P]):
    """The codec of one event. `payload` is its class, or a union of classes with tags."""

    def __init__(
        self,
        name: str,
        payload: type[P],
        arguments: Arguments = "object",
        unknown_fields: UnknownFields = "refuse",
        *,
        pattern: Pattern | None = None,
        name_only: bool = False,
    ) -> None:
        """`pattern` is the name if it has placeholders. With `name_only`, the fields that fill them are not in the data
        on the wire."""
        kind: Any = payload
        self._named = NamedFields(pattern, payload) if pattern is not None else None
        self._cut = frozenset(pattern.placeholders) if pattern is not None and name_only else frozenset()
        """Wire names of fields that only the name has."""
        self._name = name
        self._payload = kind
        self._ignores = unknown_fields == "ignore"
        self._head = msgspec.json.encode([name])[:-1]
        self._array = array_of(kind) if arguments == "positional" else None
        self._decode = msgspec.json.Decoder(self._array or kind, dec_hook=read_scalar).decode
        self._decode_exactly = msgspec.json.Decoder(self._array or kind, dec_hook=read_exact).decode
        self._whole = {shape: whole for shape in shapes_of(kind) if (whole := fields_with_whole(shape))}
        self.binary = has_bytes(kind)
        """True if payloads may have binary values: then `wrap_binary` tells where they are."""

    def decode_payload(self, data: bytes) -> P:
        """The payload in `data`, JSON in UTF-8. Raises InvalidDataError with the field's path on the wire.

        The data of positional arguments is nothing or null if there are none, the value of a single one, and an array
        of several.
        """
        array = self._to_array(data)
        try:
            decoded = self._decode(array)
        except msgspec.ValidationError as error:
            decoded = self._decode_leniently(array, error)
        except (ValueError, RecursionError) as error:
            raise self._explain(error, array) from None
        payload = decoded if self._array is None else self._payload(**msgspec.structs.asdict(decoded))
        self._check_whole(payload)
        refuse_nul(data)
        return payload  # type: ignore[no-any-return]

    def _to_array(self, data: bytes) -> bytes:
        """The array of positional arguments; other data is unchanged."""
        if self._array is None:
            if not data:
                raise InvalidDataError("", REQUIRED)
            return data
        count = len(self._array.__struct_fields__)
        if count > 1:
            return data or b"[]"
        if count == 0 and data in _NOTHING:
            return b"[]"
        return b"[" + data + b"]"

    def join(self, arguments: Sequence[bytes]) -> bytes:
        """The data of an event whose arguments a program has sent one by one, as `decode_payload` takes it.

        Raises InvalidDataError if there are too many or too few.
        """
        most = 1 if self._array is None else len(self._array.__struct_fields__)
        if most <= 1 and len(arguments) == 1:
            return arguments[0]
        if len(arguments) > most or self._array is None:
            names = () if self._array is None else self._payload.__struct_encode_fields__
            wanted = describe_arguments(names, count_required(self._payload)) if names else "no arguments"
            wanted = wanted if self._array is not None else "one argument, the payload"
            raise InvalidDataError("", f"{wanted}, not {len(arguments)}")
        return b"[%b]" % b",".join(arguments) if most > 1 else b""

    def _decode_leniently(self, array: bytes, error: msgspec.ValidationError) -> Any:
        """Raises InvalidDataError for the first `error` if other forms do not help."""
        try:
            return decode_leniently(array, self._array or self._payload, ignore_unknown=self._ignores)
        except (ValueError, RecursionError):
            raise self._explain(error, array) from None

    def _explain(self, error: Exception, array: bytes) -> InvalidDataError:
        if self._array is None:
            return explain(error, self._name, find_shape(self._payload, array), data=array)
        if not isinstance(error, msgspec.ValidationError):
            return explain(error, self._name, self._payload)
        names, required = self._payload.__struct_encode_fields__, count_required(self._payload)
        path = split_message(str(error))[1]
        if path and isinstance(path[0], int):
            return explain(error, self._name, self._payload, (names[path[0]],), array)
        if len(names) == 1 and array == b"[]":
            return InvalidDataError(names[0], REQUIRED)
        return InvalidDataError("", f"an array of {describe_arguments(names, required)}" if names else "no data")

    def find_errors(self, data: bytes) -> list[InvalidDataError]:
        """The errors in `data`, the first one of each field. Empty if there are none, or if `data` has another form."""
        kind = self._array or find_shape(self._payload, data)
        if len(shapes_of(kind)) > 1:
            return []
        try:
            settled = settle(msgspec.json.decode(self._to_array(data)), describe_type(kind), self._ignores)
            encoded = msgspec.json.encode(settled)
            if self._array is None:
                given = msgspec.json.decode(encoded, type=dict[str, msgspec.Raw])
                given.pop(kind.__struct_config__.tag_field, None)
            else:
                names = self._payload.__struct_encode_fields__
                given = dict(zip(names, msgspec.json.decode(encoded, type=list[msgspec.Raw]), strict=False))
        except (ValueError, RecursionError, InvalidDataError):
            return []
        struct = kind if self._array is None else self._payload
        errors = []
        for name, required, decode in self._fields_of(struct):
            value = given.pop(name, None)
            if value is not None:
                only = b"[" + bytes(value) + b"]"
                try:
                    decode(only)
                except (ValueError, RecursionError) as error:
                    errors.append(explain(error, self._name, struct, (name,), only))
            elif required:
                errors.append(InvalidDataError(name, REQUIRED))
        errors += [explain_unknown(name, self._name, struct) for name in given]
        return errors[:MAX_ERRORS]

    def _fields_of(self, struct: type[msgspec.Struct]) -> list[tuple[str, bool, Callable[[bytes], object]]]:
        """Each field's name, True if it is required, and a decoder of its value.

        The decoder takes an array with the value as its only element, so the path in a message begins with an index
        that the field's name can replace.
        """
        if struct not in self._decoders:
            self._decoders[struct] = [
                (
                    field.encode_name,
                    field.required,
                    msgspec.json.Decoder(GenericAlias(tuple, (field.type,)), dec_hook=read_scalar).decode,
                )
                for field in msgspec.structs.fields(struct)
            ]
        return self._decoders[struct]

    @cached_property
    def _decoders(self) -> dict[type[msgspec.Struct], list[tuple[str, bool, Callable[[bytes], object]]]]:
        """Made for an event when its data is wrong for the first time."""
        return {}

    def encode_payload(self, payload: P) -> bytes:
        """The arguments as JSON, between commas if there are several. Raises InvalidDataError if a value does not fit.

        mypy checks the types of a payload made in Python, but not its lengths, ranges and patterns.
        """
        try:
            data = encode_json(payload if self._array is None else split_fields(payload))
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidDataError("", f"a payload of {self._name} ({error})") from None
        self._check_exactly(data)
        if self._cut:
            return self.encode_decoded(payload)
        return data if self._array is None else data[1:-1]

    def encode_data(self, payload: P) -> bytes:
        """The data of the event as `decode_payload` takes it, also with the fields that are only in its name.

        Raises InvalidDataError if a value does not fit.
        """
        self.encode_payload(payload)
        data = encode_json(payload if self._array is None else split_fields(payload))
        return data if self._array is None or self._has_several else data[1:-1]

    def encode_decoded(self, payload: P) -> bytes:
        """`encode_payload` for a payload that comes from `decode_payload`."""
        encoded = encode_json(self._select(payload))
        return encoded if self._array is None else encoded[1:-1]

    def _select(self, payload: P) -> Any:
        """What is on the wire of a payload: an object, or a list of arguments."""
        if self._array is not None:
            values = split_fields(payload)
            if not self._cut:
                return values
            names = self._payload.__struct_encode_fields__
            return [value for name, value in zip(names, values, strict=False) if name not in self._cut]
        if not self._cut:
            return payload
        plain = msgspec.to_builtins(payload, builtin_types=BUILTIN_TYPES, enc_hook=write_scalar)
        return {name: value for name, value in plain.items() if name not in self._cut}

    def check_exact(self, data: bytes) -> None:
        """Raises InvalidDataError unless `data`, as `decode_payload` takes it, has the form that clients receive."""
        self._check_exactly(self._to_array(data))

    def _check_exactly(self, array: bytes) -> None:
        try:
            payload = self._decode_exactly(array)
        except (ValueError, RecursionError) as error:
            raise self._explain(error, array) from None
        self._check_whole(payload)
        refuse_nul(array)

    def _check_whole(self, payload: Any) -> None:
        if self._whole:
            # The fields of an array of arguments have the names of the payload's.
            kind = self._payload if self._array is not None else type(payload)
            check_fields(payload, self._whole.get(kind, ()))

    def wrap(self, data: bytes, payload: P | None = None) -> bytes:
        """The Socket.IO event array around encoded arguments: `["chat:message",{…}]`.

        The `payload` fills the placeholders of the name. Raises InvalidDataError if one of its values cannot do that.
        """
        head = self._head
        if self._named is not None and payload is not None:
            head = msgspec.json.encode([self._named.name(payload)])[:-1]
        return b"%b,%b]" % (head, data) if data else head + b"]"

    def add_named(self, data: bytes, name: str) -> bytes:
        """Data as `decode_payload` takes it, from data that may lack the fields whose values are in the name.

        Raises InvalidDataError if a value in the name does not fit, or differs from the field's.
        """
        if self._named is None:
            return data
        given = self._split_data(data)
        if given is None:
            # Decoding the data will say what is wrong.
            return data
        for field, value in self._named.read(name).items():
            if field in given:
                check_same(field, msgspec.json.decode(given[field]), value)
            else:
                given[field] = msgspec.Raw(msgspec.json.encode(value))
        if self._array is None:
            return msgspec.json.encode(given)
        names = self._payload.__struct_encode_fields__
        ordered = [given[field] for field in names if field in given]
        return msgspec.json.encode(ordered if len(names) > 1 else ordered[0])

    def _split_data(self, data: bytes) -> dict[str, msgspec.Raw] | None:
        """The values in data as it is on the wire, by the fields' wire names; None if it has another form."""
        try:
            if self._array is None:
                return msgspec.json.decode(data or b"{}", type=dict[str, msgspec.Raw])
            names = [name for name in self._payload.__struct_encode_fields__ if name not in self._cut]
            if len(names) > 1:
                values = msgspec.json.decode(data or b"[]", type=list[msgspec.Raw])
            else:
                values = [msgspec.Raw(data)] if names and data else []
            return dict(zip(names, values, strict=False)) if len(values) <= len(names) else None
        except (ValueError, RecursionError):
            return None

    def wrap_binary(self, payload: P) -> tuple[bytes, Spans]:
        """The event array of a payload that has been checked, and the places of its binary values."""
        return locate(self.wrap(self.encode_marked(payload), payload))

    def encode_marked(self, payload: P) -> bytes:
        """`encode_decoded`, with a mark for `locate` before each binary value."""
        plain = msgspec.to_builtins(self._select(payload), builtin_types=BUILTIN_TYPES, enc_hook=write_scalar)
        marked = encode_json(mark_bytes(plain))
        return marked if self._array is None else marked[1:-1]

    def decode_event(self, data: bytes) -> P:
        """The payload of an event array that `wrap` has made. Raises InvalidDataError."""
        if self._named is not None:
            name, *values = msgspec.json.decode(data, type=list[msgspec.Raw])
            given = b",".join(map(bytes, values))
            left = len(self._payload.__struct_fields__) - len(self._cut)
            several = self._array is not None and left > 1
            return self.decode_payload(self.add_named(b"[%b]" % given if several else given, msgspec.json.decode(name)))
        arguments = data[len(self._head) + 1 : -1]
        return self.decode_payload(b"[%b]" % arguments if self._has_several else arguments)

    @property
    def _has_several(self) -> bool:
        """True if the event has several positional arguments."""
        return self._array is not None and len(self._array.__struct_fields__) > 1

    def encode_event(self, payload: P) -> bytes:
        """The event array of a payload. Raises InvalidDataError if a value does not fit its type."""
        return self.wrap(self.encode_payload(payload), payload)


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
