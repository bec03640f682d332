"""Contradictions in contracts: all are reported together, each with its declaration."""

import re
from collections.abc import Callable
from types import new_class
from typing import Any

import pytest

from oyez import errors
from oyez.contract import (
    UNSET,
    Claims,
    Command,
    Contract,
    Id,
    Maybe,
    Payload,
    Stamped,
    Time,
    UnsetType,
    anyone,
    auth,
    in_room,
    member,
    own,
    per_room,
    resolved,
    role,
)
from oyez.contract.declare import Namespace
from oyez.contract.rooms import Room
from oyez.errors import FORBIDDEN, ContractError
from tests.support.market import BidRejected, Part, Typing, accept_booking, contract, event_of, root


class Ping(Payload):
    """A stored event with a time."""

    user_id: Id
    count: int
    at: Time


class Untimed(Payload):
    """Without a time."""

    user_id: Id


class Filled(Payload):
    """With a time of another name."""

    at: Time | UnsetType = UNSET


class Do(Command):
    """A command."""

    user_id: Id
    note: Maybe[str] = UNSET


class Undocumented(Command):
    pass


PING = {"user_id": "u", "count": 1, "at": "2026-01-31T12:00:00Z"}
Declare = Callable[[Contract, Namespace, Room], Any]


def build(declare: Declare) -> Contract:
    """A correct contract with the additions of `declare`."""
    made = Contract("c", roles=("user", "admin"))
    root = made.namespace("/")
    room = root.room("user:{user_id}", members=own("user_id", "sub"))
    declare(made, root, room)
    return made.build()


def messages(declare: Declare) -> str:
    with pytest.raises(ContractError) as error:
        build(declare)
    return str(error.value)


def test_a_correct_contract() -> None:
    made = build(lambda made, root, room: root.event("ping", to=[room.of("user_id")], example=PING)(Ping))
    event = made.events["ping"]
    assert (event.description, event.durable, event.timestamps) == ("A stored event with a time.", True, {})
    assert made.event_of(Ping(user_id="u", count=1, at=Time.now())) is event


@pytest.mark.parametrize(
    ("declare", "error"),
    [
        (lambda made, root, room: made.namespace("/"), "namespace '/' is declared twice"),
        (lambda made, root, room: made.namespace("x"), "namespace 'x': expected /"),
        (lambda made, root, room: made.user_attribute("a", "b"), "user attribute a: no rule uses it"),
        (lambda made, root, room: made.refusal("forbidden", "No."), "refusal 'forbidden' is declared twice"),
        (
            lambda made, root, room: root.command("buy", refusals=[FORBIDDEN])(Do),
            "command buy: refusals has 'forbidden': list what contract.refusal",
        ),
        (lambda made, root, room: root.room("x"), "room x: no rule says who may be in it; give members=…"),
        (lambda made, root, room: root.room("x", members=[]), "room x: no rule says who may be in it"),
        (lambda made, root, room: root.room("*", members=anyone()), "room *: a room needs a name of its own"),
        (
            lambda made, root, room: root.room("user:{x}", members=anyone()),
            "room user:{x}: a name could also belong to user:{user_id}; begin them differently",
        ),
        (
            lambda made, root, room: root.room("x:{y}", members=own("z")),
            "room x:{y}: its rule names {z}, which is not a placeholder of the room",
        ),
        (
            lambda made, root, room: root.room("x:{y}", members=member(), on_connect=True),
            "room x:{y}: nothing fills {y} on connecting; a rule such as own('y') would",
        ),
        (lambda made, root, room: root.room("x", members=role("boss")), "room x: role 'boss' is not one of the roles"),
        (
            lambda made, root, room: root.room("x:{y}", members=resolved("y", "shop")),
            "room x:{y}: user attribute 'shop' is not declared",
        ),
        (
            lambda made, root, room: root.room("x:{y}", members=anyone(), values={"z": ["a"]}),
            "room x:{y}: values are given for {z}, which is not a placeholder of the room",
        ),
        (
            lambda made, root, room: root.room("x:{y}", members=anyone(), values={"y": []}),
            "room x:{y}: no values are given for {y}",
        ),
        (
            lambda made, root, room: root.room("x:{y}:{z}", members=anyone(), values={"y": ["a", "b:c"]}),
            "room x:{y}:{z}: 'b:c' cannot be a value of {y}",
        ),
        (lambda made, root, room: root.gateway("g"), "gateway g: has no room"),
        (lambda made, root, room: root.gateway("a,b"), "gateway 'a,b': a name without commas"),
        (
            lambda made, root, room: root.gateway("g", who=member()).room("x", members=anyone()),
            "gateway g: who=… can name roles only",
        ),
        (
            lambda made, root, room: root.room("x", members=anyone(), join="connect"),
            "command connect: the name is reserved",
        ),
    ],
)
def test_namespaces_rooms_and_rules(declare: Declare, error: str) -> None:
    assert f"contract c: {error}" in messages(declare)


