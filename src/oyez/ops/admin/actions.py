"""What operators do to clients and events. Changes are entries of the log, so all nodes apply them, in one order."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from oyez.contract.codec import encode_json
from oyez.contract.rooms import Everyone, NamedRoom
from oyez.contract.schema import quote
from oyez.contract.types import Time
from oyez.errors import EVENT_GONE, InvalidDataError, RefusedError
from oyez.log.log import Entry
from oyez.observer import OPERATOR
from oyez.ops.admin import restrictions
from oyez.ops.admin.answers import ConnectionsQuery, Restriction, ShownSocket
from oyez.ops.admin.changes import (
    MAX_BLOCKED,
    Announce,
    Block,
    Disconnect,
    Disconnected,
    Remove,
    Resend,
    Resent,
    Restore,
    Revoke,
    Unblock,
)
from oyez.ops.admin.cluster import Cluster
from oyez.ops.admin.events import read_event
from oyez.ops.admin.local import TokenQuery
from oyez.protocol.socket_ids import SOCKET_ID, own_room, user_room
from oyez.runtime import control
from oyez.service.database.database import Database
from oyez.service.outbox.members import check_namespace, find_room
from oyez.service.outbox.transaction import Transaction
from oyez.service.served import Served

REVOKED_FOR = 30 * 86_400.0
"""Seconds for which tokens are refused whose end is not known: few tokens live longer than a month."""
MAX_RESENT = 200
"""Sockets to which one event is sent again. More of them are a room."""
MAINTENANCE = "oyez:maintenance"
"""The event that announces maintenance."""

Tokens = Literal["token", "user", "role"]


class Actions:
    """The actions on all systems. `now` gives seconds since 1970."""

    def __init__(self, cluster: Cluster, database: Database, now: Callable[[], float] = time.time) -> None:
        self._cluster = cluster
        self._database = database
        self._now = now

    # Clients.

    async def disconnect(self, served: Served, asked: Disconnect) -> Disconnected:
        """Disconnect a user, a socket, a room or everyone. Raises InvalidDataError, RefusedError."""
        chosen = [value for value in (asked.user, asked.socket, asked.room, asked.everyone or None) if value]
        if len(chosen) != 1:
            raise InvalidDataError("", "one of user, socket, room and everyone")
        if asked.socket is not None and SOCKET_ID.fullmatch(asked.socket) is None:
            raise InvalidDataError("socket", f"the id of a socket; got {quote(asked.socket)}")
        names = _find_namespaces(served, asked.namespace)
        if asked.room is not None:
            rooms: list[NamedRoom | Everyone] = [_find_room(served, asked.room, asked.namespace)]
        else:
            own = own_room(asked.socket) if asked.socket is not None else user_room(asked.user or "")
            rooms = [Everyone(name) if asked.everyone else NamedRoom(name, own) for name in names]
        return await _append(served, [control.disconnect(room, close=asked.close) for room in rooms])

    async def remove(self, served: Served, asked: Remove) -> Disconnected:
        """Remove a user from a room, and from its members. Raises InvalidDataError, RefusedError."""
        room = _find_room(served, asked.room, asked.namespace)
        if await served.members.list(room, after="", limit=1):
            await served.outbox.run(Transaction.remove_member, room, f"user:{asked.user}")
            await served.outbox.flushed()
        return await _append(served, [control.leave(NamedRoom(room.namespace, user_room(asked.user)), [room])])

    # Restrictions.

    async def block(self, served: Served, asked: Block, by: str) -> Restriction:
        """Refuse a user until a time, and disconnect the user. Raises InvalidDataError."""
        now = self._now()
        if (asked.until is None) == (asked.seconds is None):
            raise InvalidDataError("", "one of until and seconds")
        until = asked.until.seconds if asked.until is not None else now + (asked.seconds or 0.0)
        return await self._restrict(served, "block", asked.user, now, until, by, asked.reason)

    async def unblock(self, served: Served, asked: Unblock) -> None:
        """Let a user connect again."""
        await self._release(served, "block", asked.user)

    async def revoke(self, served: Served, asked: Revoke, by: str) -> Restriction:
        """Refuse tokens, and disconnect their sockets. Raises InvalidDataError."""
        kind, subject = _find_tokens(asked.token, asked.user, asked.role)
        if kind == "role" and subject not in served.system.contract.roles:
            raise InvalidDataError("role", f"one of {', '.join(served.system.contract.roles)}; got {quote(subject)}")
        now = self._now()
        until = asked.until.seconds if asked.until is not None else await self._find_end(served, kind, subject, now)
        before = asked.before.seconds if asked.before is not None else now
        return await self._restrict(served, kind, subject, before, until, by, asked.reason)

    async def restore(self, served: Served, asked: Restore) -> None:
        """Accept tokens again. Raises InvalidDataError."""
        await self._release(served, *_find_tokens(asked.token, asked.user, asked.role))

    async def list_restrictions(self, system: str | None, user: str | None = None) -> list[Restriction]:
        """The restrictions that hold."""
        return await self._database.read(restrictions.list_all, self._now(), system, user)

    async def count_restrictions(self) -> int:
        """Number of restrictions that hold."""
        return await self._database.read(restrictions.count, self._now())

    async def _find_end(self, served: Served, kind: Tokens, subject: str, now: float) -> float:
        """When the last of these tokens ends, as far as the nodes know."""
        found = await self._cluster.find_tokens(TokenQuery(served.system.name, kind, subject))
        if any(one.endless for one in found):
            return now + MAX_BLOCKED
        ends = [one.ends for one in found if one.count and one.ends is not None]
        if kind == "token" and ends:
            return max(ends)
        return max(now + REVOKED_FOR, *ends) if ends else now + REVOKED_FOR

    async def _restrict(
        self,
        served: Served,
        kind: Literal["block", "token", "user", "role"],
        subject: str,
        before: float,
        until: float,
        by: str,
        reason: str,
    ) -> Restriction:
        now = self._now()
        if not now < until <= now + MAX_BLOCKED:
            raise InvalidDataError("until", "a time in the future, at most ten years from now")
        name = served.system.name
        # The table first: if the log is written and the table is not, nobody could see the restriction.
        restriction = Restriction(
            system=name,
            kind=kind,
            subject=subject,
            since=Time.at(before),
            until=Time.at(until),
            by=by,
            reason=reason,
        )
        await self._database.run(restrictions.store, restriction)
        # Then the record: a client that comes back at once must find it.
        await served.revoked.restrict(kind, subject, before, until)
        namespaces = _find_namespaces(served, None)
        if kind in ("block", "user"):
            entries = [control.disconnect(NamedRoom(one, user_room(subject)), close=True) for one in namespaces]
        else:
            entries = [control.revoke(one, kind, subject, before) for one in namespaces]
        await served.log.append(entries)
        return restriction

    async def _release(self, served: Served, kind: Literal["block", "token", "user", "role"], subject: str) -> None:
        await self._database.run(restrictions.remove, served.system.name, kind, subject)
        await served.revoked.release(kind, subject)

    async def keep(self, systems: Iterable[Served]) -> None:
        """Write the records of restrictions again that the log has lost."""
        listed = await self.list_restrictions(None)
        for served in systems:
            for one in (one for one in listed if one.system == served.system.name):
                if await served.revoked.has(one.kind, one.subject):
                    continue
                await served.revoked.restrict(one.kind, one.subject, one.since.seconds, one.until.seconds)
                left = await self.list_restrictions(one.system)
                if not any((other.kind, other.subject) == (one.kind, one.subject) for other in left):
                    # It was ended in the meantime.
                    await served.revoked.release(one.kind, one.subject)

    # Events.

    async def resend(self, served: Served, asked: Resend) -> Resent:
        """Publish an event of the log again, for those who are in its rooms now. Raises RefusedError."""
        entry = await read_event(served.log, asked.position)
        if entry is None:
            raise RefusedError(EVENT_GONE)
        again = msgspec.structs.replace(entry, position=None, key="")
        sockets = None
        if asked.user is not None or asked.socket is not None:
            sockets = await self._find_recipients(served, entry, asked)
            if not sockets:
                raise InvalidDataError("user", "a user or a socket that is in the rooms of the event now")
            rooms = tuple(own_room(socket.id) for socket in sockets)
            again = msgspec.structs.replace(again, rooms=rooms)
        (position,) = await served.publisher.append([[again]], origin=OPERATOR)
        return Resent(position=position or "", sockets=None if sockets is None else len(sockets))

    async def _find_recipients(self, served: Served, entry: Entry, asked: Resend) -> list[ShownSocket]:
        """The sockets of a user, or one socket, in the rooms of an event."""
        found: dict[str, ShownSocket] = {}
        for room in entry.rooms or (None,):
            query = ConnectionsQuery(
                system=served.system.name,
                namespace=entry.namespace,
                room=room,
                user=asked.user,
                search=asked.socket or "",
                limit=MAX_RESENT,
            )
            page = await self._cluster.list_connections(query)
            found |= {one.id: one for one in page.sockets if asked.socket in (None, one.id)}
        return list(found.values())

    async def announce(self, served: Served, asked: Announce) -> Disconnected:
        """Announce maintenance to all clients, also to those that are away and come back in time."""
        if asked.at is not None and asked.until is not None and asked.until.seconds <= asked.at.seconds:
            raise InvalidDataError("until", "a time after `at`")
        content = {"message": asked.message, "at": asked.at, "until": asked.until, "timestamp": Time.at(self._now())}
        data = encode_json((MAINTENANCE, content))
        names = _find_namespaces(served, None)
        return await _append(served, [Entry(namespace=name, rooms=(), data=data, name=MAINTENANCE) for name in names])


async def _append(served: Served, entries: Sequence[Entry]) -> Disconnected:
    return Disconnected(positions=await served.log.append(list(entries)))


def _find_namespaces(served: Served, only: str | None) -> list[str]:
    check_namespace(served.system.contract, only)
    return [only] if only is not None else [one.name for one in served.system.contract.namespaces]


def _find_room(served: Served, room: str, namespace: str | None) -> NamedRoom:
    return find_room(served.system.contract, room, namespace, has_members=False)


def _find_tokens(token: str | None, user: str | None, role: str | None) -> tuple[Tokens, str]:
    """Which tokens are meant. Raises InvalidDataError."""
    given: list[tuple[Tokens, str]] = []
    if token:
        given.append(("token", token))
    if user:
        given.append(("user", user))
    if role:
        given.append(("role", role))
    if len(given) != 1:
        raise InvalidDataError("", "one of token, user and role")
    return given[0]
