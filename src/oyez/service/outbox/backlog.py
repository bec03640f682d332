"""What the outbox and the jobs of a system have left to do, for operators."""

from typing import NamedTuple

from sqlalchemy import Connection, func, select

from oyez.service.database.tables import jobs, outbox


class Backlog(NamedTuple):
    """Work that is left. Times are in seconds; 0 if there is none."""

    waiting: int
    """Committed events that are not in the log yet."""
    lag: float
    """The age of the oldest of them."""
    set_aside: int
    """Committed events that cannot be published."""
    jobs_due: int
    """Jobs that are due and not done."""
    jobs_lag: float
    """Time since the oldest of them was due."""
    jobs_failing: int
    """Jobs that have failed and will be repeated."""


def read_backlog(connection: Connection, system: str, now: float) -> Backlog:
    """The backlog of a system. `now` is seconds since 1970."""
    rows = select(func.count(), func.min(outbox.c.created)).where(outbox.c.system == system)
    waiting, oldest = connection.execute(rows.where(outbox.c.error.is_(None))).one()
    set_aside, _ = connection.execute(rows.where(outbox.c.error.is_not(None))).one()
    due = select(func.count(), func.min(jobs.c.due)).where(jobs.c.system == system)
    jobs_due, first = connection.execute(due.where(jobs.c.due <= now)).one()
    failing, _ = connection.execute(due.where(jobs.c.failures > 0)).one()
    lag = now - oldest if oldest is not None else 0.0
    jobs_lag = now - first if first is not None else 0.0
    return Backlog(waiting, max(0.0, lag), set_aside, jobs_due, max(0.0, jobs_lag), failing)