@pytest.mark.parametrize(
    ("subjects", "error"),
    [
        ({"user": "sub"}, "subject 'user': every contract has that kind already"),
        ({"role": "role"}, "subject 'role': every contract has that kind already"),
        ({"Garage": "garage_id"}, "subject 'Garage': expected lower-case letters"),
        ({"a:b": "garage_id"}, "subject 'a:b': expected lower-case letters"),
        ({"garage": ""}, "subject 'garage': expected lower-case letters, digits, - and _, and the name of a claim"),
    ],
)
def test_kinds_of_subject(subjects: dict[str, str], error: str) -> None:
    made = Contract("c", roles=("user",), subjects=subjects)
    made.namespace("/")
    with pytest.raises(ContractError, match=re.escape(f"contract c: {error}")):
        made.build()


def event(name: str = "ping", payload: type[Payload] = Ping, **options: Any) -> Declare:
    """Declares an event; by default to everyone and with an example."""

    def declare(made: Contract, root: Namespace, room: Room) -> None:
        root.event(name, **{"to": [root.everyone], "example": PING, **options})(payload)

    return declare


@pytest.mark.parametrize(
    ("declare", "error"),
    [
        (event("disconnect"), "event disconnect: the name is reserved by Socket.IO"),
        (event("error"), "event error: the name is the server's own"),
        (event("oyez:recovery"), "event oyez:recovery: the name is the server's own"),
        (event("x" * 129), "a name has 1 to 128 printable characters"),
        (event(""), "a name has 1 to 128 printable characters"),
        (event(to=[]), "event ping: has no target"),
        (event(to=[contract.namespaces[1].everyone]), "of namespace /back, but is declared in /"),
        (event(example={**PING, "count": "1"}), "event ping: its example does not fit: count: expected a whole number"),
        (event(example={**PING, "count": object()}), "event ping: its example is not JSON"),
        (event(timestamp="nope"), "event ping: timestamp nope: expected a field `Time | UnsetType = UNSET`"),
        (event(timestamp="at"), "event ping: timestamp at: expected a field"),
        (event(latest=60.0), "event ping: latest is for volatile events"),
        (event(latest=60.0, volatile=True), "event ping: latest is for clients that join a room"),
        (event(receipts=True, volatile=True), "event ping: receipts are for stored events: a volatile event"),
        (
            event(receipts=True, to=[contract.namespaces[0].caller]),
            "event ping: receipts are for stored events: one that",
        ),
        (event(receipts="yes"), "event ping: receipts is 'yes': write True or False"),
        (event(payload=int), "is not a Payload"),  # type: ignore[arg-type]
        (event(payload=Do), "is not a Payload"),  # type: ignore[arg-type]
    ],
)
def test_events(declare: Declare, error: str) -> None:
    assert error in messages(declare)


def test_every_event_has_a_docstring() -> None:
    class Silent(Stamped):
        pass

    assert "event ping: Silent has no docstring" in messages(event(payload=Silent, example={}))


def test_a_missing_docstring_hides_no_other_error() -> None:
    class Silent(Stamped):
        pass

    assert "leave one of the two out" in messages(event(payload=Silent, volatile=True, receipts=True))


def test_payloads_consist_of_types_that_can_be_sent() -> None:
    class Odd(Stamped):
        """With a complex number."""

        number: complex

    assert "event ping: number: complex is not a type that an event can carry; Any is any JSON" in messages(
        event(payload=Odd, example={})
    )


@pytest.mark.parametrize("kind", [bytearray, memoryview, list[bytearray]])
def test_binary_data_is_declared_as_bytes(kind: Any) -> None:
    body = {"__doc__": "With binary data.", "__annotations__": {"data": kind}}
    odd = new_class("Odd", (Stamped,), exec_body=lambda members: members.update(body))
    assert "event ping: data: binary data is declared as bytes" in messages(event(payload=odd, example={}))


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("userId", "goes to `user:{userId}`, but Ping has no field userId"),
        ("user_id.x", "but Ping has no field user_id.x"),
        ("at", "goes to `user:{at}`, but at is not a string or a whole number"),
        ("at", "goes to `user:{at}`, but at is not a string"),
    ],
)
def test_targets_are_derived_from_existing_fields(path: str, error: str) -> None:
    def declare(made: Contract, root: Namespace, room: Room) -> None:
        root.event("ping", to=[room.of(path)], example=PING)(Ping)

    assert error in messages(declare)


