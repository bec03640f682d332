"""What all HTTP connections of a port share."""

from typing import Protocol

from oyez.concurrency.cooperative_queue import CooperativeQueue
from oyez.server.cluster.forwarder import Forwarder
from oyez.server.http.direct import FindResponder
from oyez.server.transports.budget import InputGate


class IdleConnection(Protocol):
    """A connection that waits for its next request."""

    def timeout_keep_alive_handler(self) -> None:
        """Close it."""


class PortState:
    """The queues of a port, and its idle connections, of which it keeps `max_idle`."""

    def __init__(
        self, max_idle: int, forwarder: Forwarder, find_responder: FindResponder = lambda target: None
    ) -> None:
        self.forwarder = forwarder
        """Brings requests to the nodes that have their sessions."""
        self.find_responder = find_responder
        self.connect_queue = CooperativeQueue()
        """Connections whose first request has come, processed a few per loop iteration."""
        self.request_queue = CooperativeQueue()
        """Requests that were sent before the previous one was answered."""
        self.gate = InputGate()
        """Bounds what is read of all connections in one iteration of the loop."""
        self._max_idle = max_idle
        self._idle: dict[IdleConnection, None] = {}
        """In the order in which they became idle."""

    def begin_idle(self, connection: IdleConnection) -> None:
        """`connection` waits for its next request. If too many connections do, the first of them is closed."""
        self._idle[connection] = None
        if len(self._idle) > self._max_idle:
            oldest = next(iter(self._idle))
            self.end_idle(oldest)
            oldest.timeout_keep_alive_handler()

    def end_idle(self, connection: IdleConnection) -> None:
        """`connection` has a request, or is closed."""
        self._idle.pop(connection, None)
