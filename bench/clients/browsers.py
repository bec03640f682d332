"""What a page meets in a browser: other origins, cookies, a lost network, a frozen tab, a reload, a killed server."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.clients.cases import EVENTS, PATH, POLLING, TRANSPORTS, UPGRADE
from tests.clients.drivers import Remote
from tests.clients.test_matrix import FILE
from tests.support.driver import Driver
from tests.support.proxy import Proxy
from tests.support.served import Served, serve

from bench.clients.checks import run_checks

FOLDER = Path(__file__).parent
BUNDLE = FOLDER.parents[1] / "tests" / "js" / "node_modules" / "socket.io-client" / "dist"
FROZEN_SECONDS = 4.0
"""Longer than the server's ping interval and time-out together."""
SETTINGS = {"PING_INTERVAL": "1", "PING_TIMEOUT": "1"}


@dataclass
class Browser:
    """A browser, the servers its pages talk to, and how to open pages."""

    kind: str
    driver: Driver
    front: Served
    back: Served
    origin: str
    pid: int
    data: Path
    stack: AsyncExitStack

    async def open(
        self, name: str, transports: tuple[str, ...] = UPGRADE, *, port: int | None = None, **details: Any
    ) -> Remote:
        """A page whose client is user `name`; with `cookie`, its token is in a cookie."""
        client = Remote(self.driver, name)
        token, cookie = self.front.token(name), details.pop("cookie", False)
        options = {"path": PATH, "transports": transports, "reconnectionDelay": 100, "reconnectionDelayMax": 300}
        options |= {"withCredentials": True} if cookie else {"auth": {"token": token}}
        # A site, as cookies count it, is a host name: the page's is localhost.
        url = f"http://localhost:{port or self.front.url.rpartition(':')[2]}"
        await client.open(
            details.pop("url", url), options=options, events=EVENTS, cookie=f"access_token={token}" if cookie else None
        )
        return client

    async def publish(self, client: Remote, *numbers: int) -> None:
        bodies = [{"event": "order", "data": {"number": number}, "to": f"buyer:{client.name}"} for number in numbers]
        response = await self.back.post(bodies, system="shop")
        assert response.status_code == 200, response.text


def list_descendants(pid: int) -> Iterator[int]:
    """A process and all that it started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from list_descendants(int(child))


def signal_all(pid: int, number: int) -> None:
    """Send a signal to a process and to all that it started; some may have ended."""
    with suppress(FileNotFoundError):
        for each in list(list_descendants(pid)):
            with suppress(ProcessLookupError):
                os.kill(each, number)


def find_program(kind: str) -> str | None:
    """The browser's path; an empty one for the Chromium of the npm package, None if there is no Firefox."""
    return "" if kind == "chromium" else shutil.which("firefox-esr") or shutil.which("firefox")


@asynccontextmanager
async def open_browser(kind: str, program: str, folder: Path) -> AsyncIterator[Browser]:
    async with AsyncExitStack() as stack:
        command = ("node", str(FOLDER / "browser.mjs"), kind, str(BUNDLE), program)
        driver = await stack.enter_async_context(Driver.start_program(command))
        origin = await driver.command("origin")
        started = await driver.command("start")
        stack.callback(signal_all, started["pid"], signal.SIGKILL)
        data = folder / kind
        front, back = [
            await stack.enter_async_context(serve(data, FILE, CLIENT_ORIGIN=origin, **SETTINGS)) for _ in range(2)
        ]
        print(f"{started['version']}, pages from {origin}")
        yield Browser(kind, driver, front, back, origin, started["pid"], data, stack)


def numbers(client: Remote) -> list[int]:
    """The stored events that a page's handler got; each must be its only argument."""
    assert all(len(arguments) == 1 for arguments in client.arguments("order")), client.arguments("order")
    return [arguments[0]["number"] for arguments in client.arguments("order")]


async def expect_numbers(client: Remote, *expected: int) -> None:
    await client.until("event", count=len(expected), event="order")
    # An acknowledgement comes after everything sent before it.
    await client.call("echo", {"text": "barrier"})
    assert numbers(client) == list(expected), client.reports


async def expect_recovered(client: Remote, count: int = 2) -> None:
    connects = await client.until("connect", count=count)
    assert connects[count - 1]["recovered"] is True, connects


async def check_other_origin(browser: Browser) -> None:
    """Events, acknowledgements both ways and binary data, over each transport."""
    for transports in TRANSPORTS:
        client = await browser.open("-".join(transports), transports)
        await client.until("upgrade" if transports == UPGRADE else "connect")
        await browser.publish(client, 1, 2)
        await expect_numbers(client, 1, 2)
        answer = await client.call("survey", {"question": "well?"})
        assert answer == [{"ok": True, "answer": [{"echo": "well?"}]}], answer
        (question,) = await client.until("event", event="question")
        assert question["args"] == ["well?", {"bytes": 2}], question
        (answer,) = await browser.driver.command("upload", name=client.name, size=70_000)
        assert answer["size"] == 70_000, answer
        await client.close()


async def check_foreign_origin(browser: Browser) -> None:
    """A server that does not know the page's origin refuses it."""
    async with serve(browser.data.parent / "foreign", FILE, CLIENT_ORIGIN="https://shop.example") as other:
        for transports in TRANSPORTS[:2]:
            client = await browser.open(f"foreign-{transports[0]}", transports, url=other.url)
            (error, *_) = await client.until("connect_error")
            assert error["message"] in ("xhr poll error", "websocket error"), error
            await client.close()


