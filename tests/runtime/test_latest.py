"""The newest volatile event of a room, which clients on every node receive when they join."""

import asyncio
from collections.abc import Sequence

import pytest

from oyez.log.log import escape_name
from oyez.log.memory import MemoryLog
from tests.runtime.club import Place, board, group, open_club
from tests.support.tasks import Spawn

DAILY = board("daily")


async def test_a_client_that_joins_gets_the_newest_one_from_any_node() -> None:
    async with open_club(nodes=2) as club, club.connect("ada") as there, club.connect("bob", node=1) as late:
        await there.call("board:join", "daily")
        await there.expect_nothing("place")
        for text in ("old", "new"):
            await club.publisher.emit(Place(text=text), DAILY)
            assert (await there.expect_event("place")).args[0]["text"] == text
        assert (await late.call("board:join", "daily"))["ok"]
        assert (await late.expect_event("place")).args == [{"text": "new"}]
        await late.call("board:join", "weekly")
        await late.expect_nothing("place")


async def test_only_clients_that_may_join_receive_it() -> None:
    async with open_club() as club, club.connect("ada") as member, club.connect("eve") as stranger:
        club.add("user:ada", group("g1"))
        await club.publisher.emit(Place(text="secret"), group("g1"))
        assert not (await stranger.call("group:join", "g1"))["ok"]
        await stranger.expect_nothing("place")
        # It comes before the acknowledgement, as what a hook emits.
        await member.call("group:join", "g1")
        assert (await member.expect_event("place")).args == [{"text": "secret"}]


async def test_an_event_with_exclusions_or_a_deleted_one_is_not_sent() -> None:
    async with open_club() as club, club.connect("ada") as client:
        await club.publisher.emit(Place(text="not for all"), DAILY, excluding=[board("weekly")])
        await client.call("board:join", "daily")
        await client.expect_nothing("place")
        await client.call("board:leave", "daily")
        await club.publisher.emit(Place(text="over"), DAILY)
        await club.publisher.latest.forget(Place, DAILY)
        await client.call("board:join", "daily")
        await client.expect_nothing("place")


async def test_the_kept_event_can_be_read() -> None:
    async with open_club() as club:
        latest = club.publisher.latest
        assert await latest.read(Place, DAILY) is None
        await club.publisher.emit(Place(text="here"), DAILY)
        assert await latest.read(Place, DAILY) == Place(text="here")
        await latest.forget(Place, DAILY)
        assert await latest.read(Place, DAILY) is None


async def test_a_newer_event_that_is_delivered_during_the_look_up_is_the_clients_last(
    monkeypatch: pytest.MonkeyPatch, spawn: Spawn
) -> None:
    found, goes_on = asyncio.Event(), asyncio.Event()

    class SlowLog(MemoryLog):
        """The answer to the first look-up arrives only after `goes_on` is set."""

        async def get_all(self, keys: Sequence[str]) -> dict[str, bytes]:
            answer = await super().get_all(keys)
            found.set()
            await goes_on.wait()
            return answer

    monkeypatch.setattr("tests.runtime.club.MemoryLog", SlowLog)
    async with open_club() as club, club.connect("ada") as client:
        await club.publisher.emit(Place(text="old"), DAILY)
        joining = spawn(client.call("board:join", "daily"))
        await found.wait()
        await club.publisher.emit(Place(text="new"), DAILY)
        assert (await client.expect_event("place")).args == [{"text": "new"}]
        goes_on.set()
        received = [(await client.expect_event("place")).args[0]["text"] for _ in range(2)]
        assert received == ["old", "new"]
        assert (await joining)["ok"]
        await client.expect_nothing("place")


async def test_a_flipped_bit_costs_only_the_kept_event() -> None:
    async with open_club() as club, club.connect("ada") as client:
        await club.publisher.emit(Place(text="here"), DAILY)
        key = f"latest:{escape_name('/')}:place:{DAILY}"
        record = bytearray(await club.log.get(key) or b"")
        record[-5] ^= 4
        await club.log.put(key, bytes(record), 60.0)
        assert await club.publisher.latest.read(Place, DAILY) is None
        assert (await client.call("board:join", "daily"))["ok"]
        await client.expect_nothing("place")
        await club.publisher.emit(Place(text="there"), DAILY)
        assert await club.publisher.latest.read(Place, DAILY) == Place(text="there")
