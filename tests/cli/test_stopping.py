"""A stop that takes long reports what it waits for, in one process, in workers, and mounted."""

import signal
import sys
from pathlib import Path

import pytest

from oyez.client import connect
from oyez.client.connection import Disconnected
from oyez.service.auth.secrets import Secret
from oyez.service.auth.tokens import build_signer
from oyez.settings import Settings
from tests.support.tasks import Spawn
from tests.support.terminal import start_program

SLOW = Path(__file__).with_name("slow.py")
SECRET = "5" * 64


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "oyez.cli", "serve", str(SLOW), "--port", "0"],
        ["-m", "oyez.cli", "serve", str(SLOW), "--port", "0", "--workers", "2"],
        [str(SLOW)],
    ],
    ids=["one", "workers", "mounted"],
)
async def test_a_long_stop_says_what_is_waited_for(folder: Path, words: list[str], spawn: Spawn) -> None:
    token = build_signer(Settings(), Secret(SECRET)).sign_user("ada", "user", {}, 60.0)
    async with start_program(folder, sys.executable, *words, JWT_SECRET=SECRET) as serving:
        url = (await serving.expect_out(r"listens at (\S+)"))[1]
        async with connect(url, path="/slow/socket.io/", auth={"token": token}, transports=["websocket"]) as client:
            calling = spawn(client.call("work"))
            await serving.expect_out("^working$")
            serving.process.send_signal(signal.SIGTERM)
            found = await serving.expect_note("stopping: waiting for clients, requests and handlers")
            assert '"handlers": 1' in found.string
            if words[0] == "-m":
                assert '"clients": 1' in found.string
                assert (await calling)["ok"] is True
            else:
                # uvicorn itself closes WebSockets at once.
                with pytest.raises(Disconnected):
                    await calling
            ended = await serving.wait()
        assert ended.status in (0, -signal.SIGTERM)
        assert ended.err.count("stopping: waiting") == 0
