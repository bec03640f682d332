"""The vocabulary of a contract: namespaces, gateways, rooms, events and commands, as an event document lists them.

Declaring only takes down what is said. Whether it makes sense together is looked at by `check`, once, for the whole.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import new_class
from typing import Any, Literal, Self, TypeVar

from oyez.concurrency.token_bucket import Rate
from oyez.contract.policy import Nobody, Rule, anyone, one_of
from oyez.contract.rooms import Caller, Everyone, Room, Rooms, Target
from oyez.contract.types import Command, Id, Joined, Payload, Stamped
from oyez.errors import ContractError

P = TypeVar("P", bound=Payload)
C = TypeVar("C", bound=Command)
Rules = Rule | Sequence[Rule]
Arguments = Literal["object", "positional"]
RoomValues = Mapping[str, Sequence[str]]
"""For a placeholder of a room the only values it may have."""

_PERIODS = {"s": 1.0, "m": 60.0}
LONGEST_PERIOD = max(_PERIODS.values())


@dataclass(frozen=True, slots=True)
class Limit(Rate):
    """`count` commands at once, refilled evenly over `period` seconds."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """`10/s` or `30/m`. Raises ContractError."""
        match = re.fullmatch(r"([1-9]\d{0,5})/([sm])", text, re.ASCII)
        if match is None:
            raise ContractError(
                f"limit {text!r}: expected a number of commands a second or minute, such as 10/s or 30/m"
            )
        return cls(int(match[1]), _PERIODS[match[2]])

    @property
    def text(self) -> str:
        return f"{self.count} a {'second' if self.period == 1 else 'minute'}"


DEFAULT_LIMIT = Limit(20, 1.0)
"""For commands that name none: no person clicks this often, but a front end that joins its rooms again after a
reconnection comes near it."""


def description_of(struct: type) -> str:
    """A declaration's own docstring; empty where it has none, whatever its bases say."""
    return inspect.cleandoc(struct.__doc__ or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredEvent:
    """An event as one namespace declares it."""

    namespace: str
    name: str
    payload: type[Payload]
    targets: tuple[Target, ...]
    example: Mapping[str, Any] | None
    volatile: bool
    timestamp: str | None
    latest: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredCommand:
    """What clients may send in one namespace, and what becomes of it."""

    namespace: str
    name: str
    command: type[Command]
    who: Rule
    """Who may send it. `own(field)` in it is about the command's own field."""
    limit: Limit
    arguments: Arguments
    reply: type[Payload] | None
    """What an acknowledgement carries besides `ok`."""
    joins: Room | None = None
    leaves: Room | None = None
    volatile: bool = False
    """True if only the newest counts of those that are over the limit."""

    @property
    def description(self) -> str:
        return description_of(self.command)


@dataclass(frozen=True, slots=True)
class UserAttribute:
    """Something about a user that is looked up when the user connects."""

    name: str
    description: str
    who: Rule
    """Whose it is looked up for."""


class Gateway:
    """A part of a namespace that clients may choose when they connect: rooms with a right of their own."""

    def __init__(self, name: str, namespace: "Namespace", who: Rule) -> None:
        self.name = name
        self.namespace = namespace
        self.who = who

    def room(
        self,
        pattern: str,
        *,
        members: Rules = Nobody(),  # noqa: B008 - a rule is a value
        join: str | None = None,
        leave: str | None = None,
        on_connect: bool = False,
        values: RoomValues | None = None,
    ) -> Room:
        """A kind of room of this gateway: who may be in it must also be one the gateway admits. See Namespace.room."""
        rule = one_of(members) if self.who == anyone() else self.who & one_of(members)
        return self.namespace.add_room(pattern, rule, join, leave, on_connect, self.name, values)


class Namespace:
    """A Socket.IO namespace: its rooms, what is sent in it, and what clients may send."""

    def __init__(self, name: str, who: Rule) -> None:
        self.name = name
        self.who = who
        self.rooms = Rooms(name)
        self.gateways: list[Gateway] = []
        self.events: list[DeclaredEvent] = []
        self.commands: list[DeclaredCommand] = []
        self.closed = False
        """Whether the contract has been built: what is declared later would never be looked at."""

    @property
    def everyone(self) -> Everyone:
        """Every socket of the namespace."""
        return Everyone(self.name)

    @property
    def caller(self) -> Caller:
        """The client that is being answered."""
        return Caller(self.name)

    def gateway(self, name: str, *, who: Rules = anyone()) -> Gateway:  # noqa: B008 - a rule is a value
        """A part of the namespace that clients may choose by name when they connect."""
        self._check_open(name)
        gateway = Gateway(name, self, one_of(who))
        self.gateways.append(gateway)
        return gateway

    def room(
        self,
        pattern: str,
        *,
        members: Rules = Nobody(),  # noqa: B008 - a rule is a value
        join: str | None = None,
        leave: str | None = None,
        on_connect: bool = False,
        values: RoomValues | None = None,
    ) -> Room:
        """A kind of room.

        `members` says who may be in it. `join` and `leave` name commands by which clients come and go: their
        arguments fill the placeholders, in order. `on_connect`: everybody is put into their own when they connect.
        `values` lists what a placeholder may hold, where not anything: with another value there is no such room.
        """
        return self.add_room(pattern, one_of(members), join, leave, on_connect, None, values)

    def add_room(
        self,
        pattern: str,
        rule: Rule,
        join: str | None,
        leave: str | None,
        on_connect: bool,
        gateway: str | None,
        values: RoomValues | None,
    ) -> Room:
        """Take down a room, and the commands by which it is joined and left."""
        self._check_open(pattern)
        room = Room(
            pattern,
            self.rooms,
            rule=rule,
            join=join,
            leave=leave,
            on_connect=on_connect,
            gateway=gateway,
            values=values or {},
        )
        self.rooms.add(room)
        if join is not None:
            self._add_room_command(join, f"Join the room `{pattern}`.", room, joins=room)
        if leave is not None:
            self._add_room_command(leave, f"Leave the room `{pattern}`.", room, leaves=room)
        return room

    def event(
        self,
        name: str,
        *,
        to: Sequence[Target],
        example: Mapping[str, Any] | None = None,
        volatile: bool = False,
        timestamp: str | None = None,
        latest: float = 0.0,
    ) -> Callable[[type[P]], type[P]]:
        """An event of this namespace; decorates its payload.

        `to` lists the kinds of room it goes to: `room` where the publisher names it, `room.of("userId")` where it
        follows from the payload. `example` is a payload in JSON. `volatile` events are never stored. `timestamp`
        is the (wire) name of a field that the server fills in where the publisher leaves it out. `latest`: for so many
        seconds, a client that joins one of its rooms gets the newest one at once; for volatile events.

        The same payload may be declared in several namespaces, under the same name.
        """

        def declare(payload: type[P]) -> type[P]:
            self._check_open(name)
            filled = timestamp or ("timestamp" if issubclass(payload, Stamped) else None)
            self.events.append(
                DeclaredEvent(
                    namespace=self.name,
                    name=name,
                    payload=payload,
                    targets=tuple(to),
                    example=example,
                    volatile=volatile,
                    timestamp=filled,
                    latest=latest,
                )
            )
            return payload

        return declare

    def command(
        self,
        name: str,
        *,
        who: Rules = anyone(),  # noqa: B008 - a rule is a value
        limit: str | None = None,
        arguments: Arguments = "object",
        reply: type[Payload] | None = None,
        joins: Room | None = None,
        leaves: Room | None = None,
        volatile: bool = False,
    ) -> Callable[[type[C]], type[C]]:
        """Something clients may send; decorates its fields.

        `arguments` are one object with these fields or, positional, the fields in order. `who` may say
        `own("userId")` of a field: it must be the caller's own. `limit` is for each user, such as `10/s`. Of `volatile`
        commands over it, such as locations, the newest is handled when there is room, and the others are dropped.
        `reply` is what the acknowledgement carries besides `ok`. A command that only `joins` or `leaves` a room
        has fields for the room's placeholders and needs no handler.
        """

        def declare(command: type[C]) -> type[C]:
            self._check_open(name)
            self.commands.append(
                DeclaredCommand(
                    namespace=self.name,
                    name=name,
                    command=command,
                    who=one_of(who),
                    limit=Limit.parse(limit) if limit else DEFAULT_LIMIT,
                    arguments=arguments,
                    reply=Joined if joins or leaves else reply,
                    joins=joins,
                    leaves=leaves,
                    volatile=volatile,
                )
            )
            return command

        return declare

    def _check_open(self, name: str) -> None:
        if self.closed:
            raise ContractError(f"namespace {self.name}: {name} is declared after the contract was built")

    def _add_room_command(
        self, name: str, description: str, room: Room, *, joins: Room | None = None, leaves: Room | None = None
    ) -> None:
        body = {"__doc__": description, "__annotations__": dict.fromkeys(room.placeholders, Id)}
        command = new_class(
            re.sub(r"\W|_", "", name.title()), (Command,), exec_body=lambda members: members.update(body)
        )
        self.command(name, arguments="positional", joins=joins, leaves=leaves)(command)