def test_a_derived_target_fills_every_placeholder() -> None:
    for paths in ((), ("a", "b")):
        said = messages(lambda made, root, room: root.event("ping", to=[room.of(*paths)], example=PING)(Ping))  # noqa: B023
        assert f"event ping: to=… has .of(…) of room user:{{user_id}}: got {[*paths]}" in said
    assert root.rooms.kinds[0].of("a.b").text == "`user_{a.b}`"


def twice(first: Declare, second: Declare) -> Declare:
    def declare(*given: Any) -> None:
        first(*given)
        second(*given)

    return declare


def test_a_name_has_one_payload_and_a_payload_one_name() -> None:
    assert "event 'ping' is declared twice" in messages(twice(event(), event()))
    assert "event ping: has a different payload in / and /" in messages(twice(event(), event(payload=Filled)))
    assert "Ping is the payload of ping and pong: give each event its own" in messages(twice(event(), event("pong")))


def test_an_event_of_several_namespaces_is_one_event() -> None:
    typing = event_of("typing")
    assert set(typing.targets) == {"/", "/back"}
    assert (typing.payload, typing.volatile, typing.example) == (Typing, True, {"userId": "u1", "typing": True})


def test_events_to_one_client_are_not_stored() -> None:
    assert not event_of("stats").durable
    assert not event_of("typing").durable
    assert event_of("new_bid").durable


def command(name: str = "do", kind: type[Command] = Do, **options: Any) -> Declare:
    def declare(made: Contract, root: Namespace, room: Room) -> None:
        root.command(name, **options)(kind)

    return declare


BACK_USER = contract.namespaces[1].rooms.kinds[1]


class Answer(Payload):
    """Has a field of every acknowledgement."""

    ok: bool


@pytest.mark.parametrize(
    ("declare", "error"),
    [
        (command("newListener"), "command newListener: the name is reserved by Socket.IO"),
        (command("error"), "command error: the name is the server's own"),
        (command(kind=Undocumented), "command do: Undocumented has no docstring"),
        (command(who=role("boss")), "command do: role 'boss' is not one of the roles"),
        (command(who=own("userId")), "command do: its rule names userId, which is not a string or integer field of Do"),
        (command(who=member()), "command do: member() is about a room"),
        (command(reply=Answer), "command do: its reply has a field `ok`"),
        (command(kind=Part), "is not a Command"),  # type: ignore[arg-type]
        (
            command(joins=contract.namespaces[1].rooms.kinds[1]),
            "command do: joins or leaves user_{userId} of another namespace",
        ),
        (command(joins=contract.namespaces[1].rooms.kinds[1]), "command do: needs a string or integer field userId"),
        (twice(command(), command()), "command 'do' is declared twice"),
        (twice(command(), command("done")), "Do is the command of do and done"),
    ],
)
def test_commands(declare: Declare, error: str) -> None:
    assert error in messages(declare)


def test_limits_and_rules_of_wrong_types_are_reported_together() -> None:
    def declare(made: Contract, root: Any, room: Any) -> None:
        @root.command("fast", limit=["often", per_room("5", room), 7])
        class _Fast(Command):
            """Fast."""

            user_id: str

        @root.command("who", who="admin", limit=3)
        class _Who(Command):
            """Who."""

        @root.command("both", who=role("admin") & "user")  # type: ignore[operator]
        class _Both(Command):
            """Both."""

        @root.command("where", who=in_room("user:{user_id}"))  # type: ignore[arg-type]
        class _Where(Command):
            """Where."""

        @root.relay("relay", to=[room.of("user_id")], limit="5/y")
        class _Relay(Payload):
            """Relay."""

            user_id: str

        root.relay("union", to=[room.of("user_id")])(Ping | Payload)
        root.room("open:{id}", members=anyone)
        root.room("list:{id}", members=[role("user"), "admin"])

    rule = "is not a rule; write a rule, such as role('…'), own('…') or anyone()"
    number = "expected a number of commands a second, minute or hour, such as 10/s, 30/m or 100/h"
    found = messages(declare).splitlines()
    opened = next(line for line in found if line.startswith("contract c: room open"))
    assert opened.startswith("contract c: room open:{id}: <function anyone") and opened.endswith(rule)
    assert [line.removeprefix("contract c: ") for line in found if line != opened] == [
        f"command fast: limit 'often': {number}",
        f"command fast: limit '5': {number}",
        f"command fast: limit 7: {number}",
        f"command who: limit 3: {number}",
        f"command relay: limit '5/y': {number}",
        "relay union: has several shapes; declare one class",
        f"room list:{{id}}: 'admin' {rule}",
        f"command who: 'admin' {rule}",
        f"command both: 'user' {rule}",
        "command where: in_room('user:{user_id}') is not a rule; give it the room itself, as in_room(table)",
    ]


