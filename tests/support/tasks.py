"""Tasks that belong to a test. They end with it, also where it fails: what they raise then is no other test's error."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

from oyez.concurrency.task_set import cancel_tasks

T = TypeVar("T")


class Spawn(Protocol):
    """Starts a task, as `asyncio.create_task` does."""

    def __call__(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]: ...


@asynccontextmanager
async def own_tasks() -> AsyncIterator[Spawn]:
    """Tasks that are cancelled when the block ends. What they raise is for those who await them, and nobody else."""
    tasks: list[asyncio.Task[Any]] = []

    def spawn(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        tasks.append(asyncio.create_task(work))
        return tasks[-1]

    try:
        yield spawn
    finally:
        await cancel_tasks(*tasks)
