"""What a back end answers: one JSON object for each kind of request.

Unknown members are refused: an answer with a typing error would otherwise be obeyed in part.
"""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from oyez.contract.types import Time, read_scalar
from oyez.contract.validation import explain
from oyez.errors import InvalidDataError
from oyez.runtime.publisher import Publication
from oyez.service.backends.caller import WrongAnswerError

MAX_CHANGES = 100
"""Rooms or members in one list of an answer: a command concerns a few, and a list of thousands would block others."""

T = TypeVar("T", bound="Answer")


class Refused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A refusal, by its code in the contract."""

    code: str
    message: Annotated[str, Meta(max_length=1_000)] | None = None
    """For people; by default the message of the contract."""
    details: dict[str, Any] = {}


class MemberChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A member of a room."""

    room: str
    subject: str
    """`user:ID`, `role:NAME`, or another kind of the contract."""
    part: str | None = None
    namespace: str | None = None
    """Required if several namespaces have the room."""


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """What every answer may be: a refusal."""

    error: Refused | None = None


Members = Annotated[tuple[MemberChange, ...], Meta(max_length=MAX_CHANGES)]
Rooms = Annotated[tuple[str, ...], Meta(max_length=MAX_CHANGES)]


class Effects(Answer, frozen=True, kw_only=True):
    """What is done because of an answer: in the order of these fields."""

    add_members: Members = ()
    join: Rooms = ()
    """Rooms that the client joins."""
    events: tuple[Publication, ...] = ()
    remove_members: Members = ()
    leave: Rooms = ()
    """Rooms that the client leaves."""

    @property
    def empty(self) -> bool:
        """True if nothing is to be done."""
        return not (self.add_members or self.join or self.events or self.remove_members or self.leave)


class CommandAnswer(Effects, frozen=True, kw_only=True):
    """The answer to a command."""

    data: Any = None
    """What the acknowledgement carries."""


class ConnectAnswer(Effects, frozen=True, kw_only=True):
    """The answer to a CONNECT."""

    allow: bool | UnsetType = UNSET


class RoomAnswer(Answer, frozen=True, kw_only=True):
    """The decision about a room."""

    allow: bool | UnsetType = UNSET


class SnapshotEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event of a snapshot, for the client alone."""

    event: str
    data: msgspec.Raw = msgspec.Raw(b"{}")


class WelcomeAnswer(Answer, frozen=True, kw_only=True):
    """The state of a room."""

    snapshot: Annotated[tuple[SnapshotEvent, ...], Meta(max_length=MAX_CHANGES)] | UnsetType = UNSET


class DisconnectAnswer(Answer, frozen=True, kw_only=True):
    """What follows from a disconnect."""

    add_members: Members = ()
    events: tuple[Publication, ...] = ()
    remove_members: Members = ()


class AuthenticatedUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A user, as the back end knows it."""

    id: str | int
    role: str | tuple[str, ...] | None = None
    claims: dict[str, Any] = {}
    expires_at: Time | None = None


class AuthenticateAnswer(Answer, frozen=True, kw_only=True):
    """The user of the credentials; null if they give no access."""

    user: AuthenticatedUser | UnsetType | None = UNSET


REQUIRED: Mapping[type[Answer], tuple[str, str]] = {
    ConnectAnswer: ("allow", '{"allow": true} or {"allow": false}'),
    RoomAnswer: ("allow", '{"allow": true} or {"allow": false}'),
    WelcomeAnswer: ("snapshot", '{"snapshot": […]}'),
    AuthenticateAnswer: ("user", '{"user": {"id": …}} or {"user": null}'),
}
"""The member that an answer must have if it is no refusal, and what is expected: without it, nothing is allowed."""


def decode_answer(body: bytes, kind: type[T]) -> T:
    """The answer in a body; an empty body is an empty object. Raises WrongAnswerError."""
    try:
        answer = msgspec.json.decode(body.strip() or b"{}", type=kind, dec_hook=read_scalar)
    except msgspec.ValidationError as error:
        raise describe_wrong(explain(error, "the answer", kind)) from None
    except (ValueError, RecursionError) as error:
        raise WrongAnswerError(f"JSON ({error})") from None
    if answer.error is None:
        name, expected = REQUIRED.get(kind, ("error", ""))
        if getattr(answer, name) is UNSET:
            raise WrongAnswerError(expected)
    elif answer != kind(error=answer.error):
        raise WrongAnswerError("nothing beside `error`, because a refusal changes nothing")
    return answer


def describe_wrong(error: InvalidDataError) -> WrongAnswerError:
    """The error of one field of an answer."""
    return WrongAnswerError(f"{error.field}: {error.expected}" if error.field else error.expected)
