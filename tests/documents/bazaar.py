"""A contract with every form that a contract can have: for each kind of document, its hardest reader."""

from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from oyez.contract import (
    UNSET,
    Acknowledgements,
    CamelCommand,
    CamelPayload,
    CamelStamped,
    Claims,
    Command,
    Contract,
    Errors,
    Id,
    Maybe,
    Millis,
    Money,
    Number,
    Payload,
    Presence,
    Time,
    Total,
    UnsetType,
    anyone,
    auth,
    bearer,
    cookie,
    header,
    in_room,
    member,
    not_role,
    own,
    per_address,
    per_room,
    query,
    resolved,
    role,
)
from oyez.service.system import System

contract = Contract(
    "bazaar",
    description="Stalls, and everything that can happen at one.",
    roles=("guest", "buyer", "seller", "inspector"),
    default_role="buyer",
    guests="guest",
    sign_in_within=60,
    tokens=(auth("token"), bearer(), header("X-API-Key"), query("token"), cookie(), cookie("sid")),
    claims=Claims(subject=("user_id", "sub"), role="type", names={"guild_id": "https://id.example/guild"}),
    subjects={"guild": "guild_id"},
    errors=Errors(
        shape={"type": Literal["error"], "code": "code", "text": "message", "of": {"command": "event", "key": "id"}},
        codes={"forbidden": 403, "*": "BAD"},
        messages={"*": "That did not work."},
        connect={"token_invalid": "Sign in again."},
        connect_shape={"code": "code", "status": "status"},
    ),
)
sold_out = contract.refusal("sold_out", "There is none left.", status=409)
contract.user_attribute("stall_id", "stall of this user", who=role("seller"))

root = contract.namespace("/")
office = contract.namespace("/office", who=[role("inspector"), not_role("guest", "buyer")])

buyer = root.room("buyer:{buyerId}", members=own("buyerId", claim="sub"), on_connect=True)
stall = root.room(
    "stall:{stallId}",
    members=[resolved("stallId", "stall_id"), member("helper"), role("inspector") & member()],
    join="stall:enter",
    leave="stall:leave",
    presence=Presence(joined="stall:joined", left="stall:left", user="who"),
)
board = root.room("board:{kind}:{period}", members=anyone(), join="board:watch", values={"period": ("day", "week")})
square = root.room("square", members=anyone(), on_connect=True)
desks = office.gateway("desks", who=role("inspector"))
desk = desks.room("desk", members=anyone(), on_connect=True)
files = office.room("board:{kind}", members=member(), join="board:watch")


class Color(Enum):
    RED = "red"
    GREEN = "green"


class Size(CamelPayload):
    """How large it is."""

    wide_in_cm: int
    """Centimetres."""


@root.event("thing:offered", to=[stall.of("stallId"), square, root.everyone], max_bytes=50_000)
@office.event("thing:offered", to=[desk], max_bytes=50_000)
class Offered(CamelStamped):
    """Something is offered: `*/` and "quotes" and ${text} must not break a document.

    A second paragraph.
    """

    stall_id: Id
    kind: Literal["tool", "food", "art"]
    """What kind of thing it is. */ is part of this text."""
    state: Literal["new", 2, None]
    price: Money
    total: Total
    weight: Number
    share: Annotated[float, Meta(ge=0, lt=1, description="From 0 to below 1.")]
    count: Annotated[int, Meta(gt=0, le=99, multiple_of=3)] = 3
    color: Color = Color.RED
    size: Size
    parts: Annotated[list["Part"], Meta(min_length=1, max_length=20)]
    pair: tuple[int, str]
    tags: set[str]
    notes: Maybe[str] = UNSET
    by_day: dict[str, list[Money | None]]
    by_number: dict[int, Size]
    anything: Any
    at: Time | None
    ends: Millis
    sum: Decimal
    odd: Annotated[str, Meta(pattern="^[A-Za-z -]+$", examples=["a-b"])] = field(name="odd-name", default="x")
    class_: str = field(name="class")


class Part(Payload):
    """A part, which has parts."""

    name: str
    parts: list["Part"] = field(default_factory=list)


class Sold(Payload, tag_field="type", tag="sold"):
    """It was sold."""

    buyer: Id
    price: Money


class Broken(Payload, tag_field="type", tag="broken"):
    """It is broken."""


class Numbered(Payload, tag_field="type", tag="n"):
    """It has a number."""

    number: int
    at: Millis | UnsetType = UNSET


root.event("thing:changed", to=[stall, root.caller])(Sold | Broken | Numbered)


@root.event("said", to=[square, root.sockets], arguments="positional")
class Said(Payload):
    """One bare word."""

    word: str


@root.event("counted", to=[square], arguments="positional", volatile=True, latest=60)
class Counted(Payload):
    """How many people are here."""

    people: int


