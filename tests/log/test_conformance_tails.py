"""What every backend promises about what it hands on: tails, volatile entries, the end. The same tests for all."""

import asyncio

import pytest
from msgspec.structs import replace

from oyez.errors import LogUnavailableError
from oyez.log.log import Log
from tests.log.backends import RETENTION, Clock, OpenLog
from tests.log.verbs import Received, control, entry, numbers, read_all, tailing, volatile
from tests.support.clock import PATIENCE
from tests.support.tasks import Spawn

# Tails.


async def test_a_tail_receives_all_later_entries_in_order(log: Log) -> None:
    await log.append([entry(0)])
    async with tailing(log) as received:
        positions = []
        for number in range(1, 40, 3):
            positions += await log.append([entry(number), entry(number + 1, "a"), entry(number + 2, "b")])
        found = await received.wait_for(39)
    assert numbers(found) == list(range(1, 40))
    assert [kept.position for kept in found] == positions


async def test_a_tail_is_never_handed_nothing(log: Log) -> None:
    async with tailing(log) as received:
        await log.append([])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await log.append([entry(1)])
        await received.wait_for(1)
        await log.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert all(received.batches)


async def test_a_tail_receives_concurrent_producers_in_log_order(log: Log) -> None:
    start = await log.position()
    async with tailing(log) as received:
        await asyncio.gather(*(log.append([entry(10 * call), entry(10 * call + 1)]) for call in range(50)))
        found = await received.wait_for(100)
    assert numbers(found) == await read_all(log, start)


async def test_several_tails_receive_the_same(open_log: OpenLog) -> None:
    here, there = await open_log(), await open_log()
    async with tailing(here) as first, tailing(here) as second, tailing(there) as third:
        await here.append([entry(1)])
        await first.wait_for(1), await second.wait_for(1), await third.wait_for(1)
        await there.append([entry(2), entry(3)])
        for received in (first, second, third):
            assert numbers(await received.wait_for(3)) == [1, 2, 3]


async def test_what_one_node_appends_another_reads(open_log: OpenLog) -> None:
    here, there = await open_log(), await open_log()
    start = await there.position()
    positions = await here.append([entry(1), entry(2, "a")])
    assert await there.position() == positions[-1]
    assert await read_all(there, start, "a") == [1, 2]


async def test_a_tail_that_is_cancelled_leaves_the_others(log: Log) -> None:
    async with tailing(log) as staying:
        async with tailing(log) as going:
            await log.append([entry(1)])
            await going.wait_for(1)
        await log.append([entry(2)])
        assert numbers(await staying.wait_for(2)) == [1, 2]
    assert numbers(going.entries) == [1]


async def test_a_listener_that_appends_receives_its_own_entries(log: Log) -> None:
    """Handlers append in answer to what a tail delivers."""
    async with tailing(log) as received:
        await log.append([entry(1)])
        await received.wait_for(1)
        await log.append([entry(2)])
        assert numbers(await received.wait_for(2)) == [1, 2]


async def test_a_tail_begins_after_the_given_position(log: Log) -> None:
    positions = await log.append([entry(number) for number in range(5)])
    async with tailing(log, positions[1]) as received:
        await log.append([entry(5)])
        assert numbers(await received.wait_for(4)) == [2, 3, 4, 5]


async def test_a_tail_misses_nothing_that_comes_while_it_begins(log: Log, spawn: Spawn) -> None:
    start = await log.position()
    received = Received()
    tail = spawn(log.tail(received.deliver, start))
    for number in range(50):
        await log.append([entry(number)])
    assert numbers(await received.wait_for(50)) == list(range(50))
    tail.cancel()


async def test_a_tail_that_starts_far_back_gets_all_entries(log: Log) -> None:
    start = await log.position()
    for first in range(0, 5_000, 1_000):
        await log.append([entry(number) for number in range(first, first + 1_000)])
    async with tailing(log, start) as received:
        assert numbers(await received.wait_for(5_000)) == list(range(5_000))


async def test_a_tail_after_what_is_not_kept_is_a_key_error(log: Log, clock: Clock) -> None:
    start = await log.position()
    await log.append([entry(1)])
    clock.advance(RETENTION + 1)
    for unknown in (start, "elsewhere.1", "nothing"):
        with pytest.raises(KeyError):
            await log.tail(Received().deliver, unknown)


async def test_a_tail_receives_control_entries_in_order(log: Log) -> None:
    async with tailing(log) as received:
        await log.append([entry(1, "a"), control(2, "a"), entry(3, "a", key="k")])
        found = await received.wait_for(3)
    assert numbers(found) == [1, 2, 3]
    assert [kept.control for kept in found] == ["", "leave", ""]
    assert [kept.key for kept in found] == ["", "", "k"]


# Volatile entries.


async def test_a_volatile_entry_is_received_but_not_stored(log: Log) -> None:
    start = await log.position()
    async with tailing(log) as received:
        await log.broadcast(volatile(1))
        (found,) = await received.wait_for(1)
    assert found == volatile(1)
    assert found.position is None
    assert await log.position() == start
    assert await read_all(log, start) == []


async def test_a_volatile_entry_reaches_every_node(open_log: OpenLog) -> None:
    here, there = await open_log(), await open_log()
    async with tailing(here) as first, tailing(there) as second:
        await here.broadcast(volatile(1))
        assert await first.wait_for(1) == await second.wait_for(1) == [volatile(1)]


async def test_a_volatile_entry_without_a_tail_is_lost(log: Log) -> None:
    await log.broadcast(volatile(1))
    async with tailing(log) as received:
        await log.append([entry(2)])
        await received.wait_for(1)
    assert numbers(received.entries) == [2]


async def test_a_volatile_control_entry_is_received(log: Log) -> None:
    async with tailing(log) as received:
        await log.broadcast(replace(control(1, "a"), volatile=True))
        (found,) = await received.wait_for(1)
    assert (found.control, found.rooms, found.position) == ("leave", ("a",), None)


# The end.


async def test_tails_end_when_the_log_is_closed(log: Log, spawn: Spawn) -> None:
    received = Received()
    async with tailing(log):
        tail = spawn(log.tail(received.deliver))
        await asyncio.sleep(0)
        await log.close()
        async with asyncio.timeout(PATIENCE):
            await tail
    async with asyncio.timeout(PATIENCE):
        await log.tail(received.deliver)


async def test_a_closed_log_says_that_it_stores_nothing(log: Log) -> None:
    await log.append([entry(1)])
    await log.close()
    with pytest.raises(LogUnavailableError):
        await log.append([entry(2)])


async def test_closing_twice_is_closing(log: Log) -> None:
    await log.close()
    await log.close()
