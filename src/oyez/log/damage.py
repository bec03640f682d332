"""Entries that cannot be read: one flipped bit in the storage must not stop publishing, connecting or delivery.

An entry is stored with a checksum. If an entry does not fit its checksum, readers receive a control entry DAMAGED in
its place, so that they know that an entry is missing there. The damaged entry is counted, and logged once.
"""

import msgspec

from oyez.log.entry_codec import decode_entry
from oyez.log.log import Entry
from oyez.logger import get_logger

logger = get_logger("oyez.log")

DAMAGED = "damaged"
"""The name of the control entry in place of a damaged entry. It is in no namespace."""
MAX_REMEMBERED = 10_000
"""Damaged entries that are remembered as reported, to limit memory. After that many, one may be reported again."""


class DamagedError(KeyError):
    """One of the requested entries is damaged, so the entries after a position are not known."""


class Damage:
    """The damaged entries of one log that this process has read. `log` is the log's name in log lines."""

    def __init__(self, log: str) -> None:
        self.count = 0
        """Number of different damaged entries since the start."""
        self._log = log
        self._reported: set[str] = set()

    def decode(self, encoded: bytes, position: str) -> Entry:
        """Decode a stored entry. Returns the control entry DAMAGED if the entry cannot be read."""
        try:
            return decode_entry(encoded, position)
        except (msgspec.MsgspecError, ValueError) as error:
            self._report(position, len(encoded), error)
            return Entry(namespace="", rooms=(), data=b"", control=DAMAGED, position=position)

    def decode_volatile(self, messages: list[bytes]) -> list[Entry]:
        """Decode volatile entries, without those that cannot be read: volatile entries may be lost."""
        entries = []
        for message in messages:
            try:
                entries.append(decode_entry(message))
            except (msgspec.MsgspecError, ValueError) as error:
                self._report("volatile", len(message), error)
        return entries

    def _report(self, position: str, size: int, error: Exception) -> None:
        if position in self._reported:
            return
        if len(self._reported) >= MAX_REMEMBERED:
            self._reported.clear()
        self._reported.add(position)
        self.count += 1
        logger.error(
            "an entry of the log cannot be read and is set aside; clients that may have missed it are notified",
            log=self._log,
            position=position,
            bytes=size,
            reason=str(error),
            count=self.count,
        )
