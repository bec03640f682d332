"""Metrics of a process and of the other workers beside it, in the format of Prometheus.

`Metrics` observes everything that happens, and counts it in plain dicts: an increment of `prometheus_client` takes a
lock and costs ten times as much. `families.py` lists what is exported. Each worker writes its figures to the data
folder every few seconds, so that one request to any worker shows all of them.
"""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from hmac import compare_digest
from http import HTTPStatus
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.concurrency.loop_lag import measure_lag
from oyez.concurrency.periodic import PeriodicTask
from oyez.logger import get_logger
from oyez.observer import (
    AppendReport,
    CommandReport,
    ConnectReport,
    DeliveryReport,
    DisconnectReport,
    Durations,
    Observer,
    PublishReport,
    RecoveryReport,
    RefusalReport,
    SlowClientReport,
)
from oyez.ops import families
from oyez.ops.families import Family, Labels, Sample, build_families
from oyez.service.app import Oyez
from oyez.service.served import Served

logger = get_logger("oyez.ops")

WRITE_INTERVAL = 5.0
"""Seconds between two writes of a worker's figures: shorter than Prometheus' usual interval of 15 s."""
STALE_SECONDS = 3 * WRITE_INTERVAL
"""Age at which the figures of another worker are left out: that worker has ended, or does not answer."""
READ_TIMEOUT = 1.0
"""Seconds for the questions to the database and the log. What does not answer in time is left out."""
MAX_TIMED = 1_000
"""Events whose delivery is awaited in order to measure its latency."""
FOLDER = "metrics"
"""The folder of the workers' figures in the data folder."""


class Snapshot(msgspec.Struct, frozen=True):
    """The figures of one worker, by the name of their family."""

    worker: str
    samples: Mapping[str, Sequence[tuple[Labels, Sample]]]


class Metrics(Observer):
    """Counts what happens in all systems of a process. `clock` is the monotonic clock of the observers, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._counters: dict[str, _Counter] = {}
        self._histograms: dict[str, _Histograms] = {}
        # Attributes, because a look-up by family would take most of the time of an increment.
        self._published = self._counter(families.PUBLISHED)
        self._appended = self._counter(families.APPENDED)
        self._appended_bytes = self._counter(families.APPENDED_BYTES)
        self._append_seconds = self._histogram(families.APPEND_SECONDS)
        self._delivered = self._counter(families.DELIVERED)
        self._delivered_bytes = self._counter(families.DELIVERED_BYTES)
        self._delivery_seconds = self._histogram(families.DELIVERY_SECONDS)
        self._commands = self._counter(families.COMMANDS)
        self._command_seconds = self._histogram(families.COMMAND_SECONDS)
        self._refusals = self._counter(families.REFUSALS)
        self._connects = self._counter(families.CONNECTS)
        self._disconnects = self._counter(families.DISCONNECTS)
        self._recoveries = self._counter(families.RECOVERIES)
        self._replayed = self._counter(families.REPLAYED)
        self._slow_clients = self._counter(families.SLOW_CLIENTS)
        self._loop_lag = self._histogram(families.LOOP_LAG)
        self._succeeded: dict[str, Mapping[str, Durations]] = {}
        """By system and name, the durations of the commands that have succeeded."""
        self._timed: dict[tuple[str, str], float] = {}
        """By system and position, when the call to the log began or, negative, when the event was delivered."""

    def _counter(self, family: Family) -> "_Counter":
        counter = self._counters[family.name] = defaultdict(float)
        return counter

    def _histogram(self, family: Family) -> "_Histograms":
        histograms = self._histograms[family.name] = defaultdict(Durations)
        return histograms

    def published(self, report: PublishReport) -> None:
        self._published[report.system, report.name, report.origin] += 1
        if report.position is not None:
            self._time(report.system, report.position, self._clock() - report.seconds, delivered=False)

    def appended(self, report: AppendReport) -> None:
        system = (report.system,)
        self._appended[system] += report.entries
        self._appended_bytes[system] += report.size
        self._append_seconds[system].add(report.seconds)

    def delivered(self, report: DeliveryReport) -> None:
        for name in report.names:
            self._delivered[report.system, name] += report.recipients
        self._delivered_bytes[(report.system,)] += report.size * report.recipients
        if report.position is not None:
            self._time(report.system, report.position, self._clock(), delivered=True)

    def time_commands(self, system: str, durations: Mapping[str, Durations]) -> None:
        self._succeeded[system] = durations

    def command(self, report: CommandReport) -> None:
        self._commands[report.system, report.name, report.code] += 1
        self._command_seconds[(report.system,)].add(report.seconds)

    def refused(self, report: RefusalReport) -> None:
        self._refusals[report.system, report.kind, report.code] += 1

    def connected(self, report: ConnectReport) -> None:
        self._connects[report.system, report.namespace] += 1

    def disconnected(self, report: DisconnectReport) -> None:
        self._disconnects[report.system, report.namespace, report.reason] += 1

    def recovered(self, report: RecoveryReport) -> None:
        self._recoveries[report.system, "recovered" if report.recovered else "not recovered"] += 1
        self._replayed[(report.system,)] += report.replayed

    def slow(self, report: SlowClientReport) -> None:
        self._slow_clients[(report.system,)] += 1

    def lagged(self, seconds: float) -> None:
        """Count a measurement of the event loop's lag."""
        self._loop_lag[()].add(seconds)

    def _time(self, system: str, position: str, now: float, *, delivered: bool) -> None:
        """Measure the time from the call to the log to the delivery. Either may be reported first."""
        other = self._timed.pop((system, position), None)
        if other is None:
            if len(self._timed) >= MAX_TIMED:
                # Events of other processes are only delivered here: the oldest is the first.
                del self._timed[next(iter(self._timed))]
            self._timed[system, position] = -now if delivered else now
            return
        began, ended = (other, now) if delivered else (now, -other)
        self._delivery_seconds[(system,)].add(max(0.0, ended - began))

    def samples(self) -> dict[str, list[tuple[Labels, Sample]]]:
        """The figures by the name of their family, without those that are read from the servers."""
        found: dict[str, list[tuple[Labels, Sample]]] = {
            name: list(counter.items()) for name, counter in self._counters.items()
        }
        for name, histograms in self._histograms.items():
            found[name] = [(labels, (one.counts, one.total)) for labels, one in histograms.items()]
        for system, durations in self._succeeded.items():
            used = {name: one for name, one in durations.items() if any(one.counts)}
            found[families.COMMANDS.name] += [
                ((system, name, ""), float(sum(one.counts))) for name, one in used.items()
            ]
        found[families.COMMAND_SECONDS.name] = self._add_up_commands()
        return found

    def _add_up_commands(self) -> list[tuple[Labels, Sample]]:
        """For each system the durations of all its commands, refused or not."""
        by_system: dict[Labels, list[Durations]] = {labels: [one] for labels, one in self._command_seconds.items()}
        for system, durations in self._succeeded.items():
            by_system.setdefault((system,), []).extend(durations.values())
        return [
            (labels, (counts, sum(one.total for one in added)))
            for labels, added in by_system.items()
            if any(counts := [sum(values) for values in zip(*(one.counts for one in added), strict=True)])
        ]


