"""`python -m bench.log`: events a second that each log takes, and what one costs; Redis beside redis-py alone.

Rounds go in turn, so that a machine that is busy now and then is so for all, and a ratio is one of two rounds that were
neighbours. A Valkey of its own is started for it, with `appendonly yes`.
"""

import argparse
import asyncio
import shlex
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import redis.asyncio
import uvloop
from tests.support.valkey import ValkeyServer, serve_valkey

from bench.table import SCALING, write_number, write_rows, write_section
from oyez.log.entry_codec import encode_entry
from oyez.log.log import Entry, Log
from oyez.log.memory import MemoryLog
from oyez.log.redis import RedisLog
from oyez.log.sqlite import SqliteLog

ROUNDS = 5
ROUND_SECONDS = 1.0


@dataclass(frozen=True)
class Way:
    """How events come: so many in one call, from so many producers, each of which waits for its call."""

    text: str
    count: int = 1
    producers: int = 1


SINGLE = Way("one at a time")
TOGETHER = Way("one at a time, 16 producers", producers=16)
LISTS = Way("in lists of 100", count=100)
WAYS = (SINGLE, TOGETHER, LISTS)
SQLITE, REDIS, ALONE = "SQLite", "Redis", "redis-py alone"
TARGETS = {SINGLE: 10_000.0, LISTS: 50_000.0}
"""Events a second that the log in SQLite takes."""
REDIS_SHARE = 0.75
"""Of what redis-py does alone."""

Append = Callable[[int], Awaitable[object]]


@dataclass
class Subject:
    """What can append so many events in one call."""

    name: str
    append: Append
    samples: dict[Way, list[tuple[float, float]]] = field(default_factory=lambda: {way: [] for way in WAYS})
    """Of each round events a second, and this process' CPU in µs an event."""

    def rate(self, way: Way) -> float:
        """Events a second in the middle round."""
        return median(rate for rate, _ in self.samples[way])

    def cpu(self, way: Way) -> float:
        """µs an event in the middle round."""
        return median(cpu for _, cpu in self.samples[way])


def make_entries(first: int, count: int) -> list[Entry]:
    """Events of 200 bytes, each to a room of its own."""
    data = b'["new_bid",{"text":"%s"}]' % (b"x" * 175)
    return [
        Entry(namespace="/", rooms=(f"user_{number % 10_000}",), data=data) for number in range(first, first + count)
    ]


def appending_to(log: Log) -> Append:
    entries = make_entries(0, 10_000)
    place = 0

    async def append(count: int) -> object:
        nonlocal place
        place = (place + count) % (len(entries) - count)
        return await log.append(entries[place : place + count])

    return append


def adding_with(client: redis.asyncio.Redis) -> Append:
    """The same bytes by redis-py's own means: XADD, or a pipeline of as many."""
    body = encode_entry(make_entries(0, 1)[0])

    async def add(count: int) -> object:
        if count == 1:
            return await client.xadd("alone", {"t": int(time.time() * 1000), "e": body})
        pipeline = client.pipeline(transaction=True)
        for _ in range(count):
            pipeline.xadd("alone", {"t": int(time.time() * 1000), "e": body})
        return await pipeline.execute()

    return add


async def measure(subject: Subject, way: Way, seconds: float) -> tuple[float, float]:
    done, began, cpu = 0, time.perf_counter(), time.process_time()

    async def produce() -> None:
        nonlocal done
        while time.perf_counter() - began < seconds:
            await subject.append(way.count)
            done += way.count

    await asyncio.gather(*(produce() for _ in range(way.producers)))
    return done / (time.perf_counter() - began), (time.process_time() - cpu) / done * 1e6


async def run(folder: Path, server: ValkeyServer, seconds: float) -> dict[str, Subject]:
    logs: dict[str, Log] = {
        "memory": MemoryLog(),
        SQLITE: SqliteLog(folder / "normal.sqlite"),
        "SQLite, full": SqliteLog(folder / "full.sqlite", sync="full"),
        REDIS: RedisLog(server.url, "bench"),
    }
    client = redis.asyncio.Redis.from_url(server.url)
    for log in logs.values():
        await log.open()
    subjects = [Subject(name, appending_to(log)) for name, log in logs.items()]
    subjects.append(Subject(ALONE, adding_with(client)))
    for turn in range(ROUNDS + 1):
        for way in WAYS:
            for subject in subjects:
                sample = await measure(subject, way, seconds)
                # The first turn warms up.
                if turn:
                    subject.samples[way].append(sample)
        await client.delete("alone")
    for log in logs.values():
        await log.close()
    await client.aclose()
    return {subject.name: subject for subject in subjects}


def ratios(subjects: Mapping[str, Subject], way: Way) -> list[float]:
    """What the log in Redis takes, to what redis-py alone does: of each round, the least first."""
    pairs = zip(subjects[REDIS].samples[way], subjects[ALONE].samples[way], strict=True)
    return sorted(ours / alone for (ours, _), (alone, _) in pairs)


def judge(subjects: Mapping[str, Subject]) -> list[tuple[str, float, float, str]]:
    """Each target: what it is about, what was wanted, what was measured, and the spread of that."""
    verdicts = []
    for way, wanted in TARGETS.items():
        rates = sorted(rate for rate, _ in subjects[SQLITE].samples[way])
        verdicts.append((f"{SQLITE}, {way.text}: events/s", wanted, median(rates), rates))
    for way in WAYS:
        found = ratios(subjects, way)
        verdicts.append((f"{REDIS} ÷ {ALONE}, {way.text}", REDIS_SHARE, median(found), found))
    return [
        (what, wanted, measured, f"{write_number(all_[0])}–{write_number(all_[-1])}")
        for what, wanted, measured, all_ in verdicts
    ]


def build_tables(subjects: Mapping[str, Subject]) -> list[str]:
    """The figures, and the targets, in Markdown."""
    rows = [
        [subject.name, *(f"{subject.rate(way):,.0f} ({subject.cpu(way):.1f})" for way in WAYS)]
        for subject in subjects.values()
    ]
    targets = [
        [what, f"≥ {write_number(wanted)}", write_number(measured), spread, "met" if measured >= wanted else "missed"]
        for what, wanted, measured, spread in judge(subjects)
    ]
    return [
        *write_rows(("events/s (CPU µs each)", *(way.text for way in WAYS)), rows),
        "",
        *write_rows(("subject", "target", "measured", "spread", "verdict"), targets),
    ]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.log", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, help="where files are written; its disk counts [default: a temporary one]"
    )
    parser.add_argument("--seconds", type=float, default=ROUND_SECONDS, help="of each of the rounds")
    parser.add_argument("--page", action="store_true", help="renew the section of docs/scaling.md")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        with serve_valkey(folder / "valkey", "--appendonly", "yes") as server:
            subjects = uvloop.run(run(folder, server, options.seconds))
    lines = build_tables(subjects)
    print("\n".join(lines))
    if options.page:
        write_section(SCALING, "log", lines, command=shlex.join(["python", "-m", "bench.log", *arguments]))
    return 0 if all(measured >= wanted for _, wanted, measured, _ in judge(subjects)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
