"""The answers that clients receive: acknowledgements, error events and CONNECT_ERROR, as schemas and as examples.

An acknowledgement is described as the list of its arguments: one, two in node style, or none.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import msgspec

from oyez.contract.codec import encode_json
from oyez.contract.declared import DeclaredCommand
from oyez.contract.examples import NOW, make_example
from oyez.contract.policy import HasRole
from oyez.contract.replies import DETAIL, MAYBE_ABSENT, Acknowledgements, Errors, build_payload, fill_shape
from oyez.contract.types import Payload, Time
from oyez.documents.json_schema import Schema, Schemas
from oyez.errors import (
    ALREADY_DONE,
    BLOCKED,
    FORBIDDEN,
    FORBIDDEN_ROLE,
    FOREIGN_ROOM,
    ID_REUSED,
    IN_PROGRESS,
    INTERNAL,
    INVALID_DATA,
    KEYS_UNAVAILABLE,
    MALFORMED,
    NO_ROOM_IN_GATEWAY,
    RATE_LIMITED,
    ROOM_REQUIRED,
    SLOW_BODY,
    TIMED_OUT,
    TOKEN_EXPIRED,
    TOKEN_INVALID,
    TOKEN_MISSING,
    TOKEN_REVOKED,
    TOO_LARGE,
    UNAVAILABLE,
    UNKNOWN_EVENT,
    UNKNOWN_GATEWAY,
    UNKNOWN_NAMESPACE,
    UNKNOWN_ROOM,
    UNKNOWN_VERSION,
    UNSUPPORTED_PARSER,
    UNSUPPORTED_TYPE,
    Refusal,
)

_EVERYWHERE = (TOO_LARGE, RATE_LIMITED, UNAVAILABLE, INTERNAL, INVALID_DATA)
_TOKENS = (TOKEN_MISSING, TOKEN_INVALID, TOKEN_EXPIRED, KEYS_UNAVAILABLE)
REPEAT_REFUSALS: tuple[Refusal, ...] = (ID_REUSED, ALREADY_DONE, IN_PROGRESS)
"""Refusals of Oyez for a command with an idempotency key."""
CONNECT_REFUSALS: tuple[Refusal, ...] = (
    *_TOKENS,
    TOKEN_REVOKED,
    BLOCKED,
    FORBIDDEN,
    FORBIDDEN_ROLE,
    UNKNOWN_NAMESPACE,
    UNKNOWN_GATEWAY,
    NO_ROOM_IN_GATEWAY,
    UNKNOWN_VERSION,
    UNSUPPORTED_PARSER,
    MALFORMED,
    TIMED_OUT,
    *_EVERYWHERE,
)
"""Refusals of Oyez with which a CONNECT may be answered."""
COMMON_REFUSALS: tuple[Refusal, ...] = (
    UNKNOWN_EVENT,
    INVALID_DATA,
    FORBIDDEN,
    UNKNOWN_ROOM,
    TOO_LARGE,
    RATE_LIMITED,
    TIMED_OUT,
    UNAVAILABLE,
    INTERNAL,
    *REPEAT_REFUSALS,
)
"""Refusals of Oyez that do not depend on the command. Those of repeats need an idempotency key."""


def list_refusals(command: DeclaredCommand) -> tuple[Refusal, ...]:
    """Refusals of Oyez with which a command may be answered."""
    repeats = set(() if is_idempotent(command) else REPEAT_REFUSALS)
    roles = any(isinstance(part, HasRole) for part in command.who.parts())
    return (
        *(refusal for refusal in COMMON_REFUSALS if refusal not in repeats),
        *((FORBIDDEN_ROLE,) if roles else ()),
        *((FOREIGN_ROOM, ROOM_REQUIRED) if command.relays is not None else ()),
        *((*_TOKENS, TOKEN_REVOKED, BLOCKED) if command.signs_in else ()),
    )


def is_idempotent(command: DeclaredCommand) -> bool:
    """True if the command takes effect once if it is sent twice with the same idempotency key."""
    return not (command.joins or command.leaves or command.signs_in)


EVENT_REFUSALS: tuple[Refusal, ...] = (
    *COMMON_REFUSALS,
    FORBIDDEN_ROLE,
    FOREIGN_ROOM,
    ROOM_REQUIRED,
    MALFORMED,
    TOKEN_EXPIRED,
    TOKEN_REVOKED,
)
"""Refusals of Oyez that the event `error` reports."""
PUBLISH_REFUSALS: tuple[Refusal, ...] = (
    *_TOKENS,
    FORBIDDEN,
    UNKNOWN_EVENT,
    UNKNOWN_ROOM,
    FOREIGN_ROOM,
    ROOM_REQUIRED,
    MALFORMED,
    UNSUPPORTED_TYPE,
    SLOW_BODY,
    ID_REUSED,
    ALREADY_DONE,
    IN_PROGRESS,
    *_EVERYWHERE,
)
"""Refusals of Oyez with which a request over HTTP may be answered."""

_NULL: Schema = {"type": "null"}


def make_value_example(kind: Any) -> Any:
    """An example of a value of any type, in plain JSON."""
    if isinstance(kind, type) and issubclass(kind, Payload):
        return to_plain(make_example(kind))
    return to_plain(make_example(build_payload("Reply", "reply", kind)))["reply"]


def to_plain(value: Any) -> Any:
    """A value as it is decoded from JSON."""
    return msgspec.json.decode(encode_json(value))


class Answers:
    """The answers in one form: that of a contract, or of one of its commands."""

    def __init__(self, form: Acknowledgements, errors: Errors, own: Iterable[Refusal], schemas: Schemas) -> None:
        """`own` are the contract's own refusals."""
        self._form = form
        self._errors = errors
        self._own = tuple(own)
        self._schemas = schemas

    # Acknowledgements.

    def describe_success(self, command: DeclaredCommand, room: str | None) -> dict[str, Any]:
        """The acknowledgement with which a command succeeds; `room` is the room that it joins."""
        reply = command.reply
        if reply is None:
            return {"arguments": self._nothing(_NULL, self._flagged(0)), "example": self._nothing(None, self._flag(0))}
        schema = self._schemas.make(reply)
        example = to_plain(reply(room=room)) if room is not None else make_value_example(reply)
        if command.reply_arguments == "positional":
            return self._list_arguments(reply, schema, example)
        return {
            "arguments": self._wrap(self._form.data, schema, 0, _NULL),
            "example": self._wrap_example(self._form.data, example, 0),
        }

    def describe_failure(self, refusals: Sequence[Refusal], event: str) -> dict[str, Any]:
        """The acknowledgement with which the command `event` fails, for one of these refusals or the contract's own."""
        form, shown = self._form, self._example_refusal(refusals)
        parts = form.failure_parts(self._errors)
        schemas = [self._schema_of(part, refusals, event) for part in parts]
        examples = [self._fill(part, shown, event) for part in parts]
        if form.failure is not None or form.node_style:
            return {"arguments": schemas, "example": examples}
        return {
            "arguments": self._wrap(form.error, schemas[0], 1, None),
            "example": self._wrap_example(form.error, examples[0], 1),
        }

    def _list_arguments(self, reply: type[Payload], schema: Schema, example: Mapping[str, Any]) -> dict[str, Any]:
        """The acknowledgement whose arguments are the fields of a reply, after null in node style."""
        properties, fields = self._schemas.resolve(schema)["properties"], msgspec.structs.fields(reply)
        before = ["error"] if self._form.node_style else []
        return {
            "arguments": [_NULL for _ in before] + [properties[field.encode_name] for field in fields],
            "names": before + [field.encode_name for field in fields],
            "required": len(before) + sum(field.required for field in fields),
            "example": [None for _ in before] + list(example.values()),
        }

    def _nothing(self, null: Any, flagged: Any) -> list[Any]:
        if self._form.empty:
            return []
        return [null] if self._form.node_style else [flagged]

    def _flag(self, index: int) -> dict[str, Any]:
        form = self._form
        return {form.flag: form.values[index]} if form.flag is not None else {}

    def _flagged(self, index: int) -> Schema:
        flag = {name: {"const": value} for name, value in self._flag(index).items()}
        return {"type": "object", "properties": flag, "required": list(flag), "additionalProperties": False}

    def _wrap(self, member: str | None, inner: Schema, index: int, before: Schema | None) -> list[Schema]:
        """The arguments with a reply or an error of the schema `inner`, in the form's member or beside its flag."""
        if self._form.node_style:
            return [before, inner] if before is not None else [inner]
        flagged = self._flagged(index)
        if member is not None:
            flagged["properties"] |= {member: inner}
            flagged["required"] = [*flagged["required"], member]
            return [flagged]
        if not flagged["properties"]:
            return [inner]
        return [self._beside(flagged, inner)]

    def _beside(self, flagged: Schema, inner: Schema) -> Schema:
        """An object with the flag and the members of another object, which may have several shapes."""
        found = self._schemas.resolve(inner)
        if "anyOf" in found:
            return {"anyOf": [self._beside(flagged, shape) for shape in found["anyOf"]]}
        return {
            **{name: value for name, value in found.items() if name not in ("title", "description")},
            "properties": {**flagged["properties"], **found.get("properties", {})},
            "required": [*flagged["required"], *found.get("required", [])],
        }

    def _wrap_example(self, member: str | None, inner: Any, index: int) -> list[Any]:
        if self._form.node_style:
            return [None, inner] if index == 0 else [inner]
        flag = self._flag(index)
        if member is not None:
            return [{**flag, member: inner}]
        return [{**flag, **inner} if flag else inner]

    # Errors.

    def describe_event(self, refusals: Sequence[Refusal], event: str) -> dict[str, Any]:
        """The event that reports an error; `event` is the command of the example."""
        return {
            "payload": self._event_schema(refusals),
            "example": self._fill_event(self._example_refusal(refusals), event),
        }

    def describe_connect_error(self, refusals: Sequence[Refusal]) -> dict[str, Any]:
        """What `connect_error` has: the message of the error, and its `data`."""
        shape, shown = self._errors.connect_shape, refusals[0]
        if shape is None:
            codes = _enum(list(dict.fromkeys(refusal.code for refusal in (*refusals, *self._own))))
            properties = {"code": codes, **_CONNECT_DETAILS}
            data: Schema = {"type": "object", "properties": properties, "required": ["code"]}
            example: Any = {"code": shown.code}
        else:
            data, example = self._schema_of(shape, refusals, None), self._fill(shape, shown, "")
        fields = self._errors.connect_fields
        if fields is not None and data.get("type") == "object":
            # Optional: a refusal whose cause is temporary does not have them.
            data["properties"] |= self._schemas.resolve(self._schemas.make(fields))["properties"]
            example |= make_value_example(fields)
        return {
            "message": self._errors.connect_message(shown.code, shown.message),
            "data": data,
            "example": {"message": self._errors.connect_message(shown.code, shown.message), "data": example},
        }

    def describe_refusal(self, refusal: Refusal) -> dict[str, Any]:
        """A refusal: its own code and message, and those that clients receive instead."""
        connect = self._errors.connect_message(refusal.code, refusal.message)
        return {
            "code": refusal.code,
            "message": refusal.message,
            "temporary": refusal.temporary,
            "status": refusal.status,
            "client_code": self._errors.code(refusal.code),
            "client_message": self._errors.message(refusal.code, refusal.message),
            "connect_message": connect,
        }

    def _example_refusal(self, refusals: Sequence[Refusal]) -> Refusal:
        return FORBIDDEN if FORBIDDEN in refusals else refusals[0]

    def _code_schema(self, refusals: Iterable[Refusal]) -> Schema:
        return _enum(list(dict.fromkeys(self._errors.code(refusal.code) for refusal in (*refusals, *self._own))))

    def _event_schema(self, refusals: Sequence[Refusal]) -> Schema:
        schema = self._schema_of(self._errors.form, refusals, None)
        if self._errors.shape is None:
            schema["properties"]["details"] = {
                "type": "object",
                "properties": {
                    "event": {"type": "string", "description": "The name of the command that failed, if it was one."},
                    "id": {"type": "string", "description": "Its idempotency key, if it had one."},
                },
            }
        return schema

    def _schema_of(self, shape: Any, refusals: Sequence[Refusal], event: str | None) -> Schema:
        if isinstance(shape, str):
            return self._source_schema(shape, refusals, event)
        if isinstance(shape, list):
            return {"type": "array", "prefixItems": self._list_items(shape, refusals, event), "items": False}
        if not isinstance(shape, Mapping):
            return {"const": get_args(shape)[0]}
        properties = {name: self._schema_of(member, refusals, event) for name, member in shape.items()}
        required = [name for name, member in shape.items() if not self._may_be_absent(member, event)]
        return {"type": "object", "properties": properties, "required": required}

    def _list_items(self, shape: list[Any], refusals: Sequence[Refusal], event: str | None) -> list[Schema]:
        """The schemas of an array's elements, which are null without a value."""
        schemas = [self._schema_of(each, refusals, event) for each in shape]
        return [
            {"anyOf": [schema, _NULL]} if self._may_be_absent(each, event) else schema
            for each, schema in zip(shape, schemas, strict=True)
        ]

    def _may_be_absent(self, member: Any, event: str | None) -> bool:
        if not isinstance(member, str):
            return False
        return member.startswith(DETAIL) or (member in MAYBE_ABSENT and not (member == "event" and event))

    def _source_schema(self, source: str, refusals: Sequence[Refusal], event: str | None = None) -> Schema:
        if source == "code":
            return self._code_schema(refusals)
        if source == "event" and event is not None:
            return {"const": event}
        return dict(_SOURCE_SCHEMAS.get(source, {}))

    def _fill_event(self, shown: Refusal, event: str) -> Any:
        filled = self._fill(self._errors.form, shown, event)
        if self._errors.shape is None and event:
            filled["details"] = {"event": event}
        return filled

    def _fill(self, shape: Any, shown: Refusal, event: str) -> Any:
        return to_plain(fill_shape(shape, self._values(shown, event)))

    def _values(self, shown: Refusal, event: str) -> dict[str, Any]:
        """The value of each source of an error, without an idempotency key."""
        values: dict[str, Any] = {
            "code": self._errors.code(shown.code),
            "message": self._errors.message(shown.code, shown.message),
            "details": {},
            "status": self._errors.status(shown),
            "timestamp": NOW,
            "timestamp_ms": Time(NOW).millis,
        }
        return {**values, "event": event} if event else values


_CONNECT_DETAILS: Mapping[str, Schema] = {
    "retry_after": {"type": "number", "description": "Seconds to wait, if the client has connected too often."},
    "field": {"type": "string", "description": "The member of `auth` that does not fit, if one does not."},
    "expected": {"type": "string", "description": "What that member may be."},
}
"""Details that some refusals of a CONNECT have."""
_SOURCE_SCHEMAS: Mapping[str, Schema] = {
    "message": {"type": "string", "description": "One sentence for people."},
    "details": {"type": "object", "description": "What else is known, such as the field that does not fit."},
    "status": {"type": "integer", "minimum": 100, "maximum": 599},
    "timestamp": {"type": "string", "format": "date-time"},
    "timestamp_ms": {"type": "integer", "minimum": 0, "description": "Milliseconds since 1970."},
    "retry_after_ms": {"type": "integer", "minimum": 0, "description": "Milliseconds to wait, if it was over a limit."},
    "event": {"type": "string", "description": "The name of the command that failed."},
    "id": {"type": "string", "description": "The idempotency key of the command."},
}


def _enum(values: Sequence[str | int]) -> Schema:
    return {"enum": list(values)}
