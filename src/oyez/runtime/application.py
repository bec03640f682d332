"""Connects a contract and its handlers to the server: one application for each namespace.

Handlers are an explicit mapping; what they need besides the command and the client is bound to them beforehand.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from oyez.contract.codec import EventCodec
from oyez.contract.contract import Contract
from oyez.contract.declare import DEFAULT_LIMIT, DeclaredCommand, Limit, Namespace
from oyez.contract.policy import Identity, Member
from oyez.contract.rooms import Caller, NamedRoom
from oyez.contract.types import Command
from oyez.errors import UNAVAILABLE, UNKNOWN_EVENT, ContractError, RefusedError, is_temporary
from oyez.log.log import Entry
from oyez.runtime.admission import Admission, Authenticate, Resolvers
from oyez.runtime.client import CallerEvents, Client, IsMember, RoomAccess
from oyez.runtime.commands import CommandHandler, Handler, LimitedError, enforce_limit, joining, leaving
from oyez.runtime.control import Control
from oyez.runtime.current import Published, current_published, current_user
from oyez.runtime.functions import find_signature_error
from oyez.runtime.idempotency import Idempotency
from oyez.runtime.latest import Latest
from oyez.runtime.replies import encode_error_event, encode_failure, explain_failure
from oyez.runtime.usage import Users
from oyez.server.namespaces.namespace import Application
from oyez.server.namespaces.socket import Socket
from oyez.server.types import Handshake, ReceivedEvent
from oyez.settings import Settings

Handlers = Mapping[type[Command], Handler]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What a system does about clients themselves, in all its namespaces (`client.namespace`). Each may be left out."""

    connecting: Callable[[Client], Coroutine[Any, Any, None]] | None = None
    """The client is accepted and not notified yet: the time to read what `connected` needs into `client.state`.

    If this raises a RefusedError, the CONNECT is refused. If the cause is temporary, the client's connection is cut
    instead, and the client comes back by itself. The client cannot be sent to yet.
    """
    connected: Callable[[Client], Coroutine[Any, Any, None]] | None = None
    """The client has been notified that it is connected; its commands wait until this is done.

    If this raises, the client's connection is cut, and the client comes back by itself. A RefusedError that is not
    temporary is sent to the client as the event `error` instead, and the client is disconnected for good.
    """
    joined: Callable[[Client, str], Coroutine[Any, Any, None]] | None = None
    """The client has entered a room, given by its name, by a command that only joins it; called before the command is
    acknowledged, so that what the hook emits comes first."""
    expiring: Callable[[Client], Coroutine[Any, Any, None]] | None = None
    """The client's token ends in `expiring_before` seconds; called once for each token. See `client.renew`."""
    expiring_before: float = 60.0
    """Of a token that lives less than twice as long, half its life."""
    ending: Callable[[Client, str], None] | None = None
    """The server is about to end the connection: the last chance to `client.emit`. Not called where the client left.

    The reason is `token_expired`, `server_shutdown`, `disconnected`, or another close reason's name, as `forced_close`.
    """
    disconnected: Callable[[Client, str], None] | None = None
    """The client has gone, whoever ended it, and is in no room any more. The reason is Socket.IO's."""
    refused: Callable[[Handshake, RefusedError], Mapping[str, Any]] | None = None
    """A CONNECT is refused: what CONNECT_ERROR's `data` says beside the code and the refusal's own details."""
    limited: Callable[[Client, int, float], None] | None = None
    """The client has sent too much of something: how often so far, and the seconds until it may send it again. Called
    where the client is told by the event `error`, which is not for each event that is refused."""


