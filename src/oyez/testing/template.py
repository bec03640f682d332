"""What the harnesses of one system share: its settings, and a data folder with a migrated database to copy."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oyez.service.app import Oyez
from oyez.service.system import System
from oyez.settings import Settings
from oyez.testing.databases import Databases

MEMORY = Path("/dev/shm")
"""A folder in memory, on Linux: there a commit costs microseconds."""
DEFAULTS: Mapping[str, Any] = {
    "jwt_secret": "the secret of all tested systems, which is no secret",
    # The clock is moved by hours at once, and no client has failed because of that.
    "ping_interval": 10_000_000.0,
    "drain_time": 0.0,
    "shutdown_timeout": 5.0,
    "log_level": "error",
}


class Template:
    """What the harnesses of one system share: a data folder with a migrated database, which each of them copies."""

    def __init__(self, system: System, **settings: Any) -> None:
        """`settings` are those of `oyez.settings.Settings`. The environment and oyez.toml are not read."""
        self.system = system
        self.settings = {**DEFAULTS, **settings}
        url = settings.get("database_url")
        self._databases = Databases(url) if url is not None else None
        """Where databases are made, if they are not files of data folders."""
        self._folder: Path | None = None
        self._database: str | None = None

    def copy(self, folder: Path) -> str | None:
        """Fill a data folder. Returns the address of its database; None if that is a file in the folder."""
        if self._folder is None:
            self._folder = make_folder()
            self._database = self._databases.create() if self._databases is not None else None
            Oyez([self.system], self.make_settings(self._folder, self._database)).database.close()
        shutil.copytree(self._folder, folder, dirs_exist_ok=True)
        return self._databases.create(self._database) if self._databases is not None else None

    def take_over(self, database: str | None) -> str | None:
        """The address of a copy of a process's database, for the next one; None if it is a file in the folder."""
        return self._databases.take_over(database) if self._databases is not None and database is not None else None

    def drop(self, database: str | None) -> None:
        """Delete the database of a process that has ended."""
        if self._databases is not None and database is not None:
            self._databases.drop(database)

    def make_settings(self, folder: Path, database: str | None) -> Settings:
        """The settings of a process with this data folder and database."""
        return Settings(**{**self.settings, "oyez_data": str(folder), "database_url": database})

    def close(self) -> None:
        """Delete the folder and the database."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        self.drop(self._database)
        if self._databases is not None:
            self._databases.close()


def make_folder() -> Path:
    """A new folder, in memory if this machine has such a folder."""
    in_memory = MEMORY.is_dir() and os.access(MEMORY, os.W_OK)
    return Path(tempfile.mkdtemp(prefix="oyez-test-", dir=MEMORY if in_memory else None))
