"""The application of one namespace: it admits clients, handles their commands and calls the system's hooks."""

from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import msgspec

from oyez.concurrency.clock import Clock, Timer
from oyez.contract.command_codec import split_trace
from oyez.contract.limits import DEFAULT_LIMIT
from oyez.contract.patterns import find_pattern
from oyez.contract.rooms import NamedNamespace
from oyez.errors import UNAVAILABLE, UNKNOWN_EVENT, Refusal, RefusedError, find_code, is_temporary
from oyez.log.log import Entry
from oyez.observer import COMMAND, CommandReport, Observers, RefusalReport
from oyez.protocol.binary import detach, locate
from oyez.runtime import control
from oyez.runtime.admission import Admission
from oyez.runtime.client import Client, ClientContext
from oyez.runtime.commands import CommandHandler, LimitedError, enforce_limit
from oyez.runtime.control import Control
from oyez.runtime.current import Published, current_published, current_user
from oyez.runtime.entering import Entering
from oyez.runtime.hooks import Hooks
from oyez.runtime.replies import Failure, FailureEncoder, explain_failure, list_fields
from oyez.runtime.sign_in import encode_expiring
from oyez.server.namespaces.application import Application
from oyez.server.namespaces.room_observer import RoomObserver
from oyez.server.namespaces.socket import Socket
from oyez.server.types import ReceivedEvent
from oyez.tracing import Span, Tracing, within

Run = Callable[[Client, ReceivedEvent, float], Awaitable[bytes] | bytes]
"""Runs a command, as `CommandHandler.run` does."""


