"""Carts of `rez`: synchronization, prices, stock and reservations."""

from typing import Any

import msgspec
import pytest

from oyez.contract import Money, Time
from oyez.contract.types import read_scalar
from oyez.errors import InvalidDataError, RefusedError
from oyez.systems.rez import carts
from oyez.systems.rez.carts import Cart, PriceChange, Release, Reservation, Stock
from oyez.systems.rez.contract import contract
from oyez.testing import Harness, Published
from tests.systems.rez.market import take_names

WHOLE = contract.events["cart_sync"].example
SOON = Time("2023-11-14T22:23:20Z")


def cart(*products: str) -> Cart:
    items = [{**WHOLE["items"][0], "productId": product} for product in products]
    given = {name: value for name, value in WHOLE.items() if name not in ("userId", "timestamp")}
    return msgspec.convert({**given, "items": items}, Cart, dec_hook=read_scalar)


async def save(oyez: Harness, user: str, *products: str) -> Any:
    return await oyez.run(carts.save_cart, user, cart(*products))


async def test_a_cart_is_stored_whole_and_shown_on_all_devices(oyez: Harness) -> None:
    with pytest.raises(RefusedError, match="No cart of 'ada'"):
        await oyez.database.read(carts.get_cart, "ada")
    await save(oyez, "ada", "p1")
    synced = await save(oyez, "ada", "p2", "p3")
    assert [event.rooms for event in await oyez.take_published()] == [("user:ada",), ("user:ada",)]
    stored = await oyez.database.read(carts.get_cart, "ada")
    assert stored == synced
    assert [item.product_id for item in stored.items] == ["p2", "p3"]
    assert stored.timestamp == "2023-11-14T22:13:20.000Z"


async def test_prices_and_stock_reach_the_users_with_the_product_in_their_cart(oyez: Harness) -> None:
    await save(oyez, "ada", "p1", "p1", "p2")
    await save(oyez, "bob", "p2")
    await oyez.take_published()
    price = PriceChange(old_price=Money(60), new_price=Money(48))
    assert (await oyez.run(carts.change_price, "p2", price)).users == 2
    assert (await oyez.run(carts.change_stock, "p1", Stock(stock=0, is_available=False))).users == 1
    assert (await oyez.run(carts.change_stock, "p9", Stock(stock=1, is_available=True))).users == 0
    first, second = await oyez.take_published()
    assert (first.name, first.rooms) == ("price_update", ("user:ada", "user:bob"))
    assert (first.data["productId"], first.data["newPrice"]) == ("p2", 48)
    assert (second.name, second.rooms, second.data["isAvailable"]) == ("stock_update", ("user:ada",), False)
    await save(oyez, "bob")
    assert (await oyez.run(carts.change_price, "p2", price)).users == 1


async def test_a_product_in_very_many_carts(oyez: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carts, "USERS_PER_EVENT", 2)
    for user in "abcde":
        await save(oyez, user, "p1")
    await oyez.take_published()
    await oyez.run(carts.change_stock, "p1", Stock(stock=1, is_available=True))
    assert [event.rooms for event in await oyez.take_published()] == [
        ("user:a", "user:b"),
        ("user:c", "user:d"),
        ("user:e",),
    ]


# Reservations.


async def test_what_is_kept_comes_back_when_its_time_is_over(oyez: Harness) -> None:
    await oyez.run(carts.reserve, "ada", "p1", Reservation(quantity=2, expires_at=SOON))
    (kept,) = await oyez.take_published()
    assert (kept.name, kept.rooms) == ("cart_item_reserved", ("user:ada",))
    assert (kept.data["quantity"], kept.data["expiresAt"]) == (2, SOON)
    await oyez.advance(599)
    assert await oyez.take_published() == []
    await oyez.advance(1)
    released = {"timestamp": "2023-11-14T22:23:20.000Z", "productId": "p1", "reason": "expired"}
    assert await oyez.take_published() == [Published("cart_item_released", ("user:ada",), released)]


async def test_a_file_limit_that_recovers_is_logged_once(oyez: Harness) -> None:
    await oyez.run(carts.reserve, "ada", "p1", Reservation(quantity=2, expires_at=SOON))
    for _ in range(2):
        await oyez.run(carts.release, "ada", "p1", Release(reason="purchased"))
    await oyez.advance(600)
    assert [event.data.get("reason") for event in await oyez.take_published()] == [None, "purchased"]


async def test_keeping_it_again_counts_from_then_on(oyez: Harness) -> None:
    await oyez.run(carts.reserve, "ada", "p1", Reservation(quantity=1, expires_at=SOON))
    later = Time("2023-11-14T22:33:20Z")
    await oyez.run(carts.reserve, "ada", "p1", Reservation(quantity=1, expires_at=later))
    await oyez.take_published()
    await oyez.advance(600)
    assert await oyez.take_published() == []
    await oyez.advance(600)
    assert await take_names(oyez) == ["cart_item_released"]


async def test_nothing_is_kept_until_yesterday(oyez: Harness) -> None:
    with pytest.raises(InvalidDataError, match="expiresAt"):
        await oyez.run(carts.reserve, "ada", "p1", Reservation(quantity=1, expires_at=Time("2020-01-01T00:00:00Z")))
