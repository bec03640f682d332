"""`oyez quotes`: what an operator of the quotes system does by hand."""

import asyncio

from cyclopts import App

from oyez.cli import console
from oyez.service.db import build_database
from oyez.settings import load_settings
from oyez.systems.quotes.tables import metadata, put_supplier

app = App(name="quotes", help="The quotes system's own records.")


@app.command
def add_supplier(user: str, supplier: str) -> int:
    """Say which supplier a user is; from the user's next connection on it hears that supplier's quote requests.

    Examples
    --------
    oyez quotes add-supplier 7d1f supplier-12

    Parameters
    ----------
    user
        The user's id, the `sub` of its tokens.
    supplier
        The supplier's id.
    """
    database = build_database(load_settings())
    try:
        database.create(metadata)
        new = asyncio.run(database.run(put_supplier, user, supplier))
    finally:
        database.close()
    console.out.print(f"{user} is supplier {supplier}" + ("" if new else " already"))
    return 0
