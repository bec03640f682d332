"""The Server: all connections of one Socket.IO endpoint, and what they share.

It is an ASGI application of its own (polling, and WebSocket by way of the ASGI server). Where Oyez serves itself,
WebSocket upgrades bypass ASGI; see `upgrade.py`.
"""

import asyncio
import math
import secrets
import socket
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress

from starlette.types import Receive, Scope, Send

from oyez.concurrency.backoff import is_worth_logging
from oyez.concurrency.cooperative_queue import CooperativeQueue
from oyez.concurrency.loop_budget import LoopBudget
from oyez.concurrency.sparse_log import SparseLog
from oyez.concurrency.task_set import cancel_tasks
from oyez.concurrency.timer_wheel import TimerWheel
from oyez.concurrency.token_bucket import Rate, TokenBucket
from oyez.errors import LogUnavailableError, SettingsError
from oyez.log.damage import DAMAGED
from oyez.log.log import Entry, Log
from oyez.logger import get_logger
from oyez.protocol import engineio
from oyez.protocol.engineio import HandshakeError
from oyez.protocol.session import State
from oyez.server.cluster.membership import Membership
from oyez.server.cluster.node import Node
from oyez.server.cluster.usage import UsageExchange
from oyez.server.connections.connection import Connection
from oyez.server.connections.outages import Outages
from oyez.server.delivery import probe
from oyez.server.delivery.consumer import LogConsumer
from oyez.server.delivery.probe import LogProbe, encode_status
from oyez.server.delivery.progress import Progress
from oyez.server.delivery.replay_buffer import ReplayBuffer
from oyez.server.http.asgi_endpoint import serve_websocket
from oyez.server.http.origin import OriginPolicy, normalize
from oyez.server.http.polling_endpoint import PollingEndpoint
from oyez.server.namespaces.application import Application, SocketInfo
from oyez.server.namespaces.local_sockets import NamespaceSockets
from oyez.server.namespaces.namespace import Namespace
from oyez.server.recovery.recovery import Recovery
from oyez.server.recovery.replay import REPLAY_SECONDS
from oyez.server.recovery.session import Session
from oyez.server.recovery.session_store import SessionStore
from oyez.server.transports.budget import InputGate, MemoryBudget, Rates
from oyez.server.transports.transport import Transport, TransportListener
from oyez.server.types import KEPT_HEADERS, Handshake
from oyez.settings import Settings, check_origins

logger = get_logger("oyez.server")

