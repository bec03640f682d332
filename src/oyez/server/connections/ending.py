"""How a connection ends: a table of states, and the reasons that need more than closing.

The session is closed first, by what the client has sent or by the server. Then each state below is entered in turn.
"""

from enum import Enum, auto

from oyez.protocol import engineio
from oyez.protocol.engineio import CloseReason

LINGER_SECONDS = 30.0
"""Seconds in which a polling client may fetch what is left after its session was closed, as in official servers."""
MAX_DETAIL = 200
"""Characters of a fault's description: parts of it may come from the client."""
CLIENT_GONE = frozenset({engineio.TRANSPORT_CLOSE, engineio.PING_TIMEOUT})
"""Reasons that mean that the client has left, or is assumed to have left."""
FAULTS = frozenset({engineio.FORCED_CLOSE, engineio.TOO_LARGE, engineio.TOO_MANY_FRAGMENTS})
"""Reasons that the client has caused by what it sent. It is notified of them."""
_NAMES = {
    engineio.TOKEN_EXPIRED: "token_expired",
    engineio.SERVER_SHUTDOWN: "server_shutdown",
    engineio.FORCED_SERVER_CLOSE: "disconnected",
}


class State(Enum):
    """The life of a connection, as far as its end is concerned."""

    OPEN = auto()
    ANNOUNCING = auto()
    """The server and the applications send last events."""
    CLOSED = auto()
    """Nothing more can be sent; the sockets and the transport are being closed."""
    LINGERING = auto()
    """A polling client, or the WebSocket that probes for it, has not been notified yet: LINGER_SECONDS at most."""
    EVICTED = auto()
    """Requests that name the connection are those of an unknown client."""


class Input(Enum):
    """What changes the state of a connection."""

    ENDED = auto()
    ANNOUNCED = auto()
    UNFETCHED = auto()
    """Something is left to be fetched or sent."""
    NOTIFIED = auto()
    """Nothing is left, or it has waited for too long."""


TRANSITIONS: dict[State, dict[Input, State]] = {
    State.OPEN: {Input.ENDED: State.ANNOUNCING},
    State.ANNOUNCING: {Input.ANNOUNCED: State.CLOSED},
    State.CLOSED: {Input.UNFETCHED: State.LINGERING, Input.NOTIFIED: State.EVICTED},
    State.LINGERING: {Input.NOTIFIED: State.EVICTED},
    State.EVICTED: {},
}
SENDING = frozenset({State.OPEN, State.ANNOUNCING})
"""States in which packets are sent."""
EVICTABLE = frozenset({State.CLOSED, State.LINGERING})


def name_reason(reason: CloseReason) -> str:
    """The name of a reason for the application."""
    return _NAMES.get(reason) or reason.text.replace(" ", "_")
