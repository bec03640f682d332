"""Idempotency: a request that is repeated with the same id takes effect once, and has the first answer again.

Answers are records of the log, so every node knows them for as long as events are kept. The value of each record begins
with a digest of the request: the same id with another request is a mistake, and is refused. A record that cannot be
read counts as absent if the log knows by itself what was published; otherwise its id is refused.

Commands (`commands.py`), publications (`publish_api.py`) and, with the header `Idempotency-Key`, the systems' own HTTP
APIs (`service/idempotency.py`) use it.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from oyez.errors import ALREADY_DONE, ID_REUSED, IN_PROGRESS, LogUnavailableError, RefusedError
from oyez.log.log import Entry, Log
from oyez.log.record_codec import decode_record, encode_record
from oyez.logger import get_logger

logger = get_logger("oyez.runtime")

LEASE = 5.0
"""Seconds after which a command counts as interrupted if its node has not renewed the lease."""
RENEW_INTERVAL = 1.5
"""Seconds between two renewals: one may be late, or two may be lost."""
WAIT = 10.0
"""Seconds for which a repeat waits for the first request before it is refused with `in_progress`: longer than a
lease."""
LOOK_INTERVAL = 0.05
"""Seconds between two checks of a waiting repeat."""
DIGEST_BYTES = 16

Positions = list[str | None]
Append = Callable[[Sequence[list[Entry]]], Awaitable[Positions]]
"""Appends or broadcasts the entries of several events, and returns the position of each."""


@dataclass
class IdempotentCommand:
    """A command with an id that is being handled. It names its steps, such as transactions."""

    name: str
    """Namespace, user, command and id, and a digest of the request."""
    id: str = ""
    """`name` without the digest, if the database also refuses the id for another request; otherwise empty."""
    digest: bytes = b""
    _steps: dict[str, int] = field(default_factory=dict)

    def step(self, kind: str) -> str:
        """The name of the command's next step of this kind. A repeat of the command has the same names."""
        number = self._steps[kind] = self._steps.get(kind, 0) + 1
        return f"{self.name}\0{kind}\0{number}"


current_command: ContextVar[IdempotentCommand | None] = ContextVar("current_command", default=None)
"""The command that the current task handles, if it has an id."""


class Idempotency:
    """The ids that were used, and their answers. `retention` is the number of seconds for which answers are kept."""

    def __init__(self, log: Log, retention: float) -> None:
        self._log = log
        self._retention = retention

    async def publish(self, key: str, asked: bytes, prepared: Sequence[list[Entry]], append: Append) -> Positions:
        """Call `append(prepared)` once for `key`. A repeat returns the first positions.

        Stored entries have keys of their own, so that the log stores each once even if a repeat overlaps or a node
        fails. Volatile entries are sent at most once. Raises RefusedError (id_reused), LogUnavailableError.
        """
        record, digest = f"publish:{key}", _digest(asked)
        # Longer than the entries' own keys, which are written later.
        first = await self._log.put_if_absent(record, encode_record(digest), 2 * self._retention)
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
        await self._log.put(record, encode_record(digest + msgspec.json.encode(positions)), self._retention)
        return positions

    async def run(
        self, name: str, asked: bytes, work: Callable[[], Awaitable[bytes] | bytes], *, bound: bool = False
    ) -> bytes:
        """Call `work` once for `name`, unless it raises. A repeat returns the first answer.

        With `bound`, transactions of `work` store the id with the digest of the request: the id is refused for another
        request also after the log has forgotten the first answer.

        Raises RefusedError: id_reused, in_progress if another request with the id takes long, already_done if the first
        answer cannot be read; LogUnavailableError; and the errors of `work`.
        """
        record, digest = f"command:{name}", _digest(asked)
        deadline = asyncio.get_running_loop().time() + WAIT
        lease = encode_record(digest)
        while (first := await self._log.put_if_absent(record, lease, LEASE)) is not None:
            answer = _read(first, digest)
            if answer:
                return answer
            if answer is None and len(first) > len(lease):
                raise RefusedError(ALREADY_DONE)
            if asyncio.get_running_loop().time() > deadline:
                raise RefusedError(IN_PROGRESS)
            await asyncio.sleep(LOOK_INTERVAL)
        done = asyncio.Event()
        renewing = asyncio.create_task(self._renew(record, lease, done))
        # With the digest, other arguments make another command, also if only the database still knows the id.
        token = current_command.set(IdempotentCommand(f"{name}\0{digest.hex()}", name if bound else "", digest))
        try:
            answered = work()
            answer = answered if isinstance(answered, bytes) else await answered
        except Exception:
            await _end(renewing, done)
            # Nothing was done, or the database knows what was done: the client may try again at once.
            with suppress(LogUnavailableError):
                await self._log.get_and_delete(record)
            raise
        finally:
            done.set()
            current_command.reset(token)
        await _end(renewing, done)
        try:
            await self._log.put(record, encode_record(digest + answer), self._retention)
        except LogUnavailableError:
            logger.warning("the answer to a command could not be kept for repeats")
        return answer

    async def _renew(self, record: str, lease: bytes, done: asyncio.Event) -> None:
        while not done.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEW_INTERVAL):
                    await done.wait()
                    return
            with suppress(LogUnavailableError):
                await self._log.put(record, lease, LEASE)


async def _end(renewing: asyncio.Task[None], done: asyncio.Event) -> None:
    done.set()
    await renewing


def _digest(asked: bytes) -> bytes:
    return hashlib.sha256(asked).digest()[:DIGEST_BYTES]


def _read(first: bytes, digest: bytes) -> bytes | None:
    """The answer in a record; empty if there is none yet; None if a bit of the record has changed.

    Raises RefusedError (id_reused) if the digest is that of another request.
    """
    try:
        value = decode_record(first)
    except ValueError as error:
        logger.error("the record of an id cannot be read", bytes=len(first), reason=str(error))
        return None
    if value[:DIGEST_BYTES] != digest:
        raise RefusedError(ID_REUSED)
    return value[DIGEST_BYTES:]