class NamespaceApplication(Application):
    """What the server calls for the sockets of one namespace."""

    def __init__(
        self,
        admission: Admission,
        commands: Sequence[Mapping[str, CommandHandler]],
        context: ClientContext,
        hooks: Hooks,
        clock: Callable[[], float],
        observers: Observers | None = None,
        headers: Collection[str] = (),
        failures: FailureEncoder = FailureEncoder(),  # noqa: B008 - it does not change
        room_observer: RoomObserver | None = None,
        call_later: Callable[..., Timer] = Clock().call_later,  # noqa: B008 - it does not change
        system: str = "",
        open_named: "OpenNamed | None" = None,
    ) -> None:
        """`commands` are those of each version, the newest first, by their names in it. `call_later` is that of a
        Clock; `clock` is monotonic. `system` is named in log lines.

        With `open_named`, it stands for all namespaces whose names have the form of its own.
        """
        self.system = system
        self._open_named = open_named
        if open_named is not None:
            self.accepts = self._accepts
        self.headers = headers
        self._admission = admission
        self._commands = commands
        self._patterns = [[one for name in table if (one := find_pattern(name)) is not None] for table in commands]
        self._context = context
        self.old_forms = context.old_forms
        self.receipts = context.contract.receipts
        self.oldest = len(commands) - 1
        self._access = context.access
        self._control = Control(context.access)
        self._entering = Entering()
        self._hooks = hooks
        self._clock = clock
        self._call_later = call_later
        self._observers = observers
        self._tracing = observers.tracing if observers is not None else None
        self._reports_successes = observers is not None and observers.reports_successes
        self._failures = failures
        self.usages = context.users
        self.room_observer = room_observer
        self.expiring_before = hooks.expiring_before

    def _accepts(self, namespace: str) -> bool:
        found = self._context.contract.find_namespace(namespace)
        return found is not None and found[0] is self._access.namespace

    def open(self, namespace: str) -> Application:
        found = self._context.contract.find_namespace(namespace)
        assert found is not None
        assert self._open_named is not None
        return self._open_named(NamedNamespace(namespace, found[1]))

    async def connect(self, socket: Socket, auth: Any) -> None:
        """Admit a client: its identity, its expiry and its first rooms. Raises RefusedError."""
        self._entering.begin(socket)
        given = auth if isinstance(auth, dict) else {}
        try:
            if self._tracing is None:
                await self._connect(socket, given)
            else:
                await self._connect_traced(self._tracing, socket, given)
        except RefusedError as refused:
            if self._hooks.refused and not is_temporary(refused):
                refused.fields |= list_fields(self._hooks.refused(socket.handshake, refused))
            raise

    async def _connect_traced(self, tracing: Tracing, socket: Socket, auth: Mapping[str, Any]) -> None:
        """`_connect` as a trace of its own."""
        place = f"{self.system}{self._access.namespace.name}"
        describe = partial(self._describe_span, "connect", socket.connection.public_id, "", "")
        with within(tracing.start(f"connect {place}", "server", describe, "")) as span:
            await self._connect(socket, auth)
            if tracing.shows_users:
                span.set("enduser.id", socket.user_id)

    async def _connect(self, socket: Socket, auth: Mapping[str, Any]) -> None:
        socket.set_age(self._context.versions.find(auth, socket.handshake.query))
        identity, rooms, guest = await self._admission.admit(self._access, socket.handshake, auth)
        socket.data = Client(identity, socket, self._context, self._clock())
        socket.identify(identity.subject, identity.expires_at, guest)
        for room in rooms:
            if socket.data.awaits_welcome(room):
                # Joined after recovery: a client that was in the room before gets no welcome.
                socket.data.postpone(room)
            else:
                socket.join(room)
        if self._hooks.connecting:
            await self._hooks.connecting(socket.data)

    def find_role(self, socket: Socket) -> str:
        client: Client = socket.data
        return client.identity.role

    def connected(self, socket: Socket) -> Coroutine[Any, Any, None] | None:
        hook, client = self._hooks.connected, socket.data
        if not self._entering.accept(socket, client.identity):
            return _come_back()
        return self._run_connected(hook, client) if hook or client.postponed else None

    async def _run_connected(self, hook: Callable[[Client], Coroutine[Any, Any, None]] | None, client: Client) -> None:
        current_user.set(client.payer)
        try:
            await client.join_postponed()
            if hook is not None:
                await hook(client)
        except RefusedError as refused:
            if is_temporary(refused) or refused.internal:
                raise
            client.socket.send(self._failures.encode_event(explain_failure(refused, client.socket.describe)))
            client.socket.disconnect()

    def receive(self, socket: Socket, event: ReceivedEvent) -> Coroutine[Any, Any, None] | None:
        """Handle one event. Returns a coroutine only if the handler has to wait."""
        client: Client = socket.data
        if self._patterns[socket.age] and event.name not in self._commands[socket.age]:
            event = self._find_pattern(socket, event)
        if client.held:
            return self._receive_after_held(client, event)
        return self._receive(client, event)

    def _find_pattern(self, socket: Socket, event: ReceivedEvent) -> ReceivedEvent:
        """The event with the name of the command that has its form: limits and metrics know no other names."""
        found = next((pattern for pattern in self._patterns[socket.age] if pattern.match(event.name)), None)
        return event if found is None else msgspec.structs.replace(event, name=found.text)

    def _receive(self, client: Client, event: ReceivedEvent) -> Coroutine[Any, Any, None] | None:
        now = self._clock()
        try:
            handler = self._find(client, event.name) or self._refuse_unknown(client, event)
            if handler.volatile and not handler.take(client, now):
                self._hold(client, event, handler, now)
                return None
        except Exception as error:
            self._fail(client, event, error, now)
            return None
        if self._tracing is not None:
            return self._handle_traced(self._tracing, client, event, handler, handler.run, now)
        return self._handle(client, event, handler, handler.run, now)

    def _handle(
        self, client: Client, event: ReceivedEvent, handler: CommandHandler, run: Run, began: float
    ) -> Coroutine[Any, Any, None] | None:
        try:
            acknowledgement = run(client, event, began)
        except Exception as error:
            self._fail(client, event, error, began)
            return None
        if isinstance(acknowledgement, bytes):
            if handler.replies_binary:
                self._acknowledge(client, event, acknowledgement, began)
                return None
            if event.ack is not None:
                event.ack(acknowledgement)
            if handler.durations is not None:
                handler.durations.add(self._clock() - began)
            if self._reports_successes:
                self._report_success(client, event, began)
            return None
        return self._finish(client, event, acknowledgement, began)

    def _handle_traced(
        self,
        tracing: Tracing,
        client: Client,
        event: ReceivedEvent,
        handler: CommandHandler,
        run: Run,
        began: float,
    ) -> Coroutine[Any, Any, None] | None:
        """`_handle` in a span, which is a part of the client's trace if the client names one."""
        data, trace = split_trace(event.data)
        if trace:
            event = msgspec.structs.replace(event, data=data)
        elif (passed := tracing.pass_by()) is not None:
            # Most commands are not recorded: do not build what would describe them.
            running = passed.run(self._handle, client, event, handler, run, began)
            return None if running is None else _finish_traced(passed, running)
        subject = client.identity.subject
        describe = partial(self._describe_span, "command", client.connection_id, event.name, subject)
        span = tracing.start(f"command {event.name}", "server", describe, trace, trusted=False)
        running = span.run(self._handle, client, event, handler, run, began)
        if running is None:
            span.end()
            return None
        return _finish_traced(span, running)

    def _describe_span(self, operation: str, connection: str, command: str, user: str) -> dict[str, str | int | bool]:
        attributes: dict[str, str | int | bool] = {
            "messaging.system": "oyez",
            "messaging.operation.name": operation,
            "messaging.operation.type": "process",
            "messaging.destination.name": f"{self.system}{self._access.namespace.name}",
            "oyez.system": self.system,
            "oyez.connection": connection,
        }
        if command:
            attributes["oyez.command"] = command
        if user and self._tracing is not None and self._tracing.shows_users:
            attributes["enduser.id"] = user
        return attributes

    def _find(self, client: Client, name: str) -> CommandHandler | None:
        """The command of that name in the client's version."""
        return self._commands[client.socket.age].get(name)

    def _refuse_unknown(self, client: Client, event: ReceivedEvent) -> NoReturn:
        # All unknown names share one limit, because a client may send any number of them.
        enforce_limit(client, "", DEFAULT_LIMIT, self._clock())
        raise RefusedError(UNKNOWN_EVENT, f"There is no event {event.name!r} that clients may send.")

    # Volatile commands over their limit are held until the limit allows them.

    def _hold(self, client: Client, event: ReceivedEvent, handler: CommandHandler, now: float) -> None:
        """Hold a volatile command until its limit allows it. An older held command is dropped."""
        self._drop(client, event.name, handler.wait(client, now))
        timer = self._call_later(handler.wait(client, now), self._release, client, event.name)
        client.hold(event, timer)

    def _drop(self, client: Client, name: str, wait: float) -> None:
        event, timer = client.unhold(name)
        if timer is not None:
            timer.cancel()
        if event is not None and event.ack is not None:
            self._fail(client, event, LimitedError(wait, 1, reported=True), self._clock())

    def _release(self, client: Client, name: str) -> None:
        """Handle a held command as if the client had sent it now."""
        event, _ = client.unhold(name)
        if event is not None:
            client.socket.handle_event(event)

    def _receive_after_held(self, client: Client, event: ReceivedEvent) -> Coroutine[Any, Any, None] | None:
        """`_receive`, after the held commands that the client has sent before, as far as their limits give credit."""
        for name, (held, timer) in tuple((client.held or {}).items()):
            handler = self._commands[client.socket.age][name]
            if name != event.name and handler.take(client, self._clock(), on_credit=True):
                client.unhold(name)
                timer.cancel()
                running = self._handle_counted(client, held, handler)
                if running is not None:
                    return self._chain(running, client, event)
        return self._receive(client, event)

    async def _chain(self, running: Coroutine[Any, Any, None], client: Client, event: ReceivedEvent) -> None:
        await running
        following = self._receive_after_held(client, event)
        if following is not None:
            await following

    def _handle_counted(
        self, client: Client, event: ReceivedEvent, handler: CommandHandler
    ) -> Coroutine[Any, Any, None] | None:
        def run(client: Client, event: ReceivedEvent, began: float) -> Awaitable[bytes] | bytes:
            return handler.handle(client, event)

        began = self._clock()
        if self._tracing is not None:
            return self._handle_traced(self._tracing, client, event, handler, run, began)
        return self._handle(client, event, handler, run, began)

    def refuse(self, socket: Socket, event: ReceivedEvent) -> None:
        self._fail(socket.data, event, RefusedError(UNAVAILABLE), self._clock())

    def encode_error(self, refusal: Refusal, message: str) -> bytes:
        return self._failures.encode_event(Failure(refusal, message, {}))

    def explain_refusal(self, refused: RefusedError) -> dict[str, Any]:
        return self._failures.explain_connect(refused)

    async def may_join(self, socket: Socket, room: str) -> bool:
        """True if a client that reconnects may still be in `room`."""
        client: Client = socket.data
        try:
            return await self._access.allows(client.identity, room)
        except RefusedError as refused:
            if is_temporary(refused):
                # A client must not lose a room because the server cannot decide about it now.
                raise
            return False

    def expiring(self, socket: Socket) -> Coroutine[Any, Any, None] | None:
        hook, client = self._hooks.expiring, socket.data
        if client.identity.guest:
            # A guest has no token: what ends is the time to sign in.
            return None
        if hook is not None:
            return hook(client)
        client.socket.send(encode_expiring(client.identity.expires_at, socket.context.now()))
        return None

    def on_closing(self, socket: Socket, reason: str) -> None:
        client: Client = socket.data
        # Call it once only: the hook may disconnect the client itself.
        if self._hooks.ending and not client.ending:
            client.ending = True
            self._hooks.ending(client, reason)

    def disconnect(self, socket: Socket, reason: str) -> None:
        if self._hooks.disconnected:
            self._hooks.disconnected(socket.data, reason)

    def forget(self, socket: Socket) -> None:
        self._entering.end(socket)
        if isinstance(socket.data, Client):
            socket.data.forget(self._clock())

    def control(self, entry: Entry, sockets: Collection[Socket]) -> None:
        if entry.control == control.DISCONNECT:
            self._entering.record(entry.rooms)
        elif entry.control == control.REVOKE:
            self._entering.revoke(msgspec.json.decode(entry.data, type=control.Revocation))
        self._control.apply(entry, sockets)

    async def _finish(
        self, client: Client, event: ReceivedEvent, acknowledgement: Awaitable[bytes], began: float
    ) -> None:
        # The task handles only the events of this client, so it may set context variables.
        current_user.set(client.payer)
        published = Published()
        current_published.set(published)
        failure: Exception | None = None
        try:
            answer = await acknowledgement
        except Exception as error:
            failure = error
        if event.ack is not None:
            # The client receives the events of its command before the acknowledgement.
            await published.wait_until_delivered(client.socket.wait_until_delivered)
        if failure is None:
            self._acknowledge(client, event, answer, began)
        else:
            self._fail(client, event, failure, began)

    def _acknowledge(self, client: Client, event: ReceivedEvent, acknowledgement: bytes, began: float) -> None:
        handler = self._commands[client.socket.age][event.name]
        if event.ack is not None:
            if handler.replies_binary:
                event.ack(*detach(*locate(acknowledgement)))
            else:
                event.ack(acknowledgement)
        if handler.durations is not None:
            handler.durations.add(self._clock() - began)
        if self._reports_successes:
            self._report_success(client, event, began)

    def _fail(self, client: Client, event: ReceivedEvent, error: Exception, began: float) -> None:
        """Answer a command that has failed. `began` is the time at which its handling began."""
        if self._tracing is not None:
            self._tracing.fail(find_code(error))
        self._answer_failure(client, event, error)
        if self._observers is not None:
            self._report_failure(self._observers, client, event, find_code(error), began)

    def _report_success(self, client: Client, event: ReceivedEvent, began: float) -> None:
        assert self._observers is not None
        self._observers.report_success(self._describe(self._observers.system, client, event, "", began))

    def _report_failure(
        self, observers: Observers, client: Client, event: ReceivedEvent, code: str, began: float
    ) -> None:
        report = self._describe(observers.system, client, event, code, began)
        observers.report(report)
        address = client.handshake.address
        place = (report.namespace, report.name, report.user_id, address, report.socket_id, report.connection_id)
        observers.report(RefusalReport(report.system, COMMAND, code, *place))

    def _describe(self, system: str, client: Client, event: ReceivedEvent, code: str, began: float) -> CommandReport:
        # A client may invent any number of names.
        name = event.name if self._find(client, event.name) is not None else ""
        namespace, user = self._access.namespace.name, client.identity.subject
        socket, connection = client.socket.id, client.connection_id
        return CommandReport(system, namespace, name, user, socket, connection, code, self._clock() - began)

    def _answer_failure(self, client: Client, event: ReceivedEvent, error: Exception) -> None:
        handler = self._find(client, event.name)
        failures = handler.failures if handler is not None else self._failures
        if event.ack is None and isinstance(error, LimitedError):
            if error.reported:
                return
            if self._hooks.limited:
                self._hooks.limited(client, error.times, error.wait)
        failure = explain_failure(error, lambda: {"command": event.name, **client.socket.describe()})
        name = event.name
        if self._patterns[client.socket.age] and find_pattern(name) is not None:
            # The name as the client has sent it.
            name = msgspec.json.decode(msgspec.json.decode(event.data, type=list[msgspec.Raw])[0])
        if event.ack is not None:
            event.ack(failures.encode_acknowledgement(failure, name, event.data))
        else:
            client.socket.send(failures.encode_event(failure, name, event.data))


async def _finish_traced(span: Span, running: Coroutine[Any, Any, None]) -> None:
    with within(span):
        await running


OpenNamed = Callable[[NamedNamespace], NamespaceApplication]
"""Makes the application of one namespace of a form."""


async def _come_back() -> None:
    """For a client whose user was disconnected while it connected: it has to ask again, by a new connection."""
    raise RefusedError(UNAVAILABLE, "The user was disconnected in the meantime.")
