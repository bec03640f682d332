"""Requests of a publisher, without I/O: when an attempt is repeated, and what an answer means.

A `Flow` is a generator. It yields what is to be done next, `Send` or `Pause`, and receives the answer or the error. So
the publishers for asyncio and for threads share it, and only they know how to send and how to wait.
"""

import os
import ssl
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, TypeAlias, TypeVar

import httpx
import msgspec

from oyez.client.publisher_errors import (
    EventError,
    InvalidEventsError,
    NotOyezError,
    PublisherError,
    RequestRefusedError,
    ServerBusyError,
    ServiceKeyError,
    UnreachableError,
)
from oyez.concurrency.backoff import Backoff
from oyez.errors import (
    FOREIGN_ROOM,
    IN_PROGRESS,
    INVALID_DATA,
    ROOM_REQUIRED,
    TOO_LARGE,
    UNKNOWN_EVENT,
    UNKNOWN_ROOM,
)

T = TypeVar("T")

MAX_ANSWER = 16_000_000
"""Bytes of an answer: a thousand events with a thousand rooms each have less."""
TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed. The idempotency key makes it safe to repeat."""
OF_EVENTS = frozenset(
    refusal.code for refusal in (INVALID_DATA, TOO_LARGE, UNKNOWN_EVENT, UNKNOWN_ROOM, FOREIGN_ROOM, ROOM_REQUIRED)
)
"""Refusals that concern the events of a request."""
OF_KEYS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


BACKOFF = Backoff(first=0.1, longest=5.0, jitter=0.5)
"""Short at first, because a worker restarts in a second. Jitter spreads the clients of a server that returns."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How long and how often a failed request is repeated."""

    deadline: float = 30.0
    """Seconds for one call, with all its attempts and the pauses between them."""
    attempts: int | None = None
    """The number of attempts. None: as many as the deadline allows."""
    backoff: Backoff = BACKOFF
    """The pauses between attempts. A longer `Retry-After` of the server replaces a pause."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, whatever number of attempts it takes."""

    method: str
    path: str
    body: bytes | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request, and continue the flow with an Answer or an httpx.HTTPError."""

    call: Call
    timeout: float
    """Seconds for this attempt."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait, and continue the flow with None."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server has answered."""

    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes

    def decode(self, kind: type[T]) -> T:
        """The JSON of a successful answer. Raises NotOyezError."""
        try:
            return msgspec.json.decode(self.content, type=kind)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise not_oyez(self.url) from None


Flow: TypeAlias = Generator[Send | Pause, Answer | httpx.HTTPError | None, T]


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why an attempt has failed."""

    error: PublisherError
    temporary: bool
    after: float = 0.0
    """Seconds that the server asks to wait."""


def send(call: Call, retries: Retries, clock: Callable[[], float] = time.monotonic) -> Flow[Answer]:
    """Send a request until it succeeds. Raises PublisherError."""
    end = clock() + retries.deadline
    failures = 0
    while True:
        got = yield Send(call, max(end - clock(), 0.0))
        assert got is not None, "what follows a Send is an answer or an error"
        failures += 1
        failure = _judge(call, got, failures)
        if failure is None:
            assert isinstance(got, Answer), "an error is a failure"
            return got
        pause = max(failure.after, retries.backoff.delay(failures))
        if not failure.temporary or failures == retries.attempts or clock() + pause >= end:
            raise failure.error
        yield Pause(pause)


def _judge(call: Call, got: Answer | httpx.HTTPError, attempts: int) -> _Failure | None:
    if isinstance(got, httpx.HTTPError):
        return _Failure(_explain_unreachable(call, got, attempts), _may_pass(got))
    if HTTPStatus(200) <= got.status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    if got.status < HTTPStatus.BAD_REQUEST:
        return _Failure(_explain_redirect(got), temporary=False)
    error = _read_refusal(call, got)
    temporary = isinstance(error, ServerBusyError)
    return _Failure(error, temporary, _read_retry_after(got.headers) if temporary else 0.0)


def _may_pass(error: httpx.HTTPError) -> bool:
    """True if the same request may get an answer later."""
    permanent = httpx.UnsupportedProtocol | httpx.LocalProtocolError
    wrong_certificate = isinstance(_find_cause(error), ssl.SSLCertVerificationError)
    return isinstance(error, httpx.TransportError) and not isinstance(error, permanent) and not wrong_certificate


def _explain_unreachable(call: Call, error: httpx.HTTPError, attempts: int) -> UnreachableError:
    place = str(error.request.url.copy_with(query=None)) if error.request is not None else call.path
    cause = _describe(_find_cause(error))
    counted = f" {attempts} attempts were made." if attempts > 1 else ""
    unsure = ""
    if call.idempotency_key is not None and not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        unsure = " The request may have been carried out: repeat it with the same idempotency key."
    text = f"{place} cannot be reached: {cause}.{counted}{unsure}"
    failed = UnreachableError(text, idempotency_key=call.idempotency_key)
    failed.__cause__ = error
    return failed


def _find_cause(error: BaseException) -> BaseException:
    """The error at the bottom, which says what happened: of several addresses, at the first one."""
    if isinstance(error, BaseExceptionGroup):
        return _find_cause(error.exceptions[0])
    # httpcore suppresses the context of its errors, but only the context has the reason.
    deeper = error.__cause__ or error.__context__
    return error if deeper is None else _find_cause(deeper)


def _describe(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(error).rstrip(".") or type(error).__name__


def _explain_redirect(answer: Answer) -> NotOyezError:
    place = answer.headers.get("location", "another address")
    return NotOyezError(f"{answer.url} redirects to {place}. Give the publisher the server's own address.")


def _read_refusal(call: Call, answer: Answer) -> RequestRefusedError:
    problem = _read_problem(answer.content)
    if problem is None:
        shown = answer.content[:200].decode(errors="replace")
        problem = {"detail": f"The server answered with status {answer.status}: {shown!r}."}
    code = str(problem.get("code", ""))
    detail = str(problem.get("detail", f"The server answered with status {answer.status}."))
    kind = _find_class(answer.status, code)
    key = call.idempotency_key
    return kind(answer.status, code, detail, _read_errors(problem), problem=problem, idempotency_key=key)


def _read_problem(content: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _find_class(status: int, code: str) -> type[RequestRefusedError]:
    if status in TEMPORARY or code == IN_PROGRESS.code:
        return ServerBusyError
    if status in OF_KEYS:
        return ServiceKeyError
    return InvalidEventsError if code in OF_EVENTS else RequestRefusedError


def _read_errors(problem: Mapping[str, Any]) -> list[EventError]:
    listed = problem.get("errors")
    given = [error for error in listed if isinstance(error, dict)] if isinstance(listed, list) else []
    return [
        EventError(
            index if isinstance(index := error.get("index", 0), int) else 0,
            str(error.get("field", "")),
            str(error.get("expected", "")),
            str(error.get("code", problem.get("code", ""))),
            str(error["got"]) if "got" in error else None,
        )
        for error in given
    ]


def _read_retry_after(headers: Mapping[str, str]) -> float:
    """Seconds (RFC 9110, section 10.2.3: a number or a date); 0 if there is no such header, or none that is valid."""
    text = headers.get("retry-after", "")
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return 0.0


def not_oyez(url: str) -> NotOyezError:
    """The error to raise if something else answers at `url`."""
    return NotOyezError(f"What answers at {url} is not Oyez.")
