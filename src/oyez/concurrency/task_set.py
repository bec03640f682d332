"""Sets that hold tasks: asyncio itself has only weak references, so Python could delete a running task."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any


class TaskSet:
    """Tasks that run until they end or are cancelled."""

    def __init__(self, on_error: Callable[[Exception], None] | None = None) -> None:
        """`on_error` is called with the error that a task raises. Without it, asyncio reports the error."""
        self._on_error = on_error
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def running(self) -> frozenset["asyncio.Task[None]"]:
        """The tasks that have not ended."""
        return frozenset(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` in a task."""
        task = asyncio.get_running_loop().create_task(work if self._on_error is None else self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._on_error is not None:
            # If the guard is cancelled before its first step, the coroutine has not started and must be closed here.
            task.add_done_callback(lambda _: work.close())
        return task

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            assert self._on_error is not None
            self._on_error(error)

    def cancel(self) -> None:
        """Cancel all tasks, without waiting for their end."""
        for task in self._tasks:
            task.cancel()

    async def drain(self) -> None:
        """Wait until all tasks have ended, including the tasks that they spawn."""
        while self._tasks:
            await asyncio.wait(self._tasks)


async def cancel_tasks(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel `tasks` and wait for their end. Errors that they raise are ignored."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def run_beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` while inside; it is cancelled at the end."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        await cancel_tasks(*tasks)
