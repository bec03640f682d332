"""What the programs with a crowd share: servers that can be killed, publishers, and one run from connect to report."""

import argparse
import asyncio
import contextlib
import shlex
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import uvloop
from bench.children import BenchError, Child, find_port
from bench.cpu import read_cpu
from bench.servers import Surroundings, build_environ, prepare
from bench.table import RELIABILITY, write_rows, write_section
from bench.tokens import make_service_token
from tests.support.valkey import ValkeyServer, serve_valkey

from chaos.crowd import Crowd, Outcome, Publish, Sent, compare, publish_last

CONTRACT = Path(__file__).with_name("crowd_contract.py")
OYEZ_PATH = "/crowd/socket.io/"
WORKER_COUNT = 2
START_TIMEOUT = 20.0
"""Seconds that a server has to listen again."""
STOP_TIMEOUT = 60.0
"""Seconds that a server has to end after SIGTERM."""


class Node:
    """A server that can be killed and started again, at the same port and on the same data; `oyez serve` by default."""

    def __init__(
        self,
        name: str,
        environ: dict[str, str],
        data: Path,
        port: int,
        options: Sequence[str] = (),
        *,
        command: Sequence[str | Path] = (),
        core: int | None = None,
    ) -> None:
        self._name, self._environ, self._data, self._core, self.port = name, environ, data, core, port
        self._command = command or [Path(sys.executable).with_name("oyez"), "serve", CONTRACT, *options]
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        assert self._child is not None
        return self._child

    async def start(self) -> None:
        """Return when it listens."""
        self._child = Child(self._name, self._command, core=self._core, environ=self._environ, folder=self._data)
        await self.wait_for_port(self.port)

    async def wait_for_port(self, port: int) -> None:
        await asyncio.to_thread(self.child.wait_for_port, port, START_TIMEOUT)

    def list_workers(self) -> list[int]:
        """The ids of the processes that it has started."""
        pid = self.child.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def read_cpu(self) -> float:
        """The CPU time of the process, in seconds."""
        return read_cpu(self.child.pid).total

    def kill(self) -> None:
        self.child.process.kill()
        self.child.process.wait()

    async def stop(self) -> None:
        """Send SIGTERM; return when the process has ended."""
        self.child.process.terminate()
        await asyncio.to_thread(self.child.process.wait, STOP_TIMEOUT)

    def end(self) -> None:
        if self._child is not None:
            self._child.end()


class Installation(NamedTuple):
    """The servers of a run."""

    nodes: list[Node]
    valkey: ValkeyServer | None
    publish: Publish
    """Publishes to each node in turn."""


@contextlib.asynccontextmanager
async def serve(
    name: str, around: Surroundings, *, valkey: bool = False, workers: bool = False, core: int | None = None
) -> AsyncIterator[Installation]:
    """Two nodes on a Valkey, or one node with its log in SQLite, with or without workers."""
    async with AsyncExitStack() as stack:
        server = None
        if valkey:
            server = stack.enter_context(serve_valkey(around.folder / "valkey", "--appendonly", "yes"))
        nodes = []
        for number in range(2 if valkey else 1):
            data, port = Path(tempfile.mkdtemp(dir=around.folder)), find_port()
            environ = build_environ(around.secret, data, port)
            if server is not None:
                environ["REDIS_URL"] = server.url
            options = ["--workers", str(WORKER_COUNT)] if workers else []
            nodes.append(Node(f"{name}-{number}", environ, data, port, options, core=core))
            stack.callback(nodes[-1].end)
            await nodes[-1].start()
        token, turns = make_service_token(CONTRACT, environ, data), cycle(nodes)
        publish = await stack.enter_async_context(publishing_to_oyez(lambda: next(turns).port, token))
        yield Installation(nodes, server, publish)


