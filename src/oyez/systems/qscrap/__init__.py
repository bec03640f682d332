"""`qscrap`: a car-parts marketplace: requests, bids, orders, quality control, disputes, payouts, tickets."""

from pathlib import Path

from oyez.service.resources import build_routes
from oyez.service.system import Context, Parts, System
from oyez.systems.qscrap.contract import contract
from oyez.systems.qscrap.http import RESOURCES
from oyez.systems.qscrap.jobs import JOBS
from oyez.systems.qscrap.tables import metadata


def build(context: Context) -> Parts:
    return Parts(routes=build_routes(RESOURCES, context), jobs=JOBS)


system = System(contract=contract, build=build, tables=metadata, migrations=Path(__file__).parent / "migrations")
