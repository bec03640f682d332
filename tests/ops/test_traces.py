"""Traces: from the request or command that publishes to the delivery, over all that carries events on."""

import asyncio
import gzip
import io
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased

from oyez.client import ConnectRefused, Publisher, connect
from oyez.contract import Backend, Command, Contract, Payload
from oyez.logger import build_formatter, get_logger
from oyez.ops import traces
from oyez.ops.traces import CLIENT_TRACES, OpenTelemetry, ReportingExporter, TraceIds
from oyez.service.app import Oyez
from oyez.service.outbox.transaction import Transaction
from oyez.service.system import Services, System, SystemServices
from oyez.settings import Settings, WebhookSettings
from tests.service.webhooks.receiver import serve_receiver
from tests.support.clock import PATIENCE
from tests.support.scripted_backend import Reply, ScriptedBackend
from tests.support.served import serve as serve_process
from tests.support.shops import Market, serve
from tests.support.valkey import ValkeyServer

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
EVENT = "quote:offer:updated"
PARENT = f"00-{ID}-00f067aa0ba902b7-01"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Note(Payload):
    """Something to read."""

    text: str = "hello"


class Write(Command):
    """Publish a note."""

    breaks: bool = False


class Store(Command):
    """Publish a note with a transaction."""


class Pack(Command):
    """Ask the packers, who publish a note."""


def build_contract() -> Contract:
    contract = Contract("depot", roles=("user",), default_role="user")
    root = contract.namespace("/")
    root.event("note", to=[root.everyone], webhook=True)(Note)
    root.command("write")(Write)
    root.command("store")(Store)
    root.command("pack", handled_by=Backend("packers"))(Pack)
    return contract.build()


logger = get_logger("oyez.depot")


def build_services(services: Services) -> SystemServices:
    everyone = services.publisher.contract.namespaces[0].everyone

    async def write(command: Write, client: Any) -> None:
        logger.warning("writing")
        if command.breaks:
            raise RuntimeError("broken")
        await services.publisher.emit(Note(), everyone)

    def add(tx: Transaction) -> None:
        tx.emit(Note(), everyone)

    async def store(command: Store, client: Any) -> None:
        await services.outbox.run(add)

    return SystemServices(handlers={Write: write, Store: store})


class Collector:
    """A real receiver of OTLP over HTTP. A test can make it refuse requests."""

    def __init__(self) -> None:
        self.status = 200
        self.refused = 0
        self.spans: dict[str, Any] = {}
        """The last span of each name."""
        self.resource: dict[str, str] = {}
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Yields the address."""
        async with await asyncio.start_server(self._answer, "127.0.0.1", 0) as server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(happened)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        body = await reader.readexactly(int(head.split("content-length: ")[1].split("\r")[0]))
        assert head.startswith("post /v1/traces ")
        async with self._changed:
            if self.status == 200:
                self._read(gzip.decompress(body) if "content-encoding: gzip" in head else body)
            else:
                self.refused += 1
            self._changed.notify_all()
        writer.write(b"HTTP/1.1 %d Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % self.status)
        writer.close()

    def _read(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.spans |= {span.name: span for scope in resource.scope_spans for span in scope.spans}


class Recorder:
    """The spans of one process."""

    def __init__(self, sampler: Sampler | None = None, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False, id_generator=TraceIds())
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = OpenTelemetry(provider, **options)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    async def expect(self, name: str, happened: Callable[[ReadableSpan], bool] = lambda span: True) -> ReadableSpan:
        """The first ended span of that name for which `happened` is true, once there is one."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for span in self.spans:
                    if span.name == name and happened(span):
                        return span
                await asyncio.sleep(0.002)

    def find(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]


def trace_of(span: ReadableSpan) -> str:
    return f"{span.context.trace_id:032x}"


def parent_of(span: ReadableSpan) -> str:
    return f"{span.parent.span_id:016x}" if span.parent is not None else ""


