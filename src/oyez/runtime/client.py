"""A Client: one socket as its handlers see it, with its identity, its rooms and its limits.

A room can be joined only if its rule allows it.
"""

import time
from collections.abc import Callable, Container, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from oyez.concurrency.clock import Timer
from oyez.contract.codec import decode_answer
from oyez.contract.contract import Contract
from oyez.contract.declare import Namespace
from oyez.contract.limits import Limit
from oyez.contract.policy import USER, Identity, Values, Verdict
from oyez.contract.rooms import NamedRoom, Place, Room
from oyez.contract.types import Payload
from oyez.contract.versions import Versions
from oyez.errors import FORBIDDEN, FORBIDDEN_ROLE, RATE_LIMITED, TIMED_OUT, ContractError, RefusedError
from oyez.protocol.socket_ids import own_room
from oyez.runtime.admission import payer_of
from oyez.runtime.awaiting import must_await
from oyez.runtime.latest import Latest
from oyez.runtime.old_forms import OldEventForms
from oyez.runtime.presence import FindPresent, RoomPresence
from oyez.runtime.publisher import Publisher
from oyez.runtime.replies import CallerEvent, CallerEvents
from oyez.runtime.room_access import RoomAccess
from oyez.runtime.usage import Bucket, Usage, Users
from oyez.server.namespaces.socket import Socket
from oyez.server.types import Handshake, ReceivedEvent

if TYPE_CHECKING:
    from oyez.runtime.welcome import Welcomes

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ClientContext:
    """What the clients of one namespace share."""

    contract: Contract
    access: RoomAccess
    caller_events: CallerEvents
    users: Users
    publisher: Publisher | None = None
    """None if the system publishes nothing."""
    welcomes: "Welcomes | None" = None
    find_present: FindPresent | None = None
    versions: Versions = Versions()  # noqa: RUF009 - a frozen value
    old_forms: OldEventForms | None = None
    """The old forms of events; None if there are none."""
    clock: Callable[[], float] = time.monotonic
    """The clock of the limits, in seconds."""

    @property
    def latest(self) -> Latest | None:
        """The newest events of rooms."""
        return self.publisher.latest if self.publisher is not None else None


