"""The test kit at a small shop: what tests write with it, and what it says if an expectation fails."""

import asyncio

import pytest
from sqlalchemy import Connection, select

from oyez.client import ConnectRefused, Disconnected
from oyez.contract.rooms import NamedRoom
from oyez.errors import InvalidDataError, LogUnavailableError, RefusedError, SettingsError
from oyez.testing import Harness, Published, Right, rights, start
from tests.support.clock import WALL_TIME
from tests.support.postgres import PostgreSQL
from tests.support.tasks import Spawn
from tests.testing.shop import OrderCreated, OrderExpired, PlaceOrder, Price, buyer, order, orders, system


async def test_buyer_b_cannot_see_the_order_of_buyer_a(oyez: Harness) -> None:
    ada = await oyez.connect("ada", role="buyer")
    bob = await oyez.connect("bob", role="buyer")
    await oyez.publish("order:created", buyer_id="ada")
    await ada.expect_event("order:created")
    await bob.expect_nothing()


@rights(system)
async def test_strangers_receive_nothing(oyez: Harness, right: Right) -> None:
    await right.check(oyez)


REASON = "only a client that is the user {buyerId} may be in buyer:ada, and this one is not (role 'buyer', user 'bob')."

# Users.


async def test_a_user_has_the_rooms_of_its_token(oyez: Harness) -> None:
    ada = await oyez.connect("ada", role="seller")
    assert ada.connected and ada.rooms == {"buyer:ada", "sellers"}
    guest = await oyez.connect()
    assert len(guest.rooms) == 1
    back = await oyez.connect("sue", role="seller", namespace="/back")
    await oyez.publish(OrderCreated(order_id="o1", buyer_id="ada"))
    for client in (ada, back):
        assert (await client.expect_event(OrderCreated, order_id="o1")).data == {"orderId": "o1", "buyerId": "ada"}


async def test_a_client_that_is_refused(oyez: Harness) -> None:
    assert (await oyez.expect_refused("forbidden_role", "bob", role="buyer", namespace="/back"))["code"]
    with pytest.raises(ConnectRefused):
        await oyez.connect("bob", role="emperor")
    with pytest.raises(AssertionError, match="should be refused with token_expired, but the code is token_invalid"):
        await oyez.expect_refused("token_expired", token="nonsense")
    with pytest.raises(AssertionError, match="bob should be refused, but is connected, in the rooms: buyer:bob"):
        await oyez.expect_refused(None, "bob")


# Commands.


async def test_a_command_its_acknowledgement_and_its_events(oyez: Harness) -> None:
    ada = await oyez.connect("ada")
    seller = await oyez.connect("sue", role="seller")
    await ada.emit("order:place", {"orderId": "o1"})
    await ada.expect_ack(orderId="o1")
    await seller.expect_event("order:created", order_id="o1", buyer_id="ada")
    await ada.emit(PlaceOrder(order_id="o1"))
    assert (await ada.expect_error("forbidden"))["error"]["message"] == "There is such an order."
    assert await ada.call("order:place", {"orderId": "o2"}) == {"ok": True, "orderId": "o2"}

    def count(connection: Connection) -> int:
        return len(connection.execute(select(orders)).all())

    assert await oyez.database.read(count) == 2


async def test_without_an_acknowledgement_the_error_is_an_event(oyez: Harness) -> None:
    ada = await oyez.connect("ada")
    await ada.emit("seller:close", {}, ack=False)
    assert (await ada.expect_error("forbidden_role"))["details"]["event"] == "seller:close"
    await ada.emit("nonsense", {}, ack=False)
    await ada.expect_error("unknown_event")
    await ada.expect_nothing()


async def test_members_join(oyez: Harness) -> None:
    ada, bob = await oyez.connect("ada"), await oyez.connect("bob")
    await oyez.add_member(order("o1"), "user:ada")
    assert (await ada.join("order:o1"))["ok"]
    assert (await bob.join("order:o1"))["error"]["code"] == "forbidden"
    await oyez.publish("order:moved", to="order:o1")
    await ada.expect_event("order:moved")
    await bob.expect_nothing()


