"""What the supplier records of `quotes` mean for those who connect."""

import pytest

from oyez.testing import Harness, TestClient

CREATED = "quote:request:created"


async def put_supplier(oyez: Harness, user: str, supplier: str) -> None:
    response = await oyez.request("PUT", f"/quotes/api/suppliers/{user}", {"supplierId": supplier})
    assert response.status_code in (200, 201), response.text


async def receives(oyez: Harness, client: TestClient, supplier: str) -> bool:
    """True if a client is in the room of a supplier, and receives what is sent there."""
    await oyez.publish(CREATED, to=f"quote-request:supplier:{supplier}")
    events = [event for event in client.pending if event.name == CREATED]
    if events:
        await client.expect_event(CREATED)
    return bool(events)


async def hears(oyez: Harness, user: str, supplier: str) -> bool:
    """Whether `user`, connecting now, is in the room of `supplier`."""
    client = await oyez.connect(user, "supplier")
    found = await receives(oyez, client, supplier)
    await client.disconnect()
    return found


async def test_a_record_decides_about_the_room_at_the_next_connection(oyez: Harness) -> None:
    assert not await hears(oyez, "mover", "sup-a")
    await put_supplier(oyez, "mover", "sup-a")
    assert await hears(oyez, "mover", "sup-a")
    await put_supplier(oyez, "mover", "sup-b")
    assert not await hears(oyez, "mover", "sup-a")
    assert await hears(oyez, "mover", "sup-b")


async def test_the_requests_of_a_supplier_reach_its_new_owner_only(oyez: Harness) -> None:
    await put_supplier(oyez, "first", "sup-c")
    await put_supplier(oyez, "first", "sup-d")
    await put_supplier(oyez, "second", "sup-c")
    assert await hears(oyez, "second", "sup-c")
    assert not await hears(oyez, "first", "sup-c")


async def test_a_changed_record_does_not_move_connected_clients(oyez: Harness) -> None:
    await put_supplier(oyez, "patient", "sup-e")
    client = await oyez.connect("patient", "supplier")
    await put_supplier(oyez, "patient", "sup-f")
    assert not await receives(oyez, client, "sup-f")
    assert await receives(oyez, client, "sup-e")


async def test_a_former_supplier_stays_until_it_connects_again(oyez: Harness) -> None:
    await put_supplier(oyez, "retired", "sup-r")
    client = await oyez.connect("retired", "supplier")
    assert (await oyez.request("DELETE", "/quotes/api/suppliers/retired")).status_code == 200
    assert await receives(oyez, client, "sup-r")
    assert not await hears(oyez, "retired", "sup-r")


async def test_the_gateway_can_be_asked_for_by_name_from_the_record_on(oyez: Harness) -> None:
    auth = {"gateways": ["quote-requests"]}
    await oyez.expect_refused("no_room_in_gateway", "asker", "supplier", auth=auth)
    await put_supplier(oyez, "asker", "sup-g")
    client = await oyez.connect("asker", "supplier", auth=auth)
    assert await receives(oyez, client, "sup-g")


@pytest.mark.parametrize("role", ["user", "admin", None])
async def test_the_supplier_record_of_another_role_has_no_effect(oyez: Harness, role: str | None) -> None:
    await put_supplier(oyez, f"other-{role}", f"sup-{role}")
    client = await oyez.connect(f"other-{role}", role)
    assert not await receives(oyez, client, f"sup-{role}")


async def test_a_name_with_a_colon_makes_no_other_room(oyez: Harness) -> None:
    await put_supplier(oyez, "colon", "sup-h:sup-i")
    assert await hears(oyez, "colon", "sup-h:sup-i")
    assert not await hears(oyez, "colon", "sup-h")
