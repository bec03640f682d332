"""`oyez serve`, as a process: what it shows works when it is copied, and it stops cleanly with clients connected."""

import asyncio
import os
import re
import resource
import shlex
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from oyez.client import connect, open_connection
from oyez.protocol.engineio import SERVER_SHUTDOWN
from oyez.systems.listing import list_systems
from oyez.systems.loader import load_system
from tests.support.clock import PATIENCE
from tests.support.served import Served
from tests.support.terminal import ORDERS, Calls, Running, plain_environment, run, run_line, sign, start, start_program

COMMAND = r"^  (token|listen|publish|key) +(.+)$"


async def read_banner(serving: Running) -> tuple[str, dict[str, str]]:
    """The address, and the commands that are shown, by their purpose; `systems` shows more of them."""
    url = (await serving.expect_out(r"listens at (\S+) ?.*\(Ctrl-C stops it\)$"))[1]
    commands = {}
    for _ in range(3):
        found = await serving.expect_out(COMMAND)
        commands[found[1]] = found[2]
    commands["systems"] = (await serving.expect_out("^More commands, .+: (.+)$"))[1]
    return url, commands


async def make_key(folder: Path, commands: dict[str, str]) -> str:
    """A service key, by the command that `oyez systems` shows."""
    shown = await run_line(folder, commands["systems"])
    found = re.search(r"^  key +(.+)$", shown.out, re.MULTILINE)
    assert found, shown
    return (await run_line(folder, found[1])).out.strip()


def find_words(line: str) -> list[str]:
    """The words after `oyez` in a line that was shown."""
    _, found, words = line.partition("-m oyez.cli ")
    assert found, line
    return shlex.split(words)


@pytest.mark.parametrize("system", ["quotes", str(ORDERS)], ids=["quotes", "orders"])
async def test_the_commands_that_are_shown_work(folder: Path, system: str) -> None:
    async with start(folder, "serve", system, "--port", "0", "--oyez-data", "some where") as serving:
        url, commands = await read_banner(serving)
        name = Path(system).stem
        async with start_program(folder, "sh", "-c", f"exec {commands['listen']}") as listening:
            await listening.expect_note("^connected to")
            published, token, key = await asyncio.gather(
                run_line(folder, commands["publish"]), run_line(folder, commands["token"]), make_key(folder, commands)
            )
            assert re.fullmatch(r"published .+\n", published.out)
            await listening.expect_out(r"^\d\d:\d\d:\d\d\.\d{3}  \S+  \{.*ada.*\}$" if name == "quotes" else "order")
        async with connect(url, path=f"/{name}/socket.io/", auth={"token": token.out.strip()}):
            pass
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=PATIENCE) as client:
            assert (await client.post(f"{url}/{name}/events", json=[])).json()["positions"] == []


async def test_without_a_name_all_that_ship_are_served(folder: Path, oyez: Calls) -> None:
    async with start(folder, "serve", "--port", "0") as serving:
        url, commands = await read_banner(serving)
        blocks = (await run_line(folder, commands["systems"])).out.strip().split("\n\n")
        assert [block.split()[0] for block in blocks] == list(list_systems())
        for name, block in zip(list_systems(), blocks, strict=True):
            shown = dict(re.findall(COMMAND, block, re.MULTILINE))
            token = oyez(*find_words(shown["token"])).out.strip()
            namespace = load_system(name).contract.namespaces[0].name
            async with connect(url, namespace, path=f"/{name}/socket.io/", auth={"token": token}):
                assert oyez(*find_words(shown["publish"])).out.startswith("published ")


async def test_a_secret_is_made_once_and_mentioned_once(folder: Path) -> None:
    async with start(folder, "serve", "quotes", "--port", "0") as serving:
        await serving.expect_out("Created a secret for tokens in oyez-data/jwt-secret; keep it private.")
        assert (folder / "oyez-data" / "jwt-secret").stat().st_mode & 0o777 == 0o600
        assert (folder / "oyez-data").stat().st_mode & 0o777 == 0o700
        secret = (folder / "oyez-data" / "jwt-secret").read_text()
        await serving.stop(signal.SIGTERM)
    async with start(folder, "serve", "quotes", "--port", "0") as serving:
        await serving.expect_out("listens at")
        assert "secret" not in (await serving.stop(signal.SIGTERM)).out
    assert (folder / "oyez-data" / "jwt-secret").read_text() == secret


