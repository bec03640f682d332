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
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import msgspec

from oyez.errors import LogUnavailableError
from oyez.log.damage import DamagedError
from oyez.log.log import Log, epoch_of, split_position
from oyez.logger import get_logger
from oyez.server.namespaces.event_frames import NO_POSITION, EventFrames
from oyez.server.recovery.positions import asks_for_recovery, choose_positions, read_string
from oyez.server.recovery.replay import Page, Replay, ReplayBudget, is_beyond, page_bytes
from oyez.server.transports.outgoing import OutboundPacket

if TYPE_CHECKING:
    from oyez.server.cluster.membership import Neighbours
    from oyez.server.delivery.consumer import LogConsumer
    from oyez.server.namespaces.socket import Socket
    from oyez.settings import Limits

logger = get_logger("oyez.server")

EVENT = "oyez:recovery"
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
BUDGET_TURN = 1.0
"""Seconds between two looks whether a client whose user has used up its budget is still there."""

# Why nothing, or not everything, was recovered.
NEW = "new"
"""The client has not been here before: `to` is where it begins."""
UNKNOWN_SESSION = "unknown_session"
"""The client's session is too old, was taken over already, or is another user's."""
UNKNOWN_POSITION = "unknown_position"
"""The position is none of this log's: history was lost, or it was made up."""
TOO_OLD = "too_old"
"""What followed the position is no longer kept."""
TOO_MUCH = "too_much"
"""It is kept, but is more than can be sent again."""
INTERRUPTED = "interrupted"
"""The connection broke while a room that was joined late was being caught up with."""
DAMAGED = "damaged"
"""An entry of the log cannot be read, and might have been for this client."""


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
    checksum: int = 0
    """Of the record with 0 in this place; 0 in one that an earlier version wrote."""


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

    def __init__(
        self,
        log: Log,
        consumer: "LogConsumer",
        retention: float,
        limits: "Limits",
        neighbours: "Neighbours | None" = None,
    ) -> None:
        self._log = log
        self._consumer = consumer
        self._limits = limits
        self._neighbours = neighbours
        self._replay = Replay(log, consumer)
        self._budget = ReplayBudget(limits.max_replayed_bytes)
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
                # The consumer says so, and loudly.
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
            if there is not None and _turn_of(there) > change.socket.turn:
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
        await self._consumer.wait_until_live()
        pid, offset = read_string(auth, "pid"), read_string(auth, "offset")
        socket.pid = socket.connection.server.new_id()
        socket.seen = self._consumer.position
        socket.positions = choose_positions(socket.handshake, auth)
        if pid is None and offset is None and not asks_for_recovery(auth):
            return Recovered(None)
        if pid is None:
            return await self._resume_without_session(socket, offset)
        session = await self._take(socket, pid)
        if session is None:
            # Its `pid` is another one now, by which official clients know that they are not recovered.
            lost_history = offset is not None and self._is_of_another_history(offset)
            return self._lost(offset, UNKNOWN_POSITION if lost_history else UNKNOWN_SESSION)
        return await self._resume_session(socket, pid, session, offset)

    async def _resume_without_session(self, socket: "Socket", offset: str | None) -> "Recovered":
        """For a client that knows its position and nothing else: it joins its rooms again by itself."""
        if offset is None:
            return self._lost(None, NEW)
        recovered = await self._find(socket, offset)
        if recovered.recovers:
            # Rooms that it joins again are caught up with.
            socket.since = offset
            asyncio.get_running_loop().call_later(REJOIN_SECONDS, _end_rejoining, socket)
        return recovered

    async def _resume_session(self, socket: "Socket", pid: str, session: Session, offset: str | None) -> "Recovered":
        id, rooms = socket.id, frozenset(socket.rooms)
        start = _latest(offset, session.seen, self._consumer.position)
        try:
            await self._restore(socket, session)
            recovered = self._lost(start, INTERRUPTED) if session.unconfirmed else await self._find(socket, start)
        except Exception:
            await self._give_back(socket, pid, session)
            raise
        if recovered.recovers:
            # By this official clients know that they are recovered; so by another one that they are not.
            socket.pid, socket.turn = pid, session.turn + 1
            # Rooms that the application puts it into are caught up with.
            socket.since = start
        else:
            # It starts like a client that has not connected before.
            socket.id, socket.seen = id, self._consumer.position
            for room in socket.rooms - rooms:
                socket.leave(room)
        return recovered

    def _is_of_another_history(self, position: str) -> bool:
        try:
            return is_beyond(position, self._consumer.position)
        except KeyError:
            return True

    def _lost(self, start: str | None, reason: str) -> "Recovered":
        return Recovered(Answer(False, 0, start, self._consumer.position, reason))

    async def _take(self, socket: "Socket", pid: str) -> Session | None:
        key = _key(socket.namespace.name, pid)
        if key in self._writing:
            # It would be written behind our back.
            async with self._free:
                pass
        change = self._changed.pop(key, None)
        try:
            data = await self._log.get_and_delete(key)
        except LogUnavailableError:
            if change is not None:
                self._changed.setdefault(key, change)
            raise
        if change is not None and _turn_of(data) <= change.socket.turn:
            data = _encode(change.socket) if change.record is None else change.record
        session = _decode(data)
        if data is None or session is None:
            return None
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
        self._change(socket, _Change(socket, _seal(session), behind=True))
        socket.pid = ""

    async def _restore(self, socket: "Socket", session: Session) -> None:
        """Give the socket what was its own, as far as it still has a right to it."""
        for room in session.rooms:
            if room not in socket.rooms and await socket.namespace.application.allows(socket, room):
                socket.join(room)
        socket.id = session.sid
        socket.seen = session.seen

    async def _find(self, socket: "Socket", start: str) -> "Recovered":
        """The first of what the client missed, and whether there is more."""
        rooms = {*socket.rooms, socket.id}
        try:
            page = await self._replay.read(socket.namespace, start, rooms, page_bytes(socket, self._limits))
            if await self._replay.is_too_much(socket.namespace, page, rooms):
                return self._lost(start, TOO_MUCH)
        except KeyError as error:
            return self._lost(start, self._explain(start, error))
        if self._budget.delay(_payer(socket)):
            # Not even the first page is sent yet.
            page = Page((), start, complete=False)
        self._budget.take(_payer(socket), page.size)
        outgoing = [message.packet(socket.positions) for message in page.messages]
        answer = Answer(True, len(outgoing), start, self._consumer.position)
        return Recovered(answer, outgoing, None if page.complete else page.after)

    async def send_rest(self, socket: "Socket", recovered: "Recovered") -> "Answer":
        """Send the rest of what a client missed, each page after it has taken the one before.

        Nothing may be waited for between this and live delivery. Returns early if the client goes. Raises KeyError if
        what is left is known no more, LogUnavailableError.
        """
        answer, after = recovered.answer, recovered.after
        assert answer is not None
        while after is not None and not socket.ended:
            await self._wait_for_room(socket)
            if socket.ended:
                break
            rooms = {*socket.rooms, socket.id}
            page = await self._replay.read(socket.namespace, after, rooms, page_bytes(socket, self._limits))
            self._send(socket, [message.packet(socket.positions) for message in page.messages])
            answer = msgspec.structs.replace(answer, replayed=answer.replayed + len(page.messages), to=page.after)
            after = None if page.complete else page.after
        return answer

    def _send(self, socket: "Socket", outgoing: Sequence[OutboundPacket]) -> None:
        if outgoing and not socket.ended:
            self._budget.take(_payer(socket), sum(one.size for one in outgoing))
            socket.connection.send_all(outgoing)

    async def _wait_for_room(self, socket: "Socket") -> None:
        """Returns when the client has taken what it was sent, and its user may be sent more, or when it has gone."""
        await socket.connection.drained()
        while not socket.ended:
            seconds = self._budget.delay(_payer(socket))
            if not seconds:
                break
            await asyncio.sleep(min(seconds, BUDGET_TURN))

    async def wait_for(self, position: str, seconds: float) -> None:
        """Wait until everything up to `position` has been delivered to the clients here, for `seconds` at most."""
        with suppress(KeyError, LogUnavailableError, TimeoutError):
            if is_beyond(position, self._consumer.position):
                async with asyncio.timeout(seconds):
                    await self._consumer.wait_for_position(position)

    async def catch_up(self, socket: "Socket", room: str, since: str) -> None:
        """Send a client what came after `since` to a room it joins late; nothing may be waited for after this."""
        if socket.replaying is not None:
            # What goes to the room from there on would be sent by both.
            await socket.replaying.wait()
        reason, late = None, 0
        try:
            if await self._replay.is_too_much(socket.namespace, Page((), since, complete=False), {room}):
                reason = TOO_MUCH
            else:
                late = await self._send_late(socket, room, since)
        except KeyError as error:
            reason = self._explain(since, error)
        if socket.since is not None or reason is not None:
            socket.send(encode_answer(Answer(reason is None, late, since, self._consumer.position, reason, room)))
        if late:
            # When its answer comes, all of this has been heard.
            socket.connection.ping()

    async def _send_late(self, socket: "Socket", room: str, since: str) -> int:
        """Send what came after `since` to `room` and to none of the client's own; returns how many events."""
        late, after, complete = 0, since, False
        while not complete and not socket.ended:
            page = await self._replay.read(socket.namespace, after, {room}, page_bytes(socket, self._limits))
            # What goes to another of its rooms too it has had; and a position would take its place in the log back.
            own = {*socket.rooms, socket.id}
            outgoing = [message.packet(NO_POSITION) for message in page.messages if _is_only_for_others(message, own)]
            self._send(socket, outgoing)
            late += len(outgoing)
            socket.unconfirmed = socket.unconfirmed or bool(outgoing)
            after, complete = page.after, page.complete
            if not complete:
                await self._wait_for_room(socket)
        return late

    def _explain(self, position: str, error: KeyError) -> str:
        """Why nobody knows what followed a position."""
        if isinstance(error, DamagedError):
            return DAMAGED
        return UNKNOWN_POSITION if self._is_of_another_history(position) else TOO_OLD


