"""Service keys in the database: named, for some systems and events, hashed, and revoked on all nodes within a second.

They stand beside service tokens, which the server's secret signs and which no list has. Each process holds all keys in
memory, and reads them again every second.
"""

import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from oyez.concurrency.periodic import PeriodicTask
from oyez.errors import FORBIDDEN, TOKEN_EXPIRED, TOKEN_INVALID, TOKEN_REVOKED, InvalidDataError, RefusedError
from oyez.service.database.database import Database
from oyez.service.database.tables import service_keys as table

PREFIX = "oys_"
"""The beginning of a service key, so that tools that search for secrets recognize it."""
ID_BYTES, SECRET_BYTES = 6, 32
REFRESH_INTERVAL = 1.0
"""Seconds between two reads of the keys: so long a revoked key may still be accepted."""
IDLE_INTERVAL = 30.0
"""The same while there are no keys, and no operator who can make one."""
MAX_KEYS = 1_000
"""Keys that are not revoked: each process holds all of them."""
USE_INTERVAL = 60.0
"""Seconds between two notes that a key was used."""


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """A service key, without its secret."""

    id: str
    name: str
    hash: str
    systems: tuple[str, ...]
    events: tuple[str, ...]
    """Names of events that it may publish, and beginnings of names that end with `*`; empty for everything."""
    webhooks: bool
    """True if it may keep receivers of webhooks."""
    created: float
    by: str
    """The name of the operator who made the key."""
    until: float | None
    revoked: float | None
    last_used: float | None

    @classmethod
    def of(cls, row: Row[Any]) -> "ServiceKey":
        """The key in a row of the table."""
        values = dict(row._mapping)
        return cls(**values | {"systems": tuple(row.systems), "events": tuple(row.events)})


class ServiceKeys:
    """The keys of all systems. `now` gives seconds since 1970."""

    def __init__(self, database: Database, *, watched: bool, now: Callable[[], float] = time.time) -> None:
        """`watched`: True if keys can be made and revoked while this runs."""
        self._database = database
        self._watched = watched
        self._now = now
        self._keys: Mapping[str, ServiceKey] = {}
        self._used: dict[str, float] = {}
        """By id, when a key was last used, if the table does not have it yet."""
        self._noted_at = now()
        self._refreshing = PeriodicTask("service keys", self._refresh)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Know the keys while inside."""
        async with self._refreshing.running():
            yield

    async def refreshed(self) -> None:
        """Wait until the keys have been read again."""
        await self._refreshing.done()

    def find(self, key: str, system: str, *, webhooks: bool = False) -> ServiceKey:
        """The key, for a system. Raises RefusedError: token_invalid, token_expired, token_revoked, forbidden."""
        id = key.removeprefix(PREFIX).partition(".")[0]
        found = self._keys.get(id)
        if found is None or not compare_digest(hash_key(key), found.hash):
            raise RefusedError(TOKEN_INVALID, "The service key is not known here.")
        if found.revoked is not None:
            raise RefusedError(TOKEN_REVOKED, f"The service key {found.name} was revoked.")
        if found.until is not None and found.until <= self._now():
            raise RefusedError(TOKEN_EXPIRED, f"The service key {found.name} has expired.")
        if system not in found.systems:
            raise RefusedError(FORBIDDEN, f"The service key {found.name} is not for the system {system}.")
        if webhooks and not found.webhooks:
            raise RefusedError(FORBIDDEN, f"The service key {found.name} may not keep receivers of webhooks.")
        self._used[id] = self._now()
        return found

    async def make(
        self,
        name: str,
        by: str,
        systems: Sequence[str],
        events: Sequence[str] = (),
        *,
        webhooks: bool = False,
        until: float | None = None,
    ) -> tuple[ServiceKey, str]:
        """A new key, and the key itself, which is not kept. Raises InvalidDataError if there is one with that name."""
        id = secrets.token_hex(ID_BYTES)
        key = f"{PREFIX}{id}.{secrets.token_urlsafe(SECRET_BYTES)}"
        made = ServiceKey(
            id, name, hash_key(key), tuple(systems), tuple(events), webhooks, self._now(), by, until, None, None
        )
        await self._database.run(_insert, made)
        await self.refreshed()
        return made, key

    async def revoke(self, id: str) -> bool:
        """True if there was such a key that was not revoked yet."""
        revoked = await self._database.run(_revoke, id, self._now())
        await self.refreshed()
        return revoked

    async def list(self) -> list[ServiceKey]:
        """All keys, the newest first."""
        return await self._database.read(_list)

    async def _refresh(self) -> float:
        now = self._now()
        if self._used and now - self._noted_at >= USE_INTERVAL:
            used, self._used, self._noted_at = self._used, {}, now
            await self._database.run_maintenance(_note, used)
        self._keys = {key.id: key for key in await self._database.read(_list)}
        return REFRESH_INTERVAL if self._keys or self._watched else IDLE_INTERVAL


def is_service_key(text: str) -> bool:
    """True if this is a service key of the database, and not a service token."""
    return text.startswith(PREFIX)


def hash_key(key: str) -> str:
    """The hash of a key, in hexadecimal digits. A key has 256 random bits, so it needs no salt."""
    return hashlib.sha256(key.encode()).hexdigest()


def _insert(connection: Connection, key: ServiceKey) -> None:
    valid = table.c.revoked.is_(None)
    if connection.execute(select(func.count()).where(valid, table.c.name == key.name)).scalar_one():
        raise InvalidDataError("name", f"a name that no other key has; there is a key {key.name}, revoke it first")
    if connection.execute(select(func.count()).where(valid)).scalar_one() >= MAX_KEYS:
        raise InvalidDataError("", f"at most {MAX_KEYS} service keys; revoke one first")
    values = {column.name: getattr(key, column.name) for column in table.c}
    connection.execute(insert(table).values(**values | {"systems": list(key.systems), "events": list(key.events)}))


def _revoke(connection: Connection, id: str, now: float) -> bool:
    valid = (table.c.id == id) & table.c.revoked.is_(None)
    return connection.execute(update(table).where(valid).values(revoked=now)).rowcount > 0


def _list(connection: Connection) -> list[ServiceKey]:
    listed = select(table).order_by(table.c.created.desc())
    return [ServiceKey.of(row) for row in connection.execute(listed)]


def _note(connection: Connection, used: Mapping[str, float]) -> None:
    for id, at in used.items():
        connection.execute(update(table).where(table.c.id == id).values(last_used=at))
