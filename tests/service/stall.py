"""A stall for the tests of observers and of debug lines: commands that succeed, publish, are refused and fail."""

from typing import Any

from oyez.contract import Command, Contract, Id, Payload, Stamped, anyone, own
from oyez.errors import FORBIDDEN, RefusedError
from oyez.runtime import Client
from oyez.runtime.http import service_route
from oyez.service.outbox.transaction import Transaction
from oyez.service.system import Services, System, SystemServices

contract = Contract("stall", roles=("buyer",), default_role="buyer")
root = contract.namespace("/")
buyer = root.room("buyer:{buyer}", members=own("buyer", claim="sub"), on_connect=True)
row = root.room("row:{number}", members=anyone(), join="join_row", leave="leave_row")


@root.event("sold", to=[buyer.of("buyer"), row], example={"item": "i", "buyer": "ada"})
class Sold(Stamped):
    """Something was sold."""

    item: str
    buyer: Id


@root.event("typing", to=[buyer.of("buyer")], example={"buyer": "ada"}, volatile=True)
class Typing(Payload):
    """A buyer is typing."""

    buyer: Id


@root.command("look")
class Look(Command):
    """Look at an item."""

    item: Id


@root.command("buy")
class Buy(Command):
    """Buy an item."""

    item: Id


@root.command("steal")
class Steal(Command):
    """Is refused."""


@root.command("break")
class Break(Command):
    """Fails."""

    item: str


def sell(tx: Transaction, item: str, to: str) -> None:
    tx.emit(Sold(item=item, buyer=to))


def build(services: Services) -> SystemServices:
    def look(command: Look, client: Client) -> None:
        """Succeeds at once."""

    async def buy(command: Buy, client: Client) -> None:
        await services.outbox.run(sell, command.item, client.identity.subject)

    def steal(command: Steal, client: Client) -> None:
        raise RefusedError(FORBIDDEN)

    async def fail(command: Break, client: Client) -> None:
        raise ZeroDivisionError

    async def answer(request: Any) -> Any:
        raise ZeroDivisionError

    return SystemServices(
        handlers={Look: look, Buy: buy, Steal: steal, Break: fail},
        routes=[service_route("/fail", answer, services.authorize)],
    )


system = System(contract=contract, build=build)
