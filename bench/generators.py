"""The C programs as Python objects: the load generator, the publisher and the floor."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.children import BUILD, BenchError, Child, pinned
from bench.cpu import CpuTime


class Latency(msgspec.Struct):
    """Of one round, in microseconds."""

    count: int
    p50: float
    p99: float
    max: float


class Round(msgspec.Struct):
    """The load generator's report of one round; times are nanoseconds of CLOCK_MONOTONIC."""

    mode: str
    clients: int
    wanted: int
    done: int
    seconds: float
    first_ns: int
    last_ns: int
    cpu_user: float
    cpu_system: float
    latency_us: Latency
    refused: int
    example: str
    error: str


class Load:
    """A running load generator with its clients connected, waiting to be asked for rounds."""

    def __init__(
        self,
        name: str,
        mode: str,
        port: int,
        *,
        path: str,
        core: int | None,
        clients: int,
        tokens: Path,
        timeout: int,
        options: Sequence[str],
    ) -> None:
        command: list[str | Path] = [BUILD / "load", mode, "--port", str(port), "--path", path, *options]
        command += ["--clients", str(clients), "--tokens", tokens, "--timeout", str(timeout)]
        self.child = Child(f"load-{name}", command, core=core, stdout=subprocess.PIPE)

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_: object) -> None:
        self.child.end()

    def wait_until_ready(self) -> None:
        line = self.child.output.readline()
        if not line.startswith("READY"):
            raise BenchError(self.explain(line))

    def ask(self, count: int) -> None:
        """Ask for a round of `count`; `receive` gives its answer."""
        try:
            self.child.input.write(f"round {count}\n")
            self.child.input.flush()
        except OSError:
            raise BenchError(self.explain("")) from None

    def receive(self) -> Round:
        """The answer to `ask`. The generator's own timeout bounds the wait."""
        line = self.child.output.readline()
        if not line.startswith("{"):
            raise BenchError(self.explain(line))
        answer = msgspec.json.decode(line, type=Round)
        if answer.error:
            raise BenchError(f"{answer.error} ({answer.done:,} of {answer.wanted:,} done)")
        if answer.refused:
            raise BenchError(
                f"the server refused {answer.refused:,} of {answer.done:,} commands, as in {answer.example}"
            )
        return answer

    def explain(self, line: str) -> str:
        if line.startswith("{"):
            return str(json.loads(line)["error"])
        return self.child.last_words()


class Published(msgspec.Struct):
    events: int
    requests: int
    cpu_user: float
    cpu_system: float
    answer: Any = None
    """The last response's body."""


def publish(
    port: int, path: str, token: str, *, count: int, burst: int, interval_us: int, core: int | None
) -> Published:
    """Publish `count` events over HTTP, one request after the other; returns when the last one is answered."""
    command = [str(BUILD / "publish"), str(port), path, token, str(count), str(burst), str(interval_us)]
    with pinned(core):
        figures, _, answer = run_program(command).partition("\n")
    published = msgspec.json.decode(figures, type=Published)
    published.answer = json.loads(answer)
    return published


class Floor(msgspec.Struct):
    """What the kernel alone took, in seconds, for so many messages to so many sockets."""

    sockets: int
    bytes: int
    burst: int
    operations: int
    seconds: float
    user: float
    system: float

    @property
    def cpu(self) -> CpuTime:
        return CpuTime(self.user, self.system)


def measure_floor(
    sockets: int, size: int, burst: int, count: int, *, server_core: int | None, load_core: int | None
) -> Floor:
    cores = [str(-1 if core is None else core) for core in (server_core, load_core)]
    command = [str(BUILD / "floor"), str(sockets), str(size), str(burst), str(count), *cores]
    return msgspec.json.decode(run_program(command), type=Floor)


def run_program(command: Sequence[str], timeout: float = 120.0) -> str:
    """What it printed. Raises BenchError with its complaint, or when it takes longer than any round should."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{Path(command[0]).name} took over {timeout:.0f} s") from None
    if result.returncode != 0:
        raise BenchError(result.stderr.strip())
    return result.stdout
