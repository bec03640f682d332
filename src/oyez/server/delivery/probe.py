"""The log probe: every few seconds a node checks that an entry that it appends to the log is delivered here.

Appending may work while reading does not, and the other way round. Only an entry that was appended and delivered shows
that both work. The probe also notices that the log is available again.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec

from oyez.errors import LogUnavailableError
from oyez.log.log import Entry, Log
from oyez.logger import get_logger

logger = get_logger("oyez.server")

CONTROL = "probe"
"""Name of the control entry. It has no namespace, and only the node that sent it uses it."""
INTERVAL = 2.0
"""Seconds between two probes. A probe is an entry of about 50 bytes; a node adds 30 a minute to each log."""
PROBE_TIMEOUT = 2.5
"""Seconds until a probe must be delivered. With INTERVAL, an outage is noticed within five seconds."""
PROBE_STEPS = 10
"""Steps of the wait for a probe. A process that was paused, or got no CPU, loses one step and no more."""
RETRY_INTERVAL = 0.5
"""Seconds between two probes while the log is unavailable: its return is noticed within two seconds."""
EVENT = "oyez:status"


class LogProbe:
    """Watches the log of one server."""

    def __init__(
        self,
        log: Log,
        on_change: Callable[[str | None], None],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`on_change` is called with `reason` when the log becomes unavailable or available. `pause` waits seconds."""
        self.reason: str | None = None
        """Why the log is unavailable; None if it is available."""
        self._log = log
        self._on_change = on_change
        self._pause = pause
        self._node = ""
        self._number = 0
        self._delivered = asyncio.Event()

    async def run(self) -> None:
        """Send one probe after the other until cancelled."""
        # Set here and not earlier: forked processes must not have the same name.
        self._node = secrets.token_hex(8)
        while True:
            await self._pause(INTERVAL if self.reason is None else RETRY_INTERVAL)
            self.record(await self._send())

    def record(self, reason: str | None) -> None:
        """Record that the log is unavailable for `reason`, or, if None, that it is available."""
        changed = (reason is None) is not (self.reason is None)
        self.reason = reason
        if changed:
            self._on_change(reason)

    def handle(self, entry: Entry) -> None:
        """Handle a probe of any node that was delivered from the log."""
        if entry.data == self._payload():
            self._delivered.set()

    async def _send(self) -> str | None:
        """Send a probe. Returns why it was not delivered, or None if it was."""
        self._number += 1
        self._delivered.clear()
        probing = asyncio.ensure_future(self._append_and_wait())
        try:
            for _ in range(PROBE_STEPS):
                if probing in (await asyncio.wait((probing,), timeout=PROBE_TIMEOUT / PROBE_STEPS))[0]:
                    await probing
                    return None
        except LogUnavailableError as error:
            return str(error)
        except Exception as error:  # A log that raises any other exception is not usable either.
            if self.reason != repr(error):
                logger.exception("the log failed in an unexpected way")
            return repr(error)
        finally:
            probing.cancel()
        return f"An entry that was appended to the log was not delivered within {PROBE_TIMEOUT} s."

    async def _append_and_wait(self) -> None:
        await self._log.append([Entry(namespace="", rooms=(), data=self._payload(), control=CONTROL)])
        await self._delivered.wait()

    def _payload(self) -> bytes:
        return msgspec.json.encode({"node": self._node, "number": self._number})


def encode_status(reason: str | None) -> bytes:
    """Encode the event that reports to clients whether events can be stored and delivered, as a JSON array."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return msgspec.json.encode((EVENT, {"available": reason is None, "timestamp": now}))
