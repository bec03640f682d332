"""The acknowledgements that the server expects from one socket."""

import asyncio
from collections.abc import Callable

from oyez.errors import RATE_LIMITED, TIMED_OUT, RefusedError
from oyez.protocol.engineio import CloseReason


class PendingAcknowledgements:
    """Calls of a client that have not been answered, by their number."""

    __slots__ = ("_last", "_pending")

    def __init__(self) -> None:
        self._last = -1
        self._pending: dict[int, asyncio.Future[bytes]] = {}

    @property
    def pending(self) -> int:
        """Number of answers that have not come."""
        return len(self._pending)

    async def request(self, send: Callable[[int], None], timeout: float, max_pending: int) -> bytes:
        """Call `send` with a new number and wait for its answer, at most `timeout` seconds.

        Raises RefusedError: timed_out without an answer, rate_limited if more than `max_pending` would be pending.
        """
        if self.pending >= max_pending:
            raise RefusedError(RATE_LIMITED, "Too many acknowledgements of this client are outstanding.")
        self._last += 1
        number = self._last
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pending[number] = answer
        try:
            send(number)
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            raise RefusedError(TIMED_OUT, "The client did not acknowledge in time.") from None
        finally:
            self._pending.pop(number, None)

    def resolve(self, number: int, data: bytes) -> None:
        """The client has answered. An unknown number is a late answer after a time-out, and is ignored."""
        answer = self._pending.pop(number, None)
        if answer is not None and not answer.done():
            answer.set_result(data)

    def fail(self, reason: CloseReason) -> None:
        """The client has disconnected: no answer will come."""
        for answer in self._pending.values():
            if not answer.done():
                text = f"The client disconnected before it acknowledged: {reason.text}."
                answer.set_exception(RefusedError(TIMED_OUT, text))
