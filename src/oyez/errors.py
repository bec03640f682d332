"""Every error Oyez raises, and every refusal it can answer a client with.

    OyezError
    ├── SettingsError        a setting is missing or not valid
    ├── ContractError        a contract contradicts itself; found at start-up
    ├── UnavailableError     something that Oyez needs is away; the same may succeed later
    │   ├── NotRunningError           Oyez was not started, or has ended: nothing was done
    │   ├── LogUnavailableError       the log cannot store: nothing was published
    │   └── DatabaseUnavailableError  the database cannot be used: nothing is known to be changed
    ├── WrongLoopError       called in another thread or event loop than Oyez runs in; nothing was done
    ├── InvalidDataError     data does not fit the contract: which field, what was expected
    └── RefusedError         the caller may not have or do this; carries a Refusal

A `Refusal` is a constant: its code is the same in acknowledgements, CONNECT_ERRORs, problem+json answers,
logs, metrics and documents.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Refusal:
    """A named reason for saying no.

    `code` is for programs, `message` is one sentence for people, `temporary` says whether the same request
    may succeed later without being changed.
    """

    code: str
    message: str
    temporary: bool = False
    status: int = field(default=403, compare=False)
    """The HTTP status of the refusal where it answers an HTTP request."""


class OyezError(Exception):
    """The root of Oyez' errors."""

    internal = False
    """True if the mistake is the program's and not the caller's. The caller is answered with `internal`, and the error
    is logged with its traceback."""


class SettingsError(OyezError):
    """A setting is missing or is not what it should be. The message names the setting and the remedy."""


class ContractError(OyezError):
    """A contract contradicts itself. The message names the contract and the declaration."""


class UnavailableError(OyezError):
    """Something that Oyez needs is away. The same may succeed later without being changed."""


class NotRunningError(UnavailableError):
    """Oyez was not started, or has ended. Nothing was done."""


class WrongLoopError(OyezError):
    """Something was called in another thread or event loop than the one that Oyez runs in. Nothing was done."""

    internal = True


class LogUnavailableError(UnavailableError):
    """The log could not store an entry. Nothing of the call was published."""


class DatabaseUnavailableError(UnavailableError):
    """The domain database cannot be used at the moment. Where it went away during a commit, that may have happened."""


class InvalidDataError(OyezError):
    """Data does not fit the contract.

    `field` is the path of the offending field as it is on the wire (`message.sender.role`, empty for the whole),
    `expected` says what would have been accepted.
    """

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field}: {expected}" if field else expected)
        self.field = field
        self.expected = expected


class RefusedError(OyezError):
    """Raised to say no. Handlers raise it too; `details` is shown to the one who asked."""

    def __init__(self, refusal: Refusal, message: str | None = None, **details: Any) -> None:
        super().__init__(message or refusal.message)
        self.refusal = refusal
        self.message = message or refusal.message
        self.details = details


def is_temporary(error: BaseException) -> bool:
    """True if the cause of `error` may pass by itself: a refusal that says so, or something that is away.

    A system's own resolvers may ask other servers. The libraries that do so raise errors of their own, but have OSError
    (of which ConnectionError and TimeoutError are kinds) among the causes when the other server is away.
    """
    cause: BaseException | None = error
    for _ in range(MAX_CAUSES):
        if isinstance(cause, RefusedError):
            # The client itself is over a limit: to come back at once would only make that worse.
            return cause.refusal.temporary and cause.refusal is not RATE_LIMITED
        if cause is None or isinstance(cause, UnavailableError | OSError):
            return cause is not None
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return False


MAX_CAUSES = 20
"""Causes of one error that `is_temporary` looks at: more than libraries put into each other."""

# Who you are.
TOKEN_MISSING = Refusal("token_missing", "No token was given.", status=401)
TOKEN_INVALID = Refusal("token_invalid", "The token could not be verified.", status=401)
TOKEN_EXPIRED = Refusal("token_expired", "The token has expired.", status=401)
KEYS_UNAVAILABLE = Refusal("keys_unavailable", "The keys that verify tokens cannot be reached.", True, status=503)

# What you may do.
FORBIDDEN = Refusal("forbidden", "You have no right to that.")
FORBIDDEN_ROLE = Refusal("forbidden_role", "Your role has no access here.")
UNKNOWN_GATEWAY = Refusal("unknown_gateway", "There is no such gateway.", status=400)
NO_ROOM_IN_GATEWAY = Refusal("no_room_in_gateway", "The gateway has no room for you.")
"""Somebody whose role fits asked for a gateway by name, but something about them is missing on the server."""
UNKNOWN_NAMESPACE = Refusal("unknown_namespace", "Invalid namespace", status=404)

# What you sent.
UNKNOWN_EVENT = Refusal("unknown_event", "There is no such event.", status=404)
UNKNOWN_ROOM = Refusal("unknown_room", "There is no such room.", status=422)
FOREIGN_ROOM = Refusal("foreign_room", "The event does not go to that kind of room.", status=422)
ROOM_REQUIRED = Refusal("room_required", "The event needs at least one room to go to.", status=422)
UNSUPPORTED_PARSER = Refusal(
    "unsupported_parser", "This server speaks JSON: create the client without the option `parser`.", status=400
)
INVALID_DATA = Refusal("invalid_data", "The data does not fit the contract.", status=422)
MALFORMED = Refusal("malformed", "The request is not well-formed.", status=400)
UNSUPPORTED_TYPE = Refusal("unsupported_type", "The body must be application/json.", status=415)
SLOW_BODY = Refusal("slow_body", "The body did not arrive in time.", True, status=408)
ID_REUSED = Refusal("id_reused", "The same id was used for something else.", status=422)
ALREADY_DONE = Refusal("already_done", "It was done before; what was answered is no longer known.", status=409)
TOO_LARGE = Refusal("too_large", "The data is larger than allowed.", status=413)

# Not now.
RATE_LIMITED = Refusal("rate_limited", "Too many requests; slow down.", True, status=429)
TIMED_OUT = Refusal("timed_out", "No answer came in time.", True, status=504)
IN_PROGRESS = Refusal("in_progress", "The first request with this id is still being worked at.", True, status=409)
UNAVAILABLE = Refusal("unavailable", "The server cannot store anything at the moment.", True, status=503)
INTERNAL = Refusal("internal", "Something went wrong on the server.", True, status=500)


def find_code(error: BaseException) -> str:
    """The code of the refusal with which a command or an HTTP request that fails with `error` is answered."""
    if isinstance(error, OyezError) and error.internal:
        return INTERNAL.code
    if isinstance(error, RefusedError):
        return error.refusal.code
    if isinstance(error, InvalidDataError):
        return INVALID_DATA.code
    return UNAVAILABLE.code if isinstance(error, UnavailableError) else INTERNAL.code
