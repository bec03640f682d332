"""The tails of one node: what is handed to them, and how they end."""

import asyncio

import pytest

from oyez.errors import LogUnavailableError
from oyez.log.log import Entry
from oyez.log.tails import Tails
from tests.log.verbs import entry, numbers


async def test_what_is_handed_in_one_turn_comes_together() -> None:
    tails, batches = Tails(), list[list[int]]()
    running = asyncio.create_task(tails.run(lambda entries: batches.append(numbers(entries))))
    await asyncio.sleep(0)
    tails.hand([entry(1)])
    tails.hand([entry(2), entry(3)])
    tails.close()
    await running
    assert batches == [[1, 2, 3]]


async def test_nothing_is_handed_on_behind_a_failure() -> None:
    """As when a log begins anew, and something is appended to it in the same turn of the loop."""
    tails, heard = Tails(), list[Entry]()
    running = asyncio.create_task(tails.run(heard.extend))
    await asyncio.sleep(0)
    tails.hand([entry(1)])
    tails.fail(LogUnavailableError("lost"))
    tails.hand([entry(2)])
    with pytest.raises(LogUnavailableError):
        await running
    assert numbers(heard) == [1]
