"""Auction: everybody may watch a lot, bidders may bid for it, and its seller may close it.

The event document of this system is `auction.md`, beside this file. Serve it with `oyez serve examples/auction.py`.
"""

from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import BigInteger, Boolean, Column, Connection, Integer, MetaData, String, Table, insert, select, update

from oyez.contract import (
    UNSET,
    Acknowledgements,
    CamelCommand,
    CamelPayload,
    Command,
    Contract,
    Errors,
    Id,
    Millis,
    Money,
    NamedRoom,
    Payload,
    Presence,
    UnsetType,
    anyone,
    in_room,
    own,
    per_room,
    role,
)
from oyez.errors import FORBIDDEN, ID_REUSED, UNKNOWN_ROOM, RefusedError
from oyez.runtime import Client, RoomHooks
from oyez.service.outbox.transaction import Transaction
from oyez.service.resources import Write, build_routes
from oyez.service.system import Services, System, SystemServices

# The contract: what the event document says.

BAD_TOKEN = "Authentication failed"

contract = Contract(
    "auction",
    description="Lots that everybody may watch, and bidders may bid for.",
    roles=("viewer", "bidder", "seller"),
    guests="viewer",
    acknowledgements=Acknowledgements(flag="success", data="data", error_as="message", room=None),
    errors=Errors(
        event="exception",
        shape={"code": "code", "message": "message", "for": "event"},
        codes={
            "forbidden": "NOT_ALLOWED",
            "forbidden_role": "NOT_ALLOWED",
            "rate_limited": "TOO_FAST",
            "unavailable": "TRY_AGAIN",
            "keys_unavailable": "TRY_AGAIN",
            "timed_out": "TRY_AGAIN",
            "in_progress": "TRY_AGAIN",
            "internal": "FAILED",
            "*": "BAD_DATA",
        },
        connect={"token_invalid": BAD_TOKEN, "token_expired": BAD_TOKEN, "forbidden_role": BAD_TOKEN},
    ),
)
low_bid = contract.refusal("LOW_BID", "The bid is too low.")
lot_closed = contract.refusal("LOT_CLOSED", "The lot is closed.")

root = contract.namespace("/")
user = root.room("user:{userId}", members=own("userId"), on_connect=True)
lot = root.room(
    "lot:{lotId}",
    members=anyone(),
    join="lot:watch",
    leave="lot:unwatch",
    presence=Presence(joined="lot:watchers", left="lot:watchers"),
)

SHOWN = 100
"""Bids in a snapshot: with the longest names, they are less than its 64 KB."""
NEWEST = 10
"""Bids in `lot:bids`."""


class Bid(Payload):
    """A bid for a lot."""

    bidder: Id
    amount: Money
    at: Millis


@root.event("lot:snapshot", to=[root.caller], max_bytes=65_536)
class Snapshot(CamelPayload):
    """A lot at the moment when a client begins to watch it. The newest bids come first."""

    lot_id: Id
    title: Annotated[str, Meta(max_length=200)]
    price: Money
    leader: Id | None
    open: bool
    bids: Annotated[list[Bid], Meta(max_length=SHOWN)]


@root.event("lot:price", to=[lot], arguments="positional", example=130.5)
class Price(Payload):
    """The price has changed."""

    price: Money


@root.event("lot:watchers", to=[lot], arguments="positional", example=17)
class Watchers(Payload):
    """How many users watch the lot. The server sends it when the number changes."""

    count: int


@root.event("lot:bids", to=[lot], arguments="positional")
class Bids(Payload):
    """The newest bids, the newest one first."""

    bids: list[Bid]


@root.event("lot:countdown", to=[lot], arguments="positional", volatile=True, example=10)
class Countdown(Payload):
    """The lot closes in so many seconds."""

    seconds: int


@root.event("lot:outbid", to=[user])
class Outbid(CamelPayload):
    """Somebody else leads now."""

    lot_id: Id
    amount: Money


Closed = root.signal("lot:closed", to=[lot], description="The lot is closed.")


@root.event("lot:result", to=[root.everyone], arguments="positional", example=["l-1", 130.5, "ada"])
class Result(CamelPayload):
    """A lot was sold. There is no winner if nobody has bid."""

    lot_id: Id
    price: Money
    winner: Id | UnsetType = UNSET


@root.command("auth", signs_in="token", refusals=[])
class SignIn(Command):
    """Sign in as a bidder or a seller."""

    token: str


class Placed(Payload):
    """The lot after a bid."""

    amount: Money
    leader: Id


@root.command(
    "bid:place",
    who=role("bidder") & in_room(lot),
    limit=["5/s", per_room("50/s", lot)],
    reply=Placed,
    refusals=[lot_closed, low_bid],
)
class PlaceBid(CamelCommand):
    """Bid for a lot that one watches."""

    lot_id: Id
    amount: Money


@root.command("lot:close", who=role("seller"), refusals=[lot_closed])
class CloseLot(CamelCommand):
    """Close a lot that one sells."""

    lot_id: Id


# The tables. Amounts are cents, times are milliseconds since 1970.

