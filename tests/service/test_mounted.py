"""Oyez mounted in another application, as a program of its own: with its lifespan, without, and forked."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from oyez.client import ConnectFailed, connect
from oyez.errors import WrongLoopError
from oyez.service.app import Oyez
from oyez.settings import Settings
from tests.support.clock import PATIENCE
from tests.support.js_client import JsDriver
from tests.support.shops import Sold, shop
from tests.support.terminal import Running, start_program
from tests.support.valkey import ValkeyServer

ROOT = Path(__file__).parents[2]
PATH = "/live/books/socket.io/"
SECRET = "m" * 64
SOLD = {"item": "i-7", "buyer": "ada", "timestamp": "2026-01-31T12:00:00Z"}


@asynccontextmanager
async def mounted(how: str, folder: Path, **environ: str) -> AsyncIterator[Running]:
    environ = {"JWT_SECRET": SECRET, "OYEZ_DATA": str(folder / "data"), **environ}
    async with start_program(ROOT, sys.executable, "-m", "tests.service.mounted", how, **environ) as program:
        yield program


async def read_url(program: Running) -> str:
    return (await program.expect_out(r"^http://\S+$"))[0]


@pytest.fixture
def sign(tmp_path: Path) -> Oyez:
    return Oyez([shop("books")], Settings(jwt_secret=SECRET, oyez_data=str(tmp_path / "other")))


def token(oyez: Oyez) -> dict[str, str]:
    return {"token": oyez.signer.sign_user("ada", None, {}, 60.0)}


async def publish(oyez: Oyez, url: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {oyez.signer.sign_service('books', 60.0)}"}
    async with httpx.AsyncClient(headers=headers, timeout=PATIENCE) as http:
        return await http.post(f"{url}/live/books/events", json={"event": "sold", "data": SOLD})


@pytest.mark.parametrize("place", ["file", "redis"])
async def test_a_foreign_thread_is_refused_and_everything_goes_on_and_stops(
    tmp_path: Path, sign: Oyez, valkey: ValkeyServer, place: str
) -> None:
    environ = {"REDIS_URL": valkey.url, "REDIS_PREFIX": "mounted"} if place == "redis" else {}
    async with mounted("plain", tmp_path, **environ) as program, JsDriver.start() as js:
        url = await read_url(program)
        client = await js.connect(url, path=PATH, auth=token(sign), transports=["polling"])
        async with httpx.AsyncClient(timeout=PATIENCE) as http:
            answers = await asyncio.gather(*(http.post(f"{url}/sell/i-{number}") for number in range(5)))
        for answer in answers:
            assert answer.json()["error"] == "WrongLoopError"
            assert "asyncio.run_coroutine_threadsafe" in answer.json()["message"]
        assert (await publish(sign, url)).status_code == 200
        assert await client.expect_event("sold") == [SOLD]
        # The client polls: its request would otherwise be answered when the next ping is due, 25 s later.
        ended = await asyncio.wait_for(program.stop(signal.SIGTERM), 5)
        assert ended.status in (0, -signal.SIGTERM)
        assert "Traceback" not in ended.err
        await client.expect("disconnect")


async def test_without_its_lifespan_everything_is_refused_for_a_while_and_one_line_says_what_to_do(
    tmp_path: Path, sign: Oyez
) -> None:
    async with mounted("without-lifespan", tmp_path) as program:
        url = await read_url(program)
        for _ in range(2):
            answer = await publish(sign, url)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert answer.headers["retry-after"]
            for way in ("polling", "websocket"):
                with pytest.raises(ConnectFailed) as refused:
                    async with connect(url, path=PATH, auth=token(sign), transports=[way]):
                        pass
                assert refused.value.status == 503 or way == "websocket"
            async with httpx.AsyncClient(timeout=PATIENCE) as http:
                assert (await http.post(f"{url}/sell/i-1")).json()["error"] == "NotRunningError"
        ended = await program.stop(signal.SIGTERM)
    (line,) = [line for line in ended.err.splitlines() if "Oyez does not run" in line]
    assert "FastAPI(lifespan=lambda app: oyez.running())" in line


@pytest.mark.parametrize("place", ["file", "redis"])
async def test_forked_each_process_is_a_node_of_its_own(
    tmp_path: Path, sign: Oyez, place: str, valkey: ValkeyServer
) -> None:
    environ = {"REDIS_URL": valkey.url, "REDIS_PREFIX": "forked"} if place == "redis" else {}
    async with mounted("forked", tmp_path, **environ) as program:
        assert (await program.expect_out("open before the fork: (.*)"))[1] == "[], 1 thread"
        here, there = await read_url(program), await read_url(program)
        async with (
            connect(here, path=PATH, auth=token(sign)) as one,
            connect(there, path=PATH, auth=token(sign), transports=["polling"]) as other,
        ):
            assert one.connection.open_packet.sid[:6] != other.connection.open_packet.sid[:6]
            published = [await publish(sign, url) for url in (here, there) * 5]
            # Each process makes its calls under a name of its own: the log takes none for the repetition of another.
            assert len({answer.json()["position"] for answer in published}) == len(published)
            for client in (one, other):
                assert [(await client.expect_event("sold")).args for _ in published] == [[SOLD]] * len(published)
            ended = await program.stop(signal.SIGTERM)
            assert (ended.status, '"error"' in ended.err) == (0, False)


async def test_another_loop_touches_nothing(tmp_path: Path) -> None:
    oyez = Oyez([shop("books")], Settings(oyez_data=str(tmp_path / "data")))
    async with oyez.running():
        publisher = oyez.systems["books"].publisher
        before = await publisher.emit(Sold(item="i-1", buyer="ada"))

        def in_a_thread() -> str | None:
            return asyncio.run(publisher.emit(Sold(item="i-2", buyer="ada")))

        with pytest.raises(WrongLoopError):
            await asyncio.to_thread(in_a_thread)
        assert await oyez.systems["books"].log.position() == before
