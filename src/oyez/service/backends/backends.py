"""The back ends of one system: for each place where the contract names one, a function like those of Python systems.

The runtime does not know the difference: a command passes its limits, rights and validation first, and then its handler
asks the back end.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from oyez import errors
from oyez.contract.backends import Backend
from oyez.contract.contract import Contract
from oyez.contract.declared import DeclaredCommand
from oyez.contract.policy import Identity
from oyez.contract.rooms import Caller, NamedRoom, Room
from oyez.contract.types import Command, Payload
from oyez.errors import FORBIDDEN, INTERNAL, ContractError, InvalidDataError, Refusal, RefusedError, SettingsError
from oyez.logger import get_logger
from oyez.runtime.authentication import Credentials, User
from oyez.runtime.client import Client
from oyez.runtime.commands import Handlers
from oyez.runtime.hooks import Hooks, RoomHooks
from oyez.runtime.idempotency import current_command
from oyez.runtime.replies import Reply, ReplyCodec
from oyez.service.backends.answers import (
    Answer,
    AuthenticateAnswer,
    CommandAnswer,
    ConnectAnswer,
    DisconnectAnswer,
    RoomAnswer,
    SnapshotEvent,
    WelcomeAnswer,
    decode_answer,
    describe_wrong,
)
from oyez.service.backends.caller import BackendCaller, Message, WrongAnswerError
from oyez.service.backends.connections import BackendConnections
from oyez.service.backends.effects import EffectsRunner
from oyez.service.backends.messages import Messages
from oyez.service.system import SystemServices
from oyez.settings import Settings, check_backends
from oyez.tracing import Tracing

logger = get_logger("oyez.backends")

T = TypeVar("T", bound=Answer)
R = TypeVar("R")
Handle = Callable[[Command, Client], Awaitable[Reply]]


class Backends:
    """Asks the back ends that one contract names."""

    def __init__(
        self,
        contract: Contract,
        settings: Settings,
        connections: BackendConnections,
        effects: EffectsRunner,
        tracing: Tracing | None = None,
    ) -> None:
        """Raises SettingsError if a back end has no address."""
        check_backends(settings.backends)
        self._contract = contract
        self._effects = effects
        self._messages = Messages(contract.name, traces=tracing is not None)
        known = {value.code: value for value in vars(errors).values() if isinstance(value, Refusal)}
        self._refusals = known | {refusal.code: refusal for refusal in contract.refusals}
        self._codecs = {name: event.make_codec() for name, event in contract.events.items()}
        backends = dict.fromkeys(backend for _, backend in contract.list_backends())
        missing = [backend.name for backend in backends if backend.name not in settings.backends]
        if missing:
            raise SettingsError("\n".join(_explain_missing(contract.name, name) for name in missing))
        self._callers = {
            backend: BackendCaller(backend, settings.backends[backend.name], connections, tracing)
            for backend in backends
        }

    @property
    def callers(self) -> Collection[BackendCaller]:
        """The callers of the back ends, one each."""
        return self._callers.values()

    def extend(self, own: SystemServices) -> SystemServices:
        """The system's functions, and those that ask back ends. Raises ContractError if there are two for one place."""
        if not self._callers:
            return own
        authenticate = own.authenticate
        if self._contract.authenticated_by is not None:
            if authenticate is not None:
                raise self._fault("authenticated_by and an authenticate are given")
            authenticate = self._authenticate
        return replace(
            own,
            handlers=self._add_handlers(own.handlers),
            hooks=self._add_hooks(own.hooks),
            rooms=self._add_room_hooks(own.rooms),
            authenticate=authenticate,
        )

    # Commands.

    def _add_handlers(self, own: Handlers) -> Handlers:
        if not isinstance(own, Mapping):
            # Reported with all other errors of the system's functions.
            return own
        # The same class may be the command of several namespaces.
        tables: dict[type[Command], dict[str, Handle]] = {}
        for namespace in self._contract.namespaces:
            for declared in namespace.commands:
                backend = namespace.find_backend(declared)
                if backend is None:
                    continue
                given = [shape for shape in declared.shapes if shape in own]
                if given and declared.handled_by is not None:
                    raise self._fault(f"command {declared.name}: handled_by and a handler are given")
                handle = self._build_handler(backend, declared)
                for shape in declared.shapes:
                    if shape not in given:
                        tables.setdefault(shape, {})[namespace.name] = handle
        self._check_complete(tables)
        return {**own, **{shape: _dispatch(table) for shape, table in tables.items()}}

    def _check_complete(self, tables: Mapping[type[Command], Mapping[str, Handle]]) -> None:
        """Raises ContractError if a command has a back end in one namespace, and no handler in another."""
        for namespace in self._contract.namespaces:
            for declared in namespace.commands:
                for shape in declared.shapes:
                    if shape in tables and namespace.name not in tables[shape]:
                        raise self._fault(f"command {declared.name}: has no handler in {namespace.name}")

    def _fault(self, text: str) -> ContractError:
        return ContractError(f"contract {self._contract.name}: {text}")

    def _build_handler(self, backend: Backend, declared: DeclaredCommand) -> Handle:
        caller = self._callers[backend]
        form, _ = self._contract.answers_of(declared)
        replies = ReplyCodec(declared.name, declared.reply, form, declared.reply_arguments)

        async def handle(command: Command, client: Client) -> Reply:
            message = self._messages.command(declared, command, client, caller.settings.timeout)
            key = message.id if current_command.get() is not None else ""

            async def use(answer: CommandAnswer) -> Reply:
                reply = _check_reply(replies, declared, answer.data)
                if not answer.empty:
                    await self._effects.run(answer, key, client)
                return reply

            return await self._ask(caller, message, CommandAnswer, use)

        return handle

    # Connections.

    def _add_hooks(self, own: Hooks) -> Hooks:
        hooks = own
        if any(namespace.admitted_by for namespace in self._contract.namespaces):
            hooks = replace(hooks, connecting=self._chain_connecting(own))
        if any(namespace.notifies for namespace in self._contract.namespaces):
            hooks = replace(hooks, disconnected=self._chain_disconnected(own))
        return hooks

    def _chain_connecting(self, own: Hooks) -> Callable[[Client], Any]:
        async def connecting(client: Client) -> None:
            backend = client.declared.admitted_by
            if backend is not None:
                await self._admit(self._callers[backend], client)
            if own.connecting is not None:
                await own.connecting(client)

        return connecting

    async def _admit(self, caller: BackendCaller, client: Client) -> None:
        async def use(answer: ConnectAnswer) -> None:
            if answer.allow is not True:
                raise RefusedError(FORBIDDEN)
            if not answer.empty:
                await self._effects.run(answer, "", client)

        await self._ask(caller, self._messages.connect(client, caller.settings.timeout), ConnectAnswer, use)

    def _chain_disconnected(self, own: Hooks) -> Callable[[Client, str], None]:
        def disconnected(client: Client, reason: str) -> None:
            backend = client.declared.notifies
            if backend is not None:
                client.spawn(self._notify(self._callers[backend], client, reason))
            if own.disconnected is not None:
                own.disconnected(client, reason)

        return disconnected

    async def _notify(self, caller: BackendCaller, client: Client, reason: str) -> None:
        message = self._messages.disconnect(client, reason, caller.settings.timeout)

        async def use(answer: DisconnectAnswer) -> None:
            await self._effects.run(answer, "")

        try:
            await self._ask(caller, message, DisconnectAnswer, use)
        except RefusedError as refused:
            if refused.refusal is INTERNAL:
                # The answer was logged.
                return
            logger.warning(
                "a back end does not know of a disconnect",
                backend=caller.name,
                request=message.id,
                user=client.identity.subject,
                reason=refused.message,
            )

    async def _authenticate(self, credentials: Credentials) -> User | None:
        assert self._contract.authenticated_by is not None
        caller = self._callers[self._contract.authenticated_by]

        async def use(answer: AuthenticateAnswer) -> User | None:
            user = answer.user
            if not isinstance(user, msgspec.Struct):
                return None
            expires_at = user.expires_at.seconds if user.expires_at is not None else None
            return User(user.id, user.role, user.claims, expires_at)

        message = self._messages.authenticate(credentials, caller.settings.timeout)
        return await self._ask(caller, message, AuthenticateAnswer, use)

    # Rooms.

    async def decide(self, backend: Backend, identity: Identity, room: NamedRoom) -> bool:
        """True if the back end allows the user in the room. Raises RefusedError if it gives no decision."""
        caller = self._callers[backend]
        message = self._messages.room(room, self._find_kind(room), identity, caller.settings.timeout)

        async def use(answer: RoomAnswer) -> bool:
            return answer.allow is True

        try:
            return await self._ask(caller, message, RoomAnswer, use)
        except RefusedError as refused:
            if refused.refusal.temporary:
                raise
            return False

    def _add_room_hooks(self, own: Mapping[Room, RoomHooks]) -> Mapping[Room, RoomHooks]:
        if not isinstance(own, Mapping):
            # Reported with all other errors of the system's functions.
            return own
        rooms = dict(own)
        for namespace in self._contract.namespaces:
            for kind in namespace.rooms.kinds:
                if kind.welcomed_by is not None:
                    hooks = rooms.get(kind, RoomHooks())
                    if hooks.welcome is not None:
                        raise self._fault(f"room {kind.pattern}: welcomed_by and a welcome are given")
                    rooms[kind] = replace(hooks, welcome=self._build_welcome(kind.welcomed_by))
        return rooms

    def _build_welcome(self, backend: Backend) -> Callable[[Client, NamedRoom], Any]:
        caller = self._callers[backend]

        async def welcome(client: Client, room: NamedRoom) -> list[Payload]:
            message = self._messages.welcome(room, self._find_kind(room), client, caller.settings.timeout)

            async def use(answer: WelcomeAnswer) -> list[Payload]:
                snapshot = answer.snapshot if isinstance(answer.snapshot, tuple) else ()
                return [self._read_event(event, client.declared.name) for event in snapshot]

            return await self._ask(caller, message, WelcomeAnswer, use)

        return welcome

    def _read_event(self, event: SnapshotEvent, namespace: str) -> Payload:
        codec, known = self._codecs.get(event.event), self._contract.events.get(event.event)
        targets = known.targets.get(namespace, ()) if known is not None else ()
        if codec is None or not any(isinstance(target, Caller) for target in targets):
            raise WrongAnswerError(f"snapshot: events that list `caller` in {namespace}, not {event.event!r:.100}")
        try:
            return codec.decode_payload(bytes(event.data))
        except InvalidDataError as error:
            raise WrongAnswerError(f"snapshot: {event.event}: {describe_wrong(error)}") from None

    def _find_kind(self, room: NamedRoom) -> Room:
        found = self._contract.find_room(room.namespace, room.name)
        assert found is not None
        return found[0]

    # Asking.

    async def _ask(self, caller: BackendCaller, message: Message, kind: type[T], use: Callable[[T], Awaitable[R]]) -> R:
        """What `use` makes of the answer. Raises RefusedError: the back end's, `unavailable`, or `internal`.

        An answer that cannot be used is logged with what was expected, and refused as `internal` with the request's id.
        """
        try:
            answer = decode_answer(await caller.call(message), kind)
            if answer.error is None:
                return await use(answer)
            refusal = self._refusals.get(answer.error.code)
            if refusal is None:
                raise WrongAnswerError(f"a refusal of the contract, not the code {answer.error.code!r:.100}")
        except WrongAnswerError as wrong:
            logger.error(
                "a back end's answer cannot be used",
                backend=caller.name,
                request=message.id,
                type=message.type,
                expected=str(wrong),
            )
            raise RefusedError(INTERNAL, id=message.id) from None
        refused = RefusedError(refusal, answer.error.message)
        refused.details.update(answer.error.details)
        raise refused


def _dispatch(table: Mapping[str, Handle]) -> Handle:
    if len(table) == 1:
        return next(iter(table.values()))

    def handle(command: Command, client: Client) -> Awaitable[Reply]:
        return table[client.declared.name](command, client)

    return handle


def _check_reply(replies: ReplyCodec, declared: DeclaredCommand, data: Any) -> Reply:
    """The data of an acknowledgement, if it is what the command declares. Raises WrongAnswerError."""
    if declared.reply is None and data == {}:
        data = None
    try:
        replies.encode(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise WrongAnswerError(f"data that the command declares as its reply ({error})") from None
    return data


def _explain_missing(system: str, name: str) -> str:
    return (
        f"{system} names the back end {name!r}, which has no settings. Set `url` and `secret` below [backends.{name}]"
        f" in oyez.toml, or OYEZ_BACKEND_{name.upper()}_URL and OYEZ_BACKEND_{name.upper()}_SECRET."
    )
