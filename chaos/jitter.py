"""Bad networks: does each client receive each event, once and in order, although it is cut off again and again?

    .venv/bin/python -m chaos.jitter
    .venv/bin/python -m chaos.jitter --quick

Each client receives two durable events a second, one for all clients and one for itself, and is cut off every 15
seconds for two. Oyez with its log in SQLite beside Node's Socket.IO, with and without connection state recovery, and
python-socketio; the same clients with the same code. See `crowd.py`.
"""

import argparse
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
from bench.children import find_port
from bench.servers import Ports, Surroundings, build_environ, node, node_missing, python, python_missing

from chaos.crowd import Crowd, Outcome, Publish, Sent, publish_for
from chaos.support import (
    LOSS_HEADINGS,
    OYEZ_PATH,
    Node,
    Result,
    build_parser,
    describe,
    loss_cells,
    run_crowd,
    run_program,
    serve,
)

JAVASCRIPT, OWN = 200, 800
"""Default numbers of clients of either kind."""
SECONDS, QUICK_SECONDS = 180.0, 40.0
CUT_EVERY, AWAY = 15.0, 2.0
OYEZ, NODE, NODE_RECOVERY, PYTHON_SOCKETIO = "oyez", "node", "node-recovery", "python-socketio"
TITLES = {
    OYEZ: "Oyez, log in SQLite",
    NODE_RECOVERY: "Node, with connection state recovery",
    NODE: "Node",
    PYTHON_SOCKETIO: "python-socketio",
}
PEERS: dict[str, tuple[Callable[[Ports], Sequence[str | Path]], Callable[[], str | None]]] = {
    NODE_RECOVERY: (node("ws", "recovery"), node_missing("socket.io")),
    NODE: (node("ws"), node_missing("socket.io")),
    PYTHON_SOCKETIO: (python("bench.peers.python_socketio"), python_missing),
}
"""How each peer is started, and the reason why it cannot be."""
HEADINGS = ("server", *LOSS_HEADINGS, "replay p50 ms", "p99 ms")


@contextlib.asynccontextmanager
async def serve_peer(kind: str, around: Surroundings) -> AsyncIterator[tuple[int, Publish]]:
    """The port of a peer, and how it is made to emit: in its own process."""
    data, ports = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=around.folder)), (find_port(), find_port())
    environ = build_environ(around.secret, data, ports[0])
    # No connection is kept: a busy server may just have closed it.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=30, trust_env=False, limits=limits) as http:

        async def publish(events: list[tuple[str, dict[str, Any]]]) -> bool:
            response = await http.post(f"http://127.0.0.1:{ports[1]}/publish", json=events)
            return response.status_code == 200

        server = Node(f"jitter-{kind}", environ, data, ports[0], command=PEERS[kind][0](ports), core=around.server_core)
        try:
            await server.start()
            await server.wait_for_port(ports[1])
            yield ports[0], publish
        finally:
            server.end()


async def measure(kind: str, options: argparse.Namespace, around: Surroundings) -> Result:
    """Run one server and its crowd."""
    async with AsyncExitStack() as stack:
        if kind == OYEZ:
            nodes, _, publish = await stack.enter_async_context(serve("jitter", around, core=around.server_core))
            port, path = nodes[0].port, OYEZ_PATH
        else:
            port, publish = await stack.enter_async_context(serve_peer(kind, around))
            path = "/socket.io/"

        async def act(crowd: Crowd, sent: Sent) -> None:
            await publish_for(options.seconds, crowd.users, publish, sent)

        outcome = await run_crowd([port], publish, act, options, around, path=path, cut_every=CUT_EVERY, away=AWAY)
        return Result(describe(outcome), cells(outcome), outcome.good or kind != OYEZ)


def cells(outcome: Outcome) -> list[str]:
    times = outcome.percentile(0.5), outcome.percentile(0.99)
    return [*loss_cells(outcome), *("–" if value is None else f"{value:.1f}" for value in times)]


def main(arguments: Sequence[str]) -> int:
    parser = build_parser("jitter", __doc__, TITLES, javascript=JAVASCRIPT, own=OWN)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time of publishing for each server")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seconds = QUICK_SECONDS
    missing = {kind: reason for kind, (_, find_reason) in PEERS.items() if (reason := find_reason())}
    for kind, reason in missing.items():
        print(f"{TITLES[kind]}: {reason}")
    options.server = [kind for kind in options.server or TITLES if kind not in missing]
    return run_program("jitter", TITLES, HEADINGS, measure, options, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
