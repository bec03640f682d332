"""A real `oyez serve` for tests: its own process, its own port, its own data folder."""

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from oyez.service.auth.secrets import load_secret
from oyez.service.auth.tokens import Signer, build_signer
from oyez.settings import Settings
from tests.support.clock import PATIENCE

START_TIMEOUT = 30.0


@dataclass
class Served:
    """The process, where it is reached, and keys for it."""

    process: asyncio.subprocess.Process
    url: str
    settings: Settings
    lines: list[str] = field(default_factory=list)
    """What it has printed up to its first address."""

    def token(
        self,
        subject: str,
        role: str | None = None,
        *,
        lifetime: float = 600.0,
        signed_at: float | None = None,
        **claims: Any,
    ) -> str:
        """A user's token, as if it had been signed at `signed_at` (seconds since 1970; None: now)."""
        return self._signer(signed_at).sign_user(subject, role, claims, lifetime)

    def service_key(self, system: str = "quotes") -> str:
        return self._signer(None).sign_service(system, None)

    def _signer(self, signed_at: float | None) -> Signer:
        clock = time.time if signed_at is None else lambda: signed_at
        return build_signer(self.settings, load_secret(self.settings), clock=clock)

    async def request(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, **options: Any
    ) -> httpx.Response:
        """A request of a back end, with a service key of the system that `path` begins with; an empty `key`: none."""
        bearer = self.service_key(path.split("/")[1]) if key is None else key
        headers = ({"authorization": f"Bearer {bearer}"} if bearer else {}) | options.pop("headers", {})
        async with httpx.AsyncClient(verify=False, timeout=PATIENCE) as client:
            return await client.request(method, f"{self.url}{path}", json=body, headers=headers, **options)

    async def post(self, body: Any, key: str | None = None, system: str = "quotes") -> httpx.Response:
        """Publish as a back end does."""
        return await self.request("POST", f"/{system}/events", body, key=key)

    async def publish(
        self, event: str, data: Mapping[str, Any], to: str | Sequence[str] | None = None, system: str = "quotes"
    ) -> str:
        """Publish one event that must be accepted; its position."""
        body = {"event": event, "data": data} | ({"to": to} if to is not None else {})
        response = await self.post(body, system=system)
        assert response.status_code == 200, response.text
        position: str = response.json()["position"]
        return position


def command(*arguments: str) -> list[str]:
    """The command line of `oyez`."""
    return [sys.executable, "-m", "oyez.cli", *arguments]


@asynccontextmanager
async def serve(data: Path, *arguments: str, **environ: str) -> AsyncIterator[Served]:
    """`oyez serve ARGUMENTS` with the data folder `data`, on a port of its own; stopped afterwards."""
    async with start(command("serve", *arguments), data, data.parent, **environ) as served:
        yield served


@asynccontextmanager
async def start(program: Sequence[str], data: Path, folder: Path, **environ: str) -> AsyncIterator[Served]:
    """A program that serves Oyez and prints its address, run in `folder`; stopped afterwards."""
    process = await asyncio.create_subprocess_exec(
        *program,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PORT": "0", "OYEZ_DATA": str(data), **environ},
        cwd=folder,
    )
    try:
        url, lines = await _read_address(process)
        settings = Settings(oyez_data=str(data), jwt_secret=environ.get("JWT_SECRET"))
        yield Served(process, url, settings, lines)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.communicate()


async def _read_address(process: asyncio.subprocess.Process) -> tuple[str, list[str]]:
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(START_TIMEOUT):
        async for raw in process.stdout:
            lines.append(raw.decode().rstrip())
            found = re.search(r"https?://\S+:\d+", lines[-1])
            if found:
                return found[0], lines
    raise AssertionError(f"oyez serve ended with {await process.wait()}: {lines}")
