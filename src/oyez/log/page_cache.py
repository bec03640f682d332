"""Pages of decoded entries: clients that come back together after a long outage have missed the same entries.

The storage finds entries only by number, so that storing stays cheap. This cache finds them by room.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from oyez.log.damage import DAMAGED, Damage, DamagedError
from oyez.log.log import Entry

PAGE = 1_000
"""Entries of a page: they are decoded in a few milliseconds."""
MAX_PAGES = 64
"""Pages that are kept: 64,000 entries, if they are small."""
MAX_BYTES = 64_000_000
"""Bytes of all pages that are kept: entries may be large, and each system has a log with its own pages."""
ENTRY_BYTES = 400
"""Bytes that an entry uses in addition to its data."""

Row = tuple[int, bytes]
"""A stored entry: its number, its bytes."""
Fetch = Callable[[str, int, int], Awaitable[Sequence[Row]]]
"""Returns the kept entries of an epoch from one number to another, both included. Raises KeyError for an old epoch."""


class PageCache:
    """The pages of one log. `fetch` reads missing entries, and `damage` counts those that cannot be read."""

    def __init__(self, fetch: Fetch, damage: Damage) -> None:
        self._fetch = fetch
        self._damage = damage
        self._pages: dict[tuple[str, int], _Page] = {}
        """By epoch and page number; the most recently used page is the last."""

    async def find(
        self, epoch: str, after: int, last: int, namespace: str, rooms: frozenset[str], limit: int
    ) -> list[Entry]:
        """The events that `Log.read` returns, from the entries after number `after` up to `last`, which must exist."""
        found: list[Entry] = []
        number = after
        while len(found) < limit and number < last:
            page = self._find_page(epoch, number, last) or await self._page(epoch, number, last)
            if page.first > number + 1 or page.last <= number:
                # The log has deleted the entry meanwhile.
                raise KeyError(f"{epoch}.{after}")
            if page.damaged > number:
                # The damaged entry may have been for any client.
                raise DamagedError(f"{epoch}.{after}")
            found += page.find(number, namespace, rooms, limit - len(found))
            number = page.last
        return found

    def _find_page(self, epoch: str, number: int, last: int) -> "_Page | None":
        """The page with the entry after `number`, if the page already has all its entries up to `last`."""
        place = epoch, number // PAGE
        page = self._pages.get(place)
        if page is None or page.last < min(last, (place[1] + 1) * PAGE):
            return None
        self._pages[place] = self._pages.pop(place)
        return page

    async def _page(self, epoch: str, number: int, last: int) -> "_Page":
        """The page with the entry after `number`, with all its entries up to `last` that the log keeps."""
        place = epoch, number // PAGE
        first = place[1] * PAGE + 1
        page = self._pages.pop(place, None) or _Page(first)
        # All readers share this page from now on, and it is the last to be evicted.
        self._pages[place] = page
        while page.last < min(last, first + PAGE - 1):
            if page.read is not None:
                # Many clients want the same page at the same time: one task reads it for all of them.
                await page.read.wait()
                continue
            page.read = asyncio.Event()
            try:
                page.extend(epoch, await self._fetch(epoch, page.last + 1, first + PAGE - 1), self._damage)
            finally:
                page.read.set()
                page.read = None
            self._evict()
            break
        return page

    def _evict(self) -> None:
        """Evict the least recently used pages while there are too many."""
        size = sum(page.size for page in self._pages.values())
        while len(self._pages) > 1 and (len(self._pages) > MAX_PAGES or size > MAX_BYTES):
            size -= self._pages.pop(next(iter(self._pages))).size


class _Page:
    """Consecutive entries, and an index of them by room."""

    def __init__(self, first: int) -> None:
        self.first, self.last = first, first - 1
        self.size = 0
        """Approximate size in bytes."""
        self.damaged = 0
        """The number of the last entry that cannot be read."""
        self._entries: list[Entry] = []
        self._places: dict[tuple[str, str], list[int]] = {}
        self.read: asyncio.Event | None = None
        """Present while a task reads the following entries; set when they have been read, or reading has failed."""

    def extend(self, epoch: str, rows: Sequence[Row], damage: Damage) -> None:
        """Add the entries that follow. If the log has deleted some of those, the page begins after them."""
        if rows and self._entries and rows[0][0] != self.last + 1:
            self._entries, self._places, self.size, self.damaged = [], {}, 0, 0
        for number, body in rows:
            if not self._entries:
                self.first = number
            entry = damage.decode(body, f"{epoch}.{number}")
            if entry.control == DAMAGED:
                self.damaged = number
            # An entry for all clients is listed under the room with the empty name.
            for room in dict.fromkeys(entry.rooms or ("",)):
                self._places.setdefault((entry.namespace, room), []).append(len(self._entries))
            self._entries.append(entry)
            self.size += len(body) + ENTRY_BYTES
            self.last = number

    def find(self, number: int, namespace: str, rooms: frozenset[str], limit: int) -> list[Entry]:
        """The entries after `number` for a client in `rooms`, in order, up to `limit`."""
        places: set[int] = set()
        for room in ("", *rooms):
            listed = self._places.get((namespace, room))
            if listed is not None:
                places.update(listed)
        # Most returning clients need whole pages, so avoid the filter for them.
        wanted = sorted(places) if number < self.first else sorted(one for one in places if one + self.first > number)
        entries = [self._entries[place] for place in wanted]
        return [
            entry for entry in entries if not entry.control and (not entry.excluded or rooms.isdisjoint(entry.excluded))
        ][:limit]
