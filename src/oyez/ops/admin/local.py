"""What one node knows of its clients: the answers to the questions of `inquiries.py`.

All work is done in parts, so that the event loop stays responsive with ten thousand clients.
"""

import os
import socket as network
from collections.abc import AsyncIterator, Iterator, Mapping
from heapq import nlargest, nsmallest
from pathlib import Path
from typing import Any

import msgspec

from oyez import __version__
from oyez.concurrency.long_work import LongWork
from oyez.contract.contract import Contract
from oyez.contract.types import Time
from oyez.errors import OyezError, RefusedError
from oyez.log.log import epoch_of, number_of
from oyez.observer import (
    ConnectReport,
    DisconnectReport,
    JoinReport,
    LeaveReport,
    RecoveryReport,
    RefusalReport,
    Report,
    SlowClientReport,
)
from oyez.ops.admin.answers import (
    ConnectionsQuery,
    Happened,
    HeldRoom,
    HistoryKind,
    HistoryQuery,
    NodeSystem,
    RoomsQuery,
    ShownNode,
    ShownRoom,
    ShownSocket,
    ShownUser,
    SlowSocket,
    SocketDetail,
    UsersQuery,
)
from oyez.ops.admin.history import History, Remembered
from oyez.ops.admin.paging import Key, decode_cursor
from oyez.ops.admin.rates import RateRecorder
from oyez.protocol.socket_ids import user_room
from oyez.runtime.client import Client
from oyez.server.namespaces.socket import Socket
from oyez.server.transports.polling import Polling
from oyez.service.app import Oyez
from oyez.service.served import Served

MAX_DETAILS = 100
"""Sockets of one user, and rooms of one socket, that are shown in detail."""
MAX_SLOW = 10


class FoundSockets(msgspec.Struct, frozen=True):
    """The first sockets of a page, and the number of all that fit."""

    sockets: list[ShownSocket]
    count: int


class OneUser(msgspec.Struct, frozen=True):
    """A user of a system."""

    system: str
    user: str


class TokenQuery(msgspec.Struct, frozen=True):
    """Which tokens of connected clients are looked for: by the id, the user or the role."""

    system: str
    kind: str
    subject: str


class FoundTokens(msgspec.Struct, frozen=True):
    """How many sockets have such a token, and when the last of them ends."""

    count: int
    ends: float | None
    """Seconds since 1970; None if there is none, or if one does not end."""
    endless: bool


class Nothing(msgspec.Struct, frozen=True):
    """A question without parameters."""


