"""Tokens that are no longer accepted, although they have not expired: those of one user, issued before a time.

The log keeps a record for each such user, which all nodes read and which ends by itself.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from oyez.errors import TOKEN_REVOKED, LogUnavailableError, RefusedError
from oyez.log.log import Log

MAX_KNOWN = 10_000
"""Users whose revocations a process remembers for times in which the log is away: about 2 MB."""


class RevokedTokens:
    """The revoked tokens of one system. `clock` gives seconds since 1970."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.time) -> None:
        self._log = log
        self._clock = clock
        self._known: dict[str, tuple[float, float]] = {}
        """By user, what this process last read or wrote."""

    async def revoke(self, user: str, before: float | None, seconds: float) -> float:
        """Refuse the user's tokens that were issued before a time, for so many seconds; by default, before now.

        Returns that time. An earlier revocation that reaches further stays. Raises LogUnavailableError.
        """
        now = self._clock()
        until, before = now + seconds, now if before is None else before
        found = await self._read(user)
        if found is not None:
            before, until = max(before, found[0]), max(until, found[1])
        await self._log.put(_record(user), msgspec.json.encode((before, until)), until - now)
        self._remember(user, (before, until))
        return before

    async def check(self, user: str, claims: Mapping[str, Any]) -> None:
        """Raises RefusedError (token_revoked) if the token with these claims was revoked.

        While the log is away, clients can connect, so only the revocations that this process knows count then.
        """
        try:
            found = await self._read(user)
        except LogUnavailableError:
            found = self._known.get(user)
        if found is None or found[1] <= self._clock():
            return
        issued = claims.get("iat")
        if not isinstance(issued, int | float) or issued < found[0]:
            raise RefusedError(TOKEN_REVOKED)

    async def _read(self, user: str) -> tuple[float, float] | None:
        record = await self._log.get(_record(user))
        found = None if record is None else msgspec.json.decode(record, type=tuple[float, float])
        if found is not None:
            self._remember(user, found)
        return found

    def _remember(self, user: str, found: tuple[float, float]) -> None:
        self._known.pop(user, None)
        if len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[user] = found


def _record(user: str) -> str:
    return f"revoked:{user}"