def id_of(span: ReadableSpan) -> str:
    return f"{span.context.span_id:016x}"


@dataclass
class Depot:
    nodes: list[Market]
    recorders: list[Recorder]
    backend: ScriptedBackend

    def connect(self, node: int = 0, **options: Any) -> Any:
        return self.nodes[node].connect("depot", **options)

    async def publish(self, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
        return await self.nodes[0].call("POST", "/depot/events", body, headers=headers or {})


@asynccontextmanager
async def open_depot(
    folder: Path,
    recorders: list[Recorder] | None = None,
    *,
    plain: int = 0,
    **settings: Any,
) -> AsyncIterator[Depot]:
    """Nodes of a system, one for each recorder, and `plain` ones that do not trace."""
    backend = ScriptedBackend()
    await backend.start()
    backend.script({"events": [{"event": "note", "data": {}, "to": "*"}]})
    given = Settings(
        port=0,
        oyez_data=str(folder),
        jwt_secret="s" * 32,
        backends={"packers": backend.settings()},
        webhook_private_addresses=True,
        **settings,
    )
    recorders = [Recorder()] if recorders is None else recorders
    system = System(contract=build_contract(), build=build_services)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(backend.kill)
        nodes = []
        for tracing in [*(one.tracing for one in recorders), *[None] * plain]:
            observers = [tracing] if tracing is not None else []
            nodes.append(
                await stack.enter_async_context(serve(Oyez([system], given, observers=observers, tracing=tracing)))
            )
        yield Depot(nodes, recorders, backend)


NOTE = {"event": "note", "data": {}, "to": "*"}


@pytest.mark.parametrize("log", ["sqlite", "redis"])
async def test_a_trace_goes_from_an_http_request_over_the_log_to_the_delivery_on_another_node(
    tmp_path: Path, log: str, valkey: ValkeyServer
) -> None:
    here, there = Recorder(), Recorder()
    settings: dict[str, Any] = {"log_url": valkey.url, "redis_prefix": tmp_path.name} if log == "redis" else {}
    async with open_depot(tmp_path, [here, there], **settings) as depot, depot.connect(1) as ada:
        answer = await depot.publish(NOTE, {"traceparent": PARENT, "tracestate": "vendor=1"})
        await ada.expect_event("note")
        request = await here.expect("POST /depot/events")
        published = await here.expect("publish note")
        appended = await here.expect("append depot", lambda span: trace_of(span) == ID)
        delivered = await there.expect("deliver note")
    assert {trace_of(one) for one in (request, published, appended, delivered)} == {ID}
    assert parent_of(request) == PARENT.split("-")[2]
    assert parent_of(published) == id_of(request)
    assert parent_of(appended) == parent_of(delivered) == id_of(published)
    assert delivered.context.trace_state.get("vendor") == "1"
    attributes = dict(delivered.attributes or {})
    assert attributes["oyez.recipients"] == 1
    assert attributes["messaging.message.id"] == answer.json()["position"]
    assert attributes["messaging.destination.name"] == "depot/"
    assert (request.attributes or {})["http.response.status_code"] == 200
    # One for each node and event: the node that published has no client, and says so.
    assert [dict(one.attributes or {})["oyez.recipients"] for one in here.find("deliver note")] in ([], [0])


async def test_the_events_of_a_request_share_its_trace(tmp_path: Path) -> None:
    async with open_depot(tmp_path) as depot, depot.connect() as ada:
        await depot.publish([NOTE, NOTE, NOTE], {"traceparent": PARENT})
        for _ in range(3):
            await ada.expect_event("note")
        (recorder,) = depot.recorders
        await recorder.expect("publish note")
        delivered = recorder.find("deliver note")
    assert len(delivered) == 3 and {trace_of(one) for one in delivered} == {ID}


@pytest.mark.parametrize("hostile", ["", "00-zz", PARENT + "x", f"00-{'0' * 32}-{'1' * 16}-01", PARENT * 20])
async def test_a_hostile_header_begins_no_trace_and_changes_nothing(tmp_path: Path, hostile: str) -> None:
    async with open_depot(tmp_path) as depot, depot.connect() as ada:
        answer = await depot.publish(NOTE, {"traceparent": hostile})
        assert answer.status_code == 200
        await ada.expect_event("note")
        request = await depot.recorders[0].expect("POST /depot/events")
    assert request.parent is None


async def test_a_request_without_a_key_is_not_traced(tmp_path: Path) -> None:
    async with open_depot(tmp_path) as depot:
        answer = await depot.nodes[0].request("POST", "/depot/events", json=NOTE, headers={"traceparent": PARENT})
        assert answer.status_code == 401
        assert not depot.recorders[0].find("POST /depot/events")


async def test_a_trace_goes_from_a_command_through_the_outbox_to_the_delivery(tmp_path: Path) -> None:
    async with open_depot(tmp_path) as depot, depot.connect() as ada:
        (recorder,) = depot.recorders
        assert (await ada.call("store", {"traceparent": PARENT}))["ok"]
        await ada.expect_event("note")
        command, published = await recorder.expect("command store"), await recorder.expect("publish note")
        relayed, delivered = await recorder.expect("relay note"), await recorder.expect("deliver note")
    assert trace_of(command) == trace_of(delivered) == ID
    assert parent_of(published) == id_of(command)
    assert parent_of(relayed) == parent_of(delivered) == id_of(published)
    assert "oyez.code" not in (command.attributes or {})
    assert "enduser.id" not in (command.attributes or {})


async def test_a_command_that_fails_is_marked_and_its_log_lines_have_the_trace_id(tmp_path: Path) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(build_formatter(for_people=False))
    logging.getLogger("oyez").addHandler(handler)
    try:
        async with open_depot(tmp_path, [Recorder(shows_users=True)]) as depot, depot.connect() as ada:
            answer = await ada.call("write", {"breaks": True}, {"traceparent": PARENT})
            assert answer["error"]["code"] == "internal"
            command = await depot.recorders[0].expect("command write")
            assert (await ada.call("write", {"breaks": 1}))["error"]["code"] == "invalid_data"
            refused = await depot.recorders[0].expect("command write", lambda span: span is not command)
    finally:
        logging.getLogger("oyez").removeHandler(handler)
    attributes = dict(command.attributes or {})
    assert attributes["oyez.code"] == attributes["error.type"] == "internal"
    assert not command.status.is_ok
    assert attributes["enduser.id"] == "ada"
    # What a client does wrong is no error of the server.
    assert (refused.attributes or {})["oyez.code"] == "invalid_data" and refused.status.is_unset
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {line["event"] for line in lines if line.get("trace_id") == ID} >= {"writing"}
    assert "hello" not in str([dict(span.attributes or {}) for span in depot.recorders[0].spans])


async def test_a_command_can_be_repeated_in_another_trace(tmp_path: Path) -> None:
    async with open_depot(tmp_path) as depot, depot.connect() as ada:
        options = {"idempotencyKey": "k-1", "traceparent": PARENT}
        assert (await ada.call("write", {}, options))["ok"]
        await ada.expect_event("note")
        again = {"idempotencyKey": "k-1", "traceparent": PARENT.replace("00f0", "10f0")}
        assert (await ada.call("write", {}, again))["ok"]
        assert (await ada.call("write", {}, {"idempotencyKey": "k-1"}))["ok"]
        await ada.expect_nothing()


async def test_a_trace_goes_to_the_back_end_that_handles_a_command(tmp_path: Path) -> None:
    async with open_depot(tmp_path) as depot, depot.connect() as ada:
        (recorder,) = depot.recorders
        assert (await ada.call("pack", {"traceparent": PARENT}))["ok"]
        await ada.expect_event("note")
        asked = await depot.backend.next_request("command")
        call, command = await recorder.expect("command packers"), await recorder.expect("command pack")
        delivered = await recorder.expect("deliver note")
    assert asked.headers["traceparent"] == f"00-{ID}-{id_of(call)}-01"
    assert asked.body["trace"] == ID
    assert parent_of(call) == id_of(command)
    assert trace_of(delivered) == ID


async def test_a_trace_goes_to_the_receivers_of_webhooks(tmp_path: Path) -> None:
    async with serve_receiver() as hooks:
        declared = {"shop": WebhookSettings(url=hooks.url, secret=SECRET, system="depot")}
        async with open_depot(tmp_path, webhooks=declared) as depot:
            await depot.publish(NOTE, {"traceparent": PARENT})
            (received,) = await hooks.expect(1)
            attempt = await depot.recorders[0].expect("webhook depot")
    assert received.headers["traceparent"] == f"00-{ID}-{id_of(attempt)}-01"
    assert trace_of(attempt) == ID
    assert "hooks" not in str(dict(attempt.attributes or {}))


async def test_a_replay_is_a_trace_of_its_own(tmp_path: Path) -> None:
    async with open_depot(tmp_path) as depot:
        answer = await depot.publish(NOTE)
        position = answer.json()["position"]
        await depot.publish(NOTE)
        auth = {"token": depot.nodes[0].token("ada"), "offset": position}
        async with connect(depot.nodes[0].url, path="/depot/socket.io/", auth=auth) as back:
            await back.expect_event("note")
            replayed = await depot.recorders[0].expect("replay depot/")
    assert replayed.parent is None
    assert (replayed.attributes or {})["messaging.batch.message_count"] == 1


async def test_what_is_not_recorded_is_not_stored(tmp_path: Path) -> None:
    recorder = Recorder(ParentBased(ALWAYS_OFF))
    async with open_depot(tmp_path, [recorder]) as depot, depot.connect() as ada:
        await depot.publish(NOTE)
        await depot.publish(NOTE, {"traceparent": PARENT[:-1] + "0"})
        await depot.publish(NOTE, {"traceparent": PARENT})
        for _ in range(3):
            await ada.expect_event("note")
        log = depot.nodes[0].oyez.systems["depot"].log
        start = await log.position_before(100)
        stored = await log.read(start, "/", frozenset(), 100)
        await recorder.expect("deliver note")
    assert [bool(entry.trace) for entry in stored] == [False, False, True]
    assert {trace_of(span) for span in recorder.spans} == {ID}


async def test_a_back_end_learns_that_a_trace_is_not_recorded(tmp_path: Path) -> None:
    recorder = Recorder(ParentBased(ALWAYS_OFF))
    async with open_depot(tmp_path, [recorder]) as depot, depot.connect() as ada:
        assert (await ada.call("pack"))["ok"]
        begun = await depot.backend.next_request("command")
        assert (await ada.call("pack", {"traceparent": PARENT[:-1] + "0"}))["ok"]
        continued = await depot.backend.next_request("command", 2)
    version, trace, _, flags = begun.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", begun.body["trace"], "00")
    version, trace, _, flags = continued.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", ID, "00")
    assert not recorder.spans


async def test_a_share_of_the_traces_is_recorded_as_the_sampler_says(tmp_path: Path) -> None:
    sampler = TraceIdRatioBased(0.5)
    recorder = Recorder(ParentBased(sampler))
    async with open_depot(tmp_path, [recorder]) as depot, depot.connect() as ada:
        for _ in range(100):
            await ada.call("write", {"breaks": 1})
    recorded = {span.context.trace_id for span in recorder.find("command write")}
    # The chance of fewer or more is one in ten million.
    assert 24 <= len(recorded) <= 76
    assert all(trace_id & sampler.TRACE_ID_LIMIT < sampler.bound for trace_id in recorded)


async def test_a_connect_is_a_trace_of_its_own(tmp_path: Path) -> None:
    async with open_depot(tmp_path) as depot:
        (recorder,) = depot.recorders
        async with depot.connect():
            accepted = await recorder.expect("connect depot/")
        with pytest.raises(ConnectRefused):
            async with connect(depot.nodes[0].url, path="/depot/socket.io/", auth={"token": "forged"}):
                pass
        refused = await recorder.expect("connect depot/", lambda span: span is not accepted)
    assert accepted.parent is None
    assert "enduser.id" not in (accepted.attributes or {})
    assert (refused.attributes or {})["oyez.code"] == "token_invalid"


async def test_clients_cannot_have_everything_recorded(tmp_path: Path) -> None:
    recorder = Recorder(ParentBased(ALWAYS_OFF), clock=lambda: 0.0)
    async with open_depot(tmp_path, [recorder]) as depot, depot.connect() as ada:
        for _ in range(CLIENT_TRACES.count + 5):
            assert (await ada.call("write", {"breaks": 1}, {"traceparent": PARENT}))["error"]
    assert len(recorder.find("command write")) == CLIENT_TRACES.count


async def test_a_node_that_does_not_trace_takes_commands_and_events_with_a_context(tmp_path: Path) -> None:
    recorder = Recorder()
    async with open_depot(tmp_path, [recorder], plain=1) as depot, depot.connect(1) as ada, depot.connect(0) as bob:
        assert (await ada.call("store", {"traceparent": "\x00"}))["ok"]
        assert (await ada.call("write", {}, {"traceparent": PARENT, "idempotencyKey": "k"}))["ok"]
        for client in (ada, bob):
            for _ in range(2):
                await client.expect_event("note")
        await depot.publish(NOTE, {"traceparent": PARENT})
        for client in (ada, bob):
            await client.expect_event("note")
        delivered = await recorder.expect("deliver note")
    assert trace_of(delivered) == ID


async def test_a_publisher_sends_the_context_of_its_program(tmp_path: Path) -> None:
    own = Recorder()
    async with open_depot(tmp_path) as depot:
        market = depot.nodes[0]
        key = market.oyez.signer.sign_service("depot", 60.0)
        async with Publisher(market.url, "depot", key) as publisher:
            span = own.tracing.start("order", "internal", {}, "")
            with span.active():
                await publisher.publish("note", {}, to="*")
            span.end()
        request = await depot.recorders[0].expect("POST /depot/events")
    assert trace_of(request) == trace_of(own.find("order")[0])


async def test_a_server_sends_its_spans_to_a_collector_and_goes_on_while_it_is_away(tmp_path: Path) -> None:
    collector = Collector()
    environ = {"TRACING": "1", "OTEL_SERVICE_NAME": "live", "OTEL_BSP_SCHEDULE_DELAY": "20"}
    data = {"offerId": "o", "userId": "u", "updatedAt": "2026-01-31T12:00:00Z"}
    async with collector.serving() as url:
        environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": url}
        async with serve_process(tmp_path / "data", "quotes", **environ) as served:
            headers = {"traceparent": PARENT}
            body = {"event": EVENT, "data": data}
            assert (await served.request("POST", "/quotes/events", body, headers=headers)).status_code == 200
            await collector.until(lambda: f"deliver {EVENT}" in collector.spans)
            delivered, published = collector.spans[f"deliver {EVENT}"], collector.spans[f"publish {EVENT}"]
            assert delivered.trace_id.hex() == ID and delivered.parent_span_id == published.span_id
            assert collector.resource["service.name"] == "live" and collector.resource["service.version"]
            collector.status = 400
            await served.publish(EVENT, data)
            await collector.until(lambda: collector.refused > 0)
            await served.publish(EVENT, data)
            await collector.until(lambda: collector.refused > 1)
            collector.status = 200
            collector.spans.clear()
            await served.publish(EVENT, data)
            await collector.until(lambda: f"deliver {EVENT}" in collector.spans)


def test_a_collector_that_is_away_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    away = [True]

    class Exporter(InMemorySpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            if away[0]:
                raise ConnectionError("refused")
            return super().export(spans)

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(ReportingExporter(Exporter())))
    tracing = OpenTelemetry(provider)
    for _ in range(3):
        tracing.start("order", "internal", {}, "").end()
    away[0] = False
    for _ in range(3):
        tracing.start("order", "internal", {}, "").end()
    messages = [record.getMessage() for record in caplog.records if record.name == "oyez.ops"]
    assert len(messages) == 2
    assert messages[0].startswith("spans cannot be sent") and messages[1] == "the collector accepts spans again"


async def test_a_collector_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    class Exporter(InMemorySpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            released.wait()
            return SpanExportResult.SUCCESS

    monkeypatch.setattr(traces, "CLOSE_SECONDS", 0.05)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Exporter()))
    tracing = OpenTelemetry(provider, owned=True)
    async with tracing.running():
        tracing.start("order", "internal", {}, "").end()
    assert not released.is_set()
    released.set()


