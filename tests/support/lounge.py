"""A lounge: guests who sign in, answers of its own form, presence, limits per address. Served by its path."""

from oyez.contract import (
    UNSET,
    Acknowledgements,
    Command,
    Contract,
    Errors,
    Id,
    Payload,
    Presence,
    Time,
    UnsetType,
    anyone,
    own,
    per_address,
)
from oyez.errors import RefusedError
from oyez.runtime.client import Client
from oyez.service.system import Services, System, SystemServices

contract = Contract(
    "lounge",
    roles=("visitor", "member"),
    default_role="member",
    guests="visitor",
    sign_in_within=2.0,
    acknowledgements=Acknowledgements(flag="success", data="data", error="error", error_as="message"),
    errors=Errors(
        event="problem",
        shape={"kind": "code", "text": "message", "of": "event"},
        codes={"rate_limited": "slow_down"},
    ),
)
FULL = contract.refusal("full", "The bar is full.")
root = contract.namespace("/")
user = root.room("user:{userId}", members=own("userId", claim="sub"), on_connect=True)
bar = root.room(
    "bar:{barId}",
    members=anyone(),
    join="bar:join",
    leave="bar:leave",
    presence=Presence(joined="bar:came", left="bar:went"),
)
watched = root.room("watched:{barId}", members=anyone(), join="watch", presence=Presence(joined="crowd", left="crowd"))


@root.event("bar:came", to=[bar])
class Came(Payload):
    """A user is in the bar."""

    userId: Id
    count: int


@root.event("bar:went", to=[bar])
class Went(Payload):
    """A user has left the bar."""

    userId: Id
    count: int
    lastSeen: Time | UnsetType = UNSET


@root.event("crowd", to=[watched])
class Crowd(Payload):
    """How many watch."""

    barId: Id
    count: int


@root.event("drink", to=[user.of("userId"), bar.of("barId")], arguments="positional")
class Drink(Payload):
    """Somebody drinks."""

    userId: Id
    barId: Id
    name: str


class Who(Payload):
    """Who the client is."""

    user: str
    rooms: list[str]


@root.command("sign:in", signs_in="token", reply=Who)
class SignIn(Command):
    """Sign in with a token."""

    token: str


@root.command("order", reply=str, limit="100/s")
class Order(Command):
    """Order a drink at a bar."""

    barId: Id
    name: str


@root.command("knock", limit=["50/s", per_address("6/h")])
class Knock(Command):
    """Knock, which an address may do six times an hour."""


@root.command("who", reply=Who)
class AskWho(Command):
    """Ask who the client is."""


contract.build()


def who(command: AskWho | SignIn, client: Client) -> Who:
    return Who(user=client.identity.subject, rooms=sorted(client.rooms))


def knock(command: Knock, client: Client) -> None:
    pass


def build(services: Services) -> SystemServices:
    async def order(command: Order, client: Client) -> str:
        if command.name == "water":
            raise RefusedError(FULL)
        await services.publisher.emit(Drink(userId=client.identity.subject, barId=command.barId, name=command.name))
        return f"{command.name} is on its way"

    return SystemServices(handlers={SignIn: who, AskWho: who, Order: order, Knock: knock})


system = System(contract=contract, build=build)