async def test_what_has_come_and_who_is_a_member(oyez: Harness) -> None:
    ada = await oyez.connect("ada")
    await oyez.add_member(order("o1"), "user:ada")
    assert await oyez.list_members(order("o1")) == ["user:ada"]
    assert await oyez.take_published() == []
    await oyez.publish("order:created", order_id="o1", buyer_id="ada")
    await oyez.publish("price", ["drill", 990], to="*")
    created = {"orderId": "o1", "buyerId": "ada"}
    assert await oyez.take_published() == [
        Published("order:created", ("sellers", "buyer:ada"), created),
        Published("order:created", (), created, namespace="/back"),
        Published("price", (), ["drill", 990]),
    ]
    assert await oyez.take_published() == []
    assert [event.name for event in ada.take_pending()] == ["order:created", "price"]
    await ada.expect_nothing()


async def test_what_the_system_does_by_itself_is_waited_for(oyez: Harness, spawn: Spawn) -> None:
    ada = await oyez.connect("ada")

    async def publish() -> None:
        await asyncio.to_thread(lambda: None)
        await oyez.publish("order:created", buyer_id="ada")

    spawn(publish())
    await ada.wait_for_event("order:created", buyer_id="ada")


# Back ends.


async def test_back_ends_publish_through_the_contract(oyez: Harness) -> None:
    ada = await oyez.connect("ada")
    response = await oyez.request("POST", "/shop/events", {"event": "price", "data": ["drill", 990], "to": "*"})
    assert response.status_code == 200
    assert (await ada.expect_event(Price)).args == ["drill", 990]
    assert (await oyez.request("POST", "/shop/events", {}, key="")).status_code == 401
    with pytest.raises(InvalidDataError, match="cents"):
        await oyez.publish("price", ["drill", "cheap"], to="*")
    with pytest.raises(RefusedError, match="There is no event 'prize' in shop"):
        await oyez.publish("prize")
    with pytest.raises(RefusedError, match="contradicts the payload"):
        await oyez.publish("order:created", buyer_id="ada", to=buyer("bob"))
    await oyez.publish("price", cents=5, to=NamedRoom("/", "*"), excluding=["buyer:ada"])
    await ada.expect_nothing()


# Time.


async def test_a_job_is_done_when_it_is_due(oyez: Harness) -> None:
    ada = await oyez.connect("ada")
    await ada.call("order:place", {"orderId": "o1"})
    await ada.expect_event(OrderCreated)
    await oyez.advance(599)
    await ada.expect_nothing()
    await oyez.advance(1)
    await ada.expect_event(OrderExpired, orderId="o1")


async def test_a_limit_ends_with_time(oyez: Harness) -> None:
    ada = await oyez.connect("ada")
    for number in range(3):
        await ada.call("order:place", {"orderId": f"o{number}"})
    await ada.emit("order:place", {"orderId": "late"})
    await ada.expect_error("rate_limited")
    await oyez.advance(60)
    await ada.emit("order:place", {"orderId": "late"})
    await ada.expect_ack()


async def test_a_handler_that_waits(oyez: Harness) -> None:
    ada = await oyez.connect("ada")
    await ada.emit("remind", {})
    with pytest.raises(AssertionError, match="A handler waits for the clock"):
        await ada.expect_event("price")
    await oyez.advance(60)
    await ada.expect_event("price")
    await ada.expect_ack()


async def test_a_token_ends(oyez: Harness) -> None:
    began = oyez.now
    ada = await oyez.connect("ada", lifetime=60)
    await oyez.advance(30)
    assert ada.connected
    await oyez.advance(60)
    await ada.expect_disconnect("transport close")
    assert oyez.now == pytest.approx(began + 90, abs=0.1)
    with pytest.raises(ConnectRefused):
        await ada.reconnect()


# Faults.


async def test_a_client_that_comes_back_has_missed_nothing(oyez: Harness) -> None:
    ada = await oyez.connect("ada")
    await oyez.publish("order:created", order_id="o1", buyer_id="ada")
    await ada.drop()
    await oyez.publish("order:created", order_id="o2", buyer_id="ada")
    await oyez.publish("order:moved", to="order:o2")
    assert not ada.connected
    assert await ada.reconnect()
    await ada.expect_event("order:created", order_id="o1")
    await ada.expect_event("order:created", order_id="o2")
    await ada.expect_nothing()
    await ada.disconnect()
    with pytest.raises(Disconnected):
        await ada.emit("count", {})


async def test_what_a_killed_process_keeps(oyez: Harness) -> None:
    ada = await oyez.connect("ada")
    assert [(await ada.call("count", {}))["number"] for _ in range(2)] == [1, 2]
    await ada.call("order:place", {"orderId": "o1"})
    await ada.expect_event("order:created")
    await ada.emit("remind", {})
    await oyez.kill()
    await oyez.publish("order:created", order_id="o2", buyer_id="ada")
    assert await ada.reconnect()
    await ada.expect_event("order:created", order_id="o2")
    assert (await ada.call("count", {}))["number"] == 1
    await oyez.advance(600)
    await ada.expect_event("order:expired", order_id="o1")
    await ada.expect_nothing()


