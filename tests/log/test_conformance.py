"""What every backend of the log promises about what it stores: the same tests for all of BACKENDS."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import overload

import pytest
from msgspec.structs import replace

from oyez.log.log import Entry, Log
from tests.log.backends import RETENTION, Backend, Clock, OpenLog
from tests.log.verbs import MANY, control, count_of, entry, numbers, read_all, tailing

# Appending.


async def test_the_size_grows_with_what_is_stored(log: Log) -> None:
    await log.append([entry(1)])
    before = await log.size()
    await log.append([replace(entry(number), data=b"[" + b"1" * 1000 + b"]") for number in range(200)])
    assert await log.size() >= before + 100_000


async def test_entries_come_back_as_they_were_with_their_positions(log: Log) -> None:
    start = await log.position()
    sent = [
        entry(1),
        entry(2, "order:1"),
        entry(3, "a", "b", namespace="/partner", excluded=("b", "c")),
        Entry(namespace="/", rooms=("\u00e9\u20ac\U0001f600",), data='["näme",{"€":"\\u0000"}]'.encode(), name="näme"),
    ]
    positions = await log.append(sent)
    rooms = frozenset({"order:1", "a", "\u00e9\u20ac\U0001f600"})
    found = await log.read(start, "/", rooms, MANY)
    found[2:2] = await log.read(start, "/partner", rooms, MANY)
    assert [kept.position for kept in found] == positions
    assert [replace(kept, position=None) for kept in found] == sent


async def test_positions_are_an_epoch_and_a_number_that_grows(log: Log) -> None:
    positions = await log.append([entry(1), entry(2)]) + await log.append([entry(3)])
    assert len({position.partition(".")[0] for position in positions}) == 1
    assert len(set(positions)) == 3
    assert positions == sorted(positions, key=count_of)
    assert await log.position() == positions[-1]


async def test_appending_nothing_does_nothing(log: Log) -> None:
    before = await log.position()
    assert await log.append([]) == []
    assert await log.position() == before


async def test_entries_of_one_call_are_neighbours(log: Log) -> None:
    start = await log.position()
    await asyncio.gather(*(log.append([entry(call * 10 + i) for i in range(10)]) for call in range(20)))
    found = await read_all(log, start)
    calls = [found[i : i + 10] for i in range(0, 200, 10)]
    assert sorted(calls) == [[call * 10 + i for i in range(10)] for call in range(20)]


class Breaking(Sequence[Entry]):
    """Two good entries, and then the producer breaks."""

    def __len__(self) -> int:
        return 3

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(index, slice) or index >= 2:
            raise RuntimeError("the producer broke")
        return entry(index)

    def __iter__(self) -> Iterator[Entry]:
        return (self[index] for index in range(3))


async def test_a_call_that_fails_stores_nothing(log: Log) -> None:
    (start,) = await log.append([entry(10)])
    async with tailing(log) as received:
        with pytest.raises(RuntimeError, match="the producer broke"):
            await log.append(Breaking())
        assert await log.position() == start
        await log.append([entry(11)])
        assert numbers(await received.wait_for(1)) == [11]
    assert await read_all(log, start) == [11]


# Reading.


async def test_reading_after_a_position_gives_what_follows(log: Log) -> None:
    start = await log.position()
    positions = await log.append([entry(number) for number in range(5)])
    assert await read_all(log, start) == [0, 1, 2, 3, 4]
    assert await read_all(log, positions[0]) == [1, 2, 3, 4]
    assert await read_all(log, positions[3]) == [4]
    assert await read_all(log, positions[4]) == []


async def test_reading_an_empty_log_gives_nothing(log: Log) -> None:
    assert await read_all(log, await log.position(), "a") == []


async def test_reading_returns_entries_of_a_room_and_entries_for_all(log: Log) -> None:
    start = await log.position()
    await log.append([entry(0, "a"), entry(1, "b"), entry(2), entry(3, "b", "a"), entry(4, "c"), entry(5, "aa")])
    assert await read_all(log, start) == [2]
    assert await read_all(log, start, "a") == [0, 2, 3]
    assert await read_all(log, start, "b", "c") == [1, 2, 3, 4]
    assert await read_all(log, start, "nowhere") == [2]


async def test_room_names_are_taken_as_they_are(log: Log) -> None:
    start = await log.position()
    awkward = ["a b", "a,b", "a'b", 'a"b', "a%b", "a_b", "*", "%", "a\\b", "a\nb", "\u00e9", "A", "a"]
    await log.append([entry(number, room) for number, room in enumerate(awkward)])
    for number, room in enumerate(awkward):
        assert await read_all(log, start, room) == [number]


async def test_reading_gives_what_is_of_the_namespace(log: Log) -> None:
    start = await log.position()
    await log.append([entry(0, "a"), entry(1, "a", namespace="/x"), entry(2, namespace="/x"), entry(3)])
    assert await read_all(log, start, "a") == [0, 3]
    assert await read_all(log, start, "a", namespace="/x") == [1, 2]
    assert await read_all(log, start, "a", namespace="/y") == []


async def test_reading_leaves_out_what_excludes_one_of_the_rooms(log: Log) -> None:
    start = await log.position()
    await log.append([entry(0, "a", excluded=("b",)), entry(1, excluded=("b", "c")), entry(2, "b", excluded=("b",))])
    assert await read_all(log, start, "a") == [0, 1]
    assert await read_all(log, start, "a", "c") == [0]
    assert await read_all(log, start, "a", "b") == []


async def test_reading_leaves_control_entries_out(log: Log) -> None:
    start = await log.position()
    await log.append([entry(0, "a"), control(1, "a"), control(2), entry(3, "a")])
    assert await read_all(log, start, "a") == [0, 3]


async def test_a_limit_counts_what_is_found_and_pages_lose_nothing(log: Log) -> None:
    start = await log.position()
    await log.append([entry(number, "a" if number % 3 else "b") for number in range(30)])
    pages = []
    after = start
    while page := await log.read(after, "/", frozenset({"a"}), 7):
        assert len(page) <= 7
        pages.append(numbers(page))
        after = page[-1].position or ""
    assert [len(page) for page in pages] == [7, 7, 6]
    assert [number for page in pages for number in page] == [number for number in range(30) if number % 3]


async def test_many_entries_and_rooms_are_read(log: Log) -> None:
    start = await log.position()
    for first in range(0, 3_000, 1_000):
        await log.append([entry(number, f"room:{number}") for number in range(first, first + 1_000)])
    rooms = [f"room:{number}" for number in range(0, 3_000, 2)]
    assert await read_all(log, start, *rooms) == list(range(0, 3_000, 2))


async def test_the_position_before_the_newest(log: Log, clock: Clock) -> None:
    start = await log.position()
    assert await log.position_before(3) == start
    placed = await log.append([entry(number) for number in range(5)])
    assert await log.position_before(10) == start
    assert await log.position_before(2) == placed[2]
    assert await log.position_before(0) == placed[-1]
    clock.advance(RETENTION + 1)
    newer = await log.append([entry(6)])
    assert await log.position_before(10) == placed[-1]
    assert numbers(await log.read(placed[-1], "/", frozenset(), MANY)) == [6]
    assert newer == [await log.position()]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda epoch, number: "", id="empty"),
        pytest.param(lambda epoch, number: "x", id="no dot"),
        pytest.param(lambda epoch, number: ".", id="only a dot"),
        pytest.param(lambda epoch, number: f"{epoch}.", id="no number"),
        pytest.param(lambda epoch, number: f".{number}", id="no epoch"),
        pytest.param(lambda epoch, number: number, id="only the number"),
        pytest.param(lambda epoch, number: f"{epoch}.-1", id="negative"),
        pytest.param(lambda epoch, number: f"{epoch}.{number}.{number}", id="one dot too many"),
        pytest.param(lambda epoch, number: f"{epoch}.x{number}", id="no digits"),
        pytest.param(lambda epoch, number: f"{epoch}.{number}\n", id="a line break"),
        pytest.param(lambda epoch, number: f"{epoch}.\u00b2", id="a digit that is none"),
        pytest.param(lambda epoch, number: f"{epoch}x.{number}", id="another epoch"),
        pytest.param(lambda epoch, number: f"0.{number}", id="epoch nought"),
        pytest.param(lambda epoch, number: f"{epoch}.{int(number.partition('-')[0]) + 1}", id="not yet"),
        pytest.param(lambda epoch, number: f"{epoch}.{10**30}", id="never"),
        pytest.param(lambda epoch, number: f"{epoch}.{'9' * 5_000}", id="longer than integers are read"),
        pytest.param(lambda epoch, number: "\x00", id="nul"),
    ],
)
async def test_reading_after_what_is_no_position_is_a_key_error(log: Log, make: object) -> None:
    (position,) = await log.append([entry(0)])
    epoch, _, number = position.partition(".")
    assert callable(make)
    with pytest.raises(KeyError):
        await log.read(make(epoch, number), "/", frozenset({"a"}), MANY)


async def test_another_store_is_another_epoch(
    log: Log, backend: Backend, clock: Clock, tmp_path_factory: object
) -> None:
    assert isinstance(tmp_path_factory, pytest.TempPathFactory)
    other = await backend(tmp_path_factory.mktemp("other"), clock)()
    try:
        (foreign,) = await other.append([entry(0)])
        await log.append([entry(0)])
        with pytest.raises(KeyError):
            await log.read(foreign, "/", frozenset(), MANY)
    finally:
        await other.close()


# Keys.


async def test_a_key_is_stored_once(log: Log) -> None:
    start = await log.position()
    (first,) = await log.append([entry(1, key="k")])
    (other,) = await log.append([entry(2, key="other")])
    async with tailing(log) as received:
        assert await log.append([entry(3, key="k")]) == [first]
        assert await log.position() == other
        (last,) = await log.append([entry(4)])
        assert numbers(await received.wait_for(1)) == [4]
    assert count_of(last) == count_of(other) + 1
    assert await read_all(log, start) == [1, 2, 4]


async def test_a_key_counts_within_a_call_too(log: Log) -> None:
    start = await log.position()
    positions = await log.append([entry(1, key="a"), entry(2), entry(3, key="a"), entry(4, key="b"), entry(5)])
    assert positions[2] == positions[0]
    assert [count_of(position) - count_of(positions[0]) for position in positions] == [0, 1, 0, 2, 3]
    assert await read_all(log, start) == [1, 2, 4, 5]
    assert await log.append([entry(6, key="b"), entry(7, key="c")]) == [positions[3], await log.position()]
    assert await read_all(log, positions[-1]) == [7]


async def test_what_was_cut_off_can_be_appended_again_whole(log: Log) -> None:
    """A producer that does not know whether its call arrived repeats it."""
    start = await log.position()
    batch = [entry(number, key=f"key-{number}") for number in range(100)]
    positions = await log.append(batch)
    assert await log.append(batch) == positions
    assert await read_all(log, start) == list(range(100))


async def test_entries_without_a_key_are_all_stored(log: Log) -> None:
    start = await log.position()
    await log.append([entry(1), entry(1)])
    await log.append([entry(1)])
    assert await read_all(log, start) == [1, 1, 1]


async def test_a_key_is_forgotten_with_its_entry(log: Log, clock: Clock) -> None:
    (first,) = await log.append([entry(1, key="k")])
    clock.advance(RETENTION - 1)
    assert await log.append([entry(2, key="k")]) == [first]
    clock.advance(2)
    (second,) = await log.append([entry(3, key="k")])
    assert count_of(second) > count_of(first)
    assert await read_all(log, first) == [3]
    assert await log.append([entry(4, key="k")]) == [second]


async def test_several_nodes_that_append_a_key_store_it_once(open_log: OpenLog) -> None:
    nodes = [await open_log() for _ in range(3)]
    start = await nodes[0].position()
    appended = await asyncio.gather(*(node.append([entry(i, key=f"k{i}")]) for i in range(20) for node in nodes))
    assert len({position for (position,) in appended}) == 20
    assert sorted(await read_all(nodes[1], start)) == list(range(20))


# Retention.


async def test_entries_are_kept_for_the_retention_and_no_longer(log: Log, clock: Clock) -> None:
    start = await log.position()
    (first,) = await log.append([entry(1)])
    clock.advance(RETENTION - 1)
    (second,) = await log.append([entry(2)])
    assert await read_all(log, start) == [1, 2]
    clock.advance(2)
    with pytest.raises(KeyError):
        await log.read(start, "/", frozenset(), MANY)
    assert await read_all(log, first) == [2]
    clock.advance(RETENTION)
    with pytest.raises(KeyError):
        await log.read(first, "/", frozenset(), MANY)
    assert await read_all(log, second) == []


async def test_a_log_that_has_forgotten_everything_goes_on_where_it_was(log: Log, clock: Clock) -> None:
    (first,) = await log.append([entry(1)])
    clock.advance(10 * RETENTION)
    assert await log.position() == first
    (second,) = await log.append([entry(2)])
    assert count_of(second) > count_of(first)
    assert await read_all(log, first) == [2]


async def test_a_client_that_has_everything_needs_no_stored_entry(log: Log, clock: Clock) -> None:
    start = await log.position()
    clock.advance(10 * RETENTION)
    assert await read_all(log, start) == []
    await log.append([entry(1)])
    assert await read_all(log, start) == [1]
