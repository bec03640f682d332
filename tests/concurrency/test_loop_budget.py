"""The budget of a loop iteration: a single task runs at once, many share the budget, other work runs in between."""

import asyncio

import pytest

from oyez.concurrency.loop_budget import LoopBudget


async def turn(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


class Iterations:
    """Counts the iterations of the loop."""

    def __init__(self) -> None:
        self.count = 0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.count += 1


async def work(budget: LoopBudget, iterations: Iterations, seconds: float) -> int:
    """Work for `seconds`; returns the iteration in which that was."""
    await budget.enter()
    budget.charge(seconds)
    return iterations.count


async def test_one_task_does_not_wait() -> None:
    budget, iterations = LoopBudget(1.0), Iterations()
    assert await work(budget, iterations, 0.5) == 0


@pytest.mark.parametrize(
    ("seconds", "in_eight"),
    [(1.0, 8), (0.5, 16), (4.0, 2)],
    ids=["as-long-as-the-budget", "shorter", "longer"],
)
async def test_many_tasks_share_the_iterations_in_order(seconds: float, in_eight: int) -> None:
    budget, iterations = LoopBudget(1.0), Iterations()
    tasks = [asyncio.create_task(work(budget, iterations, seconds)) for _ in range(100)]
    at = await asyncio.gather(*tasks)
    assert at == sorted(at)
    # After the first ones, which find the whole budget.
    begin = at[10]
    assert sum(begin <= one < begin + 8 for one in at) == pytest.approx(in_eight, abs=2)


async def test_the_budget_recovers_while_the_loop_is_idle() -> None:
    budget, iterations = LoopBudget(1.0), Iterations()
    budget.charge(3.0)
    await turn(6)
    before = iterations.count
    assert await work(budget, iterations, 0.1) == before


async def test_a_cancelled_task_does_not_block_the_others() -> None:
    budget, iterations = LoopBudget(1.0), Iterations()
    budget.charge(5.0)
    cancelled, other = (asyncio.create_task(work(budget, iterations, 0.1)) for _ in range(2))
    await turn(1)
    cancelled.cancel()
    assert await other > 0
    assert cancelled.cancelled()
