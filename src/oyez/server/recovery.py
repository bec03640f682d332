"""Recovery: what a client that comes back has missed, or a plain word that nobody knows.

Official JavaScript clients send the `pid` of their session and the position of the last event they saw; others send
`auth.offset`, and `auth.recovery` if they want positions. A client that asks is answered by `oyez:recovery`.

A session is a record in the log's storage, so it outlives its server and is known to every node. It remembers how far
its client has certainly heard: up to the last ping that was answered. So it does not matter how old the last event is,
or that there never was one. Who may be in which room is decided anew by the application. No command is acknowledged
before the rooms it joined are in the record: a server that dies behind the acknowledgement would else lose them.

A node that has not noticed that its client goes on elsewhere must not write over what is written there. So a session
counts how often it was taken up, and whoever may be behind looks before it writes.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from oyez.errors import LogUnavailableError
from oyez.log.log import Log, epoch_of, split_position
from oyez.logger import get_logger
from oyez.server.outgoing import NO_POSITION, POSITION_ARGUMENT, POSITION_EVENT, Message, Outgoing

if TYPE_CHECKING:
    from oyez.server.hub import Hub
    from oyez.server.neighbours import Neighbours
    from oyez.server.socket import Handshake, Socket

logger = get_logger("oyez.server")

EVENT = "oyez:recovery"
PAGE = 500
"""Entries that are read at a time for a client that was away longer than the window reaches."""
MAX_MISSED = 20_000
"""Events that are sent again to one client; of whoever missed more its state is the shorter answer."""
MAX_OFFSET = 64
"""Characters of a position that a client may send; ours have about 20."""
REJOIN_SECONDS = 60.0
"""How long after it came back a client without a session is caught up with rooms that it joins. A front end joins its
rooms at once; what is joined later is new to it."""
GATHER_SECONDS = 0.001
"""How long changed sessions wait for others: less than a client needs to come back, even to another server."""
WRITTEN_A_TURN = 100
"""Sessions in one transaction: where a thousand clients come or go together, everybody else is heard in between."""
RETRY_SECONDS = 1.0
"""How long to wait before sessions are written again that could not be."""
MAX_UNWRITTEN = 10_000
"""Sessions of clients that have gone, and acknowledgements, that wait for a log that is away: some 50 MB."""
OFFICIAL_QUERY = "EIO=4&transport="
"""In the address of every official JavaScript client, whose code writes these two parameters in this order. Clients
with this order are sent the event that carries a position: those of 4.6 and later need it before they first come back,
and nothing else tells them apart before that. A client that is taken for one ignores the event, except in a handler for
all events."""

# Why nothing, or not everything, was recovered.
NEW = "new"
"""The client has not been here before: `to` is where it begins."""
UNKNOWN_SESSION = "unknown_session"
"""The session is too old, was taken over already, or is another user's; and no position was given."""
UNKNOWN_POSITION = "unknown_position"
"""The position is none of this log's: history was lost, or it was made up."""
TOO_OLD = "too_old"
"""What followed the position is no longer kept."""
TOO_MUCH = "too_much"
"""It is kept, but is more than can be sent again."""
INTERRUPTED = "interrupted"
"""The connection broke while a room that was joined late was being caught up with."""


class Session(msgspec.Struct, frozen=True):
    """What is remembered of a socket."""

    sid: str
    owner: str
    rooms: tuple[str, ...]
    seen: str
    """The client has heard everything up to this position."""
    unconfirmed: bool = False
    """Whether a room is being caught up with, and nobody knows how far that came."""
    turn: int = 0
    """How often it was taken up."""
    node: str = ""
    """Where the socket was."""


class Answer(msgspec.Struct, frozen=True, rename={"since": "from"}):
    """`oyez:recovery`. Without `recovered` the client has to fetch its state again."""

    recovered: bool
    replayed: int
    since: str | None
    """The position from which events were sent again."""
    to: str | None
    """Everything up to this position has been sent."""
    reason: str | None = None
    room: str | msgspec.UnsetType = msgspec.UNSET
    """The one that was joined after connecting, where it is about that alone."""


