"""The samples of back ends in other languages, each as the back end of a running Oyez."""

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from oyez.client import Client, ConnectRefused, connect
from oyez.service.app import Oyez
from oyez.settings import BackendSettings, Settings
from oyez.systems.loader import load_system
from tests.support.clock import PATIENCE
from tests.support.scripted_backend import SECRET
from tests.support.shops import serve

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples/backends"
JWT_SECRET = "a secret of 32 characters or more"

SAMPLES: dict[str, list[str]] = {
    "express": ["node", "express.mjs"],
    "fastapi": [sys.executable, "-m", "uvicorn", "--port", "{port}", "--log-level", "warning", "fastapi_app:app"],
    "django": [sys.executable, "django_app.py", "runserver", "--noreload", "{port}"],
    "php": ["node", str(ROOT / "tests/js/php.mjs"), "shop.php", "{port}"],
}
"""The command line of each sample."""


def find_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def run_sample(name: str, port: int, folder: Path, **environ: str) -> AsyncIterator[str]:
    """A sample that listens on the port; its address."""
    if name == "express":
        # Node looks for packages beside the file.
        shutil.copy(EXAMPLES / "express.mjs", folder)
        (folder / "node_modules").symlink_to(ROOT / "tests/js/node_modules")
    process = await asyncio.create_subprocess_exec(
        *(part.format(port=port) for part in SAMPLES[name]),
        cwd=folder if name == "express" else EXAMPLES,
        env={**os.environ, "PORT": str(port), "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **environ},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            while not await can_connect(port):
                assert process.returncode is None, f"{name} has ended with {process.returncode}"
                await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def can_connect(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@dataclass
class Shop:
    """A running Oyez, and the sample that is its back end."""

    url: str
    backend: str

    async def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            return await client.post(f"{self.backend}{path}", json=body, headers=headers)

    async def token(self, user: str, role: str) -> str:
        """A token that the back end has signed."""
        token: str = (await self.post("/token", {"user": user, "role": role})).json()["token"]
        return token


@pytest.fixture(scope="module", params=SAMPLES)
async def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    folder, own, port = tmp_path_factory.mktemp("shop"), find_port(), find_port()
    settings = Settings(
        port=own,
        oyez_data=str(folder / "data"),
        log_url="memory:",
        jwt_secret=JWT_SECRET,
        backends={"shop": BackendSettings(url=f"http://127.0.0.1:{port}/oyez", secret=SECRET, timeout=PATIENCE)},
    )
    oyez = Oyez([load_system(str(EXAMPLES / "shop.py"))], settings)
    environ = {
        "OYEZ_URL": f"http://127.0.0.1:{own}",
        "OYEZ_SECRET": SECRET,
        "OYEZ_SERVICE_KEY": oyez.signer.sign_service("shop", 600.0),
        "JWT_SECRET": JWT_SECRET,
    }
    async with serve(oyez) as market, run_sample(request.param, port, folder, **environ) as backend:
        yield Shop(market.url, backend)


async def accept(client: Client, offer: str, *key: Any) -> Any:
    return await client.call("offer:accept", {"offerId": offer}, *key)


async def test_it_handles_commands_publishes_and_signs_tokens(shop: Shop) -> None:
    ada, sue = await shop.token("ada", "buyer"), await shop.token("sue", "seller")
    async with connect(shop.url, auth={"token": ada}) as buyer, connect(shop.url, auth={"token": sue}) as seller:
        offer = {"offerId": "o-1", "buyerId": "ada", "price": 12.5}
        assert (await shop.post("/offers", offer)).json()["rooms"] == ["user:ada"]
        assert (await buyer.expect_event("offer:new")).args == [offer]
        key = {"idempotencyKey": "k-1"}
        assert await accept(buyer, "o-1", key) == {"ok": True, "orderId": "order-o-1"}
        assert (await seller.expect_event("offer:accepted")).args == [{"offerId": "o-1", "buyerId": "ada"}]
        refused = await accept(buyer, "o-1")
        assert (refused["error"]["code"], refused["error"]["message"]) == ("offer_taken", "Another buyer was faster.")
        assert (await accept(buyer, "o-1", key))["ok"]


async def test_it_decides_who_connects(shop: Shop) -> None:
    with pytest.raises(ConnectRefused) as refused:
        await connect(shop.url, auth={"token": await shop.token("mallory", "buyer")}).__aenter__()
    assert refused.value.data["code"] == "forbidden"


async def test_it_refuses_a_request_that_is_not_signed(shop: Shop) -> None:
    body = {"type": "connect", "id": "req_1", "client": {"user": "ada"}}
    signature = {"webhook-id": "req_1", "webhook-timestamp": "1700000000", "webhook-signature": "v1,aGVsbG8="}
    assert (await shop.post("/oyez", body)).status_code == 401
    assert (await shop.post("/oyez", body, **signature)).status_code == 401
