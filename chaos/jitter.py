"""Bad networks: does each client receive each event, once and in order, although it is cut off again and again?

    .venv/bin/python -m chaos.jitter
    .venv/bin/python -m chaos.jitter --quick

Each client receives two durable events a second, one for all clients and one for itself, and is cut off every 15
seconds for two. Oyez with its log in SQLite beside Node's Socket.IO, with and without connection state recovery, and
python-socketio; the same clients with the same code. See `crowd.py`.
"""

import argparse
import contextlib
import shlex
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvloop
from bench import machine
from bench.children import BenchError, Child, find_port
from bench.servers import PEERS, Surroundings, build_environ, node_missing, python_missing
from bench.table import RELIABILITY, write_rows, write_section
from bench.tokens import make_secret, make_service_token, write_tokens

from chaos.crowd import Crowd, Outcome, Publish, Sent, compare, publish_for, publish_last

CONTRACT = Path(__file__).with_name("crowd_contract.py")
OYEZ_PATH = "/crowd/socket.io/"
JAVASCRIPT, OWN = 200, 800
"""Clients of either kind, where nothing else is asked for."""
SECONDS, QUICK_SECONDS = 180.0, 40.0
CUT_EVERY, AWAY = 15.0, 2.0
OYEZ, NODE, NODE_RECOVERY, PYTHON_SOCKETIO = "oyez", "node", "node-recovery", "python-socketio"


@dataclass(frozen=True)
class Subject:
    """A server to be listened to."""

    key: str
    title: str
    command: Callable[[int, int], Sequence[str | Path]]
    """For the port of the clients, and that of the one who emits."""
    missing: Callable[[], str | None]


SUBJECTS = (
    Subject(
        OYEZ,
        "Oyez, log in SQLite",
        lambda port, control: [Path(sys.executable).with_name("oyez"), "serve", CONTRACT],
        lambda: None,
    ),
    Subject(
        NODE_RECOVERY,
        "Node, with connection state recovery",
        lambda port, control: ["node", PEERS / "peer.mjs", "ws", str(port), str(control), "recovery"],
        node_missing("socket.io"),
    ),
    Subject(
        NODE,
        "Node",
        lambda port, control: ["node", PEERS / "peer.mjs", "ws", str(port), str(control)],
        node_missing("socket.io"),
    ),
    Subject(
        PYTHON_SOCKETIO,
        "python-socketio",
        lambda port, control: [sys.executable, "-m", "bench.peers.python_socketio", str(port), str(control)],
        python_missing,
    ),
)


@contextlib.asynccontextmanager
async def publishing_to_oyez(ports: Callable[[], int], token: str) -> AsyncIterator[Publish]:
    """Publishes over HTTP, to whichever port is said at the moment."""
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=10, trust_env=False) as http:

        async def publish(events: list[tuple[str, dict[str, Any]]]) -> bool | None:
            body = [{"event": "news", "to": room, "data": payload} for room, payload in events]
            try:
                response = await http.post(f"http://127.0.0.1:{ports()}/crowd/events", json=body)
            except httpx.ConnectError:
                return False
            except httpx.TransportError:
                return None
            # 503: with Redis, whether it was stored may be unknown.
            return True if response.status_code == 200 else None if response.status_code == 503 else False

        yield publish


@contextlib.asynccontextmanager
async def publishing_to_peer(control_port: int) -> AsyncIterator[Publish]:
    """Has the process itself emit."""
    # No connection is kept: a server that is busy may just have closed it.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=30, trust_env=False, limits=limits) as http:

        async def publish(events: list[tuple[str, dict[str, Any]]]) -> bool:
            response = await http.post(f"http://127.0.0.1:{control_port}/publish", json=events)
            return response.status_code == 200

        yield publish


