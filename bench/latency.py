"""`python -m bench.latency`: from the moment a back end has an event to the moment clients have it, while many come.

Events are published over HTTP, one a request, on a fixed timetable, to a node with its log in SQLite; then to one of
two nodes that share a Valkey, with the clients at the other. A Valkey of its own is started for it.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from tests.valkey import ValkeyServer

from bench import machine
from bench.children import BenchError, compile_programs, pinned
from bench.generators import Latency
from bench.measure import Bench, Budget
from bench.servers import OYEZ, SERVERS, Running, Surroundings
from bench.tokens import make_secret, write_tokens

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


def measure(case: Case, bench: Bench, settings: Mapping[str, str]) -> Latency:
    """Publish at the first node, listen at the last."""
    (server,) = bench.servers
    with ExitStack() as stack:
        nodes = [stack.enter_context(Running(server, bench.around, settings)) for _ in range(case.nodes)]
        load = stack.enter_context(bench.load(nodes[-1], "listen", clients=CLIENTS))
        load.wait_until_ready()
        for count in (WARM_UP, SECONDS * RATE):
            load.ask(count * CLIENTS)
            nodes[0].emit(count, interval_us=1_000_000 // RATE)
            answer = load.receive()
    return answer.latency_us


def run(console: Console) -> list[str]:
    """A line of a table in Markdown for each case."""
    compile_programs()
    server_core, load_core = machine.pick_cores()
    lines = []
    with pinned(load_core), tempfile.TemporaryDirectory(prefix="oyez-latency-") as name:
        folder, secret = Path(name), make_secret()
        tokens = folder / "tokens"
        write_tokens(tokens, secret)
        bench = Bench(
            around=Surroundings(folder, secret, tokens, server_core, load_core),
            servers=[server for server in SERVERS if server.key == OYEZ],
            floor=False,
            budget=Budget(),
            say=lambda text: None,
        )
        valkey = ValkeyServer(folder / "valkey", "--appendonly", "yes")
        valkey.start()
        try:
            for case in CASES:
                latency = measure(case, bench, {} if case.nodes == 1 else {"REDIS_URL": valkey.url})
                p50, p99, most = (value / 1000 for value in (latency.p50, latency.p99, latency.max))
                verdict = "met" if p99 <= case.limit else "missed"
                console.print(
                    f"{case.text}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, at most {most:.1f} ms;"
                    f" wanted p99 {case.limit:.0f} ms: {verdict}"
                )
                lines.append(f"| {case.text} | {p50:.2f} | {p99:.2f} | {most:.1f} | ≤ {case.limit:.0f}: {verdict} |")
        finally:
            valkey.kill()
    return lines


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__)
    parser.add_argument("--page", type=Path, help="write the table here as well")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        lines = run(console)
    except BenchError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    if options.page:
        head = [
            "| latency in ms, 1,000 events/s | p50 | p99 | most | p99 wanted |",
            "| --- | ---: | ---: | ---: | --- |",
        ]
        options.page.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
    return 1 if any("missed" in line for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
