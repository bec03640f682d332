"""Sends the deliveries of one receiver, one after the other, in the order of the log."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from oyez.concurrency.backoff import Backoff, is_worth_logging
from oyez.errors import UNAVAILABLE, DatabaseUnavailableError, InvalidDataError
from oyez.logger import get_logger
from oyez.service.database.database import Database
from oyez.service.webhooks import store
from oyez.service.webhooks.addresses import read_place
from oyez.service.webhooks.message import sign
from oyez.service.webhooks.post import Outcome, make_client, post
from oyez.service.webhooks.schedule import Schedule
from oyez.service.webhooks.store import Delivery, Receiver
from oyez.tracing import Tracing, trace_headers, within

logger = get_logger("oyez.service")

LOOK_INTERVAL = 5.0
"""Longest time in seconds between two checks for deliveries: another process may have asked for a replay."""
DATABASE_BACKOFF = Backoff(0.2, 2.0, jitter=0.5)
GONE = "it answered 410: it wants no events any more"


@dataclass(frozen=True, slots=True)
class Rules:
    """How deliveries are sent."""

    schedule: Schedule
    timeout: float
    """Seconds for one attempt."""
    private: bool
    """True if receivers may be in private networks."""
    disable_after: float
    """Seconds of failures after which a receiver is disabled."""


ACCEPTED, REPEATED, DEAD = "accepted", "repeated", "dead"
"""The results of an attempt; one that is repeated or dead was not accepted."""


class Sender:
    """The sender of one receiver, in the process that leads."""

    def __init__(
        self,
        system: str,
        id: str,
        database: Database,
        rules: Rules,
        *,
        clock: Callable[[], float],
        leads: Callable[[], bool],
        attempts: Counter[str],
        tracing: Tracing | None = None,
    ) -> None:
        """`clock` gives seconds since 1970. `leads` is False if another process may lead now. `attempts` are counted by
        their result.
        """
        self._tracing = tracing
        self._system = system
        self._id = id
        self._database = database
        self._rules = rules
        self._clock = clock
        self._leads = leads
        self._attempts = attempts
        self._woken = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Look for deliveries now."""
        self._woken.set()

    def stop(self) -> None:
        """End after the attempt that is under way."""
        self._stopping = True
        self._woken.set()

    async def run(self) -> None:
        """Send deliveries until the receiver is removed or disabled, or this process stops or no longer leads."""
        failures = 0
        client = make_client(self._rules.timeout)
        try:
            while not self._stopping and self._leads():
                self._woken.clear()
                try:
                    pause = await self._send_due(client)
                    failures = 0
                except DatabaseUnavailableError:
                    failures += 1
                    pause = DATABASE_BACKOFF.delay(failures)
                if pause is None:
                    return
                if pause > 0:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await self._woken.wait()
        finally:
            await client.aclose()

    async def _send_due(self, client: httpx.AsyncClient) -> float | None:
        """Send what is due. Returns the seconds until there is more to do; None if the receiver receives no more."""
        now = self._clock()
        receiver, due, later = await self._database.read(store.read_due, self._system, self._id, now)
        if receiver is None or receiver.disabled is not None:
            return None
        if receiver.resting_until > now and (due or later is not None):
            return min(receiver.resting_until - now, LOOK_INTERVAL)
        for delivery in due:
            if self._stopping or not self._leads():
                return 0.0
            if not await self._send(client, receiver, delivery):
                # Read the receiver again: it may rest now.
                return 0.0
        if due:
            return 0.0
        return LOOK_INTERVAL if later is None else min(max(later - now, 0.0), LOOK_INTERVAL)

    async def _send(self, client: httpx.AsyncClient, receiver: Receiver, delivery: Delivery) -> bool:
        """Make one attempt, and store what became of it. False if the receiver's record has changed."""
        if self._tracing is None or not delivery.trace:
            outcome = await self._post(client, receiver, delivery)
        else:
            outcome = await self._post_traced(self._tracing, delivery.trace, client, receiver, delivery)
        now = self._clock()
        if outcome.error is None:
            self._attempts[ACCEPTED] += 1
            await self._store(store.succeed, receiver, delivery, now)
            if receiver.failures:
                logger.info("a webhook receiver accepts events again", **self._describe(receiver))
            return not receiver.failures
        await self._fail(receiver, delivery, outcome, now)
        return False

    async def _post_traced(
        self, tracing: Tracing, trace: str, client: httpx.AsyncClient, receiver: Receiver, delivery: Delivery
    ) -> Outcome:
        attributes: dict[str, str | int | bool] = {
            "http.request.method": "POST",
            # Without path and query: they may hold secrets of the receiver.
            "server.address": urlsplit(receiver.url).hostname or "",
            "messaging.message.id": delivery.message,
            "oyez.system": self._system,
            "oyez.receiver": receiver.id,
            "oyez.attempt": delivery.attempts + 1,
        }
        with within(tracing.start(f"webhook {self._system}", "client", attributes, trace)):
            outcome = await self._post(client, receiver, delivery)
            if outcome.error is not None:
                tracing.fail(UNAVAILABLE.code)
        return outcome

    async def _post(self, client: httpx.AsyncClient, receiver: Receiver, delivery: Delivery) -> Outcome:
        rules = self._rules
        try:
            place = read_place(receiver.url, private=rules.private)
        except InvalidDataError as error:
            # The setting was changed after the receiver had been added.
            return Outcome(f"its address is not allowed any more: expected {error.expected}")
        headers = {**sign(delivery.message, delivery.body, receiver.secrets, self._clock()), **self._trace_headers()}
        return await post(client, place, delivery.body, headers, timeout=rules.timeout, private=rules.private)

    def _trace_headers(self) -> Mapping[str, str]:
        return trace_headers() if self._tracing is not None else {}

    async def _fail(self, receiver: Receiver, delivery: Delivery, outcome: Outcome, now: float) -> None:
        assert outcome.error is not None
        schedule, failures = self._rules.schedule, receiver.failures + 1
        delay = schedule.find_delay(delivery.attempts + 1, outcome.retry_after)
        self._attempts[DEAD if delay is None else REPEATED] += 1
        await self._store(
            store.fail,
            receiver,
            delivery,
            outcome.error,
            due=None if delay is None else now + delay,
            rest_until=now + schedule.find_rest(failures),
            now=now,
        )
        if is_worth_logging(failures):
            logger.warning(
                "a webhook receiver does not accept an event",
                **self._describe(receiver),
                error=outcome.error,
                failures=failures,
            )
        if delay is None:
            logger.error(
                "a webhook was given up and is a dead letter",
                **self._describe(receiver),
                message=delivery.message,
                error=outcome.error,
                remedy="repair the receiver, and replay its dead letters with `oyez webhooks replay`",
            )
        failing = now - (receiver.failing_since if receiver.failing_since is not None else now)
        if outcome.gone:
            await self._disable(receiver, GONE)
        elif failing >= self._rules.disable_after:
            await self._disable(receiver, f"it has accepted nothing for {failing:.0f} s: {outcome.error}")

    async def _disable(self, receiver: Receiver, reason: str) -> None:
        await self._database.run(store.disable_receiver, self._system, receiver.id, reason, self._clock())
        logger.error(
            "a webhook receiver was disabled; its waiting events are dead letters",
            **self._describe(receiver),
            reason=reason,
            remedy="repair the receiver, enable it, and replay its dead letters",
        )

    async def _store(self, function: Callable[..., None], *args: object, **kwargs: object) -> None:
        """Store what became of an attempt; while the database is away, wait for it: a repeated attempt is worse."""
        failures = 0
        while True:
            try:
                await self._database.run(lambda connection: function(connection, self._system, *args, **kwargs))
                return
            except DatabaseUnavailableError:
                failures += 1
                if not self._leads():
                    raise
                await asyncio.sleep(DATABASE_BACKOFF.delay(failures))

    def _describe(self, receiver: Receiver) -> dict[str, str]:
        # Without the query and the path: they may hold secrets of the receiver.
        return {"system": self._system, "receiver": receiver.id, "host": urlsplit(receiver.url).netloc}