class NamespaceApplication(Application):
    """Answers for the sockets of one namespace (the server's `Application`)."""

    def __init__(
        self,
        admission: Admission,
        commands: Mapping[str, CommandHandler],
        access: RoomAccess,
        hooks: Hooks,
        clock: Callable[[], float],
    ) -> None:
        self._admission = admission
        self._commands = commands
        self._access = access
        self._control = Control(access)
        self._hooks = hooks
        self._clock = clock
        self.usages = access.users
        self.expiring_before = hooks.expiring_before if hooks.expiring else 0.0

    async def connect(self, socket: Socket, auth: Any) -> None:
        """Let a client in: who it is, how long, and into which rooms. Raises RefusedError."""
        try:
            await self._connect(socket, auth if isinstance(auth, dict) else {})
        except RefusedError as refused:
            if self._hooks.refused and not is_temporary(refused):
                refused.details |= self._hooks.refused(socket.handshake, refused)
            raise

    async def _connect(self, socket: Socket, auth: Mapping[str, Any]) -> None:
        identity, rooms = await self._admit(socket.handshake, auth)
        socket.data = Client(identity, socket, self._access)
        socket.owner = identity.subject
        socket.expires_at = identity.expires_at
        for room in rooms:
            socket.join(room)
        if self._hooks.connecting:
            await self._hooks.connecting(socket.data)

    async def _admit(self, handshake: Handshake, auth: Mapping[str, Any]) -> tuple[Identity, list[str]]:
        with self._access.revocations.observe() as removed:
            identity, rooms = await self._admission.admit(handshake, auth)
            while changed := removed.intersection(rooms):
                removed.clear()
                rooms = [room for room in rooms if room not in changed or await self._allows(identity, room)]
        return identity, rooms

    def _allows(self, identity: Identity, room: str) -> Awaitable[bool]:
        return self._access.allows(identity, room)

    def connected(self, socket: Socket) -> Coroutine[Any, Any, None] | None:
        hook = self._hooks.connected
        return self._let_in(hook, socket.data) if hook else None

    async def _let_in(self, hook: Callable[[Client], Coroutine[Any, Any, None]], client: Client) -> None:
        current_user.set(client.identity.subject)
        try:
            await hook(client)
        except RefusedError as refused:
            if is_temporary(refused) or refused.internal:
                raise
            client.socket.send(encode_error_event(explain_failure(refused)))
            client.socket.disconnect()

    def receive(self, socket: Socket, event: ReceivedEvent) -> Coroutine[Any, Any, None] | None:
        """Handle one event; a coroutine is returned only where its handler waits for something."""
        client: Client = socket.data
        if client.held:
            return self._receive_after_held(client, event)
        return self._receive(client, event)

    def _receive(self, client: Client, event: ReceivedEvent) -> Coroutine[Any, Any, None] | None:
        try:
            acknowledgement = self._start(client, event)
        except Exception as error:
            self._fail(client, event, error)
            return None
        if acknowledgement is None:
            return None
        if isinstance(acknowledgement, bytes):
            self._acknowledge(event, acknowledgement)
            return None
        return self._finish(client, event, acknowledgement)

    # Volatile commands over their limit.

    def _hold(self, client: Client, event: ReceivedEvent, handler: CommandHandler, now: float) -> None:
        """Keep a volatile command until there is room for it, in place of an older one, which is dropped."""
        self._drop(client, event.name, handler.wait(client, now))
        loop = asyncio.get_running_loop()
        timer = loop.call_later(handler.wait(client, now), self._release, client, event.name)
        client.held[event.name] = event, timer

    def _drop(self, client: Client, name: str, wait: float) -> None:
        event, timer = client.held.pop(name, (None, None))
        if timer is not None:
            timer.cancel()
        if event is not None and event.ack is not None:
            self._fail(client, event, LimitedError(wait, 1, told=True))

    def _release(self, client: Client, name: str) -> None:
        """There is room for a command that was kept: it comes in as if it had been sent now."""
        event, _ = client.held.pop(name)
        client.socket.handle_event(event)

    def _receive_after_held(self, client: Client, event: ReceivedEvent) -> Coroutine[Any, Any, None] | None:
        """`_receive`, after the kept commands that were sent before this one, as far as their limits give credit."""
        for name in tuple(client.held):
            handler = self._commands[name]
            if name != event.name and handler.take(client, self._clock(), on_credit=True):
                kept, timer = client.held.pop(name)
                timer.cancel()
                running = self._handle_counted(client, kept, handler)
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
        try:
            acknowledgement = handler.handle(client, event)
        except Exception as error:
            self._fail(client, event, error)
            return None
        if isinstance(acknowledgement, bytes):
            self._acknowledge(event, acknowledgement)
            return None
        return self._finish(client, event, acknowledgement)

    def refuse(self, socket: Socket, event: ReceivedEvent) -> None:
        self._fail(socket.data, event, RefusedError(UNAVAILABLE))

    async def allows(self, socket: Socket, room: str) -> bool:
        """Whether a client that comes back may still be in `room`."""
        client: Client = socket.data
        try:
            return await self._access.allows(client.identity, room)
        except RefusedError as refused:
            if is_temporary(refused):
                # A client must not lose a room because the server cannot find out whether the client may be there.
                raise
            return False

    def expiring(self, socket: Socket) -> Coroutine[Any, Any, None] | None:
        hook = self._hooks.expiring
        return hook(socket.data) if hook else None

    def ending(self, socket: Socket, reason: str) -> None:
        client: Client = socket.data
        # Once: the hook may disconnect the client itself.
        if self._hooks.ending and not client.ending:
            client.ending = True
            self._hooks.ending(client, reason)

    def disconnect(self, socket: Socket, reason: str) -> None:
        """All that is known of a client goes with its socket."""
        if self._hooks.disconnected:
            self._hooks.disconnected(socket.data, reason)

    def forget(self, socket: Socket) -> None:
        if isinstance(socket.data, Client):
            socket.data.forget(self._clock())

    def control(self, entry: Entry, sockets: Collection[Socket]) -> None:
        self._control.apply(entry, sockets)

    def _start(self, client: Client, event: ReceivedEvent) -> Awaitable[bytes] | bytes | None:
        """The acknowledgement, or what to wait for to get it; None if the command is kept for later."""
        handler = self._commands.get(event.name)
        if handler is None:
            # All unknown names share one limit: there is no end of them.
            enforce_limit(client, "", DEFAULT_LIMIT, self._clock())
            raise RefusedError(UNKNOWN_EVENT, f"There is no event {event.name!r} that clients may send.")
        now = self._clock()
        if handler.volatile and not handler.take(client, now):
            self._hold(client, event, handler, now)
            return None
        return handler.run(client, event, now)

    async def _finish(self, client: Client, event: ReceivedEvent, acknowledgement: Awaitable[bytes]) -> None:
        # In the task that handles the events of this client alone.
        current_user.set(client.identity.subject)
        published = Published()
        current_published.set(published)
        failure: Exception | None = None
        try:
            answer = await acknowledgement
        except Exception as error:
            failure = error
        if event.ack is not None:
            # First the events that the command published, then its acknowledgement: always in this order.
            await published.settle(client.socket.wait_for)
        if failure is None:
            self._acknowledge(event, answer)
        else:
            self._fail(client, event, failure)

    def _acknowledge(self, event: ReceivedEvent, acknowledgement: bytes) -> None:
        if event.ack is not None:
            event.ack(acknowledgement)

    def _fail(self, client: Client, event: ReceivedEvent, error: Exception) -> None:
        if event.ack is not None:
            event.ack(encode_failure(explain_failure(error, command=event.name, namespace=client.namespace)))
            return
        if isinstance(error, LimitedError):
            if error.told:
                return
            if self._hooks.limited:
                self._hooks.limited(client, error.times, error.wait)
        client.socket.send(encode_error_event(explain_failure(error, command=event.name, namespace=client.namespace)))


