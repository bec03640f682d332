"""The cooperative queue: a few pieces of work in each iteration of the loop, in order, with a bound."""

import asyncio
from functools import partial
from itertools import pairwise

import pytest

from oyez.concurrency.cooperative_queue import MAX_QUEUED_BYTES, WORK_PER_ITERATION, CooperativeQueue


async def test_work_runs_in_order_a_few_pieces_in_each_iteration() -> None:
    queue, done = CooperativeQueue(), list[int]()
    passed = 0
    while queue.try_acquire():
        passed += 1
    assert passed == WORK_PER_ITERATION
    for number in range(3 * WORK_PER_ITERATION):
        assert queue.submit(lambda number=number: done.append(number), 0)  # type: ignore[misc]
    turns = []
    while len(done) < 3 * WORK_PER_ITERATION:
        assert not queue.try_acquire(), "before the queued work"
        turns.append(len(done))
        await asyncio.sleep(0)
    assert max(after - before for before, after in pairwise(turns)) == WORK_PER_ITERATION
    assert done == sorted(done)
    await asyncio.sleep(0)
    assert queue.try_acquire()


async def test_queued_bytes_are_bounded_and_failures_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue, done = CooperativeQueue(), list[str]()
    assert queue.submit(lambda: done.append("first"), MAX_QUEUED_BYTES // 2)
    assert not queue.submit(lambda: done.append("too much"), MAX_QUEUED_BYTES // 2)
    assert queue.submit(partial(done.remove, "nothing"), 0)
    assert queue.submit(lambda: done.append("last"), 0)
    for _ in range(3):
        await asyncio.sleep(0)
    assert done == ["first", "last"]
    assert "queued work failed" in caplog.text
    assert queue.submit(lambda: None, MAX_QUEUED_BYTES // 2)
