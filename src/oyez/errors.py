"""Every error Oyez raises, and every refusal it can answer a client with.

    OyezError
    ├── SettingsError        a setting is missing or not valid
    ├── ContractError        a contract contradicts itself; found at start-up
    ├── UnavailableError     Oyez cannot reach something that it needs; the same call may succeed later
    │   ├── NotRunningError           Oyez was not started, or has stopped: nothing was done
    │   ├── LogUnavailableError       the log cannot store: nothing was published
    │   └── DatabaseUnavailableError  the database cannot be used: changes may or may not have been made
    ├── WrongLoopError       called in another thread or event loop than Oyez runs in; nothing was done
    ├── InvalidDataError     data does not fit the contract: names the field and what was expected
    └── RefusedError         the caller may not have or do this; carries a Refusal

A `Refusal` is a constant: its code is the same in acknowledgements, CONNECT_ERRORs, problem+json answers,
logs, metrics and documents.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Refusal:
    """A named reason for a refusal.

    `code` is for programs, and `message` is one sentence for people. `temporary` is True if the same request may
    succeed later without a change.
    """

    code: str
    message: str
    temporary: bool = False
    status: int = field(default=403, compare=False)
    """The HTTP status if the refusal answers an HTTP request."""


class OyezError(Exception):
    """The base class of Oyez' errors."""

    internal = False
    """True if the mistake is the program's and not the caller's. The caller receives the refusal `internal`, and the
    error is logged with its traceback."""


class SettingsError(OyezError):
    """A setting is missing or not valid. The message names the setting and the remedy."""


class ContractError(OyezError):
    """A contract contradicts itself. The message names the contract and the declaration."""


class UnavailableError(OyezError):
    """Oyez cannot reach something that it needs. The same call may succeed later without a change."""


class NotRunningError(UnavailableError):
    """Oyez was not started, or has stopped. Nothing was done."""


class WrongLoopError(OyezError):
    """A function was called in another thread or event loop than the one that Oyez runs in. Nothing was done."""

    internal = True


class LogUnavailableError(UnavailableError):
    """The log could not store an entry. Nothing of the call was published."""


class DatabaseUnavailableError(UnavailableError):
    """The domain database cannot be used now. If it failed during a commit, the transaction may be committed."""


class InvalidDataError(OyezError):
    """Data does not fit the contract.

    `field` is the path of the wrong field as it is on the wire (`message.sender.role`; empty for the whole data).
    `expected` is a text about what is accepted. `got` is what was there instead, if a type was wrong.
    """

    def __init__(self, field: str, expected: str, got: str | None = None) -> None:
        text = expected if got is None else f"expected {expected}, got {got}"
        super().__init__(f"{field}: {text}" if field else text)
        self.field = field
        self.expected = expected
        self.got = got


class RefusedError(OyezError):
    """A request is refused. Handlers raise it too. `details` is sent to the client."""

    def __init__(self, refusal: Refusal, message: str | None = None, **details: Any) -> None:
        super().__init__(message or refusal.message)
        self.refusal = refusal
        self.message = message or refusal.message
        self.details = details
        self.fields: dict[str, Any] = {}
        """Further members of CONNECT_ERROR's `data`, in any form that the contract gives to it."""


def is_temporary(error: BaseException) -> bool:
    """True if the cause of `error` may pass by itself: a temporary refusal, or a server that cannot be reached.

    A system's own resolvers may call other servers. The client libraries raise errors of their own. If the other server
    cannot be reached, OSError (the base class of ConnectionError and TimeoutError) is among the causes of these errors.
    """
    cause: BaseException | None = error
    for _ in range(MAX_CAUSES):
        if isinstance(cause, RefusedError):
            # The client itself is over a limit: if it came back at once, it would exceed the limit further.
            return cause.refusal.temporary and cause.refusal is not RATE_LIMITED
        if cause is None or isinstance(cause, UnavailableError | OSError):
            return cause is not None
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return False


MAX_CAUSES = 20
"""Causes of one error that `is_temporary` examines: more than libraries nest, and an end if they form a cycle."""

# Identity.
TOKEN_MISSING = Refusal("token_missing", "No token was given.", status=401)
TOKEN_INVALID = Refusal("token_invalid", "The token could not be verified.", status=401)
TOKEN_REVOKED = Refusal("token_revoked", "The token is no longer accepted; sign in again.", status=401)
TOKEN_EXPIRED = Refusal("token_expired", "The token has expired.", status=401)
KEYS_UNAVAILABLE = Refusal("keys_unavailable", "The keys that verify tokens cannot be reached.", True, status=503)

# Permission.
FORBIDDEN = Refusal("forbidden", "You have no right to that.")
BLOCKED = Refusal("blocked", "You may not connect at the moment.")
"""An operator has blocked the user."""
FORBIDDEN_ROLE = Refusal("forbidden_role", "Your role has no access here.")
UNKNOWN_GATEWAY = Refusal("unknown_gateway", "There is no such gateway.", status=400)
NO_ROOM_IN_GATEWAY = Refusal("no_room_in_gateway", "The gateway has no room for you.")
"""The client named a gateway that its role may use, but the server lacks an attribute of the user for its rooms."""
UNKNOWN_NAMESPACE = Refusal("unknown_namespace", "Invalid namespace", status=404)

# The data that was sent.
UNKNOWN_EVENT = Refusal("unknown_event", "There is no such event.", status=404)
UNKNOWN_ROOM = Refusal("unknown_room", "There is no such room.", status=422)
FOREIGN_ROOM = Refusal("foreign_room", "The event does not go to that kind of room.", status=422)
ROOM_REQUIRED = Refusal("room_required", "The event needs at least one room to go to.", status=422)
UNKNOWN_VERSION = Refusal("unknown_version", "This server does not have that version.", status=400)
UNKNOWN_SYSTEM = Refusal("unknown_system", "There is no such system.", status=404)
UNKNOWN_KEY = Refusal("unknown_key", "There is no such service key.", status=404)
EVENT_GONE = Refusal("event_gone", "The log does not keep the event any more.", status=404)
UNKNOWN_RECEIPTS = Refusal("unknown_receipts", "No receipts of this event are kept.", status=404)
UNKNOWN_RECEIVER = Refusal("unknown_receiver", "There is no such receiver of webhooks.", status=404)
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

# Temporary.
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
