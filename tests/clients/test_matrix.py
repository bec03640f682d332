"""Every stock client, unchanged, against one server that is killed half-way.

All clients go through the steps at the same time, so that the whole takes as long as the slowest client; afterwards
each client is a test of its own.
"""

import asyncio
import signal
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest

from tests.clients.cases import CASES, Case
from tests.clients.drivers import JAVASCRIPT, PYTHON, Remote, python_path
from tests.support.driver import Driver
from tests.support.served import Served, serve

FILE = str(Path(__file__).with_name("shop.py"))
REFUSED_SECONDS = 3.0
"""How long refused clients are watched: longer than the two seconds after which the server sends them away."""
UPLOAD = bytes(range(256)) * 8
DISCONNECTS_AFTER_A_REFUSAL: dict[tuple[str, str], list[list[str | None]]] = {
    ("javascript", "3.1"): [["io server disconnect"]],
    ("javascript", "4.0"): [["io server disconnect"]],
    # Whether this version reports the end depends on which of its threads is first.
    ("python", "5.0"): [[], [None]],
    ("python", "5.8"): [[], [None]],
}
"""By client the reasons of its `disconnect` events after `connect_error`, as they may be."""
BEFORE, WHILE_CONNECTED, WHILE_AWAY, AFTERWARDS = range(1, 3), range(3, 4), range(4, 7), range(7, 8)
"""Numbers of the stored events, by when they are published."""


@dataclass
class Run:
    """One client that goes through the steps, and the same client with a forged token."""

    case: Case
    client: Remote
    refused: Remote
    failures: dict[str, Exception] = field(default_factory=dict)

    async def step(self, check: Callable[["Run"], Awaitable[None]]) -> None:
        try:
            await check(self)
        except Exception as error:
            self.failures[check.__name__] = error

    def orders(self) -> list[int]:
        """The numbers of the stored events that its handler got.

        python-socketio's `Client` runs every handler in a thread of its own, so their order is the threads'.
        """
        numbers = [arguments[0]["number"] for arguments in self.client.arguments("order")]
        return sorted(numbers) if self.case.style.startswith("sync") else numbers


@dataclass
class Shop:
    """Two processes over one data folder. Clients are connected to the first, which is killed."""

    front: Served
    back: Served
    data: Path
    stack: AsyncExitStack
    runs: list[Run] = field(default_factory=list)

    async def publish(self, event: str, numbers: Iterable[int]) -> None:
        """Publish to every client, through the process that stays."""
        bodies = [
            {"event": event, "data": {"number": number}, "to": f"buyer:{run.case.user}"}
            for number in numbers
            for run in self.runs
        ]
        response = await self.back.post(bodies, system="shop")
        assert response.status_code == 200, response.text

    async def kill(self) -> None:
        self.front.process.send_signal(signal.SIGKILL)
        await self.front.process.wait()

    async def start_again(self) -> None:
        port = self.front.url.rpartition(":")[2]
        self.front = await self.stack.enter_async_context(serve(self.data, FILE, PORT=port))

    async def everybody(self, check: Callable[[Run], Awaitable[None]]) -> None:
        await asyncio.gather(*(run.step(check) for run in self.runs))

    async def open_clients(self) -> None:
        async def connect(run: Run) -> None:
            await run.client.open(self.front.url, **run.case.opening(self.front.token(run.case.user)))
            await run.client.until("connect")
            if run.case.language == "javascript" and len(run.case.transports) == 2:
                await run.client.until("upgrade")
            assert await run.client.transport() == run.case.transports[-1]

        async def open_refused(run: Run) -> None:
            await run.refused.open(self.front.url, **run.case.opening("forged"))

        await self.everybody(connect)
        await self.everybody(open_refused)


@asynccontextmanager
async def open_shop(folder: Path, cases: Sequence[Case], javascript: Sequence[str]) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        front, back = [await stack.enter_async_context(serve(folder / "data", FILE)) for _ in range(2)]
        shop = Shop(front, back, folder / "data", stack)
        drivers = {
            name: await stack.enter_async_context(
                Driver.start_program(javascript)
                if name == "javascript"
                else Driver.start_program(PYTHON, python_path(name))
            )
            for name in dict.fromkeys(case.driver for case in cases)
        }
        for case in cases:
            driver = drivers[case.driver]
            shop.runs.append(Run(case, Remote(driver, case.user), Remote(driver, f"{case.user}-refused")))
        yield shop


