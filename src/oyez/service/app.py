"""Systems, settings and a log become one ASGI application and one route for WebSockets.

Everything that the systems of a process share is built here and passed to their constructors.
"""

import asyncio
import re
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from oyez.concurrency.clock import Clock
from oyez.concurrency.loop_budget import LoopBudget
from oyez.concurrency.task_set import run_beside
from oyez.errors import INTERNAL, UNAVAILABLE, LogUnavailableError, SettingsError
from oyez.log import backends
from oyez.log.log import Log
from oyez.logger import add_last_resort, build_formatter, get_logger, log_failure, redact_access_logs, set_level
from oyez.observer import Observer
from oyez.runtime.http import UNFINISHED, build_problem, refuse
from oyez.server.cluster.node import Node
from oyez.server.connections.outages import Outages
from oyez.server.http.client_files import CLIENT_FILES, ClientFile
from oyez.server.http.direct import Responder
from oyez.server.http.endpoint import Endpoint
from oyez.server.http.guard import ObservedSend, UpgradeGuard
from oyez.server.http.json_endpoint import JsonEndpoint, UnknownPath
from oyez.server.http.proxies import TrustedProxies
from oyez.server.http.wrong_paths import WrongPaths
from oyez.server.recovery.replay import REPLAY_SECONDS
from oyez.server.server import Server
from oyez.server.transports.asgi import DRAINS
from oyez.server.transports.budget import MemoryBudget
from oyez.service.activity import build_activity_log
from oyez.service.auth.secrets import Secret, load_secret
from oyez.service.auth.service_keys import ServiceKeys
from oyez.service.auth.tokens import Signer, Verifier, build_signer, build_verifier
from oyez.service.backends.connections import BackendConnections
from oyez.service.data_folder import open_folder
from oyez.service.database.database import MIGRATIONS, Database, build_database
from oyez.service.own_loop import REMEDY, OwnLoop
from oyez.service.pages import answer_browser
from oyez.service.served import Served, Shared
from oyez.service.signals import notice_signals
from oyez.service.system import System
from oyez.service.webhooks.webhooks import build_rules
from oyez.settings import Settings
from oyez.tracing import TRACING, Tracing
from oyez.web.landing import wants_page

logger = get_logger("oyez.service")

MAX_PORT = 65_535
WS_PATH = re.compile(r"(/[\w.~-]+)+/?", re.ASCII)
WAITING_INTERVAL = 2.0
"""Seconds from the beginning of a stop to the first line about what it waits for, and between two of these lines."""
MIN_CLOSE_TIME = 1.0
"""Seconds that outboxes and the database have at least to finish, even if the time to stop is over."""
TRY_AGAIN_LATER = 1013
"""The WebSocket close code of a server that cannot serve for a while (IANA's registry of RFC 6455)."""


