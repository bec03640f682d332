"""`qscrap`: a car-parts marketplace: requests, bids, orders, quality control, disputes, payouts, tickets."""

from pathlib import Path

from oyez.service.system import Context, Parts, System
from oyez.systems.qscrap.contract import contract
from oyez.systems.qscrap.http import build_routes
from oyez.systems.qscrap.jobs import JOBS
from oyez.systems.qscrap.tables import metadata


def build(context: Context) -> Parts:
    return Parts(routes=build_routes(context), jobs=JOBS)


system = System(contract=contract, build=build, tables=metadata, migrations=Path(__file__).parent / "migrations")
