"""What a system is made of, and how one is loaded by its name or from a file.

A system is a module with a contract. Where it has behaviour of its own it says how that is built, from what the process
offers (`Context`); nothing is registered by importing it.
"""

import importlib
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from sqlalchemy import MetaData
from starlette.routing import BaseRoute

from oyez.contract.contract import Contract
from oyez.contract.rooms import NamedRoom
from oyez.errors import OyezError, SettingsError
from oyez.log.log import Log
from oyez.logger import redact
from oyez.runtime.admission import Resolvers
from oyez.runtime.bind import Handlers
from oyez.runtime.hooks import Hooks
from oyez.runtime.publisher import Publisher
from oyez.server.cluster.membership import Presence
from oyez.service.auth.tokens import Signer
from oyez.service.database.database import Database
from oyez.service.outbox.jobs import Job
from oyez.service.outbox.members import Members
from oyez.service.outbox.outbox import Outbox
from oyez.settings import Settings

SHIPPED = ("qscrap", "bookings", "fixrx", "rez", "quotes")
"""The systems that come with Oyez; each is a package of `oyez.systems`."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a process offers to a system's behaviour."""

    settings: Settings
    database: Database
    publisher: Publisher
    authorize: Callable[[str], None]
    """Checks a service key for this system. Raises RefusedError."""
    log: Log
    """Its records (`add`, `put`, `get`, `take`) are known to all processes, and end by themselves."""
    outbox: Outbox
    """Runs transactions that emit: all of a system's own changes."""
    members: Members
    presence: Callable[[NamedRoom], Awaitable[Presence]]
    """Who is in a room, on all nodes; takes half a second at most."""
    signer: Signer
    """Signs tokens for users, such as one that takes the place of one about to end."""
    clock: Callable[[], float]
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A system's behaviour."""

    handlers: Handlers = field(default_factory=dict)
    resolvers: Resolvers = field(default_factory=dict)
    hooks: Hooks = field(default_factory=Hooks)
    routes: Sequence[BaseRoute] = ()
    """Its own HTTP API, below `/{system}/api`."""
    jobs: Mapping[str, Job] = field(default_factory=dict)
    """What `Transaction.schedule` can ask for, by kind."""
    close: Callable[[], Awaitable[None]] | None = None
    """Ends what runs beside clients and jobs; called when no client is left."""


def no_parts(context: Context) -> Parts:
    """For a system that only declares events."""
    return Parts()


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A contract with what serves it: tables, migrations, and the parts that `build` makes of a running server."""

    contract: Contract
    build: Callable[[Context], Parts] = no_parts
    tables: MetaData | None = None
    migrations: Path | None = None
    """A folder of Alembic revisions that make the tables. None: they are just created where they are missing."""

    @property
    def name(self) -> str:
        return self.contract.name


def load_system(reference: str) -> System:
    """The system `reference` names: one that ships, or the path of a Python file.

    The file has a `system`, or just a `contract` and, where that has commands, `handlers`; it may import modules that
    lie beside it. Raises SettingsError where there is no such system, ContractError where its contract contradicts
    itself.
    """
    if reference in SHIPPED:
        module = importlib.import_module(f"oyez.systems.{reference}")
    elif reference.endswith(".py"):
        module = _load_file(Path(reference))
    else:
        raise SettingsError(
            f"There is no system {reference!r}. Name one of {', '.join(SHIPPED)}, or the path of a .py file."
        )
    return _find_system(module, reference)


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise SettingsError(f"{path} does not exist. Give the path of a Python file with a contract.")
    # Named by its path, which no other module has for a name. The name has to be known before the code runs: it is
    # where types that are written as strings are looked up.
    module = ModuleType(str(path.resolve()))
    module.__file__ = module.__name__
    sys.modules[module.__name__] = module
    # At the end, where it hides nothing: a file may be called like a module of the standard library.
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    try:
        exec(compile(path.read_bytes(), module.__name__, "exec"), vars(module))
    except OyezError:
        raise
    except Exception as error:
        described = _describe(error, module.__name__)
        raise SettingsError(f"{path} cannot be loaded. {described}. Correct it there.") from error
    return module


def build_parts(system: System, context: Context) -> Parts:
    """What the system's `build` makes. Raises SettingsError if it fails or returns something else."""
    code = getattr(system.build, "__code__", None)
    file = code.co_filename if code is not None else "its file"
    try:
        parts = system.build(context)
    except OyezError:
        raise
    except Exception as error:
        raise SettingsError(
            f"build() of {system.name} in {file} fails. {_describe(error, file)}. Correct it there."
        ) from error
    if not isinstance(parts, Parts):
        raise SettingsError(
            f"build() of {system.name} in {file} returns a {type(parts).__name__}. Return `Parts(handlers=...)`."
        )
    return parts


def _describe(error: Exception, file: str) -> str:
    """What went wrong, and in which line of `file`."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    message, line = redact(str(error)), lines[-1] if lines else None
    if isinstance(error, SyntaxError):
        message, line = error.msg, error.lineno if error.filename == file else line
    return f"{f'Line {line}: ' if line else ''}{type(error).__name__}: {message.rstrip('.')}"


def _find_system(module: ModuleType, reference: str) -> System:
    system = getattr(module, "system", None)
    if system is not None and not isinstance(system, System | ModuleType):
        raise SettingsError(
            f"{reference} has a {type(system).__name__} called `system`."
            " Write `system = System(contract=...)` in it, or leave it out."
        )
    if not isinstance(system, System):
        contract = getattr(module, "contract", None)
        if not isinstance(contract, Contract):
            raise SettingsError(f"{reference} declares no contract. Write `contract = Contract(...)` in it.")
        handlers: Handlers = getattr(module, "handlers", {})
        system = System(contract=contract, build=lambda context: Parts(handlers=handlers))
    system.contract.build()
    return system
