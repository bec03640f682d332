"""What all connections of one server share: settings, time, queues and budgets."""

from collections.abc import Callable

from oyez.concurrency.cooperative_queue import CooperativeQueue
from oyez.concurrency.sparse_log import SparseLog, find_kind
from oyez.concurrency.timer_wheel import TimerWheel
from oyez.logger import get_logger
from oyez.observer import CONNECT, Observers, RefusalReport, SlowClientReport
from oyez.protocol import engineio
from oyez.protocol.engineio import CloseReason
from oyez.server.namespaces.table import NamespaceTable
from oyez.server.transports.budget import InputGate, MemoryBudget, Rates
from oyez.settings import Settings


class ConnectionContext:
    """Given to each connection by the server that it belongs to."""

    def __init__(
        self,
        settings: Settings,
        namespaces: NamespaceTable,
        clock: Callable[[], float],
        unfinished: MemoryBudget,
        *,
        position: Callable[[], str],
        new_id: Callable[[], str],
        observers: Observers | None = None,
    ) -> None:
        """`clock` is monotonic. `position` is how far events have been delivered; `new_id` makes the id of a socket."""
        self.settings = settings
        self.limits = settings.limits
        self.namespaces = namespaces
        self.clock = clock
        self.unfinished = unfinished
        """The memory that the unfinished input of all clients may hold."""
        self.position = position
        self.new_id = new_id
        self.observers = observers
        self.compression_threshold = settings.compression_threshold
        # Checks are late by a sixteenth of the shortest time at most. Long times need two checks a second only.
        shortest = min(settings.ping_interval, settings.ping_timeout, self.limits.connect_timeout)
        self.wheel = TimerWheel(min(0.5, shortest / 32), clock)
        self.rates = Rates(self.limits, authenticated=True)
        self.unauthenticated_rates = Rates(self.limits, authenticated=False)
        self.gate = InputGate()
        """Bounds the input of all busy connections in one iteration of the loop."""
        self.connect_queue = CooperativeQueue()
        """CONNECT packets waiting, processed a few per loop iteration."""
        self.disconnect_queue = CooperativeQueue()
        """WebSockets whose network has ended, closed a few per loop iteration."""
        self.faults = SparseLog(get_logger("oyez.server"), clock)
        """Logs the faults of clients, but only a part of them: clients can cause any number."""

    def log_fault(self, connection: str, user_id: str, message: str, reason: CloseReason, detail: str) -> None:
        """Log that something is refused, or a connection closed, because of what its client sent."""
        kind = f"{reason.text}: {find_kind(detail)}"
        self.faults.warning(message, kind=kind, connection=connection, user=user_id, reason=reason.text, detail=detail)

    def report_refusal(self, namespace: str, code: str, address: str, connection: str) -> None:
        """Report a CONNECT that was refused. The client chose the name `namespace`."""
        if self.observers is not None:
            known = self.namespaces.find_declared(namespace) or ""
            system = self.observers.system
            self.observers.report(
                RefusalReport(system, CONNECT, code, known, address=address, connection_id=connection)
            )

    def report_slow(self, connection: str, user_id: str, address: str) -> None:
        """Report a client that is disconnected because it does not read."""
        if self.observers is not None:
            self.observers.report(SlowClientReport(self.observers.system, connection, user_id, address))

    def encode_open(self, sid: str, *, upgraded: bool) -> bytes:
        """The open packet of a connection, which offers an upgrade if the connection is not `upgraded`."""
        return engineio.encode_open(
            engineio.OpenPacket(
                sid=sid,
                upgrades=[] if upgraded else ["websocket"],
                ping_interval=round(self.settings.ping_interval * 1000),
                ping_timeout=round(self.settings.ping_timeout * 1000),
                max_payload=self.limits.max_payload,
            )
        )
