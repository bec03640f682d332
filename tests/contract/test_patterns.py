"""Patterns of names: what they match, and which of them could mean the same name."""

import pytest

from oyez.contract.patterns import Pattern


@pytest.mark.parametrize(
    ("one", "other", "meets"),
    [
        ("picture:{a}:at:{b}", "picture:{a}:price", False),
        ("order:{x}", "order:open", True),
        ("order:{x}", "order:{y}:moved", True),
        ("order:{x}:moved", "order:{y}:closed", False),
        ("order:{x}:moved", "order:{y}:{z}", True),
        ("a{x}b", "ab", False),
        ("a{x}b", "axb", True),
        ("plain", "plain", True),
        ("plain", "other", False),
    ],
)
def test_patterns_that_could_mean_one_name(one: str, other: str, meets: bool) -> None:
    assert Pattern(one).meets(Pattern(other)) is Pattern(other).meets(Pattern(one)) is meets


def test_a_name_is_read_in_one_way_only() -> None:
    pattern = Pattern("order:{orderId}:moved:{by}")
    assert pattern.match("order:7:moved:ada:x") == {"orderId": "7", "by": "ada:x"}
    assert pattern.fill({"orderId": "7", "by": "ada:x"}) == "order:7:moved:ada:x"
    assert pattern.match("order::moved:ada") is None
    with pytest.raises(ValueError, match="order:7:8:moved:ada"):
        pattern.fill({"orderId": "7:8", "by": "ada"})
