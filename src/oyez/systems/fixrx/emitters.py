"""One function for each event about services, bookings and payments, for controllers to call after a change.

`oyez` is a Publisher, which sends at once and is awaited, or a Transaction, which sends when it is committed:

    await emit_service_created(publisher, service=service, actor=actor)

    def create(tx, service, actor):
        tx.connection.execute(insert(services).values(...))
        emit_service_created(tx, service=service, actor=actor)

    await outbox.run(create, service, actor)

Services, bookings, payments and actors are the contract's types, or mappings with the fields on the wire. They are
checked first: a wrong field raises InvalidDataError with its name, and nothing is emitted. The event goes to the room
of the user and, if there is a vendor, to the room of the vendor.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Protocol, TypeVar

from oyez.contract import Payload
from oyez.contract.codec import encode_json
from oyez.contract.event_codec import EventCodec
from oyez.errors import InvalidDataError
from oyez.systems.fixrx.contract import (
    Actor,
    Booking,
    BookingCancelled,
    BookingCreated,
    BookingStatusChanged,
    Payment,
    PaymentCompleted,
    PaymentFailed,
    Service,
    ServiceCreated,
    ServiceStatusChanged,
    ServiceUpdated,
)

R_co = TypeVar("R_co", covariant=True)
P = TypeVar("P", bound=Payload)
Fields = Mapping[str, Any]


class Emits(Protocol[R_co]):
    """A Publisher, whose `emit` is awaited, or a Transaction, whose `emit` is not."""

    def emit(self, payload: Payload, /) -> R_co: ...


def emit_service_created(oyez: Emits[R_co], *, service: Service | Fields, actor: Actor | Fields) -> R_co:
    """A service has been asked for."""
    return oyez.emit(_check(ServiceCreated, service=service, actor=actor))


def emit_service_updated(oyez: Emits[R_co], *, service: Service | Fields, actor: Actor | Fields) -> R_co:
    """Something about a service is different, other than its status."""
    return oyez.emit(_check(ServiceUpdated, service=service, actor=actor))


def emit_service_status_changed(
    oyez: Emits[R_co], *, service: Service | Fields, previous_status: str, actor: Actor | Fields
) -> R_co:
    """A service has another status than `previous_status`."""
    changed = _check(ServiceStatusChanged, service=service, previousStatus=previous_status, actor=actor)
    _check_changed(changed.service.status, changed.previous_status)
    return oyez.emit(changed)


def emit_booking_created(oyez: Emits[R_co], *, booking: Booking | Fields, actor: Actor | Fields) -> R_co:
    """A visit has been booked."""
    return oyez.emit(_check(BookingCreated, booking=booking, actor=actor))


def emit_booking_status_changed(
    oyez: Emits[R_co], *, booking: Booking | Fields, previous_status: str, actor: Actor | Fields
) -> R_co:
    """A booking has another status than `previous_status`."""
    changed = _check(BookingStatusChanged, booking=booking, previousStatus=previous_status, actor=actor)
    _check_changed(changed.booking.status, changed.previous_status)
    return oyez.emit(changed)


def emit_booking_cancelled(oyez: Emits[R_co], *, booking: Booking | Fields, actor: Actor | Fields) -> R_co:
    """A booking has been called off; its status says so."""
    cancelled = _check(BookingCancelled, booking=booking, actor=actor)
    _check_status("booking", cancelled.booking.status, "cancelled")
    return oyez.emit(cancelled)


def emit_payment_completed(oyez: Emits[R_co], *, payment: Payment | Fields, actor: Actor | Fields) -> R_co:
    """A payment went through; its status says so."""
    completed = _check(PaymentCompleted, payment=payment, actor=actor)
    _check_status("payment", completed.payment.status, "completed")
    return oyez.emit(completed)


def emit_payment_failed(oyez: Emits[R_co], *, payment: Payment | Fields, actor: Actor | Fields) -> R_co:
    """A payment did not go through; its status says so."""
    failed = _check(PaymentFailed, payment=payment, actor=actor)
    _check_status("payment", failed.payment.status, "failed")
    return oyez.emit(failed)


def _check(event: type[P], **fields: Any) -> P:
    """The event with these fields, in whichever form they were given. Raises InvalidDataError."""
    try:
        data = encode_json(fields)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidDataError("", f"a payload of {event.__name__} ({error})") from None
    payload: P = _codec_of(event).decode_payload(data)
    return payload


@cache
def _codec_of(event: type[Payload]) -> EventCodec[Any]:
    return EventCodec(event.__name__, event)


def _check_changed(status: str, previous: str) -> None:
    if status == previous:
        raise InvalidDataError("previousStatus", f"another status than {status!r}, which it has now")


def _check_status(about: str, status: str, expected: str) -> None:
    if status != expected:
        raise InvalidDataError(f"{about}.status", f"{expected!r}, not {status!r}")
