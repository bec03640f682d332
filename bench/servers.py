"""The servers that are measured: how each is started, how it is made to emit, and what it needs to be there."""

import http.client
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from bench import machine
from bench.children import FOLDER, PEERS, BenchError, Child, compile_programs, find_port, pinned
from bench.cpu import CpuTime, read_cpu, read_memory
from bench.generators import publish
from bench.tokens import USERS, make_secret, make_service_token, write_tokens

CONTRACT, CHAT = FOLDER / "contract.py", FOLDER / "chat.py"
IN_PROCESS = FOLDER / "serve_oyez.py"
OYEZ_PATH = "/bench/socket.io/"
PUBLISH_PATH, PEER_PUBLISH_PATH = "/bench/events", "/events"
LEAST_STORED = 150
"""Bytes on disk for each event of 200 bytes below which it cannot have been stored, compressed or not."""

NODE_WS, NODE_UWS, PYTHON_SOCKETIO, OYEZ, FLOOR = "node-ws", "node-uws", "python-socketio", "oyez", "floor"
OYEZ_IN_PROCESS, OYEZ_BARE = "oyez-inproc", "oyez-bare"


@dataclass(frozen=True)
class Surroundings:
    """What every server of a run shares."""

    folder: Path
    """A folder of the run's own, removed at its end."""
    secret: str
    tokens: Path
    server_core: int | None
    load_core: int | None


@contextmanager
def prepare(prefix: str, clients: int = USERS) -> Iterator[Surroundings]:
    """The compiled programs, a folder, a secret and tokens; this process runs on the core of the load."""
    machine.raise_file_limit()
    compile_programs()
    server_core, load_core = machine.pick_cores()
    with pinned(load_core), tempfile.TemporaryDirectory(prefix=prefix) as name:
        folder, secret = Path(name), make_secret()
        write_tokens(folder / "tokens", secret, clients)
        yield Surroundings(folder, secret, folder / "tokens", server_core, load_core)


LIMITS = """\
[limits]
max_handshakes_per_second = 1_000_000
max_packets_per_second = 1_000_000
max_bytes_per_second = 1_000_000_000
max_connections_per_user = 100_000
"""
"""The configuration of Oyez. How many come in a second is what is measured; peers have no such limits."""

Ports = tuple[int, int]
"""Where clients connect, and where the control endpoint is."""


@dataclass(frozen=True, kw_only=True)
class Server:
    key: str
    title: str
    about: str
    command: Callable[[Ports], Sequence[str | Path]]
    missing: Callable[[], str | None]
    """Why it cannot be measured here; None where it can."""
    path: str = "/socket.io/"
    publishes: bool = False
    """Events reach it over Oyez' publish API instead of a control endpoint in its own process."""
    may_store: bool = False
    """It has a log, so whether it stores events on disk is worth looking at."""
    verb: str = "bare echo"
    """What it does with the command of the command scenarios."""


class Running:
    """A started server. As a context manager it ends it."""

    def __init__(
        self, server: Server, around: Surroundings, settings: Mapping[str, str] | None = None, *, limits: str = LIMITS
    ) -> None:
        """`settings` are environment variables besides those that every server gets, `limits` its oyez.toml."""
        self.server = server
        self._around = around
        self._data = Path(tempfile.mkdtemp(prefix=f"{server.key}-", dir=around.folder))
        self._emitted = 0
        self.port, self._control_port = ports = find_port(), find_port()
        (self._data / "oyez.toml").write_text(limits)
        environ = build_environ(around.secret, self._data, self.port) | dict(settings or {})
        self._token = make_service_token(CONTRACT, environ, self._data) if server.publishes else ""
        self._child = Child(
            server.key, server.command(ports), core=around.server_core, environ=environ, folder=self._data
        )
        try:
            self._child.wait_for_port(self.port)
            if not server.publishes:
                self._child.wait_for_port(self._control_port)
        except BaseException:
            self._child.end()
            raise

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._child.end()

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self._data

    def emit(self, count: int, burst: int = 1, interval_us: int = 0) -> Any:
        """Have `count` events sent to the room; returns when the last one has been handed over."""
        self._emitted += count
        if self.server.publishes:
            core = self._around.load_core
            return publish(
                self.port, PUBLISH_PATH, self._token, count=count, burst=burst, interval_us=interval_us, core=core
            ).answer
        return self._control(f"/emit?count={count}&burst={burst}&interval_us={interval_us}")

    def publish(self, count: int) -> Any:
        """Have `count` events sent to the room, each by an HTTP request of its own."""
        if self.server.publishes or self.server.key == OYEZ_IN_PROCESS:
            return self.emit(count)
        self._emitted += count
        core = self._around.load_core
        return publish(
            self._control_port, PEER_PUBLISH_PATH, "-", count=count, burst=1, interval_us=0, core=core
        ).answer

    def _control(self, target: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._control_port, timeout=120)
        try:
            connection.request("POST", target)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise BenchError(f"{self.server.key}: POST {target}: {error}; {self._child.last_words()}") from None
        finally:
            connection.close()
        if response.status != 200:
            raise BenchError(f"{self.server.key}: POST {target}: {response.status} {body.decode()[:200]}")
        return json.loads(body)

    @property
    def pid(self) -> int:
        return self._child.pid

    def read_cpu(self) -> CpuTime:
        return read_cpu(self.pid)

    def stores_events(self) -> bool | None:
        """Whether its data folder holds what the emitted events take at least; None for servers without a log."""
        if not self.server.may_store:
            return None
        size = sum(path.stat().st_size for path in self._data.rglob("*") if path.is_file())
        return size >= self._emitted * LEAST_STORED

    def read_memory(self) -> int:
        return read_memory(self.pid)


