"""Support: tickets in a queue, agents, and the messages of both sides.

Members of a ticket's room are its customer and its agent. Events that matter to a customer who has not opened the chat
also go to the customer's own room.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta
from sqlalchemy import Connection, Row, func, select, update

from oyez.contract import UNSET, CamelPayload, Id, Maybe, Time
from oyez.contract.codec import decode_json, encode_json
from oyez.errors import FORBIDDEN, RefusedError
from oyez.service.database.records import to_payload
from oyez.service.outbox.transaction import Transaction
from oyez.systems.rez import payloads
from oyez.systems.rez.contract import ALREADY_THERE, ILLEGAL_TRANSITION, NOT_FOUND, ticket, user
from oyez.systems.rez.payloads import AgentStatus, Line, Minutes, Rank, Text, TicketStatus, Url
from oyez.systems.rez.rows import find_row, get_row
from oyez.systems.rez.states import TICKETS, check_move
from oyez.systems.rez.tables import agents, reads, ticket_messages, tickets

AGENT_IS_GONE = "agent_is_gone"
"""The job that sets an agent offline after the last device has disconnected."""
AGENT_GRACE = 15.0
"""Seconds that an agent has to reconnect: official clients try again within ten, also on a slow network."""
AGENT_LEASE = 180.0
"""Seconds after which an agent becomes offline if no node renews that they are connected …"""
AGENT_RENEWAL = 60.0
"""… and between two renewals: one transaction a minute for each agent, and two of them may be late."""
ASSUMED_HANDLING = 600.0
"""Seconds that a ticket is assumed to take while no ticket was resolved."""
HANDLED_TICKETS = 50
"""Number of the newest resolved tickets in the average: older ones say little about today's queue."""
NOTIFIED_POSITIONS = 100
"""Number of tickets at the head of the queue that receive their position."""


class TicketOpening(CamelPayload):
    """A new ticket."""

    customer_id: Id
    customer_name: Line
    customer_avatar: Maybe[Url] = UNSET
    subject: Line


class Ticket(CamelPayload):
    """A stored ticket. Position and waiting time are null if it does not wait for an agent."""

    ticket_id: Id
    customer_id: Id
    customer_name: Line
    customer_avatar: Url | None
    subject: Line
    status: TicketStatus
    agent_id: Id | None
    created_at: Time
    assigned_at: Time | None
    resolved_at: Time | None
    position: Rank | None
    estimated_wait_time: Minutes | None


class AgentEntry(CamelPayload):
    """The data of an agent."""

    name: Line
    avatar: Maybe[Url] = UNSET
    department: Line
    status: AgentStatus


class StoredAgent(AgentEntry):
    """A stored agent."""

    agent_id: Id


class AgentState(CamelPayload):
    """The status of an agent."""

    status: AgentStatus


class Assignment(CamelPayload):
    """The agent of a ticket."""

    agent_id: Id


class TicketMove(CamelPayload):
    """The new status of a ticket; `open` puts it back into the queue."""

    status: TicketStatus


class MessagePosting(CamelPayload):
    """A message of the customer or the agent."""

    sender_id: Id
    type: Literal["text", "image", "file"]
    content: Text
    attachments: Maybe[Annotated[list[payloads.Attachment], Meta(max_length=5)]] = UNSET


# Tickets.


def open_ticket(tx: Transaction, ticket_id: str, opening: TicketOpening) -> tuple[Ticket, bool]:
    """Put a ticket into the queue. True if it is new. Raises RefusedError (already_there)."""
    row = find_row(tx.connection, tickets, ticket_id)
    if row is not None:
        if (row.customer_id, row.subject) != (opening.customer_id, opening.subject):
            raise RefusedError(ALREADY_THERE, f"Ticket {ticket_id!r} is another customer's or about something else.")
        return to_ticket(tx.connection, row), False
    tx.connection.execute(
        tickets.insert(),
        {
            "id": ticket_id,
            "customer_id": opening.customer_id,
            "customer_name": opening.customer_name,
            "customer_avatar": opening.customer_avatar or None,
            "subject": opening.subject,
            "status": "open",
            "created_at": tx.now,
        },
    )
    tx.add_member(ticket(ticket_id), f"user:{opening.customer_id}")
    row = get_row(tx.connection, tickets, ticket_id)
    _notify_status(tx, row)
    _notify_queue(tx)
    return to_ticket(tx.connection, row), True