class Recovery:
    """The sessions of one server. `retention` is how many seconds the log keeps events.

    `neighbours` are told of sockets that were theirs.
    """

    def __init__(self, log: Log, hub: "Hub", retention: float, neighbours: "Neighbours | None" = None) -> None:
        self._log = log
        self._hub = hub
        self._neighbours = neighbours
        self._refresh_interval = retention / 3
        self._ttl = retention + self._refresh_interval
        self._sockets: set[Socket] = set()
        self._changed: dict[str, _Change] = {}
        """By key what is to be written."""
        self._writing: dict[str, _Change] = {}
        """The same, while it is."""
        self._free = asyncio.Lock()
        """Held while it is written."""
        self._waiting: list[tuple[Socket, Callable[[], None]]] = []
        """What is to happen, and for whom, once everything up to now is written."""
        self._woken = asyncio.Event()

    # Keeping sessions.

    def remember(self, socket: "Socket", *, told: bool = False) -> None:
        """Have the session of a connected socket written soon.

        `told`: what has changed is something that its client may be told, by the answer to a command.
        """
        self._sockets.add(socket)
        self._change(socket, _Change(socket, told=told))

    def keep(self, socket: "Socket") -> None:
        """The client has gone, and may come back: its session stays as it is now."""
        self._sockets.discard(socket)
        self._change(socket, _Change(socket, _encode(socket), behind=True))

    def forget(self, socket: "Socket") -> None:
        """The client has gone for good."""
        if socket.stored:
            self._sockets.discard(socket)
            self._change(socket, _Change(socket, b"", behind=True))
        else:
            self.release(socket)

    def release(self, socket: "Socket") -> None:
        """Its session goes on in another socket."""
        self._sockets.discard(socket)
        key = _key(socket.namespace.name, socket.pid)
        if key in self._changed and self._changed[key].socket is socket:
            del self._changed[key]

    def _change(self, socket: "Socket", change: "_Change") -> None:
        if socket.pid:
            key = _key(socket.namespace.name, socket.pid)
            self._changed[key] = change.instead_of(self._changed.get(key))
            self._woken.set()

    def holds_back(self, socket: "Socket", act: Callable[[], None]) -> bool:
        """Whether something that the client of `socket` may be told is still to be written, and `act` done behind it.

        Nothing else is waited for: without the log, commands that do not need it are answered all the same.
        """
        if not self._changed and not self._writing:
            return False
        key = _key(socket.namespace.name, socket.pid)
        if not any(change is not None and change.told for change in (self._changed.get(key), self._writing.get(key))):
            return False
        self._waiting.append((socket, act))
        # What is being written at this moment is not written again by itself.
        self._woken.set()
        return True

    async def run(self) -> None:
        """Write sessions as they change, and all of them now and again, until cancelled."""
        loop = asyncio.get_running_loop()
        refresh_at = loop.time() + self._refresh_interval
        while True:
            try:
                async with asyncio.timeout_at(refresh_at):
                    await self._woken.wait()
            except TimeoutError:
                refresh_at = loop.time() + self._refresh_interval
                for socket in self._sockets:
                    self._change(socket, _Change(socket, behind=True))
            # Many come and go together, and some come and go at once: a transaction serves all.
            await asyncio.sleep(GATHER_SECONDS)
            try:
                await self.flush()
            except LogUnavailableError:
                # The hub says so, and loudly.
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                # Commands wait for this: one client's mishap must not stop it.
                logger.exception("a session could not be written")

    async def flush(self) -> None:
        """Write what has changed. Raises LogUnavailableError; it is still to be written then."""
        async with self._free:
            self._woken.clear()
            self._writing, self._changed = self._changed, {}
            waiting, self._waiting = self._waiting, []
            try:
                await self._write(self._writing)
            except LogUnavailableError:
                self._put_back(self._writing, waiting)
                self._woken.set()
                raise
            finally:
                self._writing = {}
        for _, act in waiting:
            act()

    def _put_back(self, changes: "Mapping[str, _Change]", waiting: "list[tuple[Socket, Callable[[], None]]]") -> None:
        """What could not be written is still to be, as far as there is room: a log may be away for hours."""
        # By the time it can be written, the client may have gone on elsewhere.
        failed = {key: change._replace(behind=True) for key, change in changes.items()}
        newer = {key: change.instead_of(failed.get(key)) for key, change in self._changed.items()}
        self._changed = {**failed, **newer}
        # Whoever comes back for one of the others is told that nobody knows it.
        gone = [key for key, change in self._changed.items() if change.socket.ended]
        for key in gone[:-MAX_UNWRITTEN]:
            del self._changed[key]
        still = [(socket, act) for socket, act in (*waiting, *self._waiting) if not socket.ended]
        self._waiting = still[-MAX_UNWRITTEN:]

    async def _write(self, changes: "Mapping[str, _Change]") -> None:
        waiting = list(changes.items())
        for begin in range(0, len(waiting), WRITTEN_A_TURN):
            if begin:
                await asyncio.sleep(0)
            await self._write_together(dict(waiting[begin : begin + WRITTEN_A_TURN]))

    async def _write_together(self, changes: "Mapping[str, _Change]") -> None:
        behind = [key for key, change in changes.items() if change.behind]
        stored = await self._log.get_all(behind) if behind else {}
        records: dict[str, bytes | None] = {}
        for key, change in changes.items():
            there = stored.get(key)
            if there is not None and _decode(there).turn > change.socket.turn:
                # The client goes on elsewhere, and this one is dead without knowing it.
                change.socket.supersede()
            elif change.record is None or change.record:
                change.socket.stored = True
                records[key] = change.record or _encode(change.socket)
            elif there is not None:
                records[key] = None
        await self._log.put_all(records, self._ttl)

    # Coming back.

    async def resume(self, socket: "Socket", auth: Mapping[str, Any]) -> "Recovered":
        """Take up the session of a client that was let in, and find what it missed.

        Behind the last step nothing is waited for: the client has to be sent that, and made a receiver of live
        events, before anything else happens. Raises LogUnavailableError.
        """
        await self._hub.be_ready()
        pid, offset = _read(auth, "pid"), _read(auth, "offset")
        socket.pid = socket.connection.server.new_id()
        socket.seen = self._hub.position
        socket.positions = choose_positions(socket.handshake, auth)
        if pid is None and offset is None and not asks_for_recovery(auth):
            return Recovered(None)
        session = await self._take(socket, pid) if pid is not None else None
        start = _latest(offset, session.seen if session else None, self._hub.position)
        try:
            if session is not None:
                await self._restore(socket, session)
            recovered = await self._find(socket, start, session, known=pid is not None or offset is not None)
        except Exception:
            if session is not None:
                await self._give_back(socket, pid or "", session)
            raise
        assert recovered.answer is not None
        if recovered.answer.recovered:
            if session is not None:
                # By this official clients know that they are recovered; so by another one that they are not.
                socket.pid, socket.turn = pid or "", session.turn + 1
            # Rooms that it is put into, or joins again by itself where they are not known, are caught up with.
            socket.since = start
            if session is None:
                asyncio.get_running_loop().call_later(REJOIN_SECONDS, _end_rejoining, socket)
        return recovered

    async def _take(self, socket: "Socket", pid: str) -> Session | None:
        key = _key(socket.namespace.name, pid)
        if key in self._writing:
            # It would be written behind our back.
            async with self._free:
                pass
        change = self._changed.pop(key, None)
        try:
            data = await self._log.take(key)
        except LogUnavailableError:
            if change is not None:
                self._changed.setdefault(key, change)
            raise
        if change is not None and not (data and _decode(data).turn > change.socket.turn):
            data = _encode(change.socket) if change.record is None else change.record
        if not data:
            return None
        session = _decode(data)
        if session.owner != socket.owner:
            # Somebody else's secret: whoever it belongs to may still need it.
            await self._log.put(key, data, self._ttl)
            return None
        older = socket.namespace.sockets.get(session.sid)
        if older is not None and older.pid == pid:
            older.supersede()
        elif self._neighbours is not None:
            self._neighbours.supersede(socket.namespace.name, session.sid, session.node, session.turn)
        return session

    async def _give_back(self, socket: "Socket", pid: str, session: Session) -> None:
        """The client is not let in after all: its session stays as it was."""
        socket.pid, socket.turn = pid, session.turn
        self._change(socket, _Change(socket, msgspec.msgpack.encode(session), behind=True))
        socket.pid = ""

    async def _restore(self, socket: "Socket", session: Session) -> None:
        """Give the socket what was its own, as far as it still has a right to it."""
        for room in session.rooms:
            if room not in socket.rooms and await socket.namespace.application.allows(socket, room):
                socket.join(room)
        socket.id = session.sid
        socket.seen = session.seen

    async def _find(self, socket: "Socket", start: str | None, session: Session | None, *, known: bool) -> "Recovered":
        if start is None:
            return Recovered(Answer(False, 0, None, self._hub.position, UNKNOWN_SESSION if known else NEW))
        try:
            missed = await self._find_missed(socket, start, {*socket.rooms, socket.id})
        except KeyError:
            return Recovered(Answer(False, 0, start, self._hub.position, self._explain(start)))
        outgoing = [message.outgoing(socket.positions) for message in missed or ()]
        if missed is None or (socket.connection.polling is not None and _is_too_long_to_poll(outgoing, socket)):
            return Recovered(Answer(False, 0, start, self._hub.position, TOO_MUCH))
        if session is not None and session.unconfirmed:
            return Recovered(Answer(False, len(outgoing), start, self._hub.position, INTERRUPTED), outgoing)
        return Recovered(Answer(True, len(outgoing), start, self._hub.position), outgoing)

    async def catch_up(self, socket: "Socket", room: str, since: str) -> None:
        """Send a client what came behind `since` to a room it joins late; nothing may be waited for after this."""
        reason = None
        missed: Sequence[Message] | None = ()
        try:
            missed = await self._find_missed(socket, since, {room})
            if missed is None:
                reason = TOO_MUCH
        except KeyError:
            reason = self._explain(since)
        # What goes to another of its rooms too it has had; and a position would take its place in the log back.
        own = {*socket.rooms, socket.id}
        late = [
            message.outgoing(NO_POSITION)
            for message in missed or ()
            if message.entry.rooms and own.isdisjoint(message.entry.rooms) and own.isdisjoint(message.entry.excluded)
        ]
        if late:
            socket.connection.send_all(late)
        if socket.since is not None or reason is not None:
            socket.send(encode_answer(Answer(reason is None, len(late), since, self._hub.position, reason, room)))
        if late:
            socket.unconfirmed = True
            # When its answer comes, all of this has been heard.
            socket.connection.ping()

    async def _find_missed(self, socket: "Socket", after: str, rooms: set[str]) -> list[Message] | None:
        """What followed `after`, up to where live delivery stands; None where that is too much.

        Raises KeyError where nobody knows.
        """
        window, namespace = self._hub.window, socket.namespace
        found: list[Message] = []
        while not window.covers(after):
            newest = await self._log.position()
            if _is_beyond(after, newest):
                raise KeyError(after)
            if _is_beyond(after, self._hub.position):
                # Another node was quicker, or the log is: what is on its way here must not be sent twice.
                await self._hub.reach(after)
                continue
            entries = await self._log.read(after, namespace.name, frozenset(rooms), PAGE)
            found += map(namespace.message, entries)
            if len(found) > MAX_MISSED:
                return None
            last = entries[-1].position if entries else None
            # What was appended while it was read is in it as well.
            after = newest if last is None or (len(entries) < PAGE and _is_beyond(newest, last)) else last
        found += window.since(after, namespace.name, rooms)
        return found if len(found) <= MAX_MISSED else None

    def _explain(self, position: str) -> str:
        """Why nobody knows what followed a position."""
        try:
            return UNKNOWN_POSITION if _is_beyond(position, self._hub.position) else TOO_OLD
        except KeyError:
            return UNKNOWN_POSITION


