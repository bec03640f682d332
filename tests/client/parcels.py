"""The contract of a parcel service: what the publishers' tests publish."""

from oyez.contract import Contract, Id, Payload, Stamped, member, own, role

contract = Contract("parcels", roles=("customer", "courier"), default_role="customer")
root = contract.namespace("/")
back = contract.namespace("/back", who=role("courier"))
customer = root.room("customer:{customer_id}", members=own("customer_id", claim="sub"), on_connect=True)
parcel = root.room("parcel:{id}", members=member(), join="follow")
depot = root.room("depot", members=role("customer"), on_connect=True)
back_depot = back.room("depot", members=role("courier"), on_connect=True)


@root.event("parcel:packed", to=[customer.of("customer_id")], example={"parcel_id": "p-1", "customer_id": "ada"})
class Packed(Stamped):
    """The parcel is ready to go."""

    parcel_id: Id
    customer_id: Id


@root.event("parcel:moved", to=[parcel, root.everyone], example=["p-1", "Bonn"], arguments="positional")
class Moved(Payload):
    """The parcel has reached a place."""

    parcel_id: Id
    place: str


@root.event("parcel:{parcel_id}:opened", to=[customer.of("customer_id")], arguments="positional", name_only=True)
class Opened(Payload):
    """The customer has opened the parcel."""

    parcel_id: Id
    customer_id: Id


@root.event("parcel:seen", to=[customer], example={"parcel_id": "p-1"}, volatile=True)
class Seen(Payload):
    """A user looks at the parcel."""

    parcel_id: Id


@back.event("depot:open", to=[back_depot])
@root.event("depot:open", to=[depot], example={"open": True})
class DepotOpen(Payload):
    """The depot opens or closes."""

    open: bool
