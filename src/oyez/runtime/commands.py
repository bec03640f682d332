"""A CommandHandler: what one command does in one namespace, from its bytes to its acknowledgement.

In this order: limit, role, decoding, claims, idempotency, handler. It knows nothing of the other commands.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeAlias

from oyez.contract.command_codec import make_command_codec, split_trace
from oyez.contract.contract import Contract
from oyez.contract.declared import DeclaredCommand
from oyez.contract.limits import DEFAULT_LIMIT, Limit
from oyez.contract.old_forms import OldCommandCodec, command_in_form, convert_reply
from oyez.contract.policy import Identity, InRoom, Own, Resolved, Rule, Verdict
from oyez.contract.rooms import Room
from oyez.contract.schema import read_key, wire_names
from oyez.contract.types import Command, Payload
from oyez.errors import FORBIDDEN, FORBIDDEN_ROLE, RATE_LIMITED, TOO_LARGE, RefusedError
from oyez.observer import Durations
from oyez.runtime.awaiting import NotAwaitedError, check_awaited, forgotten
from oyez.runtime.client import Client
from oyez.runtime.idempotency import Idempotency
from oyez.runtime.replies import FailureEncoder, Reply, ReplyCodec
from oyez.runtime.usage import Bucket
from oyez.server.transports.budget import REFUSED_COST
from oyez.server.types import ReceivedEvent

Handler: TypeAlias = Callable[[Any, Client], Awaitable[Reply] | Reply]
"""Handles a command for a client. A plain `def` needs no task. While an `async def` waits, later events wait too."""
Handlers: TypeAlias = Mapping[type[Command], Handler]
"""The handler of each command, by the command's class."""


class LimitedError(RefusedError):
    """A command is over its limit: for the `times`-th time in a row, and for `wait` seconds more.

    `reported` is True if the client has already received the error for an earlier one.
    """

    def __init__(self, wait: float, times: int, reported: bool) -> None:
        super().__init__(RATE_LIMITED, retry_after=round(wait, 3))
        self.wait = wait
        self.times = times
        self.reported = reported


