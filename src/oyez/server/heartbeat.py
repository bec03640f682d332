"""One timer wheel for all connections: who has to be looked at when.

A timer for each of many thousand idle clients would cost memory and a heap operation for every ping. Here a client is
one member of one set, and a turn of the wheel looks at the sets that are due.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol


class Timed(Protocol):
    """Something with deadlines."""

    def check(self, now: float) -> float | None:
        """Act on what is due at `now` and return when to be looked at next; None: never again."""


class TimerWheel:
    """Looks at each member within `resolution` seconds after it is due."""

    def __init__(self, resolution: float, clock: Callable[[], float]) -> None:
        self.resolution = resolution
        self._clock = clock
        self._slots: dict[int, set[Timed]] = {}
        self._turned = self._slot(clock())

    def schedule(self, member: Timed, when: float) -> None:
        """Look at `member` at `when`. Earlier appointments stay: a look too many does no harm."""
        slot = max(self._slot(when) + 1, self._turned + 1)
        members = self._slots.get(slot)
        if members is None:
            members = self._slots[slot] = set()
        members.add(member)

    def turn(self) -> None:
        """Look at everything that is due."""
        now = self._clock()
        current = self._slot(now)
        due = [slot for slot in range(self._turned + 1, current + 1) if slot in self._slots]
        self._turned = current
        for slot in due:
            for member in self._slots.pop(slot):
                when = member.check(now)
                if when is not None:
                    self.schedule(member, when)

    async def run(self) -> None:
        """Turn until cancelled."""
        while True:
            await asyncio.sleep(self.resolution)
            self.turn()

    def _slot(self, when: float) -> int:
        return int(when / self.resolution)
