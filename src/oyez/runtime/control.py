"""Control entries: they move or disconnect sockets that are already connected, on every node.

The functions make entries of the log. `Control` applies them on each node, in order with the events: a removed member
still receives an event before the removal, and does not receive one after it. Applying an entry twice has no further
effect.
"""

from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from oyez.contract.policy import Identity, Verdict
from oyez.contract.rooms import Everyone, NamedRoom
from oyez.errors import FORBIDDEN, ContractError, RefusedError, is_temporary
from oyez.log.log import Entry
from oyez.logger import get_logger
from oyez.runtime.client import Client
from oyez.runtime.room_access import RoomAccess
from oyez.server.namespaces.socket import Socket

logger = get_logger("oyez.runtime")

DISCONNECT = "disconnect"
"""The action of entries that disconnect sockets."""
REVOKE = "revoke"
"""The action of entries that disconnect the sockets of revoked tokens."""


class Removal(msgspec.Struct, frozen=True):
    """The parameters of `member_removed`."""

    subject: str


class Move(msgspec.Struct, frozen=True, omit_defaults=True):
    """The parameters of `join` and `leave`."""

    rooms: tuple[str, ...]
    asking: bool = False
    """For a join: True if the membership table is asked when a rule requires it."""


class Disconnection(msgspec.Struct, frozen=True):
    """The parameters of `disconnect`."""

    close: bool = False


class Revocation(msgspec.Struct, frozen=True):
    """The parameters of `revoke`: tokens with this id, or with this role if they were issued before a time."""

    kind: str
    """`token` or `role`."""
    subject: str
    before: float = 0.0
    """Seconds since 1970."""

    def concerns(self, identity: Identity) -> bool:
        """True if the token of a connected client is revoked."""
        if self.kind == "token":
            return identity.claims.get("jti") == self.subject
        issued = identity.claims.get("iat")
        return identity.has_role(self.subject) and not (isinstance(issued, int | float) and issued >= self.before)


# Making entries.


def member_removed(room: NamedRoom, subject: str) -> Entry:
    """`subject` (`user:u1`) is no longer a member of `room`: its sockets leave, unless the rule allows them anyway."""
    return _entry("member_removed", room, (), Removal(subject))


def join(
    sockets_in: NamedRoom | Everyone,
    rooms: Iterable[NamedRoom],
    excluding: Iterable[NamedRoom | str] = (),
    *,
    asking: bool = False,
) -> Entry:
    """The sockets in a room join `rooms`, if the rules of those rooms allow it. A socket's id counts as a room.

    If a rule requires members, the membership table is not asked: the caller has checked it, and the sockets are in the
    room before the next event. With `asking`, the table is asked, and the sockets join when it has answered yes.
    Raises ContractError if a room belongs to another namespace.
    """
    return _entry("join", sockets_in, excluding, _move(sockets_in, rooms, asking=asking))


def leave(
    sockets_in: NamedRoom | Everyone, rooms: Iterable[NamedRoom], excluding: Iterable[NamedRoom | str] = ()
) -> Entry:
    """The sockets in a room leave `rooms`. Raises ContractError if a room belongs to another namespace."""
    return _entry("leave", sockets_in, excluding, _move(sockets_in, rooms))


def disconnect(
    sockets_in: NamedRoom | Everyone, excluding: Iterable[NamedRoom | str] = (), *, close: bool = False
) -> Entry:
    """The sockets in a room are disconnected from the namespace; with `close`, their whole connections end."""
    return _entry(DISCONNECT, sockets_in, excluding, Disconnection(close))


def revoke(namespace: str, kind: str, subject: str, before: float = 0.0) -> Entry:
    """The sockets of revoked tokens are disconnected, and their connections end; see Revocation."""
    return _entry(REVOKE, Everyone(namespace), (), Revocation(kind, subject, before))


def _entry(
    action: str, sockets_in: NamedRoom | Everyone, excluding: Iterable[NamedRoom | str], parameters: msgspec.Struct
) -> Entry:
    return Entry(
        namespace=sockets_in.namespace,
        rooms=(sockets_in.name,) if isinstance(sockets_in, NamedRoom) else (),
        excluded=tuple(str(room) for room in excluding),
        data=msgspec.json.encode(parameters),
        control=action,
    )


