"""`oyez check`: all that has to be right before a server starts, without starting one and without changing anything."""

import asyncio
import secrets
import socket
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from rich.text import Text
from sqlalchemy.exc import DBAPIError

from oyez.cli import console
from oyez.cli.console import explain_os_error
from oyez.cli.serve import check_certificate
from oyez.cli.server_flags import DEFAULTS, ServerFlags
from oyez.errors import OyezError, SettingsError
from oyez.log.backends import build_log
from oyez.service.app import Oyez, build_node, check_together
from oyez.service.auth.keys import FETCH_TIMEOUT, load_key_file, parse_key_set, read_url
from oyez.service.auth.secrets import Secret, load_secret
from oyez.service.auth.tokens import build_verifier
from oyez.service.data_folder import check_reachable, examine_folder
from oyez.service.database import tables
from oyez.service.database.database import MIGRATIONS
from oyez.service.database.examine import examine_tables, open_unchanged
from oyez.service.system import System
from oyez.settings import Settings
from oyez.systems.listing import list_systems
from oyez.systems.loader import load_system

T = TypeVar("T")


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
    settings = checks.run("settings", lambda: (flags.load(), "can be read"))
    loaded = check_systems(checks, systems or list_systems(), settings or Settings())
    if settings is not None:
        check_settings(checks, settings, [system.name for system in loaded])
        check_database(checks, settings, loaded)
    return 1 if checks.problems else 0


class Checks:
    """Runs checks and shows a line for each result."""

    def __init__(self) -> None:
        self.problems = 0

    def run(self, subject: str, look: Callable[[], tuple[T, str]]) -> T | None:
        """What `look` found, with a line that describes it; None if it raised, with a line for each problem."""
        try:
            found, text = look()
        except (OyezError, DBAPIError, OSError) as error:
            for line in (str(error.orig) if isinstance(error, DBAPIError) else str(error)).splitlines():
                self.problems += 1
                self._show("problem", "bold red", subject, line)
            return None
        self._show("ok", "green", subject, text)
        return found

    def describe(self, subject: str, look: Callable[[], str]) -> None:
        """As `run`, for a check that finds nothing but how things are."""
        self.run(subject, lambda: (None, look()))

    def _show(self, result: str, style: str, subject: str, text: str) -> None:
        words = console.printable(" ".join(text.split()))
        console.out.print(Text.assemble((f"{result:<9}", style), f"{subject:<18}  ", words))


# Systems.


def check_systems(checks: Checks, references: Sequence[str], settings: Settings) -> list[System]:
    """The systems that can be loaded. Each is also built once, with a database of its own that is deleted again."""
    loaded = []
    with tempfile.TemporaryDirectory() as folder:
        for reference in references:

            def build(reference: str = reference) -> tuple[System, str]:
                system = load_system(reference)
                build_apart(system, Path(folder) / system.name, settings)
                contract = system.contract
                return system, f"{len(contract.events)} events, contract and handlers fit"

            system = checks.run(f"system {reference}", build)
            if system is not None:
                loaded.append(system)
    return loaded


def build_apart(system: System, folder: Path, settings: Settings) -> None:
    """Build a system as a server does, in `folder`: its migrations, tables, handlers and routes.

    Raises SettingsError or ContractError.
    """
    apart = Settings(
        oyez_data=str(folder),
        jwt_secret=secrets.token_hex(32),
        log_level="error",
        backends=settings.backends,
        webhooks=settings.webhooks,
        webhook_private_addresses=settings.allows_private_webhooks,
    )
    Oyez([system], apart).database.close()


# Settings and what they name.


def check_settings(checks: Checks, settings: Settings, names: Sequence[str]) -> None:
    checks.describe("address", lambda: examine_address(settings))
    checks.describe("paths", lambda: examine_paths(settings, names))
    checks.describe("certificate", lambda: examine_certificate(settings))
    checks.describe("data folder", lambda: examine_folder(settings))
    checks.describe("secret", lambda: examine_secret(settings))
    checks.describe("keys", lambda: examine_keys(settings))
    checks.describe("log", lambda: examine_log(settings, names))


def examine_address(settings: Settings) -> str:
    """Raises SettingsError if the host is no address of this machine. Whether the port is free is not asked."""
    host = None if settings.host in ("", "::") else settings.host
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as opened:
                opened.bind(address)
    except (OSError, UnicodeError) as error:
        reason = explain_os_error(error) if isinstance(error, OSError) else error
        raise SettingsError(
            f"HOST is {settings.host!r}, which cannot be listened at: {reason}. Set it to an address of this machine,"
            " or 0.0.0.0 for all."
        ) from None
    build_node(settings, _any_secret())
    return f"{settings.host} is an address of this machine; the port is {settings.port}"


def examine_paths(settings: Settings, names: Sequence[str]) -> str:
    if not names:
        return "are not checked, because no system can be loaded"
    check_together(settings, names)
    return "the systems can be served together" if len(names) > 1 else "the system can be served alone"


def examine_certificate(settings: Settings) -> str:
    check_certificate(settings)
    return f"{settings.ssl_certfile} can be used" if settings.ssl_certfile else "none: HTTP, not HTTPS"


def examine_secret(settings: Settings) -> str:
    file = settings.data_folder / "jwt-secret"
    check_reachable(file.parent)
    if settings.jwt_secret is None and not file.exists():
        return f"the first start makes one in {file}"
    load_secret(settings, make=False)
    return "JWT_SECRET can be used" if settings.jwt_secret is not None else f"{file} can be used"


def examine_keys(settings: Settings) -> str:
    """Raises SettingsError if users' tokens could not be verified now."""
    build_verifier(settings, _any_secret())
    if settings.jwt_key_file is not None:
        return f"{len(load_key_file(Path(settings.jwt_key_file)))} in {settings.jwt_key_file}"
    if settings.jwks_url is None:
        return "the secret verifies users' tokens"
    try:
        keys = parse_key_set(read_url(settings.jwks_url, FETCH_TIMEOUT))
    except Exception as error:  # An outside server may answer anything.
        raise SettingsError(
            f"JWKS_URL: the keys at {settings.jwks_url} cannot be fetched: {str(error).rstrip('.')}. Make it reachable"
            " from this machine, or set JWKS_URL to another address."
        ) from None
    return f"{len(keys)} at {settings.jwks_url}"


def examine_log(settings: Settings, names: Sequence[str]) -> str:
    async def look() -> str:
        text = ""
        for name in names or ("oyez",):
            log = build_log(settings, name)
            try:
                text = await log.examine()
            finally:
                await log.close()
        return text

    return asyncio.run(look())


def _any_secret() -> Secret:
    """For what needs a secret to be built, but is not checked for it."""
    return Secret(secrets.token_hex(32))


# The database.


def check_database(checks: Checks, settings: Settings, systems: Sequence[System]) -> None:
    """The tables are looked at only if the database can be used."""
    if not checks.run("database", lambda: examine_database(settings)):
        return
    own = ("oyez", tables.metadata, MIGRATIONS / "versions")
    every = [own, *((system.name, system.tables, system.migrations) for system in systems)]
    with open_unchanged(settings) as connection:
        for name, metadata, versions in every:
            if connection is not None and (metadata is not None or versions is not None):
                look = partial(examine_tables, connection, name, metadata, versions)
                checks.describe(f"tables of {name}", look)


def examine_database(settings: Settings) -> tuple[bool, str]:
    """True if there is one, and what it is."""
    with open_unchanged(settings) as connection:
        if connection is None:
            return False, "the first start makes it"
        return True, f"{connection.dialect.name} can be used"
