"""The promise of a log: what is appended is ordered, kept, and reaches every node.

One log a system. Producers append; delivery, recovery, other nodes and the admin view are readers.
A position is the opaque string `epoch.number`: numbers of one epoch only grow, and a new epoch means that
history was lost. Where the log cannot keep its promise it raises `LogUnavailableError` and stores nothing.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One event on its way to rooms, or something for a namespace to do in order with its events."""

    namespace: str
    rooms: tuple[str, ...]
    """Names of rooms, whose members get the event once. Empty: everybody in the namespace."""
    excluded: tuple[str, ...] = ()
    """Names of rooms whose members do not get it."""
    data: bytes
    """The Socket.IO event as JSON: `["name",{…}]`; of a control entry its parameters, also as JSON."""
    volatile: bool = False
    key: str = ""
    """Makes appending idempotent: while an entry with this key is kept, another one is not stored."""
    control: str = ""
    """What the namespace is to do, such as `leave`; empty for an event. Clients are never sent a control entry."""
    position: str | None = None
    """Given by the log; None before that, and always for volatile entries."""


Deliver = Callable[[Sequence[Entry]], None]
"""Takes entries in order; must not raise and must not block."""


class Log(Protocol):
    """What every backend keeps (`memory.py` beside this file)."""

    async def append(self, entries: Sequence[Entry]) -> list[str]:
        """Store all of `entries`, or none, and return their positions. Volatile entries have no place here.

        Returns once they are as durable as the backend is. Entries of one call are neighbours in the log.
        """

    async def broadcast(self, entry: Entry) -> None:
        """Hand a volatile entry to every node that listens now. It is not stored and has no position."""

    async def read(self, after: str, rooms: frozenset[str], limit: int) -> list[Entry]:
        """Up to `limit` entries behind position `after` that go to one of `rooms` or to everybody, in order.

        Raises KeyError where `after` is of another epoch or no longer kept: what followed it is unknown.
        """

    async def tail(self, deliver: Deliver) -> None:
        """Hand every entry appended or broadcast from now on, by any node, to `deliver`; runs until cancelled."""

    async def position(self) -> str:
        """The position of the newest entry: reading after it gives what comes next."""

    async def close(self) -> None:
        """Release what the backend holds. Tails end."""
