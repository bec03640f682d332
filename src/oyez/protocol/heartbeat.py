"""The heartbeat of one client as deadlines: when a ping is due, and until when its pong must arrive.

Source: Engine.IO protocol, revision 4, "Heartbeat". The server pings an interval after the last pong, and the client
must answer within a time-out. Nothing here sends, or knows the time: `now` is in seconds of a monotonic clock.
"""

NEVER = float("inf")
"""A deadline that is not set: later than any time."""


class Heartbeat:
    """Belongs to one connection."""

    __slots__ = ("_in_grace_period", "_interval", "_next_ping", "_pong_deadline", "_timeout")

    def __init__(self, interval: float, timeout: float, now: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self._in_grace_period = False
        self._pong_deadline = NEVER
        self._next_ping = now + interval

    @property
    def deadline(self) -> float:
        """When a ping is due or, after a ping, its pong."""
        return self._pong_deadline if self.awaits_pong else self._next_ping

    @property
    def awaits_pong(self) -> bool:
        """True if the last ping has not been answered."""
        return self._pong_deadline < NEVER

    def is_ping_due(self, now: float) -> bool:
        """True if the client should be pinged."""
        return not self.awaits_pong and now >= self._next_ping

    def ping(self, now: float, unpolled_since: float = NEVER) -> None:
        """A ping was sent. `unpolled_since`: since then, the client has had no request open that could fetch it.

        Such a client could fetch a ping from the time at which it was due. A ping that is much too late is one that the
        process could not send: then the client has the whole time-out from now on.
        """
        since = max(self._next_ping, unpolled_since)
        self._in_grace_period = False
        self._pong_deadline = (since if 0 <= now - since <= self._timeout / 8 else now) + self._timeout

    def reset(self, now: float) -> None:
        """The client is alive: the next ping is due after an interval."""
        self._pong_deadline = NEVER
        self._next_ping = now + self._interval

    def is_lost(self, now: float, *, received: bool, paused: bool) -> bool:
        """True if the pong is overdue.

        A client that has sent something since the ping (`received`) is given one more time-out, as official servers do.
        A client that is not being read (`paused`) gets any number of them: its pong may be on its way.
        """
        if now < self._pong_deadline:
            return False
        if not paused:
            if not received or self._in_grace_period:
                return True
            self._in_grace_period = True
        self._pong_deadline = now + self._timeout
        return False