class LocalView:
    """What this node knows."""

    def __init__(self, oyez: Oyez, history: History, recorder: RateRecorder, started_at: float) -> None:
        self._oyez = oyez
        self._history = history
        self._recorder = recorder
        self._started_at = started_at
        self._host = network.gethostname()

    @property
    def node(self) -> str:
        """The id of this node."""
        return self._oyez.node.id

    # Sockets, rooms, users.

    async def find_sockets(self, query: ConnectionsQuery) -> FoundSockets:
        """The first sockets of a page."""
        if query.node not in (None, self.node):
            return FoundSockets([], 0)
        search, after = query.search.lower(), decode_cursor(query.after)
        found: list[tuple[Key, str, Socket]] = []
        count = 0
        async for system, socket in self._select(query):
            if search and not _matches(socket, search):
                continue
            count += 1
            key = (socket.user_id, system, socket.namespace, socket.id)
            if key > after:
                found.append((key, system, socket))
        # One more than the page has: then there is another page.
        first = nsmallest(query.limit + 1, found, key=lambda one: one[0])
        return FoundSockets([self.show(system, socket) for _, system, socket in first if socket.connected], count)

    async def _select(self, query: ConnectionsQuery) -> AsyncIterator[tuple[str, Socket]]:
        """The sockets that fit all filters but the search."""
        work = LongWork()
        for system, served in self._systems(query.system):
            for name, namespace in served.server.namespaces.items():
                if query.namespace not in (None, name, namespace.declared):
                    continue
                rooms = [room for room in (query.room, query.user and user_room(query.user)) if room]
                for socket in list(namespace.rooms.find(rooms[:1])):
                    if work.is_long():
                        await work.pause()
                    if query.user in (None, socket.user_id) and socket.connected:
                        yield system, socket

    def show(self, system: str, socket: Socket) -> ShownSocket:
        """A socket as the lists have it."""
        return ShownSocket(**self._describe(system, socket))

    def _describe(self, system: str, socket: Socket) -> dict[str, Any]:
        connection = self._oyez.systems[system].server.registry.find(socket.connection.id)
        identity = socket.data.identity
        visit = self._history.present.get((system, socket.context.declared, socket.id))
        transport = "polling" if connection is not None and isinstance(connection.transport, Polling) else "websocket"
        return {
            "system": system,
            "namespace": socket.namespace,
            "id": socket.id,
            "user": socket.user_id,
            "role": identity.role,
            "guest": identity.guest,
            "address": socket.handshake.address,
            "node": self.node,
            "transport": "json" if socket.connection.json else transport,
            "connected_at": Time.at(visit.began) if visit is not None else None,
            "rooms": len(socket.rooms),
            "unsent": connection.unsent if connection is not None and not connection.closed else 0,
        }

    async def find_rooms(self, query: RoomsQuery) -> list[ShownRoom]:
        """The first rooms of a page."""
        search, after, work = query.search.lower(), decode_cursor(query.after), LongWork()
        found: list[Key] = []
        for system, served in self._systems(query.system):
            for name, namespace in served.server.namespaces.items():
                if query.namespace in (None, name, namespace.declared):
                    for room in list(namespace.rooms):
                        if work.is_long():
                            await work.pause()
                        if search in room.lower() and (system, name, room) > after:
                            found.append((system, name, room))
        first = nsmallest(query.limit + 1, found)
        return [
            ShownRoom(system=system, namespace=name, room=room, sockets=self._count_sockets(system, name, room))
            for system, name, room in first
        ]

    async def find_users(self, query: UsersQuery) -> list[ShownUser]:
        """The first users of a page."""
        search, after, work = query.search.lower(), decode_cursor(query.after), LongWork()
        found: set[tuple[str, str]] = set()
        for system, served in self._systems(query.system):
            for namespace in served.server.namespaces.values():
                for user in list(namespace.rooms.users):
                    if work.is_long():
                        await work.pause()
                    if search in user.lower() and (system, user) > after:
                        found.add((system, user))
        first = nsmallest(query.limit + 1, found)
        return [ShownUser(system=system, user=user, sockets=len(self._of_user(system, user))) for system, user in first]

    async def find_user(self, asked: OneUser) -> list[SocketDetail]:
        """The sockets of a user, with their rights."""
        if asked.system not in self._oyez.systems:
            return []
        return [
            self._show_detail(asked.system, socket) for socket in self._of_user(asked.system, asked.user)[:MAX_DETAILS]
        ]

    def _show_detail(self, system: str, socket: Socket) -> SocketDetail:
        client: Client = socket.data
        identity = client.identity
        contract = self._oyez.systems[system].system.contract
        declared = client.declared
        token = identity.claims.get("jti")
        values: dict[str, Any] = {
            **self._describe(system, socket),
            "roles": list(identity.roles) or [identity.role],
            "token_id": token if isinstance(token, str) else None,
            "token_ends": None if identity.expires_at is None else Time.at(min(identity.expires_at, MAX_TIME)),
            "position": socket.position,
            "held": [_show_right(contract, client, room) for room in sorted(socket.rooms)[:MAX_DETAILS]],
            "commands": sorted(command.name for command in declared.commands if command.who.admits(identity)),
        }
        return SocketDetail(**values)

    async def find_tokens(self, query: TokenQuery) -> FoundTokens:
        """The tokens of connected clients that fit."""
        count, ends, endless, work = 0, None, False, LongWork()
        for _, served in self._systems(query.system):
            for namespace in served.server.namespaces.values():
                for socket in list(namespace.sockets.values()):
                    if work.is_long():
                        await work.pause()
                    if not socket.connected or not _has_token(socket.data, query):
                        continue
                    count += 1
                    expires_at = socket.expires_at
                    endless = endless or expires_at is None
                    ends = max(ends or 0.0, expires_at or 0.0)
        return FoundTokens(count, None if endless else ends, endless)

    def _systems(self, only: str | None) -> Iterator[tuple[str, Served]]:
        for name, served in self._oyez.systems.items():
            if only in (None, name):
                yield name, served

    def _count_sockets(self, system: str, namespace: str, room: str) -> int:
        return len(self._oyez.systems[system].server.fetch_sockets(namespace, [room]))

    def _of_user(self, system: str, user: str) -> list[Socket]:
        namespaces = self._oyez.systems[system].server.namespaces.values()
        return [socket for namespace in namespaces for socket in namespace.rooms.users.get(user, ())]

    # History.

    async def find_history(self, query: HistoryQuery) -> list[Happened]:
        """What happened to clients, the newest first."""
        found: list[Happened] = []
        work = LongWork()
        for one in reversed(list(self._history.happened)):
            if work.is_long():
                await work.pause()
            if _concerns(one.report, query):
                found.append(_show_happened(one, self.node))
                if len(found) == query.limit:
                    break
        return found

    # The node.

    async def show_node(self, asked: Nothing) -> ShownNode:
        """This node."""
        return ShownNode(
            id=self.node,
            host=self._host,
            pid=os.getpid(),
            address=self._oyez.node.peering.address,
            version=__version__,
            started_at=Time.at(self._started_at),
            stopping=self._oyez.stopping,
            loop_lag=round(self._recorder.loop_lag, 6),
            memory=_read_memory(),
            systems=[await _show_system(name, served) for name, served in self._oyez.systems.items()],
        )


