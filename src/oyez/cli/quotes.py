"""`oyez quotes`: what an operator of the quotes system does by hand."""

import asyncio

from cyclopts import App

from oyez.cli import console
from oyez.cli.flags import HERE, Machine
from oyez.contract.codec import encode_json
from oyez.contract.http import decode_json
from oyez.errors import RefusedError
from oyez.service.db import build_database
from oyez.systems.quotes import MIGRATIONS
from oyez.systems.quotes.http import SupplierRecord
from oyez.systems.quotes.tables import put_supplier

app = App(name="quotes", help="Keep the quotes system's own records.")


@app.command
def add_supplier(user: str, supplier: str, /, *, machine: Machine = HERE) -> int:
    """Say which supplier a user is, in the server's database.

    From the user's next connection on it hears that supplier's quote requests.

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
    database = build_database(machine.load())
    try:
        database.migrate("quotes", MIGRATIONS)
        new = asyncio.run(database.run(put_supplier, record.user_id, record.supplier_id))
    except RefusedError as refused:
        return console.fail(f"{refused} Name another, or give that user another one first.")
    finally:
        database.close()
    console.out.print(f"{user} is supplier {supplier}" + ("" if new else " already"))
    return 0
