"""The documents, held to their word: every example is run, every table compared with the code, every link followed.

A page is played as a reader would: its files are written to an empty folder, its commands are given in order, and what
a `text` or `json` block shows must come. Tables between `<!-- NAME: … -->` and `<!-- end -->` are made from the code;
`python -m tools.docs.tables` writes them again.
"""

import ast
import asyncio
import importlib
import inspect
import json
import os
import pkgutil
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
from tools.docs.tables import DOCS, TABLES, find_constants, find_payloads, read, replace_table, to_fields

from oyez import errors
from oyez.client import QueueLimits
from oyez.contract import calls, check, codec, contract, declare, limits, patterns, policy, rooms, tokens
from oyez.contract.types import Payload
from oyez.errors import LogUnavailableError, Refusal
from oyez.log.log import Checkpoint, Entry
from oyez.log.memory import MemoryLog
from oyez.ops.families import FAMILIES
from oyez.protocol import engineio
from oyez.protocol.engineio import CloseReason
from oyez.runtime import Publisher, bind, function_errors
from oyez.service.app import Oyez
from oyez.service.auth.secrets import load_secret
from oyez.service.auth.tokens import build_signer
from oyez.service.redis_emitter.decoder import EmitterDecoder, EmitterMessageError
from oyez.settings import BackendSettings, Limits, Settings, WebhookSettings, load_settings
from oyez.systems.bookings.contract import contract as bookings
from oyez.systems.fixrx.contract import contract as fixrx
from oyez.systems.loader import load_system
from oyez.systems.qscrap import states as qscrap_states
from oyez.systems.qscrap import tables as qscrap_tables
from oyez.systems.quotes import tables
from oyez.systems.quotes.contract import contract as quotes
from tests.support.clock import PATIENCE
from tests.support.round_robin import NGINX
from tests.support.served import serve
from tests.support.valkey import ValkeyServer

ROOT = Path(__file__).parent.parent
OWN = (
    "admin",
    "architecture",
    "bookings",
    "clients",
    "coming-from-socketio",
    "compatibility",
    "contract-reference",
    "contracts",
    "delivery",
    "deploying",
    "docs-page",
    "doctor",
    "embedding",
    "emitters",
    "fixrx",
    "generated-documents",
    "guides",
    "handlers",
    "logging",
    "members",
    "new",
    "operating",
    "operations",
    "outbox",
    "plain-websocket",
    "protocol",
    "publishing",
    "publishing-api",
    "publishing-python",
    "qscrap",
    "quotes",
    "recipes",
    "recovery",
    "rez",
    "scaling",
    "security",
    "server-api",
    "settings",
    "systems",
    "testing",
    "tracing",
    "troubleshooting",
    "tutorial",
    "webhooks",
)
"""The pages that are played; the others are only looked over for links."""
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(DOCS.glob("*.md"))]


CONTRACTS = {"bookings": bookings, "fixrx": fixrx, "quotes": quotes}
"""The pages of systems."""


# Reading a page.


class Block(NamedTuple):
    """A fenced block."""

    language: str
    text: str
    line: int


def find_blocks(text: str) -> list[Block]:
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [Block(match[1], match[2], text.count("\n", 0, match.start()) + 1) for match in found]


def find_rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the table that begins with `heading`, its first column's title."""
    lines = iter(text.splitlines())
    next(line for line in lines if line.startswith(f"| {heading} |"))
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def bare(cell: str) -> str:
    return cell.strip("`")


# Tables made from the code.


@pytest.mark.parametrize("name", TABLES)
def test_tables_say_what_the_code_says(name: str) -> None:
    page, build = TABLES[name]
    text = read(page)
    assert text == replace_table(text, name, build()), f"docs/{page}.md is stale: run `python -m tools.docs.tables`"


# Playing a page.


SERVES = ("oyez serve", "uvicorn")
GOES_ON = {
    "oyez serve": "listens at",
    "uvicorn": "running on",
    "oyez listen": "connected",
    "node listen.mjs": "connected",
    "python receiver.py": "running on",
    "node receiver.mjs": "listening",
}
"""Commands that run until they are stopped, and what they print when they have started."""
VARYING = {
    r"\d{4}-\d\d-\d\dT[\d:.]+Z": "TIME",
    r"^\d\d:\d\d:\d\d\.\d{3}": "CLOCK",
    r"\b[0-9a-f]{8}\.\d+\b": "POSITION",
    r"\brcv_[0-9a-f]{20}\b": "RECEIVER",
    r"\bwhsec_[\w+/=]+": "SECRET",
    r'worker="\d+"': 'worker="PID"',
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b": "UUID",
}
"""What differs from run to run."""


