"""A Socket.IO client for `oyez listen`, the test kit and the tests. It does not reconnect by itself.

`client` is one client in one namespace, `connection` one Engine.IO connection, `transports` polling and WebSocket.
"""

from oyez.client.client import SERVER_DISCONNECT, Client, ConnectRefused, Event, connect, join
from oyez.client.connection import CLIENT_DISCONNECT, Connection, Disconnected, open_connection
from oyez.client.transports import ConnectFailed

__all__ = [
    "CLIENT_DISCONNECT",
    "SERVER_DISCONNECT",
    "Client",
    "ConnectFailed",
    "ConnectRefused",
    "Connection",
    "Disconnected",
    "Event",
    "connect",
    "join",
    "open_connection",
]
