"""`bookings`: home services, with a namespace each for customers, partners and admins."""

from pathlib import Path

from oyez.service.system import Services, System, SystemServices
from oyez.service.typing import Typing
from oyez.systems.bookings.contract import contract
from oyez.systems.bookings.handlers import build_handlers, build_hooks
from oyez.systems.bookings.http import build_api
from oyez.systems.bookings.news import News
from oyez.systems.bookings.tables import metadata
from oyez.systems.bookings.transactions import DAY_BEGINS, begin_day


def build(services: Services) -> SystemServices:
    news, typing = News(services), Typing(services.log)
    return SystemServices(
        handlers=build_handlers(services, news, typing),
        hooks=build_hooks(news, typing),
        routes=build_api(services, news, typing),
        jobs={DAY_BEGINS: begin_day},
        close=news.close,
    )


system = System(contract=contract, build=build, tables=metadata, migrations=Path(__file__).parent / "migrations")
