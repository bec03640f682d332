"""The handlers of the clients' commands: each runs one transaction or only sends an event.

The token identifies the caller. Tracking and monitoring need no handler: the server joins the client to the room.
"""

from functools import partial
from typing import Any

from sqlalchemy import Connection, Row

from oyez.contract import NamedRoom
from oyez.contract.schema import quote
from oyez.errors import FORBIDDEN, RefusedError
from oyez.runtime import Client, Handlers, Hooks
from oyez.service.system import Services
from oyez.service.typing import Typing
from oyez.systems.bookings import transactions
from oyez.systems.bookings.conflated import ConflatedEvents
from oyez.systems.bookings.contract import (
    AcceptBooking,
    CancelBooking,
    MarkMessageRead,
    RejectBooking,
    RequestStats,
    SendMessage,
    StartTyping,
    StopTyping,
    UpdateBookingStatus,
    UpdateLocation,
    admin_user,
    customer_user,
    partner_user,
    trackers,
)
from oyez.systems.bookings.payloads import (
    BookingState,
    Location,
    MessageRead,
    MessageStored,
    TypingIndicator,
)
from oyez.systems.bookings.records import NewMessage
from oyez.systems.bookings.tables import count_statistics, find_day, share_booking, to_time


def build_handlers(services: Services, conflated: ConflatedEvents, typing: Typing) -> Handlers:
    run = services.outbox.run

    def state(booking: Row[Any]) -> BookingState:
        conflated.statistics_changed()
        return BookingState(booking_id=booking.id, status=booking.status)

    async def cancel(command: CancelBooking, client: Client) -> BookingState:
        caller = client.identity.subject
        return state(await run(transactions.cancel_booking, caller, command.booking_id, command.reason))

    async def accept(command: AcceptBooking, client: Client) -> BookingState:
        return state(await run(transactions.accept_booking, client.identity.subject, command.booking_id))

    async def reject(command: RejectBooking, client: Client) -> BookingState:
        caller = client.identity.subject
        return state(await run(transactions.reject_booking, caller, command.booking_id, command.reason))

    async def update_status(command: UpdateBookingStatus, client: Client) -> BookingState:
        caller = client.identity.subject
        return state(await run(transactions.move_booking, caller, command.booking_id, command.status))

    async def update_location(command: UpdateLocation, client: Client) -> None:
        location = Location(latitude=command.latitude, longitude=command.longitude)
        await conflated.send_location(client.identity.subject, location)

    async def send_message(command: SendMessage, client: Client) -> MessageStored:
        new = NewMessage(
            sender_id=client.identity.subject,
            sender_role="customer" if client.identity.role == "customer" else "partner",
            recipient_id=command.recipient_id,
            message=command.message,
            booking_id=command.booking_id,
        )
        await stop_indicating(services, typing, new.sender_role, new.sender_id, new.recipient_id, client)
        message = await run(transactions.send_message, new)
        return MessageStored(id=message.id, created_at=to_time(message.created_at))

    async def mark_read(command: MarkMessageRead, client: Client) -> MessageRead:
        identity = client.identity
        message = await run(transactions.mark_read, identity.role, identity.subject, command.message_id)
        return MessageRead(message_id=message.id, read_at=to_time(message.read_at))

    async def start_typing(command: StartTyping, client: Client) -> None:
        caller, recipient_id = client.identity, command.recipient_id
        rooms = await rooms_of(client, recipient_id)
        await services.publisher.emit(TypingIndicator(user_id=caller.subject, typing=True), *rooms)
        stopped = TypingIndicator(user_id=caller.subject, typing=False)
        key = typing_key(caller.role, caller.subject, recipient_id)
        await typing.start(client, key, partial(services.publisher.emit, stopped, *rooms))

    async def stop_typing(command: StopTyping, client: Client) -> None:
        caller, recipient_id = client.identity, command.recipient_id
        rooms = await rooms_of(client, recipient_id)
        await typing.stop(typing_key(caller.role, caller.subject, recipient_id), client)
        await services.publisher.emit(TypingIndicator(user_id=caller.subject, typing=False), *rooms)

    async def rooms_of(client: Client, recipient_id: str) -> list[NamedRoom]:
        rooms = await services.database.read(find_rooms, client.identity.role, client.identity.subject, recipient_id)
        if not rooms:
            raise RefusedError(FORBIDDEN, f"You share no booking with {quote(recipient_id)}.")
        return rooms

    async def request_stats(command: RequestStats, client: Client) -> None:
        now = services.clock()
        counted = await services.database.read(count_statistics, find_day(now, services.settings.zone))
        client.emit(transactions.build_statistics(counted, int(now * 1_000)))

    return {
        CancelBooking: cancel,
        AcceptBooking: accept,
        RejectBooking: reject,
        UpdateBookingStatus: update_status,
        UpdateLocation: update_location,
        SendMessage: send_message,
        MarkMessageRead: mark_read,
        StartTyping: start_typing,
        StopTyping: stop_typing,
        RequestStats: request_stats,
    }


def build_hooks(conflated: ConflatedEvents, typing: Typing) -> Hooks:
    async def joined(client: Client, room: str) -> None:
        """Send the last location of the partner to a client that starts to track a booking."""
        matched = trackers.match(room) if client.namespace == trackers.namespace else None
        if matched is not None and (location := await conflated.find_location(matched["bookingId"])) is not None:
            client.emit(location)

    def disconnected(client: Client, reason: str) -> None:
        typing.leave(client)

    return Hooks(joined=joined, disconnected=disconnected)


def typing_key(role: str, user_id: str, recipient_id: str) -> str:
    return f"{role}:{user_id}:{recipient_id}"


async def stop_indicating(
    services: Services, typing: Typing, role: str, user_id: str, recipient_id: str, client: Client | None = None
) -> None:
    """End the typing of a customer or partner who sends a message. `client` is the sender, if known."""
    if await typing.stop(typing_key(role, user_id, recipient_id), client):
        room = partner_user(recipient_id) if role == "customer" else customer_user(recipient_id)
        await services.publisher.emit(TypingIndicator(user_id=user_id, typing=False), room)


def find_rooms(connection: Connection, role: str, user_id: str, recipient_id: str) -> list[NamedRoom]:
    """The rooms in which a recipient receives typing events; none if the two share no booking.

    Customers and partners type to the other side of a booking. Admins may type to any user.
    """
    if role == "customer":
        return [partner_user(recipient_id)] if share_booking(connection, user_id, recipient_id) else []
    if role == "partner":
        return [customer_user(recipient_id)] if share_booking(connection, recipient_id, user_id) else []
    return [customer_user(recipient_id), partner_user(recipient_id), admin_user(recipient_id)]
