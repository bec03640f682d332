"""Tables at which a host has power. Ids of tables and users are numbers."""

from typing import Any

from oyez.contract import CamelCommand, CamelStamped, Contract, Payload, anyone, in_room, member, own, role
from oyez.runtime import Client
from oyez.service.system import Services, System, SystemServices

contract = Contract("tables", roles=("player", "referee"), default_role="player")
root = contract.namespace("/")
user = root.room("user:{userId}", members=own("userId"), on_connect=True)
table = root.room("table:{tableId}", members=member(), join="table:join")
hosts = root.room("hosts:{tableId}", members=member("host", "owner"), join="hosts:join")
hall = root.room("hall:{hallId}", members=anyone(), join="hall:join")


@root.event("moved", to=[table.of("tableId"), user.of("userId")], example={"tableId": 7, "userId": 42})
class Moved(CamelStamped):
    """A piece was moved."""

    table_id: int
    user_id: int | None = None


@root.event("whisper", to=[hosts], example={"timestamp": "2026-01-31T12:00:00Z"})
class Whisper(CamelStamped):
    """Something that only hosts may know."""


class Part(Payload):
    """A part."""

    part: str | None


class TableCommand(CamelCommand):
    """Names a table."""

    table_id: int


@root.command("table:kick", who=in_room(table, "host"))
class Kick(TableCommand):
    """Send a player away."""


@root.command("table:move", who=in_room(table))
class Move(TableCommand):
    """Move a piece."""


@root.command("table:stop", who=[in_room(table, "host"), role("referee")])
class Stop(TableCommand):
    """End the game."""


@root.command("table:part", reply=Part)
class AskPart(TableCommand):
    """Ask which part one has."""


@root.command("hall:watch", joins=hall)
class Watch(CamelCommand):
    """Watch a hall."""

    hall_id: int


@root.command("profile", who=own("userId", claim="sub"))
class Profile(CamelCommand):
    """Change one's own profile."""

    user_id: int


async def ask_part(command: AskPart, client: Client) -> Part:
    return Part(part=await client.part(table(command.table_id)))


def act(command: Any, client: Client) -> None:
    """Nothing to do: who may is the question."""


def build(services: Services) -> SystemServices:
    return SystemServices(handlers={Kick: act, Move: act, Stop: act, Profile: act, AskPart: ask_part})


system = System(contract=contract.build(), build=build)
