"""What Oyez logs where it is mounted in another application: never a local variable, a token, a secret or a payload."""

import asyncio
import json
import logging
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from oyez.client import ConnectFailed, ConnectRefused, connect
from oyez.errors import SettingsError
from oyez.logger import get_logger, redact, set_level
from oyez.service.app import Oyez
from oyez.settings import Settings
from tests.support.clock import PATIENCE
from tests.support.shops import shop
from tests.support.terminal import Running, start_program

FAULTY = Path(__file__).with_name("faulty.py")
PATH = "/live/faulty/socket.io/"
SECRET = "d" * 64
PAYLOAD = "chocolate-with-nuts"
FAILURES = (
    "rule of",
    "no taste for",
    "handler with",
    "IntegrityError",
    "job with",
    "connected with",
    "expiring",
    "ending token_expired",
    "disconnected",
    "route with",
    "build",
)


async def test_mounted_whatever_fails_is_logged_without_tokens_secrets_and_payloads(tmp_path: Path) -> None:
    environ = {"JWT_SECRET": SECRET, "OYEZ_DATA": str(tmp_path / "data"), "LOG_LEVEL": "debug", "JWT_LEEWAY": "0"}
    settings = Settings(jwt_secret=SECRET, oyez_data=str(tmp_path / "data"))
    sign = Oyez([shop("books")], settings).signer.sign_user
    token = sign("ada", None, {}, 50.0)
    async with start_program(FAULTY.parents[2], sys.executable, "-m", "tests.service.faulty", **environ) as serving:
        lines = Lines(serving)
        url = (await lines.expect(r"http://\S+:\d+"))[0]
        short = sign("ada", None, {}, 2.5)
        async with connect(url, path=PATH, auth={"token": short}, transports=["websocket"]) as expiring:
            await fail_everywhere(url, token)
            await expiring.expect_disconnect()
        await lines.expect("job with")
        async with connect(url, path=PATH, auth={"token": token}, transports=["websocket"]) as client:
            serving.process.send_signal(signal.SIGTERM)
            await client.expect_disconnect()
        ended = await serving.wait()
    output = "".join(lines.seen) + ended.err
    assert [failure for failure in FAILURES if failure not in output] == []
    assert "Traceback" in output
    for hidden in (token, short, *token.split(".")[1:], SECRET, PAYLOAD):
        assert hidden not in output + ended.out
    # Standard output is the host application's: uvicorn writes its lines about requests there.
    assert all(line.startswith("INFO: ") for line in ended.out.splitlines())


class Lines:
    """What a program writes to standard error."""

    def __init__(self, program: Running) -> None:
        self._program = program
        self.seen: list[str] = []

    async def expect(self, pattern: str) -> re.Match[str]:
        """The first match in a line that is still to come."""
        assert self._program.process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            async for line in self._program.process.stderr:
                self.seen.append(line.decode())
                if found := re.search(pattern, self.seen[-1]):
                    return found
        raise AssertionError(f"expected {pattern!r}, got {self.seen}")


async def fail_everywhere(url: str, token: str) -> None:
    ways: list[dict[str, Any]] = [{"auth": {"token": token}}, {"query": {"token": token}}]
    for options in ways:
        async with connect(url, path=PATH, **options) as client:
            assert (await client.call("fail", {"text": PAYLOAD}))["error"]["code"] == "internal"
            assert (await client.call("insert", {"text": PAYLOAD}))["error"]["code"] == "internal"
            assert (await client.call("join_board", PAYLOAD))["error"]["code"] == "internal"
            assert (await client.call("fail", {"text": [PAYLOAD]}))["error"]["code"] == "invalid_data"
            assert (await client.call("plan", {"text": PAYLOAD})) == {"ok": True}
    for refused in ({"token": token[:-5] + "AAAAA"}, {"token": PAYLOAD}):
        with pytest.raises(ConnectRefused):
            async with connect(url, path=PATH, auth=refused):
                pass
    failing = {"fail": "connected", "token": token}
    async with connect(url, path=PATH, query=failing, transports=["websocket"]) as client:
        await client.expect_disconnect()
    with pytest.raises((ConnectFailed, ConnectRefused)):
        async with connect(url, "/tasting", path=PATH, auth={"token": token}):
            pass
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=PATIENCE) as http:
        answer = await http.post(f"{url}/live/faulty/api/fail", json={"text": PAYLOAD})
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert (await http.post(f"{url}/live/faulty/events?token={token}", json={"text": PAYLOAD})).status_code == 401


# The loggers.


class Host(logging.Handler):
    """A handler of a host application that formats tracebacks in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.lines.append(self.format(record))


@pytest.fixture
def host() -> Iterator[Host]:
    handler = Host()
    logger = logging.getLogger("oyez")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.NOTSET)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_the_host_applications_handlers_get_a_complete_line_and_no_error_to_format(host: Host) -> None:
    structlog.configure(processors=[])
    try:
        set_level("info")
        try:
            raise ValueError("no such order")
        except ValueError:
            get_logger("oyez.test").exception("failed", order="o-7", url="redis://me:pass@host/0")
        get_logger("oyez.test").debug("unseen")
    finally:
        structlog.reset_defaults()
    (record,) = host.records
    assert (record.name, record.levelname, record.exc_info) == ("oyez.test", "ERROR", None)
    first, *traceback = host.lines[0].splitlines()
    assert first == "failed order='o-7' url='redis://me:[password]@host/0'"
    assert record.filename == "test_logging.py"
    assert traceback[0].startswith("  Traceback") and traceback[-1] == "  ValueError: no such order"


def test_a_level_that_the_host_application_has_set_stays(host: Host) -> None:
    logging.getLogger("oyez").setLevel(logging.ERROR)
    set_level("debug")
    get_logger("oyez.test").warning("unseen")
    assert host.lines == []
    with pytest.raises(SettingsError, match=r"LOG_LEVEL is 'loud'"):
        set_level("loud")


def test_a_part_has_a_level_of_its_own(host: Host) -> None:
    logging.getLogger("oyez").setLevel(logging.NOTSET)
    set_level("warning, commands=debug")
    get_logger("oyez.commands").debug("seen")
    get_logger("oyez.events").info("unseen")
    set_level("warning")
    get_logger("oyez.commands").debug("unseen")
    assert host.lines == ["seen"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("of eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln-_x, which", "of [token], which"),
        ("Authorization: Bearer abc.def~1==", "Authorization: Bearer [token]"),
        ("GET /x?EIO=4&token=s3cret&t=1", "GET /x?EIO=4&token=[secret]&t=1"),
        ("postgresql://me:p4ss@host/db", "postgresql://me:[password]@host/db"),
        ("duplicate key\nDETAIL:  Key (text)=(nuts) exists.\nmore", "duplicate key\nDETAIL:  [row]\nmore"),
        ("signed by whsec_MfKQ9r8GKYqrTwjUPD8I", "signed by whsec_[secret]"),
        (f"key oys_9f3a.{'x' * 43}, oyo_{'y' * 43}", "key oys_9f3a.[secret], oyo_[secret]"),
        ("the token was not accepted", "the token was not accepted"),
    ],
)
def test_what_is_never_logged(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert json.loads(json.dumps(redact(text))) == shown
