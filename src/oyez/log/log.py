"""The promise of a log: what is appended is ordered, kept, and reaches every node.

One log a system. Producers append; delivery, recovery, other nodes and the admin view are readers.
A position is the opaque string `epoch.number`, which the backend (`sqlite.py`, `redis_scripts.py`, `memory.py`) gives
to an entry when it stores it. Numbers of one epoch only grow, and a new epoch means that history was lost. If the log
cannot keep its promise, it raises `LogUnavailableError` and stores nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

MAX_DIGITS = 18
"""Digits of a position's number: every such number fits the integers of SQLite and Redis."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One event on its way to rooms, or an instruction to a namespace that is in order with its events.

    How it is stored, and how fields may be added, is in `entry_codec.py`.
    """

    namespace: str
    rooms: tuple[str, ...]
    """Names of rooms, whose members receive the event once. Empty: all clients in the namespace."""
    excluded: tuple[str, ...] = ()
    """Names of rooms whose members do not receive it."""
    data: bytes
    """The Socket.IO event as JSON: `["name",{…}]`; of a control entry its parameters, also as JSON."""
    volatile: bool = False
    key: str = ""
    """Makes appending idempotent: while an entry with this key is kept, another one is not stored."""
    control: str = ""
    """The instruction, such as `leave`; empty for an event. Clients are never sent a control entry."""
    position: str | None = None
    """Given by the log; None before that, and always for volatile entries."""
    name: str = ""
    """The event's name, so that a reader need not decode `data` for it; empty for a control entry."""

    def is_for(self, namespace: str, rooms: frozenset[str]) -> bool:
        """True if this is an event that a client receives which is in `rooms` of `namespace` and in no others."""
        return (
            not self.control
            and self.namespace == namespace
            and (not self.rooms or not rooms.isdisjoint(self.rooms))
            and rooms.isdisjoint(self.excluded)
        )


Checkpoint = tuple[str, bytes]
"""Key and value of a record."""
Deliver = Callable[[Sequence[Entry]], None]
"""Takes entries in order; must not raise and must not block."""


class Log(Protocol):
    """What every backend keeps (`memory.py`, `sqlite.py` and `redis.py` beside this file).

    Every method raises LogUnavailableError where the storage cannot be reached, and works again when it can.
    """

    async def open(self) -> None:
        """Reach the storage, and bring what an older version wrote into today's form. Opening twice is opening.

        Raises SettingsError where a setting is wrong, or a newer version wrote what is there.
        """

    async def examine(self) -> str:
        """Describe the storage for an operator, without changing anything. Raises as `open` does."""

    # Entries.

    async def append(self, entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
        """Store all of `entries`, or none, and return their positions. Volatile entries have no place here.

        Returns once they are as durable as the backend is. Entries of one call are neighbours in the log. For an entry
        whose key is that of one still kept, nothing is stored, and the position is the first one's. Where storing was
        interrupted, whether it happened may be unknown behind LogUnavailableError: with a key, appending again is safe.

        If any of them is stored, the record `checkpoint` is put with them, without an end: a producer reads it to know
        how far it came, also after the keys of its entries have been forgotten.
        """

    async def broadcast(self, entry: Entry) -> None:
        """Hand a volatile entry to every node that listens now. It is not stored and has no position."""

    async def read(self, after: str, namespace: str, rooms: frozenset[str], limit: int) -> list[Entry]:
        """Up to `limit` events behind position `after`, in order, for who is in `rooms` of `namespace`.

        Those are the events to everybody or to one of `rooms`, none of whose `excluded` is in `rooms`.
        Raises KeyError where `after` is of another epoch or no longer kept: what followed it is unknown. The KeyError
        is a DamagedError if an entry after it cannot be read; see damage.py.
        """

    async def tail(self, deliver: Deliver, after: str | None = None) -> None:
        """Hand every entry behind `after`, by whichever node, to `deliver`; runs until cancelled or closed.

        An entry that cannot be read is handed over as a control entry DAMAGED with its position; see damage.py.

        Without `after` it begins now. Volatile entries are heard from now on, each between the stored ones somewhere.
        Raises KeyError as `read` does. Raises LogUnavailableError where entries may have been missed for good;
        where the storage comes back with nothing lost, the tail goes on by itself.
        """

    async def position(self) -> str:
        """The position of the newest entry: reading after it gives what comes next."""

    async def position_before(self, most: int) -> str:
        """The position behind which the newest `most` entries follow, or all that are kept where they are fewer."""

    # Records: small values with an end, known to all nodes. `ttl` is seconds.

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        """Keep `value` for `ttl` seconds, in place of what was there."""

    async def put_all(self, records: Mapping[str, bytes | None], ttl: float) -> None:
        """`put` each of them, at the cost of about one; where there is None, nothing is kept any more."""

    async def get(self, key: str) -> bytes | None:
        """What is kept under `key`."""

    async def get_all(self, keys: Sequence[str]) -> dict[str, bytes]:
        """`get` each of them, at the cost of about one; keys under which nothing is kept are left out."""

    async def get_and_delete(self, key: str) -> bytes | None:
        """What was kept under `key`, which is gone then: of several takers one gets it."""

    async def put_if_absent(self, key: str, value: bytes, ttl: float) -> bytes | None:
        """Keep `value` unless there is something: then that is returned, and stays. Of several adders one adds."""

    async def close(self) -> None:
        """Release what the backend holds. Subscribers end."""


def epoch_of(position: str) -> str:
    """The epoch of a position. Raises KeyError where it is none."""
    return split_position(position)[0]


def number_of(position: str) -> int:
    """The number of a position, by which those of one epoch are ordered. Raises KeyError where it is none."""
    return split_position(position)[1]


def split_position(position: str) -> tuple[str, int]:
    """Epoch and number. Raises KeyError where `position`, which may come from a client, is none."""
    epoch, _, number = position.partition(".")
    if not epoch or not number.isascii() or not number.isdecimal() or len(number) > MAX_DIGITS:
        raise KeyError(position)
    return epoch, int(number)