@contextlib.asynccontextmanager
async def publishing_to_oyez(next_port: Callable[[], int], token: str) -> AsyncIterator[Publish]:
    """Publish over HTTP, each request to the next port."""
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=10, trust_env=False) as http:

        async def publish(events: list[tuple[str, dict[str, Any]]]) -> bool | None:
            body = [{"event": "news", "to": room, "data": payload} for room, payload in events]
            try:
                response = await http.post(f"http://127.0.0.1:{next_port()}/crowd/events", json=body)
            except httpx.ConnectError:
                return False
            except httpx.TransportError:
                return None
            # 503: with Redis it can be unknown whether the events were stored.
            return True if response.status_code == 200 else None if response.status_code == 503 else False

        yield publish


async def run_crowd(
    ports: Sequence[int],
    publish: Publish,
    act: Callable[[Crowd, Sent], Awaitable[Any]],
    options: argparse.Namespace,
    around: Surroundings,
    *,
    path: str = OYEZ_PATH,
    **settings: Any,
) -> Outcome:
    """Connect a crowd with `settings`, run `act`, and compare what was received with what was sent."""
    crowd = Crowd(path=path, ports=ports, javascript=options.javascript, own=options.own, **settings)
    async with crowd:
        await crowd.connect(around.tokens.read_text().splitlines())
        sent, began = Sent(), time.monotonic()
        await act(crowd, sent)
        seconds = time.monotonic() - began
        await crowd.calm_down()
        last = await publish_last(publish, sent)
        outcome = Outcome(javascript=options.javascript, own=options.own, seconds=seconds)
        compare(sent, await crowd.report(last), outcome)
        return outcome


LOSS_HEADINGS = (
    "delivered %",
    "lost, client not informed",
    "lost, client informed",
    "duplicates",
    "out of order",
    "reconnections",
    "of these not recovered",
)


def loss_cells(outcome: Outcome) -> list[str]:
    """The cells below LOSS_HEADINGS."""
    counts = (
        outcome.missing,
        outcome.missing_informed,
        outcome.duplicates,
        outcome.disordered,
        outcome.reconnections,
        outcome.not_recovered,
    )
    return [f"{outcome.delivered:.3f}", *(f"{count:,}" for count in counts)]


def describe(outcome: Outcome) -> str:
    return (
        f"{outcome.javascript:,} official JavaScript clients and {outcome.own:,} of the benchmark, for"
        f" {outcome.seconds:.0f} s; {outcome.accepted:,} events, {outcome.due:,} deliveries expected"
    )


# Command lines.


class Result(NamedTuple):
    """What one variant of a program found: a sentence, the row of the table, and whether the promise was kept."""

    note: str
    cells: list[str]
    good: bool


def build_parser(
    program: str, description: str | None, titles: Mapping[str, str], *, javascript: int, own: int
) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m chaos.{program}", description=description)
    parser.add_argument("--server", action="append", choices=list(titles), help="[default: each]")
    parser.add_argument("--javascript", type=int, default=javascript, help="number of official clients")
    parser.add_argument("--own", type=int, default=own, help="number of clients of the benchmark")
    parser.add_argument("--quick", action="store_true", help="a tenth of the clients, and a shorter run")
    parser.add_argument("--page", action="store_true", help="renew the section of docs/reliability.md")
    return parser


def run_program(
    program: str,
    titles: Mapping[str, str],
    headings: Sequence[str],
    measure: Callable[[str, argparse.Namespace, Surroundings], Coroutine[Any, Any, Result]],
    options: argparse.Namespace,
    arguments: Sequence[str],
) -> int:
    """Measure each variant, print its row, write the section of the page; the exit status."""
    if options.quick:
        options.javascript, options.own = options.javascript // 10, options.own // 10
    notes, rows, good = [], [], True
    for kind in options.server or titles:
        try:
            with prepare("oyez-crowd-", options.javascript + options.own) as around:
                result = uvloop.run(measure(kind, options, around))
        except BenchError as error:
            print(error, file=sys.stderr)
            return 1
        good = good and result.good
        notes.append(f"- {titles[kind]}: {result.note}.")
        rows.append([titles[kind], *result.cells])
        print("\n".join([notes[-1], *write_rows(headings, rows[-1:])]), flush=True)
    if options.page:
        command = shlex.join(["python", "-m", f"chaos.{program}", *arguments])
        write_section(RELIABILITY, program, [*notes, "", *write_rows(headings, rows)], command=command)
    return 0 if good else 1
