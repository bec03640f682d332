"""Rooms and their names: one name is one room of one kind."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oyez.contract import Contract, anyone
from oyez.contract.declare import Namespace
from oyez.errors import UNKNOWN_ROOM, ContractError, RefusedError
from tests.support.market import garage, operations, root, stall, ticket, user


def namespace(*patterns: str) -> Namespace:
    declared = Contract("c", roles=("r",)).namespace("/")
    for pattern in patterns:
        declared.room(pattern, members=anyone())
    return declared


def test_a_room_is_named_by_filling_its_placeholders() -> None:
    assert str(user("42")) == "user_42"
    assert str(garage(garage_id="x")) == "garage_x"
    assert str(stall("3", "7")) == str(stall("3", number="7")) == "stall:3:7"
    assert str(operations()) == "user_operations"
    assert user("42").namespace == "/"


@pytest.mark.parametrize(
    ("name", "pattern", "values"),
    [
        ("user_42", "user_{userId}", {"userId": "42"}),
        ("user_operations", "user_operations", {}),
        ("user_operations2", "user_{userId}", {"userId": "operations2"}),
        ("user_a:b_c d", "user_{userId}", {"userId": "a:b_c d"}),
        ("stall:3:7", "stall:{row}:{number}", {"row": "3", "number": "7"}),
        ("stall:3:7:9", "stall:{row}:{number}", {"row": "3", "number": "7:9"}),
    ],
)
def test_a_name_has_one_kind_and_one_reading(name: str, pattern: str, values: dict[str, str]) -> None:
    resolved = root.rooms.resolve(name)
    assert resolved is not None
    assert (resolved[0].pattern, resolved[1]) == (pattern, values)


@pytest.mark.parametrize(
    "name", ["", "user_", "User_1", " user_1", "stall:3", "user_" + "x" * 129, "user_a\n", "user_\0"]
)
def test_a_name_of_no_kind(name: str) -> None:
    assert root.rooms.resolve(name) is None


@pytest.mark.parametrize("value", ["", "operations", "a\n", "\x7f", "x" * 129])
def test_a_value_that_cannot_be_in_a_name(value: str) -> None:
    with pytest.raises(RefusedError) as refused:
        user(value)
    assert refused.value.refusal is UNKNOWN_ROOM


def test_a_value_cannot_extend_beyond_its_placeholder() -> None:
    with pytest.raises(RefusedError):
        stall("3:9", "7")


def test_a_placeholder_may_hold_listed_values_only() -> None:
    board = Contract("c", roles=("r",)).namespace("/").room("board:{period}", values={"period": ("daily", "weekly")})
    assert str(board("daily")) == "board:daily"
    assert board.match("board:weekly") == {"period": "weekly"}
    assert board.values == {"period": ("daily", "weekly")}
    for name in ("board:hourly", "board:daily2", "board:Daily"):
        assert board.match(name) is None
    with pytest.raises(RefusedError) as refused:
        board("hourly")
    assert refused.value.refusal is UNKNOWN_ROOM


@given(st.text(), st.text())
def test_a_built_name_is_resolved_to_its_values(row: str, number: str) -> None:
    try:
        room = stall(row, number)
    except RefusedError:
        return
    assert root.rooms.resolve(room.name) == (stall, {"row": row, "number": number})


@pytest.mark.parametrize("values", [(), ("a", "b")])
def test_the_placeholders_are_filled_all_and_once(values: tuple[str, ...]) -> None:
    with pytest.raises(ContractError, match="expected ticketId"):
        ticket(*values)


@pytest.mark.parametrize("pattern", ["a_{}", "a_{b", "a_b}", "{a}{b}", "{a}_{a}", "a_{b-c}"])
def test_texts_that_are_not_patterns(pattern: str) -> None:
    made = Contract("c", roles=("user",))
    made.namespace("/").room(pattern, members=anyone())
    with pytest.raises(ContractError, match=f"room {re.escape(pattern)}: "):
        made.build()


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("user_{a}", "user_{b}", True),
        ("user_{a}", "user_vip_{b}", True),
        ("{a}", "user_{b}", True),
        ("order:{a}", "order:{a}:items", True),
        ("room", "room", True),
        ("user_{a}", "user_operations", False),
        ("user_{a}", "users_{b}", False),
        ("chat:user:{a}", "chat:supplier:{a}", False),
        ("{a}:x", "{a}:y", False),
    ],
)
def test_kinds_that_could_share_a_name(one: str, other: str, overlap: bool) -> None:
    kinds = namespace(one, other).rooms.kinds
    assert kinds[0].overlaps(kinds[1]) is overlap
    assert kinds[1].overlaps(kinds[0]) is overlap


@given(
    st.lists(st.sampled_from(["user_{a}", "u_{a}", "user:{a}", "user_x", "{a}:{b}", "x:{a}", "user_{a}_y"]), min_size=2)
)
def test_kinds_that_do_not_overlap_never_share_a_name(patterns: list[str]) -> None:
    kinds = namespace(*patterns[:2]).rooms.kinds
    if not kinds[0].overlaps(kinds[1]):
        for name in ("user_x", "user_y", "u_x", "x:y", "user:x", "user_x_y", "user_x:y", "u_x:y"):
            assert sum(kind.match(name) is not None for kind in kinds) <= 1
