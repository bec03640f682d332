"""A Client: one socket as its handlers see it, with its identity, its rooms and its limits.

There is no way into a room here but by the room's rule.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from oyez.contract.codec import EventCodec
from oyez.contract.contract import Event
from oyez.contract.declare import Namespace
from oyez.contract.limits import Bucket, Limit
from oyez.contract.policy import Identity, Verdict
from oyez.contract.rooms import NamedRoom
from oyez.contract.types import Payload
from oyez.contract.wire import shown
from oyez.errors import FORBIDDEN, UNKNOWN_ROOM, ContractError, RefusedError
from oyez.server.socket import Socket

Members = Callable[[Identity, NamedRoom], Awaitable[bool]]
"""Whether the membership table has this identity in this room."""
Answers = Mapping[type[Payload], tuple[Event, EventCodec[Payload]]]
"""Events that go to the client concerned, by their payload."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the clients of one namespace share."""

    namespace: Namespace
    members: Members
    answers: Answers
    clock: Callable[[], float] = time.time

    def decide(self, identity: Identity, name: str) -> Verdict:
        """Whether `identity` may be in the room of that name. Raises RefusedError (unknown_room)."""
        resolved = self.namespace.rooms.resolve(name)
        if resolved is None:
            raise RefusedError(UNKNOWN_ROOM, f"There is no room {shown(name)}.")
        room, values = resolved
        return room.rule.decide(identity, values)

    async def allows(self, identity: Identity, name: str) -> bool:
        """`decide`, with the membership table asked where only that can tell."""
        verdict = self.decide(identity, name)
        if verdict is Verdict.IF_MEMBER:
            return await self.members(identity, NamedRoom(self.namespace.name, name))
        return verdict is Verdict.YES


class Client:
    """Given to handlers beside the command."""

    __slots__ = ("_buckets", "_surroundings", "identity", "socket")

    def __init__(self, identity: Identity, socket: Socket, surroundings: Surroundings) -> None:
        self.identity = identity
        self.socket = socket
        self._surroundings = surroundings
        self._buckets: dict[str, Bucket] = {}

    async def join(self, room: NamedRoom | str) -> None:
        """Enter a room. Raises RefusedError: forbidden, unknown_room, or rate_limited where it would be too many."""
        self.enter(room, await self._surroundings.allows(self.identity, str(room)))

    def decide(self, room: NamedRoom | str) -> Verdict:
        """What the room's rule says of this client. Raises RefusedError (unknown_room)."""
        return self._surroundings.decide(self.identity, str(room))

    def leave(self, room: NamedRoom | str) -> None:
        """Leave a room; harmless where the client is not in it."""
        self.socket.leave(str(room))

    def emit(self, payload: Payload) -> None:
        """Send an event to this client alone: an answer, which is neither stored nor recovered.

        Raises ContractError where the event does not list the namespace's `caller`, InvalidDataError where the
        payload does not fit.
        """
        found = self._surroundings.answers.get(type(payload))
        if found is None:
            raise ContractError(
                f"{type(payload).__name__} does not go to the client concerned; list `caller` in to=[…]"
            )
        event, codec = found
        self.socket.send(codec.encode_event(event.stamp(payload, self._surroundings.clock())), event.volatile)

    def enter(self, room: NamedRoom | str, allowed: bool) -> None:
        """Enter a room that was decided about."""
        if not allowed:
            raise RefusedError(FORBIDDEN, f"You have no right to be in room {str(room)!r}.")
        self.socket.join(str(room))

    def bucket(self, name: str, limit: Limit, now: float) -> Bucket:
        """What is left of the limit on command `name`."""
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(limit, now)
        return bucket
