"""An auction as a user writes one: users who watch a lot are counted, and a new watcher receives the bids so far.

What its functions for rooms are called with is stored, so that tests with several processes can read it.
"""

import asyncio
from typing import Any

from sqlalchemy import Column, Float, Integer, MetaData, String, Table, func, insert, select
from starlette.requests import Request
from starlette.responses import Response

from oyez.contract import Command, Contract, Id, NamedRoom, Payload, Presence, Stamped, Time, anyone, member, own
from oyez.errors import UNAVAILABLE, RefusedError
from oyez.runtime import Client, Departed, RoomHooks, answer_json, service_route
from oyez.service.outbox.transaction import Transaction
from oyez.service.system import Services, System, SystemServices

TIME = "2026-01-31T12:00:00Z"
contract = Contract("auction", roles=("bidder",), default_role="bidder")
root = contract.namespace("/")
lot = root.room(
    "lot:{lotId}",
    members=anyone(),
    join="watch",
    leave="unwatch",
    presence=Presence(joined="lot:joined", left="lot:left"),
)
user = root.room("user:{userId}", members=own("userId", claim="sub"), on_connect=True)
hall = root.room("hall", members=anyone(), on_connect=True)
club = root.room("club:{clubId}", members=member(), join="club:enter")
plain = root.room("plain:{id}", members=anyone(), join="plain:join")


@root.event("lot:joined", to=[lot], example={"lotId": "l-1", "userId": "ada", "count": 1, "timestamp": TIME})
class LotJoined(Stamped, rename="camel"):
    """A user watches the lot."""

    lot_id: Id
    user_id: Id
    count: int


@root.event("lot:left", to=[lot], example={"userId": "ada", "count": 0, "lastSeen": TIME})
class LotLeft(Payload, rename="camel"):
    """A user watches the lot no longer."""

    user_id: Id
    count: int
    last_seen: Time


@root.event("bid", to=[lot], example={"number": 1, "timestamp": TIME})
class Bid(Stamped):
    """A bid; the number counts them."""

    number: int


@root.event("state", to=[root.caller], volatile=True, example={"room": "lot:l-1", "bids": 1})
class State(Payload):
    """How many bids there are."""

    room: str
    bids: int


@root.command("place", limit="1000/s")
class Place(Command, rename="camel"):
    """Bid for a lot."""

    lot_id: Id


bids = Table("bids", metadata := MetaData(), Column("id", Integer, primary_key=True), Column("lot", String))
calls = Table(
    "calls",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("hook", String),
    Column("user", String),
    Column("socket", String),
    Column("room", String),
    Column("value", String),
    Column("reason", String),
    Column("since", Float),
    Column("at", Float),
)


def place_bid(tx: Transaction, lot_id: str) -> None:
    tx.connection.execute(insert(bids).values(lot=lot_id))
    count = tx.connection.execute(select(func.count()).where(bids.c.lot == lot_id)).scalar_one()
    tx.emit(Bid(number=count), lot(lot_id))


def note(tx: Transaction, /, **values: Any) -> None:
    tx.connection.execute(insert(calls).values(values))


def build(services: Services) -> SystemServices:
    failed: set[str] = set()

    async def entered(client: Client, room: NamedRoom) -> None:
        """`raiser` raises, `hanger` hangs, `later` is unavailable at first."""
        name = client.identity.subject
        if name == "raiser":
            raise RuntimeError("as asked")
        if name == "hanger":
            await asyncio.sleep(3600)
        if name == "later" and name not in failed:
            failed.add(name)
            raise RefusedError(UNAVAILABLE)
        value = next(iter(room.values.values()), "")
        await services.outbox.run(note, hook="entered", user=name, socket=client.id, room=room.name, value=value)

    async def left(departed: Departed, room: NamedRoom) -> None:
        if departed.user == "slow":
            await asyncio.sleep(1)
        await services.outbox.run(
            note,
            hook="left",
            user=departed.user,
            socket=departed.socket_id,
            room=room.name,
            value=next(iter(room.values.values()), ""),
            reason=departed.reason,
            since=departed.since,
            at=departed.at,
        )

    async def welcome(client: Client, room: NamedRoom) -> State:
        name = client.identity.subject if room.values else ""
        if name == "unlucky":
            raise RuntimeError("as asked")
        if name == "misfit":
            return State(room=room.name, bids="many")  # type: ignore[arg-type]
        if name == "stuck":
            await asyncio.sleep(3600)
        count = select(func.count()).where(bids.c.lot == room.values.get("lotId", ""))
        return State(
            room=room.name, bids=await services.database.read(lambda connection: connection.execute(count).scalar_one())
        )

    async def place(command: Place, client: Client) -> None:
        await services.outbox.run(place_bid, command.lot_id)

    async def list_calls(request: Request) -> Response:
        rows = await services.database.read(
            lambda connection: connection.execute(select(calls).order_by(calls.c.id)).mappings().all()
        )
        return answer_json([dict(row) for row in rows])

    async def bid(request: Request) -> Response:
        await services.outbox.run(place_bid, request.query_params["lot"])
        return answer_json({})

    async def move(request: Request) -> Response:
        """Have the user's sockets join or leave a lot."""
        query = request.query_params
        act = Transaction.join if query["action"] == "join" else Transaction.leave
        await services.outbox.run(act, user(query["user"]), lot(query["lot"]))
        return answer_json({})

    hooks = RoomHooks(entered=entered, left=left, welcome=welcome)
    return SystemServices(
        handlers={Place: place},
        routes=[
            service_route("/calls", list_calls, services.authorize, methods=["GET"]),
            service_route("/bids", bid, services.authorize),
            service_route("/moves", move, services.authorize),
        ],
        rooms={lot: hooks, hall: hooks, club: RoomHooks(entered=entered, left=left)},
    )


system = System(contract=contract, build=build, tables=metadata)
