"""One log line for one outage: each system and each worker notices by itself that the log they share is unavailable."""

from collections.abc import Callable, Hashable

from oyez.logger import get_logger

logger = get_logger("oyez.server")


def log_status(reason: str | None) -> None:
    """Log that the log has become unavailable for `reason`, or, if None, that it is available again."""
    if reason is None:
        logger.info("the log is available again: events are stored and delivered")
    else:
        logger.error("the log is unavailable: nothing is published until it is back", reason=reason)


class Outages:
    """The parts of this process that cannot use the log, and why."""

    def __init__(self, report: Callable[[str | None], None] = log_status) -> None:
        """`report` is called for each new reason, and with None at the end of an outage."""
        self._report = report
        self._reasons: dict[Hashable, str] = {}

    @property
    def reason(self) -> str | None:
        """Why the log is unavailable, for the part that has been without it longest; None if all parts can use it."""
        return next(iter(self._reasons.values()), None)

    def record(self, part: Hashable, reason: str | None) -> None:
        """Record that `part` cannot use the log for `reason`, or, if None, that it can."""
        before = self.remove(part)
        others = self._reasons.values()
        if reason is None:
            if before is not None and before not in others:
                self._report(None)
            return
        is_new = reason != before and reason not in others
        self._reasons[part] = reason
        if is_new:
            self._report(reason)

    def remove(self, part: Hashable) -> str | None:
        """Remove a part that has ended. Returns its last reason."""
        return self._reasons.pop(part, None)
