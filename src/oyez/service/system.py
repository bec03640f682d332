"""A system: a contract, its tables, and the functions that `build` returns for the services of the process."""

import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import MetaData
from starlette.requests import Request
from starlette.routing import BaseRoute

from oyez.concurrency.clock import Clock
from oyez.contract.contract import Contract
from oyez.contract.rooms import NamedRoom, Room
from oyez.errors import OyezError, SettingsError
from oyez.log.log import Log
from oyez.logger import redact
from oyez.runtime.admission import Resolvers
from oyez.runtime.authentication import Authenticate
from oyez.runtime.commands import Handlers
from oyez.runtime.hooks import Hooks, RoomHooks
from oyez.runtime.presence import FindPresent
from oyez.runtime.publisher import Publisher
from oyez.server.cluster.membership import FoundSockets
from oyez.service.auth.tokens import Signer
from oyez.service.database.database import Database
from oyez.service.outbox.jobs import Job
from oyez.service.outbox.members import Members
from oyez.service.outbox.outbox import Outbox
from oyez.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """The services of a process that a system's functions use."""

    settings: Settings
    database: Database
    publisher: Publisher
    authorize: Callable[[Request], object]
    """Checks the service key of a request to this system. Raises RefusedError."""
    log: Log
    """Its records (`put`, `get`, `put_if_absent`, `get_and_delete`) are shared by all processes, and expire."""
    outbox: Outbox
    """Runs transactions that may emit events. All changes of a system's tables go through it."""
    members: Members
    presence: Callable[[NamedRoom], Awaitable[FoundSockets]]
    """Which sockets are in a room, on all nodes; takes half a second at most."""
    signer: Signer
    """Signs tokens for users, such as a new token in place of one that is about to expire."""
    clock: Callable[[], float]
    """Seconds since 1970."""
    present: FindPresent
    """Which users are in a room that is declared with `presence=`."""
    time: Clock = field(default_factory=Clock)
    """Waits: `await time.sleep(seconds)`, `time.call_later(seconds, function)`. In tests it is the test's own clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemServices:
    """A system's functions."""

    handlers: Handlers = field(default_factory=dict)
    resolvers: Resolvers = field(default_factory=dict)
    hooks: Hooks = field(default_factory=Hooks)
    routes: Sequence[BaseRoute] = ()
    """Its own HTTP API, below `/{system}/api`."""
    jobs: Mapping[str, Job] = field(default_factory=dict)
    """The functions of jobs, by the kind that `Transaction.schedule` names."""
    authenticate: Authenticate | None = None
    """Finds the user of a client that connects, instead of the verification of a token: for API keys, session cookies,
    signatures of your own. See `Credentials`."""
    rooms: Mapping[Room, RoomHooks] = field(default_factory=dict)
    """What is called when clients enter and leave rooms, by the kind of room."""
    close: Callable[[], Awaitable[None]] | None = None
    """Ends the system's own tasks. Called when no client is left."""


def build_nothing(services: Services) -> SystemServices:
    """For a system that only declares events."""
    return SystemServices()


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A contract with its tables, its migrations, and `build`, which returns the system's functions."""

    contract: Contract
    build: Callable[[Services], SystemServices] = build_nothing
    tables: MetaData | None = None
    migrations: Path | None = None
    """A folder of Alembic revisions that create the tables. None: missing tables are created without revisions."""

    @property
    def name(self) -> str:
        return self.contract.name


def build_services(system: System, services: Services) -> SystemServices:
    """What the system's `build` returns. Raises SettingsError if it fails or returns something else."""
    code = getattr(system.build, "__code__", None)
    file = code.co_filename if code is not None else "its file"
    try:
        built = system.build(services)
    except OyezError:
        raise
    except Exception as error:
        raise SettingsError(
            f"build() of {system.name} in {file} fails. {describe_error(error, file)}. Correct it there."
        ) from error
    if not isinstance(built, SystemServices):
        raise SettingsError(
            f"build() of {system.name} in {file} returns a {type(built).__name__}."
            " Return `SystemServices(handlers=...)`."
        )
    return built


def describe_error(error: Exception, file: str) -> str:
    """One line that says what failed, and in which line of `file`."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    message, line = redact(str(error)), lines[-1] if lines else None
    if isinstance(error, SyntaxError):
        message, line = error.msg, error.lineno if error.filename == file else line
    return f"{f'Line {line}: ' if line else ''}{type(error).__name__}: {message.rstrip('.')}"
