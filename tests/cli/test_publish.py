"""`oyez publish`: what is published arrives, and what is refused is explained in one line."""

import asyncio
import io
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from oyez.cli.flags import parse_json
from oyez.client import Client, connect
from tests.support.served import Served
from tests.support.terminal import ORDERS, Calls

PACKED = {"order_id": "o-7", "customer_id": "ada", "timestamp": "2026-01-31T12:00:00Z"}
PACKED_JSON = '{"order_id": "o-7", "customer_id": "ada", "timestamp": "2026-01-31T12:00:00Z"}'


@pytest.fixture
async def ada(served: Served) -> AsyncIterator[Client]:
    token = served.token("ada", team="red")
    async with connect(served.url, path="/orders/socket.io/", auth={"token": token}) as client:
        yield client


def here(served: Served) -> list[str]:
    """The flags by which a command finds the server."""
    return ["--url", served.url, "--oyez-data", served.settings.oyez_data]


async def test_data_on_the_command_line(oyez: Calls, served: Served, ada: Client) -> None:
    ended = oyez("publish", ORDERS, "order:packed", "--data", PACKED_JSON, *here(served))
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("published at ")
    assert (await ada.expect_event("order:packed")).args == [PACKED]


def test_half_a_character_is_mended() -> None:
    assert parse_json('{"text": "\\ud83d"}', "--data") == {"text": "\ufffd"}


async def test_data_from_a_file(oyez: Calls, served: Served, ada: Client, folder: Path) -> None:
    (folder / "packed.json").write_text(PACKED_JSON)
    oyez("publish", ORDERS, "order:packed", "--data", "@packed.json", *here(served))
    assert (await ada.expect_event("order:packed")).args == [PACKED]


async def test_data_from_standard_input(
    oyez: Calls, served: Served, ada: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PACKED_JSON.encode())))
    oyez("publish", ORDERS, "order:packed", "--data", "@-", *here(served))
    assert (await ada.expect_event("order:packed")).args == [PACKED]


async def test_rooms_may_be_named_and_a_volatile_event_has_no_position(
    oyez: Calls, served: Served, ada: Client
) -> None:
    words = ["publish", str(ORDERS), "order:seen", "--data", '{"order_id": "o-7"}']
    for rooms in (["--to", "customer:ada"], ["--to", "customer:bob", "--to", "team:red"]):
        assert oyez(*words, *rooms, *here(served)).out == "published (volatile: not stored)\n"
        assert (await ada.expect_event("order:seen")).args == [{"order_id": "o-7"}]
    assert oyez(*words, "--to", "customer:bob", *here(served)).status == 0
    await ada.expect_nothing()


async def test_a_key_can_be_given(oyez: Calls, served: Served, ada: Client) -> None:
    key = served.service_key("orders")
    oyez("publish", ORDERS, "order:packed", "--data", PACKED_JSON, "--url", f"{served.url}/", "--token", key)
    assert (await ada.expect_event("order:packed")).args == [PACKED]


@pytest.mark.parametrize(
    ("event", "data", "rooms", "said"),
    [
        ("order:packed", '{"order_id": 7.5}', [], ["invalid_data: order_id: expected a string of 1 to 128", "got 7.5"]),
        ("order:packed", '{"order_id": "o", "customer_id": "c", "x": 1}', [], ["x: is not a field of order:packed"]),
        ("order:paked", "{}", [], ["unknown_event", "no event 'order:paked' in orders. Did you mean 'order:packed'?"]),
        (
            "lost",
            "{}",
            [],
            ["unknown_event", "There is no event 'lost' in orders. The events are order:packed, order:"],
        ),
        ("order:seen", '{"order_id": "o-7"}', [], ["room_required"]),
        ("order:packed", PACKED_JSON, ["team:red"], ["foreign_room", "team:red"]),
        ("order:packed", PACKED_JSON, ["cellar"], ["unknown_room", "cellar"]),
    ],
)
async def test_a_refusal_says_what_was_expected(
    oyez: Calls, served: Served, event: str, data: str, rooms: list[str], said: list[str]
) -> None:
    to = [word for room in rooms for word in ("--to", room)]
    error = oyez("publish", ORDERS, event, "--data", data, *to, *here(served)).error
    assert error.startswith(f"{event} was not published. ")
    assert [words for words in said if words not in error] == []


