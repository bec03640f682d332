"""What the clients of a crowd missed, and how long a deploy took, computed from reports without any server."""

from collections.abc import Sequence

from chaos.crowd import Outcome, Report, Sent, compare
from chaos.rolling import Deploy


def report(*numbers: int, not_recovered: Sequence[int] = (), connected: bool = True) -> Report:
    return Report("ada", list(numbers), not_recovered=list(not_recovered), connected=connected)


def test_a_missing_event_counts_apart_if_the_client_was_informed() -> None:
    sent = Sent(shared=[1, 2, 3, 4], private={"ada": [5], "bob": [6]})
    outcome = Outcome(javascript=0, own=3, seconds=1.0)
    compare(sent, [report(1, 2, 3, 4, 5), report(1, 4, 5, not_recovered=[1]), report(1, 2, 3, 5, 6)], outcome)
    assert (outcome.due, outcome.missing, outcome.missing_informed, outcome.foreign) == (15, 1, 2, 1)
    assert not outcome.good


def test_a_client_that_is_not_connected_at_the_end_is_a_fault() -> None:
    outcome = Outcome(javascript=0, own=1, seconds=1.0)
    compare(Sent(shared=[1]), [report(1, connected=False)], outcome)
    assert (outcome.delivered, outcome.absent, outcome.good) == (100.0, 1, False)


def test_a_deploy_is_over_when_the_last_client_that_it_disconnected_is_back() -> None:
    second = 1_000_000_000
    deploy = Deploy(signals=[10 * second, 20 * second])
    # An absence before the first signal does not count; one before the second signal counts for the first.
    absences = [(9 * second, 19 * second), (11 * second, 14 * second), (21 * second, 23 * second)]
    assert deploy.recovery(absences) == 4.0
    assert deploy.recovery([]) == 0.0