def bind(
    contract: Contract,
    *,
    handlers: Handlers,
    authenticate: Authenticate,
    settings: Settings,
    resolvers: Resolvers | None = None,
    members: IsMember | None = None,
    hooks: Hooks = Hooks(),
    idempotency: Idempotency | None = None,
    latest: Latest | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, NamespaceApplication]:
    """The application of every namespace, by its name.

    `handlers` has one for each command that does more than join or leave a room, `resolvers` one for each attribute;
    `members` asks the membership table and may be left out where no rule says `member()`. `hooks` are the same for
    all namespaces; without `idempotency`, ids of commands mean nothing. `latest` has the newest events of rooms.
    `clock` is that of the limits. Raises ContractError where something is missing or has no place in the contract.
    """
    contract.build()
    resolvers = resolvers or {}
    faults = [*_check_handlers(contract, handlers), *_check_resolvers(contract, resolvers), *_check_hooks(hooks)]
    if members is None:
        faults += _check_no_members(contract)
    if faults:
        raise ContractError("\n".join(f"contract {contract.name}: {fault}" for fault in faults))
    applications, users = {}, Users(_limits(contract))
    for namespace in contract.namespaces:
        access = RoomAccess(
            namespace,
            members or _nobody,
            _caller_events(contract, namespace),
            contract.subjects_of,
            users=users,
            latest=latest,
        )
        admission = Admission(
            contract,
            access,
            authenticate=authenticate,
            resolvers=resolvers,
            cookie_name=settings.cookie_name,
        )
        commands = {
            command.name: _command_handler(command, handlers, idempotency, hooks) for command in namespace.commands
        }
        applications[namespace.name] = NamespaceApplication(admission, commands, access, hooks, clock)
    return applications


def _limits(contract: Contract) -> dict[tuple[str, str], Limit]:
    """The limits of all commands, by namespace and name; all unknown names share one."""
    limits = {(namespace.name, ""): DEFAULT_LIMIT for namespace in contract.namespaces}
    for namespace in contract.namespaces:
        limits |= {(namespace.name, command.name): command.limit for command in namespace.commands}
    return limits


