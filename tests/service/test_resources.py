"""A table of resources as HTTP: methods, paths, pages and statuses."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from msgspec import Meta
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, select

from oyez.contract import Contract, Id, Payload
from oyez.service.app import Oyez
from oyez.service.outbox.transaction import Transaction
from oyez.service.resources import Listing, Read, Write, build_routes
from oyez.service.system import Services, System, SystemServices
from oyez.settings import Settings

metadata = MetaData()
tulips = Table(
    "tulips",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String(128), unique=True),
    Column("colour", String(20)),
)


class Tulip(Payload):
    colour: str


class Newest(Payload):
    limit: Annotated[int, Meta(ge=1)] = 2
    before: Id | None = None
    colour: str | None = None


def get(connection: Connection, id: str) -> dict[str, Any]:
    return connection.execute(select(tulips.c.id, tulips.c.colour).where(tulips.c.id == id)).one()._asdict()


def put(tx: Transaction, id: str, body: Tulip) -> tuple[dict[str, Any], bool]:
    changed = tx.connection.execute(tulips.update().where(tulips.c.id == id).values(colour=body.colour)).rowcount
    if not changed:
        tx.connection.execute(tulips.insert().values(id=id, colour=body.colour))
    return get(tx.connection, id), not changed


def remove(tx: Transaction, id: str) -> None:
    tx.connection.execute(tulips.delete().where(tulips.c.id == id))


RESOURCES = (
    Listing("/tulips", Newest, tulips, lambda _, row: row.id, cursor=tulips.c.id, order=tulips.c.number),
    Read("/tulips/{id}", get),
    Write("PUT", "/tulips/{id}", put, Tulip),
    Write("DELETE", "/tulips/{id}", remove),
)


def build(services: Services) -> SystemServices:
    return SystemServices(routes=build_routes(RESOURCES, services))


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    contract = Contract("garden", roles=("user",))
    contract.namespace("/")
    oyez = Oyez([System(contract=contract, build=build, tables=metadata)], Settings(oyez_data=str(tmp_path)))
    key = oyez.signer.sign_service("garden", 60.0)
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(oyez),
        base_url="http://test/garden/api",
        headers={"authorization": f"Bearer {key}"},
    )
    async with oyez.running(), client:
        yield client


async def plant(api: httpx.AsyncClient, *ids: str, colour: str = "red") -> None:
    for id in ids:
        assert (await api.put(f"/tulips/{id}", json={"colour": colour})).status_code == 201


async def test_statuses(api: httpx.AsyncClient) -> None:
    await plant(api, "a")
    again = await api.put("/tulips/a", json={"colour": "white"})
    assert (again.status_code, again.json()) == (200, {"id": "a", "colour": "white"})
    assert (await api.get("/tulips/a")).json() == again.json()
    removed = await api.delete("/tulips/a")
    assert (removed.status_code, removed.content) == (204, b"")


async def test_another_method_is_answered_with_all_that_there_are(api: httpx.AsyncClient) -> None:
    refused = await api.post("/tulips/a")
    assert refused.status_code == 405
    assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD", "PUT", "DELETE"}
    await plant(api, "a")
    assert (await api.head("/tulips/a")).status_code == 200


async def test_the_newest_come_first_page_by_page(api: httpx.AsyncClient) -> None:
    await plant(api, "c", "a", "b")
    first = (await api.get("/tulips")).json()
    assert first == {"items": ["b", "a"], "next": "a"}
    assert (await api.get("/tulips", params={"before": "a"})).json() == {"items": ["c"], "next": None}
    assert (await api.get("/tulips", params={"before": "unknown"})).json() == {"items": [], "next": None}


async def test_a_list_is_filtered_by_columns(api: httpx.AsyncClient) -> None:
    await plant(api, "a", "b")
    await plant(api, "c", colour="white")
    assert (await api.get("/tulips", params={"colour": "white"})).json()["items"] == ["c"]
    wrong = await api.get("/tulips", params={"smell": "sweet"})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "smell")
