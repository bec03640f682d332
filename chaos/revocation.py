"""How long after an operator's request a revoked token has no connection left on any node.

    .venv/bin/python -m chaos.revocation            50 revocations at each place
    .venv/bin/python -m chaos.revocation --page     also renews the table in docs/robustness.md

Two processes serve one system: on one data folder, with one Redis, or as two workers of one server. A user has a client
at each process. The time runs from the request to revoke, sent to one of the processes, until both clients are
disconnected. After it, each process must refuse the token; otherwise the exit status is 1.
"""

import argparse
import asyncio
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from statistics import median

from bench.children import BenchError
from bench.table import write_rows, write_section
from tests.support.operators import KEYS, sign_in
from tests.support.pairs import PLACES, SECRET, SUPPORT, Pair, open_pair
from tests.support.valkey import ValkeyServer, serve_valkey

from chaos.robustness import PAGE
from oyez.client import Client, ConnectRefused, connect
from oyez.service.auth.secrets import Secret
from oyez.service.auth.tokens import build_signer
from oyez.settings import Settings

ROUNDS = 50
PLACE_TITLES = {
    "folder": "two processes, one data folder",
    "redis": "two processes, one Redis",
    "workers": "two workers of one server",
}
HEADINGS = ("nodes", "revocations", "median ms", "99 of 100, ms", "longest ms")


async def measure(place: str, rounds: int, folder: Path, valkey: ValkeyServer) -> list[float]:
    """The seconds of each revocation. Raises BenchError if a revoked token was accepted."""
    signer = build_signer(Settings(jwt_secret=SECRET), Secret(SECRET))
    async with open_pair(SUPPORT / "pharmacy.py", place, folder, valkey, ADMIN_KEYS=KEYS) as pair:
        operator = await sign_in(pair.here.url)
        times = []
        for number in range(rounds):
            token = signer.sign_user(f"user-{number}", None, {"jti": f"token-{number}"}, 600.0)
            async with AsyncExitStack() as stack:
                clients = [await stack.enter_async_context(enter(url, token)) for url in list_addresses(pair)]
                began = time.perf_counter()
                await operator.post("/systems/pharmacy/revoke", {"token": f"token-{number}"})
                for client in clients:
                    await client.expect_disconnect()
                times.append(time.perf_counter() - began)
            for url in list_addresses(pair):
                await expect_refusal(url, token)
    return times


def list_addresses(pair: Pair) -> list[str]:
    """Where clients connect. Two workers share an address: of four clients, each probably has one."""
    return [pair.here.url, pair.there.url] if pair.here is not pair.there else [pair.here.url] * 4


def enter(url: str, token: str) -> AbstractAsyncContextManager[Client]:
    return connect(url, path="/pharmacy/socket.io/", auth={"token": token}, transports=["websocket"])


async def expect_refusal(url: str, token: str) -> None:
    try:
        async with enter(url, token):
            raise BenchError(f"a revoked token was accepted at {url}")
    except ConnectRefused as refused:
        if refused.data["code"] != "token_revoked":
            raise BenchError(f"a revoked token was refused with {refused.data['code']}") from None


def describe(place: str, times: Sequence[float]) -> tuple[str, ...]:
    ordered = sorted(times)
    figures = (median(ordered), ordered[int(len(ordered) * 0.99)], ordered[-1])
    return PLACE_TITLES[place], str(len(times)), *(f"{value * 1000:.1f}" for value in figures)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--page", action="store_true", help="write the table into docs/robustness.md")
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory(prefix="oyez-revocation-") as name:
        folder = Path(name)
        with serve_valkey(folder / "valkey") as valkey:
            for place in PLACES:
                (folder / place).mkdir()
                times = asyncio.run(measure(place, options.rounds, folder / place, valkey))
                rows.append(describe(place, times))
    lines = write_rows(HEADINGS, rows)
    print(*lines, sep="\n")
    if options.page:
        write_section(PAGE, "revocation", lines, command=shlex.join(["python", "-m", "chaos.revocation", *arguments]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
