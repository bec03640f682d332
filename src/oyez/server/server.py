"""The Server: all connections of one Socket.IO endpoint, and what they share.

It is an ASGI application of its own (polling, and WebSocket by way of the ASGI server). If Oyez serves itself,
WebSocket upgrades bypass ASGI; see `http/upgrade.py`.
"""

import asyncio
import math
import secrets
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress

from starlette.types import Receive, Scope, Send

from oyez.concurrency.backoff import is_worth_logging
from oyez.concurrency.clock import Clock
from oyez.concurrency.loop_budget import LoopBudget
from oyez.concurrency.sparse_log import SparseLog
from oyez.concurrency.task_set import cancel_tasks
from oyez.errors import LogUnavailableError, SettingsError
from oyez.log.damage import DAMAGED
from oyez.log.log import Entry, Log
from oyez.logger import get_logger
from oyez.observer import Observers
from oyez.protocol import engineio
from oyez.protocol.engineio import HandshakeError
from oyez.protocol.session import Session, State
from oyez.server.cluster.facts import FactFinder, Release
from oyez.server.cluster.membership import Membership
from oyez.server.cluster.node import Node
from oyez.server.cluster.usage import UsageExchange, Usages
from oyez.server.connections.connection import Connection
from oyez.server.connections.context import ConnectionContext
from oyez.server.connections.outages import Outages
from oyez.server.connections.registry import ConnectionRegistry
from oyez.server.delivery import probe
from oyez.server.delivery.consumer import LogConsumer
from oyez.server.delivery.probe import LogProbe, encode_status
from oyez.server.delivery.progress import Progress
from oyez.server.delivery.replay_buffer import ReplayBuffer
from oyez.server.http.asgi_endpoint import serve_websocket
from oyez.server.http.endpoint import OpeningRequest
from oyez.server.http.origin import OriginPolicy, normalize
from oyez.server.http.polling_endpoint import PollingEndpoint
from oyez.server.http.proxies import TrustedProxies
from oyez.server.namespaces.application import Application, SocketInfo
from oyez.server.namespaces.local_sockets import NamespaceSockets
from oyez.server.namespaces.namespace import Namespace, Shared
from oyez.server.namespaces.table import NamespaceTable
from oyez.server.recovery.recovery import Recovery
from oyez.server.recovery.replay import REPLAY_SECONDS
from oyez.server.recovery.session import StoredSession
from oyez.server.recovery.session_store import SessionStore
from oyez.server.transports.budget import MemoryBudget
from oyez.server.transports.transport import TransportListener
from oyez.server.types import KEPT_HEADERS, Handshake
from oyez.settings import Settings, check_origins

logger = get_logger("oyez.server")

REFUSED_ORIGIN_INTERVAL = 3_600.0
"""Seconds between two lines about one origin: its page tries again every few seconds."""
DRAIN_INTERVAL = 0.1
"""Seconds between two batches of clients that are disconnected."""
BUSY_INTERVAL = 0.02
"""Seconds between two checks of the clients whose commands are still being handled."""
DRAIN_BATCH = 100
"""Smallest number of clients in a batch: other nodes accept as many without a delay."""
RETRY_SECONDS = 0.5
"""Seconds until a log that failed is read again."""


