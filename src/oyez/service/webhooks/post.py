"""One attempt to deliver: a POST to the receiver, within limits of time and size. Nothing here knows the database."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus

import httpx

from oyez.logger import unlogged_requests
from oyez.service.webhooks.addresses import ForbiddenAddressError, Place, resolve

MAX_ANSWER = 65_536
"""Bytes of an answer that are read, so that the connection can be used again. A longer answer ends the connection."""
MAX_ADDRESSES = 3
"""Addresses of a name that are tried in one attempt."""
MAX_ERROR = 300
"""Characters of an error that are stored."""
SENT = range(HTTPStatus(200), HTTPStatus.MULTIPLE_CHOICES)
BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt."""

    error: str | None = None
    """Why it failed; None if the receiver has accepted the event."""
    gone: bool = False
    """True if the receiver says that it wants no events any more (410)."""
    retry_after: float = 0.0
    """Seconds that the receiver asks to wait."""


@cache
def _make_context() -> ssl.SSLContext:
    # Certificates of the environment (SSL_CERT_FILE) count; its proxies do not, as they would resolve names again.
    return httpx.create_ssl_context(trust_env=True)


def make_client(timeout: float) -> httpx.AsyncClient:
    """The client of one receiver. Receivers share no connections: a connection is verified for one host name."""
    return httpx.AsyncClient(
        verify=_make_context(),
        trust_env=False,
        follow_redirects=False,
        timeout=timeout,
        limits=httpx.Limits(max_connections=1, keepalive_expiry=30.0),
    )


async def post(
    client: httpx.AsyncClient,
    place: Place,
    body: bytes,
    headers: Mapping[str, str],
    *,
    timeout: float,
    private: bool,
) -> Outcome:
    """Send a body to a receiver. Ends within `timeout` seconds; never raises what a receiver can cause."""
    try:
        async with asyncio.timeout(timeout):
            addresses = await resolve(place, private=private)
            return await _post_first(client, place, addresses[:MAX_ADDRESSES], body, headers)
    except TimeoutError:
        return Outcome(f"no answer within {timeout:g} s")
    except ForbiddenAddressError as error:
        return Outcome(str(error))
    except (httpx.HTTPError, OSError, ValueError) as error:
        return Outcome(f"{type(error).__name__}: {error}"[:MAX_ERROR])


async def _post_first(
    client: httpx.AsyncClient, place: Place, addresses: list[str], body: bytes, headers: Mapping[str, str]
) -> Outcome:
    """Send to the first address that takes a connection."""
    *others, last = addresses
    for address in others:
        try:
            return await _post_to(client, place, address, body, headers)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            continue
    return await _post_to(client, place, last, body, headers)


async def _post_to(
    client: httpx.AsyncClient, place: Place, address: str, body: bytes, headers: Mapping[str, str]
) -> Outcome:
    request = client.build_request(
        "POST",
        place.at(address),
        content=body,
        headers={**headers, "host": place.authority},
        extensions={"sni_hostname": place.host} if place.scheme == "https" else {},
    )
    with unlogged_requests():
        response = await client.send(request, stream=True)
    try:
        size = 0
        # Undecoded: a small compressed answer could be very long.
        async for chunk in response.aiter_raw():
            size += len(chunk)
            if size > MAX_ANSWER:
                break
    finally:
        await response.aclose()
    return _judge(response)


def _judge(response: httpx.Response) -> Outcome:
    status = response.status_code
    if status in SENT:
        return Outcome()
    asked = response.headers.get("retry-after", "")
    retry_after = float(asked[:9]) if status in BUSY and asked.isascii() and asked.isdigit() else 0.0
    hint = ": redirects are not followed" if 300 <= status < 400 else ""
    return Outcome(f"status {status}{hint}", gone=status == HTTPStatus.GONE, retry_after=retry_after)
