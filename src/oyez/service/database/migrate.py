"""Generated migrations: the difference between a system's migrations and its tables (Alembic).

The comparison is made in a new, empty database, in which the existing migrations have been run, so it depends only on
the code. A system without migrations gets a first one that creates the tables of its database, and does nothing if they
exist.
"""

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Column, MetaData

from oyez.errors import SettingsError
from oyez.service.database.database import Database

if TYPE_CHECKING:
    from alembic.operations.ops import MigrateOperation, UpgradeOps

Columns = Mapping[str, frozenset[str]]
"""Names of columns by those of tables."""
FIRST = "tables as they are"
"""The text in the first migration of a system that has a database."""
TEMPLATE = '''"""{message}"""

import sqlalchemy as sa
{imports}from alembic import op

revision = "{revision}"
down_revision = {previous}


def upgrade() -> None:
    {code}
'''


def write_migrations(name: str, tables: MetaData, folder: Path, message: str, existing: Columns) -> list[Path]:
    """Write the revisions that are missing in `folder` for the `tables` of the system `name`; empty if none is.

    `existing` is what the system's database has, which counts if there is no revision yet. Raises SettingsError for
    a change that rows of a table could not follow.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    if existing and not find_revisions(folder):
        first = _compare(name, tables, folder)
        _reduce(first, existing)
        written += _write(first, folder, FIRST)
    operations = _compare(name, tables, folder)
    _check_new_columns(operations)
    if not find_revisions(folder):
        _tolerate(operations.ops)
    written += _write(operations, folder, message)
    return written


def find_revisions(folder: Path) -> list[str]:
    """The revisions in `folder`, the newest last: as their files are called, `0001_what_it_does.py`."""
    return sorted(match[1] for path in folder.glob("*.py") if (match := re.match(r"(\w+?)_", path.name)))


def _compare(name: str, tables: MetaData, folder: Path) -> "UpgradeOps":
    """The changes that a database with all migrations needs to have `tables`."""
    # Only here: it takes long to import.
    from alembic.autogenerate import produce_migrations
    from alembic.migration import MigrationContext

    with _open_scratch() as database:
        if find_revisions(folder):
            database.migrate(name, folder)
        with database.connect() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": f"{name}_migrations"})
            operations = produce_migrations(context, tables).upgrade_ops
    assert operations is not None
    return operations


@contextmanager
def _open_scratch() -> Iterator[Database]:
    with tempfile.TemporaryDirectory() as folder, closing(Database(f"sqlite:///{folder}/scratch.sqlite")) as database:
        yield database


def _reduce(operations: "UpgradeOps", existing: Columns) -> None:
    """Keep only the creation of what `existing` has, and make it do nothing if that exists."""
    from alembic.operations.ops import CreateIndexOp, CreateTableOp

    kept: list[MigrateOperation] = []
    for operation in operations.ops:
        if isinstance(operation, CreateTableOp) and operation.table_name in existing:
            names = existing[operation.table_name]
            operation.columns = [
                item for item in operation.columns if not isinstance(item, Column) or item.name in names
            ]
            kept.append(operation)
        elif isinstance(operation, CreateIndexOp) and operation.table_name in existing:
            columns = {getattr(column, "name", column) for column in operation.columns}
            if columns <= existing[operation.table_name]:
                kept.append(operation)
    _tolerate(kept)
    operations.ops = kept


def _tolerate(operations: "Iterable[MigrateOperation]") -> None:
    from alembic.operations.ops import CreateIndexOp, CreateTableOp

    for operation in operations:
        if isinstance(operation, CreateTableOp | CreateIndexOp):
            operation.if_not_exists = True


def _check_new_columns(operations: "UpgradeOps") -> None:
    from alembic.operations.ops import AddColumnOp, ModifyTableOps

    for table in operations.ops:
        for operation in table.ops if isinstance(table, ModifyTableOps) else ():
            if isinstance(operation, AddColumnOp):
                column = operation.column
                if not column.nullable and column.server_default is None:
                    raise SettingsError(
                        f"The new column {column.name} of {operation.table_name} may not be empty, but the existing"
                        " rows have no value for it. Give the column a server_default, or nullable=True."
                    )


def _write(operations: "UpgradeOps", folder: Path, message: str) -> list[Path]:
    from alembic.autogenerate import render_python_code

    if not operations.ops:
        return []
    revisions = find_revisions(folder)
    revision = f"{len(revisions) + 1:04d}"
    code = render_python_code(operations, render_as_batch=True)
    # Alembic's remarks are about files that a person looks through, and so is this one.
    code = re.sub(r"^ *# ###.*\n?", "", code, flags=re.MULTILINE).strip()
    path = folder / f"{revision}_{re.sub(r'[^a-z0-9]+', '_', message.lower()).strip('_') or 'change'}.py"
    path.write_text(
        TEMPLATE.format(
            message=message[:1].upper() + message[1:].rstrip(".").replace('"', "'").replace("\\", "/") + ".",
            imports="from sqlalchemy.dialects import sqlite\n" if "sqlite." in code else "",
            revision=revision,
            previous=f'"{revisions[-1]}"' if revisions else "None",
            code=code,
        )
    )
    return [path]
