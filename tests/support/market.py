"""A small marketplace that uses every feature of contracts, and the verbs to act in it.

Clients are real sockets of the server, on a connection that only records what is sent.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, cast

import msgspec

from oyez.contract import (
    UNSET,
    CamelCommand,
    CamelPayload,
    CamelStamped,
    Contract,
    Id,
    Identity,
    Maybe,
    Money,
    NamedRoom,
    Payload,
    Stamped,
    Time,
    anyone,
    member,
    not_role,
    own,
    resolved,
    role,
)
from oyez.contract.contract import Event
from oyez.errors import FORBIDDEN, TOKEN_INVALID, LogUnavailableError, RefusedError
from oyez.protocol.engineio import CloseReason
from oyez.protocol.socketio import Packet
from oyez.runtime.bind import bind
from oyez.runtime.client import Client
from oyez.runtime.commands import Handlers
from oyez.server.connections.connection import Connection
from oyez.server.namespaces.socket import Socket
from oyez.server.transports.budget import Budget, Rates
from oyez.server.types import Handshake, ReceivedEvent
from oyez.settings import Limits, Settings
from tests.support.clock import PATIENCE, Clock
from tests.support.parts import make_parts

contract = Contract("market", roles=("customer", "garage", "operations"), default_role="customer")
closed = contract.refusal("closed", "The shop is closed.", temporary=True)
contract.user_attribute("shop_id", "shop of this garage", who=role("garage"))

root = contract.namespace("/")
back = contract.namespace("/back", who=role("operations"))

user = root.room("user_{userId}", members=own("userId"), join="join_user_room", on_connect=True)
garage = root.room("garage_{garage_id}", members=[own("garage_id"), role("operations")], join="join_garage_room")
operations = root.room("user_operations", members=role("operations"), join="join_operations_room")
ticket = root.room("ticket_{ticketId}", members=member(), join="join_ticket", leave="leave_ticket")
stall = root.room("stall:{row}:{number}", members=anyone())

shops = root.gateway("shops", who=role("garage"))
offers = root.gateway("offers", who=not_role("garage"))
shop = shops.room("shop:{shopId}", members=resolved("shopId", "shop_id"), on_connect=True)
offer = offers.room("offers:{userId}", members=own("userId"), on_connect=True)

board = back.room("board", members=anyone(), on_connect=True)
back_user = back.room("user_{userId}", members=own("userId"))


class Part(Payload):
    """A part of a car."""

    name: str
    price: Money


@root.event("new_request", to=[root.everyone], example={"request_id": "r1", "parts": []})
class NewRequest(Stamped):
    """A customer is looking for parts."""

    request_id: Id
    parts: list[Part]


@root.event("new_bid", to=[user.of("owner.id")], example={"owner": {"id": "u1"}, "amount": 9.5})
class NewBid(CamelStamped):
    """A garage has bid."""

    owner: "Owner"
    amount: Money


class Owner(Payload):
    """Whose request it is."""

    id: Id


@root.event("bid_rejected", to=[garage, user], example={"bid_id": "b1", "timestamp": "2026-01-31T12:00:00Z"})
class BidRejected(Stamped):
    """A bid was not taken."""

    bid_id: Id


@root.event("request_cancelled", to=[garage, root.everyone], example={"request_id": "r1"})
class RequestCancelled(Stamped):
    """A request was cancelled; sent to the garages that bid, or to all clients."""

    request_id: Id


@root.event("new_ticket", to=[operations], example={"ticket_id": "t1", "at": "2026-01-31T12:00:00Z"})
class NewTicket(Payload):
    """A customer asks for help."""

    ticket_id: Id
    at: Time


@root.event("told", to=[user.of("maybe"), offer.of("who.id")], example={}, volatile=True)
class Told(Payload):
    """Goes wherever it can, which may be nowhere."""

    maybe: Maybe[str] = UNSET
    who: Maybe[Owner] = UNSET


@root.event("typing", to=[user], example={"userId": "u1", "typing": True}, volatile=True)
@back.event("typing", to=[back_user], volatile=True)
class Typing(CamelPayload):
    """A user is typing."""

    user_id: Id
    typing: bool


@root.event("stats", to=[root.caller], example={"sockets": 3, "timestamp": "2026-01-31T12:00:00Z"})
class Stats(Stamped):
    """How things are."""

    sockets: int


@root.command("booking:accept", arguments="positional", who=role("garage"), limit="2/s")
class AcceptBooking(CamelCommand):
    """Take a booking."""

    booking_id: Id


@root.command("message:send", reply=Part)
class SendMessage(CamelCommand):
    """Say something."""

    recipient_id: Id
    message: str
    booking_id: Maybe[Id] = UNSET


@root.command("profile", who=own("userId"))
class Profile(CamelCommand):
    """Change what belongs to a user."""

    user_id: Maybe[Id] = UNSET


@root.command("request:stats", arguments="positional")
class RequestStats(CamelCommand):
    """Ask how things are."""


@root.command("upload")
class Upload(CamelCommand):
    """Send a picture."""

    kind: Literal["png", "jpeg"]
    data: bytes


@root.command("watch", joins=ticket, who=own("userId"))
class Watch(CamelCommand):
    """Follow a ticket."""

    ticket_id: Id
    user_id: Id


@root.command("break", arguments="positional")
class Break(CamelCommand):
    """Fail in the given way."""

    how: str


contract.build()


# Handlers.


def accept_booking(command: AcceptBooking, client: Client) -> None:
    if command.booking_id == "late":
        raise RefusedError(closed, until=date(2026, 2, 1), by=object)


async def send_message(command: SendMessage, client: Client) -> Part:
    await asyncio.sleep(0)
    return Part(name=command.message, price=Money(1))


def profile(command: Profile, client: Client) -> None:
    """Nothing to do: who may is the question."""


def request_stats(command: RequestStats, client: Client) -> None:
    client.emit(Stats(sockets=7))


def upload(command: Upload, client: Client) -> None:
    if command.data != b"\x89PNG":
        raise RefusedError(FORBIDDEN)


def break_down(command: Break, client: Client) -> Any:
    match command.how:
        case "reply":
            return {"unasked": 1}
        case "answer":
            return client.emit(Part(name="x", price=Money(1)))
        case "log":
            raise LogUnavailableError("The broker is away.")
    raise ZeroDivisionError("on purpose")


HANDLERS: Handlers = {
    AcceptBooking: accept_booking,
    SendMessage: send_message,
    Profile: profile,
    RequestStats: request_stats,
    Upload: upload,
    Break: break_down,
}


# Acting in it.


@dataclass
class Token:
    """The claims of a token, in place of a token."""

    subject: str
    claims: Mapping[str, Any]
    expires_at: float | None = None


class Wire:
    """A connection that notes what is sent over it."""

    public_id = "the-connection"

    full = False

    def __init__(self, handshake: Handshake, clock: Clock) -> None:
        self.handshake = handshake
        self.closed = self.draining = self.json = False
        self.answer: Any = None
        self.decided = asyncio.Event()
        self.sent: asyncio.Queue[Any] = asyncio.Queue()
        self.closed_for = ""
        self.id = f"wire-{id(self)}"
        self.budget = Budget(Rates(Limits(), authenticated=True))

    def close(self, reason: CloseReason, detail: str = "") -> None:
        self.closed = True
        self.closed_for = reason.text

    def accept(self, socket: Socket, packet: Any) -> None:
        self.decided.set()

    def refuse(self, socket: Socket, packet: Any) -> None:
        self.answer = msgspec.json.decode(packet.data)
        self.decided.set()

    def remove_socket(self, namespace: str) -> None:
        """A connection here has one socket only."""

    def send_packet(self, packet: Packet, volatile: bool = False) -> None:
        self.sent.put_nowait(msgspec.json.decode(packet.data))


@dataclass
class Peer:
    """A connected client."""

    socket: Socket
    wire: Wire

    @property
    def rooms(self) -> set[str]:
        return self.socket.rooms

    def emit(self, *array: Any, attachments: tuple[bytes, ...] = ()) -> None:
        """Send an event without asking for an acknowledgement."""
        self._receive(array, attachments, None)

    async def call(self, *array: Any, attachments: tuple[bytes, ...] = ()) -> Any:
        """Send an event and return its acknowledgement."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._receive(array, attachments, answer.set_result)
        async with asyncio.timeout(PATIENCE):
            [result] = msgspec.json.decode(await answer)
        return result

    async def expect_event(self, name: str) -> Any:
        async with asyncio.timeout(PATIENCE):
            got, data = await self.wire.sent.get()
        assert got == name
        return data

    async def expect_refusal(self, code: str, *array: Any, attachments: tuple[bytes, ...] = ()) -> Any:
        """Send an event that must be refused; the error object."""
        answer = await self.call(*array, attachments=attachments)
        assert answer["ok"] is False, answer
        assert answer["error"]["code"] == code, answer
        return answer["error"]

    def expect_nothing(self) -> None:
        assert self.wire.sent.empty(), self.wire.sent.get_nowait()

    def _receive(self, array: tuple[Any, ...], attachments: tuple[bytes, ...], ack: Any) -> None:
        event = ReceivedEvent(array[0], msgspec.json.encode(array), attachments, ack)
        running = self.socket.context.on_event(self.socket, event)
        if running is not None:
            self.socket.context.spawn(running)