async def check_cookies(browser: Browser) -> None:
    for transports in TRANSPORTS:
        client = await browser.open(f"cookie-{'-'.join(transports)}", transports, cookie=True)
        await client.until("connect")
        await browser.publish(client, 1)
        await expect_numbers(client, 1)
        await client.close()


async def check_lost_network(browser: Browser) -> None:
    for transports in (POLLING, UPGRADE):
        async with Proxy.run(int(browser.front.url.rpartition(":")[2])) as proxy:
            client = await browser.open(f"offline-{len(transports)}", transports, port=proxy.port)
            await client.until("upgrade" if transports == UPGRADE else "connect")
            await browser.publish(client, 1)
            await expect_numbers(client, 1)
            proxy.cut()
            await client.until("disconnect")
            await browser.publish(client, 2, 3)
            await proxy.restore()
            await expect_recovered(client)
            await browser.publish(client, 4)
            await expect_numbers(client, 1, 2, 3, 4)
            await client.close()


async def check_frozen_tab(browser: Browser) -> None:
    clients = [await browser.open(f"frozen-{len(transports)}", transports) for transports in (POLLING, UPGRADE)]
    for client in clients:
        await client.until("connect")
        await browser.publish(client, 1)
        await expect_numbers(client, 1)
    signal_all(browser.pid, signal.SIGSTOP)
    for client in clients:
        await browser.publish(client, 2, 3)
    await asyncio.sleep(FROZEN_SECONDS)
    signal_all(browser.pid, signal.SIGCONT)
    for client in clients:
        await expect_recovered(client)
        await client.until("event", event="oyez:recovery", count=1)
        await client.call("echo", {"text": "barrier"})
        # The page's ping time-out may fire between an event and its position: that one event comes again.
        assert numbers(client) in ([1, 2, 3], [1, 2, 2, 3], [1, 2, 3, 3]), client.reports
        await client.close()


async def check_served_bundle(browser: Browser) -> None:
    """The client bundle that Oyez serves."""
    client = await browser.open("bundle", bundle=f"{browser.front.url}/shop/socket.io/socket.io.min.js")
    await client.until("connect")
    await browser.publish(client, 1)
    await expect_numbers(client, 1)
    await client.close()


async def check_plain_websocket(browser: Browser) -> None:
    client = await browser.open("plain")
    await client.until("connect")
    address = f"{browser.front.url.replace('http', 'ws')}/shop/ws?token={browser.front.token('plain')}"
    frames = [{"event": "echo", "data": {"text": "hi"}, "id": "a"}, {"event": "echo", "data": 1}]
    received = await browser.driver.command("speakPlainly", name="plain", address=address, frames=frames, count=4)
    assert [frame.get("event") for frame in received] == ["connect", "greeting", None, "error"], received
    assert received[2] == {"id": "a", "data": {"ok": True, "text": "hi"}}, received
    await client.close()


async def check_reload(browser: Browser) -> None:
    client = await browser.open("reload")
    (first,) = await client.until("connect")
    await browser.publish(client, 1)
    await expect_numbers(client, 1)
    await browser.driver.command("reload", name=client.name)
    second = (await client.until("connect", count=2))[1]
    assert second["recovered"] is False and second["id"] != first["id"]
    await browser.publish(client, 2)
    await expect_numbers(client, 1, 2)
    await client.close()


async def check_killed_server(browser: Browser) -> None:
    clients = [await browser.open(f"killed-{'-'.join(transports)}", transports) for transports in TRANSPORTS]
    for client in clients:
        await client.until("connect")
        await browser.publish(client, 1)
        await expect_numbers(client, 1)
    browser.front.process.send_signal(signal.SIGKILL)
    await browser.front.process.wait()
    for client in clients:
        await browser.publish(client, 2, 3)
    port = browser.front.url.rpartition(":")[2]
    browser.front = await browser.stack.enter_async_context(
        serve(browser.data, FILE, PORT=port, CLIENT_ORIGIN=browser.origin, **SETTINGS)
    )
    for client in clients:
        await expect_recovered(client)
        await browser.publish(client, 4)
        await expect_numbers(client, 1, 2, 3, 4)
        await client.close()


async def check_refusal(browser: Browser) -> None:
    """A refusal is readable and final: one error, no `disconnect` before it."""
    for transports in TRANSPORTS:
        client = Remote(browser.driver, f"refused-{'-'.join(transports)}")
        options = {"path": PATH, "transports": transports, "auth": {"token": "forged"}, "reconnectionDelay": 100}
        await client.open(browser.front.url, options=options, events=EVENTS)
        await client.until("connect_error")
        await asyncio.sleep(0.5)
        happened = [report["what"] for report in client.reports if report["what"] != "upgrade"]
        assert happened == ["connect_error"], client.reports
        assert client.find("connect_error")[0]["data"] == {"code": "token_invalid"}
        await client.close()


Check = Callable[[Browser], Coroutine[Any, Any, None]]
CHECKS: dict[str, Check] = {
    "another origin, each transport": check_other_origin,
    "an origin that is not allowed": check_foreign_origin,
    "token in a cookie": check_cookies,
    "refusal": check_refusal,
    "network lost and back": check_lost_network,
    "tab frozen beyond the ping time-out": check_frozen_tab,
    "reload": check_reload,
    "the bundle that Oyez serves": check_served_bundle,
    "plain WebSocket": check_plain_websocket,
    "server killed": check_killed_server,
}


async def run(kind: str, program: str, folder: Path) -> dict[str, str]:
    """By check what came of it: empty if all was as it should be."""
    async with open_browser(kind, program, folder) as browser:
        return await run_checks({name: partial(check, browser) for name, check in CHECKS.items()})
