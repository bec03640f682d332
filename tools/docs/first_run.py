"""Record a first run of `quotes`: `make serve`, each kind of client, each event, and which clients received it.

    .venv/bin/python -m tools.docs.first_run

plays the test matrix of the system against the server that the README's command starts, and writes docs/first-run.md.
"""

import asyncio
import platform
import subprocess
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.support.js_client import FOLDER, JsDriver
from tests.support.served import start
from tests.systems.matrix.cases import contract_of, find_trials
from tests.systems.matrix.fixtures import FIXTURES, prepare_quotes
from tests.systems.matrix.harness import LIBRARIES, Harness, receive

from oyez import __version__

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "first-run.md"
SYSTEM = "quotes"
CLIENTS = {"javascript": "The official JavaScript client", "python": "Python-socketio's client"}
TITLES = {"polling": "polling only", "websocket": "WebSocket only", "upgrade": "polling, then upgraded to WebSocket"}


class Record:
    """The lines of the page. Each line is also printed at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, *lines: str) -> None:
        self.lines += lines
        print(*lines, sep="\n", flush=True)


async def play(harness: Harness, library: str, way: str, record: Record) -> None:
    """Publish each event to each kind of room that it goes to, and write one row for each."""
    record.write(
        "", "| event | sent to | position | received by | not received by |", "| --- | --- | --- | --- | --- |"
    )
    async with harness.everybody(library, way) as people:
        for trial in find_trials(contract_of(SYSTEM), harness.fixture):
            position = await harness.served.publish(trial.event, trial.data, trial.to)
            for person in trial.audience:
                events = await receive(people[person], trial)
                assert len(events) == 1, f"{person} received {events}"
            others = [person for person in people if person not in trial.audience]
            for person in others:
                await people[person].call("oyez:barrier")
                assert people[person].take_events() == [], person
            target = "(derived from the payload)" if trial.to is None else f"`{trial.to}`"
            received_by, not_received_by = ", ".join(sorted(trial.audience)), ", ".join(others)
            record.write(f"| `{trial.event}` | {target} | `{position}` | {received_by} | {not_received_by} |")


def describe_people(record: Record) -> None:
    record.write("", "| client | role in the token |", "| --- | --- |")
    for name, person in FIXTURES[SYSTEM].people.items():
        record.write(f"| {name} | {person.role} |")


def describe_software(record: Record) -> None:
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    client = (FOLDER / "package.json").read_text().split('"socket.io-client": "')[1].split('"')[0]
    record.write(
        f"Recorded on {datetime.now(UTC):%Y-%m-%d} with Oyez {__version__}, CPython {platform.python_version()}, "
        f"uvicorn {version('uvicorn')}, picows {version('picows')}, uvloop {version('uvloop')}; "
        f"socket.io-client {client} on Node {node}, python-socketio {version('python-socketio')}."
    )


async def record_run(record: Record) -> None:
    record.write(
        "# A first run",
        "",
        "This page is the record of a real run. `make serve` starts a server, then five clients connect to `quotes`",
        "with each client library and transport, and a back end publishes each of the six events over HTTP.",
        "",
        "Each row was checked before it was written: the clients in *received by* received the event with exactly",
        "the published data; the clients in *not received by* received nothing.",
        "",
        "`python -m tools.docs.first_run` writes this page.",
        "",
    )
    describe_software(record)
    describe_people(record)
    with tempfile.TemporaryDirectory() as folder:
        serving = start(["make", "--silent", "serve", f"SYSTEMS={SYSTEM}"], Path(folder) / "data", ROOT)
        async with serving as served, JsDriver.start() as driver:
            record.write("", "```", f"$ make serve SYSTEMS={SYSTEM}", *served.lines, "```")
            harness = Harness(SYSTEM, FIXTURES[SYSTEM], served, driver)
            await prepare_quotes(harness)
            for library in LIBRARIES:
                for way, title in TITLES.items():
                    record.write("", f"## {CLIENTS[library]}, {title}")
                    await play(harness, library, way, record)


def main() -> None:
    record = Record()
    asyncio.run(record_run(record))
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text("\n".join(record.lines) + "\n")


if __name__ == "__main__":
    main()
