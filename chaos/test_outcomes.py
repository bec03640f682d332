"""What a crowd reports becomes what it missed, and how long a deploy took, without any server."""

from collections.abc import Sequence

from chaos.crowd import Heard, Outcome, Sent, compare
from chaos.rolling import Deploy


def heard(*numbers: int, told: Sequence[int] = (), connected: bool = True) -> Heard:
    return Heard("ada", list(numbers), told=list(told), connected=connected)


def test_what_a_crowd_missed_is_told_from_what_it_knows_it_missed() -> None:
    sent = Sent(shared=[1, 2, 3, 4], private={"ada": [5], "bob": [6]})
    outcome = Outcome(javascript=0, own=3, seconds=1.0)
    compare(sent, [heard(1, 2, 3, 4, 5), heard(1, 4, 5, told=[1]), heard(1, 2, 3, 5, 6)], outcome)
    assert (outcome.due, outcome.missing, outcome.told_missing, outcome.foreign) == (15, 1, 2, 1)
    assert not outcome.good


def test_who_does_not_come_back_is_a_fault() -> None:
    outcome = Outcome(javascript=0, own=1, seconds=1.0)
    compare(Sent(shared=[1]), [heard(1, connected=False)], outcome)
    assert (outcome.delivered, outcome.absent, outcome.good) == (100.0, 1, False)


def test_a_deploy_has_recovered_when_the_last_it_sent_away_is_back() -> None:
    second = 1_000_000_000
    deploy = Deploy(signals=[10 * second, 20 * second])
    # Who was away before the first signal has nothing to do with it; who goes before the second belongs to the first.
    absences = [(9 * second, 19 * second), (11 * second, 14 * second), (21 * second, 23 * second)]
    assert deploy.recovery(absences) == 4.0
    assert deploy.recovery([]) == 0.0
