"""The admin API over HTTP: the operations of `operations.py`, for operators who are signed in.

A token is only ever in the header `Authorization`, which no other site can make a browser send. Each action is recorded
before it is done.
"""

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from oyez import __version__
from oyez.contract.codec import encode_json
from oyez.contract.contract import Contract
from oyez.contract.policy import Member
from oyez.contract.schema import quote
from oyez.contract.types import Payload, Time
from oyez.errors import MALFORMED, UNKNOWN_KEY, UNKNOWN_SYSTEM, InvalidDataError, RefusedError, find_code
from oyez.log.log import Entry
from oyez.ops.admin import answers, changes
from oyez.ops.admin.actions import Actions
from oyez.ops.admin.answers import EventsQuery, Happened, SocketDetail
from oyez.ops.admin.audit import Audit
from oyez.ops.admin.cluster import Cluster
from oyez.ops.admin.events import read_entries, read_event, read_newest, read_rooms, show_event
from oyez.ops.admin.history import MAX_HAPPENED
from oyez.ops.admin.local import MAX_DETAILS, describe_rule
from oyez.ops.admin.openapi import build_document
from oyez.ops.admin.operations import MAKE_KEY, OPERATIONS, RENEW, SIGN_IN, AdminOperation
from oyez.ops.admin.reports import build_trace
from oyez.ops.admin.sign_in import SignIns
from oyez.ops.admin.tracing import TraceQuery
from oyez.ops.admin.work import read_dead, read_work
from oyez.protocol.socket_ids import own_room, user_room
from oyez.runtime.callers import ApiCaller, current_caller
from oyez.runtime.http import answer_json, answer_or_refuse, bearer_token, read_json, read_optional
from oyez.runtime.idempotency import Idempotency
from oyez.server.http.proxies import TrustedProxies
from oyez.server.types import network_of
from oyez.service.app import Oyez
from oyez.service.auth.service_keys import ServiceKey
from oyez.service.idempotency import IdempotencyMiddleware
from oyez.service.outbox.members import find_room
from oyez.service.receipts.answers import ReceiptEventsQuery, ReceiptsQuery
from oyez.service.resources import read_query
from oyez.service.served import Served
from oyez.service.webhooks import store

Q = TypeVar("Q", bound=Payload)

MAX_EVENTS = 50
"""Events of one user or room."""
MAX_HISTORY = 200
HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


@dataclass(frozen=True, slots=True)
class Call:
    """A request of an operator."""

    request: Request
    operator: str
    address: str
    token: str
    body: Any

    def query(self, kind: type[Q]) -> Q:
        """The query. Raises InvalidDataError."""
        return read_query(self.request, kind)

    def path(self, name: str) -> str:
        """A parameter in the path."""
        value: str = self.request.path_params[name]
        return value


Handler = Callable[[Call], Awaitable[object]]
"""Answers a call: with a payload, with a Response, or with None for no content."""


