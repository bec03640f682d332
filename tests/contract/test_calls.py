"""Calls of declarations with wrong arguments: plain errors with the declaration's name, and all at once."""

from typing import Annotated, Any, Generic, TypeVar

import pytest
from msgspec import Meta

from oyez.contract import (
    Acknowledgements,
    Claims,
    Command,
    Contract,
    Errors,
    Id,
    Payload,
    Presence,
    anyone,
    per_room,
)
from oyez.contract.declare import Namespace
from oyez.contract.rooms import Room
from oyez.errors import ContractError

T = TypeVar("T")
# mypy knows these mistakes too.
ANY_CONTRACT: Any = Contract
ANY_PRESENCE: Any = Presence
ANY_ERRORS: Any = Errors
ANY_ACKNOWLEDGEMENTS: Any = Acknowledgements
ANY_CLAIMS: Any = Claims
ANY_PER_ROOM: Any = per_room


class Page(Payload, Generic[T]):
    """A page of things."""

    things: list[T]


class Listed(Payload):
    """An event with a page of numbers."""

    page: Page[int]


class Counted(Payload):
    """A number with the limit of a text."""

    count: Annotated[int, Meta(max_length=3)]


class Placed(Payload):
    """An order."""

    id: Id


class Place(Command):
    """Order something."""

    id: Id


def declare_all(declare: Any) -> list[str]:
    """The errors of a contract with these declarations, without the contract's name."""
    made = Contract("c", roles=("user",), default_role="user")
    root = made.namespace("/")
    room = root.room("order:{id}", members=anyone(), join="watch")
    with pytest.raises(ContractError) as raised:
        declare(made, root, room)
        made.build()
    return [line.removeprefix("contract c: ") for line in str(raised.value).splitlines()]


@pytest.mark.parametrize(
    ("declare", "error"),
    [
        (
            lambda c, r, m: r.event("e", to=[m], volatile="yes")(Placed),
            "event e: volatile is 'yes'",
        ),
        (lambda c, r, m: r.event("e", too=[m])(Placed), "event e: there is no argument too; did you mean to=…?"),
        (lambda c, r, m: r.event("e", [m])(Placed), "is given without the name of its argument; write it, as in to=…"),
        (lambda c, r, m: r.event("e")(Placed), "event e: has no target"),
        (lambda c, r, m: r.event(to=[m])(Placed), "event: needs name=…"),
        (lambda c, r, m: r.event(None, to=[m])(Placed), "event None: the name is None: expected a string"),
        (
            lambda c, r, m: r.event("e", to=[m.of("id", "x")])(Placed),
            "event e: to=… has .of(…) of room order:{id}",
        ),
        (lambda c, r, m: r.event("e", to=[m], volatile=True, latest="5")(Placed), "event e: latest is '5': expected"),
        (lambda c, r, m: r.event("e", to=[m])(Page[int]), "has type parameters; declare a class"),
        (lambda c, r, m: r.event("e", to=[m])(Page), "event e: things has a type parameter"),
        (
            lambda c, r, m: r.event("e", to=[m])(Counted),
            "event e: count has limits that do not fit its type",
        ),
        (lambda c, r, m: r.event("o:{id}", to=[m], volatile=True, latest=5)(Placed), "event o:{id}: latest keeps"),
        (lambda c, r, m: r.event("e", to=[m], name_only=True)(Placed), "event e: name_only is for fields"),
        (lambda c, r, m: r.signal("s", to=[m]), "event s: S has no docstring"),
        (lambda c, r, m: r.room("r:{id", members=anyone()), "room r:{id: placeholders are written {name}"),
        (lambda c, r, m: r.room("r", member=anyone()), "room r: there is no argument member; did you mean members=…?"),
        (lambda c, r, m: r.room(5, members=anyone()), "room 5: its name is 5: expected a text"),
        (lambda c, r, m: r.room("r", members=anyone(), join=5), "command 5: the name is 5: expected a string"),
        (lambda c, r, m: r.room("r", members=anyone(), on_connect=1), "room r: on_connect is 1"),
        (lambda c, r, m: r.gateway("g", members=anyone()), "gateway g: there is no argument members; known are"),
        (lambda c, r, m: r.command("z", reply="x")(Place), "command z: its reply is 'x', not a type; give a payload's"),
        (lambda c, r, m: r.command("z", reply=Placed(id="1"))(Place), "command z: its reply is Placed(id='1'), not a"),
        (
            lambda c, r, m: r.command("z", acknowledgement=1)(Place),
            "command z: there is no argument acknowledgement",
        ),
        (lambda c, r, m: r.command("z", signs_in="id")(Place), "command z: signs_in is for clients without a token"),
        (lambda c, r, m: r.command("z", volatile="no")(Place), "command z: volatile is 'no'"),
        (
            lambda c, r, m: r.command("z", limit=ANY_PER_ROOM("5/s", "r"))(Place),
            "command z: per_room names 'r'",
        ),
        (lambda c, r, m: r.relay("y", to=[m.of("id")], from_="id")(Placed), "relay y: there is no argument from_"),
        (lambda c, r, m: c.namespace(5), "namespace 5: expected a text, such as /shop"),
        (lambda c, r, m: c.refusal("sold_out"), "refusal sold_out: needs a message"),
        (lambda c, r, m: c.refusal("sold_out", "x", status="400"), "refusal sold_out: status is '400': expected"),
        (lambda c, r, m: c.refusal("sold_out", "x", temp=True), "refusal sold_out: there is no argument temp"),
        (lambda c, r, m: c.user_attribute("g"), "user attribute g: needs a description"),
        (
            lambda c, r, m: r.room("p", members=anyone(), presence=ANY_PRESENCE(join="x")),
            "Presence(…): there is no",
        ),
        (lambda c, r, m: ANY_ERRORS(code={}), "Errors(…): there is no argument code; did you mean codes=…?"),
        (lambda c, r, m: ANY_ACKNOWLEDGEMENTS(flags="ok"), "Acknowledgements(…): there is no argument flags"),
        (lambda c, r, m: ANY_CLAIMS(sub="x"), "Claims(…): there is no argument sub; did you mean subject=…?"),
        (
            lambda c, r, m: ANY_CONTRACT("d", roles=("user",), guest="user").build(),
            "contract d: there is no argument guest",
        ),
        (lambda c, r, m: ANY_CONTRACT("d").build(), "contract d: no roles: give at least one"),
    ],
)
def test_a_wrong_call_is_one_plain_message(declare: Any, error: str) -> None:
    assert any(error in line for line in declare_all(declare)), declare_all(declare)


def test_wrong_calls_are_reported_together() -> None:
    def declare(c: Any, root: Namespace, room: Room) -> None:
        root.event("one", too=[room])(Placed)  # type: ignore[call-arg]
        root.room("r:{id", members=anyone())
        root.command("two", replies=Placed)(Place)  # type: ignore[call-arg]

    assert declare_all(declare) == [
        "event one: there is no argument too; did you mean to=…?",
        "command two: there is no argument replies; did you mean reply=…?",
        "room r:{id: placeholders are written {name}",
        "event one: has no target; list at least one kind of room in to=[…]",
    ]


def test_fields_may_have_a_class_with_type_parameters() -> None:
    made = Contract("c", roles=("user",))
    root = made.namespace("/")
    root.event("listed", to=[root.everyone])(Listed)
    assert made.build().events["listed"].example == {"page": {"things": [1]}}
