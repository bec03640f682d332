"""The events of `bookings` with a limit of one a second, and the statistics. On each kind of database."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection, insert, select, update

from oyez.contract import Money, Time
from oyez.service.database.tables import jobs
from oyez.service.days import end_of_day
from oyez.systems.bookings import system
from oyez.systems.bookings.tables import bookings, count_statistics, to_cents, told
from oyez.systems.bookings.transactions import DAY_BEGINS, INTERVAL, begin_day, send_statistics
from oyez.testing import start
from tests.support.clock import WALL_TIME
from tests.systems.bookings.market import LOCATION, STATS, Market, Person, open_two

DAY = 86_400_000
NOTHING = {
    "bookingsToday": 0,
    "pendingBookings": 0,
    "activeBookings": 0,
    "completedToday": 0,
    "cancelledToday": 0,
    "revenueToday": 0,
    "registeredPartners": 0,
    "pendingKyc": 0,
}


async def statistics(scenario: Market) -> dict[str, Any]:
    found: dict[str, Any] = await scenario.read("/statistics")
    del found["timestamp"]
    return found


async def test_statistics_are_counted_from_what_is_there(scenario: Market) -> None:
    assert await statistics(scenario) == NOTHING
    ada, bob = await scenario.customer("ada"), await scenario.partner("bob")
    waiting, rejected, coming, begun, done, off = [await scenario.book(ada, bob) for _ in range(6)]
    await scenario.book(ada)
    await bob.done("booking:reject", {"bookingId": rejected, "reason": "Full."})
    for booking, statuses in {
        coming: ["PARTNER_ACCEPTED"],
        begun: ["PARTNER_ACCEPTED", "IN_PROGRESS"],
        done: ["PARTNER_ACCEPTED", "IN_PROGRESS", "COMPLETED"],
    }.items():
        for status in statuses:
            await bob.done("booking:status_update", {"bookingId": booking, "status": status})
    await ada.done("booking:cancel", {"bookingId": off, "reason": "Never mind."})
    for _ in range(2):
        await scenario.post("/kyc-submissions", {"partnerId": bob.id, "documents": ["IDENTITY"]})
    submission = (await scenario.read("/kyc-submissions"))["items"][0]["submissionId"]
    await scenario.put(f"/kyc-submissions/{submission}/review", {"status": "APPROVED"})
    assert waiting
    assert await statistics(scenario) == {
        "bookingsToday": 7,
        "pendingBookings": 2,
        "activeBookings": 3,
        "completedToday": 1,
        "cancelledToday": 1,
        "revenueToday": 129.5,
        "registeredPartners": 1,
        "pendingKyc": 1,
    }


async def test_yesterday_counts_for_what_is_still_open_and_for_earnings(scenario: Market) -> None:
    ada, bob = await scenario.customer("ada"), await scenario.partner("bob")
    await scenario.book(ada, bob)
    done = await scenario.book(ada, bob)
    for status in ("PARTNER_ACCEPTED", "IN_PROGRESS", "COMPLETED"):
        await bob.done("booking:status_update", {"bookingId": done, "status": status})

    def age(connection: Connection) -> None:
        day_before = {"created_at": bookings.c.created_at - DAY, "changed_at": bookings.c.changed_at - DAY}
        connection.execute(update(bookings).values(day_before))

    await scenario.server.database.run(age)
    assert await statistics(scenario) == {**NOTHING, "activeBookings": 1, "registeredPartners": 1}
    earnings = await scenario.read(f"/partners/{bob.id}/earnings")
    assert (earnings["todayEarnings"], earnings["totalEarnings"], earnings["completedBookings"]) == (0, 129.5, 1)


async def hear_until(scenario: Market, monitor: Person, pending: int) -> list[tuple[float, int]]:
    """The times of statistics and their pending bookings, up to the first with `pending` of them."""
    heard: list[tuple[float, int]] = []
    while not heard or heard[-1][1] != pending:
        heard.append(read_statistics(await scenario.await_event(monitor, STATS)))
    return heard


def read_statistics(told: dict[str, Any]) -> tuple[float, int]:
    return Time(told["timestamp"]).seconds, told["pendingBookings"]


async def test_monitors_get_statistics_as_they_change_at_most_once_a_second(scenario: Market) -> None:
    root, idle, ada = (
        await scenario.admin(),
        await scenario.admin("idle", monitoring=False),
        await scenario.customer("ada"),
    )
    await scenario.book(ada)
    heard = await hear_until(scenario, root, 1)
    for _ in range(4):
        await scenario.book(ada)
    heard += await hear_until(scenario, root, 5)
    # The first at once, the last when its second is over, and nothing in between.
    assert len(heard) == 2
    assert heard[1][0] - heard[0][0] >= INTERVAL - 0.001
    await scenario.server.advance(10 * INTERVAL)
    for admin in (root, idle):
        await admin.client.expect_nothing(STATS)


async def test_processes_keep_one_pace(database_url: str, tmp_path: Path) -> None:
    async with open_two(database_url, tmp_path) as (scenario, other):
        root, ada, eve = await scenario.admin(), await scenario.customer("ada"), await other.customer("eve")
        for _ in range(3):
            await scenario.book(ada)
            await other.book(eve)
        heard: list[tuple[float, int]] = []
        while not heard or heard[-1][1] != 6:
            _, [told] = await root.client.expect_event(STATS)
            heard.append(read_statistics(told))
    assert all(after - before >= INTERVAL - 0.001 for (before, _), (after, _) in pairwise(heard))


@pytest.mark.parametrize(("counted", "sent"), [(-5_000, False), (-1, False), (900, False), (1_000, True)])
async def test_statistics_that_another_process_has_overtaken_are_counted_again(
    scenario: Market, counted: int, sent: bool
) -> None:
    """A process may pause between its count and its transaction: what it counted before is outdated."""
    last = await put_last_statistics(scenario, scenario.server.now)
    assert await send(scenario, last + counted) is sent


async def test_the_pace_counts_from_when_statistics_are_sent(scenario: Market) -> None:
    last = await put_last_statistics(scenario, scenario.server.now - 60)
    # The count was long ago, and is sent now: the next one must not follow at once.
    assert await send(scenario, last + 1_000)
    assert not await send(scenario, last + 3_000)


async def test_a_clock_that_is_put_back_does_not_stop_statistics(scenario: Market) -> None:
    root, ada = await scenario.admin(), await scenario.customer("ada")
    await put_last_statistics(scenario, scenario.server.now + 3_600)
    await scenario.book(ada)
    assert await hear_until(scenario, root, 1)


async def put_last_statistics(scenario: Market, moment: float) -> int:
    """Write when the last statistics were sent, as another process does; in milliseconds."""
    milliseconds = int(moment * 1_000)
    await scenario.server.database.run(
        lambda connection: connection.execute(insert(told), {"what": "statistics", "told_at": milliseconds})
    )
    return milliseconds


async def send(scenario: Market, counted_at: int) -> bool:
    """Send statistics as a process does that counted them then."""
    counted = await scenario.server.database.read(count_statistics, 0)
    return await scenario.server.run(send_statistics, counted, counted_at, INTERVAL)


async def test_two_devices_of_a_partner_share_the_rate_of_locations(database_url: str, tmp_path: Path) -> None:
    """Each device is connected to another process, and both send their locations all the time."""
    async with open_two(database_url, tmp_path) as (scenario, other):
        ada, phone = await scenario.customer("ada"), await scenario.partner("bob")
        tablet = await other.enter("partner", phone.id)
        booking = await scenario.book(ada, phone)
        await phone.done("booking:accept", booking)
        await ada.done("booking:track", booking)
        loop = asyncio.get_running_loop()
        began, newest = loop.time(), 0.0
        places: list[float] = []

        async def listen(until: float | None = None) -> None:
            """Read what has arrived, up to the location `until`."""
            while until not in places if until else any(event.name == LOCATION for event in ada.client.pending):
                _, [update] = await ada.client.expect_event(LOCATION)
                places.append(update["location"]["latitude"])

        while loop.time() < began + 2.5 * INTERVAL:
            for device in (phone, tablet):
                newest += 0.01
                await device.done("location:update", {"latitude": newest, "longitude": 0})
            await listen()
            # As often as a device may.
            await asyncio.sleep(0.1)
        await listen(until=newest)
        seconds = loop.time() - began
    # Without a common rate, it is about twice as many.
    assert len(places) <= seconds / INTERVAL + 1
    assert places == sorted(places)


@pytest.mark.parametrize("change", ["partner", "kyc", "command"])
async def test_every_counted_change_sends_statistics(scenario: Market, change: str) -> None:
    ada, bob = await scenario.customer("ada"), await scenario.partner("bob")
    booking = await scenario.book(ada, bob)
    root = await scenario.admin()
    if change == "partner":
        await scenario.partner("new")
    elif change == "kyc":
        await scenario.post("/kyc-submissions", {"partnerId": bob.id, "documents": ["IDENTITY"]})
    else:
        await bob.done("booking:reject", {"bookingId": booking, "reason": "Full."})
    wanted = {
        "partner": {"registeredPartners": 2},
        "kyc": {"pendingKyc": 1},
        "command": {"pendingBookings": 1, "activeBookings": 0},
    }[change]
    while not wanted.items() <= (await scenario.await_event(root, STATS)).items():
        pass


# Today.


async def test_today_ends_at_midnight_where_the_operator_is() -> None:
    """Monitors learn that nothing has happened on the new day yet, though nothing happens."""
    zone = ZoneInfo("Pacific/Auckland")
    midnight = end_of_day(WALL_TIME, zone)
    async with start(system, at=midnight - 60, time_zone=zone.key) as oyez:
        scenario = Market(oyez)
        root, ada = await scenario.admin(), await scenario.customer("ada")
        await scenario.book(ada)
        told = await scenario.await_event(root, STATS)
        assert (told["bookingsToday"], told["pendingBookings"]) == (1, 1)
        await oyez.advance(midnight - oyez.now)
        told = await scenario.await_event(root, STATS)
        assert (told["bookingsToday"], told["pendingBookings"]) == (0, 1)
        assert Time(told["timestamp"]).seconds >= midnight


@pytest.mark.parametrize(("ago", "sent"), [(-3.0, False), (2.0, True)])
async def test_the_new_day_waits_for_the_second_to_end(scenario: Market, ago: float, sent: bool) -> None:
    last = await put_last_statistics(scenario, scenario.server.now - ago)
    await scenario.server.run(begin_day, "statistics", {})

    def read(connection: Connection) -> tuple[int, float]:
        due = select(jobs.c.due).where(jobs.c.kind == DAY_BEGINS)
        return connection.execute(select(told.c.told_at)).scalar_one(), connection.execute(due).scalar_one()

    told_at, due = await scenario.server.database.read(read)
    assert (told_at > last) is sent
    if not sent:
        assert due <= scenario.server.now + INTERVAL


async def test_sums_may_be_larger_than_amounts(scenario: Market) -> None:
    root, ada, bob = await scenario.admin(), await scenario.customer("ada"), await scenario.partner("bob")
    done = [await scenario.book(ada, bob) for _ in range(3)]
    most = to_cents(Money("9999999999999.99"))
    await scenario.server.database.run(lambda connection: connection.execute(update(bookings).values(amount=most)))
    for booking in done:
        for status in ("PARTNER_ACCEPTED", "IN_PROGRESS", "COMPLETED"):
            await bob.done("booking:status_update", {"bookingId": booking, "status": status})
    for number in (1, 2, 3):
        earned = (await bob.client.expect_event("earnings:updated")).data
        assert earned["todayEarnings"] == earned["totalEarnings"] == number * most / 100
    assert (await scenario.read(f"/partners/{bob.id}/earnings"))["totalEarnings"] == 3 * most / 100
    assert (await root.done("request:stats")) == {}
    assert (await scenario.read("/statistics"))["revenueToday"] >= 3 * most / 100
