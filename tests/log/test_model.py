"""Every backend against a model of the promise: a list, a clock, and nothing else."""

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from oyez.log.log import Entry, Log
from tests.log.backends import RETENTION, Backend, Clock
from tests.log.verbs import entry, volatile

ROOMS = ("a", "b", "c", "d")
entries = st.lists(st.builds(lambda rooms: entry(0, *rooms), st.lists(st.sampled_from(ROOMS), max_size=3, unique=True)))


@dataclass
class Kept:
    """An entry that was appended, the position it was given and when that was."""

    position: str
    entry: Entry
    time: float


class LogMachine(RuleBasedStateMachine):
    """One producer, any number of readers. The log must return what the list contains."""

    backend: Backend

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.runner = asyncio.Runner()
        self.log: Log = self.runner.run(_open(type(self).backend, Path(self.folder.name), self.clock))
        self.start = self.runner.run(self.log.position())
        self.kept: list[Kept] = []

    def teardown(self) -> None:
        self.runner.run(self.log.close())
        self.runner.close()
        self.folder.cleanup()

    @rule(batch=entries)
    def append(self, batch: list[Entry]) -> None:
        positions = self.runner.run(self.log.append(batch))
        assert len(positions) == len(batch)
        self.kept += [Kept(place, sent, self.clock.now) for place, sent in zip(positions, batch, strict=True)]
        assert len({kept.position for kept in self.kept}) == len(self.kept)

    @rule()
    def broadcast(self) -> None:
        self.runner.run(self.log.broadcast(volatile(0)))

    @rule(seconds=st.sampled_from([0.5, 1.0, RETENTION / 3, RETENTION / 2, RETENTION + 1]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(place=st.integers(0, 40), rooms=st.frozensets(st.sampled_from(ROOMS)), limit=st.integers(1, 10))
    def read(self, place: int, rooms: frozenset[str], limit: int) -> None:
        place = min(place, len(self.kept))
        after = self.kept[place - 1].position if place else self.start
        following = self.kept[place:]
        if following and self.clock.now - following[0].time >= RETENTION:
            with pytest.raises(KeyError):
                self.runner.run(self.log.read(after, "/", rooms, limit))
            return
        found = self.runner.run(self.log.read(after, "/", rooms, limit))
        wanted = [kept for kept in following if not kept.entry.rooms or rooms & set(kept.entry.rooms)][:limit]
        assert [(one.position, one.rooms, one.data) for one in found] == [
            (kept.position, kept.entry.rooms, kept.entry.data) for kept in wanted
        ]

    @invariant()
    def the_position_is_that_of_the_newest_entry(self) -> None:
        newest = self.kept[-1].position if self.kept else self.start
        assert self.runner.run(self.log.position()) == newest


async def _open(backend: Backend, folder: Path, clock: Clock) -> Log:
    return await backend(folder, clock)()


def test_a_log_behaves_like_a_list_that_forgets(backend: Backend) -> None:
    class SettingsFlags(LogMachine):
        pass

    SettingsFlags.backend = staticmethod(backend)
    run_state_machine_as_test(SettingsFlags)
