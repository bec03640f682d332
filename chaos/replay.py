"""All clients reconnect at once: how long until the last one has what it missed?

    .venv/bin/python -m chaos.replay
    .venv/bin/python -m chaos.replay --quick

A thousand clients receive an event, and all lose their connections. While they are away, each misses a hundred events:
half of them go to all, half to it alone. Then they reconnect at the same moment, with the `pid` of their session and
the position of the last event: to the same server, and, in a second run, to one that was killed with SIGKILL meanwhile
and started again, with its log in SQLite. Measured from the first packet of the first client to the last event of the
last one.
"""

import argparse
import asyncio
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import uvloop
from bench.children import BenchError, find_port
from bench.servers import Surroundings, build_environ
from bench.table import RELIABILITY, write_rows, write_section
from bench.tokens import make_service_token

from chaos.crowd import PATIENCE, TEXT, Client, Crowd
from chaos.jitter import CONTRACT, OYEZ_PATH, publishing_to_oyez, surroundings
from chaos.killers import Node

CLIENTS, MISSED = 1_000, 100
A_REQUEST = 500
"""Events in one publish request."""
TARGET = 2.0
"""Seconds."""


@dataclass(frozen=True)
class Outcome:
    clients: int
    missed: int
    connected: float
    """Seconds until all were connected."""
    seconds: float
    """Seconds until all had everything."""
    cpu: float
    """Seconds of CPU that the server took for it."""
    wrong: int
    """Clients that did not hear exactly what they had missed, in order, or were not recovered."""


async def measure(restart: bool, options: argparse.Namespace, around: Surroundings) -> Outcome:
    port, data = find_port(), Path(tempfile.mkdtemp(dir=around.folder))
    environ = build_environ(around.secret, data, port)
    async with AsyncExitStack() as stack:
        node = Node("replay", environ, data, port, [])
        node.start()
        stack.callback(node.end)
        await node.wait()
        token = make_service_token(CONTRACT, environ, data)
        publish = await stack.enter_async_context(publishing_to_oyez(lambda: port, token))
        crowd = await stack.enter_async_context(
            Crowd(path=OYEZ_PATH, ports=[port], javascript=0, own=options.clients, cut_every=3_600, away=0.0)
        )
        await crowd.connect(around.tokens.read_text().splitlines())
        number = 0

        async def send(rooms: Sequence[str]) -> None:
            nonlocal number
            for begin in range(0, len(rooms), A_REQUEST):
                events = []
                for room in rooms[begin : begin + A_REQUEST]:
                    events.append((room, {"n": number, "sent": time.monotonic_ns(), "text": TEXT}))
                    number += 1
                if not await publish(events):
                    raise BenchError("publishing failed")

        await send(["shared"])
        await until(lambda: all(client.report.heard for client in crowd.clients))
        # All of them lose their connection, and find none until the gate opens.
        crowd.gate.clear()
        for client in crowd.clients:
            assert client.connection is not None
            client.connection.cut(silently=False)
        await until(lambda: not any(client.connected for client in crowd.clients))
        for _ in range(options.missed // 2):
            await send([f"user:{user}" for user in crowd.users])
            await send(["shared"])
        if restart:
            node.kill()
            node.start()
            await node.wait()
        wanted = 1 + options.missed
        began, cpu = time.monotonic(), node.read_cpu()
        crowd.gate.set()
        await until(lambda: all(client.connected for client in crowd.clients))
        connected = time.monotonic() - began
        await until(lambda: all(len(client.report.heard) >= wanted for client in crowd.clients))
        seconds = time.monotonic() - began
        cpu = node.read_cpu() - cpu
        wrong = sum(is_wrong(client, wanted) for client in crowd.clients)
        return Outcome(options.clients, options.missed, connected, seconds, cpu, wrong)


def is_wrong(client: Client, wanted: int) -> bool:
    report = client.report
    return bool(len(report.heard) != wanted or report.duplicates or report.disordered or report.told)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not happened():  # noqa: ASYNC110 - nothing says when
            await asyncio.sleep(0.005)


HEADINGS = ("", "all connected after s", "all had received everything after s", "server CPU s", "clients with an error")


def cells(title: str, outcome: Outcome) -> list[str]:
    return [title, f"{outcome.connected:.2f}", f"{outcome.seconds:.2f}", f"{outcome.cpu:.2f}", f"{outcome.wrong}"]


TITLES = {False: "server kept running", True: "server killed and started again"}


def run(options: argparse.Namespace) -> dict[bool, Outcome]:
    found = {}
    for restart in TITLES:
        with surroundings(options.clients) as around:
            found[restart] = uvloop.run(measure(restart, options, around))
    return found


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.replay", description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--missed", type=int, default=MISSED, help="events that each client misses")
    parser.add_argument("--quick", action="store_true", help="a tenth of the clients")
    parser.add_argument("--page", action="store_true", help="renew the section of docs/reliability.md")
    options = parser.parse_args(arguments)
    if options.quick:
        options.clients //= 10
    try:
        found = run(options)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    headings = (f"{options.clients:,} × {options.missed} missed events", *HEADINGS[1:])
    lines = write_rows(headings, [cells(TITLES[restart], outcome) for restart, outcome in found.items()])
    print("\n".join(lines))
    if options.page:
        write_section(RELIABILITY, "replay", lines, command=shlex.join(["python", "-m", "chaos.replay", *arguments]))
    return 0 if all(not one.wrong and one.seconds <= TARGET for one in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
