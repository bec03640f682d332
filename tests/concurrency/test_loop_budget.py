"""The budget of a loop iteration: a single task runs at once, many share the budget, other work runs in between."""

import asyncio

import pytest

from oyez.concurrency.loop_budget import LoopBudget
from tests.support.tasks import Spawn


async def turn(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


class Iterations:
    """Counts the iterations of the loop."""

    def __init__(self) -> None:
        self.count = 0

    async def run(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.count += 1


@pytest.fixture
async def iterations(spawn: Spawn) -> Iterations:
    counted = Iterations()
    spawn(counted.run())
    return counted


async def work(budget: LoopBudget, iterations: Iterations, seconds: float) -> int:
    """Work for `seconds`; returns the iteration in which that was."""
    await budget.enter()
    budget.charge(seconds)
    return iterations.count


async def test_one_task_does_not_wait(iterations: Iterations) -> None:
    budget = LoopBudget(1.0)
    before = iterations.count
    assert await work(budget, iterations, 0.5) == before


@pytest.mark.parametrize(
    ("seconds", "in_eight"),
    [(1.0, 8), (0.5, 16), (4.0, 2)],
    ids=["as-long-as-the-budget", "shorter", "longer"],
)
async def test_many_tasks_share_the_iterations_in_order(
    seconds: float, in_eight: int, spawn: Spawn, iterations: Iterations
) -> None:
    budget = LoopBudget(1.0)
    tasks = [spawn(work(budget, iterations, seconds)) for _ in range(100)]
    at = await asyncio.gather(*tasks)
    assert at == sorted(at)
    # After the first ones, which find the whole budget.
    begin = at[10]
    assert sum(begin <= one < begin + 8 for one in at) == pytest.approx(in_eight, abs=2)


async def test_the_budget_recovers_while_the_loop_is_idle(iterations: Iterations) -> None:
    budget = LoopBudget(1.0)
    budget.charge(3.0)
    await turn(6)
    before = iterations.count
    assert await work(budget, iterations, 0.1) == before


async def test_a_cancelled_task_does_not_block_the_others(spawn: Spawn, iterations: Iterations) -> None:
    budget = LoopBudget(1.0)
    budget.charge(5.0)
    cancelled, other = (spawn(work(budget, iterations, 0.1)) for _ in range(2))
    await turn(1)
    cancelled.cancel()
    assert await other > 0
    assert cancelled.cancelled()
