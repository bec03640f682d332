"""Limits, as contracts write them."""

import pytest

from oyez.contract.limits import DEFAULT_LIMIT, Limit, SharedLimit, per_address, per_room, read_limits
from oyez.errors import ContractError


def test_limits_can_be_read() -> None:
    assert Limit.parse("10/s").text == "10 a second"
    assert Limit.parse("30/m").text == "30 a minute"
    assert Limit.parse("1/h").text == "1 an hour"


def test_a_limit_is_one_or_several() -> None:
    assert read_limits(None) == (DEFAULT_LIMIT, ())
    assert read_limits("5/s") == (Limit.parse("5/s"), ())
    shared = SharedLimit(Limit.parse("9/h"), "address")
    assert read_limits(per_address("9/h")) == (DEFAULT_LIMIT, (shared,))
    first, others = read_limits([per_address("9/h"), "5/s", "7/h", per_room("3/m")])
    assert first == Limit.parse("5/s")
    assert [one.text for one in others] == ["9 an hour from each address", "7 an hour", "3 a minute in each room"]


def test_half_of_a_limit_is_at_least_one() -> None:
    assert [Limit.parse(text).half.count for text in ("1/s", "2/s", "9/s", "10/s")] == [1, 1, 5, 5]


@pytest.mark.parametrize("text", ["10", "0/s", "-1/s", "10/d", "10 / s", "٣/s", ""])
def test_texts_that_are_not_limits(text: str) -> None:
    with pytest.raises(ContractError, match="such as 10/s"):
        Limit.parse(text)
