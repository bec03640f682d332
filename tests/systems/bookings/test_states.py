"""The course of a booking: the table as it is agreed, and what no sequence of actions can make of it."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oyez.errors import RefusedError
from oyez.systems.bookings.payloads import BookingStatus, KycStatus
from oyez.systems.bookings.states import (
    ACTIVE,
    ON_THE_WAY,
    PARTNER_ACTIONS,
    PENDING,
    REVIEWS,
    SENTENCES,
    SHARED,
    TARGETS,
    TRANSITIONS,
    Action,
    move,
    partner_action,
    review,
)

STATUSES: tuple[BookingStatus, ...] = get_args(BookingStatus)
ACTIONS: tuple[Action, ...] = get_args(Action)

# All other transitions are illegal.
LEGAL = {
    ("PENDING", "assign", "PARTNER_ASSIGNED"),
    ("PENDING", "cancel", "CANCELLED"),
    ("PARTNER_ASSIGNED", "assign", "PARTNER_ASSIGNED"),
    ("PARTNER_ASSIGNED", "accept", "PARTNER_ACCEPTED"),
    ("PARTNER_ASSIGNED", "reject", "PARTNER_REJECTED"),
    ("PARTNER_ASSIGNED", "cancel", "CANCELLED"),
    ("PARTNER_REJECTED", "assign", "PARTNER_ASSIGNED"),
    ("PARTNER_REJECTED", "cancel", "CANCELLED"),
    ("PARTNER_ACCEPTED", "assign", "PARTNER_ASSIGNED"),
    ("PARTNER_ACCEPTED", "start", "IN_PROGRESS"),
    ("PARTNER_ACCEPTED", "cancel", "CANCELLED"),
    ("IN_PROGRESS", "complete", "COMPLETED"),
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_in_every_status(status: BookingStatus, action: Action) -> None:
    targets = {target for start, taken, target in LEGAL if (start, taken) == (status, action)}
    if targets:
        assert {move(status, action)} == targets
        return
    with pytest.raises(RefusedError) as refused:
        move(status, action)
    assert refused.value.refusal.code == "illegal_transition"
    assert refused.value.message == f"The booking is {status} and cannot become {TARGETS[action]}."
    assert refused.value.details == {"from": status, "to": TARGETS[action]}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("target", STATUSES)
def test_every_status_that_a_partner_may_name(status: BookingStatus, target: BookingStatus) -> None:
    legal = {
        action
        for start, action, end in LEGAL
        if (start, end) == (status, target) and action in ("accept", "reject", "start", "complete")
    }
    if legal:
        assert {partner_action(status, target)} == legal
        return
    with pytest.raises(RefusedError, match=f"The booking is {status} and cannot become {target}."):
        partner_action(status, target)


def test_the_tables_speak_of_every_status() -> None:
    assert TRANSITIONS.keys() == SENTENCES.keys() == set(STATUSES)
    assert REVIEWS.keys() == set(get_args(KycStatus))
    # Statistics count each booking once.
    assert sorted((*PENDING, *ACTIVE, "COMPLETED", "CANCELLED")) == sorted(STATUSES)
    assert set(ON_THE_WAY) < set(ACTIVE) < set(SHARED)


def test_an_action_leads_to_one_status() -> None:
    for actions in TRANSITIONS.values():
        for action, target in actions.items():
            assert TARGETS[action] == target
    assert {PARTNER_ACTIONS[TARGETS[action]] for action in PARTNER_ACTIONS.values()} == set(PARTNER_ACTIONS.values())


@given(st.lists(st.sampled_from(ACTIONS), max_size=30))
def test_no_sequence_of_actions_leaves_the_table(actions: list[Action]) -> None:
    status: BookingStatus = "PENDING"
    been = [status]
    for action in actions:
        try:
            status = move(status, action)
        except RefusedError as refused:
            assert refused.refusal.code == "illegal_transition"
            assert refused.details["from"] == status
        else:
            been.append(status)
    # Nothing follows an end; work starts only after an acceptance, and is completed only after its start.
    for end in ("COMPLETED", "CANCELLED"):
        assert end not in been[:-1]
    for status, before in (("IN_PROGRESS", "PARTNER_ACCEPTED"), ("COMPLETED", "IN_PROGRESS")):
        if status in been:
            assert been[been.index(status) - 1] == before


def test_documents_are_decided_about_once() -> None:
    assert review("SUBMITTED", "APPROVED") == "APPROVED"
    assert review("SUBMITTED", "REJECTED") == "REJECTED"
    with pytest.raises(RefusedError, match=r"The submission is APPROVED and cannot become REJECTED\."):
        review("APPROVED", "REJECTED")
