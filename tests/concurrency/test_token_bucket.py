"""Token buckets: how many at once, how many in the long run, and what is owed."""

import pytest

from oyez.concurrency.token_bucket import Rate, TokenBucket


def test_as_many_at_once_as_the_rate_permits_then_as_time_passes() -> None:
    bucket = TokenBucket(Rate(3, 1.0), 0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.wait() == pytest.approx(1 / 3)
    assert [bucket.take(0.4), bucket.take(0.4)] == [True, False]
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


def test_tokens_that_flow_in_meanwhile_count() -> None:
    bucket = TokenBucket(Rate(40, 1.0), 0.0)
    assert all(bucket.take(0.0) for _ in range(40))
    assert [bucket.take(0.0), bucket.take(0.024)] == [False, False]
    assert [bucket.take(0.026), bucket.take(0.026)] == [True, False]
    # In the long run it is the limit: an attempt each millisecond of ten seconds.
    assert sum(bucket.take(0.026 + number / 1_000) for number in range(10_000)) == 400


def test_a_failed_attempt_does_not_make_the_wait_longer() -> None:
    bucket = TokenBucket(Rate(1, 60.0), 0.0)
    assert bucket.take(0.0)
    assert not any(bucket.take(float(second)) for second in range(1, 59))
    assert bucket.take(60.5)


def test_tokens_may_be_owed() -> None:
    bucket = TokenBucket(Rate(2, 1.0), 0.0)
    assert [bucket.take(0.0, credit=1.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(0.9), bucket.take(1.0)] == [False, True]
    bucket.charge(2, 1.0)
    assert (bucket.debt(1.0), bucket.debt(2.0)) == (1.0, 0.0)
    assert [bucket.take(2.4), bucket.take(2.5)] == [False, True]
    assert [bucket.is_full(3.4), bucket.is_full(3.5)] == [False, True]
