"""Parcels: events with receipts for one user, for the members of a room, and for rooms whose users nobody knows."""

from oyez.contract import Command, Contract, Id, Payload, anyone, member, own, role
from oyez.runtime import Client
from oyez.service.system import Services, System, SystemServices

contract = Contract("parcels", roles=("customer", "driver"), default_role="customer")
root = contract.namespace("/")
customer = root.room("customer:{customerId}", members=own("customerId", claim="sub"), on_connect=True)
crew = root.room("crew:{name}", members=member(), join="join_crew")
drivers = root.room("drivers", members=role("driver"), on_connect=True)
depot = root.room("depot:{number}", members=anyone(), join="join_depot")


@root.event("arrived", to=[customer.of("customerId")], receipts=True, example={"customerId": "ada", "parcel": "p-1"})
class Arrived(Payload):
    """The parcel has arrived."""

    customerId: Id
    parcel: str


@root.event("briefing", to=[crew, drivers, depot, root.everyone], receipts=True, example={"text": "t"})
class Briefing(Payload):
    """What a crew has to know."""

    text: str


@root.event("moved", to=[customer.of("customerId")], example={"customerId": "ada", "place": "x"})
class Moved(Payload):
    """The parcel is somewhere else."""

    customerId: Id
    place: str


@root.command("track")
class Track(Command):
    """Ask where a parcel is."""

    parcel: str


def track(command: Track, client: Client) -> None:
    """Nothing is answered."""


def build(services: Services) -> SystemServices:
    return SystemServices(handlers={Track: track})


system = System(contract=contract, build=build)
