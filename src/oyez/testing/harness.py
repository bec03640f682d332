"""The harness: one system that runs as it does in production, and that a test drives, without a socket and a sleep.

Clients, publishers and requests take the same way as in a served system: contract, log, consumer, socket, transport. In
memory are only the network and, as far as the machine has such a folder, the files of the log and the database. What is
different is the clock, which only the test moves.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, closing
from http.cookies import SimpleCookie
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, NamedTuple, ParamSpec, Self, TypeVar

import httpx
import msgspec

from oyez.client import ConnectRefused
from oyez.client.transports import ConnectFailed
from oyez.contract.codec import encode_json
from oyez.contract.contract import Contract
from oyez.contract.declare import Namespace
from oyez.contract.declared import DeclaredCommand
from oyez.contract.old_forms import command_in_form
from oyez.contract.rooms import NamedNamespace, NamedRoom, Place, find_only_namespace
from oyez.contract.tokens import Auth, Bearer, Cookie, Header, Query
from oyez.contract.types import Command, Payload
from oyez.contract.versions import find_form
from oyez.errors import OyezError
from oyez.log.log import Entry
from oyez.log.sqlite import SqliteLog
from oyez.observer import CONNECT, CommandReport, Observer, RefusalReport
from oyez.runtime.publisher import Publication, Publisher, RejectedError
from oyez.server.namespaces.socket import Socket
from oyez.service.app import Oyez
from oyez.service.database.database import Database
from oyez.service.outbox.members import MAX_LISTED, list_parts
from oyez.service.outbox.outbox import Outbox
from oyez.service.outbox.transaction import Transaction
from oyez.service.receipts.answers import MAX_PAGE, EventReceipts, ReceiptsQuery
from oyez.service.receipts.answers import State as ReceiptState
from oyez.service.served import Served
from oyez.service.system import System
from oyez.testing.client import TestClient
from oyez.testing.clock import ManualClock
from oyez.testing.examples import make_data
from oyez.testing.explain import show
from oyez.testing.log import WatchedLog
from oyez.testing.template import Template, make_folder

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 30.0
"""Seconds after which the harness gives up waiting for work that does not end. A working test never waits for them."""
BUSY_TURNS = 200
"""Turns of the event loop in which work without a thread ends; afterwards, a thread is waited for."""
THREAD_PAUSE = 0.0005
"""Seconds between two looks at work that a thread does: most transactions take less."""
QUIET_TURNS = 4
"""Turns of the event loop after which what was put into a queue has been taken from it."""
TOKEN_LIFETIME = 3_600.0
"""Seconds for which a token is valid, by the clock of the test."""
KEPT = ("*.sqlite", "format", "jwt-secret")
"""The files of a data folder that are the data; the others are of a running process."""


class Published(NamedTuple):
    """An event that was published."""

    name: str
    rooms: tuple[str, ...]
    """The names of the rooms; none if it went to everyone in the namespace."""
    data: Any
    """The data; a list if the event has several arguments."""
    namespace: str = "/"


class Reports(Observer):
    """Passes on which commands and clients were refused."""

    def __init__(self) -> None:
        self.clients: list[TestClient] = []
        self.refused_connects: list[str] = []
        """The codes of all refusals of clients."""
        self.count = 0

    def command(self, report: CommandReport) -> None:
        self.count += 1
        for client in self.clients:
            client.report(report)

    def refused(self, report: RefusalReport) -> None:
        if report.kind == CONNECT:
            self.refused_connects.append(report.code)


def start(system: System, *, at: float | None = None, **settings: Any) -> "Harness":
    """A harness of its own: `async with start(system) as oyez:`. `at` and `settings` as for Harness and Template."""
    return Harness(Template(system, **settings), at=at, owns_template=True)


class Harness:
    """One running system. Every call returns when nothing is left to do, unless the clock is moved.

    async with start(system) as oyez:
        ada = await oyez.connect("ada", role="buyer")
        await oyez.publish("order:created", buyer_id="ada")
        await ada.expect_event("order:created")
    """

    def __init__(self, template: Template, *, at: float | None = None, owns_template: bool = False) -> None:
        """`at` is when the clock stands, in seconds since 1970; None: at the time of the start."""
        self._template = template
        self._owns_template = owns_template
        self.contract: Contract = template.system.contract
        self.clock = ManualClock(at)
        self.clients: list[TestClient] = []
        """All clients that were made, also those that are disconnected."""
        self._connected: list[TestClient] = []
        """Those whose connection has not ended."""
        self.published: list[Entry] = []
        """Every event that was published, in order."""
        self._taken = 0
        """The number of published events that `take_published` has returned."""
        self._reports = Reports()
        self._folder: Path | None = None
        self._database: str | None = None
        self._app: Oyez | None = None
        self._log: WatchedLog | None = None
        self._stack = AsyncExitStack()
        self._seen = 0
        """The number of transactions whose events have been moved to the log."""
        self._answers: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        await self.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self.clients:
            await client.close()
        if self._app is not None:
            await self._stop()
        if self._owns_template:
            self._template.close()

    async def begin(self) -> None:
        """Start the server, unless it runs: the first call that needs it does so."""
        if self._folder is None:
            self._folder = make_folder()
            self._database = self._template.copy(self._folder)
            await self._start()

    # Users.

    async def connect(
        self,
        user: str | None = None,
        role: str | Sequence[str] | None = None,
        namespace: str = "/",
        *,
        token: str | None = None,
        lifetime: float = TOKEN_LIFETIME,
        auth: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        version: str | None = None,
        address: str = "127.0.0.1",
        **claims: Any,
    ) -> TestClient:
        """Connect a device of a user, with a token that is signed for it; without `user` and `token`, a guest.

        `claims` are those of the token, by the names that the contract has for them. `auth`, `headers` and `query` are
        sent too. If the contract has versions, the client has the newest one or this `version`; an empty text: it says
        none. Raises ConnectRefused with the server's answer, and ConnectFailed if the WebSocket was refused.
        """
        await self.begin()
        given, sent, asked = dict(auth or {}), dict(headers or {}), dict(query or {})
        if token is None and user is not None:
            token = self.sign_token(user, role, lifetime=lifetime, **claims)
        if token is not None:
            self._place(token, given, sent, asked)
        if (versions := self.contract.versions).newest is not None:
            given.setdefault(versions.name, versions.newest if version is None else version)
        client = TestClient(self, user or "", namespace, auth=given, headers=sent, query=asked, address=address)
        await client.open()
        return client

    async def expect_refused(
        self,
        code: str | None,
        user: str | None = None,
        role: str | Sequence[str] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Connect as `connect` does, and assert that the server refuses it with this code of Oyez or of the contract.

        Returns the data of the `connect_error`. Raises AssertionError.
        """
        self._reports.refused_connects.clear()
        try:
            client = await self.connect(user, role, *args, **kwargs)
        except ConnectRefused as refused:
            found = self._reports.refused_connects[-1] if self._reports.refused_connects else ""
            if code is not None and found != code:
                raise AssertionError(
                    f"{user or 'A guest'} should be refused with {code}, but the code is {found}: {refused.message}"
                ) from None
            return refused.data
        except ConnectFailed as failed:
            raise AssertionError(f"The WebSocket was refused: {failed}") from None
        raise AssertionError(
            f"{user or 'A guest'} should be refused{f' with {code}' if code else ''}, but is connected,"
            f" in the rooms: {', '.join(sorted(client.rooms)) or 'none'}."
        )

    def sign_token(
        self, user: str, role: str | Sequence[str] | None = None, *, lifetime: float = TOKEN_LIFETIME, **claims: Any
    ) -> str:
        """A token of a user, valid for `lifetime` seconds by the clock of the test."""
        return self.app.signer.of_contract(self.contract.claims).sign_user(user, role, claims, lifetime)

    # Back ends.

    def example(self, event: str, **changes: Any) -> Any:
        """The data of the contract's example of an event, with changed fields; `a__b` changes a field in a field."""
        return make_data(self.contract, event, changes)

    async def publish(
        self,
        event: str | Payload,
        data: Any = None,
        *,
        to: "Place | str | Sequence[Place | str] | None" = None,
        excluding: Iterable[NamedRoom | str] = (),
        key: str = "",
        **changes: Any,
    ) -> str | None:
        """Publish an event as a back end does: by name with its data, or a payload. Returns its position.

        Without `data`, it is the contract's example with `changes`. Raises InvalidDataError, RefusedError,
        LogUnavailableError; nothing was published then.
        """
        await self.begin()
        if data is None and isinstance(event, str):
            data = self.example(event, **changes)
        publication = self.make_publication(event, data, to=to, excluding=excluding)
        try:
            (position,) = await self.publisher.publish([publication], key)
        except RejectedError as rejected:
            raise rejected.errors[0][1] from None
        await self.settle()
        return position

    def make_publication(
        self,
        event: str | Payload,
        data: Any = None,
        *,
        to: "Place | str | Sequence[Place | str] | None" = None,
        excluding: Iterable[NamedRoom | str] = (),
    ) -> Publication:
        """A publication of an event, by its name with its data, or of a payload."""
        places: list[Any] = [] if to is None else list(to) if isinstance(to, list | tuple) else [to]
        whole = any(isinstance(place, NamedNamespace) for place in places)
        names = None if to is None or whole else tuple(str(room) for room in places)
        only = find_only_namespace(places)
        namespace = only if only is not None and (whole or self.contract.find_declared(only) != only) else None
        if isinstance(event, str):
            name, encoded = event, msgspec.json.encode(data)
        else:
            declared = self.contract.event_of(event)
            name, encoded = declared.name, encode_json(event)
            if declared.arguments == "positional":
                values = list(msgspec.json.decode(encoded).values())
                encoded = msgspec.json.encode(values if len(values) > 1 else values[0] if values else None)
        return Publication(name, msgspec.Raw(encoded), names, tuple(str(room) for room in excluding), namespace)

    async def request(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, **options: Any
    ) -> httpx.Response:
        """An HTTP request of a back end, such as `POST /shop/events`, with a service key of the system.

        `body` is sent as JSON. `key` replaces the service key; an empty one: none. `options` are those of httpx.
        """
        await self.begin()
        bearer = self.app.signer.sign_service(self.contract.name, None) if key is None else key
        headers = ({"authorization": f"Bearer {bearer}"} if bearer else {}) | options.pop("headers", {})
        if body is not None:
            options["json"] = body
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            response = await client.request(method, path, headers=headers, **options)
        await self.settle()
        return response

    async def run(self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function as a transaction of the system, as `services.outbox.run` does; its events are delivered."""
        await self.begin()
        result = await self.outbox.run(function, *args, **kwargs)
        await self.settle()
        return result

    async def add_member(self, room: NamedRoom, subject: str, part: str | None = None) -> None:
        """Add a subject such as `user:ada` to the members of a room."""
        await self.run(lambda tx: tx.add_member(room, subject, part))

    async def list_members(self, room: NamedRoom) -> list[str]:
        """The members of a room, such as `["user:ada"]`, in order."""
        await self.begin()
        return list(await self.database.read(list_parts, self.contract.name, room, after="", limit=MAX_LISTED))

    async def receipts(
        self, position: str, state: ReceiptState | None = None, *, user: str | None = None
    ) -> EventReceipts:
        """Whom an event with receipts has reached, and who has acknowledged it: all, in one `state`, or one user.

        A client acknowledges it after `client.answer(event)`. Raises RefusedError (unknown_receipts).
        """
        await self.begin()
        await self.settle()
        await self.served.receipts.flushed()
        query = ReceiptsQuery(state=state, user=user, limit=MAX_PAGE)
        return await self.served.receipt_reader.read(position, query)

    async def take_published(self) -> list[Published]:
        """The events that were published since the last call, in order."""
        await self.begin()
        await self.settle()
        taken, self._taken = self.published[self._taken :], len(self.published)
        return [_read(entry) for entry in taken]

    # Time.

    @property
    def now(self) -> float:
        """The time of the server, in seconds since 1970."""
        return self.clock.now()

    async def advance(self, seconds: float) -> None:
        """Move the clock. What is due until then is done when it is due, in order: timers, jobs, tokens that end."""
        await self.begin()
        await self.settle()
        end = self.clock.passed + seconds
        while (due := await self._find_due()) is not None and due < end:
            await self._move(due)
        await self._move(end)

    # Faults.

    @asynccontextmanager
    async def log_away(self) -> AsyncIterator[None]:
        """The log is unavailable while inside: nothing can be published, and nothing is delivered."""
        await self.begin()
        await self.settle()
        self._require_log().lose()
        await self._retry()
        try:
            yield
        finally:
            self._require_log().restore()
            await self._retry()

    async def kill(self, pause: float = 0.0) -> None:
        """The process of the server dies, and another one begins, `pause` seconds later, with what was stored.

        The clients lose their connections, and nothing is finished: handlers, hooks, jobs. What was committed to the
        database or appended to the log is kept; what the system keeps in memory is lost. Let clients `reconnect`.
        """
        await self.begin()
        kept, database = make_folder(), self._template.take_over(self._database)
        await asyncio.to_thread(_copy_data, self._require_folder(), kept)
        for client in self.clients:
            client.cut()
        # The old process ends in its own folder; nobody sees what it still writes there.
        await self._stop()
        self._folder, self._database = kept, database
        self.clock.move(self.clock.passed + pause)
        await self._start()
        await self._resume()

    async def restart(self, pause: float = 0.0) -> None:
        """The server stops as at a deployment, and starts again `pause` seconds later. Let clients `reconnect`."""
        await self.begin()
        await self.settle()
        folder = self._require_folder()
        await self._end()
        self._folder = folder
        self.clock.move(self.clock.passed + pause)
        await self._start()
        await self._resume()

    # What runs.

    @property
    def app(self) -> Oyez:
        """The ASGI application."""
        if self._app is None:
            raise AssertionError("The server does not run. Use the harness inside `async with`.")
        return self._app

    @property
    def served(self) -> Served:
        """The parts of the running system."""
        return self.app.systems[self.contract.name]

    @property
    def publisher(self) -> Publisher:
        """The publisher of the system, as `services.publisher`."""
        return self.served.publisher

    @property
    def outbox(self) -> Outbox:
        """The outbox of the system, as `services.outbox`."""
        return self.served.outbox

    @property
    def database(self) -> Database:
        """The database, for reading what handlers have written."""
        return self.app.database

    async def settle(self) -> None:
        """Wait until nothing is left to do, unless the clock is moved.

        Then everything that was sent, published or committed before has been handled and delivered. Raises
        AssertionError if work does not end within PATIENCE seconds.
        """
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while True:
            await self._finish_work(deadline)
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"The server has not come to rest within {PATIENCE:g} s: it never does.")
            if not await self._store():
                for _ in range(QUIET_TURNS):
                    await asyncio.sleep(0)
                if self._find_work() is None:
                    return

    async def _finish_work(self, deadline: float) -> None:
        """Wait until nothing runs, at most until `deadline`, by the time of the loop. Raises AssertionError."""
        loop, turns = asyncio.get_running_loop(), 0
        while reason := self._find_work():
            turns += 1
            await asyncio.sleep(0 if turns < BUSY_TURNS else THREAD_PAUSE)
            if loop.time() > deadline:
                raise AssertionError(f"The server has not come to rest within {PATIENCE:g} s: {reason}.")

    async def wait_until(self, happened: Callable[[], bool]) -> None:
        """Return when something has happened that the system does by itself, or after PATIENCE seconds without it."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not happened() and asyncio.get_running_loop().time() < deadline:
            await self.settle()
            await asyncio.sleep(THREAD_PAUSE)

    # What clients ask.

    @property
    def path(self) -> str:
        """The path of the system's Socket.IO."""
        return f"/{self.contract.name}/socket.io/"

    def add_link(self, client: TestClient) -> None:
        """A client has opened a connection."""
        if client not in self.clients:
            self.clients.append(client)
            self._reports.clients.append(client)
        if client not in self._connected:
            self._connected.append(client)

    def waits_for(self, answer: "asyncio.Task[Any]") -> None:
        """Keep a task that waits for an acknowledgement: asyncio has only a weak reference to it."""
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)

    def find_socket(self, namespace: str, id: str) -> Socket | None:
        """The socket with this id at the server, if it is connected."""
        if self._app is None:
            return None
        found = self.served.server.namespaces.get(namespace)
        return found.sockets.get(id) if found is not None else None

    def find_namespace(self, name: str) -> Namespace:
        """A namespace of the contract. Raises AssertionError."""
        found = self.contract.find_namespace(name)
        if found is not None:
            return found[0]
        known = ", ".join(namespace.name for namespace in self.contract.namespaces)
        raise AssertionError(f"The contract has no namespace {name!r}. Its namespaces: {known}.")

    def find_command(self, namespace: str, shape: type[Command]) -> DeclaredCommand:
        """The command that a class declares. Raises AssertionError."""
        for command in self.find_namespace(namespace).commands:
            if shape in command.shapes:
                return command
        raise AssertionError(f"{shape.__name__} is not a command of the namespace {namespace}.")

    def is_command(self, namespace: str, name: str, age: int) -> bool:
        """True if the namespace has a command of this name, for clients whose version has this age."""
        commands, versions = self.find_namespace(namespace).commands, self.contract.versions
        return any(command_in_form(one, find_form(one.was, versions, age)).name == name for one in commands)

    def error_event(self, namespace: str, command: str) -> str:
        """The name of the event that reports errors of a command."""
        declared = next((one for one in self.find_namespace(namespace).commands if one.name == command), None)
        return self.contract.answers_of(declared)[1].name

    def find_join(self, namespace: str, room: str) -> tuple[str, Sequence[Any]]:
        """The command that joins a room, and its arguments. Raises AssertionError."""
        found = self.find_namespace(namespace)
        resolved = found.rooms.resolve(room)
        if resolved is None:
            patterns = ", ".join(kind.pattern for kind in found.rooms.kinds)
            raise AssertionError(f"The namespace {namespace} has no room {room!r}. Its rooms: {patterns}.")
        kind, values = resolved
        command = next((one for one in found.commands if one.joins is kind), None)
        if command is None:
            raise AssertionError(f"No command joins the room {kind.pattern}: clients are put into it by the server.")
        wanted = [values[placeholder] for placeholder in kind.placeholders]
        if command.arguments == "positional":
            return command.name, wanted
        names = command.shapes[0].__struct_encode_fields__
        by_python = dict(zip(command.shapes[0].__struct_fields__, names, strict=True))
        return command.name, [{by_python.get(name, name): values[name] for name in kind.placeholders}]

    # Inside.

    async def _start(self) -> None:
        folder = self._require_folder()
        settings = self._template.make_settings(folder, self._database)

        def build_log(name: str) -> WatchedLog:
            stored = SqliteLog(
                folder / f"log-{name}.sqlite",
                retention=settings.log_retention,
                max_bytes=settings.log_max_bytes,
                clock=self.clock.now,
            )
            self._log = WatchedLog(stored, self.published)
            return self._log

        self._app = Oyez(
            [self._template.system], settings, build_log=build_log, time=self.clock, observers=[self._reports]
        )
        self._stack = AsyncExitStack()
        running: AbstractAsyncContextManager[None] = self._app.running()
        await self._stack.enter_async_context(running)
        await self.settle()

    async def _resume(self) -> None:
        """Do what the process before has left: events in the outbox, jobs."""
        self._seen = -1
        await self.settle()

    async def _end(self) -> None:
        """Stop the server; its folder stays."""
        # A handler that waits for the clock would wait until the time for the stop is over.
        handlers = {task for tasks in self.served.server.namespaces.tasks for task in tasks.running}
        for task in handlers & self.clock.sleeping:
            task.cancel()
        self._app = None
        try:
            await self._stack.aclose()
        finally:
            self.clock.forget()

    async def _stop(self) -> None:
        await self._end()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        database, self._database = self._database, None
        self._template.drop(database)

    def _find_work(self) -> str | None:
        """What is being done now, in words; None if nothing is."""
        for client in self._connected:
            if not client.idle or self._unsent(client):
                return f"{client!r} and the server exchange packets"
        self._connected = [client for client in self._connected if not client.gone]
        served = self.served
        if not self._require_log().delivered:
            return "events of the log are being delivered"
        handlers = {task for tasks in served.server.namespaces.tasks for task in tasks.running}
        awake = len(handlers - self.clock.sleeping) - sum(client.unanswered for client in self._connected)
        if awake > 0:
            return f"{awake} handlers or hooks are running"
        if served.outbox.running:
            return f"{served.outbox.running} transactions are running"
        return None

    def _unsent(self, client: TestClient) -> bool:
        connection = self.served.server.registry.find(client.engine_sid) if client.engine_sid else None
        return connection is not None and connection.unsent > 0

    async def _store(self) -> bool:
        """Move what was committed to the log, and do the jobs that are due. True if there was something to do."""
        served = self.served
        if served.outbox.transactions != self._seen and not self._require_log().away:
            await self._give_time(served.jobs.done(), "jobs")
            # After the jobs: each look at the table of jobs is a transaction too.
            self._seen = served.outbox.transactions
            await self._give_time(served.outbox.drained(), "the outbox")
            return True
        if served.stays is not None and served.stays.pending:
            await self._give_time(served.stays.settled(), "hooks of rooms")
            return True
        return False

    async def _give_time(self, work: Any, name: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await work
        except TimeoutError:
            raise AssertionError(f"The server has not come to rest within {PATIENCE:g} s: {name}.") from None

    async def _find_due(self) -> float | None:
        """How far the clock is moved until something is due; None if nothing is."""
        served, offset = self.served, self.clock.monotonic() - self.clock.passed
        moments = [self.clock.next_due, served.server.context.wheel.next_check - offset]
        if (job := await served.jobs.find_next()) is not None:
            moments.append(job - (self.now - self.clock.passed))
        if served.stays is not None and (end := served.stays.next_end) is not None:
            moments.append(end - offset)
        return min((moment for moment in moments if moment is not None), default=None)

    async def _move(self, passed: float) -> None:
        # A little more, because a difference of large numbers is a little too small.
        self.clock.move(passed + 1e-6)
        served = self.served
        served.server.context.wheel.advance()
        if not self._require_log().away:
            await self._give_time(served.jobs.done(), "jobs")
            if served.stays is not None:
                await self._give_time(served.stays.done(), "hooks of rooms")
        await self.settle()

    async def _retry(self) -> None:
        """Let everything that waits between two attempts try again, until it works or has failed once more."""
        probe, wanted = self.served.server.log_probe, self._require_log().away
        async with asyncio.timeout(PATIENCE):
            while (probe.reason is not None) is not wanted:
                self.clock.end_pauses()
                await asyncio.sleep(THREAD_PAUSE)
            if not wanted:
                await self.served.server.progress.wait_until_live()
                self.clock.end_pauses()
                self._seen = -1
        await self.settle()

    def _place(self, token: str, auth: dict[str, Any], headers: dict[str, str], query: dict[str, str]) -> None:
        """Put a token where the contract looks for it; in `auth` if it looks there too."""
        sources = self.contract.tokens
        source = next((one for one in sources if isinstance(one, Auth)), sources[0] if sources else None)
        if isinstance(source, Auth):
            auth.setdefault(source.name, token)
        elif isinstance(source, Query):
            query.setdefault(source.name, token)
        elif isinstance(source, Header):
            headers.setdefault(source.name, token)
        elif isinstance(source, Bearer):
            headers.setdefault("authorization", f"Bearer {token}")
        elif isinstance(source, Cookie):
            cookie = SimpleCookie({source.name or self.app.settings.cookie_name: token})
            headers.setdefault("cookie", cookie.output(header="", sep=";").strip())
        else:
            raise OyezError(
                f"The contract {self.contract.name} looks for tokens in {show([one.text for one in sources])}: pass it"
                " by `auth`, `headers` or `query`."
            )

    def _require_folder(self) -> Path:
        if self._folder is None:
            raise AssertionError("The server does not run. Use the harness inside `async with`.")
        return self._folder

    def _require_log(self) -> WatchedLog:
        if self._log is None:
            raise AssertionError("The server does not run. Use the harness inside `async with`.")
        return self._log


def _read(entry: Entry) -> Published:
    name, *arguments = msgspec.json.decode(entry.data)
    data = arguments if len(arguments) > 1 else arguments[0] if arguments else None
    return Published(name, entry.rooms, data, entry.namespace)


def _copy_data(source: Path, target: Path) -> None:
    """Copy the files of a data folder as they are committed now."""
    for path in (found for pattern in KEPT for found in source.glob(pattern)):
        if path.suffix != ".sqlite":
            shutil.copy2(path, target / path.name)
            continue
        with closing(sqlite3.connect(path)) as stored, closing(sqlite3.connect(target / path.name)) as copy:
            stored.backup(copy)
