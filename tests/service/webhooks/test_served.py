"""Webhooks of real servers: the HTTP API, the commands, several workers, and processes that are killed."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from oyez.client import Publication, Publisher
from oyez.service.auth.secrets import load_secret
from oyez.service.auth.tokens import build_signer
from oyez.service.webhooks.message import make_secret
from tests.service.webhooks import shipping
from tests.service.webhooks.receiver import ReceiverServer, serve_receiver, wait_until
from tests.service.webhooks.shipping import Packed, contract
from tests.support.served import Served, serve
from tests.support.valkey import ValkeyServer

CONTRACT = Path(shipping.__file__)
FAST = {"WEBHOOK_RETRIES": "0.2, 0.2", "WEBHOOK_TIMEOUT": "2"}
LONG = 30.0
"""Seconds for a change of leaders, or a start, on a busy machine."""


@pytest.fixture(scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serve(tmp_path_factory.mktemp("shipping") / "data", str(CONTRACT), **FAST) as running:
        yield running


@pytest.fixture
async def server() -> AsyncIterator[ReceiverServer]:
    async with serve_receiver() as receiver:
        yield receiver


def build_key(served: Served, scope: str = "webhooks") -> str:
    return build_signer(served.settings, load_secret(served.settings)).sign_service("shipping", None, scope)


async def call(served: Served, method: str, path: str = "", body: object = None) -> httpx.Response:
    return await served.request(
        method,
        f"/shipping/webhooks{path}",
        body,
        key=build_key(served),
    )


async def add(served: Served, server: ReceiverServer, *events: str, version: str | None = None) -> str:
    """Add a receiver; returns its id."""
    answer = await call(served, "POST", "", {"url": server.url, "events": list(events), "version": version})
    assert answer.status_code == 201, answer.text
    server.secret = answer.json()["secret"]
    id: str = answer.json()["id"]
    return id


async def publish(served: Served, *numbers: int) -> None:
    async with Publisher(served.url, contract, served.service_key("shipping")) as publisher:
        await publisher.publish_all([Publication(Packed(parcel_id=f"p-{n}", customer_id="ada")) for n in numbers])


async def test_a_receiver_of_an_older_version(served: Served, server: ReceiverServer) -> None:
    body = {"url": server.url, "version": "9"}
    refused = await call(served, "POST", "", body)
    assert (refused.status_code, "one of the contract's versions (1, 2)" in refused.text) == (422, True)
    id = await add(served, server, "parcel:packed", version="1")
    await publish(served, 1, 0, 2)
    first, second = await server.expect(2)
    assert (first.payload["type"], first.payload["data"]) == ("packed", "p-1")
    assert second.payload["data"] == "p-2", "version 1 has nothing for parcel 0"
    assert (await call(served, "PATCH", f"/{id}", {"version": None})).json()["version"] is None
    await publish(served, 3)
    assert (await server.expect(3))[2].payload["data"] == {"parcel_id": "p-3", "customer_id": "ada"}
    assert (await call(served, "DELETE", f"/{id}")).status_code == 204


async def test_the_life_of_a_receiver(served: Served, server: ReceiverServer) -> None:
    id = await add(served, server, "parcel:packed")
    listed = (await call(served, "GET")).json()
    assert listed["events"] == ["depot:open", "parcel:moved", "parcel:packed"]
    (shown,) = listed["receivers"]
    assert shown == (await call(served, "GET", f"/{id}")).json()
    assert shown | {"created": ""} == {
        "id": id,
        "url": server.url,
        "events": ["parcel:packed"],
        "version": None,
        "enabled": True,
        "disabledReason": None,
        "created": "",
        "failures": 0,
        "failingSince": None,
        "waiting": 0,
        "dead": 0,
        "gaps": 0,
    }
    await publish(served, 1)
    (received,) = await server.expect(1)
    assert received.payload["data"] == {"parcel_id": "p-1", "customer_id": "ada"}
    assert (await call(served, "POST", f"/{id}/test", {})).json() == {"accepted": True, "error": None}
    assert server.received[1].payload["type"] == "oyez:test"

    changed = await call(served, "PATCH", f"/{id}", {"events": [], "enabled": False})
    assert (changed.json()["enabled"], changed.json()["disabledReason"]) == (False, "by the operator")
    assert changed.json()["events"] == []
    await call(served, "PATCH", f"/{id}", {"enabled": True})
    rotated = (await call(served, "POST", f"/{id}/secret", {"keep": 0})).json()
    server.secret = rotated["secret"]
    await publish(served, 2)
    assert (await server.expect(3))[2].payload["data"]["parcel_id"] == "p-2"
    assert (await call(served, "DELETE", f"/{id}")).status_code == 204
    assert (await call(served, "GET")).json()["receivers"] == []


async def test_a_receiver_in_the_settings_is_changed_there(tmp_path: Path, server: ReceiverServer) -> None:
    server.secret = make_secret()
    declared = {"SYSTEM": "shipping", "URL": server.url, "SECRET": server.secret, "EVENTS": "parcel:packed"}
    environ = {f"OYEZ_WEBHOOK_SHOP_{name}": value for name, value in declared.items()}
    async with serve(tmp_path / "data", str(CONTRACT), **FAST, **environ) as served:

        async def list_ids() -> list[str]:
            return [one["id"] for one in (await call(served, "GET")).json()["receivers"]]

        await wait_until(list_ids)
        (id,) = await list_ids()
        await publish(served, 1)
        await server.expect(1)
        for method, path, body in (
            ("PATCH", "", {"events": []}),
            ("PATCH", "", {"url": server.url}),
            ("POST", "/secret", {}),
            ("DELETE", "", None),
        ):
            refused = await call(served, method, f"/{id}{path}", body)
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert not (await call(served, "PATCH", f"/{id}", {"enabled": False})).json()["enabled"]
        assert await list_ids() == [id]
    async with serve(tmp_path / "data", str(CONTRACT), **FAST) as served:
        assert (await call(served, "DELETE", f"/{id}")).status_code == 204


async def test_dead_letters_are_listed_and_replayed(served: Served, server: ReceiverServer) -> None:
    id = await add(served, server)
    server.default = 500
    await publish(served, 1)
    await server.expect(3)

    async def list_dead() -> list[dict[str, object]]:
        dead: list[dict[str, object]] = (await call(served, "GET", f"/{id}/dead")).json()["dead"]
        return dead

    await wait_until(list_dead)
    (dead,) = await list_dead()
    assert (dead["id"], dead["event"], dead["attempts"], dead["error"]) == (
        server.ids[0],
        "parcel:packed",
        3,
        "status 500",
    )
    server.default = 200
    assert (await call(served, "POST", f"/{id}/replay", {"ids": ["msg_other"]})).json() == {"replayed": 0}
    assert (await call(served, "POST", f"/{id}/replay", {"ids": [dead["id"]]})).json() == {"replayed": 1}
    await server.expect(4)
    await call(served, "DELETE", f"/{id}")


async def test_only_keys_for_webhooks_have_access(served: Served) -> None:
    for key in (served.service_key("shipping"), served.token("ada"), ""):
        answer = await served.request("GET", "/shipping/webhooks", key=key)
        assert answer.status_code == 401
    body = {"event": "parcel:packed", "data": {"parcel_id": "p", "customer_id": "ada"}}
    assert (await served.post(body, build_key(served), "shipping")).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "", {"url": "ftp://shop.example"}, 422, "an address such as https://shop.example/webhooks"),
        ("POST", "", {"url": "https://shop.example", "events": ["parcel:lost"]}, 422, "parcel:lost"),
        ("POST", "", {}, 422, "url"),
        ("GET", "/rcv_none", None, 404, "unknown_receiver"),
        ("PATCH", "/rcv_none", {"enabled": True}, 404, "unknown_receiver"),
        ("DELETE", "/rcv_none", None, 404, "unknown_receiver"),
        ("POST", "/rcv_none/secret", {"keep": -1}, 422, "keep"),
        ("POST", "/rcv_none/replay", {}, 404, "unknown_receiver"),
        ("GET", "/rcv_none/dead?limit=0", None, 422, "limit"),
    ],
)
async def test_what_is_refused(served: Served, method: str, path: str, body: object, status: int, said: str) -> None:
    answer = await call(served, method, path, body)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text


def find_workers(served: Served) -> list[int]:
    """The ids of the processes that the supervisor has started."""
    children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


async def test_workers_that_are_killed_lose_nothing(tmp_path: Path, server: ReceiverServer) -> None:
    server.default = 200
    async with serve(tmp_path / "data", str(CONTRACT), "--workers", "2", **FAST) as served:
        await add(served, server)
        await publish(served, *range(20))
        await server.expect_different(20, patience=LONG)
        assert len(server.ids) == 20
        await publish(served, *range(20, 60))
        await server.expect_different(30, patience=LONG)
        for pid in find_workers(served):
            os.kill(pid, signal.SIGKILL)
        await server.expect_different(60, patience=LONG)
        payloads = {one.id: one.payload["data"]["parcel_id"] for one in server.received}
    assert sorted(payloads.values(), key=lambda id: int(id[2:])) == [f"p-{number}" for number in range(60)]
    # What was under way when its worker was killed is sent again, with its id.
    assert len(server.ids) <= 60 + 1


async def test_a_server_that_is_killed_continues_with_valkey(
    tmp_path: Path, server: ReceiverServer, valkey: ValkeyServer
) -> None:
    redis = {"REDIS_URL": valkey.url, "REDIS_PREFIX": f"webhooks-{tmp_path.name}", **FAST}
    async with serve(tmp_path / "data", str(CONTRACT), **redis) as served:
        await add(served, server)
        await publish(served, 0)
        await server.expect(1, patience=LONG)
        server.default = "hang"
        await publish(served, *range(1, 10))
        await server.expect(2, patience=LONG)
        served.process.send_signal(signal.SIGKILL)
        await served.process.wait()
    server.default = 200
    server.received.clear()
    async with serve(tmp_path / "data", str(CONTRACT), **redis):
        await server.expect_different(9, patience=LONG)
    assert {one.payload["data"]["parcel_id"] for one in server.received} == {f"p-{number}" for number in range(1, 10)}
