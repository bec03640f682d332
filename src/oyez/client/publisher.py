"""Publishers for back ends: `Publisher` for asyncio, `SyncPublisher` for all other programs. Both speak HTTP.

Both run the flows of `flows.py`. Only the functions that send and wait differ.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, overload
from weakref import WeakKeyDictionary

import httpx
from msgspec import UNSET

from oyez.client.backlog import QueueLimits
from oyez.client.flows import Flows
from oyez.client.publications import Publication, Published, Targets
from oyez.client.queues import PublishQueue, SyncPublishQueue
from oyez.client.requests import MAX_ANSWER, Answer, Flow, Pause, Retries, Send
from oyez.contract.contract import Contract
from oyez.contract.rooms import NamedRoom
from oyez.contract.types import Payload
from oyez.tracing import trace_headers

T = TypeVar("T")
Key = str | Callable[[], str]
"""A service key, or a function that returns the current one, for keys that are renewed."""

TIMEOUT = 10.0
"""Seconds to connect, and to wait for each part of an answer, unless the httpx client has other timeouts."""


def _make_async_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=TIMEOUT)


def _make_client() -> httpx.Client:
    return httpx.Client(timeout=TIMEOUT)


class Publisher:
    """Publishes events over HTTP from a program with asyncio.

    Connections are kept open between calls; `async with Publisher(…)` or `close` ends them. One publisher serves any
    number of tasks. In another event loop, or after a fork, it opens connections of its own.
    """

    def __init__(
        self,
        url: str,
        system: Contract | str,
        key: Key,
        *,
        retries: Retries = Retries(),  # noqa: B008 - a frozen value
        http: Callable[[], httpx.AsyncClient] = _make_async_client,
    ) -> None:
        """`url` is the address of the server, such as `https://events.example`.

        `system` is the contract, or the name of the system: without the contract, events are published by name, and
        the server checks them. `key` is a service key of the system. `http` makes the client, for proxies, timeouts and
        certificates: `lambda: httpx.AsyncClient(proxy=…, timeout=…, verify=…)`.
        """
        self._flows = Flows(url, system, retries)
        self._key = key
        self._http = http
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections of this event loop. A later call opens new ones."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    @overload
    async def publish(
        self,
        event: Payload,
        /,
        *,
        to: Targets | None = None,
        excluding: Targets = (),
        idempotency_key: str | None = None,
    ) -> Published: ...
    @overload
    async def publish(
        self,
        event: str,
        data: Any = UNSET,
        /,
        *,
        to: Targets | None = None,
        excluding: Targets = (),
        idempotency_key: str | None = None,
    ) -> Published: ...
    async def publish(
        self,
        event: Payload | str,
        data: Any = UNSET,
        /,
        *,
        to: Targets | None = None,
        excluding: Targets = (),
        idempotency_key: str | None = None,
    ) -> Published:
        """Publish one event: a payload of the contract, or a name and data of JSON types.

        It goes to the rooms `to` or, without them, to the rooms that follow from the payload. Clients in the rooms
        `excluding` do not receive it. Failed attempts are repeated with one idempotency key, so that the event is
        published once; give a key to repeat the call itself.

        Raises InvalidEventsError, ServiceKeyError, ServerBusyError, UnreachableError, RequestRefusedError,
        NotOyezError; ContractError if the payload is not one of the contract.
        """
        return await self._run(self._flows.publish(Publication(event, data, to, excluding), idempotency_key))

    async def publish_all(
        self, publications: Sequence[Publication], *, idempotency_key: str | None = None
    ) -> list[Published]:
        """Publish a list of events: all of them with successive positions, or none. Raises the errors of `publish`."""
        return await self._run(self._flows.publish_all(publications, idempotency_key))

    def queue(self, limits: QueueLimits = QueueLimits()) -> PublishQueue:  # noqa: B008 - a frozen value
        """A queue that gathers events into requests: `async with publisher.queue() as queue: await queue.put(…)`."""
        return PublishQueue(self._flows, self._run, limits)

    async def add_member(
        self, room: NamedRoom | str, subject: str, *, part: str | None = None, namespace: str | None = None
    ) -> bool:
        """Let a subject such as `user:ada` join a room. Returns True if it was not a member before.

        `part` is the member's part in the room, empty for none; without it, a member keeps its part. `namespace` is
        needed for a room by its name if several namespaces have it.
        """
        return await self._run(self._flows.add_member(room, subject, part, namespace))

    async def remove_member(self, room: NamedRoom | str, subject: str, *, namespace: str | None = None) -> None:
        """Remove a member. What is published after the call does not reach it."""
        await self._run(self._flows.remove_member(room, subject, namespace))

    async def list_members(self, room: NamedRoom | str, *, namespace: str | None = None) -> dict[str, str | None]:
        """The members of a room, and the part of each; None for those without one."""
        return await self._run(self._flows.list_members(room, namespace))

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """Any request of the system's HTTP API, repeated as `publish` is: `request("POST", "/api/orders", {…})`.

        Returns the JSON of the answer, None if it is empty.
        """
        return await self._run(self._flows.request(method, path, body, query, idempotency_key))

    async def _run(self, flow: Flow[T]) -> T:
        got: Answer | httpx.HTTPError | None = None
        while True:
            try:
                step = flow.send(got)
            except StopIteration as ended:
                value: T = ended.value
                return value
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                got = None
            else:
                got = await self._exchange(step)

    async def _exchange(self, step: Send) -> Answer | httpx.HTTPError:
        client = self._find_client()
        request = _build_request(client, self._flows.url, self._key, step)
        try:
            async with asyncio.timeout(step.timeout):
                response = await client.send(request, stream=True, follow_redirects=False)
                content = bytearray()
                try:
                    async for chunk in response.aiter_bytes():
                        content += chunk
                        if len(content) > MAX_ANSWER:
                            break
                finally:
                    await response.aclose()
        except TimeoutError:
            return _timed_out(request)
        except httpx.HTTPError as error:
            return error
        except AttributeError as error:
            # anyio, if the server closes a connection at the moment at which it is open: the socket is gone.
            return httpx.ConnectError(str(error), request=request)
        return _build_answer(response, content)

    def _find_client(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = self._http()
        return client


class SyncPublisher:
    """Publishes events over HTTP from a program without asyncio: `Publisher`, but its calls block.

    Connections are kept open between calls; `with SyncPublisher(…)` or `close` ends them. One publisher serves any
    number of threads. After a fork, it opens connections of its own.
    """

    def __init__(
        self,
        url: str,
        system: Contract | str,
        key: Key,
        *,
        retries: Retries = Retries(),  # noqa: B008 - a frozen value
        http: Callable[[], httpx.Client] = _make_client,
    ) -> None:
        """As `Publisher`; `http` makes an `httpx.Client`."""
        self._flows = Flows(url, system, retries)
        self._key = key
        self._http = http
        self._clients: dict[int, httpx.Client] = {}
        """By the id of the process: a child must not use the connections of its parent, or close them."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        client = self._clients.pop(os.getpid(), None)
        if client is not None:
            client.close()

    @overload
    def publish(
        self,
        event: Payload,
        /,
        *,
        to: Targets | None = None,
        excluding: Targets = (),
        idempotency_key: str | None = None,
    ) -> Published: ...
    @overload
    def publish(
        self,
        event: str,
        data: Any = UNSET,
        /,
        *,
        to: Targets | None = None,
        excluding: Targets = (),
        idempotency_key: str | None = None,
    ) -> Published: ...
    def publish(
        self,
        event: Payload | str,
        data: Any = UNSET,
        /,
        *,
        to: Targets | None = None,
        excluding: Targets = (),
        idempotency_key: str | None = None,
    ) -> Published:
        """As `Publisher.publish`."""
        return self._run(self._flows.publish(Publication(event, data, to, excluding), idempotency_key))

    def publish_all(
        self, publications: Sequence[Publication], *, idempotency_key: str | None = None
    ) -> list[Published]:
        """As `Publisher.publish_all`."""
        return self._run(self._flows.publish_all(publications, idempotency_key))

    def queue(self, limits: QueueLimits = QueueLimits()) -> SyncPublishQueue:  # noqa: B008 - a frozen value
        """A queue with a thread that gathers events into requests: `with publisher.queue() as queue: queue.put(…)`."""
        return SyncPublishQueue(self._flows, self._run, limits)

    def add_member(
        self, room: NamedRoom | str, subject: str, *, part: str | None = None, namespace: str | None = None
    ) -> bool:
        """As `Publisher.add_member`."""
        return self._run(self._flows.add_member(room, subject, part, namespace))

    def remove_member(self, room: NamedRoom | str, subject: str, *, namespace: str | None = None) -> None:
        """As `Publisher.remove_member`."""
        self._run(self._flows.remove_member(room, subject, namespace))

    def list_members(self, room: NamedRoom | str, *, namespace: str | None = None) -> dict[str, str | None]:
        """As `Publisher.list_members`."""
        return self._run(self._flows.list_members(room, namespace))

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """As `Publisher.request`."""
        return self._run(self._flows.request(method, path, body, query, idempotency_key))

    def _run(self, flow: Flow[T]) -> T:
        got: Answer | httpx.HTTPError | None = None
        while True:
            try:
                step = flow.send(got)
            except StopIteration as ended:
                value: T = ended.value
                return value
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                got = None
            else:
                got = self._exchange(step)

    def _exchange(self, step: Send) -> Answer | httpx.HTTPError:
        client = self._find_client()
        request = _build_request(client, self._flows.url, self._key, step)
        end = time.monotonic() + step.timeout
        try:
            response = client.send(request, stream=True, follow_redirects=False)
            content = bytearray()
            try:
                for chunk in response.iter_bytes():
                    content += chunk
                    if time.monotonic() > end:
                        return _timed_out(request)
                    if len(content) > MAX_ANSWER:
                        break
            finally:
                response.close()
        except httpx.HTTPError as error:
            return error
        except AttributeError as error:
            # anyio, if the server closes a connection at the moment at which it is open: the socket is gone.
            return httpx.ConnectError(str(error), request=request)
        return _build_answer(response, content)

    def _find_client(self) -> httpx.Client:
        client = self._clients.get(os.getpid())
        # `setdefault` is atomic, and a lock could be held by another thread at the moment of a fork.
        return client if client is not None else self._clients.setdefault(os.getpid(), self._http())


def _build_request(client: httpx.Client | httpx.AsyncClient, url: str, key: Key, step: Send) -> httpx.Request:
    call = step.call
    headers = {"authorization": f"Bearer {key if isinstance(key, str) else key()}", "accept": "application/json"}
    headers |= trace_headers()
    if call.body is not None:
        headers["content-type"] = "application/json"
    if call.idempotency_key is not None:
        headers["idempotency-key"] = call.idempotency_key
    times = {name: _bound(seconds, step.timeout) for name, seconds in client.timeout.as_dict().items()}
    return client.build_request(
        call.method,
        url + call.path,
        params=dict(call.query) or None,
        content=call.body,
        headers=headers,
        timeout=httpx.Timeout(**times),
    )


def _bound(seconds: float | None, most: float) -> float:
    return most if seconds is None else min(seconds, most)


def _build_answer(response: httpx.Response, content: bytearray) -> Answer:
    return Answer(str(response.url.copy_with(query=None)), response.status_code, response.headers, bytes(content))


def _timed_out(request: httpx.Request) -> httpx.ReadTimeout:
    return httpx.ReadTimeout("no answer came in time", request=request)
