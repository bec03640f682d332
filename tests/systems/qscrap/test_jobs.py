"""The scheduled jobs of `qscrap`: what happens to requests, disputes, payouts and subscriptions in time."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from oyez.concurrency.clock import Clock as SystemClock
from oyez.contract import Time
from oyez.service.app import Oyez
from oyez.settings import Settings
from oyez.systems.qscrap import system
from oyez.systems.qscrap.requests import RequestBody, put_request
from oyez.testing import Published
from tests.support.clock import Clock
from tests.support.ledger import Ledger
from tests.systems.qscrap.backend import START, Backend, to_seconds

EXPIRES = "2026-01-13T08:15:00.000Z"
REQUEST = {"customer_id": "U-1", "expires_at": EXPIRES}
DISPUTE = {
    "order_id": "O-1",
    "customer_id": "U-1",
    "garage_id": "G-117",
    "reason": "doesnt_fit",
    "refund_amount": 40,
}
PAYDAY = "2026-01-20T00:00:00.000Z"
PAYOUT = {
    "order_id": "O-1",
    "garage_id": "G-117",
    "amount": 357,
    "reference": "TRF-26012000417",
    "scheduled_date": PAYDAY,
}


def notice(title: str, message: str, kind: str) -> dict[str, str]:
    return {"title": title, "message": message, "type": kind}


async def statuses(backend: Backend, path: str) -> str:
    status: str = (await backend.get(path))[1]["status"]
    return status


# Requests.


async def test_a_request_expires_in_its_time_and_not_before(backend: Backend) -> None:
    assert await backend.put("/requests/R-1", **REQUEST) == (201, {"request_id": "R-1", **REQUEST, "status": "open"})
    await backend.wait_until("2026-01-13T08:14:59.999Z")
    assert await backend.emitted() == []
    await backend.wait_until(EXPIRES)
    notification = notice("Request expired", "Your request has run out, and no bid was taken.", "info")
    told = {"request_id": "R-1", "notification": notification, "timestamp": EXPIRES}
    assert await backend.emitted() == [Published("request_expired", ("user_U-1",), told)]
    assert await statuses(backend, "/requests/R-1") == "expired"


async def test_a_request_that_was_settled_does_not_expire(backend: Backend) -> None:
    for request, action in (("R-1", "take"), ("R-2", "cancel")):
        await backend.put(f"/requests/{request}", **REQUEST)
        for _ in range(2):
            assert (await backend.post(f"/requests/{request}/{action}"))[0] == 200
    await backend.wait_until("2026-02-01T00:00:00.000Z")
    assert await backend.emitted() == []
    assert (await backend.post("/requests/R-1/cancel"))[1]["code"] == "illegal_transition"
    assert await statuses(backend, "/requests/R-1") == "taken"


async def test_a_request_can_get_more_time(backend: Backend) -> None:
    later = "2026-01-14T00:00:00.000Z"
    await backend.put("/requests/R-1", **REQUEST)
    assert (await backend.put("/requests/R-1", **{**REQUEST, "expires_at": later}))[1]["expires_at"] == later
    assert (await backend.put("/requests/R-1", **{**REQUEST, "expires_at": later}))[0] == 200
    await backend.wait_until(EXPIRES)
    assert await backend.emitted() == []
    await backend.wait_until(later)
    assert [event for event, *_ in await backend.emitted()] == ["request_expired"]
    assert (await backend.put("/requests/R-1", **REQUEST))[1]["code"] == "illegal_transition"
    assert (await backend.put("/requests/R-1", **{**REQUEST, "customer_id": "U-2"}))[1]["code"] == "record_differs"


async def test_a_request_that_is_over_when_it_is_put_expires_at_once(backend: Backend) -> None:
    await backend.put("/requests/R-1", **{**REQUEST, "expires_at": "2026-01-01T00:00:00Z"})
    assert [event for event, *_ in await backend.emitted()] == ["request_expired"]


# Disputes.


def resolved(dispute: str, resolution: str, amount: float, of: float, at: str) -> Published:
    data = {
        "dispute_id": dispute,
        "resolution": resolution,
        "refund_amount": amount,
        "notification": notice("Dispute resolved", f"{amount} of {of} are refunded.", "success"),
        "timestamp": at,
    }
    return Published("dispute_resolved", ("user_U-1", "garage_G-117"), data)


async def test_a_garage_that_does_not_answer_has_agreed(backend: Backend) -> None:
    status, dispute = await backend.put("/disputes/D-1", **DISPUTE)
    in_time = "2026-01-14T08:00:00.000Z"
    assert (status, dispute) == (
        201,
        {"dispute_id": "D-1", **DISPUTE, "respond_by": in_time, "status": "open", "resolution": None},
    )
    assert await backend.put("/disputes/D-1", **DISPUTE) == (200, dispute)
    await backend.wait_until("2026-01-14T07:59:59.000Z")
    assert await backend.emitted() == []
    await backend.wait_until(in_time)
    assert await backend.emitted() == [resolved("D-1", "auto_approved", 40, 40, in_time)]
    assert (await backend.get("/disputes/D-1"))[1]["resolution"] == "auto_approved"


@pytest.mark.parametrize("action", ["contest", "withdraw"])
async def test_a_dispute_that_was_answered_or_withdrawn_does_not_time_out(backend: Backend, action: str) -> None:
    await backend.put("/disputes/D-1", **DISPUTE, respond_by="2026-01-13T08:00:00Z")
    assert (await backend.post(f"/disputes/D-1/{action}"))[0] == 200
    # Correcting it does not restart the time.
    await backend.put("/disputes/D-1", **{**DISPUTE, "refund_amount": 30})
    await backend.wait_until("2026-02-01T00:00:00.000Z")
    assert await backend.emitted() == []


async def test_operations_decide_once(backend: Backend) -> None:
    await backend.put("/disputes/D-1", **DISPUTE)
    await backend.post("/disputes/D-1/contest")
    decision: dict[str, Any] = {"resolution": "partial_refund", "refund_amount": 12.5}
    status, problem = await backend.post("/disputes/D-1/resolve", **{**decision, "refund_amount": 40.01})
    assert (status, problem["errors"]) == (
        422,
        [{"field": "refund_amount", "expected": "at most 40, which is asked for"}],
    )
    for _ in range(2):
        status, dispute = await backend.post("/disputes/D-1/resolve", **decision)
        assert (status, dispute["status"], dispute["refund_amount"]) == (200, "resolved", 12.5)
    told = resolved("D-1", "partial_refund", 12.5, 40, START)
    told.data["notification"]["message"] = "12.50 of 40 are refunded."
    assert await backend.emitted() == [told]
    assert (await backend.post("/disputes/D-1/resolve", **{**decision, "refund_amount": 1}))[0] == 409
    assert (await backend.post("/disputes/D-1/contest"))[1]["code"] == "illegal_transition"


# Payouts.


def scheduled(amount: float, at: str, date: str = PAYDAY) -> Published:
    data = {
        "payout_id": "P-1",
        "order_id": "O-1",
        "amount": amount,
        "scheduled_date": date,
        "notification": notice("Payout scheduled", f"{amount} will come on {date[:10]}.", "info"),
        "timestamp": at,
    }
    return Published("payout_scheduled", ("garage_G-117",), data)


def held(reason: str, at: str) -> Published:
    notification = notice("Payout on hold", f"It waits: {reason}", "warning")
    data = {"payout_id": "P-1", "order_id": "O-1", "reason": reason, "notification": notification, "timestamp": at}
    return Published("payout_held", ("garage_G-117",), data)


def released(amount: float, at: str, day: str = PAYDAY[:10]) -> Published:
    notification = notice("Payout released", f"{amount} will come on {day}.", "success")
    return Published(
        "payout_released", ("garage_G-117",), {"payout_id": "P-1", "notification": notification, "timestamp": at}
    )


def completed(amount: float, at: str) -> Published:
    data = {
        "payout_id": "P-1",
        "order_id": "O-1",
        "amount": amount,
        "reference": "TRF-26012000417",
        "notification": notice("Payout completed", f"{amount} have been paid.", "success"),
        "timestamp": at,
    }
    return Published("payout_completed", ("garage_G-117",), data)


async def test_a_payout_is_announced_and_paid(backend: Backend) -> None:
    tomorrow = "2026-01-13T02:00:00.000Z"
    status, payout = await backend.put("/payouts/P-1", **PAYOUT, schedule_at=tomorrow)
    waiting = {"schedule_at": tomorrow, "status": "waiting", "hold_reason": None, "release_at": None}
    assert (status, payout) == (201, {"payout_id": "P-1", **PAYOUT, **waiting})
    assert await backend.emitted() == []
    await backend.wait_until(tomorrow)
    assert await backend.emitted() == [scheduled(357, tomorrow)]
    assert await backend.put("/payouts/P-1", **PAYOUT) == (200, {**payout, "status": "scheduled"})
    await backend.wait_until(PAYDAY)
    assert await backend.emitted() == [completed(357, PAYDAY)]
    assert (await backend.put("/payouts/P-1", **{**PAYOUT, "amount": 1}))[1]["code"] == "illegal_transition"


async def test_a_payout_waits_for_a_dispute_and_comes_less_what_was_refunded(backend: Backend) -> None:
    await backend.put("/payouts/P-1", **PAYOUT)
    await backend.put("/disputes/D-642", **DISPUTE, respond_by="2026-02-01T00:00:00Z")
    assert await backend.emitted() == [scheduled(357, START), held("Dispute D-642 is open.", START)]
    await backend.wait_until(PAYDAY)
    assert await backend.emitted() == []
    await backend.post("/disputes/D-642/resolve", resolution="partial_refund", refund_amount=40)
    assert await backend.emitted() == [
        resolved("D-642", "partial_refund", 40, 40, PAYDAY),
        released(317, PAYDAY),
        completed(317, PAYDAY),
    ]


async def test_a_dispute_that_times_out_releases_too(backend: Backend) -> None:
    await backend.put("/payouts/P-1", **PAYOUT)
    await backend.put("/disputes/D-1", **DISPUTE)
    await backend.emitted()
    over = "2026-01-14T08:00:00.000Z"
    await backend.wait_until(over)
    assert await backend.emitted() == [resolved("D-1", "auto_approved", 40, 40, over), released(317, over)]
    await backend.wait_until(PAYDAY)
    assert await backend.emitted() == [completed(317, PAYDAY)]


async def test_a_payout_of_which_nothing_is_left_does_not_come(backend: Backend) -> None:
    await backend.put("/payouts/P-1", **PAYOUT)
    await backend.put("/disputes/D-1", **{**DISPUTE, "refund_amount": 420})
    assert [event for event, *_ in await backend.emitted()] == ["payout_scheduled", "payout_held"]
    await backend.wait_until("2026-02-01T00:00:00.000Z")
    assert [event for event, *_ in await backend.emitted()] == ["dispute_resolved"]
    assert await statuses(backend, "/payouts/P-1") == "cancelled"


async def test_a_payout_announced_while_the_order_is_disputed_is_held_as_well(backend: Backend) -> None:
    await backend.put("/disputes/D-1", **DISPUTE)
    await backend.put("/payouts/P-1", **PAYOUT)
    assert await backend.emitted() == [scheduled(357, START), held("Dispute D-1 is open.", START)]


async def test_of_two_disputes_the_last_releases(backend: Backend) -> None:
    await backend.put("/payouts/P-1", **PAYOUT)
    for dispute in ("D-1", "D-2"):
        await backend.put(f"/disputes/{dispute}", **DISPUTE, respond_by="2026-02-01T00:00:00Z")
    await backend.emitted()
    await backend.post("/disputes/D-1/withdraw")
    assert await backend.emitted() == []
    assert (await backend.get("/payouts/P-1"))[1]["hold_reason"] == "Dispute D-2 is open."
    await backend.post("/disputes/D-2/withdraw")
    assert await backend.emitted() == [released(357, START)]


async def test_a_payout_is_held_by_hand_until_a_day(backend: Backend) -> None:
    hold = {"reason": "The account's owner is being checked.", "release_at": "2026-01-25T00:00:00.000Z"}
    await backend.put("/payouts/P-2", **PAYOUT, schedule_at="2026-03-01T00:00:00Z")
    assert (await backend.post("/payouts/P-2/hold", **hold))[1]["code"] == "illegal_transition"
    await backend.put("/payouts/P-1", **PAYOUT)
    for _ in range(2):
        status, payout = await backend.post("/payouts/P-1/hold", **hold)
        assert (status, payout["status"], payout["release_at"]) == (200, "held", hold["release_at"])
    assert await backend.emitted() == [scheduled(357, START), held(hold["reason"], START)]
    await backend.wait_until(PAYDAY)
    assert await backend.emitted() == []
    await backend.wait_until(hold["release_at"])
    at = hold["release_at"]
    assert await backend.emitted() == [released(357, at, "2026-01-25"), completed(357, at)]


async def test_the_longest_reason_fits_into_a_close(backend: Backend) -> None:
    await backend.put("/payouts/P-1", **PAYOUT)
    status, problem = await backend.post("/payouts/P-1/hold", reason="𝄞" * 501)
    assert (status, problem["errors"][0]["field"]) == (422, "reason")
    assert (await backend.post("/payouts/P-1/hold", reason="𝄞" * 500))[0] == 200
    assert await backend.emitted() == [scheduled(357, START), held("𝄞" * 500, START)]


async def test_a_payout_is_released_completed_and_cancelled_by_hand(backend: Backend) -> None:
    await backend.put("/payouts/P-1", **PAYOUT)
    await backend.post("/payouts/P-1/hold", reason="A question.", release_at="2026-01-13T00:00:00Z")
    await backend.emitted()
    for _ in range(2):
        assert (await backend.post("/payouts/P-1/release"))[1]["status"] == "scheduled"
    for _ in range(2):
        assert (await backend.post("/payouts/P-1/complete"))[1]["status"] == "completed"
    assert (await backend.post("/payouts/P-1/cancel"))[1]["code"] == "illegal_transition"
    await backend.wait_until("2026-02-01T00:00:00.000Z")
    assert await backend.emitted() == [released(357, START), completed(357, START)]


async def test_a_cancelled_payout_sends_no_more_events(backend: Backend) -> None:
    await backend.put("/payouts/P-1", **PAYOUT, schedule_at="2026-01-13T00:00:00Z")
    assert (await backend.post("/payouts/P-1/cancel"))[1]["status"] == "cancelled"
    await backend.wait_until("2026-02-01T00:00:00.000Z")
    assert await backend.emitted() == []


async def test_a_corrected_payout_is_announced_again(backend: Backend) -> None:
    await backend.put("/payouts/P-1", **PAYOUT)
    later = "2026-01-22T00:00:00.000Z"
    await backend.put("/payouts/P-1", **{**PAYOUT, "amount": 317, "scheduled_date": later})
    assert await backend.emitted() == [scheduled(357, START), scheduled(317, START, later)]
    await backend.wait_until(PAYDAY)
    assert await backend.emitted() == []
    await backend.wait_until(later)
    assert await backend.emitted() == [completed(317, later)]
    assert (await backend.put("/payouts/P-1", **{**PAYOUT, "garage_id": "G-2"}))[1]["code"] == "record_differs"


# Subscriptions.


def warning(days: str, at: str) -> Published:
    data = {
        "message": f"Your subscription ends in {days}. Renew it to keep bidding.",
        "expires_at": "2026-01-24T21:00:00.000Z",
        "timestamp": at,
    }
    return Published("subscription_warning", ("garage_G-117",), data)


SUBSCRIPTION = {"expires_at": "2026-01-24T21:00:00.000Z"}


async def test_a_garage_is_warned_a_week_three_days_and_a_day_before(backend: Backend) -> None:
    record = {"garage_id": "G-117", **SUBSCRIPTION}
    assert await backend.put("/subscriptions/G-117", **SUBSCRIPTION) == (201, record)
    assert await backend.put("/subscriptions/G-117", **SUBSCRIPTION) == (200, record)
    for day, left in [("17", "7 days"), ("21", "3 days"), ("23", "1 day")]:
        at = f"2026-01-{day}T21:00:00.000Z"
        await backend.wait_until(at.replace("21:00:00.000", "20:59:59.000"))
        assert await backend.emitted() == []
        await backend.wait_until(at)
        assert await backend.emitted() == [warning(left, at)]
    await backend.wait_until("2026-02-24T21:00:00.000Z")
    assert await backend.emitted() == []


async def test_a_renewed_or_ended_subscription_is_not_warned_of(backend: Backend) -> None:
    for garage in ("G-117", "G-118"):
        await backend.put(f"/subscriptions/{garage}", **SUBSCRIPTION)
    await backend.put("/subscriptions/G-117", expires_at="2027-01-24T21:00:00Z")
    for _ in range(2):
        assert (await backend.request("DELETE", "/subscriptions/G-118")).status_code == 204
    assert (await backend.get("/subscriptions/G-118"))[0] == 404
    await backend.wait_until("2026-02-24T21:00:00.000Z")
    assert await backend.emitted() == []


async def test_only_what_is_still_ahead_is_warned_of(backend: Backend) -> None:
    await backend.oyez.advance(10 * 86_400)
    await backend.put("/subscriptions/G-117", **SUBSCRIPTION)
    assert await backend.emitted() == []
    await backend.wait_until("2026-01-23T21:00:00.000Z")
    assert [data["message"] for _, _, data, _ in await backend.emitted()] == [warning("1 day", "").data["message"]]


async def test_after_a_long_stop_a_garage_is_warned_once(backend: Backend) -> None:
    await backend.put("/subscriptions/G-117", **SUBSCRIPTION)
    late = "2026-01-22T21:00:00.000Z"
    await backend.oyez.restart(pause=to_seconds(late) - backend.oyez.now)
    assert await backend.emitted() == [warning("2 days", late)]


# The process dies or is stopped.


async def test_jobs_outlive_the_process(backend: Backend) -> None:
    await backend.put("/requests/R-1", **REQUEST)
    await backend.put("/payouts/P-1", **PAYOUT)
    assert await backend.emitted() == [scheduled(357, START)]
    await backend.oyez.kill(pause=30 * 86_400)
    assert [event for event, *_ in await backend.emitted()] == ["request_expired", "payout_completed"]
    await backend.oyez.restart()
    assert await backend.emitted() == []


async def test_a_job_is_done_by_one_of_several_processes(tmp_path: Path, database_url: str) -> None:
    clock, log = Clock(to_seconds(START)), Ledger()
    async with AsyncExitStack() as stack:
        processes = []
        for name in "ab":
            settings = Settings(oyez_data=str(tmp_path / name), database_url=database_url)
            oyez = Oyez([system], settings, build_log=lambda name: log, time=SystemClock(clock))
            await stack.enter_async_context(oyez.running())
            processes.append(oyez.systems["qscrap"])
        expires_at = Time(EXPIRES)
        for number in range(20):
            request = RequestBody(customer_id="U-1", expires_at=expires_at)
            await processes[0].outbox.run(put_request, f"R-{number}", request)
        clock.now += 2 * 86_400
        await asyncio.gather(*(process.jobs.done() for process in processes * 2))
        # Each process waits for its own jobs, and the log has the events of all.
        for process in processes:
            await process.outbox.drained()
    assert sorted(data["request_id"] for _, _, data in log.emitted()) == sorted(f"R-{number}" for number in range(20))
