"""Any input of clients, over HTTP or in frames: no traceback in the log, no long line, no path in an answer."""

import asyncio
import json
import logging
import random

import pytest
import websockets

from oyez.errors import LogUnavailableError
from oyez.log.memory import MemoryLog
from oyez.service.app import Oyez
from oyez.settings import Settings
from tests.service.test_guard import exchange, find_port
from tests.support.shops import KINDS, Market, serve, shop
from tests.support.wire import BINARY, CLOSE, KEY, PING, TEXT, encode_frame

REQUESTS = 350
LINE = 1_000
"""Characters of a line in the log at most: MAX_FIELD, and what stands around it."""

METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "PROPFIND"]
SOCKET_IO = "/books/socket.io/?EIO=4&transport="
PATHS = ["/", "//", "*", "/%ff", "/%00", "/a%0d%0ab", "/\\", "/..%2f..%2fetc", "http://h/books/events", "http://[::1"]
PATHS += ["/books/socket.io/", "/books/socket.io", "/books/ws", "/books/events", "/books/api/x", "/books/events;a=b"]
PATHS += ["/books/rooms/buyer:ada/members", "/books/rooms/%ff/members/%00", "/books/rooms/x/sockets"]
PATHS += ["/books/rooms/buyer%3Aada/members/%F0%9F%98%80", "/books/rooms/" + "x" * 3_000 + "/members/y"]
QUERIES = ["", "?EIO=4&transport=polling", "?EIO=4&transport=websocket", "?EIO=4&transport=polling&sid=%ff", "?sid=%00"]
QUERIES += ["?EIO=4&transport=polling&sid=x&sid=y", "?token=%ff%fe", "?" + "a=b&" * 1_000, "?limit=%00", "?limit=1e3"]
QUERIES += [f"?limit={'9' * 30}", "?after=%ff", "?after=\x7f", "?namespace=%0d%0a", "?%", "?=&&=", "?EIO[]=4"]
HEADERS = ["Origin: null", "Origin: \xff", "Origin: http://x, http://y", "Cookie: \xff=\xfe; a; access_token=\x80"]
HEADERS += [
    "Authorization: Bearer \xff",
    "Authorization: Basic x",
    "Authorization: Bearer",
    "Authorization: Bearer a.b.c",
]
HEADERS += ["Accept-Encoding: gzip;q=x,,,;", "Content-Type: application/json; charset=\xff", "Content-Encoding: gzip"]
HEADERS += ["Idempotency-Key: \xff", "Idempotency-Key: a\r\nIdempotency-Key: b", "Expect: 100-continue", "Expect: more"]
HEADERS += ["Access-Control-Request-Headers: \xff", "X-Oyez-Peer: 1 http - 0 x", "User-Agent: \xff\xfe"]
HEADERS += ["Sec-WebSocket-Protocol: \xff", "Origin: http://x\r\nOrigin: http://y", "Connection: close"]
BODIES = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"\xff\xfe",
    b"[" * 5_000,
    b'{"a":' * 200,
    b"1" * 5_000,
    b"-",
    b"4",
    b"40",
    b"b!!!",
]
BODIES += [b'42["x"]\x1e\x1e', b'{"event":"sold"}', b'{"event":"sold","data":{"item":"\\ud83d"}}', b"1e999"]
BODIES += [b'[{"event":"sold","data":null,"to":[]}]', b'{"event":"sold","to":"' + b"x" * 3_000 + b'","data":{}}']
FRAMES = [
    b"",
    b"2",
    b"2probe",
    b"5",
    b"3",
    b"1",
    b"6",
    b"4",
    b"40",
    b"41",
    b"42",
    b"42[]",
    b'42["sold",{}]',
    b'420["a"]',
]
FRAMES += [b"45", b'451-["a",{"_placeholder":true,"num":0}]', b'40{"token":1}', b'40{"token":"\\ud800"}', b"40/books,{"]
FRAMES += [b'40{"pid":1,"offset":2}', b"43[]", b'431["x"]', b"44{}", b"\xff", b"46-[]", b"b4", b"40[]", b"null", b"[]"]
FRAMES += [b'{"event":"x"}', b'{"id":1}', b'{"event":"x","id":"y","data":[1]}', b"42[" + b"[" * 500]


