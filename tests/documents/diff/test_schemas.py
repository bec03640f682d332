"""Schemas of real classes compared: each kind of change, in both directions, and whether the levels are true."""

from itertools import product
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct, defstruct

from oyez.contract.types import Time
from oyez.documents.diff.kinds import BREAKING, SAFE, SCHEMA_KINDS
from oyez.documents.diff.schemas import SchemaChange, SchemaDiff
from oyez.documents.json_schema import Schemas
from tests.documents.diff.reverses import SCHEMA_REVERSES


class Car(Struct, tag="car"):
    doors: int


class Bike(Struct, tag="bike"):
    gears: int


class Tree(Struct):
    children: "list[Tree]"
    weight: int


class Forest(Struct):
    children: "list[Forest]"
    weight: float


def make(*fields: Any, **options: Any) -> Any:
    return defstruct("Order", fields, **options)


def find_changes(old: Any, new: Any) -> list[SchemaChange]:
    before, after = Schemas(), Schemas()
    left, right = before.make(old), after.make(new)
    return SchemaDiff(before.definitions, after.definitions).compare(left, right)


PRICE = ("price", int)
CASES = [
    ("field-added", "note", make(PRICE), make(PRICE, ("note", str, ""))),
    ("required-field-added", "note", make(PRICE), make(PRICE, ("note", str))),
    ("field-now-required", "price", make(("price", int, 0)), make(PRICE)),
    ("null-allowed", "price", make(PRICE), make(("price", int | None))),
    ("type-widened", "price", make(PRICE), make(("price", float))),
    ("type-widened", "price", make(PRICE), make(("price", int | str))),
    ("type-widened", "price", make(PRICE), make(("price", Any))),
    ("type-widened", "price", make(("price", int | None)), make(("price", Any))),
    ("type-widened", "at", make(("at", Time)), make(("at", str))),
    ("type-widened", "price", make(("price", int | None)), make(("price", float | None))),
    ("type-changed", "price", make(PRICE), make(("price", str))),
    ("type-changed", "price", make(PRICE), make(("price", Literal["free", "dear"]))),
    ("binary-changed", "photo", make(("photo", str)), make(("photo", bytes))),
    ("values-added", "state", make(("state", Literal["a", "b"])), make(("state", Literal["a", "b", "c"]))),
    ("values-added", "state", make(("state", Literal["a", "b"])), make(("state", str))),
    (
        "range-widened",
        "price",
        make(("price", Annotated[int, Meta(ge=1)])),
        make(("price", Annotated[int, Meta(ge=0)])),
    ),
    ("range-widened", "price", make(("price", Annotated[int, Meta(le=1)])), make(PRICE)),
    ("range-widened", "price", make(("price", set[int])), make(("price", list[int]))),
    ("length-widened", "name", make(("name", Annotated[str, Meta(max_length=5)])), make(("name", str))),
    ("length-widened", "all", make(("all", Annotated[list[int], Meta(min_length=1)])), make(("all", list[int]))),
    (
        "length-widened",
        "all",
        make(("all", Annotated[dict[str, int], Meta(max_length=9)])),
        make(("all", dict[str, int])),
    ),
    ("pattern-added", "name", make(("name", str)), make(("name", Annotated[str, Meta(pattern="^a")]))),
    (
        "pattern-changed",
        "name",
        make(("name", Annotated[str, Meta(pattern="^b")])),
        make(("name", Annotated[str, Meta(pattern="^a")])),
    ),
    ("shape-added", "what", make(("what", Car)), make(("what", Car | Bike))),
    ("unknown-fields-refused", "", make(PRICE), make(PRICE, forbid_unknown_fields=True)),
    ("default-changed", "price", make(("price", int, 1)), make(("price", int, 2))),
    ("length-changed", "pair", make(("pair", tuple[int, int])), make(("pair", tuple[int, int, int]))),
    ("type-widened", "pair[1]", make(("pair", tuple[int, int])), make(("pair", tuple[int, float]))),
    ("type-widened", "items[]", make(("items", list[int])), make(("items", list[float]))),
    ("type-widened", "items{}", make(("items", dict[str, int])), make(("items", dict[str, float]))),
    ("type-widened", "weight", Tree, Forest),
    (
        "required-field-added",
        "items[].inner.b",
        make(("items", list[make(("inner", make(("a", int))))])),  # type: ignore[misc]
        make(("items", list[make(("inner", make(("a", int), ("b", int))))])),  # type: ignore[misc]
    ),
]


