"""The payloads of the events of `qscrap`. contract.py has the rooms of each event.

Every event has the server's `timestamp`; the other times in payloads are in the future.
"""

from typing import Annotated, Literal

from msgspec import Meta

from oyez.contract import UNSET, Id, Maybe, Money, Payload, Stamped, Time

Line = Annotated[str, Meta(min_length=1, max_length=200)]
"""A name, a number or a title, for display."""
Text = Annotated[str, Meta(min_length=1, max_length=2_000)]
"""Text that a person wrote. The limit makes it fit into one event in any script."""
Images = Annotated[list[Annotated[str, Meta(min_length=1, max_length=500)]], Meta(max_length=10)]
"""URLs of pictures."""

PartCondition = Literal["new", "used_excellent", "used_good", "used_fair", "refurbished"]
OrderStatus = Literal[
    "pending_payment",
    "confirmed",
    "preparing",
    "ready_for_pickup",
    "ready_for_collection",
    "collected",
    "qc_in_progress",
    "qc_passed",
    "qc_failed",
    "returning_to_garage",
    "in_transit",
    "out_for_delivery",
    "delivered",
    "completed",
    "cancelled_by_customer",
    "cancelled_by_garage",
    "cancelled_by_ops",
    "disputed",
    "refunded",
]
DisputeReason = Literal["wrong_part", "damaged", "not_as_described", "doesnt_fit", "changed_mind", "other"]
DisputeResolution = Literal["refund_approved", "partial_refund", "claim_rejected", "auto_approved"]
"""`auto_approved`: the garage did not answer in time."""
TicketPriority = Literal["low", "normal", "high", "urgent"]
TicketStatus = Literal["open", "in_progress", "resolved", "closed"]


class Notification(Payload):
    """The text that a front end shows for an event: a title, a sentence and a severity."""

    title: Line
    message: Text
    type: Literal["info", "success", "warning", "error"]


# Part requests.


class NewRequest(Stamped):
    """A customer asks for a part. All clients receive it, so it does not name the customer."""

    request_id: Id
    car_make: Line
    car_model: Line
    car_year: Annotated[int, Meta(ge=1900, le=2100)]
    part_category: Maybe[Line] = UNSET
    part_description: Text
    part_number: Maybe[Line] = UNSET
    condition_required: Literal["new", "used", "any"]
    image_urls: Images
    delivery_area: Maybe[Line] = UNSET
    expires_at: Time


class RequestExpired(Stamped):
    """A request expired and the customer had accepted no bid."""

    request_id: Id
    notification: Notification


class RequestCancelled(Stamped):
    """A customer cancelled a request. The garages that made bids receive it, or all clients if there was no bid."""

    request_id: Id
    notification: Notification


# Bids and negotiation.


class BidSummary(Payload):
    """A bid, with the fields for a list of bids."""

    bid_id: Id
    garage_id: Id
    garage_name: Line
    garage_rating: Maybe[Annotated[float, Meta(ge=0, le=5)]] = UNSET
    bid_amount: Money
    part_condition: PartCondition
    warranty_days: Annotated[int, Meta(ge=0)]
    notes: Maybe[Text] = UNSET
    image_urls: Images


class CounterOffer(Stamped):
    """Another price for a bid that one side proposes to the other."""

    counter_offer_id: Id
    bid_id: Id
    request_id: Id
    proposed_amount: Money
    previous_amount: Money
    round_number: Annotated[int, Meta(ge=1)]
    message: Maybe[Text] = UNSET
    expires_at: Time
    notification: Notification


class NewBid(Stamped):
    """A garage made a bid on the customer's request."""

    request_id: Id
    bid_summary: BidSummary
    notification: Notification


class BidRejected(Stamped):
    """The customer rejected the garage's bid."""

    bid_id: Id
    notification: Notification


class BidUpdated(Stamped):
    """A garage changed a bid that the customer has neither accepted nor rejected."""

    bid_id: Id
    notification: Notification


class BidWithdrawn(Stamped):
    """A garage withdrew its bid."""

    bid_id: Id
    request_id: Id
    notification: Notification


class CounterOfferReceived(CounterOffer):
    """One side proposed another price. The side that has to decide receives it."""

    offered_by: Literal["customer", "garage"]


