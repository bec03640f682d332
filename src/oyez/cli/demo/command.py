"""`oyez demo`: days at the market, side by side, with what was sent and heard in a table at the end."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Annotated

from cyclopts import Parameter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from oyez.cli import console
from oyez.cli.address import Target, check_reachable
from oyez.cli.console import CallError
from oyez.cli.demo import bookings, fixrx, qscrap, quotes, rez
from oyez.cli.demo.day import Day, Market, Story, StoryError
from oyez.cli.demo.server import start_server
from oyez.cli.demo.tally import Tally
from oyez.cli.flags import OWN_SETTINGS, SettingsFlags
from oyez.service.auth.secrets import load_secret
from oyez.service.system import SHIPPED, load_system

STORIES: Mapping[str, Story] = {
    "quotes": quotes.STORY,
    "bookings": bookings.STORY,
    "fixrx": fixrx.STORY,
    "qscrap": qscrap.STORY,
    "rez": rez.STORY,
}


def demo(
    *systems: str,
    start: Annotated[bool, Parameter(negative="")] = False,
    speed: float | None = None,
    url: str | None = None,
    flags: SettingsFlags = OWN_SETTINGS,
) -> int:
    """Play a day at the market against a running server: customers, garages, partners and shops, all simulated.

    At the end every kind of event has been heard by those who should hear it and by nobody else, which a table shows;
    where that is not so, the command says what was amiss and ends with status 1. The day leaves its records in the
    server's database. Where others use the server meanwhile, what they do is left out of the count.

    For example:
      oyez demo --start
      oyez demo bookings --speed 3600

    Parameters
    ----------
    systems
        The systems whose day is played, at the same time. [default: all that ship]
    start
        Start a server for it, with a data folder of its own, and end it afterwards.
    speed
        How many times faster than a real day: at 3600 an hour takes a second. [default: as fast as it can]
    url
        Where the server is. [default: where the settings have it]
    """
    for name in systems:
        if name not in SHIPPED:
            raise CallError(f"There is no day of {name!r}. There are those of {', '.join(SHIPPED)}.")
    if start and (url is not None or flags != OWN_SETTINGS):
        raise CallError("The server that --start starts is no other's. Leave out --start, or --url and the settings.")
    if speed is not None and not speed > 0:
        raise CallError(f"--speed {speed:g} would never end. Give a number above 0, such as 3600.")
    try:
        tallies = asyncio.run(play(systems or SHIPPED, start=start, speed=speed, url=url, flags=flags))
    except KeyboardInterrupt:
        return console.fail("The day was ended before it was over.")
    return show(tallies)


async def play(
    systems: Sequence[str],
    *,
    start: bool = False,
    speed: float | None = None,
    url: str | None = None,
    flags: SettingsFlags = OWN_SETTINGS,
) -> list[Tally]:
    """Play the days of these systems, all at once."""
    async with AsyncExitStack() as stack:
        if start:
            address, settings = await stack.enter_async_context(start_server(systems))
        else:
            settings = flags.load()
            address = Target(url=url).find(settings)
            await check_reachable(address)
        market = Market(address, settings, load_secret(settings, make=False))
        progress = stack.enter_context(
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("kinds of event heard"),
                console=console.err,
                transient=True,
            )
        )
        return await asyncio.gather(*(play_one(name, market, progress, speed) for name in systems))


async def play_one(system: str, market: Market, progress: Progress, speed: float | None = None) -> Tally:
    """Play the day of one system; what ends it early is a fault."""
    story, contract = STORIES[system], load_system(system).contract
    task = progress.add_task(system, total=len(contract.events))
    async with AsyncExitStack() as stack:
        day = Day(
            contract,
            market,
            stack,
            tell=partial(_tell, progress, system),
            advance=lambda kinds: progress.update(task, completed=kinds),
            speed=speed,
            paced=story.paced,
        )
        try:
            await story.play(day)
        except StoryError as error:
            day.end_early(error)
        return await day.finish()


def show(tallies: Sequence[Tally]) -> int:
    """Print the tables; the exit status."""
    for tally in tallies:
        console.show_table(tally.to_table())
        console.out.print()
    for tally in tallies:
        console.out.print(tally.summary())
    faults = [f"{tally.system}: {fault}" for tally in tallies for fault in tally.faults]
    return max((console.fail(fault) for fault in faults), default=0)


def _tell(progress: Progress, system: str, clock: str, text: str) -> None:
    progress.console.print(Text.assemble((clock, "dim"), "  ", (f"{system:<9}", "cyan"), "  ", text))
