"""Servers of all shipped systems, and a target of `chaos.fuzz`: bytes are sent over the network, as clients would."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.children import BenchError, find_port

from oyez.service.auth.tokens import Signer

SECRET = "a secret of the fuzzed server, 32 bytes"
ANSWER_TIMEOUT = 60.0
"""Seconds for the server to close a connection whose client has sent everything: its own limits are below this."""
START_TIMEOUT = 60.0
ENVIRON = {
    "JWT_SECRET": SECRET,
    "LOG_URL": "memory:",
    "DOCS": "true",
}
LIMITS = """
[limits]
header_timeout = 0.2
body_timeout = 0.2
connect_timeout = 0.3
refused_timeout = 0.1
close_timeout = 0.2
"""
"""A client that has sent all that it will send is not waited for."""


@contextmanager
def fuzzed_server() -> Iterator[Callable[[bytes], str]]:
    """A target: it sends an input to a server of all shipped systems, and reads until the connection ends.

    `{service}` and `{user}` in the input are replaced by tokens. A status of 500, a traceback in the log, a connection
    that does not end, and a server that ends are findings.
    """
    with serve_all(ENVIRON, LIMITS) as (server, port, log):
        yield Exchange(server, port, log)


@contextmanager
def serve_all(environ: Mapping[str, str], toml: str = "") -> Iterator[tuple["subprocess.Popen[bytes]", int, Path]]:
    """A server of all shipped systems with these settings: its process, its port, and the file of its log."""
    with tempfile.TemporaryDirectory(prefix="oyez-fuzz-") as name:
        folder, port = Path(name), find_port()
        (folder / "oyez.toml").write_text(toml)
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "oyez.cli", "serve"],
                cwd=folder,
                env={**os.environ, **environ, "PORT": str(port), "OYEZ_DATA": str(folder / "data")},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        try:
            _wait_for(port)
            yield server, port, folder / "log"
        finally:
            server.terminate()
            server.wait()


def _wait_for(port: int) -> None:
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise BenchError("the server for chaos.fuzz does not listen")


class Exchange:
    """Sends inputs to one server."""

    def __init__(self, server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        self._server, self._port, self._log = server, port, log
        self._read = 0
        signer = Signer(SECRET)
        self._tokens = {
            b"{service}": signer.sign_service("quotes", None).encode(),
            b"{user}": signer.sign_user("ada", ["user", "customer"], {}, 1e9).encode(),
        }

    def __call__(self, data: bytes) -> str:
        for name, token in self._tokens.items():
            data = data.replace(name, token)
        answer = self._exchange(data)
        self._check_log()
        if self._server.poll() is not None:
            raise AssertionError(f"the server ended with {self._server.returncode}")
        status = re.match(rb"HTTP/1\.1 (\d+)", answer)
        if status is None:
            return "no answer" if not answer else "not HTTP"
        if status[1] in (b"500", b"501"):
            raise AssertionError(f"status {status[1].decode()}: {answer[-200:]!r}")
        body = answer.partition(b"\r\n\r\n")[2]
        code = re.search(rb'"code": ?"?(\w+)', body)
        return f"{status[1].decode()} {code[1].decode() if code else ''}{' and frames' if status[1] == b'101' else ''}"

    def _exchange(self, data: bytes) -> bytes:
        answer = b""
        with socket.create_connection(("127.0.0.1", self._port), timeout=ANSWER_TIMEOUT) as client:
            # A server that refuses the first bytes may close before the last are sent.
            with suppress(ConnectionError):
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                while chunk := client.recv(65_536):
                    answer += chunk
        return answer

    def _check_log(self) -> None:
        with self._log.open("rb") as log:
            log.seek(self._read)
            new = log.read()
        complete = new[: new.rfind(b"\n") + 1]
        self._read += len(complete)
        for line in complete.splitlines():
            with suppress(ValueError):
                entry = json.loads(line)
                # Without a traceback it is not about an input: on a busy machine the database may be late.
                if "exception" in entry:
                    raise AssertionError(f"logged: {entry['event']} {entry['exception'][-300:]}")
