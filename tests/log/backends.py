"""The backends that the conformance suite runs against."""

import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

from oyez.log.log import Log
from oyez.log.memory import MemoryLog
from oyez.log.redis import RedisLog
from oyez.log.sqlite import SqliteLog
from tests.support.clock import Clock as OneClock
from tests.support.valkey import ValkeyServer

RETENTION = 300.0


class Clock(OneClock):
    """A clock that also moves the time of logs that cannot be given one."""

    def __init__(self) -> None:
        super().__init__(1_750_000_000.0)
        self.advanced: list[Callable[[float], None]] = []
        """Called with the seconds that have passed."""

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for move in self.advanced:
            move(seconds)


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


def valkey(server: ValkeyServer) -> Backend:
    """Logs in a running server."""

    def backend(folder: Path, clock: Clock) -> OpenLog:
        client, name = server.connect(), secrets.token_hex(8)

        def advance(seconds: float) -> None:
            # The server's own clock cannot be set, so what the server forgets after a time is set to end earlier.
            # Other tests have left many keys there: one question for all of them.
            for key in client.scan_iter(f"*{name}*", count=100_000):
                left = client.pttl(key)
                if left > 0:
                    client.pexpire(key, max(1, left - int(seconds * 1000)))
                    while left <= seconds * 1000 and client.exists(key):
                        pass

        clock.advanced.append(advance)

        async def open_log() -> Log:
            log = RedisLog(server.url, name, retention=RETENTION, clock=clock)
            await log.open()
            return log

        return open_log

    return backend


BACKENDS: dict[str, Callable[[Callable[[], ValkeyServer]], Backend]] = {
    "memory": lambda server: memory,
    "sqlite": lambda server: sqlite,
    "redis": lambda server: valkey(server()),
}
"""By name. The server of Redis is started only for a backend that needs it."""
