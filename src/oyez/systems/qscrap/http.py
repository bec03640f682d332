"""The HTTP API of `qscrap`, as a table, for the back end that owns the marketplace.

The jobs watch the records that it puts here. Each kind of record is put, listed and read; `POST …/{action}` changes it.
"""

from functools import partial
from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import Column, Connection

from oyez.contract import Id, Payload
from oyez.errors import RefusedError
from oyez.service.database.records import to_payload
from oyez.service.resources import Listing, Read, Resource, Write
from oyez.systems.qscrap import disputes, payouts, requests, subscriptions, tables, tickets
from oyez.systems.qscrap.payloads import TicketStatus

MAX_PAGE = 100
"""Records of one page of a list: with the longest messages these are 200,000 characters."""


class Page(Payload):
    """The page of a list: `limit` records after the one whose id is `after`."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = MAX_PAGE
    after: Id | None = None


class TicketsPage(Page):
    customer_id: Id | None = None
    status: TicketStatus | None = None


class RequestsPage(Page):
    customer_id: Id | None = None
    status: requests.RequestStatus | None = None


class DisputesPage(Page):
    order_id: Id | None = None
    status: disputes.DisputeStatus | None = None


class PayoutsPage(Page):
    order_id: Id | None = None
    garage_id: Id | None = None
    status: payouts.PayoutStatus | None = None


def _reading(
    path: str,
    column: Column[str],
    record: type[Payload],
    page: type[Page] = Page,
    *,
    order: Column[Any] | None = None,
    within: Column[str] | None = None,
) -> tuple[Resource, Resource]:
    """The rows that list the records with the ids in `column`, and read one of them."""

    def get_parent(connection: Connection, id: str) -> object:
        assert within is not None
        (parent,) = within.foreign_keys
        return tables.get(connection, parent.column, id)

    def read(connection: Connection, *ids: str) -> Payload:
        row = tables.get(connection, column, ids[-1])
        if within is not None and row._mapping[within.name] != ids[0]:
            raise RefusedError(tables.UNKNOWN_RECORD, f"{ids[-1]!r} belongs to another {within.name}.")
        return to_payload(row, record)

    return (
        Listing(
            path,
            page,
            column.table,
            lambda _, row: to_payload(row, record),
            column,
            order,
            within,
            get_parent if within is not None else None,
            answer=record,
        ),
        Read(f"{path}/{{{column.name}}}", read, answer=record),
    )


_MESSAGES = tables.ticket_messages.c
_TICKET = "/tickets/{ticket_id}"
_REQUEST = "/requests/{request_id}"
_DISPUTE = "/disputes/{dispute_id}"
_PAYOUT = "/payouts/{payout_id}"
_SUBSCRIPTION = "/subscriptions/{garage_id}"

RESOURCES: tuple[Resource, ...] = (
    *_reading("/tickets", tables.tickets.c.ticket_id, tickets.Ticket, TicketsPage),
    Write("PUT", _TICKET, tickets.put_ticket, tickets.TicketBody),
    *(
        Write("POST", f"{_TICKET}/{action}", partial(tickets.move_ticket, action=action))
        for action in ("start", "resolve", "reopen", "close")
    ),
    *_reading(
        f"{_TICKET}/messages", _MESSAGES.message_id, tickets.Message, order=_MESSAGES.number, within=_MESSAGES.ticket_id
    ),
    Write("PUT", f"{_TICKET}/messages/{{message_id}}", tickets.put_message, tickets.MessageBody),
    *_reading("/requests", tables.requests.c.request_id, requests.Request, RequestsPage),
    Write("PUT", _REQUEST, requests.put_request, requests.RequestBody),
    *(
        Write("POST", f"{_REQUEST}/{action}", partial(requests.move_request, action=action))
        for action in ("take", "cancel")
    ),
    *_reading("/disputes", tables.disputes.c.dispute_id, disputes.Dispute, DisputesPage),
    Write("PUT", _DISPUTE, disputes.put_dispute, disputes.DisputeBody),
    Write("POST", f"{_DISPUTE}/contest", disputes.contest_dispute),
    Write("POST", f"{_DISPUTE}/withdraw", disputes.withdraw_dispute),
    Write("POST", f"{_DISPUTE}/resolve", disputes.resolve_dispute, disputes.Resolution),
    *_reading("/payouts", tables.payouts.c.payout_id, payouts.Payout, PayoutsPage),
    Write("PUT", _PAYOUT, payouts.put_payout, payouts.PayoutBody),
    Write("POST", f"{_PAYOUT}/hold", payouts.hold_payout, payouts.HoldBody),
    Write("POST", f"{_PAYOUT}/release", payouts.release_payout),
    Write("POST", f"{_PAYOUT}/complete", payouts.complete_payout),
    Write("POST", f"{_PAYOUT}/cancel", payouts.cancel_payout),
    *_reading("/subscriptions", tables.subscriptions.c.garage_id, subscriptions.Subscription),
    Write("PUT", _SUBSCRIPTION, subscriptions.put_subscription, subscriptions.SubscriptionBody),
    Write("DELETE", _SUBSCRIPTION, subscriptions.end_subscription),
)
