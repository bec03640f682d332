"""The system of the scenario `durable`: a command stores one message, publishes one event, and is acknowledged.

`oyez serve bench/chat.py`. The peers write the same rows: peers/peer.mjs and peers/python_socketio.py with `store`.
"""

from typing import Annotated
from uuid import uuid4

from msgspec import Meta
from sqlalchemy import Column, MetaData, String, Table, insert

from oyez.contract import Command, Contract, Id, Payload, auth, own
from oyez.runtime import Client, Handlers
from oyez.service.outbox.transaction import Transaction
from oyez.service.system import Services, System, SystemServices

contract = Contract(
    "bench",
    description="Messages between users, to be measured.",
    roles=("user",),
    tokens=(auth("token"),),
)
root = contract.namespace("/")
user = root.room("user:{userId}", members=own("userId"), on_connect=True)

metadata = MetaData()
messages = Table(
    "bench_messages",
    metadata,
    Column("id", String, primary_key=True),
    Column("sender", String, nullable=False),
    Column("recipient", String, nullable=False),
    Column("text", String, nullable=False),
)


@root.event("message", to=[user], example={"id": "m1", "sender": "user-1", "text": "Hear ye!"})
class Message(Payload):
    """A message for its recipient."""

    id: Id
    sender: Id
    text: Annotated[str, Meta(max_length=1_000)]


class Sent(Payload):
    """The message is stored."""

    id: Id
    to: Id


# The highest limit there is: it is counted for each command as any other, and never reached.
@root.command("send", limit="999999/s", reply=Sent)
class Send(Command):
    """Send a message to a user."""

    to: Id
    text: Annotated[str, Meta(min_length=1, max_length=1_000)]


def store(tx: Transaction, sender: str, command: Send) -> Sent:
    """Store the message, and publish it."""
    message = Message(id=str(uuid4()), sender=sender, text=command.text)
    row = {"id": message.id, "sender": sender, "recipient": command.to, "text": command.text}
    tx.connection.execute(insert(messages), row)
    tx.emit(message, user(command.to))
    return Sent(id=message.id, to=command.to)


def build(services: Services) -> SystemServices:
    async def send(command: Send, client: Client) -> Sent:
        return await services.outbox.run(store, client.identity.subject, command)

    handlers: Handlers = {Send: send}
    return SystemServices(handlers=handlers)


system = System(contract=contract, build=build, tables=metadata)
