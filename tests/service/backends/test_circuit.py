"""The circuit breaker, at times of the test's own."""

from oyez.service.backends.circuit import MAX_PAUSE, PROBE_WAIT, Circuit, State


def open_circuit(failures: int = 3, pause: float = 2.0) -> Circuit:
    circuit = Circuit(failures, pause)
    for _ in range(failures):
        assert circuit.try_acquire(0.0) == 0.0
        circuit.fail(0.0)
    return circuit


def test_single_failures_do_not_open_it() -> None:
    circuit = Circuit(3, 2.0)
    for _ in range(10):
        circuit.fail(0.0)
        circuit.fail(0.0)
        assert circuit.try_acquire(0.0) == 0.0
        circuit.succeed()


def test_it_opens_after_failures_in_a_row_and_says_how_long_to_wait() -> None:
    circuit = Circuit(3, 2.0)
    assert [circuit.fail(0.0) for _ in range(3)] == [False, False, True]
    assert circuit.try_acquire(0.5) == 1.5


def test_one_request_at_a_time_probes_and_a_success_closes_it() -> None:
    circuit = open_circuit()
    assert circuit.try_acquire(2.0) == 0.0
    assert circuit.try_acquire(2.0) == PROBE_WAIT
    assert circuit.succeed()
    assert [circuit.try_acquire(2.0) for _ in range(3)] == [0.0, 0.0, 0.0]


def test_a_probe_that_fails_doubles_the_pause_up_to_a_limit() -> None:
    circuit, now = open_circuit(), 2.0
    for expected in (4.0, 8.0, 16.0, 32.0, MAX_PAUSE, MAX_PAUSE):
        assert circuit.try_acquire(now) == 0.0
        # Only the first opening is worth a log line.
        assert not circuit.fail(now)
        assert circuit.try_acquire(now) == expected
        now += expected


def test_requests_that_were_on_their_way_when_it_opened_do_not_prolong_the_pause() -> None:
    circuit = open_circuit()
    circuit.fail(1.0)
    assert circuit.try_acquire(1.0) == 1.0


def test_a_probe_without_an_outcome_leaves_the_next_one_free() -> None:
    circuit = open_circuit()
    circuit.try_acquire(2.0)
    circuit.abandon(2.0)
    assert circuit.state is State.OPEN
    assert circuit.try_acquire(2.0) == 0.0
