"""The figures as people read them: a table on the terminal, and docs/benchmarks.md."""

import os
import textwrap
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from bench.children import FOLDER, BenchError
from bench.machine import describe_machine
from bench.results import Figure, Figures, Verdict, judge
from bench.servers import FLOOR, NODE_UWS, NODE_WS, PYTHON_SOCKETIO, SERVERS, TITLES

PEERS = {FLOOR: "÷ floor", NODE_WS: "÷ ws", NODE_UWS: "÷ µWS", PYTHON_SOCKETIO: "÷ py-sio"}
RELIABILITY = FOLDER.parent / "docs" / "reliability.md"
SCALING = FOLDER.parent / "docs" / "scaling.md"
STYLES = {"met": "green", "missed": "red"}
STORED = {True: "stored on disk", False: "log in memory", None: ""}
COLUMNS = ("server", "value", "user", "kernel", "a second", "load CPU", *PEERS.values(), "spread, notes")


def write_cells(figure: Figure, figures: Figures) -> list[str]:
    """One row, in the order of COLUMNS."""
    title = TITLES[figure.server]
    if figure.error:
        return [title, "failed", *[""] * (len(COLUMNS) - 3), figure.error]
    spread = f"{write_number(figure.spread[0])}-{write_number(figure.spread[1])}" if figure.spread else ""
    ratios = [figures.ratio(figure, peer) for peer in PEERS]
    return [
        title,
        write_number(figure.value),
        "" if figure.user is None else write_number(figure.user),
        "" if figure.user is None else write_number(figure.value - figure.user),
        "" if figure.rate is None else f"{figure.rate:,.0f}",
        "" if figure.load_share is None else f"{figure.load_share:.0%}",
        *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
        ", ".join(part for part in (spread, figure.note, STORED[figure.stored]) if part),
    ]


def write_number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def build_table(figures: Figures) -> Table:
    """Everything, a section for each scenario."""
    table = Table(header_style="bold", expand=False)
    for column in COLUMNS:
        text = column in (COLUMNS[0], COLUMNS[-1])
        table.add_column(column, justify="left" if text else "right", no_wrap=column != COLUMNS[-1])
    for scenario in figures.scenarios():
        table.add_section()
        table.add_row(f"[bold]{scenario.title}[/]", *[""] * (len(COLUMNS) - 2), f"in {scenario.unit}")
        for figure in figures.of(scenario.key):
            cells = [escape(cell) for cell in write_cells(figure, figures)]
            table.add_row(*cells, style="red" if figure.error else None)
    return table


def build_target_table(figures: Figures) -> Table:
    """The targets that this run measured."""
    table = Table("target", "server", "limit", "measured", "", header_style="bold")
    for verdict in (verdict for verdict in judge(figures) if verdict.measured is not None):
        table.add_row(*write_target_cells(verdict), style=STYLES.get(verdict.text, "yellow"))
    return table


def write_target_cells(verdict: Verdict) -> list[str]:
    target = verdict.target
    limit = f"{target.limit:g}" + (f" × {TITLES[target.peer]}" if target.peer else "")
    measured = "" if verdict.measured is None else f"{verdict.measured:.2f}"
    return [target.text, TITLES[verdict.server], f"≤ {limit}", measured, verdict.text]


def write_markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """`left`: how many columns at the beginning hold text; the last one always does."""
    rule = ["---" if index < left or index == len(columns) - 1 else "---:" for index in range(len(columns))]
    safe = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(cells)} |" for cells in (columns, rule, *safe)]