MAX_TIME = 253_402_300_799.0
"""The last second of the year 9999, in seconds since 1970: the last one that a Time can be."""


def _matches(socket: Socket, search: str) -> bool:
    return search in socket.user_id.lower() or search in socket.id.lower() or search in socket.handshake.address


def _has_token(client: Client, query: TokenQuery) -> bool:
    identity = client.identity
    if query.kind == "user":
        return identity.subject == query.subject
    if query.kind == "role":
        return identity.has_role(query.subject)
    return identity.claims.get("jti") == query.subject


def _show_right(contract: Contract, client: Client, room: str) -> HeldRoom:
    try:
        verdict = client.decide(room).value
    except RefusedError:
        # The contract does not know the room any more.
        return HeldRoom(room=room, rule="", verdict="no")
    return HeldRoom(room=room, rule=describe_rule(contract, client.namespace, room), verdict=verdict)


def describe_rule(contract: Contract, namespace: str, room: str) -> str:
    """The rule of a room, in words; empty if there is no such room."""
    found = contract.find_room(namespace, room)
    return found[0].rule.text if found is not None else ""


KINDS: Mapping[type[Report], HistoryKind] = {
    ConnectReport: "connect",
    DisconnectReport: "disconnect",
    JoinReport: "join",
    LeaveReport: "leave",
    RecoveryReport: "recovery",
    RefusalReport: "refusal",
    SlowClientReport: "slow",
}
"""The kinds of history, by the reports that the history keeps."""


def _concerns(report: Any, query: HistoryQuery) -> bool:
    """True if a report fits. It is looked at before it is shown: that costs a hundredth."""
    if query.system not in (None, report.system) or query.kind not in (None, KINDS[type(report)]):
        return False
    if query.user not in (None, report.user_id) or query.socket not in (None, getattr(report, "socket_id", "")):
        return False
    # A client is in its first rooms when it has connected.
    return query.room is None or query.room in (getattr(report, "room", ""), *getattr(report, "rooms", ()))


def _show_happened(one: Remembered, node: str) -> Happened:
    """What an operator sees of a report."""
    report: Any = one.report
    common: dict[str, Any] = {"at": Time.at(one.at), "node": node, "position": one.position}
    match report:
        case ConnectReport():
            found = {"kind": "connect", "socket": report.socket_id, "address": report.address}
        case DisconnectReport():
            found = {
                "kind": "disconnect",
                "socket": report.socket_id,
                "address": report.address,
                "reason": report.reason,
            }
        case JoinReport():
            found = {"kind": "join", "socket": report.socket_id, "room": report.room}
        case LeaveReport():
            found = {"kind": "leave", "socket": report.socket_id, "room": report.room}
        case RecoveryReport():
            found = {"kind": "recovery", "socket": report.socket_id, "room": report.room, "reason": report.reason}
            common |= {"recovered": report.recovered, "replayed": report.replayed}
        case RefusalReport():
            found = {
                "kind": "refusal",
                "socket": report.socket_id,
                "code": report.code,
                "name": report.name,
                "address": report.address,
            }
        case SlowClientReport():
            found = {"kind": "slow", "socket": "", "namespace": "", "address": report.address}
    values: dict[str, Any] = {"namespace": getattr(report, "namespace", ""), "user": report.user_id, **common, **found}
    return Happened(**values)


async def _show_system(name: str, served: Served) -> NodeSystem:
    server = served.server
    position = server.progress.position
    connections = server.registry.connections
    waiting = [(unsent, one) for one in connections.values() if (unsent := one.unsent)]
    return NodeSystem(
        system=name,
        position=position,
        behind=await _count_behind(served, position),
        log=server.log_probe.reason is None,
        database=served.database.reason is None,
        connections=len(connections),
        sockets=server.count_sockets(),
        handlers=server.handlers,
        unsent=sum(unsent for unsent, _ in waiting),
        slow=[
            SlowSocket(system=name, user=one.sockets.user_id, address=one.handshake.address, unsent=unsent)
            for unsent, one in nlargest(MAX_SLOW, waiting, key=lambda found: found[0])
        ],
    )


async def _count_behind(served: Served, position: str) -> int | None:
    """Number of entries that the log has after what was delivered; None if the log does not say."""
    try:
        newest = await served.log.position()
        return max(0, number_of(newest) - number_of(position)) if epoch_of(newest) == epoch_of(position) else None
    except (OyezError, KeyError):
        return None


def _read_memory() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