def _command_handler(
    declared: DeclaredCommand, handlers: Handlers, idempotency: Idempotency | None, hooks: Hooks
) -> CommandHandler:
    if declared.joins is not None:
        return CommandHandler(declared, joining(declared, declared.joins, hooks.joined), None)
    if declared.leaves is not None:
        return CommandHandler(declared, leaving(declared, declared.leaves), None)
    return CommandHandler(declared, handlers[declared.command], idempotency)


def _caller_events(contract: Contract, namespace: Namespace) -> CallerEvents:
    """The events that go to the client concerned."""
    return {
        event.payload: (event, EventCodec(event.name, event.payload))
        for event in contract.events.values()
        if any(isinstance(target, Caller) for target in event.targets.get(namespace.name, ()))
    }


async def _nobody(identity: Identity, room: NamedRoom) -> bool:
    return False


def _check_handlers(contract: Contract, handlers: Handlers) -> list[str]:
    if not isinstance(handlers, Mapping):
        return [f"handlers is a {type(handlers).__name__}: write a dict of commands' classes, as {{Buy: buy}}"]
    declared = [command for namespace in contract.namespaces for command in namespace.commands]
    wanted = {command.command: command.name for command in declared if not (command.joins or command.leaves)}
    keys = [key for key in handlers if not isinstance(key, type)]
    if keys:
        return [f"the handler for {key!r} {_find_class(key, wanted)}" for key in keys]
    missing = [name for command, name in wanted.items() if command not in handlers]
    extra = [command.__name__ for command in handlers if command not in wanted]
    calls = {
        wanted[key]: find_signature_error(function, ("command", "client"))
        for key, function in handlers.items()
        if key in wanted
    }
    return [
        *(f"command {name}: has no handler" for name in missing),
        *(f"a handler is given for {name}, which is not declared or only joins a room" for name in extra),
        *(f"command {name}: its handler {fault}" for name, fault in calls.items() if fault),
    ]


def _find_class(key: object, wanted: Mapping[type[Command], str]) -> str:
    """What to write instead of a key that is no class."""
    named = [command.__name__ for command, name in wanted.items() if key in (name, command.__name__)]
    meant = named[0] if named else " or ".join(command.__name__ for command in wanted) or "a command's class"
    return f"has a {type(key).__name__} as its key: use the command's class, {meant}"


_HOOKS: Mapping[str, tuple[tuple[str, ...], bool]] = {
    "connecting": (("client",), True),
    "connected": (("client",), True),
    "joined": (("client", "room"), True),
    "expiring": (("client",), True),
    "ending": (("client", "reason"), False),
    "disconnected": (("client", "reason"), False),
    "refused": (("handshake", "refused"), False),
    "limited": (("client", "times", "seconds"), False),
}
"""What each hook is called with, and whether it is awaited."""


def _check_hooks(hooks: Hooks) -> list[str]:
    if not isinstance(hooks, Hooks):
        return [f"hooks is a {type(hooks).__name__}: write Hooks(connected=...)"]
    given = {name: getattr(hooks, name) for name in _HOOKS if getattr(hooks, name) is not None}
    faults = {name: find_signature_error(hook, _HOOKS[name][0], waits=_HOOKS[name][1]) for name, hook in given.items()}
    return [f"hook {name}: {fault}" for name, fault in faults.items() if fault]


def _check_resolvers(contract: Contract, resolvers: Resolvers) -> list[str]:
    if not isinstance(resolvers, Mapping):
        return [f"resolvers is a {type(resolvers).__name__}: write a dict of functions by the names of attributes"]
    declared = {attribute.name for attribute in contract.attributes}
    return [
        *(f"attribute {name}: has no resolver" for name in declared - resolvers.keys()),
        *(f"a resolver is given for {name!r}, which is not declared" for name in resolvers.keys() - declared),
        *(
            f"the resolver of {name}: {fault}"
            for name, resolver in resolvers.items()
            if (fault := find_signature_error(resolver, ("identity",), waits=True))
        ),
    ]


def _check_no_members(contract: Contract) -> list[str]:
    rooms = [room for namespace in contract.namespaces for room in namespace.rooms.kinds]
    asking = [room.pattern for room in rooms if any(isinstance(part, Member) for part in room.rule.parts())]
    return [f"room {pattern}: its rule asks for members, and no members are given" for pattern in asking]
