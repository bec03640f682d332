"""Examples that are made from types fit these types."""

from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from oyez.contract import UNSET, Id, Latitude, Maybe, Millis, Money, Payload, Time, Total, UnsetType
from oyez.contract.arguments import Arguments
from oyez.contract.event_codec import EventCodec
from oyez.contract.examples import encode_example, make_example
from oyez.systems.listing import list_systems
from oyez.systems.loader import load_system


class Color(Enum):
    RED = "red"


class Leaf(Payload, tag=True):
    """The end of a tree."""

    color: Color


class Tree(Payload, tag=True):
    """A type that contains itself."""

    left: "Tree | Leaf | None" = None
    children: "list[Tree]" = msgspec.field(default_factory=list)


class Everything(Payload, rename="camel"):
    """Every type that an event can carry."""

    auction_id: Id
    text: Annotated[str, Meta(min_length=6, max_length=8)]
    small: Annotated[int, Meta(ge=5, le=6)]
    over: Annotated[float, Meta(gt=2)]
    below: Annotated[int, Meta(lt=0)]
    third: Annotated[int, Meta(multiple_of=3)]
    where: Latitude
    price: Money
    total: Total
    at: Time
    millis: Millis
    choice: Literal["b", "a"]
    on: bool
    names: Annotated[list[str], Meta(min_length=2)]
    prices: dict[str, Money]
    numbers: dict[int, float]
    pair: tuple[int, str]
    many: tuple[int, ...]
    tree: Tree | Leaf
    anything: Any
    maybe: Maybe[str] = UNSET
    missing: int | UnsetType = UNSET


@pytest.mark.parametrize("arguments", ["object", "positional"])
@pytest.mark.parametrize("kind", [Everything, Tree, Leaf])
def test_an_example_fits_its_type(kind: type[Payload], arguments: Arguments) -> None:
    example = make_example(kind, arguments)
    EventCodec("e", kind, arguments).check_exact(encode_example(example))


def test_an_example_is_simple() -> None:
    example = make_example(Everything)
    assert (example["auctionId"], example["choice"], example["at"]) == ("auction-1", "b", "2026-01-31T12:00:00Z")
    assert example["millis"] == Time(example["at"]).millis
    assert msgspec.json.encode(example)


def test_examples_of_the_systems_that_ship() -> None:
    for name in list_systems():
        for event in load_system(name).contract.events.values():
            example = make_example(event.payload, event.arguments)
            try:
                event.make_codec().check_exact(encode_example(example))
            except Exception as error:
                raise AssertionError(f"{name} {event.name}: {example}") from error


class Watched(Payload):
    """A field with examples of its own, and an id whose name has no `id`."""

    channel: Maybe[Annotated[str, Meta(examples=["orders", "cart"])]] = UNSET
    lot: Id


def test_a_type_has_examples_of_its_own() -> None:
    assert make_example(Watched) == {"channel": "orders", "lot": "lot-1"}


class Author(Payload):
    """The writer of a note."""

    id: Id
    email: str
    avatar: str


class Note(Payload, rename="camel"):
    """A note with values that their names suggest."""

    author: Author
    old_status: Literal["done", "open"]
    status: Literal["done", "open"]
    message: str
    car_make: str
    old_price: Money
    new_price: Money
    latitude: Latitude
    longitude: Annotated[int, Meta(ge=-180)]
    categories: list[str]
    user_ids: list[Id]
    created_at: Time
    updated_at: Time
    starts_at: Time
    ends_at: Time


def test_an_example_has_values_that_the_names_suggest() -> None:
    example = make_example(Note)
    assert example["author"] == {
        "id": "author-1",
        "email": "name@example.org",
        "avatar": "https://example.org/image.png",
    }
    assert (example["message"], example["carMake"]) == ("Example message.", "Car make")
    assert (example["categories"], example["userIds"]) == (["Category"], ["user-1"])
    assert (example["latitude"], example["longitude"]) == (51.5, 0)
    assert example["oldStatus"] != example["status"]
    assert example["oldPrice"] != example["newPrice"]
    times = [example[name] for name in ("createdAt", "updatedAt", "startsAt", "endsAt")]
    assert times == sorted(set(times))