class Recovered(NamedTuple):
    """What a client that comes back is told, where it asked, and what it has missed."""

    answer: Answer | None
    missed: Sequence[OutboundPacket] = ()
    """The first page of it."""
    after: str | None = None
    """The position at which the rest begins, if there is more; the answer counts the events sent before it."""

    @property
    def recovers(self) -> bool:
        """True if the client gets everything that it missed."""
        return self.answer is not None and self.answer.recovered


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


def encode_answer(answer: Answer) -> bytes:
    """The event, as a JSON array."""
    return msgspec.json.encode((EVENT, answer))


def _is_only_for_others(message: EventFrames, own: set[str]) -> bool:
    """True if an event goes to some rooms, but not to those that a client is in."""
    entry = message.entry
    return bool(entry.rooms) and own.isdisjoint(entry.rooms) and own.isdisjoint(entry.excluded)


def _payer(socket: "Socket") -> str:
    """Whose budget is charged for what a socket is sent again."""
    return socket.owner or socket.handshake.address


def _end_rejoining(socket: "Socket") -> None:
    socket.since = None


def _key(namespace: str, pid: str) -> str:
    return f"session:{namespace}:{pid}"


def _encode(socket: "Socket") -> bytes:
    node = socket.connection.server.node.id
    session = Session(socket.id, socket.owner, tuple(socket.rooms), socket.seen, socket.unconfirmed, socket.turn, node)
    return _seal(session)


