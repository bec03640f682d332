"""Namespaces whose names have ids, over two processes and two workers: guests, presence, welcome, recovery, rights."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.js_client import JsClient, JsConnectError
from tests.support.pairs import PLACES, SUPPORT, Pair, open_pair
from tests.support.valkey import ValkeyServer

RECONNECTS: dict[str, Any] = {"reconnection": True, "reconnectionDelay": 50, "randomizationFactor": 0}


@pytest.fixture(scope="module", params=PLACES)
async def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, valkey: ValkeyServer
) -> AsyncIterator[Pair]:
    async with open_pair(SUPPORT / "plaza.py", request.param, tmp_path_factory.mktemp("pair"), valkey) as pair:
        yield pair


async def connect(pair: Pair, user: str | None, namespace: str, *, here: bool = True, **options: Any) -> JsClient:
    server = pair.here if here else pair.there
    return await pair.connect(server, user, namespace, transports=["websocket"], **options)


async def test_guests_come_and_go_and_what_they_miss_is_recovered(pair: Pair) -> None:
    ada = await connect(pair, "ada", "/shop-17", **RECONNECTS)
    assert (await ada.call("enter"))["ok"]
    assert await ada.expect_event("menu") == [{"shopId": "17", "text": "in /shop-17"}]
    assert await ada.expect_event("entered") == [{"userId": "ada", "shopId": "17"}]
    guest = await connect(pair, None, "/shop-17", here=False)
    stranger = await connect(pair, "eve", "/shop-18", here=False)
    assert (await guest.call("enter"))["ok"]
    assert await guest.expect_event("menu") == [{"shopId": "17", "text": "in /shop-17"}]
    [entered] = await ada.expect_event("entered")
    assert entered["userId"].startswith("guest:") and entered["shopId"] == "17"
    assert (await guest.call("say", {"text": "hello"}))["ok"]
    assert await ada.expect_event("said") == [{"text": "hello"}]
    await ada.cut()
    assert (await guest.call("say", {"text": "missed"}))["ok"]
    assert (await ada.expect("connect"))["recovered"]
    assert await ada.expect_event("said") == [{"text": "missed"}]
    await guest.disconnect()
    assert await ada.expect_event("exited") == [{"userId": entered["userId"], "count": 1}]
    assert stranger.events() == []


async def test_members_are_admitted_and_sent_away(pair: Pair) -> None:
    async def change(method: str) -> None:
        path = "/plaza/rooms/inside/members/user:bob?namespace=/club-7"
        headers = {"authorization": f"Bearer {pair.here.service_key('plaza')}"}
        assert (await pair.here.request(method, path, headers=headers)).is_success

    with pytest.raises(JsConnectError) as refused:
        await connect(pair, "bob", "/club-7")
    assert refused.value.data["code"] == "forbidden"
    await change("PUT")
    here, there = [await connect(pair, "bob", "/club-7", here=here) for here in (True, False)]
    await pair.here.post({"event": "gong", "namespace": "/club-7"}, system="plaza")
    for client in (here, there):
        assert await client.expect_event("gong") == []
    await change("DELETE")
    for client in (here, there):
        assert (await client.expect("disconnect"))["reason"] == "io server disconnect"
