"""`oyez quotes`: what an operator of the quotes system does by hand."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager

from cyclopts import App

from oyez.cli import console
from oyez.cli.flags import OWN_SETTINGS, SettingsFlags
from oyez.contract.codec import encode_json
from oyez.errors import RefusedError
from oyez.runtime.http import decode_json
from oyez.service.database.database import Database, build_database
from oyez.systems.quotes import MIGRATIONS
from oyez.systems.quotes.http import SupplierRecord
from oyez.systems.quotes.tables import put_supplier, remove_supplier

app = App(name="quotes", help="Keep the quotes system's own records.")


@app.command
def add_supplier(user: str, supplier: str, /, *, flags: SettingsFlags = OWN_SETTINGS) -> int:
    """Record in the server's database which supplier a user is.

    From its next connection on, the user receives that supplier's quote requests.

    For example:
      oyez quotes add-supplier 7d1f supplier-12

    Parameters
    ----------
    user
        The user's id: the sub of its tokens.
    supplier
        The supplier's id; no other user may have it.
    """
    record = decode_json(encode_json({"userId": user, "supplierId": supplier}), SupplierRecord)
    try:
        with open_database(flags) as database:
            new = asyncio.run(database.run(put_supplier, record.user_id, record.supplier_id))
    except RefusedError as refused:
        return console.fail(f"{refused} Name another, or give that user another one first.")
    console.out.print(f"{user} is supplier {supplier}" + ("" if new else " already"))
    return 0


@app.command(name="remove-supplier")
def take_supplier(user: str, /, *, flags: SettingsFlags = OWN_SETTINGS) -> int:
    """Record in the server's database that a user is no supplier any more.

    A user who is connected receives that supplier's quote requests until it connects again.

    For example:
      oyez quotes remove-supplier 7d1f

    Parameters
    ----------
    user
        The user's id: the sub of its tokens.
    """
    try:
        with open_database(flags) as database:
            supplier = asyncio.run(database.run(remove_supplier, user))
    except RefusedError as refused:
        return console.fail(f"{refused} Nothing was changed.")
    console.out.print(f"{user} is no longer supplier {supplier}")
    return 0


@contextmanager
def open_database(flags: SettingsFlags) -> Iterator[Database]:
    """The server's database, with the tables of quotes."""
    with closing(build_database(flags.load(), make=False)) as database:
        database.migrate("quotes", MIGRATIONS)
        yield database
