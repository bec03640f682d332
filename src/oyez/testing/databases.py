"""Databases of tests on a PostgreSQL server: each is a copy of a template, and is dropped after its test."""

import secrets

from sqlalchemy import create_engine, text

from oyez.errors import SettingsError
from oyez.service.database.database import parse_url

PREFIX = "oyez_test_"
"""The names of the databases begin so. No other database is changed."""
FILE_COPY_SINCE = (15,)
"""The version of PostgreSQL from which on a copy may be made file by file. Older ones know no other way."""


class Databases:
    """Makes and drops databases. Every call blocks for some milliseconds."""

    def __init__(self, url: str) -> None:
        """`url` is the address of any database of the server, with a user who may create databases.

        Raises SettingsError if it is no address of PostgreSQL.
        """
        self._url = parse_url(url)
        if self._url.get_backend_name() != "postgresql":
            raise SettingsError(
                "The test kit makes a database for each test: on SQLite without DATABASE_URL, or on the PostgreSQL"
                " server of DATABASE_URL. Leave DATABASE_URL out, or give it the address of a PostgreSQL server."
            )
        self._engine = create_engine(self._url, isolation_level="AUTOCOMMIT", pool_size=1, max_overflow=0)

    def create(self, source: str | None = None) -> str:
        """A new database: empty, or a copy of the one at `source`, to which nothing may be connected. Its address."""
        name = f"{PREFIX}{secrets.token_hex(8)}"
        copied = f' TEMPLATE "{_name(source)}"' if source is not None else ""
        fast = " STRATEGY FILE_COPY" if self._has_file_copy() else ""
        self._execute(f'CREATE DATABASE "{name}"{copied}{fast}')
        return self._url.set(database=name).render_as_string(hide_password=False)

    def take_over(self, url: str) -> str:
        """Disconnect all processes from a database, and copy it as it is then. The address of the copy.

        The processes can connect again afterwards, to end.
        """
        self._execute(f'ALTER DATABASE "{_name(url)}" ALLOW_CONNECTIONS false')
        self._execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name", name=_name(url))
        copy = self.create(url)
        self._execute(f'ALTER DATABASE "{_name(url)}" ALLOW_CONNECTIONS true')
        return copy

    def drop(self, url: str) -> None:
        """Delete a database that was made here, also if something is connected to it."""
        self._execute(f'DROP DATABASE IF EXISTS "{_name(url)}" WITH (FORCE)')

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()

    def _execute(self, statement: str, **values: str) -> None:
        with self._engine.connect() as connection:
            connection.execute(text(statement), values)

    def _has_file_copy(self) -> bool:
        with self._engine.connect() as connection:
            return (connection.dialect.server_version_info or ()) >= FILE_COPY_SINCE


def _name(url: str) -> str:
    return str(parse_url(url).database)
