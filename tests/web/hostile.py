"""A contract whose texts try to become HTML or scripts, as those that a document of somebody else could have."""

from typing import Annotated, Literal

from msgspec import Meta

from oyez.contract import Command, Contract, Payload, Was, own
from oyez.runtime import Client
from oyez.service.system import Services, System, SystemServices

IMAGE = "<img src=x onerror=window.hacked=1>"
SCRIPT = "</script><script>window.hacked=1</script>"
LINK = "`<a href=\"javascript:window.hacked=1\">x</a>` ${window.hacked=1} {{constructor.constructor('x')()}}"

contract = Contract(
    "hostile",
    description=f"{IMAGE} {SCRIPT} {LINK}",
    roles=("user",),
    default_role="user",
    versions=("1", "2"),
)
root = contract.namespace("/")
user = root.room("user:{user}", members=own("user", claim="sub"), on_connect=True)
contract.refusal("refused", f"{IMAGE} {SCRIPT}")


class Older(Payload):
    """<img src=x onerror=window.hacked=1> </script><script>window.hacked=1</script>"""

    text: Annotated[str, Meta(description=f"{IMAGE} {SCRIPT} {LINK}")]


@root.event(
    "hostile",
    to=[user.of("user")],
    example={"user": "ada", "text": f"{IMAGE} {SCRIPT} {LINK}", "kind": IMAGE},
    was=Was("1", Older, lambda new: Older(text=new.text), name=f"old {IMAGE}"),
)
class Hostile(Payload):
    """<img src=x onerror=window.hacked=1> </script><script>window.hacked=1</script> `<b>bold</b>`"""

    user: str
    text: Annotated[str, Meta(description=f"{IMAGE} {SCRIPT} {LINK}", pattern="^[^\\x00]*$")]
    kind: Literal["<img src=x onerror=window.hacked=1>", "</script>"] = "</script>"


class Echoed(Payload):
    """The text that was sent."""

    text: str


class OldEcho(Command):
    """The old form. <img src=x onerror=window.hacked=1>"""

    words: str


@root.command(
    "echo",
    reply=Echoed,
    was=Was("1", OldEcho, lambda old: Echo(text=old.words), name="shout", arguments="positional"),
)
class Echo(Command):
    """Answers with the text. <img src=x onerror=window.hacked=1>"""

    text: Annotated[str, Meta(description=f"{IMAGE} {SCRIPT} {LINK}", max_length=500)]


contract.build()


def build(services: Services) -> SystemServices:
    return SystemServices(handlers={Echo: echo})


def echo(command: Echo, client: Client) -> Echoed:
    """Acknowledge with the same text."""
    return Echoed(text=command.text)


system = System(contract=contract, build=build)
