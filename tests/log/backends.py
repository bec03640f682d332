"""The backends that the conformance suite runs against. A new one joins with one line in BACKENDS."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from oyez.log.log import Log
from oyez.log.memory import MemoryLog
from oyez.log.sqlite import SqliteLog

RETENTION = 300.0


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1_750_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


OpenLog = Callable[[], Awaitable[Log]]
"""One node's view of the store: every call gives another node of the same one."""

Backend = Callable[[Path, Clock], OpenLog]
"""A new, empty store that keeps entries for RETENTION; `Path` is a folder of its own."""


def memory(folder: Path, clock: Clock) -> OpenLog:
    log = MemoryLog(retention=RETENTION, clock=clock)

    async def open_log() -> Log:
        return log

    return open_log


def sqlite(folder: Path, clock: Clock) -> OpenLog:
    async def open_log() -> Log:
        log = SqliteLog(folder / "log.sqlite", retention=RETENTION, clock=clock)
        await log.open()
        return log

    return open_log


BACKENDS: dict[str, Backend] = {
    "memory": memory,
    "sqlite": sqlite,
}
