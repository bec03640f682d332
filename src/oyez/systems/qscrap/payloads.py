"""What the events of `qscrap` carry, section by section; where each goes is said in contract.py.

Every event has the server's `timestamp`; the other times in payloads are still to come.
"""

from typing import Annotated, Literal

from msgspec import Meta

from oyez.contract import UNSET, Id, Maybe, Money, Payload, Stamped, Time

Line = Annotated[str, Meta(min_length=1, max_length=200)]
"""A name, a number or a title, as people read it."""
Text = Annotated[str, Meta(min_length=1, max_length=2_000)]
"""What somebody wrote, short enough to fit into an event in any script."""
Images = Annotated[list[Annotated[str, Meta(min_length=1, max_length=500)]], Meta(max_length=10)]
"""Addresses of pictures."""

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
    """What a front end shows its user about an event: a heading, a sentence, and how loud to say it."""

    title: Line
    message: Text
    type: Literal["info", "success", "warning", "error"]


# Part requests.


class NewRequest(Stamped):
    """A customer is looking for a part. Everybody hears it, so nothing in it says who the customer is."""

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
    """The customer's request has run out without a bid being taken."""

    request_id: Id
    notification: Notification


class RequestCancelled(Stamped):
    """The customer has called a request off; told to the garages that bid on it, or to all when none did."""

    request_id: Id
    notification: Notification


# Bids and negotiation.


class BidSummary(Payload):
    """A bid as a list of bids shows it."""

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
    """Another price for a bid, proposed by one side to the other."""

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
    """A garage has made a bid on the customer's request."""

    request_id: Id
    bid_summary: BidSummary
    notification: Notification


class BidRejected(Stamped):
    """The customer does not take the garage's bid."""

    bid_id: Id
    notification: Notification


class BidUpdated(Stamped):
    """A garage has changed a bid that the customer has not decided about."""

    bid_id: Id
    notification: Notification


class BidWithdrawn(Stamped):
    """A garage has taken its bid back."""

    bid_id: Id
    request_id: Id
    notification: Notification


class CounterOfferReceived(CounterOffer):
    """One side has answered a price with another; told to the side that now has to decide."""

    offered_by: Literal["customer", "garage"]


class CounterOfferAccepted(Stamped):
    """The price that the recipient proposed is agreed."""

    bid_id: Id
    final_amount: Money
    notification: Notification


class CounterOfferRejected(Stamped):
    """The price that the recipient proposed is turned down; the bid stands as it was."""

    bid_id: Id
    notification: Notification


class GarageCounterOffer(CounterOffer):
    """The garage proposes another price to the customer."""


# Orders.


class OrderStatusUpdated(Stamped):
    """An order has moved on."""

    order_id: Id
    order_number: Line
    old_status: OrderStatus
    new_status: OrderStatus
    notification: Notification


class OrderCancelled(Stamped):
    """One side has called an order off; told to the other."""

    order_id: Id
    order_number: Line
    cancellation_reason: Text
    notification: Notification


# Quality control.


class QcPassed(Stamped):
    """The part has been inspected and is what was ordered."""

    order_id: Id
    order_number: Line
    notification: Notification


class QcFailed(Stamped):
    """The part has not passed its inspection."""

    order_id: Id
    order_number: Line
    failure_reason: Text
    notification: Notification


class QcFailedAlert(Stamped):
    """A part of some garage has failed its inspection: a call to whoever watches over quality."""

    order_id: Id
    garage_name: Line
    notification: Notification


class ReturnAssignmentCreated(Stamped):
    """Somebody has been given the task of bringing a part that failed its inspection back to the garage."""

    order_id: Id
    notification: Notification


# Disputes.


class DisputeCreated(Stamped):
    """A customer complains about an order of the garage and asks for money back."""

    dispute_id: Id
    order_id: Id
    reason: DisputeReason
    refund_amount: Money
    notification: Notification


class DisputeAccepted(Stamped):
    """The garage agrees with the customer's complaint."""

    dispute_id: Id
    order_number: Line
    refund_amount: Money
    notification: Notification


class DisputeContested(Stamped):
    """The garage disagrees with the customer's complaint; operations will decide."""

    dispute_id: Id
    garage_response: Text
    notification: Notification


class DisputeResolved(Stamped):
    """A dispute is over: the garage agreed, operations decided, or the garage let the time pass."""

    dispute_id: Id
    resolution: DisputeResolution
    refund_amount: Money
    notification: Notification


# Payouts and finance.


class PayoutScheduled(Stamped):
    """What the garage has earned with an order will be paid on a day that is now fixed."""

    payout_id: Id
    order_id: Id
    amount: Money
    scheduled_date: Time
    notification: Notification


class PayoutHeld(Stamped):
    """A payout waits until something is settled."""

    payout_id: Id
    order_id: Id
    reason: Text
    notification: Notification


class PayoutCompleted(Stamped):
    """A payout is done; `reference` is the bank's."""

    payout_id: Id
    order_id: Id
    amount: Money
    reference: Line
    notification: Notification


class PayoutReleased(Stamped):
    """A payout that was held goes its way again."""

    payout_id: Id
    notification: Notification


class PaymentSent(Stamped):
    """The money of a payout is on its way; the garage is asked to confirm that it came."""

    payout_id: Id
    notification: Notification


class PaymentConfirmed(Stamped):
    """A garage has confirmed that the money of a payout came."""

    payout_id: Id
    notification: Notification


class PaymentDisputed(Stamped):
    """A garage says that the money of a payout did not come, or not all of it."""

    payout_id: Id
    notification: Notification


# Subscriptions.


class SubscriptionWarning(Stamped):
    """The garage's subscription ends soon."""

    message: Text
    expires_at: Time


# Support tickets.


class NewTicket(Stamped):
    """A customer asks for help."""

    ticket_id: Id
    subject: Line
    priority: TicketPriority


class NewMessage(Stamped):
    """Somebody has written in a ticket."""

    message_id: Id
    ticket_id: Id
    sender_id: Id
    sender_role: Literal["customer", "operations"]
    message: Text


class SupportReply(Stamped):
    """There is an answer in a ticket, for somebody who may not be looking at it; `message` is its text."""

    ticket_id: Id
    message: Text


class TicketUpdated(Stamped):
    """A ticket has another status."""

    status: TicketStatus
