"""Clients that come back together and were away for long: what they missed is read once for all of them."""

import asyncio
from collections.abc import Sequence

import pytest

from oyez.errors import LogUnavailableError
from oyez.log.damage import Damage
from oyez.log.entry_codec import encode_entry
from oyez.log.page_cache import PAGE, PageCache, Row, _Page
from tests.log.verbs import entry
from tests.support.tasks import Spawn

EVERYTHING = 3 * PAGE + PAGE // 2


class Storage:
    """What pages are read from, slowly, with how often that was; it can fail once."""

    def __init__(self) -> None:
        self.reads = 0
        self.fails = False
        self.oldest = 1
        """The first entry that the log still keeps."""

    async def fetch(self, epoch: str, first: int, last: int) -> Sequence[Row]:
        self.reads += 1
        await asyncio.sleep(0)
        if self.fails:
            self.fails = False
            raise LogUnavailableError("Nothing was read.")
        return [
            (number, encode_entry(entry(number)))
            for number in range(max(first, self.oldest), min(last, EVERYTHING) + 1)
        ]


async def find(pages: PageCache, after: int) -> int:
    """The number of entries after `after`."""
    return len(await pages.find("e", after, EVERYTHING, "/", frozenset({"r"}), 10 * PAGE))


async def test_a_crowd_reads_every_page_once(spawn: Spawn) -> None:
    storage = Storage()
    pages = PageCache(storage.fetch, Damage("test"))
    crowd = []
    for number in range(50):
        crowd.append(spawn(find(pages, number)))
        await asyncio.sleep(0)
    assert await asyncio.gather(*crowd) == [EVERYTHING - number for number in range(50)]
    assert storage.reads == 4


async def test_where_reading_fails_another_of_the_crowd_reads() -> None:
    storage = Storage()
    storage.fails = True
    pages = PageCache(storage.fetch, Damage("test"))
    first, *others = await asyncio.gather(*(find(pages, 0) for _ in range(5)), return_exceptions=True)
    assert isinstance(first, LogUnavailableError)
    assert others == [EVERYTHING] * 4


async def test_a_cancelled_reader_of_a_shared_page_does_not_block_the_others(spawn: Spawn) -> None:
    storage = Storage()
    pages = PageCache(storage.fetch, Damage("test"))
    first, second = (spawn(find(pages, 0)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == EVERYTHING
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_page_that_was_read_in_part_before_entries_were_deleted_leaves_no_entry_out() -> None:
    """The first 20 entries are read; then more are stored, and the log deletes those up to 35."""
    storage = Storage()
    pages = PageCache(storage.fetch, Damage("test"))
    page = pages._pages["e", 0] = _Page(1)
    page.extend("e", await storage.fetch("e", 1, 20), Damage("test"))
    storage.oldest = 36
    found = await pages.find("e", 40, 64, "/", frozenset({"r"}), 1)
    assert [one.position for one in found] == ["e.41"]
    with pytest.raises(KeyError):
        await pages.find("e", 20, 64, "/", frozenset({"r"}), 1)