class Server:
    """One Socket.IO server: an application for each namespace, one log, one set of settings.

    It works between `start` and `stop`, or inside `async with server.running():`.
    """

    def __init__(
        self,
        applications: Mapping[str, Application],
        log: Log,
        settings: Settings,
        *,
        node: Node | None = None,
        outages: Outages | None = None,
        clock: Callable[[], float] | None = None,
        unfinished: MemoryBudget | None = None,
        replays: LoopBudget | None = None,
        observers: Observers | None = None,
        time: Clock = Clock(),  # noqa: B008 - it does not change
        find_release: Callable[[], Release] = Release,
    ) -> None:
        """`node` is this process among its peers; without it, peers cannot reach this process.

        Servers whose logs fail together share their `outages`, so that these are logged once. `unfinished` and
        `replays` are the process's budgets. `observers` receive what happens here. `clock` is monotonic; None: that of
        `time`, which is asked for all other times. `find_release` gives what other nodes learn about this one.
        """
        self.settings = settings
        named = (name for application in applications.values() for name in application.headers)
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._kept_headers = tuple(dict.fromkeys([*KEPT_HEADERS, *named]))
        self.node = node or Node()
        self.limits = settings.limits
        self.clock = clock or time.monotonic
        self._time = time
        self.replay_buffer = ReplayBuffer()
        self.progress = Progress(self.replay_buffer)
        self.sessions = SessionStore(log, settings.log_retention, lambda: self.node.id)
        recovery = self._build_recovery(log, replays or LoopBudget(REPLAY_SECONDS), observers)

        def build(name: str, application: Application, shared: Shared | None = None) -> Namespace:
            return Namespace(name, application, settings, self.sessions, recovery, observers, time.now, shared)

        self.namespaces = NamespaceTable(applications, build)
        self.context = self._build_context(unfinished or MemoryBudget(self.limits.max_unfinished_bytes), observers)
        self.registry = ConnectionRegistry(self.context, lambda: self.node.new_session_id())
        check_origins(settings.origins)
        self.origins = OriginPolicy(settings.origins)
        self._outages = outages or Outages()
        self.log_probe = LogProbe(log, self._report_status, time.pause)
        facts = FactFinder(find_release, lambda: len(self.registry.connections), time.now)
        self.membership = Membership(log, self.node, NamespaceSockets(self.namespaces), self.clock, facts)
        self._usage = UsageExchange(self.membership, _find_usages(applications.values()), self.clock)
        self.consumer = LogConsumer(
            log, self.namespaces, self.replay_buffer, self.progress, self._handle_node_message, observers
        )
        self._refused_origins = SparseLog(logger, interval=REFUSED_ORIGIN_INTERVAL)
        self._polling = PollingEndpoint(self)
        self._tasks: list[asyncio.Task[None]] = []
        self._failures = 0
        """Number of failures of the log consumer since the log was last available."""

    def _build_recovery(self, log: Log, loop_budget: LoopBudget, observers: Observers | None) -> Recovery:
        return Recovery(
            log,
            self.sessions,
            self.replay_buffer,
            self.progress,
            self.limits,
            new_id=_new_id,
            loop_budget=loop_budget,
            replace_stale=self._replace_stale,
            observers=observers,
        )

    def _build_context(self, unfinished: MemoryBudget, observers: Observers | None) -> ConnectionContext:
        return ConnectionContext(
            self.settings,
            self.namespaces,
            self.clock,
            unfinished,
            position=lambda: self.progress.position,
            new_id=_new_id,
            observers=observers,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] == "websocket":
            await serve_websocket(self, scope, receive, send)
        elif scope["type"] == "http":
            await self._polling(scope, receive, send)

    # Start and stop.

    async def start(self) -> None:
        """Start delivery. Clients can connect when this returns, or, if the log is unavailable, when it is available.

        Raises SettingsError if the log cannot be used as it is configured.
        """
        self.registry.start()
        try:
            await self.consumer.start()
            self.log_probe.record(None)
        except LogUnavailableError as error:
            self.log_probe.record(str(error))
        work = (
            self._run_consumer(),
            self.context.wheel.run(),
            self.sessions.run(),
            self.log_probe.run(),
            self._usage.run(),
        )
        self._tasks = [asyncio.create_task(one) for one in work]
        if self.log_probe.reason is None:
            with suppress(LogUnavailableError):
                await self.progress.wait_until_live()
                await self.membership.announce(new=True)
        self._tasks.append(asyncio.create_task(self.membership.run()))

    async def stop(self) -> None:
        """Disconnect every client, and wait at most `shutdown_timeout` seconds until all have gone."""
        await self.drain()
        await self.membership.leave()
        with suppress(LogUnavailableError):
            await self.sessions.flush()
        await cancel_tasks(*self._tasks)
        self._tasks = []

    async def drain(self) -> None:
        """Refuse new clients, disconnect the others so that they reconnect, and let running handlers finish.

        Many clients are disconnected over `drain_time` seconds, because other nodes have to accept them all. A client
        whose commands are being handled is disconnected when they have been acknowledged; what it sends meanwhile is
        not handled.
        """
        self.registry.stop()
        waiting = deque(self.registry.connections.values())
        busy: list[Connection] = []
        batches = math.ceil(self.settings.drain_time / DRAIN_INTERVAL)
        size = max(DRAIN_BATCH, math.ceil(len(waiting) / batches)) if batches else len(waiting)
        while waiting:
            batch = [waiting.popleft() for _ in range(min(size, len(waiting)))]
            busy += await self._close_idle(batch)
            if waiting:
                await asyncio.sleep(DRAIN_INTERVAL)
        try:
            async with asyncio.timeout(self.settings.shutdown_timeout):
                while busy:
                    await asyncio.sleep(BUSY_INTERVAL)
                    busy = await self._close_idle(busy)
                for tasks in self.namespaces.tasks:
                    await tasks.drain()
                await self.registry.wait_until_all_closed()
        except TimeoutError:
            self._end_all(busy)

    def _end_all(self, busy: Iterable[Connection]) -> None:
        """End clients and handlers that have not finished within `shutdown_timeout`."""
        for connection in busy:
            connection.close(engineio.SERVER_SHUTDOWN)
        logger.warning(
            "stopping although clients or handlers have not finished", websockets=len(self.registry.websockets)
        )
        for tasks in self.namespaces.tasks:
            tasks.cancel()
        for websocket in tuple(self.registry.websockets):
            websocket.abort()

    async def _close_idle(self, connections: Iterable[Connection]) -> list[Connection]:
        """Handle no more events of `connections`. Close those that have no running command, and return the others."""
        done: list[Connection] = []
        busy: list[Connection] = []
        for connection in connections:
            (busy if connection.working else done).append(connection)
            connection.drain()
        # An acknowledgement may wait until the rooms that its command joined are stored.
        with suppress(LogUnavailableError):
            await self.sessions.flush()
        for connection in done:
            connection.close(engineio.SERVER_SHUTDOWN)
        return busy

    async def _run_consumer(self) -> None:
        while True:
            try:
                await self.consumer.run()
                return
            except KeyError:
                # What was appended meanwhile is unknown here: clients reconnect and are notified that they missed it.
                logger.error("the log has lost what was not delivered yet; clients are sent away to ask for it")
                for connection in tuple(self.registry.connections.values()):
                    connection.close(engineio.TRANSPORT_ERROR)
            except (LogUnavailableError, SettingsError) as error:
                # Clients stay connected: all that is appended meanwhile is delivered when the log can be read again.
                self._log_failure(error)
            except Exception:
                if self._is_worth_logging():
                    logger.exception("the log cannot be listened to", failures=self._failures)
            await self._time.pause(RETRY_SECONDS)

    def _log_failure(self, error: LogUnavailableError | SettingsError) -> None:
        if self.log_probe.reason is None:
            if self._is_worth_logging():
                logger.warning("the log cannot be listened to", reason=str(error), failures=self._failures)
        elif isinstance(error, SettingsError):
            # The outage has been logged, but this cause does not pass by itself: report it to the operator too.
            self._outages.record(self, str(error))

    def _is_worth_logging(self) -> bool:
        """Count a failure. True if it is to be logged: the first, the second, the fourth and so on."""
        self._failures += 1
        return is_worth_logging(self._failures)

    def _replace_stale(self, namespace: str, session: StoredSession) -> None:
        self.membership.replace(namespace, session.sid, session.node, session.generation)

    def _handle_node_message(self, entry: Entry) -> None:
        """Handle a control entry without a namespace: a message of a node, a probe, or a damaged entry."""
        if entry.control == DAMAGED:
            # The entry may have been an event or a change of rights for any client. Clients that reconnect are
            # verified again, and are notified that they are not recovered.
            for connection in tuple(self.registry.connections.values()):
                connection.close(engineio.TRANSPORT_ERROR, "an entry of the log cannot be read")
            return
        if entry.control == probe.CONTROL:
            self.log_probe.handle(entry)
        else:
            self.membership.handle(entry)

    def _report_status(self, reason: str | None) -> None:
        """Report to the operator and the clients that the log is unavailable for `reason`, or, if None, available."""
        if reason is None:
            self._failures = 0
        self._outages.record(self, reason)
        self.namespaces.report_status(encode_status(reason), available=reason is None)

    @property
    def stopping(self) -> bool:
        """True if no new connection is accepted because the server stops."""
        return self.registry.stopping

    @property
    def handlers(self) -> int:
        """Number of running handlers."""
        return sum(map(len, self.namespaces.tasks))

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Server"]:
        """Run the server during the lifespan of an application that it is mounted in."""
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    # Connections.

    def admits_page(self, headers: Mapping[str, str], client: tuple[str, int] | None, *, secure: bool) -> bool:
        """True if the page that asks may use the server; each origin that may not is logged once in a while."""
        origin, host = headers.get("origin"), headers.get("host")
        if self.origins.allows(origin, host, secure=secure):
            return True
        # Programs send path and query along, which may hold a token: scheme and authority are logged.
        origin = normalize(origin) if origin is not None else None
        address = self._proxies.find_client(client[0] if client else "", headers.get("x-forwarded-for"))
        self._refused_origins.warning(
            "a page was refused: its origin is not in client_origin",
            kind=origin or "",
            origin=origin,
            host=host,
            secure=secure,
            address=address,
        )
        return False

    def log_refusal(self, error: HandshakeError) -> None:
        """Log the refusal of a client that can never connect, and cannot show why."""
        if error is engineio.UNSUPPORTED_VERSION:
            self.context.faults.warning(
                "a client of another protocol was refused: use a client of Socket.IO 3 or 4, not 2.x"
            )

    def read_handshake(self, request: OpeningRequest) -> Handshake:
        """What is kept of the request that opens a connection."""
        headers = request.headers
        forwarded = headers.get("x-forwarded-for")
        kept = {name: headers[name] for name in self._kept_headers if name in headers}
        if not self.origins.allows_cookies(headers.get("origin"), headers.get("host"), secure=request.secure):
            kept.pop("cookie", None)
        return Handshake(
            headers=kept,
            query_string=request.query_string.decode("latin-1"),
            address=self._proxies.find_client(request.client[0] if request.client else "", forwarded),
            secure=request.secure,
            time=self._time.now(),
        )

    def open_websocket(self, request: OpeningRequest) -> TransportListener | HandshakeError:
        """The listener of the WebSocket of an upgrade request: a new connection, or the upgrade of one that polls."""
        if not self.admits_page(request.headers, request.client, secure=request.secure):
            return engineio.FORBIDDEN
        connection = self.registry.connections.get(request.query.get("sid", ""))
        error = engineio.check_request("GET", request.query, known=connection is not None, upgrade=True)
        if error is not None:
            self.log_refusal(error)
            return error
        if connection is None:
            return self.registry.open(self.read_handshake(request), Session(self.limits, State.WEBSOCKET))
        if not connection.may_upgrade():
            return engineio.ALREADY_UPGRADED
        if not self.registry.may_add_websocket(connection.handshake.address):
            return engineio.OVERLOADED
        return connection.begin_upgrade()

    # For operators and handlers.

    def fetch_sockets(self, namespace: str, rooms: Iterable[str] = ()) -> list[SocketInfo]:
        """The sockets that are connected to `namespace` here, in any of `rooms` if some are given.

        The name of a declaration such as `/shop-{shopId}` means all namespaces of this form. Raises KeyError if there
        is no such namespace.
        """
        return [info for found in self._find_namespaces(namespace) for info in found.fetch_sockets(rooms)]

    def count_sockets(self) -> dict[str, int]:
        """The number of clients here, by the declared names of their namespaces."""
        counts: Counter[str] = Counter()
        for namespace in self.namespaces.values():
            counts[namespace.declared] += len(namespace.sockets)
        return dict(counts)

    def disconnect_sockets(self, namespace: str, rooms: Iterable[str] = (), *, close: bool = False) -> int:
        """Disconnect these sockets of this node, with `close` also their connections. Returns their number."""
        rooms = tuple(rooms)
        return sum(found.disconnect_sockets(rooms, close) for found in self._find_namespaces(namespace))

    def _find_namespaces(self, name: str) -> list[Namespace]:
        if self.namespaces.find_declared(name) is None:
            raise KeyError(name)
        return self.namespaces.find_all(name)


def _find_usages(applications: Iterable[Application]) -> list[Usages]:
    """What the applications count for each user; several applications may share one count."""
    found = {id(one.usages): one.usages for one in applications if one.usages is not None}
    return list(found.values())


def _new_id() -> str:
    """20 characters that cannot be guessed, for a socket or its session."""
    return secrets.token_urlsafe(15)
