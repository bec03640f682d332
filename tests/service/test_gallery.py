"""Binary data and names that contain an id, for official clients on two processes, in the log and over HTTP."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import connect as open_websocket

from tests.support import py_client
from tests.support.clock import PATIENCE
from tests.support.js_client import JsClient
from tests.support.pairs import SUPPORT, Pair, open_pair
from tests.support.valkey import ValkeyServer

PATH = "/gallery/socket.io/"
TRANSPORTS = {"websocket": ["websocket"], "polling": ["polling"], "upgrade": ["polling", "websocket"]}
PICTURE = bytes(range(256)) * 40
"""10 KB with each byte."""
SMALL = b"\x89P\x00NG"
METRICS_TOKEN = "m" * 16
FOREIGN = "0dd1e5a2.7"
"""A string that looks like a position."""


@pytest.fixture(scope="module", params=["folder", "redis"])
async def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, valkey: ValkeyServer
) -> AsyncIterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    async with open_pair(SUPPORT / "gallery.py", request.param, folder, valkey, METRICS_TOKEN=METRICS_TOKEN) as pair:
        yield pair


def packed(data: bytes) -> dict[str, str]:
    """Bytes as the driver of the official client reports them, and takes them."""
    return {"base64": text_of(data)}


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def join(pair: Pair, album: str, transports: list[str], **options: Any) -> JsClient:
    client = await pair.connect(pair.there, "ada", transports=transports, **options)
    assert (await client.call("album:join", album))["ok"]
    return client


async def publish(pair: Pair, event: str, data: Any, to: str | None = None, status: int = 200) -> Any:
    response = await pair.here.post({"event": event, "data": data} | ({"to": to} if to else {}), system="gallery")
    assert response.status_code == status, response.text
    return response.json()


async def test_official_clients_receive_bytes_and_recover_them(pair: Pair) -> None:
    options = {"reconnection": True, "reconnectionDelay": 100, "randomizationFactor": 0}
    clients = [await join(pair, "recovered", each, **options) for each in TRANSPORTS.values()]
    ada = await pair.connect(pair.here, "ada", transports=["websocket"])
    stored = {"albumId": "recovered", "title": "Sea", "photo": packed(PICTURE)}
    photo = stored | {"thumbs": [packed(PICTURE[:2]), packed(b"")]}

    async def publish_all() -> None:
        answer = await ada.call("upload", stored)
        assert answer == {"ok": True, "size": len(PICTURE), "photo": packed(PICTURE)}
        await ada.call("page", "recovered", packed(SMALL), FOREIGN)
        await ada.call("page", "recovered", packed(b""))
        await publish(pair, "scan", [text_of(SMALL)], "album:recovered")

    expected = [
        ("photo", [photo]),
        ("scan", [packed(SMALL), FOREIGN]),
        ("scan", [packed(b"")]),
        ("scan", [packed(SMALL)]),
    ]
    await publish_all()
    for client in clients:
        assert [await client.next_event() for _ in expected] == expected
    for client in clients:
        await client.cut()
    await publish_all()
    for client in clients:
        assert (await client.expect("connect"))["recovered"]
        heard: list[Any] = []
        while len(heard) < len(expected):
            event = await client.next_event()
            if event[0] != "oyez:recovery":
                heard.append(event)
        assert heard == expected


async def test_volatile_bytes_relays_the_newest_event_and_welcomes(pair: Pair) -> None:
    ada = await join(pair, "volatile", TRANSPORTS["websocket"])
    bob = await join(pair, "volatile", TRANSPORTS["polling"])
    await ada.call("stroke", {"albumId": "volatile", "points": packed(SMALL)})
    assert await bob.expect_event("stroke") == [{"albumId": "volatile", "points": packed(SMALL)}]
    assert ada.events() == []
    await publish(pair, "frame", text_of(PICTURE[:1000]), "live:volatile")
    await ada.call("live:join", "volatile")
    assert await ada.expect_event("frame") == [packed(PICTURE[:1000])]
    await ada.call("wall:join", "volatile")
    assert await ada.expect_event("wall") == [{"picture": packed(b"\x00wall\xff")}]


async def test_a_client_answers_with_bytes(pair: Pair) -> None:
    ada = await pair.connect(pair.here, "ada", transports=["websocket"], answers={"sign": packed(PICTURE)})
    answer = await ada.call("ask", {"paper": packed(SMALL)})
    assert answer == {"ok": True, "size": len(PICTURE), "photo": packed(PICTURE)}
    assert await ada.expect_event("sign") == [{"paper": packed(SMALL)}]


async def test_a_repeated_command_has_the_bytes_of_the_first_answer(pair: Pair) -> None:
    ada = await pair.connect(pair.here, "ada", transports=["websocket"])
    upload = {"albumId": "once", "title": "Sea", "photo": packed(SMALL)}
    answers = [await ada.call("upload", upload, {"idempotencyKey": "k1"}) for _ in range(2)]
    assert answers == [{"ok": True, "size": len(SMALL), "photo": packed(SMALL)}] * 2


@pytest.mark.parametrize("transports", [["websocket"], ["polling"]])
async def test_python_sends_and_receives_bytes(pair: Pair, transports: list[str]) -> None:
    auth = {"token": pair.there.token("ada"), "recovery": True}
    async with py_client.connect(pair.there.url, path=PATH, auth=auth, transports=transports) as client:
        assert (await client.call("album:join", "python"))["ok"]
        upload = {"albumId": "python", "title": "Sea", "photo": PICTURE}
        assert await client.call("upload", upload) == {"ok": True, "size": len(PICTURE), "photo": PICTURE}
        await publish(pair, "scan", [text_of(SMALL), "last"], "album:python")
        event, arguments = await client.next_event()
        while event.startswith("oyez:"):
            event, arguments = await client.next_event()
        photo, position = arguments
        assert (event, photo) == ("photo", upload | {"thumbs": [PICTURE[:2], b""]})
        assert isinstance(position, str), "the position is the last argument"
        assert (await client.expect_event("scan"))[:2] == [SMALL, "last"]


async def test_plain_websockets_send_and_receive_base64(pair: Pair) -> None:
    address = f"{pair.there.url.replace('http', 'ws')}/gallery/ws?token={pair.there.token('ada')}"
    async with open_websocket(address) as plain:

        async def receive() -> Any:
            async with asyncio.timeout(PATIENCE):
                while (frame := json.loads(await plain.recv())).get("event") == "connect":
                    pass
            return frame

        await plain.send('{"event":"album:join","data":"plain","id":1}')
        assert (await receive())["data"]["ok"]
        upload = {"albumId": "plain", "title": "Sea", "photo": text_of(SMALL)}
        await plain.send(json.dumps({"event": "upload", "data": upload, "id": 2}))
        frames = [await receive(), await receive()]
        answer = {"id": 2, "data": {"ok": True, "size": len(SMALL), "photo": text_of(SMALL)}}
        event = {"event": "photo", "data": upload | {"thumbs": [text_of(SMALL[:2]), ""]}}
        assert answer in frames and event in frames


async def test_what_does_not_fit_is_refused(pair: Pair) -> None:
    large, photo = text_of(bytes(100_001)), {"albumId": "a", "title": "t", "thumbs": []}
    await publish(pair, "photo", photo | {"photo": large}, status=413)
    # Its base64 is larger than the limit, and its bytes are not.
    await publish(pair, "photo", photo | {"photo": text_of(bytes(99_000))})
    many = photo | {"photo": "", "thumbs": [""] * 10}
    [error] = (await publish(pair, "photo", many, status=422))["errors"]
    assert error["expected"] == "at most 10 binary values in photo, not 11"
    [error] = (await publish(pair, "photo", photo | {"photo": "no base64!"}, status=422))["errors"]
    assert error["field"] == "photo" and error["expected"].startswith("binary data")
    ada = await pair.connect(pair.here, "ada", transports=["websocket"])
    answer = await ada.call("upload", {"albumId": "a", "title": "t", "photo": packed(bytes(100_001))})
    assert answer["error"]["code"] == "too_large"


# Names that contain an id.


async def test_events_have_the_names_that_their_fields_make(pair: Pair) -> None:
    options = {"reconnection": True, "reconnectionDelay": 100, "randomizationFactor": 0}
    ada = await join(pair, "named", TRANSPORTS["websocket"], **options)
    bob = await pair.connect(pair.here, "bob", transports=["websocket"])
    await bob.call("album:join", "named")
    to = "album:named"

    async def publish_all() -> None:
        await publish(pair, "picture:{pictureId}:sold", {"pictureId": 7, "price": 1.5}, to)
        await publish(pair, "picture:8:sold", {"price": 2}, to)
        await publish(pair, "picture:8:bids", 3, to)
        await publish(pair, "picture:{pictureId}:bids", ["a", 4], to)
        assert (await bob.call("halls:named:open"))["ok"]

    expected = [
        ("picture:7:sold", [{"price": 1.5}]),
        ("picture:8:sold", [{"price": 2}]),
        ("picture:8:bids", [3]),
        ("picture:a:bids", [4]),
        ("hall:named:opened", [{"albumId": "named", "by": "bob"}]),
    ]
    await publish_all()
    assert [await ada.next_event() for _ in expected] == expected
    await publish(pair, "picture:9:gone", None, to)
    assert await ada.next_event() == ("picture:9:gone", [])
    await ada.cut()
    await publish_all()
    assert (await ada.expect("connect"))["recovered"]
    heard = [event for _ in range(len(expected) + 1) if (event := await ada.next_event())[0] != "oyez:recovery"]
    assert heard == expected


async def test_commands_take_values_from_their_names(pair: Pair) -> None:
    ada = await join(pair, "commands", TRANSPORTS["websocket"])
    bob = await join(pair, "commands", TRANSPORTS["websocket"])
    assert await ada.call("picture:7:price", {"currency": "EUR"}) == {"ok": True, "done": "7 in EUR"}
    assert (await ada.call("picture:7:price", {"currency": "EUR", "pictureId": 7}))["ok"]
    assert await ada.call("picture:x:at:wall") == {"ok": True, "done": "x at wall, 1"}
    assert await ada.call("picture:x:at:wall", 3, {"idempotencyKey": "k"}) == {"ok": True, "done": "x at wall, 3"}
    assert (await ada.call("cursor:commands", {"x": 3}))["ok"]
    assert await bob.next_event() == ("cursor:commands", [{"x": 3}])
    other = (await ada.call("picture:7:price", {"currency": "EUR", "pictureId": 8}))["error"]
    assert (other["code"], other["details"]["field"]) == ("invalid_data", "pictureId")
    wrong = (await ada.call("picture:seven:price", {"currency": "EUR"}))["error"]
    assert wrong["details"] == {"field": "pictureId", "expected": "a whole number, in the event's name"}
    await ada.emit("picture:9:price", {})
    [error] = await ada.expect_event("error")
    assert error["details"]["event"] == "picture:9:price", "the name that the client has sent"
    # All names of a form have one limit.
    codes = [(await ada.call(f"picture:{number}:price", {"currency": "EUR"})).get("error") for number in range(8)]
    assert "rate_limited" in [code and code["code"] for code in codes]


async def test_names_do_not_multiply_metrics(pair: Pair) -> None:
    ada = await pair.connect(pair.here, "ada", transports=["websocket"])
    await ada.call("picture:1001:at:hall")
    await publish(pair, "picture:1002:gone", None, "album:metrics")
    shown = (await pair.here.request("GET", "/metrics", key=METRICS_TOKEN)).text
    assert "1001" not in shown and "1002" not in shown
    assert "picture:{pictureId}:at:{place}" in shown and "picture:{pictureId}:gone" in shown


async def test_published_names_that_do_not_fit_are_refused(pair: Pair) -> None:
    [error] = (await publish(pair, "picture:x:sold", {"price": 1}, "album:a", status=422))["errors"]
    assert (error["field"], error["expected"]) == ("pictureId", "a whole number, in the event's name")
    data = {"albumId": "b", "by": "ada"}
    [error] = (await publish(pair, "hall:a:opened", data, "album:a", status=422))["errors"]
    assert (error["field"], error["expected"]) == ("albumId", "'a', as in the event's name, or nothing")
    await publish(pair, "pictures:1:sold", {"price": 1}, "album:a", status=404)
