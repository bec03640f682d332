"""`fixrx`: services, bookings and payments between users and vendors, with live chat."""

from pathlib import Path

from oyez.service.resources import build_routes
from oyez.service.system import Context, Parts, System
from oyez.systems.fixrx.contract import contract
from oyez.systems.fixrx.handlers import build_handlers
from oyez.systems.fixrx.http import RESOURCES
from oyez.systems.fixrx.tables import metadata

MIGRATIONS = Path(__file__).parent / "migrations"


def build(context: Context) -> Parts:
    return Parts(handlers=build_handlers(context.outbox), routes=build_routes(RESOURCES, context))


system = System(contract=contract, build=build, tables=metadata, migrations=MIGRATIONS)
