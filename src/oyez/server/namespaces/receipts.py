"""Receipts: the acknowledgement ids of events that ask for one, and the reports about whom such an event has reached.

The id follows from the position of the event. So it is the same for all recipients, on every node and in each replay,
and an acknowledgement counts also if the client has meanwhile resumed on another node.
"""

from collections.abc import Iterable

from oyez.log.log import split_position
from oyez.observer import AcknowledgeReport, Observers, SentReport
from oyez.protocol.socket_ids import own_room
from oyez.server.namespaces.event_frames import FIRST_RECEIPT, RECEIPTS, EventFrames
from oyez.server.namespaces.socket import Socket


def find_position(ack_id: int, newest: str) -> str | None:
    """The position of the event with this acknowledgement id, the newest up to `newest`; None if there is none."""
    if not FIRST_RECEIPT <= ack_id < FIRST_RECEIPT + RECEIPTS:
        return None
    epoch, last = split_position(newest)
    number = last - (last - ack_id) % RECEIPTS
    return f"{epoch}.{number}" if number > 0 else None


def recipient_of(socket: Socket) -> str:
    """Who receives an event by a socket: its user; without a user, the room of the socket alone."""
    return socket.user_id or own_room(socket.id)


def report_sent(
    observers: Observers, declared: str, messages: Iterable[EventFrames], sockets: Iterable[Socket], *, replayed: bool
) -> None:
    """Report those of the events that ask for receipts, and that are written to `sockets` now."""
    for message in messages:
        if message.ack_id is None:
            continue
        recipients = [recipient_of(one) for one in sockets if not one.age or message.packets(one.form)]
        entry = message.entry
        observers.report(
            SentReport(
                observers.system,
                declared,
                entry.namespace,
                entry.name,
                entry.position or "",
                entry.rooms,
                entry.excluded,
                tuple(recipients),
                replayed,
            )
        )


def report_acknowledged(observers: Observers, declared: str, socket: Socket, position: str) -> None:
    """Report that a client has acknowledged an event; whether it had received it is not known here."""
    connection = socket.connection.public_id
    observers.report(
        AcknowledgeReport(observers.system, declared, position, recipient_of(socket), socket.id, connection)
    )
