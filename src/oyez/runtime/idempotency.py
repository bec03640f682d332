"""Idempotency: who asks again with the same id gets the first answer again, and what was asked for is done once.

Answers are records of the log, so every node knows them for as long as events are kept. Each stands behind a digest of
what was asked for: the same id with something else is a mistake, and is refused.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from oyez.errors import ID_REUSED, IN_PROGRESS, LogUnavailableError, RefusedError
from oyez.log.log import Entry, Log
from oyez.logger import get_logger

logger = get_logger("oyez.contract")

LEASE = 5.0
"""Seconds after which a command counts as interrupted whose node no longer says that it is at work on it."""
RENEW_INTERVAL = 1.5
"""Seconds between two words of that node: one may be late, or two lost."""
WAIT = 10.0
"""Seconds for which a repeat waits for the first to end, before it is told to come again: it outlasts a lease, and
what official clients wait for is up to the application."""
LOOK_INTERVAL = 0.05
"""Seconds between two looks of one that waits."""
DIGEST_BYTES = 16

Positions = list[str | None]
Append = Callable[[Sequence[list[Entry]]], Awaitable[Positions]]
"""Appends or broadcasts the entries of several events, and returns the position of each."""


@dataclass
class Repeatable:
    """The command with an id that is being handled. What it does in steps, such as transactions, is told apart here."""

    name: str
    """Namespace, user, command and id, and a digest of what was asked for."""
    id: str = ""
    """`name` without the digest, if the database refuses the id for anything else for as long as it knows the id."""
    digest: bytes = b""
    _steps: dict[str, int] = field(default_factory=dict)

    def step(self, kind: str) -> str:
        """The name of its next step of a kind: the same when it is repeated."""
        number = self._steps[kind] = self._steps.get(kind, 0) + 1
        return f"{self.name}\0{kind}\0{number}"


handled: ContextVar[Repeatable | None] = ContextVar("handled", default=None)
"""The command that the present task handles, where it has an id: so that handlers need not hand it on."""


class Idempotency:
    """What is known of ids. `retention` is how many seconds answers are kept."""

    def __init__(self, log: Log, retention: float) -> None:
        self._log = log
        self._retention = retention

    async def publish(self, key: str, asked: bytes, prepared: Sequence[list[Entry]], append: Append) -> Positions:
        """`append(prepared)`, once for `key`; the first positions where that has been done.

        Stored entries get keys of their own, so that they are appended once whatever happens and whoever repeats it
        when. Volatile ones go out once at most. Raises RefusedError (id_reused), LogUnavailableError.
        """
        record, digest = f"publish:{key}", _digest(asked)
        # Longer than the entries' own keys, which are younger.
        first = await self._log.put_if_absent(record, digest, 2 * self._retention)
        if first is not None and (answer := _read(first, digest)):
            return msgspec.json.decode(answer, type=Positions)
        name = f"{key}:{digest.hex()}"
        numbered = enumerate(entry for entries in prepared for entry in entries if not entry.volatile)
        keys = {id(entry): f"publish:{name}:{number}" for number, entry in numbered}
        stored = [[replace(entry, key=keys[id(entry)]) for entry in one if not entry.volatile] for one in prepared]
        volatile = [[entry for entry in one if entry.volatile] for one in prepared]
        positions = await append(stored)
        if any(volatile) and await self._log.put_if_absent(f"volatile:{key}", digest, 2 * self._retention) is None:
            await append(volatile)
        await self._log.put(record, digest + msgspec.json.encode(positions), self._retention)
        return positions

    async def run(
        self, name: str, asked: bytes, work: Callable[[], Awaitable[bytes] | bytes], *, bound: bool = False
    ) -> bytes:
        """`work`, once for `name`, unless it raises; the first answer where that has been done.

        With `bound`, transactions of `work` tie the id to what was asked for: the id is refused for something else
        also after the log has forgotten the first answer.

        Raises RefusedError: id_reused, or in_progress where another node is at it for long; LogUnavailableError; and
        what `work` raises.
        """
        record, digest = f"command:{name}", _digest(asked)
        deadline = asyncio.get_running_loop().time() + WAIT
        while (first := await self._log.put_if_absent(record, digest, LEASE)) is not None:
            if answer := _read(first, digest):
                return answer
            if asyncio.get_running_loop().time() > deadline:
                raise RefusedError(IN_PROGRESS)
            await asyncio.sleep(LOOK_INTERVAL)
        done = asyncio.Event()
        renewing = asyncio.create_task(self._renew(record, digest, done))
        # With other arguments it is another command, also where only the database still knows the id.
        token = handled.set(Repeatable(f"{name}\0{digest.hex()}", name if bound else "", digest))
        try:
            answered = work()
            answer = answered if isinstance(answered, bytes) else await answered
        except Exception:
            await _end(renewing, done)
            # Nothing was done, or what was done is known to the database: it may be tried again at once.
            with suppress(LogUnavailableError):
                await self._log.get_and_delete(record)
            raise
        finally:
            done.set()
            handled.reset(token)
        await _end(renewing, done)
        try:
            await self._log.put(record, digest + answer, self._retention)
        except LogUnavailableError:
            logger.warning("the answer to a command could not be kept for repeats")
        return answer

    async def _renew(self, record: str, digest: bytes, done: asyncio.Event) -> None:
        while not done.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEW_INTERVAL):
                    await done.wait()
                    return
            with suppress(LogUnavailableError):
                await self._log.put(record, digest, LEASE)


async def _end(renewing: asyncio.Task[None], done: asyncio.Event) -> None:
    done.set()
    await renewing


def _digest(asked: bytes) -> bytes:
    return hashlib.sha256(asked).digest()[:DIGEST_BYTES]


def _read(first: bytes, digest: bytes) -> bytes:
    """The answer in a record; empty where there is none yet. Raises RefusedError where something else was asked."""
    if first[:DIGEST_BYTES] != digest:
        raise RefusedError(ID_REUSED)
    return first[DIGEST_BYTES:]
