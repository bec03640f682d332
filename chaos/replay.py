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
import sys
import time
from collections.abc import Sequence

from bench.children import BenchError
from bench.servers import Surroundings
from tests.support.clock import until

from chaos.crowd import PATIENCE, TEXT, Client, Crowd, Publish
from chaos.support import OYEZ_PATH, Node, Result, build_parser, run_program, serve

CLIENTS, MISSED = 1_000, 100
REQUEST_EVENTS = 500
"""Events in one publish request."""
TARGET = 2.0
"""Seconds within which all clients must have received everything."""
KEPT, KILLED = "kept", "killed"
TITLES = {KEPT: "server kept running", KILLED: "server killed and started again"}
HEADINGS = ("", "all connected after s", "all had received everything after s", "server CPU s", "clients with an error")


async def measure(kind: str, options: argparse.Namespace, around: Surroundings) -> Result:
    async with serve("replay", around) as ((node,), _, publish):
        clients = {"javascript": 0, "own": options.own}
        async with Crowd(path=OYEZ_PATH, ports=[node.port], cut_every=3_600, away=0.0, **clients) as crowd:
            await crowd.connect(around.tokens.read_text().splitlines())
            await miss_events(crowd, publish, options.missed)
            if kind == KILLED:
                node.kill()
                await node.start()
            return await reconnect(crowd, node, options.missed)


async def miss_events(crowd: Crowd, publish: Publish, missed: int) -> None:
    """Publish one event that all clients receive, and `missed` events for each while none is connected."""
    number = 0

    async def send(rooms: Sequence[str]) -> None:
        nonlocal number
        for begin in range(0, len(rooms), REQUEST_EVENTS):
            events = []
            for room in rooms[begin : begin + REQUEST_EVENTS]:
                events.append((room, {"n": number, "sent": time.monotonic_ns(), "text": TEXT}))
                number += 1
            if not await publish(events):
                raise BenchError("publishing failed")

    await send(["shared"])
    await until(lambda: all(client.report.received for client in crowd.clients), PATIENCE)
    # No client reconnects until the gate opens.
    crowd.gate.clear()
    for client in crowd.clients:
        assert client.connection is not None
        client.connection.cut(silently=False)
    await until(lambda: not any(client.connected for client in crowd.clients), PATIENCE)
    for _ in range(missed // 2):
        await send([f"user:{user}" for user in crowd.users])
        await send(["shared"])


async def reconnect(crowd: Crowd, node: Node, missed: int) -> Result:
    wanted = 1 + missed
    began, cpu = time.monotonic(), node.read_cpu()
    crowd.gate.set()
    await until(lambda: all(client.connected for client in crowd.clients), PATIENCE)
    connected = time.monotonic() - began
    await until(lambda: all(len(client.report.received) >= wanted for client in crowd.clients), PATIENCE)
    seconds = time.monotonic() - began
    cpu = node.read_cpu() - cpu
    wrong = sum(is_wrong(client, wanted) for client in crowd.clients)
    cells = [f"{connected:.2f}", f"{seconds:.2f}", f"{cpu:.2f}", f"{wrong}"]
    return Result(f"{len(crowd.clients):,} × {missed} missed events", cells, not wrong and seconds <= TARGET)


def is_wrong(client: Client, wanted: int) -> bool:
    """True if a client did not receive exactly what it had missed, in order, or was not recovered."""
    report = client.report
    return bool(len(report.received) != wanted or report.duplicates or report.disordered or report.not_recovered)


def main(arguments: Sequence[str]) -> int:
    parser = build_parser("replay", __doc__, TITLES, javascript=0, own=CLIENTS)
    parser.add_argument("--missed", type=int, default=MISSED, help="number of events that each client misses")
    return run_program("replay", TITLES, HEADINGS, measure, parser.parse_args(arguments), arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
