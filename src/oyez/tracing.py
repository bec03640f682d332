"""Tracing: what a server reports to OpenTelemetry, which only `ops/traces.py` imports, and how a trace is carried on.

A trace context is that of W3C Trace Context (https://www.w3.org/TR/trace-context/). In headers it is `traceparent` and
`tracestate`; in entries of the log, rows of the outbox and deliveries of webhooks it is one text, the two values with a
space between them. Only contexts that are recorded are stored.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from typing import Any, Literal, Protocol, TypeVar

from oyez.errors import find_code

Kind = Literal["server", "client", "producer", "consumer", "internal"]
"""The kind of a span, as OpenTelemetry names it."""
Attributes = Mapping[str, str | int | bool]
Described = Attributes | Callable[[], Attributes]
"""The attributes of a span, or a function that gives them. It is called only if the span is recorded."""
T = TypeVar("T")

MAX_STATE = 512
"""Characters of a `tracestate`: as many as W3C Trace Context asks every system to carry on (section 3.3.1.5)."""
MAX_TRACE = 55 + 1 + MAX_STATE
"""Characters of a stored trace context."""
MAX_STATE_MEMBERS = 32
TRACING = "oyez.tracing"
"""The key of a request's scope that holds the process's Tracing."""

_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.{0,200})?")
_STATE_KEY = r"[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}"
_STATE_MEMBER = re.compile(rf"({_STATE_KEY})=[ -+\--<>-~]{{0,255}}[!-+\--<>-~]")


class Span(Protocol):
    """A part of a trace that has begun."""

    @property
    def trace(self) -> str:
        """The context for what follows from it; empty if it is not recorded."""

    def active(self) -> AbstractContextManager[None]:
        """What begins inside is a part of it. Can be entered again, in another task too."""

    def run(self, call: Callable[..., T], *arguments: Any) -> T:
        """The result of a call that is a part of it. Costs less than `active`."""

    def set(self, name: str, value: str | int | bool) -> None:
        """Add an attribute."""

    def end(self, code: str = "") -> None:
        """It has ended. `code` is that of the failure; empty for a success, and if `Tracing.fail` was called."""


class Tracing(Protocol):
    """Records spans. Its calls return at once, also if the spans cannot be sent anywhere."""

    shows_users: bool
    """True if spans may name users."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Spans are sent while inside, and those that are left at the end, for a short time."""

    def start(
        self, name: str, kind: Kind, attributes: Described, trace: str | None = None, *, trusted: bool = True
    ) -> Span:
        """Begin a span. `trace` is the context of its parent; empty if it has none; None: the active span.

        A `trace` that is not `trusted` comes from a client, who must not decide how much is recorded.
        """

    def pass_by(self) -> Span | None:
        """What stands for a span that has no parent and is not recorded; None: call `start`, which may record it."""

    def record(
        self, name: str, kind: Kind, attributes: Described, seconds: float, trace: str | None = None, code: str = ""
    ) -> None:
        """Record a span that ends now, as `start` and `end` do, but only if its parent is recorded."""

    def fail(self, code: str) -> None:
        """The active span has failed."""


@contextmanager
def within(span: Span) -> Iterator[Span]:
    """What begins inside is a part of `span`, which ends with it, and fails by the error that is raised."""
    try:
        with span.active():
            yield span
    except Exception as error:
        span.end(code=find_code(error))
        raise
    except BaseException:
        # Cancelled.
        span.end()
        raise
    span.end()


def read_trace(parents: Sequence[str], states: Sequence[str] = ()) -> str:
    """The trace context in the `traceparent` and `tracestate` headers of a request. Empty if there is no valid one:
    an invalid header is as none."""
    found = _PARENT.fullmatch(parents[0]) if len(parents) == 1 else None
    if found is None or (found[1] == "00" and found[5]):
        return ""
    # Version 00 has only the flag `sampled`; those of later versions are not known.
    parent = f"00-{found[2]}-{found[3]}-{int(found[4], 16) & 1:02x}"
    state = _read_state(states)
    return f"{parent} {state}" if state else parent


def _read_state(states: Sequence[str]) -> str:
    text = ",".join(states)
    if len(text) > MAX_STATE:
        return ""
    members = [member for one in text.split(",") if (member := one.strip(" \t"))]
    keys = {member.partition("=")[0] for member in members}
    valid = all(_STATE_MEMBER.fullmatch(member) for member in members)
    return ",".join(members) if valid and len(keys) == len(members) <= MAX_STATE_MEMBERS else ""


def trace_headers() -> dict[str, str]:
    """The headers that continue the active span of OpenTelemetry in another process; empty if there is none.

    It is looked for only in a program that uses OpenTelemetry: its import would take half a second.
    """
    api: Any = sys.modules.get("opentelemetry.trace")
    if api is None:
        return {}
    context = api.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    headers = {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"}
    state = context.trace_state.to_header()
    return {**headers, "tracestate": state} if 0 < len(state) <= MAX_STATE else headers
