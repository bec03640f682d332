"""Limits, as contracts write them."""

import pytest

from oyez.contract.limits import Limit
from oyez.errors import ContractError


def test_limits_can_be_read() -> None:
    assert Limit.parse("10/s").text == "10 a second"
    assert Limit.parse("30/m").text == "30 a minute"


@pytest.mark.parametrize("text", ["10", "0/s", "-1/s", "10/h", "10 / s", "٣/s", ""])
def test_texts_that_are_not_limits(text: str) -> None:
    with pytest.raises(ContractError, match="such as 10/s"):
        Limit.parse(text)