class CounterOfferAccepted(Stamped):
    """The price that the recipient proposed was accepted."""

    bid_id: Id
    final_amount: Money
    notification: Notification


class CounterOfferRejected(Stamped):
    """The price that the recipient proposed was rejected. The bid is unchanged."""

    bid_id: Id
    notification: Notification


class GarageCounterOffer(CounterOffer):
    """A garage proposed another price to the customer."""


# Orders.


class OrderStatusUpdated(Stamped):
    """The status of an order changed."""

    order_id: Id
    order_number: Line
    old_status: OrderStatus
    new_status: OrderStatus
    notification: Notification


class OrderCancelled(Stamped):
    """One side cancelled an order. The other side receives it."""

    order_id: Id
    order_number: Line
    cancellation_reason: Text
    notification: Notification


# Quality control.


class QcPassed(Stamped):
    """The part passed its inspection: it is as ordered."""

    order_id: Id
    order_number: Line
    notification: Notification


class QcFailed(Stamped):
    """The part failed its inspection."""

    order_id: Id
    order_number: Line
    failure_reason: Text
    notification: Notification


class QcFailedAlert(Stamped):
    """A part failed its inspection. All clients receive it; it is meant for quality control."""

    order_id: Id
    garage_name: Line
    notification: Notification


class ReturnAssignmentCreated(Stamped):
    """The return of a part that failed its inspection to the garage was assigned."""

    order_id: Id
    notification: Notification


# Disputes.


class DisputeCreated(Stamped):
    """A customer opened a dispute about an order of the garage and asks for a refund."""

    dispute_id: Id
    order_id: Id
    reason: DisputeReason
    refund_amount: Money
    notification: Notification


class DisputeAccepted(Stamped):
    """The garage accepted the customer's dispute."""

    dispute_id: Id
    order_number: Line
    refund_amount: Money
    notification: Notification


class DisputeContested(Stamped):
    """The garage contested the customer's dispute. Operations will decide."""

    dispute_id: Id
    garage_response: Text
    notification: Notification


class DisputeResolved(Stamped):
    """A dispute was resolved: the garage agreed, operations decided, or the garage did not answer in time."""

    dispute_id: Id
    resolution: DisputeResolution
    refund_amount: Money
    notification: Notification


# Payouts and finance.


class PayoutScheduled(Stamped):
    """The date of a payout for an order is set."""

    payout_id: Id
    order_id: Id
    amount: Money
    scheduled_date: Time
    notification: Notification


class PayoutHeld(Stamped):
    """A payout is held for the given reason."""

    payout_id: Id
    order_id: Id
    reason: Text
    notification: Notification


class PayoutCompleted(Stamped):
    """A payout was paid. `reference` is the bank's reference."""

    payout_id: Id
    order_id: Id
    amount: Money
    reference: Line
    notification: Notification


class PayoutReleased(Stamped):
    """A held payout was released."""

    payout_id: Id
    notification: Notification


class PaymentSent(Stamped):
    """The money of a payout was sent. The garage is asked to confirm that it arrived."""

    payout_id: Id
    notification: Notification


class PaymentConfirmed(Stamped):
    """A garage confirmed that the money of a payout arrived."""

    payout_id: Id
    notification: Notification


class PaymentDisputed(Stamped):
    """A garage reports that the money of a payout did not arrive, or not all of it."""

    payout_id: Id
    notification: Notification


# Subscriptions.


class SubscriptionWarning(Stamped):
    """The garage's subscription ends soon, at `expires_at`."""

    message: Text
    expires_at: Time


# Support tickets.


class NewTicket(Stamped):
    """A customer opened a support ticket."""

    ticket_id: Id
    subject: Line
    priority: TicketPriority


class NewMessage(Stamped):
    """A customer or operations wrote in a ticket. Clients in the ticket's room receive it."""

    message_id: Id
    ticket_id: Id
    sender_id: Id
    sender_role: Literal["customer", "operations"]
    message: Text


class SupportReply(Stamped):
    """A message was written in a ticket. The other side receives it, also if it has not joined the ticket's room."""

    ticket_id: Id
    message: Text


class TicketUpdated(Stamped):
    """The status of a ticket changed."""

    status: TicketStatus
