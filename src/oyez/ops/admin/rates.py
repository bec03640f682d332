"""Rates and latencies, second by second: the differences between two states of the metrics of a node.

The metrics of all nodes can be added: rates as numbers, durations as the numbers of values in each bucket.
"""

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate

import msgspec

from oyez.contract.types import Time
from oyez.ops import families
from oyez.ops.admin.answers import Quantiles, SystemRates, Tick
from oyez.ops.families import Family
from oyez.ops.metrics import Metrics
from oyez.service.served import Served

MAX_SECONDS = 600
"""Seconds that are kept: some 300 bytes for each system and second."""
LAG_SECONDS = 10
"""Seconds for which the longest lag of the event loop is shown."""

COUNTED: tuple[tuple[str, Family], ...] = (
    ("published", families.PUBLISHED),
    ("delivered", families.DELIVERED),
    ("bytes", families.DELIVERED_BYTES),
    ("commands", families.COMMANDS),
    ("refusals", families.REFUSALS),
    ("connects", families.CONNECTS),
    ("disconnects", families.DISCONNECTS),
    ("recoveries", families.RECOVERIES),
    ("slow", families.SLOW_CLIENTS),
)
"""The rates, and the counters from which they follow."""
TIMED: tuple[tuple[str, Family], ...] = (
    ("append", families.APPEND_SECONDS),
    ("delivery", families.DELIVERY_SECONDS),
    ("command", families.COMMAND_SECONDS),
)


class LocalRates(msgspec.Struct, frozen=True, array_like=True):
    """What happened in one system at one node in one second."""

    connections: int
    sockets: int
    counts: list[float]
    """In the order of COUNTED."""
    buckets: list[list[int]]
    """In the order of TIMED: the number of values in each bucket."""


class LocalTick(msgspec.Struct, frozen=True, array_like=True):
    """One second at one node."""

    second: int
    """Since 1970."""
    systems: dict[str, LocalRates]
    loop_lag: float


class RateRecorder:
    """Records the rates of a node. `now` gives seconds since 1970."""

    def __init__(self, metrics: Metrics, systems: Mapping[str, Served], now: Callable[[], float] = time.time) -> None:
        self._metrics = metrics
        self._systems = systems
        self._now = now
        self._before: dict[str, list[float]] | None = None
        self._lags: deque[tuple[float, float]] = deque(maxlen=LAG_SECONDS * 4)
        self.ticks: deque[LocalTick] = deque(maxlen=MAX_SECONDS)

    def lagged(self, seconds: float) -> None:
        """Record a measurement of the event loop's lag."""
        self._lags.append((self._now(), seconds))

    @property
    def loop_lag(self) -> float:
        """The longest lag of the last seconds."""
        since = self._now() - LAG_SECONDS
        return max((lag for at, lag in self._lags if at >= since), default=0.0)

    async def record(self) -> float:
        """Record the second that has ended. Returns the seconds until the next one ends."""
        now, after = self._now(), self._read()
        before, self._before = self._before, after
        second = int(now) - 1
        if before is not None and (not self.ticks or self.ticks[-1].second < second):
            lag = max((lag for at, lag in self._lags if at >= now - 1.0), default=0.0)
            systems = {name: self._compare(served, before[name], after[name]) for name, served in self._systems.items()}
            self.ticks.append(LocalTick(second, systems, lag))
        return 1.0 - self._now() % 1.0

    def _read(self) -> dict[str, list[float]]:
        """By system, the counters and then the buckets of the histograms."""
        samples = self._metrics.samples()
        width = len(families.SECONDS) + 1
        found = {name: [0.0] * (len(COUNTED) + width * len(TIMED)) for name in self._systems}
        for index, (_, family) in enumerate(COUNTED):
            for labels, value in samples[family.name]:
                if labels[0] in found and isinstance(value, float):
                    found[labels[0]][index] += value
        for index, (_, family) in enumerate(TIMED):
            first = len(COUNTED) + index * width
            for labels, value in samples[family.name]:
                if labels[0] in found and isinstance(value, tuple):
                    found[labels[0]][first : first + width] = value[0]
        return found

    def _compare(self, served: Served, before: Sequence[float], after: Sequence[float]) -> LocalRates:
        changed = [new - old for old, new in zip(before, after, strict=True)]
        width, counts = len(families.SECONDS) + 1, changed[: len(COUNTED)]
        timed = [int(value) for value in changed[len(COUNTED) :]]
        server = served.server
        sockets = sum(len(namespace.sockets) for namespace in server.namespaces.values())
        buckets = [timed[first : first + width] for first in range(0, len(timed), width)]
        return LocalRates(len(server.registry.connections), sockets, counts, buckets)


def merge_ticks(nodes: Iterable[Sequence[LocalTick]], since: int, until: int) -> list[Tick]:
    """The seconds from `since` to before `until`, for all nodes together."""
    by_second: dict[int, list[LocalTick]] = {}
    for ticks in nodes:
        for tick in ticks:
            if since <= tick.second < until:
                by_second.setdefault(tick.second, []).append(tick)
    return [_merge(second, ticks) for second, ticks in sorted(by_second.items())]


def _merge(second: int, ticks: Sequence[LocalTick]) -> Tick:
    names = sorted({name for tick in ticks for name in tick.systems})
    systems = [_add(name, [tick.systems[name] for tick in ticks if name in tick.systems]) for name in names]
    return Tick(at=Time.at(second), systems=systems, loop_lag=max(tick.loop_lag for tick in ticks))


def _add(system: str, rates: Sequence[LocalRates]) -> SystemRates:
    counts = [sum(values) for values in zip(*(one.counts for one in rates), strict=True)]
    buckets = [
        [sum(values) for values in zip(*(one.buckets[index] for one in rates), strict=True)]
        for index in range(len(TIMED))
    ]
    values: dict[str, object] = {
        "system": system,
        "connections": sum(one.connections for one in rates),
        "sockets": sum(one.sockets for one in rates),
    }
    values |= {name: round(count, 3) for (name, _), count in zip(COUNTED, counts, strict=True)}
    values |= {name: find_quantiles(counted) for (name, _), counted in zip(TIMED, buckets, strict=True)}
    return msgspec.convert(values, SystemRates)


def find_quantiles(counts: Sequence[int]) -> Quantiles:
    """Quantiles of values that were counted by bucket. Within a bucket, values count as evenly spread."""
    return Quantiles(p50=_find_quantile(counts, 0.5), p99=_find_quantile(counts, 0.99))


def _find_quantile(counts: Sequence[int], share: float) -> float | None:
    ends = list(accumulate(counts))
    if not ends or not ends[-1]:
        return None
    wanted = share * ends[-1]
    index = bisect_left(ends, wanted)
    bounds = (0.0, *families.SECONDS, families.SECONDS[-1])
    below = ends[index - 1] if index else 0
    part = (wanted - below) / counts[index] if counts[index] else 1.0
    return round(bounds[index] + part * (bounds[index + 1] - bounds[index]), 6)
