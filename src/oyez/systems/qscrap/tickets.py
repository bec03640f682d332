"""Support tickets: questions of customers, and answers.

The functions run in a transaction: their events are sent if and only if it is committed.
"""

from typing import Literal

from msgspec.structs import asdict

from oyez.contract import Id, Payload, Time
from oyez.errors import FORBIDDEN, RefusedError
from oyez.service.database.records import to_payload
from oyez.service.outbox.transaction import Transaction
from oyez.systems.qscrap import states
from oyez.systems.qscrap.contract import operations, user
from oyez.systems.qscrap.contract import ticket as ticket_room
from oyez.systems.qscrap.payloads import (
    Line,
    NewMessage,
    NewTicket,
    SupportReply,
    Text,
    TicketPriority,
    TicketStatus,
    TicketUpdated,
)
from oyez.systems.qscrap.tables import change, check_same, find, get, is_as, ticket_messages, tickets


class TicketBody(Payload):
    """The data of a ticket from the back end."""

    customer_id: Id
    subject: Line
    priority: TicketPriority = "normal"


class Ticket(Payload):
    ticket_id: Id
    customer_id: Id
    subject: Line
    priority: TicketPriority
    status: TicketStatus
    created_at: Time


class MessageBody(Payload):
    """A message in a ticket."""

    sender_id: Id
    sender_role: Literal["customer", "operations"]
    message: Text


class Message(Payload):
    message_id: Id
    ticket_id: Id
    sender_id: Id
    sender_role: Literal["customer", "operations"]
    message: Text
    created_at: Time


def put_ticket(tx: Transaction, ticket_id: str, body: TicketBody) -> tuple[Ticket, bool]:
    """Open a ticket, or correct one. True if it is new. Its customer, and no other, is a member of its room."""
    room = ticket_room(ticket_id)
    user(body.customer_id)
    found = find(tx.connection, tickets.c.ticket_id, ticket_id)
    if found is None:
        record = Ticket(ticket_id=ticket_id, status="open", created_at=Time.at(tx.now), **asdict(body))
        tx.connection.execute(tickets.insert(), dict(**asdict(record)))
        tx.add_member(room, f"user:{body.customer_id}")
        tx.emit(NewTicket(ticket_id=ticket_id, subject=body.subject, priority=body.priority), operations())
        return record, True
    if not is_as(found, asdict(body)):
        states.check_open(states.TICKET, found.status)
        change(tx.connection, tickets.c.ticket_id, ticket_id, **asdict(body))
    if found.customer_id != body.customer_id:
        tx.remove_member(room, f"user:{found.customer_id}")
        tx.add_member(room, f"user:{body.customer_id}")
    return to_payload(get(tx.connection, tickets.c.ticket_id, ticket_id), Ticket), False


def put_message(tx: Transaction, ticket_id: str, message_id: str, body: MessageBody) -> tuple[Message, bool]:
    """Write in a ticket. True if that is new. The room sees the message, the other side is notified.

    Raises RefusedError: unknown_record, record_differs; illegal_transition if the ticket is closed, forbidden
    if the sender is a customer but not the ticket's.
    """
    ticket = get(tx.connection, tickets.c.ticket_id, ticket_id)
    values = {"ticket_id": ticket_id, **asdict(body)}
    found = find(tx.connection, ticket_messages.c.message_id, message_id)
    if found is not None:
        check_same(found, values, *values)
        return to_payload(found, Message), False
    states.check_open(states.TICKET, ticket.status)
    if body.sender_role == "customer" and body.sender_id != ticket.customer_id:
        raise RefusedError(FORBIDDEN, f"{body.sender_id!r} is not the customer of ticket {ticket_id!r}.")
    record = Message(message_id=message_id, ticket_id=ticket_id, created_at=Time.at(tx.now), **asdict(body))
    tx.connection.execute(ticket_messages.insert(), dict(**asdict(record)))
    tx.emit(NewMessage(message_id=message_id, timestamp=record.created_at, **values))
    reply = SupportReply(ticket_id=ticket_id, message=body.message, timestamp=record.created_at)
    tx.emit(reply, operations() if body.sender_role == "customer" else user(ticket.customer_id))
    return record, True


def move_ticket(tx: Transaction, ticket_id: str, *, action: str) -> Ticket:
    """Start, resolve, reopen or close a ticket. Raises RefusedError: unknown_record, illegal_transition."""
    ticket = to_payload(get(tx.connection, tickets.c.ticket_id, ticket_id), Ticket)
    status = states.move(states.TICKET, ticket.status, action)
    if status != ticket.status:
        change(tx.connection, tickets.c.ticket_id, ticket_id, status=status)
        ticket = to_payload(get(tx.connection, tickets.c.ticket_id, ticket_id), Ticket)
        tx.emit(TicketUpdated(status=ticket.status), ticket_room(ticket_id))
    return ticket
