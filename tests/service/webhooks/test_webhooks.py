"""Webhooks of one process: what is sent, when it is repeated and given up, and what is remembered."""

import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select
from standardwebhooks import Webhook, WebhookVerificationError

from oyez.concurrency.backoff import Backoff
from oyez.contract import Payload
from oyez.errors import SettingsError
from oyez.log.memory import MemoryLog
from oyez.runtime import Publisher
from oyez.service.app import Oyez
from oyez.service.database.database import MIGRATIONS, Database
from oyez.service.database.tables import webhook_deliveries, webhook_readers
from oyez.service.system import System
from oyez.service.webhooks import reader, store, webhooks
from oyez.service.webhooks.message import Secret, make_secret
from oyez.service.webhooks.schedule import Schedule
from oyez.service.webhooks.sender import Rules
from oyez.service.webhooks.store import Receiver
from oyez.service.webhooks.webhooks import Webhooks
from oyez.settings import Limits, Settings, WebhookSettings
from tests.service.webhooks.receiver import ReceiverServer, serve_receiver, wait_until
from tests.service.webhooks.shipping import DepotOpen, Lost, Moved, Packed, contract
from tests.support.serving import turn_until

FAST = Rules(Schedule((0.01, 0.01), rest=Backoff(0.05, 0.05)), timeout=0.3, private=True, disable_after=60.0)


@dataclass
class Stage:
    """The parts of a process that sends webhooks."""

    log: MemoryLog
    database: Database
    publisher: Publisher
    clock: Callable[[], float] | None = None

    async def publish(self, *payloads: Payload) -> list[str | None]:
        return [await self.publisher.emit(payload) for payload in payloads]

    async def add(self, server: ReceiverServer, *events: str, name: str = "shop") -> Receiver:
        """A receiver of what is published from now on. The server verifies signatures by its secret."""
        secret = Secret(make_secret(), None)
        server.secret = secret.text
        since = await self.log.position()
        values: dict[str, Any] = {"disabled": None, "failures": 0, "failing_since": None, "resting_until": 0.0}
        receiver = Receiver(
            id=name,
            url=server.url,
            events=frozenset(events),
            secrets=(secret,),
            since=since,
            created=0,
            gaps=0,
            **values,
        )
        await self.database.run(store.add_receiver, "shipping", receiver)
        return receiver

    async def find(self, name: str = "shop") -> Receiver:
        return await self.database.read(store.get_receiver, "shipping", name)

    async def count(self, name: str = "shop") -> tuple[int, int]:
        """How many deliveries wait, and how many are dead."""
        counts = await self.database.read(store.count_deliveries, [name])
        return tuple(counts.get(name, (0, 0)))  # type: ignore[return-value]

    async def expect_count(self, waiting: int, dead: int, name: str = "shop") -> None:
        async def fits() -> bool:
            return await self.count(name) == (waiting, dead)

        await wait_until(fits)

    @asynccontextmanager
    async def running(self, rules: Rules = FAST, **options: Any) -> AsyncIterator[Webhooks]:
        running = Webhooks(contract, self.log, self.database, rules, **options)
        async with running.running(lambda: 5.0):
            yield running


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(f"sqlite:///{tmp_path / 'domain.sqlite'}") as opened:
        yield opened


@asynccontextmanager
async def open_stage(database_url: str) -> AsyncIterator[Stage]:
    database = Database(database_url)
    database.migrate("oyez", MIGRATIONS / "versions")
    log = MemoryLog()
    yield Stage(log, database, Publisher(contract, log, Limits()))
    await log.close()
    database.close()


@pytest.fixture
async def server() -> AsyncIterator[ReceiverServer]:
    async with serve_receiver() as receiver:
        yield receiver


PACKED = [Packed(parcel_id=f"p-{number}", customer_id="ada") for number in range(20)]


async def test_events_go_out_in_order_with_a_valid_signature(stage: Stage, server: ReceiverServer) -> None:
    await stage.publish(PACKED[0])
    await stage.add(server)
    async with stage.running():
        positions = await stage.publish(*PACKED[1:10], Lost(parcel_id="p"), Moved(parcel_id="p", place="Bonn"))
        received = await server.expect(10)
    assert [one.payload["data"]["parcel_id"] for one in received[:9]] == [f"p-{number}" for number in range(1, 10)]
    moved = received[9].payload
    assert moved | {"timestamp": ""} == {
        "type": "parcel:moved",
        "timestamp": "",
        "data": ["p", "Bonn"],
        "position": positions[-1],
        "namespace": "/",
        "rooms": ["*"],
    }
    assert received[9].id == f"msg_{(positions[-1] or '').replace('.', '_')}"
    assert received[9].headers["host"] == server.url.split("/")[2]
    assert received[9].headers["user-agent"].startswith("Oyez-Webhooks/")
    assert await stage.count() == (0, 0)


