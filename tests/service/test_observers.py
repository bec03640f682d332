"""Observers of a server with real clients: what each point reports, in which order, and what no report contains."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import pytest

from oyez.client import Client as SocketClient
from oyez.client import ConnectRefused, connect
from oyez.observer import (
    AppendReport,
    CommandReport,
    ConnectReport,
    DeliveryReport,
    DisconnectReport,
    JoinReport,
    LeaveReport,
    Observer,
    PublishReport,
    RecoveryReport,
    RefusalReport,
    Report,
    SlowClientReport,
)
from oyez.protocol.socket_ids import public_id
from oyez.service.app import Oyez
from oyez.settings import Limits, Settings
from tests.service.stall import Sold, Typing, row, system
from tests.support.clock import PATIENCE
from tests.support.logged import capture_logs
from tests.support.serving import Running
from tests.support.shops import Market, serve
from tests.support.wire import Wire

R = TypeVar("R", bound=Report)

SECRET = "the-payload-that-nobody-reports"
SENT = {"item": SECRET, "buyer": "ada"}


class Recorder(Observer):
    """Keeps all reports."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self._changed = asyncio.Event()

    def record(self, report: Report) -> None:
        self.reports.append(report)
        self._changed.set()

    published = appended = delivered = command = refused = slow = record
    connected = joined = left = disconnected = recovered = record

    async def expect(self, wanted: type[R], **fields: Any) -> R:
        """Wait for a report of this kind with these fields."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for report in self.reports:
                    if isinstance(report, wanted) and fields.items() <= msgspec.structs.asdict(report).items():
                        return report
                self._changed.clear()
                await self._changed.wait()

    def points(self, *but: str) -> list[str]:
        """The names of the points, in order, without repeated neighbours."""
        points = [report.point for report in self.reports if report.point not in but]
        return [point for number, point in enumerate(points) if number == 0 or points[number - 1] != point]


class Failing(Observer):
    """Fails at each point."""

    def fail(self, report: Report) -> None:
        raise ZeroDivisionError(report.point)

    published = appended = delivered = command = refused = slow = fail
    connected = joined = left = disconnected = recovered = fail


@asynccontextmanager
async def run(path: Path, *observers: Observer, **limits: Any) -> AsyncIterator[Market]:
    settings = Settings(port=0, oyez_data=str(path / "data"), shutdown_timeout=5.0, limits=Limits(**limits))
    async with serve(Oyez([system], settings, observers=observers)) as market:
        yield market


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


async def test_a_client_comes_and_goes(tmp_path: Path, recorder: Recorder) -> None:
    async with run(tmp_path, recorder) as market:
        async with market.connect("stall") as ada:
            connected = await recorder.expect(ConnectReport)
            connection = public_id(ada.engine_sid)
            rooms = ("buyer:ada",)
            assert connected == ConnectReport("stall", "/", ada.sid, connection, "ada", "127.0.0.1", "buyer", rooms)
            assert (await ada.call("join_row", "1"))["ok"]
            joined = await recorder.expect(JoinReport)
            assert joined == JoinReport("stall", "/", "row:1", ada.sid, connection, "ada")
            assert (await ada.call("leave_row", "1"))["ok"]
            left = await recorder.expect(LeaveReport)
            assert left == LeaveReport("stall", "/", "row:1", ada.sid, connection, "ada")
        gone = await recorder.expect(DisconnectReport)
        reason = "client namespace disconnect"
        assert gone == DisconnectReport("stall", "/", ada.sid, connection, "ada", "127.0.0.1", reason)


async def test_an_event_over_http(tmp_path: Path, recorder: Recorder) -> None:
    async with run(tmp_path, recorder) as market, market.connect("stall") as ada:
        response = await market.publish("stall", SENT)
        await ada.expect_event("sold")
        delivered = await recorder.expect(DeliveryReport, names=("sold",))
        published = await recorder.expect(PublishReport)
        appended = await recorder.expect(AppendReport)
        assert (published.name, published.rooms, published.origin) == ("sold", ("buyer:ada",), "http")
        assert published.position == response.json()["position"] == delivered.position
        assert (delivered.namespace, delivered.rooms, delivered.recipients) == ("/", ("buyer:ada",), 1)
        assert appended.entries == 1
        assert appended.size == delivered.size > len(SECRET)
        assert PATIENCE > published.seconds >= appended.seconds > 0
        assert recorder.points("disconnected", "recovered") == ["connected", "appended", "published", "delivered"]


async def test_a_volatile_event_of_the_program(tmp_path: Path, recorder: Recorder) -> None:
    async with run(tmp_path, recorder) as market:
        await market.oyez.systems["stall"].publisher.emit(Typing(buyer="ada"))
        delivered = await recorder.expect(DeliveryReport, names=("typing",))
        published = await recorder.expect(PublishReport, name="typing")
        assert (published.origin, published.position, delivered.position) == ("python", None, None)
        assert delivered.recipients == 0
        assert "appended" not in recorder.points()


async def test_neighbouring_events_are_delivered_together(tmp_path: Path, recorder: Recorder) -> None:
    async with run(tmp_path, recorder) as market, market.connect("stall"), market.connect("stall"):
        response = await market.call("POST", "/stall/events", [{"event": "sold", "data": SENT} for _ in range(3)])
        delivered = await recorder.expect(DeliveryReport, names=("sold", "sold", "sold"))
        assert (delivered.recipients, delivered.position) == (2, response.json()["positions"][-1])
        positions = [report.position for report in recorder.reports if isinstance(report, PublishReport)]
        assert positions == response.json()["positions"]


async def test_commands(tmp_path: Path, recorder: Recorder) -> None:
    async with run(tmp_path, recorder) as market, market.connect("stall") as ada:
        for name in ("look", "buy", "steal", "invented-name"):
            await ada.call(name, {"item": SECRET} if name in ("look", "buy") else {})
        connection = public_id(ada.engine_sid)
        looked = await recorder.expect(CommandReport, name="look")
        assert (looked.system, looked.namespace, looked.user_id, looked.socket_id) == ("stall", "/", "ada", ada.sid)
        assert looked.connection_id == connection
        bought = await recorder.expect(CommandReport, name="buy", code="")
        published = await recorder.expect(PublishReport, origin="outbox", name="sold")
        # The acknowledgement waits for the event.
        assert bought.seconds >= published.seconds > 0
        await recorder.expect(CommandReport, name="", code="unknown_event")
        refused = [report for report in recorder.reports if isinstance(report, RefusalReport)]
        assert refused == [
            RefusalReport("stall", "command", "forbidden", "/", "steal", "ada", "127.0.0.1", ada.sid, connection),
            RefusalReport("stall", "command", "unknown_event", "/", "", "ada", "127.0.0.1", ada.sid, connection),
        ]
        codes = [report.code for report in recorder.reports if isinstance(report, CommandReport)]
        assert codes == ["", "", "forbidden", "unknown_event"]


async def test_a_command_without_an_acknowledgement_is_reported_too(tmp_path: Path, recorder: Recorder) -> None:
    async with run(tmp_path, recorder) as market, market.connect("stall") as ada:
        await ada.emit("look", {"item": SECRET})
        await ada.emit("steal", {})
        await recorder.expect(CommandReport, name="look", code="")
        await recorder.expect(CommandReport, name="steal", code="forbidden")


async def test_refused_connects(tmp_path: Path, recorder: Recorder) -> None:
    async with run(tmp_path, recorder) as market:
        for namespace, token in (("/", "no-token"), ("/invented-name", market.token("ada"))):
            with pytest.raises(ConnectRefused):
                async with connect_with(market, namespace, token):
                    pass
        refused = [report for report in recorder.reports if isinstance(report, RefusalReport)]
        connections = [report.connection_id for report in refused]
        assert len(set(connections)) == 2
        assert refused == [
            RefusalReport("stall", "connect", code, namespace, "", "", "127.0.0.1", "", connection)
            for code, namespace, connection in zip(
                ("token_invalid", "unknown_namespace"), ("/", ""), connections, strict=True
            )
        ]
        assert "connected" not in recorder.points()
        assert "disconnected" not in recorder.points()


def connect_with(market: Market, namespace: str, token: str) -> Any:
    return connect(market.url, namespace, path="/stall/socket.io/", auth={"token": token})


@pytest.mark.parametrize(
    ("body", "service", "code"),
    [
        ({"event": "sold", "data": SENT}, "fruit", "token_invalid"),
        ({"event": "sold", "data": {}}, "stall", "invalid_data"),
        ([{"event": "invented-name", "data": {}}, {"event": "sold", "data": {}}], "stall", "unknown_event"),
        ("text", "stall", "invalid_data"),
    ],
)
async def test_refused_publications(tmp_path: Path, recorder: Recorder, body: Any, service: str, code: str) -> None:
    async with run(tmp_path, recorder) as market:
        headers = {"authorization": f"Bearer {market.oyez.signer.sign_service(service, 60.0)}"}
        response = await market.request("POST", "/stall/events", json=body, headers=headers)
        assert response.json()["code"] == code
        assert recorder.reports == [RefusalReport("stall", "publish", code)]


async def test_a_client_that_returns(tmp_path: Path, recorder: Recorder) -> None:
    async with run(tmp_path, recorder) as market:
        async with market.connect("stall") as ada:
            recovery = ada.recovery
            ada.connection.drop()
            await recorder.expect(DisconnectReport)
        await market.publish("stall", SENT)
        first = len(recorder.reports)
        async with connect_again(market, recovery) as ada:
            await ada.expect_event("sold")
            result = await recorder.expect(RecoveryReport, recovered=True)
            assert result == RecoveryReport(
                "stall",
                "/",
                ada.sid,
                public_id(ada.engine_sid),
                "ada",
                True,
                1,
                "",
                since=result.since,
                seconds=result.seconds,
            )
            assert result.since
        points = [report.point for report in recorder.reports[first:]]
        assert points.index("connected") < points.index("recovered")
        async with connect_again(market, {"pid": "unknown", "offset": recovery.get("offset")}):
            result = await recorder.expect(RecoveryReport, recovered=False)
            assert (result.replayed, result.reason) == (0, "unknown_session")


def connect_again(market: Market, recovery: dict[str, Any]) -> Any:
    auth = {"token": market.token("ada"), **recovery}
    return connect(market.url, path="/stall/socket.io/", auth=auth, transports=["websocket"])


async def test_a_room_that_is_replayed(tmp_path: Path, recorder: Recorder) -> None:
    async with run(tmp_path, recorder) as market:
        publisher = market.oyez.systems["stall"].publisher
        offset = await publisher.emit(Sold(item="first", buyer="ada"))
        await publisher.emit(Sold(item="second", buyer="ada"), row("1"))
        async with connect_again(market, {"offset": offset}) as ada:
            assert (await ada.call("join_row", "1"))["ok"]
            result = await recorder.expect(RecoveryReport, room="row:1")
            assert result == RecoveryReport(
                "stall",
                "/",
                ada.sid,
                public_id(ada.engine_sid),
                "ada",
                True,
                1,
                "",
                "row:1",
                result.since,
                result.seconds,
            )


async def test_a_client_that_does_not_read(tmp_path: Path, recorder: Recorder) -> None:
    async with run(tmp_path, recorder, max_send_buffer=100_000) as market:
        running = cast(Running, market.http)
        async with Wire.open(running, receive_buffer=4_096) as slow:
            await slow.upgrade("/stall/socket.io/?transport=websocket&EIO=4")
            await slow.read_frame()
            slow.send_text(f'40{{"token":"{market.token("ada")}"}}')
            connected = await recorder.expect(ConnectReport)
            publisher = market.oyez.systems["stall"].publisher
            async with asyncio.timeout(PATIENCE):
                while "slow" not in recorder.points():
                    await publisher.emit(Sold(item="x" * 10_000, buyer="ada"))
                    await asyncio.sleep(0)
            report = await recorder.expect(SlowClientReport)
            assert report == SlowClientReport("stall", connected.connection_id, "ada", "127.0.0.1")
            gone = await recorder.expect(DisconnectReport)
            assert (gone.reason, gone.socket_id) == ("slow consumer", connected.socket_id)
            assert recorder.points().index("slow") < recorder.points().index("disconnected")


async def live_a_day(market: Market) -> SocketClient:
    """Cause a report of each kind but `slow`."""
    async with market.connect("stall") as ada:
        await ada.call("look", {"item": SECRET})
        assert (await ada.call("buy", {"item": SECRET}))["ok"]
        assert not (await ada.call("steal", {}))["ok"]
        await ada.expect_event("sold")
        assert (await market.publish("stall", SENT)).status_code == 200
        await ada.expect_event("sold")
        recovery = ada.recovery
        ada.connection.drop()
    async with connect_again(market, recovery) as again:
        assert (await again.call("look", {"item": SECRET}))["ok"]
    return cast(SocketClient, again)


async def test_an_observer_that_raises_changes_nothing(tmp_path: Path, recorder: Recorder) -> None:
    with capture_logs() as logged:
        async with run(tmp_path, Failing(), recorder) as market:
            await live_a_day(market)
            await recorder.expect(DisconnectReport)
    failures = [line for line in logged if line["event"] == "an observer failed"]
    points = [line["point"] for line in failures]
    # Each point once, however often it failed.
    assert len(points) == len(set(points))
    assert set(points) == set(recorder.points())
    assert {line["observer"] for line in failures} == {"Failing"}
    assert [line for line in logged if line["log_level"] == "error"] == []


async def test_no_report_has_a_payload_or_a_secret(tmp_path: Path, recorder: Recorder) -> None:
    async with run(tmp_path, recorder) as market:
        again = await live_a_day(market)
        with pytest.raises(ConnectRefused):
            async with connect_with(market, "/", "a-wrong-token"):
                pass
        await recorder.expect(RefusalReport, kind="connect")
        secrets = [SECRET, "a-wrong-token", again.recovery["pid"], market.token("ada")[:30]]
    points = {"published", "appended", "delivered", "command", "refused", "connected", "disconnected", "recovered"}
    assert set(recorder.points()) == points
    text = "\n".join(map(str, recorder.reports))
    assert [secret for secret in secrets if secret in text] == []