class Oyez:
    """Several systems behind one port; an ASGI application.

    If it is mounted in another application, the lifespan of that application enters `running`:

        app = FastAPI(lifespan=lambda app: oyez.running())
        app.mount("/live", oyez)
    """

    def __init__(
        self,
        systems: Sequence[System],
        settings: Settings,
        *,
        build_log: Callable[[str], Log] | None = None,
        operate: Callable[["Oyez"], Sequence[BaseRoute]] = lambda oyez: (),
        outages: Outages | None = None,
        time: Clock = Clock(),  # noqa: B008 - it does not change
        observers: Sequence[Observer] = (),
        tracing: Tracing | None = None,
    ) -> None:
        """`build_log` makes the log of the system with that name, `operate` the routes for operators.
        If `build_log` is None, the settings choose the log.

        `time` is the clock of everything that the systems do. `outages` is notified when the log is away; if None,
        this is logged.

        `observers` are called when something happens in any of the systems; see `oyez.observer`. `tracing` records
        spans; see `oyez.ops.traces`.

        Logs go to standard logging, from `settings.log_level` on; see `oyez.logger`.
        Raises SettingsError or ContractError if something cannot work; nothing has been started then.
        """
        set_level(settings.log_level)
        add_last_resort(build_formatter(for_people=sys.stderr.isatty()))
        redact_access_logs()
        check_together(settings, [system.name for system in systems])
        self.settings = settings
        open_folder(settings)
        self.secret: Secret = load_secret(settings)
        self.signer: Signer = build_signer(settings, self.secret, clock=time.now)
        self._verifier: Verifier = build_verifier(settings, self.secret, clock=time.now)
        self.node: Node = build_node(settings, self.secret)
        self._time = time
        self._tracing = tracing
        self._unfinished = MemoryBudget(settings.limits.max_unfinished_bytes)
        self._written_by: float | None = None
        """The time of the loop until which a stopping process writes its events."""
        self._own_loop = OwnLoop()
        self._outages = outages or Outages()
        self._drains = False
        """True if the server disconnects clients itself before it ends the lifespan."""
        self._draining: asyncio.Task[None] | None = None
        self._waiting: asyncio.Task[None] | None = None
        """Reports what a stop waits for."""
        self.count_requests: Callable[[], int] = lambda: 0
        """The number of HTTP requests that are being answered, if the ASGI server counts them."""
        self._refused = False
        """True if it was logged that requests arrive before Oyez runs."""
        self._backend_connections = BackendConnections()
        self._beside: list[Callable[[], AbstractAsyncContextManager[None]]] = []
        self._paths: dict[str, Endpoint] = {}
        self._responders: dict[bytes, Responder] = {}
        """By the target of a request: what answers without the routes."""
        self._operator_servers: list[Server] = []
        """Servers beside those of the systems, for operators."""
        self._wrong_paths = WrongPaths(settings.trusted_proxies)
        self.systems: Mapping[str, Served] = {}
        build_log = build_log or partial(backends.build_log, settings)
        self.database: Database = build_database(settings)
        try:
            self.database.migrate("oyez", MIGRATIONS / "versions")
            self.service_keys = ServiceKeys(self.database, watched=bool(settings.operator_keys), now=time.now)
            shared = self._build_shared([system.name for system in systems], (*observers, *build_activity_log()))
            self.systems = {system.name: Served(system, build_log(system.name), shared) for system in systems}
            routes = self._build_routes(operate)
        except BaseException:
            self.database.close()
            raise
        # A process that imports this and forks (`gunicorn --preload`) must not share connections with its children.
        self.database.release()
        self._app = UpgradeGuard(
            Starlette(
                routes=routes,
                lifespan=lambda app: self.running(),
                middleware=[Middleware(LogFailures)],
                exception_handlers={HTTPException: self._answer_http_error},
            )
        )

    def _build_routes(self, operate: Callable[["Oyez"], Sequence[BaseRoute]]) -> list[BaseRoute]:
        routes: list[BaseRoute] = []
        for name, served in self.systems.items():
            routes += served.build_routes()
            for target, respond in served.list_responders():
                self._responders[target] = partial(answer_or_log, respond, self._tracing)
            routes += self._serve_at(f"/{name}/socket.io", served.server)
            routes += self._serve_at(f"/{name}/ws", JsonEndpoint(served.server))
        routes += self._serve_alone(self.settings.ws_path)
        routes += operate(self)
        # Last: all other paths.
        routes.append(WebSocketRoute("/{path:path}", self._unknown_path()))
        return routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self._drains = DRAINS in scope.get("extensions", {})
        elif not self._own_loop.entered:
            await self._refuse(scope, receive, send)
            return
        await self._app({**scope, UNFINISHED: self._unfinished, TRACING: self._tracing}, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer `unavailable`: Oyez does not run yet, or no longer."""
        if not (self._refused or self._own_loop.was_entered):
            self._refused = True
            logger.error("Oyez does not run, so requests and clients are refused", remedy=REMEDY)
        if scope["type"] == "websocket":
            await receive()
            if "websocket.http.response" not in scope.get("extensions", {}):
                await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": UNAVAILABLE.message})
                return
        await refuse(UNAVAILABLE, UNAVAILABLE.message)(scope, receive, send)

    def find_server(self, path: str) -> Endpoint:
        """The server that answers WebSockets at `path`, or an endpoint that refuses and names the known paths."""
        return self._paths.get(path) or self._unknown_path(path)

    def find_responder(self, target: bytes) -> Responder | None:
        """What answers a POST for `target` without the routes, for the server's own port; None if the routes do."""
        return self._responders.get(target) if self._own_loop.entered else None

    def _unknown_path(self, path: str = "") -> UnknownPath:
        return UnknownPath(self.settings, self._paths, self._wrong_paths, path)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run all systems while inside. Can be entered once at a time.

        At the end clients are disconnected, handlers and jobs finish, what they have committed goes to the logs,
        and then logs and database are closed.
        """
        if not self.node.peering.address:
            self.node.draw_id()
        self._draining = None
        self._written_by = None
        async with AsyncExitStack() as stack:
            if self._tracing is not None:
                await stack.enter_async_context(self._tracing.running())
            # In a thread: a database that hangs must not delay the disconnection of clients.
            stack.push_async_callback(self._close_database)
            self._own_loop.enter()
            stack.callback(self._own_loop.leave)
            stack.callback(self._end_waiting)
            # Left after the clients are gone: their last handlers may ask a back end.
            await stack.enter_async_context(self._backend_connections.running())
            await stack.enter_async_context(run_beside(self._verifier.keys.run()))
            await stack.enter_async_context(self.service_keys.running())
            for served in self.systems.values():
                await stack.enter_async_context(run_beside(served.database.run()))
                stack.push_async_callback(served.log.close)
                # The server starts without the log, reports this, and connects to the log later.
                with suppress(LogUnavailableError):
                    await served.log.open()
                await stack.enter_async_context(served.outbox.relaying(self._find_time_left))
                await stack.enter_async_context(served.jobs.running())
                await stack.enter_async_context(served.receipts.running())
                await stack.enter_async_context(served.webhooks.running(self._find_time_left))
                if served.own.close is not None:
                    stack.push_async_callback(served.own.close)
                if served.stays is not None:
                    await stack.enter_async_context(served.stays.running(self._find_time_left))
            stack.push_async_callback(self._stop)
            for served in self.systems.values():
                await served.server.start()
                if served.emitter_consumer is not None:
                    await stack.enter_async_context(served.emitter_consumer.running(self.settings.shutdown_timeout))
            for enter in self._beside:
                await stack.enter_async_context(enter())
            if not self._drains:
                stack.enter_context(notice_signals(self._begin_drain))
            yield

    def run_beside(self, enter: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        """Enter a context whenever Oyez runs: `running` enters it last, and leaves it before the clients are gone."""
        self._beside.append(enter)

    def add_server(self, path: str, server: Server) -> list[BaseRoute]:
        """The routes of a server beside those of the systems, at `path`. `run_beside` has to run it."""
        self._operator_servers.append(server)
        return self._serve_at(path, server)

    @property
    def stopping(self) -> bool:
        """True if the server is stopping: clients are disconnected."""
        return any(served.server.stopping for served in self.systems.values())

    @property
    def log_reason(self) -> str | None:
        """Why clients cannot connect at the moment; None if all logs are available."""
        return self._outages.reason

    @property
    def keys_reason(self) -> str | None:
        """Why no user's token can be verified at the moment; None if tokens can be verified."""
        return self._verifier.keys.reason

    async def drain(self) -> None:
        """Disconnect all clients, and wait until they have gone."""
        await asyncio.shield(self._begin_drain())

    def _begin_drain(self) -> "asyncio.Task[None]":
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self._drain_all())
            self._waiting = asyncio.get_running_loop().create_task(self._report_waiting())
        return self._draining

    async def _report_waiting(self) -> None:
        servers = [served.server for served in self.systems.values()]
        settings = self.settings
        while True:
            await asyncio.sleep(WAITING_INTERVAL)
            counts = {
                "clients": sum(len(server.registry.connections) for server in servers),
                "handlers": sum(server.handlers for server in servers),
                "websockets": sum(len(server.registry.websockets) for server in servers),
                "requests": self.count_requests(),
            }
            awaited = "clients, requests and handlers" if any(counts.values()) else "outboxes and jobs"
            longest = settings.drain_time + settings.shutdown_timeout
            logger.info(f"stopping: waiting for {awaited}", **counts, longest=longest)

    def _end_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    async def _drain_all(self) -> None:
        servers = [served.server for served in self.systems.values()]
        await asyncio.gather(*(server.drain() for server in (*servers, *self._operator_servers)))

    def _find_time_left(self) -> float:
        """Seconds that all systems together have left for writing before the process ends."""
        loop = asyncio.get_running_loop()
        if self._written_by is None:
            self._written_by = loop.time() + self.settings.shutdown_timeout
        return max(MIN_CLOSE_TIME, self._written_by - loop.time())

    async def _close_database(self) -> None:
        await asyncio.to_thread(self.database.close, self._find_time_left())

    async def _stop(self) -> None:
        await self.drain()
        await asyncio.gather(*(served.server.stop() for served in self.systems.values()))

    def _build_shared(self, names: Sequence[str], observers: Sequence[Observer]) -> Shared:
        settings = self.settings
        return Shared(
            names=names,
            settings=settings,
            secret=self.secret,
            signer=self.signer,
            verifier=self._verifier,
            node=self.node,
            database=self.database,
            service_keys=self.service_keys,
            time=self._time,
            observers=observers,
            tracing=self._tracing,
            outages=self._outages,
            unfinished=self._unfinished,
            replays=LoopBudget(REPLAY_SECONDS),
            own_loop=self._own_loop,
            backend_connections=self._backend_connections,
            webhook_rules=build_rules(settings),
            proxies=TrustedProxies(settings.trusted_proxies),
        )

    def _serve_alone(self, ws_path: str | None) -> list[BaseRoute]:
        """If only one system is served, it has a short path too."""
        if len(self.systems) == 1:
            path = ws_path or "/socket.io"
            server = next(iter(self.systems.values())).server
            # Only WebSockets: browsers request a page at this path.
            self._paths["/"] = plain = JsonEndpoint(server)
            return [*self._serve_at(path, server), WebSocketRoute("/", plain)]
        return []

    def _serve_at(self, path: str, endpoint: Server | JsonEndpoint) -> list[BaseRoute]:
        # With and without the slash: the official client adds one by default.
        paths = (path.rstrip("/"), path.rstrip("/") + "/")
        self._paths.update(dict.fromkeys(paths, endpoint))
        routes: list[BaseRoute] = []
        for name in paths:
            routes += [Route(name, endpoint), WebSocketRoute(name, endpoint)]
        if isinstance(endpoint, Server) and self.settings.serve_client:
            routes += [Route(f"{paths[1]}{name}", ClientFile(name, endpoint.origins)) for name in CLIENT_FILES]
        return routes

    async def _answer_http_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        detail = error.detail
        if error.status_code == HTTPStatus.NOT_FOUND:
            if wants_page(request):
                contracts = [served.system.contract for served in self.systems.values()]
                return answer_browser(request, contracts, self.settings)
            self._wrong_paths.record(request.url.path, request.headers, request.client.host if request.client else "")
            detail = f"There is nothing at {request.url.path}. Served here: {', '.join(self.systems)}."
        return build_problem(error.status_code, detail, error.headers)


