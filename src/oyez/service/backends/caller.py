"""A BackendCaller: sends signed requests to one back end, and returns the bodies of its answers.

It limits how many requests are on their way and how many wait, repeats failed requests within their deadline, and sends
none while the back end is away. It does not know what the requests mean.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import httpx
from standardwebhooks.webhooks import Webhook

from oyez.concurrency.backoff import Backoff
from oyez.concurrency.sparse_log import SparseLog
from oyez.contract.backends import Backend
from oyez.errors import UNAVAILABLE, OyezError, RefusedError
from oyez.logger import get_logger, unlogged_requests
from oyez.service.backends.circuit import Circuit, State
from oyez.service.backends.connections import BackendConnections
from oyez.settings import BackendSettings
from oyez.tracing import Tracing, trace_headers, within

logger = get_logger("oyez.backends")

PAUSES = Backoff(0.05, 1.0, jitter=0.5)
"""Pauses before a request is repeated."""
RETRY_AFTER = 1.0
"""Seconds after which a client may repeat a command if the back end says nothing else."""
NOT_HANDLED = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""Statuses by which a back end says that it has not handled a request, and can later."""
FAILED = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""Statuses after which it is not known whether the request was handled."""
HINTS: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "the back end may have another secret",
    HTTPStatus.FORBIDDEN: "the back end may have another secret",
    HTTPStatus.NOT_FOUND: "the setting `url` may have a wrong path",
    HTTPStatus.METHOD_NOT_ALLOWED: "the back end must accept POST at this address",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the back end accepts smaller bodies only",
}
AWAY = "The service that handles this cannot be reached at the moment."
BUSY = "The service that handles this has too much to do at the moment."
SLOW = "The service that handles this has not answered in time. It may be done nevertheless."


class WrongAnswerError(OyezError):
    """A back end has given an answer that cannot be used. The message says what was expected."""


class _FailedError(OyezError):
    """An attempt has failed. `handled` is False if the back end has certainly not handled the request."""

    def __init__(self, reason: str, *, handled: bool = True, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.handled = handled
        self.wait = wait
        """Seconds that the back end asks to wait."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request for a back end."""

    type: str
    id: str
    """The same in each attempt."""
    trace: str
    """A trace id of W3C Trace Context: 32 hexadecimal digits."""
    body: bytes
    deadline: float
    """Time of the loop."""