_MAPPED = bytes(10) + b"\xff\xff"
"""What an IPv6 address begins with that stands for an IPv4 one, as a server that listens on both gets it."""
MAX_REFUSED_ORIGINS = 100
"""Origins whose refusal is logged: anybody can make up more."""
DRAIN_INTERVAL = 0.1
"""Seconds between two batches of clients that are sent away."""
BUSY_INTERVAL = 0.02
"""Seconds between two looks at the clients whose commands are still being handled."""
DRAIN_BATCH = 100
"""Clients of a batch at least: what other nodes let in without noticing."""
RETRY_SECONDS = 0.5
"""How long to wait before a log that failed is listened to again."""


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
        clock: Callable[[], float] = time.monotonic,
        unfinished: MemoryBudget | None = None,
        replays: LoopBudget | None = None,
    ) -> None:
        """`node` is this process among its peers; left out, peers do not reach it.

        Servers whose logs fail together share their `outages`, so that these are logged once. `unfinished` and
        `replays` are the process's budgets.
        """
        self.settings = settings
        self.node = node or Node()
        self.limits = settings.limits
        self.clock = clock
        self.connections: dict[str, Connection] = {}
        # Without compression no message is too long for the plain frame.
        self.compression_threshold = settings.compression_threshold or 2**63
        self.replay_buffer = ReplayBuffer()
        self.progress = Progress(self.replay_buffer)
        self.sessions = SessionStore(log, settings.log_retention, lambda: self.node.id)
        recovery = Recovery(
            log,
            self.sessions,
            self.replay_buffer,
            self.progress,
            self.limits,
            new_id=self.new_id,
            loop_budget=replays or LoopBudget(REPLAY_SECONDS),
            replace_stale=self._replace_stale,
        )
        self.namespaces = {
            name: Namespace(name, application, settings, self.sessions, recovery)
            for name, application in applications.items()
        }
        check_origins(settings.origins)
        self.origins = OriginPolicy(settings.origins)
        self._outages = outages or Outages()
        self.log_probe = LogProbe(log, self._tell_status)
        self.membership = Membership(log, self.node, NamespaceSockets(self.namespaces), clock)
        counted = {id(one.usages): one.usages for one in applications.values() if one.usages is not None}
        self._usage = UsageExchange(self.membership, list(counted.values()), clock)
        self.consumer = LogConsumer(log, self.namespaces, self.replay_buffer, self.progress, self._handle_node_message)
        # An eighth of the shorter time keeps deadlines within a few per cent, at a handful of turns a second at most.
        shortest = min(settings.ping_interval, settings.ping_timeout, self.limits.connect_timeout)
        self.wheel = TimerWheel(min(0.5, shortest / 8), clock)
        self.rates = Rates(self.limits, authenticated=True)
        self.unauthenticated_rates = Rates(self.limits, authenticated=False)
        self.gate = InputGate()
        """Where the input of busy connections waits."""
        self.unfinished = unfinished or MemoryBudget(self.limits.max_unfinished_bytes)
        self._addresses: Counter[str] = Counter()
        self.connect_queue = CooperativeQueue()
        """CONNECT packets waiting, processed a few per loop iteration."""
        self.disconnect_queue = CooperativeQueue()
        """WebSockets whose network has ended, closed a few per loop iteration."""
        self.faults = SparseLog(logger, clock)
        """Mistakes of clients, which any number of them can make at any rate."""
        self._handshakes = TokenBucket(Rate(self.limits.max_handshakes_per_second, 1.0), clock())
        self._refused_origins: set[str | None] = set()
        self._closed: dict[str, Connection] = {}
        """Those whose polling client has yet to be told."""
        self._polling = PollingEndpoint(self)
        self._tasks: list[asyncio.Task[None]] = []
        self.stopping = False
        """Whether clients are being sent away for good."""
        self.websockets: set[Transport] = set()
        """All that are open in the network's sense: also those that probe, and those that are being closed."""
        self._websockets_from: Counter[str] = Counter()
        """How many of them each address has."""
        self._none_left: asyncio.Event | None = None
        self._failures = 0
        """How often the log could not be listened to since it was last available."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] == "websocket":
            await serve_websocket(self, scope, receive, send)
        elif scope["type"] == "http":
            await self._polling(scope, receive, send)

    # Life.

    async def start(self) -> None:
        """Clients can come when this returns; where the log is unavailable, they are let in when it is not.

        Raises SettingsError where the log cannot be used as it is.
        """
        self.stopping, self._none_left = False, None
        try:
            await self.consumer.start()
            self.log_probe.record(None)
        except LogUnavailableError as error:
            self.log_probe.record(str(error))
        work = (self._run_consumer(), self.wheel.run(), self.sessions.run(), self.log_probe.run(), self._usage.run())
        self._tasks = [asyncio.create_task(one) for one in work]
        if self.log_probe.reason is None:
            with suppress(LogUnavailableError):
                await self.progress.wait_until_live()
                await self.membership.announce(new=True)
        self._tasks.append(asyncio.create_task(self.membership.run()))

    async def stop(self) -> None:
        """Send every client away, and wait `shutdown_timeout` seconds at most until they have gone."""
        await self.drain()
        await self.membership.leave()
        with suppress(LogUnavailableError):
            await self.sessions.flush()
        await cancel_tasks(*self._tasks)
        self._tasks = []

    async def drain(self) -> None:
        """Refuse new clients, disconnect the others so that they come back, and let running handlers finish.

        Many clients are disconnected over `drain_time` seconds, because other nodes have to accept them all. A client
        whose commands are being handled is disconnected when they have been acknowledged; what it sends meanwhile is
        not handled.
        """
        self.stopping = True
        waiting = deque(self.connections.values())
        busy: list[Connection] = []
        batches = math.ceil(self.settings.drain_time / DRAIN_INTERVAL)
        size = max(DRAIN_BATCH, math.ceil(len(waiting) / batches)) if batches else len(waiting)
        while waiting:
            batch = [waiting.popleft() for _ in range(min(size, len(waiting)))]
            busy += await self._send_away(batch)
            if waiting:
                await asyncio.sleep(DRAIN_INTERVAL)
        try:
            async with asyncio.timeout(self.settings.shutdown_timeout):
                while busy:
                    await asyncio.sleep(BUSY_INTERVAL)
                    busy = await self._send_away(busy)
                for namespace in self.namespaces.values():
                    await namespace.drain()
                if self.websockets:
                    self._none_left = asyncio.Event()
                    await self._none_left.wait()
        except TimeoutError:
            for connection in busy:
                connection.close(engineio.SERVER_SHUTDOWN)
            logger.warning("stopping although clients or handlers have not finished", websockets=len(self.websockets))
            for namespace in self.namespaces.values():
                namespace.cancel()
            for websocket in tuple(self.websockets):
                websocket.abort()

    async def _send_away(self, connections: Iterable[Connection]) -> list[Connection]:
        """Close those whose commands have been acknowledged, and return the others."""
        done: list[Connection] = []
        busy: list[Connection] = []
        for connection in connections:
            (busy if connection.working else done).append(connection)
            connection.draining = True
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
                # What was appended meanwhile is unknown here: clients come back and are told that they missed it.
                logger.error("the log has lost what was not delivered yet; clients are sent away to ask for it")
                for connection in tuple(self.connections.values()):
                    connection.close(engineio.TRANSPORT_ERROR)
            except (LogUnavailableError, SettingsError) as error:
                # Clients stay: nothing can be appended now that they would not get when it is back.
                self._log_failure(error)
            except Exception:
                if self._is_told():
                    logger.exception("the log cannot be listened to", failures=self._failures)
            await asyncio.sleep(RETRY_SECONDS)

    def _log_failure(self, error: LogUnavailableError | SettingsError) -> None:
        if self.log_probe.reason is None:
            if self._is_told():
                logger.warning("the log cannot be listened to", reason=str(error), failures=self._failures)
        elif isinstance(error, SettingsError):
            # The outage has been logged, but this cause does not pass by itself: the operator has to know it.
            self._outages.record(self, str(error))

    def _is_told(self) -> bool:
        """Count a failure, and say whether it is logged: the first, the second, the fourth, …, at ever longer times."""
        self._failures += 1
        return is_worth_logging(self._failures)

    def _replace_stale(self, namespace: str, session: Session) -> None:
        self.membership.replace(namespace, session.sid, session.node, session.generation)

    def _handle_node_message(self, entry: Entry) -> None:
        """Take note of what nodes say, in no namespace."""
        if entry.control == DAMAGED:
            # It may have been an event or a change of rights for any client. Clients that come back are verified again,
            # and receive that they are not recovered.
            for connection in tuple(self.connections.values()):
                connection.close(engineio.TRANSPORT_ERROR, "an entry of the log cannot be read")
            return
        if entry.control == probe.CONTROL:
            self.log_probe.handle(entry)
        else:
            self.membership.handle(entry)

    def _tell_status(self, reason: str | None) -> None:
        """The log has become unavailable for `reason`, or, with None, is back: operator and clients are told."""
        if reason is None:
            self._failures = 0
        self._outages.record(self, reason)
        status = encode_status(reason)
        for namespace in self.namespaces.values():
            namespace.status = status if reason is not None else None
            namespace.tell(status)

    @property
    def handlers(self) -> int:
        """How many handlers are running."""
        return sum(namespace.handlers for namespace in self.namespaces.values())

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Server"]:
        """For the lifespan of an application this server is mounted in."""
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    # Connections.

    def open(
        self, handshake: Handshake, state: State, kind: type[Connection] = Connection
    ) -> Connection | HandshakeError:
        """A new connection, or why there is none."""
        limits, network = self.limits, network_of(handshake.address)
        # A client that is being closed still costs something.
        connections = max(len(self.connections) + len(self._closed), len(self.websockets))
        if self.stopping or connections >= limits.max_connections:
            return engineio.OVERLOADED
        if max(self._addresses[network], self._websockets_from[network]) >= limits.max_connections_per_address:
            return engineio.OVERLOADED
        if not self._handshakes.take(self.clock()):
            return engineio.OVERLOADED
        connection = kind(self.node.new_session_id(), self, handshake, state)
        self.connections[connection.id] = connection
        self._addresses[network] += 1
        return connection

    def admits_page(self, headers: Mapping[str, str], *, secure: bool) -> bool:
        """True if the page that asks may use the server; each origin that may not is logged once."""
        origin, host = headers.get("origin"), headers.get("host")
        if self.origins.allows(origin, host, secure=secure):
            return True
        # Programs send path and query along, which may hold a token: scheme and authority are logged.
        origin = normalize(origin) if origin is not None else None
        if origin not in self._refused_origins and len(self._refused_origins) < MAX_REFUSED_ORIGINS:
            self._refused_origins.add(origin)
            logger.warning(
                "a page was refused: its origin is not in client_origin", origin=origin, host=host, secure=secure
            )
        return False

    def note_refusal(self, error: HandshakeError) -> None:
        """Log the refusal of a client that can never connect, and cannot show why."""
        if error is engineio.UNSUPPORTED_VERSION:
            self.faults.warning("a client of another protocol was refused: use a client of Socket.IO 3 or 4, not 2.x")

    def read_handshake(
        self,
        headers: Mapping[str, str],
        query_string: bytes,
        client: tuple[str, int] | None,
        *,
        secure: bool,
    ) -> Handshake:
        """What is kept of the request that opens a connection. Names of `headers` are lower-case."""
        kept = {name: headers[name] for name in KEPT_HEADERS if name in headers}
        if not self.origins.allows_cookies(headers.get("origin"), headers.get("host"), secure=secure):
            kept.pop("cookie", None)
        return Handshake(
            headers=kept,
            query_string=query_string.decode("latin-1"),
            address=client[0] if client else "",
            secure=secure,
            time=time.time(),
        )

    def open_websocket(
        self,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        read_handshake: Callable[[], Handshake],
        *,
        secure: bool,
    ) -> TransportListener | HandshakeError:
        """Who listens to the WebSocket of an upgrade request: a new connection, or the upgrade of one that polls."""
        if not self.admits_page(headers, secure=secure):
            return engineio.FORBIDDEN
        connection = self.connections.get(query.get("sid", ""))
        error = engineio.check_request("GET", query, known=connection is not None, upgrade=True)
        if error is not None:
            self.note_refusal(error)
            return error
        if connection is None:
            return self.open(read_handshake(), State.WEBSOCKET)
        if not connection.may_upgrade():
            return engineio.ALREADY_UPGRADED
        if len(self.websockets) >= self.limits.max_connections:
            return engineio.OVERLOADED
        if self._websockets_from[network_of(connection.handshake.address)] >= self.limits.max_connections_per_address:
            return engineio.OVERLOADED
        return connection.begin_upgrade()

    def find(self, sid: str) -> Connection | None:
        """An open connection, or one whose polling client has yet to be told that it is closed."""
        return self.connections.get(sid) or self._closed.get(sid)

    def forget(self, connection: Connection) -> bool:
        """Take a closing connection off the books until `bury`; False if it had been already."""
        if self.connections.pop(connection.id, None) is None:
            return False
        self._closed[connection.id] = connection
        return True

    def bury(self, connection: Connection) -> None:
        """The client knows that its connection is closed, or will not ask any more."""
        if self._closed.pop(connection.id, None) is not None:
            self.wheel.cancel(connection)
            _count_down(self._addresses, network_of(connection.handshake.address))

    def add_websocket(self, websocket: Transport, connection: Connection) -> None:
        """The network connection of `websocket`, which serves `connection` or wants to, has become one."""
        self.websockets.add(websocket)
        self._websockets_from[network_of(connection.handshake.address)] += 1

    def forget_websocket(self, websocket: Transport, connection: Connection) -> None:
        """Its network connection has ended."""
        if websocket in self.websockets:
            self.websockets.discard(websocket)
            _count_down(self._websockets_from, network_of(connection.handshake.address))
        if self._none_left is not None and not self.websockets:
            self._none_left.set()

    def new_id(self) -> str:
        """20 characters that cannot be guessed, for a socket or for what remembers one."""
        return secrets.token_urlsafe(15)

    def encode_open(self, connection: Connection) -> bytes:
        """The open packet of a connection."""
        settings = self.settings
        return engineio.encode_open(
            engineio.Handshake(
                sid=connection.id,
                upgrades=[] if connection.session.upgraded else ["websocket"],
                ping_interval=round(settings.ping_interval * 1000),
                ping_timeout=round(settings.ping_timeout * 1000),
                max_payload=self.limits.max_payload,
            )
        )

    # For operators and handlers.

    def fetch_sockets(self, namespace: str, rooms: Iterable[str] = ()) -> list[SocketInfo]:
        """Who is connected to `namespace` here, in any of `rooms` where some are given."""
        return self.namespaces[namespace].fetch_sockets(rooms)

    def disconnect_sockets(self, namespace: str, rooms: Iterable[str] = (), *, close: bool = False) -> int:
        """Disconnect those sockets of this node, with `close` their whole connections; how many they were."""
        return self.namespaces[namespace].disconnect_sockets(rooms, close)


def network_of(address: str) -> str:
    """What counts as one client's address: an IPv4 address, or the first 64 bits of an IPv6 address."""
    if ":" not in address:
        return address
    try:
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except OSError:
        return address
    if packed.startswith(_MAPPED):
        return socket.inet_ntoa(packed[12:])
    return packed[:8].hex()


def _count_down(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
