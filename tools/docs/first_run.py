"""Record a first run of `quotes`: `make serve`, each kind of client, each event, and which clients received it.

    .venv/bin/python -m tools.docs.first_run

plays the scenario of the tests against the server that the README's command starts, and writes docs/first-run.md.
"""

import asyncio
import platform
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.support import py_client
from tests.support.js_client import FOLDER, JsDriver
from tests.support.served import Served, start
from tests.systems.quotes.scenario import ROLES, STEPS, SUPPLIER_IDS, Listener, Step
from tests.systems.quotes.test_delivery import PATH, WAYS, put_supplier

from oyez import __version__

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "first-run.md"
TITLES = {"polling": "polling only", "websocket": "WebSocket only", "upgrade": "polling, then upgraded to WebSocket"}


class Record:
    """The lines of the page. Each line is also printed at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, *lines: str) -> None:
        self.lines += lines
        print(*lines, sep="\n", flush=True)


@asynccontextmanager
async def connect_javascript(served: Served, way: str) -> AsyncIterator[Mapping[str, Listener]]:
    async with JsDriver.start() as driver:
        people = {}
        for person, role in ROLES.items():
            client = await driver.connect(
                served.url, path=PATH, auth={"token": served.token(person, role)}, transports=WAYS[way]
            )
            transport = await client.transport()
            assert transport == WAYS[way][-1], f"{person} is connected over {transport}"
            people[person] = client
        yield people


@asynccontextmanager
async def connect_python(served: Served, way: str) -> AsyncIterator[Mapping[str, Listener]]:
    async with AsyncExitStack() as stack:
        people = {}
        for person, role in ROLES.items():
            client = py_client.connect(
                served.url, path=PATH, auth={"token": served.token(person, role)}, transports=WAYS[way]
            )
            people[person] = await stack.enter_async_context(client)
        yield people


CLIENTS = {"the official JavaScript client": connect_javascript, "python-socketio's client": connect_python}


async def play(served: Served, people: Mapping[str, Listener], record: Record) -> None:
    """Publish every step and write one row for each."""
    record.write(
        "", "| event | sent to | position | received by | not received by |", "| --- | --- | --- | --- | --- |"
    )
    for step in STEPS:
        position = await served.publish(step.event, step.data, step.to)
        for person in step.heard_by:
            received = list(await people[person].expect_event(step.event))
            assert received == [step.data], f"{person} received {received}"
        others = [person for person in people if person not in step.heard_by]
        for person in others:
            await people[person].expect_nothing()
        received_by, not_received_by = ", ".join(step.heard_by), ", ".join(others)
        record.write(f"| `{step.event}` | {show_target(step)} | `{position}` | {received_by} | {not_received_by} |")


def show_target(step: Step) -> str:
    if step.to is None:
        return "(derived from the payload)"
    rooms = [step.to] if isinstance(step.to, str) else step.to
    return ", ".join(f"`{room}`" for room in rooms)


def describe_people(record: Record) -> None:
    record.write("", "| client | role in the token | supplier record |", "| --- | --- | --- |")
    for person, role in ROLES.items():
        record.write(f"| {person} | {role or '(none: user)'} | {SUPPLIER_IDS.get(person, '')} |")


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
        "This page is the record of a real run. `make serve` starts a server, then six clients connect to `quotes`",
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
        async with start(["make", "--silent", "serve", "SYSTEMS=quotes"], Path(folder) / "data", ROOT) as served:
            record.write("", "```", "$ make serve SYSTEMS=quotes", *served.lines, "```")
            for user, supplier in SUPPLIER_IDS.items():
                answer = await put_supplier(served, user, supplier)
                record.write("", f"`PUT /quotes/api/suppliers/{user}` → {answer.status_code} `{answer.text}`")
            for client, connect in CLIENTS.items():
                for way, title in TITLES.items():
                    record.write("", f"## {client[0].upper()}{client[1:]}, {title}")
                    async with connect(served, way) as people:
                        await play(served, people, record)


def main() -> None:
    record = Record()
    asyncio.run(record_run(record))
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text("\n".join(record.lines) + "\n")


if __name__ == "__main__":
    main()
