"""The events of a log, as operators see them: bounded reads, and no private values."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from oyez.concurrency.task_set import cancel_tasks
from oyez.contract.contract import Contract
from oyez.contract.private import hide_private
from oyez.log.log import Entry, Log, number_of, split_position
from oyez.ops.admin.answers import ShownEvent
from oyez.protocol.socket_ids import is_own_room, is_user_room, socket_of, user_of

READ_TIMEOUT = 2.0
"""Seconds that one read of the log may take; what was read until then is shown."""
MAX_SCANNED = 5_000
"""The newest entries of a log that are searched."""
PAGE = 500
"""Events that are read from the log at a time."""

Fits = Callable[[Entry], bool]


async def read_entries(log: Log, after: str, limit: int, fits: Fits = lambda entry: True) -> tuple[list[Entry], str]:
    """Up to `limit` entries after a position that fit, and the position up to which the log was read.

    Raises KeyError if the log does not keep them any more, LogUnavailableError.
    """
    newest = await log.position()
    end, found, read = number_of(newest), list[Entry](), after
    if split_position(after)[0] == split_position(newest)[0] and number_of(after) >= end:
        return [], after
    done = asyncio.Event()

    def deliver(entries: Sequence[Entry]) -> None:
        nonlocal read
        for entry in entries:
            if entry.position is None or done.is_set():
                continue
            read = entry.position
            if fits(entry):
                found.append(entry)
            if len(found) >= limit or number_of(read) >= end:
                done.set()

    tailing = asyncio.create_task(log.tail(deliver, after))
    tailing.add_done_callback(lambda _: done.set())
    try:
        async with asyncio.timeout(READ_TIMEOUT):
            await done.wait()
    except TimeoutError:
        pass
    else:
        if tailing.done():
            # It has failed: it would otherwise run on.
            tailing.result()
    finally:
        await cancel_tasks(tailing)
    return found, read


async def read_newest(log: Log, limit: int, fits: Fits) -> tuple[list[Entry], str]:
    """The newest entries that fit, the newest first, of the last MAX_SCANNED; and the position of the newest of all."""
    newest: deque[Entry] = deque(maxlen=limit)

    def keep(entry: Entry) -> bool:
        if fits(entry):
            newest.append(entry)
        return False

    _, read = await read_entries(log, await log.position_before(MAX_SCANNED), MAX_SCANNED, keep)
    return list(reversed(newest)), read


async def read_rooms(log: Log, namespace: str, rooms: frozenset[str], limit: int) -> list[Entry]:
    """The newest events for clients in these rooms, the newest first. Raises LogUnavailableError."""
    newest: deque[Entry] = deque(maxlen=limit)
    after = await log.position_before(MAX_SCANNED)
    try:
        while page := await log.read(after, namespace, rooms, PAGE):
            newest.extend(page)
            after = page[-1].position or after
    except KeyError:
        # Entries were deleted meanwhile, or one of them cannot be read: the newer ones are known.
        pass
    return list(reversed(newest))


async def read_event(log: Log, position: str) -> Entry | None:
    """The event at a position; None if the log does not keep it, or it is no event. Raises LogUnavailableError."""
    try:
        epoch, number = split_position(position)
        found, _ = await read_entries(log, f"{epoch}.{number - 1}", 1)
    except KeyError:
        return None
    return found[0] if found and found[0].position == position and not found[0].control else None


def show_event(contract: Contract, entry: Entry) -> ShownEvent:
    """An event without private values."""
    return ShownEvent(
        position=entry.position or "",
        namespace=entry.namespace,
        name=entry.name,
        rooms=[name_room(room) for room in entry.rooms],
        excluded=[name_room(room) for room in entry.excluded],
        data=hide_private(contract.find_event(entry.name), entry.data),
        size=len(entry.data),
    )


def name_room(room: str) -> str:
    """A room as people read it: the rooms of single users and sockets have names that cannot be shown."""
    if is_user_room(room):
        return f"(user {user_of(room)})"
    return f"(socket {socket_of(room)})" if is_own_room(room) else room