class BackendCaller:
    """Calls one back end."""

    def __init__(
        self,
        backend: Backend,
        settings: BackendSettings,
        connections: BackendConnections,
        tracing: Tracing | None = None,
    ) -> None:
        self._tracing = tracing
        self.name = backend.name
        self.settings = settings
        self._repeatable = backend.repeatable
        self._signers = [Webhook(secret) for secret in settings.secret.split()]
        self._connections = connections
        self._turns = asyncio.Semaphore(settings.max_concurrent)
        self._waiting = 0
        self._circuit = Circuit(settings.circuit_failures, settings.circuit_pause)
        self._sparse = SparseLog(logger, interval=10.0)
        self.results: Counter[str] = Counter()
        """The number of requests by their result: answered, failed or late; away or busy if none was sent."""

    @property
    def is_away(self) -> bool:
        """True if requests are refused because the back end has failed, until it answers one."""
        return self._circuit.state is not State.CLOSED

    async def call(self, message: Message) -> bytes:
        """The body of the answer, at most `max_answer_bytes`.

        Raises RefusedError (unavailable) if the back end is away, busy or slow; WrongAnswerError if it answers with
        another status, or with too much.
        """
        if self._tracing is None:
            return await self._call(message)
        attributes: dict[str, str | int | bool] = {
            "http.request.method": "POST",
            "server.address": urlsplit(self.settings.url).hostname or "",
            "oyez.backend": self.name,
            "oyez.request": message.id,
        }
        with within(self._tracing.start(f"{message.type} {self.name}", "client", attributes)):
            return await self._call(message)

    async def _call(self, message: Message) -> bytes:
        if self._turns.locked() and self._waiting >= self.settings.max_queue:
            self.results["busy"] += 1
            self._sparse.warning("requests are refused: too many wait for the back end", backend=self.name)
            raise RefusedError(UNAVAILABLE, BUSY, retry_after=RETRY_AFTER)
        limit = asyncio.timeout_at(message.deadline)
        try:
            async with limit:
                return await self._call_in_turn(message)
        except TimeoutError:
            if not limit.expired():
                raise
            self._sparse.warning(
                "a back end has not answered in time",
                backend=self.name,
                request=message.id,
                seconds=self.settings.timeout,
            )
            raise RefusedError(UNAVAILABLE, SLOW, retry_after=RETRY_AFTER) from None

    async def _call_in_turn(self, message: Message) -> bytes:
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        try:
            return await self._repeat(message)
        finally:
            self._turns.release()

    async def _repeat(self, message: Message) -> bytes:
        clock, attempt = asyncio.get_running_loop().time, 0
        while True:
            attempt += 1
            if wait := self._circuit.try_acquire(clock()):
                self.results["away"] += 1
                raise RefusedError(UNAVAILABLE, AWAY, retry_after=round(wait, 3))
            try:
                return await self._attempt(message, attempt)
            except _FailedError as failed:
                self._sparse.warning(
                    "a request to a back end has failed", backend=self.name, request=message.id, reason=str(failed)
                )
                now, pause = clock(), max(failed.wait, PAUSES.delay(attempt))
                away = self._circuit.find_wait(now)
                if away or (failed.handled and not self._repeatable) or now + pause >= message.deadline:
                    wait = max(failed.wait, away or RETRY_AFTER)
                    raise RefusedError(UNAVAILABLE, AWAY, retry_after=round(wait, 3)) from None
                await asyncio.sleep(pause)

    async def _attempt(self, message: Message, attempt: int) -> bytes:
        """Send the request once, and report the outcome to the circuit."""
        clock = asyncio.get_running_loop().time
        try:
            body = await self._send(message, attempt)
        except _FailedError as failed:
            self._report_failure(clock(), str(failed))
            raise
        except WrongAnswerError:
            # The back end is there.
            self._report_success()
            raise
        except BaseException:
            if clock() >= message.deadline:
                self._report_failure(clock(), "it has not answered in time", "late")
            else:
                self._circuit.abandon(clock())
            raise
        self._report_success()
        return body

    def _report_success(self) -> None:
        self.results["answered"] += 1
        if self._circuit.succeed():
            logger.info("a back end is back", backend=self.name)

    def _report_failure(self, now: float, reason: str, result: str = "failed") -> None:
        self.results[result] += 1
        if self._circuit.fail(now):
            logger.error("a back end is away: its requests are refused for a while", backend=self.name, reason=reason)

    async def _send(self, message: Message, attempt: int) -> bytes:
        try:
            async with self._connections.borrow(self.settings.url) as client:
                with unlogged_requests():
                    answering = client.stream(
                        "POST", self.settings.url, content=message.body, headers=self._headers(message, attempt)
                    )
                    async with answering as response:
                        self._check_status(response)
                        return await self._read(response)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
            raise _FailedError(_describe(error), handled=False) from None
        except httpx.HTTPError as error:
            raise _FailedError(_describe(error)) from None

    def _headers(self, message: Message, attempt: int) -> dict[str, str]:
        now, text = datetime.now(UTC), message.body.decode()
        signatures = [signer.sign(message.id, now, text) for signer in self._signers]
        return {
            "accept": "application/json",
            # A small compressed body can be a large one.
            "accept-encoding": "identity",
            "content-type": "application/json",
            "user-agent": "oyez",
            "webhook-id": message.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
            "traceparent": f"00-{message.trace}-{message.trace[:16]}-01",
            **(trace_headers() if self._tracing is not None else {}),
            "oyez-attempt": str(attempt),
        }

    def _check_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in NOT_HANDLED:
            raise _FailedError(f"it answered {status}", handled=False, wait=_read_wait(response))
        if status in FAILED:
            raise _FailedError(f"it answered {status}")
        if response.has_redirect_location:
            raise WrongAnswerError(f"200 with JSON, not {status}: redirects are not followed, set the final address")
        if status not in (HTTPStatus.OK, HTTPStatus.NO_CONTENT):
            hint = f": {HINTS[status]}" if status in HINTS else ""
            raise WrongAnswerError(f"200 with JSON, not {status}{hint}")

    async def _read(self, response: httpx.Response) -> bytes:
        most, body = self.settings.max_answer_bytes, bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > most:
                raise WrongAnswerError(f"at most {most} bytes (setting `max_answer_bytes`)")
        return bytes(body)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _read_wait(response: httpx.Response) -> float:
    """The seconds of Retry-After; 0 if it names none."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) < MAX_WAIT_DIGITS else 0.0


MAX_WAIT_DIGITS = 6
"""Digits of a Retry-After that is taken seriously: up to a day."""
