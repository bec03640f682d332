"""Commands that a client has queued while it was offline, and limits over all connections of a user."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from oyez import client as oyez_client
from oyez.contract import Command, Contract, Stamped, auth, own
from oyez.log.log import Log
from oyez.log.memory import MemoryLog
from oyez.log.redis import RedisLog
from oyez.log.sqlite import SqliteLog
from oyez.runtime.bind import bind
from oyez.runtime.client import Client
from oyez.runtime.publisher import Publisher
from oyez.settings import Limits, Settings
from tests.support.clock import Change
from tests.support.js_client import JsDriver
from tests.support.market import Token
from tests.support.serving import Running, serve
from tests.support.tasks import Spawn
from tests.support.valkey import ValkeyServer
from tests.support.wire import SocketWire

contract = Contract("drivers", roles=("driver",), tokens=(auth("token"),))
root = contract.namespace("/")
other = contract.namespace("/other")


@root.command("location", limit="60/m", volatile=True)
class Location(Command):
    """The place of the driver."""

    n: int


@root.command("status")
class Status(Command):
    """The progress of the delivery."""

    text: str


@root.command("rate", limit="2/m")
class Rate(Command):
    """Something that has a limit of its own."""


user = root.room("user:{user}", members=own("user", claim="sub"), on_connect=True)


@root.event("shouted", to=[user], example={"n": 1})
class Shouted(Stamped):
    """Something was shouted."""

    n: int


@root.command("shout", limit="1000/s")
class Shout(Command):
    """Publish an event to the caller's own room."""

    n: int


contract.build()


@dataclass
class Depot:
    """A server with this contract, and the commands that its handlers received."""

    running: Running
    handled: list[int | str] = field(default_factory=list)
    changed: Change = field(default_factory=Change)

    def note(self, what: int | str) -> None:
        self.handled.append(what)
        self.changed.set()

    def connect(self, subject: str = "d1") -> AbstractAsyncContextManager[oyez_client.Client]:
        return oyez_client.connect(
            self.running.url, auth={"token": json.dumps({"sub": subject})}, transports=["websocket"]
        )


@asynccontextmanager
async def open_depot(log: Log | None = None, **limits: int) -> AsyncIterator[Depot]:
    depot: Depot

    async def locate(command: Location, client: Client) -> None:
        await asyncio.sleep(0)
        depot.note(command.n)

    def report(command: Status, client: Client) -> None:
        depot.note(command.text)

    def rate(command: Rate, client: Client) -> None:
        depot.note("rated")

    log = log or MemoryLog()
    publisher = Publisher(contract, log, Limits())

    async def shout(command: Shout, client: Client) -> None:
        await publisher.emit(Shouted(n=command.n), user(client.identity.subject))

    async def authenticate(token: str) -> Token:
        claims = json.loads(token)
        return Token(claims["sub"], {"role": "driver"}, None)

    applications = bind(
        contract,
        handlers={Location: locate, Status: report, Rate: rate, Shout: shout},
        verify=authenticate,
        settings=Settings(),
    )
    async with serve(namespaces=dict(applications), log=log, limits=limits) as running:
        depot = Depot(running)
        yield depot


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_the_events_of_a_command_come_before_its_acknowledgement(
    kind: str, tmp_path: Path, valkey: ValkeyServer, spawn: Spawn
) -> None:
    log = SqliteLog(tmp_path / "log.sqlite") if kind == "sqlite" else RedisLog(valkey.url, "order")
    async with open_depot(log) as depot, depot.connect() as client:
        for number in range(50):
            call = spawn(client.call("shout", {"n": number}))
            assert (await client.expect_event("shouted")).args[0]["n"] == number
            assert not call.done()
            assert (await call)["ok"]
        # On the wire, and not in tasks of this client that run in any order.
        async with SocketWire.connect(depot.running, {"token": json.dumps({"sub": "d1"})}) as wire:
            for number in range(50):
                wire.send_text(f'42{number}["shout",{{"n":{number}}}]')
                frames = [(await wire.read_frame()).payload for _ in range(2)]
                assert [frame[:4] for frame in frames] == [b'42["', f"43{number}["[:4].encode()], frames


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_a_driver_comes_out_of_a_tunnel(js: JsDriver, transport: str) -> None:
    async with open_depot() as depot:
        auth = {"token": json.dumps({"sub": "d1"})}
        client = await js.connect(depot.running.url, auth=auth, transports=[transport])
        await client.disconnect()
        for number in range(170):
            await client.emit("location", {"n": number})
        await client.emit("status", {"text": "COMPLETED"})
        await js.command("reconnect", name=client.name)
        await depot.changed.until(lambda: "COMPLETED" in depot.handled)
        # 60 at once and one on credit: the newest, and before the command that was sent after it.
        assert depot.handled == [*range(60), 169, "COMPLETED"]
        assert (await client.call("status", {"text": "still here"}))["ok"]
        assert [name for name, _ in client.events()] == ["oyez:recovery"]