tables = MetaData()
lots = Table(
    "lots",
    tables,
    Column("id", String, primary_key=True),
    Column("title", String, nullable=False),
    Column("seller", String, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("leader", String),
    Column("open", Boolean, nullable=False),
)
bids = Table(
    "bids",
    tables,
    Column("number", Integer, primary_key=True),
    Column("lot", String, nullable=False, index=True),
    Column("bidder", String, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
)


def to_money(cents: int) -> Money:
    return Money(f"{cents // 100}.{cents % 100:02}")


def find_lot(connection: Connection, lot_id: str) -> Any:
    found = connection.execute(select(lots).where(lots.c.id == lot_id)).one_or_none()
    if found is None:
        raise RefusedError(UNKNOWN_ROOM, "There is no such lot.")
    return found


def list_bids(connection: Connection, lot_id: str, most: int) -> list[Bid]:
    newest = select(bids).where(bids.c.lot == lot_id).order_by(bids.c.number.desc()).limit(most)
    return [Bid(bidder=row.bidder, amount=to_money(row.amount), at=row.at) for row in connection.execute(newest)]


def read_snapshot(connection: Connection, lot_id: str) -> Snapshot:
    found = find_lot(connection, lot_id)
    return Snapshot(
        lot_id=lot_id,
        title=found.title,
        price=to_money(found.price),
        leader=found.leader,
        open=found.open,
        bids=list_bids(connection, lot_id, SHOWN),
    )


# The changes. Each is one transaction, and its events are sent if it is committed.


class NewLot(CamelPayload):
    """A lot as the back end opens it. It closes by itself after so many seconds, or when its seller closes it."""

    title: Annotated[str, Meta(min_length=1, max_length=200)]
    seller: Id
    price: Money
    seconds: Annotated[int, Meta(ge=1)] | UnsetType = UNSET


class OpenedLot(CamelPayload):
    """The lot that can be watched now."""

    lot_id: Id


def open_lot(tx: Transaction, lot_id: str, new: NewLot) -> OpenedLot:
    """Open a lot."""
    lot(lot_id)  # Refuses an id that no room can have.
    if tx.connection.execute(select(lots.c.id).where(lots.c.id == lot_id)).first() is not None:
        raise RefusedError(ID_REUSED, "There is a lot with this id already.")
    cents = int(new.price * 100)
    tx.connection.execute(
        insert(lots).values(id=lot_id, title=new.title, seller=new.seller, price=cents, leader=None, open=True)
    )
    if new.seconds is not UNSET:
        left = min(new.seconds, 10)
        tx.schedule("countdown", lot_id, tx.now + new.seconds - left, {"left": left})
    return OpenedLot(lot_id=lot_id)


def place_bid(tx: Transaction, bid: PlaceBid, bidder: str) -> Placed:
    found = find_lot(tx.connection, bid.lot_id)
    if not found.open:
        raise RefusedError(lot_closed)
    cents = int(bid.amount * 100)
    if cents <= found.price:
        raise RefusedError(low_bid)
    tx.connection.execute(update(lots).where(lots.c.id == bid.lot_id).values(price=cents, leader=bidder))
    tx.connection.execute(insert(bids).values(lot=bid.lot_id, bidder=bidder, amount=cents, at=int(tx.now * 1000)))
    room = lot(bid.lot_id)
    tx.emit(Price(price=bid.amount), room)
    tx.emit(Bids(bids=list_bids(tx.connection, bid.lot_id, NEWEST)), room)
    if found.leader not in (None, bidder):
        tx.emit(Outbid(lot_id=bid.lot_id, amount=bid.amount), user(found.leader))
    return Placed(amount=bid.amount, leader=bidder)


def close_lot(tx: Transaction, lot_id: str, seller: str | None) -> None:
    """Close a lot for its seller or, without one, because its time is over."""
    found = find_lot(tx.connection, lot_id)
    if seller not in (None, found.seller):
        raise RefusedError(FORBIDDEN, "This is not your lot.")
    if not found.open:
        raise RefusedError(lot_closed)
    tx.connection.execute(update(lots).where(lots.c.id == lot_id).values(open=False))
    tx.cancel("countdown", lot_id)
    tx.emit(Closed(), lot(lot_id))
    tx.emit(Result(lot_id=lot_id, price=to_money(found.price), winner=found.leader or UNSET))


def count_down(tx: Transaction, lot_id: str, data: dict[str, Any]) -> None:
    """Send the seconds that are left. Called each second, in one process."""
    if data["left"] == 0:
        close_lot(tx, lot_id, None)
        return
    tx.emit(Countdown(seconds=data["left"]), lot(lot_id))
    tx.schedule("countdown", lot_id, tx.now + 1, {"left": data["left"] - 1})


# The functions that the server calls.


def build(services: Services) -> SystemServices:
    async def place(command: PlaceBid, client: Client) -> Placed:
        return await services.outbox.run(place_bid, command, client.identity.subject)

    async def close(command: CloseLot, client: Client) -> None:
        await services.outbox.run(close_lot, command.lot_id, client.identity.subject)

    async def welcome(client: Client, room: NamedRoom) -> Snapshot:
        return await services.database.read(read_snapshot, room.values["lotId"])

    return SystemServices(
        handlers={PlaceBid: place, CloseLot: close},
        rooms={lot: RoomHooks(welcome=welcome)},
        routes=build_routes([Write("PUT", "/lots/{lotId}", open_lot, NewLot, status=201)], services),
        jobs={"countdown": count_down},
    )


system = System(contract=contract, build=build, tables=tables)
