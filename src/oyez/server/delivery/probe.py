"""The Canary: every few seconds a node proves to itself that what is appended to the log comes out of it here.

Appending may work where listening does not, and the other way round; only an entry that has gone all the way shows
both. It also shows that the log has come back, so nothing else has to ask.
"""

import asyncio
import secrets
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from oyez.errors import LogUnavailableError
from oyez.log.log import Entry, Log
from oyez.logger import get_logger

logger = get_logger("oyez.server")

CONTROL = "canary"
"""The name of the control entry. It is in no namespace: nobody but its own node takes notice."""
INTERVAL = 2.0
"""Seconds between two canaries. Each is an entry of some 50 bytes, so a node adds 30 a minute to each log."""
PATIENCE = 2.5
"""Seconds for one to be stored and heard; behind INTERVAL, so that whatever fails is known within five seconds."""
RETRY_INTERVAL = 0.5
"""Seconds between two of them while the log is unavailable: its return is known within two seconds."""
EVENT = "oyez:status"


class Canary:
    """Watches over the log of one server. `tell` is called with each change of `reason`."""

    def __init__(self, log: Log, tell: Callable[[str | None], None]) -> None:
        self.reason: str | None = None
        """Why the log is unavailable; None while it is not."""
        self._log = log
        self._tell = tell
        self._node = ""
        self._number = 0
        self._heard = asyncio.Event()

    async def run(self) -> None:
        """Send one canary after the other, until cancelled."""
        # Not before: processes that are forks of one must not have the same name.
        self._node = secrets.token_hex(8)
        while True:
            await asyncio.sleep(INTERVAL if self.reason is None else RETRY_INTERVAL)
            self.note(await self._send())

    def note(self, reason: str | None) -> None:
        """The log is unavailable for `reason`, or, with None, is not."""
        changed = (reason is None) is not (self.reason is None)
        self.reason = reason
        if changed:
            self._tell(reason)

    def hear(self, entry: Entry) -> None:
        """A canary, of whichever node, has come out of the log."""
        if entry.data == self._song():
            self._heard.set()

    async def _send(self) -> str | None:
        """Why the canary was not heard; None where it was."""
        self._number += 1
        self._heard.clear()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._log.append([Entry(namespace="", rooms=(), data=self._song(), control=CONTROL)])
                await self._heard.wait()
        except LogUnavailableError as error:
            return str(error)
        except TimeoutError:
            return f"What is appended to the log is not heard within {PATIENCE} s."
        except Exception as error:  # Whatever a log should not raise: it is not to be trusted then.
            if self.reason != repr(error):
                logger.exception("the log failed in an unexpected way")
            return repr(error)
        return None

    def _song(self) -> bytes:
        return msgspec.json.encode({"node": self._node, "number": self._number})


def encode_status(reason: str | None) -> bytes:
    """The event that tells clients whether events can be stored and delivered, as a JSON array."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return msgspec.json.encode((EVENT, {"available": reason is None, "timestamp": now}))
