"""Revisions read as text: the newest one, or None if only Alembic can find it."""

from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from oyez.service.database.database import MIGRATIONS
from oyez.service.database.revisions import find_newest
from oyez.systems.listing import list_systems
from oyez.systems.loader import load_system

OWN = [system.migrations for system in map(load_system, list_systems()) if system.migrations is not None]


def write(folder: Path, **revisions: str) -> Path:
    for name, text in revisions.items():
        (folder / f"{name}.py").write_text(f'"""A change."""\n\nfrom alembic import op\n\n{text}\n')
    return folder


@pytest.mark.parametrize("versions", [MIGRATIONS / "versions", *OWN], ids=str)
def test_alembic_finds_the_same(versions: Path) -> None:
    assert find_newest(versions) == ScriptDirectory(str(MIGRATIONS), version_locations=[versions]).get_current_head()


def test_the_names_of_the_files_do_not_count(tmp_path: Path) -> None:
    first = 'revision: str = "ff01"\ndown_revision: str | None = None'
    write(tmp_path, ff01_first=first, aa02_second="revision = 'aa02'\ndown_revision = 'ff01'")
    assert find_newest(tmp_path) == "aa02"


@pytest.mark.parametrize(
    "second",
    [
        'revision = "0002"\ndown_revision = None',
        'revision = "0002"\ndown_revision = ("0001", "0000")',
        'revision = NAME\ndown_revision = "0001"',
        'revision = "0001"\ndown_revision = None',
    ],
    ids=["two lines", "two before", "computed", "the same twice"],
)
def test_only_alembic_can_find_it(tmp_path: Path, second: str) -> None:
    write(tmp_path, first='revision = "0001"\ndown_revision = None', second=second)
    assert find_newest(tmp_path) is None


def test_there_is_none(tmp_path: Path) -> None:
    assert find_newest(tmp_path) is None
