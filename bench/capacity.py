"""Capacity: what an event costs each process, and so how many events, deliveries and clients a core has room for.

    .venv/bin/python -m bench.capacity

Events are published over HTTP, one a request and in lists of 100, to a server with its log in memory, in SQLite and on
a Valkey of its own, with nobody, one, a hundred and a thousand clients in the room they go to; then, with nobody, to
one of two workers and one of two nodes, to see what an entry costs a process that only reads it. CPU is the operating
system's accounting; what is derived from it is arithmetic, and holds where nothing else gets in the way first.
"""

import argparse
import shlex
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from tests.support.valkey import ValkeyServer, serve_valkey

from bench.children import BenchError
from bench.cpu import list_family, read_cpu
from bench.measure import Bench, Budget, whole_steps
from bench.scenarios import KB, measure_idle_server
from bench.servers import OYEZ, SERVERS, Running, Server, prepare, python
from bench.table import SCALING, write_number, write_rows, write_section
from oyez.settings import Settings

SECONDS, ROUNDS = 0.6, 3
RECIPIENTS = (0, 1, 100, 1_000)
LIST = 100
"""Events in one request, where they come in lists."""
IDLE = 2_000
"""Clients whose memory is measured."""
SETTLING = 0.2
"""Seconds after a round in which the processes that read the log may finish."""
NODES = (1, 2, 4, 8, 16)
"""For how many nodes it is worked out what one Redis takes."""
RATES = (1_000, 10_000)
"""Entries a second, for which it is worked out what reading them takes."""
GIGABYTE = 2**30
STREAM = "oyez:{bench}:entries"
RETENTION = round(Settings().log_retention)
"""Seconds."""

OYEZ_SERVER = next(server for server in SERVERS if server.key == OYEZ)
MEMORY_SERVER = replace(
    OYEZ_SERVER,
    key="oyez-memory",
    command=lambda ports: [*python("bench.serve_oyez")(ports), "memory"],
)
WORKERS_SERVER = replace(
    OYEZ_SERVER,
    key="oyez-workers",
    command=lambda ports: [*OYEZ_SERVER.command(ports), "--workers", "2"],
)


@dataclass(frozen=True)
class Case:
    """Servers on one log."""

    title: str
    server: Server
    nodes: int = 1
    valkey: bool = False

    @property
    def workers(self) -> bool:
        return self.server is WORKERS_SERVER


MEMORY, SQLITE = Case("memory", MEMORY_SERVER), Case("SQLite", OYEZ_SERVER)
VALKEY = Case("Valkey", OYEZ_SERVER, valkey=True)
WORKERS = Case("SQLite, two workers", WORKERS_SERVER)
TWO_NODES = Case("Valkey, two nodes", OYEZ_SERVER, nodes=2, valkey=True)


@dataclass(frozen=True)
class Cost:
    """CPU of one event, in µs."""

    processes: tuple[float, ...]
    """Of each process of Oyez: the one that published first, then those that only read."""
    valkey: float


@dataclass(frozen=True)
class Costs:
    single: Cost
    lists: Cost


@dataclass(frozen=True)
class Site:
    """A running case, and how its processes are looked at."""

    nodes: Sequence[Running]
    processes: Sequence[int]
    valkey: ValkeyServer | None

    def read(self) -> list[float]:
        """Seconds that each process has taken, Valkey last."""
        valkey = self.valkey.pid if self.valkey is not None else None
        return [*(read_cpu(pid).total for pid in self.processes), read_cpu(valkey).total if valkey else 0.0]

    def entry_bytes(self) -> float:
        """Of Valkey's memory, for each entry that it keeps."""
        assert self.valkey is not None
        with self.valkey.connect() as client:
            size: int = client.memory_usage(STREAM, samples=0)
            return size / int(client.xlen(STREAM))


@contextmanager
def running(case: Case, bench: Bench) -> Iterator[Site]:
    with ExitStack() as stack:
        settings, valkey = {}, None
        if case.valkey:
            folder = Path(tempfile.mkdtemp(dir=bench.around.folder)) / "valkey"
            valkey = stack.enter_context(serve_valkey(folder, "--appendonly", "yes"))
            settings["REDIS_URL"] = valkey.url
        nodes = [stack.enter_context(Running(case.server, bench.around, settings)) for _ in range(case.nodes)]
        # The port is open before the workers are ready.
        nodes[0].emit(1)
        time.sleep(bench.budget.settle_seconds)
        processes = list_family(nodes[0].pid)[1:] if case.workers else [node.pid for node in nodes]
        yield Site(nodes, processes, valkey)


def measure(site: Site, publish: Callable[[int], None], step: int, seconds: float) -> Cost:
    """What an event costs in the median round. In each round, the process that took most is the publisher."""

    def take(count: int) -> list[float]:
        before = site.read()
        publish(count)
        time.sleep(SETTLING)
        *processes, valkey = (now - then for now, then in zip(site.read(), before, strict=True))
        return [*sorted(processes, reverse=True), valkey]

    count, spent = step, 0.0
    while spent < seconds / 2:
        count = whole_steps(count * min(8.0, seconds / max(spent, 1e-6)), step)
        spent = take(count)[0]
    count = whole_steps(count * seconds / spent, step)
    rounds = [take(count) for _ in range(ROUNDS)]
    *processes, valkey = (median(values) / count * 1e6 for values in zip(*rounds, strict=True))
    return Cost(tuple(processes), valkey)


