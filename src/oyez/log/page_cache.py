"""Entries decoded a page at a time: clients that were away for long and come back together have missed the same.

The storage finds entries by number alone, so that storing stays cheap. By room they are found here, in memory.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from oyez.log.damage import DAMAGED, Damage, DamagedError
from oyez.log.log import Entry

PAGE = 1_000
"""Entries of a page."""
MAX_PAGES = 64
"""Pages that are kept, if their entries are small."""
MAX_BYTES = 64_000_000
"""What the pages that are kept may hold together: entries may be large, and there are as many logs as systems."""
ENTRY_BYTES = 400
"""What an entry costs besides its data."""

Row = tuple[int, bytes]
"""A stored entry: its number, its bytes."""
Fetch = Callable[[str, int, int], Awaitable[Sequence[Row]]]
"""Gives those of an epoch from one number to another, both included, that are kept; KeyError where it has ended."""


class PageCache:
    """The pages of one log; `fetch` reads what is missing, `damage` takes note of what cannot be read."""

    def __init__(self, fetch: Fetch, damage: Damage) -> None:
        self._fetch = fetch
        self._damage = damage
        self._pages: dict[tuple[str, int], _Page] = {}
        """The one that was used last is the last."""

    async def find(
        self, epoch: str, after: int, last: int, namespace: str, rooms: frozenset[str], limit: int
    ) -> list[Entry]:
        """What `Log.read` gives, of the entries behind number `after` up to `last`, which exists."""
        found: list[Entry] = []
        number = after
        while len(found) < limit and number < last:
            page = self._find_page(epoch, number, last) or await self._page(epoch, number, last)
            if page.first > number + 1 or page.last <= number:
                # It was forgotten meanwhile.
                raise KeyError(f"{epoch}.{after}")
            if page.damaged > number:
                # It may have been for any client.
                raise DamagedError(f"{epoch}.{after}")
            found += page.find(number, namespace, rooms, limit - len(found))
            number = page.last
        return found

    def _find_page(self, epoch: str, number: int, last: int) -> "_Page | None":
        """The page with the entry after `number`, if it has all its entries up to `last` already."""
        place = epoch, number // PAGE
        page = self._pages.get(place)
        if page is None or page.last < min(last, (place[1] + 1) * PAGE):
            return None
        self._pages[place] = self._pages.pop(place)
        return page

    async def _page(self, epoch: str, number: int, last: int) -> "_Page":
        """The page with the entry behind `number`, with all its entries up to `last` that are kept."""
        place = epoch, number // PAGE
        first = place[1] * PAGE + 1
        page = self._pages.pop(place, None) or _Page(first)
        # From now on it is the same one for all, and the last to go.
        self._pages[place] = page
        while page.last < min(last, first + PAGE - 1):
            if page.read is not None:
                # A crowd wants the same page at the same time: one reads it for all.
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
        """Forget the pages that were not used for the longest time, as far as there are too many."""
        size = sum(page.size for page in self._pages.values())
        while len(self._pages) > 1 and (len(self._pages) > MAX_PAGES or size > MAX_BYTES):
            size -= self._pages.pop(next(iter(self._pages))).size


class _Page:
    """Neighbouring entries, and which of them go to a room."""

    def __init__(self, first: int) -> None:
        self.first, self.last = first, first - 1
        self.size = 0
        """Bytes, roughly."""
        self.damaged = 0
        """The number of the last entry that cannot be read."""
        self._entries: list[Entry] = []
        self._places: dict[tuple[str, str], list[int]] = {}
        self.read: asyncio.Event | None = None
        """While somebody reads what follows: set when that is here, or could not be read."""

    def extend(self, epoch: str, rows: Sequence[Row], damage: Damage) -> None:
        """Add what follows."""
        for number, body in rows:
            if not self._entries:
                self.first = number
            entry = damage.decode(body, f"{epoch}.{number}")
            if entry.control == DAMAGED:
                self.damaged = number
            # Everybody is the room without a name.
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
        # Most clients that return need whole pages.
        wanted = sorted(places) if number < self.first else sorted(one for one in places if one + self.first > number)
        entries = [self._entries[place] for place in wanted]
        return [
            entry for entry in entries if not entry.control and (not entry.excluded or rooms.isdisjoint(entry.excluded))
        ][:limit]
