"""Killed servers and bad networks: is each accepted event delivered, once and in order?

    .venv/bin/python -m chaos.killers
    .venv/bin/python -m chaos.killers --quick

The crowd of `chaos.jitter` on `oyez serve`, which is killed with SIGKILL every ten seconds and started again: one
server with its log in SQLite, one of several workers where there are any, and two nodes on one Valkey (append-only),
where clients reconnect to either and Valkey itself is killed and started again once. The publisher records what was
accepted; an event without an answer may be delivered or not. Clients that are informed that they were not recovered are
counted.
"""

import argparse
import asyncio
import os
import random
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import uvloop
from bench.children import BenchError, Child, find_port
from bench.cpu import read_cpu
from bench.servers import Surroundings, build_environ
from bench.table import RELIABILITY, write_rows, write_section
from bench.tokens import make_service_token
from tests.support.valkey import ValkeyServer

from chaos.crowd import Crowd, Outcome, Publish, Sent, compare, publish_for, publish_last
from chaos.jitter import (
    AWAY,
    CONTRACT,
    CUT_EVERY,
    HEADINGS,
    OYEZ_PATH,
    cells,
    describe,
    publishing_to_oyez,
    read_options,
    surroundings,
)
from oyez.settings import Settings

KILL_EVERY = 10.0
SQLITE, WORKERS, VALKEY = "sqlite", "workers", "valkey"
WORKER_COUNT = 2
STARTING = 20.0
"""Seconds that a server has to listen again."""
STOPPING = 60.0
"""Seconds that a server has to end when it is asked to."""


