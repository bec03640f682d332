"""ConnectAdmission: the namespaces that a client is entering, was refused by, or was disconnected from by the server.

It decides which CONNECT packets reach the application. The connection sends the answers.
"""

from oyez.errors import RATE_LIMITED, TOO_LARGE, UNKNOWN_NAMESPACE, RefusedError
from oyez.protocol.socketio import Packet
from oyez.server.transports.outgoing import OutboundPacket
from oyez.settings import Limits

MINUTE = 60.0


class ConnectAdmission:
    """Belongs to one connection. Times are in seconds of the server's clock."""

    __slots__ = ("_connects", "_connects_end", "_disconnected", "_entering", "_farewells", "_limits")

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._connects = 0
        """Number of CONNECTs that were counted before `_connects_end`."""
        self._connects_end = now + MINUTE
        # Most clients enter one namespace and stay there, so an empty set or dict is None.
        self._entering: set[str] | None = None
        """Namespaces whose application is deciding about the client."""
        self._disconnected: set[str] | None = None
        """Namespaces that the server has disconnected. Packets for them may still arrive and are ignored."""
        self._farewells: dict[str, OutboundPacket] | None = None
        """For each namespace that has refused the client, the packet that disconnects it."""

    @property
    def entering(self) -> bool:
        """True if an application is deciding about the client."""
        return bool(self._entering)

    @property
    def disconnected(self) -> bool:
        """True if the server has disconnected the client from a namespace that it has not entered again."""
        return bool(self._disconnected)

    def is_entering(self, namespace: str) -> bool:
        """True if the application of `namespace` is deciding about the client."""
        return self._entering is not None and namespace in self._entering

    def was_disconnected(self, namespace: str) -> bool:
        """True if the server has disconnected the client from `namespace`."""
        return self._disconnected is not None and namespace in self._disconnected

    def check(self, packet: Packet, known: bool, entered: int, now: float) -> RefusedError | None:
        """Why a CONNECT is refused; None if the application may decide.

        `known` is True if there is such a namespace. `entered` is the client's number of sockets.
        """
        if not known:
            return RefusedError(UNKNOWN_NAMESPACE)
        if not self.count_connect(now):
            # On a new connection, the count would begin again: so the client stays on this one and gets a time to wait.
            wait = round(self._connects_end - now, 3)
            return RefusedError(RATE_LIMITED, "You connect too often; wait a minute.", retry_after=wait)
        if len(packet.data) > (most := self._limits.max_connect_bytes):
            return RefusedError(TOO_LARGE, f"`auth` is {len(packet.data)} bytes; {most} are allowed.")
        if len(self._entering or ()) + entered >= self._limits.max_namespaces_per_connection:
            return RefusedError(RATE_LIMITED, "You are in too many namespaces; leave one first.")
        return None

    def count_connect(self, now: float) -> bool:
        """Count a CONNECT. False if there were too many within a minute."""
        if now >= self._connects_end:
            self._connects, self._connects_end = 0, now + MINUTE
        self._connects += 1
        return self._connects <= self._limits.max_connects_per_minute

    def begin(self, namespace: str) -> None:
        """The application of `namespace` is asked about the client; `finish` follows."""
        if self._disconnected:
            self._disconnected.discard(namespace)
        self._entering = (self._entering or set()) | {namespace}

    def finish(self, namespace: str) -> None:
        """The application of `namespace` has decided; `accept` or `refuse` follows."""
        self._entering = (self._entering or set()) - {namespace} or None

    def accept(self, namespace: str) -> None:
        """The client has entered `namespace`."""
        if self._farewells:
            self._farewells.pop(namespace, None)

    def refuse(self, namespace: str, farewell: OutboundPacket) -> None:
        """The client was refused; `farewell` disconnects it from `namespace`, if it does not leave by itself."""
        farewells = {**(self._farewells or {}), namespace: farewell}
        if len(farewells) > self._limits.max_namespaces_per_connection:
            # A client in another namespace may be refused by any number of them, and need not leave.
            del farewells[next(iter(farewells))]
        self._farewells = farewells

    def disconnect(self, namespace: str) -> None:
        """The server has disconnected the client from `namespace`."""
        self._disconnected = (self._disconnected or set()) | {namespace}

    def farewells(self) -> list[OutboundPacket]:
        """The packets that disconnect the client from the namespaces that have refused it."""
        return list((self._farewells or {}).values())
