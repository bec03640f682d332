"""`quotes`, whole: a real server, every kind of official client, and each event at the right people and nobody else."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from tests.support import py_client
from tests.support.js_client import JsDriver
from tests.support.served import Served, serve
from tests.systems.quotes.scenario import ROLES, STEPS, SUPPLIER_IDS, Listener

PATH = "/quotes/socket.io/"
WAYS = {"polling": ["polling"], "websocket": ["websocket"], "upgrade": ["polling", "websocket"]}


@pytest.fixture(scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory, make_database: Callable[[], str]) -> AsyncIterator[Served]:
    async with serve(tmp_path_factory.mktemp("quotes") / "data", "quotes", DATABASE_URL=make_database()) as running:
        for user, supplier in SUPPLIER_IDS.items():
            await put_supplier(running, user, supplier)
        yield running


@pytest.fixture(scope="module")
async def js() -> AsyncIterator[JsDriver]:
    async with JsDriver.start() as driver:
        yield driver


async def put_supplier(served: Served, user: str, supplier: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.put(
            f"{served.url}/quotes/api/suppliers/{user}",
            json={"supplierId": supplier},
            headers={"authorization": f"Bearer {served.service_key()}"},
        )


async def play(served: Served, people: Mapping[str, Listener]) -> None:
    """Publish every step, and check who hears it and who does not."""
    for step in STEPS:
        await served.publish(step.event, step.data, step.to)
        for person in step.heard_by:
            assert await people[person].expect_event(step.event) == [step.data]
        for person in people.keys() - set(step.heard_by):
            await people[person].expect_nothing()


@pytest.mark.parametrize("way", WAYS)
async def test_each_event_reaches_the_right_javascript_clients_and_no_others(
    served: Served, js: JsDriver, way: str
) -> None:
    people = {
        person: await js.connect(
            served.url, path=PATH, auth={"token": served.token(person, role)}, transports=WAYS[way]
        )
        for person, role in ROLES.items()
    }
    for client in people.values():
        assert await client.transport() == WAYS[way][-1]
    await play(served, people)


@pytest.mark.parametrize("way", WAYS)
async def test_each_event_reaches_the_right_python_clients_and_no_others(served: Served, way: str) -> None:
    async with AsyncExitStack() as stack:
        people = {
            person: await stack.enter_async_context(
                py_client.connect(
                    served.url, path=PATH, auth={"token": served.token(person, role)}, transports=WAYS[way]
                )
            )
            for person, role in ROLES.items()
        }
        await play(served, people)


async def test_a_new_supplier_hears_its_requests_from_the_next_connection_on(served: Served, js: JsDriver) -> None:
    token = served.token("person-s9", "supplier")
    before = await js.connect(served.url, path=PATH, auth={"token": token})
    assert (await put_supplier(served, "person-s9", "sup-9")).status_code == 201
    after = await js.connect(served.url, path=PATH, auth={"token": token})
    step = next(step for step in STEPS if step.event == "quote:request:created")
    await served.publish(step.event, step.data, "quote-request:supplier:sup-9")
    assert await after.expect_event(step.event) == [step.data]
    await before.expect_nothing()


def test_every_event_of_the_contract_is_in_the_story() -> None:
    from oyez.systems.quotes.contract import contract

    assert {step.event for step in STEPS} == set(contract.events)


async def test_the_server_stops_cleanly_with_clients_connected(tmp_path: Path, js: JsDriver) -> None:
    async with serve(tmp_path / "data", "quotes") as running:
        client = await js.connect(running.url, path=PATH, auth={"token": running.token("u")}, transports=["websocket"])
        polling = await js.connect(running.url, path=PATH, auth={"token": running.token("u")}, transports=["polling"])
        running.process.terminate()
        await client.expect("disconnect", reason="transport close")
        await polling.expect("disconnect", reason="transport error")
        assert await running.process.wait() == 0
