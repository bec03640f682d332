"""What metrics, the admin and tracing cost on the hot path.

The same server without them, with metrics, with metrics and the admin, and with one trace of a hundred recorded:

    .venv/bin/python -m bench.observers

First a command alone, at servers of one process and without network (`bench/observed.py`): this shows differences of
one percent. Then whole servers in processes of their own, two of them without observers: how far these two are apart
is how exact the other figures are.

The servers do each kind of work in turn, round after round. Shown is the CPU of an operation, and the median over
the rounds of its ratio to the CPU at the server without observers in the same round.
"""

import argparse
import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from statistics import median

from bench import observed
from bench.children import BenchError
from bench.generators import Load
from bench.measure import Bench, Budget, FanOutSubject, LoadSubject, PublishSubject, Subject, take_rounds
from bench.results import Scenario
from bench.scenarios import COMMAND, COMMAND_TEXT
from bench.servers import BY_KEY, OYEZ, Running, prepare
from bench.table import write_rows
from oyez.ops.admin.sign_in import hash_key, make_key

ROUNDS = 9
ROOM = 100
TURNS = 400
NOTHING, AGAIN = "no observer", "no observer, again"
ALONE = "alone"
VARIANTS: Mapping[str, Mapping[str, str]] = {
    NOTHING: {},
    AGAIN: {},
    "metrics": {"METRICS_TOKEN": "a token of the benchmark"},
    "metrics and admin": {
        "METRICS_TOKEN": "a token of the benchmark",
        "ADMIN_KEYS": f"bench=sha256:{hash_key(make_key())}",
    },
    # Nothing listens at the address: spans are dropped.
    "tracing": {
        "TRACING": "1",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.01",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
    },
}
"""By name, the settings of a server."""

Make = Callable[[Running, Load], Subject]
WORK: Mapping[Scenario, tuple[str, int, Make]] = {
    Scenario("fanout", f"event to a room of {ROOM}, one at a time", "µs a recipient"): (
        "listen",
        ROOM,
        lambda running, load: FanOutSubject(running, load, ROOM, 1),
    ),
    Scenario("burst", f"event to a room of {ROOM}, in bursts of 10", "µs a recipient"): (
        "listen",
        ROOM,
        lambda running, load: FanOutSubject(running, load, ROOM, 10),
    ),
    Scenario("publish", "event to one client, each in an HTTP request", "µs an event"): ("listen", 1, PublishSubject),
    Scenario("command", "command with an acknowledgement", "µs a command"): ("echo", ROOM, LoadSubject),
    Scenario("connect", "connect, join a room, disconnect", "µs a connection"): ("connects", 1, LoadSubject),
}
"""What the servers do: the mode of the load generator, its clients, and how a round is run."""


def measure(bench: Bench, scenario: Scenario) -> Iterator[tuple[str, str, str, str]]:
    """The row of each server."""
    mode, clients, make = WORK[scenario]
    options = ["--command", COMMAND, "--answer", COMMAND_TEXT] if mode == "echo" else []
    with ExitStack() as stack:
        subjects = []
        for name, settings in VARIANTS.items():
            running = stack.enter_context(Running(replace(BY_KEY[OYEZ], key=name), bench.around, settings))
            load = stack.enter_context(bench.load(running, mode, clients=clients, options=options))
            load.wait_until_ready()
            subjects.append(make(running, load))
        taken: dict[str, Sequence[float]] = {}
        for name, samples in take_rounds(bench, scenario, subjects, 10).items():
            if isinstance(samples, str):
                raise BenchError(f"{name}: {samples}")
            taken[name] = [sample.microseconds for sample in samples]
    yield from compare(scenario.title, scenario.unit, taken)


def measure_alone() -> Iterator[tuple[str, str, str, str]]:
    yield from compare("command, without network", "µs a command", asyncio.run(observed.measure(TURNS)))


def compare(title: str, unit: str, taken: Mapping[str, Sequence[float]]) -> Iterator[tuple[str, str, str, str]]:
    for name, values in taken.items():
        ratios = sorted(value / base for value, base in zip(values, taken[NOTHING], strict=True))
        low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
        spread = f"{low - 1:+.1%} to {high - 1:+.1%}" if name != NOTHING else ""
        cost = f"{median(ratios) - 1:+.1%}" if name != NOTHING else ""
        yield f"{title}, {name}", f"{median(values):.2f} {unit}", cost, spread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    keys = {scenario.key: scenario for scenario in WORK}
    parser.add_argument("--only", nargs="+", choices=[ALONE, *keys], default=[ALONE, *keys])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    budget = Budget(rounds=options.rounds, round_seconds=1.0)
    with prepare("oyez-observers-") as around:
        bench = Bench(around=around, servers=[], floor=False, budget=budget, say=lambda text: None)
        rows = [row for key in options.only for row in (measure_alone() if key == ALONE else measure(bench, keys[key]))]
    print(*write_rows(("work", "CPU", "cost", "middle half of the rounds"), rows), sep="\n")


if __name__ == "__main__":
    main()
