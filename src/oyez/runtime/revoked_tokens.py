"""Tokens that are no longer accepted, although they have not expired: those of one user, issued before a time.

The log keeps a record for each such user, which all nodes read and which ends by itself.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from oyez.errors import TOKEN_REVOKED, RefusedError
from oyez.log.log import Log


class RevokedTokens:
    """The revoked tokens of one system. `clock` gives seconds since 1970."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.time) -> None:
        self._log = log
        self._clock = clock

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
        return before

    async def check(self, user: str, claims: Mapping[str, Any]) -> None:
        """Raises RefusedError (token_revoked) if the token with these claims was revoked; LogUnavailableError."""
        found = await self._read(user)
        if found is None:
            return
        issued = claims.get("iat")
        if not isinstance(issued, int | float) or issued < found[0]:
            raise RefusedError(TOKEN_REVOKED)

    async def _read(self, user: str) -> tuple[float, float] | None:
        found = await self._log.get(_record(user))
        return None if found is None else msgspec.json.decode(found, type=tuple[float, float])


def _record(user: str) -> str:
    return f"revoked:{user}"
