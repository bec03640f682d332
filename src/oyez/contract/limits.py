"""How often a user may send a command: a token bucket for each command of each user, over all connections.

A bucket bounds what comes at once and what comes in the long run, at the cost of two numbers. Within one period it
lets through what it held and what flowed in meanwhile, so `10/s` is no promise of ten in every single second.
"""

import re
from collections import Counter, deque
from dataclasses import dataclass
from typing import Self

from oyez.errors import ContractError

_PERIODS = {"s": 1.0, "m": 60.0}
LONGEST_PERIOD = max(_PERIODS.values())


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

    __slots__ = ("_filled_at", "_left", "_limit")

    def __init__(self, limit: Limit, now: float) -> None:
        self._limit = limit
        self._left = float(limit.count)
        self._filled_at = now

    def take(self, now: float, credit: float = 0.0) -> bool:
        """Use up one; False if none is left, and not so many on credit."""
        limit = self._limit
        left = self._left + (now - self._filled_at) * limit.count / limit.period
        self._filled_at = now
        if left < 1 - credit:
            self._left = left
            return False
        self._left = min(left, limit.count) - 1
        return True

    def reserve(self, now: float, most: float) -> float | None:
        """Use up the next one; the seconds until it is there. None if those are over `most`: nothing is used up."""
        if self.take(now):
            return 0.0
        wait = self.wait()
        if wait > most:
            return None
        self._left -= 1
        return wait

    def wait(self) -> float:
        """Seconds until one is left again."""
        return max(0.0, (1 - self._left) * self._limit.period / self._limit.count)


class Usage:
    """What one user has left of the limits, and which connections are theirs."""

    __slots__ = ("buckets", "connections")

    def __init__(self) -> None:
        self.buckets: dict[tuple[str, str], Bucket] = {}
        """By namespace and command."""
        self.connections: Counter[str] = Counter()
        """By id, and how many sockets each has."""

    def bucket(self, namespace: str, name: str, limit: Limit, now: float) -> Bucket:
        """What the user has left of the limit on command `name`."""
        bucket = self.buckets.get((namespace, name))
        if bucket is None:
            bucket = self.buckets[namespace, name] = Bucket(limit, now)
        return bucket


class Users:
    """The usage of all users of one system in one process: their limits hold over all of their connections.

    Users who have gone are remembered until their buckets are full again: to come back is no way to get a new one.
    """

    def __init__(self) -> None:
        self._users: dict[str, Usage] = {}
        self._gone: deque[tuple[float, str]] = deque()

    def enter(self, subject: str, connection: str, most: int) -> Usage | None:
        """A connection of a user begins; None if the user would have more than `most`."""
        usage = self._users.get(subject)
        if usage is None:
            usage = self._users[subject] = Usage()
        if connection not in usage.connections and len(usage.connections) >= most:
            return None
        usage.connections[connection] += 1
        return usage

    def leave(self, subject: str, connection: str, now: float) -> None:
        """What `enter` counted has ended."""
        usage = self._users[subject]
        usage.connections[connection] -= 1
        if not usage.connections[connection]:
            del usage.connections[connection]
        if not usage.connections:
            self._gone.append((now, subject))
        self._forget(now)

    def _forget(self, now: float) -> None:
        while self._gone and self._gone[0][0] < now - LONGEST_PERIOD:
            _, subject = self._gone.popleft()
            usage = self._users.get(subject)
            if usage is not None and not usage.connections:
                del self._users[subject]
