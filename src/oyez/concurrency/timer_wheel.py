"""One timer wheel for the deadlines of all connections.

A timer for each of many thousand idle clients would use memory, and a heap operation for every ping. Here a client is
one member of one set, and each advance of the wheel checks the sets that are due.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Protocol

from oyez.logger import get_logger

logger = get_logger("oyez.concurrency")


class Timed(Protocol):
    """An object with deadlines."""

    scheduled_slot: int
    """Written by the wheel only: the slot in which the wheel checks the object; 0 if it is not scheduled."""

    def check(self, now: float) -> float | None:
        """Handle the deadlines that are due at `now`. Returns the time of the next check, or None for no check."""


class TimerWheel:
    """Checks each member at most two times `resolution` (seconds) after its deadline, and never before it."""

    def __init__(self, resolution: float, clock: Callable[[], float]) -> None:
        self.resolution = resolution
        self._clock = clock
        self._slots: dict[int, set[Timed]] = {}
        self._current = self._slot(clock())

    def schedule(self, member: Timed, when: float) -> None:
        """Check `member` at `when`, or earlier if an earlier check is scheduled already."""
        slot = max(self._slot(when), self._current) + 1
        if member.scheduled_slot:
            if member.scheduled_slot <= slot:
                return
            self.cancel(member)
        member.scheduled_slot = slot
        members = self._slots.get(slot)
        if members is None:
            members = self._slots[slot] = set()
        members.add(member)

    def cancel(self, member: Timed) -> None:
        """Cancel the scheduled check of `member`. Does nothing if there is none."""
        members = self._slots.get(member.scheduled_slot)
        member.scheduled_slot = 0
        if members is not None:
            members.discard(member)

    def advance(self) -> None:
        """Check every member that is due."""
        now = self._clock()
        current = self._slot(now)
        due = [slot for slot in range(self._current + 1, current + 1) if slot in self._slots]
        self._current = current
        for slot in due:
            for member in self._slots.pop(slot):
                member.scheduled_slot = 0
                self._check(member, now)

    @property
    def next_check(self) -> float:
        """The time from which on `advance` checks a member that is not due yet; infinite if there is none."""
        return min((slot for slot, members in self._slots.items() if members), default=math.inf) * self.resolution

    def _check(self, member: Timed, now: float) -> None:
        try:
            when = member.check(now)
        except Exception:
            logger.exception("a deadline was not handled", member=type(member).__name__)
        else:
            if when is not None:
                self.schedule(member, when)

    async def run(self) -> None:
        """Advance until cancelled."""
        while True:
            await asyncio.sleep(self.resolution)
            self.advance()

    def _slot(self, when: float) -> int:
        return int(when / self.resolution)