PAYLOAD = "chocolate-with-nuts"
WRONG_ANSWERS: list[Any] = [
    Reply(f'"{PAYLOAD}'.encode()),
    {PAYLOAD[:9]: PAYLOAD},
    {"data": {"text": PAYLOAD}},
    {"events": [{"event": "note", "data": {"text": [PAYLOAD]}, "to": "*"}]},
    {"error": {"code": "no_such_code", "message": PAYLOAD}},
    Reply(PAYLOAD.encode(), status=500),
    Reply(PAYLOAD.encode(), status=404, headers={"x-why": PAYLOAD}),
]


async def test_neither_logs_nor_spans_hold_what_was_sent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the host application logs: requests to back ends and receivers of webhooks are among it."""
    caplog.set_level(logging.DEBUG)
    async with serve_receiver() as hooks:
        hooks.answers.extend([500, 200])
        hooks.headers = f"x-why: {PAYLOAD}\r\n"
        url = f"{hooks.url}/way-in-{PAYLOAD}?sesame={PAYLOAD}"
        declared = {"shop": WebhookSettings(url=url, secret=SECRET, system="depot")}
        async with open_depot(tmp_path, webhooks=declared, webhook_retries="0.01", log_level="debug") as depot:
            (node,), (recorder,) = depot.nodes, depot.recorders
            token, key = node.token("ada"), node.oyez.signer.sign_service("depot", 60.0)
            async with connect(node.url, path="/depot/socket.io/", auth={"token": token}) as ada:
                for answer in WRONG_ANSWERS:
                    depot.backend.script(answer)
                    assert not (await ada.call("pack", {"traceparent": PARENT}))["ok"]
                for data in ({"text": PAYLOAD}, {"text": [PAYLOAD]}):
                    body = {**NOTE, "data": data}
                    headers = {"authorization": f"Bearer {key}", "traceparent": PARENT}
                    await node.request("POST", "/depot/events", json=body, headers=headers)
                await ada.expect_event("note")
                await hooks.expect(2)
                await recorder.expect("webhook depot")
    # The tests' own client is not asked to be silent.
    lines = [
        record for record in caplog.records if not record.getMessage().startswith(f"HTTP Request: POST {node.url}")
    ]
    written = "\n".join(logging.Formatter().format(record) for record in lines)
    attributes = "\n".join(f"{span.name} {dict(span.attributes or {})} {span.events}" for span in recorder.spans)
    assert "a back end's answer cannot be used" in written
    assert "a webhook receiver does not accept an event" in written
    for hidden in (PAYLOAD, token, key, *token.split(".")[1:], SECRET):
        assert hidden not in written
        assert hidden not in attributes
