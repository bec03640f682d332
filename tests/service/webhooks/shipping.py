"""The contract of a shipping service: events that may go out, and others."""

from oyez.contract import Contract, Id, Payload, Stamped, own, role

contract = Contract("shipping", roles=("customer", "courier"), default_role="customer")
root = contract.namespace("/")
back = contract.namespace("/back", who=role("courier"))
customer = root.room("customer:{customer_id}", members=own("customer_id", claim="sub"), on_connect=True)


@root.event("parcel:packed", to=[customer.of("customer_id")], webhook=True)
class Packed(Payload):
    """The parcel is ready to go."""

    parcel_id: Id
    customer_id: Id


@root.event("parcel:moved", to=[root.everyone], arguments="positional", webhook=True)
class Moved(Payload):
    """The parcel has reached a place."""

    parcel_id: Id
    place: str


@back.event("depot:open", to=[back.everyone], webhook=True)
@root.event("depot:open", to=[root.everyone], webhook=True)
class DepotOpen(Stamped):
    """The depot opens."""


@root.event("parcel:lost", to=[root.everyone])
class Lost(Payload):
    """Stays inside."""

    parcel_id: Id
