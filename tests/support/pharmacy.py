"""A small system for the tests of the admin: private fields, members, commands, rooms that clients join."""

from typing import Annotated

from oyez.contract import PRIVATE, Command, Contract, Id, Payload, Stamped, anyone, member, own, role
from oyez.runtime import Client
from oyez.service.system import Services, System, SystemServices

contract = Contract("pharmacy", roles=("customer", "staff"), default_role="customer")
root = contract.namespace("/")
customer = root.room("customer:{customerId}", members=own("customerId", claim="sub"), on_connect=True)
counter = root.room("counter:{number}", members=anyone(), join="join_counter", leave="leave_counter")
office = root.room("office", members=member() & role("staff"), join="join_office")


class Patient(Payload):
    """Who it is for."""

    name: Annotated[str, PRIVATE]
    city: str


@root.event("prescribed", to=[customer], example={"medicine": "m", "patient": {"name": "n", "city": "c"}})
class Prescribed(Stamped):
    """A medicine was prescribed."""

    medicine: Annotated[str, PRIVATE]
    patient: Patient
    note: str = ""


@root.event("called", to=[counter], example={"ticket": 1})
class Called(Stamped):
    """The next customer may come."""

    ticket: int


@root.event("meeting", to=[office], example={"topic": "t"})
class Meeting(Payload):
    """Staff meets."""

    topic: str


@root.command("ask")
class Ask(Command):
    """Ask about a medicine."""

    medicine: Id


@root.command("order", who=role("staff"))
class Order(Command):
    """Order a medicine."""

    medicine: Id


def ask(command: Ask, client: Client) -> None:
    """Nothing is answered."""


def order(command: Order, client: Client) -> None:
    """Nothing is answered."""


def build(services: Services) -> SystemServices:
    return SystemServices(handlers={Ask: ask, Order: order})


system = System(contract=contract, build=build)
