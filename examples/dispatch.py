"""Dispatch: riders ask for rides, drivers of a fleet take them, and the control room of the company sees them all.

The event document of this system is `dispatch.md`, beside this file. Serve it with `oyez serve examples/dispatch.py`.
"""

import secrets
from hashlib import sha256
from typing import Annotated, Any, Literal

from msgspec import Meta
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, delete, insert, select, update

from oyez.contract import (
    UNSET,
    Acknowledgements,
    CamelPayload,
    Claims,
    Command,
    Contract,
    Errors,
    Latitude,
    Longitude,
    Millis,
    NamedRoom,
    Payload,
    Presence,
    UnsetType,
    auth,
    header,
    in_room,
    member,
    own,
    query,
    role,
)
from oyez.errors import FORBIDDEN, RefusedError
from oyez.runtime import Client, Credentials, RoomHooks, User
from oyez.service.outbox.transaction import Transaction
from oyez.service.resources import Write, build_routes
from oyez.service.system import Services, System, SystemServices

# The contract: what the event document says.

share_link = query("share")
api_key = header("x-api-key")

contract = Contract(
    "dispatch",
    description="Rides of a taxi company: riders, drivers, and the control room.",
    roles=("rider", "driver", "operator", "friend"),
    tokens=(auth("token"), share_link, api_key),
    claims=Claims(subject="user_id", role="type"),
    acknowledgements=Acknowledgements(node_style=True, room=None),
    errors=Errors(shape={"code": "code", "message": "message"}),
)
unknown_ride = contract.refusal("unknown_ride", "There is no such ride.", status=404)
taken = contract.refusal("taken", "Another driver has the ride.", status=409)
ended = contract.refusal("ended", "The ride has ended.", status=409)

root = contract.namespace("/")
user = root.room("user:{user}", members=own("user", claim="sub"), on_connect=True)
fleet = root.room(
    "fleet:{fleet}",
    members=own("fleet") & role("driver"),
    on_connect=True,
    presence=Presence(left="driver:gone", user="driver"),
)
control = root.room("control", members=role("operator"), on_connect=True)
ride = root.room("ride:{ride}", members=member(), join="ride:join")

Place = tuple[Latitude, Longitude]
Step = Literal["arrived", "started", "ended"]
"""What a driver reports of a ride."""
Note = Annotated[str, Meta(max_length=500)]


class Stamped(Payload):
    """An event with the time at which it happened."""

    at: Millis | UnsetType = UNSET


@root.event("ride:offered", to=[fleet.of("fleet"), control], timestamp="at")
class Offered(Stamped):
    """A rider asks for a ride."""

    ride: int
    fleet: int
    pickup: Place


@root.event("ride:assigned", to=[user.of("rider"), user.of("driver"), control], timestamp="at")
class Assigned(Stamped):
    """A driver has taken a ride."""

    ride: int
    rider: int
    driver: int
    fleet: int


@root.event("ride:status", to=[ride.of("ride"), control], timestamp="at")
class StatusChanged(Stamped):
    """The driver has reported something about the ride."""

    ride: int
    status: Step
    note: Note | None


@root.relay(
    "driver:location",
    to=[ride.of("ride")],
    who=in_room(ride, "driver"),
    limit="2/s",
    volatile=True,
    latest=600,
)
class Location(Payload):
    """Where the car is, and its course in degrees. Clients that come into the ride receive the newest one."""

    ride: int
    lat: Latitude
    lng: Longitude
    heading: Annotated[float, Meta(ge=0, lt=360)]
    ts: Millis


@root.event("ride:state", to=[root.caller])
class State(Payload):
    """The ride, for a client that comes into it."""

    ride: int
    status: Literal["offered", "assigned"] | Step
    driver: int | None
    lat: Latitude | None
    lng: Longitude | None
    ts: Millis | None


@root.event("driver:gone", to=[control])
class DriverGone(CamelPayload):
    """The last connection of a driver has ended."""

    driver: int
    last_seen: Millis