class CommandHandler:
    """A declared command with its handler."""

    def __init__(
        self,
        declared: DeclaredCommand,
        handler: Handler,
        idempotency: Idempotency | None,
        contract: Contract,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        form: int = 0,
        durations: Durations | None = None,
    ) -> None:
        """`sleep` waits so many seconds. `form` is the number of the form in which clients send the command. The
        duration of each command that succeeds is added to `durations`."""
        self.durations = durations
        self._name = declared.name
        self._limit = declared.limit
        self._who = declared.who
        self.volatile = declared.volatile
        """True if only the newest of the commands over the limit is handled, when the limit allows."""
        self._handler = handler
        self._idempotency = idempotency
        self._sleep = sleep
        self._codec = OldCommandCodec(declared, form) if form else make_command_codec(declared)
        acknowledgements, errors = contract.answers_of(declared)
        reply = command_in_form(declared, form).reply
        self._replies = ReplyCodec(declared.name, reply, acknowledgements, declared.reply_arguments)
        self._convert_reply = partial(convert_reply, declared, form) if form and declared.reply is not None else None
        self.replies_binary = self._replies.binary
        """True if acknowledgements may have marked binary values, for `locate`."""
        self.failures = FailureEncoder(errors, acknowledgements)
        self._max_bytes = declared.max_bytes
        claims = [part for part in declared.who.parts() if isinstance(part, Own | Resolved)]
        self._claims = {
            shape: [(claim, wire_names(shape)[claim.placeholder]) for claim in claims]
            for shape in declared.shapes
            if claims
        }
        self._rooms = [part for part in declared.who.parts() if isinstance(part, InRoom)]
        self._names = {shape: wire_names(shape) for shape in declared.shapes if self._rooms}

    def take(self, client: Client, now: float, *, on_credit: bool = False) -> bool:
        """Count a volatile command; False if it is over the limit, which is not an error for a volatile command."""
        return client.bucket(self._name, self._limit, now).take(now, credit=1.0 if on_credit else 0.0)

    def wait(self, client: Client, now: float) -> float:
        """Seconds until the next volatile command may be handled."""
        return client.bucket(self._name, self._limit, now).wait()

    def run(self, client: Client, event: ReceivedEvent, now: float) -> Awaitable[bytes] | bytes:
        """The acknowledgement of one event, or an awaitable of it.

        Raises RefusedError, InvalidDataError, and the errors of the handler.
        """
        if self._limit is DEFAULT_LIMIT:
            wait = self._reserve(client, now)
            if wait:
                return self._run_later(wait, client, event)
        elif not self.volatile:
            enforce_limit(client, self._name, self._limit, now)
        return self.handle(client, event)

    def _reserve(self, client: Client, now: float) -> float:
        """Count a command with the default limit; the seconds until it may be handled. Raises LimitedError."""
        name, limits = self._name, client.socket.limits
        bucket = client.bucket(name, DEFAULT_LIMIT, now)
        wait = bucket.reserve(now, limits.max_command_wait)
        if wait is None:
            raise limited_error(client, name, bucket)
        if client.refused:
            client.refused.pop(name, None)
        return wait

    async def _run_later(self, wait: float, client: Client, event: ReceivedEvent) -> bytes:
        """Handle a command over the default limit after `wait` seconds. The client's later events wait too."""
        await self._sleep(wait)
        if client.socket.ended:
            raise RefusedError(RATE_LIMITED)
        acknowledgement = self.handle(client, event)
        return acknowledgement if isinstance(acknowledgement, bytes) else await acknowledgement

    def handle(self, client: Client, event: ReceivedEvent) -> Awaitable[bytes] | bytes:
        """`run` for a command that has already been counted."""
        if not self._who.admits(client.identity):
            raise RefusedError(FORBIDDEN_ROLE, f"{event.name} is only for a client that {self._who.text}.")
        if self._max_bytes is not None:
            self._check_size(event, self._max_bytes)
        command, id = self._codec.decode(event.data, event.attachments)
        if self._rooms:
            return self._check_rooms(command, client, partial(self._run, event, command, client, id))
        if self._claims:
            self._check_claims(command, client.identity)
        return self._run(event, command, client, id)

    def _run(self, event: ReceivedEvent, command: Command, client: Client, id: str) -> Awaitable[bytes] | bytes:
        if id and self._idempotency is not None:
            name = "\0".join((client.namespace, client.identity.subject, self._name, id))
            # A repeat may belong to another trace.
            asked = b"".join((split_trace(event.data)[0], *event.attachments))
            return self._idempotency.run(name, asked, partial(self._handle, command, client))
        return self._handle(command, client)

    def _handle(self, command: Command, client: Client) -> Awaitable[bytes] | bytes:
        before = forgotten.get()
        reply = self._handler(command, client)
        if forgotten.get() is not before:
            raise NotAwaitedError(forgotten.get())
        # The common replies come first, because the check for an awaitable takes longest.
        if reply is None or isinstance(reply, Payload) or not isinstance(reply, Awaitable):
            return self._encode(reply)
        return self._wait(reply)

    async def _wait(self, reply: Awaitable[Reply]) -> bytes:
        before = forgotten.get()
        answered = await reply
        check_awaited(before)
        return self._encode(answered)

    def _encode(self, reply: Reply) -> bytes:
        return self._replies.encode(reply if self._convert_reply is None else self._convert_reply(reply))

    def _check_size(self, event: ReceivedEvent, most: int) -> None:
        size = len(event.data) + sum(map(len, event.attachments))
        if size > most:
            raise RefusedError(TOO_LARGE, f"{self._name} has {size} bytes: at most {most} are allowed.")

    def _check_claims(self, command: Command, identity: Identity) -> None:
        """Refuse a field that must be the client's own value and is not. An omitted field is accepted."""
        values = self._read_claims(command, identity)
        if self._who.decide(identity, values) is not Verdict.YES:
            fields = ", ".join(values)
            raise RefusedError(FORBIDDEN, f"{self._name}: {fields} must be your own.", fields=list(values))

    def _read_claims(self, command: Command, identity: Identity) -> dict[str, str]:
        values = {}
        for claim, name in self._claims.get(type(command), ()):
            given = read_key(getattr(command, name))
            values[claim.placeholder] = given if given is not None else claim.value(identity) or ""
        return values

    def _check_rooms(
        self, command: Command, client: Client, run: Callable[[], Awaitable[bytes] | bytes]
    ) -> Awaitable[bytes] | bytes:
        """`run`, if the client is in the rooms that the rule names. Asks the membership table if the rule needs it."""
        values = self._read_claims(command, client.identity)
        known: dict[Rule, bool] = {}
        asked: dict[InRoom, str] = {}
        names = self._names[type(command)]
        for rule in self._rooms:
            named = {name: read_key(getattr(command, names[name])) or "" for name in rule.placeholders}
            room = rule.name(named)
            if rule.member is None or not client.is_in(room):
                known[rule] = client.is_in(room)
            else:
                asked[rule] = room
        verdict = self._who.decide(client.identity, values, known)
        if verdict is Verdict.IF_MEMBER:
            return self._ask_members(client, values, known, asked, run)
        self._require(verdict)
        return run()

    async def _ask_members(
        self,
        client: Client,
        values: Mapping[str, str],
        known: dict[Rule, bool],
        asked: Mapping[InRoom, str],
        run: Callable[[], Awaitable[bytes] | bytes],
    ) -> bytes:
        for rule, room in asked.items():
            assert rule.member is not None
            parts = await client.find_parts(room)
            # The client may have left the room, or lost its right to it, in the meantime.
            known[rule] = client.is_in(room) and rule.member.holds(parts.values())
        self._require(self._who.decide(client.identity, values, known))
        acknowledgement = run()
        return acknowledgement if isinstance(acknowledgement, bytes) else await acknowledgement

    def _require(self, verdict: Verdict) -> None:
        if verdict is not Verdict.YES:
            raise RefusedError(FORBIDDEN, f"{self._name} is only for a client that {self._who.text}.")


