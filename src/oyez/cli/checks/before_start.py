"""What has to be right before a server starts, without starting one and without changing anything."""

import asyncio
import secrets
import socket
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sqlalchemy.exc import DBAPIError

from oyez.cli.checks.report import Check, Checks, ProblemError
from oyez.cli.console import explain_os_error
from oyez.cli.serve import check_certificate
from oyez.errors import SettingsError
from oyez.log.backends import build_log
from oyez.log.log import Examination
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
from oyez.systems.loader import load_system

NO_SPACE = "If the disk is full, free space; otherwise set TMPDIR to a folder that can be written."
NO_SPACE_CODES = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
"""SQLite's codes of a file that cannot be written."""

# Systems.


def check_systems(checks: Checks, references: Sequence[str], settings: Settings) -> list[System]:
    """The systems that can be loaded. Each is also built once, with a database of its own that is deleted again."""
    loaded = []
    for reference in references:

        def build(reference: str = reference) -> tuple[System, str]:
            system = load_system(reference)
            with temporary_folder() as folder:
                try:
                    build_apart(system, folder / system.name, settings)
                except DBAPIError as error:
                    if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in NO_SPACE_CODES:
                        raise ProblemError(f"Its tables cannot be made in {folder}: {error.orig}. {NO_SPACE}") from None
                    raise
            contract = system.contract
            return system, f"{len(contract.events)} events, contract and handlers fit"

        system = checks.run(f"system {reference}", build)
        if system is not None:
            loaded.append(system)
    return loaded


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is deleted afterwards. Raises ProblemError if there is no place for one."""
    try:
        temporary = tempfile.TemporaryDirectory()
    except OSError:
        raise ProblemError(f"There is no folder for temporary files. {NO_SPACE}") from None
    with temporary as name:
        yield Path(name)


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


class Before(NamedTuple):
    """A server that is not started yet."""

    settings: Settings
    names: Sequence[str]
    """Of the systems that can be loaded."""


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
    found = [examine_storage(settings, name) for name in names or ("oyez",)]
    return ". ".join([found[-1].text, *found[-1].risks])


def examine_storage(settings: Settings, name: str) -> Examination:
    """The storage of a system's log."""

    async def look() -> Examination:
        log = build_log(settings, name)
        try:
            return await log.examine()
        finally:
            await log.close()

    return asyncio.run(look())


def _any_secret() -> Secret:
    """For what needs a secret to be built, but is not checked for it."""
    return Secret(secrets.token_hex(32))


BEFORE_START: tuple[Check[Before], ...] = (
    Check("address", lambda case: examine_address(case.settings)),
    Check("paths", lambda case: examine_paths(case.settings, case.names)),
    Check("certificate", lambda case: examine_certificate(case.settings)),
    Check("data folder", lambda case: examine_folder(case.settings)),
    Check("secret", lambda case: examine_secret(case.settings)),
    Check("keys", lambda case: examine_keys(case.settings)),
    Check("log", lambda case: examine_log(case.settings, case.names)),
)
"""What `oyez check` asks, and `oyez doctor` too."""


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
