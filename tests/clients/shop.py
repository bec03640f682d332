"""The system that the matrix of clients runs against: one room a buyer, and every kind of message a client can meet."""

from hashlib import sha256
from typing import Any

import msgspec

from oyez.contract import Command, Contract, Payload, Stamped, auth, bearer, cookie, own, query
from oyez.runtime import Client
from oyez.service.system import Services, System, SystemServices

contract = Contract(
    "shop", roles=("buyer",), default_role="buyer", tokens=(auth("token"), cookie(), bearer(), query("token"))
)
root = contract.namespace("/")
buyer = root.room("buyer:{buyerId}", members=own("buyerId", claim="sub"), on_connect=True)


@root.event("order", to=[buyer], example={"number": 1, "timestamp": "2026-01-31T12:00:00Z"})
class Order(Stamped):
    """A stored event."""

    number: int


@root.event("typing", to=[buyer], volatile=True, example={"number": 1})
class Typing(Payload):
    """A volatile event."""

    number: int


@root.event("greeting", to=[root.caller], example={"text": "Hello."})
class Greeting(Payload):
    """An event to the caller alone."""

    text: str


class Echoed(Payload):
    """What the client sent."""

    text: str


@root.command("echo", reply=Echoed)
class Echo(Command):
    """Answer with the text, and greet."""

    text: str


class Received(Payload):
    """What arrived."""

    size: int
    sha256: str


@root.command("upload", reply=Received)
class Upload(Command):
    """Send a file."""

    file: bytes


class Opinion(Payload):
    """What the client acknowledged."""

    answer: list[Any]


@root.command("survey", reply=Opinion)
class Survey(Command):
    """Have the server ask the client, with a binary attachment."""

    question: str


@root.command("kick")
class Kick(Command):
    """Have the server disconnect the caller."""


async def echo(command: Echo, client: Client) -> Echoed:
    client.emit(Greeting(text=command.text))
    return Echoed(text=command.text)


async def upload(command: Upload, client: Client) -> Received:
    return Received(size=len(command.file), sha256=sha256(command.file).hexdigest())


async def survey(command: Survey, client: Client) -> Opinion:
    question = msgspec.json.encode(["question", command.question, {"_placeholder": True, "num": 0}])
    return Opinion(answer=msgspec.json.decode(await client.socket.call(question, attachments=(b"\x00\xff",))))


async def kick(command: Kick, client: Client) -> None:
    client.socket.disconnect()


def build(services: Services) -> SystemServices:
    return SystemServices(handlers={Echo: echo, Upload: upload, Survey: survey, Kick: kick})


system = System(contract=contract, build=build)