@pytest.mark.parametrize(("kind", "path", "old", "new"), CASES)
def test_each_kind_is_found_in_both_directions(kind: str, path: str, old: Any, new: Any) -> None:
    assert {(change.kind, change.path) for change in find_changes(old, new)} == {(kind, path)}
    reverse = SCHEMA_REVERSES[kind]
    assert {(change.kind, change.path) for change in find_changes(new, old)} == {(reverse, path)}


def test_every_kind_is_tried() -> None:
    tried = {kind for kind, *_ in CASES}
    assert tried | {SCHEMA_REVERSES[kind] for kind in tried} == set(SCHEMA_KINDS)


def test_what_is_wider_for_a_sender_is_narrower_for_the_other_direction() -> None:
    for kind in SCHEMA_KINDS.values():
        assert SCHEMA_REVERSES[SCHEMA_REVERSES[kind.name]] == kind.name
        if kind.senders is SAFE and kind.name != "unknown-fields-allowed":
            assert SCHEMA_KINDS[SCHEMA_REVERSES[kind.name]].senders is BREAKING


def test_the_name_of_a_class_does_not_matter() -> None:
    assert find_changes(make(PRICE), defstruct("Other", [PRICE])) == []


def test_a_changed_shape_of_a_union_is_named() -> None:
    wider = defstruct("Car", [("doors", float)], tag="car")
    assert [change[:2] for change in find_changes(make(("what", Car | Bike)), make(("what", wider | Bike)))] == [
        ("type-widened", "what (type: car).doors")
    ]


# Whether the levels are true, by the decoder itself.

KINDS_OF_VALUE: list[Any] = [
    int,
    float,
    str,
    bool,
    Any,
    int | None,
    str | int,
    str | None,
    Literal["a", "bb"],
    Literal["a"],
    Annotated[int, Meta(ge=0)],
    Annotated[int, Meta(gt=0, le=5)],
    Annotated[str, Meta(max_length=1)],
    Annotated[str, Meta(pattern="^a")],
    list[int],
    list[float],
    tuple[int, int],
    Annotated[list[int], Meta(max_length=1)],
    dict[str, int],
    dict[str, Any],
]
VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    3,
    9,
    1.5,
    "",
    "a",
    "bb",
    "abc",
    [],
    [1],
    [1, 2],
    [1.5],
    {},
    {"x": 1},
    {"x": "y"},
]


def accepts(kind: Any, value: Any) -> bool:
    try:
        msgspec.json.decode(msgspec.json.encode(value), type=kind)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize("old", KINDS_OF_VALUE, ids=str)
def test_values_of_unchanged_senders_are_accepted_unless_a_change_is_breaking(old: Any) -> None:
    for new in KINDS_OF_VALUE:
        changes = find_changes(old, new)
        if all(SCHEMA_KINDS[change.kind].senders is SAFE for change in changes):
            assert [value for value in VALUES if accepts(old, value) and not accepts(new, value)] == [], new
        if all(SCHEMA_KINDS[change.kind].receivers is SAFE for change in changes):
            assert [value for value in VALUES if accepts(new, value) and not accepts(old, value)] == [], new


def _grow(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    fields = st.dictionaries(st.sampled_from("abc"), st.tuples(inner, st.booleans()), max_size=3)
    return (
        fields.map(_make_class)
        | inner.map(lambda kind: list[kind])  # type: ignore[valid-type]
        | inner.map(lambda kind: dict[str, kind])  # type: ignore[valid-type]
        | st.tuples(inner, inner).map(lambda kinds: tuple[kinds])  # type: ignore[valid-type]
    )


def _make_class(fields: dict[str, tuple[Any, bool]]) -> Any:
    listed = [(name, kind) if required else (name, kind, msgspec.UNSET) for name, (kind, required) in fields.items()]
    return defstruct("Made", listed, kw_only=True)


TYPES = st.recursive(st.sampled_from([kind for kind in KINDS_OF_VALUE if kind is not Any]), _grow, max_leaves=8)


@given(TYPES, TYPES)
@settings(max_examples=150, deadline=None)
def test_a_change_and_its_reverse_agree(old: Any, new: Any) -> None:
    assert find_changes(old, old) == []
    there, back = find_changes(old, new), find_changes(new, old)
    reversed_kinds = {(SCHEMA_REVERSES[change.kind], change.path) for change in there}
    assert reversed_kinds == {(change.kind, change.path) for change in back}


def test_no_pair_of_types_is_the_same_by_mistake() -> None:
    for old, new in product(KINDS_OF_VALUE, repeat=2):
        assert (find_changes(old, new) == []) is (old == new), (old, new)