async def test_a_key_of_another_secret_is_explained(oyez: Calls, served: Served, folder: Path) -> None:
    oyez("token", "quotes", "--service")
    error = oyez("publish", ORDERS, "order:packed", "--data", PACKED_JSON, "--url", served.url).error
    assert "token_invalid" in error
    assert "Use a key from `oyez token SYSTEM --service`, made with the server's own settings." in error


async def test_a_system_that_is_not_served(oyez: Calls, served: Served, folder: Path) -> None:
    (folder / "parcels.py").write_text(ORDERS.read_text().replace('"orders"', '"parcels"'))
    error = oyez("publish", "parcels.py", "order:packed", "--data", PACKED_JSON, *here(served)).error
    assert "There is nothing at /parcels/events. Served here: quotes, orders." in error


def refused(oyez: Calls, *words: str) -> tuple[int, str]:
    oyez("token", "quotes", "--service")
    ended = oyez("publish", "quotes", "chat:delivered", *words)
    return ended.status, ended.error


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("{", "--data is not JSON: Input data was truncated"),
        ("", "--data is not JSON"),
        ("@missing.json", "--data @missing.json: No such file or directory. Name an existing file, or give JSON."),
        ("@latin.json", "--data @latin.json is not JSON"),
        ("[" * 100_000, "--data is not JSON"),
    ],
)
def test_data_that_is_not_json(oyez: Calls, folder: Path, data: str, said: str) -> None:
    (folder / "latin.json").write_bytes(b'{"name": "\xe9"}')
    status, error = refused(oyez, "--data", data)
    assert status == 2
    assert said in error


@pytest.mark.parametrize("url", ["localhost:5001", "ftp://localhost", "http://", "http://host:port", "//host", "x"])
def test_an_address_that_is_none(oyez: Calls, url: str) -> None:
    status, error = refused(oyez, "--data", "{}", "--url", url)
    assert status == 2
    assert "is no address. Write it like http://127.0.0.1:5001." in error


def test_no_server_listens(oyez: Calls) -> None:
    status, error = refused(oyez, "--data", "{}", "--url", "http://127.0.0.1:1")
    assert status == 1
    assert "Connection refused. Start the server, or give its --url." in error
    assert "Name or service not known" in refused(oyez, "--data", "{}", "--url", "http://nowhere.invalid")[1]


@asynccontextmanager
async def stranger(answer: bytes) -> AsyncIterator[str]:
    """The address of a server that sends the same answer to all clients."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(reply, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def respond(status: str, body: str) -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "cannot be reached: illegal status line"),
        (respond("200 OK", "<h1>hello</h1>"), "is not Oyez"),
        (respond("200 OK", "{}"), "is not Oyez"),
        (respond("502 Bad Gateway", "<h1>bad gateway</h1>"), "status 502: '<h1>bad gateway</h1>'"),
        (respond("404 Not Found", '{"error": "no"}'), "404"),
        (b"", "cannot be reached"),
    ],
)
async def test_another_program_answers(oyez: Calls, answer: bytes, said: str) -> None:
    async with stranger(answer) as url:
        status, error = await asyncio.to_thread(refused, oyez, "--data", "{}", "--url", url)
    assert status == 1
    assert said in error


async def test_what_a_server_says_cannot_command_the_terminal(oyez: Calls) -> None:
    async with stranger(respond("500 Oh", '{"code": "\\u001b[2J", "detail": "\\u009b2J"}')) as url:
        _, error = await asyncio.to_thread(refused, oyez, "--data", "{}", "--url", url)
    assert "\\u001b[2J: \\u009b2J" in error
