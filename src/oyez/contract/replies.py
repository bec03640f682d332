"""The answers of a contract as data: the form of acknowledgements, and the name, form and codes of errors.

A contract states both once, for all its commands, and a command may differ. `runtime/replies.py` encodes the answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import new_class
from typing import Any, TypeAlias, TypeVar, get_args

from msgspec import UNSET

from oyez import errors
from oyez.contract.calls import plainly
from oyez.contract.types import Joined, Payload
from oyez.errors import Refusal

ERROR_EVENT = "error"
"""The event that reports a refusal to a client, unless the contract gives it another name."""
OTHERS = "*"
"""As a code: all codes of Oyez that are not listed."""
OYEZ_CODES = frozenset(value.code for value in vars(errors).values() if isinstance(value, Refusal))
"""The codes of the refusals that every contract has."""

SOURCES: Mapping[str, str] = {
    "code": "the code, as text or number",
    "message": "the sentence for people",
    "details": "an object with what else is known, such as the field that does not fit",
    "details.…": "one member of the details, such as `details.retry_after`; omitted if there is none",
    "retry_after_ms": "`details.retry_after` in whole milliseconds; omitted if there is none",
    "status": "the number of the HTTP status that fits",
    "timestamp": "the time in ISO 8601",
    "timestamp_ms": "the time in milliseconds since 1970",
    "event": "the name of the command that failed; omitted if it is another error",
    "id": "the idempotency key of the command; omitted if it has none",
}
"""What a member of an error can hold."""
DETAIL = "details."
MAYBE_ABSENT = ("event", "id", "retry_after_ms")
"""Sources that some errors do not have."""

Shape: TypeAlias = str | Mapping[str, Any] | list[Any]
"""The form of an error: a source, or an object or array of sources, objects, arrays, and constants as `Literal[…]`."""

DEFAULT_SHAPE: Shape = {"code": "code", "message": "message", "details": "details", "timestamp": "timestamp"}


@plainly
@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgements:
    """The form in which commands are acknowledged, for success and failure."""

    flag: str | None = "ok"
    """The member that says whether the command succeeded; None for none."""
    values: tuple[Any, Any] = (True, False)
    """The values of the flag: of success, and of failure."""
    data: str | None = None
    """The member that holds the reply; None: the reply's fields are beside the flag."""
    error: str | None = "error"
    """The member that holds the error; None: the error's members are beside the flag."""
    error_as: Shape = "object"
    """What the error is: "object" for the form of the contract's errors, only its "message" or its "code", or a form
    of its own."""
    room: str | None = "room"
    """The field of a reply to a command that only joins or leaves a room, with the room's name; None for none."""
    node_style: bool = False
    """True for two arguments, the error and the reply: `(null, reply)` or `(error)`. There are no members then."""
    empty: bool = False
    """True if a success without a reply is acknowledged without an argument: `callback()`."""
    failure: Any = None
    """The whole acknowledgement of a failure, if it is not an error in its place: "message", "code", a constant such as
    `Literal[False]`, or several arguments: `(Literal[False], "message")`. Then there is no member for the error."""

    @property
    def joined(self) -> type[Payload] | None:
        """The reply to a command that only joins or leaves a room; its field is `room` in Python."""
        if self.room is None or self.room == "room":
            return Joined if self.room else None
        return build_payload("Joined", "room", str, on_wire=self.room)

    @property
    def names_fields(self) -> bool:
        """True if a reply has to be an object, because its fields are beside the flag."""
        return not self.node_style and self.data is None and self.flag is not None

    @property
    def reserved(self) -> str | None:
        """The name that no field of a reply may have."""
        if self.node_style or self.data is not None:
            return None
        return self.flag or (self.error if self.failure is None else None)

    @property
    def takes_several(self) -> bool:
        """True if a reply can be several arguments."""
        return self.node_style or (self.flag is None and self.data is None)

    def succeeded(self, answer: Any) -> bool:
        """True if a command has succeeded that was acknowledged with `answer`: one argument, or a list of several."""
        if self.failure is not None and not self.node_style:
            [first, *others] = self.failure_parts(Errors())
            given = answer[0] if others and isinstance(answer, list) and answer else answer
            return not isinstance(given, str) if isinstance(first, str) else given != get_args(first)[0]
        if self.empty and answer is None:
            return True
        if self.node_style:
            return answer is None or (isinstance(answer, list) and answer[:1] == [None])
        if self.flag is not None:
            return isinstance(answer, dict) and answer.get(self.flag) == self.values[0]
        return not isinstance(answer, dict) or self.error not in answer

    def failure_parts(self, errors: "Errors") -> Sequence[Any]:
        """The form of the error in the acknowledgement of a failure, or of each of its arguments."""
        if self.failure is None:
            return (errors.form if self.error_as == "object" else self.error_as,)
        return self.failure if isinstance(self.failure, tuple) else (self.failure,)

    def shows_code(self, errors: "Errors") -> bool:
        """True if the acknowledgement of a failure has the code of its error."""
        return any(has_source(part, "code") for part in self.failure_parts(errors))


