"""`oyez doctor`: each test causes a fault, and reads its cause and the remedy."""

import asyncio
import json
import re
import resource
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import trustme
from tools.docs.checks import FINDS

from oyez.cli.checks import machine
from oyez.cli.checks.before_start import BEFORE_START
from oyez.cli.checks.machine import MACHINE, TOKEN_REMEDIES
from oyez.cli.checks.report import Check, ProblemError
from oyez.cli.checks.running import RUNNING, Running, examine_websocket
from oyez.concurrency.clock import Clock
from oyez.contract import Command, Contract
from oyez.ops.health import health_routes
from oyez.runtime import Client
from oyez.service.app import Oyez
from oyez.service.auth.secrets import Secret
from oyez.service.auth.tokens import build_signer
from oyez.service.system import System, SystemServices
from oyez.settings import Settings
from oyez.systems.loader import load_system
from tests.support.clock import PATIENCE
from tests.support.postgres import PostgreSQL
from tests.support.round_robin import NGINX, balance_by_nginx
from tests.support.shops import Market, serve, shop
from tests.support.terminal import Calls, Ended
from tests.support.valkey import ValkeyServer, serve_valkey

SECRET = "d" * 64
OTHER = "e" * 64
Doctor = Callable[..., Awaitable[dict[str, str]]]


def find_problems(ended: Ended) -> dict[str, str]:
    """The problems by check."""
    assert ended.err == "", ended
    found = json.loads(ended.out)
    problems: dict[str, str] = {}
    for each in found["results"]:
        if each["result"] == "problem":
            problems[each["check"]] = f"{problems.get(each['check'], '')}{each['text']}\n"
    assert ended.status == (1 if problems else 0)
    return problems


@pytest.fixture
def doctor(oyez: Calls) -> Doctor:
    """`await doctor(...)` asks, beside the servers of the test, and gives the problems by check."""

    async def ask(*words: str | Path) -> dict[str, str]:
        patient = () if "--timeout" in words else ("--timeout", str(PATIENCE))
        found = find_problems(await asyncio.to_thread(oyez, "doctor", *words, "--json", *patient))
        # The machine of the test may be busy, which is a fault too.
        found.pop("event loop", None)
        return found

    return ask


@asynccontextmanager
async def run(folder: Path, *systems: System, clock: Clock | None = None, **settings: Any) -> AsyncIterator[Market]:
    """A server as `oyez serve` runs it."""
    values: dict[str, Any] = {
        "port": 0,
        "oyez_data": str(folder / "served"),
        "shutdown_timeout": 5.0,
        "jwt_secret": SECRET,
    }
    oyez = Oyez(systems or [shop("books")], Settings(**values | settings), operate=health_routes, time=clock or Clock())
    async with serve(oyez) as market:
        yield market


def sign(secret: str = SECRET, lifetime: float = 60.0, clock: Callable[[], float] = time.time, **values: Any) -> str:
    """A user's token, signed with these settings."""
    settings = Settings(jwt_secret=secret, **values)
    return build_signer(settings, Secret(secret), clock=clock).sign_user("ada", None, {}, lifetime)


async def test_a_healthy_server_has_no_problem(folder: Path, doctor: Doctor) -> None:
    async with run(folder, client_origin="https://shop.example") as market:
        key = market.oyez.signer.sign_service("books", 60.0)
        words = ("--token", sign(), "--key", key, "--origin", "https://shop.example")
        assert await doctor(market.url, *words) == {}


def test_every_check_says_what_it_finds() -> None:
    checks: list[Check[Any]] = [*BEFORE_START, *MACHINE, *RUNNING]
    assert len({check.subject for check in checks}) == len(checks) >= 20
    assert {check.subject for check in checks} == FINDS.keys()


# Around the server.


async def test_nothing_listens(doctor: Doctor) -> None:
    found = await doctor("http://127.0.0.1:1")
    assert "Nothing takes connections at 127.0.0.1 (Connection refused)" in found["connection"]
    assert "Start the server" in found["connection"]
    assert list(found) == ["connection"]


async def test_a_name_that_nobody_knows(doctor: Doctor) -> None:
    found = await doctor("http://nobody.invalid:5001")
    assert "nobody.invalid cannot be resolved" in found["connection"]