def assign(tx: Transaction, ticket_id: str, assignment: Assignment) -> Ticket:
    """Assign a ticket to an agent, in place of any other. Raises RefusedError: not_found, illegal_transition."""
    agent_id = assignment.agent_id
    row, agent = get_row(tx.connection, tickets, ticket_id), get_row(tx.connection, agents, agent_id)
    if row.status == "in_progress" and row.agent_id == agent_id:
        return to_ticket(tx.connection, row)
    check_move(TICKETS, f"Ticket {ticket_id!r}", row.status, "in_progress")
    if row.agent_id not in (None, agent_id):
        tx.remove_member(ticket(ticket_id), f"user:{row.agent_id}")
    tx.add_member(ticket(ticket_id), f"user:{agent_id}")
    before = row.status
    row = _change(tx, row, status="in_progress", agent_id=agent_id, assigned_at=tx.now, resolved_at=None)
    payload = payloads.SupportAgentAssigned(ticket_id=ticket_id, agent=_to_agent(agent), assigned_at=Time.at(tx.now))
    tx.emit(payload, ticket(ticket_id), user(row.customer_id), user(agent_id))
    if before != "in_progress":
        _notify_status(tx, row)
    _notify_queue(tx)
    return to_ticket(tx.connection, row)


def assign_next(tx: Transaction, agent_id: str) -> Ticket | None:
    """Assign the ticket that has waited longest to an agent; null if none waits. Raises RefusedError (not_found)."""
    get_row(tx.connection, agents, agent_id)
    waiting = _list_queue(tx.connection)
    return assign(tx, waiting[0].id, Assignment(agent_id=agent_id)) if waiting else None


def move_ticket(tx: Transaction, ticket_id: str, move: TicketMove) -> Ticket:
    """Change the status of a ticket; does nothing if it has that status.

    Raises RefusedError: not_found, illegal_transition.
    """
    row = get_row(tx.connection, tickets, ticket_id)
    if row.status != move.status:
        row = _move(tx, row, move.status)
    return to_ticket(tx.connection, row)


def get_ticket(connection: Connection, ticket_id: str) -> Ticket:
    """Raises RefusedError (not_found)."""
    return to_ticket(connection, get_row(connection, tickets, ticket_id))


def to_ticket(connection: Connection, row: Row[Any]) -> Ticket:
    position = wait = None
    if row.status == "open":
        ahead = select(func.count()).where(tickets.c.status == "open", tickets.c.number < row.number)
        position = connection.execute(ahead).scalar_one() + 1
        wait = _estimate_wait(position, *_measure_pace(connection))
    return to_payload(
        row,
        Ticket,
        ticket_id=row.id,
        created_at=Time.at(row.created_at),
        assigned_at=None if row.assigned_at is None else Time.at(row.assigned_at),
        resolved_at=None if row.resolved_at is None else Time.at(row.resolved_at),
        position=position,
        estimated_wait_time=wait,
    )


def _move(tx: Transaction, row: Row[Any], status: str) -> Row[Any]:
    check_move(TICKETS, f"Ticket {row.id!r}", row.status, status)
    values: dict[str, Any] = {"status": status}
    if status == "in_progress" and row.agent_id is None:
        raise RefusedError(ILLEGAL_TRANSITION, f"Ticket {row.id!r} has no agent who could work on it; assign one.")
    if status == "open":
        values |= {"agent_id": None, "assigned_at": None, "resolved_at": None}
        if row.agent_id is not None:
            tx.remove_member(ticket(row.id), f"user:{row.agent_id}")
    elif status in ("resolved", "closed"):
        values["resolved_at"] = tx.now if row.resolved_at is None else row.resolved_at
    else:
        values["resolved_at"] = None
    row = _change(tx, row, **values)
    _notify_status(tx, row)
    _notify_queue(tx)
    return row


