"""Receipts in the test kit: clients that acknowledge and clients that do not, those that come later, and the clock."""

import pytest

from oyez.errors import UNKNOWN_RECEIPTS, RefusedError
from oyez.testing import start
from tests.support.parcels import Arrived, crew, system


async def test_a_test_reads_the_receipts_of_an_event() -> None:
    async with start(system) as oyez:
        for user in ("ada", "bob", "cleo", "dan"):
            await oyez.add_member(crew("north"), f"user:{user}")
        ada, bob = await oyez.connect("ada"), await oyez.connect("bob")
        cleo = await oyez.connect("cleo", auth={"recovery": True})
        for client in (ada, bob, cleo):
            await client.join("crew:north")
        ada.answer("briefing")
        await cleo.drop()
        position = await oyez.publish("briefing", text="now", to="crew:north")
        assert position is not None
        await ada.expect_event("briefing", text="now")
        await oyez.advance(60.0)
        assert await cleo.reconnect()
        await oyez.settle()
        page = await oyez.receipts(position)
        users = {one.user: (one.delivered, one.replayed, one.acknowledged) for one in page.receipts}
        assert list(users) == ["ada", "bob", "cleo"]
        assert users["ada"] == (page.at, None, page.at) and users["bob"] == (page.at, None, None)
        assert users["cleo"][0] is None and users["cleo"][1] not in (None, page.at)
        assert [one.user for one in (await oyez.receipts(position, "never")).receipts] == ["dan"]
        assert (await oyez.receipts(position, user="bob")).receipts[0].user == "bob"


async def test_receipts_end() -> None:
    async with start(system, receipt_days=2) as oyez:
        old = await oyez.publish(Arrived(customerId="ada", parcel="p-1"))
        assert old is not None and (await oyez.receipts(old)).counts.never == 1
        await oyez.advance(3 * 86_400.0)
        new = await oyez.publish(Arrived(customerId="ada", parcel="p-2"))
        assert new is not None and (await oyez.receipts(new)).counts.never == 1
        with pytest.raises(RefusedError) as refused:
            await oyez.receipts(old)
        assert refused.value.refusal is UNKNOWN_RECEIPTS
