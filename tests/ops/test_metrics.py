"""`/metrics`: what Prometheus reads, of one process and of several workers."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from oyez.client import connect
from oyez.contract import Backend, Command, Contract, Payload
from oyez.observer import CommandReport, DeliveryReport, PublishReport
from oyez.ops import metrics as module
from oyez.ops.families import FAMILIES
from oyez.ops.metrics import Metrics, metrics_routes
from oyez.service.app import Oyez
from oyez.service.auth.tokens import WEBHOOKS
from oyez.service.system import System
from oyez.settings import Settings
from tests.service.webhooks.receiver import serve_receiver, wait_until
from tests.support.clock import PATIENCE
from tests.support.scripted_backend import ScriptedBackend
from tests.support.served import serve as serve_process
from tests.support.shops import serve, shop

TOKEN = "0123456789abcdef"
KEY = {"authorization": f"Bearer {TOKEN}"}
Figures = dict[str, dict[tuple[tuple[str, str], ...], float]]


class Note(Payload):
    """Something to read."""


class Pack(Command):
    """Pack a parcel."""


def parse(text: str) -> Figures:
    """By the name of a sample: its value by its labels, without the label of the worker."""
    found: Figures = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "worker"))
            values = found.setdefault(sample.name, {})
            values[labels] = values.get(labels, 0.0) + sample.value
    return found


def build(folder: Path, token: str | None = TOKEN) -> Oyez:
    metrics = Metrics()
    settings = Settings(oyez_data=str(folder), metrics_token=token)
    return Oyez([shop("books")], settings, operate=lambda oyez: metrics_routes(oyez, metrics), observers=[metrics])


async def test_what_happens_is_counted(tmp_path: Path) -> None:
    async with serve(build(tmp_path)) as market, market.connect("books") as ada:
        await market.publish("books", {"item": "i-1", "buyer": "ada"})
        await ada.expect_event("sold")
        await ada.emit("buy", {"item": "i-2"})
        await ada.expect_event("error")
        bad = await market.publish("books", {"item": "i-1"})
        assert bad.status_code == 422
        answer = await market.request("GET", "/metrics", headers=KEY)
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.headers["cache-control"] == "no-store"
        figures = parse(answer.text)
    books, root = ("system", "books"), ("namespace", "/")
    assert figures["oyez_connections"][(books,)] == 1
    assert figures["oyez_sockets"][(root, books)] == 1
    assert figures["oyez_connects_total"][(root, books)] == 1
    assert figures["oyez_events_published_total"][("event", "sold"), ("origin", "http"), books] == 1
    assert figures["oyez_events_delivered_total"][("event", "sold"), books] == 1
    assert figures["oyez_log_append_seconds_count"][(books,)] >= 1
    assert figures["oyez_delivery_seconds_count"][(books,)] == 1
    # The client invented the name of the command: it is no label.
    assert figures["oyez_commands_total"][("code", "unknown_event"), ("command", ""), books] == 1
    assert figures["oyez_refusals_total"][("code", "invalid_data"), ("kind", "publish"), books] == 1
    assert figures["oyez_log_available"][(books,)] == figures["oyez_database_available"][(books,)] == 1
    assert figures["oyez_outbox_waiting"][(books,)] == 0
    assert figures["oyez_log_bytes"][(books,)] > 0
    assert figures["oyez_event_loop_lag_seconds_count"][()] >= 1


def build_depot(folder: Path, backend: ScriptedBackend) -> Oyez:
    """A system whose event goes to receivers of webhooks, and whose command a back end handles."""
    contract = Contract("depot", roles=("user",), default_role="user")
    root = contract.namespace("/")
    root.event("note", to=[root.everyone], webhook=True)(Note)
    root.command("pack", handled_by=Backend("packers"))(Pack)
    metrics = Metrics()
    settings = Settings(
        oyez_data=str(folder),
        metrics_token=TOKEN,
        webhook_retries="",
        backends={"packers": backend.settings(circuit_failures=1, circuit_pause=3600.0)},
    )
    system = System(contract=contract)
    return Oyez([system], settings, operate=lambda oyez: metrics_routes(oyez, metrics), observers=[metrics])


async def test_webhooks_and_back_ends_are_counted(tmp_path: Path) -> None:
    backend = ScriptedBackend()
    await backend.start()
    backend.script({})
    depot, packers = ("system", "depot"), ("backend", "packers")
    async with (
        serve(build_depot(tmp_path, backend)) as market,
        market.connect("depot") as ada,
        serve_receiver() as hooks,
    ):

        async def read() -> Figures:
            return parse((await market.request("GET", "/metrics", headers=KEY)).text)

        async def publish(result: str) -> None:
            """Publish an event, and wait until the attempt to deliver it is counted."""
            await market.call("POST", "/depot/events", {"event": "note", "data": {}})

            async def is_counted() -> bool:
                attempts = (await read()).get("oyez_webhook_attempts_total", {})
                return attempts.get((("result", result), depot)) == 1

            await wait_until(is_counted)

        assert (await ada.call("pack"))["ok"]
        await backend.kill()
        for _ in range(2):
            assert (await ada.call("pack"))["error"]["code"] == "unavailable"
        key = market.oyez.signer.sign_service("depot", 60.0, WEBHOOKS)
        body = {"url": hooks.url, "events": ["note"]}
        added = await market.call("POST", "/depot/webhooks", body, headers={"authorization": f"Bearer {key}"})
        assert added.status_code == 201
        await publish("accepted")
        hooks.default = 500
        await publish("dead")

        async def is_dead() -> bool:
            return (await read())["oyez_webhooks_dead"][(depot,)] == 1

        await wait_until(is_dead)
        figures = await read()
    assert figures["oyez_webhooks_waiting"][(depot,)] == figures["oyez_webhook_receivers_disabled"][(depot,)] == 0
    assert figures["oyez_backend_circuit_open"][packers, depot] == 1
    requests = {dict(labels)["result"]: count for labels, count in figures["oyez_backend_requests_total"].items()}
    assert requests == {"answered": 1, "failed": 1, "away": 1}


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}])
async def test_figures_are_only_for_the_token(tmp_path: Path, headers: dict[str, str]) -> None:
    async with serve(build(tmp_path)) as market:
        answer = await market.request("GET", "/metrics", headers=headers)
    assert answer.status_code == 401
    assert "oyez_" not in answer.text


async def test_without_a_token_there_are_no_figures(tmp_path: Path) -> None:
    async with serve(build(tmp_path, None)) as market:
        assert (await market.request("GET", "/metrics", headers=KEY)).status_code == 404


async def test_the_format_is_negotiated(tmp_path: Path) -> None:
    async with serve(build(tmp_path)) as market:
        accept = {"accept": "application/openmetrics-text; version=1.0.0"}
        answer = await market.request("GET", "/metrics", headers=KEY | accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


async def test_files_of_other_workers(tmp_path: Path) -> None:
    """A file that was half written is left out, and a file of a worker that has ended is deleted."""
    folder = tmp_path / "metrics"
    async with serve(build(tmp_path)) as market:
        (folder / "1.json").write_bytes(b'{"worker": "1", "samp')
        alive = {"worker": "2", "samples": {"oyez_connections": [[["books"], 41]]}}
        (folder / "2.json").write_text(json.dumps(alive))
        ended = {"worker": "3", "samples": {"oyez_connections": [[["books"], 1000]]}}
        (folder / "3.json").write_text(json.dumps(ended))
        os.utime(folder / "3.json", (0, 0))
        answer = await market.request("GET", "/metrics", headers=KEY)
    assert parse(answer.text)["oyez_connections"][(("system", "books"),)] == 41
    assert not (folder / "3.json").exists()


async def test_figures_of_all_workers_are_in_one_answer(tmp_path: Path) -> None:
    async with serve_process(tmp_path / "data", "quotes", "--workers", "2", METRICS_TOKEN=TOKEN) as served:

        async def read() -> str:
            async with httpx.AsyncClient(timeout=PATIENCE) as client:
                return (await client.get(f"{served.url}/metrics", headers=KEY)).text

        clients = [
            connect(served.url, path="/quotes/socket.io/", auth={"token": served.token(f"u-{number}")})
            for number in range(8)
        ]
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.__aenter__())
        text = await _until(read, lambda text: _value(text, "oyez_connections") == 8)
        workers = {
            sample.labels["worker"]
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "oyez_connections"
        }
        assert len(workers) == 2
        # What the workers share is there once.
        assert text.count("\noyez_log_bytes{") == 1
        for client in clients:
            await client.__aexit__(None, None, None)
    assert not list((tmp_path / "data" / "metrics").glob("*.json"))


def _value(text: str, name: str) -> float:
    return sum(parse(text).get(name, {}).values())


async def _until(read: Callable[[], Awaitable[str]], found: Callable[[str], bool]) -> str:
    async with asyncio.timeout(PATIENCE):
        while not found(text := await read()):  # noqa: ASYNC110 - Prometheus asks, too
            await asyncio.sleep(0.2)
    return text


# The counters by themselves.


def published(position: str, seconds: float) -> PublishReport:
    return PublishReport("books", "/", "sold", (), position, "python", seconds)


def delivered(position: str) -> DeliveryReport:
    return DeliveryReport("books", "/", ("sold",), (), position, 3, 100)


def test_latency_is_measured_in_either_order() -> None:
    now = 0.0
    metrics = Metrics(lambda: now)
    now = 10.0
    metrics.published(published("e.1", 1.0))
    now = 10.5
    metrics.delivered(delivered("e.1"))
    metrics.delivered(delivered("e.2"))
    now = 11.0
    metrics.published(published("e.2", 0.75))
    (_, (counts, total)) = metrics.samples()["oyez_delivery_seconds"][0]  # type: ignore[misc]
    assert (sum(counts), total) == (2, pytest.approx(1.5 + 0.25))


def test_deliveries_without_publication_use_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TIMED", 10)
    metrics = Metrics()
    for number in range(100):
        metrics.delivered(delivered(f"e.{number}"))
    metrics.published(published("e.99", 0.0))
    assert "oyez_delivery_seconds" in metrics.samples()
    metrics.published(published("e.1", 0.0))
    (_, (counts, _)) = metrics.samples()["oyez_delivery_seconds"][0]  # type: ignore[misc]
    assert sum(counts) == 1


def test_a_duration_is_in_the_bucket_with_its_bound() -> None:
    metrics = Metrics()
    for seconds in (0.0005, 0.0006, 100.0):
        metrics.command(CommandReport("books", "/", "buy", "ada", "s", "c", "", seconds))
    (_, (counts, _)) = metrics.samples()["oyez_command_seconds"][0]  # type: ignore[misc]
    assert (counts[0], counts[1], counts[-1]) == (1, 1, 1)


def test_names_are_used_once() -> None:
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names))
