"""`quotes`: chat, quote requests and quote offers between users and suppliers."""

from pathlib import Path

from oyez.contract import Identity
from oyez.service.resources import build_routes
from oyez.service.system import Context, Parts, System
from oyez.systems.quotes.contract import contract
from oyez.systems.quotes.http import RESOURCES
from oyez.systems.quotes.tables import find_supplier, metadata

MIGRATIONS = Path(__file__).parent / "migrations"


def build(context: Context) -> Parts:
    async def supplier_id(identity: Identity) -> str | None:
        return await context.database.read(find_supplier, identity.subject)

    return Parts(resolvers={"supplier_id": supplier_id}, routes=build_routes(RESOURCES, context))


system = System(contract=contract, build=build, tables=metadata, migrations=MIGRATIONS)
