"""Artillery's Socket.IO engine, as users load-test with it: acknowledgements and events, over each transport."""

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

from tests.clients.cases import PATH, POLLING, WEBSOCKET
from tests.clients.test_matrix import FILE
from tests.support.served import Served, serve

VERSION = "2.0.34"
USERS = 10


def find_program() -> str | None:
    """npm, which fetches Artillery for this run: 460 MB are too much to keep."""
    return shutil.which("npm")


def write_script(server: Served, transports: tuple[str, ...]) -> dict[str, Any]:
    """Each user sends two commands: one waits for the acknowledgement, one for the event to the caller."""
    emit = {"channel": "echo", "data": {"text": "hi"}}
    acknowledged = emit | {"acknowledge": {"match": {"json": "$.0.ok", "value": True}}}
    answered = emit | {"response": {"channel": "greeting", "data": {"text": "hi"}}}
    client = {"path": PATH, "transports": transports, "auth": {"token": server.token("artillery")}}
    return {
        "config": {"target": server.url, "phases": [{"duration": 2, "arrivalCount": USERS}], "socketio": client},
        "scenarios": [{"engine": "socketio", "flow": [{"emit": acknowledged}, {"emit": answered}]}],
    }


async def run_script(folder: Path, script: dict[str, Any]) -> dict[str, int]:
    """Artillery's counters."""
    file, report = folder / "script.json", folder / "report.json"
    file.write_text(json.dumps(script))
    process = await asyncio.create_subprocess_exec(
        *("npm", "exec", "--yes", "--prefix", str(folder), f"artillery@{VERSION}", "--"),
        *("run", str(file), "--output", str(report)),
        env={**os.environ, "ARTILLERY_DISABLE_TELEMETRY": "true"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-2000:]
    counters: dict[str, int] = json.loads(report.read_text())["aggregate"]["counters"]
    return counters


async def run(kind: str, program: str, folder: Path) -> dict[str, str]:
    """By check what came of it: empty if all was as it should be."""
    print(f"Artillery {VERSION}")
    results = {}
    async with serve(folder / "artillery", FILE) as server:
        for transports in (WEBSOCKET, POLLING):
            name = f"commands over {transports[0]}"
            try:
                counters = await run_script(folder, write_script(server, transports))
                completed, failed = counters["vusers.completed"], counters["vusers.failed"]
                results[name] = "" if (completed, failed) == (USERS, 0) else str(counters)
            except Exception as error:
                results[name] = repr(error)
            print(f"  {name}: {results[name] or 'as it should be'}", flush=True)
    return results