def draw_request(chance: random.Random, market: Market, key: str) -> list[bytes]:
    path = chance.choice(PATHS)
    body = chance.choice(BODIES)
    lines = ["Host: localhost", *chance.sample(HEADERS, chance.randint(0, 4)), f"Content-Length: {len(body)}"]
    if chance.random() < 0.5:
        lines += [f"Authorization: Bearer {key}", "Content-Type: application/json"]
    target = f"{market.prefix if path.startswith('/') else ''}{path}{chance.choice(QUERIES)}"
    return ["\r\n".join([f"{chance.choice(METHODS)} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1"), body]


def draw_websocket(chance: random.Random, market: Market, token: str) -> list[bytes]:
    path = chance.choice([f"{SOCKET_IO}websocket", "/books/ws?a=b", f"/books/ws?token={token}"])
    asked = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}"]
    asked += ["Host: localhost", *chance.sample(HEADERS, chance.randint(0, 2))]
    target = market.prefix + path + chance.choice(["", "&x=%ff", "&namespace=%00", "&pid=1&offset=2"])
    head = "\r\n".join([f"GET {target} HTTP/1.1", *asked, "", ""]).encode("latin-1")
    known = b"40" + json.dumps({"token": token, "pid": chance.choice([None, "x", token]), "offset": "0.0"}).encode()
    frames = [
        encode_frame(
            chance.choice([TEXT, TEXT, TEXT, BINARY, PING, CLOSE, 3, 11]),
            known if chance.random() < 0.2 else chance.choice(FRAMES),
            rsv=chance.choice([0, 0, 0, 4, 1]),
            fin=chance.random() < 0.9,
        )
        for _ in range(chance.randint(1, 6))
    ]
    return [head, b"".join(frames)]


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_that_is_sent_leaves_a_traceback(
    settings: Settings, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(1)
    oyez = Oyez([shop("books")], settings)
    with caplog.at_level(logging.INFO):
        async with serve(oyez, kind) as market:
            key, token = oyez.signer.sign_service("books", 60.0), market.token("ada")
            drawn = [
                draw_websocket(chance, market, token) if chance.random() < 0.4 else draw_request(chance, market, key)
                for _ in range(REQUESTS)
            ]
            for start in range(0, REQUESTS, 50):
                await asyncio.gather(*(exchange(find_port(market), each, 0.2) for each in drawn[start : start + 50]))
            assert (await market.publish("books", SOLD)).status_code == 200
    assert [record for record in caplog.records if record.exc_info] == []
    assert "Traceback" not in caplog.text
    assert max((len(record.getMessage()) for record in caplog.records), default=0) < LINE


SOLD = {"item": "i-7", "buyer": "ada", "timestamp": "2026-01-31T12:00:00Z"}


@pytest.mark.parametrize("kind", KINDS[1:])
async def test_access_logs_hold_no_token(settings: Settings, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    oyez = Oyez([shop("books")], settings)
    with caplog.at_level(logging.INFO):
        async with serve(oyez, kind) as market:
            token = market.token("ada")
            opened = await market.request("GET", f"{SOCKET_IO}polling&token={token}&ticket={token}")
            sid = json.loads(opened.text[1:])["sid"]
            await market.request("POST", f"{SOCKET_IO}polling&token={token}&sid={sid}", content=b"40")
            query = f"?token={token}"
            async with websockets.connect(
                f"{market.url.replace('http', 'ws')}{market.prefix}/books/ws{query}"
            ) as plain:
                assert json.loads(await plain.recv())["event"] == "connect"
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("uvicorn")]
    assert len([line for line in lines if "books" in line]) >= 3
    for secret in (token, token.split(".")[2], sid):
        assert secret not in "".join(lines)


class FailingLog(MemoryLog):
    """Cannot be written to, for a reason that is the operator's alone."""

    async def append(self, *entries: object, **options: object) -> list[str]:
        raise LogUnavailableError("/srv/secret/log.sqlite at 10.1.2.3:6379 cannot be used. Nothing was stored.")


async def test_what_cannot_be_stored_names_no_path_or_address(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(Oyez([shop("books")], settings, build_log=lambda name: FailingLog())) as market:
        answer = await market.publish("books", SOLD)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "secret" not in answer.text
        assert "10.1.2.3" not in answer.text
    assert "/srv/secret/log.sqlite" in caplog.text