def measure_events(site: Site, bench: Bench, recipients: int, seconds: float) -> Costs:
    node = site.nodes[0]
    with ExitStack() as stack:
        load = None
        if recipients:
            load = stack.enter_context(bench.load(node, "listen", clients=recipients))
            load.wait_until_ready()

        def publish(count: int, burst: int) -> None:
            if load is not None:
                load.ask(count * recipients)
            node.emit(count, burst)
            if load is not None:
                load.receive()

        single = measure(site, lambda count: publish(count, 1), 1, seconds)
        return Costs(single, measure(site, lambda count: publish(count, LIST), LIST, seconds))


@dataclass(frozen=True)
class Findings:
    fan_out: Mapping[tuple[Case, int], Costs]
    """By log and recipients."""
    together: Mapping[Case, Costs]
    """Of several processes, without recipients."""
    connection: float
    """Bytes of a client that does nothing."""
    entry: float
    """Bytes of an entry in Valkey."""


def run(seconds: float) -> Findings:
    with prepare("oyez-capacity-") as around:
        bench = Bench(around=around, servers=[], floor=False, budget=Budget(), say=lambda text: None)
        fan_out, together = {}, {}
        for case in (MEMORY, SQLITE, VALKEY):
            with running(case, bench) as site:
                for recipients in RECIPIENTS:
                    fan_out[case, recipients] = measure_events(site, bench, recipients, seconds)
                if case.valkey:
                    entry = site.entry_bytes()
        for case in (WORKERS, TWO_NODES):
            with running(case, bench) as site:
                together[case] = measure_events(site, bench, 0, seconds)
        return Findings(fan_out, together, measure_idle_server(OYEZ_SERVER, IDLE, bench) * KB, entry)


def write_fan_out(findings: Findings) -> list[str]:
    headings = ("log", "recipients", *(f"{way}{what}" for way in ("", "in lists: ") for what in CAPACITY))
    rows = []
    for (case, recipients), costs in findings.fan_out.items():
        row = [case.title, f"{recipients:,}"]
        for cost in (costs.single, costs.lists):
            events = 1e6 / cost.processes[0]
            row += [write_number(cost.processes[0]), f"{events:,.0f}", f"{events * recipients:,.0f}"]
        rows.append(row)
    return write_rows(headings, rows)


CAPACITY = ("CPU µs an event", "events/s a core", "deliveries/s a core")


def write_together(findings: Findings) -> list[str]:
    headings = ("", "events", "process that publishes, µs", "process that only reads, µs", "Valkey, µs")
    alone = {case: findings.fan_out[case, 0] for case in (SQLITE, VALKEY)}
    rows = []
    for case in (SQLITE, WORKERS, VALKEY, TWO_NODES):
        costs = (alone | dict(findings.together))[case]
        for way, cost in (("one in a request", costs.single), (f"in lists of {LIST}", costs.lists)):
            first, *others = (write_number(value) for value in cost.processes)
            valkey = write_number(cost.valkey) if case.valkey else "–"
            rows.append([case.title, way, first, *(others or ["–"]), valkey])
    return write_rows(headings, rows)


def write_arithmetic(findings: Findings) -> list[str]:
    """What follows for more nodes than were measured."""
    one, two = findings.fan_out[VALKEY, 0], findings.together[TWO_NODES]
    reading, single = two.lists.processes[1], two.single.processes[1]
    shares = ", ".join(f"{rate * reading / 1e4:.1f} to {rate * single / 1e4:.1f} % at {rate:,}" for rate in RATES)
    clients, top, kept = GIGABYTE / findings.connection, 1e6 / reading, GIGABYTE / findings.entry
    number = write_number
    facts = (
        f"An idle client takes {findings.connection / KB:.1f} KB of the process: {clients:,.0f} clients per GB.",
        f"A process takes {number(reading)} µs to read an entry of a list, {number(single)} µs to read a single entry.",
        f"This is a share of its core: {shares} entries/s. The core is full at {top:,.0f} entries/s.",
        write_growth("an entry of a list", one.lists.valkey, two.lists.valkey),
        write_growth("a single entry", one.single.valkey, two.single.valkey),
        f"Valkey keeps {findings.entry:.0f} bytes of each stored entry: {kept:,.0f} entries per GB.",
        f"With the default retention of {RETENTION} s, a GB is enough for {kept / RETENTION:,.0f} entries/s.",
    )
    return [line for fact in facts for line in textwrap.wrap(f"- {fact}", 120, subsequent_indent="  ")]


def write_growth(entry: str, one: float, two: float) -> str:
    """How many entries a second one core of Valkey can take, from the µs of an entry with one node and with two."""
    takes = f"Valkey takes {write_number(one)} µs for {entry} with one node"
    another = two - one
    if another <= 0:
        return f"{takes}: {1e6 / one:,.0f} entries/s. What another node adds is too little to be measured."
    most = ", ".join(f"{1e6 / (one + (nodes - 1) * another):,.0f} for {nodes}" for nodes in NODES)
    return f"{takes}, and {write_number(another)} µs more for each other node. Entries/s by number of nodes: {most}."


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of CPU in each round")
    parser.add_argument("--page", action="store_true", help="renew the section of docs/scaling.md")
    options = parser.parse_args(arguments)
    try:
        findings = run(options.seconds)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    lines = [*write_fan_out(findings), "", *write_together(findings), "", *write_arithmetic(findings)]
    print("\n".join(lines))
    if options.page:
        write_section(SCALING, "capacity", lines, command=shlex.join(["python", "-m", "bench.capacity", *arguments]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
