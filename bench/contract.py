"""The system that the benchmark serves: one room that every user is in, one event into it, one validated command.

Guests are in a room of their own, in which nothing happens.
"""

from typing import Annotated

from msgspec import Meta

from oyez.contract import Command, Contract, Payload, Stamped, auth, role
from oyez.runtime import Client, Handlers

contract = Contract(
    "bench",
    description="One room, one event and one command, to be measured.",
    roles=("user", "guest"),
    tokens=(auth("token"),),
)

root = contract.namespace("/")
room = root.room("room", members=role("user"), on_connect=True)
lobby = root.room("lobby", members=role("guest"), on_connect=True)


@root.event("news", to=[room], example={"sent": 1, "text": "Hear ye!"})
class News(Stamped):
    """Something happened, at a time by the sender's monotonic clock."""

    sent: int
    """Nanoseconds."""
    text: Annotated[str, Meta(max_length=1_000)]


class Echoed(Payload):
    """The text of a command, sent back."""

    text: str
    n: int


# The highest limit there is: it is counted for each command as any other, and never reached.
@root.command("echo", limit="999999/s", reply=Echoed)
class Echo(Command):
    """Send a text that the server sends back."""

    text: Annotated[str, Meta(min_length=1, max_length=1_000)]
    n: Annotated[int, Meta(ge=0, le=1_000_000)]


def handle_echo(command: Echo, client: Client) -> Echoed:
    return Echoed(text=command.text, n=command.n)


handlers: Handlers = {Echo: handle_echo}
