"""The contract of `qscrap`: its roles, rooms and events.

There is one namespace, `/`. The back end publishes every event; clients join rooms and listen. payloads.py has the
payloads. The examples follow one order, O-88214, from the request to the payout; the others are made from the types.
"""

from oyez.contract import Contract, member, own, role
from oyez.systems.qscrap import payloads

contract = Contract(
    "qscrap",
    description="Car parts: requests, bids, orders, disputes, payouts, tickets.",
    roles=("customer", "garage", "operations"),
)

root = contract.namespace("/")

user = root.room("user_{userId}", members=own("userId"), join="join_user_room")
garage = root.room(
    "garage_{garageId}",
    members=[role("garage") & own("garageId", claim="garage_id"), role("operations")],
    join="join_garage_room",
)
operations = root.room("user_operations", members=role("operations"), join="join_operations_room")
ticket = root.room("ticket_{ticketId}", members=[member(), role("operations")], join="join_ticket")


# Part requests.

root.event(
    "new_request",
    to=[root.everyone],
    example={
        "request_id": "R-52817",
        "car_make": "Toyota",
        "car_model": "Land Cruiser",
        "car_year": 2015,
        "part_category": "Electrical",
        "part_description": "Alternator for the 4.0 V6, with pulley.",
        "part_number": "27060-31150",
        "condition_required": "any",
        "image_urls": ["https://cdn.qscrap.example/requests/R-52817/1.jpg"],
        "delivery_area": "Al Wakrah",
        "expires_at": "2026-01-13T08:15:00.000Z",
        "timestamp": "2026-01-12T08:15:00.000Z",
    },
)(payloads.NewRequest)

root.event("request_expired", to=[user])(payloads.RequestExpired)
root.event("request_cancelled", to=[garage, root.everyone])(payloads.RequestCancelled)


# Bids and negotiation.

root.event(
    "new_bid",
    to=[user],
    example={
        "request_id": "R-52817",
        "bid_summary": {
            "bid_id": "B-90344",
            "garage_id": "G-117",
            "garage_name": "Crescent Auto Spares",
            "garage_rating": 4.6,
            "bid_amount": 450,
            "part_condition": "used_good",
            "warranty_days": 30,
            "notes": "Tested on the bench, 14.2 V under load.",
            "image_urls": ["https://cdn.qscrap.example/bids/B-90344/1.jpg"],
        },
        "notification": {"title": "New bid", "message": "Crescent Auto Spares asks for 450.", "type": "success"},
        "timestamp": "2026-01-12T08:32:10.000Z",
    },
)(payloads.NewBid)

root.event("bid_rejected", to=[garage])(payloads.BidRejected)
root.event("bid_updated", to=[user])(payloads.BidUpdated)
root.event("bid_withdrawn", to=[user])(payloads.BidWithdrawn)

root.event(
    "counter_offer_received",
    to=[garage, user],
    example={
        "counter_offer_id": "C-3071",
        "bid_id": "B-90344",
        "request_id": "R-52817",
        "proposed_amount": 380,
        "previous_amount": 450,
        "round_number": 1,
        "message": "Could you do 380?",
        "offered_by": "customer",
        "expires_at": "2026-01-13T09:10:00.000Z",
        "notification": {"title": "Counter-offer", "message": "The customer proposes 380.", "type": "info"},
        "timestamp": "2026-01-12T09:10:00.000Z",
    },
)(payloads.CounterOfferReceived)

root.event("counter_offer_accepted", to=[user, garage])(payloads.CounterOfferAccepted)
root.event("counter_offer_rejected", to=[user, garage])(payloads.CounterOfferRejected)
root.event("garage_counter_offer", to=[user])(payloads.GarageCounterOffer)


# Orders.

root.event(
    "order_status_updated",
    to=[user, garage],
    example={
        "order_id": "O-88214",
        "order_number": "QS-2026-01482",
        "old_status": "confirmed",
        "new_status": "preparing",
        "notification": {"title": "In preparation", "message": "Your alternator is being prepared.", "type": "info"},
        "timestamp": "2026-01-12T10:20:00.000Z",
    },
)(payloads.OrderStatusUpdated)

root.event("order_cancelled", to=[garage, user])(payloads.OrderCancelled)


# Quality control.

root.event("qc_passed", to=[user, garage])(payloads.QcPassed)
root.event("qc_failed", to=[user, garage])(payloads.QcFailed)
root.event("qc_failed_alert", to=[root.everyone])(payloads.QcFailedAlert)
root.event("return_assignment_created", to=[garage])(payloads.ReturnAssignmentCreated)


# Disputes.

root.event("dispute_created", to=[garage])(payloads.DisputeCreated)
root.event("dispute_accepted", to=[user])(payloads.DisputeAccepted)
root.event("dispute_contested", to=[user])(payloads.DisputeContested)

root.event("dispute_resolved", to=[user, garage])(payloads.DisputeResolved)


# Payouts and finance.

root.event("payout_scheduled", to=[garage])(payloads.PayoutScheduled)

root.event("payout_held", to=[garage])(payloads.PayoutHeld)
root.event("payout_completed", to=[garage])(payloads.PayoutCompleted)
root.event("payout_released", to=[garage])(payloads.PayoutReleased)
root.event("payment_sent", to=[garage])(payloads.PaymentSent)
root.event("payment_confirmed", to=[root.everyone])(payloads.PaymentConfirmed)
root.event("payment_disputed", to=[root.everyone])(payloads.PaymentDisputed)


# Subscriptions.

root.event("subscription_warning", to=[garage])(payloads.SubscriptionWarning)


# Support tickets.

root.event("new_ticket", to=[operations])(payloads.NewTicket)

root.event(
    "new_message",
    to=[ticket.of("ticket_id")],
    example={
        "message_id": "M-77410",
        "ticket_id": "T-5120",
        "sender_id": "U-30412",
        "sender_role": "operations",
        "message": "It was sent to your card on Monday. Banks take up to five days.",
        "timestamp": "2026-01-14T08:05:00.000Z",
    },
)(payloads.NewMessage)

root.event("support_reply", to=[user, operations])(payloads.SupportReply)
root.event("ticket_updated", to=[ticket])(payloads.TicketUpdated)


contract.build()