def level(text: str) -> str:
    """`text` without what differs from run to run."""
    for pattern, name in VARYING.items():
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    return text.strip()


@dataclass
class Running:
    """A command that keeps running, and the lines it has printed since the last expected one."""

    words: str
    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)
    reader: "asyncio.Task[None] | None" = None

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip())
            self.told.set()
        self.told.set()

    async def expect(self, text: str) -> str:
        """What has been printed, once `text` is in it."""
        wanted = level(text)
        async with asyncio.timeout(PATIENCE):
            while wanted not in level("\n".join(self.lines)):
                assert self.process.returncode is None, f"{self.words} has ended: {self.lines}"
                self.told.clear()
                await self.told.wait()
        return "\n".join(self.lines)

    async def stop(self) -> int:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            status = await self.process.wait()
            if self.reader is not None:
                await self.reader
        return status


def find_free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return str(taken.getsockname()[1])


@dataclass
class Stage:
    """An empty folder, and what a reader has done in it so far."""

    folder: Path
    port: str = "5001"
    redis_port: str = "6379"
    running: list[Running] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    """For each language the file that its next block continues."""
    receivers: dict[str, str] = field(default_factory=lambda: {port: find_free_port() for port in ("7301", "7302")})
    """The ports of receivers of webhooks."""
    said: str | None = None
    """What the last command printed, until it is expected."""

    @property
    def environ(self) -> dict[str, str]:
        tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": tools, "PORT": self.port, "PYTHONUNBUFFERED": "1", **self.variables}

    async def play(self, block: Block) -> None:
        if block.text.startswith(SERVES):
            await self.stop()
            self.port = "0"
        ports = {"5001": self.port, "6379": self.redis_port, **self.receivers}
        text = re.sub("|".join(ports), lambda found: ports[found[0]], block.text)
        # Of the servers on this machine, those of this run.
        text = text.replace("pgrep -o", f"pgrep -P {os.getpid()} -o")
        if block.language == "sh":
            await self.give(text)
        elif block.language in ("text", "json"):
            await self.expect(text, as_json=block.language == "json")
        elif block.language in FILES:
            self.write(block.language, text)

    def write(self, language: str, text: str) -> None:
        named = re.match(r"(?:#|//) (\S+)\n", text)
        if named:
            self.files[language] = self.folder / named[1]
            self.files[language].unlink(missing_ok=True)
        with self.files[language].open("a") as file:
            file.write(text + "\n")

    async def give(self, command: str) -> None:
        if entered := re.fullmatch(r"cd (\w+)\n", command):
            # In every terminal from now on.
            self.folder /= entered[1]
            return
        beginning = next((words for words in GOES_ON if command.startswith(words)), None)
        if beginning is not None:
            await self.begin(command, beginning)
            return
        exported = self.folder / ".exported"
        process = await self.start(f"{command}\nenv -0 > {exported}", stderr=None)
        async with asyncio.timeout(PATIENCE):
            said, _ = await process.communicate()
        assert process.returncode == 0, f"{command} has failed"
        self.said = said.decode()
        environ = dict(pair.split("=", 1) for pair in exported.read_text().split("\0")[:-1])
        self.variables |= {name: environ[name] for name in re.findall(r"^export (\w+)=", command, re.MULTILINE)}

    async def begin(self, command: str, beginning: str) -> None:
        process = await self.start(f"exec {command}", stderr=asyncio.subprocess.STDOUT)
        running = Running(command, process)
        running.reader = asyncio.create_task(running.read())
        self.running.append(running)
        self.said = None
        heard = await running.expect(GOES_ON[beginning])
        if beginning in SERVES:
            (self.port,) = re.findall(r"https?://[\d.]+:(\d+)", heard)[:1]

    async def start(self, script: str, stderr: int | None) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", script),
            cwd=self.folder,
            env=self.environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
        )

    async def expect(self, text: str, *, as_json: bool) -> None:
        if not self.said:
            # The last command has printed nothing, or continues: the output is that of what was started last.
            await self.running[-1].expect(text)
            self.running[-1].lines.clear()
        elif as_json:
            assert json.loads(level(self.said)) == json.loads(level(text)), self.said
        else:
            assert level(self.said) == level(text)
        self.said = None

    async def stop(self) -> None:
        while self.running:
            last = self.running.pop()
            status = await last.stop()
            assert status == 0 or not last.words.startswith("oyez serve"), f"{last.words} ended with {status}"