class AdminApi:
    """The routes of one process."""

    def __init__(
        self,
        oyez: Oyez,
        cluster: Cluster,
        actions: Actions,
        audit: Audit,
        sign_ins: SignIns,
        idempotency: Idempotency,
    ) -> None:
        self._oyez = oyez
        self._cluster = cluster
        self._actions = actions
        self._audit = audit
        self._sign_ins = sign_ins
        self._limits = oyez.settings.limits
        self._honour_keys = Middleware(
            IdempotencyMiddleware,
            idempotency=idempotency,
            authorize=lambda request: sign_ins.authorize(bearer_token(request)),
            limits=self._limits,
        )
        self._proxies = TrustedProxies(oyez.settings.trusted_proxies)
        self._handlers: Mapping[str, Handler] = {
            RENEW: self._renew,
            "overview": self._show_overview,
            "listConnections": lambda call: cluster.list_connections(call.query(answers.ConnectionsQuery)),
            "listRooms": lambda call: cluster.list_rooms(call.query(answers.RoomsQuery)),
            "listUsers": lambda call: cluster.list_users(call.query(answers.UsersQuery)),
            "showUser": self._show_user,
            "showRoom": self._show_room,
            "listHistory": lambda call: cluster.list_history(call.query(answers.HistoryQuery)),
            "listEvents": self._list_events,
            "traceEvent": self._trace_event,
            "listReceiptEvents": self._list_receipt_events,
            "listReceipts": self._list_receipts,
            "listNodes": lambda call: cluster.list_nodes(),
            "showRates": self._show_rates,
            "showWork": lambda call: read_work(self._find_system(call), time.time),
            "listDeadLetters": self._list_dead,
            "sendDeadLetters": self._send_dead,
            "disconnect": lambda call: actions.disconnect(self._find_system(call), call.body),
            "removeFromRoom": lambda call: actions.remove(self._find_system(call), call.body),
            "block": lambda call: actions.block(self._find_system(call), call.body, call.operator),
            "unblock": lambda call: actions.unblock(self._find_system(call), call.body),
            "revoke": lambda call: actions.revoke(self._find_system(call), call.body, call.operator),
            "restore": lambda call: actions.restore(self._find_system(call), call.body),
            "listRestrictions": self._list_restrictions,
            "resend": self._resend,
            "announce": lambda call: actions.announce(self._find_system(call), call.body),
            "listAudit": self._list_audit,
            "exportAudit": self._export_audit,
            "listKeys": self._list_keys,
            MAKE_KEY: self._make_key,
            "revokeKey": self._revoke_key,
            "openapi": self._show_document,
        }

    # Routes.

    def build_routes(self, prefix: str) -> list[Route]:
        """The routes below `{prefix}/api`."""
        return [self._build_route(f"{prefix}/api", operation) for operation in OPERATIONS]

    def _build_route(self, prefix: str, operation: AdminOperation) -> Route:
        # Ids of users and names of rooms may contain slashes.
        path = re.sub(r"\{(user|room)\}", r"{\1:path}", operation.path)

        async def answer(request: Request) -> Response:
            return await (self._sign_in(request) if operation.id == SIGN_IN else self._answer(operation, request))

        async def handle(request: Request) -> Response:
            response = await answer_or_refuse(request, answer)
            response.headers.update(HEADERS)
            return response

        middleware = [self._honour_keys] if operation.keyed else []
        return Route(f"{prefix}{path}", handle, methods=[operation.method], middleware=middleware)

    async def _answer(self, operation: AdminOperation, request: Request) -> Response:
        token = bearer_token(request)
        name, _ = self._sign_ins.authorize(token)
        body = None
        if operation.body is not None:
            body = await read_optional(request, operation.body, self._limits)
        call = Call(request, name, self._find_address(request), token, body)
        if not operation.acts:
            return self._respond(operation, await self._handlers[operation.id](call))
        return await self._act(operation, call)

    async def _act(self, operation: AdminOperation, call: Call) -> Response:
        """Do an action that is recorded first; what fails is recorded once more."""
        action = re.sub(r"(?<=[a-z])([A-Z])", lambda found: f"_{found[1].lower()}", operation.id)
        details = {} if call.body is None else msgspec.to_builtins(call.body, enc_hook=str, builtin_types=())
        details = {name: value for name, value in details.items() if value not in (None, "", False)}
        system = call.request.path_params.get("system", "")
        known = system if system in self._oyez.systems else ""
        places = call.request.path_params
        target = _find_target(details) or places.get("key") or places.get("receiver") or ""
        record: dict[str, Any] = {"system": known, "target": target, "address": call.address, "details": details}
        await self._audit.record(call.operator, action, **record)
        try:
            return self._respond(operation, await self._handlers[operation.id](call))
        except Exception as error:
            await self._audit.record(call.operator, action, **record | {"outcome": find_code(error)})
            raise

    def _respond(self, operation: AdminOperation, found: object) -> Response:
        if isinstance(found, Response):
            return found
        status = next(iter(operation.answers))
        return Response(status_code=status) if found is None else answer_json(found, status)

    def _find_address(self, request: Request) -> str:
        peer = request.client.host if request.client is not None else ""
        return self._proxies.find_client(peer, request.headers.get("x-forwarded-for"))

    def _find_system(self, call: Call) -> Served:
        """The system in the path. Raises RefusedError."""
        name = call.path("system")
        served = self._oyez.systems.get(name)
        if served is None:
            known = ", ".join(self._oyez.systems)
            raise RefusedError(UNKNOWN_SYSTEM, f"There is no system {quote(name)}. There are {known}.")
        return served

    # Sign-in.

    async def _sign_in(self, request: Request) -> Response:
        address = self._find_address(request)
        body = await read_json(request, answers.SignIn, self._limits)
        try:
            session = self._sign_ins.sign_in(body.key, network_of(address))
        except RefusedError as refused:
            await self._audit.record("", "sign_in", outcome=refused.refusal.code, address=address)
            raise
        await self._audit.record(session.name, "sign_in", outcome="done", address=address)
        return answer_json(session)

    async def _renew(self, call: Call) -> object:
        return self._sign_ins.renew(call.token)

    # Reading.

    async def _show_overview(self, call: Call) -> object:
        settings = self._oyez.settings
        return answers.Overview(
            name=call.operator,
            version=__version__,
            systems=[_describe_system(served.system.contract) for served in self._oyez.systems.values()],
            log_retention=settings.log_retention,
            history=MAX_HAPPENED,
        )

    async def _show_user(self, call: Call) -> object:
        served, user = self._find_system(call), call.path("user")
        name = served.system.name
        sockets, missing = await self._cluster.find_user(name, user)
        history = await self._list_history(answers.HistoryQuery(system=name, user=user, limit=MAX_HISTORY))
        return answers.UserDetail(
            system=name,
            user=user,
            sockets=sockets[:MAX_DETAILS],
            restrictions=await self._actions.list_restrictions(name, user),
            history=history,
            events=[show_event(served.system.contract, entry) for entry in await _read_user(served, user, sockets)],
            missing=missing,
        )

    async def _show_room(self, call: Call) -> object:
        served, asked = self._find_system(call), call.query(answers.RoomQuery)
        contract, name = served.system.contract, served.system.name
        room = find_room(contract, call.path("room"), asked.namespace, has_members=False)
        query = answers.ConnectionsQuery(system=name, namespace=room.namespace, room=room.name, limit=MAX_DETAILS)
        page = await self._cluster.list_connections(query)
        history = await self._list_history(answers.HistoryQuery(system=name, room=room.name, limit=MAX_HISTORY))
        entries = await read_rooms(served.log, room.namespace, frozenset([room.name]), MAX_EVENTS)
        members = None
        if _has_members(contract, room.namespace, room.name):
            members = list(await served.members.list(room, limit=MAX_DETAILS))
        return answers.RoomDetail(
            system=name,
            namespace=room.namespace,
            room=room.name,
            rule=describe_rule(contract, room.namespace, room.name),
            sockets=page.sockets,
            count=page.count,
            members=members,
            history=[one for one in history if one.namespace == room.namespace],
            events=[show_event(contract, entry) for entry in entries],
            missing=page.missing,
        )

    async def _list_history(self, query: answers.HistoryQuery) -> list[Happened]:
        return (await self._cluster.list_history(query)).history

    async def _list_events(self, call: Call) -> object:
        served, query = self._find_system(call), call.query(EventsQuery)

        def fits(entry: Entry) -> bool:
            wanted = (query.namespace in (None, entry.namespace), query.name in (None, entry.name))
            return not entry.control and all(wanted) and (query.room is None or query.room in entry.rooms)

        try:
            if query.after is None:
                found, read = await read_newest(served.log, query.limit, fits)
            else:
                found, read = await read_entries(served.log, query.after, query.limit, fits)
        except KeyError:
            raise InvalidDataError("after", "a position that the log still keeps, such as `next` of a page") from None
        events = [show_event(served.system.contract, entry) for entry in found]
        return answers.EventPage(events=events, next=read)

    async def _trace_event(self, call: Call) -> object:
        served, position = self._find_system(call), call.path("position")
        user = call.query(answers.EventQuery).user or ""
        entry = await read_event(served.log, position)
        if entry is None:
            return build_trace(None, {}, [], user)
        query = TraceQuery(served.system.name, position, entry.namespace, entry.rooms, entry.excluded, user)
        found, missing = await self._cluster.trace(query)
        return build_trace(show_event(served.system.contract, entry), found, missing, user)

    async def _list_receipt_events(self, call: Call) -> object:
        return await self._find_system(call).receipt_reader.list_events(call.query(ReceiptEventsQuery))

    async def _list_receipts(self, call: Call) -> object:
        reader, position = self._find_system(call).receipt_reader, call.path("position")
        return await reader.read(position, call.query(ReceiptsQuery))

    async def _show_rates(self, call: Call) -> object:
        return await self._cluster.show_rates(call.query(answers.RatesQuery), int(time.time()))

    async def _list_dead(self, call: Call) -> object:
        return await read_dead(self._find_system(call), call.path("receiver"), call.query(answers.DeadQuery))

    async def _list_restrictions(self, call: Call) -> object:
        found = await self._actions.list_restrictions(self._find_system(call).system.name)
        return answers.RestrictionList(restrictions=found)

    # Actions.

    async def _send_dead(self, call: Call) -> object:
        served, receiver = self._find_system(call), call.path("receiver")
        ids = None if call.body.ids is msgspec.UNSET else call.body.ids
        count = await served.webhooks.database.run(store.replay, served.system.name, receiver, ids, time.time())
        served.webhooks.wake(receiver)
        return answers.Sent(count=count)

    async def _resend(self, call: Call) -> object:
        current_caller.set(ApiCaller(call.operator, call.path("system")))
        return await self._actions.resend(self._find_system(call), call.body)

    # Audit.

    async def _list_audit(self, call: Call) -> object:
        query = call.query(changes.AuditQuery)
        found = await self._audit.find(query)
        page = found[: query.limit]
        return changes.AuditPage(records=page, next=page[-1].id if len(found) > query.limit else None)

    async def _export_audit(self, call: Call) -> object:
        lines = self._audit.export(call.query(changes.AuditQuery))
        headers = {"content-disposition": 'attachment; filename="audit.jsonl"'}
        return StreamingResponse(lines, HTTPStatus.OK, headers, "application/jsonl")

    # Service keys.

    async def _list_keys(self, call: Call) -> object:
        return changes.KeyList(keys=[_show_key(key) for key in await self._oyez.service_keys.list()])

    async def _make_key(self, call: Call) -> object:
        asked: changes.NewKey = call.body
        if "idempotency-key" in call.request.headers:
            raise RefusedError(MALFORMED, "Leave out the Idempotency-Key: no answer with a service key is kept.")
        for name in asked.systems:
            if name not in self._oyez.systems:
                raise InvalidDataError("systems", f"of {', '.join(self._oyez.systems)}; got {quote(name)}")
        if asked.events and asked.webhooks:
            raise InvalidDataError("webhooks", "false, because a key for some events may do nothing else")
        until = asked.until.seconds if asked.until is not None else None
        if until is not None and until <= time.time():
            raise InvalidDataError("until", "a time in the future")
        made, key = await self._oyez.service_keys.make(
            asked.name, call.operator, asked.systems, asked.events, webhooks=asked.webhooks, until=until
        )
        return changes.MadeKey(**msgspec.structs.asdict(_show_key(made)), key=key)

    async def _revoke_key(self, call: Call) -> object:
        if not await self._oyez.service_keys.revoke(call.path("key")):
            raise RefusedError(UNKNOWN_KEY)
        return None

    async def _show_document(self, call: Call) -> object:
        return Response(encode_json(build_document(__version__)), media_type="application/json")