class Recovered(NamedTuple):
    """What a client that comes back is told, where it asked, and what it has missed."""

    answer: Answer | None
    missed: Sequence[Outgoing] = ()


class _Change(NamedTuple):
    """What is to be written of a session."""

    socket: "Socket"
    record: bytes | None = None
    """None: as the socket is when it is written. Empty: nothing any more."""
    behind: bool = False
    """Whether the client may have gone on elsewhere, so that what is there has to be looked at first."""
    told: bool = False
    """Whether something has changed that the client may be told once it is written, but not before."""

    def instead_of(self, older: "_Change | None") -> "_Change":
        """This one in place of one that was not written yet."""
        if older is None:
            return self
        return self._replace(behind=self.behind or older.behind, told=self.told or older.told)


def choose_positions(handshake: "Handshake", auth: Mapping[str, Any]) -> int:
    """How a client gets the positions of durable events. Only a client that asks gets one more argument."""
    asked = asks_for_recovery(auth)
    if asked is not None:
        return POSITION_ARGUMENT if asked else NO_POSITION
    shows_a_session = _read(auth, "pid") is not None
    return POSITION_EVENT if shows_a_session or OFFICIAL_QUERY in handshake.query_string else NO_POSITION


def asks_for_recovery(auth: Mapping[str, Any]) -> bool | None:
    """What the client says as `auth.recovery`; None if it says nothing. Some clients can send only strings."""
    asked = auth.get("recovery")
    if asked is True or asked == "true":
        return True
    return False if asked is False or asked == "false" else None