@root.event("message", to=[root.sockets.of("to")], timestamp="at")
class Message(Stamped):
    """An answer of the control room to one connection."""

    to: str
    text: Annotated[str, Meta(max_length=1000)]


class Requested(Payload):
    """The ride that was made."""

    ride: int


@root.command("ride:request", who=role("rider"), limit="10/m", reply=Requested, refusals=[])
class RequestRide(Command):
    """Ask for a ride."""

    pickup: Place
    fleet: int


class Accepted(Payload):
    """The rider who waits."""

    rider: int


@root.command("ride:accept", who=role("driver"), arguments="positional", reply=Accepted, refusals=[unknown_ride, taken])
class AcceptRide(Command):
    """Take a ride that was offered to one's fleet."""

    ride: int


@root.command("ride:status", who=in_room(ride, "driver"), arguments="positional", refusals=[ended])
class ReportStatus(Command):
    """Report something about one's ride."""

    ride: int
    status: Step
    note: Note | None = None


class Shared(Payload):
    """The secret of a share link."""

    share: str


@root.command(
    "ride:share",
    who=in_room(ride, "rider"),
    limit="10/m",
    arguments="positional",
    reply=Shared,
    refusals=[unknown_ride, ended],
)
class ShareRide(Command):
    """Make a link that shows one's ride to friends until it ends."""

    ride: int


# The tables. Of share links and API keys, they have hashes only.

tables = MetaData()
rides = Table(
    "rides",
    tables,
    Column("id", Integer, primary_key=True),
    Column("rider", Integer, nullable=False),
    Column("driver", Integer),
    Column("fleet", Integer, nullable=False),
    Column("status", String, nullable=False),
)
shares = Table(
    "shares",
    tables,
    Column("id", Integer, primary_key=True),
    Column("hash", String, nullable=False, unique=True),
    Column("ride", Integer, nullable=False, index=True),
)
keys = Table("keys", tables, Column("hash", String, primary_key=True), Column("fleet", Integer, nullable=False))


def make_secret() -> tuple[str, str]:
    """A new secret, and its hash."""
    secret = secrets.token_urlsafe(24)
    return secret, hash_secret(secret)


