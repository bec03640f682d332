"""`oyez serve --workers`: processes that share the port, one of which may die, and all of which may be replaced."""

import asyncio
import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from oyez.client import connect
from tests.cli.test_serve import read_banner
from tests.support import py_client
from tests.support.clock import PATIENCE
from tests.support.js_client import JsDriver
from tests.support.terminal import Running, find_signer, sign, start

OFFER = {"offerId": "o", "userId": "ada", "status": "withdrawn", "updatedAt": "2026-01-31T12:00:00Z"}
PATH = "/quotes/socket.io/"


def find_workers(serving: Running) -> list[int]:
    """The processes that serve, by their ids."""
    pid = serving.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def publish(folder: Path, url: str, numbers: Sequence[int]) -> None:
    key = find_signer(folder).sign_service("quotes", None)
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=PATIENCE) as client:
        for number in numbers:
            body = {"event": "quote:offer:updated", "data": {**OFFER, "offerId": str(number)}}
            assert (await client.post(f"{url}/quotes/events", json=body)).status_code == 200


async def test_clients_of_all_workers_receive_what_one_worker_published(folder: Path) -> None:
    async with start(folder, "serve", "quotes", "--port", "0", "--workers", "2") as serving, JsDriver.start() as js:
        url, _ = await read_banner(serving)
        assert len(find_workers(serving)) == 2
        auth = {"token": sign(folder)}
        ways: list[list[str]] = [["polling"], ["websocket"], ["polling", "websocket"]]
        clients = [await js.connect(url, path=PATH, auth=auth, transports=way) for way in ways for _ in range(4)]
        async with (
            py_client.connect(url, path=PATH, auth=auth, transports=["polling"]) as polling,
            py_client.connect(url, path=PATH, auth=auth) as upgraded,
        ):
            await publish(folder, url, range(3))
            for client in clients:
                assert [(await client.expect_event("quote:offer:updated"))[0]["offerId"] for _ in range(3)] == [*"012"]
            for python in (polling, upgraded):
                assert [(await python.expect_event("quote:offer:updated"))[0]["offerId"] for _ in range(3)] == [*"012"]
        ended = await serving.stop(signal.SIGTERM)
        assert (ended.status, ended.out) == (0, "")
        for client in clients:
            await client.expect("disconnect")


async def test_a_worker_that_is_killed_is_replaced_and_its_clients_miss_nothing(folder: Path) -> None:
    async with start(folder, "serve", "quotes", "--port", "0", "--workers", "2") as serving, JsDriver.start() as js:
        url, _ = await read_banner(serving)
        options: dict[str, Any] = {"reconnection": True, "reconnectionDelay": 100, "reconnectionDelayMax": 1000}
        auth = {"token": sign(folder)}
        clients = [await js.connect(url, path=PATH, auth=auth, **options) for _ in range(6)]
        before = find_workers(serving)
        await publish(folder, url, [0])
        os.kill(before[0], signal.SIGKILL)
        found = await serving.expect_note('"event": "a worker died; another takes its place"')
        assert f'"pid": {before[0]}' in found.string
        for client in clients:
            if await client.transport() is None or any(report["what"] == "disconnect" for report in client.reports):
                await client.expect("connect", recovered=True)
        await publish(folder, url, [1, 2])
        for client in clients:
            got = [(await client.expect_event("quote:offer:updated"))[0]["offerId"] for _ in range(3)]
            assert got == [*"012"]
        async with asyncio.timeout(PATIENCE):
            while len(after := find_workers(serving)) < 2:  # noqa: ASYNC110 - nothing says when
                await asyncio.sleep(0.01)
        assert before[1] in after and before[0] not in after
        assert (await serving.stop(signal.SIGTERM)).status == 0


async def test_a_worker_that_is_stopped_is_noticed_and_replaced(folder: Path) -> None:
    words = ["serve", "quotes", "--port", "0", "--workers", "2", "--worker-timeout", "4"]
    async with start(folder, *words) as serving, JsDriver.start() as js:
        url, _ = await read_banner(serving)
        options: dict[str, Any] = {"reconnection": True, "reconnectionDelay": 100, "reconnectionDelayMax": 1000}
        auth = {"token": sign(folder)}
        clients = [await js.connect(url, path=PATH, auth=auth, **options) for _ in range(12)]
        before = find_workers(serving)
        os.kill(before[0], signal.SIGSTOP)
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as http:
            await until_answering(http, 1)
            found = await serving.expect_note('"event": "a worker does not answer and is killed"')
            assert f'"pid": {before[0]}' in found.string
            await serving.expect_note('"event": "a worker died; another takes its place"')
            await until_answering(http, 2)
        after = find_workers(serving)
        assert len(after) == 2 and before[0] not in after and before[1] in after
        await publish(folder, url, [1])
        for client in clients:
            assert (await client.expect_event("quote:offer:updated"))[0]["offerId"] == "1"
        assert (await serving.stop(signal.SIGTERM)).status == 0


