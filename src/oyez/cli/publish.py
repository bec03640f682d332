"""Publishing over HTTP, as any back end does it."""

import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

import msgspec

from oyez.errors import OyezError

TIMEOUT = 10.0


class PublishError(OyezError):
    """The server refused the event, or could not be reached."""


def send_event(url: str, system: str, key: str, event: str, to: Sequence[str] | None, data: Any) -> str | None:
    """Publish one event and return its position in the log, None for a volatile one. Raises PublishError."""
    body: dict[str, Any] = {"event": event, "data": data}
    if to:
        body["to"] = list(to)
    request = urllib.request.Request(
        f"{url}/{system}/events",
        msgspec.json.encode(body),
        {"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            position: str | None = msgspec.json.decode(response.read())["position"]
    except urllib.error.HTTPError as error:
        raise PublishError(_explain(error.code, error.read())) from None
    except OSError as error:
        raise PublishError(
            f"{url} cannot be reached ({getattr(error, 'reason', error)}). Start it with `oyez serve`, or give --url."
        ) from None
    return position


def _explain(status: int, body: bytes) -> str:
    """A problem (RFC 9457) in one line."""
    try:
        problem = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        return f"The server answered {status}: {body[:200].decode(errors='replace')!r}."
    faults = [f"{fault.get('field') or 'data'}: {fault.get('expected')}" for fault in problem.get("errors", ())]
    return f"{problem.get('code', status)}: {'; '.join(faults) or problem.get('detail')}"