def hash_secret(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def find_ride(connection: Connection, ride_id: int) -> Any:
    found = connection.execute(select(rides).where(rides.c.id == ride_id)).one_or_none()
    if found is None:
        raise RefusedError(unknown_ride)
    return found


# Who a client is, if it has no token of the identity provider.


def find_friend(connection: Connection, secret: str) -> User | None:
    """The user of a share link. It is a member of the ride until the ride ends."""
    share = connection.execute(select(shares.c.id).where(shares.c.hash == hash_secret(secret))).scalar_one_or_none()
    return User(name_friend(share), "friend") if share is not None else None


def find_screen(connection: Connection, secret: str) -> User | None:
    """The operator of a fleet whose API key this is."""
    found = connection.execute(select(keys.c.fleet).where(keys.c.hash == hash_secret(secret))).scalar_one_or_none()
    return User(f"screen-{found}", "operator", {"fleet": found}) if found is not None else None


def name_friend(share: int) -> str:
    return f"friend-{share}"


# The changes. Each is one transaction, and its events are sent if it is committed.


def request_ride(tx: Transaction, command: RequestRide, rider: int) -> Requested:
    row = insert(rides).values(rider=rider, fleet=command.fleet, status="offered").returning(rides.c.id)
    ride_id = tx.connection.execute(row).scalar_one()
    tx.add_member(ride(ride_id), f"user:{rider}", "rider")
    tx.emit(Offered(ride=ride_id, fleet=command.fleet, pickup=command.pickup))
    return Requested(ride=ride_id)


def accept_ride(tx: Transaction, ride_id: int, driver: int, fleet_id: str | None) -> Accepted:
    found = find_ride(tx.connection, ride_id)
    if fleet_id != str(found.fleet):
        raise RefusedError(FORBIDDEN, "This ride is for another fleet.")
    free = (rides.c.id == ride_id) & (rides.c.status == "offered")
    if not tx.connection.execute(update(rides).where(free).values(driver=driver, status="assigned")).rowcount:
        raise RefusedError(taken)
    tx.add_member(ride(ride_id), f"user:{driver}", "driver")
    tx.emit(Assigned(ride=ride_id, rider=found.rider, driver=driver, fleet=found.fleet))
    return Accepted(rider=found.rider)


def report_status(tx: Transaction, command: ReportStatus) -> None:
    """The rule of the command has found that the client is the driver."""
    open_ride = (rides.c.id == command.ride) & (rides.c.status != "ended")
    if not tx.connection.execute(update(rides).where(open_ride).values(status=command.status)).rowcount:
        raise RefusedError(ended)
    tx.emit(StatusChanged(ride=command.ride, status=command.status, note=command.note))
    if command.status == "ended":
        links = delete(shares).where(shares.c.ride == command.ride).returning(shares.c.id)
        for share in tx.connection.execute(links).scalars().all():
            tx.remove_member(ride(command.ride), f"user:{name_friend(share)}")


def share_ride(tx: Transaction, ride_id: int) -> Shared:
    if find_ride(tx.connection, ride_id).status == "ended":
        raise RefusedError(ended)
    secret, hashed = make_secret()
    link = insert(shares).values(hash=hashed, ride=ride_id).returning(shares.c.id)
    share = tx.connection.execute(link).scalar_one()
    tx.add_member(ride(ride_id), f"user:{name_friend(share)}")
    return Shared(share=secret)


class NewKey(Payload):
    """An API key, as the back end asks for it."""

    fleet: int


class MadeKey(Payload):
    """The key, which is shown only once."""

    key: str


def make_key(tx: Transaction, new: NewKey) -> MadeKey:
    """Make an API key for the screens of a fleet."""
    secret, hashed = make_secret()
    tx.connection.execute(insert(keys).values(hash=hashed, fleet=new.fleet))
    return MadeKey(key=secret)


# The functions that the server calls.


def build(services: Services) -> SystemServices:
    async def authenticate(credentials: Credentials) -> User | None:
        if credentials.token is None:
            return None
        if credentials.source == share_link:
            return await services.database.read(find_friend, credentials.token)
        if credentials.source == api_key:
            return await services.database.read(find_screen, credentials.token)
        return await credentials.verify(credentials.token)

    async def request(command: RequestRide, client: Client) -> Requested:
        return await services.outbox.run(request_ride, command, client.identity.number)

    async def accept(command: AcceptRide, client: Client) -> Accepted:
        driver, fleet_id = client.identity.number, client.identity.claim("fleet")
        return await services.outbox.run(accept_ride, command.ride, driver, fleet_id)

    async def report(command: ReportStatus, client: Client) -> None:
        await services.outbox.run(report_status, command)

    async def share(command: ShareRide, client: Client) -> Shared:
        return await services.outbox.run(share_ride, command.ride)

    async def welcome(client: Client, room: NamedRoom) -> State:
        found = await services.database.read(find_ride, int(room.values["ride"]))
        car = await services.publisher.latest.read(Location, room)
        lat, lng, ts = (car.lat, car.lng, car.ts) if car is not None else (None, None, None)
        return State(ride=found.id, status=found.status, driver=found.driver, lat=lat, lng=lng, ts=ts)

    return SystemServices(
        handlers={RequestRide: request, AcceptRide: accept, ReportStatus: report, ShareRide: share},
        rooms={ride: RoomHooks(welcome=welcome)},
        routes=build_routes([Write("POST", "/keys", make_key, NewKey, status=201)], services),
        authenticate=authenticate,
    )


system = System(contract=contract, build=build, tables=tables)
