"""Errors of the publishers: one class for each kind of failure.

    PublisherError
    ├── RequestRefusedError   the server refused the request: `status`, `code`, `detail`, `errors`
    │   ├── InvalidEventsError   events do not fit the contract: nothing was published
    │   ├── ServiceKeyError      the service key is missing, invalid or expired
    │   └── ServerBusyError      the server could not do it now, in all attempts
    ├── UnreachableError      no answer came: events may have been published
    ├── NotOyezError          another program answers at the address
    ├── QueueFullError        a queue holds as many events as it may
    ├── QueueClosedError      a queue was closed before it published the event
    └── UnpublishedError      a queue could not publish some of its events

ServerBusyError and UnreachableError are UnavailableErrors too: the same call may succeed later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from oyez.errors import INVALID_DATA, TOKEN_INVALID, OyezError, UnavailableError

SERVICE_KEY_HINT = "Use a key from `oyez token SYSTEM --service`, made with the server's own settings."
MAX_SHOWN = 5
"""Errors of events in one message; `errors` has all of them."""


@dataclass(frozen=True, slots=True)
class EventError:
    """What is wrong with one event."""

    index: int
    """The place of the event in the list; 0 for a single event."""
    field: str
    """The path of the field, as it is in the JSON: `message.text`, or `to`."""
    expected: str
    """What the field must be, or why the event is refused."""
    code: str
    got: str | None = None
    """What was there instead, if a type was wrong."""

    def __str__(self) -> str:
        if self.got is not None:
            return f"{self.field}: expected {self.expected}, got {self.got}"
        # What is said about anything but a field of the data is a sentence of its own.
        return f"{self.field}: {self.expected}" if self.code == INVALID_DATA.code else self.expected


class PublisherError(OyezError):
    """The base class of the publishers' errors.

    `idempotency_key` is the key of the request, None if it had none: the same call with this key is safe to repeat.
    """

    idempotency_key: str | None = None


class RequestRefusedError(PublisherError):
    """The server answered with an error. `status` is the HTTP status; `code` is empty if the answer has none.

    `errors` are those of single events. `problem` is the JSON of the answer (RFC 9457), as it came.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: Sequence[EventError] = (),
        *,
        problem: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        super().__init__(_describe(code, detail, errors))
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.problem = problem or {}
        self.idempotency_key = idempotency_key


class InvalidEventsError(RequestRefusedError):
    """Events do not fit the contract, or are too large. Nothing was published, not even the other events of the list.

    A publisher that has the contract raises it before it sends anything.
    """


class ServiceKeyError(RequestRefusedError):
    """The service key is missing, expired, or not a key of this system."""


class ServerBusyError(RequestRefusedError, UnavailableError):
    """The server asked to come again later, and still did so when the last attempt had to end."""


class UnreachableError(PublisherError, UnavailableError):
    """No answer came. The request may have been carried out: repeat the call with the error's `idempotency_key`."""

    def __init__(self, message: str, *, idempotency_key: str | None = None) -> None:
        super().__init__(message)
        self.idempotency_key = idempotency_key


class NotOyezError(PublisherError):
    """What answers at the address is another program, or a proxy that does not forward the request."""


class QueueFullError(PublisherError):
    """The queue holds as many events as it may. The event was not taken."""


class QueueClosedError(PublisherError):
    """The queue was closed before it published the event."""


class UnpublishedError(PublisherError):
    """Some events of a queue were not published. `count` is their number, `first` the first one's error."""

    def __init__(self, count: int, first: Exception) -> None:
        super().__init__(f"{count} events of the queue were not published. The first one: {first}")
        self.count = count
        self.first = first


def _describe(code: str, detail: str, errors: Sequence[EventError]) -> str:
    several = any(error.index for error in errors)
    texts = [f"[{error.index}] {error}" if several else str(error) for error in errors[:MAX_SHOWN]]
    if len(errors) > MAX_SHOWN:
        texts.append(f"and {len(errors) - MAX_SHOWN} more")
    described = f"{code}: {'; '.join(texts) or detail}" if code else detail
    return f"{described} {SERVICE_KEY_HINT}" if code == TOKEN_INVALID.code else described
