"""The vocabulary of a contract: namespaces, gateways, rooms, events and commands, as an event document lists them.

A declaration is only recorded here. `check` looks for contradictions, once, in all declarations together.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import UnionType, new_class
from typing import Any, Protocol, TypeVar, overload

from oyez.contract.arguments import Arguments, UnknownFields, shapes_of
from oyez.contract.backends import Backend, DecidedBy
from oyez.contract.calls import collecting
from oyez.contract.claims import Claims
from oyez.contract.declared import DeclaredCommand, DeclaredEvent, UserAttribute
from oyez.contract.limits import DEFAULT_LIMIT, Limits, read_limits
from oyez.contract.patterns import PLACEHOLDER
from oyez.contract.policy import Nobody, Rule, anyone, one_of, own
from oyez.contract.presence import Presence
from oyez.contract.relays import Relay, derive_class, derive_forms
from oyez.contract.replies import Acknowledgements, Errors
from oyez.contract.rooms import (
    Caller,
    Everyone,
    NamedNamespace,
    OnConnect,
    Room,
    Rooms,
    Sockets,
    Target,
    in_room,
)
from oyez.contract.tokens import TokenSource
from oyez.contract.types import Command, Id, Payload, Stamped
from oyez.contract.versions import Versions, Was, sort_forms
from oyez.errors import ContractError, Refusal

S = TypeVar("S", bound=Payload | Command)
T = TypeVar("T")
Rules = Rule | Sequence[Rule]
RoomValues = Mapping[str, Sequence[str]]
"""For a placeholder of a room, the only values that it may hold."""


class Gateway:
    """A group of rooms with a right of its own. Clients choose gateways when they connect."""

    def __init__(self, name: str, namespace: "Namespace", who: Rule) -> None:
        self.name = name
        self.namespace = namespace
        self.who = who
        self.faults = namespace.faults

    @collecting("room")
    def room(
        self,
        pattern: str,
        *,
        members: Rules = Nobody(),  # noqa: B008 - a rule is a value
        join: str | None = None,
        leave: str | None = None,
        on_connect: OnConnect = False,
        values: RoomValues | None = None,
        presence: Presence | None = None,
        welcomed_by: Backend | None = None,
    ) -> Room:
        """A kind of room of this gateway. Its members need the gateway's right too. See `Namespace.room`."""
        rule = one_of(members) if self.who == anyone() else self.who & one_of(members)
        return self.namespace.room(
            pattern,
            members=rule,
            join=join,
            leave=leave,
            on_connect=on_connect,
            values=values,
            gateway=self,
            presence=presence,
            welcomed_by=welcomed_by,
        )


