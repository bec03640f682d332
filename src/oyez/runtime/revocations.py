"""Revocations: the rooms from which members are removed while a decision about rooms is pending.

The membership table may answer with a state from before a removal that this process has already applied.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class Revocations:
    """Reports each removal of a member to the decisions that are pending."""

    def __init__(self) -> None:
        self._observers: dict[int, set[str]] = {}

    @contextmanager
    def observe(self) -> Iterator[set[str]]:
        """A set that receives the name of each room from which a member is removed inside the `with` block."""
        removed: set[str] = set()
        self._observers[id(removed)] = removed
        try:
            yield removed
        finally:
            del self._observers[id(removed)]

    def record(self, room: str) -> None:
        """A member was removed from `room`."""
        for removed in self._observers.values():
            removed.add(room)