def _change(tx: Transaction, row: Row[Any], **values: Any) -> Row[Any]:
    if values["status"] != "open":
        values["told_position"] = None
    tx.connection.execute(update(tickets).where(tickets.c.id == row.id).values(values))
    return get_row(tx.connection, tickets, row.id)


def _notify_status(tx: Transaction, row: Row[Any]) -> None:
    payload = payloads.SupportTicketStatusChanged(ticket_id=row.id, status=row.status, timestamp=Time.at(tx.now))
    tx.emit(payload, ticket(row.id), user(row.customer_id))


# The queue: open tickets in the order of their creation.


def _list_queue(connection: Connection) -> Sequence[Row[Any]]:
    """The waiting tickets that receive their position."""
    query = select(tickets).where(tickets.c.status == "open").order_by(tickets.c.number).limit(NOTIFIED_POSITIONS)
    return connection.execute(query).all()


def _measure_pace(connection: Connection) -> tuple[float, int]:
    """The average seconds that a ticket takes, and the number of agents at work."""
    took = (tickets.c.resolved_at - tickets.c.assigned_at).label("took")
    newest = select(took).where(took.is_not(None)).order_by(tickets.c.resolved_at.desc()).limit(HANDLED_TICKETS)
    mean = connection.execute(select(func.avg(newest.subquery().c.took))).scalar_one()
    at_work = select(func.count()).select_from(agents).where(agents.c.status.in_(("online", "busy")))
    return ASSUMED_HANDLING if mean is None else float(mean), connection.execute(at_work).scalar_one()


def _estimate_wait(position: int, handling: float, at_work: int) -> int:
    """Minutes until the ticket at `position` has an agent: the tickets ahead, shared by those who are at work."""
    return math.ceil((position - 1) * handling / max(1, at_work) / 60)


def _notify_queue(tx: Transaction) -> None:
    """Send the position to every waiting ticket whose position has changed."""
    moved = [
        (position, row) for position, row in enumerate(_list_queue(tx.connection), 1) if row.told_position != position
    ]
    if not moved:
        return
    pace = _measure_pace(tx.connection)
    for position, row in moved:
        tx.connection.execute(update(tickets).where(tickets.c.id == row.id).values(told_position=position))
        payload = payloads.SupportQueuePositionUpdated(
            ticket_id=row.id,
            position=position,
            estimated_wait_time=_estimate_wait(position, *pace),
            timestamp=Time.at(tx.now),
        )
        tx.emit(payload, ticket(row.id), user(row.customer_id))


# Agents.


def put_agent(tx: Transaction, agent_id: str, entry: AgentEntry) -> tuple[StoredAgent, bool]:
    """Add an agent, or change one. True if the agent is new."""
    values = {"name": entry.name, "avatar": entry.avatar or None, "department": entry.department}
    if find_row(tx.connection, agents, agent_id) is None:
        tx.connection.execute(agents.insert(), dict(id=agent_id, status=entry.status, **values))
        return get_agent(tx.connection, agent_id), True
    tx.connection.execute(update(agents).where(agents.c.id == agent_id).values(values))
    return set_agent_status(tx, agent_id, AgentState(status=entry.status)), False


def set_agent_status(tx: Transaction, agent_id: str, state: AgentState) -> StoredAgent:
    """Set the status of an agent and notify the customers of the agent's tickets.

    Raises RefusedError (not_found).
    """
    get_row(tx.connection, agents, agent_id)
    tx.connection.execute(update(agents).where(agents.c.id == agent_id).values(returns_as=None))
    return _set_agent_status(tx, agent_id, state)


