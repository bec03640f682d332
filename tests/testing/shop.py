"""A small shop with everything that a test may want to cause: commands, tables, jobs, timers, memory, members."""

from typing import Any

from sqlalchemy import Column, MetaData, String, Table, insert, select

from oyez.contract import CamelCommand, CamelPayload, Contract, Id, member, own, role
from oyez.errors import FORBIDDEN, RefusedError
from oyez.runtime import Client
from oyez.service.outbox.transaction import Transaction
from oyez.service.system import Services, System, SystemServices

contract = Contract("shop", roles=("buyer", "seller"), default_role="buyer", guests="buyer")
root = contract.namespace("/")
back = contract.namespace("/back", who=role("seller"))
buyer = root.room("buyer:{buyerId}", members=own("buyerId", claim="sub"), on_connect=True)
order = root.room("order:{orderId}", members=[role("seller"), member()], join="order:watch")
sellers = root.room("sellers", members=role("seller"), on_connect=True)
orders = Table("orders", MetaData(), Column("id", String, primary_key=True), Column("buyer", String))


@back.event("order:created", to=[back.everyone])
@root.event("order:created", to=[buyer.of("buyerId"), sellers])
class OrderCreated(CamelPayload):
    """A buyer has ordered."""

    order_id: Id
    buyer_id: Id


@root.event("order:expired", to=[buyer.of("buyerId")])
class OrderExpired(CamelPayload):
    """Nobody has paid."""

    order_id: Id
    buyer_id: Id


@root.event("order:moved", to=[order], volatile=True)
class OrderMoved(CamelPayload):
    """The parcel has moved."""

    order_id: Id


@root.event("price", to=[root.everyone], arguments="positional")
class Price(CamelPayload):
    """A new price."""

    thing: Id
    cents: int


class Placed(CamelPayload):
    """The reply to `order:place`."""

    order_id: Id


@root.command("order:place", limit="3/m", reply=Placed)
class PlaceOrder(CamelCommand):
    """Order something."""

    order_id: Id


@root.command("seller:close", who=role("seller"))
class Close(CamelCommand):
    """Close the shop."""


@root.command("remind")
class Remind(CamelCommand):
    """Receive a price in a minute."""


class Counted(CamelPayload):
    """The reply to `count`."""

    number: int


@root.command("count", reply=Counted)
class Count(CamelCommand):
    """Count the commands of this process."""


def place(tx: Transaction, order_id: str, buyer_id: str) -> None:
    if tx.connection.execute(select(orders).where(orders.c.id == order_id)).first():
        raise RefusedError(FORBIDDEN, "There is such an order.")
    tx.connection.execute(insert(orders).values(id=order_id, buyer=buyer_id))
    tx.emit(OrderCreated(order_id=order_id, buyer_id=buyer_id))
    tx.schedule("expire", order_id, tx.now + 600, {"buyer": buyer_id})


def expire(tx: Transaction, key: str, data: dict[str, Any]) -> None:
    tx.emit(OrderExpired(order_id=key, buyer_id=data["buyer"]))


def build(services: Services) -> SystemServices:
    counted: list[str] = []

    async def place_order(command: PlaceOrder, client: Client) -> Placed:
        await services.outbox.run(place, command.order_id, client.identity.subject)
        return Placed(order_id=command.order_id)

    async def close(command: Close, client: Client) -> None:
        await services.publisher.emit(Price(thing="everything", cents=0))

    async def remind(command: Remind, client: Client) -> None:
        await services.time.sleep(60.0)
        await services.publisher.emit(Price(thing="reminder", cents=1))

    def count(command: Count, client: Client) -> Counted:
        counted.append(client.id)
        return Counted(number=len(counted))

    return SystemServices(
        handlers={PlaceOrder: place_order, Close: close, Remind: remind, Count: count}, jobs={"expire": expire}
    )


system = System(contract=contract, build=build, tables=orders.metadata)
