"""Part requests that expire: a request that is open at its end expires, and its customer is notified."""

from typing import Any, Literal

from msgspec.structs import asdict

from oyez.contract import Id, Payload, Time
from oyez.service.database.records import to_payload
from oyez.service.outbox.transaction import Transaction
from oyez.systems.qscrap import states
from oyez.systems.qscrap.contract import user
from oyez.systems.qscrap.payloads import Notification, RequestExpired
from oyez.systems.qscrap.tables import change, check_same, find, get, is_as, requests

EXPIRY = "request_expiry"

RequestStatus = Literal["open", "taken", "cancelled", "expired"]


class RequestBody(Payload):
    """Whose request it is and how long bids can be taken."""

    customer_id: Id
    expires_at: Time


class Request(Payload):
    request_id: Id
    customer_id: Id
    expires_at: Time
    status: RequestStatus


def put_request(tx: Transaction, request_id: str, body: RequestBody) -> tuple[Request, bool]:
    """Store a request, or change its end. True if it is new."""
    user(body.customer_id)
    values = asdict(body)
    found = find(tx.connection, requests.c.request_id, request_id)
    if found is None:
        tx.connection.execute(requests.insert(), dict(request_id=request_id, status="open", **values))
    elif is_as(found, values):
        return to_payload(found, Request), False
    else:
        check_same(found, values, "customer_id")
        states.check_open(states.REQUEST, found.status)
        change(tx.connection, requests.c.request_id, request_id, **values)
    tx.schedule(EXPIRY, request_id, body.expires_at.seconds, {})
    return to_payload(get(tx.connection, requests.c.request_id, request_id), Request), found is None


def move_request(tx: Transaction, request_id: str, *, action: str) -> Request:
    """A bid was taken, or the request cancelled: it does not expire. The back end publishes the event itself."""
    request = get(tx.connection, requests.c.request_id, request_id)
    change(
        tx.connection,
        requests.c.request_id,
        request_id,
        status=states.move(states.REQUEST, request.status, action),
    )
    tx.cancel(EXPIRY, request_id)
    return to_payload(get(tx.connection, requests.c.request_id, request_id), Request)


def expire_request(tx: Transaction, request_id: str, data: dict[str, Any]) -> None:
    """The job at a request's end."""
    request = move_request(tx, request_id, action="expire")
    notification = Notification(
        title="Request expired", message="Your request has run out, and no bid was taken.", type="info"
    )
    tx.emit(RequestExpired(request_id=request_id, notification=notification), user(request.customer_id))