def _seal(session: Session) -> bytes:
    checksum = crc32(msgspec.msgpack.encode(session))
    return msgspec.msgpack.encode(msgspec.structs.replace(session, checksum=checksum))


_decode_session = msgspec.msgpack.Decoder(Session).decode


def _decode(data: bytes | None) -> Session | None:
    """The session in a record; None if there is none, or if a bit of it has changed."""
    if not data:
        return None
    try:
        session = _decode_session(data)
    except (msgspec.MsgspecError, ValueError) as error:
        logger.error("a session cannot be read: its client starts without it", reason=str(error))
        return None
    plain = msgspec.structs.replace(session, checksum=0)
    if session.checksum and crc32(msgspec.msgpack.encode(plain)) != session.checksum:
        logger.error("a session cannot be read: its client starts without it", reason="its checksum is wrong")
        return None
    return plain


def _turn_of(data: bytes | None) -> int:
    """How often the session in a record was taken up; -1 without one."""
    session = _decode(data)
    return session.turn if session is not None else -1


def _latest(offset: str | None, seen: str, here: str) -> str:
    """The later of what the client says and what the session knows, where delivery stands `here`.

    Positions of two epochs have no order. An official client that has been told that history was lost says its old one
    until it hears another event: then the session knows better.
    """
    if offset is None:
        return seen
    try:
        (epoch, number), (known_epoch, known) = split_position(offset), split_position(seen)
    except KeyError:
        return offset
    if epoch != known_epoch:
        return seen if known_epoch == epoch_of(here) else offset
    return seen if known > number else offset