FILES = ("python", "js", "toml", "nginx")
"""Languages whose blocks make up files, named by their first line."""
LOOKED_AT = ("ts", "javascript", "jsonl", "nginx", "html", "yaml")
"""Languages of blocks that are not run; tests below look at them."""


@asynccontextmanager
async def empty_stage(folder: Path, valkey: ValkeyServer) -> AsyncIterator[Stage]:
    (folder / "node_modules").symlink_to(ROOT / "tests" / "js" / "node_modules")
    stage = Stage(folder, redis_port=str(valkey.port))
    try:
        yield stage
    finally:
        await stage.stop()


@pytest.mark.parametrize("name", [name for name in OWN if "```sh\n" in read(name)])
async def test_what_a_page_shows_is_what_happens(name: str, tmp_path: Path, valkey: ValkeyServer) -> None:
    async with empty_stage(tmp_path, valkey) as stage:
        for block in find_blocks(read(name)):
            try:
                await stage.play(block)
            except BaseException as error:
                error.add_note(f"docs/{name}.md, line {block.line}")
                raise


INSTALLED = {"alembic", "anyio", "httpx", "msgspec", "oyez", "sqlalchemy", "standardwebhooks", "starlette", "uvicorn"}
"""What can be imported as soon as Oyez is installed."""
PACKAGES = {"socketio": "python-socketio"}
"""The names of packages that are not those of their modules."""