_Counter = defaultdict[Labels, float]
_Histograms = defaultdict[Labels, Durations]


def metrics_routes(oyez: Oyez, metrics: Metrics) -> list[Route]:
    """`GET /metrics`, in the text format of Prometheus or, if asked for, OpenMetrics; none without a `metrics_token`.

    `metrics` is one of the observers of `oyez`. The answer has the figures of all workers that share the data folder.
    """
    if oyez.settings.metrics_token is None:
        return []
    exporter = _Exporter(oyez, metrics, oyez.settings.metrics_token)
    oyez.run_beside(exporter.running)
    return [Route("/metrics", exporter.answer)]


class _Exporter:
    """Shows the metrics of all workers to clients that have the token."""

    def __init__(self, oyez: Oyez, metrics: Metrics, token: str) -> None:
        self._oyez = oyez
        self._metrics = metrics
        self._token = token.encode()
        self._folder: Path = oyez.settings.data_folder / FOLDER
        self._worker = str(os.getpid())
        self._file = self._folder / f"{self._worker}.json"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Measure the event loop's lag, and write the figures for the other workers, while inside."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with AsyncExitStack() as stack:
            stack.callback(self._file.unlink, missing_ok=True)
            stack.enter_context(measure_lag(self._metrics.lagged))
            await stack.enter_async_context(PeriodicTask("metrics", self._write).running())
            yield

    async def _write(self) -> float:
        data = msgspec.json.encode(self._snapshot())
        await asyncio.to_thread(_replace, self._file, data)
        return WRITE_INTERVAL

    def _snapshot(self) -> Snapshot:
        samples = self._metrics.samples()
        for system, served in self._oyez.systems.items():
            for family, labels, value in _read_server(system, served):
                samples.setdefault(family.name, []).append((labels, value))
        return Snapshot(self._worker, samples)

    async def answer(self, request: Request) -> Response:
        """The figures, or 401 without the token."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not compare_digest(token.strip().encode(), self._token):
            return Response(
                "Give the setting METRICS_TOKEN in the header `Authorization: Bearer …`.\n",
                HTTPStatus.UNAUTHORIZED,
                {"www-authenticate": "Bearer"},
                "text/plain",
            )
        others = await asyncio.to_thread(_read_others, self._folder, self._file, time.time())
        shared = await asyncio.gather(*(_read_storage(name, one) for name, one in self._oyez.systems.items()))
        registry = CollectorRegistry()
        registry.register(_Collected([self._snapshot(), *others], [sample for one in shared for sample in one]))
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        headers = {"cache-control": "no-store"}
        return Response(await asyncio.to_thread(encode, registry), headers=headers, media_type=content_type)


class _Collected(Collector):
    """The figures of all workers, and those that all workers share."""

    def __init__(self, snapshots: Sequence[Snapshot], shared: Sequence[tuple[Family, Labels, float]]) -> None:
        self._snapshots = snapshots
        self._shared = shared

    def collect(self) -> Iterable[families.Metric]:
        figures: dict[str, list[tuple[Labels, Sample]]] = defaultdict(list)
        for snapshot in self._snapshots:
            for name, samples in snapshot.samples.items():
                figures[name] += [((*labels, snapshot.worker), value) for labels, value in samples]
        for family, labels, value in self._shared:
            figures[family.name].append((labels, value))
        return build_families(figures)


def _read_server(system: str, served: Served) -> Iterable[tuple[Family, Labels, float]]:
    """What a server has at the moment."""
    server = served.server
    connections = server.registry.connections.values()
    yield families.CONNECTIONS, (system,), len(connections)
    yield families.SEND_BUFFER_BYTES, (system,), sum(connection.unsent for connection in connections)
    yield from ((families.SOCKETS, (system, declared), count) for declared, count in server.count_sockets().items())
    yield families.HANDLERS, (system,), server.handlers
    yield families.LOG_AVAILABLE, (system,), float(server.log_probe.reason is None)
    yield families.DATABASE_AVAILABLE, (system,), float(served.database.reason is None)
    for result, count in served.webhooks.attempts.items():
        yield families.WEBHOOK_ATTEMPTS, (system, result), count
    for result, count in served.receipts.results.items():
        yield families.RECEIPTS, (system, result), count
    for caller in served.backends.callers:
        yield families.BACKEND_CIRCUIT_OPEN, (system, caller.name), float(caller.is_away)
        for result, count in caller.results.items():
            yield families.BACKEND_REQUESTS, (system, caller.name, result), count


async def _read_storage(system: str, served: Served) -> list[tuple[Family, Labels, float]]:
    """What the log and the tables of a system hold, for all workers. What cannot be read is left out."""
    found: list[tuple[Family, Labels, float]] = []
    try:
        async with asyncio.timeout(READ_TIMEOUT):
            found.append((families.LOG_BYTES, (system,), await served.log.size()))
            backlog = await served.outbox.read_backlog()
            webhooks = await served.webhooks.count()
    except Exception as error:
        # The families LOG_AVAILABLE and DATABASE_AVAILABLE report the reason.
        logger.debug("metrics of a storage are left out", system=system, error=str(error))
        return found
    found += [
        (families.OUTBOX_ROWS, (system,), backlog.waiting),
        (families.OUTBOX_LAG, (system,), backlog.lag),
        (families.OUTBOX_SET_ASIDE, (system,), backlog.set_aside),
        (families.JOBS_DUE, (system,), backlog.jobs_due),
        (families.JOBS_LAG, (system,), backlog.jobs_lag),
        (families.JOBS_FAILING, (system,), backlog.jobs_failing),
        (families.WEBHOOKS_WAITING, (system,), webhooks.waiting),
        (families.WEBHOOKS_DEAD, (system,), webhooks.dead),
        (families.WEBHOOKS_DISABLED, (system,), webhooks.disabled),
    ]
    return found


def _replace(file: Path, data: bytes) -> None:
    written = file.with_suffix(".new")
    written.write_bytes(data)
    written.replace(file)


def _read_others(folder: Path, own: Path, now: float) -> list[Snapshot]:
    """The figures of the other workers. Files of workers that have ended are deleted."""
    found = []
    for file in folder.glob("*.json"):
        # Another worker may delete or replace a file at any time, and one that was killed may leave half of it.
        with suppress(OSError, msgspec.MsgspecError):
            if file == own:
                continue
            if file.stat().st_mtime < now - STALE_SECONDS:
                file.unlink(missing_ok=True)
            else:
                found.append(msgspec.json.decode(file.read_bytes(), type=Snapshot))
    return found
