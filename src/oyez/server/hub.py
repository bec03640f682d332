"""The Hub: reads the log and hands every entry to the sockets of this process it goes to.

It is the only way from the log to a socket, for what this process published as for what others did.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby

import structlog

from oyez.log.log import Entry, Log
from oyez.server.namespace import Namespace

logger = structlog.get_logger("oyez.server")


class Hub:
    def __init__(self, log: Log, namespaces: Mapping[str, Namespace]) -> None:
        self._log = log
        self._namespaces = namespaces
        self._start: str | None = None
        self.delivered = 0
        """Recipients written to since the start."""

    async def start(self) -> None:
        """What is appended from now on will be delivered."""
        self._start = await self._log.position()

    async def run(self) -> None:
        """Deliver until cancelled. Run again after a failure, it goes on with what comes then."""
        start, self._start = self._start, None
        await self._log.tail(self.deliver, start)

    def deliver(self, entries: Sequence[Entry]) -> None:
        # A loop writes at once when it is asked to, so what goes to the same sockets is handed over together.
        for (name, rooms, excluded, control), group in groupby(entries, _target):
            namespace = self._namespaces.get(name)
            if namespace is None:
                continue
            run = list(group)
            try:
                if control:
                    for entry in run:
                        namespace.apply_control(entry)
                else:
                    self.delivered += len(run) * namespace.deliver(run)
            except Exception:
                logger.exception("delivery failed", namespace=name, rooms=rooms, excluded=excluded)


def _target(entry: Entry) -> tuple[str, tuple[str, ...], tuple[str, ...], str]:
    return entry.namespace, entry.rooms, entry.excluded, entry.control
