"""The promise of a log: appended entries are ordered, kept for a time, and reach every node.

Each system has one log. Producers append; delivery, recovery, other nodes and the admin view are readers.
A position is the opaque string `epoch.number`, which the backend (`sqlite.py`, `redis_scripts.py`, `memory.py`) gives
to an entry when it stores it. Numbers of one epoch only grow, and a new epoch means that entries were lost. If the log
cannot keep its promise, it raises `LogUnavailableError` and stores nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from oyez.protocol.binary import Spans

MAX_DIGITS = 18
"""Digits of a position's number: every number with so many digits fits the integers of SQLite and Redis."""


def escape_name(namespace: str) -> str:
    """The name of a namespace without colons, for the keys of records: what follows a colon is not part of it."""
    return namespace.replace(":", "\0")


class Entry(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One event for rooms, or an instruction to a namespace (a control entry), in one order.

    `entry_codec.py` describes how an entry is stored, and how fields can be added.
    """

    namespace: str
    rooms: tuple[str, ...]
    """Names of rooms, whose members receive the event once. Empty: all clients in the namespace."""
    excluded: tuple[str, ...] = ()
    """Names of rooms whose members do not receive it."""
    data: bytes
    """The Socket.IO event as JSON: `["name",{…}]`. In a control entry, its parameters as JSON."""
    volatile: bool = False
    key: str = ""
    """Makes appending idempotent: while the log keeps an entry with this key, it does not store another one."""
    control: str = ""
    """The instruction, such as `leave`; empty for an event. Clients are never sent a control entry."""
    position: str | None = None
    """Set by the log; None before that, and always None for volatile entries."""
    name: str = ""
    """The event's name, so that a reader need not decode `data`; empty for a control entry."""
    binary: Spans = ()
    """The places of the base64 strings in `data` that Socket.IO clients receive as binary attachments."""
    trace: str = ""
    """The trace context in which the event was published, as `tracing.py` has it; empty if it is not recorded."""

    def is_for(self, namespace: str, rooms: frozenset[str]) -> bool:
        """True if this is an event that a client in exactly these `rooms` of `namespace` must receive."""
        return (
            not self.control
            and self.namespace == namespace
            and (not self.rooms or not rooms.isdisjoint(self.rooms))
            and rooms.isdisjoint(self.excluded)
        )


Checkpoint = tuple[str, bytes]
"""Key and value of a record."""
Deliver = Callable[[Sequence[Entry]], None]
"""Receives entries in order; must not raise and must not block."""


class Examination(msgspec.Struct, frozen=True):
    """The storage of a log, as an operator should know it."""

    text: str
    risks: tuple[str, ...] = ()
    """How the storage may lose entries, and the setting that prevents it."""
    clock: float | None = None
    """The storage's clock, in seconds since 1970; None if it has none of its own."""


class Log(Protocol):
    """The interface of every backend (`memory.py`, `sqlite.py` and `redis.py` in this folder).

    Every method raises LogUnavailableError if the storage cannot be reached, and works again when it can.
    """

    async def open(self) -> None:
        """Connect to the storage, and convert the data of an older version. Does nothing if the log is open.

        Raises SettingsError if a setting is wrong, or if a newer version has written the data.
        """

    async def examine(self) -> Examination:
        """Describe the storage for an operator, without changing anything. Raises as `open` does."""

    # Entries.

    async def append(self, entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
        """Store all of `entries`, or none, and return their positions. The entries must not be volatile.

        Returns when they are as durable as the backend can make them. Entries of one call have consecutive positions.
        An entry is not stored if the log keeps an entry with the same key; the position is then that entry's. If
        storing is interrupted, LogUnavailableError is raised and the entries may or may not be stored: an entry with a
        key can safely be appended again.

        If any of them is stored, the record `checkpoint` is stored with them and never expires: a producer reads it to
        learn how far it got, even after the keys of its entries have expired.
        """

    async def broadcast(self, entry: Entry) -> None:
        """Send a volatile entry to every node that tails the log now. It is not stored and has no position."""

    async def read(self, after: str, namespace: str, rooms: frozenset[str], limit: int) -> list[Entry]:
        """Up to `limit` events after position `after`, in order, for a client in `rooms` of `namespace`.

        These are the events for all clients or for one of `rooms`, unless one of `rooms` is in their `excluded`.
        Raises KeyError if `after` is of another epoch, or if entries after it are no longer kept. The KeyError is a
        DamagedError if an entry after it cannot be read; see damage.py.
        """

    async def tail(self, deliver: Deliver, after: str | None = None) -> None:
        """Call `deliver` with every entry after `after`, of all nodes. Runs until it is cancelled or the log is closed.

        If an entry cannot be read, `deliver` receives a control entry DAMAGED with its position; see damage.py.

        Without `after`, entries are delivered from now on. Volatile entries are always delivered from now on, in no
        defined order with stored entries. Raises KeyError as `read` does. Raises LogUnavailableError if entries may be
        lost. If the storage comes back and no entry was lost, the tail continues by itself.
        """

    async def position(self) -> str:
        """The position of the newest entry."""

    async def position_before(self, most: int) -> str:
        """The position before the newest `most` entries, or before all entries if fewer are kept."""

    # Records: small values that expire, shared by all nodes. `ttl` is seconds.

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        """Store `value` under `key` for `ttl` seconds, in place of any earlier value."""

    async def put_all(self, records: Mapping[str, bytes | None], ttl: float) -> None:
        """`put` all of them at about the cost of one. A record whose value is None is deleted."""

    async def get(self, key: str) -> bytes | None:
        """The value under `key`; None if there is none."""

    async def get_all(self, keys: Sequence[str]) -> dict[str, bytes]:
        """`get` all of them at about the cost of one. Keys without a value are left out."""

    async def get_and_delete(self, key: str) -> bytes | None:
        """Delete the value under `key` and return it. If several callers do this at once, only one receives it."""

    async def put_if_absent(self, key: str, value: bytes, ttl: float) -> bytes | None:
        """Store `value` and return None, unless `key` has a value: then return that value and change nothing."""

    async def size(self) -> int:
        """Bytes that the stored entries take, as far as the storage knows."""

    async def close(self) -> None:
        """Close the storage, and end all tails."""


def epoch_of(position: str) -> str:
    """The epoch of a position. Raises KeyError if `position` is not valid."""
    return split_position(position)[0]


def number_of(position: str) -> int:
    """The number of a position, which orders the positions of one epoch. Raises KeyError if `position` is not valid."""
    return split_position(position)[1]


def split_position(position: str) -> tuple[str, int]:
    """Epoch and number. Raises KeyError if `position`, which may come from a client, is not valid."""
    epoch, _, number = position.partition(".")
    if not epoch or not number.isascii() or not number.isdecimal() or len(number) > MAX_DIGITS:
        raise KeyError(position)
    return epoch, int(number)