class LogFailures:
    """Logs the errors of routes, and answers 500.

    It raises nothing itself: the host application might log the error with local variables, and tokens among them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            # The server that starts Oyez handles errors of the start.
            await self._app(scope, receive, send)
            return
        answer = ObservedSend(send)
        try:
            await self._app(scope, receive, answer)
        except Exception as error:
            failed = fail(error, scope["path"])
            # An answer that has begun stays incomplete, and the ASGI server closes the connection.
            if not answer.begun and scope["type"] == "http":
                await failed(scope, receive, send)


async def answer_or_log(endpoint: Responder, tracing: Tracing | None, request: Request) -> Response:
    """The answer of a route's endpoint; if it fails, the error is logged, and the answer is 500."""
    request.scope[TRACING] = tracing
    try:
        return await endpoint(request)
    except Exception as error:
        return fail(error, request.scope["path"])


def fail(error: Exception, path: str) -> Response:
    """The answer 500 for an error, which is logged with its id."""
    error_id = log_failure(logger, "a request failed", error, path=path)
    return refuse(INTERNAL, INTERNAL.message, error_id=error_id)


def build_node(settings: Settings, secret: Secret) -> Node:
    """This process as a node: peers reach it by TCP if the log is for several machines, otherwise by the data folder.

    Raises SettingsError.
    """
    if not settings.log_address.startswith("unix:") and not backends.find_backend(settings).many_machines:
        return Node(secret.value, folder=settings.data_folder / "nodes")
    if settings.node_address is not None:
        host, _, port = settings.node_address.rpartition(":")
        if not host or not port.isdecimal() or int(port) > MAX_PORT:
            raise SettingsError(
                f"NODE_ADDRESS is {settings.node_address!r}. Set it to HOST:PORT, such as 10.0.0.5:5101."
            )
        return Node(secret.value, host=host.strip("[]"), port=int(port))
    if not backends.find_backend(settings).many_machines:
        # One machine: processes that share a secret also share the data folder.
        return Node(secret.value, folder=settings.data_folder / "nodes")
    return Node(secret.value, host=_own_address(urlsplit(settings.log_address).hostname or "127.0.0.1"))


def _own_address(peer: str) -> str:
    """The address of this machine towards `peer`, or the loopback address if that is unknown. Nothing is sent."""
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(peer, 1, type=socket.SOCK_DGRAM)
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"


def check_together(settings: Settings, names: Sequence[str]) -> None:
    """Raises SettingsError, with a line for each fault, if systems with these names cannot be served together."""
    faults = []
    if not names:
        faults.append("There is no system to serve. Name at least one.")
    for name, count in Counter(names).items():
        if count > 1:
            faults.append(f"{count} systems are called {name!r}. Name each only once, or rename a contract.")
    if len(names) > 1:
        for_one = {"WS_PATH": settings.ws_path, "REDIS_EMITTER_KEY": settings.redis_emitter_key}
        given = [setting for setting, value in for_one.items() if value is not None]
        faults += [f"{setting} is for one system, not for {len(names)}. Unset it, or serve one." for setting in given]
    elif settings.ws_path is not None and not WS_PATH.fullmatch(settings.ws_path):
        faults.append(f"WS_PATH is {settings.ws_path!r}. Set it to a path such as /socket.io/.")
    if faults:
        raise SettingsError("\n".join(faults))
