"""Hooks: functions of a system that are called when its clients connect, disconnect, or reach a limit."""

from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oyez.contract.contract import Contract
from oyez.contract.rooms import NamedRoom, Room
from oyez.contract.schema import find_field, is_whole
from oyez.contract.types import Payload
from oyez.errors import ContractError, RefusedError
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
    refused: Callable[[Handshake, RefusedError], Mapping[str, Any] | Payload] | None = None
    """A CONNECT is refused: returns further fields of CONNECT_ERROR's `data`, beside the code and the details. With
    `Errors(connect_fields=…)`, a payload of that class; then documents and types have these fields. Not called if the
    cause is temporary."""
    limited: Callable[[Client, int, float], None] | None = None
    """The client has exceeded a limit: how often in a row, and the seconds until it may send again. Called when the
    client receives the event `error`, which is not sent for every refused command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Departed:
    """A stay in a room that has ended. The client may be gone, and may have been connected to another process."""

    id: str
    """The id of the stay: the same if `left` is called again for it, because a process was killed during the call."""
    user: str
    """The user's id."""
    socket_id: str
    room: NamedRoom
    """The room, with the values of its placeholders in `values`."""
    reason: str
    """Socket.IO's reason of a disconnect; `leave` if the client has left the room; `process lost` if its process was
    killed or could not be reached."""
    since: float
    """When the stay began, in seconds since 1970."""
    at: float
    """When the client was connected last, in seconds since 1970, by the clock of its process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomHooks:
    """The functions for one kind of room. Each is optional."""

    entered: Callable[[Client, NamedRoom], Coroutine[Any, Any, None]] | None = None
    """A socket has entered the room. Called after the stay is recorded, so that `left` follows in every case."""
    left: Callable[[Departed, NamedRoom], Coroutine[Any, Any, None]] | None = None
    """The stay of a socket has ended: the client has left the room, is disconnected and has not come back in time, or
    its process was killed. Called in one process, after `entered` has finished."""
    welcome: Callable[[Client, NamedRoom], Coroutine[Any, Any, Payload | Sequence[Payload] | None]] | None = None
    """Returns the events that describe the room's state to a client that joins. The client receives them before any
    later event of the room. The events must list `caller` as a target."""
    version: str | None = None
    """The wire name of a whole number that a transaction increases with each change of the room: a field of the room's
    events and of what `welcome` returns. Then `welcome` is called once, also while the room has events all the time,
    and the client does not receive events that the state includes."""


_ROOM_CALLS: Mapping[str, tuple[str, ...]] = {
    "entered": ("client", "room"),
    "left": ("departed", "room"),
    "welcome": ("client", "room"),
}


def check_room_hooks(contract: Contract, rooms: object) -> None:
    """Raises ContractError if functions for rooms do not fit, or are for rooms that the contract does not declare."""
    kinds = [kind for namespace in contract.namespaces for kind in namespace.rooms.kinds]
    errors = _find_room_hook_errors(rooms, kinds)
    if not errors and isinstance(rooms, Mapping):
        errors = [
            f"room {room.pattern}: no event has a field {hooks.version} with a whole number, which version names"
            for room, hooks in rooms.items()
            if hooks.version is not None and not find_versioned(contract, hooks.version)
        ]
    if errors:
        raise ContractError("\n".join(f"contract {contract.name}: {error}" for error in errors))


def find_versioned(contract: Contract, version: str) -> dict[type[Payload], str]:
    """The payloads that have a whole number with the wire name `version`, and the field's name in Python."""
    found = {}
    for shape in (shape for event in contract.events.values() for shape in event.shapes):
        field = find_field(shape, version)
        if field is not None and is_whole(field[1].type):
            found[shape] = field[1].name
    return found


def _find_room_hook_errors(rooms: object, kinds: Collection[Room]) -> list[str]:
    if not isinstance(rooms, Mapping):
        return [f"rooms is a {type(rooms).__name__}: write a dict of rooms, as {{auction: RoomHooks(entered=…)}}"]
    errors = []
    for room, hooks in rooms.items():
        if not isinstance(room, Room) or room not in kinds:
            errors.append(f"rooms has functions for {room!r:.60}, which is not a room of the contract")
        elif not isinstance(hooks, RoomHooks):
            errors.append(
                f"room {room.pattern}: its functions are a {type(hooks).__name__}: write RoomHooks(entered=…)"
            )
        else:
            for name, arguments in _ROOM_CALLS.items():
                function = getattr(hooks, name)
                if function is not None and (error := find_signature_error(function, arguments, waits=True)):
                    errors.append(f"room {room.pattern}: {name}: {error}")
            if hooks.version is not None and hooks.welcome is None:
                errors.append(f"room {room.pattern}: version is for rooms with a welcome; write RoomHooks(welcome=…)")
    return errors


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
