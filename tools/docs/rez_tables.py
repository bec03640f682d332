"""The tables that only docs/rez.md has, from the contract and the API: each as rows, the headings first."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import msgspec

from oyez.service.resources import Listing, Resource, Send, Write
from oyez.systems.rez.contract import CHANNELS, contract
from oyez.systems.rez.http import RESOURCES

Rows = list[tuple[str, ...]]


def list_channels() -> Rows:
    rows = [(f"`{name}`", f"`{room.pattern}`", f"a client that {room.rule.text}") for name, room in CHANNELS.items()]
    return [("channel", "room", "who may subscribe"), *rows]


def list_requests() -> Rows:
    rows = [_describe_request(resource) for resource in RESOURCES]
    return [("request", "body or parameters", "what it does"), *rows]


def _describe_request(resource: Resource) -> tuple[str, str, str]:
    request = f"`{resource.method} {resource.path.replace(':path', '')}`"
    if isinstance(resource, Listing):
        return request, ", ".join(f"`?{name}=`" for name in resource.filters), "a list"
    if isinstance(resource, Write | Send):
        return request, _describe_fields(resource.body), _first_sentences(resource.function)
    return request, "", ""


def list_refusals() -> Rows:
    rows = [(f"`{refusal.code}`", str(refusal.status), refusal.message) for refusal in contract.refusals]
    return [("code", "HTTP status", "message"), *rows]


def _describe_fields(struct: type[msgspec.Struct] | None) -> str:
    return f"`{{{', '.join(struct.__struct_encode_fields__)}}}`" if struct else ""


def _first_sentences(function: Callable[..., Any]) -> str:
    text = inspect.cleandoc(function.__doc__ or "").partition("\n\n")[0]
    # The page states the status of a new record once for all requests.
    return re.sub(r" True if [^.]*\.", "", " ".join(text.partition("Raises")[0].split()))


TABLES: dict[str, Rows] = {
    "channels": list_channels(),
    "api": list_requests(),
    "refusals": list_refusals(),
}