@root.event("moved", to=[square, root.sockets.of("socketId")], arguments="positional", timestamp="at")
class Moved(CamelPayload):
    """Several arguments, of which the last may be missing."""

    socket_id: str
    to: list[int]
    at: Millis | UnsetType = UNSET


class Picture(Payload):
    """A picture."""

    image: bytes
    title: str = ""


@root.event("pictured", to=[square])
class Pictured(Payload):
    """Pictures of a thing."""

    pictures: list[Picture]


Opened = root.signal("opened", to=[square], description="The bazaar opens.")
Warned = office.signal("warned", to=[office.everyone], description="Somebody comes.", volatile=True)


@root.event("welcome", to=[root.caller], unknown_fields="ignore")
class Welcome(Payload):
    """Sent to one client."""

    name: str


@root.event("stall:joined", to=[stall])
class Joined(Payload):
    """Somebody has come."""

    who: Id
    count: int


@root.event("stall:left", to=[stall])
class Left(CamelPayload):
    """Somebody has gone."""

    who: Id
    last_seen: Time


@root.relay("cursor", to=[stall.of("stallId")], volatile=True, sender="who", limit=["10/s", per_room("50/s")])
class Cursor(CamelStamped):
    """Where somebody points."""

    stall_id: Id
    who: Id
    x: float


@root.relay("wave", to=[stall.of("stallId")], arguments="positional")
class Wave(CamelPayload):
    """Somebody waves."""

    stall_id: Id
    hand: Literal["left", "right"] = "right"


@root.command("auth", signs_in="token", limit="5/m")
class SignIn(Command):
    """Sign in."""

    token: str


class Receipt(CamelPayload):
    """What was bought."""

    order_id: Id
    price: Money


class Refund(CamelPayload, tag_field="type", tag="refund"):
    """Money back."""

    money: Money


class Voucher(CamelPayload, tag_field="type", tag="voucher"):
    """No money back."""

    code: str


class ReturnWhole(CamelCommand, tag_field="type", tag="whole"):
    """Return all of it."""

    order_id: Id


class ReturnPart(CamelCommand, tag_field="type", tag="part"):
    """Return a part of it."""

    order_id: Id
    count: int


@root.command(
    "buy",
    who=role("buyer") & in_room(stall) & own("buyerId", claim="sub"),
    limit=["10/s", "200/h", per_room("50/s", stall), per_address("100/m")],
    reply=Receipt,
    max_bytes=2_000,
)
class Buy(CamelCommand):
    """Buy something."""

    stall_id: Id
    buyer_id: Id
    """The buyer's own id."""
    count: int = 1
    notes: Maybe[str] = UNSET


root.command("return", reply=Refund | Voucher, acknowledgements=Acknowledgements(data="data"))(ReturnWhole | ReturnPart)


@root.command("count", reply=int, acknowledgements=Acknowledgements(node_style=True), error=Errors(shape="message"))
class Count(Command):
    """How many there are."""


@root.command("list", arguments="positional", reply=list[Receipt], acknowledgements=Acknowledgements(flag=None))
class List(Command):
    """What one has bought: at most so many, from that day on."""

    most: int
    since: str | None = None


class Page(CamelPayload):
    receipts: list[Receipt]
    next_page: str | UnsetType = UNSET


@root.command(
    "browse",
    reply=Page,
    reply_arguments="positional",
    acknowledgements=Acknowledgements(node_style=True, error_as={"reason": "code", "waitMs": "retry_after_ms"}),
)
class Browse(Command):
    """What one has bought, page by page."""


@root.command("sell", reply=int, acknowledgements=Acknowledgements(data="sum", error_as=["code", "message", "id"]))
class Sell(Command):
    """Sell all that one has."""


@root.command("haggle", reply=int, acknowledgements=Acknowledgements(flag=None, failure=(Literal[False], "message")))
class Haggle(Command):
    """Ask for a lower price."""


@root.command(
    "ping it", arguments="positional", acknowledgements=Acknowledgements(flag=None, empty=True, failure=Literal[False])
)
class Ping(Command):
    """Is anybody there?"""


@root.command("photo", reply=Size, acknowledgements=Acknowledgements(flag="status", values=("fine", "bad"), error=None))
class Photo(Command):
    """Show a photo."""

    image: bytes
    title: str = ""


@root.command("where", volatile=True, limit="2/s", unknown_fields="ignore", error="position:error")
class Where(Command):
    """Where one is."""

    x: float
    y: float


@office.command("close", who=role("inspector"), acknowledgements=Acknowledgements(error_as="code"), leaves=files)
class Close(Command):
    """Close a file."""

    kind: Id


system = System(contract=contract.build())
