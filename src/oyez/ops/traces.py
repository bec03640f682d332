"""Spans of OpenTelemetry. Imported only if the setting `tracing` is on; needs `pip install 'oyez[tracing]'`.

Where spans go, and how many are recorded, is set by the standard variables OTEL_*. The SDK keeps a bounded number of
spans and sends them from a thread of its own, so that a collector that is slow or away delays nothing.
"""

import asyncio
import logging
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from random import getrandbits
from typing import Any, TypeVar

from opentelemetry import context as contexts
from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from structlog.contextvars import bound_contextvars

from oyez import __version__
from oyez.concurrency.token_bucket import Rate, TokenBucket
from oyez.errors import INTERNAL, UNAVAILABLE
from oyez.logger import get_logger
from oyez.observer import Observer, RecoveryReport
from oyez.tracing import MAX_STATE, Attributes, Described, Kind, Span, read_trace

logger = get_logger("oyez.ops")

CLIENT_TRACES = Rate(10, 1.0)
"""Traces of a process that clients may have recorded: a client that marks all of its commands as sampled would
otherwise take the place of all other spans. Traces over the rate are not recorded."""
CLOSE_SECONDS = 3.0
"""Seconds for which the last spans are sent when the process stops."""
FAILURES = frozenset({INTERNAL.code, UNAVAILABLE.code})
"""Codes that are errors of the server: other refusals are what a client has to expect."""
_KINDS = {kind.name.lower(): kind for kind in SpanKind}
NOTHING = Context()
T = TypeVar("T")
_DELEGATES = (
    r"remoteParentSampled:AlwaysOnSampler,remoteParentNotSampled:AlwaysOffSampler,"
    r"localParentSampled:AlwaysOnSampler,localParentNotSampled:AlwaysOffSampler"
)
_PARENT_BASED = re.compile(
    rf"ParentBased\{{root:(AlwaysOnSampler|AlwaysOffSampler|TraceIdRatioBased\{{([0-9.e-]+)\}}),{_DELEGATES}\}}"
)
"""How the samplers describe themselves that decide by the parent or, without one, by the trace's id alone."""


class TraceIds(RandomIdGenerator):
    """Ids of traces. The next one can be drawn before its span begins, to decide whether it begins at all."""

    def __init__(self) -> None:
        # Other libraries begin spans in other threads.
        self._kept = threading.local()

    def keep(self, half: int) -> None:
        """The next trace that begins in this thread has an id with this lower half, which was drawn."""
        self._kept.id = getrandbits(64) << 64 | half

    @property
    def kept(self) -> int:
        """The id of the next trace of this thread; 0 if it was not drawn yet."""
        kept: int = getattr(self._kept, "id", 0)
        return kept

    def generate_trace_id(self) -> int:
        kept, self._kept.id = self.kept, 0
        return kept or super().generate_trace_id()


class _NotSampled(NonRecordingSpan):
    """Stands for all traces without a parent that are not recorded.

    An id is drawn only if one is asked for, which few commands cause: with a request to another server.
    """

    def __init__(self, ids: RandomIdGenerator) -> None:
        super().__init__(api.INVALID_SPAN_CONTEXT)
        self._ids = ids

    def get_span_context(self) -> SpanContext:
        return SpanContext(self._ids.generate_trace_id(), self._ids.generate_span_id(), is_remote=False)


