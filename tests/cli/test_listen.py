"""`oyez listen`: shows each event as it comes, reconnects when it is cut off, and reports why it is refused."""

import asyncio
import fcntl
import io
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from oyez.cli.listener import Listener
from oyez.service.app import Oyez
from oyez.settings import Settings
from tests.cli.test_publish import PACKED, here, respond, stranger
from tests.service import lobby_system
from tests.support import shops
from tests.support.clock import PATIENCE
from tests.support.served import Served, command, serve
from tests.support.tasks import Spawn
from tests.support.terminal import ORDERS, Calls, Running, plain_environment, run, run_line, start

EVENT = r'^\d\d:\d\d:\d\d\.\d{3}  order:packed  \{.*"order_id":"o-7".*\}$'


async def pack(served: Served) -> None:
    """Publish an event that Ada receives."""
    response = await served.post({"event": "order:packed", "data": PACKED}, system="orders")
    assert response.status_code == 200


@pytest.fixture(scope="module")
async def fixrx(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A server of systems in which clients send."""
    async with serve(tmp_path_factory.mktemp("fixrx") / "data", "fixrx", "bookings") as running:
        yield running


@asynccontextmanager
async def ada(folder: Path, served: Served, *flags: str) -> AsyncIterator[Running]:
    """`oyez listen` as Ada."""
    async with start(folder, "listen", ORDERS, "--sub", "ada", *here(served), *flags) as listening:
        yield listening


@pytest.mark.parametrize("transports", [[], ["polling"], ["polling", "websocket"]])
async def test_events_are_lines_with_time_name_and_data(folder: Path, served: Served, transports: list[str]) -> None:
    flags = [word for name in transports for word in ("--transport", name)]
    last = [*(transports or ["websocket"])][-1]
    async with ada(folder, served, *flags) as listening:
        await listening.expect_note(f"^connected to {served.url}/orders/socket.io/ over {last}, in namespace / as ada$")
        await pack(served)
        await listening.expect_out(EVENT)
        ended = await listening.stop(signal.SIGINT)
    assert (ended.status, ended.out, ended.err) == (0, "", "")


async def test_a_terminal_gets_colours(folder: Path, served: Served) -> None:
    leader, follower = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *command("listen", str(ORDERS), "--sub", "ada", *here(served)),
        stdout=follower,
        stderr=follower,
        env={**plain_environment(), "TERM": "xterm-256color"},
    )
    os.close(follower)
    shown = b""
    try:
        async with asyncio.timeout(PATIENCE):
            while b"connected" not in shown:
                shown += await asyncio.to_thread(os.read, leader, 4096)
            await pack(served)
            while b"order:packed" not in shown:
                shown += await asyncio.to_thread(os.read, leader, 4096)
    finally:
        process.kill()
        await process.wait()
        os.close(leader)
    assert b"\x1b[1;32morder:packed\x1b[0m" in shown


async def test_it_comes_back_after_the_server_was_started_again(folder: Path) -> None:
    data = folder / "data"
    async with serve(data, str(ORDERS)) as served, ada(folder, served) as listening:
        port = str(urlsplit(served.url).port)
        await listening.expect_note("^connected to")
        served.process.terminate()
        await listening.expect_note(r"^disconnected \(transport close\); reconnecting$")
        await served.process.wait()
        async with serve(data, str(ORDERS), PORT=port) as again:
            await listening.expect_note("^connected to")
            await listening.expect_note("^recovered; missed events received: 0$")
            await pack(again)
            await listening.expect_out(EVENT)
            assert (await listening.stop(signal.SIGINT)).status == 0


async def test_a_terminal_has_a_prompt_with_events_above(folder: Path, served: Served) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(  # noqa: ASYNC220 - asyncio's knows no controlling terminal
        command("listen", str(ORDERS), "--sub", "ada", *here(served)),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        # The terminal is its own, as a shell's is.
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        env={**plain_environment(), "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"},
    )
    os.close(follower)
    shown = b""

    async def expect(text: bytes) -> None:
        nonlocal shown
        async with asyncio.timeout(PATIENCE):
            while text not in shown:
                shown += await asyncio.to_thread(os.read, leader, 4096)

    try:
        await expect(b">\x1b")
        os.write(leader, b"ping\r")
        await expect(b"pong after ")
        await pack(served)
        await expect(b"\x1b[1;32morder:packed\x1b[0m")
        os.write(leader, b"exit\r")
        async with asyncio.timeout(PATIENCE):
            assert await asyncio.to_thread(process.wait) == 0
    finally:
        process.kill()
        process.wait()
        os.close(leader)


# Scripts.


async def test_what_is_expected_comes(folder: Path, served: Served) -> None:
    async with ada(folder, served, "--expect", "order:packed", "--timeout", "15") as listening:
        await listening.expect_note("^connected to")
        await pack(served)
        await listening.expect_out(EVENT)
        ended = await listening.wait()
    assert (ended.status, ended.out, ended.err) == (0, "", "")


async def test_what_is_expected_does_not_come(folder: Path, served: Served) -> None:
    words = ["listen", str(ORDERS), "--sub", "ada", *here(served), "--timeout", "0.5"]
    ended = await run(folder, *words, "--expect", "order:packed", "--expect", "order:seen")
    assert ended.status == 1
    assert ended.err.endswith("\nError: Not received within 0.5 s: order:packed, order:seen.\n")


async def test_something_is_sent_and_what_comes_of_it_expected(fixrx: Served, folder: Path) -> None:
    message = '{"recipientId": "vic", "message": "Good day"}'
    vic = ["listen", "fixrx", "--sub", "vic", "--role", "vendor", *here(fixrx), "--expect", "chat:message"]
    ada = ["listen", "fixrx", "--sub", "ada", "--role", "user", *here(fixrx), "--emit", "chat:send", message]
    async with start(folder, *vic) as hearing:
        await hearing.expect_note("^connected to")
        async with start(folder, *ada, "--emit", "ping", "") as sending:
            await sending.expect_out('  answer to chat:send  {"ok":true,')
            await sending.expect_out('  answer to ping  {"ok":true}$')
        assert (await hearing.wait()).status == 0


async def test_what_is_sent_and_refused_ends_it(fixrx: Served, folder: Path) -> None:
    join = '{"type": "user", "id": "bob"}'
    words = ["listen", "fixrx", "--sub", "ada", "--role", "user", *here(fixrx)]
    ended = await run(folder, *words, "--emit", "join", join, "--expect", "chat:message")
    assert ended.status == 1
    assert "\nError: join was refused: forbidden: " in ended.err


async def test_lines_from_a_pipe(fixrx: Served, folder: Path) -> None:
    words = " ".join(["listen fixrx --sub ada --role user", *here(fixrx)])
    line = f"printf 'ping\\njoin user ada\\nexit' | {sys.executable} -m oyez.cli {words}"
    ended = await run_line(folder, line)
    assert ended.status == 0
    assert re.fullmatch(r"pong after .* ms\n\S+  answer to join  \{.*\}\n", ended.out)


# The environment.


@pytest.mark.parametrize(
    ("environ", "flags", "said"),
    [
        ({"TEST_USER": "u-1"}, [], "in namespace / as u-1 (user)"),
        ({"TEST_VENDOR": "v-1", "SCHEME": "ws"}, [], "in namespace / as v-1 (vendor)"),
        ({"TEST_USER": "u-1", "TEST_VENDOR": "v-1"}, [], "in namespace / as u-1 (user)"),
        ({"TEST_USER": "u-1", "TEST_VENDOR": "v-1"}, ["--role", "vendor"], "in namespace / as v-1 (vendor)"),
        ({"TEST_USER": "u-1"}, ["--sub", "ada", "--role", "user"], "in namespace / as ada (user)"),
    ],
)
async def test_the_environment_gives_user_and_address(
    fixrx: Served, folder: Path, environ: dict[str, str], flags: list[str], said: str
) -> None:
    url = fixrx.url.replace("http", environ.get("SCHEME", "http"))
    words = ["listen", "fixrx", "--oyez-data", fixrx.settings.oyez_data, *flags]
    async with start(folder, *words, **environ, WS_URL=url) as listening:
        await listening.expect_note(f"^connected to {fixrx.url}/fixrx/socket.io/ .*{re.escape(said)}$")


async def test_the_user_of_a_token_whose_claims_have_other_names(tmp_path: Path) -> None:
    lobby = str(Path(lobby_system.__file__))
    words = ("listen", lobby, "--sub", "ada", "--role", "player")
    async with serve(tmp_path / "data", lobby) as served, start(tmp_path, *words, *here(served)) as listening:
        await listening.expect_note(r"in namespace / as ada \(player\)$")


async def test_the_role_chooses_the_namespace(fixrx: Served, folder: Path) -> None:
    words = ["listen", "bookings", "--sub", "ada", *here(fixrx)]
    for role in ("customer", "partner", "admin"):
        async with start(folder, *words, "--role", role) as listening:
            await listening.expect_note(f"in namespace /{role} as ada")


# Listeners in the test's own loop.


class Heard(io.StringIO):
    """What goes to standard error from now on; it can be waited for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._pieces: asyncio.Queue[str] = asyncio.Queue()
        monkeypatch.setattr(sys, "stderr", self)

    def write(self, text: str) -> int:
        self._pieces.put_nowait(text)
        return super().write(text)

    async def expect(self, text: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while text not in await self._pieces.get():
                pass


def listen(url: str, system: str, *tokens: str) -> Coroutine[Any, Any, int]:
    """A listener that has these tokens, one after the other; returns its exit status."""
    token = iter(tokens).__next__
    path = f"/{system}/socket.io/"
    listener = Listener(url=url, path=path, namespace="/", auth={}, token=token, transports=["websocket"])
    return listener.run()


async def test_a_token_that_has_run_out_is_replaced(
    served: Served, monkeypatch: pytest.MonkeyPatch, spawn: Spawn
) -> None:
    heard = Heard(monkeypatch)
    # It lives for one second more, the leeway included.
    dying = served.token("ada", lifetime=1.0, signed_at=time.time() - Settings().jwt_leeway)
    listening = spawn(listen(served.url, "orders", dying, served.token("ada")))
    for note in ("connected to", "disconnected", "connected to"):
        await heard.expect(note)
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening


async def test_whom_the_server_sends_away_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spawn: Spawn
) -> None:
    heard = Heard(monkeypatch)
    settings = Settings(port=0, oyez_data=str(tmp_path))
    async with shops.serve(Oyez([shops.shop("books")], settings)) as market:
        listening = spawn(listen(market.url, "books", market.token("ada")))
        await heard.expect("connected to")
        market.oyez.systems["books"].server.disconnect_sockets("/")
        assert await listening == 1
    await heard.expect("Error: The server has disconnected this client for good.")


# What ends it.


def fail(oyez: Calls, *words: str) -> str:
    """The message with which listening ends with status 1."""
    oyez("token", "quotes", "--service")
    ended = oyez("listen", *words)
    assert (ended.status, ended.out) == (1, "")
    return ended.error


async def refuse(oyez: Calls, served: Served, *words: str) -> str:
    return await asyncio.to_thread(fail, oyez, *words, "--url", served.url)


async def test_a_token_that_is_refused(oyez: Calls, served: Served) -> None:
    assert "refused the connection: token_invalid: " in await refuse(oyez, served, "quotes", "--token", "nonsense")
    old = served.token("ada", signed_at=0)
    assert "refused the connection: token_expired: " in await refuse(oyez, served, "quotes", "--token", old)


async def test_a_token_of_another_secret_is_explained(oyez: Calls, served: Served) -> None:
    said = await refuse(oyez, served, "quotes", "--sub", "ada")
    assert "token_invalid" in said
    assert "Use the server's own settings: --oyez-data, --config, or its environment." in said


async def test_what_the_contract_does_not_allow(oyez: Calls, served: Served) -> None:
    data = ["--oyez-data", served.settings.oyez_data]
    gateways = ["--auth", '{"gateways": ["quote-requests"]}']
    assert "forbidden_role" in await refuse(oyez, served, "quotes", "--sub", "ada", *gateways, *data)
    namespace = ["--namespace", "/nowhere"]
    assert "Invalid namespace" in await refuse(oyez, served, "quotes", "--sub", "ada", *namespace, *data)


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_system_that_is_not_served(oyez: Calls, served: Served, folder: Path, transport: str) -> None:
    (folder / "parcels.py").write_text(ORDERS.read_text().replace('"orders"', '"parcels"'))
    said = await refuse(oyez, served, "parcels.py", "--sub", "ada", "--transport", transport)
    assert "answers /parcels/socket.io/ with status 404. Serve the system there, or give its --url." in said


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_no_server_listens(oyez: Calls, transport: str) -> None:
    said = fail(oyez, "quotes", "--sub", "ada", "--transport", transport, "--url", "http://127.0.0.1:1")
    assert said == "http://127.0.0.1:1 cannot be reached: Connection refused. Start the server, or give its --url."


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", respond("200 OK", "<h1>hello</h1>"), b""])
async def test_another_program_answers(oyez: Calls, transport: str, answer: bytes) -> None:
    async with stranger(answer) as url:
        words = ["quotes", "--sub", "ada", "--transport", transport, "--url", url]
        assert url in await asyncio.to_thread(fail, oyez, *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Add --sub ID to make a token, or --token TOKEN to use yours"),
        (["--sub", "ada", "--auth", "[]"], "--auth is not a JSON object"),
        (["--sub", "ada", "--role", "king"], "knows no role 'king'"),
        (["--sub", "ada", "--url", "127.0.0.1:5001"], "is no address"),
        (["--sub", "ada", "--timeout", "3"], "--timeout needs --expect."),
        (["--sub", "ada", "--expect", "chat:sent"], "/ has no event 'chat:sent'. Its events are chat:message, "),
        (["--sub", "ada", "--emit", "ping", "{"], "--emit: { is not JSON."),
    ],
)
def test_a_call_that_cannot_work(oyez: Calls, words: list[str], said: str) -> None:
    ended = oyez("listen", "quotes", *words)
    assert ended.status == 2
    assert said in ended.error


async def test_without_a_user_it_listens_as_a_guest_of_a_system_that_has_guests(tmp_path: Path) -> None:
    lobby = str(Path(lobby_system.__file__))
    async with serve(tmp_path / "data", lobby) as served, start(tmp_path, "listen", lobby, *here(served)) as listening:
        await listening.expect_note(r"over websocket, in namespace / as a guest$")
        await served.publish("said", {"text": "hello"}, "lobby", system="lobby")
        await listening.expect_out(r'said  \{.*"text":"hello".*\}$')