class Node:
    """An `oyez serve` that can be killed and started again, at the same port and on the same data."""

    def __init__(self, name: str, environ: dict[str, str], data: Path, port: int, options: Sequence[str]) -> None:
        self._name, self._environ, self._data, self.port = name, environ, data, port
        self._command: list[str | Path] = [Path(sys.executable).with_name("oyez"), "serve", CONTRACT, *options]
        self._child: Child | None = None

    def start(self) -> None:
        self._child = Child(self._name, self._command, core=None, environ=self._environ, folder=self._data)

    async def wait(self) -> None:
        """Returns when it listens."""
        assert self._child is not None
        await asyncio.to_thread(self._child.wait_for_port, self.port, STARTING)

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def list_workers(self) -> list[int]:
        """The processes that it has started."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def read_cpu(self) -> float:
        """Seconds that it has taken."""
        return read_cpu(self.pid).total

    def kill(self) -> None:
        assert self._child is not None
        self._child.process.kill()
        self._child.process.wait()

    async def stop(self) -> None:
        """Ask it to stop; returns when it has ended."""
        assert self._child is not None
        self._child.process.terminate()
        await asyncio.to_thread(self._child.process.wait, STOPPING)

    def kill_worker(self) -> None:
        workers = self.list_workers()
        if workers:
            os.kill(random.choice(workers), signal.SIGKILL)

    def end(self) -> None:
        if self._child is not None:
            self._child.end()


@dataclass
class Attack:
    """What is killed, and how often it was."""

    nodes: Sequence[Node]
    workers: bool = False
    valkey: ValkeyServer | None = None
    kills: int = 0
    valkey_kills: int = 0

    def describe(self, outcome: Outcome) -> str:
        valkey = f", Valkey {self.valkey_kills}" if self.valkey is not None else ""
        return f"processes killed {self.kills}{valkey}; {outcome.unknown} events whose publisher got no answer"

    async def run(self, seconds: float) -> None:
        """Kill something every KILL_EVERY seconds; Valkey half-way."""
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
        if self.workers:
            node.kill_worker()
            return
        node.kill()
        node.start()
        await node.wait()


class Installation(NamedTuple):
    """What serves in a run."""

    nodes: list[Node]
    valkey: ValkeyServer | None
    publish: Publish
    """To each node in turn."""

    @property
    def ports(self) -> list[int]:
        return [node.port for node in self.nodes]


@asynccontextmanager
async def serve(name: str, around: Surroundings, *, valkey: bool, workers: bool) -> AsyncIterator[Installation]:
    """Two nodes on a Valkey, or one node, with workers or alone, on SQLite."""
    async with AsyncExitStack() as stack:
        server = None
        if valkey:
            server = ValkeyServer(around.folder / "valkey", "--appendonly", "yes")
            server.start()
            stack.callback(server.kill)
        nodes = []
        for number in range(2 if valkey else 1):
            data, port = Path(tempfile.mkdtemp(dir=around.folder)), find_port()
            environ = build_environ(around.secret, data, port)
            if server is not None:
                environ["REDIS_URL"] = server.url
            extra = ["--workers", str(WORKER_COUNT)] if workers else []
            nodes.append(Node(f"{name}-{number}", environ, data, port, extra))
            nodes[-1].start()
            stack.callback(nodes[-1].end)
            await nodes[-1].wait()
        token, turns = make_service_token(CONTRACT, environ, data), cycle(nodes)
        publish = await stack.enter_async_context(publishing_to_oyez(lambda: next(turns).port, token))
        yield Installation(nodes, server, publish)


async def attack(kind: str, options: argparse.Namespace, around: Surroundings) -> tuple[Outcome, Attack]:
    tokens = around.tokens.read_text().splitlines()
    async with AsyncExitStack() as stack:
        serving = serve("killers", around, valkey=kind == VALKEY, workers=kind == WORKERS)
        nodes, valkey, publish = installation = await stack.enter_async_context(serving)
        crowd = await stack.enter_async_context(
            Crowd(
                path=OYEZ_PATH,
                ports=installation.ports,
                javascript=options.javascript,
                own=options.own,
                cut_every=CUT_EVERY,
                away=AWAY,
            )
        )
        await crowd.connect(tokens)
        sent, began = Sent(), time.monotonic()
        attacking = Attack(nodes, kind == WORKERS, valkey)
        await asyncio.gather(publish_for(options.seconds, crowd.users, publish, sent), attacking.run(options.seconds))
        seconds = time.monotonic() - began
        await crowd.calm_down()
        last = await publish_last(publish, sent)
        outcome = Outcome(javascript=options.javascript, own=options.own, seconds=seconds)
        compare(sent, await crowd.report(last), outcome)
        return outcome, attacking


TITLES = {
    SQLITE: "one server, SQLite",
    WORKERS: f"{WORKER_COUNT} workers, SQLite",
    VALKEY: "two nodes, Valkey",
}


def kinds() -> list[str]:
    return [SQLITE, WORKERS, VALKEY] if has_workers() else [SQLITE, VALKEY]


def has_workers() -> bool:
    return "workers" in Settings.__struct_fields__


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.killers", description=__doc__)
    parser.add_argument("--log", action="append", choices=list(TITLES))
    options = read_options(parser, arguments)
    found: dict[str, tuple[Outcome, Attack]] = {}
    for kind in options.log or kinds():
        try:
            with surroundings(options.javascript + options.own) as around:
                outcome, attacking = uvloop.run(attack(kind, options, around))
        except BenchError as error:
            print(error, file=sys.stderr)
            return 1
        found[kind] = outcome, attacking
        print(f"{describe(outcome)}; {attacking.describe(outcome)}")
        print("\n".join(write_rows(HEADINGS, [cells(TITLES[kind], outcome)])), flush=True)
    if options.page:
        lines = [
            f"- {TITLES[kind]}: {describe(outcome)}; {attacking.describe(outcome)}."
            for kind, (outcome, attacking) in found.items()
        ]
        lines += ["", *write_rows(HEADINGS, [cells(TITLES[kind], outcome) for kind, (outcome, _) in found.items()])]
        write_section(RELIABILITY, "killers", lines, command=shlex.join(["python", "-m", "chaos.killers", *arguments]))
    return 0 if all(outcome.good for outcome, _ in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