class OpenTelemetry(Observer):
    """Records the spans of a process. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        provider: TracerProvider,
        *,
        shows_users: bool = False,
        owned: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`owned` is True if this process's end is the provider's too."""
        self.shows_users = shows_users
        self._provider = provider
        self._owned = owned
        self._clock = clock
        self._tracer = provider.get_tracer("oyez", __version__)
        self._ids = provider.id_generator
        self._bound = find_bound(provider) if isinstance(self._ids, TraceIds) else None
        """Ids of traces below it are recorded; None: only the sampler knows."""
        self._not_sampled = _PassedSpan(_NotSampled(RandomIdGenerator()))
        self._client_traces = TokenBucket(CLIENT_TRACES, clock())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            if self._owned:
                await self._close()

    async def _close(self) -> None:
        loop, closed = asyncio.get_running_loop(), asyncio.Event()

        def close() -> None:
            self._provider.shutdown()
            # The loop may have been closed since.
            if not loop.is_closed():
                loop.call_soon_threadsafe(closed.set)

        # Not in the loop's own threads: the end of the process would wait for them.
        threading.Thread(target=close, name="oyez-spans", daemon=True).start()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await closed.wait()
        except TimeoutError:
            logger.warning("the last spans were not sent: the collector does not answer")

    def start(
        self, name: str, kind: Kind, attributes: Described, trace: str | None = None, *, trusted: bool = True
    ) -> Span:
        parent = None if trace is None else (trace and self._find_parent(trace, trusted)) or NOTHING
        if self._bound is not None and (passed := self._pass_by(parent)) is not None:
            return passed
        return _Span(self._tracer.start_span(name, parent, _KINDS[kind], _read(attributes)))

    def pass_by(self) -> "_Span | None":
        if self._bound is None:
            return None
        # The sampler looks at this half of an id only.
        half = getrandbits(64)
        if half >= self._bound:
            return self._not_sampled
        assert isinstance(self._ids, TraceIds)
        self._ids.keep(half)
        return None

    def _pass_by(self, parent: Context | None) -> "_Span | None":
        """What stands for a span that is not recorded; None if it is recorded.

        The SDK would make a span first, and then ask the sampler.
        """
        above = api.INVALID_SPAN if parent is NOTHING else api.get_current_span(parent)
        if above is api.INVALID_SPAN:
            assert isinstance(self._ids, TraceIds)
            return None if self._ids.kept else self.pass_by()
        if above is self._not_sampled.span:
            return self._not_sampled
        return None if above.get_span_context().trace_flags.sampled else _Span(above)

    def record(
        self, name: str, kind: Kind, attributes: Described, seconds: float, trace: str | None = None, code: str = ""
    ) -> None:
        parent = contexts.get_current() if trace is None else self._find_parent(trace, True)
        above = api.INVALID_SPAN if parent is None else api.get_current_span(parent)
        if above is self._not_sampled.span or not above.get_span_context().trace_flags.sampled:
            return
        end = time.time_ns()
        begin = end - int(seconds * 1e9)
        span = self._tracer.start_span(name, parent, _KINDS[kind], _read(attributes), start_time=begin)
        if code:
            _fail(span, code)
        span.end(end)

    def fail(self, code: str) -> None:
        _fail(api.get_current_span(), code)

    def recovered(self, report: RecoveryReport) -> None:
        """A replay has no parent: it sends the events of many traces."""
        attributes: dict[str, str | int | bool] = {
            "messaging.system": "oyez",
            "messaging.operation.name": "replay",
            "messaging.destination.name": f"{report.system}{report.namespace}",
            "messaging.batch.message_count": report.replayed,
            "oyez.system": report.system,
            "oyez.recovered": report.recovered,
        }
        if report.reason:
            attributes["oyez.reason"] = report.reason
        end = time.time_ns()
        begin = end - int(report.seconds * 1e9)
        name = f"replay {report.system}{report.namespace}"
        self._tracer.start_span(name, NOTHING, SpanKind.CONSUMER, attributes, start_time=begin).end(end)

    def _find_parent(self, trace: str, trusted: bool) -> Context | None:
        parent, _, state = trace.partition(" ")
        # It may come from a database or from another node, which have stored it.
        if not read_trace((parent,)):
            return None
        _, trace_id, span_id, flags = parent.split("-")
        if flags == "01" and not trusted and not self._client_traces.take(self._clock()):
            flags = "00"
        context = SpanContext(
            int(trace_id, 16),
            int(span_id, 16),
            is_remote=True,
            trace_flags=TraceFlags(int(flags, 16)),
            trace_state=TraceState.from_header([state]) if state else None,
        )
        return api.set_span_in_context(NonRecordingSpan(context), NOTHING)


