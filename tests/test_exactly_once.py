"""Official JavaScript clients with no code of their own: every stored event once, in order, as it was published.

Over dropped connections, over polling, and over a server that is killed with SIGKILL and started again.
"""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.support.js_client import JsClient, JsDriver
from tests.support.served import Served, serve

EVENT = "quote:offer:updated"
ROUNDS, KILLED_AFTER = 24, 11
"""Events, and which of them is published right after the server was killed; every third finds all clients away."""
TRANSPORTS = {"websocket": ["websocket"], "polling": ["polling"], "upgrade": ["polling", "websocket"]}


def offer(number: int) -> dict[str, Any]:
    updated = "2026-01-31T12:00:00Z"
    return {"offerId": f"o-{number}", "userId": "ada", "status": "seen", "updatedAt": updated}


async def expect_offers(client: JsClient, numbers: range) -> None:
    """Exactly these, each with the one argument that was published."""
    heard = [await client.expect_event(EVENT) for _ in numbers]
    assert [len(arguments) for arguments in heard] == [1] * len(numbers)
    assert [arguments[0]["offerId"] for arguments in heard] == [f"o-{number}" for number in numbers]


async def test_every_stored_event_is_received_once_and_without_an_unexpected_argument(
    tmp_path: Path, js: JsDriver
) -> None:
    data = tmp_path / "data"
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(serve(data, "quotes"))
        clients = {
            name: await js.connect(
                served.url,
                path="/quotes/socket.io/",
                auth={"token": served.token("ada")},
                transports=transports,
                reconnection=True,
                reconnectionDelay=50,
                reconnectionDelayMax=200,
            )
            for name, transports in TRANSPORTS.items()
        }
        for number in range(ROUNDS):
            away = number % 3 == 2
            if number == KILLED_AFTER:
                served = await kill_and_start_again(stack, served, data)
            elif away:
                await asyncio.gather(*(client.cut() for client in clients.values()))
            await served.publish(EVENT, offer(number))
            if away:
                for client in clients.values():
                    assert (await client.expect("connect"))["recovered"]
                    assert (await client.expect_event("oyez:recovery"))[0]["recovered"]
        for client in clients.values():
            await expect_offers(client, range(ROUNDS))
            assert not client.events()
            await client.disconnect()


async def kill_and_start_again(stack: AsyncExitStack, served: Served, data: Path) -> Served:
    served.process.send_signal(signal.SIGKILL)
    await served.process.wait()
    port = served.url.rpartition(":")[2]
    return await stack.enter_async_context(serve(data, "quotes", PORT=port, PATH=os.environ["PATH"]))


async def test_a_token_is_renewed_by_the_official_pattern_and_nothing_is_lost(tmp_path: Path, js: JsDriver) -> None:
    """`auth` is a function, the token ends, and the client is back with a new one and its session."""
    async with serve(tmp_path / "data", "quotes", JWT_LEEWAY="0") as served:
        client = await js.connect(
            served.url,
            path="/quotes/socket.io/",
            tokens=[served.token("ada", lifetime=2.0), served.token("ada")],
            transports=["websocket"],
            reconnection=True,
            reconnectionDelay=400,
        )
        await served.publish(EVENT, offer(0))
        await client.expect("disconnect")
        await served.publish(EVENT, offer(1))
        report = await client.expect("connect")
        assert report["recovered"] and report["id"] == client.id
        assert (await client.expect_event("oyez:recovery"))[0]["recovered"]
        await expect_offers(client, range(2))
        await client.disconnect()
