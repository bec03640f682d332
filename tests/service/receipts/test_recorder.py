"""The recorder: what it stores, what waits while the database is away, what is dropped, and what is ignored."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from oyez.contract import Contract
from oyez.errors import DatabaseUnavailableError
from oyez.observer import AcknowledgeReport, SentReport
from oyez.service.database.database import MIGRATIONS, Database
from oyez.service.outbox.members import Members
from oyez.service.receipts import recorder as module
from oyez.service.receipts.answers import EventReceipts, ReceiptEventsQuery, ReceiptsQuery
from oyez.service.receipts.reader import ReceiptReader
from oyez.service.receipts.recorder import ACKNOWLEDGED, COUNTED, DROPPED, IGNORED, RECORDED, ReceiptRecorder
from tests.support.clock import PATIENCE
from tests.support.parcels import contract
from tests.support.postgres import PostgreSQL

SYSTEM = "parcels"
DAY = 86_400.0


class Away(Database):
    """A database that can be away."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.away = False

    async def run_maintenance(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        if self.away:
            raise DatabaseUnavailableError("It is away.")
        return await super().run_maintenance(function, *args, **kwargs)


class Bench:
    """A recorder with a clock that the test moves, and a reader of the same tables."""

    def __init__(self, database: Away, max_receipts: int) -> None:
        self.now = 1_000_000.0
        self.database = database
        self.recorder = ReceiptRecorder(SYSTEM, database, 7 * DAY, max_receipts, lambda: self.now)
        built: Contract = contract.build()
        self.reader = ReceiptReader(built, database, Members(SYSTEM, database, built), 7 * DAY)

    def send(self, position: str, recipients: Sequence[str], *, replayed: bool = False, room: str = "drivers") -> None:
        self.recorder.sent(SentReport(SYSTEM, "/", "/", "briefing", position, (room,), (), tuple(recipients), replayed))

    def acknowledge(self, position: str, *recipients: str) -> None:
        for recipient in recipients:
            self.recorder.acknowledged(AcknowledgeReport(SYSTEM, "/", position, recipient, "s", "c"))

    async def read(self, position: str, **query: Any) -> EventReceipts:
        async with asyncio.timeout(PATIENCE):
            await self.recorder.flushed()
        return await self.reader.read(position, ReceiptsQuery(**query))

    async def list(self) -> list[str]:
        async with asyncio.timeout(PATIENCE):
            await self.recorder.flushed()
        return [one.position for one in (await self.reader.list_events(ReceiptEventsQuery())).events]


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Away]:
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        url = server.make_database()
    else:
        url = f"sqlite:///{tmp_path}/receipts.sqlite"
    database = Away(url)
    database.migrate("oyez", MIGRATIONS / "versions")
    try:
        yield database
    finally:
        database.close()


@asynccontextmanager
async def run(database: Away, max_receipts: int = 100) -> AsyncIterator[Bench]:
    bench = Bench(database, max_receipts)
    async with bench.recorder.running():
        yield bench


async def test_the_first_times_count(database: Away) -> None:
    async with run(database) as bench:
        bench.send("e.1", ["ada", "ada", 'b"ob\\ü'])
        bench.acknowledge("e.1", "ada")
        assert [one.user for one in (await bench.read("e.1")).receipts] == ["ada", 'b"ob\\ü']
        bench.now += 60.0
        bench.send("e.1", ["ada", "cleo"], replayed=True)
        bench.acknowledge("e.1", "ada", "cleo")
        page = await bench.read("e.1")
        ada, bob, cleo = page.receipts
        assert (ada.delivered, ada.acknowledged) == (page.at, page.at) and ada.replayed != page.at
        assert (bob.delivered, bob.replayed, bob.acknowledged) == (page.at, None, None)
        assert cleo.delivered is None and cleo.replayed == cleo.acknowledged != page.at
        counts = page.counts
        assert (counts.live, counts.replayed, counts.acknowledged, counts.unacknowledged) == (2, 1, 2, 1)


