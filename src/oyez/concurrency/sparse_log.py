"""Log lines that a client or an outage can cause at any rate: each kind is logged once in an interval, with a count."""

import re
import time
from collections.abc import Callable
from typing import Any

INTERVAL = 60.0
"""Seconds between two lines of one kind: an operator sees that the problem continues, and the log stays short."""
MAX_KINDS = 1_000
"""Kinds that are distinguished, so that a client cannot use up memory; all further kinds count as one."""


NUMBER = re.compile(r"\d+")


def find_kind(detail: str) -> str:
    """The kind of an explanation: its words without numbers, up to the first quote, which may begin a client's text."""
    return NUMBER.sub("#", detail.partition("'")[0])


class SparseLog:
    """Logs warnings, of each kind at most one in `interval` seconds. `clock` is monotonic."""

    def __init__(self, logger: Any, clock: Callable[[], float] = time.monotonic, interval: float = INTERVAL) -> None:
        self._logger = logger
        self._clock = clock
        self._interval = interval
        self._kinds: dict[str, tuple[float, int]] = {}
        """For each kind, when the next line may be logged, and the number of lines omitted since the last."""

    def warning(self, message: str, *, kind: str | None = None, **fields: Any) -> None:
        """Log `message`, unless one of the same `kind`, by default the message itself, was logged recently.

        The line's field `left_out` is the number of lines that were omitted since the last one.
        """
        kind = message if kind is None else kind
        if kind not in self._kinds and len(self._kinds) >= MAX_KINDS:
            kind = ""
        due, left_out = self._kinds.get(kind, (float("-inf"), 0))
        now = self._clock()
        if now < due:
            self._kinds[kind] = due, left_out + 1
            return
        self._kinds[kind] = now + self._interval, 0
        self._logger.warning(message, **fields, left_out=left_out)