async def _read_user(served: Served, user: str, sockets: list[SocketDetail]) -> list[Entry]:
    """The newest events for the rooms in which a user is."""
    rooms: dict[str, set[str]] = {}
    for declared in served.system.contract.namespaces:
        if not declared.placeholders:
            rooms[declared.name] = {user_room(user)}
    for socket in sockets:
        held = rooms.setdefault(socket.namespace, {user_room(user)})
        held.update(one.room for one in socket.held)
        held.add(own_room(socket.id))
    found: list[Entry] = []
    for namespace, names in rooms.items():
        found += await read_rooms(served.log, namespace, frozenset(names), MAX_EVENTS)
    return sorted(found, key=_number, reverse=True)[:MAX_EVENTS]


def _number(entry: Entry) -> int:
    return int((entry.position or ".0").rpartition(".")[2])


def _has_members(contract: Contract, namespace: str, room: str) -> bool:
    found = contract.find_room(namespace, room)
    return found is not None and any(isinstance(part, Member) for part in found[0].rule.parts())


def _find_target(details: Mapping[str, Any]) -> str:
    """What an action is about, for the audit."""
    names = ("user", "socket", "token", "role", "room", "position", "name", "everyone")
    parts = [f"{name} {details[name]}" for name in names if name in details]
    return ", ".join(parts)


def _describe_system(contract: Contract) -> answers.SystemInfo:
    return answers.SystemInfo(
        name=contract.name,
        description=contract.description,
        roles=list(contract.roles),
        namespaces=[namespace.name for namespace in contract.namespaces],
        events=sorted(contract.events),
        receipts=sorted(contract.receipts),
    )


def _show_key(key: ServiceKey) -> changes.ShownKey:
    def show(at: float | None) -> Time | None:
        return None if at is None else Time.at(at)

    return changes.ShownKey(
        id=key.id,
        name=key.name,
        systems=list(key.systems),
        events=list(key.events),
        webhooks=key.webhooks,
        created=Time.at(key.created),
        by=key.by,
        until=show(key.until),
        revoked=show(key.revoked),
        last_used=show(key.last_used),
    )
