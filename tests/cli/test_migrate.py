"""`oyez migrate new`, and the server's errors about tables that do not fit the code."""

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from oyez.service.app import Oyez
from oyez.settings import Settings
from oyez.systems.loader import load_system
from tests.support.terminal import Calls, run

DESK = '''
from pathlib import Path
from sqlalchemy import Column, Index, Integer, MetaData, String, Table
from oyez.contract import Command, Contract, auth
from oyez.runtime import Hooks
from oyez.service.system import SystemServices, System

contract = Contract("desk", roles=("user",), default_role="user", tokens=(auth("token"),))
root = contract.namespace("/")


@root.command("buy")
class Buy(Command):
    """Buy."""


def buy(command, client):
    return None


def find_taste(identity):
    return None


async def ending(client, reason):
    return None


def build(services):
    return SystemServices(handlers={Buy: buy})


metadata = MetaData()
tickets = Table("tickets", metadata, Column("id", String(40), primary_key=True))
system = System(contract=contract, build=build, tables=metadata)
'''


def write(folder: Path, *changes: tuple[str, str]) -> str:
    source = DESK
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    (folder / "desk.py").write_text(source)
    return "desk.py"


MIGRATED = ("tables=metadata)", 'tables=metadata, migrations=Path(__file__).with_name("migrations"))')
PRIORITY = (
    "primary_key=True))",
    (
        'primary_key=True), Column("priority", Integer, nullable=False, server_default="0"), '
        'Index("by_priority", "priority"))'
    ),
)


async def query(settings: Settings, statement: str) -> Any:
    """Run the system, which migrates its tables, and ask its database."""
    oyez = Oyez([load_system("desk.py")], settings)

    def execute(connection: Connection) -> Any:
        result = connection.execute(text(statement))
        return result.all() if result.returns_rows else None

    async with oyez.running():
        return await oyez.database.run(execute)


async def test_a_column_without_a_migration_is_found_at_the_start_and_a_migration_is_written(
    folder: Path, oyez: Calls
) -> None:
    settings = Settings(oyez_data=str(folder / "oyez-data"))
    write(folder)
    await query(settings, "INSERT INTO tickets VALUES ('t-1')")
    write(folder, PRIORITY)
    error = (await run(folder, "serve", "desk.py", "--port", "0")).error
    assert error == (
        "The database lacks the column priority of tickets, which the code of desk has. Write a migration with"
        " `oyez migrate new`, and give it the file of the system."
    )
    ended = oyez("migrate", "new", "desk.py", "A ticket has a priority")
    assert re.findall(r"written .*/(\S+)", ended.out) == [
        "0001_tables_as_they_are.py",
        "0002_a_ticket_has_a_priority.py",
    ]
    assert "migrations=Path(__file__)" in ended.err
    write(folder, PRIORITY, MIGRATED)
    assert await query(settings, "SELECT id, priority FROM tickets") == [("t-1", 0)]
    # A new database gets the same by the same way.
    elsewhere = Settings(oyez_data=str(folder / "new"))
    assert await query(elsewhere, "SELECT id, priority FROM tickets") == []
    assert oyez("migrate", "new", "desk.py", "nothing").out == "nothing has changed in the tables of desk\n"
    write(folder, PRIORITY, MIGRATED, ('server_default="0")', 'server_default="0"), Column("note", String)'))
    assert "0003_a_note.py" in oyez("migrate", "new", "desk.py", "a note").out
    assert await query(settings, "SELECT id, priority, note FROM tickets") == [("t-1", 0, None)]


def test_a_column_that_rows_have_no_value_for(folder: Path, oyez: Calls) -> None:
    write(folder)
    Oyez([load_system("desk.py")], Settings(oyez_data="oyez-data")).database.close()
    write(folder, ("primary_key=True))", 'primary_key=True), Column("priority", Integer, nullable=False))'))
    error = oyez("migrate", "new", "desk.py").error
    assert error.startswith("The new column priority of tickets may not be empty")
    assert error.endswith("Give the column a server_default, or nullable=True.")


def test_a_system_without_tables(folder: Path, oyez: Calls) -> None:
    write(folder, ("tables=metadata", "tables=None"))
    assert "desk has no tables of its own" in oyez("migrate", "new", "desk.py").error


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "{Buy: buy}",
            '{"buy": buy}',
            "contract desk: the handler for 'buy' has a str as its key: use the command's class, Buy",
        ),
        ("{Buy: buy}", "[buy]", "contract desk: handlers is a list: write a dict of commands' classes, as {Buy: buy}"),
        ("{Buy: buy}", "{Buy: 5}", "contract desk: command buy: its handler is not a function, but 5"),
        (
            "def buy(command, client)",
            "def buy(command)",
            (
                "contract desk: command buy: its handler buy (desk.py, line 17) takes command, and is called with"
                " (command, client)"
            ),
        ),
        (
            "SystemServices(handlers={Buy: buy})",
            "SystemServices(handlers={Buy: buy}, jobs={'close': lambda tx: None})",
            "contract desk: job close: <lambda> (desk.py, line 30) takes tx, and is called with (tx, key, data)",
        ),
        (
            "SystemServices(handlers={Buy: buy})",
            "SystemServices(handlers={Buy: buy}, hooks=Hooks(ending=ending))",
            (
                "contract desk: hook ending: ending (desk.py, line 25) is an `async def`, and is not awaited: make it a"
                " plain `def`"
            ),
        ),
        (
            "SystemServices(handlers={Buy: buy})",
            "SystemServices(handlers={Buy: buy}, hooks=Hooks(connecting=buy))",
            "contract desk: hook connecting: buy (desk.py, line 17) takes command, client, and is called with (client)",
        ),
        (
            "SystemServices(handlers={Buy: buy})",
            "SystemServices(handlers={Buy: buy}, hooks={'connected': buy})",
            "contract desk: hooks is a dict: write Hooks(connected=...)",
        ),
        (
            "    return None\n\n\ndef find_taste",
            "    yield\n\n\ndef find_taste",
            (
                "contract desk: command buy: its handler buy (desk.py, line 17) has a `yield`, so a call does nothing:"
                " return a value instead"
            ),
        ),
        (
            "system = System(",
            "system = dict(",
            "desk.py has a dict called `system`. Write `system = System(contract=...)` in it, or leave it out.",
        ),
        (
            "SystemServices(handlers={Buy: buy})",
            "SystemServices(handlers={Buy: buy}, nothing=1 / 0)",
            "build() of desk in /desk.py fails. Line 30: ZeroDivisionError: division by zero. Correct it there.",
        ),
        (
            "return SystemServices(handlers={Buy: buy})",
            "SystemServices(handlers={Buy: buy})",
            "build() of desk in /desk.py returns a NoneType. Return `SystemServices(handlers=...)`.",
        ),
    ],
)
def test_a_mistake_in_a_systems_file_is_one_line(folder: Path, oyez: Calls, old: str, new: str, message: str) -> None:
    write(folder, (old, new))
    assert oyez("serve", "desk.py", "--port", "0").error.replace(str(folder), "") == message
