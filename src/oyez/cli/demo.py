"""`oyez demo`: scenarios of all systems, side by side, with a table of what was sent and received at the end."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Annotated

from cyclopts import Parameter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from oyez.cli import console
from oyez.cli.address import Target, check_reachable, explain_unreachable
from oyez.cli.console import CallError
from oyez.cli.demo_server import start_server
from oyez.cli.flags import OWN_SETTINGS, SettingsFlags
from oyez.service.auth.secrets import load_secret
from oyez.systems.listing import list_systems
from oyez.systems.loader import load_demo, load_system
from oyez.testing.scenario import Scenario, ScenarioError, TargetServer
from oyez.testing.tally import Tally


def demo(
    *systems: str,
    start: Annotated[bool, Parameter(negative="")] = False,
    speed: float | None = None,
    url: str | None = None,
    flags: SettingsFlags = OWN_SETTINGS,
) -> int:
    """Play a day at the market against a running server: customers, garages, partners and shops, all simulated.

    At the end a table shows whether the right people, and only they, received each event. If not, the command reports
    each fault and ends with status 1. The server's database keeps the records of the day. Other clients may use the
    server at the same time: their events do not count.

    For example:
      oyez demo --start
      oyez demo bookings --speed 3600

    Parameters
    ----------
    systems
        The systems to play, at the same time. [default: all that have a demo]
    start
        Start a server with its own data folder for the demo, and end it afterwards.
    speed
        How many times faster than a real day: at 3600 an hour takes a second. [default: as fast as possible]
    url
        The server's address. [default: the address in the settings]
    """
    known = list_systems(having="demo.py")
    for name in systems:
        if name not in known:
            raise CallError(f"{name!r} has no demo. The systems with a demo are {', '.join(known)}.")
    if start and (url is not None or flags != OWN_SETTINGS):
        raise CallError("--start starts a server of its own. Leave out --start, or --url and the settings.")
    if speed is not None and not speed > 0:
        raise CallError(f"--speed {speed:g} would never end. Give a number above 0, such as 3600.")
    try:
        tallies = asyncio.run(play(systems or known, start=start, speed=speed, url=url, flags=flags))
    except KeyboardInterrupt:
        return console.fail("The demo was interrupted before the end of the day.")
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
        server = TargetServer(address, settings, load_secret(settings, make=False), explain_unreachable)
        progress = stack.enter_context(
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("events received"),
                console=console.err,
                transient=True,
            )
        )
        return await asyncio.gather(*(play_one(name, server, progress, speed) for name in systems))


async def play_one(system: str, server: TargetServer, progress: Progress, speed: float | None = None) -> Tally:
    """Play the day of one system; an error that ends it early is one of its faults."""
    demo, contract = load_demo(system), load_system(system).contract
    task = progress.add_task(system, total=len(contract.events))
    async with AsyncExitStack() as stack:
        day = Scenario(
            contract,
            server,
            stack,
            report=partial(_report, progress, system),
            advance=lambda events: progress.update(task, completed=events),
            speed=speed,
            conflated=demo.conflated,
        )
        try:
            await demo.play(day)
        except ScenarioError as error:
            day.end_early(error)
        return await day.finish()


def show(tallies: Sequence[Tally]) -> int:
    """Print the tables. Returns the exit status."""
    for tally in tallies:
        console.show_table(build_table(tally))
        console.out.print()
    for tally in tallies:
        console.out.print(tally.summary())
    faults = [f"{tally.system}: {fault}" for tally in tallies for fault in tally.faults]
    return max((console.fail(fault) for fault in faults), default=0)


def build_table(tally: Tally) -> Table:
    table = Table(title=f"{tally.system}: a day at the market", title_justify="left", box=None, pad_edge=False)
    table.add_column("event", no_wrap=True)
    table.add_column("sent", justify="right")
    table.add_column("due", justify="right")
    table.add_column("received", justify="right")
    table.add_column("by", max_width=40)
    table.add_column("caused by", overflow="fold")
    for name, line in tally.lines.items():
        style = "green" if line.received and line.received == line.due else "bold red"
        counts = (str(count) for count in (line.sent, line.due, line.received))
        table.add_row(Text(name, style), *counts, ", ".join(sorted(line.recipients)), ", ".join(line.ways))
    return table


def _report(progress: Progress, system: str, clock: str, text: str) -> None:
    progress.console.print(Text.assemble((clock, "dim"), "  ", (f"{system:<9}", "cyan"), "  ", text))
