"""What users have used up of their limits at other nodes.

Every process counts for itself. Once a second, it announces to the other nodes of its system how many commands the
busiest users have sent, and which users have many connections; the others charge it to their own counts. Nothing is
exchanged while a command is handled, so a limit is exact within a second or two, and not at each moment.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from oyez.errors import LogUnavailableError
from oyez.server.cluster.membership import Membership

ANNOUNCE_SECONDS = 1.0
"""Seconds between two announcements. For about this time, each node lets a user spend a whole limit."""
MOST_USERS = 200
"""Users in one announcement, of each kind: some 20 KB a second, below the size limit of a message between nodes."""
MAX_BYTES = 60_000
"""Bytes of one announcement: ids of users may be long. Users that do not fit are left out, the least busy first."""


class Spent(msgspec.Struct, frozen=True, array_like=True):
    """Commands of one name that a user has sent to a node since it last announced."""

    user: str
    namespace: str
    command: str
    count: float


class Connected(msgspec.Struct, frozen=True, array_like=True):
    """Number of connections that a user has to a node; 0 if they are few again, because few are not counted."""

    user: str
    count: int


class Used(msgspec.Struct, frozen=True):
    """An announcement."""

    node: str
    spent: list[Spent] = []
    connected: list[Connected] = []


class Usages(Protocol):
    """What an application counts for each user."""

    def take_spent(self, most: int) -> list[Spent]:
        """What the busiest users have spent since the last call, the greatest part of a limit first."""

    def take_connected(self, most: int, now: float) -> list[Connected]:
        """Users with many connections of whom the other nodes do not know the present count, or not for long."""

    def charge(self, node: str, spent: Iterable[Spent], connected: Iterable[Connected], now: float) -> None:
        """Count what another node has announced."""

    def keep_nodes(self, alive: set[str], now: float) -> None:
        """Remove the connections to nodes that have gone, and announcements that were not repeated."""


class UsageExchange:
    """Announces what users have spent here, and charges what other nodes announce. `clock` is that of the limits."""

    def __init__(
        self, membership: Membership, usages: Sequence[Usages], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._membership = membership
        self._usages = usages
        self._clock = clock
        membership.on("used", Used, self._charge)

    async def run(self) -> None:
        """Announce until cancelled."""
        while self._usages:
            await asyncio.sleep(ANNOUNCE_SECONDS)
            with suppress(LogUnavailableError):
                await self._announce()

    async def _announce(self) -> None:
        alive = self._membership.alive()
        for usages in self._usages:
            now = self._clock()
            usages.keep_nodes(alive, now)
            # Taken also if there is no other node, because counts begin again with each call.
            spent = usages.take_spent(MOST_USERS)
            connected = usages.take_connected(MOST_USERS, now) if alive else []
            if alive and (spent or connected):
                await self._membership.broadcast("used", _shorten(Used(self._membership.node.id, spent, connected)))

    def _charge(self, used: Used) -> None:
        if used.node == self._membership.node.id:
            return
        for usages in self._usages:
            usages.charge(used.node, used.spent, used.connected, self._clock())


def _shorten(used: Used) -> Used:
    """The announcement, cut to MAX_BYTES."""
    while len(msgspec.json.encode(used)) > MAX_BYTES:
        half = msgspec.structs.replace(
            used, spent=used.spent[: len(used.spent) // 2], connected=used.connected[: len(used.connected) // 2]
        )
        if half == used:
            break
        used = half
    return used
