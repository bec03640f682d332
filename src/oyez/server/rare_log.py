"""Log lines that any client can cause at any rate: each kind is logged once a minute, with the number left out."""

import re
from collections.abc import Callable
from typing import Any

INTERVAL = 60.0
"""Seconds between two lines of one kind: an operator sees that it continues, and a flood costs nothing."""
MAX_KINDS = 1_000
"""Kinds that are distinguished; all further ones count as one kind."""


NUMBER = re.compile(r"\d+")


def find_kind(detail: str) -> str:
    """The kind of a fault: its words, without numbers and without what a client may have chosen."""
    return NUMBER.sub("#", detail.partition("'")[0])


class RareLog:
    """Logs warnings, of each kind one in INTERVAL seconds."""

    def __init__(self, logger: Any, clock: Callable[[], float]) -> None:
        self._logger = logger
        self._clock = clock
        self._kinds: dict[str, tuple[float, int]] = {}
        """For each kind, when the next line is due, and how many were left out since the last."""

    def warning(self, kind: str, message: str, **fields: Any) -> None:
        """Log `message`, unless one of the same `kind` was logged a moment ago."""
        if kind not in self._kinds and len(self._kinds) >= MAX_KINDS:
            kind = ""
        due, left_out = self._kinds.get(kind, (float("-inf"), 0))
        now = self._clock()
        if now < due:
            self._kinds[kind] = due, left_out + 1
            return
        self._kinds[kind] = now + INTERVAL, 0
        self._logger.warning(message, **fields, left_out=left_out)
