"""The states of a log consumer: clients may enter in one state only, and each failure leads back to it."""

import asyncio

import pytest

from oyez.errors import LogUnavailableError
from oyez.log.log import Entry
from oyez.log.memory import MemoryLog
from oyez.server.delivery.consumer import LogConsumer
from oyez.server.delivery.progress import TRANSITIONS, Input, Progress, State
from oyez.server.delivery.replay_buffer import ReplayBuffer
from tests.support.parts import make_parts
from tests.support.tasks import Spawn


def make_consumer(log: MemoryLog) -> tuple[LogConsumer, Progress]:
    replay_buffer = ReplayBuffer()
    progress = Progress(replay_buffer)
    return LogConsumer(log, make_parts().make_table(), replay_buffer, progress), progress


def test_each_state_has_a_way_to_live() -> None:
    for state in State:
        reached = {state}
        while more := {after for before in reached for after in TRANSITIONS[before].values()} - reached:
            reached |= more
        assert State.LIVE in reached


@pytest.mark.parametrize("state", State)
def test_an_ended_epoch_starts_again_and_a_failure_never_stays_live(state: State) -> None:
    assert TRANSITIONS[state][Input.EPOCH_ENDED] is State.STARTING
    assert TRANSITIONS[state][Input.FAILED] not in (State.LIVE, State.CATCHING_UP)


async def test_a_consumer_is_live_after_the_stored_entries_and_lost_when_it_stops(spawn: Spawn) -> None:
    log = MemoryLog()
    await log.open()
    await log.append([Entry(namespace="/", rooms=(), data=b'["old"]')])
    consumer, progress = make_consumer(log)
    await consumer.start()
    assert (progress.state, progress.live.is_set()) == (State.CATCHING_UP, False)
    for _ in range(2):
        running = spawn(consumer.run())
        await progress.wait_until_live()
        assert (progress.state, progress.live.is_set()) == (State.LIVE, True)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert (progress.state, progress.live.is_set()) == (State.LOST, False)


async def test_a_log_that_cannot_be_opened_leaves_the_consumer_at_the_start() -> None:
    class Away(MemoryLog):
        async def open(self) -> None:
            raise LogUnavailableError("away")

    consumer, progress = make_consumer(Away())
    with pytest.raises(LogUnavailableError):
        await consumer.run()
    assert progress.state is State.STARTING
