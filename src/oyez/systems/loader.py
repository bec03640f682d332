"""Systems are found by convention: each package in this folder that has a `contract.py` is one, and so is any file.

A package has `system` in its `__init__.py`, its migrations in the folder `migrations`, and in `demo.py` the scenario of
`oyez demo`. Nothing else lists systems, and nothing is registered by an import.
"""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from oyez import systems
from oyez.contract.contract import Contract
from oyez.errors import ContractError, OyezError, SettingsError
from oyez.runtime.commands import Handlers
from oyez.runtime.hooks import Hooks, RoomHooks
from oyez.service.system import System, SystemServices, describe_error
from oyez.systems.listing import list_systems
from oyez.testing.scenario import Demo


def load_demo(name: str) -> Demo:
    """The `DEMO` of a system that has a `demo.py`."""
    demo: Demo = importlib.import_module(f"{systems.__name__}.{name}.demo").DEMO
    return demo


def load_system(reference: str) -> System:
    """Load the system that has this name, or the Python file at this path.

    The file has a `system`, or only a `contract` and, if the contract has commands, `handlers`. It may import modules
    from its own folder. Raises SettingsError if there is no such system, ContractError if its contract contradicts
    itself.
    """
    if reference in list_systems():
        module = importlib.import_module(f"{systems.__name__}.{reference}")
    elif reference.endswith(".py"):
        module = _load_file(Path(reference))
    else:
        raise SettingsError(
            f"There is no system {reference!r}. Name one of {', '.join(list_systems())}, or the path of a .py file."
        )
    return _find_system(module, reference)


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise SettingsError(f"{path} does not exist. Give the path of a Python file with a contract.")
    # The path is a name that no other module has. It must be known before the code runs: types that are written as
    # strings are looked up in the module of that name.
    module = ModuleType(str(path.resolve()))
    module.__file__ = module.__name__
    sys.modules[module.__name__] = module
    # At the end, where it hides nothing: a file may have the name of a module of the standard library.
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    try:
        exec(compile(path.read_bytes(), module.__name__, "exec"), vars(module))
    except Exception as error:
        if isinstance(error, OyezError) and not _is_nameless(error):
            raise
        described = describe_error(error, module.__name__)
        raise SettingsError(f"{path} cannot be loaded. {described}. Correct it there.") from error
    return module


def _is_nameless(error: OyezError) -> bool:
    """True if the error of a declaration does not say to which contract it belongs."""
    return isinstance(error, ContractError) and not str(error).startswith("contract ")


def _check_used(module: ModuleType, reference: str) -> None:
    """Raises SettingsError if a module without a `system` has functions that only a system uses."""
    found = vars(module)
    hooks, rooms, authenticate = found.get("hooks"), found.get("rooms"), found.get("authenticate")
    unused = {
        "hooks": isinstance(hooks, Hooks),
        "rooms": isinstance(rooms, Mapping) and any(isinstance(value, RoomHooks) for value in rooms.values()),
        "authenticate": callable(authenticate) and not isinstance(authenticate, type),
    }
    names = [name for name, is_unused in unused.items() if is_unused]
    if names:
        given = ", ".join(f"{name}={name}" for name in ("handlers", *names) if name in found)
        raise SettingsError(
            f"{reference} has {' and '.join(f'`{name}`' for name in names)}, but no `system` that uses it. Write"
            f" `system = System(contract=contract, build=lambda services: SystemServices({given}))` in it."
        )


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
        _check_used(module, reference)
        handlers: Handlers = getattr(module, "handlers", {})
        system = System(contract=contract, build=lambda services: SystemServices(handlers=handlers))
    system.contract.build()
    return system
