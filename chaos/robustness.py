"""Misbehaving clients beside well-behaved ones: does memory stay bounded, and does latency stay low?

    .venv/bin/python -m chaos.robustness [--quick] [--only NAME …] [--page]

A room of listeners receives a burst of events every 20 ms. Meanwhile other clients are killed in the middle of a frame,
connect to another room a thousand at once, send as fast as they can, fill the memory, or stop reading for a minute.
Latency is measured at the listeners. With `--only`, these attacks of `chaos/attacks.py` (or `all` of them), each on a
server of its own with the default limits: about 15 seconds each, less with `--quick`. `--page` renews the section of
docs/robustness.md; of the attacks, only the rows that were measured.
"""

import argparse
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from bench.children import FOLDER, NICENESS, BenchError, give_way
from bench.generators import Load, Round
from bench.servers import LIMITS, OYEZ, OYEZ_PATH, SERVERS, Running, Server, Surroundings, prepare
from bench.table import write_rows, write_section
from bench.tokens import write_tokens
from tests.support.postgres import serve_postgresql

from chaos.attacks import ATTACKS, ON_POSTGRESQL, SYSTEMS, Attack, encode
from oyez.settings import Limits

PAGE = FOLDER.parent / "docs" / "robustness.md"
LISTENERS = 50
INTERVAL_US = 20_000
BURST = 5
SECONDS = 20
ATTACK_SECONDS, QUICK_SECONDS = 5, 3
TARGET_MS = 25
"""Milliseconds by which an attack may make the bystanders' p99 worse."""
DEFAULT_LIMITS = ""
COMMAND = "python -m chaos.robustness"
PHASE_HEADINGS = (
    "meanwhile",
    "events received",
    "p50 ms",
    "p99 ms",
    "max ms",
    "memory before → peak → after, MB",
    "notes",
)
ATTACK_HEADINGS = ("attack", "p50 ms", "p99 ms", "25 ms", "memory before → peak → after, MB", "notes")
STALLED_BURST = 20
"""Events in a burst: a client that stops reading must be sent more than the kernel buffers for it."""
STALLED_SECONDS = 60
CROWD = 1_000
STALLED = 20
FLOODING = 4
STRANGERS = 300
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Phase:
    """One row: what happened, what the listeners measured, and the server's memory in bytes."""

    title: str
    round: Round
    before: int
    peak: int
    after: int
    note: str


class Stage:
    """A running server, its listeners, and a publisher; `play` is one phase."""

    def __init__(self, running: Running, around: Surroundings, stack: ExitStack, database: str = "") -> None:
        self.running = running
        self.database = database
        """The address of the server's PostgreSQL, if it has one."""
        self.around = around
        self.guests = around.folder / "guests"
        """Tokens of clients that are in another room than the listeners."""
        write_tokens(self.guests, around.secret, role="guest")
        self.token = around.tokens.read_text().split("\n", 1)[0]
        self._publisher = stack.enter_context(ThreadPoolExecutor(1))
        self._listeners = stack.enter_context(self.load("listeners", "listen", LISTENERS))
        self._listeners.wait_until_ready()

    def load(self, name: str, mode: str, clients: int, tokens: Path | None = None) -> Load:
        return Load(
            name,
            mode,
            self.running.port,
            path=OYEZ_PATH,
            core=self.around.load_core,
            clients=clients,
            tokens=tokens or self.around.tokens,
            timeout=STALLED_SECONDS * 3,
            options=["--concurrency", str(clients)],
        )

    def play(
        self, title: str, seconds: int, misbehave: Callable[[Callable[[], bool]], Iterator[str]], burst: int = BURST
    ) -> Phase:
        """Publish for `seconds` while `misbehave` runs; it yields regularly, and its last note goes into the row."""
        print(f"{title} ({seconds} s) ...", flush=True)
        events = seconds * 1_000_000 // INTERVAL_US * burst
        before = peak = self.running.read_memory()
        self._listeners.ask(events * LISTENERS)
        publishing: Future[object] = self._publisher.submit(self.running.emit, events, burst, INTERVAL_US)
        note = ""
        for note in misbehave(lambda: not publishing.done()):  # noqa: B007 - the last note goes into the row
            peak = max(peak, self.running.read_memory())
        publishing.result()
        heard = self._listeners.receive()
        return Phase(title, heard, before, peak, self.running.read_memory(), note)

    def open_websocket(
        self,
        receive_buffer: int | None = None,
        *,
        enter: bool = True,
        headers: str = "",
        auth: str = "",
        token: str = "",
        path: str = OYEZ_PATH,
    ) -> socket.socket:
        """A WebSocket that has sent its upgrade request and, with `enter`, its CONNECT."""
        client = socket.socket()
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(10)
        client.connect(("127.0.0.1", self.running.port))
        client.sendall(
            f"GET {path}?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{headers}\r\n".encode()
        )
        if enter:
            client.sendall(encode(f'40{{"token":"{token or self.token}"{auth}}}'.encode()))
        return client


