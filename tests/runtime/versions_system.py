"""A shop whose events have old forms, for old apps."""

from msgspec import UNSET, UnsetType

from oyez.contract import Contract, Id, Payload, Time, Was, anyone

contract = Contract("shop", roles=("buyer",), default_role="buyer")
root = contract.namespace("/")
orders = root.room("order:{orderId}", members=anyone(), join="order:watch")
converted: list[str] = []
"""The ids of orders whose events were converted."""


class OrderUpdate(Payload):
    """An order has a new status."""

    order: Id
    status: str
    at: Time | UnsetType = UNSET


def to_update(moved: "OrderMoved") -> OrderUpdate | None:
    converted.append(moved.orderId)
    return OrderUpdate(order=moved.orderId, status=moved.to.upper(), at=moved.at) if moved.to != "hidden" else None


@root.event("order:moved", to=[orders.of("orderId")], timestamp="at", was=Was("order:update", OrderUpdate, to_update))
class OrderMoved(Payload):
    """An order is somewhere else."""

    orderId: Id
    to: str
    at: Time | UnsetType = UNSET
