"""Recovery: what a client that comes back has missed, or a plain word that nobody knows.

Official JavaScript clients send the `pid` of their session and the position of the last event they saw; others send
`auth.offset` and say `auth.recovery` where they want positions at all. Whoever asks is answered by `oyez:recovery`.

A session is a record in the log's storage, so it outlives its server and is known to every node. It remembers how far
its client has certainly heard: up to the last ping that was answered. So it does not matter how old the last event is,
or that there never was one. Who may be in which room is decided anew by the application.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from oyez.errors import LogUnavailableError
from oyez.log.log import Log, split_position
from oyez.server.outgoing import Message

if TYPE_CHECKING:
    from oyez.server.hub import Hub
    from oyez.server.neighbours import Neighbours
    from oyez.server.socket import Handshake, Socket

logger = structlog.get_logger("oyez.server")

EVENT = "oyez:recovery"
PAGE = 500
"""Entries that are read at a time for a client that was away longer than the window reaches."""
MAX_OFFSET = 64
"""Characters of a position that a client may send; ours have about 20."""
REJOIN_SECONDS = 60.0
"""How long after it came back a client without a session is caught up with rooms that it joins. A front end joins its
rooms at once; what is joined later is new to it."""
GATHER_SECONDS = 0.001
"""How long changed sessions wait for others: less than a client needs to come back, even to another server."""
RETRY_SECONDS = 1.0
"""How long to wait before sessions are written again that could not be."""
WITHOUT_POSITIONS = re.compile(r"python|aiohttp|dart[/:]", re.IGNORECASE)
"""User-Agents of clients whose handlers take no more arguments than they expect. They may ask for positions."""

# Why nothing, or not everything, was recovered.
NEW = "new"
"""The client has not been here before: `to` is where it begins."""
UNKNOWN_SESSION = "unknown_session"
"""The session is too old, was taken over already, or is another user's; and no position was given."""
UNKNOWN_POSITION = "unknown_position"
"""The position is none of this log's: history was lost, or it was made up."""
TOO_OLD = "too_old"
"""What followed the position is no longer kept."""
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
        self._changed: dict[str, Socket | bytes | None] = {}
        """By key what is to be written: a socket's session, a session as it was, or nothing any more."""
        self._woken = asyncio.Event()

    # Keeping sessions.

    def remember(self, socket: "Socket") -> None:
        """Have the session of a connected socket written soon."""
        self._sockets.add(socket)
        self._change(socket, socket)

    def keep(self, socket: "Socket") -> None:
        """The client has gone, and may come back: its session stays as it is now."""
        self._sockets.discard(socket)
        self._change(socket, _encode(socket))

    def forget(self, socket: "Socket") -> None:
        """The client has gone for good."""
        if socket.stored:
            self._sockets.discard(socket)
            self._change(socket, None)
        else:
            self.release(socket)

    def release(self, socket: "Socket") -> None:
        """The client has come back elsewhere: its session is kept there."""
        self._sockets.discard(socket)
        self._changed.pop(_key(socket.namespace.name, socket.pid), None)

    def _change(self, socket: "Socket", value: "Socket | bytes | None") -> None:
        self._changed[_key(socket.namespace.name, socket.pid)] = value
        self._woken.set()

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
                    self._change(socket, socket)
            # Many come and go together, and some come and go at once: a transaction serves all.
            await asyncio.sleep(GATHER_SECONDS)
            try:
                await self.flush()
            except LogUnavailableError:
                # The hub says so, and loudly.
                await asyncio.sleep(RETRY_SECONDS)

    async def flush(self) -> None:
        """Write what has changed. Raises LogUnavailableError; it is still to be written then."""
        self._woken.clear()
        changed, self._changed = self._changed, {}
        try:
            await self._log.put_all({key: _record(value) for key, value in changed.items()}, self._ttl)
        except LogUnavailableError:
            self._changed = {**changed, **self._changed}
            self._woken.set()
            raise

    # Coming back.

    async def resume(self, socket: "Socket", auth: Mapping[str, Any]) -> Answer | None:
        """Take up the session of a client that was let in, and send it what it missed.

        Returns what to tell it; None where it did not ask. Behind the last step nothing is waited for: the client has
        to be made a receiver of live events before anything else happens. Raises LogUnavailableError.
        """
        await self._hub.be_ready()
        pid, offset = _read(auth, "pid"), _read(auth, "offset")
        socket.pid = socket.connection.server.new_id()
        socket.seen = self._hub.position
        socket.positioned = wants_positions(socket.handshake, auth)
        if pid is None and offset is None and auth.get("recovery") is not True:
            return None
        session = await self._take(socket, pid) if pid is not None else None
        start = _latest(offset, session.seen if session else None)
        try:
            if session is not None:
                await self._restore(socket, session, pid or "")
            answer = await self._replay(socket, start, session, known=pid is not None or offset is not None)
        except LogUnavailableError:
            if session is not None:
                self._changed[_key(socket.namespace.name, pid or "")] = msgspec.msgpack.encode(session)
                socket.pid = ""
            raise
        if answer.recovered and session is None:
            # Its rooms are not known: it joins them again by itself.
            socket.since = start
            asyncio.get_running_loop().call_later(REJOIN_SECONDS, _end_rejoining, socket)
        return answer

    async def _take(self, socket: "Socket", pid: str) -> Session | None:
        key = _key(socket.namespace.name, pid)
        changed = self._changed.pop(key, None)
        stored = await self._log.take(key)
        data = stored if changed is None else changed if isinstance(changed, bytes) else _encode(changed)
        if data is None:
            return None
        session = msgspec.msgpack.decode(data, type=Session)
        if session.owner != socket.owner:
            # Somebody else's secret: whoever it belongs to may still need it.
            await self._log.put(key, data, self._ttl)
            return None
        return session

    async def _restore(self, socket: "Socket", session: Session, pid: str) -> None:
        """Give the socket what was its own, as far as it still has a right to it."""
        for room in session.rooms:
            if room not in socket.rooms and await socket.namespace.application.allows(socket, room):
                socket.join(room)
        older = socket.namespace.sockets.get(session.sid)
        if older is not None:
            older.supersede()
        elif self._neighbours is not None:
            self._neighbours.supersede(socket.namespace.name, session.sid, session.node)
        socket.id = session.sid
        socket.seen = session.seen
        if not session.unconfirmed:
            socket.pid = pid

    async def _replay(self, socket: "Socket", start: str | None, session: Session | None, *, known: bool) -> Answer:
        if start is None:
            return Answer(False, 0, None, self._hub.position, UNKNOWN_SESSION if known else NEW)
        try:
            replayed = await self._send_missed(socket, start, {*socket.rooms, socket.id})
        except KeyError:
            return Answer(False, 0, start, self._hub.position, self._explain(start))
        if session is not None and session.unconfirmed:
            return Answer(False, replayed, start, self._hub.position, INTERRUPTED)
        return Answer(True, replayed, start, self._hub.position)

    async def catch_up(self, socket: "Socket", room: str) -> None:
        """Send a client that recovers what it missed of a room it joins late; nothing may be waited for after this."""
        since, socket.unconfirmed = socket.since, True
        assert since is not None
        try:
            replayed = await self._send_missed(socket, since, {room}, late=True)
            answer = Answer(True, replayed, since, self._hub.position, room=room)
        except KeyError:
            answer = Answer(False, 0, since, self._hub.position, self._explain(since), room)
        socket.send(encode_answer(answer))
        # When its answer comes, all of this has been heard.
        socket.connection.ping()

    async def _send_missed(self, socket: "Socket", after: str, rooms: set[str], *, late: bool = False) -> int:
        """Send what followed `after`, and return how much that was. Raises KeyError where nobody knows."""
        window, name, sent = self._hub.window, socket.namespace.name, 0
        while not window.covers(after):
            newest = await self._log.position()
            if _is_beyond(after, newest):
                raise KeyError(after)
            if _is_beyond(after, self._hub.position):
                # Another node was quicker, or the log is: what is on its way here must not be sent twice.
                await self._hub.reach(after)
                continue
            entries = await self._log.read(after, name, frozenset(rooms), PAGE)
            messages = [socket.namespace.message(entry) for entry in entries]
            sent += self._send(socket, messages, late)
            after = newest if len(entries) < PAGE else entries[-1].position or newest
        return sent + self._send(socket, window.since(after, name, rooms), late)

    def _explain(self, position: str) -> str:
        """Why nobody knows what followed a position."""
        try:
            return UNKNOWN_POSITION if _is_beyond(position, self._hub.position) else TOO_OLD
        except KeyError:
            return UNKNOWN_POSITION

    def _send(self, socket: "Socket", messages: Iterable[Message], late: bool) -> int:
        if late:
            # What goes to another of its rooms too it has had; and a position would take its place in the log back.
            own = socket.rooms
            messages = [one for one in messages if one.entry.rooms and own.isdisjoint(one.entry.rooms)]
        outgoing = [message.outgoing(socket.positioned and not late) for message in messages]
        socket.connection.send_all(outgoing)
        return len(outgoing)