class Namespace:
    """A Socket.IO namespace: its rooms, its events and its commands.

    If its name has placeholders, as `/shop-{shopId}`, it stands for all namespaces whose names have this form, and
    `shop("17")` is one of them.
    """

    def __init__(
        self,
        name: str,
        who: Rule,
        acknowledgements: Acknowledgements = Acknowledgements(),  # noqa: B008 - a frozen value
        unknown_fields: UnknownFields = "refuse",
        handled_by: Backend | None = None,
        admitted_by: Backend | None = None,
        notifies: Backend | None = None,
    ) -> None:
        self.name = name
        self.who = who
        self.handled_by = handled_by
        """The back end that handles its commands, unless a command says otherwise."""
        self.admitted_by = admitted_by
        """The back end that decides about each CONNECT that the contract itself allows."""
        self.notifies = notifies
        """The back end that is notified when a client disconnects."""
        self._acknowledgements = acknowledgements
        self._unknown_fields = unknown_fields
        self.rooms = Rooms(name)
        self.sockets = Sockets(self.rooms)
        """Single clients, by the ids of their sockets: targets of events, and rooms for `emit`."""
        self.gateways: list[Gateway] = []
        self.events: list[DeclaredEvent] = []
        self.commands: list[DeclaredCommand] = []
        self.faults: list[str] = []
        """What is wrong with declarations that could not be recorded as they are written."""
        self.closed = False
        """True if the contract has been built: a later declaration would never be checked."""

    def __call__(self, *values: str | int, **named: str | int) -> NamedNamespace:
        """The namespace whose placeholders hold `values` (in order) or `named`. A whole number stands for its digits.

        Raises RefusedError (unknown_namespace) if a value cannot be part of its name, ContractError if the number of
        values is wrong.
        """
        filled = {
            **dict(zip(self.placeholders, map(str, values), strict=False)),
            **{k: str(v) for k, v in named.items()},
        }
        if len(values) + len(named) != len(self.placeholders) or filled.keys() != set(self.placeholders):
            wanted = ", ".join(self.placeholders) or "nothing"
            raise ContractError(f"namespace {self.name}: got {[*values, *named]}, expected {wanted}")
        return NamedNamespace(self.rooms.fill(filled), filled)

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The placeholders in its name; most namespaces have none."""
        return self.rooms.name.placeholders

    @property
    def required(self) -> list[Room]:
        """The kinds of room in which each of its clients is."""
        return [room for room in self.rooms.kinds if room.required]

    @property
    def admission(self) -> Rule:
        """Who may be in it: its own rule, and the rooms in which each of its clients must be."""
        rule = self.who
        for room in self.required:
            rule = in_room(room) if rule == anyone() else rule & in_room(room)
        return rule

    @property
    def everyone(self) -> Everyone:
        """Every socket of the namespace."""
        return Everyone(self.name)

    @property
    def caller(self) -> Caller:
        """The client whose connection or command is being handled: the target of `client.emit`."""
        return Caller(self.name)

    @collecting("gateway")
    def gateway(self, name: str, *, who: Rules = anyone()) -> Gateway:  # noqa: B008 - a rule is a value
        """Declare a group of rooms that clients may choose by its name when they connect."""
        self._check_open(name)
        gateway = Gateway(name, self, one_of(who))
        self.gateways.append(gateway)
        return gateway

    @collecting("room")
    def room(
        self,
        pattern: str,
        *,
        members: Rules = Nobody(),  # noqa: B008 - a rule is a value
        join: str | None = None,
        leave: str | None = None,
        on_connect: OnConnect = False,
        values: RoomValues | None = None,
        gateway: Gateway | None = None,
        presence: Presence | None = None,
        welcomed_by: Backend | None = None,
    ) -> Room:
        """Declare a kind of room.

        `members` says who may be in it. `join` and `leave` name commands by which clients join and leave it; the
        commands' arguments fill the placeholders, in order. With `on_connect`, each client joins its own rooms of this
        kind when it connects; with `on_connect="required"`, a client that may not be in one is refused, and one that
        loses its right is disconnected. `values` lists the only values of a placeholder; by default, it may hold any.
        `gateway` is the gateway that declares the room. With `presence`, users in the room receive events about users
        who come and go. `welcomed_by` is the back end that has the room's state for clients that join.
        """
        self._check_open(pattern)
        room = Room(
            pattern,
            self.rooms,
            rule=one_of(members),
            join=join,
            leave=leave,
            on_connect=on_connect,
            gateway=gateway.name if gateway else None,
            values=values or {},
            presence=presence,
            welcomed_by=welcomed_by,
        )
        self.rooms.add(room)
        if join is not None:
            self._add_room_command(join, f"Join the room `{pattern}`.", room, joins=room)
        if leave is not None:
            self._add_room_command(leave, f"Leave the room `{pattern}`.", room, leaves=room)
        return room

    @collecting("event")
    def event(
        self,
        name: str,
        *,
        to: Sequence[Target],
        example: Any = None,
        volatile: bool = False,
        timestamp: str | None = None,
        latest: float = 0.0,
        arguments: Arguments = "object",
        max_bytes: int | None = None,
        unknown_fields: UnknownFields | None = None,
        name_only: bool = False,
        webhook: bool = False,
        receipts: bool = False,
        was: Was | Sequence[Was] = (),
    ) -> "Declaration":
        """Declare an event of this namespace; decorates its payload.

        A name such as `order:{orderId}:moved` has placeholders, which fields of the payload fill. With `name_only`,
        the data of the event does not have these fields too.

        `to` lists its targets: `room` if the publisher names the room, `room.of("userId")` if the room follows from
        the payload. `example` is its data in JSON; without one, an example is made from the types. A `volatile` event
        is never stored. `timestamp` is the wire name of a field that the server fills in if the publisher omits it.
        `latest`, for volatile events only: for so many seconds, a client that joins one of the event's rooms receives
        the newest one at once. With positional `arguments`, the event's arguments are the fields in order: none, one
        value, or several. `max_bytes` is the size of its data, if it may be larger than other events'. With
        `unknown_fields="ignore"`, fields that the payload does not have are left out and not published. A `webhook`
        event may also go to receivers of webhooks, which the operator adds, whatever its rooms are. With `receipts`,
        clients receive a function as the last argument, by which they acknowledge the event, and it is recorded whom
        the event has reached and who has acknowledged it. `was` is the old form of the event, or a list of them, which
        clients of older versions receive instead.

        If the publisher names no room, the event goes to all rooms that follow from the payload, and to all fixed ones,
        which are rooms without placeholders, and everyone.

        Call the result with a union of classes if the event has several shapes: each class has a `tag`.
        The same payload may be declared in several namespaces, under the same name.
        """

        def declare(payload: Any) -> Any:
            self._check_open(name)
            stamped = any(isinstance(shape, type) and issubclass(shape, Stamped) for shape in shapes_of(payload))
            filled = timestamp or ("timestamp" if stamped else None)
            # `build` reports values that are not targets.
            targets: tuple[Any, ...] = tuple(to) if isinstance(to, list | tuple) else (to,)
            self.events.append(
                DeclaredEvent(
                    namespace=self.name,
                    name=name,
                    payload=payload,
                    targets=targets,
                    example=example,
                    volatile=volatile,
                    timestamp=filled,
                    latest=latest,
                    arguments=arguments,
                    max_bytes=max_bytes,
                    unknown_fields=unknown_fields or self._unknown_fields,
                    name_only=name_only,
                    webhook=webhook,
                    receipts=receipts,
                    was=_list_forms(was),
                )
            )
            return payload

        return declare

    @collecting("signal")
    def signal(
        self,
        name: str,
        *,
        to: Sequence[Target],
        description: str,
        volatile: bool = False,
        latest: float = 0.0,
        webhook: bool = False,
        receipts: bool = False,
    ) -> type[Payload]:
        """Declare an event without arguments, of which clients receive the name alone. Returns its payload's class.

        `TimerExpired = root.signal("timer:expired", to=[room], description="The time is over.")`, and then
        `await emit(TimerExpired(), room("42"))`. The payload of `order:{orderId}:closed` has the field `orderId`.
        """
        placeholders = PLACEHOLDER.findall(name) if isinstance(name, str) else []
        payload = _make_class(name, description, Payload, dict.fromkeys(placeholders, Id))
        declare = self.event(
            name,
            to=to,
            volatile=volatile,
            latest=latest,
            arguments="positional",
            name_only=bool(placeholders),
            webhook=webhook,
            receipts=receipts,
        )
        declare(payload)
        return payload

    @collecting("command")
    def command(
        self,
        name: str,
        *,
        who: Rules = anyone(),  # noqa: B008 - a rule is a value
        limit: Limits | None = None,
        arguments: Arguments = "object",
        reply: Any = None,
        reply_arguments: Arguments = "object",
        joins: Room | None = None,
        leaves: Room | None = None,
        volatile: bool = False,
        error: str | Errors | None = None,
        acknowledgements: Acknowledgements | None = None,
        max_bytes: int | None = None,
        unknown_fields: UnknownFields | None = None,
        signs_in: str | None = None,
        handled_by: Backend | None = None,
        refusals: Sequence[Refusal] | None = None,
        was: Was | Sequence[Was] = (),
    ) -> "Declaration":
        """Declare a command, which clients may send; decorates its fields.

        A name such as `order:{orderId}:cancel` has placeholders: the names that clients send fill these fields. So the
        arguments need not have them, and positional arguments do not.

        The `arguments` are one object with these fields or, if positional, the fields in order; those at the end that
        have a default may be left out. `who` says who may send
        it; `own("userId")` means that the field must be the caller's own id. `limit` holds for each user, such as
        `10/s`; a list may also have limits per room and per address. Of `volatile` commands over the limit, such as
        locations, the newest is handled as soon as the limit allows, and the others are dropped. `reply` is a payload
        with the fields of the acknowledgement besides `ok`, or another type. With positional `reply_arguments`, the
        fields of the reply are arguments: `(null, items, cursor)`. A command that only `joins` or `leaves` a
        room has fields for the room's placeholders, and needs no handler. `error` is the name of the event that reports
        its errors, or what else differs from the contract's errors. `acknowledgements` replace the contract's.
        `max_bytes` is the size of its arguments. With `unknown_fields="ignore"`, fields that the command does not have
        are left out. `signs_in` is the wire name of the field with a token, for a command by which a connected client
        signs in. `handled_by` is the back end that handles the command, instead of a handler in Python. `refusals` are
        those of the contract's refusals that its handler raises, for documents; without them, any of them. `was` is the
        old form of the command, or a list of them, which clients of older versions send instead.

        Call the result with a union of classes if the command has several shapes: each class has a `tag`, and a
        handler of its own.
        """
        errors = Errors(event=error) if isinstance(error, str) else error
        form = acknowledgements or self._acknowledgements
        # A form of another type is reported by `build`.
        joined = form.joined if isinstance(form, Acknowledgements) else None

        def declare(command: Any) -> Any:
            self._check_open(name)
            try:
                first, shared = read_limits(limit)
            except ContractError as error:
                first, shared = DEFAULT_LIMIT, ()
                self.faults += [f"command {name}: {line}" for line in str(error).splitlines()]
            self.commands.append(
                DeclaredCommand(
                    namespace=self.name,
                    name=name,
                    command=command,
                    who=one_of(who),
                    limit=first,
                    shared=shared,
                    arguments=arguments,
                    reply=joined if joins or leaves else reply,
                    reply_arguments=reply_arguments,
                    joins=joins,
                    leaves=leaves,
                    volatile=volatile,
                    error=errors,
                    acknowledgements=acknowledgements,
                    max_bytes=max_bytes,
                    unknown_fields=unknown_fields or self._unknown_fields,
                    signs_in=signs_in,
                    handled_by=handled_by,
                    was=_list_forms(was),
                    refusals=None if refusals is None else tuple(refusals),
                )
            )
            return command

        return declare

    @collecting("relay")
    def relay(
        self,
        name: str,
        *,
        to: Sequence[Target],
        who: Rules = anyone(),  # noqa: B008 - a rule is a value
        limit: Limits | None = None,
        example: Any = None,
        volatile: bool = False,
        timestamp: str | None = None,
        latest: float = 0.0,
        sender: str | None = None,
        claims: Mapping[str, str] | None = None,
        arguments: Arguments = "object",
        max_bytes: int | None = None,
        name_only: bool = False,
        was: Was | Sequence[Was] = (),
    ) -> "Declaration":
        """Declare a command, and the event of the same name that the others in the sender's rooms receive.

        Decorates the event's payload, whose fields are the command's too. `to` lists rooms that follow from them, and
        fixed targets; the sender must be in these rooms. `sender` is the wire name of a field that the server fills in
        with the id of the user who sends it. A client may omit it; another user's id is refused. With positional
        `arguments`, clients cannot send it. `claims` are the wire names of fields that the server fills in with claims
        of the sender's token: `{"userName": "name"}`. `was` is the old form of the relay, or a list of them, with
        `convert` and `convert_back`. The other arguments are those of `event` and `command`.
        """

        def declare(payload: Any) -> Any:
            forms = _list_forms(was)
            known = [form for form in forms if isinstance(form, Was)]
            if isinstance(payload, UnionType):
                self.faults.append(f"relay {name}: has several shapes; declare one class")
                return payload
            self.event(
                name,
                to=to,
                example=example,
                volatile=volatile,
                timestamp=timestamp,
                latest=latest,
                arguments=arguments,
                max_bytes=max_bytes,
                name_only=name_only,
                # An example is what a client sends.
                was=[replace(form, example=None, convert_back=None) if form in known else form for form in forms],
            )(payload)
            if not (isinstance(payload, type) and issubclass(payload, Payload)):
                return payload
            # An argument that may be omitted cannot stand before others.
            shown = claims if isinstance(claims, Mapping) else {}
            unsent = {self.events[-1].timestamp, sender if arguments == "positional" else None, *shown}
            try:
                command, old = derive_forms(
                    payload, known, sender, lambda shape: derive_class(shape, Command, tuple(unsent), (sender,))
                )
            except ContractError as error:
                self.faults.append(f"relay {name}: {error}")
                return payload
            rule = one_of(who)
            if sender is not None and sender in command.__struct_encode_fields__:
                rule = rule & own(sender, claim="sub")
            self.command(
                name, who=rule, limit=limit, volatile=volatile, arguments=arguments, max_bytes=max_bytes, was=old
            )(command)
            self.commands[-1] = replace(self.commands[-1], relays=Relay(payload, sender, claims or {}))
            return payload

        return declare

    def find_backend(self, command: DeclaredCommand) -> Backend | None:
        """The back end that handles a command: its own or, if the command needs a handler, the namespace's default."""
        if command.handled_by is not None:
            return command.handled_by
        needs_none = command.joins or command.leaves or command.relays or (command.signs_in and command.reply is None)
        return None if needs_none else self.handled_by

    def close(self, versions: Versions) -> None:
        """The contract is built: sort the old forms of its commands, and refuse later declarations."""
        self.commands = [replace(command, was=sort_forms(command.was, versions)) for command in self.commands]
        self.closed = True

    def _check_open(self, name: str) -> None:
        if self.closed:
            raise ContractError(f"namespace {self.name}: {name} is declared after the contract was built")

    def _add_room_command(
        self, name: str, description: str, room: Room, *, joins: Room | None = None, leaves: Room | None = None
    ) -> None:
        command = _make_class(name, description, Command, dict.fromkeys(room.placeholders, Id))
        self.command(name, arguments="positional", joins=joins, leaves=leaves)(command)


