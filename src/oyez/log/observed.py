"""A log whose appends are reported to observers. Without observers, the backend is used directly."""

from collections.abc import Sequence
from typing import Any

from oyez.errors import LogUnavailableError, find_code
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
        try:
            positions = await self._log.append(entries, checkpoint)
        except LogUnavailableError as error:
            self._trace(len(entries), observers.clock() - began, find_code(error))
            raise
        seconds = observers.clock() - began
        self._trace(len(entries), seconds)
        size = sum(len(entry.data) for entry in entries)
        observers.report(AppendReport(observers.system, len(entries), size, seconds))
        return positions

    def _trace(self, entries: int, seconds: float, code: str = "") -> None:
        tracing, system = self._observers.tracing, self._observers.system
        if tracing is not None:
            attributes: dict[str, str | int | bool] = {"oyez.system": system, "oyez.entries": entries}
            tracing.record(f"append {system}", "internal", attributes, seconds, code=code)
