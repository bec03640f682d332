"""What users have spent of their limits, on this node and on others."""

import pytest

from oyez.concurrency.token_bucket import Rate
from oyez.contract.limits import Limit
from oyez.errors import RATE_LIMITED, RefusedError
from oyez.runtime.failed_sign_ins import FailedSignIns
from oyez.runtime.usage import MAX_OWNERS, NETWORK_PREFIX, Bucket, Users
from oyez.server.cluster.usage import Connected, Spent


def test_a_command_may_be_reserved_in_advance() -> None:
    bucket = Bucket(Limit.parse("2/s"), 0.0)
    assert [bucket.reserve(0.0, 0.0) for _ in range(3)] == [0.0, 0.0, None]
    assert [bucket.reserve(0.0, 1.0), bucket.reserve(0.0, 1.0), bucket.reserve(0.0, 1.0)] == [0.5, 1.0, None]
    assert [bucket.take(1.4), bucket.take(1.5)] == [False, True]


def test_users_without_connections_are_remembered_until_their_limits_are_full_again() -> None:
    users = Users()
    first, limit = users.enter("u1", "a", 2), Limit.parse("1/m")
    assert first is not None
    assert users.bucket(first, "u1", "/", "buy", limit, 0.0).take(0.0)
    assert users.enter("u1", "a", 2) is first
    assert users.enter("u1", "b", 2) is first
    assert users.enter("u1", "c", 2) is None
    for connection in ("a", "a", "b"):
        users.leave("u1", connection, 1.0)
    back = users.enter("u1", "d", 2)
    assert back is first
    users.leave("u1", "d", 2.0)
    users.enter("u2", "e", 2)
    users.leave("u2", "e", 70.0)
    assert users.enter("u1", "f", 2) is not first


def test_what_users_spend_at_other_nodes_is_charged() -> None:
    limits = {("/", "buy"): Limit.parse("10/s")}
    here, there = Users(limits), Users(limits)
    at_both = [(users, users.enter("u1", "a", 9, 0.0)) for users in (here, there)]

    def spend(now: float) -> int:
        """Spends as much as both nodes allow."""
        done = 0
        for users, usage in at_both:
            assert usage is not None
            bucket = users.bucket(usage, "u1", "/", "buy", limits["/", "buy"], now)
            while bucket.take(now):
                done += 1
        return done

    spent = []
    for second in range(60):
        spent.append(sum(spend(second + part / 10) for part in range(10)))
        announced = here.take_spent(5), there.take_spent(5)
        there.charge("here", announced[0], [], second + 1.0)
        here.charge("there", announced[1], [], second + 1.0)
    assert 30 < spent[0] <= 40  # Both buckets were full, and each has let in what flowed into it.
    assert sum(spent) <= 60 * 10 + 2 * 10 + 20


def test_slow_users_and_small_numbers_of_connections_are_not_announced() -> None:
    users, limit = Users({("/", "buy"): Limit.parse("20/s")}), Limit.parse("20/s")
    usage = users.enter("u1", "a", 9, 0.0)
    assert usage is not None
    assert users.bucket(usage, "u1", "/", "buy", limit, 0.0).take(0.0)
    assert users.take_spent(5) == []
    assert users.take_connected(5, 1.0) == []


def test_connections_to_other_nodes_count_until_the_nodes_are_gone() -> None:
    here, there = Users(), Users()
    for number in range(6):
        assert there.enter("u1", f"there-{number}", 8, 0.0)
    announced = there.take_connected(5, 1.0)
    assert announced == [Connected("u1", 6)]
    assert there.take_connected(5, 2.0) == []
    assert there.take_connected(5, 20.0) == announced
    here.charge("there", [], announced, 20.0)
    assert here.enter("u1", "a", 8, 21.0) and here.enter("u1", "b", 8, 21.0)
    assert here.enter("u1", "c", 8, 21.0) is None
    for number in range(3):
        there.leave("u1", f"there-{number}", 22.0)
    here.charge("there", [], there.take_connected(5, 22.0), 22.0)
    assert here.enter("u1", "c", 8, 22.0)
    here.charge("there", [], announced, 23.0)
    assert here.enter("u1", "d", 8, 24.0) is None
    here.keep_nodes({"another"}, 25.0)
    assert here.enter("u1", "d", 8, 25.0)


