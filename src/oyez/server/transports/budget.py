"""What a connection may cost: a budget of packets and bytes for each, and one gate for the input of all.

A `Budget` is kept in seconds: a packet costs 1/max_packets_per_second, a byte 1/max_bytes_per_second. A connection may
be `input_burst` seconds ahead of the clock, enough for the packets that a client has queued while it was offline.
While it is further ahead, the server reads nothing from it; if that lasts for `overload_timeout` seconds, the
connection is closed. A client that no namespace has accepted has a small budget, and is closed at once.

The `InputGate` bounds what all busy connections together may do in one turn of the loop, so that the others are served
in between.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from oyez.logger import get_logger
from oyez.settings import Limits

logger = get_logger("oyez.server")

CONNECT_COST = 5
"""Packets that a CONNECT counts as: the application has to decide about the client."""
REQUEST_COST = 10
"""Packets that a polling request counts as: HTTP costs more than a frame."""
REFUSED_COST = 10
"""Packets that a command over its limit counts as: a client that does not slow down is closed after some time."""
BUSY_SHARE = 0.05
"""The part of its burst from which on a connection is busy: its input then has to pass the gate."""
UNAUTHENTICATED_BUSY_SHARE = 0.5
"""The same for a client that no namespace has accepted yet: connecting takes a part like this of its small burst."""
SMALL_READ = 512
"""Bytes of one read that pass without the gate, unless the connection is busy: some 70 packets at most."""
UNSETTLED_SHARE = 0.005
"""The part of its burst that a connection may have spent before it is charged, unless the connection is busy."""
UNSETTLED_BYTES = 4_096
"""Bytes that may come before they are charged. The memory that a client holds is checked only then too."""
UNAUTHENTICATED_BURST = 5.0
"""Seconds of the rate of a client that no namespace has accepted yet: by default a hundred packets."""
LONGEST_PAUSE = 5.0
"""Most seconds of one pause in which nothing is read from a connection."""
TURN_SECONDS = 0.002
"""Seconds of work that pass the gate in one turn of the loop: other input waits no longer than this."""
READ_SECONDS = 0.00002
"""Seconds that are counted for reading a piece of input from the network, before it comes to the gate. A piece that has
passed makes room for reading the next one. Handling a piece of a body takes less time than this."""


class Rates:
    """The budgets of all connections with the same limits."""

    __slots__ = (
        "burst",
        "busy",
        "byte",
        "overload_timeout",
        "packet",
        "packets_at_once",
        "unsettled_bytes",
        "unsettled_packets",
    )

    def __init__(self, limits: Limits, *, authenticated: bool) -> None:
        """`authenticated`: for clients that a namespace has accepted."""
        if authenticated:
            packets = limits.max_packets_per_second
            self.burst = limits.input_burst
            self.byte = 1 / limits.max_bytes_per_second
            self.busy = self.burst * BUSY_SHARE
            self.overload_timeout = limits.overload_timeout
            # One read is short enough.
            self.packets_at_once = 2**62
            spared = self.burst * UNSETTLED_SHARE
        else:
            packets = limits.max_unauthenticated_packets_per_second
            self.burst = UNAUTHENTICATED_BURST
            # The whole burst is two messages of the longest kind.
            self.byte = UNAUTHENTICATED_BURST / (2 * limits.max_unauthenticated_bytes)
            self.busy = self.burst * UNAUTHENTICATED_BUSY_SHARE
            self.overload_timeout = 0.0
            # Within one read, the client is stopped at its burst.
            self.packets_at_once = int(packets * UNAUTHENTICATED_BURST)
            spared = 0.0
        self.packet = 1 / packets
        self.unsettled_packets = int(spared * packets)
        self.unsettled_bytes = min(int(spared / self.byte), UNSETTLED_BYTES)


class Budget:
    """What one connection has spent. `packets` and `bytes` are counted when they come, and then settled together."""

    __slots__ = ("_overloaded_since", "_paid_until", "busy", "bytes", "packets", "rates", "unsettled_bytes")

    def __init__(self, rates: Rates) -> None:
        self.rates = rates
        self.packets = 0
        self.bytes = 0
        self.busy = False
        """True if the connection has spent a good part of its burst."""
        self.unsettled_bytes = rates.unsettled_bytes
        """Bytes that may come before they are settled; 0 if every read is settled."""
        self._paid_until = 0.0
        self._overloaded_since: float | None = None

    def settle(self, now: float) -> float:
        """Charge what was counted. Returns the seconds for which nothing should be read, mostly 0."""
        rates = self.rates
        cost = self.packets * rates.packet + self.bytes * rates.byte
        self.packets = self.bytes = 0
        if self._paid_until <= now:
            self._paid_until, self._overloaded_since = now, None
        self._paid_until += cost
        ahead = self._paid_until - now
        self.busy = ahead > rates.busy
        self.unsettled_bytes = 0 if self.busy else rates.unsettled_bytes
        if ahead <= rates.burst:
            return 0.0
        if self._overloaded_since is None:
            self._overloaded_since = now
        # Pauses are not for each packet, because pausing costs too; and they are short, because a server that does not
        # read does not notice that the client has disconnected.
        return min(ahead - rates.burst / 2, LONGEST_PAUSE)

    def is_overloaded(self, now: float) -> bool:
        """True if the connection has sent more than its rate for too long, or will certainly do so."""
        since, rates = self._overloaded_since, self.rates
        if since is None:
            return False
        return now - since >= rates.overload_timeout or self._paid_until - now > rates.burst + rates.overload_timeout

    def enter(self, rates: Rates) -> None:
        """A namespace has accepted the client."""
        self.rates = rates
        self.unsettled_bytes = rates.unsettled_bytes
        self._paid_until = 0.0
        self.busy = False


class InputGate:
    """Handles input of busy connections, TURN_SECONDS of it in each turn of the loop, connection after connection.

    Waiting input of connections that are not busy comes first.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._left = TURN_SECONDS
        self._turning = False
        self._busy_first = True
        self._light: deque[Callable[[], None]] = deque()
        self._busy: deque[Callable[[], None]] = deque()

    def run(self, work: Callable[[], None]) -> bool:
        """Do `work` now if there is room in this turn; False if there is none."""
        if self._left <= 0 or self._light or self._busy:
            return False
        self._run(work)
        self._turn_later()
        return True

    def wait(self, work: Callable[[], None], *, busy: bool) -> None:
        """Have `work` done in a later turn. Each connection has at most one piece waiting."""
        (self._busy if busy else self._light).append(work)
        self._turn_later()

    async def enter(self, *, busy: bool) -> None:
        """Return when there is room. The work that follows is not measured: a whole turn is counted for it."""
        if self._left > 0 and not self._light and not self._busy:
            self._left -= TURN_SECONDS
            self._turn_later()
            return
        entered = asyncio.get_running_loop().create_future()

        def let_in() -> None:
            self._left -= TURN_SECONDS
            if not entered.done():
                entered.set_result(None)

        self.wait(let_in, busy=busy)
        await entered

    def _run(self, work: Callable[[], None]) -> None:
        begun = self._clock()
        try:
            work()
        except Exception:
            logger.exception("input could not be handled")
        self._left -= READ_SECONDS + self._clock() - begun

    def _turn_later(self) -> None:
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._turning = False
        # After work that took longer than a turn, others have as many turns: an event passes through several.
        self._left = min(TURN_SECONDS, self._left + TURN_SECONDS)
        if self._left <= 0:
            self._turn_later()
            return
        # One busy connection is served in every second turn, however many there are; not in each, because a whole
        # turn may be counted for it.
        if self._busy_first and self._busy:
            self._run(self._busy.popleft())
        self._busy_first = not self._busy_first
        while self._left > 0 and (waiting := self._light or self._busy):
            self._run(waiting.popleft())
        if self._light or self._busy or self._left <= 0:
            self._turn_later()


class MemoryBudget:
    """The bytes of all clients' unfinished input: fragments, frames, attachments and bodies that have not ended.

    If there are too many, the client that holds most is closed, even if another one asked for more.
    """

    SMALL = 16_384
    """Bytes that are not counted for each: less than what a connection costs anyway."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[object, tuple[int, Callable[[], None]]] = {}
        self.total = 0

    def hold(self, holder: object, size: int, end: Callable[[], None]) -> None:
        """`holder` now has `size` bytes, which `end` frees. May call the `end` of this or of another holder."""
        if size <= self.SMALL:
            if holder in self._held:
                self.release(holder)
            return
        self.total += size - self._held.get(holder, (0,))[0]
        self._held[holder] = size, end
        while self.total > self._most and self._held:
            largest = max(self._held, key=lambda one: self._held[one][0])
            size, end = self._held[largest]
            self.release(largest)
            logger.warning("unfinished input of all clients is over its limit; the largest is closed", bytes=size)
            end()

    def release(self, holder: object) -> None:
        """`holder` has finished, or has gone. Does nothing if it holds nothing."""
        if holder in self._held:
            self.total -= self._held.pop(holder)[0]
