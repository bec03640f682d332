"""The backends of the log, and the choice between them by the settings.

To add a backend, write one file, and one line in BACKENDS.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from oyez.errors import SettingsError
from oyez.log.log import Log
from oyez.log.memory import MemoryLog
from oyez.log.redis import RedisLog
from oyez.log.sqlite import SqliteLog
from oyez.settings import Settings


class LogBackend(NamedTuple):
    """One way to store the log."""

    build: Callable[[Settings, str], Log]
    """Builds the log of the system with that name, without a connection to its storage. Raises SettingsError."""
    many_machines: bool
    """True if nodes on several machines can share the log."""


BACKENDS: Mapping[str, LogBackend] = {
    "memory": LogBackend(MemoryLog.build, many_machines=False),
    "sqlite": LogBackend(SqliteLog.build, many_machines=False),
    "redis": LogBackend(RedisLog.build, many_machines=True),
    "rediss": LogBackend(RedisLog.build, many_machines=True),
    "unix": LogBackend(RedisLog.build, many_machines=False),
}
"""By the scheme of the log's address."""


def find_backend(settings: Settings) -> LogBackend:
    """The backend that the settings choose. Raises SettingsError if no backend has the scheme of the address."""
    scheme = settings.log_address.partition(":")[0]
    backend = BACKENDS.get(scheme)
    if backend is None:
        name = "LOG_URL" if settings.log_url is not None else "REDIS_URL"
        known = ", ".join(f"{scheme}:" for scheme in BACKENDS)
        raise SettingsError(f"{name} begins with {scheme!r}. Set it to an address that begins with one of: {known}.")
    return backend


def build_log(settings: Settings, system: str) -> Log:
    """The log of the system with that name. Raises SettingsError."""
    return find_backend(settings).build(settings, system)
