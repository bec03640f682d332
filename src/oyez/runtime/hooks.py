"""Hooks: functions of a system that are called when its clients connect, disconnect, or reach a limit."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from oyez.errors import RefusedError
from oyez.runtime.client import Client
from oyez.runtime.functions import find_signature_error
from oyez.server.types import Handshake


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """The hooks of a system, the same in all its namespaces (`client.namespace`). Each is optional."""

    connecting: Callable[[Client], Coroutine[Any, Any, None]] | None = None
    """The client is accepted and not yet notified: read what `connected` needs into `client.state` here.

    If this raises a RefusedError, the CONNECT is refused. If the cause is temporary, the client's connection is cut
    instead, and the client reconnects by itself. Nothing can be sent to the client yet.
    """
    connected: Callable[[Client], Coroutine[Any, Any, None]] | None = None
    """The client has been notified that it is connected; its commands wait until this is done.

    If this raises, the client's connection is cut, and the client reconnects by itself. A RefusedError that is not
    temporary is sent to the client as the event `error` instead, and the client is disconnected for good.
    """
    joined: Callable[[Client, str], Coroutine[Any, Any, None]] | None = None
    """The client has joined the room of that name by a command that only joins it. Called before the command is
    acknowledged, so the client receives the hook's events first."""
    expiring: Callable[[Client], Coroutine[Any, Any, None]] | None = None
    """The client's token ends in `expiring_before` seconds. Called once for each token. See `client.renew`."""
    expiring_before: float = 60.0
    """Seconds. For a token that lives less than twice as long, half its life."""
    ending: Callable[[Client, str], None] | None = None
    """The server is about to end the connection: the last chance to `client.emit`. Not called if the client left.

    The reason is `token_expired`, `server_shutdown`, `disconnected`, or another close reason's name, such as
    `forced_close`.
    """
    disconnected: Callable[[Client, str], None] | None = None
    """The client has disconnected, or was disconnected, and is in no room. The reason is Socket.IO's."""
    refused: Callable[[Handshake, RefusedError], Mapping[str, Any]] | None = None
    """A CONNECT is refused: returns further fields of CONNECT_ERROR's `data`, beside the code and the details."""
    limited: Callable[[Client, int, float], None] | None = None
    """The client has exceeded a limit: how often in a row, and the seconds until it may send again. Called when the
    client receives the event `error`, which is not sent for every refused command."""


_CALLS: Mapping[str, tuple[tuple[str, ...], bool]] = {
    "connecting": (("client",), True),
    "connected": (("client",), True),
    "joined": (("client", "room"), True),
    "expiring": (("client",), True),
    "ending": (("client", "reason"), False),
    "disconnected": (("client", "reason"), False),
    "refused": (("handshake", "refused"), False),
    "limited": (("client", "times", "seconds"), False),
}
"""The arguments of each hook, and True if the hook is awaited."""


def find_hook_errors(hooks: Hooks) -> list[str]:
    """The hooks that cannot be called as they have to be, one sentence each."""
    if not isinstance(hooks, Hooks):
        return [f"hooks is a {type(hooks).__name__}: write Hooks(connected=...)"]
    given = {name: getattr(hooks, name) for name in _CALLS if getattr(hooks, name) is not None}
    errors = {name: find_signature_error(hook, _CALLS[name][0], waits=_CALLS[name][1]) for name, hook in given.items()}
    return [f"hook {name}: {error}" for name, error in errors.items() if error]
