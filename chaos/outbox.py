"""Killed processes and transactions: is each committed event delivered, once and in order, and no other?

    .venv/bin/python -m chaos.outbox
    .venv/bin/python -m chaos.outbox --database postgresql --transactions 20000

Processes run transactions on one database. Each transaction writes a row and emits an event about it; a share of the
transactions is rolled back at the end. At random moments one of the processes is killed and another one starts in its
place. At the end the rows and the log in a SQLite file are compared: the same numbers, each once, in each writer's
order.
"""

import argparse
import asyncio
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, func, insert, select
from tests.support.postgres import serve_postgresql

from oyez.contract import Contract, Id, Stamped, own
from oyez.log.log import Entry
from oyez.log.sqlite import SqliteLog
from oyez.runtime import Publisher
from oyez.service.database.database import MIGRATIONS, Database
from oyez.service.outbox.outbox import Outbox
from oyez.service.outbox.transaction import Transaction
from oyez.settings import Limits

TRANSACTIONS = 100_000
ROLLED_BACK = 0.2
"""Share of all transactions."""
PROCESSES = 2
WRITERS = 16
"""Number of tasks of a process; each runs one transaction after the other."""
LIVES = (0.5, 4.0)
"""Seconds between two kills."""
LOOK_INTERVAL = 0.2
RETENTION = 7 * 86_400.0
MAX_LOG_BYTES = 10_000_000_000
DRAIN_TIMEOUT = 60.0
AT_WORK = "at work"
"""What a process prints when it can handle SIGTERM."""

contract = Contract("killed", roles=("user",), default_role="user")
root = contract.namespace("/")
user = root.room("user:{user}", members=own("user", claim="sub"))


@root.event("written", to=[user], example={"writer": "1-1", "number": 1, "timestamp": "2026-01-31T12:00:00Z"})
class Written(Stamped):
    """A row was written. The number is negative if the transaction was rolled back."""

    writer: Id
    number: int


contract.build()

metadata = MetaData()
rows = Table(
    "fire_rows",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("writer", String(40), nullable=False),
    Column("number", Integer, nullable=False),
    sqlite_autoincrement=True,
)


class RolledBack(Exception):
    """Rolls a transaction back."""


def write(tx: Transaction, writer: str, number: int, fails: bool) -> None:
    tx.connection.execute(insert(rows).values(writer=writer, number=number))
    tx.emit(Written(writer=writer, number=-number if fails else number), user(writer))
    if fails:
        raise RolledBack


def count_rows(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(rows)).scalar_one()


def list_rows(connection: Connection) -> list[tuple[str, int]]:
    found = connection.execute(select(rows.c.writer, rows.c.number).order_by(rows.c.id))
    return [(row.writer, row.number) for row in found]


def open_log(path: Path) -> SqliteLog:
    return SqliteLog(path, retention=RETENTION, max_bytes=MAX_LOG_BYTES)


# One of the processes.


