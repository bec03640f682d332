"""A plaza: shops, offices and clubs, each in a namespace whose name has its id. Served by its path, and in tests."""

from typing import Annotated

from msgspec import Meta

from oyez.contract import UNSET, Command, Contract, Id, Payload, Presence, UnsetType, anyone, member, own, role
from oyez.contract.rooms import NamedRoom
from oyez.runtime import RoomHooks
from oyez.runtime.client import Client as RuntimeClient
from oyez.runtime.hooks import Departed
from oyez.service.system import Services, System, SystemServices

contract = Contract("plaza", roles=("visitor", "owner"), default_role="visitor", guests="visitor")
shop = contract.namespace("/shop-{shopId}")
staff = contract.namespace("/staff-{shopId}", who=[own("shopId", claim="shop"), role("owner")])
order = shop.room("order:{orderId}", members=[member(), role("owner")], join="watch", leave="unwatch")
counter = shop.room(
    "counter",
    members=anyone(),
    join="enter",
    leave="exit",
    presence=Presence(joined="entered", left="exited", claims={"userName": "nick"}),
)
club = contract.namespace("/club-{clubId}")
inside = club.room("inside", members=member(), on_connect="required")
till = staff.room("till", members=own("shopId", claim="shop"), on_connect=True)


@shop.event("opened", to=[shop.everyone])
class Opened(Payload):
    """The shop whose id is in the data has opened."""

    shopId: Id
    text: str


@shop.event("moved", to=[order.of("orderId")])
class Moved(Payload):
    """An order has moved. The data do not have the shop."""

    orderId: Id
    step: int


@shop.event("said", to=[shop.everyone])
class Said(Payload):
    """Somebody in the shop has said something."""

    text: str


@shop.event("menu", to=[shop.caller])
class Menu(Payload):
    """What the shop has."""

    shopId: Id
    text: str


@shop.event("entered", to=[counter])
class Entered(Payload):
    """A user stands at the counter."""

    userId: Id
    shopId: Id
    userName: str | UnsetType = UNSET


@shop.event("exited", to=[counter])
class Exited(Payload):
    """A user has left the counter."""

    userId: Id
    count: int
    userName: str | UnsetType = UNSET


@shop.relay("wave", to=[shop.everyone], sender="userId", claims={"userName": "nick"})
class Wave(Payload):
    """A user waves to the others."""

    userId: Id
    userName: Annotated[str, Meta(max_length=9)] | None = None


@shop.command("say", limit="1000/s")
class Say(Command):
    """Say something to the others in the shop."""

    text: str


class Where(Payload):
    """The shop that the client is in."""

    shopId: Id
    namespace: str


@shop.command("where", reply=Where)
class Ask(Command):
    """Ask in which shop one is."""


gong = club.signal("gong", to=[club.everyone], description="It is six o'clock.")


class Names(Payload):
    """Names of users."""

    names: list[str]


@shop.command("names", reply=Names)
class AskNames(Command):
    """Ask who stands at the counter."""


cash = staff.signal("cash", to=[till], description="Money has come in.")
contract.build()


def build(services: Services) -> SystemServices:
    async def say(command: Say, client: RuntimeClient) -> None:
        await client.publish(Said(text=command.text))

    def where(command: Ask, client: RuntimeClient) -> Where:
        return Where(shopId=client.namespace_values["shopId"], namespace=client.namespace)

    async def names(command: AskNames, client: RuntimeClient) -> Names:
        present = await client.present(counter(client.namespace_values["shopId"]))
        return Names(names=[user.claims.get("userName", user.id) for user in present.users])

    async def welcome(client: RuntimeClient, room: NamedRoom) -> Menu:
        return Menu(shopId=room.values["shopId"], text=f"in {room.namespace}")

    async def left(departed: Departed, room: NamedRoom) -> None:
        return

    return SystemServices(
        handlers={Say: say, Ask: where, AskNames: names}, rooms={counter: RoomHooks(welcome=welcome, left=left)}
    )


system = System(contract=contract, build=build)