class Client:
    """The client that sent a command, as the command's handler receives it."""

    __slots__ = (
        "_buckets",
        "_context",
        "_state",
        "_usage",
        "ending",
        "held",
        "identity",
        "payer",
        "postponed",
        "refused",
        "socket",
    )

    def __init__(self, identity: Identity, socket: Socket, context: ClientContext, now: float) -> None:
        """`now` is by the clock of the limits, in seconds."""
        self.identity = identity
        self.socket = socket
        self._context = context
        self.ending = False
        """True if the server is about to end the socket: events that are emitted now are the last."""
        # An idle client needs no dicts: each of these is None until it is needed.
        self._state: dict[str, Any] | None = None
        self._buckets: dict[str, Bucket] | None = None
        """By command, the user's buckets that this client has used."""
        self.refused: dict[str, int] | None = None
        """By command, how many in a row were over the limit."""
        self.held: dict[str, tuple[ReceivedEvent, Timer]] | None = None
        """By command, the newest volatile command over the limit, and the timer that handles it."""
        self.postponed: tuple[str, ...] = ()
        """Rooms that the client joins after it has connected, because it receives their state first."""
        self.payer = payer_of(identity, socket.handshake)
        """The user to whom limits are charged, or the network of a guest."""
        self._usage = self._count(self.payer, now)

    def _count(self, payer: str, now: float) -> Usage:
        """Count the connection. Raises RefusedError if the user has too many."""
        settings = self.socket.context.settings
        most = settings.limits.max_connections_per_user
        usage = self._context.users.enter(payer, self.socket.connection.id, most, now)
        if usage is None:
            # Connections that broke without a close are closed after this time.
            wait = settings.ping_interval + settings.ping_timeout
            raise RefusedError(RATE_LIMITED, "You have too many connections; close one first.", retry_after=wait)
        return usage

    @property
    def id(self) -> str:
        """The id of the socket, as the client knows it (`socket.id`). Events go to `root.sockets(client.id)`."""
        return self.socket.id

    @property
    def connection_id(self) -> str:
        """What names the connection in log lines and reports. It is not the id of the Engine.IO session."""
        return self.socket.connection.public_id

    @property
    def own_room(self) -> NamedRoom:
        """The room that only this socket is in: a target, and what to exclude if others are meant."""
        return NamedRoom(self.namespace, own_room(self.id))

    @property
    def state(self) -> dict[str, Any]:
        """Values that the system keeps for this connection, for its handlers and hooks. They end with the connection:
        a client that reconnects, recovered or not, has an empty `state`."""
        if self._state is None:
            self._state = {}
        return self._state

    @property
    def handshake(self) -> Handshake:
        """The HTTP request that opened the connection: address, query, and the headers that are kept."""
        return self.socket.handshake

    @property
    def version(self) -> str | None:
        """The version of the client; None if the contract has no versions."""
        return self._context.versions.name_of(self.socket.age)

    @property
    def namespace(self) -> str:
        """The name of the namespace to which the client is connected."""
        return self.socket.namespace

    @property
    def namespace_values(self) -> Values:
        """The values of the placeholders in the name of the namespace: `{"shopId": "17"}` in `/shop-17`."""
        return self.access.named.values

    @property
    def declared(self) -> Namespace:
        """The declaration of the namespace."""
        return self._context.access.namespace

    @property
    def access(self) -> RoomAccess:
        """Who may be in the namespace and in its rooms."""
        return self._context.access

    @property
    def places(self) -> Sequence[Place]:
        """Where its events go if no room is named: to its own namespace if the name of that has placeholders."""
        named = self._context.access.named
        return (named,) if named.values else ()

    @property
    def rooms(self) -> frozenset[str]:
        """The names of the client's rooms."""
        return frozenset(self.socket.rooms)

    @property
    def recovers(self) -> bool:
        """True if the client has just reconnected, and receives missed events as it joins its rooms again."""
        return self.socket.session.replay_from is not None

    def is_in(self, room: NamedRoom | str) -> bool:
        """True if the client is in the room."""
        return self._name(room) in self.socket.rooms

    @must_await
    async def allows(self, room: NamedRoom | str) -> bool:
        """True if the client may be in the room. Raises RefusedError (unknown_room)."""
        name = self._name(room)
        while True:
            identity = self.identity
            allowed = await self._context.access.allows(identity, name)
            # A token that was renewed meanwhile may change the answer.
            if identity is self.identity:
                return allowed

    @must_await
    async def part(self, room: NamedRoom | str) -> str | None:
        """The client's part in the membership table of a room, such as `host`; None if it has none.

        The part of the user counts first, and then those that its role or another subject has.
        """
        found = await self.find_parts(self._name(room))
        own = found.get(f"{USER}:{self.identity.subject}")
        return own or next((part for _, part in sorted(found.items()) if part), None)

    @must_await
    async def join(self, room: NamedRoom | str, since: str | None = None) -> None:
        """Join a room. Raises RefusedError: forbidden, unknown_room, or rate_limited if the client has too many rooms.

        With `since`, a position in the log, the client first receives the room's events after that position. Last, it
        receives the room's newest events that are declared with `latest`. Without `since`, it receives the room's
        `welcome` before that, unless it recovers.
        """
        if since is None and self._is_new_in(self._name(room)) and self.awaits_welcome(self._name(room)):
            await self._join_welcomed(self._name(room))
        elif since is None and self.socket.session.replay_from is None:
            self.enter(room, await self.allows(room))
        else:
            await self._join_again(self._name(room), since)
        await self._send_latest(self._name(room))

    async def _send_latest(self, name: str) -> None:
        latest, namespace = self._context.latest, self._context.access.namespace
        resolved = namespace.rooms.resolve(name) if latest is not None else None
        if latest is None or resolved is None or not latest.concerns(resolved[0]):
            return
        sent: dict[str, bytes] = {}
        room = NamedRoom(self.namespace, name)
        # A newer event may have been delivered during the look-up, before the one that was found. Such an event was
        # kept before its delivery, so a second look-up finds it, and the client receives it last.
        while (found := await latest.find(room, resolved[0])) != sent:
            for event, data in found.items():
                if data != sent.get(event):
                    self._send(
                        self._context.caller_events.encode_entry(latest.make_entry(room, event, data), self.socket.age)
                    )
            sent = found

    async def find_parts(self, room: str) -> Mapping[str, str]:
        """The subjects by which the client is a member of a room, and the part of each."""
        return await self._context.access.find(self.identity, room)

    def awaits_latest(self, room: Room) -> bool:
        """True if the client receives kept events when it joins a room of this kind."""
        return self._context.latest is not None and self._context.latest.concerns(room)

    def awaits_welcome(self, room: str) -> bool:
        """True if the client receives the state of the room when it joins it."""
        welcomes = self._context.welcomes
        return welcomes is not None and welcomes.concerns(self.namespace, room)

    def postpone(self, room: str) -> None:
        """Have `join_postponed` join a room."""
        self.postponed += (room,)

    async def join_postponed(self) -> None:
        """Join the rooms that were postponed, unless the client has recovered them. Raises as `join` does."""
        postponed, self.postponed = self.postponed, ()
        for room in postponed:
            try:
                if room not in self.socket.rooms:
                    await self.join(room)
            except RefusedError as refused:
                if refused.refusal is not FORBIDDEN or self.access.is_required(room):
                    raise

    def _is_new_in(self, name: str) -> bool:
        """True if the client may know nothing of the room."""
        session = self.socket.session
        # A client without a session that recovers from a position joins again the rooms that it was in.
        return name not in self.socket.rooms and (session.replay_from is None or session.generation > 0)

    async def _join_welcomed(self, name: str) -> None:
        """Send the state of a room, and then the events after it; join the room."""
        welcomes = self._context.welcomes
        assert welcomes is not None
        access = self._context.access
        with access.revocations.observe() as removed:
            if not await self.allows(name):
                self.enter(name, allowed=False)
            state = await welcomes.prepare(self, name, self._context.caller_events)
            if name not in removed and name not in self.socket.rooms:
                for event in state.events:
                    self._send(event)
                await self.socket.replay_room(name, state.position, lambda: name not in removed, state.includes)
            self.enter(name, name not in removed)

    @must_await
    async def present(self, room: NamedRoom) -> RoomPresence:
        """The users in a room with presence, on all processes. Raises ContractError if the room has none."""
        find_present = self._context.find_present
        if find_present is None:
            raise ContractError(f"room {room}: nothing keeps who is present")
        return await find_present(room)

    async def _join_again(self, name: str, since: str | None) -> None:
        """Send the events that the client has missed in a room, then join it."""
        access = self._context.access
        with access.revocations.observe() as removed:
            if await self.allows(name):
                # A member may be removed during the replay.
                await self.socket.replay_room(name, since, lambda: name not in removed)
                self.enter(name, name not in removed)
            else:
                self.enter(name, allowed=False)

    def decide(self, room: NamedRoom | str) -> Verdict:
        """The verdict of the room's rule about this client. Raises RefusedError (unknown_room)."""
        return self._context.access.decide(self.identity, self._name(room))

    def leave(self, room: NamedRoom | str) -> None:
        """Leave a room. Does nothing if the client is not in it."""
        self.socket.leave(self._name(room))

    def emit(self, payload: Payload) -> None:
        """Send an event to this client only. The event is neither stored nor recovered.

        Raises ContractError if the event does not list the namespace's `caller`, InvalidDataError if the payload does
        not fit its type.
        """
        self._send(self._context.caller_events.encode(payload, self.socket.age))

    def _send(self, event: CallerEvent | None) -> None:
        """Send an event, unless clients of this version do not receive it."""
        if event is not None:
            self.socket.send(*event)

    @must_await
    async def publish(self, payload: Payload, *rooms: Place) -> str | None:
        """Publish an event to everyone in `rooms` but this client, or in the rooms that follow from the payload.

        In a namespace with placeholders, without `rooms`: only to its own namespace.

        As `Publisher.emit`, with this socket excluded: other connections of the same user receive the event. In a
        transaction, use `Transaction.publish`.
        """
        if self._context.publisher is None:
            raise ContractError(f"{type(payload).__name__} cannot be published: `bind` was given no publisher")
        return await self._context.publisher.emit(payload, *(rooms or self.places), excluding=[self.own_room])

    @must_await
    async def call(self, payload: Payload, reply: type[T], timeout: float | None = None) -> T:
        """`emit`, and wait for the client's acknowledgement: its first argument, as a `reply`.

        `reply` is a payload or another type that an event can carry, `type(None)` for an acknowledgement without
        arguments. `timeout` is in seconds; None means the setting `ack_timeout`. Raises InvalidDataError if the answer
        is not a `reply`; RefusedError: timed_out if no answer came or the client has disconnected, rate_limited if too
        many answers of this client are outstanding; and the errors of `emit`.
        """
        event = self._context.caller_events.encode(payload, self.socket.age)
        if event is None:
            raise RefusedError(TIMED_OUT, f"Clients of version {self.version} receive no {type(payload).__name__}.")
        data, _, attachments = event
        return decode_answer(await self.socket.call(data, timeout, attachments), reply)

    def disconnect(self, close: bool = False) -> None:
        """Disconnect the client from the namespace; with `close`, end its whole connection.

        An official client does not reconnect by itself after this. The client receives events that were emitted
        before; it does not receive the acknowledgement of the command that is being handled.
        """
        self.socket.disconnect(close)

    def enter(self, room: NamedRoom | str, allowed: bool) -> None:
        """Join a room after a decision. Raises RefusedError (forbidden) if the decision is no."""
        if not allowed:
            raise RefusedError(FORBIDDEN, f"You have no right to be in room {str(room)!r}.")
        self.socket.join(self._name(room))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in parallel to the client's other events, also after a disconnect. Its errors are logged."""
        self.socket.context.spawn(work)

    def renew(self, identity: Identity) -> None:
        """Replace the client's token by a newer one of the same user: its claims, and its expiry.

        The client leaves the rooms in which the new token does not allow it. If only the membership table can decide,
        the client stays if both tokens name the same subjects. Raises RefusedError: forbidden if the token belongs to
        another user, forbidden_role if the namespace does not admit its role.
        """
        access, before = self._context.access, self.identity
        who = access.namespace.who
        if identity.subject != before.subject:
            raise RefusedError(FORBIDDEN, "The token is another user's.")
        if not access.admits(identity):
            refusal = FORBIDDEN if who.admits(identity) else FORBIDDEN_ROLE
            raise RefusedError(refusal, access.explain())
        lost = [room for room in self.rooms if not access.keeps(before, identity, room)]
        if any(access.is_required(room) for room in lost):
            raise RefusedError(FORBIDDEN, access.explain())
        for room in lost:
            self.socket.leave(room)
        self.identity = identity
        self.socket.renew(identity.expires_at)

    def become(self, identity: Identity, allowed: Container[str]) -> None:
        """The client has signed in: it is this user from now on, and leaves the rooms that are not `allowed`.

        Raises RefusedError (rate_limited) if the user has too many connections.
        """
        now, payer = self._context.clock(), payer_of(identity, self.socket.handshake)
        if payer != self.payer:
            usage = self._count(payer, now)
            self._context.users.leave(self.payer, self.socket.connection.id, now)
            self.payer, self._usage, self._buckets = payer, usage, None
        for room in self.rooms:
            if room not in allowed:
                self.socket.leave(room)
        self.identity = identity
        self.socket.sign_in(identity.subject, identity.expires_at)

    def _name(self, room: NamedRoom | str) -> str:
        if isinstance(room, NamedRoom) and room.namespace != self.namespace:
            raise ContractError(f"room {room} is of namespace {room.namespace}; the client is in {self.namespace}")
        return str(room)

    def bucket(self, name: str, limit: Limit, now: float) -> Bucket:
        """What is left of the limit on command `name`."""
        if self._buckets is None:
            self._buckets = {}
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = self._context.users.bucket(
                self._usage, self.payer, self.declared.name, name, limit, now
            )
        return bucket

    def hold(self, event: ReceivedEvent, timer: Timer) -> None:
        """Hold a volatile command over the limit."""
        if self.held is None:
            self.held = {}
        self.held[event.name] = event, timer

    def unhold(self, name: str) -> tuple[ReceivedEvent | None, Timer | None]:
        """Remove and return the held command `name` and its timer."""
        return self.held.pop(name, (None, None)) if self.held is not None else (None, None)

    def forget(self, now: float) -> None:
        """Release what is counted for the client. Called after a disconnect, or if the CONNECT was refused."""
        for _, timer in (self.held or {}).values():
            timer.cancel()
        self.held = None
        self._context.users.leave(self.payer, self.socket.connection.id, now)
