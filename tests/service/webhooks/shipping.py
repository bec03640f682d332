"""The contract of a shipping service: events that may go out, and others."""

from oyez.contract import Contract, Id, Payload, Stamped, Was, own, role

contract = Contract("shipping", roles=("customer", "courier"), default_role="customer", versions=("1", "2"))
root = contract.namespace("/")
back = contract.namespace("/back", who=role("courier"))
customer = root.room("customer:{customer_id}", members=own("customer_id", claim="sub"), on_connect=True)


class OldPacked(Payload):
    """Version 1: the id of the parcel alone."""

    id: str


def to_old(packed: "Packed") -> OldPacked | None:
    return OldPacked(id=packed.parcel_id) if packed.parcel_id != "p-0" else None


@root.event(
    "parcel:packed",
    to=[customer.of("customer_id")],
    webhook=True,
    was=Was("1", OldPacked, to_old, name="packed", arguments="positional"),
)
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
