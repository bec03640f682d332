"""What operators and observers learn of a connection: faults of its client, refusals, and clients that do not read."""

from typing import TYPE_CHECKING

from oyez.concurrency.sparse_log import find_kind
from oyez.observer import CONNECT, RefusalReport, SlowClientReport
from oyez.protocol.engineio import CloseReason

if TYPE_CHECKING:
    from oyez.server.connections.connection import Connection


def log_fault(connection: "Connection", message: str, reason: CloseReason, detail: str) -> None:
    """Log that something is refused, or the connection closed, because of what the client sent."""
    faults = connection.context.faults
    faults.warning(
        message,
        kind=f"{reason.text}: {find_kind(detail)}",
        connection=connection.id,
        user=connection.sockets.user_id,
        reason=reason.text,
        detail=detail,
    )


def report_refusal(connection: "Connection", namespace: str, code: str) -> None:
    """Report a CONNECT that was refused. The client chose the name `namespace`."""
    observers = connection.context.observers
    if observers is not None:
        known = namespace if namespace in connection.context.namespaces else ""
        address = connection.handshake.address
        observers.report(RefusalReport(observers.system, CONNECT, code, known, address=address))


def report_slow(connection: "Connection") -> None:
    """Report a client that is closed because it does not read."""
    observers = connection.context.observers
    if observers is not None:
        user_id, address = connection.sockets.user_id, connection.handshake.address
        observers.report(SlowClientReport(observers.system, connection.id, user_id, address))
