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
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.servers import Surroundings

from chaos.crowd import PATIENCE, Crowd, Outcome, Sent, Timetable, publish_for
from chaos.support import (
    LOSS_HEADINGS,
    WORKER_COUNT,
    Node,
    Result,
    build_parser,
    describe,
    loss_cells,
    run_crowd,
    run_program,
    serve,
)

JAVASCRIPT, OWN = 100, 10_000
ARRIVING = 1_000
"""Clients that connect within a second, before the deploy begins."""
UNCUT = 3_600.0
TIMETABLE = Timetable(shared=2.0, private=20.0)
BEFORE = 2.0
"""Seconds of publishing before the first signal."""
BETWEEN = 5.0
"""Seconds between the start of a node and the signal to the next one."""
WORKERS, NODES = "workers", "nodes"
TITLES = {WORKERS: f"{WORKER_COUNT} workers, SQLite: SIGHUP", NODES: "two nodes, Valkey: SIGTERM, one after the other"}
HEADINGS = (
    "server",
    "clients",
    "not reconnected",
    *LOSS_HEADINGS,
    "signal to last client reconnected s",
    "away p50 s",
    "away max s",
    "signal to new server s",
)


@dataclass
class Deploy:
    """When a server was asked to be replaced, and how long it took until the new one served."""

    signals: list[int] = field(default_factory=list)
    """By the monotonic clock, in nanoseconds."""
    seconds: list[float] = field(default_factory=list)

    async def replace(self, work: Callable[[], Awaitable[None]]) -> None:
        self.signals.append(time.monotonic_ns())
        await work()
        self.seconds.append((time.monotonic_ns() - self.signals[-1]) / 1e9)

    def recovery(self, absences: Sequence[tuple[int, int]]) -> float:
        """Seconds from a signal until the last client that it disconnected is back; the longest of all signals."""
        ends = [*self.signals[1:], sys.maxsize]
        times = (
            (back - begin) / 1e9
            for begin, end in zip(self.signals, ends, strict=True)
            for left, back in absences
            if begin <= left < end
        )
        return max(times, default=0.0)


async def replace_workers(node: Node) -> None:
    """Return when each of the node's processes is another one."""
    old = set(node.list_workers())
    os.kill(node.child.pid, signal.SIGHUP)
    async with asyncio.timeout(2 * PATIENCE):
        while old & (now := set(node.list_workers())) or len(now) < len(old):  # noqa: ASYNC110 - nothing reports it
            await asyncio.sleep(0.05)


async def restart(node: Node) -> None:
    await node.stop()
    await node.start()


async def measure(kind: str, options: argparse.Namespace, around: Surroundings) -> Result:
    """Replace every server once."""
    deployed = Deploy()
    serving = serve("rolling", around, valkey=kind == NODES, workers=kind == WORKERS)
    async with serving as (nodes, _, publish):

        async def act(crowd: Crowd, sent: Sent) -> None:
            # One process holds all clients: its garbage collector must not scan these objects again and again.
            gc.freeze()
            enough = asyncio.Event()
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

        ports = [node.port for node in nodes]
        outcome = await run_crowd(ports, publish, act, options, around, cut_every=UNCUT, away=None, arriving=ARRIVING)
        note = f"{describe(outcome)}; {outcome.unknown:,} events whose publisher got no answer"
        return Result(note, cells(outcome, deployed), outcome.good)


def cells(outcome: Outcome, deployed: Deploy) -> list[str]:
    away = [(back - left) / 1e9 for left, back in outcome.absences]
    return [
        f"{outcome.javascript + outcome.own:,}",
        f"{outcome.absent:,}",
        *loss_cells(outcome),
        f"{deployed.recovery(outcome.absences):.1f}",
        f"{median(away):.1f}",
        f"{max(away):.1f}",
        ", ".join(f"{seconds:.1f}" for seconds in deployed.seconds),
    ]


def main(arguments: Sequence[str]) -> int:
    parser = build_parser("rolling", __doc__, TITLES, javascript=JAVASCRIPT, own=OWN)
    return run_program("rolling", TITLES, HEADINGS, measure, parser.parse_args(arguments), arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
