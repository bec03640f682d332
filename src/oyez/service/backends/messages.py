"""What a back end receives: one JSON object for each request, signed by the rules of Standard Webhooks.

The bytes of a request are the same in each attempt, so that a back end may recognize a repeat by its id or its body.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from oyez.contract.declared import DeclaredCommand
from oyez.contract.policy import Identity
from oyez.contract.rooms import NamedRoom, Room
from oyez.contract.types import Command, Time
from oyez.runtime.authentication import Credentials
from oyez.runtime.client import Client
from oyez.runtime.idempotency import current_command
from oyez.service.backends.caller import Message
from oyez.tracing import trace_headers

PREFIX = "req_"
"""The beginning of a request's id."""


class Messages:
    """Builds the requests of one system."""

    def __init__(self, system: str, *, traces: bool = False) -> None:
        """With `traces`, a request has the trace id of the active span, if there is one."""
        self._system = system
        self._traces = traces

    def command(self, declared: DeclaredCommand, command: Command, client: Client, timeout: float) -> Message:
        """A command to handle. A repeat with the client's own idempotency key has the same id."""
        about = {"name": declared.name, "data": command}
        return self._client_message("command", "command", about, client, timeout, self._find_id())

    def connect(self, client: Client, timeout: float) -> Message:
        """A CONNECT to decide about, of a client that the contract itself allows.

        Without the id of the socket: a client that comes back continues with its former id after the decision.
        """
        shown = {key: value for key, value in _show_client(client).items() if key != "id"}
        members = {"namespace": client.namespace, "client": shown, "connect": {"query": client.handshake.query}}
        return self._build("connect", members, timeout)

    def welcome(self, room: NamedRoom, kind: Room, client: Client, timeout: float) -> Message:
        """A question for the state of a room that a client is about to join."""
        return self._client_message("welcome", "room", _show_room(room, kind), client, timeout)

    def disconnect(self, client: Client, reason: str, timeout: float) -> Message:
        """A client that has disconnected."""
        return self._client_message("disconnect", "disconnect", {"reason": reason}, client, timeout)

    def room(self, room: NamedRoom, kind: Room, identity: Identity, timeout: float) -> Message:
        """A room to decide about, for a user."""
        members = {"namespace": room.namespace, "client": _show_identity(identity), "room": _show_room(room, kind)}
        return self._build("room", members, timeout)

    def authenticate(self, credentials: Credentials, timeout: float) -> Message:
        """Credentials whose user is asked for."""
        request = credentials.request
        shown = {
            "token": credentials.token,
            "auth": credentials.auth,
            "headers": request.headers,
            "query": request.query,
            "address": request.address,
        }
        return self._build("authenticate", {"credentials": shown}, timeout)

    def _client_message(
        self, type: str, name: str, about: Mapping[str, Any], client: Client, timeout: float, id: str = ""
    ) -> Message:
        members = {"namespace": client.namespace, "client": _show_client(client), name: about}
        return self._build(type, members, timeout, id)

    def _build(self, type: str, members: Mapping[str, Any], timeout: float, id: str = "") -> Message:
        id, traced = id or PREFIX + secrets.token_hex(16), trace_headers() if self._traces else {}
        trace = traced["traceparent"].split("-")[1] if traced else secrets.token_hex(16)
        head = {
            "type": type,
            "id": id,
            "trace": trace,
            "deadline": Time.at(time.time() + timeout),
            "system": self._system,
        }
        # Claims and credentials may hold values of the system's own types.
        body = msgspec.json.encode({**head, **members}, enc_hook=str)
        return Message(type, id, trace, body, asyncio.get_running_loop().time() + timeout)

    def _find_id(self) -> str:
        """The id of the command that is being handled, if the client has given it a key; otherwise empty."""
        command = current_command.get()
        if command is None:
            return ""
        return PREFIX + hashlib.sha256(f"{self._system}\0{command.name}".encode()).hexdigest()[:32]


def _show_client(client: Client) -> dict[str, Any]:
    return {
        "id": client.id,
        **_show_identity(client.identity),
        "rooms": sorted(client.rooms),
        "address": client.handshake.address,
    }


def _show_identity(identity: Identity) -> dict[str, Any]:
    return {
        "user": identity.subject,
        "role": identity.role,
        "roles": identity.roles or (identity.role,),
        "guest": identity.guest,
        "claims": identity.claims,
        "attributes": identity.attributes,
        "expiresAt": Time.at(identity.expires_at) if identity.expires_at is not None else None,
    }


def _show_room(room: NamedRoom, kind: Room) -> dict[str, Any]:
    return {"name": room.name, "pattern": kind.pattern, "values": room.values}
