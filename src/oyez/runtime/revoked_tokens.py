"""Who may not connect although the token has not expired: users who are blocked, and tokens that were revoked.

Tokens are revoked by their id (claim `jti`), or by their user or role if they were issued before a time. The log has a
record for each, which all nodes read and which ends by itself.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from oyez.errors import BLOCKED, TOKEN_REVOKED, LogUnavailableError, RefusedError
from oyez.log.log import Log
from oyez.log.record_codec import decode_record, encode_record
from oyez.logger import get_logger

logger = get_logger("oyez.runtime")

MAX_KNOWN = 10_000
"""Records that a process remembers for times in which the log is away: about 2 MB."""
RESTORED_SECONDS = 86_400.0
"""Seconds for which a restriction holds whose record could not be read: few tokens live longer than a day."""
MAX_TOKEN_ID = 300
"""Characters of a token's id: it becomes part of a record's key."""

Kind = Literal["block", "user", "role", "token"]
PREFIXES: Mapping[Kind, str] = {"block": "blocked", "user": "revoked", "role": "revoked-role", "token": "revoked-token"}
"""By kind of restriction, the first part of the keys of its records."""


class RevokedTokens:
    """The restrictions of one system. `clock` gives seconds since 1970."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.time) -> None:
        self._log = log
        self._clock = clock
        self._known: dict[str, tuple[float, float]] = {}
        """By key, the record that this process last read or wrote."""

    async def revoke(self, user: str, before: float | None, seconds: float) -> float:
        """Refuse the user's tokens that were issued before a time, for so many seconds; by default, before now.

        Returns that time. An earlier revocation that reaches further stays. Raises LogUnavailableError.
        """
        now = self._clock()
        return (await self.restrict("user", user, now if before is None else before, now + seconds))[0]

    async def restrict(self, kind: Kind, subject: str, before: float, until: float) -> tuple[float, float]:
        """Refuse tokens that were issued before a time, until another; a block refuses all tokens of its user.

        Returns both times. An earlier restriction that reaches further stays. Raises LogUnavailableError.
        """
        key = _key(kind, subject)
        found = (await self._read([key])).get(key)
        if found is not None and kind != "block":
            before, until = max(before, found[0]), max(until, found[1])
        await self._write(key, before, until)
        return before, until

    async def has(self, kind: Kind, subject: str) -> bool:
        """True if the log has this restriction. Raises LogUnavailableError."""
        return await self._log.get(_key(kind, subject)) is not None

    async def release(self, kind: Kind, subject: str) -> bool:
        """End a restriction. True if there was one. Raises LogUnavailableError."""
        key = _key(kind, subject)
        self._known.pop(key, None)
        return await self._log.get_and_delete(key) is not None

    async def check(self, user: str, roles: Sequence[str], claims: Mapping[str, Any]) -> None:
        """Raises RefusedError (blocked, token_revoked) if a user with this token may not connect.

        While the log is away, clients can connect, so only the restrictions that this process knows count then.
        """
        kinds = {_key("block", user): "block", _key("user", user): "user"}
        kinds |= {_key("role", role): "role" for role in roles}
        token = claims.get("jti")
        if isinstance(token, str) and len(token) <= MAX_TOKEN_ID:
            kinds[_key("token", token)] = "token"
        try:
            found = await self._read(list(kinds))
        except LogUnavailableError:
            found = {key: self._known[key] for key in kinds if key in self._known}
        now, issued = self._clock(), claims.get("iat")
        for key, (before, until) in found.items():
            if until <= now:
                continue
            if kinds[key] == "block":
                raise RefusedError(BLOCKED)
            if kinds[key] == "token" or not isinstance(issued, int | float) or issued < before:
                raise RefusedError(TOKEN_REVOKED)

    async def _read(self, keys: Sequence[str]) -> dict[str, tuple[float, float]]:
        found = {}
        for key, record in (await self._log.get_all(keys)).items():
            try:
                found[key] = msgspec.json.decode(decode_record(record), type=tuple[float, float])
            except ValueError as error:
                found[key] = await self._restore(key, str(error))
        for key in keys:
            if key in found:
                self._remember(key, found[key])
            else:
                self._known.pop(key, None)
        return found

    async def _restore(self, key: str, reason: str) -> tuple[float, float]:
        """Replace a record that cannot be read: all tokens made until now are refused, newer ones are accepted."""
        now = self._clock()
        before, until = self._known.get(key, (now, now + RESTORED_SECONDS))
        logger.error("the record of a restriction could not be read; it holds from now on", key=key, reason=reason)
        await self._write(key, before, until)
        return before, until

    async def _write(self, key: str, before: float, until: float) -> None:
        record = encode_record(msgspec.json.encode((before, until)))
        await self._log.put(key, record, max(0.001, until - self._clock()))
        self._remember(key, (before, until))

    def _remember(self, key: str, found: tuple[float, float]) -> None:
        self._known.pop(key, None)
        if len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[key] = found


def _key(kind: Kind, subject: str) -> str:
    return f"{PREFIXES[kind]}:{subject}"
