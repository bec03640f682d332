"""What a system has left to do: its outbox, its jobs and its webhooks, from the tables that all nodes share."""

from collections.abc import Callable
from urllib.parse import urlsplit

from sqlalchemy import Connection, select

from oyez.contract.types import Time
from oyez.ops.admin.answers import DeadPage, DeadQuery, SetAside, ShownDead, ShownHook, ShownJob, Work
from oyez.service.database.tables import jobs, outbox
from oyez.service.served import Served
from oyez.service.webhooks import store

MAX_LISTED = 100


async def read_work(served: Served, now: Callable[[], float]) -> Work:
    """What the system has left to do. Raises DatabaseUnavailableError, LogUnavailableError."""
    name = served.system.name
    backlog = await served.outbox.read_backlog()
    database = served.webhooks.database
    return Work(
        system=name,
        outbox_waiting=backlog.waiting,
        outbox_lag=round(backlog.lag, 3),
        outbox_set_aside=await database.read(_list_set_aside, name),
        jobs_due=backlog.jobs_due,
        jobs_lag=round(backlog.jobs_lag, 3),
        jobs_failing=backlog.jobs_failing,
        jobs=await database.read(_list_jobs, name, now()),
        webhooks=await database.read(_list_hooks, name),
        log_bytes=await served.log.size(),
    )


def _list_set_aside(connection: Connection, system: str) -> list[SetAside]:
    found = select(outbox).where(outbox.c.system == system, outbox.c.error.is_not(None))
    return [
        SetAside(id=row.id, created=Time.at(row.created), namespace=row.namespace, rooms=row.rooms, error=row.error)
        for row in connection.execute(found.order_by(outbox.c.id).limit(MAX_LISTED))
    ]


def _list_jobs(connection: Connection, system: str, now: float) -> list[ShownJob]:
    found = select(jobs).where(jobs.c.system == system, (jobs.c.due <= now) | (jobs.c.failures > 0))
    return [
        ShownJob(kind=row.kind, key=row.key, due=Time.at(row.due), failures=row.failures, error=row.error)
        for row in connection.execute(found.order_by(jobs.c.due).limit(MAX_LISTED))
    ]


def _list_hooks(connection: Connection, system: str) -> list[ShownHook]:
    receivers = store.list_receivers(connection, system)
    counts = store.count_deliveries(connection, [one.id for one in receivers])
    return [
        ShownHook(
            id=one.id,
            # The path of the address may be a secret.
            host=urlsplit(one.url).hostname or "",
            enabled=one.disabled is None,
            disabled_reason=one.disabled,
            failures=one.failures,
            failing_since=Time.at(one.failing_since) if one.failing_since is not None else None,
            waiting=counts[one.id].waiting if one.id in counts else 0,
            dead=counts[one.id].dead if one.id in counts else 0,
            gaps=one.gaps,
        )
        for one in receivers
    ]


async def read_dead(served: Served, receiver: str, query: DeadQuery) -> DeadPage:
    """A page of dead letters. Raises RefusedError (unknown_receiver)."""
    rows = await served.webhooks.database.read(
        store.list_dead, served.system.name, receiver, query.after, query.limit + 1
    )
    page = [
        ShownDead(
            id=row.message, event=row.event, created=Time.at(row.created), attempts=row.attempts, error=row.error or ""
        )
        for row in rows[: query.limit]
    ]
    return DeadPage(dead=page, next=rows[query.limit - 1].id if len(rows) > query.limit else None)
