"""What was measured: samples, the figure made from them, ratios, and the targets they are held against."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.cpu import CpuTime
from bench.servers import FLOOR, NODE_UWS, NODE_WS, OYEZ, OYEZ_IN_PROCESS, PYTHON_SOCKETIO


@dataclass(frozen=True)
class Scenario:
    key: str
    title: str
    unit: str
    """What the value is: `µs CPU a recipient`, `KB a connection`, …"""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One round at one server."""

    operations: int
    cpu: CpuTime
    seconds: float
    load_cpu: float = 0.0
    """Processor seconds of the load generator."""
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    """How long half, and 99 of 100, of the operations took, where each is waited for."""

    @property
    def microseconds(self) -> float:
        """Server CPU for each operation."""
        return self.cpu.total / self.operations * 1e6


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What a scenario gave for one server. Less is better."""

    scenario: Scenario
    server: str
    value: float = 0.0
    user: float | None = None
    """The part of `value` spent in the process itself; the rest is the kernel's."""
    rate: float | None = None
    """Operations a second of wall time."""
    load_share: float | None = None
    """CPU share of the load generator; near 1 it is what limits `rate`, though not `value`."""
    spread: tuple[float, float] | None = None
    """The least and the most among the rounds."""
    note: str = ""
    stored: bool | None = None
    """Whether the events were found on disk; None where there is nothing to look for."""
    error: str = ""


def summarise(
    scenario: Scenario, server: str, samples: Sequence[Sample], note: str = "", stored: bool | None = None
) -> Figure:
    """The round in the middle speaks for all of them; the spread shows how far apart they were."""
    ordered = sorted(samples, key=lambda sample: sample.microseconds)
    middle = ordered[len(ordered) // 2]
    return Figure(
        scenario=scenario,
        server=server,
        value=middle.microseconds,
        user=middle.cpu.user / middle.operations * 1e6,
        rate=median(sample.operations / sample.seconds for sample in samples),
        load_share=median(sample.load_cpu / sample.seconds for sample in samples) if server != FLOOR else None,
        spread=(ordered[0].microseconds, ordered[-1].microseconds) if len(ordered) > 1 else None,
        note=note,
        stored=stored,
    )


def summarise_times(
    scenarios: Sequence[Scenario], server: str, samples: Sequence[Sample], note: str = ""
) -> Iterable[Figure]:
    """Of each round: time for each operation in µs, and the p50 and p99 of the waiting times in ms."""
    rounds = [(sample.seconds / sample.operations * 1e6, sample.p50_ms, sample.p99_ms) for sample in samples]
    for scenario, values in zip(scenarios, zip(*rounds, strict=True), strict=True):
        spread = (min(values), max(values)) if len(values) > 1 else None
        yield Figure(scenario=scenario, server=server, value=median(values), spread=spread, note=note)


class Figures:
    """All figures of a run, by scenario and server, in the order they were taken."""

    def __init__(self) -> None:
        self.all: list[Figure] = []
        self.skipped: dict[str, str] = {}
        """Servers that could not be measured here, each with the reason."""

    def add(self, figures: Iterable[Figure]) -> None:
        self.all.extend(figures)

    def scenarios(self) -> list[Scenario]:
        return list(dict.fromkeys(figure.scenario for figure in self.all))

    def of(self, scenario: str) -> list[Figure]:
        return [figure for figure in self.all if figure.scenario.key == scenario]

    def find(self, scenario: str, server: str) -> Figure | None:
        """The figure, where it was taken and nothing went wrong."""
        found = (figure for figure in self.of(scenario) if figure.server == server and not figure.error)
        return next(found, None)

    def ratio(self, figure: Figure, peer: str) -> float | None:
        other = self.find(figure.scenario.key, peer)
        return figure.value / other.value if other is not None and other.value and not figure.error else None

    def failed(self) -> list[Figure]:
        return [figure for figure in self.all if figure.error]


@dataclass(frozen=True)
class Target:
    """At most `limit`, in the scenario's unit, or times what `peer` has in the same scenario."""

    text: str
    scenario: str
    limit: float
    peer: str | None = None
    servers: tuple[str, ...] = (OYEZ,)
    durable: bool = False
    """The target is for events that are stored on disk; if they were not, the verdict says so."""


FAN_OUT = (OYEZ, OYEZ_IN_PROCESS)
TARGETS = (
    Target("fan-out to 1,000, one at a time", "fanout-1000-1", 1.4, FLOOR, FAN_OUT, durable=True),
    Target("fan-out to 1,000, one at a time", "fanout-1000-1", 0.6, NODE_WS, FAN_OUT, durable=True),
    *(
        Target(f"fan-out to 1,000, bursts of {burst}", f"fanout-1000-{burst}", limit, peer, FAN_OUT, durable=True)
        for burst in (4, 10)
        for limit, peer in ((1.3, NODE_UWS), (0.25, NODE_WS), (0.08, PYTHON_SOCKETIO))
    ),
    Target("validated command with ack, against a bare echo", "command-100", 0.6, NODE_WS),
    Target(
        "durable command, time against the same with better-sqlite3", "durable-100-time", 1.25, NODE_WS, durable=True
    ),
    Target("durable command, 100 at once, p99 in ms", "durable-100-p99", 40.0),
    Target("publish over HTTP, against a POST that stores nothing", "publish", 1.0, NODE_WS, durable=True),
    Target("emit in process, in µs", "publish", 30.0, None, (OYEZ_IN_PROCESS,), durable=True),
    Target("event without recipients, one at a time, in µs", "no-recipients-1", 10.0),
    Target("event without recipients, in a stream, in µs", "no-recipients-100", 2.0),
    Target("start until ready, five systems, in ms", "start-serve", 1000.0),
    Target("`oyez --help`, in ms", "start-help", 300.0),
    Target("connect, token and room, against a bare connect", "connect", 1.0, NODE_WS),
    Target("idle connection, in KB", "idle", 11.0),
    Target("idle connection", "idle", 1.0, NODE_WS),
)


@dataclass(frozen=True)
class Verdict:
    target: Target
    server: str
    measured: float | None
    """In the target's terms: a ratio where it names a peer. None: not measured."""
    stored: bool | None = None

    @property
    def text(self) -> str:
        if self.measured is None:
            return "not measured"
        text = "met" if self.measured <= self.target.limit else "missed"
        return f"{text}, with the log in memory" if self.target.durable and not self.stored else text


def judge(figures: Figures) -> list[Verdict]:
    """Every target, for each server it is about."""
    verdicts = []
    for target in TARGETS:
        for server in target.servers:
            figure = figures.find(target.scenario, server)
            if figure is None:
                verdicts.append(Verdict(target, server, None))
                continue
            measured = figures.ratio(figure, target.peer) if target.peer else figure.value
            verdicts.append(Verdict(target, server, measured, figure.stored))
    return verdicts