def _move(sockets_in: NamedRoom | Everyone, rooms: Iterable[NamedRoom], *, asking: bool = False) -> Move:
    named = tuple(rooms)
    for room in named:
        if room.namespace != sockets_in.namespace:
            raise ContractError(
                f"room {room} is of namespace {room.namespace}; sockets of {sockets_in.namespace} cannot be in it"
            )
    return Move(tuple(room.name for room in named), asking)


# Applying entries.


@dataclass(frozen=True, slots=True)
class _Action:
    parameters: type[msgspec.Struct]
    act: Callable[[Client, Any, Entry], None]


class Control:
    """Applies the control entries of one namespace."""

    def __init__(self, access: RoomAccess) -> None:
        self._access = access
        self._joining: dict[tuple[str, str], object] = {}
        """For a socket's id and a room, the newest join that waits for the membership table."""
        self._actions: Mapping[str, _Action] = {
            "member_removed": _Action(Removal, self._remove),
            "join": _Action(Move, self._join),
            "leave": _Action(Move, self._leave),
            DISCONNECT: _Action(Disconnection, self._disconnect),
            REVOKE: _Action(Revocation, self._revoke),
        }

    def apply(self, entry: Entry, sockets: Collection[Socket]) -> None:
        """Apply `entry` to each of `sockets`. An entry that cannot be applied is logged and skipped."""
        action = self._actions.get(entry.control)
        if action is None:
            logger.warning("an unknown control entry was skipped", control=entry.control, position=entry.position)
            return
        try:
            parameters = msgspec.json.decode(entry.data, type=action.parameters)
        except msgspec.MsgspecError as error:
            logger.error("a control entry was skipped", control=entry.control, error=str(error))
            return
        if entry.control == "member_removed":
            for room in entry.rooms:
                self._access.revocations.record(room)
        for socket in sockets:
            if socket.ended:
                # The action on another socket may have ended this one.
                continue
            try:
                action.act(socket.data, parameters, entry)
            except RefusedError as refused:
                logger.warning("a control entry is not for this socket", control=entry.control, reason=refused.message)
            except Exception:
                logger.exception("a control entry failed", control=entry.control, socket=socket.id)

    def _remove(self, client: Client, removal: Removal, entry: Entry) -> None:
        if removal.subject not in self._access.subjects_of(client.identity):
            return
        for room in entry.rooms:
            if client.is_in(room) and client.decide(room) is not Verdict.YES:
                client.leave(room)
                client.spawn(_or_reconnect(client, self._rejoin(client, room, entry.position)))

    async def _rejoin(self, client: Client, room: str, since: str | None) -> None:
        """Join again without a gap if the client is a member by another subject too, such as its role."""
        try:
            await client.join(room, since)
        except RefusedError as refused:
            if refused.refusal is not FORBIDDEN:
                raise
            if self._access.is_required(room):
                client.disconnect()

    def _join(self, client: Client, move: Move, entry: Entry) -> None:
        for room in move.rooms:
            verdict = client.decide(room)
            if verdict is Verdict.IF_MEMBER and move.asking:
                self._joining[client.id, room] = join = object()
                client.spawn(_or_reconnect(client, self._join_member(client, room, join)))
            elif verdict is not Verdict.NO:
                client.enter(room, True)

    async def _join_member(self, client: Client, room: str, join: object) -> None:
        try:
            allowed = await client.allows(room)
        finally:
            # A later entry may have removed the socket from the room, or joined it once more.
            newest = self._joining.get((client.id, room)) is join
            if newest:
                del self._joining[client.id, room]
        if allowed and newest:
            client.enter(room, True)

    def _leave(self, client: Client, move: Move, entry: Entry) -> None:
        for room in move.rooms:
            self._joining.pop((client.id, room), None)
            client.leave(room)

    def _disconnect(self, client: Client, disconnection: Disconnection, entry: Entry) -> None:
        client.disconnect(disconnection.close)

    def _revoke(self, client: Client, revocation: Revocation, entry: Entry) -> None:
        if revocation.concerns(client.identity):
            client.disconnect(close=True)


async def _or_reconnect(client: Client, work: Coroutine[Any, Any, None]) -> None:
    """Run a decision about a room, or close the client's connection if no decision is possible now.

    The client joins its rooms again when it reconnects; otherwise it would never receive the room's events again.
    """
    try:
        await work
    except Exception as error:
        if not is_temporary(error):
            raise
        client.socket.make_reconnect(error)
