"""A Client: one socket as its handlers see it, with its identity, its rooms and its limits.

There is no way into a room here but by the room's rule.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from oyez.contract.codec import EventCodec, decode_answer
from oyez.contract.contract import Event
from oyez.contract.declare import Limit, Namespace
from oyez.contract.policy import Identity, Verdict
from oyez.contract.rooms import NamedRoom, Room
from oyez.contract.schema import quote
from oyez.contract.types import Payload
from oyez.errors import (
    FORBIDDEN,
    FORBIDDEN_ROLE,
    RATE_LIMITED,
    UNKNOWN_ROOM,
    ContractError,
    InvalidDataError,
    RefusedError,
)
from oyez.runtime.awaiting import must_await
from oyez.runtime.control import Revocations
from oyez.runtime.latest import Latest
from oyez.runtime.usage import Bucket, Users
from oyez.server.namespaces.socket import Socket
from oyez.server.types import Handshake, ReceivedEvent

T = TypeVar("T")

IsMember = Callable[[Identity, NamedRoom], Awaitable[bool]]
"""Whether the membership table has this identity in this room."""
CallerEvents = Mapping[type[Payload], tuple[Event, EventCodec[Payload]]]
"""Events that go to the client concerned, by their payload."""


@dataclass(frozen=True, slots=True)
class RoomAccess:
    """What the clients of one namespace share."""

    namespace: Namespace
    members: IsMember
    caller_events: CallerEvents
    subjects_of: Callable[[Identity], frozenset[str]]
    clock: Callable[[], float] = time.time
    revocations: Revocations = field(default_factory=Revocations)
    users: Users = field(default_factory=Users)
    latest: Latest | None = None

    def decide(self, identity: Identity, name: str) -> Verdict:
        """Whether `identity` may be in the room of that name. Raises RefusedError (unknown_room)."""
        resolved = self.namespace.rooms.resolve(name)
        if resolved is None:
            raise RefusedError(UNKNOWN_ROOM, f"There is no room {quote(name)}.")
        room, values = resolved
        return room.rule.decide(identity, values)

    async def allows(self, identity: Identity, name: str) -> bool:
        """`decide`, with the membership table asked where only that can tell."""
        verdict = self.decide(identity, name)
        if verdict is Verdict.IF_MEMBER:
            return await self._is_member(identity, name)
        return verdict is Verdict.YES

    async def _is_member(self, identity: Identity, name: str) -> bool:
        room = NamedRoom(self.namespace.name, name)
        with self.revocations.observe() as removed:
            allowed = await self.members(identity, room)
            while allowed and name in removed:
                # The answer may be older than a removal that has been dealt with already.
                removed.clear()
                allowed = await self.members(identity, room)
        return allowed


class Client:
    """Given to handlers beside the command."""

    __slots__ = ("_access", "_buckets", "_usage", "ending", "held", "identity", "refused", "socket", "state")

    def __init__(self, identity: Identity, socket: Socket, access: RoomAccess) -> None:
        self.identity = identity
        self.socket = socket
        self._access = access
        self.ending = False
        """Whether the server is about to end the socket: what is emitted now is the last."""
        self.state: dict[str, Any] = {}
        """What the system keeps of this connection, for its handlers and hooks. It ends with the connection: a client
        that comes back, recovered or not, has a new one."""
        self._buckets: dict[str, Bucket] = {}
        """Of the user's own, those that this client has used."""
        self.refused: dict[str, int] = {}
        """By name how many commands in a row were over their limit."""
        self.held: dict[str, tuple[ReceivedEvent, asyncio.TimerHandle]] = {}
        """By name the newest volatile command over its limit, and the timer that ends its waiting."""
        connection = socket.connection
        server = connection.server
        usage = access.users.enter(
            identity.subject, connection.id, server.limits.max_connections_per_user, server.clock()
        )
        if usage is None:
            # Connections that broke without a word are closed after this time.
            wait = server.settings.ping_interval + server.settings.ping_timeout
            raise RefusedError(RATE_LIMITED, "You have too many connections; close one first.", retry_after=wait)
        self._usage = usage

    @property
    def id(self) -> str:
        """The id of the socket, as the client knows it (`socket.id`); its room has that name."""
        return self.socket.id

    @property
    def handshake(self) -> Handshake:
        """The HTTP request that opened the connection: address, query, and the headers that are kept."""
        return self.socket.handshake

    @property
    def namespace(self) -> str:
        """The name of the namespace the client is connected to."""
        return self._access.namespace.name

    @property
    def rooms(self) -> frozenset[str]:
        """The names of the rooms the client is in."""
        return frozenset(self.socket.rooms)

    @property
    def recovers(self) -> bool:
        """Whether the client has just come back, and is caught up with rooms as it joins them again."""
        return self.socket.since is not None

    def is_in(self, room: NamedRoom | str) -> bool:
        return self._name(room) in self.socket.rooms

    @must_await
    async def allows(self, room: NamedRoom | str) -> bool:
        """Whether the client may be in a room, in it or not. Raises RefusedError (unknown_room)."""
        name = self._name(room)
        while True:
            identity = self.identity
            allowed = await self._access.allows(identity, name)
            # Renewed meanwhile, it may be a member no more, or one now.
            if identity is self.identity:
                return allowed

    @must_await
    async def join(self, room: NamedRoom | str, since: str | None = None) -> None:
        """Enter a room. Raises RefusedError: forbidden, unknown_room, or rate_limited where it would be too many.

        With `since`, a position in the log, what came behind that is sent first. Then come the newest events of the
        room that are declared with `latest`.
        """
        if since is None and self.socket.since is None:
            self.enter(room, await self.allows(room))
        else:
            await self._join_again(self._name(room), since)
        await self._send_latest(self._name(room))

    async def _send_latest(self, name: str) -> None:
        latest, namespace = self._access.latest, self._access.namespace
        resolved = namespace.rooms.resolve(name) if latest is not None else None
        if latest is not None and resolved is not None and latest.concerns(resolved[0]):
            for data in await latest.find(NamedRoom(namespace.name, name), resolved[0]):
                self.socket.send(data, volatile=True)

    def awaits_latest(self, room: Room) -> bool:
        """True if the client gets kept events when it joins a room of this kind."""
        return self._access.latest is not None and self._access.latest.concerns(room)

    async def _join_again(self, name: str, since: str | None) -> None:
        """`join` for a client that is sent what it missed there first."""
        with self._access.revocations.observe() as removed:
            if await self.allows(name):
                await self.socket.catch_up(name, since)
                # That may have taken a while.
                self.enter(name, name not in removed)
            else:
                self.enter(name, allowed=False)

    def decide(self, room: NamedRoom | str) -> Verdict:
        """What the room's rule says of this client. Raises RefusedError (unknown_room)."""
        return self._access.decide(self.identity, self._name(room))

    def leave(self, room: NamedRoom | str) -> None:
        """Leave a room; harmless where the client is not in it."""
        self.socket.leave(self._name(room))

    def emit(self, payload: Payload) -> None:
        """Send an event to this client alone: an answer, which is neither stored nor recovered.

        Raises ContractError where the event does not list the namespace's `caller`, InvalidDataError where the
        payload does not fit.
        """
        event, data = self._encode(payload)
        self.socket.send(data, event.volatile)

    @must_await
    async def call(self, payload: Payload, reply: type[T], timeout: float | None = None) -> T:
        """`emit`, and wait for the client's acknowledgement: its first argument, as a `reply`.

        `reply` is a payload or another type that an event can carry, `type(None)` for an acknowledgement without
        arguments. `timeout` is in seconds, the setting `ack_timeout` if None. Raises InvalidDataError if the answer is
        no `reply`; RefusedError: timed_out if no answer came or the client has gone, rate_limited if too many answers
        of this client are outstanding; and as `emit` does.
        """
        _, data = self._encode(payload)
        return decode_answer(await self.socket.call(data, timeout), reply)

    def disconnect(self, close: bool = False) -> None:
        """Take the client out of the namespace; with `close`, end its whole connection.

        An official client does not come back by itself. What was emitted before reaches it; the acknowledgement of the
        command that is being handled does not.
        """
        self.socket.disconnect(close)

    def _encode(self, payload: Payload) -> tuple[Event, bytes]:
        found = self._access.caller_events.get(type(payload))
        if found is None:
            raise ContractError(
                f"{type(payload).__name__} does not go to the client concerned; list `caller` in to=[…]"
            )
        event, codec = found
        try:
            return event, codec.encode_event(event.stamp(payload, self._access.clock()))
        except InvalidDataError as error:
            error.internal = True
            raise

    def enter(self, room: NamedRoom | str, allowed: bool) -> None:
        """Enter a room that was decided about."""
        if not allowed:
            raise RefusedError(FORBIDDEN, f"You have no right to be in room {str(room)!r}.")
        self.socket.join(self._name(room))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the client's other events, also when it has gone; what it raises is logged."""
        self.socket.namespace.spawn(work)

    def renew(self, identity: Identity) -> None:
        """Have a newer token of the same user count: its claims, and the end it sets.

        Rooms it gives no right to are left; where that is for the membership table to say and the token names other
        subjects than before, too. Raises RefusedError: forbidden for another user's, forbidden_role where the
        namespace does not admit its role.
        """
        access, before = self._access, self.identity
        if identity.subject != before.subject:
            raise RefusedError(FORBIDDEN, "The token is another user's.")
        if not access.namespace.who.admits(identity):
            raise RefusedError(FORBIDDEN_ROLE, f"{self.namespace} is for whoever {access.namespace.who.text}.")
        same = access.subjects_of(identity) == access.subjects_of(before)
        for room in self.rooms:
            verdict = access.decide(identity, room)
            still = verdict is Verdict.IF_MEMBER and same and access.decide(before, room) is verdict
            if verdict is not Verdict.YES and not still:
                self.socket.leave(room)
        self.identity = identity
        self.socket.renew(identity.expires_at)

    def _name(self, room: NamedRoom | str) -> str:
        if isinstance(room, NamedRoom) and room.namespace != self.namespace:
            raise ContractError(f"room {room} is of namespace {room.namespace}; the client is in {self.namespace}")
        return str(room)

    def bucket(self, name: str, limit: Limit, now: float) -> Bucket:
        """What is left of the limit on command `name`."""
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = self._access.users.bucket(
                self._usage, self.identity.subject, self.namespace, name, limit, now
            )
        return bucket

    def forget(self, now: float) -> None:
        """The socket has disconnected, or was refused after all."""
        for _, timer in self.held.values():
            timer.cancel()
        self.held.clear()
        self._access.users.leave(self.identity.subject, self.socket.connection.id, now)
