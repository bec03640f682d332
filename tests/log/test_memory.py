"""What is special to the log in memory: a limit by size, and delivery in one turn of the loop."""

import pytest

from oyez.log.memory import ENTRY_OVERHEAD, MemoryLog
from tests.log.verbs import entry, numbers, tailing, volatile


async def test_it_keeps_no_more_than_max_bytes() -> None:
    log = MemoryLog(max_bytes=3 * (ENTRY_OVERHEAD + len(entry(0).data)))
    positions = await log.append([entry(number) for number in range(5)])
    assert numbers(await log.read(positions[1], "/", frozenset(), 10)) == [2, 3, 4]
    with pytest.raises(KeyError):
        await log.read(positions[0], "/", frozenset(), 10)


async def test_what_is_appended_in_one_turn_of_the_loop_is_delivered_in_one() -> None:
    log = MemoryLog()
    async with tailing(log) as received:
        await log.append([entry(1)])
        await log.broadcast(volatile(2))
        await log.append([entry(3), entry(4)])
        await received.wait_for(4)
    assert [numbers(batch) for batch in received.batches] == [[1, 2, 3, 4]]


async def test_what_was_appended_before_the_close_is_still_delivered() -> None:
    log = MemoryLog()
    async with tailing(log) as received:
        await log.append([entry(1)])
        await log.close()
        await received.wait_for(1)
    assert numbers(received.entries) == [1]


async def test_two_logs_have_two_epochs() -> None:
    assert MemoryLog().epoch != MemoryLog().epoch
