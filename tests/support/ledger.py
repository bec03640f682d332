"""A log in memory that shows what was appended to it."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from oyez.log.log import Checkpoint, Entry
from oyez.log.memory import MemoryLog
from tests.support.clock import Clock


class Emitted(NamedTuple):
    """An event, or a control entry, as the log has it."""

    name: str
    rooms: tuple[str, ...]
    data: Any


class Ledger(MemoryLog):
    """A log whose entries stay readable after the retention."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock=clock or time.monotonic)
        self.stored: dict[str, Entry] = {}
        self.changed = asyncio.Event()

    async def append(self, entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
        positions = await super().append(entries, checkpoint)
        # An entry with the key of an earlier entry has the position of that entry, and is not stored again.
        for position, entry in zip(positions, entries, strict=True):
            self.stored.setdefault(position, entry)
        self.changed.set()
        return positions

    def emitted(self, start: int = 0) -> list[Emitted]:
        """The entries from number `start` on, without the probes of the log, which have no namespace."""
        return [read(entry) for entry in list(self.stored.values())[start:] if entry.namespace]


def read(entry: Entry) -> Emitted:
    data = msgspec.json.decode(entry.data)
    name, payload = (entry.control, data) if entry.control else data
    return Emitted(name, entry.rooms, payload)
