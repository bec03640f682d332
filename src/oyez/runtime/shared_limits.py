"""Limits of a command besides the first one of each user: of all users in a room, or of an address, or for an hour.

They are checked after the command is decoded and its sender's rights are known, so that what is refused for another
reason does not use up what users share. A command without such limits has no part in this.
"""

import time
from collections.abc import Callable, Sequence

from oyez.contract.declared import DeclaredCommand
from oyez.contract.limits import Limit
from oyez.contract.schema import wire_names
from oyez.contract.types import Command
from oyez.errors import FORBIDDEN, RefusedError
from oyez.runtime.client import Client
from oyez.runtime.commands import Handler, LimitedError, limited_error, name_room
from oyez.runtime.usage import Bucket, SharedBuckets


class SharedLimits:
    """The shared limits of one command."""

    def __init__(
        self, declared: DeclaredCommand, buckets: SharedBuckets, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._declared = declared
        self._buckets = buckets
        self._clock = clock
        self._limits = [
            (shared.scope, _add(buckets, declared, f"{index}", shared.limit))
            for index, shared in enumerate(declared.shared)
        ]
        self._shares = {
            name: _add(buckets, declared, f"{index}:share", declared.shared[index].limit.half)
            for index, (scope, name) in enumerate(self._limits)
            if scope == "room"
        }
        """For each limit per room, the part of it that one user may use."""
        self._room_of = _find_room(declared)

    def wrap(self, handler: Handler) -> Handler:
        """`handler`, called only for commands within the limits."""
        if not self._limits:
            return handler

        def handle(command: Command, client: Client) -> object:
            self.enforce(client, self._room_of(command))
            return handler(command, client)

        return handle

    def enforce(self, client: Client, rooms: Sequence[str]) -> None:
        """Count a command to `rooms`. Raises LimitedError, and counts nothing, if it is over one of the limits.

        Raises RefusedError (forbidden) if the client is not in one of the rooms: others could use up its limit.
        """
        if not self._limits:
            return
        check_in_rooms(client, rooms)
        now = self._clock()
        buckets = self._find_buckets(client, rooms, now)
        name = f"{self._declared.name}\0shared"
        for bucket in buckets:
            if not bucket.has(now):
                if self._declared.volatile:
                    # Not an error, as it is none to be over the limit of a user.
                    raise LimitedError(bucket.wait(), 1, reported=True)
                raise limited_error(client, name, bucket)
        for bucket in buckets:
            bucket.take(now)
        if client.refused:
            client.refused.pop(name, None)

    def _find_buckets(self, client: Client, rooms: Sequence[str], now: float) -> list[Bucket]:
        user, namespace = client.payer, self._declared.namespace
        if client.namespace != namespace:
            # A room of the same name in another namespace of this form is another room.
            rooms = [f"{client.namespace}\0{room}" for room in rooms]
        found = []
        for scope, name in self._limits:
            if scope == "user":
                owners: Sequence[str] = (user,)
            elif scope == "address":
                owners = (client.handshake.network,)
            else:
                owners = rooms
                found += [self._buckets.get(f"{user}\0{room}", namespace, self._shares[name], now) for room in rooms]
            found += [self._buckets.get(owner, namespace, name, now) for owner in owners]
        return found


def check_in_rooms(client: Client, rooms: Sequence[str]) -> None:
    """Raises RefusedError (forbidden) if the client is not in one of the rooms."""
    for room in rooms:
        if not client.is_in(room):
            raise RefusedError(FORBIDDEN, f"You are not in room {room!r}.", room=room)


def _add(buckets: SharedBuckets, declared: DeclaredCommand, suffix: str, limit: Limit) -> str:
    """The name of one limit of a command. No command can have it: names of commands are printable."""
    name = f"{declared.name}\0{suffix}"
    buckets.add_limit(declared.namespace, name, limit)
    return name


def _find_room(declared: DeclaredCommand) -> Callable[[Command], Sequence[str]]:
    """How to find the rooms that a command names for its limits."""
    names = {shape: wire_names(shape) for shape in declared.shapes}
    kinds = list(dict.fromkeys(shared.room for shared in declared.shared if shared.room is not None))

    def find(command: Command) -> Sequence[str]:
        return [name_room(room, command, names[type(command)]) for room in kinds]

    return find