async def test_settings_come_from_the_file_the_environment_and_flags(folder: Path) -> None:
    (folder / "oyez.toml").write_text('port = 0\nws_path = "/file"\nping_interval = 7\nping_timeout = 6\n')
    environ = {"WS_PATH": "/environment", "PING_INTERVAL": "8"}
    async with start(folder, "serve", "quotes", "--ws-path", "/flag/", **environ) as serving:
        url = (await serving.expect_out(r"listens at (\S+)"))[1]
        async with httpx.AsyncClient(
            base_url=url, params={"EIO": "4", "transport": "polling"}, timeout=PATIENCE
        ) as client:
            opened = (await client.get("/flag")).text
            assert '"pingInterval":8000,"pingTimeout":6000' in opened
            assert [(await client.get(path)).status_code for path in ("/file", "/environment")] == [404, 404]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_it_when_the_clients_know(folder: Path, stop: signal.Signals) -> None:
    async with start(folder, "serve", ORDERS, "--port", "0", LOG_LEVEL="warning") as serving:
        url, _ = await read_banner(serving)
        auth = {"token": sign(folder)}
        async with (
            connect(url, path="/orders/socket.io/", auth=auth, transports=["websocket"]) as socket,
            connect(url, path="/orders/socket.io/", auth=auth, transports=["polling"]) as polling,
        ):
            serving.process.send_signal(stop)
            assert await socket.expect_disconnect() == "transport close"
            assert await polling.expect_disconnect() == "transport error"
            assert socket.connection.transport.close_code == SERVER_SHUTDOWN.code
        ended = await serving.wait()
    assert (ended.status, ended.out, ended.err) == (0, "", "")


async def test_a_second_signal_does_not_wait_for_requests_and_is_no_failure(folder: Path) -> None:
    async with start(folder, "serve", ORDERS, "--port", "0", LOG_LEVEL="warning") as serving:
        url, _ = await read_banner(serving)
        auth = {"token": sign(folder)}
        _, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        writer.write(b"POST /orders/events HTTP/1.1\r\nHost: oyez\r\nContent-Length: 9\r\n\r\n{")
        async with connect(url, path="/orders/socket.io/", auth=auth, transports=["websocket"]) as socket:
            serving.process.send_signal(signal.SIGINT)
            await socket.expect_disconnect()
        ended = await serving.stop(signal.SIGINT)
        writer.close()
    assert (ended.status, ended.err) == (0, "")