def schedule_agent_offline(tx: Transaction, agent_id: str) -> None:
    """Schedule the job that sets an agent offline, after the agent's last device has disconnected."""
    tx.schedule(AGENT_IS_GONE, agent_id, tx.now + AGENT_GRACE, {})


def set_agent_offline(tx: Transaction, agent_id: str, data: dict[str, Any]) -> None:
    """The job AGENT_IS_GONE."""
    row = find_row(tx.connection, agents, agent_id)
    if row is None or row.status == "offline":
        return
    _set_agent_status(tx, agent_id, AgentState(status="offline"))
    tx.connection.execute(update(agents).where(agents.c.id == agent_id).values(returns_as=row.status))


def restore_agent(tx: Transaction, agent_id: str) -> None:
    """A device of the agent is connected: restore the previous status if the job had set the agent offline.

    Repeated every AGENT_RENEWAL seconds while a device is connected, so that agents of a killed node become offline.
    """
    row = find_row(tx.connection, agents, agent_id)
    if row is None:
        return
    tx.schedule(AGENT_IS_GONE, agent_id, tx.now + AGENT_LEASE, {})
    if row.returns_as is not None:
        set_agent_status(tx, agent_id, AgentState(status=row.returns_as))


def _set_agent_status(tx: Transaction, agent_id: str, state: AgentState) -> StoredAgent:
    if get_row(tx.connection, agents, agent_id).status != state.status:
        tx.connection.execute(update(agents).where(agents.c.id == agent_id).values(status=state.status))
        theirs = select(tickets.c.id).where(
            tickets.c.agent_id == agent_id, tickets.c.status.in_(("in_progress", "pending"))
        )
        rooms = [ticket(ticket_id) for ticket_id in tx.connection.execute(theirs.order_by(tickets.c.number)).scalars()]
        if rooms:
            payload = payloads.SupportAgentStatusChanged(
                agent_id=agent_id, status=state.status, timestamp=Time.at(tx.now)
            )
            tx.emit(payload, *rooms)
    return get_agent(tx.connection, agent_id)


def get_agent(connection: Connection, agent_id: str) -> StoredAgent:
    """Raises RefusedError (not_found)."""
    row = get_row(connection, agents, agent_id)
    return to_payload(row, StoredAgent, agent_id=row.id)


def describe_typing_end(
    connection: Connection, ticket_id: str, sender_id: str
) -> payloads.UserTypingStop | payloads.SupportAgentTypingStop:
    """The event for the others in a ticket when a user has stopped typing. Raises RefusedError (not_found)."""
    is_customer = get_row(connection, tickets, ticket_id).customer_id == sender_id
    if is_customer or find_agent_name(connection, sender_id) is None:
        return payloads.UserTypingStop(ticket_id=ticket_id, user_id=sender_id)
    return payloads.SupportAgentTypingStop(ticket_id=ticket_id, agent_id=sender_id)


def find_agent_name(connection: Connection, agent_id: str) -> str | None:
    """The name of an agent for customers; None if there is no such agent."""
    row = find_row(connection, agents, agent_id)
    return None if row is None else row.name


def _to_agent(row: Row[Any]) -> payloads.Agent:
    return payloads.Agent(id=row.id, name=row.name, avatar=row.avatar or UNSET, department=row.department)


# Messages.