def idle(stage: Stage, going_on: Callable[[], bool]) -> Iterator[str]:
    while going_on():
        time.sleep(0.25)
        yield ""


def kill_in_mid_frame(stage: Stage, going_on: Callable[[], bool]) -> Iterator[str]:
    killed = 0
    while going_on():
        client = stage.open_websocket()
        # A frame of 500 bytes of which 3 are sent, then a TCP reset.
        client.sendall(struct.pack("!BBH", 0x81, 0x80 | 126, 500) + bytes(4) + b"42[")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        killed += 1
        time.sleep(0.02)
        yield f"{killed:,} clients killed"


def come_in_a_crowd(stage: Stage, going_on: Callable[[], bool]) -> Iterator[str]:
    come, slowest = 0, 0.0
    while going_on():
        with stage.load("crowd", "idle", CROWD, stage.guests) as crowd:
            give_way(crowd.child.pid)
            begun = time.monotonic()
            crowd.wait_until_ready()
            slowest = max(slowest, time.monotonic() - begun)
            come += CROWD
            yield f"{come:,} clients, {CROWD:,} at a time; all {CROWD:,} connected after {slowest:.2f} s at most"
        # A server accepts a limited number of handshakes a second.
        time.sleep(max(0.0, begun + CROWD / Limits().max_handshakes_per_second - time.monotonic()))


def flood(stage: Stage, going_on: Callable[[], bool]) -> Iterator[str]:
    """Commands as fast as the network accepts them, over their limit or unknown; closed clients reconnect."""
    floods = [encode(f'42["{name}",{{"text":"flood","n":1}}]'.encode()) * 1_000 for name in ("echo", "nothing")]
    clients: dict[socket.socket, tuple[bytes, int]] = {}
    sent = come = 0
    while going_on():
        while len(clients) < FLOODING:
            client = stage.open_websocket()
            client.recv(65_536)
            client.setblocking(False)
            clients[client] = floods[come % len(floods)], 0
            come += 1
        for client, (commands, begun) in tuple(clients.items()):
            try:
                count = client.send(commands[begun:])
                sent += count
                clients[client] = commands, (begun + count) % len(commands)
                client.recv(65_536)
            except BlockingIOError:
                pass
            except OSError:
                client.close()
                del clients[client]
        yield f"{FLOODING} at a time, {come:,} in all; they sent {sent / MEGABYTE:,.1f} MB of commands"
    for client in clients:
        client.close()


def hold_unfinished(stage: Stage, going_on: Callable[[], bool]) -> Iterator[str]:
    """A megabyte of a message that never ends from each client; no namespace has accepted these clients."""
    clients = []
    for _ in range(STRANGERS):
        clients.append(stage.open_websocket(enter=False))
        with suppress(OSError):
            clients[-1].sendall(struct.pack("!BBQ", 0x81, 0x80 | 127, MEGABYTE) + bytes(4) + b"x" * (MEGABYTE - 1))
    while going_on():
        time.sleep(0.25)
        yield f"{STRANGERS} clients that never send CONNECT; each sends a frame of 1 MB without its last byte"
    for client in clients:
        client.close()


def stop_reading(stage: Stage, going_on: Callable[[], bool]) -> Iterator[str]:
    begun = time.monotonic()
    clients = [stage.open_websocket(receive_buffer=4_096) for _ in range(STALLED)]
    closed: dict[int, float] = {}
    while going_on():
        time.sleep(0.25)
        for index, client in enumerate(clients):
            if index not in closed and is_closed(client):
                closed[index] = time.monotonic() - begun
        when = f", the last after {max(closed.values()):.0f} s" if closed else ""
        yield f"{STALLED} clients that never read; {len(closed)} of them closed by the server{when}"
    for client in clients:
        client.close()


def is_closed(client: socket.socket) -> bool:
    """True if the kernel knows that the server closed the connection; nothing is read."""
    state = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    established = 1
    return state != established