def build_environ(secret: str, data: Path, port: int) -> dict[str, str]:
    """This process's environment, without variables that would connect Oyez to another database."""
    kept = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL", "WS_PATH")}
    return kept | {
        "PYTHONPATH": os.pathsep.join((str(FOLDER.parent), str(FOLDER.parent / "src"))),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "JWT_SECRET": secret,
        "OYEZ_DATA": str(data),
        "LOG_LEVEL": "warning",
        "NODE_ENV": "production",
    }


def node_missing(*modules: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        if shutil.which("node") is None:
            return "there is no `node` on this machine"
        absent = [name for name in modules if not (PEERS / "node_modules" / name).is_dir()]
        return f"{', '.join(absent)} not installed: npm ci --ignore-scripts in bench/peers" if absent else None

    return missing


def store_missing() -> str | None:
    built = PEERS / "node_modules" / "better-sqlite3" / "build" / "Release" / "better_sqlite3.node"
    if reason := node_missing("socket.io", "better-sqlite3")():
        return reason
    return None if built.exists() else "better-sqlite3 is not compiled: make bench/build/better-sqlite3.stamp"


def python_missing() -> str | None:
    return None if find_spec("socketio") else "python-socketio is not installed in this environment"


def oyez_missing(*files: Path) -> Callable[[], str | None]:
    def missing() -> str | None:
        absent = [path.name for path in files if not path.exists()]
        return f"bench/{absent[0]} is missing" if absent else None

    return missing


def python(module: str, *options: str) -> Callable[[Ports], Sequence[str | Path]]:
    return lambda ports: [sys.executable, "-m", module, *map(str, ports), *options]


def node(transport: str, *options: str) -> Callable[[Ports], Sequence[str | Path]]:
    return lambda ports: ["node", PEERS / "peer.mjs", transport, *map(str, ports), *options]


SERVERS = (
    Server(
        key=OYEZ,
        title="Oyez",
        about="`oyez serve` with contract and tokens; events come over HTTP, one in a request, or a burst in a request",
        command=lambda ports: [Path(sys.executable).with_name("oyez"), "serve", CONTRACT],
        missing=oyez_missing(CONTRACT),
        path=OYEZ_PATH,
        publishes=True,
        may_store=True,
        verb="validated command",
    ),
    Server(
        key=OYEZ_IN_PROCESS,
        title="Oyez, emitting in process",
        about="the same server, but events are emitted by Python code in the process, as in the other servers",
        command=python("bench.serve_oyez"),
        missing=oyez_missing(CONTRACT, IN_PROCESS),
        path=OYEZ_PATH,
        may_store=True,
        verb="validated command",
    ),
    Server(
        key=OYEZ_BARE,
        title="Oyez' server layer alone",
        about="no contract, no tokens, log in memory, as in the other servers; the rest of Oyez costs the difference",
        command=python("bench.serve_bare"),
        missing=oyez_missing(),
        path=OYEZ_PATH,
        may_store=True,
    ),
    Server(
        key=NODE_WS,
        title="Node, ws",
        about="Socket.IO for Node on its default WebSocket library `ws`, with `bufferutil`",
        command=node("ws"),
        missing=node_missing("socket.io"),
    ),
    Server(
        key=NODE_UWS,
        title="Node, µWebSockets",
        about="Socket.IO for Node on µWebSockets, which is written in C++",
        command=node("uws"),
        missing=node_missing("socket.io", "@trufflesuite/uws-js-unofficial"),
    ),
    Server(
        key=PYTHON_SOCKETIO,
        title="python-socketio",
        about="python-socketio's ASGI server on uvicorn and uvloop",
        command=python("bench.peers.python_socketio"),
        missing=python_missing,
    ),
)
BY_KEY = {server.key: server for server in SERVERS}
STORING = {
    OYEZ: replace(
        BY_KEY[OYEZ],
        command=lambda ports: [Path(sys.executable).with_name("oyez"), "serve", CHAT],
        missing=oyez_missing(CHAT),
        verb="contract, tokens, rights, recovery",
    ),
    NODE_WS: replace(
        BY_KEY[NODE_WS], command=node("ws", "store"), missing=store_missing, verb="better-sqlite3, nothing checked"
    ),
    PYTHON_SOCKETIO: replace(
        BY_KEY[PYTHON_SOCKETIO],
        command=python("bench.peers.python_socketio", "store"),
        verb="SQLAlchemy, nothing checked",
    ),
}
"""The servers of the scenario `durable`, whose commands store what they send."""
TITLES = {server.key: server.title for server in SERVERS} | {FLOOR: "the kernel alone (floor)"}