def test_usage_on_other_nodes_counts_for_a_user_that_connects_later() -> None:
    limits = {("/", "buy"): Limit.parse("30/m")}
    users = Users(limits)
    users.charge("there", [Spent("u1", "/", "buy", 30)], [], 0.0)
    usage = users.enter("u1", "a", 8, 1.0)
    assert usage is not None
    assert not users.bucket(usage, "u1", "/", "buy", limits["/", "buy"], 1.0).take(1.0)
    users.leave("u1", "a", 2.0)
    users.charge("there", [], [], 100.0)
    assert users.enter("u1", "a", 8, 101.0) is not usage


def test_users_with_a_limit_for_an_hour_are_remembered_longer() -> None:
    users, limit = Users(), Limit.parse("2/h")
    first = users.enter("u1", "a", 2, 0.0)
    assert first is not None
    assert users.bucket(first, "u1", "/", "buy", limit, 0.0).take(0.0)
    users.leave("u1", "a", 0.0)
    for now, kept in ((100.0, True), (1_700.0, True), (1_900.0, False)):
        users.enter("u2", "b", 2, now)
        users.leave("u2", "b", now)
        assert (users.enter("u1", "a", 2, now) is first) is kept
        users.leave("u1", "a", now)


def test_shared_limits_hold_over_nodes() -> None:
    limit = Limit.parse("10/m")
    here, there = Users(), Users()
    for users in (here, there):
        users.shared.add_limit("/", "vote\x000", limit)
    for _ in range(6):
        assert here.shared.get("room", "/", "vote\x000", 0.0).take(0.0)
    announced = here.take_spent(5)
    assert announced == [Spent("room", "/", "vote\x000", 6)]
    there.charge("here", [*announced, Spent("room", "/", "unknown", 5)], [], 0.0)
    assert [there.shared.get("room", "/", "vote\x000", 0.0).take(0.0) for _ in range(5)] == [True] * 4 + [False]
    assert there.shared.get("other", "/", "vote\x000", 0.0).take(0.0)


def test_failed_sign_ins_at_other_nodes_count() -> None:
    def clock() -> float:
        return 5.0

    here, there = Users(), Users()
    failures = [FailedSignIns(Rate(3, 60.0), clock, users.shared) for users in (here, there)]
    for _ in range(3):
        failures[0].count("10.0.0.1")
    failures[1].check("10.0.0.1")
    there.charge("here", here.take_spent(5), [], clock())
    for failing in failures:
        with pytest.raises(RefusedError) as refused:
            failing.count("10.0.0.1")
        assert (refused.value.refusal, refused.value.details["retry_after"]) == (RATE_LIMITED, 20.0)
        failing.count("10.0.0.2")


def test_the_number_of_rooms_and_addresses_is_limited() -> None:
    users, limit = Users(), Limit.parse("1/h")
    users.shared.add_limit("/", "x", limit)
    for number in range(MAX_OWNERS + 1):
        assert users.shared.get(f"{number}", "/", "x", 0.0).take(0.0)
    assert not users.shared.get(f"{MAX_OWNERS}", "/", "x", 1.0).take(1.0)
    assert users.shared.get("0", "/", "x", 1.0).take(1.0)


def test_guests_of_a_network_share_the_limits_of_several_users() -> None:
    limit = Limit.parse("2/s")
    users = Users({("/", "buy"): limit}, guests_per_address=3)
    network = f"{NETWORK_PREFIX}10.0.0.1"
    usage = users.enter(network, "a", 2)
    assert usage is not None
    assert [users.enter(network, connection, 2) for connection in "bcdef"] == [usage] * 5
    assert users.enter(network, "g", 2) is None
    assert users.enter(f"{NETWORK_PREFIX}10.0.0.2", "g", 2) is not None
    bucket = users.bucket(usage, network, "/", "buy", limit, 0.0)
    assert [bucket.take(0.0) for _ in range(7)] == [True] * 6 + [False]
    person = users.enter("10.0.0.1", "h", 2)
    assert person is not None
    own = users.bucket(person, "10.0.0.1", "/", "buy", limit, 0.0)
    assert [own.take(0.0) for _ in range(3)] == [True, True, False]