async def test_requests_leave_no_trace_in_the_log_and_warnings_do(folder: Path) -> None:
    async with start(
        folder, "serve", "quotes", "--port", "0", "--shutdown-timeout", "0.1", LOG_LEVEL="warning"
    ) as serving:
        url = (await serving.expect_out(r"listens at (\S+)"))[1]
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
            assert (await client.get("/nowhere")).status_code == 404
            assert (await client.post("/quotes/events", json={})).status_code == 401
            assert (await client.get("/quotes/socket.io/?EIO=4&transport=polling")).status_code == 200
        # A client that does not take leave.
        reader, writer = await asyncio.open_connection("127.0.0.1", url.rpartition(":")[2])
        writer.write(
            b"GET /quotes/socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        ended = await serving.stop(signal.SIGTERM)
        writer.close()
    assert ended.status == 0
    (line,) = ended.err.splitlines()
    assert '"level": "warning"' in line
    assert "stopping although clients or handlers have not finished" in line


async def test_what_goes_wrong_in_a_handler_is_logged(folder: Path) -> None:
    contract = ORDERS.read_text().replace("import Contract,", "import Command, Contract,")
    handler = (
        '\n@root.command("break")\nclass Break(Command):\n    """Fail."""\n\nhandlers = {Break: lambda *_: 1 / 0}\n'
    )
    (folder / "orders.py").write_text(contract + handler)
    async with start(folder, "serve", "orders.py", "--port", "0") as serving:
        url, _ = await read_banner(serving)
        async with connect(url, path="/socket.io/", auth={"token": sign(folder)}) as client:
            assert (await client.call("break", {}))["error"]["code"] == "internal"
        found = await serving.expect_note(r'^\{.*"event": "handler failed".*\}$')
        assert "ZeroDivisionError" in found[0]


async def test_https(folder: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path("server.pem")
    authority.cert_pem.write_to_path("authority.pem")
    files = ["--ssl-certfile", "server.pem", "--ssl-keyfile", "server.pem"]
    async with start(folder, "serve", ORDERS, "--port", "0", *files) as serving:
        url, commands = await read_banner(serving)
        assert url.startswith("https://127.0.0.1:")
        trusting: dict[str, Any] = {"SSL_CERT_FILE": "authority.pem"}
        context = ssl.create_default_context(cafile="authority.pem")
        async with start(folder, "listen", ORDERS, "--sub", "ada", "--url", url, **trusting) as listening:
            await listening.expect_note("^connected to https://")
            line = f"SSL_CERT_FILE=authority.pem {commands['publish']}"
            assert (await run_line(folder, line)).out.startswith("published")
            await listening.expect_out("order:")
        for way in ("polling", "websocket"):
            async with open_connection(url, transport=way, path="/orders/socket.io/", ssl=context) as connection:
                assert connection.transport.name == way
        for line in (commands["publish"], commands["listen"]):
            error = (await run_line(folder, line)).error
            assert "certificate verify failed" in error
            assert "SSL_CERT_FILE" in error


async def test_it_takes_as_many_files_as_it_may(folder: Path) -> None:
    line = f"ulimit -Sn 256; exec {sys.executable} -m oyez.cli serve quotes --port 0"
    async with start_program(folder, "sh", "-c", line) as serving:
        await serving.expect_out("listens at")
        soft, hard = resource.prlimit(serving.process.pid, resource.RLIMIT_NOFILE)
    assert soft == hard


async def test_a_second_server_at_the_same_port_says_so(folder: Path, served: Served) -> None:
    port = served.url.rpartition(":")[2]
    ended = await run(folder, "serve", "quotes", "--port", port)
    assert ended.status == 1
    assert ended.error == (
        f"Port {port} at '127.0.0.1' cannot be listened at: Address already in use."
        " Stop what listens there, or give another --port."
    )


async def test_what_is_found_when_the_log_is_opened_is_logged_in_one_line(folder: Path) -> None:
    data = folder / "oyez-data"
    data.mkdir(mode=0o700)
    with closing(sqlite3.connect(data / "log-quotes.sqlite")) as newer:
        newer.execute("PRAGMA user_version = 1000")
    ended = await run(folder, "serve", "quotes", "--port", "0", "--log-level", "error")
    assert "was written by a newer Oyez: its format is 1000" in ended.error


async def test_a_reader_that_leaves_ends_it_quietly(folder: Path) -> None:
    # `true` reads nothing and has ended before the server prints; `head` may end too late for that.
    serving = f"{sys.executable} -m oyez.cli serve quotes --port 0 --log-level warning"
    line = f"{serving} 2>said | true; echo ${{PIPESTATUS[0]}}"
    async with start_program(folder, "bash", "-c", line) as piped:
        ended = await piped.wait()
    assert ended.out == "0\n"
    assert (folder / "said").read_text() == ""


async def test_probes_are_answered(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.url, timeout=PATIENCE) as client:
        assert (await client.get("/healthz")).json() == {"alive": True}
        systems = {name: {"log": "ok", "database": "ok"} for name in ("quotes", "orders")}
        assert (await client.get("/readyz")).json() == {"ready": True, "keys": "ok", "systems": systems}


async def test_sighup_starts_a_single_process_again_with_the_settings_that_are_there_then(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    write = (folder / "oyez.toml").write_text
    write(f"port = {port}\nping_interval = 7\n")
    async with start(folder, "serve", "quotes") as serving:
        url, _ = await read_banner(serving)
        auth = {"token": sign(folder)}
        async with connect(url, path="/quotes/socket.io/", auth=auth, transports=["websocket"]) as client:
            write("port = zero\n")
            serving.process.send_signal(signal.SIGHUP)
            await serving.expect_note("the settings cannot be read; the server continues with the old ones")
            write(f"port = {port}\nping_interval = 8\n")
            serving.process.send_signal(signal.SIGHUP)
            assert await client.expect_disconnect() == "transport close"
            assert client.connection.transport.close_code == SERVER_SHUTDOWN.code
        assert (await read_banner(serving))[0] == url
        async with httpx.AsyncClient(
            base_url=url, params={"EIO": "4", "transport": "polling"}, timeout=PATIENCE
        ) as http:
            assert '"pingInterval":8000' in (await http.get("/quotes/socket.io/")).text
        assert (await serving.stop(signal.SIGTERM)).status == 0


@pytest.mark.parametrize("signals", [(signal.SIGTERM, signal.SIGHUP), (signal.SIGHUP, signal.SIGTERM)])
async def test_a_server_that_is_to_stop_does_not_start_again(folder: Path, signals: tuple[int, int]) -> None:
    async with start(folder, "serve", "quotes", "--port", "0") as serving:
        await read_banner(serving)
        for number in signals:
            serving.process.send_signal(number)
        assert await asyncio.wait_for(serving.process.wait(), 10.0) == 0


async def test_whatever_the_umask_files_are_for_the_owner_and_both_families_are_served(folder: Path) -> None:
    line = f"umask 0; mkdir -m 777 oyez-data; exec {sys.executable} -m oyez.cli serve quotes --host :: --port 0"
    async with start_program(folder, "sh", "-c", line) as serving:
        port = (await serving.expect_out(r"listens at http://\[::1\]:(\d+)"))[1]
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            for host in ("127.0.0.1", "[::1]"):
                assert (await client.get(f"http://{host}:{port}/healthz")).status_code == 200
        files = [path for path in (folder / "oyez-data").rglob("*") if path.is_file()]
        assert {"domain.sqlite", "log-quotes.sqlite", "log-quotes.sqlite-wal", "format", "jwt-secret"} <= {
            path.name for path in files
        }
        assert [path.name for path in files if path.stat().st_mode & 0o077] == []


async def test_a_volume_that_was_made_over_to_a_group_of_the_user_starts(folder: Path) -> None:
    async with start(folder, "serve", "quotes", "--port", "0") as serving:
        await read_banner(serving)
        await serving.stop(signal.SIGTERM)
    data = folder / "oyez-data"
    # What Kubernetes does for fsGroup.
    data.chmod(0o2770)
    for path in data.rglob("*"):
        path.chmod(0o2770 if path.is_dir() else 0o660)
    async with start(folder, "serve", "quotes", "--port", "0") as serving:
        await read_banner(serving)


STRANGER = """
import os, sys
import alembic.command, encodings.idna, oyez.cli.quotes, oyez.cli.serve, oyez.cli.tokens, oyez.systems.quotes
from oyez.cli.main import main
if os.getuid() == 0:
    # Everything that only root may read has been imported.
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
main(sys.argv[1:])
"""


@pytest.mark.parametrize("words", ["serve quotes --port 0", "token quotes --sub a", "quotes add-supplier a b"])
def test_a_folder_of_another_user_is_one_line(words: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # pytest's own folders are for their owner alone.
        folder.chmod(0o755)
        (folder / "oyez-data").mkdir(mode=0o700 if os.getuid() == 0 else 0)
        line = [sys.executable, "-c", STRANGER, *words.split()]
        ended = subprocess.run(line, cwd=folder, env=plain_environment(), capture_output=True, text=True, timeout=60)
    (error,) = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert "oyez-data" in error and "cannot be used by user" in error
    assert "OYEZ_DATA" in error