def enforce_limit(client: Client, name: str, limit: Limit, now: float) -> None:
    """Count a command. Raises LimitedError if it is over the limit, and charges the connection's budget for it."""
    bucket = client.bucket(name, limit, now)
    if not bucket.take(now):
        raise limited_error(client, name, bucket)
    if client.refused:
        client.refused.pop(name, None)


def limited_error(client: Client, name: str, bucket: Bucket) -> LimitedError:
    """The error of a command over its limit. The connection's budget is charged for it."""
    client.socket.charge(REFUSED_COST)
    if client.refused is None:
        client.refused = {}
    times = client.refused[name] = client.refused.get(name, 0) + 1
    return LimitedError(bucket.wait(), times, reported=times > 1)


def name_room(room: Room, command: Command, names: Mapping[str, str]) -> str:
    """The name of the room that a command's fields give. `names` are the fields' names by their wire names."""
    values = {placeholder: getattr(command, names[placeholder]) for placeholder in room.placeholders}
    return room.name({placeholder: read_key(value) or "" for placeholder, value in values.items()})


def joining(
    declared: DeclaredCommand, room: Room, joined: Callable[[Client, str], Coroutine[Any, Any, None]] | None
) -> Handler:
    """The handler of a command that joins `room`. It calls the hook `joined` after the join."""
    names, reply = wire_names(declared.command), _reply_with_room(declared)

    async def join_when_known(client: Client, name: str) -> Payload | None:
        await client.join(name)
        if joined is not None:
            await joined(client, name)
        return reply(name)

    def join(command: Command, client: Client) -> Coroutine[Any, Any, Payload | None] | Payload | None:
        name = name_room(room, command, names)
        verdict = client.decide(name)
        if (
            verdict is Verdict.IF_MEMBER
            or client.recovers
            or joined is not None
            or client.awaits_latest(room)
            or client.awaits_welcome(name)
        ):
            return join_when_known(client, name)
        client.enter(name, verdict is Verdict.YES)
        return reply(name)

    return join


def leaving(declared: DeclaredCommand, room: Room) -> Handler:
    """The handler of a command that leaves `room`."""
    names, reply = wire_names(declared.command), _reply_with_room(declared)

    def leave(command: Command, client: Client) -> Payload | None:
        name = name_room(room, command, names)
        client.leave(name)
        return reply(name)

    return leave


def _reply_with_room(declared: DeclaredCommand) -> Callable[[str], Payload | None]:
    """Makes the reply to a command that joins or leaves a room, from the room's name."""
    kind: type[Payload] | None = declared.reply
    return lambda room: kind(room=room) if kind is not None else None