async def listen(subject: Subject, options: argparse.Namespace, around: Surroundings) -> Outcome:
    """Run one server and its crowd."""
    data = Path(tempfile.mkdtemp(prefix=f"{subject.key}-", dir=around.folder))
    port, control_port = find_port(), find_port()
    environ = build_environ(around.secret, data, port)
    tokens = around.tokens.read_text().splitlines()
    oyez = subject.key == OYEZ
    async with AsyncExitStack() as stack:
        server = stack.enter_context(
            Child(
                f"jitter-{subject.key}",
                subject.command(port, control_port),
                core=around.server_core,
                environ=environ,
                folder=data,
            )
        )
        server.wait_for_port(port)
        if oyez:
            token = make_service_token(CONTRACT, environ, data)
            publish = await stack.enter_async_context(publishing_to_oyez(lambda: port, token))
        else:
            server.wait_for_port(control_port)
            publish = await stack.enter_async_context(publishing_to_peer(control_port))
        crowd = await stack.enter_async_context(
            Crowd(
                path=OYEZ_PATH if oyez else "/socket.io/",
                ports=[port],
                javascript=options.javascript,
                own=options.own,
                cut_every=CUT_EVERY,
                away=AWAY,
            )
        )
        await crowd.connect(tokens)
        sent, began = Sent(), time.monotonic()
        await publish_for(options.seconds, crowd.users, publish, sent)
        seconds = time.monotonic() - began
        await crowd.calm_down()
        last = await publish_last(publish, sent)
        outcome = Outcome(javascript=options.javascript, own=options.own, seconds=seconds)
        compare(sent, await crowd.report(last), outcome)
        return outcome


HEADINGS = (
    "server",
    "delivered %",
    "lost, client not informed",
    "lost, client informed",
    "duplicates",
    "out of order",
    "reconnections",
    "of these not recovered",
    "replay p50 ms",
    "p99 ms",
)


def cells(title: str, outcome: Outcome) -> list[str]:
    p50, p99 = outcome.percentile(0.5), outcome.percentile(0.99)
    return [
        title,
        f"{outcome.delivered:.3f}",
        f"{outcome.missing:,}",
        f"{outcome.told_missing:,}",
        f"{outcome.duplicates:,}",
        f"{outcome.disordered:,}",
        f"{outcome.comebacks:,}",
        f"{outcome.told:,}",
        *("–" if value is None else f"{value:.1f}" for value in (p50, p99)),
    ]


def describe(outcome: Outcome) -> str:
    return (
        f"{outcome.javascript:,} official JavaScript clients and {outcome.own:,} of the benchmark, for"
        f" {outcome.seconds:.0f} s; {outcome.accepted:,} events, {outcome.due:,} deliveries expected"
    )


@contextlib.contextmanager
def surroundings(clients: int) -> Any:
    """A folder, secret and tokens for so many users."""
    machine.raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="oyez-crowd-") as name, ExitStack():
        folder, secret = Path(name), make_secret()
        write_tokens(folder / "tokens", secret, clients)
        yield Surroundings(folder, secret, folder / "tokens", *machine.pick_cores())


def run(options: argparse.Namespace) -> list[tuple[Subject, Outcome]]:
    found = []
    for subject in SUBJECTS:
        if options.server and subject.key not in options.server:
            continue
        reason = subject.missing()
        if reason is not None:
            print(f"{subject.title}: {reason}")
            continue
        with surroundings(options.javascript + options.own) as around:
            outcome = uvloop.run(listen(subject, options, around))
        found.append((subject, outcome))
        print(f"{subject.title}: {describe(outcome)}")
        print("\n".join(write_rows(HEADINGS, [cells(subject.title, outcome)])), flush=True)
    return found


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of publishing, for each server")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SECONDS:.0f} s and a tenth of the clients")
    parser.add_argument("--javascript", type=int, default=JAVASCRIPT, help="official clients")
    parser.add_argument("--own", type=int, default=OWN, help="clients of the benchmark")
    parser.add_argument("--page", action="store_true", help="renew the section of docs/reliability.md")


def read_options(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    add_options(parser)
    options = parser.parse_args(arguments)
    if options.quick:
        options.seconds = QUICK_SECONDS
        options.javascript, options.own = options.javascript // 10, options.own // 10
    return options


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.jitter", description=__doc__)
    parser.add_argument("--server", action="append", choices=[subject.key for subject in SUBJECTS])
    options = read_options(parser, arguments)
    try:
        found = run(options)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    if options.page and found:
        rows = write_rows(HEADINGS, [cells(subject.title, outcome) for subject, outcome in found])
        lines = [f"Each server had {describe(found[0][1])}.", "", *rows]
        write_section(RELIABILITY, "jitter", lines, command=shlex.join(["python", "-m", "chaos.jitter", *arguments]))
    return 0 if all(outcome.good for subject, outcome in found if subject.key == OYEZ) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
