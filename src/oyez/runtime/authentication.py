"""Authentication: from what a client brings to its user, by a token or by a function of the system.

Credentials never get into a log line: the message of an error that the function raises is left out, because it may
contain them.
"""

import asyncio
import math
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from oyez.concurrency.token_bucket import Rate
from oyez.contract.contract import Contract
from oyez.contract.policy import MAX_SUBJECT_LENGTH
from oyez.contract.tokens import Request, TokenSource, find_token
from oyez.errors import TOKEN_EXPIRED, TOKEN_INVALID, TOKEN_MISSING, RefusedError, UnavailableError, is_temporary
from oyez.runtime.failed_sign_ins import FailedSignIns
from oyez.runtime.usage import SharedBuckets
from oyez.server.types import network_of
from oyez.settings import Limits, Settings


class Verified(Protocol):
    """A token that Oyez has verified."""

    @property
    def subject(self) -> str:
        """The user's id."""

    @property
    def claims(self) -> Mapping[str, Any]:
        """All claims."""

    @property
    def expires_at(self) -> float | None:
        """Seconds since 1970."""


VerifyToken = Callable[[str], Awaitable[Verified]]
"""Verifies a token. Raises RefusedError: token_invalid, token_expired, keys_unavailable."""


@dataclass(frozen=True, slots=True)
class User:
    """Who a client is: what a system's `authenticate` returns."""

    subject: str | int
    """The user's id. A whole number becomes a text."""
    role: str | Sequence[str] | None = None
    """A role of the contract, or several. None: the contract's default role."""
    claims: Mapping[str, Any] = field(default_factory=dict)
    """What rules such as `own("shop_id")` compare with, and handlers read."""
    expires_at: float | None = None
    """When the right to be connected ends, in seconds since 1970; None if it does not end."""


class Credentials:
    """What a client brings when it connects or signs in."""

    __slots__ = ("_verify", "auth", "request", "source", "token")

    def __init__(
        self,
        token: str | None,
        request: Request,
        auth: Mapping[str, Any],
        verify: VerifyToken,
        source: TokenSource | None = None,
    ) -> None:
        self.token = token
        """The first token that was found in the places that the contract names; None if there is none."""
        self.source = source
        """The place in which it was found, such as `header("X-API-Key")`; None at a sign-in, and without a token."""
        self.request = request
        """The HTTP request that opened the connection: `headers` (lower-case names; those that are kept), `query`,
        `address`."""
        self.auth = auth
        """The `auth` object of the client's CONNECT. At a sign-in, the fields of the command."""
        self._verify = verify

    def __repr__(self) -> str:
        # Without what it holds, because a log may show it.
        return "<Credentials>"

    async def verify(self, token: str) -> User:
        """The user of a token that Oyez itself can verify.

        Raises RefusedError: token_invalid, token_expired, keys_unavailable.
        """
        verified = await self._verify(token)
        return User(verified.subject, verified.claims.get("role"), verified.claims, verified.expires_at)


FAILURES_PERIOD = 60.0
"""Seconds in which an address may fail as often as `max_failed_sign_ins_per_address` says."""


def build_failures(
    limits: Limits, clock: Callable[[], float] = time.monotonic, buckets: SharedBuckets | None = None
) -> FailedSignIns:
    """What counts the failed sign-ins of a system's clients and back ends, in these buckets."""
    return FailedSignIns(Rate(limits.max_failed_sign_ins_per_address, FAILURES_PERIOD), clock, buckets)


CheckRevoked = Callable[[str, Sequence[str], Mapping[str, Any]], Awaitable[None]]
"""Raises RefusedError (blocked, token_revoked) if a user with these roles and claims may not connect."""
Authenticate = Callable[[Credentials], Awaitable[User | None]]
"""A system's own function. None: the credentials give no access. A RefusedError is sent to the client."""


