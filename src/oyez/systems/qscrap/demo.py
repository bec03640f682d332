"""A day in `qscrap`: an alternator from the request to the payout, a headlight that does not pass, and a question."""

from typing import Any

from oyez.errors import FORBIDDEN
from oyez.testing.scenario import Demo, Person, Scenario

JOB = "job, due at once"
SOON = 1.0
"""Seconds until the times that somebody lets pass are over."""
WEEK = 7 * 86_400.0


async def play(day: Scenario) -> None:
    await day.at("08:00")
    amal = await _enter_customer(day, "Amal")
    badr = await _enter_customer(day, "Badr")
    crescent = await _enter_garage(day, "Crescent Spares")
    pearl = await _enter_garage(day, "Pearl Motor Parts")
    desk = await day.connect("Operations", "operations")
    await day.call("The desk opens", desk, "join_operations_room")
    await day.expect_refusal("Badr tries Amal's room", badr, "join_user_room", amal.id, code=FORBIDDEN.code)
    everybody = [amal, badr, crescent, pearl, desk]

    async def publish(text: str, event: str, *people: Person, **ids: Any) -> None:
        """To the room of each of them, or to all."""
        rooms = [f"garage_{person.id}" if person in (crescent, pearl) else f"user_{person.id}" for person in people]
        data = day.example(event, **ids)
        await day.publish(text, event, data, to=rooms or "*", received_by=people or everybody)

    await day.at("08:15")
    request, expiring = day.id("R1"), day.id("R2")
    await publish("Amal needs an alternator", "new_request", request_id=request, expires_at=day.moment(86_400))
    await day.request("It stands for a day", "PUT", f"/requests/{request}", _until(day, amal, 86_400))
    await day.request("Badr's request is short", "PUT", f"/requests/{expiring}", _until(day, badr, SOON))
    await day.wait_for("Nobody bids on it", f"job, due {SOON:g} s later", {"request_expired": [badr]})
    await publish("Badr calls another one off: nobody had bid", "request_cancelled", request_id=day.id("R3"))

    await day.at("09:00")
    bid, other = day.id("B1"), day.id("B2")
    for garage, id, text in ((crescent, bid, "Crescent bids"), (pearl, other, "Pearl bids")):
        await publish(
            text, "new_bid", amal, request_id=request, bid_summary__bid_id=id, bid_summary__garage_id=garage.id
        )
    await publish("Pearl lowers its price", "bid_updated", amal, bid_id=other)
    await publish("Amal proposes 380", "counter_offer_received", crescent, bid_id=bid, request_id=request)
    await publish("Crescent proposes 420", "garage_counter_offer", amal, bid_id=bid, request_id=request)
    await publish("Pearl declines", "counter_offer_rejected", amal, bid_id=other)
    await publish("420 it is", "counter_offer_accepted", amal, crescent, bid_id=bid)
    await publish("Pearl is told", "bid_rejected", pearl, bid_id=other)
    await publish("A late bid is taken back", "bid_withdrawn", amal, bid_id=day.id("B3"), request_id=request)
    await day.request("The request is taken", "POST", f"/requests/{request}/take")

    await day.at("10:20")
    order, broken = day.id("O1"), day.id("O2")
    await publish("The alternator is prepared", "order_status_updated", amal, crescent, order_id=order)
    await publish("The gearbox was sold: no order", "order_cancelled", badr, pearl, order_id=day.id("O3"))
    await publish("The headlight has a crack", "qc_failed", badr, pearl, order_id=broken)
    await publish("Quality control is told", "qc_failed_alert", order_id=broken)
    await publish("The headlight goes back", "return_assignment_created", pearl, order_id=broken)
    await publish("The alternator is as described", "qc_passed", amal, crescent, order_id=order)

    await day.at("14:00")
    payout, dispute = day.id("P1"), day.id("D1")
    planned = {"order_id": order, "garage_id": crescent.id, "amount": 357, "reference": f"TRF-{payout}"}
    planned["scheduled_date"] = day.moment(WEEK)
    await day.request("A payout is planned", "PUT", f"/payouts/{payout}", planned)
    await day.wait_for("Crescent hears when", JOB, {"payout_scheduled": [crescent]})
    await publish("It does not fit, says Amal", "dispute_created", crescent, dispute_id=dispute, order_id=order)
    disputed = {"customer_id": amal.id, "garage_id": crescent.id, "reason": "doesnt_fit", "refund_amount": 420}
    await day.request("The dispute is watched over", "PUT", f"/disputes/{dispute}", disputed | {"order_id": order})
    await day.wait_for("The money waits", JOB, {"payout_held": [crescent]})
    await publish("Crescent contests", "dispute_contested", amal, dispute_id=dispute)
    await day.request("The desk will decide", "POST", f"/disputes/{dispute}/contest")
    await day.request(
        "The desk decides: 40 back",
        "POST",
        f"/disputes/{dispute}/resolve",
        {"resolution": "partial_refund", "refund_amount": 40},
        {"dispute_resolved": [amal, crescent]},
    )
    await day.wait_for("The money goes its way", JOB, {"payout_released": [crescent]})
    sooner = planned | {"amount": 317, "scheduled_date": day.moment(SOON)}
    await day.request("It is to be paid today", "PUT", f"/payouts/{payout}", sooner)
    await day.wait_for("Crescent hears it", JOB, {"payout_scheduled": [crescent]})
    await day.wait_for("It is paid", f"job, due {SOON:g} s later", {"payout_completed": [crescent]})
    await publish("The bank has sent it", "payment_sent", crescent, payout_id=payout)
    await publish("Crescent has it", "payment_confirmed", payout_id=payout)
    await publish("Pearl misses another payment", "payment_disputed", payout_id=day.id("P2"))

    late = day.id("D2")
    await publish("Pearl agrees to a refund", "dispute_accepted", badr, dispute_id=day.id("D3"))
    unanswered = disputed | {"customer_id": badr.id, "garage_id": pearl.id, "order_id": broken}
    unanswered["respond_by"] = day.moment(SOON)
    await day.request("Badr wants his money for the headlight", "PUT", f"/disputes/{late}", unanswered)
    await day.wait_for("Pearl says nothing", f"job, due {SOON:g} s later", {"dispute_resolved": [badr, pearl]})

    await day.at("16:00")
    await day.request(
        "Pearl's subscription ends in a week",
        "PUT",
        f"/subscriptions/{pearl.id}",
        {"expires_at": day.moment(WEEK + SOON)},
    )
    await day.wait_for("Pearl is warned", f"job, due {SOON:g} s later", {"subscription_warning": [pearl]})
    await day.request("It stays with that one warning", "DELETE", f"/subscriptions/{pearl.id}")

    await day.at("17:30")
    ticket = day.id("T1")
    opened = {"customer_id": badr.id, "subject": "When do I get my refund?"}
    await day.request("Badr opens a ticket", "PUT", f"/tickets/{ticket}", opened, {"new_ticket": [desk]})
    for person in (badr, desk):
        await day.call(f"{person.name} looks into it", person, "join_ticket", ticket)
    await day.expect_refusal("Amal may not", amal, "join_ticket", ticket, code=FORBIDDEN.code)
    for number, (person, role, message, hears) in enumerate(
        (
            (badr, "customer", "It has been a week.", desk),
            (desk, "operations", "It was sent on Monday.", badr),
        )
    ):
        await day.request(
            f"{person.name}: {message}",
            "PUT",
            f"/tickets/{ticket}/messages/{day.id(f'M{number}')}",
            {"sender_id": person.id, "sender_role": role, "message": message},
            {"new_message": [badr, desk], "support_reply": [hears]},
        )
    await day.request("That settles it", "POST", f"/tickets/{ticket}/resolve", causes={"ticket_updated": [badr, desk]})


async def _enter_customer(day: Scenario, name: str) -> Person:
    person = await day.connect(name, "customer")
    await day.call(f"{name} looks in", person, "join_user_room", person.id)
    return person


async def _enter_garage(day: Scenario, name: str) -> Person:
    person = await day.connect(name, "garage", garage_id=day.id(name))
    await day.call(f"{name} opens", person, "join_garage_room", person.id)
    return person


def _until(day: Scenario, customer: Person, seconds: float) -> dict[str, Any]:
    return {"customer_id": customer.id, "expires_at": day.moment(seconds)}


DEMO = Demo(play=play)
