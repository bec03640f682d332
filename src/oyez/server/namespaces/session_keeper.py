"""What a namespace and its sockets need of the part that keeps sessions, and the values that pass between them.

One of these values, `RecoveryResult`, is the event `oyez:recovery`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from oyez.server.transports.outgoing import OutboundPacket

if TYPE_CHECKING:
    from oyez.log.log import Entry
    from oyez.server.namespaces.event_frames import EventFrames
    from oyez.server.namespaces.socket import Socket

EVENT = "oyez:recovery"


class WaitingUser(NamedTuple):
    """What a session keeps for a user who was signed in, while its client is a guest again."""

    user_id: str
    socket_id: str
    """The id of the user's socket."""
    rooms: tuple[str, ...]
    """The user's rooms in which the guest is not."""
    since: str
    """The client has received everything up to this position in these rooms."""


@dataclass(slots=True, eq=False)
class SocketSession:
    """What recovery knows about a connected socket. Only the session keeper changes it."""

    pid: str = ""
    """The secret with which the client can continue the session; empty before the client is accepted."""
    generation: int = 0
    """Number of times this session was resumed."""
    acknowledged_position: str = ""
    """The client has certainly received everything up to this position."""
    replay_from: str | None = None
    """Position from which rooms are replayed that the client joins again; None after it has joined them."""
    replay_unconfirmed: bool = False
    """True if events of a room were replayed and the client has not answered a ping since."""
    persisted: bool = False
    """True if the session may be in the log's storage."""
    waiting: WaitingUser | None = None
    """Set if the client has to sign in before the session is complete."""
    replaying: asyncio.Event | None = None
    """Set at the end of a replay in pages; None if there is none. Live events stay in the log until then."""
    replayed_position: str = ""
    """During a replay: the client has been sent everything up to this position."""
    sent_text: bool = False
    """True if an event with a string as its last argument was sent before the client was accepted."""

    def acknowledge(self, position: str) -> None:
        """The client has answered a ping that was sent when delivery had reached `position`."""
        if self.replaying is None:
            self.acknowledged_position, self.replay_unconfirmed = position, False

    def note_text(self) -> None:
        """An event with a string as its last argument was sent before the client was accepted."""
        self.sent_text = True

    def begin_replay(self, position: str) -> None:
        """Pages of missed events follow, from `position` on."""
        self.replaying, self.replayed_position = asyncio.Event(), position

    def advance_replay(self, position: str) -> None:
        """A page that ends at `position` has been sent."""
        self.replayed_position = position

    def end_replay(self) -> None:
        """Live events follow."""
        if self.replaying is not None:
            self.replaying.set()
            self.replaying = None

    def wait_for(self, waiting: WaitingUser | None) -> None:
        """The client is a guest, and the session also keeps what a user has missed."""
        self.waiting = waiting

    def end_waiting(self) -> None:
        """The client has signed in."""
        self.waiting = None

    def end_rejoining(self) -> None:
        """The client has joined the rooms that it was in: a room that it joins later is new to it."""
        self.replay_from = None


class RecoveryResult(msgspec.Struct, frozen=True, rename={"since": "from"}):
    """The event `oyez:recovery`. If `recovered` is false, the client has to fetch its state again."""

    recovered: bool
    replayed: int
    since: str | None
    """The position from which events were replayed."""
    to: str | None
    """Everything up to this position has been sent."""
    reason: str | None = None
    room: str | msgspec.UnsetType = msgspec.UNSET
    """Set if the result is about one room that the client joined after it connected."""

    def encode(self) -> bytes:
        """The event as a JSON array."""
        return msgspec.json.encode((EVENT, self))


class Resumed(NamedTuple):
    """What a client that connects receives."""

    result: RecoveryResult | None
    """None if the client did not ask for recovery."""
    replayed: Sequence[OutboundPacket] = ()
    """The first page of the missed events."""
    messages: "Sequence[EventFrames]" = ()
    """The events of this page."""
    after: str | None = None
    """The position at which the next page begins; None if there is none. `result` counts the events before it."""

    @property
    def recovers(self) -> bool:
        """True if the client receives everything that it missed."""
        return self.result is not None and self.result.recovered


class SessionKeeper(Protocol):
    """Stores sessions, so that clients can continue after their connection was lost."""

    def mark_dirty(self, socket: "Socket", *, visible_to_client: bool = False) -> None:
        """Write the session of a connected socket soon.

        `visible_to_client`: the change is one that the answer to a command may report to the client.
        """

    def persist_on_disconnect(self, socket: "Socket") -> None:
        """The client has disconnected and may return: keep its session as it is now."""

    def delete(self, socket: "Socket") -> None:
        """The client has left and will not return: delete its session."""

    def detach(self, socket: "Socket") -> None:
        """The session has been resumed by another socket: stop writing it for this one."""

    @property
    def has_pending(self) -> bool:
        """True if changes of any sessions wait to be written. If False, `defer_until_persisted` returns False."""
        ...

    def defer_until_persisted(self, socket: "Socket", act: Callable[[], None]) -> bool:
        """True if a change that is visible to the client must be written first; `act` is called after that."""


class Recoverer(Protocol):
    """Resumes sessions and replays what their clients missed."""

    @property
    def position(self) -> str:
        """Everything up to this position has been delivered to the clients here."""

    async def resume(self, socket: "Socket", auth: Mapping[str, Any]) -> Resumed:
        """Continue the session of a client that was accepted, and read what it missed.

        After the last step nothing is awaited: the caller must send the result and start live delivery before it
        awaits anything. Raises LogUnavailableError.
        """

    async def replay_rest(self, socket: "Socket", resumed: Resumed) -> RecoveryResult:
        """Send the pages after the first one, each after the client has received the page before.

        Nothing is awaited after the last page. Returns early if the client disconnects. Raises KeyError if the missed
        events are no longer stored, LogUnavailableError.
        """

    async def replay_room(
        self,
        socket: "Socket",
        room: str,
        since: str,
        may_send: Callable[[], bool],
        is_known: Callable[["Entry"], bool] | None = None,
    ) -> None:
        """Send a client the events after `since` of a room that it joins now. Raises LogUnavailableError.

        Stops as soon as `may_send` is false.
        """

    async def wait_until_delivered(self, position: str, seconds: float) -> None:
        """Wait until everything up to `position` has been delivered to the clients here, at most `seconds`."""