class Authentication:
    """Finds the users of one system."""

    def __init__(
        self,
        contract: Contract,
        verify: VerifyToken,
        authenticate: Authenticate | None,
        settings: Settings,
        check_revoked: CheckRevoked | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        failures: FailedSignIns | None = None,
    ) -> None:
        """`now` gives seconds since 1970, `clock` is monotonic. `failures` counts failed sign-ins; None: only here."""
        self._failures = failures or build_failures(settings.limits, clock)
        self._contract = contract
        self._verify = verify
        self._authenticate = authenticate
        self._cookie_name = settings.cookie_name
        self._timeout = settings.limits.authenticate_timeout
        self._check_revoked = check_revoked
        self._now = now

    async def find_user(self, request: Request, auth: Mapping[str, Any]) -> User | None:
        """The user of a client that connects; None if it brings no credentials. Raises RefusedError."""
        token, source = find_token(self._contract.tokens, request, auth, self._cookie_name)
        return await self._find(Credentials(token, request, auth, self._verify, source))

    async def find_user_of_token(self, token: str, request: Request, fields: Mapping[str, Any]) -> User:
        """The user of a token that a connected client has sent, in a command with these fields. Raises RefusedError."""
        user = await self._find(Credentials(token, request, fields, self._verify))
        if user is None:
            raise RefusedError(TOKEN_MISSING)
        return user

    async def check_guest(self, subject: str, role: str) -> None:
        """Raises RefusedError (blocked, token_revoked) if a guest may not connect."""
        if self._check_revoked is not None:
            await self._check_revoked(subject, (role,), {})

    def refuse_missing(self) -> RefusedError:
        """The refusal of a client that brings no credentials."""
        places = "; ".join(source.text for source in self._contract.tokens)
        return RefusedError(TOKEN_MISSING, f"No token was given. Looked for in: {places}.")

    async def _find(self, credentials: Credentials) -> User | None:
        user = await self._find_unrevoked(credentials)
        if user is not None and self._check_revoked is not None:
            await self._check_revoked(str(user.subject), _roles_of(user), user.claims)
        return user

    async def _find_unrevoked(self, credentials: Credentials) -> User | None:
        network = network_of(credentials.request.address)
        if self._authenticate is not None:
            # It may ask a database, and its credentials may be short enough to be guessed.
            self._failures.check(network)
        try:
            return await self._verify_user(credentials)
        except RefusedError as refused:
            if refused.refusal is TOKEN_INVALID:
                self._failures.count(network)
            raise

    async def _verify_user(self, credentials: Credentials) -> User | None:
        if self._authenticate is None:
            return await credentials.verify(credentials.token) if credentials.token is not None else None
        user = await self._ask(self._authenticate, credentials)
        if user is None and credentials.token is not None:
            # A client whose token is worth nothing must notice it, also where others may be guests.
            raise RefusedError(TOKEN_INVALID)
        return user

    async def _ask(self, authenticate: Authenticate, credentials: Credentials) -> User | None:
        name = f"authenticate of {self._contract.name}"
        try:
            async with asyncio.timeout(self._timeout) as timeout:
                user = await authenticate(credentials)
        except RefusedError:
            raise
        except Exception as error:
            if timeout.expired():
                raise UnavailableError(f"{name} has not answered within {self._timeout} seconds") from None
            if is_temporary(error):
                raise UnavailableError(f"{name} cannot reach something: {_describe(error)}") from None
            raise RuntimeError(f"{name} fails: {_describe(error)}") from None
        if user is not None and (fault := _find_fault(user)):
            raise RuntimeError(f"{name} returned {fault}")
        if user is not None and user.expires_at is not None and user.expires_at <= self._now():
            raise RefusedError(TOKEN_EXPIRED)
        return user


def _roles_of(user: User) -> Sequence[str]:
    if isinstance(user.role, list | tuple):
        return [role for role in user.role if isinstance(role, str)]
    return (user.role,) if isinstance(user.role, str) else ()


def _describe(error: Exception) -> str:
    """The kind of an error and its place. Not its message, which may contain credentials."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{place}"


def _find_fault(user: object) -> str | None:
    """What is wrong with the answer of a system's function; None for a correct User."""
    if not isinstance(user, User):
        return f"a {type(user).__name__}: return User(…) or None"
    subject = user.subject
    if type(subject) is not int and not (
        isinstance(subject, str) and 0 < len(subject) <= MAX_SUBJECT_LENGTH and subject.isprintable()
    ):
        return f"a User whose subject is no whole number and no text of 1 to {MAX_SUBJECT_LENGTH} printable letters"
    roles = user.role if isinstance(user.role, list | tuple) else (user.role,)
    if not all(role is None or isinstance(role, str) for role in roles):
        return "a User whose role is no text and no list of texts"
    if not isinstance(user.claims, Mapping):
        return f"a User whose claims are a {type(user.claims).__name__}, expected a dict"
    if user.expires_at is not None and not (
        isinstance(user.expires_at, int | float) and math.isfinite(user.expires_at)
    ):
        return "a User whose expires_at is no number of seconds since 1970"
    return None
