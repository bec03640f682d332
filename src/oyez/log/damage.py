"""Entries that cannot be read: one flipped bit in the storage must not stop publishing, connecting or delivery.

An entry is stored with a checksum. One that does not fit its checksum is set aside: in its place in the order comes a
control entry DAMAGED, by which readers know that something is missing there. It is counted, and logged once.
"""

import msgspec

from oyez.log.entry_codec import decode_entry
from oyez.log.log import Entry
from oyez.logger import get_logger

logger = get_logger("oyez.log")

DAMAGED = "damaged"
"""The name of the control entry in place of one that cannot be read. It is in no namespace."""
MAX_REMEMBERED = 10_000
"""Damaged entries whose report is remembered; after that many, one may be reported again."""


class DamagedError(KeyError):
    """An entry that cannot be read is among those asked for, so what followed a position is not known."""


class Damage:
    """The damaged entries of one log, as this process has met them. `log` names it for the operator."""

    def __init__(self, log: str) -> None:
        self.count = 0
        """Different entries that could not be read since the start."""
        self._log = log
        self._reported: set[str] = set()

    def decode(self, encoded: bytes, position: str) -> Entry:
        """A stored entry, or the control entry DAMAGED if it cannot be read."""
        try:
            return decode_entry(encoded, position)
        except (msgspec.MsgspecError, ValueError) as error:
            self._report(position, len(encoded), error)
            return Entry(namespace="", rooms=(), data=b"", control=DAMAGED, position=position)

    def decode_volatile(self, messages: list[bytes]) -> list[Entry]:
        """Entries that were never stored; those that cannot be read are left out, as volatile entries may be."""
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