async def test_a_receiver_gets_the_events_that_it_wants(stage: Stage, server: ReceiverServer) -> None:
    async with serve_receiver() as other, stage.running():
        await stage.add(server, "parcel:moved")
        await stage.add(other, name="other")
        await stage.publish(PACKED[0], Moved(parcel_id="p", place="Bonn"))
        await other.expect(2)
        (moved,) = await server.expect(1)
    assert moved.payload["type"] == "parcel:moved"


async def test_an_event_of_several_namespaces_is_sent_once(stage: Stage, server: ReceiverServer) -> None:
    await stage.add(server)
    async with stage.running():
        await stage.publish(DepotOpen(), DepotOpen(), PACKED[0])
        received = await server.expect(3)
    assert [one.payload["type"] for one in received] == ["depot:open", "depot:open", "parcel:packed"]


async def test_a_failed_attempt_is_repeated_with_the_same_id(stage: Stage, server: ReceiverServer) -> None:
    await stage.add(server)
    server.answers.extend([500, "hang"])
    async with stage.running():
        await stage.publish(PACKED[0])
        received = await server.expect(3)
        assert len({one.id for one in received}) == 1
        await stage.expect_count(0, 0)
    assert (await stage.find()).failures == 0


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (500, "status 500"),
        (404, "status 404"),
        (302, "status 302: redirects are not followed"),
        ("hang", "no answer within 0.3 s"),
    ],
)
async def test_after_the_last_attempt_it_is_a_dead_letter_that_can_be_replayed(
    stage: Stage, server: ReceiverServer, answer: int | str, error: str
) -> None:
    await stage.add(server)
    server.default, server.headers = answer, "location: http://127.0.0.1:1/\r\n"
    async with stage.running() as running:
        await stage.publish(PACKED[0])
        await stage.expect_count(0, 1)
        assert len(server.received) == 3
        (dead,) = await stage.database.read(store.list_dead, "shipping", "shop", 0, 10)
        assert (dead.message, dead.attempts, dead.error) == (server.ids[0], 3, error)
        server.default = 200
        assert await stage.database.run(store.replay, "shipping", "shop", None, running.clock()) == 1
        running.wake("shop")
        await stage.expect_count(0, 0)
    assert len(set(server.ids)) == 1
    assert json.loads(server.received[-1].body)["data"]["parcel_id"] == "p-0"


async def test_an_endless_answer_is_not_read_to_its_end(stage: Stage, server: ReceiverServer) -> None:
    await stage.add(server)
    server.answers.append("long")
    async with stage.running():
        await stage.publish(*PACKED[:2])
        await server.expect(2)
        await stage.expect_count(0, 0)


async def test_a_receiver_that_is_away_delays_no_other(stage: Stage, server: ReceiverServer) -> None:
    async with serve_receiver() as other, stage.running():
        await stage.add(other, name="away")
        await stage.add(server)
        other.default = "hang"
        await stage.publish(*PACKED)
        await server.expect(20)
        assert len(set(other.ids)) < 20


async def test_a_receiver_that_fails_often_rests_and_then_gets_all_events(
    stage: Stage, server: ReceiverServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "oyez")
    rules = replace(FAST, schedule=Schedule((0.01,) * 50, rest=Backoff(0.05, 0.05)))
    await stage.add(server)
    server.default = 503
    async with stage.running(rules):
        await stage.publish(*PACKED)
        await server.expect(8)
        resting = await stage.find()
        assert resting.failures >= 5
        assert resting.resting_until > 0
        # Later events have not used up their attempts.
        assert len(set(server.ids)) < 10
        server.default = 200
        await stage.expect_count(0, 0)
    assert set(server.ids) == {f"msg_{stage.log.epoch}_{number}" for number in range(1, 21)}
    # Those that were not tried during the outage come in order.
    assert server.ids[-10:] == [f"msg_{stage.log.epoch}_{number}" for number in range(11, 21)]
    assert "a webhook receiver does not accept an event" in caplog.text
    assert "accepts events again" in caplog.text


