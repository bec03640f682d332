"""The processes that a run starts: compiled, pinned, watched, and always ended by their own ids."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

FOLDER = Path(__file__).parent
BUILD = FOLDER / "build"
PEERS = FOLDER / "peers"
PROGRAMS = ("load", "publish", "floor")
NICENESS = 10
"""Of who must not take the core from what is measured."""


class BenchError(Exception):
    """Something that the run needs is missing or has failed; the text names it, and what to do."""


def compile_programs() -> None:
    """Compile the C programs into bench/build, each only when its source is newer."""
    BUILD.mkdir(exist_ok=True)
    headers = max(path.stat().st_mtime for path in FOLDER.glob("*.h"))
    for name in PROGRAMS:
        source, program = FOLDER / f"{name}.c", BUILD / name
        if program.exists() and program.stat().st_mtime > max(headers, source.stat().st_mtime):
            continue
        compiler = shutil.which("cc")
        if compiler is None:
            raise BenchError("No C compiler: install one that is called `cc` (Debian: apt-get install gcc libc6-dev).")
        command = [compiler, "-O2", "-std=c11", "-Wall", "-Wextra", "-o", str(program), str(source)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise BenchError(f"{' '.join(command)} failed:\n{result.stderr}")


@contextlib.contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """What is started inside runs on `core` only: a child inherits the affinity of the moment it is made."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def give_way(pid: int) -> None:
    """Give a child the lowest priority on its core.

    Its niceness says so to its own session, which it has for itself; where Linux shares the core among sessions first
    (sched(7), autogroup), the session's does.
    """
    os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(NICENESS))


def find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Child:
    """One started process. Its own session, so that Ctrl-C reaches the runner alone, which then ends it in order."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        core: int | None,
        environ: Mapping[str, str] | None = None,
        folder: Path | None = None,
        stdout: int | None = None,
    ) -> None:
        self.name = name
        BUILD.mkdir(exist_ok=True)
        self.log = BUILD / f"{name}.log"
        with self.log.open("wb") as log, pinned(core):
            self.process: subprocess.Popen[str] = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=stdout if stdout is not None else log,
                stderr=log,
                env=environ,
                cwd=folder,
                text=True,
                start_new_session=True,
            )
        self.pid = self.process.pid

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """Close its input, ask it to stop, insist after five seconds. What it started goes with it."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        if self.process.poll() is not None:
            return
        self.process.terminate()
        deadline = time.monotonic() + 5
        # Not reaped yet: until then the kernel cannot give its id to another process.
        while time.monotonic() < deadline and not os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            time.sleep(0.01)
        os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def wait_for_port(self, port: int, timeout: float = 20.0) -> None:
        """Return when something listens on `port`; raises BenchError when the process ends or time is up first."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise BenchError(f"{self.name} ended with exit code {self.process.returncode}: {self.last_words()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.02)
        raise BenchError(f"{self.name} does not listen on port {port} after {timeout:.0f} s: {self.last_words()}")

    def last_words(self) -> str:
        """The last line of its log, which of a traceback is the one that matters."""
        lines = self.log.read_text(errors="replace").split("\n")
        return next((line[:400] for line in reversed(lines) if line.strip()), "it said nothing")

    @property
    def input(self) -> IO[str]:
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def output(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout
