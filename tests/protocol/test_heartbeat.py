"""The heartbeat as deadlines: pings, pongs, and the time that a client is given that sends something else."""

from oyez.protocol.heartbeat import Heartbeat

INTERVAL, TIMEOUT = 25.0, 20.0


def make_heartbeat() -> Heartbeat:
    """It begins at 0, and its first ping is sent at 25."""
    heartbeat = Heartbeat(INTERVAL, TIMEOUT, 0.0)
    assert not heartbeat.is_ping_due(24.9)
    assert heartbeat.is_ping_due(heartbeat.deadline)
    heartbeat.ping(INTERVAL)
    return heartbeat


def is_lost(heartbeat: Heartbeat, now: float, received: bool = False, paused: bool = False) -> bool:
    return heartbeat.is_lost(now, received=received, paused=paused)


def test_a_pong_is_awaited_for_the_time_out() -> None:
    heartbeat = make_heartbeat()
    assert (heartbeat.awaits_pong, heartbeat.deadline) == (True, 45.0)
    assert not heartbeat.is_ping_due(100.0)
    assert [is_lost(heartbeat, now) for now in (44.9, 45.0)] == [False, True]


def test_the_next_ping_is_due_an_interval_after_the_pong() -> None:
    heartbeat = make_heartbeat()
    heartbeat.reset(40.0)
    assert (heartbeat.awaits_pong, heartbeat.deadline) == (False, 65.0)
    assert not is_lost(heartbeat, 1_000.0)


def test_a_client_that_sends_something_has_one_more_time_out_for_each_ping() -> None:
    heartbeat = make_heartbeat()
    assert [is_lost(heartbeat, now, received=True) for now in (45.0, 64.9, 65.0)] == [False, False, True]
    heartbeat.reset(65.0)
    heartbeat.ping(90.0)
    assert [is_lost(heartbeat, now, received=True) for now in (110.0, 130.0)] == [False, True]


def test_a_client_that_is_not_read_is_not_lost() -> None:
    heartbeat = make_heartbeat()
    assert not any(is_lost(heartbeat, now, paused=True) for now in (45.0, 65.0, 85.0))
    assert [is_lost(heartbeat, now, received=True) for now in (105.0, 125.0)] == [False, True]


def test_a_client_without_an_open_request_could_fetch_the_ping_from_when_it_was_due() -> None:
    heartbeat = make_heartbeat()
    for unpolled_since, sent_at, deadline in ((60.0, 66.0, 85.0), (65.5, 66.0, 85.5), (60.0, 70.0, 90.0)):
        heartbeat.reset(40.0)
        heartbeat.ping(sent_at, unpolled_since)
        assert heartbeat.deadline == deadline