def wants_positions(handshake: "Handshake", auth: Mapping[str, Any]) -> bool:
    """Whether durable events carry their position as a last argument for this client."""
    asked = auth.get("recovery")
    if isinstance(asked, bool):
        return asked
    return "offset" in auth or WITHOUT_POSITIONS.search(handshake.headers.get("user-agent", "")) is None


def encode_answer(answer: Answer) -> bytes:
    """The event, as a JSON array."""
    return msgspec.json.encode((EVENT, answer))


def _end_rejoining(socket: "Socket") -> None:
    socket.since = None


def _key(namespace: str, pid: str) -> str:
    return f"session:{namespace}:{pid}"


def _record(value: "Socket | bytes | None") -> bytes | None:
    """What is written for a session that has changed."""
    if value is None or isinstance(value, bytes):
        return value
    value.stored = True
    return _encode(value)


def _encode(socket: "Socket") -> bytes:
    node = socket.connection.server.node.id
    session = Session(socket.id, socket.owner, tuple(socket.rooms), socket.seen, socket.unconfirmed, node)
    return msgspec.msgpack.encode(session)


def _read(auth: Mapping[str, Any], name: str) -> str | None:
    value = auth.get(name)
    return value if isinstance(value, str) and 0 < len(value) <= MAX_OFFSET else None


def _is_beyond(position: str, end: str) -> bool:
    """Whether `position` comes after `end`. Raises KeyError where they are of different epochs."""
    (epoch, number), (end_epoch, last) = split_position(position), split_position(end)
    if epoch != end_epoch:
        raise KeyError(position)
    return number > last


def _latest(offset: str | None, seen: str | None) -> str | None:
    """The later of what the client says and what the session knows; positions of two epochs have no order."""
    if offset is None or seen is None:
        return offset or seen
    try:
        (epoch, number), (known_epoch, known) = split_position(offset), split_position(seen)
    except KeyError:
        return offset
    return seen if epoch == known_epoch and known > number else offset