def find_needs(text: str) -> set[str]:
    """The ports and packages that a page with commands uses."""
    blocks = find_blocks(text)
    commands, js, python = ["\n".join(b.text for b in blocks if b.language == name) for name in ("sh", "js", "python")]
    ports = set(re.findall(r"(?:localhost|127\.0\.0\.1):(\d{4,5})\b", commands + js + python))
    if re.search(r"\boyez serve\b|\buvicorn\b", commands):
        ports.add("5001")
    modules = {name.split(".")[0] for name in re.findall(r"^(?:from|import) ([\w.]+)", python, re.MULTILINE)}
    written = {found[1] for block in blocks if (found := re.match(r"# (\w+)\.py\n", block.text))}
    written |= set(re.findall(r"\b(\w+)\.py\b", commands))
    written |= set(re.findall(r"\boyez new (\w+)", commands))
    others = modules - INSTALLED - written - set(sys.stdlib_module_names)
    imported = re.findall(r"^import (?:.* from )?\"([^\"]+)\"", js, re.MULTILINE)
    npm = {name for name in imported if not name.startswith((".", "/", "node:", "http"))}
    return ports | {f"`{PACKAGES.get(name, name)}`" for name in others} | {f"`{name}`" for name in npm}


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent == DOCS], ids=lambda page: page.stem)
def test_a_page_says_once_at_its_top_what_its_commands_need(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if page.stem == "install" or "```sh\n" not in text:
        return  # What every page assumes is on the page about installing.
    said = re.findall(r"^The commands of this page need .*?(?=\n\n)", text, re.DOTALL | re.MULTILINE)
    assert len(said) == 1, "say once: The commands of this page need …"
    assert text.index(said[0]) < min(text.index("```sh\n"), text.index("\n## "))
    assert "[install](install.md)" in said[0]
    assert [need for need in sorted(find_needs(text)) if need not in said[0]] == []


def test_every_block_is_run_or_looked_at() -> None:
    known = {"sh", "text", "json", *FILES, *LOOKED_AT}
    assert {block.language for name in OWN for block in find_blocks(read(name))} <= known


# Looking over what cannot be played.


def test_scripts_of_pages_are_served() -> None:
    served = {path.name for path in (ROOT / "src/oyez/server/http/socket_io_client").iterdir()}
    blocks = [block for name in OWN for block in find_blocks(read(name)) if block.language == "html"]
    sources = [Path(source).name for block in blocks for source in re.findall(r'src="([^"]+)"', block.text)]
    assert sources and set(sources) <= served


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if "://" in link:
                continue
            assert target.exists(), f"{page.name} links to {link}"
            if anchor:
                assert anchor in find_anchors(target.read_text()), f"{page.name} links to {link}"


def find_anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", find_prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def find_prose(text: str) -> str:
    """What is not in a block."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", OWN)
def test_lines_are_short(name: str) -> None:
    assert [line for line in find_prose(read(name)).splitlines() if len(line) > 120 and not line.startswith("|")] == []


@pytest.mark.parametrize("name", OWN)
def test_settings_that_are_spoken_of_exist(name: str) -> None:
    spoken = re.findall(r"`((?:max|ping|ssl|jwt)_\w+|(?!proxy)\w+_timeout|\w+_interval)`", read(name))
    # An argument of `event` and `command`, and not a setting.
    groups = (Settings, Limits, BackendSettings, WebhookSettings)
    known = {*(field for group in groups for field in group.__struct_fields__), "max_bytes"}
    known |= {field.name for field in fields(QueueLimits)}
    assert set(spoken) <= known


def test_the_settings_file_is_one(tmp_path: Path) -> None:
    block = next(block for block in find_blocks(read("operating")) if block.language == "toml")
    file = tmp_path / "oyez.toml"
    file.write_text(block.text)
    loaded = load_settings({}, file)
    assert loaded.origins == {"https://shop.example", "https://admin.shop.example"}
    assert loaded.limits.max_connections == 20_000


def test_nginx_passes_on_what_is_needed() -> None:
    (block,) = [block for block in find_blocks(read("operating")) if block.language == "nginx"]
    directives = {" ".join(line.split()) for line in block.text.splitlines()}
    assert {
        "proxy_http_version 1.1;",
        "proxy_set_header Host $http_host;",
        "proxy_set_header Upgrade $websocket;",
        "~*^websocket$ websocket;",
        "proxy_set_header Connection $connection_upgrade;",
    } <= directives
    assert f"server 127.0.0.1:{Settings().port};" in directives
    # A token in the query stays out of the log.
    logged = set(re.findall(r"\$(\w+)", next(line for line in block.text.splitlines() if "log_format" in line)))
    assert "access_log /var/log/nginx/oyez.log oyez;" in directives
    assert not logged & {"request", "request_uri", "args", "query_string", "http_referer"}
    (timeout,) = re.findall(r"proxy_read_timeout (\d+)s;", block.text)
    assert int(timeout) > Settings().ping_interval + Settings().ping_timeout
    assert block.text.count("{") == block.text.count("}")


@pytest.mark.skipif(NGINX is None, reason="there is no nginx")
def test_nginx_takes_its_page_as_it_is(tmp_path: Path) -> None:
    (block,) = [block for block in find_blocks(read("operating")) if block.language == "nginx"]
    file = tmp_path / "nginx.conf"
    page = block.text.replace("/var/log/nginx", str(tmp_path))
    folders = f"client_body_temp_path {tmp_path}; proxy_temp_path {tmp_path};"
    file.write_text(f"pid {tmp_path}/pid; events {{}} http {{ {folders}\n{page} }}")
    checked = subprocess.run(
        [str(NGINX), "-t", "-e", "stderr", "-p", str(tmp_path), "-c", str(file)], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr


def test_the_log_line_is_one() -> None:
    block = find_blocks(read("logging"))[0]
    line = json.loads(block.text)
    assert {"event", "level", "timestamp"} <= line.keys()
    assert line["reason"] in {reason.text for reason in find_constants(engineio, CloseReason)}


def find_texts() -> set[str]:
    """All texts in the code."""
    nodes = (
        node for path in Path(errors.__file__).parent.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))
    )
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_log_lines_with_an_action_exist() -> None:
    texts = find_texts()
    for lines, _ in find_rows(read("troubleshooting"), "line"):
        for line in re.findall(r"`([^`]+)`", lines):
            beginning = line.removesuffix("…").strip()
            found = texts if line == beginning else {text[: len(beginning)] for text in texts}
            assert beginning in found, line


def test_incidents_show_lines_and_metrics_that_exist() -> None:
    page = read("operations")
    texts = find_texts()
    lines = [line for block in find_blocks(page) for line in block.text.splitlines() if line.startswith('{"event"')]
    assert len(lines) > 10
    for line in lines:
        assert json.loads(line)["event"] in texts
    metrics = set(re.findall(r"\boyez_[a-z_]+", page))
    assert metrics <= {family.name + end for family in FAMILIES for end in ("", "_total")}
    # Each row of the table leads to an incident.
    incidents = re.findall(r"\| \[.*?\]\(#([\w-]+)\) \|", page)
    assert len(incidents) == 12 and set(incidents) <= find_anchors(page)


def test_the_line_about_a_refused_emitter_is_one() -> None:
    (block,) = [block for block in find_blocks(read("emitters")) if block.language == "jsonl"]
    line = json.loads(block.text)
    packet = {"type": 2, "data": [line["what"], {}], "nsp": "/"}
    body = msgspec.msgpack.encode(["emitter", packet, {"rooms": ["chat:user:ada"], "except": []}])
    reader = EmitterDecoder(Publisher(quotes, MemoryLog(), Limits()), ["quotes"])
    with pytest.raises(EmitterMessageError) as caught:
        reader.read(line["channel"], body)
    error = caught.value
    assert (line["what"], line["code"], line["reason"]) == (error.what, error.refusal.code, str(error))


def test_every_close_reason_is_explained() -> None:
    rows = {(bare(reason), int(code)) for reason, code, _ in find_rows(read("protocol"), "reason")}
    assert rows == {(reason.text, reason.code) for reason in find_constants(engineio, CloseReason)}


def test_the_clients_are_those_of_the_tests() -> None:
    page = read("clients")
    packages = json.loads((ROOT / "tests/js/package-lock.json").read_text())["packages"]
    clients = re.compile(r"node_modules/(socket\.io-client(-[\d.]+)?|wscat)")
    versions = [package["version"] for path, package in packages.items() if clients.fullmatch(path)]
    pins = [ROOT / "requirements-dev.txt", *(ROOT / "tests/clients/python").glob("5.*.txt")]
    for pin in pins:
        versions += re.findall(r"^python-socketio==(\S+)", pin.read_text(), re.MULTILINE)
    assert len(versions) == 10
    for version in versions:
        assert f" {version}" in page, version


def test_architecture_lists_every_file() -> None:
    package = Path(errors.__file__).parent
    shown: dict[str, set[str]] = {}
    layer = ""
    for cells in find_rows(read("architecture"), "layer"):
        layer = bare(cells[0]) or layer
        shown.setdefault(layer, set()).update(re.findall(r"`(\w+)(?:\.py)?`", cells[1]))
    for name, files in shown.items():
        found = {path.stem for path in (package if name == "top" else package / name).glob("*.py")}
        assert files == {stem for stem in found if not stem.startswith("__")}, name


def test_the_tree_of_errors_is_the_codes() -> None:
    tree = "OyezError\n" + inspect.cleandoc(errors.__doc__ or "").partition("OyezError\n")[2].partition("\n\n")[0]
    assert textwrap.dedent(tree.replace("\n    ", "\n")) in read("architecture")


# Refusals.


SPEAKING = (errors, tables, qscrap_tables, qscrap_states)
REFUSALS = {refusal.code for module in SPEAKING for refusal in find_constants(module, Refusal)} | {
    refusal.code for contract in CONTRACTS.values() for refusal in contract.refusals
}


@pytest.mark.parametrize(
    ("page", "heading", "column"),
    [("publishing-api", "status", 1), *((name, "code", 0) for name in (*CONTRACTS, "qscrap"))],
)
def test_refusals_that_are_spoken_of_exist(page: str, heading: str, column: int) -> None:
    assert {bare(row[column]) for row in find_rows(read(page), heading)} <= REFUSALS


async def test_what_is_not_spoken_is_refused_as_shown(tmp_path: Path) -> None:
    upgrade = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with serve(tmp_path / "data", "quotes") as served, httpx.AsyncClient(timeout=PATIENCE) as client:
        for _, request, status, answer in find_rows(read("protocol"), "a client asks for"):
            method, _, query = bare(request).partition(" ")
            websocket = method == "WebSocket"
            response = await client.request(
                "GET" if websocket else method,
                f"{served.url}/quotes/socket.io/{query}",
                headers=upgrade if websocket else {},
            )
            assert (response.status_code, response.text) == (int(status), bare(answer)), request


async def test_every_refusal_of_a_publish_request_is_as_shown(tmp_path: Path) -> None:
    settings = Settings(oyez_data=str(tmp_path), limits=Limits(body_timeout=0.05))
    log = FailingLog()
    oyez = Oyez([load_system("quotes")], settings, build_log=lambda system: log)
    signer = build_signer(settings, load_secret(settings))
    past = build_signer(settings, load_secret(settings), clock=lambda: time.time() - 3600)
    good: dict[str, Any] = {
        "event": "quote:offer:updated",
        "data": {"offerId": "o", "userId": "u", "updatedAt": "2026-01-31T12:00:00Z"},
    }
    request = {"event": "quote:request:updated", "data": {"requestId": "r", "updatedAt": "2026-01-31T12:00:00Z"}}
    bodies: list[Any] = [
        "{",
        {**good, "event": "x"},
        {**good, "data": {}},
        {**good, "data": {**good["data"], "status": "x" * settings.limits.max_event_bytes}},
        request,
        {**request, "to": "nowhere"},
        {**request, "to": "chat:user:u"},
    ]
    got: set[tuple[int, str]] = set()

    async with (
        oyez.running(),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(oyez, raise_app_exceptions=False),
            base_url="http://oyez",
            headers={"content-type": "application/json"},
        ) as client,
    ):

        async def post(content: Any, key: str | None, **headers: str) -> None:
            if key is not None:
                headers["authorization"] = f"Bearer {key}"
            response = await client.post("/quotes/events", content=content, headers=headers)
            assert response.headers["content-type"] == "application/problem+json", response.text
            problem = response.json()
            assert problem["status"] == response.status_code
            got.add((response.status_code, problem["code"]))

        key = signer.sign_service("quotes", None)
        for body in bodies:
            await post(body if isinstance(body, str) else json.dumps(body), key)
        await post("{}", None)
        await post("{}", "nonsense")
        await post("{}", past.sign_service("quotes", 1.0))
        await post("{}", key, **{"content-type": "text/plain"})
        headers = {"authorization": f"Bearer {key}", "idempotency-key": "k"}
        assert (await client.post("/quotes/events", content=json.dumps([good]), headers=headers)).is_success
        await post(json.dumps([good, good]), key, **{"idempotency-key": "k"})
        await post(never_ending(), key)
        for fault in (LogUnavailableError("on purpose"), ZeroDivisionError("on purpose")):
            log.fault = fault
            await post(json.dumps(good), key)
    assert got == {(int(status), bare(code)) for status, code, _ in find_rows(read("publishing-api"), "status")}


class FailingLog(MemoryLog):
    """A log that can be made to fail."""

    fault: Exception | None = None

    async def append(self, entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
        if self.fault is not None:
            raise self.fault
        return await super().append(entries, checkpoint)


async def never_ending() -> AsyncIterator[bytes]:
    """A body whose second half does not come."""
    yield b"{"
    await asyncio.Event().wait()


# Errors of a contract that cannot start.


def find_messages() -> Iterator[str]:
    """Every text in the modules that look for faults, with … for what is filled in."""
    checks = (
        importlib.import_module(found.name) for found in pkgutil.iter_modules(check.__path__, "oyez.contract.check.")
    )
    for module in (
        function_errors,
        bind,
        calls,
        codec,
        contract,
        declare,
        limits,
        patterns,
        policy,
        rooms,
        tokens,
        *checks,
    ):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant):
                yield str(node.value)


def test_messages_at_start_up_are_the_codes() -> None:
    known = list(find_messages())
    for _, messages in find_rows(read("contract-reference"), "part"):
        for message in re.findall(r"`(.+?)`(?:;|$)", messages):
            parts = message.split("…")
            assert any(all(part in text for part in parts) for text in known), message


# The events of the systems.


@pytest.mark.parametrize("name", CONTRACTS)
def test_types_of_a_system_are_the_contracts(name: str) -> None:
    page = re.sub(r'"\w+"(?: \| "\w+")+', lambda found: sort_choices(found[0]), read(name))
    declared = re.findall(r"^type (\w+) = \{\n(.*?)^\};$", page, re.DOTALL | re.MULTILINE)
    payloads: dict[str, type[Payload]] = {}
    for event in CONTRACTS[name].events.values():
        payloads |= find_payloads(event.payload)
    assert dict(declared) == {name: to_fields(payload) for name, payload in payloads.items()}


def sort_choices(text: str) -> str:
    """The strings a field may be, in the order in which msgspec gives them."""
    return " | ".join(sorted(text.split(" | ")))
