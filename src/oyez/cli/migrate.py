"""`oyez migrate`: migrations of a system's own tables."""

from contextlib import closing
from pathlib import Path

from cyclopts import App
from sqlalchemy.engine import URL

from oyez.cli import console
from oyez.cli.console import CallError
from oyez.cli.flags import OWN_SETTINGS, SettingsFlags
from oyez.service.database.database import Database, find_columns
from oyez.service.database.migrate import Columns, write_migrations
from oyez.service.system import System
from oyez.settings import Settings
from oyez.systems.loader import load_system

app = App(name="migrate", help="Write migrations of a system's own tables.")


@app.command
def new(system: str, message: str = "change", /, *, flags: SettingsFlags = OWN_SETTINGS) -> int:
    """Write a migration for what has changed in a system's tables.

    Look through the file before you start the server, which runs it.

    For example:
      oyez migrate new helpdesk.py "a ticket has a priority"

    Parameters
    ----------
    system
        The file of the system.
    message
        What has changed, in a few words.
    """
    loaded = load_system(system)
    if loaded.tables is None:
        raise CallError(f"{loaded.name} has no tables of its own. Give it some: System(tables=metadata, ...).")
    folder = loaded.migrations or Path(system).resolve().parent / "migrations"
    existing = _find_existing(loaded, flags.load()) if loaded.migrations is None else {}
    written = write_migrations(loaded.name, loaded.tables, folder, message, existing)
    for path in written:
        console.out.print(f"written {path}")
    if not written:
        console.out.print(f"nothing has changed in the tables of {loaded.name}")
    if loaded.migrations is None:
        console.show_note(
            "Have the server run them: write"
            f' `System(..., migrations=Path(__file__).with_name("{folder.name}"))` in {system}.'
        )
    return 0


def _find_existing(system: System, settings: Settings) -> Columns:
    """What the server's database has of the system's tables, if there is a database yet."""
    assert system.tables is not None
    file = settings.data_folder / "domain.sqlite"
    if settings.database_url is None and not file.exists():
        return {}
    url = settings.database_url or URL.create("sqlite", database=str(file)).render_as_string()
    with closing(Database(url)) as database, database.connect() as connection:
        return find_columns(connection, system.tables)
