"""What all nodes know: the questions, and how their answers are merged."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from oyez.ops.admin.answers import (
    ConnectionsQuery,
    Happened,
    HistoryPage,
    HistoryQuery,
    MissingNode,
    NodeList,
    Rates,
    RatesQuery,
    RoomPage,
    RoomsQuery,
    ShownNode,
    ShownRoom,
    ShownUser,
    SocketDetail,
    SocketPage,
    UserPage,
    UsersQuery,
)
from oyez.ops.admin.inquiries import Answers, Inquiries, Question
from oyez.ops.admin.local import FoundSockets, FoundTokens, LocalView, Nothing, OneUser, TokenQuery
from oyez.ops.admin.paging import cut
from oyez.ops.admin.rates import LocalTick, RateRecorder, merge_ticks
from oyez.ops.admin.tracing import LocalTrace, TraceQuery, Tracer
from oyez.server.cluster.membership import Membership


class Machine(NamedTuple):
    """Where a node runs."""

    host: str
    pid: int


class NodeDirectory:
    """The machines of the nodes that have ever answered, so that a missing node has a name that people know."""

    def __init__(self) -> None:
        self._machines: dict[str, Machine] = {}

    def note(self, node: ShownNode) -> None:
        """A node has answered."""
        self._machines.pop(node.id, None)
        if len(self._machines) >= MAX_MACHINES:
            del self._machines[next(iter(self._machines))]
        self._machines[node.id] = Machine(node.host, node.pid)

    def describe(self, missing: Iterable[str]) -> list[MissingNode]:
        """The nodes with these ids."""
        found = ((id, self._machines.get(id)) for id in missing)
        return [
            MissingNode(id=id, host=known.host if known else None, pid=known.pid if known else None)
            for id, known in found
        ]


MAX_MACHINES = 1_000
"""Nodes whose machines are remembered."""


def build_questions(view: LocalView, recorder: RateRecorder, tracer: Tracer) -> Mapping[str, Question[Any]]:
    """What nodes ask each other."""

    async def show_rates(query: RatesQuery) -> list[LocalTick]:
        return list(recorder.ticks)[-query.seconds :]

    return {
        "connections": Question(ConnectionsQuery, FoundSockets, view.find_sockets),
        "rooms": Question(RoomsQuery, list[ShownRoom], view.find_rooms),
        "users": Question(UsersQuery, list[ShownUser], view.find_users),
        "user": Question(OneUser, list[SocketDetail], view.find_user),
        "tokens": Question(TokenQuery, FoundTokens, view.find_tokens),
        "history": Question(HistoryQuery, list[Happened], view.find_history),
        "node": Question(Nothing, ShownNode, view.show_node),
        "rates": Question(RatesQuery, list[LocalTick], show_rates),
        "trace": Question(TraceQuery, LocalTrace, tracer.trace),
    }


class Cluster:
    """All nodes, as one of them sees them."""

    def __init__(self, membership: Membership, questions: Mapping[str, Question[Any]]) -> None:
        self._inquiries = Inquiries(membership, questions)
        self._directory = NodeDirectory()

    def close(self) -> None:
        """Answer nothing more."""
        self._inquiries.close()

    async def list_connections(self, query: ConnectionsQuery) -> SocketPage:
        """A page of sockets."""
        answers: Answers[FoundSockets] = await self._inquiries.ask("connections", query)
        found = [socket for answer in answers.by_node.values() for socket in answer.sockets]
        sockets, after = cut(found, lambda one: (one.user, one.system, one.namespace, one.id), query.limit)
        count = sum(answer.count for answer in answers.by_node.values())
        return SocketPage(sockets=sockets, count=count, next=after, missing=self.describe(answers.missing))

    async def list_rooms(self, query: RoomsQuery) -> RoomPage:
        """A page of rooms. Each node gives as many as the page has: none of the first is left out."""
        answers: Answers[list[ShownRoom]] = await self._inquiries.ask("rooms", query)
        total: dict[tuple[str, ...], int] = {}
        for room in (room for answer in answers.by_node.values() for room in answer):
            key = (room.system, room.namespace, room.room)
            total[key] = total.get(key, 0) + room.sockets
        keys, after = cut(total, lambda key: key, query.limit)
        rooms = [ShownRoom(system=key[0], namespace=key[1], room=key[2], sockets=total[key]) for key in keys]
        return RoomPage(rooms=rooms, next=after, missing=self.describe(answers.missing))

    async def list_users(self, query: UsersQuery) -> UserPage:
        """A page of users."""
        answers: Answers[list[ShownUser]] = await self._inquiries.ask("users", query)
        total: dict[tuple[str, ...], int] = {}
        for user in (user for answer in answers.by_node.values() for user in answer):
            key = (user.system, user.user)
            total[key] = total.get(key, 0) + user.sockets
        keys, after = cut(total, lambda key: key, query.limit)
        users = [ShownUser(system=key[0], user=key[1], sockets=total[key]) for key in keys]
        return UserPage(users=users, next=after, missing=self.describe(answers.missing))

    async def find_user(self, system: str, user: str) -> tuple[list[SocketDetail], list[MissingNode]]:
        """The sockets of a user."""
        answers: Answers[list[SocketDetail]] = await self._inquiries.ask("user", OneUser(system, user))
        found = [socket for answer in answers.by_node.values() for socket in answer]
        return sorted(found, key=lambda one: (one.namespace, one.id)), self.describe(answers.missing)

    async def find_tokens(self, query: TokenQuery) -> list[FoundTokens]:
        """The tokens of connected clients, by node."""
        answers: Answers[FoundTokens] = await self._inquiries.ask("tokens", query)
        return list(answers.by_node.values())

    async def list_history(self, query: HistoryQuery) -> HistoryPage:
        """What the nodes remember, the newest first."""
        answers: Answers[list[Happened]] = await self._inquiries.ask("history", query)
        found = [one for answer in answers.by_node.values() for one in answer]
        newest = sorted(found, key=lambda one: one.at, reverse=True)[: query.limit]
        return HistoryPage(history=newest, missing=self.describe(answers.missing))

    async def list_nodes(self) -> NodeList:
        """All nodes."""
        answers: Answers[ShownNode] = await self._inquiries.ask("node", Nothing())
        for node in answers.by_node.values():
            self._directory.note(node)
        nodes = sorted(answers.by_node.values(), key=lambda one: (one.host, one.pid))
        return NodeList(nodes=nodes, missing=self.describe(answers.missing))

    async def show_rates(self, query: RatesQuery, until: int) -> Rates:
        """The rates of the seconds before `until`, which is in seconds since 1970."""
        answers: Answers[Sequence[LocalTick]] = await self._inquiries.ask("rates", query)
        ticks = merge_ticks(answers.by_node.values(), until - query.seconds, until)
        return Rates(ticks=ticks, missing=self.describe(answers.missing))

    async def trace(self, query: TraceQuery) -> tuple[Mapping[str, LocalTrace], list[MissingNode]]:
        """What each node knows of an event."""
        answers: Answers[LocalTrace] = await self._inquiries.ask("trace", query)
        return answers.by_node, self.describe(answers.missing)

    def describe(self, missing: Iterable[str]) -> list[MissingNode]:
        """Nodes that have not answered."""
        return self._directory.describe(missing)
