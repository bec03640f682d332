"""`bookings`: home services, with a namespace each for customers, partners and admins."""

from pathlib import Path

from oyez.service.system import Services, System, SystemServices
from oyez.service.typing import Typing
from oyez.systems.bookings.conflated import ConflatedEvents
from oyez.systems.bookings.contract import contract
from oyez.systems.bookings.handlers import build_handlers, build_hooks
from oyez.systems.bookings.http import build_api
from oyez.systems.bookings.tables import metadata
from oyez.systems.bookings.transactions import DAY_BEGINS, begin_day


def build(services: Services) -> SystemServices:
    conflated, typing = ConflatedEvents(services), Typing(services.log, services.time)
    return SystemServices(
        handlers=build_handlers(services, conflated, typing),
        hooks=build_hooks(conflated, typing),
        routes=build_api(services, conflated, typing),
        jobs={DAY_BEGINS: begin_day},
        close=conflated.close,
    )


system = System(contract=contract, build=build, tables=metadata, migrations=Path(__file__).parent / "migrations")
