"""How a figure is taken: warm up, find a count that lasts long enough, then rounds in turn at every server.

Turns matter: on a shared machine the same work can cost a third more a minute later, and a ratio of two figures is
only worth something when both were taken at nearly the same time.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.children import BenchError
from bench.generators import Load, measure_floor
from bench.results import Figure, Sample, Scenario, summarise
from bench.servers import FLOOR, Running, Server, Surroundings


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long and how large everything is."""

    rounds: int = 3
    round_seconds: float = 1.5
    warm_up_seconds: float = 1.0
    settle_seconds: float = 2.0
    """Before memory is read."""
    small_room: int = 100
    large_room: int = 1_000
    idle: int = 5_000
    latency_seconds: int = 10
    timeout: int = 60
    """Seconds for connecting, and for a round; no figure of a working server comes near it."""


QUICK = Budget(
    rounds=1,
    round_seconds=0.2,
    warm_up_seconds=0.1,
    settle_seconds=0.2,
    small_room=50,
    large_room=200,
    idle=300,
    latency_seconds=1,
    timeout=10,
)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A run: its surroundings, the measured servers, the amounts, and where it reports its progress."""

    around: Surroundings
    servers: Sequence[Server]
    floor: bool
    budget: Budget
    say: Callable[[str], None]

    def load(self, running: Running, mode: str, *, clients: int = 1, options: Sequence[str] = ()) -> Load:
        """A load generator for a running server. The caller waits until it is ready."""
        return Load(
            f"{mode}-{running.server.key}",
            mode,
            running.port,
            path=running.server.path,
            core=self.around.load_core,
            clients=clients,
            tokens=self.around.tokens,
            timeout=self.budget.timeout,
            options=options,
        )


class Subject(Protocol):
    """What can be made to work a given number of times."""

    @property
    def key(self) -> str: ...

    @property
    def stored(self) -> bool | None: ...

    def do(self, count: int) -> Sample: ...


def take_sample(running: Running, load: Load, count: int, begin: Callable[[], object]) -> Sample:
    """What the server takes until the load generator has seen `count` operations, which `begin` causes."""
    before = running.read_cpu()
    started_ns = time.monotonic_ns()
    load.ask(count)
    begin()
    answer = load.receive()
    return Sample(
        operations=answer.done,
        cpu=running.read_cpu().since(before),
        seconds=(answer.last_ns - started_ns) / 1e9,
        load_cpu=answer.cpu_user + answer.cpu_system,
        p50_ms=answer.latency_us.p50 / 1000,
        p99_ms=answer.latency_us.p99 / 1000,
    )


@dataclass(frozen=True)
class EmittingSubject:
    """A server that emits events to connected clients."""

    running: Running
    load: Load

    @property
    def key(self) -> str:
        return self.running.server.key

    @property
    def stored(self) -> bool | None:
        return self.running.stores_events()


@dataclass(frozen=True)
class FanOutSubject(EmittingSubject):
    """A server with a room of connected clients. One count is one event to all of them."""

    room: int
    burst: int

    def do(self, count: int) -> Sample:
        return take_sample(self.running, self.load, count * self.room, lambda: self.running.emit(count, self.burst))


@dataclass(frozen=True)
class PublishSubject(EmittingSubject):
    """A server to which each HTTP request publishes one event, for one client."""

    def do(self, count: int) -> Sample:
        return take_sample(self.running, self.load, count, lambda: self.running.publish(count))


@dataclass(frozen=True)
class NoRecipientsSubject:
    """A node with clients none of whom is in the room of the events that another node publishes."""

    running: Running
    publisher: Running
    listener: Load
    """A client of the publisher: the events are out when it has them."""
    burst: int
    stored: bool | None = None

    @property
    def key(self) -> str:
        return self.running.server.key

    def do(self, count: int) -> Sample:
        return take_sample(self.running, self.listener, count, lambda: self.publisher.emit(count, self.burst))


@dataclass(frozen=True)
class LoadSubject:
    """A server whose clients do the work: one count is one command, or one connect."""

    running: Running
    load: Load
    stored: bool | None = None

    @property
    def key(self) -> str:
        return self.running.server.key

    def do(self, count: int) -> Sample:
        return take_sample(self.running, self.load, count, lambda: None)


@dataclass(frozen=True)
class FloorSubject:
    """The kernel alone. One count is one message to every socket."""

    around: Surroundings
    room: int
    burst: int
    key: str = FLOOR
    stored: bool | None = None
    size: int = 230
    """Bytes of a message: an event of 200 bytes with its packet and frame."""

    def do(self, count: int) -> Sample:
        cores = {"server_core": self.around.server_core, "load_core": self.around.load_core}
        floor = measure_floor(self.room, self.size, self.burst, count, **cores)
        return Sample(operations=floor.operations, cpu=floor.cpu, seconds=floor.seconds)


def calibrate(subject: Subject, budget: Budget, step: int) -> int:
    """Warm the subject up; returns how many counts, in whole steps, fill a round."""
    count, spent = step, 0.0
    while True:
        sample = subject.do(count)
        spent += sample.seconds
        pace = count / max(sample.seconds, 1e-6)
        if spent >= budget.warm_up_seconds:
            return whole_steps(pace * budget.round_seconds, step)
        # At most eight times as many at once: the first counts are slow, and would promise too little or too much.
        count = whole_steps(min(8 * count, pace * budget.warm_up_seconds), step)


def whole_steps(count: float, step: int) -> int:
    return max(1, round(count / step)) * step


def measure(
    bench: Bench, scenario: Scenario, subjects: Sequence[Subject], step: int = 1, notes: Mapping[str, str] | None = None
) -> Iterator[Figure]:
    """The scenario's figures, one for each subject; a subject that fails is left out of the later rounds."""
    stored = {subject.key: subject for subject in subjects}
    for key, taken in take_rounds(bench, scenario, subjects, step).items():
        if isinstance(taken, str):
            yield Figure(scenario=scenario, server=key, error=taken)
        else:
            yield summarise(scenario, key, taken, (notes or {}).get(key, ""), stored[key].stored)


def take_rounds(
    bench: Bench, scenario: Scenario, subjects: Sequence[Subject], step: int = 1
) -> Mapping[str, list[Sample] | str]:
    """The samples of each subject, or why it failed. A subject that fails is left out of the later rounds."""
    counts: dict[str, int] = {}
    samples: dict[str, list[Sample]] = {subject.key: [] for subject in subjects}
    errors: dict[str, str] = {}
    for turn in range(bench.budget.rounds + 1):
        for subject in subjects:
            if subject.key in errors:
                continue
            phase = f"round {turn} of {bench.budget.rounds}" if turn else "warming up"
            bench.say(f"{scenario.title}: {subject.key}, {phase}")
            try:
                if turn == 0:
                    counts[subject.key] = calibrate(subject, bench.budget, step)
                else:
                    samples[subject.key].append(subject.do(counts[subject.key]))
            except BenchError as error:
                errors[subject.key] = str(error)
    return {subject.key: errors.get(subject.key) or samples[subject.key] for subject in subjects}
