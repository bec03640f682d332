"""Questions to all nodes: each answers for itself, and who has asked merges the answers.

They take the way of all that nodes send each other: volatile control entries of the log. A node that does not answer in
time is named as missing, so nothing waits for it.
"""

import asyncio
import secrets
import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from oyez.concurrency.task_set import TaskSet
from oyez.contract.codec import decode_json, encode_json
from oyez.errors import LogUnavailableError
from oyez.logger import get_logger
from oyez.server.cluster.membership import Membership

logger = get_logger("oyez.ops")

T = TypeVar("T")

ANSWER_TIMEOUT = 1.0
"""Seconds to wait for the other nodes: their event loops may be busy for some 100 ms."""
PART_BYTES = 45_000
"""Bytes of one part of an answer: in base64 it stays below the size limit of a message between processes."""
MAX_ANSWER = 8_000_000
"""Bytes of a whole answer, inflated; larger ones are not read."""
MAX_RUNNING = 20
"""Questions that a node answers at the same time; others are left out, and the node is missing in them."""


class Ask(msgspec.Struct, frozen=True):
    """A question to all nodes but the one that asks."""

    request: str
    node: str
    kind: str
    data: msgspec.Raw


class Part(msgspec.Struct, frozen=True):
    """One of `count` parts of what a node answers: compressed JSON."""

    request: str
    node: str
    number: int
    count: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """One kind of question: the function that answers it for a node, and the types of both."""

    asked: type[msgspec.Struct]
    answered: Any
    answer: Callable[[Any], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Answers(Generic[T]):
    """The answers by node, and the ids of the nodes that have not answered in time."""

    by_node: Mapping[str, T]
    missing: tuple[str, ...]


@dataclass(slots=True)
class _Pending:
    """The answers to one question, as they arrive."""

    awaited: set[str]
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    whole: dict[str, bytes] = field(default_factory=dict)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, part: Part) -> None:
        if part.node not in self.awaited:
            return
        known = self.parts.setdefault(part.node, {})
        known[part.number] = part.data
        if len(known) == part.count:
            self.whole[part.node] = b"".join(data for _, data in sorted(known.items()))
            self.awaited.discard(part.node)
            if not self.awaited:
                self.done.set()


class Inquiries:
    """Asks the nodes, this one included, and answers what they ask."""

    def __init__(
        self, membership: Membership, questions: Mapping[str, Question[Any]], timeout: float = ANSWER_TIMEOUT
    ) -> None:
        """`questions` are the same on all nodes, by their names."""
        self._membership = membership
        self._questions = questions
        self._timeout = timeout
        self._pending: dict[str, _Pending] = {}
        self._tasks = TaskSet(_log_failure)
        membership.on("admin:ask", Ask, self._on_ask)
        membership.on("admin:part", Part, self._on_part)

    @property
    def node(self) -> str:
        """The id of this node."""
        return self._membership.node.id

    async def ask(self, kind: str, parameters: msgspec.Struct) -> Answers[Any]:
        """What the nodes answer. Takes as long as this node needs, and `timeout` seconds for the others at most."""
        question, request = self._questions[kind], secrets.token_hex(8)
        pending = _Pending(self._membership.alive())
        if pending.awaited:
            self._pending[request] = pending
        try:
            async with asyncio.timeout(None) as timeout:
                if pending.awaited:
                    with suppress(LogUnavailableError):
                        asked = Ask(request, self.node, kind, msgspec.Raw(encode_json(parameters)))
                        await self._membership.broadcast("admin:ask", asked)
                asked_at = asyncio.get_running_loop().time()
                own = await question.answer(parameters)
                if pending.awaited:
                    timeout.reschedule(asked_at + self._timeout)
                    await pending.done.wait()
        except TimeoutError:
            pass
        finally:
            self._pending.pop(request, None)
        found = {self.node: own}
        missing = set(pending.awaited)
        for node, data in pending.whole.items():
            try:
                found[node] = decode_json(_inflate(data), question.answered)
            except (msgspec.MsgspecError, zlib.error):
                # A node of another version, while nodes are being replaced.
                missing.add(node)
        return Answers(found, tuple(sorted(missing)))

    def close(self) -> None:
        """Answer nothing more."""
        self._tasks.cancel()

    def _on_ask(self, ask: Ask) -> None:
        if ask.node != self.node and ask.kind in self._questions and len(self._tasks) < MAX_RUNNING:
            self._tasks.spawn(self._answer(ask))

    async def _answer(self, ask: Ask) -> None:
        question = self._questions[ask.kind]
        answer = await question.answer(decode_json(bytes(ask.data), question.asked))
        data = zlib.compress(encode_json(answer), 1)
        parts = [data[first : first + PART_BYTES] for first in range(0, len(data), PART_BYTES)]
        for number, part in enumerate(parts):
            await self._membership.broadcast("admin:part", Part(ask.request, self.node, number, len(parts), part))

    def _on_part(self, part: Part) -> None:
        pending = self._pending.get(part.request)
        if pending is not None:
            pending.add(part)


def _inflate(data: bytes) -> bytes:
    """The data, not compressed. Raises zlib.error if it is too large."""
    inflating = zlib.decompressobj()
    inflated = inflating.decompress(data, MAX_ANSWER)
    if inflating.unconsumed_tail:
        raise zlib.error("the answer is too large")
    return inflated


def _log_failure(error: Exception) -> None:
    if not isinstance(error, LogUnavailableError):
        logger.error("a question of another node could not be answered", exc_info=error)