INTRODUCTION = """\
# Benchmarks

Speed of Oyez beside other Socket.IO servers. `make bench` writes this page; do not edit it.

Compare ratios, not absolute figures: those change from machine to machine and, on a shared machine, from hour to hour.
All figures of a scenario were taken in the same run, one server after the other.

- **CPU**: time of the server process by the operating system's accounting (`/proc/<pid>/stat`), for each recipient,
  command or connection; *user* is the process itself, *kernel* the rest.
- **Value, spread**: the round in the middle; the lowest and the highest round.
- **One at a time**: one event in an iteration of the server's loop, or one HTTP request with Oyez.
- **Bursts**: several events in one iteration, or in one request.
- **Memory**: growth of the server's proportional set size, without the kernel's socket buffers.
- **Latency**: time from the creation of an event to its arrival at a client on the same machine, for every recipient. A
  room is served one socket after the other, so in a room of 1,000 the last client waits for 999 others.
- **Durable command**: stores a message and its event in one transaction before it is acknowledged. What is committed
  survives the end of the process, not of the machine, at every server.
- **Event without recipients**: what it costs a second node, none of whose clients is in the event's room.
- **Floor**: a C program that does one `send` (in bursts: one `writev`) to each socket and nothing else.
- **Load CPU**: share of its core that the load generator uses, a C program on a core of its own. Near 100 % it limits
  the events a second, but not the CPU figures.
- **Stored on disk**: the server's data folder grew with the events. The targets for fan-out are about such a server.

The payload is 200 bytes, to which Oyez adds a time. All clients use WebSocket. The other servers neither check tokens
nor store events.
"""


def write_benchmarks(
    path: Path, figures: Figures, *, command: str, machine: Mapping[str, str], versions: Mapping[str, str]
) -> None:
    """Everything about a run, as a page of the documentation."""
    lines = [INTRODUCTION, "## This run", ""]
    about = {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "command": f"`{command}`", **machine}
    about["versions"] = ", ".join(f"{name} {number}" for name, number in versions.items())
    lines += write_markdown_table(("what", "value"), list(about.items()))
    lines += ["", "## Servers", ""]
    measured = {figure.server for figure in figures.all}
    lines += [f"- **{server.title}**: {server.about}." for server in SERVERS if server.key in measured]
    lines += [f"- *Not measured: {TITLES[key]}, because {reason}.*" for key, reason in figures.skipped.items()]
    lines += ["", "## Targets", ""]
    targets = [write_target_cells(verdict) for verdict in judge(figures)]
    lines += write_markdown_table(("target", "server", "limit", "measured", "verdict"), targets, left=3)
    lines += [
        "",
        "That no event is lost, duplicated or out of order is tested elsewhere: see [reliability](reliability.md).",
    ]
    for scenario in figures.scenarios():
        lines += ["", f"## {scenario.title}", "", f"In {scenario.unit}; less is better.", ""]
        lines += write_markdown_table(COLUMNS, [write_cells(figure, figures) for figure in figures.of(scenario.key)])
    path.write_text("\n".join(lines) + "\n")


# Pages that several benchmarks share, each of which renews its own section.


def write_rows(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown: its first column is text, the others are numbers."""
    rule = ["---", *["---:"] * (len(headings) - 1)]
    return [f"| {' | '.join(row)} |" for row in (headings, rule, *rows)]


def write_section(page: Path, name: str, lines: Sequence[str], *, command: str) -> None:
    """Put `lines` between `<!-- NAME -->` and `<!-- end -->`, with when, how and on what they were taken."""
    before, found, rest = page.read_text().partition(f"<!-- {name} -->\n")
    if not found:
        raise BenchError(f"{page} has no section {name}")
    about = describe_machine()
    taken = (
        f"Taken on {datetime.now(UTC):%Y-%m-%d} with `{command}` on {about['processor']}, cores {about['cores']},"
        f" {about['memory']} of memory, {about['kernel']}. Load average at the end: {os.getloadavg()[0]:.1f}."
    )
    text = "\n".join(["", *textwrap.wrap(taken, 120, break_on_hyphens=False), "", *lines, ""])
    page.write_text(f"{before}{found}{text}\n<!-- end -->{rest.partition('<!-- end -->')[2]}")
