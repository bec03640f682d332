"""The families of metrics: name, labels and meaning of each. `docs/metrics.md` shows this table.

Figures of a process have the label `worker`, its process id, in addition to the labels given here: a worker that was
replaced starts again from zero, and Prometheus' `rate` and `increase` expect that of one series.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple, TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Metric

from oyez.observer import SECONDS as SECONDS

Labels: TypeAlias = tuple[str, ...]
"""The values of a family's labels, in their order."""
Sample: TypeAlias = float | tuple[list[int], float]
"""A value; of a histogram, the number of values in each bucket and the sum of all values."""

WORKER = "worker"


class Family(NamedTuple):
    """One family of metrics."""

    name: str
    kind: str
    """`counter`, `gauge` or `histogram`."""
    help: str
    labels: tuple[str, ...]
    shared: bool = False
    """True if the figure is about a storage that all workers share, so it has no label `worker`."""


_all: list[Family] = []


def _family(name: str, kind: str, help: str, labels: str, *, shared: bool = False) -> Family:
    family = Family(f"oyez_{name}", kind, help, tuple(labels.split()), shared)
    _all.append(family)
    return family


CONNECTIONS = _family("connections", "gauge", "Open connections.", "system")
SOCKETS = _family("sockets", "gauge", "Clients in a namespace.", "system namespace")
CONNECTS = _family("connects", "counter", "Clients that a namespace has accepted.", "system namespace")
DISCONNECTS = _family(
    "disconnects", "counter", "Clients that have left a namespace, by reason.", "system namespace reason"
)
SLOW_CLIENTS = _family("slow_clients", "counter", "Connections closed because the client did not read.", "system")
SEND_BUFFER_BYTES = _family("send_buffer_bytes", "gauge", "Bytes that wait for clients that do not read.", "system")
PUBLISHED = _family("events_published", "counter", "Events that the log has accepted.", "system event origin")
DELIVERED = _family("events_delivered", "counter", "Events written to clients, once for each client.", "system event")
DELIVERED_BYTES = _family("events_delivered_bytes", "counter", "Bytes of events written to clients.", "system")
APPENDED = _family("log_entries", "counter", "Entries that the log has stored.", "system")
APPENDED_BYTES = _family("log_entries_bytes", "counter", "Bytes of the entries that the log has stored.", "system")
APPEND_SECONDS = _family("log_append_seconds", "histogram", "Duration of an append to the log.", "system")
DELIVERY_SECONDS = _family(
    "delivery_seconds",
    "histogram",
    "Time from the call to the log to the write to the clients of the same process.",
    "system",
)
COMMANDS = _family(
    "commands", "counter", "Commands by the code of their refusal; no code: successful.", "system command code"
)
COMMAND_SECONDS = _family(
    "command_seconds", "histogram", "Time from the arrival of a command to its acknowledgement.", "system"
)
REFUSALS = _family(
    "refusals", "counter", "Refused connects, commands and publications, such as rate_limited.", "system kind code"
)
RECOVERIES = _family("recoveries", "counter", "Reconnections that asked for recovery, by result.", "system result")
REPLAYED = _family("events_replayed", "counter", "Missed events that were sent again.", "system")
HANDLERS = _family("handlers", "gauge", "Handlers that are running.", "system")
WEBHOOK_ATTEMPTS = _family(
    "webhook_attempts",
    "counter",
    "Attempts to deliver to webhook receivers: accepted, repeated or dead.",
    "system result",
)
WEBHOOKS_WAITING = _family(
    "webhooks_waiting", "gauge", "Deliveries that wait for enabled receivers.", "system", shared=True
)
WEBHOOKS_DEAD = _family("webhooks_dead", "gauge", "Dead letters of all receivers.", "system", shared=True)
WEBHOOKS_DISABLED = _family(
    "webhook_receivers_disabled", "gauge", "Receivers that are disabled.", "system", shared=True
)
RECEIPTS = _family(
    "receipts",
    "counter",
    "Recipients of events with receipts: recorded, only counted (over max_receipts), acknowledged; dropped while the"
    " database was away; acknowledgements that were ignored.",
    "system result",
)
BACKEND_REQUESTS = _family(
    "backend_requests",
    "counter",
    "Requests to back ends: answered, failed, late, or refused because the back end is away or busy.",
    "system backend result",
)
BACKEND_CIRCUIT_OPEN = _family(
    "backend_circuit_open", "gauge", "1 if requests to a back end are refused because it is away.", "system backend"
)
LOOP_LAG = _family("event_loop_lag_seconds", "histogram", "Delay of a timer in the event loop.", "")
LOG_AVAILABLE = _family("log_available", "gauge", "1 if the log is available.", "system")
DATABASE_AVAILABLE = _family("database_available", "gauge", "1 if the system's tables are available.", "system")
LOG_BYTES = _family("log_bytes", "gauge", "Bytes that the stored entries take.", "system", shared=True)
OUTBOX_ROWS = _family("outbox_waiting", "gauge", "Committed events that are not in the log yet.", "system", shared=True)
OUTBOX_LAG = _family("outbox_lag_seconds", "gauge", "Age of the oldest of these events.", "system", shared=True)
OUTBOX_SET_ASIDE = _family(
    "outbox_set_aside", "gauge", "Committed events that cannot be published; see the log.", "system", shared=True
)
JOBS_DUE = _family("jobs_due", "gauge", "Jobs that are due and not done.", "system", shared=True)
JOBS_LAG = _family("jobs_lag_seconds", "gauge", "Seconds since the oldest of them was due.", "system", shared=True)
JOBS_FAILING = _family("jobs_failing", "gauge", "Jobs that have failed and will be repeated.", "system", shared=True)

FAMILIES: Sequence[Family] = tuple(_all)


def build_families(figures: Mapping[str, Iterable[tuple[Labels, Sample]]]) -> Iterable[Metric]:
    """The families that have figures, as `prometheus_client` writes them."""
    for family in FAMILIES:
        samples = figures.get(family.name)
        if samples:
            labels = family.labels if family.shared else (*family.labels, WORKER)
            yield _build(family, labels, samples)


def _build(family: Family, names: Labels, samples: Iterable[tuple[Labels, Sample]]) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=names)
        for labels, sample in samples:
            assert isinstance(sample, tuple | list), "a histogram has buckets"
            counts, total = sample
            bounds = [*(str(bound) for bound in SECONDS), "+Inf"]
            histogram.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total)
        return histogram
    metric = (CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily)(
        family.name, family.help, labels=names
    )
    for labels, sample in samples:
        assert not isinstance(sample, tuple | list), "a number"
        metric.add_metric(labels, sample)
    return metric
