"""One timer wheel for all connections: who has to be looked at when.

A timer for each of many thousand idle clients would cost memory and a heap operation for every ping. Here a client is
one member of one set, and a turn of the wheel looks at the sets that are due.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from oyez.logger import get_logger

logger = get_logger("oyez.server")


class Timed(Protocol):
    """Something with deadlines."""

    appointment: int
    """The wheel's own note of when it looks; 0 where it does not."""

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
        """Look at `member` at `when`, or before that where it has an earlier appointment."""
        slot = max(self._slot(when), self._turned) + 1
        if member.appointment:
            if member.appointment <= slot:
                return
            self.cancel(member)
        member.appointment = slot
        members = self._slots.get(slot)
        if members is None:
            members = self._slots[slot] = set()
        members.add(member)

    def cancel(self, member: Timed) -> None:
        """Look at `member` no more, and forget it."""
        members = self._slots.get(member.appointment)
        member.appointment = 0
        if members is not None:
            members.discard(member)

    def turn(self) -> None:
        """Look at everything that is due."""
        now = self._clock()
        current = self._slot(now)
        due = [slot for slot in range(self._turned + 1, current + 1) if slot in self._slots]
        self._turned = current
        for slot in due:
            for member in self._slots.pop(slot):
                member.appointment = 0
                self._look(member, now)

    def _look(self, member: Timed, now: float) -> None:
        try:
            when = member.check(now)
        except Exception:
            logger.exception("a deadline was not kept", member=type(member).__name__)
        else:
            if when is not None:
                self.schedule(member, when)

    async def run(self) -> None:
        """Turn until cancelled."""
        while True:
            await asyncio.sleep(self.resolution)
            self.turn()

    def _slot(self, when: float) -> int:
        return int(when / self.resolution)