async def run_matrix(
    folder: Path, cases: Sequence[Case] = CASES, javascript: Sequence[str] = JAVASCRIPT
) -> dict[str, Run]:
    """Take every case through the steps; `javascript` is the program that runs the official client."""
    async with open_shop(folder, cases, javascript) as shop:
        await shop.open_clients()
        watched_until = asyncio.get_running_loop().time() + REFUSED_SECONDS
        await shop.publish("order", BEFORE)
        await shop.publish("typing", [1])
        await shop.everybody(check_arguments)
        await shop.everybody(check_acknowledgements)
        await shop.everybody(check_binary)
        # That nothing more happens to a refused client cannot be waited for.
        await asyncio.sleep(watched_until - asyncio.get_running_loop().time())
        await shop.everybody(check_refused)
        await shop.publish("order", WHILE_CONNECTED)
        await shop.everybody(check_heard_before_the_kill)
        await shop.kill()
        await shop.publish("order", WHILE_AWAY)
        await shop.start_again()
        await shop.everybody(check_reconnected)
        await shop.publish("order", AFTERWARDS)
        await shop.everybody(check_missed)
        return {run.case.key: run for run in shop.runs}


async def check_arguments(run: Run) -> None:
    """A handler gets exactly the documented arguments, and the position only if the client asked for it."""
    await run.client.until("event", count=len(BEFORE), event="order")
    await run.client.until("event", event="typing")
    for arguments in run.client.arguments("order"):
        assert len(arguments) == (2 if run.case.asks else 1), arguments
        assert set(arguments[0]) == {"number", "timestamp"}
    assert run.orders() == list(BEFORE)
    assert run.client.arguments("typing") == [[{"number": 1}]]


async def check_acknowledgements(run: Run) -> None:
    assert await run.client.call("echo", {"text": "grüße"}) == [{"ok": True, "text": "grüße"}]
    await run.client.until("event", event="greeting")
    assert run.client.arguments("greeting") == [[{"text": "grüße"}]]
    failure = (await run.client.call("echo", {"text": 1}))[0]
    assert failure["ok"] is False and failure["error"]["code"] == "invalid_data"
    if run.case.acknowledges:
        assert await run.client.call("survey", {"question": "well?"}) == [{"ok": True, "answer": [{"echo": "well?"}]}]
        assert run.client.arguments("question") == [["well?", {"base64": "AP8="}]]


async def check_binary(run: Run) -> None:
    answer = await run.client.call("upload", {"file": {"base64": b64encode(UPLOAD).decode()}})
    assert answer == [{"ok": True, "size": len(UPLOAD), "sha256": sha256(UPLOAD).hexdigest()}]


async def check_refused(run: Run) -> None:
    """A forged token: one readable refusal, and no further attempt."""
    assert not run.refused.find("connect") and not run.refused.find("attempt"), run.refused.reports
    if "simple" in run.case.style:
        assert len(run.refused.find("refused")) == 1
        return
    (error,) = run.refused.find("connect_error")
    assert "token" in error["message"] and error["data"] == {"code": "token_invalid"}
    # Older clients stay connected after a refusal, until the server sends them away for good.
    reasons = [report["reason"] for report in run.refused.find("disconnect")]
    assert reasons in DISCONNECTS_AFTER_A_REFUSAL.get((run.case.language, run.case.version), [[]]), reasons


async def check_heard_before_the_kill(run: Run) -> None:
    await run.client.until("event", count=len(BEFORE) + len(WHILE_CONNECTED), event="order")


async def check_reconnected(run: Run) -> None:
    if "simple" not in run.case.style:
        second = (await run.client.until("connect", count=2))[1]
        assert second["recovered"] is True or not run.case.recovers
    assert (await run.client.call("echo", {"text": "again"}))[0]["ok"]


async def check_missed(run: Run) -> None:
    """What was published while the client was away comes once and in order, to those that recover."""
    missed = list(WHILE_AWAY) if run.case.recovers or run.case.asks else []
    expected = [*BEFORE, *WHILE_CONNECTED, *missed, *AFTERWARDS]
    await run.client.until("event", count=len(expected), event="order")
    assert run.orders() == expected
    if run.case.asks:
        first, second = (arguments[0] for arguments in run.client.arguments("oyez:recovery"))
        assert first["recovered"] is False and second["recovered"] is True and second["replayed"] == len(missed)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    return asyncio.run(run_matrix(tmp_path_factory.mktemp("matrix")))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)
def test_a_stock_client(runs: dict[str, Run], case: Case) -> None:
    failures = runs[case.key].failures
    assert not failures, "\n".join(f"{step}: {error!r}" for step, error in failures.items())
