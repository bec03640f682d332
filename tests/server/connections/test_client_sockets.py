"""The sockets of one client: the first of their tokens that expires ends its connection."""

import pytest

from tests.support.application import Market
from tests.support.clock import Clock
from tests.support.serving import serve
from tests.support.wire import PollingWire, SocketWire


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_a_token_that_expires_ends_the_connection(transport: str) -> None:
    clock, auth = Clock(), {"lifetime": 600}
    async with serve(clock=clock, ping_interval=10_000.0) as running:
        if transport == "polling":
            client = await PollingWire.connect(running, auth)
            running.pass_time(590.0)
            await client.expect_echo()
            running.pass_time(12.0)
            assert (await client.request("GET")).error == (400, 1)
            assert await running.market.expect_gone(client.id) == "token expired"
        else:
            async with SocketWire.connect(running, auth) as wire:
                running.pass_time(590.0)
                await wire.expect_echo()
                running.pass_time(12.0)
                await wire.expect_close(1008)
                assert await running.market.expect_gone(wire.id) == "token expired"


async def test_the_first_token_that_expires_counts() -> None:
    clock, other = Clock(), Market()
    async with (
        serve(clock=clock, namespaces={"/other": other}, ping_interval=10_000.0) as running,
        SocketWire.connect(running, {"lifetime": 600}) as wire,
    ):
        await wire.enter({"lifetime": 60}, "/other")
        running.pass_time(62.0)
        await wire.expect_close(1008)