class _Span:
    """A span of the SDK as Oyez uses it."""

    __slots__ = ("span",)

    def __init__(self, span: api.Span) -> None:
        self.span = span

    @property
    def trace(self) -> str:
        context = self.span.get_span_context()
        if not context.trace_flags.sampled:
            return ""
        parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
        state = context.trace_state.to_header()
        return f"{parent} {state}" if 0 < len(state) <= MAX_STATE else parent

    @contextmanager
    def active(self) -> Iterator[None]:
        token = contexts.attach(api.set_span_in_context(self.span))
        try:
            context = self.span.get_span_context()
            if context.trace_flags.sampled:
                with bound_contextvars(trace_id=f"{context.trace_id:032x}"):
                    yield
            else:
                yield
        finally:
            contexts.detach(token)

    def run(self, call: Callable[..., T], *arguments: Any) -> T:
        with self.active():
            return call(*arguments)

    def set(self, name: str, value: str | int | bool) -> None:
        self.span.set_attribute(name, value)

    def end(self, code: str = "") -> None:
        if code:
            _fail(self.span, code)
        self.span.end()


class _PassedSpan(_Span):
    """Stands for spans without a parent that are not recorded."""

    __slots__ = ("_context",)

    def __init__(self, span: api.Span) -> None:
        super().__init__(span)
        self._context = api.set_span_in_context(span, NOTHING)

    @property
    def trace(self) -> str:
        return ""

    @contextmanager
    def active(self) -> Iterator[None]:
        # What takes long may ask other servers: all of them learn the same id.
        token = contexts.attach(api.set_span_in_context(NonRecordingSpan(self.span.get_span_context())))
        try:
            yield
        finally:
            contexts.detach(token)

    def run(self, call: Callable[..., T], *arguments: Any) -> T:
        token = contexts.attach(self._context)
        try:
            return call(*arguments)
        finally:
            contexts.detach(token)

    def end(self, code: str = "") -> None:
        pass


def _read(attributes: Described) -> Attributes:
    return attributes() if callable(attributes) else attributes


def find_bound(provider: TracerProvider) -> int | None:
    """The bound of the trace ids that the sampler of `provider` records; None if it decides by anything else."""
    found = _PARENT_BASED.fullmatch(provider.sampler.get_description())
    if found is None:
        return None
    rate = float(found[2]) if found[2] else float(found[1] == "AlwaysOnSampler")
    return TraceIdRatioBased.get_bound_for_rate(rate)


def _fail(span: api.Span, code: str) -> None:
    span.set_attribute("oyez.code", code)
    if code in FAILURES:
        span.set_attribute("error.type", code)
        span.set_status(Status(StatusCode.ERROR))


class ReportingExporter(SpanExporter):
    """Sends spans by another exporter. A collector that is away is logged once, and once more when it is back."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception:
            result = SpanExportResult.FAILURE
        away = result is not SpanExportResult.SUCCESS
        if away and not self._away:
            logger.warning(
                "spans cannot be sent, and are dropped until the collector accepts them",
                remedy="start the collector, or set OTEL_EXPORTER_OTLP_ENDPOINT to its address (OTLP over HTTP)",
            )
        elif self._away and not away:
            logger.info("the collector accepts spans again")
        self._away = away
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def build_tracing(*, shows_users: bool) -> OpenTelemetry:
    """Tracing as the variables OTEL_* say, or by the provider that the program has already set."""
    known = api.get_tracer_provider()
    if isinstance(known, TracerProvider):
        return OpenTelemetry(known, shows_users=shows_users)
    # ReportingExporter says it once; the exporter would say it for each batch.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    defaults = Resource.create({"service.name": "oyez", "service.version": __version__})
    resource = defaults.merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False, id_generator=TraceIds())
    provider.add_span_processor(BatchSpanProcessor(ReportingExporter(OTLPSpanExporter())))
    # Other libraries' spans in handlers go the same way.
    api.set_tracer_provider(provider)
    return OpenTelemetry(provider, shows_users=shows_users, owned=True)