def encode_answer(answer: Answer) -> bytes:
    """The event, as a JSON array."""
    return msgspec.json.encode((EVENT, answer))


def _is_too_long_to_poll(outgoing: Sequence[Outgoing], socket: "Socket") -> bool:
    """Whether it leaves too little room for what comes before the client polls: it would be closed, again and again."""
    return sum(one.size for one in outgoing) > socket.connection.server.limits.max_polling_buffer // 2


def _end_rejoining(socket: "Socket") -> None:
    socket.since = None


def _key(namespace: str, pid: str) -> str:
    return f"session:{namespace}:{pid}"


def _encode(socket: "Socket") -> bytes:
    node = socket.connection.server.node.id
    session = Session(socket.id, socket.owner, tuple(socket.rooms), socket.seen, socket.unconfirmed, socket.turn, node)
    return msgspec.msgpack.encode(session)


_decode = msgspec.msgpack.Decoder(Session).decode


def _read(auth: Mapping[str, Any], name: str) -> str | None:
    value = auth.get(name)
    return value if isinstance(value, str) and 0 < len(value) <= MAX_OFFSET else None


def _is_beyond(position: str, end: str) -> bool:
    """Whether `position` comes after `end`. Raises KeyError where they are of different epochs."""
    (epoch, number), (end_epoch, last) = split_position(position), split_position(end)
    if epoch != end_epoch:
        raise KeyError(position)
    return number > last


def _latest(offset: str | None, seen: str | None, here: str) -> str | None:
    """The later of what the client says and what the session knows, where delivery stands `here`.

    Positions of two epochs have no order. An official client that has been told that history was lost says its old one
    until it hears another event: then the session knows better.
    """
    if offset is None or seen is None:
        return offset or seen
    try:
        (epoch, number), (known_epoch, known) = split_position(offset), split_position(seen)
    except KeyError:
        return offset
    if epoch != known_epoch:
        return seen if known_epoch == epoch_of(here) else offset
    return seen if known > number else offset
