"""One line for one outage: each system, and each worker, finds out by itself that the log they share is away."""

from collections.abc import Callable, Hashable

from oyez.logger import get_logger

logger = get_logger("oyez.server")


def log_status(reason: str | None) -> None:
    """Log that the log has become unavailable for `reason`, or, with None, that it is available again."""
    if reason is None:
        logger.info("the log is available again: events are stored and delivered")
    else:
        logger.error("the log is unavailable: nothing is published until it is back", reason=reason)


class Outages:
    """Who cannot use the log, and why. `say` is called for each new reason, and with None when one is over."""

    def __init__(self, say: Callable[[str | None], None] = log_status) -> None:
        self._say = say
        self._away: dict[Hashable, str] = {}

    @property
    def reason(self) -> str | None:
        """Why the log is unavailable, for the part that has been without it for longest; None if no part is."""
        return next(iter(self._away.values()), None)

    def note(self, who: Hashable, reason: str | None) -> None:
        """`who` cannot use the log for `reason`, or, with None, can."""
        before = self.forget(who)
        others = self._away.values()
        if reason is None:
            if before is not None and before not in others:
                self._say(None)
            return
        is_new = reason != before and reason not in others
        self._away[who] = reason
        if is_new:
            self._say(reason)

    def forget(self, who: Hashable) -> str | None:
        """`who` has ended; what it noted last."""
        return self._away.pop(who, None)
