"""How often a client may send a command: a token bucket for each command of each socket.

A bucket bounds what comes at once and what comes in the long run, at the cost of two numbers. Within one period it
lets through what it held and what flowed in meanwhile, so `10/s` is no promise of ten in every single second.
"""

import re
from dataclasses import dataclass
from typing import Self

from oyez.errors import ContractError

_PERIODS = {"s": 1.0, "m": 60.0}


@dataclass(frozen=True, slots=True)
class Limit:
    """`count` commands at once, refilled evenly over `period` seconds."""

    count: int
    period: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """`10/s` or `30/m`. Raises ContractError."""
        match = re.fullmatch(r"([1-9]\d{0,5})/([sm])", text, re.ASCII)
        if match is None:
            raise ContractError(
                f"limit {text!r}: expected a number of commands a second or minute, such as 10/s or 30/m"
            )
        return cls(int(match[1]), _PERIODS[match[2]])

    @property
    def text(self) -> str:
        return f"{self.count} a {'second' if self.period == 1 else 'minute'}"


DEFAULT_LIMIT = Limit(20, 1.0)
"""For commands that name none: no person clicks this often, but a front end that joins its rooms again after a
reconnection comes near it."""


class Bucket:
    """What is left of a limit. `now` is any clock in seconds that never goes back."""

    __slots__ = ("_filled_at", "_left", "_limit", "refused")

    def __init__(self, limit: Limit, now: float) -> None:
        self._limit = limit
        self._left = float(limit.count)
        self._filled_at = now
        self.refused = 0
        """Commands since the last one there was room for."""

    def take(self, now: float) -> bool:
        """Use up one; False where none is left."""
        limit = self._limit
        left = self._left + (now - self._filled_at) * limit.count / limit.period
        self._filled_at = now
        if left < 1:
            self._left = left
            self.refused += 1
            return False
        self._left = min(left, limit.count) - 1
        self.refused = 0
        return True

    def wait(self) -> float:
        """Seconds until one is left again."""
        return max(0.0, (1 - self._left) * self._limit.period / self._limit.count)
