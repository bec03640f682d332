"""`oyez check`: all that has to be right before a server starts, without starting one and without changing anything."""

from collections.abc import Sequence

from oyez.cli.checks.before_start import BEFORE_START, Before, check_database, check_systems
from oyez.cli.checks.report import Checks
from oyez.cli.server_flags import DEFAULTS, ServerFlags
from oyez.settings import Settings
from oyez.systems.listing import list_systems


def check(*systems: str, flags: ServerFlags = DEFAULTS) -> int:
    """Check whether the server could start, without starting it.

    It checks settings, systems, database, Redis, keys and the data folder as `oyez serve` with the same arguments
    would use them, and changes nothing. The status is 1 if there is a problem.

    For example:
      oyez check
      oyez check quotes --redis-url redis://10.0.0.7:6379/0
      oyez check my_contract.py

    Parameters
    ----------
    systems
        Names of systems that ship, and files with a contract.
    """
    checks = Checks()
    check_start(checks, systems, flags)
    return 1 if checks.problems else 0


def check_start(checks: Checks, systems: Sequence[str], flags: ServerFlags) -> Settings | None:
    """Check all that a start needs. Returns the settings, if they can be read."""
    settings = checks.run("settings", lambda: (flags.load(), "can be read"))
    loaded = check_systems(checks, systems or list_systems(), settings or Settings())
    if settings is not None:
        checks.run_table(BEFORE_START, Before(settings, [system.name for system in loaded]))
        check_database(checks, settings, loaded)
    return settings
