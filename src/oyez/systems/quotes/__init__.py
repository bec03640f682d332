"""`quotes`: chat, quote requests and quote offers between users and suppliers."""

from pathlib import Path

from oyez.contract import Identity
from oyez.service.resources import build_routes
from oyez.service.system import Services, System, SystemServices
from oyez.systems.quotes.contract import contract
from oyez.systems.quotes.http import RESOURCES
from oyez.systems.quotes.tables import find_supplier, metadata

MIGRATIONS = Path(__file__).parent / "migrations"


def build(services: Services) -> SystemServices:
    async def supplier_id(identity: Identity) -> str | None:
        return await services.database.read(find_supplier, identity.subject)

    return SystemServices(resolvers={"supplier_id": supplier_id}, routes=build_routes(RESOURCES, services))


system = System(contract=contract, build=build, tables=metadata, migrations=MIGRATIONS)
