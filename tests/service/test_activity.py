"""Debug lines about clients, commands and events, of a server with real clients; and the ids that errors have."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tools.docs.tables import read

from oyez.client import ConnectFailed, ConnectRefused, connect
from oyez.logger import set_level
from oyez.service.activity import build_activity_log
from oyez.service.app import Oyez
from oyez.settings import Settings
from tests.service.stall import system
from tests.support.logged import capture_logs
from tests.support.shops import Market, serve
from tests.test_docs import find_blocks

SECRET = "the-payload-that-nobody-logs"


@asynccontextmanager
async def run(path: Path, log_level: str) -> AsyncIterator[tuple[Market, list[dict[str, Any]]]]:
    settings = Settings(port=0, oyez_data=str(path / "data"), shutdown_timeout=5.0, log_level=log_level)
    with capture_logs() as logged:
        async with serve(Oyez([system], settings)) as market:
            yield market, logged


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    yield
    set_level("info")


def find(logged: list[dict[str, Any]], event: str) -> dict[str, Any]:
    """The only line of this event, without the fields that every line has."""
    [line] = [line for line in logged if line["event"] == event]
    return {name: value for name, value in line.items() if name not in ("event", "log_level", "system", "namespace")}


async def test_the_lines_of_a_connection_have_one_id(tmp_path: Path) -> None:
    async with run(tmp_path, "debug") as (market, logged), market.connect("stall") as ada:
        await ada.call("look", {"item": SECRET})
        await ada.call("steal", {})
        await ada.call("join_row", "1")
        await ada.call("leave_row", "1")
        assert (await market.publish("stall", {"item": SECRET, "buyer": "ada"})).status_code == 200
        await ada.expect_event("sold")
    connected = find(logged, "connected")
    connection = connected.pop("connection")
    assert re.fullmatch("[0-9a-f]{12}", connection)
    assert connection not in ada.engine_sid and ada.engine_sid not in str(logged)
    who = {"user": "ada", "socket": ada.sid}
    assert connected == {**who, "role": "buyer", "address": "127.0.0.1", "rooms": "buyer:ada"}
    who["connection"] = connection
    commands = [line for line in logged if line["event"] == "command"]
    outcomes = [(line["name"], line["outcome"]) for line in commands]
    assert outcomes == [("look", "ok"), ("steal", "forbidden"), ("join_row", "ok"), ("leave_row", "ok")]
    assert all(line["ms"] >= 0 and who.items() <= line.items() for line in commands)
    assert find(logged, "command refused")["code"] == "forbidden"
    assert find(logged, "joined") == find(logged, "left") == {"room": "row:1", **who}
    published, delivered = find(logged, "published"), find(logged, "delivered")
    assert (published["name"], published["rooms"], published["origin"]) == ("sold", "buyer:ada", "http")
    assert (delivered["names"], delivered["recipients"]) == ("sold", 1)
    assert delivered["position"] == published["position"] is not None
    assert find(logged, "disconnected")["connection"] == connection
    for block in find_blocks(read("logging"))[2:]:
        for shown in map(json.loads, block.text.splitlines()):
            line = next(line for line in logged if line["event"] == shown["event"])
            assert {*line, "level", "timestamp"} - {"log_level"} == shown.keys(), "as docs/logging.md shows"
    assert {line["connection"] for line in logged if "connection" in line} == {connection}
    assert SECRET not in str(logged)


async def test_a_refused_connect_says_from_where(tmp_path: Path) -> None:
    async with run(tmp_path, "debug") as (market, logged):
        with pytest.raises(ConnectRefused):
            async with connect(market.url, path="/stall/socket.io/", auth={"token": SECRET}):
                pass
    refused = find(logged, "connect refused")
    assert (refused["code"], refused["address"]) == ("token_invalid", "127.0.0.1")
    assert SECRET not in str(logged)


@pytest.mark.parametrize(("text", "reports"), [("info", False), ("debug", True), ("warning, events=debug", True)])
def test_nothing_is_reported_if_no_line_would_be_written(text: str, reports: bool) -> None:
    set_level(text)
    assert bool(build_activity_log()) is reports


async def test_an_error_has_the_id_that_the_client_receives(tmp_path: Path) -> None:
    async with run(tmp_path, "info") as (market, logged), market.connect("stall") as ada:
        answer = await ada.call("break", {"item": SECRET})
        over_http = (await market.call("POST", "/stall/api/fail", {})).json()
    failed = find(logged, "handler failed")
    [line] = [line for line in logged if line["event"] == "handler failed"]
    assert (line["system"], line["command"], line["user"], line["socket"]) == ("stall", "break", "ada", ada.sid)
    error_id = failed["error_id"]
    assert answer["error"]["details"] == {"error_id": error_id}
    assert answer["error"]["message"].endswith(f"Error {error_id}.")
    assert over_http["code"] == "internal"
    assert over_http["error_id"] == find(logged, "a request failed")["error_id"]


async def test_a_wrong_path_or_origin_is_logged_once_with_its_address(tmp_path: Path) -> None:
    async with run(tmp_path, "info") as (market, logged):
        for _ in range(3):
            for transport in ("websocket", "polling"):
                with pytest.raises(ConnectFailed):
                    async with connect(market.url, path=f"/wrong-{transport}/socket.io/", transports=[transport]):
                        pass
            headers = {"origin": "https://strange.example"}
            query = "transport=polling&EIO=4&token=abc"
            refused = await market.request("GET", f"/stall/socket.io/?{query}", headers=headers)
            assert refused.status_code == 403
            assert (await market.request("GET", "/wp-login.php")).status_code == 404
    wrong = [line for line in logged if line["event"] == "a client uses a path where nothing is served"]
    assert sorted(line["path"] for line in wrong) == ["/wrong-polling/socket.io/", "/wrong-websocket/socket.io/"]
    assert {line["address"] for line in wrong} == {"127.0.0.1"}
    origin = find(logged, "a page was refused: its origin is not in client_origin")
    assert (origin["origin"], origin["address"]) == ("https://strange.example", "127.0.0.1")
    others = [line for line in logged if line["event"] == "a request is for a path where nothing is served"]
    assert {(line["path"], line["log_level"]) for line in others} == {("/wp-login.php", "debug")}
    assert "abc" not in str(logged)
