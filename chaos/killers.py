"""Killed servers and bad networks: is each accepted event delivered, once and in order?

    .venv/bin/python -m chaos.killers
    .venv/bin/python -m chaos.killers --quick

The crowd of `chaos.jitter` on `oyez serve`, which is killed with SIGKILL every ten seconds and started again: one
server with its log in SQLite, one of several workers, and two nodes on one Valkey (append-only), where clients
reconnect to either and Valkey itself is killed and started again once. The publisher records what was accepted; an
event without an answer may be delivered or not. Clients that are informed that they were not recovered are counted.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.servers import Surroundings
from tests.support.valkey import ValkeyServer

from chaos.crowd import Crowd, Sent, publish_for
from chaos.jitter import AWAY, CUT_EVERY, HEADINGS, JAVASCRIPT, OWN, QUICK_SECONDS, SECONDS, cells
from chaos.support import WORKER_COUNT, Node, Result, build_parser, describe, run_crowd, run_program, serve

KILL_EVERY = 10.0
SQLITE, WORKERS, VALKEY = "sqlite", "workers", "valkey"
TITLES = {
    SQLITE: "one server, SQLite",
    WORKERS: f"{WORKER_COUNT} workers, SQLite",
    VALKEY: "two nodes, Valkey",
}


@dataclass
class Attack:
    """What is killed, and how often it was."""

    nodes: Sequence[Node]
    workers: bool = False
    valkey: ValkeyServer | None = None
    kills: int = 0
    valkey_kills: int = 0

    async def run(self, seconds: float) -> None:
        """Kill a process every KILL_EVERY seconds, and Valkey once, half-way."""
        deadline = time.monotonic() + seconds
        valkey_at = time.monotonic() + seconds / 2 if self.valkey is not None else deadline
        kill_at = time.monotonic() + KILL_EVERY
        while True:
            await asyncio.sleep(max(0.0, min(kill_at, valkey_at, deadline) - time.monotonic()))
            now = time.monotonic()
            if now >= deadline - 1:
                return
            if self.valkey is not None and not self.valkey_kills and now >= valkey_at:
                self.valkey_kills += 1
                valkey_at = deadline
                await asyncio.to_thread(self.valkey.kill)
                await asyncio.sleep(1.0)
                await asyncio.to_thread(self.valkey.start)
            if now >= kill_at:
                kill_at += KILL_EVERY
                self.kills += 1
                await self._kill_one()

    async def _kill_one(self) -> None:
        node = random.choice(self.nodes)
        if not self.workers:
            node.kill()
            await node.start()
        elif workers := node.list_workers():
            os.kill(random.choice(workers), signal.SIGKILL)


async def measure(kind: str, options: argparse.Namespace, around: Surroundings) -> Result:
    serving = serve("killers", around, valkey=kind == VALKEY, workers=kind == WORKERS)
    async with serving as (nodes, valkey, publish):
        attack = Attack(nodes, kind == WORKERS, valkey)

        async def act(crowd: Crowd, sent: Sent) -> None:
            publishing = publish_for(options.seconds, crowd.users, publish, sent)
            await asyncio.gather(publishing, attack.run(options.seconds))

        ports = [node.port for node in nodes]
        outcome = await run_crowd(ports, publish, act, options, around, cut_every=CUT_EVERY, away=AWAY)
        killed = f"{attack.kills}, Valkey {attack.valkey_kills}" if valkey else f"{attack.kills}"
        unknown = f"{outcome.unknown} events whose publisher got no answer"
        note = f"{describe(outcome)}; processes killed {killed}; {unknown}"
        return Result(note, cells(outcome), outcome.good)


def main(arguments: Sequence[str]) -> int:
    parser = build_parser("killers", __doc__, TITLES, javascript=JAVASCRIPT, own=OWN)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time of publishing for each server")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seconds = QUICK_SECONDS
    return run_program("killers", TITLES, HEADINGS, measure, options, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