async def test_pages_and_states(database: Away) -> None:
    async with run(database) as bench:
        bench.send("e.1", [f"u{number:02}" for number in range(12)])
        bench.send("e.1", ["late"], replayed=True)
        bench.acknowledge("e.1", "u03")
        first = await bench.read("e.1", limit=5)
        second = await bench.read("e.1", limit=50, after=first.next)
        assert [one.user for one in first.receipts] == ["late", "u00", "u01", "u02", "u03"]
        assert len(second.receipts) == 8 and second.next is None
        found = {state: (await bench.read("e.1", state=state)).receipts for state in ("replayed", "acknowledged")}
        assert {state: [one.user for one in listed] for state, listed in found.items()} == {
            "replayed": ["late"],
            "acknowledged": ["u03"],
        }
        assert [one.user for one in (await bench.read("e.1", search="U1")).receipts] == ["u10", "u11"]
        assert [one.user for one in (await bench.read("e.1", user="u05")).receipts] == ["u05"]


async def test_over_the_limit_recipients_are_only_counted(database: Away) -> None:
    async with run(database, max_receipts=3) as bench:
        bench.send("e.1", ["a", "b", "c", "d", "e"])
        bench.acknowledge("e.1", "a", "e")
        page = await bench.read("e.1")
        assert [one.user for one in page.receipts] == ["a", "b", "c"]
        assert (page.counts.live, page.counts.acknowledged, page.counts.unacknowledged) == (5, 2, 3)
        assert (page.unrecorded, page.counts.never) == (2, None)
        assert bench.recorder.results == {RECORDED: 3, COUNTED: 3, ACKNOWLEDGED: 2}


async def test_what_was_never_sent_is_not_acknowledged(database: Away) -> None:
    async with run(database) as bench:
        bench.send("e.1", ["ada"])
        bench.acknowledge("e.1", "eve", "eve")
        bench.acknowledge("e.9", "ada")
        for _ in range(module.MAX_CLAIMS):
            bench.acknowledge("e.9", "eve")
        assert bench.recorder.results[IGNORED] == module.MAX_CLAIMS + 2 - module.MAX_CLAIMS_EACH
        # An honest acknowledgement is not lost among them.
        bench.acknowledge("e.1", "ada")
        bench.now += module.CLAIM_DELAY
        page = await bench.read("e.1")
        assert [(one.user, one.acknowledged is not None) for one in page.receipts] == [("ada", True)]
        assert await bench.list() == ["e.1"]


async def test_an_acknowledgement_counts_at_another_process(database: Away) -> None:
    async with run(database) as sender, run(database) as receiver:
        sender.send("e.1", ["ada"])
        await sender.read("e.1")
        # A flood of one user takes no other user's place.
        for number in range(module.MAX_CLAIMS):
            receiver.acknowledge(f"e.{number}", "eve")
        receiver.acknowledge("e.1", "ada")
        receiver.now += module.CLAIM_DELAY
        # It is stored at the latest when the process ends.
    [receipt] = (await sender.reader.read("e.1", ReceiptsQuery())).receipts
    assert receipt.acknowledged is not None


async def test_receipts_wait_while_the_database_is_away_and_too_many_are_dropped(
    database: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 6)
    async with run(database) as bench:
        database.away = True
        bench.send("e.1", ["a", "b", "c"])
        bench.acknowledge("e.1", "a")
        bench.send("e.2", ["a", "b"])
        assert bench.recorder.results[DROPPED] == 3
        bench.acknowledge("e.2", "a")
        database.away = False
        page = await bench.read("e.1")
        assert [(one.user, one.acknowledged is not None) for one in page.receipts] == [
            ("a", True),
            ("b", False),
            ("c", False),
        ]
        assert await bench.list() == ["e.1"]


async def test_old_receipts_are_deleted(database: Away) -> None:
    async with run(database) as bench:
        bench.send("e.1", ["ada"])
        assert await bench.list() == ["e.1"]
        bench.now += 6 * DAY
        bench.send("e.2", ["ada"])
        assert await bench.list() == ["e.2", "e.1"]
        bench.now += 2 * DAY
        bench.send("e.3", ["ada"])
        assert await bench.list() == ["e.3", "e.2"]
        # Nobody can bring it back.
        bench.acknowledge("e.1", "ada")
        bench.now += module.CLAIM_DELAY
        assert await bench.list() == ["e.3", "e.2"]
