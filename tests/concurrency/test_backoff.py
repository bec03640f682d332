"""Backoff: delays that double up to a limit."""

from oyez.concurrency.backoff import Backoff, is_worth_logging


def test_delays_double_up_to_the_longest() -> None:
    backoff = Backoff(0.5, 3.0)
    assert [backoff.delay(failures) for failures in range(1, 6)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert backoff.delay(1_000_000) == 3.0


def test_the_random_part_makes_delays_shorter() -> None:
    backoff = Backoff(1.0, 8.0, jitter=0.5)
    delays = [backoff.delay(3) for _ in range(100)]
    assert all(2.0 <= delay <= 4.0 for delay in delays)
    assert len(set(delays)) > 1


def test_failures_are_logged_at_ever_longer_intervals() -> None:
    assert [failures for failures in range(1, 20) if is_worth_logging(failures)] == [1, 2, 4, 8, 16]
