"""What a system is made of, and how one is loaded by its name or from a file.

A system is a module with a contract. Where it has behaviour of its own it says how that is built, from what the process
offers (`Context`); nothing is registered by importing it.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import MetaData
from starlette.routing import BaseRoute

from oyez.contract.admission import Lookups
from oyez.contract.bind import Handlers
from oyez.contract.contract import Contract
from oyez.contract.publish import Publisher
from oyez.errors import ContractError, SettingsError
from oyez.service.db import Database
from oyez.settings import Settings

SHIPPED = ("quotes",)
"""The systems that come with Oyez; each is a package of `oyez.systems`."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a process offers to a system's behaviour."""

    settings: Settings
    database: Database
    publisher: Publisher
    authorize: Callable[[str], None]
    """Checks a service key for this system. Raises RefusedError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A system's behaviour."""

    handlers: Handlers = field(default_factory=dict)
    lookups: Lookups = field(default_factory=dict)
    routes: Sequence[BaseRoute] = ()
    """Its own HTTP API, below `/{system}/api`."""


def no_parts(context: Context) -> Parts:
    """For a system that only declares events."""
    return Parts()


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    contract: Contract
    build: Callable[[Context], Parts] = no_parts
    tables: MetaData | None = None

    @property
    def name(self) -> str:
        return self.contract.name


def load_system(reference: str) -> System:
    """The system `reference` names: one that ships, or the path of a Python file.

    The module has a `system`, or just a `contract` and, where it has commands, `handlers`. Raises SettingsError where
    there is no such system, ContractError where its contract contradicts itself.
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
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SettingsError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError, NameError, TypeError, AttributeError) as error:
        raise SettingsError(f"{path} cannot be loaded: {type(error).__name__}: {error}.") from error
    return module


def _find_system(module: ModuleType, reference: str) -> System:
    system = getattr(module, "system", None)
    if isinstance(system, System):
        return system
    contract = getattr(module, "contract", None)
    if not isinstance(contract, Contract):
        raise ContractError(f"{reference} declares no contract. Write `contract = Contract(...)` in it.")
    handlers: Mapping[Any, Any] = getattr(module, "handlers", {})
    return System(contract=contract, build=lambda context: Parts(handlers=handlers))
