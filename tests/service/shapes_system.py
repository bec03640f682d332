"""A table in a club: a system whose events and commands have every form that arguments can have. Served by its path."""

from oyez.contract import (
    UNSET,
    Command,
    Contract,
    Id,
    Millis,
    Payload,
    Time,
    UnsetType,
    anyone,
    own,
)
from oyez.runtime.client import Client
from oyez.service.outbox.transaction import Transaction
from oyez.service.system import Services, System, SystemServices

contract = Contract("shapes", roles=("player",), default_role="player")
root = contract.namespace("/")
player = root.room("player:{playerId}", members=own("playerId", claim="sub"), on_connect=True)
table = root.room("table:{tableId}", members=anyone(), join="table:join")

TimerExpired = root.signal("timer:expired", to=[table, root.caller], description="The time of the turn is over.")
Nudged = root.signal("nudged", to=[table], description="A player waits.", volatile=True)


@root.event("said", to=[table, root.caller], arguments="positional")
class Said(Payload):
    """The last word at the table, as a bare string."""

    text: str


@root.event("whispered", to=[table], arguments="positional", volatile=True, latest=60)
class Whispered(Payload):
    """The same, and never stored."""

    text: str


@root.event("count", to=[table], arguments="positional")
class Count(Payload):
    """How many watch."""

    watchers: int


@root.event("hand", to=[player.of("playerId")], arguments="positional")
class Hand(Payload):
    """A player's cards: who, which, and a remark that may be missing."""

    playerId: Id
    cards: list[str]
    remark: str | UnsetType = UNSET


@root.event("cards", to=[table], arguments="positional")
class Cards(Payload):
    """The cards on the table."""

    cards: list[str]


@root.event("stock", to=[table], arguments="positional")
class Stock(Payload):
    """The number of cards of each color that remain."""

    left: dict[str, int]


class Moved(Payload, tag_field="type", tag="moved"):
    """A piece has moved."""

    tableId: Id
    to: int
    at: Millis | UnsetType = UNSET


class Passed(Payload, tag_field="type", tag="passed"):
    """A player has passed."""

    tableId: Id
    at: Time | UnsetType = UNSET


root.event("turn", to=[table.of("tableId")], timestamp="at")(Moved | Passed)


@root.event("board", to=[table], max_bytes=300_000)
class Board(Payload):
    """The whole board."""

    squares: list[str]


@root.event("open", to=[table], unknown_fields="ignore")
class Open(Payload):
    """A table is open; publishers may send more fields than clients receive."""

    name: str


class Roll(Command, tag_field="type", tag="roll"):
    """Roll the dice."""

    dice: int


class Bid(Command, tag_field="type", tag="bid"):
    """Place a bid."""

    amount: float


class Rolled(Payload):
    """What was done."""

    done: str


root.command("act", reply=Rolled)(Roll | Bid)


@root.command("say", arguments="positional", reply=Rolled)
class Say(Command):
    """Send a text to a table, perhaps more than once."""

    tableId: Id
    text: str
    times: int = 1


@root.command("load", max_bytes=200_000, reply=Rolled)
class Load(Command):
    """Load a board."""

    squares: list[str]


@root.command("nap", unknown_fields="ignore", reply=Rolled)
class Nap(Command):
    """Rest for some seconds."""

    seconds: int


@root.command("remind", arguments="positional")
class Remind(Command):
    """Ask for the time and the last word."""


contract.build()


def roll(command: Roll, client: Client) -> Rolled:
    return Rolled(done=f"rolled {command.dice}")


def bid(command: Bid, client: Client) -> Rolled:
    return Rolled(done=f"bid {command.amount}")


def load(command: Load, client: Client) -> Rolled:
    return Rolled(done=f"loaded {len(command.squares)}")


def nap(command: Nap, client: Client) -> Rolled:
    return Rolled(done=f"slept {command.seconds}")


def remind(command: Remind, client: Client) -> None:
    client.emit(TimerExpired())
    client.emit(Said(text="0dd1e5a2.7"))


def announce(tx: Transaction, command: Say) -> Rolled:
    for _ in range(command.times):
        tx.emit(Said(text=command.text), table(command.tableId))
    return Rolled(done=f"said {command.times}")


def build(services: Services) -> SystemServices:
    async def say(command: Say, client: Client) -> Rolled:
        return await services.outbox.run(announce, command)

    return SystemServices(handlers={Roll: roll, Bid: bid, Say: say, Load: load, Nap: nap, Remind: remind})


system = System(contract=contract, build=build)
