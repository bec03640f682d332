"""`oyez demo`: a day of every system, and each kind of event reaches its recipients and no other client."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from oyez.cli.address import explain_unreachable
from oyez.cli.demo import play, show
from oyez.cli.flags import SettingsFlags
from oyez.service.auth.secrets import load_secret
from oyez.systems.listing import list_systems
from oyez.systems.loader import load_system
from oyez.testing.scenario import Scenario, ScenarioError, TargetServer
from tests.cli.test_publish import PACKED
from tests.support.served import Served, serve
from tests.support.terminal import ORDERS, Calls, run


@pytest.fixture(scope="module")
async def market(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A server of all systems that ship, and of the orders that tests declare."""
    async with serve(tmp_path_factory.mktemp("market") / "data", *list_systems(), str(ORDERS)) as running:
        yield running


def flags_of(market: Served) -> SettingsFlags:
    return SettingsFlags(oyez_data=market.settings.oyez_data)


def test_every_system_has_a_day() -> None:
    assert list_systems(having="demo.py") == list_systems()


@pytest.mark.parametrize("system", list_systems())
async def test_a_day(market: Served, system: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tally,) = await play([system], url=market.url, flags=flags_of(market))
    assert tally.faults == []
    assert tally.lines.keys() == load_system(system).contract.events.keys()
    for line in tally.lines.values():
        assert line.sent > 0
        assert line.ways
        assert line.received == line.due > 0
    capsys.readouterr()
    assert show([tally]) == 0
    shown = capsys.readouterr()
    assert f"{system}: {len(tally.lines)} of {len(tally.lines)} events received;" in shown.out
    assert all(name in shown.out for name in tally.lines)
    assert shown.err == ""


async def test_two_days_on_one_server_know_nothing_of_each_other(market: Served) -> None:
    tallies = await play(["qscrap", "qscrap"], url=market.url, flags=flags_of(market))
    assert [tally.faults for tally in tallies] == [[], []]


async def test_all_days_on_a_server_of_two_workers(tmp_path: Path) -> None:
    async with serve(tmp_path / "data", *list_systems(), "--workers", "2") as running:
        tallies = await play(list_systems(), url=running.url, flags=flags_of(running))
    assert {tally.system: tally.faults for tally in tallies} == {system: [] for system in list_systems()}


async def test_a_server_of_its_own(tmp_path: Path) -> None:
    # Settings that are around are those of another server.
    ended = await run(
        tmp_path, "demo", "fixrx", "quotes", "--start", "--speed", "1e6", DATABASE_URL="postgresql://nowhere/none"
    )
    assert ended.status == 0
    assert "fixrx: 10 of 10 events received; 10 sent, 17 of 17 deliveries\n" in ended.out
    assert "\nquotes: 6 of 6 events received; 6 sent, 8 of 8 deliveries\n" in ended.out
    assert "09:10  fixrx      Maya's tap leaks: she asks for somebody\n" in ended.err
    assert not any(os.scandir(tmp_path))


# Days on which something goes wrong.


async def live(market: Served, play_day: Callable[[Scenario], Awaitable[None]]) -> list[str]:
    """What is found amiss with a day of `orders`."""
    async with AsyncExitStack() as stack:
        secret = load_secret(market.settings)
        server = TargetServer(market.url, market.settings, secret, explain_unreachable)
        day = Scenario(load_system(str(ORDERS)).contract, server, stack, timeout=0.3)
        await play_day(day)
        return (await day.finish()).faults


async def test_an_event_that_the_day_does_not_play(market: Served) -> None:
    async def nothing(day: Scenario) -> None:
        """It is Sunday."""

    assert await live(market, nothing) == [
        "order:packed was not sent: the scenario does not cause it.",
        "order:seen was not sent: the scenario does not cause it.",
    ]


async def test_an_event_that_does_not_arrive(market: Served) -> None:
    async def wrong(day: Scenario) -> None:
        bob = await day.connect("Bob", "customer")
        await day.publish("Ada's order is packed", "order:packed", PACKED, received_by=[bob])

    assert (await live(market, wrong))[:2] == [
        "order:packed was not received by Bob within 0.3 s, at 07:00.",
        "order:packed was sent, but no client received it.",
    ]


async def test_an_event_that_reaches_a_stranger(market: Served) -> None:
    async def crowded(day: Scenario) -> None:
        ada, other = await day.connect("Ada", "customer"), await day.connect("Ada", "customer")
        other.name = "Eve"
        await day.publish("Packed", "order:packed", {**PACKED, "customer_id": ada.id}, received_by=[ada])

    fault, _ = await live(market, crowded)
    assert fault.startswith("order:packed reached Eve, who must not receive it: {")


async def test_a_refusal_ends_the_day(market: Served) -> None:
    async def refused(day: Scenario) -> None:
        await day.publish("Packed", "order:packed", {}, received_by=[])

    with pytest.raises(ScenarioError, match=r"^POST /orders/events: invalid_data: "):
        await live(market, refused)


def test_no_server_listens(oyez: Calls) -> None:
    ended = oyez("demo", "fixrx", "--url", "http://127.0.0.1:1")
    assert ended.status == 1
    assert ended.err == (
        "Error: http://127.0.0.1:1 cannot be reached: Connection refused. Start the server, or give its --url.\n"
    )


async def test_a_system_that_is_not_served(oyez: Calls, served: Served) -> None:
    ended = await asyncio.to_thread(oyez, "demo", "fixrx", "--url", served.url)
    assert ended.status == 1
    assert "answers /fixrx/socket.io/ with status 404. Serve fixrx there." in ended.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tulips"], "'tulips' has no demo."),
        (["--start", "--url", "http://127.0.0.1:5001"], "Leave out --start, or --url and the settings."),
        (["--speed", "0"], "would never end"),
    ],
)
def test_a_call_that_cannot_work(oyez: Calls, words: list[str], said: str) -> None:
    ended = oyez("demo", *words)
    assert ended.status == 2
    assert said in ended.error


async def test_without_a_server_it_says_so_in_one_line(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    error = (await run(folder, "demo", "--url", url)).error
    assert error == f"{url} cannot be reached: Connection refused. Start the server, or give its --url."
