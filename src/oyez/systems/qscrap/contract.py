"""The contract of `qscrap`: its roles, rooms and events.

There is one namespace, `/`. The back end publishes every event; clients join rooms and listen. payloads.py has the
payloads. The examples follow one order, O-88214, from the request to the payout, and some others that fail.
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

root.event(
    "request_expired",
    to=[user],
    example={
        "request_id": "R-52790",
        "notification": {
            "title": "Request expired",
            "message": "No bid on your mirror was taken.",
            "type": "info",
        },
        "timestamp": "2026-01-12T06:00:00.000Z",
    },
)(payloads.RequestExpired)

root.event(
    "request_cancelled",
    to=[garage, root.everyone],
    example={
        "request_id": "R-52803",
        "notification": {"title": "Request cancelled", "message": "The radiator is not needed.", "type": "warning"},
        "timestamp": "2026-01-12T07:40:00.000Z",
    },
)(payloads.RequestCancelled)


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

root.event(
    "bid_rejected",
    to=[garage],
    example={
        "bid_id": "B-90351",
        "notification": {"title": "Bid not taken", "message": "The customer took another bid.", "type": "info"},
        "timestamp": "2026-01-12T10:05:00.000Z",
    },
)(payloads.BidRejected)

root.event(
    "bid_updated",
    to=[user],
    example={
        "bid_id": "B-90351",
        "notification": {"title": "Bid changed", "message": "Pearl Motor Parts now asks for 470.", "type": "info"},
        "timestamp": "2026-01-12T08:55:00.000Z",
    },
)(payloads.BidUpdated)

root.event(
    "bid_withdrawn",
    to=[user],
    example={
        "bid_id": "B-90339",
        "request_id": "R-52817",
        "notification": {"title": "Bid withdrawn", "message": "Dune Breakers took its bid back.", "type": "warning"},
        "timestamp": "2026-01-12T09:01:30.000Z",
    },
)(payloads.BidWithdrawn)

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

root.event(
    "counter_offer_accepted",
    to=[user, garage],
    example={
        "bid_id": "B-90344",
        "final_amount": 420,
        "notification": {"title": "Price agreed", "message": "The customer agrees to 420.", "type": "success"},
        "timestamp": "2026-01-12T10:04:30.000Z",
    },
)(payloads.CounterOfferAccepted)

root.event(
    "counter_offer_rejected",
    to=[user, garage],
    example={
        "bid_id": "B-90351",
        "notification": {"title": "Price declined", "message": "The garage stays at 470.", "type": "warning"},
        "timestamp": "2026-01-12T09:25:00.000Z",
    },
)(payloads.CounterOfferRejected)

root.event(
    "garage_counter_offer",
    to=[user],
    example={
        "counter_offer_id": "C-3074",
        "bid_id": "B-90344",
        "request_id": "R-52817",
        "proposed_amount": 420,
        "previous_amount": 380,
        "round_number": 2,
        "message": "420 with the pulley, ready today.",
        "expires_at": "2026-01-13T09:40:00.000Z",
        "notification": {"title": "Counter-offer", "message": "The garage proposes 420.", "type": "info"},
        "timestamp": "2026-01-12T09:40:00.000Z",
    },
)(payloads.GarageCounterOffer)


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

root.event(
    "order_cancelled",
    to=[garage, user],
    example={
        "order_id": "O-88190",
        "order_number": "QS-2026-01467",
        "cancellation_reason": "The gearbox was sold over the counter this morning.",
        "notification": {"title": "Order cancelled", "message": "You will get your money back.", "type": "warning"},
        "timestamp": "2026-01-12T09:12:00.000Z",
    },
)(payloads.OrderCancelled)


# Quality control.

root.event(
    "qc_passed",
    to=[user, garage],
    example={
        "order_id": "O-88214",
        "order_number": "QS-2026-01482",
        "notification": {"title": "Inspection passed", "message": "The alternator is as described.", "type": "success"},
        "timestamp": "2026-01-12T14:30:00.000Z",
    },
)(payloads.QcPassed)

root.event(
    "qc_failed",
    to=[user, garage],
    example={
        "order_id": "O-88201",
        "order_number": "QS-2026-01473",
        "failure_reason": "Hairline crack along the lower edge of the lens.",
        "notification": {"title": "Inspection failed", "message": "The headlight goes back.", "type": "error"},
        "timestamp": "2026-01-12T13:05:00.000Z",
    },
)(payloads.QcFailed)

root.event(
    "qc_failed_alert",
    to=[root.everyone],
    example={
        "order_id": "O-88201",
        "garage_name": "Pearl Motor Parts",
        "notification": {"title": "Inspection failed", "message": "A headlight did not pass.", "type": "warning"},
        "timestamp": "2026-01-12T13:05:00.000Z",
    },
)(payloads.QcFailedAlert)

root.event(
    "return_assignment_created",
    to=[garage],
    example={
        "order_id": "O-88201",
        "notification": {"title": "Return", "message": "The headlight comes back to you today.", "type": "info"},
        "timestamp": "2026-01-12T13:20:00.000Z",
    },
)(payloads.ReturnAssignmentCreated)


# Disputes.

root.event(
    "dispute_created",
    to=[garage],
    example={
        "dispute_id": "D-642",
        "order_id": "O-88214",
        "reason": "doesnt_fit",
        "refund_amount": 420,
        "notification": {"title": "Dispute opened", "message": "Please answer within 48 hours.", "type": "warning"},
        "timestamp": "2026-01-13T11:00:00.000Z",
    },
)(payloads.DisputeCreated)

root.event(
    "dispute_accepted",
    to=[user],
    example={
        "dispute_id": "D-637",
        "order_number": "QS-2026-01455",
        "refund_amount": 162.5,
        "notification": {"title": "Refund agreed", "message": "You get 162.50 back.", "type": "success"},
        "timestamp": "2026-01-13T09:30:00.000Z",
    },
)(payloads.DisputeAccepted)

root.event(
    "dispute_contested",
    to=[user],
    example={
        "dispute_id": "D-642",
        "garage_response": "The part number matches. The bracket of the old alternator has to be moved over.",
        "notification": {"title": "Dispute contested", "message": "Our team will decide.", "type": "warning"},
        "timestamp": "2026-01-13T15:45:00.000Z",
    },
)(payloads.DisputeContested)

root.event(
    "dispute_resolved",
    to=[user, garage],
    example={
        "dispute_id": "D-642",
        "resolution": "partial_refund",
        "refund_amount": 40,
        "notification": {"title": "Dispute resolved", "message": "40 of 420 are refunded.", "type": "success"},
        "timestamp": "2026-01-15T10:00:00.000Z",
    },
)(payloads.DisputeResolved)


# Payouts and finance.

root.event(
    "payout_scheduled",
    to=[garage],
    example={
        "payout_id": "P-20931",
        "order_id": "O-88214",
        "amount": 357,
        "scheduled_date": "2026-01-20T00:00:00.000Z",
        "notification": {"title": "Payout scheduled", "message": "357 will come on 20 January.", "type": "info"},
        "timestamp": "2026-01-13T02:00:00.000Z",
    },
)(payloads.PayoutScheduled)

root.event(
    "payout_held",
    to=[garage],
    example={
        "payout_id": "P-20931",
        "order_id": "O-88214",
        "reason": "Dispute D-642 is open.",
        "notification": {"title": "Payout on hold", "message": "It waits for dispute D-642.", "type": "warning"},
        "timestamp": "2026-01-14T02:00:00.000Z",
    },
)(payloads.PayoutHeld)

root.event(
    "payout_completed",
    to=[garage],
    example={
        "payout_id": "P-20931",
        "order_id": "O-88214",
        "amount": 317,
        "reference": "TRF-26012000417",
        "notification": {"title": "Payout completed", "message": "317 have been paid.", "type": "success"},
        "timestamp": "2026-01-22T02:00:00.000Z",
    },
)(payloads.PayoutCompleted)

root.event(
    "payout_released",
    to=[garage],
    example={
        "payout_id": "P-20931",
        "notification": {"title": "Payout released", "message": "317 will come as planned.", "type": "success"},
        "timestamp": "2026-01-16T02:00:00.000Z",
    },
)(payloads.PayoutReleased)

root.event(
    "payment_sent",
    to=[garage],
    example={
        "payout_id": "P-20931",
        "notification": {"title": "Payment sent", "message": "Please confirm when it has come.", "type": "info"},
        "timestamp": "2026-01-20T09:00:00.000Z",
    },
)(payloads.PaymentSent)

root.event(
    "payment_confirmed",
    to=[root.everyone],
    example={
        "payout_id": "P-20931",
        "notification": {"title": "Payment confirmed", "message": "P-20931 was received.", "type": "success"},
        "timestamp": "2026-01-21T12:10:00.000Z",
    },
)(payloads.PaymentConfirmed)

root.event(
    "payment_disputed",
    to=[root.everyone],
    example={
        "payout_id": "P-20904",
        "notification": {"title": "Payment disputed", "message": "P-20904 was not received.", "type": "error"},
        "timestamp": "2026-01-21T13:25:00.000Z",
    },
)(payloads.PaymentDisputed)


# Subscriptions.

root.event(
    "subscription_warning",
    to=[garage],
    example={
        "message": "Your subscription ends in 3 days. Renew it to keep bidding.",
        "expires_at": "2026-01-24T21:00:00.000Z",
        "timestamp": "2026-01-21T21:00:00.000Z",
    },
)(payloads.SubscriptionWarning)


# Support tickets.

root.event(
    "new_ticket",
    to=[operations],
    example={
        "ticket_id": "T-5120",
        "subject": "When do I get my refund for QS-2026-01467?",
        "priority": "normal",
        "timestamp": "2026-01-14T07:50:00.000Z",
    },
)(payloads.NewTicket)

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

root.event(
    "support_reply",
    to=[user, operations],
    example={
        "ticket_id": "T-5120",
        "message": "It was sent to your card on Monday. Banks take up to five days.",
        "timestamp": "2026-01-14T08:05:00.000Z",
    },
)(payloads.SupportReply)

root.event(
    "ticket_updated",
    to=[ticket],
    example={"status": "resolved", "timestamp": "2026-01-15T16:30:00.000Z"},
)(payloads.TicketUpdated)


contract.build()
