"""`fixrx`: services, bookings and payments between users and vendors, with live chat."""

from pathlib import Path

from oyez.service.resources import build_routes
from oyez.service.system import Services, System, SystemServices
from oyez.systems.fixrx.contract import contract
from oyez.systems.fixrx.handlers import build_handlers
from oyez.systems.fixrx.http import RESOURCES
from oyez.systems.fixrx.tables import metadata

MIGRATIONS = Path(__file__).parent / "migrations"


def build(services: Services) -> SystemServices:
    return SystemServices(handlers=build_handlers(services.outbox), routes=build_routes(RESOURCES, services))


system = System(contract=contract, build=build, tables=metadata, migrations=MIGRATIONS)