async def test_a_server_listens_at_one_of_the_addresses_of_its_name(
    folder: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo

    def resolve_both(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        # As /etc/hosts or DNS would: an address at which the server does not listen is another one.
        if host != "live.example":
            return resolve(host, port, *args, **options)
        return [*resolve("::1", port, *args, **options), *resolve("127.0.0.1", port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve_both)
    async with run(folder) as market:
        found = await doctor(f"http://live.example:{market.http.port}")
    assert "listens at 127.0.0.1, but not at ::1" in found["connection"]


async def test_another_program_answers(doctor: Doctor) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello")

    async with listen(answer) as port:
        found = await doctor(f"http://127.0.0.1:{port}")
        assert "Another program answers" in found["HTTP"]
        # The same for the settings of a server.
        found = await doctor("--port", str(port), "--system", "quotes")
        assert f"Another program listens at port {port}" in found["port"]


@asynccontextmanager
async def listen(answer: Callable[..., Awaitable[None]], tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server that lets `answer` handle each connection, also those that only try the port."""
    answering: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await answer(reader, writer)

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(handle(reader, writer))
        answering.add(task)
        task.add_done_callback(lambda _: writer.transport.abort() if task.cancelled() else writer.close())

    server = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)


# TLS.


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def serve_tls(issued: trustme.LeafCert, chain: int | None = None) -> AsyncIterator[str]:
    """The address of a TLS server, which sends the first `chain` certificates."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with (
        trustme.Blob(b"".join(pem.bytes() for pem in issued.cert_chain_pems[:chain])).tempfile() as certificates,
        issued.private_key_pem.tempfile() as key,
    ):
        context.load_cert_chain(certificates, key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Ends the connection after the handshake."""

    async with listen(answer, context) as port:
        yield f"https://127.0.0.1:{port}"


@pytest.fixture
def trust(authority: trustme.CA, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an operator with an authority of the company."""
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "authority.pem"))


YESTERDAY = datetime.now(UTC) - timedelta(days=1)


@pytest.mark.usefixtures("trust")
async def test_certificates(authority: trustme.CA, doctor: Doctor) -> None:
    async with serve_tls(authority.issue_cert("127.0.0.1", not_after=YESTERDAY)) as url:
        assert "has expired" in (await doctor(url))["TLS"]
    async with serve_tls(authority.issue_cert("shop.example")) as url:
        assert "is for another name" in (await doctor(url))["TLS"]
    intermediate = authority.create_child_ca()
    issued = intermediate.issue_cert("127.0.0.1")
    async with serve_tls(issued, 1) as url:
        found = await doctor(url)
        assert "chain of the certificate is incomplete" in found["TLS"]
        assert "fullchain.pem" in found["TLS"]
    async with serve_tls(issued) as url:
        assert "TLS" not in await doctor(url)


async def test_http_and_https_are_mixed_up(authority: trustme.CA, folder: Path, doctor: Doctor) -> None:
    async with run(folder) as market:
        found = await doctor(market.url.replace("http:", "https:"))
        assert "does not speak TLS" in found["TLS"]
    async with serve_tls(authority.issue_cert("127.0.0.1")) as url:
        found = await doctor(url.replace("https:", "http:"))
        assert f"Is it {url}?" in found["HTTP"]


async def test_a_certificate_of_the_settings_that_ends(authority: trustme.CA, folder: Path, doctor: Doctor) -> None:
    for end, words in ((YESTERDAY, "has expired"), (datetime.now(UTC) + timedelta(days=3), "expires on")):
        issued = authority.issue_cert("shop.example", not_after=end)
        issued.cert_chain_pems[0].write_to_path(str(folder / "chain.pem"))
        issued.private_key_pem.write_to_path(str(folder / "key.pem"))
        found = await doctor("--system", "quotes", "--ssl-certfile", "chain.pem", "--ssl-keyfile", "key.pem")
        assert words in found["certificate dates"]


# Proxies.

needs_nginx = pytest.mark.skipif(NGINX is None, reason="there is no nginx")


@needs_nginx
async def test_a_proxy_that_does_not_pass_upgrade_on(
    folder: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = "map $http_upgrade $websocket { default ''; }"
    monkeypatch.setattr("tests.support.round_robin.GUARDED", plain)
    async with run(folder) as market, balance_by_nginx(folder, [market.http.port]) as url:
        found = await doctor(url)
    assert "does not pass on the headers Upgrade" in found["WebSocket"]
    assert list(found) == ["WebSocket"]


@needs_nginx
async def test_a_proxy_that_cannot_reach_the_server(folder: Path, doctor: Doctor) -> None:
    async with balance_by_nginx(folder, [1]) as url:
        found = await doctor(url)
    assert "A proxy answers 502" in found["HTTP"]


async def test_a_proxy_that_buffers(folder: Path) -> None:
    async with run(folder) as market:

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            there, back = await asyncio.open_connection("127.0.0.1", market.http.port)
            with closing(back):
                if b"websocket" in head.lower():
                    back.write(head)
                    # The head of the answer passes; what follows is held back.
                    writer.write(await there.readuntil(b"\r\n\r\n"))
                    await reader.read()
                else:
                    back.write(head.replace(b"keep-alive", b"close"))
                    writer.write(await there.read())

        async with listen(pass_on) as port:
            case = Running(f"http://127.0.0.1:{port}", path="/books/socket.io/", timeout=1.0)
            with pytest.raises(ProblemError, match=r"holds it back \(buffers\)"):
                await asyncio.to_thread(examine_websocket, case)


async def test_a_wrong_path(folder: Path, doctor: Doctor) -> None:
    async with run(folder, shop("books"), shop("films")) as market:
        found = await doctor(market.url, "--path", "/socket.io/")
    assert "There is no Socket.IO at /socket.io/" in found["path"]
    assert "Served here: books, films" in found["path"]


async def test_an_origin_that_is_refused(folder: Path, doctor: Doctor) -> None:
    async with run(folder) as market:
        found = await doctor(market.url, "--origin", "https://shop.example")
    assert "Add it to CLIENT_ORIGIN" in found["origin"]


# Clocks and tokens.


class Late(Clock):
    """The clock of a machine that is an hour behind."""

    def __init__(self) -> None:
        super().__init__(lambda: time.time() - 3_600)


async def test_clock_skew(folder: Path, doctor: Doctor) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # As a server on a machine with a wrong clock.
        await reader.readuntil(b"\r\n\r\n")
        date = datetime.now(UTC) - timedelta(hours=1)
        head = f"HTTP/1.1 200 OK\r\nDate: {date:%a, %d %b %Y %H:%M:%S} GMT\r\nContent-Length: 14\r\n"
        writer.write(f'{head}Connection: close\r\n\r\n{{"alive":true}}'.encode())

    async with listen(answer) as port:
        found = await doctor(f"http://127.0.0.1:{port}")
    assert re.search(r"The clock of the server is 3[56]\d\d s behind", found["clock"])


@pytest.mark.parametrize(
    ("make", "settings", "words"),
    [
        (lambda: sign(clock=lambda: time.time() - 3_600), {}, "expired"),
        (lambda: sign(OTHER), {}, "signature"),
        (lambda: sign(jwt_audience="films"), {"jwt_audience": "books"}, "audience"),
        (lambda: sign(jwt_issuer="https://id.example"), {"jwt_issuer": "https://other.example"}, "issuer"),
        (lambda: build_signer(Settings(), Secret(SECRET)).sign_service("books", 60.0), {}, "service token"),
    ],
    ids=["expired", "wrongly signed", "wrong audience", "wrong issuer", "service key"],
)
async def test_tokens(
    folder: Path, doctor: Doctor, make: Callable[[], str], settings: dict[str, Any], words: str
) -> None:
    async with run(folder, **settings) as market:
        found = await doctor(market.url, "--token", make())
    assert words in found["token"]
    assert TOKEN_REMEDIES[words] in found["token"]
    # With the settings alone, without a server.
    flags = [flag for name, value in settings.items() for flag in (f"--{name.replace('_', '-')}", value)]
    stopped = await doctor("--system", "quotes", "--port", "1", "--jwt-secret", SECRET, *flags, "--token", make())
    assert words in stopped["token"] and TOKEN_REMEDIES[words] in stopped["token"]


# The server itself.


class Wait(Command):
    """Blocks the event loop."""


async def test_a_blocked_event_loop(folder: Path, doctor: Doctor) -> None:
    begun, released = threading.Event(), threading.Event()

    def wait(command: Wait, client: Client) -> None:
        begun.set()
        released.wait(PATIENCE)

    contract = Contract("books", roles=("buyer",), default_role="buyer")
    contract.namespace("/").command("wait")(Wait)
    oyez = Oyez(
        [System(contract=contract, build=lambda services: SystemServices(handlers={Wait: wait}))],
        Settings(port=0, oyez_data=str(folder / "served"), shutdown_timeout=5.0),
        operate=health_routes,
    )
    with serve_in_thread(oyez) as market:
        async with market.connect("books", transports=["websocket"]) as client:
            await client.emit("wait", {})
            await asyncio.to_thread(begun.wait, PATIENCE)
            found = await doctor(market.url, "--timeout", "0.5")
            released.set()
    assert "its event loop is blocked" in found["HTTP"]


@contextmanager
def serve_in_thread(oyez: Oyez) -> Iterator[Market]:
    """Serve in a loop of its own, which may be blocked."""
    started, stop = threading.Event(), asyncio.Event()
    holder: list[Any] = []

    async def main() -> None:
        async with serve(oyez) as market:
            holder.extend((market, asyncio.get_running_loop()))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert started.wait(PATIENCE)
    try:
        yield holder[0]
    finally:
        holder[1].call_soon_threadsafe(stop.set)
        thread.join(PATIENCE)


def are_known(answer: httpx.Response) -> bool:
    """True if two nodes know each other, and what the other serves."""
    return len(answer.json()["nodes"]) == 2 and are_named(answer)


def are_named(answer: httpx.Response) -> bool:
    """True if it is known what each node serves."""
    return all(node["contract"] for node in answer.json()["nodes"])


async def wait_for(ask: Callable[[], Awaitable[httpx.Response]], good: Callable[[httpx.Response], bool]) -> None:
    """Ask again and again until an answer is good."""
    async with asyncio.timeout(PATIENCE):
        while not good(await ask()):  # noqa: ASYNC110 - nothing says when
            await asyncio.sleep(0.05)


async def test_a_log_that_is_away(tmp_path: Path, folder: Path, doctor: Doctor) -> None:
    with serve_valkey(tmp_path / "valkey") as valkey:
        async with run(folder, redis_url=valkey.url) as market:
            valkey.kill()
            await wait_for(lambda: market.request("GET", "/readyz"), lambda answer: answer.status_code == 503)
            found = await doctor(market.url)
    assert "books: the log cannot be used: start Redis" in found["readiness"]


async def test_nodes_that_do_not_fit(
    folder: Path, doctor: Doctor, valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Contract("books", description="A newer contract.", roles=("buyer",), default_role="buyer")
    other.namespace("/")
    async with AsyncExitStack() as stack:
        shared: dict[str, Any] = {"redis_url": valkey.url, "redis_prefix": "doctor"}
        first = await stack.enter_async_context(run(folder / "first", **shared))
        # A node finds its own version in a thread.
        await wait_for(lambda: first.call("GET", "/books/nodes"), are_named)
        monkeypatch.setattr("oyez.service.served.__version__", "0.0.1")
        await stack.enter_async_context(run(folder / "second", System(contract=other), clock=Late(), **shared))
        key = first.oyez.signer.sign_service("books", 60.0)
        await wait_for(lambda: first.call("GET", "/books/nodes"), are_known)
        found = (await doctor(first.url, "--key", key))["nodes"]
    assert "different versions of Oyez" in found and "0.0.1: 1" in found
    assert "different contracts" in found
    assert re.search(r"differs by -3[56]\d\d s", found)


# The settings.


async def test_redis_that_evicts_and_forgets(tmp_path: Path, doctor: Doctor) -> None:
    with serve_valkey(tmp_path / "valkey", "--maxmemory", "10mb", "--maxmemory-policy", "allkeys-lru") as valkey:
        found = await doctor("--system", "quotes", "--redis-url", valkey.url)
    assert "maxmemory-policy noeviction" in found["log storage"]
    assert "appendonly yes" in found["log storage"]


async def test_redis_that_is_away_or_too_old(doctor: Doctor) -> None:
    found = await doctor("--system", "quotes", "--redis-url", "redis://127.0.0.1:1/0")
    assert "Redis cannot be reached" in found["log"]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A server that speaks the protocol of Redis, of version 6.
        while line := await reader.readline():
            if line.strip().isalpha():
                about = b"redis_version:6.2.14\r\n"
                answers = {b"INFO": b"$%d\r\n%s\r\n" % (len(about), about), b"HELLO": b"-ERR unknown command\r\n"}
                words = {b"INFO", b"HELLO", b"CLIENT", b"SELECT"}
                if line.strip().upper() in words:
                    writer.write(answers.get(line.strip().upper(), b"+OK\r\n"))

    async with listen(answer) as port:
        found = await doctor("--system", "quotes", "--redis-url", f"redis://127.0.0.1:{port}/0?protocol=2")
    assert "Redis 6.2.14 is too old" in found["log"]


async def test_a_disk_that_is_too_small(folder: Path, doctor: Doctor) -> None:
    found = await doctor("--system", "quotes", "--log-max-bytes", str(10**15))
    assert "the logs may grow to" in found["disk"]


@pytest.mark.parametrize(
    ("bytes_left", "words"), [(0, "no folder for temporary files"), (20_000, "tables cannot be made")]
)
def test_a_disk_that_is_full(folder: Path, bytes_left: int, words: str) -> None:
    def limit() -> None:
        # Over its limit a file cannot grow, which is what a full disk looks like.
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, bytes_left))

    found = ask_apart(folder, limit)["system quotes"]
    assert words in found and "If the disk is full, free space" in found


async def test_tables_that_lack_a_migration(folder: Path, doctor: Doctor) -> None:
    file = folder / "domain.sqlite"
    settings = Settings(oyez_data=str(folder / "served"), database_url=f"sqlite:///{file}")
    Oyez([load_system("quotes")], settings).database.close()
    words = ("--system", "quotes", "--database-url", f"sqlite:///{file}")
    assert "tables of quotes" not in await doctor(*words)
    with closing(sqlite3.connect(file)) as db:
        db.execute("ALTER TABLE quotes_suppliers RENAME COLUMN supplier_id TO other")
    assert "the column supplier_id" in (await doctor(*words))["tables of quotes"]


async def test_a_clock_that_differs_from_those_of_redis_and_postgresql(
    doctor: Doctor, valkey: ValkeyServer, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "time", SimpleNamespace(time=lambda: time.time() + 3_600))
    found = await doctor("--system", "quotes", "--redis-url", valkey.url)
    assert re.search(r"The clock of Redis is 3[56]\d\d s behind the clock of this machine", found["clocks"])
    database = postgresql.make_database()
    found = await doctor("--system", "quotes", "--database-url", database)
    assert re.search(r"The clock of PostgreSQL is 3[56]\d\d s behind the clock of this machine", found["clocks"])
    postgresql.drop_database(database)


async def test_a_folder_and_a_database_that_cannot_be_used(folder: Path, doctor: Doctor) -> None:
    (folder / "file").write_text("no folder")
    found = await doctor("--system", "quotes", "--oyez-data", "file/data")
    assert "file" in found["data folder"]
    found = await doctor("--system", "quotes", "--database-url", "postgresql://127.0.0.1:1/shop")
    assert "Connection refused" in found["database"] or "connection" in found["database"].lower()


def ask_apart(folder: Path, limit: Callable[[], None]) -> dict[str, str]:
    """The problems that a doctor in a process of its own finds, after `limit` was called there."""
    # Without -B, Python would write bytecode up to the limit, and other tests would read that.
    command = [sys.executable, "-B", "-m", "oyez.cli", "doctor", "--system", "quotes", "--json"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, preexec_fn=limit, check=False)
    return find_problems(Ended(ended.returncode, ended.stdout, ended.stderr))


def test_too_few_open_files(folder: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    found = ask_apart(folder, limit)
    assert "A process may open 256 files" in found["open files"]
    assert "LimitNOFILE" in found["open files"]


async def test_lines_for_people(folder: Path, oyez: Calls) -> None:
    async with run(folder) as market:
        ended = await asyncio.to_thread(oyez, "doctor", market.url)
    assert ended.status == 0
    lines = [line.split(maxsplit=2) for line in ended.out.splitlines()]
    assert {line[0] for line in lines} == {"ok", "unknown"}
    assert any(line[:2] == ["unknown", "token"] for line in lines)
    assert httpx.URL(market.url).host in ended.out
