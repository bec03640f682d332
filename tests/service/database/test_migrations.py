"""Migrations: they make the tables that the code expects, from nothing and from what an older program has left."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, text

from oyez.errors import SettingsError
from oyez.service.database import tables
from oyez.service.database.database import MIGRATIONS, Database
from oyez.systems.listing import list_systems
from oyez.systems.loader import load_system
from oyez.systems.quotes.tables import find_supplier, put_supplier

OWN = ("oyez", MIGRATIONS / "versions", tables.metadata)
LINES = [
    OWN,
    *(
        (system.name, system.migrations, system.tables)
        for system in map(load_system, list_systems())
        if system.migrations is not None and system.tables is not None
    ),
]


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    db = Database(database_url)
    yield db
    db.close()


def test_every_system_that_has_tables_has_migrations() -> None:
    with_tables = [system.name for system in map(load_system, list_systems()) if system.tables is not None]
    assert ["oyez", *with_tables] == [name for name, _, _ in LINES]


@pytest.mark.parametrize(("name", "versions", "metadata"), LINES, ids=[name for name, _, _ in LINES])
async def test_they_make_what_the_code_expects(db: Database, name: str, versions: Path, metadata: MetaData) -> None:
    db.migrate(name, versions)

    def compare(connection: Connection) -> Any:
        options = {"compare_type": True, "include_name": lambda found, kind, _: found != f"{name}_migrations"}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    assert await db.run(compare) == []


async def test_again_they_change_nothing(db: Database) -> None:
    quotes = load_system("quotes")
    assert quotes.migrations is not None
    for _ in range(2):
        for name, versions in ((OWN[0], OWN[1]), ("quotes", quotes.migrations)):
            db.migrate(name, versions)
        await db.run(put_supplier, "ada", "sup-1")
    assert await db.read(find_supplier, "ada") == "sup-1"


async def test_tables_that_were_made_without_them_are_taken_over(db: Database) -> None:
    quotes = load_system("quotes")
    assert quotes.tables is not None
    assert quotes.migrations is not None
    db.create(quotes.tables)
    await db.run(put_supplier, "ada", "sup-1")
    db.migrate("quotes", quotes.migrations)
    assert await db.read(find_supplier, "ada") == "sup-1"


async def test_a_newer_database_is_refused(db: Database) -> None:
    db.migrate(*OWN[:2])
    await db.run(lambda connection: connection.execute(text("UPDATE oyez_migrations SET version_num = '9999'")))
    with pytest.raises(SettingsError, match=r"tables of oyez .* '9999'.* made by a newer program"):
        db.migrate(*OWN[:2])


async def test_what_fails_half_way_leaves_nothing(db: Database, tmp_path: Path) -> None:
    (tmp_path / "0001_broken.py").write_text(
        "from alembic import op\n"
        "import sqlalchemy as sa\n"
        "revision, down_revision = '0001', None\n"
        "def upgrade():\n"
        "    op.create_table('broken', sa.Column('id', sa.Integer))\n"
        "    raise ZeroDivisionError\n"
    )
    with pytest.raises(ZeroDivisionError):
        db.migrate("broken", tmp_path)
    assert await db.read(lambda connection: connection.dialect.get_table_names(connection)) == []


def test_a_fresh_database_is_ready_soon(make_database: Callable[[], str]) -> None:
    def make() -> float:
        url = make_database()
        began = time.process_time()
        db = Database(url)
        for name, versions, _ in LINES:
            db.migrate(name, versions)
        db.close()
        return time.process_time() - began

    # Every test and every demonstration makes one. CPU time, and the best of some: others use the machine too.
    assert min(make() for _ in range(5)) < 1.0
