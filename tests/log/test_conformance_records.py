"""What every backend promises about records: small values, mostly with an end, the same on every node."""

import asyncio

import pytest

from oyez.log.log import Log
from tests.log.backends import RETENTION, Clock, OpenLog
from tests.log.verbs import entry


async def test_what_is_put_is_got_until_it_ends(log: Log, clock: Clock) -> None:
    assert await log.get("k") is None
    await log.put("k", b"one", 10)
    assert await log.get("k") == b"one"
    clock.advance(9)
    assert await log.get("k") == b"one"
    clock.advance(2)
    assert await log.get("k") is None


async def test_putting_again_replaces_value_and_end(log: Log, clock: Clock) -> None:
    await log.put("k", b"one", 10)
    await log.put("k", b"two", 100)
    clock.advance(50)
    await log.put("another", b"", 1)
    assert await log.get("k") == b"two"
    await log.put("k", b"three", 1)
    clock.advance(2)
    assert await log.get("k") is None


async def test_several_are_got_at_once(log: Log, clock: Clock) -> None:
    await log.put("k", b"one", 10)
    await log.put("a'\"%\\\u20ac", b"", 100)
    asked = ["k", "never", "a'\"%\\\u20ac"]
    assert await log.get_all(asked) == {"k": b"one", "a'\"%\\\u20ac": b""}
    clock.advance(11)
    assert await log.get_all(asked) == {"a'\"%\\\u20ac": b""}
    assert await log.get_all([]) == {}


async def test_what_is_taken_is_gone(log: Log, clock: Clock) -> None:
    await log.put("k", b"one", 10)
    assert await log.get_and_delete("k") == b"one"
    assert await log.get_and_delete("k") is None
    assert await log.get("k") is None
    await log.put("k", b"two", 10)
    clock.advance(11)
    assert await log.get_and_delete("k") is None


async def test_adding_keeps_what_is_there(log: Log, clock: Clock) -> None:
    assert await log.put_if_absent("k", b"one", 10) is None
    assert await log.put_if_absent("k", b"two", 1_000) == b"one"
    assert await log.get("k") == b"one"
    clock.advance(11)
    assert await log.put_if_absent("k", b"three", 10) is None
    assert await log.get("k") == b"three"


@pytest.mark.parametrize("value", [b"", b"\x00\xff\n", b"x" * 100_000], ids=["empty", "binary", "long"])
async def test_values_and_keys_are_taken_as_they_are(log: Log, value: bytes) -> None:
    for key in ("", "a b", "a'\"%\\", "session:\u20ac"):
        await log.put(key, value, 10)
        assert await log.get(key) == value


async def test_records_are_no_entries(log: Log) -> None:
    start = await log.position()
    await log.put("k", b"one", 10)
    assert await log.position() == start


async def test_records_are_known_to_every_node(open_log: OpenLog) -> None:
    here, there = await open_log(), await open_log()
    await here.put("k", b"one", 10)
    assert await there.get("k") == b"one"
    assert await there.get_and_delete("k") == b"one"
    assert await here.get("k") is None


async def test_of_several_takers_and_adders_one_succeeds(open_log: OpenLog) -> None:
    nodes = [await open_log() for _ in range(3)]
    for number in range(20):
        added = await asyncio.gather(*(node.put_if_absent(f"k{number}", b"%d" % i, 10) for i, node in enumerate(nodes)))
        assert added.count(None) == 1
        taken = await asyncio.gather(*(node.get_and_delete(f"k{number}") for node in nodes))
        assert len([value for value in taken if value is not None]) == 1


async def test_many_records_that_ended_leave_the_others(log: Log, clock: Clock) -> None:
    for number in range(500):
        await log.put(f"short:{number}", b"x", 1)
        await log.put(f"long:{number}", b"%d" % number, 100)
    clock.advance(50)
    await log.put("k", b"", 1)
    assert [await log.get(f"long:{number}") for number in (0, 499)] == [b"0", b"499"]
    assert await log.get("short:0") is None


async def test_many_are_put_at_once(log: Log, clock: Clock) -> None:
    await log.put("a", b"old", 10)
    await log.put_all({"a": b"1", "b": b"2"}, 10)
    await log.put_all({}, 10)
    assert (await log.get("a"), await log.get("b")) == (b"1", b"2")
    clock.advance(11)
    assert (await log.get("a"), await log.get("b")) == (None, None)


async def test_of_many_some_may_go(log: Log) -> None:
    await log.put_all({"a": b"1", "b": b"2"}, 10)
    await log.put_all({"a": None, "c": b"3", "never": None}, 10)
    assert [await log.get(key) for key in ("a", "b", "c", "never")] == [None, b"2", b"3", None]


# Marks: records that are put with entries.


async def test_a_mark_is_put_with_what_is_stored_and_has_no_end(open_log: OpenLog, clock: Clock) -> None:
    here, there = await open_log(), await open_log()
    await here.append([entry(1, key="one"), entry(2)], ("far", b"2"))
    assert await there.get("far") == b"2"
    clock.advance(100 * RETENTION)
    await here.append([entry(3)])
    assert await there.get("far") == b"2"
    await here.append([entry(4)], ("far", b"4"))
    assert await there.get("far") == b"4"


async def test_a_mark_stays_where_nothing_is_stored(log: Log) -> None:
    await log.append([entry(1, key="one"), entry(2, key="two")], ("far", b"2"))
    await log.append([entry(1, key="one")], ("far", b"1"))
    assert await log.get("far") == b"2", "whoever comes late does not know better"
    await log.append([entry(2, key="two"), entry(3)], ("far", b"3"))
    assert await log.get("far") == b"3"
