"""`python -m bench.latency`: from the moment a back end has an event to the moment clients have it, while many come.

Events are published over HTTP, one a request, on a fixed timetable, to a node with its log in SQLite; then to one of
two nodes that share a Valkey, with the clients at the other. A Valkey of its own is started for it.
"""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from tests.support.valkey import serve_valkey

from bench.children import BenchError
from bench.generators import Latency
from bench.measure import Bench, Budget
from bench.servers import OYEZ, SERVERS, Running, prepare
from bench.table import SCALING, write_rows, write_section

RATE = 1_000
"""Events a second."""
CLIENTS = 10
"""In the room that every event goes to."""
SECONDS = 10
WARM_UP = 1_000
"""Events that are not counted."""


@dataclass(frozen=True)
class Case:
    text: str
    nodes: int
    limit: float
    """What 99 of 100 may take, in ms."""


CASES = (Case("one node, SQLite", 1, 10.0), Case("two nodes, Valkey", 2, 20.0))


@dataclass(frozen=True)
class Outcome:
    """In ms, from the making of an event to its arrival at a client."""

    case: Case
    p50: float
    p99: float
    most: float

    @property
    def verdict(self) -> str:
        return "met" if self.p99 <= self.case.limit else "missed"


HEADINGS = ("", "p50 ms", "p99 ms", "max ms", "p99 target ms", "verdict")


def cells(outcome: Outcome) -> list[str]:
    times = (f"{value:.2f}" for value in (outcome.p50, outcome.p99, outcome.most))
    return [outcome.case.text, *times, f"≤ {outcome.case.limit:.0f}", outcome.verdict]


def measure(case: Case, bench: Bench, seconds: int, settings: Mapping[str, str]) -> Latency:
    """Publish at the first node, listen at the last."""
    (server,) = bench.servers
    with ExitStack() as stack:
        nodes = [stack.enter_context(Running(server, bench.around, settings)) for _ in range(case.nodes)]
        load = stack.enter_context(bench.load(nodes[-1], "listen", clients=CLIENTS))
        load.wait_until_ready()
        for count in (WARM_UP, seconds * RATE):
            load.ask(count * CLIENTS)
            nodes[0].emit(count, interval_us=1_000_000 // RATE)
            answer = load.receive()
    return answer.latency_us


def run(seconds: int) -> list[Outcome]:
    found = []
    with prepare("oyez-latency-") as around:
        servers = [server for server in SERVERS if server.key == OYEZ]
        bench = Bench(around=around, servers=servers, floor=False, budget=Budget(), say=lambda text: None)
        with serve_valkey(around.folder / "valkey", "--appendonly", "yes") as valkey:
            for case in CASES:
                settings = {} if case.nodes == 1 else {"REDIS_URL": valkey.url}
                latency = measure(case, bench, seconds, settings)
                found.append(Outcome(case, latency.p50 / 1000, latency.p99 / 1000, latency.max / 1000))
    return found


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of publishing, for each case")
    parser.add_argument("--page", action="store_true", help="renew the section of docs/scaling.md")
    options = parser.parse_args(arguments)
    try:
        found = run(options.seconds)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    rows = write_rows(HEADINGS, [cells(outcome) for outcome in found])
    print("\n".join(rows))
    if options.page:
        about = f"{RATE:,} events a second for {options.seconds} s, one in a request, each to {CLIENTS} clients."
        command = shlex.join(["python", "-m", "bench.latency", *arguments])
        write_section(SCALING, "latency", [about, "", *rows], command=command)
    return 0 if all(outcome.verdict == "met" for outcome in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
