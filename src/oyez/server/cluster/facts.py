"""What a node reports about itself with each heartbeat, so that faults of a cluster can be found from one node."""

import asyncio
import resource
from collections import deque
from collections.abc import Callable

import msgspec

HEARTBEATS = 30
"""Heartbeats whose largest lag is reported: those of a minute."""


class Release(msgspec.Struct, frozen=True):
    """What runs on a node. Nodes with different releases are normal only while they are being replaced."""

    version: str = ""
    """The version of Oyez."""
    contract: str = ""
    """A digest of the description of the contract."""


class Facts(msgspec.Struct, frozen=True):
    """The state of a node."""

    release: Release
    time: float
    """The node's clock, in seconds since 1970."""
    connections: int
    """Number of clients."""
    max_files: int
    """Number of files that the process may open; each client is one. -1: no limit."""
    lag: float
    """The longest time by which the event loop was late at a heartbeat of the last minute, in seconds."""


class FactFinder:
    """Gathers the facts about this node."""

    def __init__(
        self, find_release: Callable[[], Release], count_connections: Callable[[], int], now: Callable[[], float]
    ) -> None:
        """`now` gives seconds since 1970. `find_release` may take a while."""
        self._find_release = find_release
        self._release = Release()
        self._count_connections = count_connections
        self._now = now
        self._lags: deque[float] = deque([0.0], HEARTBEATS)

    async def prepare(self) -> None:
        """Find the release, in a thread: the start of the server does not wait for it."""
        self._release = await asyncio.to_thread(self._find_release)

    @property
    def now(self) -> float:
        """The clock of this node."""
        return self._now()

    def record_lag(self, seconds: float) -> None:
        """The event loop was late by `seconds` at a heartbeat."""
        self._lags.append(max(0.0, seconds))

    def find(self) -> Facts:
        """The facts at this moment."""
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return Facts(self._release, self._now(), self._count_connections(), most, max(self._lags))
