"""How often a command may be sent."""

import pytest

from oyez.contract.limits import Bucket, Limit
from oyez.errors import ContractError


def test_as_many_at_once_as_the_limit_says_then_as_time_passes() -> None:
    bucket = Bucket(Limit.parse("3/s"), 0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.wait() == pytest.approx(1 / 3)
    assert [bucket.take(0.4), bucket.take(0.4)] == [True, False]
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


def test_what_flows_in_meanwhile_counts_too() -> None:
    bucket = Bucket(Limit.parse("40/s"), 0.0)
    assert all(bucket.take(0.0) for _ in range(40))
    assert [bucket.take(0.0), bucket.take(0.024)] == [False, False]
    assert [bucket.take(0.026), bucket.take(0.026)] == [True, False]
    # In the long run it is the limit: an attempt each millisecond of ten seconds.
    assert sum(bucket.take(0.026 + number / 1_000) for number in range(10_000)) == 400


def test_trying_does_not_make_the_wait_longer() -> None:
    bucket = Bucket(Limit.parse("1/m"), 0.0)
    assert bucket.take(0.0)
    assert not any(bucket.take(float(second)) for second in range(1, 59))
    assert bucket.take(60.5)


def test_refusals_are_counted_until_there_is_room_again() -> None:
    bucket = Bucket(Limit.parse("1/s"), 0.0)
    assert [(bucket.take(0.0), bucket.refused) for _ in range(3)] == [(True, 0), (False, 1), (False, 2)]
    assert bucket.take(2.0)
    assert bucket.refused == 0


def test_limits_can_be_read() -> None:
    assert Limit.parse("10/s").text == "10 a second"
    assert Limit.parse("30/m").text == "30 a minute"


@pytest.mark.parametrize("text", ["10", "0/s", "-1/s", "10/h", "10 / s", "٣/s", ""])
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(ContractError, match="such as 10/s"):
        Limit.parse(text)
