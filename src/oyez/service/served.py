"""One system, built and connected: its publisher, outbox, jobs, server and routes.

`Oyez` builds one `Served` for each system, starts them, and stops them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import BaseRoute, Mount, Route

from oyez import __version__
from oyez.concurrency.clock import Clock
from oyez.concurrency.loop_budget import LoopBudget
from oyez.contract.rooms import NamedRoom
from oyez.errors import TOKEN_INVALID, RefusedError
from oyez.log.log import Log
from oyez.log.observed import ObservedLog
from oyez.observer import Observer, build_observers
from oyez.runtime.authentication import build_failures
from oyez.runtime.bind import bind, build_users
from oyez.runtime.callers import UNNAMED, ApiCaller, check_unlimited
from oyez.runtime.guests import Guests
from oyez.runtime.hooks import check_room_hooks
from oyez.runtime.http import bearer_token
from oyez.runtime.idempotency import Idempotency
from oyez.runtime.publish_api import publish_route
from oyez.runtime.publisher import Publisher
from oyez.runtime.revoked_tokens import RevokedTokens
from oyez.runtime.stays import Stays, find_watched_kinds
from oyez.runtime.welcome import Welcomes
from oyez.server.cluster.facts import Release
from oyez.server.cluster.membership import FoundSockets
from oyez.server.cluster.node import Node
from oyez.server.connections.outages import Outages
from oyez.server.http.direct import Responder
from oyez.server.http.proxies import TrustedProxies
from oyez.server.server import Server
from oyez.server.transports.budget import MemoryBudget
from oyez.server.types import network_of
from oyez.service.auth.secrets import Secret
from oyez.service.auth.service_keys import ServiceKeys, is_service_key
from oyez.service.auth.tokens import PUBLISH, WEBHOOKS, Signer, Verifier
from oyez.service.backends.backends import Backends
from oyez.service.backends.connections import BackendConnections
from oyez.service.backends.effects import EffectsRunner
from oyez.service.database.database import Database
from oyez.service.database.probe import DatabaseProbe
from oyez.service.documents import document_routes
from oyez.service.idempotency import IdempotencyMiddleware
from oyez.service.members_api import member_routes, presence_route, present_route
from oyez.service.nodes_api import digest_contract, nodes_route
from oyez.service.outbox.jobs import Jobs
from oyez.service.outbox.members import Members
from oyez.service.outbox.outbox import Outbox
from oyez.service.outbox.stays import DatabaseStays
from oyez.service.own_loop import LoopBoundLog, OwnLoop
from oyez.service.pages import page_routes
from oyez.service.receipts.api import receipts_route
from oyez.service.receipts.reader import ReceiptReader
from oyez.service.receipts.recorder import ReceiptRecorder
from oyez.service.redis_emitter.consumer import EmitterConsumer
from oyez.service.redis_emitter.decoder import DEFAULT_KEY
from oyez.service.resources import list_operations
from oyez.service.server_api.openapi import OpenApi
from oyez.service.server_api.sockets import SocketsApi
from oyez.service.system import Services, System, SystemServices, build_services
from oyez.service.webhooks.api import webhook_routes
from oyez.service.webhooks.sender import Rules
from oyez.service.webhooks.webhooks import Webhooks
from oyez.settings import Settings
from oyez.tracing import Tracing


@dataclass(frozen=True, slots=True)
class Shared:
    """What all systems of a process share."""

    names: Sequence[str]
    """The names of all systems."""
    settings: Settings
    secret: Secret
    signer: Signer
    verifier: Verifier
    node: Node
    database: Database
    service_keys: ServiceKeys
    time: Clock
    observers: Sequence[Observer]
    tracing: Tracing | None
    outages: Outages
    unfinished: MemoryBudget
    replays: LoopBudget
    own_loop: OwnLoop
    backend_connections: BackendConnections
    webhook_rules: Rules
    proxies: TrustedProxies


class Served:
    """A system with everything that serves it.

    The constructor builds and checks, and starts nothing. Raises SettingsError or ContractError.
    """

    def __init__(self, system: System, log: Log, shared: Shared) -> None:
        self.system = system
        self._shared = shared
        self._users = build_users(system.contract, shared.settings.limits)
        self._failures = build_failures(shared.settings.limits, shared.time.monotonic, self._users.shared)
        self._create_tables()
        self._database = shared.database.part(system.name)
        self.receipts = self._build_receipts()
        observers = (*shared.observers, self.receipts) if system.contract.receipts else shared.observers
        self._observers = build_observers(system.name, observers, system.contract.find_declared, shared.tracing)
        # Everything but `append` is the backend's own.
        self.log = log if self._observers is None else cast(Log, ObservedLog(log, self._observers))
        self.database = DatabaseProbe(self._database, system.name, system.tables)
        self._idempotency = Idempotency(self.log, shared.settings.log_retention)
        self.revoked: RevokedTokens = RevokedTokens(self.log, shared.time.now)
        self.publisher = self._build_publisher()
        self.outbox = self._build_outbox()
        self.members = Members(system.name, self._database, system.contract)
        self.receipt_reader = ReceiptReader(system.contract, self._database, self.members, self._receipt_retention)
        self._stored_stays = DatabaseStays(system.contract, self._database, self.outbox, shared.time.now)
        self.backends = self._build_backends()
        self.own: SystemServices = self.backends.extend(build_services(system, self._build_services()))
        check_room_hooks(system.contract, self.own.rooms)
        self.stays: Stays | None = self._build_stays()
        """None if nothing in the system depends on who is in a room."""
        self.jobs = self._build_jobs()
        self.webhooks = self._build_webhooks()
        self.server: Server = self._build_server()
        self.emitter_consumer = self._build_emitter_consumer()
        self._publish_route: Route = publish_route(
            f"/{system.name}/events", self.publisher, self._authorize_publications, self._observers
        )

    def list_responders(self) -> list[tuple[bytes, Responder]]:
        """The targets of requests that can be answered without the routes, each with what answers them."""
        return [(self._publish_route.path.encode(), self._publish_route.endpoint)]

    def build_routes(self) -> list[BaseRoute]:
        """The HTTP routes of the system; those of Socket.IO are not among them."""
        contract, prefix, settings = self.system.contract, f"/{self.system.name}", self._shared.settings
        limits, authorize = settings.limits, self._authorize
        # The same for all writes of a system, so that each of them honours the key.
        writes = [self._honour_keys(PUBLISH)]
        openapi = OpenApi(contract, __version__, list_operations(self.own.routes))
        sockets = SocketsApi(
            prefix,
            contract,
            self.publisher,
            self.log,
            limits,
            self._find_sockets,
            self.revoked,
            authorize,
            writes,
        )
        routes = [
            self._publish_route,
            receipts_route(prefix, self.receipt_reader, self._authorize_publications),
            *member_routes(prefix, contract, self._database, self.outbox, authorize, writes),
            nodes_route(prefix, self.server.membership, authorize),
            presence_route(prefix, contract, self._find_presence, authorize),
            *sockets.build_routes(),
            openapi.build_route(prefix, authorize),
            present_route(prefix, contract, self._stored_stays.find_present, authorize),
            *webhook_routes(prefix, self.webhooks, self._authorize_webhooks, limits, [self._honour_keys(WEBHOOKS)]),
        ]
        if settings.serves_docs:
            routes += document_routes(prefix, contract, self.server.origins)
            routes += page_routes(prefix, contract, settings, self._shared.signer, openapi)
        return [*routes, Mount(f"{prefix}/api", routes=list(self.own.routes), middleware=writes)]

    def _authorize_publications(self, request: Request) -> ApiCaller:
        return self._admit(request, PUBLISH)

    def _authorize(self, request: Request) -> ApiCaller:
        return check_unlimited(self._admit(request, PUBLISH))

    def _authorize_webhooks(self, request: Request) -> ApiCaller:
        return check_unlimited(self._admit(request, WEBHOOKS))

    def _admit(self, request: Request, scope: str) -> ApiCaller:
        """The caller. Raises RefusedError; rate_limited if the address has sent too many keys that are not valid."""
        try:
            return self._find_caller(request, scope)
        except RefusedError as refused:
            if refused.refusal is TOKEN_INVALID:
                peer = request.client.host if request.client is not None else ""
                address = self._shared.proxies.find_client(peer, request.headers.get("x-forwarded-for"))
                self._failures.count(network_of(address))
            raise

    def _find_caller(self, request: Request, scope: str) -> ApiCaller:
        """The back end that has the request's service key or service token. Raises RefusedError."""
        name, key = self.system.name, bearer_token(request)
        if is_service_key(key):
            found = self._shared.service_keys.find(key, name, webhooks=scope == WEBHOOKS)
            return ApiCaller(found.name, name, found.events, self._observers)
        self._shared.signer.verify_service(key, name, scope)
        return ApiCaller(UNNAMED, name, (), self._observers)

    def _honour_keys(self, scope: str) -> Middleware:
        def authorize(request: Request) -> ApiCaller:
            # The route counts a failure.
            return check_unlimited(self._find_caller(request, scope))

        limits = self._shared.settings.limits
        return Middleware(IdempotencyMiddleware, idempotency=self._idempotency, authorize=authorize, limits=limits)

    async def _find_presence(self, room: NamedRoom) -> FoundSockets:
        return await self._find_sockets(room.namespace, [room.name])

    async def _find_sockets(self, namespace: str, rooms: Sequence[str], *, detailed: bool = False) -> FoundSockets:
        self._shared.own_loop.check()
        return await self.server.membership.fetch(namespace, rooms, detailed=detailed)

    def _create_tables(self) -> None:
        system, database = self.system, self._shared.database
        if system.migrations is not None:
            database.migrate(system.name, system.migrations)
        elif system.tables is not None:
            database.create(system.tables)
        if system.tables is not None:
            database.check_tables(system.name, system.tables)

    def _build_publisher(self) -> Publisher:
        shared = self._shared
        return Publisher(
            self.system.contract,
            self.log,
            shared.settings.limits,
            shared.time.now,
            retention=shared.settings.log_retention,
            check=shared.own_loop.check,
            observers=self._observers,
        )

    def _build_outbox(self) -> Outbox:
        shared = self._shared
        return Outbox(
            self._database,
            self.publisher,
            self.log,
            clock=shared.time.now,
            zone=shared.settings.zone,
            check=shared.own_loop.check,
            observers=self._observers,
        )

    def _build_backends(self) -> Backends:
        contract, shared = self.system.contract, self._shared
        effects = EffectsRunner(contract, self.publisher, self.outbox)
        return Backends(contract, shared.settings, shared.backend_connections, effects, shared.tracing)

    def _build_services(self) -> Services:
        shared = self._shared
        return Services(
            settings=shared.settings,
            database=self._database,
            publisher=self.publisher,
            authorize=self._authorize,
            # Every method of a log is a coroutine function.
            log=cast(Log, LoopBoundLog(self.log, shared.own_loop)),
            outbox=self.outbox,
            members=self.members,
            presence=self._find_presence,
            signer=shared.signer.of_contract(self.system.contract.claims),
            clock=shared.time.now,
            time=shared.time,
            present=self._stored_stays.find_present,
        )

    def _build_stays(self) -> Stays | None:
        contract, shared = self.system.contract, self._shared
        if not find_watched_kinds(contract, self.own.rooms):
            return None
        return Stays(
            contract,
            self.own.rooms,
            self._stored_stays,
            node_id=lambda: shared.node.id,
            alive=lambda: self.server.membership.alive(),
            clock=shared.time.monotonic,
            now=shared.time.now,
        )

    def _build_jobs(self) -> Jobs:
        time = self._shared.time
        return Jobs(
            self._database, self.outbox, self.own.jobs, system=self.system.name, clock=time.now, pause=time.pause
        )

    def _build_webhooks(self) -> Webhooks:
        shared = self._shared
        return Webhooks(
            self.system.contract,
            self.log,
            self._database,
            shared.webhook_rules,
            declared=shared.settings.webhooks,
            clock=shared.time.now,
            tracing=shared.tracing,
        )

    @property
    def _receipt_retention(self) -> float:
        return self._shared.settings.receipt_days * 86_400.0

    def _build_receipts(self) -> ReceiptRecorder:
        limits, now = self._shared.settings.limits, self._shared.time.now
        return ReceiptRecorder(self.system.name, self._database, self._receipt_retention, limits.max_receipts, now)

    def _build_server(self) -> Server:
        contract, shared, own = self.system.contract, self._shared, self.own
        applications = bind(
            contract,
            handlers=own.handlers,
            verify=shared.verifier.of_contract(contract.claims).verify,
            resolvers=own.resolvers,
            find_parts=self.members.find,
            hooks=own.hooks,
            settings=shared.settings,
            idempotency=self._idempotency,
            publisher=self.publisher,
            observers=self._observers,
            authenticate=own.authenticate,
            room_observer=self.stays,
            welcomes=Welcomes(contract, own.rooms, self.log, self.outbox.appended),
            find_present=self._stored_stays.find_present,
            guests=Guests(shared.secret.value, self.system.name),
            ask_backend=self.backends.decide,
            check_revoked=self.revoked.check,
            time=shared.time,
            users=self._users,
        )
        return Server(
            applications,
            self.log,
            shared.settings,
            node=shared.node,
            outages=shared.outages,
            unfinished=shared.unfinished,
            replays=shared.replays,
            observers=self._observers,
            time=shared.time,
            find_release=lambda: Release(__version__, digest_contract(contract)),
        )

    def _build_emitter_consumer(self) -> EmitterConsumer | None:
        """The consumer of events from Redis emitters. None if the settings turn it off."""
        settings, names, name = self._shared.settings, self._shared.names, self.system.name
        if settings.redis_url is None or not settings.redis_emitter:
            return None
        alone = len(names) == 1
        return EmitterConsumer(
            settings.redis_url,
            self.publisher,
            _emitter_keys(settings, name, alone),
            prefix=settings.redis_prefix,
            # One of several systems warns of emitters that name none of them.
            systems=names if not alone and name == names[0] else (),
            is_away=lambda: self.server.log_probe.reason is not None,
        )


def _emitter_keys(settings: Settings, system: str, alone: bool) -> tuple[str, ...]:
    """The keys that emitters may use for the system."""
    if settings.redis_emitter_key is not None:
        return (settings.redis_emitter_key,)
    return (system, DEFAULT_KEY) if alone else (system,)
