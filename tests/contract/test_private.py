"""Private fields: what operators see of an event."""

from typing import Annotated, Any

import msgspec
import pytest

from oyez.contract import PRIVATE, UNSET, Contract, Maybe, Payload, Time
from oyez.contract.private import HIDDEN, hide_private
from oyez.documents.description import describe


class Owner(Payload):
    """Who owns it."""

    name: Annotated[str, PRIVATE]
    city: str


class Cat(Payload, tag="cat", tag_field="kind"):
    """A cat."""

    chip: Annotated[str, PRIVATE]
    lives: int


class Dog(Payload, tag="dog", tag_field="kind"):
    """A dog."""

    chip: str


class Seen(Payload):
    """An animal was seen."""

    at: Annotated[Time | None, PRIVATE]
    animal: Cat | Dog
    owners: list[Owner]
    phones: list[Annotated[str, PRIVATE]]
    by_name: dict[str, Owner]
    note: Annotated[Maybe[str], PRIVATE] = UNSET
    extra: Any = None


class Place(Payload):
    """Where something is."""

    city: str
    street: Annotated[str, PRIVATE]


class Secret(Payload):
    """One value."""

    code: Annotated[str, PRIVATE]


contract = Contract("zoo", roles=("keeper",), default_role="keeper")
root = contract.namespace("/")
seen = {
    "at": "2026-01-31T12:00:00Z",
    "animal": {"kind": "cat", "chip": "c-1", "lives": 7},
    "owners": [{"name": "Ada", "city": "York"}],
    "phones": ["1", "2"],
    "by_name": {"x": {"name": "Bob", "city": "Hull"}},
    "note": "n",
    "extra": {"name": "shown"},
}
root.event("seen", to=[root.everyone], example=seen)(Seen)
root.event("place", to=[root.everyone], arguments="positional", example=["York", "Mill Lane"])(Place)
root.event("secret", to=[root.everyone], arguments="positional", example="x")(Secret)
contract.build()


def hide(name: str, *arguments: Any) -> Any:
    return hide_private(contract.find_event(name), msgspec.json.encode([name, *arguments]))


def test_values_of_private_fields_are_hidden_at_any_depth() -> None:
    assert hide("seen", seen) == {
        "at": HIDDEN,
        "animal": {"kind": "cat", "chip": HIDDEN, "lives": 7},
        "owners": [{"name": HIDDEN, "city": "York"}],
        "phones": [HIDDEN, HIDDEN],
        "by_name": {"x": {"name": HIDDEN, "city": "Hull"}},
        "note": HIDDEN,
        "extra": {"name": "shown"},
    }


def test_nothing_is_hidden_that_is_not_there() -> None:
    without = {**seen, "at": None}
    del without["note"]
    assert hide("seen", without)["at"] is None
    assert "note" not in hide("seen", without)


def test_positional_arguments() -> None:
    assert hide("place", "York", "Mill Lane") == ["York", HIDDEN]
    assert hide("secret", "x") == HIDDEN


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("unknown", [{"a": 1}]), ("seen", []), ("seen", [{}, {}]), ("place", ["a", "b", "c"])],
)
def test_what_does_not_fit_the_contract_is_hidden_as_a_whole(name: str, arguments: list[Any]) -> None:
    assert hide(name, *arguments) == HIDDEN


def test_a_field_of_an_earlier_contract_is_hidden() -> None:
    assert hide("seen", {**seen, "birthday": "1990-01-01"})["birthday"] == HIDDEN


def test_documents_have_the_mark() -> None:
    text = msgspec.json.encode(describe(contract)).decode()
    assert text.count('"x-private":true') >= 5
