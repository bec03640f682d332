"""`rez`: a shopping app with offers, orders, cart, support, group buying, store chat, feed and leaderboard."""

from pathlib import Path

from oyez.service.system import Context, Parts, System
from oyez.systems.rez.carts import RESERVATION_ENDS, end_reservation
from oyez.systems.rez.channels import Channels
from oyez.systems.rez.contract import contract
from oyez.systems.rez.handlers import build_handlers
from oyez.systems.rez.http import build_routes
from oyez.systems.rez.sessions import Sessions
from oyez.systems.rez.tables import metadata


def build(context: Context) -> Parts:
    channels = Channels(context.database)
    signer = context.signer if context.signer.signs_users else None
    return Parts(
        handlers=build_handlers(context, channels),
        hooks=Sessions(channels, signer, context.clock).hooks(),
        jobs={RESERVATION_ENDS: end_reservation},
        routes=build_routes(context),
    )


system = System(contract=contract, build=build, tables=metadata, migrations=Path(__file__).parent / "migrations")