def test_join_commands_are_described() -> None:
    joining = next(command for command in root.commands if command.name == "join_garage_room")
    assert joining.description == "Join the room `garage_{garage_id}`."
    assert joining.command.__name__ == "JoinGarageRoom"
    assert joining.command.__struct_fields__ == ("garage_id",)


def test_nothing_is_declared_after_the_contract_is_built() -> None:
    made = Contract("c", roles=("user",))
    root = made.namespace("/")
    made.build()
    for declare in (
        lambda: root.room("x", members=anyone(), join="y"),
        lambda: root.gateway("x"),
        lambda: root.event("x", to=[root.everyone], example=PING)(Ping),
        lambda: root.command("x")(Do),
    ):
        with pytest.raises(ContractError, match="namespace /: x is declared after the contract was built"):
            declare()
    with pytest.raises(ContractError, match="namespace /late is declared after"):
        made.namespace("/late")


def test_all_errors_are_reported_together() -> None:
    text = messages(twice(event("error", to=[]), command("connect", kind=Undocumented)))
    assert [line.split(":")[1].strip() for line in text.splitlines()] == ["event error"] * 2 + ["command connect"] * 2


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"roles": ()}, "no roles"),
        ({"roles": ("a", "a")}, "role 'a' is declared twice"),
        ({"roles": ("a",), "default_role": "b"}, "default role 'b' is not one of the roles"),
        ({"roles": ("a",), "tokens": ()}, "no token sources"),
        ({"roles": "user"}, r"roles is 'user': list the roles, as roles=\('user',\)"),
        ({"roles": ("a",), "tokens": auth("token")}, "tokens is not a list: list the sources"),
        ({"roles": ("a",)}, "no namespaces"),
        ({"roles": (1,)}, "role 1: expected a text"),
        ({"roles": ("a",), "subjects": ["garage"]}, "subjects is a list: write a dict"),
        ({"roles": ("a",), "claims": Claims(subject=5)}, "subject is a int: write the name of a claim"),  # type: ignore[arg-type]
        ({"roles": ("a",), "guests": "a", "sign_in_within": "60"}, "sign_in_within '60': expected more than 0"),
        ({"name": "A system", "roles": ("a",)}, "name 'A system': expected lower-case letters"),
    ],
)
def test_the_head(options: dict[str, Any], error: str) -> None:
    with pytest.raises(ContractError, match=error):
        Contract(**{"name": "c", **options}).build()


@pytest.mark.parametrize(
    ("declare", "error"),
    [
        (lambda made, root, room: root.command("go", joins="room")(Do), "command go: joins or leaves 'room', which is"),
        (
            lambda made, root, room: root.command("go", leaves="room")(Do),
            "command go: joins or leaves 'room', which is",
        ),
        (lambda made, root, room: root.room("x", members=member(5)), "room x: a part has 1 to 64 letters"),  # type: ignore[arg-type]
        (lambda made, root, room: made.refusal(5, "No."), "refusal 5: a code is a text"),
        (lambda made, root, room: root.room("x:{y}", values=["a"]), "values is .* write a dict of lists"),
        (
            lambda made, root, room: root.room("x:{y}", values={"y": "ab"}),
            "room x:{y}: values is .* write a dict of lists",
        ),
    ],
)
def test_values_of_other_types_are_reported_in_plain_words(declare: Declare, error: str) -> None:
    assert re.search(error, messages(declare))


def test_a_payload_of_no_event() -> None:
    with pytest.raises(ContractError, match="Part is not the payload of an event"):
        contract.event_of(Part(name="x", price=errors))  # type: ignore[arg-type]


def test_declaring_leaves_classes_and_handlers_as_they_are() -> None:
    assert BidRejected(bid_id="1").bid_id == "1"
    assert callable(accept_booking)