async def test_a_restart_disconnects_and_keeps(oyez: Harness) -> None:
    ada = await oyez.connect("ada")
    await oyez.restart()
    await ada.expect_disconnect()
    assert await ada.reconnect()
    await oyez.publish("order:created", buyer_id="ada")
    await ada.expect_event("order:created")


async def test_the_log_is_away(oyez: Harness) -> None:
    ada = await oyez.connect("ada")
    async with oyez.log_away():
        await ada.expect_event("oyez:status", available=False)
        with pytest.raises(LogUnavailableError):
            await oyez.publish("order:created", buyer_id="ada")
        # What is committed is delivered later.
        await ada.emit("order:place", {"orderId": "o1"})
        await ada.expect_ack()
        await ada.expect_nothing()
    await ada.expect_event("oyez:status", available=True)
    await ada.expect_event("order:created", order_id="o1")


# Databases.


async def test_each_server_has_a_database_of_its_own_on_postgresql(postgresql: PostgreSQL) -> None:
    url = postgresql.address("postgres")
    for _ in range(2):
        async with start(system, at=WALL_TIME, database_url=url) as oyez:
            assert oyez.now == WALL_TIME
            ada = await oyez.connect("ada")
            await ada.call("order:place", {"orderId": "o1"})
            await ada.expect_event("order:created")
            await oyez.kill()
            assert await ada.reconnect()
            await oyez.advance(600)
            await ada.expect_event("order:expired", order_id="o1")
    assert [name for name in postgresql.list_databases() if name.startswith("oyez_test_")] == []


def test_a_database_of_another_kind_is_refused() -> None:
    with pytest.raises(SettingsError, match="the address of a PostgreSQL server"):
        start(system, database_url="sqlite:///shop.sqlite")


# Messages.


async def test_the_message_says_why_an_event_has_not_arrived(oyez: Harness) -> None:
    ada, bob = await oyez.connect("ada"), await oyez.connect("bob")
    back = await oyez.connect("sue", role="seller", namespace="/back")
    with pytest.raises(AssertionError, match="No order:expired was published"):
        await ada.expect_event("order:expired")
    with pytest.raises(AssertionError, match="The contract has no event 'order:gone'"):
        await ada.expect_event("order:gone")
    await oyez.publish("order:expired", order_id="o1", buyer_id="ada")
    with pytest.raises(AssertionError) as failed:
        await bob.expect_event("order:expired")
    assert str(failed.value).splitlines() == [
        "bob (in /) should receive order:expired, and did not.",
        "order:expired was published to buyer:ada in /. The client is in buyer:bob; " + REASON,
        "Received, and not expected yet:",
        "  ada (in /):",
        '    order:expired {"orderId":"o1","buyerId":"ada"}',
        "  bob (in /): nothing",
        "  sue (in /back): nothing",
    ]
    with pytest.raises(AssertionError, match="the client is in the namespace /back"):
        await back.expect_event("order:expired")
    with pytest.raises(AssertionError, match="It received order:expired with other data"):
        await ada.expect_event("order:expired", order_id="o2")
    await oyez.publish("order:moved", to="order:o1")
    with pytest.raises(AssertionError, match="add the user as a member, and join"):
        await ada.expect_event("order:moved")
    with pytest.raises(AssertionError, match=r"ada \(in /\) should receive nothing, but received:\n  order:expired"):
        await ada.expect_nothing()
    await bob.drop()
    with pytest.raises(AssertionError, match="It is not connected"):
        await bob.expect_event("order:expired")


async def test_the_message_says_what_a_command_was_answered(oyez: Harness) -> None:
    ada = await oyez.connect("ada")
    await ada.emit("seller:close", {})
    with pytest.raises(AssertionError, match=r"should succeed with seller:close, but was refused \(forbidden_role\)"):
        await ada.expect_ack()
    await ada.emit("count", {})
    with pytest.raises(AssertionError, match="should be refused count, but succeeded"):
        await ada.expect_error()
    with pytest.raises(AssertionError, match="has sent no command"):
        await ada.expect_ack()
    with pytest.raises(AssertionError, match="should be disconnected, but is connected"):
        await ada.expect_disconnect()