async def work(url: str, log_path: Path, name: str) -> None:
    """Run transactions until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    print(AT_WORK, flush=True)
    log = open_log(log_path)
    await log.open()
    database = Database(url)
    outbox = Outbox(database, Publisher(contract, log, Limits()), log)
    chance = random.Random(name)

    async def run_writer(writer: str) -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            with suppress(RolledBack):
                await outbox.run(write, writer, number, chance.random() < ROLLED_BACK)

    async with AsyncExitStack() as stack:
        stack.callback(database.close)
        stack.push_async_callback(log.close)
        await stack.enter_async_context(outbox.relaying(lambda: DRAIN_TIMEOUT))
        await asyncio.gather(*(run_writer(f"{name}-{index}") for index in range(WRITERS)))


# The process that kills the others.


@dataclass
class Outcome:
    committed: int
    delivered: int
    missing: int
    repeated: int
    disordered: int
    """Events that came before an earlier event of the same writer; on SQLite, before any earlier event."""
    never: int
    """Events of transactions that were rolled back."""
    kills: int
    seconds: float

    @property
    def good(self) -> bool:
        return self.committed == self.delivered and not (self.missing or self.repeated or self.disordered or self.never)


def attack(url: str, log_path: Path, wanted: int, seed: int) -> tuple[int, float]:
    """Run until `wanted` transactions are committed; the number of killed processes, and the time in seconds."""
    chance = random.Random(seed)
    names = (str(number) for number in range(1, sys.maxsize))
    kills = 0
    with closing(Database(url)) as database, ExitStack() as stack:
        database.migrate("oyez", MIGRATIONS / "versions")
        database.create(metadata)
        began = time.monotonic()
        workers = [start(stack, url, log_path, f"{seed}-{next(names)}") for _ in range(PROCESSES)]
        kill_at = began + chance.uniform(*LIVES)
        while asyncio.run(database.read(count_rows)) < wanted:
            time.sleep(max(0.0, min(LOOK_INTERVAL, kill_at - time.monotonic())))
            check(workers)
            if time.monotonic() >= kill_at:
                index = chance.randrange(PROCESSES)
                workers[index].kill()
                workers[index].wait()
                kills += 1
                workers[index] = start(stack, url, log_path, f"{seed}-{next(names)}")
                kill_at = time.monotonic() + chance.uniform(*LIVES)
        seconds = time.monotonic() - began
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()
            worker.terminate()
        for worker in workers:
            if worker.wait() != 0:
                raise SystemExit(f"A process ended with status {worker.returncode} instead of stopping.")
    return kills, seconds


def start(stack: ExitStack, url: str, log_path: Path, name: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "chaos.outbox", "--work", url, str(log_path), name]
    worker = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
    stack.callback(worker.kill)
    return worker


def check(workers: Sequence["subprocess.Popen[bytes]"]) -> None:
    for worker in workers:
        if worker.poll() is not None:
            raise SystemExit(f"A process ended by itself, with status {worker.returncode}.")


async def read_log(path: Path) -> list[tuple[str, int]]:
    log = open_log(path)
    await log.open()
    heard: list[tuple[str, int]] = []
    end = await log.position()
    position = f"{end.partition('.')[0]}.0"
    caught_up = asyncio.Event()

    def deliver(entries: Sequence[Entry]) -> None:
        for entry in entries:
            _, payload = msgspec.json.decode(entry.data)
            heard.append((payload["writer"], payload["number"]))
            if entry.position == end:
                caught_up.set()

    tail = asyncio.create_task(log.tail(deliver, position))
    await caught_up.wait()
    tail.cancel()
    await log.close()
    return heard


def compare(
    written: Sequence[tuple[str, int]], heard: Sequence[tuple[str, int]], one_order: bool
) -> tuple[int, int, int, int]:
    """The numbers of missing, repeated and disordered events, and of events of rolled back transactions."""
    times = Counter(heard)
    known = set(written)
    places = {row: place for place, row in enumerate(written)}
    latest: dict[str, int] = {}
    disordered = 0
    for writer, number in heard:
        if (writer, number) not in known:
            continue
        line, place = ("", places[writer, number]) if one_order else (writer, number)
        disordered += place < latest.get(line, -1)
        latest[line] = max(place, latest.get(line, -1))
    missing = sum(row not in times for row in known)
    repeated = sum(count - 1 for count in times.values())
    never = sum(row not in known for row in times)
    return missing, repeated, disordered, never


def run(url: str, folder: Path, wanted: int, seed: int) -> Outcome:
    log_path = folder / "log.sqlite"
    kills, seconds = attack(url, log_path, wanted, seed)
    heard = asyncio.run(read_log(log_path))
    with closing(Database(url)) as database:
        written = asyncio.run(database.read(list_rows))
    compared = compare(written, heard, url.startswith("sqlite"))
    return Outcome(len(written), len(heard), *compared, kills, seconds)


def databases(kind: str, folder: Path, stack: ExitStack) -> Iterator[str]:
    if kind in ("sqlite", "both"):
        yield f"sqlite:///{folder / 'domain.sqlite'}"
    if kind in ("postgresql", "both"):
        yield stack.enter_context(serve_postgresql()).make_database()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.outbox", description=__doc__)
    parser.add_argument("--transactions", type=int, default=TRANSACTIONS, help="number of committed transactions")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="sqlite")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="seed of kills and roll-backs")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        url, log_path, name = options.work
        asyncio.run(work(url, Path(log_path), name))
        return 0
    good = True
    with tempfile.TemporaryDirectory(prefix="oyez-outbox-") as name, ExitStack() as stack:
        for url in databases(options.database, Path(name), stack):
            folder = Path(tempfile.mkdtemp(dir=name))
            outcome = run(url, folder, options.transactions, options.seed)
            good = good and outcome.good
            print(
                f"{url.partition(':')[0]}, seed {options.seed}: {outcome.committed:,} committed and "
                f"{outcome.delivered:,} delivered in {outcome.seconds:.0f} s"
                f" ({outcome.committed / outcome.seconds:,.0f}/s), {outcome.kills} processes killed;"
                f" {outcome.missing} missing, {outcome.repeated} twice, {outcome.disordered} out of order,"
                f" {outcome.never} that were rolled back"
            )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
