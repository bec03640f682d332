"""`qscrap`: a car-parts marketplace: requests, bids, orders, quality control, disputes, payouts, tickets."""

from pathlib import Path

from oyez.service.resources import build_routes
from oyez.service.system import Services, System, SystemServices
from oyez.systems.qscrap.contract import contract
from oyez.systems.qscrap.http import RESOURCES
from oyez.systems.qscrap.jobs import JOBS
from oyez.systems.qscrap.tables import metadata


def build(services: Services) -> SystemServices:
    return SystemServices(routes=build_routes(RESOURCES, services), jobs=JOBS)


system = System(contract=contract, build=build, tables=metadata, migrations=Path(__file__).parent / "migrations")
