"""What a transport keeps while its client does not read."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class SendBuffer(Generic[T]):
    """Frames or packets that wait for the client, in order, and the bytes that they hold."""

    __slots__ = ("_drained", "_items", "size")

    def __init__(self) -> None:
        self.size = 0
        """Bytes that wait."""
        self._items: deque[T] = deque()
        self._drained: asyncio.Event | None = None
        """Set by `report`; only while a task waits for that."""

    def __len__(self) -> int:
        return len(self._items)

    def append(self, item: T, size: int) -> None:
        """Keep `item`, which holds `size` bytes."""
        self._items.append(item)
        self.size += size

    def popleft(self) -> T:
        """Remove and return the first item. Its bytes count until `sent`. Raises IndexError if there is none."""
        return self._items.popleft()

    def sent(self, size: int) -> None:
        """An item of `size` bytes has been sent."""
        # `clear` may have come before.
        self.size = max(0, self.size - size)
        if not self.size:
            self.report()

    def take(self) -> list[T]:
        """Remove and return all items."""
        items = list(self._items)
        self.clear()
        return items

    def clear(self) -> None:
        """Drop everything."""
        self._items.clear()
        self.size = 0
        self.report()

    def report(self) -> None:
        """Wake the tasks in `drained`: nothing waits any more, or nothing more is sent."""
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    async def drained(self) -> None:
        """Returns at the next `report`."""
        if self._drained is None:
            self._drained = asyncio.Event()
        await self._drained.wait()
