"""Clients that acknowledge what they never received, twice, in floods and with much data; and wrong keys."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from oyez.client import Client
from oyez.server.namespaces.event_frames import FIRST_RECEIPT
from oyez.service.app import Oyez
from oyez.service.receipts.answers import EventReceipts, ReceiptsQuery
from oyez.settings import Settings
from tests.support.clock import PATIENCE
from tests.support.parcels import system
from tests.support.shops import Market, serve


@pytest.fixture(scope="module")
async def market(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Market]:
    settings = Settings(oyez_data=str(tmp_path_factory.mktemp("receipts")))
    async with serve(Oyez([system], settings)) as market:
        yield market


async def publish(market: Market, user: str) -> str:
    body = {"event": "arrived", "data": {"customerId": user, "parcel": "p-1"}}
    return str((await market.call("POST", "/parcels/events", body)).json()["position"])


async def read(market: Market, position: str) -> EventReceipts:
    served = market.oyez.systems["parcels"]
    async with asyncio.timeout(PATIENCE):
        await served.receipts.flushed()
    return await served.receipt_reader.read(position, ReceiptsQuery())


def make_id(position: str) -> int:
    return FIRST_RECEIPT + int(position.partition(".")[2])


async def acknowledge(client: Client, ack_id: int, *values: object) -> None:
    """An acknowledgement, whether the server asks for it or not."""
    await client._acknowledge(ack_id, *values)


async def test_a_hostile_client_acknowledges_nothing_and_harms_nobody(market: Market) -> None:
    async with market.connect("parcels", "ada") as ada, market.connect("parcels", "eve") as eve:
        position = await publish(market, "ada")
        await ada.expect_event("arrived")
        for ack_id in (0, 1, make_id(position), make_id(position) + 1_000, 2**31, 2**53 - 1):
            for _ in range(20):
                await acknowledge(eve, ack_id)
        await acknowledge(eve, make_id(position), "x" * 100_000)
        # It is still served, and what it did has been read.
        await eve.call("track", {"parcel": "p-1"})
        page = await read(market, position)
        assert [(one.user, one.acknowledged) for one in page.receipts] == [("ada", None)]
        for _ in range(3):
            await acknowledge(ada, make_id(position), {"anything": ["x"] * 100})
        await ada.call("track", {"parcel": "p-1"})
        page = await read(market, position)
        assert [(one.user, one.acknowledged is not None) for one in page.receipts] == [("ada", True)]
        assert market.oyez.systems["parcels"].receipts.results["acknowledged"] == 1


async def test_only_a_key_for_the_event_reads_its_receipts(market: Market) -> None:
    position = await publish(market, "zoe")
    await read(market, position)
    keys = market.oyez.service_keys
    _, fitting = await keys.make("fits", "anna", ["parcels"], ["arr*"])
    _, other = await keys.make("other", "anna", ["parcels"], ["moved"])
    path = f"/parcels/events/{position}/receipts"
    found = [
        (await market.call("GET", path, headers={"authorization": f"Bearer {key}"})).status_code
        for key in (fitting, other, market.token("zoe"))
    ]
    assert found == [200, 403, 401]
    assert (await market.call("GET", "/parcels/events/none/receipts")).json()["code"] == "unknown_receipts"
    assert (await market.call("GET", f"{path}?state=lost")).status_code == 422


async def test_events_without_receipts_ask_for_nothing(market: Market) -> None:
    async with market.connect("parcels", "ada") as ada:
        body = {"event": "moved", "data": {"customerId": "ada", "place": "here"}}
        position = (await market.call("POST", "/parcels/events", body)).json()["position"]
        assert (await ada.expect_event("moved")).args == [{"customerId": "ada", "place": "here"}]
    answer = await market.call("GET", f"/parcels/events/{position}/receipts")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_receipts")
