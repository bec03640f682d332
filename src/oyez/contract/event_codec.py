"""The codec of an event: between payloads and the bytes on the wire. It is built once for each event.

A codec knows types, not who may send what.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from types import GenericAlias
from typing import Any, Generic, TypeVar

import msgspec

from oyez.contract.arguments import (
    Arguments,
    UnknownFields,
    array_of,
    describe_arguments,
    find_shape,
    shapes_of,
    split_fields,
)
from oyez.contract.codec import (
    encode_json,
    has_bytes,
    refuse_nul,
    write_scalar,
)
from oyez.contract.lenient import (
    check_fields,
    decode_leniently,
    describe_type,
    fields_with_whole,
    settle,
)
from oyez.contract.named_fields import NamedFields, check_same
from oyez.contract.patterns import Pattern
from oyez.contract.schema import count_required
from oyez.contract.types import Payload, read_scalar
from oyez.contract.validation import REQUIRED, explain, explain_unknown, split_message
from oyez.errors import InvalidDataError
from oyez.protocol.binary import BUILTIN_TYPES, Spans, locate, mark_bytes

P = TypeVar("P", bound=Payload)

MAX_ERRORS = 20
"""Errors reported of one payload: more do not help, and an answer should not be longer than the request."""
_NOTHING = (b"", b"null", b"{}", b"[]")
"""The data of an event without arguments; some programs always send an object or a list."""


def read_exact(kind: type[Any], value: Any) -> Any:
    """msgspec's hook that accepts values only in the form that clients receive."""
    return kind.from_exact(value)


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
