"""The subscribers of one node: what is handed to them, and how they end."""

import asyncio

import pytest

from oyez.errors import LogUnavailableError
from oyez.log.log import Entry
from oyez.log.subscribers import Subscribers
from tests.log.verbs import entry, numbers
from tests.support.tasks import Spawn


async def test_what_is_handed_in_one_turn_comes_together(spawn: Spawn) -> None:
    subscribers, batches = Subscribers(), list[list[int]]()
    running = spawn(subscribers.run(lambda entries: batches.append(numbers(entries))))
    await asyncio.sleep(0)
    subscribers.publish([entry(1)])
    subscribers.publish([entry(2), entry(3)])
    subscribers.close()
    await running
    assert batches == [[1, 2, 3]]


async def test_nothing_is_passed_on_after_a_failure(spawn: Spawn) -> None:
    """The log starts a new epoch, and an entry is appended in the same iteration of the loop."""
    subscribers, received = Subscribers(), list[Entry]()
    running = spawn(subscribers.run(received.extend))
    await asyncio.sleep(0)
    subscribers.publish([entry(1)])
    subscribers.fail(LogUnavailableError("lost"))
    subscribers.publish([entry(2)])
    with pytest.raises(LogUnavailableError):
        await running
    assert numbers(received) == [1]
