"""Clients of an Oyez server: publishers for back ends, and a Socket.IO client.

`Publisher` and `SyncPublisher` publish events over HTTP. The Socket.IO client, for `oyez listen`, the test kit and the
tests, does not reconnect by itself: `client` is one client in one namespace, `connection` one Engine.IO connection,
`transports` polling and WebSocket.
"""

from oyez.client.backlog import QueueLimits
from oyez.client.client import SERVER_DISCONNECT, Client, ConnectRefused, Event, connect, join
from oyez.client.connection import CLIENT_DISCONNECT, Connection, Disconnected, open_connection
from oyez.client.publications import Publication, Published
from oyez.client.publisher import Publisher, SyncPublisher
from oyez.client.publisher_errors import (
    EventError,
    InvalidEventsError,
    NotOyezError,
    PublisherError,
    QueueClosedError,
    QueueFullError,
    RequestRefusedError,
    ServerBusyError,
    ServiceKeyError,
    UnpublishedError,
    UnreachableError,
)
from oyez.client.queues import PublishQueue, SyncPublishQueue
from oyez.client.requests import Retries
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
    "EventError",
    "InvalidEventsError",
    "NotOyezError",
    "Publication",
    "PublishQueue",
    "Published",
    "Publisher",
    "PublisherError",
    "QueueClosedError",
    "QueueFullError",
    "QueueLimits",
    "RequestRefusedError",
    "Retries",
    "ServerBusyError",
    "ServiceKeyError",
    "SyncPublishQueue",
    "SyncPublisher",
    "UnpublishedError",
    "UnreachableError",
    "connect",
    "join",
    "open_connection",
]
