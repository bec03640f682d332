"""`rez`: a shopping app with offers, orders, cart, support, group buying, store chat, feed and leaderboard."""

from dataclasses import replace
from pathlib import Path

from oyez.runtime import Client
from oyez.service.system import Services, System, SystemServices
from oyez.service.typing import Typing
from oyez.systems.rez.agents import Agents
from oyez.systems.rez.carts import RESERVATION_ENDS, end_reservation
from oyez.systems.rez.channels import Channels
from oyez.systems.rez.contract import contract
from oyez.systems.rez.handlers import build_handlers
from oyez.systems.rez.http import build_api
from oyez.systems.rez.sessions import Sessions
from oyez.systems.rez.support import AGENT_IS_GONE, set_agent_offline
from oyez.systems.rez.tables import metadata


def build(services: Services) -> SystemServices:
    channels, typing, agents = Channels(services.database), Typing(services.log, services.time), Agents(services)
    sessions = Sessions(channels, services.signer if services.signer.signs_users else None, services.clock)

    async def connected(client: Client) -> None:
        await agents.connected(client)
        await sessions.connected(client)

    def disconnected(client: Client, reason: str) -> None:
        typing.leave(client)
        agents.disconnected(client)

    return SystemServices(
        handlers=build_handlers(services, channels, typing),
        hooks=replace(sessions.hooks(), connected=connected, disconnected=disconnected),
        jobs={RESERVATION_ENDS: end_reservation, AGENT_IS_GONE: set_agent_offline},
        routes=build_api(services, typing),
    )


system = System(contract=contract, build=build, tables=metadata, migrations=Path(__file__).parent / "migrations")