class Declaration(Protocol):
    """What `event` and `command` return: a decorator, which may also be called with a union of classes."""

    @overload
    def __call__(self, declared: type[S], /) -> type[S]: ...

    @overload
    def __call__(self, declared: UnionType, /) -> UnionType: ...


def _list_forms(was: Any) -> tuple[Any, ...]:
    """Old forms as a tuple; `build` reports values that are none."""
    return tuple(was) if isinstance(was, list | tuple) else (was,)


def _make_class(name: str, description: str, base: type[T], fields: Mapping[str, Any]) -> type[T]:
    """A class for an event or command that is declared without one."""
    body = {"__doc__": description, "__annotations__": dict(fields)}
    # A name that is no text is reported by `build`.
    title = re.sub(r"\W|_", "", str(name).title())
    return new_class(title, (base,), exec_body=lambda members: members.update(body))


@dataclass(kw_only=True, eq=False)
class Declarations:
    """Everything that a contract declares, as data."""

    name: str
    description: str
    roles: tuple[str, ...]
    default_role: str | None
    tokens: tuple[TokenSource, ...]
    subjects: Mapping[str, str]
    namespaces: list[Namespace] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    attributes: list[UserAttribute] = field(default_factory=list)
    claims: Claims | None = None
    guests: str | None = None
    sign_in_within: float | None = None
    versions: Versions = field(default_factory=Versions)
    """The versions of clients."""
    authenticated_by: Backend | None = None
    """The back end that finds the user of a client that connects, instead of the verification of a token."""
    acknowledgements: Acknowledgements = field(default_factory=Acknowledgements)
    errors: Errors = field(default_factory=Errors)
    faults: list[str] = field(default_factory=list)
    """What is wrong with arguments that could not be recorded as they are written."""

    def answers_of(self, command: DeclaredCommand | None) -> tuple[Acknowledgements, Errors]:
        """The forms of the answers to a command; without one, of those that are not about a declared command."""
        if command is None:
            return self.acknowledgements, self.errors
        errors = self.errors if command.error is None else command.error.over(self.errors)
        return command.acknowledgements or self.acknowledgements, errors

    def error_events(self, namespace: Namespace) -> list[str]:
        """The names of the events that report errors to clients of `namespace`."""
        general = self.errors if isinstance(self.errors, Errors) else Errors()
        own = [command.error.over(general) for command in namespace.commands if isinstance(command.error, Errors)]
        return list(dict.fromkeys(errors.name for errors in (general, *own)))

    def list_backends(self) -> Iterator[tuple[str, Backend]]:
        """Each place of the contract that names a back end, in words, and the back end."""
        places: list[tuple[str, Backend | None]] = [("authenticated_by", self.authenticated_by)]
        for namespace in self.namespaces:
            named = ("handled_by", "admitted_by", "notifies")
            places += [(f"namespace {namespace.name}: {name}", getattr(namespace, name)) for name in named]
            places += [(f"command {command.name}: handled_by", command.handled_by) for command in namespace.commands]
            for room in namespace.rooms.kinds:
                places.append((f"room {room.pattern}: welcomed_by", room.welcomed_by))
                deciders = [part.backend for part in room.rule.parts() if isinstance(part, DecidedBy)]
                places += [(f"room {room.pattern}: decided_by", backend) for backend in deciders]
        return ((place, backend) for place, backend in places if backend is not None)
