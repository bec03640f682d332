"""Requests to a server's HTTP APIs with a service key, as back ends send them. Every error is one line."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import msgspec

from oyez.cli.address import explain_unreachable
from oyez.errors import INVALID_DATA, TOKEN_INVALID, OyezError

SERVICE_KEY = "Use a key from `oyez token SYSTEM --service`, made with the server's own settings."
TIMEOUT = 10.0
"""Seconds to wait for the server."""


class RequestError(OyezError):
    """There was no answer, or none that Oyez gives."""


class RequestRefusedError(RequestError):
    """The server answered that it will not do what was asked."""


def send_json(
    url: str, key: str, body: Any = None, method: str = "POST", headers: Mapping[str, str] | None = None
) -> Any:
    """Send `body` as JSON (None: nothing) and return the answer's JSON, None if it is empty.

    Raises RequestRefusedError, RequestError.
    """
    sent = {"authorization": f"Bearer {key}", "content-type": "application/json", **(headers or {})}
    data = None if body is None else msgspec.json.encode(body)
    request = urllib.request.Request(url, data, sent, method=method)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            answer = response.read()
        return msgspec.json.decode(answer) if answer else None
    except urllib.error.HTTPError as error:
        with error:
            raise RequestRefusedError(_explain(error.code, error.read())) from None
    except OSError as error:
        raise RequestError(explain_unreachable(url, error)) from None
    except (http.client.HTTPException, msgspec.MsgspecError):
        raise not_oyez(url) from None


def not_oyez(url: str) -> RequestError:
    """The error to raise when something else answers at `url`."""
    return RequestError(f"What answers at {url} is not Oyez. Give Oyez' own --url.")


def _explain(status: int, body: bytes) -> str:
    """A problem (RFC 9457) in one line."""
    try:
        problem = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return f"The server answered with status {status}: {body[:200].decode(errors='replace')!r}."
    code = problem.get("code", status)
    # What is said about anything but a field is a sentence of its own.
    faults = [
        f"{fault.get('field')}: {fault.get('expected')}" if code == INVALID_DATA.code else fault.get("expected", "")
        for fault in problem.get("errors", ())
    ]
    explained = f"{code}: {'; '.join(faults) or problem.get('detail')}"
    return f"{explained} {SERVICE_KEY}" if code == TOKEN_INVALID.code else explained
