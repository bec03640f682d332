"""What `docs/backends.md` shows: its code is that of the samples, and its request is what a back end receives."""

import json
import re
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from oyez.client import connect
from oyez.service.app import Oyez
from oyez.service.backends.answers import CommandAnswer
from oyez.settings import Settings
from oyez.systems.loader import load_system
from tests.support.scripted_backend import SECRET, run_backend
from tests.support.shops import serve

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/backends.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
SAMPLES = "\n".join(path.read_text() for path in (ROOT / "examples/backends").iterdir() if path.is_file())


def squeeze(code: str) -> str:
    return " ".join(code.split())


@pytest.mark.parametrize("code", [code for language, code in BLOCKS if language in ("python", "js", "php")])
def test_its_code_is_that_of_the_samples(code: str) -> None:
    assert [line for line in code.splitlines() if squeeze(line) not in squeeze(SAMPLES)] == []


def test_its_shell_lines_make_the_signature() -> None:
    (script,) = (code for language, code in BLOCKS if language == "sh" and "openssl dgst" in code)
    id, body, now = "req_1", '{"type":"command"}', int(time.time())
    environ = {"PATH": "/usr/bin:/bin", "OYEZ_SECRET": SECRET, "id": id, "body": body, "time": str(now)}
    done = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == Webhook(SECRET).sign(id, datetime.fromtimestamp(now, UTC), body)


async def test_its_request_and_its_answer_are_real_ones(tmp_path: Path) -> None:
    shown, answer = (json.loads(code) for language, code in BLOCKS if language == "json" if '"snapshot"' not in code)
    async with run_backend() as backend:
        backend.script({"allow": True})
        settings = Settings(port=0, oyez_data=str(tmp_path), log_url="memory:", backends={"shop": backend.settings()})
        oyez = Oyez([load_system(str(ROOT / "examples/backends/shop.py"))], settings)
        async with serve(oyez) as market, connect(market.url, auth={"token": market.token("ada")}) as client:
            backend.script(answer)
            assert await client.call("offer:accept", {"offerId": "o-1"}) == {"ok": True, **answer["data"]}
            request = await backend.next_request("command")
    assert find_shape(request.body) == find_shape(shown)


VARYING = ("id", "trace", "deadline", "expiresAt", "address")
"""Members whose values differ from run to run."""


def find_shape(value: Any, name: str = "") -> Any:
    """The value, with types in place of what differs from run to run."""
    if name == "claims":
        return {"sub": value["sub"]}
    if isinstance(value, dict):
        return {each: find_shape(inner, each) for each, inner in value.items()}
    return type(value) if name in VARYING else value


def test_it_lists_every_member_of_an_answer() -> None:
    listed = re.findall(r"^\| (`data`|`error`|`addMembers`.*?|`join`.*?|`events`) \|", PAGE, re.MULTILINE)
    assert {name for cell in listed for name in re.findall(r"`(\w+)`", cell)} == {
        *CommandAnswer.__struct_encode_fields__
    }
