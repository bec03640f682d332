"""Hostile input, by the million: does each part answer it with its own error, and nothing else?

    .venv/bin/python -m chaos.fuzz                       ten million inputs, in one process
    .venv/bin/python -m chaos.fuzz --only socketio token --inputs 100000 --seed 7
    .venv/bin/python -m chaos.fuzz --page                also renews the table in docs/robustness.md

Each target has a corpus, a file in `chaos/corpus` with an input a line. Inputs are mutations of the corpus, and of
inputs that got a new answer before. A finding is an exception that the target does not promise, a broken invariant, or
an input that takes longer than MAX_SECONDS of CPU time. Each finding is printed with its input; the exit
status is 1 if there is one. What needs a whole server (`server`) is sent to one over the network, and gets one input in
a hundred.
"""

import argparse
import ast
import math
import random
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.table import write_rows, write_section

from chaos.fuzz_server import fuzzed_server
from chaos.fuzz_targets import TARGETS
from chaos.mutate import mutate
from chaos.robustness import PAGE

CORPUS = Path(__file__).with_name("corpus")
INPUTS = 10_000_000
MAX_SECONDS = 1.0
"""CPU time of one input of at most 4 KB: a thousand times what the slowest of them needs."""
MAX_POOL = 2_000
"""Inputs of one target that are mutated further."""
BATCH = 1_000
SERVER_SHARE = 100
"""One input in so many goes to a whole server."""

Target = Callable[[bytes], str]
"""Handles an input and returns a short description of the answer; raises if the answer breaks a promise."""


@dataclass
class Run:
    """What came of one target."""

    name: str
    target: Target
    pool: list[bytes]
    inputs: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    answers: set[str] = field(default_factory=set)
    findings: dict[str, bytes] = field(default_factory=dict)

    def try_one(self, data: bytes) -> None:
        started = time.perf_counter()
        try:
            answer = self.target(data)
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"[:200]
            self._report(answer, data)
        if time.perf_counter() - started > self.slowest:
            self._measure(data)
        self.inputs += 1
        if answer not in self.answers:
            self.answers.add(answer)
            if len(self.pool) < MAX_POOL:
                self.pool.append(data)

    def _measure(self, data: bytes) -> None:
        """Handle an input that took long again, by the clock that stands while other processes run."""
        started = time.thread_time()
        with suppress(Exception):
            self.target(data)
        spent = time.thread_time() - started
        self.slowest = max(self.slowest, spent)
        if spent > MAX_SECONDS:
            self._report("slow", data)

    def _report(self, finding: str, data: bytes) -> None:
        if finding not in self.findings:
            self.findings[finding] = data
            print(f"{self.name}: {finding}\n  {data!r}", flush=True)

    def try_mutations(self, count: int, rng: random.Random) -> None:
        started = time.thread_time()
        for _ in range(count):
            self.try_one(mutate(rng.choice(self.pool), self.pool, rng))
        self.seconds += time.thread_time() - started


def read_corpus(name: str) -> list[bytes]:
    """The inputs of a target: one a line, as Python's bytes literals."""
    return [ast.literal_eval(line) for line in (CORPUS / f"{name}.txt").read_text().splitlines()]


def prepare_run(name: str, target: Target) -> Run:
    """A run that has tried its corpus."""
    run = Run(name, target, read_corpus(name))
    for data in list(run.pool):
        run.try_one(data)
    return run


def fuzz(
    runs: Sequence[Run],
    inputs: int,
    rng: random.Random,
    report: Callable[[str], None] = print,
    minutes: float = math.inf,
) -> None:
    """Try `inputs` mutations, of all runs in turn, or as many as there is time for."""
    tried, told = 0, time.monotonic()
    end = told + minutes * 60
    while tried < inputs and time.monotonic() < end:
        for run in runs:
            count = min(inputs - tried, BATCH // SERVER_SHARE if run.name == "server" else BATCH)
            run.try_mutations(count, rng)
            tried += count
        if time.monotonic() > told + 60:
            told = time.monotonic()
            report(f"{tried:,} inputs, {sum(len(run.findings) for run in runs)} findings")


def describe(runs: Iterable[Run]) -> list[tuple[str, ...]]:
    """The rows of the table."""
    return [
        (
            run.name,
            f"{run.inputs:,}",
            f"{len(run.answers):,}",
            f"{run.seconds / run.inputs * 1e6:.1f}" if run.name != "server" else "–",
            f"{run.slowest * 1e3:.1f}" if run.name != "server" else "–",
            str(len(run.findings)),
        )
        for run in runs
    ]


HEADINGS = ("target", "inputs", "different answers", "µs an input", "slowest, ms", "findings")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*TARGETS, "server"], help="only these targets")
    parser.add_argument("--inputs", type=int, default=INPUTS)
    parser.add_argument("--minutes", type=float, default=math.inf, help="end earlier, after this time")
    parser.add_argument("--seed", type=int, default=None, help="repeats a run; the server's answers may still differ")
    parser.add_argument("--page", action="store_true", help="write the table into docs/robustness.md")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    chosen = options.only or [*TARGETS, "server"]
    with ExitStack() as stack:
        runs = [prepare_run(name, target) for name, target in TARGETS.items() if name in chosen]
        if "server" in chosen:
            runs.append(prepare_run("server", stack.enter_context(fuzzed_server())))
        fuzz(runs, options.inputs, random.Random(seed), partial(print, flush=True), options.minutes)
    rows = write_rows(HEADINGS, describe(runs))
    print(*rows, sep="\n")
    if options.page:
        write_section(PAGE, "fuzz", rows, command=shlex.join(["python", "-m", "chaos.fuzz", *sys.argv[1:]]))
    return 1 if any(run.findings for run in runs) else 0


if __name__ == "__main__":
    raise SystemExit(main())