async def test_commands_with_the_default_limit_wait_and_the_session_stays(js: JsDriver) -> None:
    async with open_depot() as depot:
        token = json.dumps({"sub": "d1"})
        plain = await js.connect(depot.running.url, auth={"token": token})
        careful = await js.connect(
            depot.running.url, auth={"token": json.dumps({"sub": "d2"})}, retries=3, ackTimeout=5_000
        )
        for client in (plain, careful):
            await client.disconnect()
        for number in range(121):
            await plain.emit("status", {"text": f"plain {number}"})
        for number in range(40):
            await careful.emit("status", {"text": f"careful {number}"})
        for client in (plain, careful):
            await js.command("reconnect", name=client.name)
        await depot.changed.until(lambda: len(depot.handled) >= 161)
        handled = [str(text) for text in depot.handled]
        assert [text for text in handled if text.startswith("plain")] == [f"plain {n}" for n in range(121)]
        assert [text for text in handled if text.startswith("careful")] == [f"careful {n}" for n in range(40)]
        assert [name for name, _ in [*plain.events(), *careful.events()]] == ["oyez:recovery"] * 2
        assert (await plain.call("status", {"text": "still here"}))["ok"]


async def test_a_command_with_a_limit_of_its_own_is_refused_and_the_connection_stays() -> None:
    async with open_depot() as depot, depot.connect() as client:
        answers = await asyncio.gather(*(client.call("rate", {}) for _ in range(150)))
        assert [answer["ok"] for answer in answers] == [True] * 2 + [False] * 148
        assert {answer["error"]["code"] for answer in answers[2:]} == {"rate_limited"}
        assert (await client.call("status", {"text": "still here"}))["ok"]


async def test_the_newest_volatile_command_is_handled_and_dropped_ones_are_answered(spawn: Spawn) -> None:
    async with open_depot() as depot, depot.connect() as client:
        for number in range(60):
            await client.emit("location", {"n": number})
        dropped = [spawn(client.call("location", {"n": number})) for number in (60, 61)]
        assert (await dropped[0])["error"]["code"] == "rate_limited"
        assert (await dropped[1])["ok"]
        assert depot.handled == [*range(60), 61]


async def test_a_limit_is_for_the_user_and_not_for_each_connection() -> None:
    async with open_depot() as depot, depot.connect() as one, depot.connect() as two, depot.connect("d2") as stranger:
        assert [(await client.call("rate", {}))["ok"] for client in (one, two, one, two, stranger)] == [
            True,
            True,
            False,
            False,
            True,
        ]
        await one.disconnect()
        # A reconnection does not reset the limit.
        async with depot.connect() as back:
            assert not (await back.call("rate", {}))["ok"]


async def test_the_connections_of_a_user_are_counted_and_not_their_namespaces() -> None:
    async with open_depot(max_connections_per_user=2) as depot, depot.connect() as one, depot.connect() as two:
        with pytest.raises(oyez_client.ConnectRefused, match="too many connections") as refused:
            async with depot.connect():
                pass
        assert refused.value.data == {"code": "rate_limited", "retry_after": 45.0}
        async with depot.connect("d2"):
            pass
        await one.disconnect()
        async with depot.connect() as three:
            assert (await three.call("status", {"text": "here"}))["ok"]
        assert (await two.call("status", {"text": "here"}))["ok"]
