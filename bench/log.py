"""`python -m bench.log`: events a second that each log takes, and what one costs; Redis beside redis-py alone.

Rounds go in turn, so that a machine that is busy now and then is so for all. A Valkey of its own is started for it.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import redis.asyncio
import uvloop
from rich.console import Console
from rich.table import Table
from tests.valkey import ValkeyServer

from oyez.log.log import Entry, Log, encode_entry
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
TARGETS = {("SQLite", SINGLE): 10_000.0, ("SQLite", LISTS): 50_000.0}
"""Events a second."""
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


async def measure(subject: Subject, way: Way) -> tuple[float, float]:
    done, began, cpu = 0, time.perf_counter(), time.process_time()

    async def produce() -> None:
        nonlocal done
        while time.perf_counter() - began < ROUND_SECONDS:
            await subject.append(way.count)
            done += way.count

    await asyncio.gather(*(produce() for _ in range(way.producers)))
    return done / (time.perf_counter() - began), (time.process_time() - cpu) / done * 1e6


async def run(folder: Path, server: ValkeyServer) -> list[Subject]:
    logs: dict[str, Log] = {
        "memory": MemoryLog(),
        "SQLite": SqliteLog(folder / "normal.sqlite"),
        "SQLite, full": SqliteLog(folder / "full.sqlite", sync="full"),
        "Redis": RedisLog(server.url, "bench"),
    }
    client = redis.asyncio.Redis.from_url(server.url)
    for log in logs.values():
        await log.open()
    subjects = [Subject(name, appending_to(log)) for name, log in logs.items()]
    subjects.append(Subject("redis-py alone", adding_with(client)))
    for turn in range(ROUNDS + 1):
        for subject in subjects:
            for way in WAYS:
                sample = await measure(subject, way)
                # The first turn warms up.
                if turn:
                    subject.samples[way].append(sample)
        await client.delete("alone")
    for log in logs.values():
        await log.close()
    await client.aclose()
    return subjects


def judge(subjects: Sequence[Subject]) -> list[tuple[str, float, float]]:
    """Each target: what it is about, what was wanted, what was measured."""
    by_name = {subject.name: subject for subject in subjects}
    verdicts = [(f"{name}, {way.text}", target, by_name[name].rate(way)) for (name, way), target in TARGETS.items()]
    alone = by_name["redis-py alone"]
    return verdicts + [
        (f"Redis, {way.text}", REDIS_SHARE * alone.rate(way), by_name["Redis"].rate(way)) for way in WAYS
    ]


def describe(subject: Subject, way: Way) -> str:
    return f"{subject.rate(way):,.0f} ({subject.cpu(way):.1f})"


def show(subjects: Sequence[Subject], console: Console) -> None:
    table = Table("log", *(way.text for way in WAYS), title="Appending: events/s (CPU µs each)")
    for subject in subjects:
        table.add_row(subject.name, *(describe(subject, way) for way in WAYS))
    console.print(table)
    for what, wanted, measured in judge(subjects):
        verdict = "[green]met[/]" if measured >= wanted else "[red]missed[/]"
        console.print(f"{what}: {measured:,.0f} events/s, wanted {wanted:,.0f}: {verdict}")


def build_page(subjects: Sequence[Subject]) -> str:
    """The figures as a table in Markdown."""
    lines = [
        f"| events/s (CPU µs each) | {' | '.join(way.text for way in WAYS)} |",
        f"| --- |{' --- |' * len(WAYS)}",
        *(f"| {subject.name} | {' | '.join(describe(subject, way) for way in WAYS)} |" for subject in subjects),
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.log", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, help="where files are written; its disk counts [default: a temporary one]"
    )
    parser.add_argument("--page", type=Path, help="write the table here as well")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        server = ValkeyServer(folder / "valkey", "--appendonly", "yes")
        server.start()
        try:
            subjects = uvloop.run(run(folder, server))
        finally:
            server.kill()
    show(subjects, Console())
    if options.page:
        options.page.write_text(build_page(subjects), encoding="utf-8")
    return 0 if all(measured >= wanted for _, wanted, measured in judge(subjects)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
