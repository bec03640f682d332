"""A log whose appends are reported to observers. Without observers, the backend is used directly."""

from collections.abc import Sequence
from typing import Any

from oyez.log.log import Checkpoint, Entry, Log
from oyez.observer import AppendReport, Observers


class ObservedLog:
    """Reports each append; every other method is the backend's own."""

    def __init__(self, log: Log, observers: Observers) -> None:
        self._log = log
        self._observers = observers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(self, entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
        """Append to the backend, and report the append if it succeeded."""
        observers = self._observers
        began = observers.clock()
        positions = await self._log.append(entries, checkpoint)
        size = sum(len(entry.data) for entry in entries)
        observers.report(AppendReport(observers.system, len(entries), size, observers.clock() - began))
        return positions
