"""Recovery: a client that reconnects receives what it missed, or a clear answer that this is not known.

An official JavaScript client sends the `pid` of its session and the position of the last event that it received. Other
clients send `auth.offset`, and `auth.recovery` if they want positions. A client that asks for recovery receives the
event `oyez:recovery` (`RecoveryResult` in `namespaces/session_keeper.py`).

A session records the position up to which its client has certainly received everything: that of the last answered ping.
So it does not matter how old the last event is, or whether there was one. The application decides again which rooms the
client may be in.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from oyez.concurrency.loop_budget import LoopBudget
from oyez.errors import LogUnavailableError
from oyez.log.damage import DamagedError
from oyez.log.log import Entry, Log
from oyez.observer import Observers
from oyez.protocol.socket_ids import own_room
from oyez.server.delivery.progress import Progress
from oyez.server.delivery.replay_buffer import ReplayBuffer
from oyez.server.namespaces.event_frames import EventFrames
from oyez.server.namespaces.session_keeper import RecoveryResult, Resumed, WaitingUser
from oyez.server.namespaces.socket import Socket, report_recovery
from oyez.server.recovery.positions import asks_for_recovery, choose_positions, read_string
from oyez.server.recovery.replay import Page, Replay, ReplayBudget, is_after, page_bytes
from oyez.server.recovery.session import GuestSession, StoredSession, decode_session, later_position
from oyez.server.recovery.session_store import SessionStore
from oyez.server.transports.outgoing import OutboundPacket
from oyez.settings import Limits

REJOIN_SECONDS = 60.0
"""Seconds after reconnecting during which rooms are replayed that a client without a session joins. A front end joins
its rooms at once; a room that it joins later is new to it."""
BUDGET_INTERVAL = 1.0
"""Seconds between two checks whether a client whose user has used up its replay budget is still connected."""

# Why nothing, or not everything, was recovered.
NEW = "new"
"""The client sent neither a session nor a position. It begins at the position `to`."""
UNKNOWN_SESSION = "unknown_session"
"""The client's session has expired, was resumed already, or is another user's."""
UNKNOWN_POSITION = "unknown_position"
"""The position is not one of this log: history was lost, or the client invented it."""
TOO_OLD = "too_old"
"""The events after the position are no longer stored."""
TOO_MUCH = "too_much"
"""The events are stored, but there are too many to replay."""
INTERRUPTED = "interrupted"
"""The connection was lost while a room that the client had joined late was being replayed."""
DAMAGED = "damaged"
"""An entry of the log cannot be read. It may have been for this client."""


class Recovery:
    """Resumes the sessions of one server."""

    def __init__(
        self,
        log: Log,
        sessions: SessionStore,
        replay_buffer: ReplayBuffer,
        progress: Progress,
        limits: Limits,
        *,
        new_id: Callable[[], str],
        loop_budget: LoopBudget,
        replace_stale: Callable[[str, StoredSession], None] = lambda namespace, session: None,
        observers: Observers | None = None,
    ) -> None:
        """`new_id` makes a `pid`. All replays of a process share one `loop_budget`.

        `replace_stale` notifies the node of a session that was resumed here.
        """
        self._sessions = sessions
        self._progress = progress
        self._limits = limits
        self._new_id = new_id
        self._replace_stale = replace_stale
        self._observers = observers
        self._replay = Replay(log, replay_buffer, progress, loop_budget)
        self._budget = ReplayBudget(limits.max_replayed_bytes)

    @property
    def position(self) -> str:
        """Everything up to this position has been delivered to the clients here."""
        return self._progress.position

    # Resuming a session.

    async def resume(self, socket: Socket, auth: Mapping[str, Any]) -> Resumed:
        """Continue the session of a client that was accepted, and read what it missed; see Recoverer."""
        await self._progress.wait_until_live()
        pid, offset = read_string(auth, "pid"), read_string(auth, "offset")
        socket.session.pid = self._new_id() + (socket.guest.key if socket.guest is not None else "")
        socket.session.acknowledged_position = self._progress.position
        socket.set_positions(choose_positions(socket.handshake, auth))
        if pid is None and offset is None and not asks_for_recovery(auth):
            return Resumed(None)
        if pid is None:
            return await self._resume_without_session(socket, offset)
        session = await self._take(socket, pid)
        if session is None:
            # The client has a new `pid` now. This is how official clients notice that they are not recovered.
            lost_history = offset is not None and self._is_of_another_history(offset)
            return self._not_recovered(offset, UNKNOWN_POSITION if lost_history else UNKNOWN_SESSION)
        return await self._resume_session(socket, pid, session, offset)

    async def _resume_without_session(self, socket: Socket, offset: str | None) -> Resumed:
        """For a client that has no `pid`, and perhaps an offset: it joins its rooms again by itself."""
        if offset is None:
            return self._not_recovered(None, NEW)
        resumed = await self._read_first_page(socket, offset)
        if resumed.recovers:
            # Rooms that the client joins again are replayed.
            socket.session.replay_from = offset
            # If the connection is lost during the replay, the client has received nothing after this for certain.
            socket.session.acknowledged_position = offset
            asyncio.get_running_loop().call_later(REJOIN_SECONDS, socket.session.end_rejoining)
        return resumed

    async def _resume_session(self, socket: Socket, pid: str, session: GuestSession, offset: str | None) -> Resumed:
        own_id, rooms = socket.id, frozenset(socket.rooms)
        start = later_position(offset, session.acknowledged_position, self._progress.position)
        try:
            await self._restore(socket, session)
            waits = session.user_id == socket.user_id and session.waiting_since
            if session.replay_unconfirmed or waits:
                # A session that waits for its user has different positions for the rooms of guest and user.
                resumed = self._not_recovered(start, INTERRUPTED)
            else:
                resumed = await self._read_first_page(socket, start)
        except Exception:
            # The client is not accepted after all: its session stays as it was.
            socket.session.pid = ""
            self._sessions.restore(socket, pid, session)
            raise
        if resumed.recovers:
            # An official client notices by the same `pid` that it is recovered, by another one that it is not.
            socket.session.pid, socket.session.generation = pid, session.generation + 1
            # Rooms that the application puts the client into are replayed.
            socket.session.replay_from = start
            if session.user_id != socket.user_id:
                socket.session.wait_for(_keep_for_user(session, socket, start))
        else:
            # The client starts like one that has not connected before.
            socket.rename(own_id)
            socket.session.acknowledged_position = self._progress.position
            for room in socket.rooms - rooms:
                socket.leave(room)
        return resumed

    def _is_of_another_history(self, position: str) -> bool:
        try:
            return is_after(position, self._progress.position)
        except KeyError:
            return True

    def _not_recovered(self, start: str | None, reason: str) -> Resumed:
        return Resumed(RecoveryResult(False, 0, start, self._progress.position, reason))

    async def _take(self, socket: Socket, pid: str) -> GuestSession | None:
        namespace = socket.namespace
        data = await self._sessions.take(namespace, pid)
        session = decode_session(data)
        if data is None or session is None:
            return None
        if socket.user_id != session.user_id and (not session.guest or socket.user_id != session.guest):
            # The secret of another user, who may still need it.
            await self._sessions.put(namespace, pid, data)
            return None
        stale = socket.context.find_socket(session.sid)
        if stale is not None and stale.session.pid == pid:
            stale.replace()
        else:
            self._replace_stale(namespace, session)
        return session

    async def _restore(self, socket: Socket, session: StoredSession) -> None:
        """Put the socket into the rooms of its session that it still has a right to."""
        for room in session.rooms:
            if room not in socket.rooms and await socket.may_join(room):
                socket.join(room)
        if session.user_id == socket.user_id:
            # Not a guest who was signed in: events for that socket alone are the user's.
            socket.rename(session.sid)
        socket.session.acknowledged_position = session.acknowledged_position

    async def _read_first_page(self, socket: Socket, start: str) -> Resumed:
        """The first page of the missed events, and whether there are more."""
        rooms: set[str] | None = None
        try:
            while rooms != _own_rooms(socket):
                rooms = _own_rooms(socket)
                page = await self._replay.read(socket, start, rooms, page_bytes(socket, self._limits))
                if await self._replay.is_too_much(socket, page, rooms):
                    return self._not_recovered(start, TOO_MUCH)
        except KeyError as error:
            return self._not_recovered(start, self._find_reason(start, error))
        if self._budget.delay(socket.payer):
            # Not even the first page is sent yet.
            page = Page((), start, complete=False, size=0)
        self._budget.take(socket.payer, page.size)
        outgoing = [packet for message in page.messages for packet in message.packets(socket.form)]
        result = RecoveryResult(True, len(outgoing), start, self._progress.position)
        return Resumed(result, outgoing, page.messages, None if page.complete else page.after)

    # Replaying.

    async def replay_rest(self, socket: Socket, resumed: Resumed) -> RecoveryResult:
        """Send the pages after the first one; see Recoverer."""
        result, after = resumed.result, resumed.after
        assert result is not None
        while after is not None and not socket.ended:
            await self._wait_for_room(socket)
            if socket.ended:
                break
            rooms = _own_rooms(socket)
            page = await self._replay.read(socket, after, rooms, page_bytes(socket, self._limits))
            if rooms != _own_rooms(socket):
                # A room was joined or left during the read: the page has too few events, or some without a right.
                continue
            outgoing = [packet for message in page.messages for packet in message.packets(socket.form)]
            self._send(socket, outgoing, page.messages)
            socket.session.advance_replay(page.after)
            result = msgspec.structs.replace(result, replayed=result.replayed + len(outgoing), to=page.after)
            after = None if page.complete else page.after
        return result

    async def replay_room(
        self,
        socket: Socket,
        room: str,
        since: str,
        may_send: Callable[[], bool],
        is_known: Callable[[Entry], bool] | None = None,
    ) -> None:
        """Send a client the events after `since` of a room that it joins now. Nothing is awaited after the last one.

        Stops as soon as `may_send` is false. Events that the client knows are left out.
        """
        session = socket.session
        if session.replaying is not None:
            # Events of the room after that point would be sent by both replays.
            await session.replaying.wait()
        reason, replayed, began = None, 0, asyncio.get_running_loop().time()
        try:
            if await self._replay.is_too_much(socket, Page((), since, complete=False, size=0), {room}):
                reason = TOO_MUCH
            else:
                replayed = await self._send_room(socket, room, since, may_send, is_known)
        except KeyError as error:
            reason = self._find_reason(since, error)
        if may_send() and (session.replay_from is not None or reason is not None):
            result = RecoveryResult(reason is None, replayed, since, self._progress.position, reason, room)
            socket.send(result.encode())
            if self._observers is not None:
                report_recovery(self._observers, socket, result, began, room)
        if replayed:
            # The pong confirms that everything sent before the ping was received.
            socket.connection.ping()

    async def _send_room(
        self,
        socket: Socket,
        room: str,
        since: str,
        may_send: Callable[[], bool],
        is_known: Callable[[Entry], bool] | None,
    ) -> int:
        """Send the events after `since` that went to `room` and to none of the client's rooms. Returns their number."""
        replayed, after, complete = 0, since, False
        while not complete and not socket.ended:
            page = await self._replay.read(socket, after, {room}, page_bytes(socket, self._limits))
            if not may_send():
                break
            # The client has received events that went to another of its rooms too. Their positions would move it back.
            own, form, position = _own_rooms(socket), socket.form, self._progress.position
            missed = [one for one in page.messages if _is_only_for_others(one, own)]
            if is_known is not None:
                missed = [one for one in missed if not is_known(one.entry)]
            outgoing = [packet for one in missed for packet in one.packets_for(form, position)]
            self._send(socket, outgoing, missed)
            replayed += len(outgoing)
            if outgoing:
                socket.session.replay_unconfirmed = True
            after, complete = page.after, page.complete
            if not complete:
                await self._wait_for_room(socket)
        return replayed

    def _send(self, socket: Socket, outgoing: Sequence[OutboundPacket], messages: Sequence[EventFrames]) -> None:
        """Send the packets of events that the client has missed."""
        if outgoing and not socket.ended:
            self._budget.take(socket.payer, sum(one.size for one in outgoing))
            socket.send_missed(outgoing, messages)

    async def _wait_for_room(self, socket: Socket) -> None:
        """Wait until the client has received what was sent and its user may be sent more, or until it disconnects."""
        await socket.connection.drained()
        while not socket.ended:
            seconds = self._budget.delay(socket.payer)
            if not seconds:
                break
            await asyncio.sleep(min(seconds, BUDGET_INTERVAL))

    async def wait_until_delivered(self, position: str, seconds: float) -> None:
        """Wait until everything up to `position` has been delivered to the clients here, at most `seconds`."""
        with suppress(KeyError, LogUnavailableError, TimeoutError):
            if is_after(position, self._progress.position):
                async with asyncio.timeout(seconds):
                    await self._progress.wait_for_position(position)

    def _find_reason(self, position: str, error: KeyError) -> str:
        """The reason why the events after a position are not known."""
        if isinstance(error, DamagedError):
            return DAMAGED
        return UNKNOWN_POSITION if self._is_of_another_history(position) else TOO_OLD


def _own_rooms(socket: Socket) -> set[str]:
    """The rooms whose events a socket receives now."""
    return {*socket.rooms, socket.id, own_room(socket.id)}


def _is_only_for_others(message: EventFrames, own: set[str]) -> bool:
    """True if an event goes to some rooms, but not to those that a client is in."""
    entry = message.entry
    return bool(entry.rooms) and own.isdisjoint(entry.rooms) and own.isdisjoint(entry.excluded)


def _keep_for_user(session: GuestSession, socket: Socket, start: str) -> WaitingUser:
    """What a session keeps for its user, while the client is a guest again that has missed the events after `start`."""
    rooms = {*session.rooms, *session.waiting_rooms} - socket.rooms
    since = session.waiting_since or start
    return WaitingUser(session.user_id, session.waiting_sid or session.sid, tuple(sorted(rooms)), since)
