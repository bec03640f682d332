"""`oyez webhooks`: receivers are added, tried, disabled and removed, and dead letters are sent again."""

import asyncio

import httpx
import pytest
from standardwebhooks import Webhook

from tests.cli.test_publish import PACKED
from tests.service.webhooks.receiver import serve_receiver
from tests.support.clock import PATIENCE
from tests.support.served import Served
from tests.support.terminal import ORDERS, Calls, Ended


async def test_the_life_of_a_receiver(oyez: Calls, served: Served) -> None:
    async def call(command: str, *words: str) -> Ended:
        where = ["--url", served.url, "--oyez-data", served.settings.oyez_data]
        return await asyncio.to_thread(oyez, "webhooks", command, ORDERS, *words, *where)

    async with serve_receiver() as server:
        added = await call("add", server.url, "--event", "order:packed")
        words = dict(line.split() for line in added.out.splitlines())
        id, server.secret = words["receiver"], words["secret"]
        listed = (await call("list")).out
        assert [word for word in (id, server.url, "order:packed", "enabled") if word not in listed] == []
        await served.publish("order:packed", PACKED, system="orders")
        (received,) = await server.expect(1)
        assert received.payload["data"] == PACKED
        assert (await call("test", id)).out == f"{id} has accepted it\n"

        rotated = await call("rotate", id)
        assert "The old secret also signs until" in rotated.err
        new = rotated.out.split()[1]
        await call("test", id)
        last = server.received[-1]
        for secret in (server.secret, new):
            Webhook(secret).verify(last.body, last.headers)

        server.default = 410
        assert "did not accept it: status 410." in (await call("test", id)).error
        await served.publish("order:packed", PACKED, system="orders")
        while "disabled: it answered 410" not in (await call("list")).out:  # noqa: ASYNC110 - nothing says when
            await asyncio.sleep(0.01)
        dead = (await call("dead", id)).out
        assert "order:packed" in dead and "status 410" in dead
        server.default = 200
        assert (await call("enable", id)).out == f"{id} is enabled\n"
        count = len(server.received)
        assert (await call("replay", id, "msg_other")).out == "0 are sent again\n"
        assert (await call("replay", id)).out == "1 are sent again\n"
        await server.expect(count + 1)
        assert (await call("disable", id)).out == f"{id} is disabled\n"
        assert "disabled: by the operator" in (await call("list")).out
        assert (await call("remove", id)).out == f"{id} is removed\n"
        assert (await call("remove", id)).error == "unknown_receiver: There is no such receiver of webhooks."


@pytest.mark.parametrize("words", [["list"], ["add", "https://shop.example/"]])
def test_no_server_listens(oyez: Calls, words: list[str]) -> None:
    oyez("token", "quotes", "--service")
    ended = oyez("webhooks", words[0], "quotes", *words[1:], "--url", "http://127.0.0.1:1")
    assert ended.error.endswith("Connection refused. Start the server, or give its --url.")


async def test_a_key_for_webhooks(oyez: Calls, served: Served) -> None:
    where = ["--oyez-data", served.settings.oyez_data]
    made = await asyncio.to_thread(oyez, "token", ORDERS, "--service", "--scope", "webhooks", *where)
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {made.out.strip()}"}, timeout=PATIENCE) as client:
        answer = await client.get(f"{served.url}/orders/webhooks")
    assert answer.json()["events"] == ["order:packed"]