@plainly
@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """The errors that clients receive: the event, its form, and the codes and messages in it.

    Of a contract, it holds for all errors; of a command, it is laid over the contract's.
    """

    event: str | None = None
    """The name of the event that reports an error to a client that asked for no acknowledgement; None: `error`."""
    shape: Shape | None = None
    """The form of the event's data and of the error in an acknowledgement; None: DEFAULT_SHAPE."""
    codes: Mapping[str, str | int] = field(default_factory=dict)
    """For codes of Oyez or of the contract, the codes that clients receive instead. `*`: all others of Oyez."""
    statuses: Mapping[str, int] = field(default_factory=dict)
    """For codes of Oyez or of the contract, the numbers that `status` in a form stands for. `*`: all others of Oyez."""
    messages: Mapping[str, str] = field(default_factory=dict)
    """For codes of Oyez or of the contract, the messages that clients receive. `*`: all others of Oyez."""
    connect: Mapping[str, str] = field(default_factory=dict)
    """For codes of Oyez or of the contract, the message of `connect_error`. `*`: all others of Oyez."""
    connect_shape: Shape | None = None
    """The form of `connect_error`'s `data`; None: Oyez' own code, and the details beside it."""
    connect_fields: type[Payload] | None = None
    """The further members of `connect_error`'s `data`, which the hook `refused` returns as such a payload."""

    @property
    def name(self) -> str:
        """The name of the event."""
        return self.event or ERROR_EVENT

    @property
    def form(self) -> Shape:
        """The form of the event's data."""
        return DEFAULT_SHAPE if self.shape is None else self.shape

    @property
    def shows_code(self) -> bool:
        """True if the form has the code."""
        return has_source(self.form, "code")

    def over(self, general: "Errors") -> "Errors":
        """The errors of a command, in a contract with these `general` errors."""
        return replace(
            self,
            event=self.event or general.event,
            shape=general.shape if self.shape is None else self.shape,
            codes={**general.codes, **self.codes},
            statuses={**general.statuses, **self.statuses},
            messages={**general.messages, **self.messages},
        )

    def code(self, code: str) -> str | int:
        """The code that clients receive in place of Oyez' own one."""
        return _find(self.codes, code, code)

    def status(self, refusal: Refusal) -> int:
        """The number that clients receive as the status of a refusal."""
        return _find(self.statuses, refusal.code, refusal.status)

    def message(self, code: str, message: str) -> str:
        """The message that clients receive in place of `message`."""
        return _find(self.messages, code, message)

    def connect_message(self, code: str, message: str) -> str:
        """`connect_error`'s message in place of `message`."""
        return _find(self.connect, code, self.message(code, message))


T = TypeVar("T")


def _find(mapping: Mapping[str, T], code: str, default: T) -> T:
    """The value of `code` in a mapping that may have a value for all others of Oyez."""
    return mapping.get(code, mapping.get(OTHERS, default) if code in OYEZ_CODES else default)


def build_payload(name: str, field: str, kind: Any, on_wire: str | None = None) -> type[Payload]:
    """A payload with one field, whose name on the wire may differ."""
    body = {"__annotations__": {field: kind}, "__doc__": Payload.__doc__}
    rename = {"rename": {field: on_wire}} if on_wire else {}
    return new_class(name, (Payload,), rename, lambda members: members.update(body))


def fill_shape(shape: Any, values: Mapping[str, Any]) -> Any:
    """`shape` with the value of each source. Members without a value are omitted."""
    if isinstance(shape, str):
        if shape.startswith(DETAIL):
            return values["details"].get(shape.removeprefix(DETAIL), UNSET)
        return values.get(shape, UNSET)
    if isinstance(shape, list):
        # An element keeps its place: it is null without a value.
        elements = [fill_shape(each, values) for each in shape]
        return [None if value is UNSET else value for value in elements]
    if not isinstance(shape, Mapping):
        return get_args(shape)[0]
    filled = {name: fill_shape(member, values) for name, member in shape.items()}
    return {name: value for name, value in filled.items() if value is not UNSET}


def has_source(shape: Any, source: str) -> bool:
    """True if a member of `shape` holds `source`."""
    members = shape.values() if isinstance(shape, Mapping) else shape if isinstance(shape, list) else ()
    return shape == source or any(has_source(each, source) for each in members)