async def until_answering(http: httpx.AsyncClient, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await fetch_team(http)) != {"configured": 2, "answering": count}:  # noqa: ASYNC110 - nothing says when
            await asyncio.sleep(0.05)


async def fetch_team(http: httpx.AsyncClient) -> Any:
    """A worker's answer about all workers; None if the worker that was asked does not answer."""
    try:
        response = await http.get("/readyz", headers={"connection": "close"}, timeout=1)
    except httpx.TransportError:
        return None
    assert response.status_code == 200
    return response.json().get("workers")


async def test_a_supervisor_that_was_paused_kills_no_worker(folder: Path) -> None:
    words = ["serve", "quotes", "--port", "0", "--workers", "2", "--worker-timeout", "3"]
    async with start(folder, *words) as serving:
        url, _ = await read_banner(serving)
        before = find_workers(serving)
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as http:
            await until_answering(http, 2)
        for pid in (serving.process.pid, *before):
            os.kill(pid, signal.SIGSTOP)
        # Longer than the time-out: what is tested is that this time does not count.
        await asyncio.sleep(3.5)
        for pid in (*before, serving.process.pid):
            os.kill(pid, signal.SIGCONT)
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as http:
            await until_answering(http, 2)
        assert find_workers(serving) == before


async def test_on_sighup_workers_are_replaced_and_clients_miss_nothing(folder: Path) -> None:
    (folder / "oyez.toml").write_text("port = 0\nworkers = 2\nping_interval = 7\n")
    async with start(folder, "serve", "quotes") as serving, JsDriver.start() as js:
        url, _ = await read_banner(serving)
        options: dict[str, Any] = {"reconnection": True, "reconnectionDelay": 100, "reconnectionDelayMax": 500}
        auth = {"token": sign(folder)}
        clients = [await js.connect(url, path=PATH, auth=auth, **options) for _ in range(6)]
        before = set(find_workers(serving))
        # Settings that became wrong leave the workers as they are.
        (folder / "oyez.toml").write_text("port = zero\n")
        serving.process.send_signal(signal.SIGHUP)
        await serving.expect_note("the settings cannot be read; the workers stay")
        assert set(find_workers(serving)) == before
        (folder / "oyez.toml").write_text("port = 0\nworkers = 2\nping_interval = 8\n")
        serving.process.send_signal(signal.SIGHUP)
        await publish(folder, url, range(100))
        await serving.expect_note('"event": "all workers have been replaced"')
        await publish(folder, url, range(100, 110))
        for client in clients:
            got = [(await client.expect_event("quote:offer:updated"))[0]["offerId"] for _ in range(110)]
            assert got == [str(number) for number in range(110)]
        assert not before & set(find_workers(serving))
        async with httpx.AsyncClient(timeout=PATIENCE) as http:
            opened = (await http.get(f"{url}{PATH}?EIO=4&transport=polling")).text
            assert '"pingInterval":8000' in opened
        assert (await serving.stop(signal.SIGINT)).status == 0


async def test_workers_without_a_supervisor_stop(folder: Path) -> None:
    async with start(folder, "serve", "quotes", "--port", "0", "--workers", "2") as serving:
        url, _ = await read_banner(serving)
        async with connect(url, path=PATH, auth={"token": sign(folder)}) as client:
            workers = find_workers(serving)
            serving.process.kill()
            assert await client.expect_disconnect() == "transport close"
        async with asyncio.timeout(PATIENCE):
            while any(map(lives, workers)):  # noqa: ASYNC110 - nothing says when
                await asyncio.sleep(0.05)


async def test_what_cannot_be_served_is_reported_before_any_worker_starts(folder: Path) -> None:
    async with start(folder, "serve", "nothing.py", "--port", "0", "--workers", "2") as serving:
        ended = await serving.wait()
    assert ended.status == 1
    assert re.fullmatch(r"Error: nothing\.py does not exist\. .+\n", ended.err)


async def test_a_worker_that_does_not_come_up(folder: Path) -> None:
    """The contract loads in the supervisor but not in the workers, because the code changed in between."""
    (folder / "once.py").write_text(
        "import os\n"
        "from oyez.contract import Contract, auth, role, own\n"
        "if os.path.exists('ran'):\n    raise RuntimeError('twice')\n"
        "open('ran', 'w').close()\n"
        "contract = Contract('once', description='x', roles=('user',), default_role='user', tokens=(auth('token'),))\n"
        "contract.namespace('/')\n"
    )
    async with start(folder, "serve", "once.py", "--port", "0", "--workers", "2") as serving:
        ended = await serving.wait()
    assert ended.status == 1
    assert "twice" in ended.err
    assert "a worker did not come up" in ended.err


@pytest.mark.parametrize("count", ["0", "x"])
def test_a_number_of_workers_that_is_none(oyez: Any, count: str) -> None:
    ended = oyez("serve", "quotes", "--workers", count)
    assert ended.status in (1, 2)