class Market:
    """The marketplace at work. `members` are pairs of a subject and a room; `shops` are garages' shops."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.members: set[tuple[str, str]] = set()
        self.shops: dict[str, str] = {}
        self.resolved: list[str] = []
        applications = bind(
            contract,
            handlers=HANDLERS,
            verify=self._authenticate,
            settings=Settings(),
            resolvers={"shop_id": self._find_shop},
            find_parts=self._find_parts,
            clock=self.clock,
        )
        parts, settings = make_parts(), Settings(limits=Limits(max_rooms_per_socket=4))
        self.namespaces = {
            name: parts.make_namespace(name, application, settings) for name, application in applications.items()
        }

    async def connect(
        self,
        subject: str = "u1",
        namespace: str = "/",
        *,
        auth: Mapping[str, Any] | None = None,
        query: str = "",
        **claims: Any,
    ) -> Peer:
        """Connect with a token of these claims. Raises Refused."""
        self._claims = claims
        wire = Wire(Handshake(headers={}, query_string=query, address="::1", secure=False, time=0.0), self.clock)
        everything = {"token": subject, **(auth or {})}
        socket = self.namespaces[namespace].connect(cast(Connection, wire), "sid", everything)
        async with asyncio.timeout(PATIENCE):
            await wire.decided.wait()
        if wire.answer is not None:
            raise Refused(wire.answer)
        return Peer(socket, wire)

    async def expect_refused(self, code: str, *who: str, **options: Any) -> str:
        """Try to connect; the message of the refusal, whose code this must be."""
        try:
            await self.connect(*who, **options)
        except Refused as refused:
            assert refused.answer["data"]["code"] == code, refused.answer
            message: str = refused.answer["message"]
            return message
        raise AssertionError("the connection was accepted")

    async def _authenticate(self, token: str) -> Token:
        if token == "bad":
            raise RefusedError(TOKEN_INVALID)
        return Token(token, self._claims, self._claims.get("exp"))

    async def _find_shop(self, identity: Identity) -> str | None:
        self.resolved.append(identity.subject)
        return self.shops.get(identity.subject)

    async def _find_parts(self, identity: Identity, room: NamedRoom) -> Mapping[str, str]:
        return {f"user:{identity.subject}": ""} if (identity.subject, room.name) in self.members else {}


class Refused(Exception):
    """A CONNECT was refused; `answer` is the CONNECT_ERROR."""

    def __init__(self, answer: Any) -> None:
        super().__init__(str(answer))
        self.answer = answer


def event_of(name: str) -> Event:
    return contract.events[name]
