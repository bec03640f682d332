"""`python -m bench`: measures Oyez beside its peers, prints the figures, and writes docs/benchmarks.md."""

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench import machine, table
from bench.children import FOLDER, BenchError
from bench.measure import QUICK, Bench, Budget
from bench.results import Figure, Figures, judge
from bench.scenarios import FAMILIES
from bench.servers import FLOOR, SERVERS, TITLES, Server, prepare

PAGE = FOLDER.parent / "docs" / "benchmarks.md"
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SPARE_FILES = 200
"""Open files that a server needs besides its clients'."""


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=FAMILIES, metavar="NAME", help=f"this scenario only: {', '.join(FAMILIES)}"
    )
    keys = [server.key for server in SERVERS]
    parser.add_argument("--servers", metavar="A,B", help=f"these servers only: {', '.join([*keys, FLOOR])}")
    parser.add_argument("--quick", action="store_true", help="small counts: shows that everything works, no figures")
    parser.add_argument("--page", type=Path, help="write the page here, also when the run is partial")
    options = parser.parse_args(arguments)
    if options.servers is not None:
        options.servers = options.servers.split(",")
        if unknown := set(options.servers) - {*keys, FLOOR}:
            parser.error(f"no such server: {', '.join(sorted(unknown))}; there are {', '.join([*keys, FLOOR])}")
    return options


def pick_servers(names: Sequence[str] | None, skipped: dict[str, str], console: Console) -> list[Server]:
    """The selected servers that can be measured here; reports why each other one cannot, and notes it in `skipped`."""
    picked = []
    for server in SERVERS:
        if names is not None and server.key not in names:
            continue
        if reason := server.missing():
            skipped[server.key] = reason
            console.print(f"[yellow]Skipping {server.title}[/] ({server.key}): {reason}.", soft_wrap=True)
        else:
            picked.append(server)
    return picked


def check_machine(budget: Budget, console: Console) -> None:
    if sys.platform != "linux":
        raise BenchError("The benchmark needs Linux: it reads /proc and uses epoll.")
    allowed = machine.raise_file_limit()
    if allowed < budget.idle + SPARE_FILES:
        raise BenchError(
            f"{budget.idle + SPARE_FILES} open files are needed, {allowed} are allowed: raise the limit (ulimit -Hn)."
        )
    if machine.pick_cores() == (None, None):
        console.print("[yellow]Only one core: server and load share it, and the figures mean little.[/]")


def run(options: argparse.Namespace, console: Console) -> Figures:
    budget = QUICK if options.quick else Budget()
    check_machine(budget, console)
    figures = Figures()
    servers = pick_servers(options.servers, figures.skipped, console)
    with (
        prepare("oyez-bench-") as around,
        Progress(
            SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True
        ) as progress,
    ):
        task = progress.add_task("starting")
        bench = Bench(
            around=around,
            servers=servers,
            floor=options.servers is None or FLOOR in options.servers,
            budget=budget,
            say=lambda text: progress.update(task, description=text),
        )
        names = options.only or list(FAMILIES)
        for number, name in enumerate(names, 1):
            console.print(f"[bold]\\[{number}/{len(names)}] {name}[/]")
            for figure in FAMILIES[name](bench):
                figures.add([figure])
                console.print(f"  {describe(figure)}", soft_wrap=True)
    return figures


def describe(figure: Figure) -> str:
    result = (
        f"[red]{escape(figure.error)}[/]"
        if figure.error
        else f"{table.write_number(figure.value)} {figure.scenario.unit}"
    )
    return f"{figure.scenario.title}: {TITLES[figure.server]}: {result}"


def interrupt(number: int, frame: FrameType | None) -> None:
    """Stop as on Ctrl-C. Once only: a second one would interrupt the ending of what was started."""
    for other in STOPS:
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt


def main(arguments: Sequence[str]) -> int:
    options = read_options(arguments)
    console = Console()
    for number in STOPS:
        signal.signal(number, interrupt)
    try:
        figures = run(options, console)
    except BenchError as error:
        console.print(f"[red]{escape(str(error))}[/]", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped; everything that was started has been ended.")
        return 130
    wide = Console(width=max(console.width, 160))
    wide.print(table.build_table(figures))
    if not options.quick and any(verdict.measured is not None for verdict in judge(figures)):
        wide.print(table.build_target_table(figures))
    whole = not (options.quick or options.only or options.servers)
    page = options.page or (PAGE if whole else None)
    if page is None:
        console.print("Not written down: only a whole run is (or say --page FILE).")
    else:
        page.parent.mkdir(exist_ok=True)
        command = shlex.join(["python", "-m", "bench", *arguments])
        table.write_benchmarks(
            page, figures, command=command, machine=machine.describe_machine(), versions=machine.describe_versions()
        )
        console.print(f"Written to {page}.")
    return 1 if figures.failed() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
