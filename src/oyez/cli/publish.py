"""`oyez publish`: one event over HTTP, as any back end publishes it."""

import http.client
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import msgspec

from oyez.cli import console
from oyez.cli.console import CallError
from oyez.cli.flags import HERE, Machine, Repeatable, load_signer, parse_json
from oyez.cli.reach import FOUND, Target, explain_unreachable
from oyez.errors import INVALID_DATA, TOKEN_INVALID, OyezError
from oyez.service.system import load_system

SERVICE_KEY = "Use a key from `oyez token SYSTEM --service`, made with the server's own settings."
TIMEOUT = 10.0
"""Seconds to wait for the server."""
KEY_LIFETIME = 60.0
"""Seconds; the key is used at once."""


class PublishError(OyezError):
    """The server refused the event, or could not be reached."""


def publish(
    system: str,
    event: str,
    /,
    *,
    data: str,
    to: Annotated[tuple[str, ...], Repeatable] = (),
    idempotency_key: str | None = None,
    target: Target = FOUND,
    machine: Machine = HERE,
) -> int:
    """Publish one event, as a back end would: over HTTP.

    For example:
      oyez publish quotes quote:offer:updated --data @offer.json
      oyez publish quotes chat:delivered --to chat:user:5f0c --data @chat.json

    Parameters
    ----------
    system
        The system to publish into: the name of one that ships, or a file with a contract.
    event
        The event's name.
    data
        Its payload as JSON, @FILE to read it from a file, or @- from standard input.
    to
        A room it goes to; repeatable. Left out, the rooms follow from the data, where the contract says how.
    idempotency_key
        1 to 128 visible characters: with the same key the same event is published once, however often this is called.
    """
    loaded, settings = load_system(system), machine.load()
    url = target.find(settings)
    body: dict[str, Any] = {"event": event, "data": read_data(data)}
    if to:
        body["to"] = to
    key = target.token or load_signer(settings).sign_service(loaded.name, KEY_LIFETIME)
    position = send_event(f"{url}/{loaded.name}/events", key, body, idempotency_key)
    console.out.print(f"published at {position}" if position else "published (volatile: not stored)")
    return 0


def read_data(data: str) -> dict[str, Any]:
    """The JSON of `--data`. Raises CallError."""
    if not data.startswith("@"):
        return parse_json(data, "--data")
    try:
        content = sys.stdin.buffer.read() if data == "@-" else Path(data[1:]).read_bytes()
    except OSError as error:
        raise CallError(f"--data {data}: {error.strerror}. Name an existing file, or give JSON.") from None
    return parse_json(content, f"--data {data}")


def send_event(url: str, key: str, body: dict[str, Any], idempotency_key: str | None = None) -> str | None:
    """Publish one event and return its position in the log, None for a volatile one. Raises PublishError."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    if idempotency_key is not None:
        headers["idempotency-key"] = idempotency_key
    request = urllib.request.Request(url, msgspec.json.encode(body), headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            answer = msgspec.json.decode(response.read(), type=dict[str, str | None])
        return answer["position"]
    except urllib.error.HTTPError as error:
        with error:
            raise PublishError(f"{body['event']} was not published. {_explain(error.code, error.read())}") from None
    except OSError as error:
        raise PublishError(explain_unreachable(url, error)) from None
    except (http.client.HTTPException, msgspec.MsgspecError, KeyError):
        raise PublishError(f"What answers at {url} is not Oyez. Give Oyez' own --url.") from None


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
