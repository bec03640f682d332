"""Examines the database without changing it: whether a server can use it, and what its start would change in the
tables."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, MetaData, NullPool, create_engine, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from oyez.errors import SettingsError
from oyez.service.data_folder import check_usable
from oyez.service.database.database import (
    MIGRATIONS,
    REMEDIES,
    Database,
    check_columns,
    find_columns,
    parse_url,
    unusable,
)
from oyez.settings import Settings


@contextmanager
def open_unchanged(settings: Settings) -> Iterator[Connection | None]:
    """A connection for reading; None if the database is an SQLite file that does not exist yet.

    Raises SettingsError if a server could not use the database.
    """
    url = _find_url(settings)
    if url.get_backend_name() == "sqlite":
        assert url.database is not None
        file = Path(url.database)
        _check_writable(url, file)
        if not file.exists():
            yield None
            return
        with _read_file(url, file) as connection:
            yield connection
        return
    address = url.render_as_string(hide_password=False)
    with closing(Database(address, settings.limits, 2)) as database, database.connect() as connection:
        _check_primary(url, connection)
        yield connection


def examine_tables(connection: Connection, name: str, tables: MetaData | None, versions: Path | None) -> str:
    """Describe the tables of `name`, and what the next start changes in them.

    Raises SettingsError if they do not fit the code and no migration would change that.
    """
    pending = _find_pending(connection, name, versions) if versions is not None else []
    if pending:
        return f"the next start runs {len(pending)} migration{'s' * (len(pending) > 1)}, up to {pending[-1]}"
    found = find_columns(connection, tables) if tables is not None else {}
    missing = [table for table in tables.tables if table not in found] if tables is not None else []
    if tables is not None and versions is not None:
        check_columns(name, tables, found)
    elif tables is not None:
        here = MetaData()
        for table in found:
            tables.tables[table].to_metadata(here)
        check_columns(name, here, found)
    return f"the next start makes {' and '.join(missing)}" if missing else "are as the code has them"


def _find_url(settings: Settings) -> URL:
    if settings.database_url is not None:
        return parse_url(settings.database_url)
    check_usable(settings.data_folder)
    return URL.create("sqlite", database=str(settings.data_folder / "domain.sqlite"))


def _check_writable(url: URL, file: Path) -> None:
    folder = next(parent for parent in file.absolute().parents if parent.exists())
    if url.database != str(file) or (file.exists() and not file.is_file()):
        raise unusable(url, "it is not a file", REMEDIES["sqlite"])
    for path in (folder, file) if file.exists() else (folder,):
        if not os.access(path, os.R_OK | os.W_OK):
            raise unusable(url, f"user {os.geteuid()} may not write {path}", REMEDIES["sqlite"])


@contextmanager
def _read_file(url: URL, file: Path) -> Iterator[Connection]:
    # A file that no process has open is read as it is; otherwise SQLite would leave files of its own beside it.
    mode = "mode=ro" if file.with_name(f"{file.name}-wal").exists() else "immutable=1"
    address = f"file:{quote(str(file.absolute()))}?{mode}"
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(address, uri=True), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT count(*) FROM sqlite_master"))
            yield connection
    except DBAPIError as error:
        raise unusable(url, str(error.orig), REMEDIES["sqlite"]) from None
    finally:
        engine.dispose()


def _check_primary(url: URL, connection: Connection) -> None:
    if connection.execute(text("SELECT pg_is_in_recovery()")).scalar():
        raise unusable(url, "it is a replica, which only reads", "Set DATABASE_URL to the primary.")


def _find_pending(connection: Connection, name: str, versions: Path) -> list[str]:
    """The revisions in `versions` that the database lacks, the oldest first."""
    # Only here: it takes long to import.
    from alembic.script import ScriptDirectory
    from alembic.script.revision import RevisionError

    table = f"{name}_migrations"
    current = None
    if inspect(connection).has_table(table):
        current = connection.execute(text(f'SELECT version_num FROM "{table}"')).scalar()
    scripts = ScriptDirectory(str(MIGRATIONS), version_locations=[str(versions)])
    try:
        return [script.revision for script in scripts.iterate_revisions("head", current or "base")][::-1]
    except RevisionError:
        raise SettingsError(
            f"The tables of {name} in the database have the revision {current}, which this program does not know. They"
            " were made by a newer program: install that one, or name another database by DATABASE_URL."
        ) from None
