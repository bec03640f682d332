"""What a contract does at run time. A system's handlers, hooks and HTTP API import their vocabulary from here."""

from oyez.runtime import control
from oyez.runtime.authentication import Credentials, User
from oyez.runtime.client import Client
from oyez.runtime.commands import Handlers
from oyez.runtime.hooks import Departed, Hooks, RoomHooks
from oyez.runtime.http import Responder, answer_json, read_json, service_route
from oyez.runtime.publisher import Publisher

__all__ = [
    "Client",
    "Credentials",
    "Departed",
    "Handlers",
    "Hooks",
    "Publisher",
    "Responder",
    "RoomHooks",
    "User",
    "answer_json",
    "control",
    "read_json",
    "service_route",
]