@contextmanager
def open_stage(limits: str = LIMITS, systems: Sequence[str] = (), *, postgresql: bool = False) -> Iterator[Stage]:
    """A server with listeners and a publisher, on separate cores if possible; it serves `systems` too."""
    server: Server = next(server for server in SERVERS if server.key == OYEZ)
    if systems:
        alone = server.command
        server = replace(server, command=lambda ports: [*alone(ports), *systems])
    with ExitStack() as stack:
        database = stack.enter_context(serve_postgresql()).make_database() if postgresql else ""
        around = stack.enter_context(prepare("oyez-robustness-"))
        settings = {"DATABASE_URL": database} if database else {}
        running = stack.enter_context(Running(server, around, settings, limits=limits))
        stage = Stage(running, around, stack, database)
        # Latency is measured at the listeners: the misbehaving clients must not take their core.
        os.nice(NICENESS)
        yield stage


def run() -> list[Phase]:
    with open_stage() as stage:
        quiet = lambda going_on: idle(stage, going_on)  # noqa: E731 - a phase is a function of its end
        stage.play("warming up", 5, quiet)
        return [
            stage.play("nothing else", SECONDS, quiet),
            stage.play("clients killed in the middle of a frame", SECONDS, lambda on: kill_in_mid_frame(stage, on)),
            stage.play(f"{CROWD:,} clients at once into another room", SECONDS, lambda on: come_in_a_crowd(stage, on)),
            stage.play("clients that send as fast as they can", SECONDS, lambda on: flood(stage, on)),
            stage.play("clients without a token that fill the memory", SECONDS, lambda on: hold_unfinished(stage, on)),
            stage.play("clients that stop reading", STALLED_SECONDS, lambda on: stop_reading(stage, on), STALLED_BURST),
            stage.play("nothing else, after all others", SECONDS, quiet),
        ]


def run_attack(name: str, attack: Attack, *, quick: bool) -> list[str]:
    """One attack on a server with the default limits: the row of the page."""
    seconds = QUICK_SECONDS if quick else ATTACK_SECONDS
    with open_stage(DEFAULT_LIMITS, SYSTEMS.get(name, ()), postgresql=name in ON_POSTGRESQL) as stage:
        quiet = lambda going_on: idle(stage, going_on)  # noqa: E731 - a phase is a function of its end
        stage.play("warming up", 1, quiet)
        before = stage.play("without", seconds, quiet)
        during = stage.play(f"with {name}", seconds, lambda on: attack(stage, on))
        time.sleep(1)
        after = stage.running.read_memory()
    without, attacked = before.round.latency_us, during.round.latency_us
    worse = (attacked.p99 - without.p99) / 1_000
    row = [
        name,
        f"{without.p50 / 1_000:.1f} → {attacked.p50 / 1_000:.1f}",
        f"{without.p99 / 1_000:.1f} → {attacked.p99 / 1_000:.1f} ({worse:+.1f})",
        "kept" if worse <= TARGET_MS else "**missed**",
        " → ".join(f"{size / MEGABYTE:.0f}" for size in (during.before, during.peak, after)),
        during.note,
    ]
    print(" | ".join(row), flush=True)
    return row


def read_rows(page: Path) -> dict[str, list[str]]:
    """The rows of the page's attacks, by name."""
    section = page.read_text().partition("<!-- attacks -->")[2].partition("<!-- end -->")[0]
    rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|")
    return {cells[0]: cells for cells in rows if cells[0] in ATTACKS}


def build_rows(phases: list[Phase]) -> list[list[str]]:
    rows = []
    for phase in phases:
        latency = phase.round.latency_us
        memory = " → ".join(f"{size / MEGABYTE:.1f}" for size in (phase.before, phase.peak, phase.after))
        times = [f"{value / 1_000:.2f}" for value in (latency.p50, latency.p99, latency.max)]
        rows.append([phase.title, f"{phase.round.done:,}", *times, memory, phase.note])
    return rows


def run_attacks(names: Sequence[str], *, quick: bool, page: bool) -> None:
    found = read_rows(PAGE) if page else {}
    for name in names:
        found[name] = run_attack(name, ATTACKS[name], quick=quick)
        if page:
            rows = [found[one] for one in ATTACKS if one in found]
            write_section(PAGE, "attacks", write_rows(ATTACK_HEADINGS, rows), command=COMMAND + " --only all --page")


def run_phases(*, page: bool) -> None:
    lines = write_rows(PHASE_HEADINGS, build_rows(run()))
    print("\n".join(lines))
    if page:
        write_section(PAGE, "phases", lines, command=COMMAND + " --page")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=["all", *ATTACKS], help="these attacks, or all of them, by name")
    parser.add_argument("--quick", action="store_true", help="shorter attacks")
    parser.add_argument("--page", action="store_true", help="renew the section of docs/robustness.md")
    options = parser.parse_args()
    try:
        if options.only:
            names = list(ATTACKS) if "all" in options.only else options.only
            run_attacks(names, quick=options.quick, page=options.page)
        else:
            run_phases(page=options.page)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
