"""A server for an hour, with clients that come and go: do memory, open files and stored bytes stay flat?

    .venv/bin/python -m chaos.soak                      one hour
    .venv/bin/python -m chaos.soak --minutes 20 --page  also renews the section in docs/robustness.md

Two workers share a log in SQLite that keeps one minute. Twenty clients stay and must receive every event once, in
order. Sixty others connect over polling or WebSocket, receive for a while, and leave politely, by cutting the network,
or without having sent a CONNECT; half of those that come back recover their session. Some send a wrong token, a body
that is not a payload, or an event that does not exist.

The first third of the run warms up. After it, the average of each figure over the last third may exceed that of the
middle third by no more than GROWTH allows. The exit status is 1 otherwise, or if an event was missed. Each minute's
figures are printed when they are known.
"""

import argparse
import asyncio
import random
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import httpx
from bench.children import find_port
from bench.cpu import list_family, read_cpu, read_memory
from bench.servers import build_environ
from bench.table import write_rows, write_section
from bench.tokens import make_secret

from chaos.robustness import PAGE
from chaos.support import OYEZ_PATH, Node, publishing_to_oyez
from oyez.client import ConnectFailed, ConnectRefused, Disconnected, connect
from oyez.service.auth.tokens import Signer

STAYERS = 20
COMERS = 60
EVENTS_PER_SECOND = 20
MINUTES = 60.0
RETENTION = 60.0
"""Seconds that the log keeps: short, so that its size is steady soon."""
SAMPLE_SECONDS = 5.0
SAMPLES_A_LINE = 12
"""Samples, of which one is printed: one a minute."""
TEXT = "x" * 200
GROWTH = {"memory": (0.03, 3_000_000), "files": (0.03, 4), "stored": (0.10, 1_000_000)}
"""By how much the last third may exceed the middle one: the greater of a share, and of bytes or files."""
TITLES = {"memory": "memory of all processes, MB", "files": "open files", "stored": "bytes in the data folder, MB"}
DIVISORS = {"memory": 1e6, "files": 1.0, "stored": 1e6}


@dataclass
class Soak:
    """One run."""

    url: str
    signer: Signer
    rng: random.Random = field(default_factory=random.Random)
    visits: int = 0
    recovered: int = 0
    refused: int = 0
    received: int = 0
    breaks: int = 0
    """Connections of clients that stay which broke: on a busy machine a ping may be late."""
    faults: list[str] = field(default_factory=list)
    samples: list[dict[str, float]] = field(default_factory=list)
    over: bool = False

    def auth(self, user: str, **more: Any) -> dict[str, Any]:
        return {"token": self.signer.sign_user(user, "user", {}, 1e7), **more}

    async def stay(self, user: str) -> None:
        """Receive every event once, in order, also over a connection that breaks."""
        session: dict[str, str] = {}
        last = None
        while not self.over:
            auth, ways = {**self.auth(user), **session}, ("websocket",)
            with suppress(ConnectFailed, Disconnected, TimeoutError):
                async with connect(self.url, path=OYEZ_PATH, auth=auth, transports=ways, timeout=60) as client:
                    try:
                        while not self.over:
                            _, arguments = await client.expect_event("news", timeout=60)
                            number = arguments[0]["n"]
                            if last is not None and number != last + 1:
                                self.faults.append(f"{user}: {number} after {last}")
                            last = number
                            self.received += 1
                    finally:
                        session = client.recovery
            self.breaks += not self.over

    async def come_and_go(self, user: str) -> None:
        """Visit again and again, each time in another way."""
        session: dict[str, str] = {}
        while not self.over:
            await asyncio.sleep(self.rng.expovariate(1 / 2))
            self.visits += 1
            with suppress(ConnectFailed, Disconnected, TimeoutError):
                session = await self._visit(user, session if self.rng.random() < 0.5 else {})

    async def _visit(self, user: str, session: dict[str, str]) -> dict[str, str]:
        ways = (("websocket",), ("polling",), ("polling", "websocket"))
        auth = {**self.auth(user), **session}
        if self.rng.random() < 0.1:
            auth["token"] = "no token"
        try:
            async with connect(self.url, path=OYEZ_PATH, auth=auth, transports=self.rng.choice(ways)) as client:
                self.recovered += (client.welcome or {}).get("pid") == session.get("pid", "")
                await asyncio.sleep(self.rng.expovariate(1 / 3))
                if self.rng.random() < 0.2:
                    await client.emit("no such command", {"x": 1})
                if self.rng.random() < 0.3:
                    client.connection.drop()
                return client.recovery
        except ConnectRefused:
            self.refused += 1
            return {}

    async def send_nonsense(self) -> None:
        """Requests that are refused, and connections that never send a CONNECT."""
        async with httpx.AsyncClient(base_url=self.url, timeout=30, trust_env=False) as http:
            while not self.over:
                await asyncio.sleep(self.rng.expovariate(2))
                with suppress(httpx.TransportError):
                    await http.get(f"{OYEZ_PATH}?EIO=4&transport=polling&sid=unknown")
                    opened = await http.get(f"{OYEZ_PATH}?EIO=4&transport=polling")
                    sid = opened.text.partition('"sid":"')[2].partition('"')[0]
                    await http.post(f"{OYEZ_PATH}?EIO=4&transport=polling&sid={sid}", content=b"nonsense")
                    await http.post("/crowd/events", json={"event": "news"}, headers={"authorization": "Bearer x"})

    def sample(self, node: Node, data: Path) -> None:
        family = list_family(node.child.pid)
        sample: dict[str, float] = {
            "memory": read_memory(node.child.pid),
            "files": sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in family),
            "stored": sum(path.stat().st_size for path in data.rglob("*") if path.is_file()),
        }
        if len(self.samples) % SAMPLES_A_LINE == 0:
            shown = ", ".join(f"{TITLES[name]}: {value / DIVISORS[name]:,.1f}" for name, value in sample.items())
            print(f"{len(self.samples) * SAMPLE_SECONDS / 60:.0f} min; {shown}", flush=True)
        self.samples.append(sample)

    def judge(self) -> list[list[str]]:
        """A row for each figure; what has grown is added to `faults`."""
        third = len(self.samples) // 3
        rows = []
        for name, (share, amount) in GROWTH.items():
            values = [sample[name] for sample in self.samples]
            middle, last = mean(values[third : 2 * third]), mean(values[2 * third :])
            if last - middle > max(share * middle, amount):
                self.faults.append(f"{TITLES[name]} grew from {middle:,.0f} to {last:,.0f}")
            shown = (f"{value / DIVISORS[name]:,.1f}" for value in (mean(values[:third]), middle, last, max(values)))
            rows.append([TITLES[name], *shown])
        return rows


