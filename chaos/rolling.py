"""Deploys: thousands of clients while the servers are replaced one after another, as for a new version.

    .venv/bin/python -m chaos.rolling
    .venv/bin/python -m chaos.rolling --quick

`oyez serve --workers 2` receives SIGHUP and replaces its workers. Of two nodes on one Valkey, one receives SIGTERM and
is started again, then the other. The servers disconnect the clients, which reconnect when official clients do, about a
second later, to either node. Meanwhile events are published to all clients, and to each client.
"""

import argparse
import asyncio
import gc
import os
import shlex
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from statistics import median

import uvloop
from bench.children import BenchError
from bench.servers import Surroundings
from bench.table import RELIABILITY, write_rows, write_section

from chaos.crowd import PATIENCE, Crowd, Outcome, Sent, Timetable, compare, publish_for, publish_last
from chaos.jitter import OYEZ_PATH, surroundings
from chaos.killers import WORKER_COUNT, Node, serve

JAVASCRIPT, OWN = 100, 10_000
ARRIVING = 1_000
"""Clients that connect within a second, before it begins."""
UNCUT = 3_600.0
TIMETABLE = Timetable(shared=2.0, private=20.0)
BEFORE = 2.0
"""Seconds of publishing before the first signal."""
BETWEEN = 5.0
"""Seconds between a node that is ready and the next one's signal."""
WORKERS, NODES = "workers", "nodes"
TITLES = {WORKERS: f"{WORKER_COUNT} workers, SQLite: SIGHUP", NODES: "two nodes, Valkey: SIGTERM, one after the other"}


@dataclass
class Deploy:
    """When something was asked to be replaced, and how long it took until the new one served."""

    signals: list[int] = field(default_factory=list)
    """By the monotonic clock, in nanoseconds."""
    seconds: list[float] = field(default_factory=list)

    async def replace(self, work: Callable[[], Awaitable[None]]) -> None:
        self.signals.append(time.monotonic_ns())
        await work()
        self.seconds.append((time.monotonic_ns() - self.signals[-1]) / 1e9)

    def recovery(self, absences: Sequence[tuple[int, int]]) -> float:
        """Seconds from a signal to the last comeback of those it sent away; of the longest one."""
        ends = [*self.signals[1:], sys.maxsize]
        times = (
            (back - begin) / 1e9
            for begin, end in zip(self.signals, ends, strict=True)
            for left, back in absences
            if begin <= left < end
        )
        return max(times, default=0.0)


async def replace_workers(node: Node) -> None:
    """Returns when each of its processes is another one."""
    old = set(node.list_workers())
    os.kill(node.pid, signal.SIGHUP)
    async with asyncio.timeout(2 * PATIENCE):
        while old & (now := set(node.list_workers())) or len(now) < len(old):  # noqa: ASYNC110 - nothing says when
            await asyncio.sleep(0.05)


async def restart(node: Node) -> None:
    await node.stop()
    node.start()
    await node.wait()


async def deploy(kind: str, options: argparse.Namespace, around: Surroundings) -> tuple[Outcome, Deploy]:
    """Replace everything there is, once."""
    async with AsyncExitStack() as stack:
        serving = serve("rolling", around, valkey=kind == NODES, workers=kind == WORKERS)
        nodes, _, publish = installation = await stack.enter_async_context(serving)
        crowd = await stack.enter_async_context(
            Crowd(
                path=OYEZ_PATH,
                ports=installation.ports,
                javascript=options.javascript,
                own=options.own,
                cut_every=UNCUT,
                away=None,
                arriving=ARRIVING,
            )
        )
        await crowd.connect(around.tokens.read_text().splitlines())
        # So many objects that stay are not looked through again and again by the one process that is all clients.
        gc.freeze()
        sent, began, enough, deployed = Sent(), time.monotonic(), asyncio.Event(), Deploy()
        publishing = asyncio.create_task(
            publish_for(10 * PATIENCE, crowd.users, publish, sent, timetable=TIMETABLE, enough=enough)
        )
        await asyncio.sleep(BEFORE)
        if kind == WORKERS:
            await deployed.replace(lambda: replace_workers(nodes[0]))
        for node in nodes if kind == NODES else []:
            await deployed.replace(lambda: restart(node))  # noqa: B023
            await asyncio.sleep(BETWEEN)
        await crowd.calm_down()
        enough.set()
        await publishing
        seconds = time.monotonic() - began
        last = await publish_last(publish, sent)
        outcome = Outcome(javascript=options.javascript, own=options.own, seconds=seconds)
        compare(sent, await crowd.report(last), outcome)
        return outcome, deployed


HEADINGS = (
    "server",
    "clients",
    "not reconnected",
    "delivered %",
    "lost, client not informed",
    "lost, client informed",
    "duplicates",
    "out of order",
    "reconnections",
    "of these not recovered",
    "signal to last client reconnected s",
    "away p50 s",
    "away max s",
    "signal to new server s",
)


def cells(title: str, outcome: Outcome, deployed: Deploy) -> list[str]:
    away = [(back - left) / 1e9 for left, back in outcome.absences]
    return [
        title,
        f"{outcome.javascript + outcome.own:,}",
        f"{outcome.absent:,}",
        f"{outcome.delivered:.3f}",
        f"{outcome.missing:,}",
        f"{outcome.told_missing:,}",
        f"{outcome.duplicates:,}",
        f"{outcome.disordered:,}",
        f"{outcome.comebacks:,}",
        f"{outcome.told:,}",
        f"{deployed.recovery(outcome.absences):.1f}",
        f"{median(away):.1f}",
        f"{max(away):.1f}",
        ", ".join(f"{seconds:.1f}" for seconds in deployed.seconds),
    ]


def describe(outcome: Outcome) -> str:
    return (
        f"{outcome.javascript:,} official JavaScript clients and {outcome.own:,} of the benchmark;"
        f" {outcome.accepted:,} events in {outcome.seconds:.0f} s, {outcome.due:,} deliveries expected;"
        f" {outcome.unknown:,} events whose publisher got no answer"
    )


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.rolling", description=__doc__)
    parser.add_argument("--server", action="append", choices=list(TITLES))
    parser.add_argument("--javascript", type=int, default=JAVASCRIPT, help="official clients")
    parser.add_argument("--own", type=int, default=OWN, help="clients of the benchmark")
    parser.add_argument("--quick", action="store_true", help="a tenth of the clients")
    parser.add_argument("--page", action="store_true", help="renew the section of docs/reliability.md")
    options = parser.parse_args(arguments)
    if options.quick:
        options.javascript, options.own = options.javascript // 10, options.own // 10
    notes, rows, good = [], [], True
    for kind in options.server or TITLES:
        try:
            with surroundings(options.javascript + options.own) as around:
                outcome, deployed = uvloop.run(deploy(kind, options, around))
        except BenchError as error:
            print(error, file=sys.stderr)
            return 1
        good = good and outcome.good
        notes.append(f"- {TITLES[kind]}: {describe(outcome)}.")
        rows.append(cells(TITLES[kind], outcome, deployed))
        print("\n".join([notes[-1], *write_rows(HEADINGS, rows[-1:])]), flush=True)
    if options.page:
        lines = [*notes, "", *write_rows(HEADINGS, rows)]
        write_section(RELIABILITY, "rolling", lines, command=shlex.join(["python", "-m", "chaos.rolling", *arguments]))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