def post_message(
    tx: Transaction, ticket_id: str, message_id: str, posting: MessagePosting
) -> tuple[payloads.SupportMessageReceived, bool]:
    """Store and send a message of the customer or the agent. True if it is new.

    A customer's message reopens a ticket that was pending or resolved. Raises RefusedError: not_found,
    forbidden, illegal_transition, already_there.
    """
    row = get_row(tx.connection, tickets, ticket_id)
    from_customer = posting.sender_id == row.customer_id
    if not from_customer and posting.sender_id != row.agent_id:
        raise RefusedError(FORBIDDEN, f"{posting.sender_id!r} is neither the customer nor the agent of the ticket.")
    stored = find_row(tx.connection, ticket_messages, message_id)
    if stored is not None:
        if (stored.ticket_id, stored.sender_id) != (ticket_id, posting.sender_id):
            raise RefusedError(ALREADY_THERE, f"Message {message_id!r} is another one.")
        return to_message(stored), False
    if row.status == "closed":
        raise RefusedError(ILLEGAL_TRANSITION, f"Ticket {ticket_id!r} is closed; open another.")
    message = _write_message(tx, row, message_id, posting)
    other = row.agent_id if from_customer else row.customer_id
    # Also to all devices of the sender, which may not have opened the chat.
    tx.emit(message, ticket(ticket_id), user(posting.sender_id), *([user(other)] if other is not None else []))
    if from_customer and row.status in ("pending", "resolved"):
        _move(tx, row, "open" if row.agent_id is None else "in_progress")
    return message, True


def to_message(row: Row[Any]) -> payloads.SupportMessageReceived:
    return decode_json(row.message, payloads.SupportMessageReceived)


def deliver_message(tx: Transaction, ticket_id: str, message_id: str) -> payloads.SupportMessageDelivered:
    """Mark a message as delivered to the other side; stored and sent once. Raises RefusedError (not_found)."""
    row = _get_message(tx.connection, ticket_id, message_id)
    delivered_at = tx.now if row.delivered_at is None else row.delivered_at
    payload = payloads.SupportMessageDelivered(message_id=message_id, delivered_at=Time.at(delivered_at))
    if row.delivered_at is None:
        tx.connection.execute(
            update(ticket_messages).where(ticket_messages.c.id == message_id).values(delivered_at=delivered_at)
        )
        tx.emit(payload, ticket(ticket_id), user(row.sender_id))
    return payload


def read_message(tx: Transaction, ticket_id: str, message_id: str, reader_id: str) -> payloads.SupportMessageRead:
    """Mark a message as read by a member of the ticket's room, and as delivered; stored and sent once.

    Raises RefusedError: not_found, forbidden if it is their own.
    """
    row = _get_message(tx.connection, ticket_id, message_id)
    if row.sender_id == reader_id:
        raise RefusedError(FORBIDDEN, "A message is read by whom it was written to.")
    query = select(reads.c.read_at).where(reads.c.message_id == message_id, reads.c.reader_id == reader_id)
    read_at = tx.connection.execute(query).scalar_one_or_none()
    payload = payloads.SupportMessageRead(
        message_id=message_id, read_by=reader_id, read_at=Time.at(tx.now if read_at is None else read_at)
    )
    if read_at is None:
        tx.connection.execute(reads.insert(), {"message_id": message_id, "reader_id": reader_id, "read_at": tx.now})
        deliver_message(tx, ticket_id, message_id)
        tx.emit(payload, ticket(ticket_id), user(reader_id))
    return payload


def _get_message(connection: Connection, ticket_id: str, message_id: str) -> Row[Any]:
    row = find_row(connection, ticket_messages, message_id)
    if row is None or row.ticket_id != ticket_id:
        raise RefusedError(NOT_FOUND, f"There is no message {message_id!r} in ticket {ticket_id!r}.")
    return row


def _write_message(
    tx: Transaction, row: Row[Any], message_id: str, posting: MessagePosting
) -> payloads.SupportMessageReceived:
    if posting.sender_id == row.customer_id:
        name, avatar = row.customer_name, row.customer_avatar
    else:
        agent = get_row(tx.connection, agents, posting.sender_id)
        name, avatar = agent.name, agent.avatar
    message = to_payload(
        posting,
        payloads.SupportMessageReceived,
        id=message_id,
        ticket_id=row.id,
        sender_name=name,
        sender_avatar=avatar or UNSET,
        attachments=posting.attachments or UNSET,
        created_at=Time.at(tx.now),
    )
    tx.connection.execute(
        ticket_messages.insert(),
        {"id": message_id, "ticket_id": row.id, "sender_id": posting.sender_id, "message": encode_json(message)},
    )
    return message
