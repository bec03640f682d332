"""A contract file as a user writes one: what the commands are given in these tests."""

from oyez.contract import Contract, Id, Payload, Stamped, own

contract = Contract("orders", roles=("customer", "courier"), default_role="customer")
root = contract.namespace("/")
customer = root.room("customer:{customer_id}", members=own("customer_id", claim="sub"), on_connect=True)
team = root.room("team:{team}", members=own("team"), on_connect=True)


@root.event(
    "order:packed",
    to=[customer.of("customer_id")],
    example={"order_id": "o-1", "customer_id": "ada", "timestamp": "2026-01-31T12:00:00Z"},
    webhook=True,
)
class OrderPacked(Stamped):
    """The order is ready to go."""

    order_id: Id
    customer_id: Id


@root.event("order:seen", to=[customer, team], example={"order_id": "o-1"}, volatile=True)
class OrderSeen(Payload):
    """A user looks at the order."""

    order_id: Id