async def soak(minutes: float, folder: Path) -> tuple[Soak, str, list[list[str]]]:
    """The run, a sentence about it, and its rows."""
    port, secret, data = find_port(), make_secret(), folder / "data"
    data.mkdir(mode=0o700)
    environ = build_environ(secret, data, port) | {"LOG_RETENTION": str(RETENTION)}
    node = Node("soak", environ, data, port, ["--workers", "2"])
    run = Soak(f"http://127.0.0.1:{port}", Signer(secret))
    await node.start()
    try:
        key = Signer(secret).sign_service("crowd", None)
        started = time.monotonic()
        async with publishing_to_oyez(lambda: port, key) as publish, asyncio.TaskGroup() as group:
            tasks = [group.create_task(run.stay(f"stayer-{number}")) for number in range(STAYERS)]
            tasks += [group.create_task(run.come_and_go(f"comer-{number}")) for number in range(COMERS)]
            tasks.append(group.create_task(run.send_nonsense()))
            published = 0
            while (now := time.monotonic() - started) < minutes * 60:
                if now > len(run.samples) * SAMPLE_SECONDS:
                    run.sample(node, data)
                await asyncio.sleep(1 / EVENTS_PER_SECOND)
                if await publish([("shared", {"n": published, "sent": time.monotonic_ns(), "text": TEXT})]):
                    published += 1
                else:
                    run.faults.append(f"event {published} was not accepted")
            rows, cpu, run.over = run.judge(), read_cpu(node.child.pid).total, True
            for task in tasks:
                task.cancel()
        about = (
            f"{minutes:g} minutes: {published:,} events published, {run.received:,} received by {STAYERS} clients that"
            f" stayed ({run.breaks} of their connections broke); {run.visits:,} visits of {COMERS} others,"
            f" {run.recovered:,} of them recovered, {run.refused:,} refused; {cpu:,.0f} s of CPU time."
            f" Faults: {len(run.faults)}."
        )
        return run, about, rows
    finally:
        await node.stop()


HEADINGS = ("average", "first third", "middle third", "last third", "most")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--page", action="store_true", help="write the result into docs/robustness.md")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="oyez-soak-") as name:
        run, about, rows = asyncio.run(soak(options.minutes, Path(name)))
    lines = [about, "", *write_rows(HEADINGS, rows)]
    print(*lines, *run.faults[:20], sep="\n")
    if options.page:
        write_section(PAGE, "soak", lines, command=shlex.join(["python", "-m", "chaos.soak", *arguments]))
    return 1 if run.faults else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
