"""TaskSet: tasks run to their end, errors reach the owner, and cancelled work is closed."""

import asyncio
import gc

import pytest

from oyez.concurrency.task_set import TaskSet, run_beside


async def test_drain_waits_for_tasks_that_tasks_spawn() -> None:
    done: list[str] = []
    tasks = TaskSet()

    async def inner() -> None:
        await asyncio.sleep(0)
        done.append("inner")

    async def outer() -> None:
        tasks.spawn(inner())
        done.append("outer")

    tasks.spawn(outer())
    assert len(tasks) == 1
    await tasks.drain()
    assert (done, len(tasks)) == (["outer", "inner"], 0)


async def test_an_error_is_given_to_the_owner() -> None:
    errors: list[Exception] = []
    tasks = TaskSet(errors.append)

    async def fail() -> None:
        raise OSError("on purpose")

    tasks.spawn(fail())
    await tasks.drain()
    assert [str(error) for error in errors] == ["on purpose"]


async def test_work_that_is_cancelled_before_its_first_step_is_closed(recwarn: pytest.WarningsRecorder) -> None:
    tasks = TaskSet(lambda error: None)
    tasks.spawn(asyncio.sleep(60))
    tasks.cancel()
    await tasks.drain()
    gc.collect()
    assert not recwarn.list, "a coroutine that was never awaited"


async def test_work_beside_ends_with_its_context() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with run_beside(work()):
        await asyncio.sleep(0)
        assert not ended.is_set()
    assert ended.is_set()
