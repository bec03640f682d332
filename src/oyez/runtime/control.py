"""Control: what is to become of sockets that are connected already, wherever they are.

The functions make entries of the log; `Control` does on every node what they ask, in order with the events: an event
before a removal still reaches whoever is removed, an event behind it does not. Doing the same twice changes nothing.
"""

from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from oyez.contract.policy import Verdict
from oyez.contract.rooms import Everyone, NamedRoom
from oyez.errors import FORBIDDEN, ContractError, RefusedError, is_temporary
from oyez.log.log import Entry
from oyez.logger import get_logger
from oyez.server.namespaces.socket import Socket

if TYPE_CHECKING:
    from oyez.runtime.client import Client, RoomAccess

logger = get_logger("oyez.contract")


class Removal(msgspec.Struct, frozen=True):
    """The parameters of `member_removed`."""

    subject: str


class Move(msgspec.Struct, frozen=True, omit_defaults=True):
    """The parameters of `join` and `leave`."""

    rooms: tuple[str, ...]
    asking: bool = False
    """Of a join: whether the membership table is asked, where a rule asks for members."""


class Disconnection(msgspec.Struct, frozen=True):
    """The parameters of `disconnect`."""

    close: bool = False


# Making entries.


def member_removed(room: NamedRoom, subject: str) -> Entry:
    """`subject` (`user:u1`) is no member of `room` any more: its sockets leave, unless the rule lets them in anyway."""
    return _entry("member_removed", room, (), Removal(subject))


def join(
    sockets_in: NamedRoom | Everyone,
    rooms: Iterable[NamedRoom],
    excluding: Iterable[NamedRoom | str] = (),
    *,
    asking: bool = False,
) -> Entry:
    """The sockets in a room (a socket's id counts as one) enter `rooms`, as far as the rules of those allow.

    Where a rule asks for members, whoever makes the entry answers for that they are: the table is not asked, so that
    they are in before the next event. With `asking` it is: they enter when it has said yes.
    Raises ContractError where a room is of another namespace.
    """
    return _entry("join", sockets_in, excluding, _move(sockets_in, rooms, asking=asking))


def leave(
    sockets_in: NamedRoom | Everyone, rooms: Iterable[NamedRoom], excluding: Iterable[NamedRoom | str] = ()
) -> Entry:
    """The sockets in a room leave `rooms`. Raises ContractError where a room is of another namespace."""
    return _entry("leave", sockets_in, excluding, _move(sockets_in, rooms))


def disconnect(
    sockets_in: NamedRoom | Everyone, excluding: Iterable[NamedRoom | str] = (), *, close: bool = False
) -> Entry:
    """The sockets in a room are disconnected from the namespace; with `close`, their whole connections end."""
    return _entry("disconnect", sockets_in, excluding, Disconnection(close))


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


# Doing what they ask.


class Revocations:
    """Tells whoever is deciding about rooms out of which of them somebody was taken meanwhile."""

    def __init__(self) -> None:
        self._watched: dict[int, set[str]] = {}

    @contextmanager
    def observe(self) -> Iterator[set[str]]:
        """The names of the rooms that a member was removed from since this was entered; grows by itself."""
        removed: set[str] = set()
        self._watched[id(removed)] = removed
        try:
            yield removed
        finally:
            del self._watched[id(removed)]

    def record(self, room: str) -> None:
        for removed in self._watched.values():
            removed.add(room)


@dataclass(frozen=True, slots=True)
class _Action:
    parameters: type[msgspec.Struct]
    act: Callable[["Client", Any, Entry], None]


class Control:
    """The control actions of one namespace."""

    def __init__(self, access: "RoomAccess") -> None:
        self._access = access
        self._asking: dict[tuple[str, str], object] = {}
        """The latest join of a socket's id and a room that waits for the membership table, and what stands for it."""
        self._actions: Mapping[str, _Action] = {
            "member_removed": _Action(Removal, self._remove),
            "join": _Action(Move, self._join),
            "leave": _Action(Move, self._leave),
            "disconnect": _Action(Disconnection, self._disconnect),
        }

    def apply(self, entry: Entry, sockets: Collection[Socket]) -> None:
        """Do what `entry` asks of each of `sockets`. What cannot be done is logged and skipped."""
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
                # By what was done to another.
                continue
            try:
                action.act(socket.data, parameters, entry)
            except RefusedError as refused:
                logger.warning("a control entry is not for this socket", control=entry.control, reason=refused.message)
            except Exception:
                logger.exception("a control entry failed", control=entry.control, socket=socket.id)

    def _remove(self, client: "Client", removal: Removal, entry: Entry) -> None:
        if removal.subject not in self._access.subjects_of(client.identity):
            return
        for room in entry.rooms:
            if client.is_in(room) and client.decide(room) is not Verdict.YES:
                client.leave(room)
                client.spawn(_or_cut(client, self._let_back(client, room, entry.position)))

    async def _let_back(self, client: "Client", room: str, since: str | None) -> None:
        """Whoever is a member by another name too, such as that of a role, comes in again, and has missed nothing."""
        try:
            await client.join(room, since)
        except RefusedError as refused:
            if refused.refusal is not FORBIDDEN:
                raise

    def _join(self, client: "Client", move: Move, entry: Entry) -> None:
        for room in move.rooms:
            verdict = client.decide(room)
            if verdict is Verdict.IF_MEMBER and move.asking:
                self._asking[client.socket.id, room] = join = object()
                client.spawn(_or_cut(client, self._join_member(client, room, join)))
            elif verdict is not Verdict.NO:
                client.enter(room, True)

    async def _join_member(self, client: "Client", room: str, join: object) -> None:
        asked = (client.socket.id, room)
        try:
            allowed = await client.allows(room)
        finally:
            # An entry behind this one may have had the socket leave, or join once more.
            latest = self._asking.get(asked) is join
            if latest:
                del self._asking[asked]
        if allowed and latest:
            client.enter(room, True)

    def _leave(self, client: "Client", move: Move, entry: Entry) -> None:
        for room in move.rooms:
            self._asking.pop((client.socket.id, room), None)
            client.leave(room)

    def _disconnect(self, client: "Client", disconnection: Disconnection, entry: Entry) -> None:
        client.socket.disconnect(disconnection.close)


async def _or_cut(client: "Client", work: Coroutine[Any, Any, None]) -> None:
    """Decide about a room, or cut the connection if that is impossible at the moment.

    The client joins its rooms again when it comes back. Without that it would miss the events of a room for ever.
    """
    try:
        await work
    except Exception as error:
        if not is_temporary(error):
            raise
        client.socket.namespace.cut(client.socket, error)
