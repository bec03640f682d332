"""The states of an HTTP connection.

A connection waits until it is admitted, then serves one request after the other. A request is answered here, unless its
session is at another node; then it is the last request of the connection. A WebSocket leaves HTTP.
"""

from enum import Enum, auto


class State(Enum):
    """The state of an HTTP connection."""

    QUEUED = auto()
    """It waits for its turn among new connections."""
    HEAD = auto()
    """It waits for the head of a request."""
    LOCAL = auto()
    """A request is being answered here."""
    FORWARDING = auto()
    """The request belongs to another node: its bytes are collected until there is a tunnel."""
    TUNNELLED = auto()
    """A tunnel carries the request, and the WebSocket if it is one."""
    UPGRADED = auto()
    """It is a WebSocket: nothing of HTTP is left."""


class Input(Enum):
    """What moves a connection from one state to another."""

    ADMITTED = auto()
    LOCAL_REQUEST = auto()
    FOREIGN_REQUEST = auto()
    ANSWERED = auto()
    TUNNEL_OPENED = auto()
    UPGRADED = auto()


TRANSITIONS: dict[State, dict[Input, State]] = {
    State.QUEUED: {Input.ADMITTED: State.HEAD},
    State.HEAD: {
        Input.LOCAL_REQUEST: State.LOCAL,
        Input.FOREIGN_REQUEST: State.FORWARDING,
        Input.UPGRADED: State.UPGRADED,
    },
    State.LOCAL: {Input.ANSWERED: State.HEAD},
    State.FORWARDING: {Input.TUNNEL_OPENED: State.TUNNELLED},
    State.TUNNELLED: {},
    State.UPGRADED: {},
}
"""A refusal or a hand-off is no state: it closes the network connection."""