async def test_a_receiver_that_is_gone_is_disabled(
    stage: Stage, server: ReceiverServer, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.add(server)
    server.default = 410
    async with stage.running() as running:
        await stage.publish(*PACKED[:3])
        await stage.expect_count(0, 3)
        assert (await stage.find()).disabled == "it answered 410: it wants no events any more"
        assert "a webhook receiver was disabled" in caplog.text
        await stage.publish(PACKED[3])
        server.default = 200
        position = await stage.log.position()
        await stage.database.run(store.enable_receiver, "shipping", "shop", position)
        running.wake()
        await stage.publish(PACKED[4])
        await server.expect(2)
    assert json.loads(server.received[1].body)["data"]["parcel_id"] == "p-4"


async def test_a_receiver_that_fails_for_long_is_disabled(stage: Stage, server: ReceiverServer) -> None:
    await stage.add(server)
    server.default = 500
    async with stage.running(replace(FAST, disable_after=0.02, schedule=Schedule((0.03, 0.03)))):
        await stage.publish(*PACKED[:2])
        await stage.expect_count(0, 2)
    assert "it has accepted nothing for" in str((await stage.find()).disabled)


async def test_a_private_address_is_not_connected_to(stage: Stage, server: ReceiverServer) -> None:
    await stage.add(server)
    async with stage.running(replace(FAST, private=False)):
        await stage.publish(PACKED[0])
        await stage.expect_count(0, 1)
    assert server.received == []
    (dead,) = await stage.database.read(store.list_dead, "shipping", "shop", 0, 10)
    assert "its address is not allowed any more" in dead.error


async def test_two_secrets_sign_during_a_rotation(stage: Stage, server: ReceiverServer) -> None:
    old = (await stage.add(server)).secrets[0].text
    new = make_secret()
    async with stage.running() as running:
        until = running.clock() + 60
        await stage.database.run(store.replace_secret, "shipping", "shop", Secret(new, None), until)
        await stage.publish(PACKED[0])
        (received,) = await server.expect(1)
        for secret in (old, new):
            Webhook(secret).verify(received.body, received.headers)
        await stage.database.run(store.replace_secret, "shipping", "shop", Secret(make_secret(), None), 0.0)
        server.secret = ""
        await stage.publish(PACKED[1])
        later = (await server.expect(2))[1]
        for secret in (old, new):
            with pytest.raises(WebhookVerificationError):
                Webhook(secret).verify(later.body, later.headers)


# Receivers in the settings.


def declare(server: ReceiverServer, *events: str, system: str = "shipping") -> dict[str, WebhookSettings]:
    """The settings of a receiver, with a new secret that the server expects."""
    old, server.secret = server.secret, make_secret()
    return {
        "shop": WebhookSettings(system=system, url=server.url, secret=f"{server.secret} {old}".strip(), events=events)
    }


async def test_a_declared_receiver_is_sent_what_follows_its_first_start(stage: Stage, server: ReceiverServer) -> None:
    await stage.publish(PACKED[0])
    settings = declare(server, "parcel:packed")
    for number in (1, 2):
        async with stage.running(declared=settings) as running:
            await wait_until(lambda: list_declared(stage))
            await stage.publish(PACKED[number], Moved(parcel_id="p", place="Bonn"))
            await server.expect(number)
            assert running.leads()
        # The secret is replaced by the second start.
        settings = declare(server, "parcel:packed")
    assert [one.payload["data"]["parcel_id"] for one in server.received] == ["p-1", "p-2"]


async def test_a_receiver_that_is_no_longer_declared_is_disabled(stage: Stage, server: ReceiverServer) -> None:
    added = await stage.add(server)
    settings = declare(server)

    async def is_enabled(expected: bool) -> bool:
        return [one.disabled is None for one in await list_declared(stage)] == [expected]

    for declared in (settings, {}, settings):
        async with stage.running(declared=declared):
            await wait_until(lambda declared=declared: is_enabled(bool(declared)))  # type: ignore[misc]
    assert await stage.find() == added


async def test_a_receiver_of_another_system_is_left_out(stage: Stage, server: ReceiverServer) -> None:
    Webhooks(contract, stage.log, stage.database, FAST, declared=declare(server, "no:event", system="another"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"events": ("parcel:lost",)}, r"webhooks.shop.events names parcel:lost.*\(depot:open, parcel:moved"),
        ({"url": "ftp://shop.example/?key=hunter2"}, r"webhooks.shop.url is wrong: expected"),
    ],
)
def test_a_declared_receiver_that_does_not_fit_is_refused(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    values = {"system": "shipping", "url": "https://shop.example/", "secret": make_secret()}
    declared = {"shop": WebhookSettings(**{**values, **changed})}
    with pytest.raises(SettingsError, match=said) as error:
        Oyez([System(contract=contract)], Settings(oyez_data=str(tmp_path), webhooks=declared))
    assert "hunter2" not in str(error.value)


async def list_declared(stage: Stage) -> list[Receiver]:
    known = await stage.database.read(store.list_receivers, "shipping")
    return [one for one in known if one.id.startswith("shop-")]


# Several processes.


async def test_a_stopped_process_continues_where_it_was(stage: Stage, server: ReceiverServer) -> None:
    await stage.add(server)
    server.default = 500
    async with stage.running(replace(FAST, schedule=Schedule((0.01,) * 20))):
        await stage.publish(*PACKED[:2])
        await server.expect(2)
    await stage.publish(PACKED[2])
    server.received.clear()
    server.default = 200
    async with stage.running():
        await server.expect_different(3)
        await stage.expect_count(0, 0)


async def test_only_one_of_two_processes_sends(stage: Stage, server: ReceiverServer) -> None:
    await stage.add(server)
    async with stage.running() as first:
        await turn_until(first.leads)
        async with stage.running() as second:
            await stage.publish(*PACKED[:10])
            await stage.expect_count(0, 0)
            await server.expect(10)
            assert not second.leads()
        async with stage.running() as third:
            await stage.publish(PACKED[10])
            await server.expect(11)
            assert not third.leads()
    assert len(set(server.ids)) == len(server.ids) == 11


async def test_events_that_the_log_has_deleted_are_reported(
    stage: Stage, server: ReceiverServer, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    now = 0.0
    log = MemoryLog(retention=10.0, clock=lambda: now)
    stage = Stage(log, stage.database, Publisher(contract, log, Limits()))
    await stage.add(server)
    await stage.publish(*PACKED[:3])
    now = 11.0
    await stage.publish(PACKED[3])
    async with stage.running():
        (received,) = await server.expect(1)
        await stage.expect_count(0, 0)
    assert received.payload["data"]["parcel_id"] == "p-3"
    assert "events were lost for webhooks" in caplog.text
    assert "entries=3" in caplog.text
    assert (await stage.find()).gaps == 1


async def test_a_replaced_log_is_reported(
    stage: Stage, server: ReceiverServer, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.add(server)
    async with stage.running():
        await stage.publish(PACKED[0])
        await server.expect(1)
        await stage.expect_count(0, 0)
    fresh = MemoryLog()
    replaced = Stage(fresh, stage.database, Publisher(contract, fresh, Limits()))
    await replaced.publish(PACKED[1])
    async with replaced.running():
        await server.expect(2)
    assert "entries='unknown'" in caplog.text


async def test_more_events_than_memory_holds(
    stage: Stage, server: ReceiverServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MAX_PENDING", 3)
    await stage.add(server)
    await stage.publish(*PACKED)
    async with stage.running():
        await server.expect(20)
    assert server.ids == [f"msg_{stage.log.epoch}_{number}" for number in range(1, 21)]


async def test_too_many_waiting_events_are_dead_letters(
    stage: Stage, server: ReceiverServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "MAX_WAITING", 0)
    await stage.add(server)
    await stage.publish(PACKED[0])
    await stage.database.run(_wait_for, server.secret)
    async with stage.running():
        await stage.expect_count(1, 1)


def _wait_for(connection: Any, secret: str) -> None:
    """A delivery that waits for long."""
    row = {"receiver": "shop", "message": "m", "event": "e", "body": b"{}", "created": 0, "due": 1e12, "attempts": 0}
    connection.execute(insert(webhook_deliveries).values(**row))


async def test_without_receivers_the_log_is_not_followed(stage: Stage, server: ReceiverServer) -> None:
    def read_position(connection: Any) -> Any:
        return connection.execute(select(webhook_readers.c.position)).scalar_one_or_none()

    await stage.add(server)
    async with stage.running() as running:
        await stage.publish(PACKED[0])
        await server.expect(1)
        await stage.database.run(store.remove_receiver, "shipping", "shop")
        running.wake()

        async def forgotten() -> bool:
            return await stage.database.read(read_position) is None

        await wait_until(forgotten)
        await stage.publish(PACKED[1])
        await stage.add(server)
        running.wake()
        await stage.publish(PACKED[2])
        await server.expect(2)
    assert [json.loads(one.body)["data"]["parcel_id"] for one in server.received] == ["p-0", "p-2"]


async def test_old_dead_letters_are_deleted(stage: Stage, server: ReceiverServer) -> None:
    await stage.add(server)
    server.default = 500
    async with stage.running() as running:
        await stage.publish(*PACKED[:3])
        await stage.expect_count(0, 3)
        now = running.clock()
    assert await stage.database.run(store.prune_dead, "shop", now) == 0
    assert await stage.database.run(store.prune_dead, "shop", now + store.DEAD_SECONDS + 1) == 3
