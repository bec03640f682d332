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
from tests.support.ledger import Emitted
from tests.systems.rez.shop import Shop

WHOLE = contract.events["cart_sync"].example
SOON = Time("2023-11-14T22:23:20Z")


def cart(*products: str) -> Cart:
    items = [{**WHOLE["items"][0], "productId": product} for product in products]
    given = {name: value for name, value in WHOLE.items() if name not in ("userId", "timestamp")}
    return msgspec.convert({**given, "items": items}, Cart, dec_hook=read_scalar)


async def save(shop: Shop, user: str, *products: str) -> Any:
    return await shop.do(carts.save_cart, user, cart(*products))


async def test_a_cart_is_stored_whole_and_shown_on_all_devices(shop: Shop) -> None:
    with pytest.raises(RefusedError, match="No cart of 'ada'"):
        await shop.database.read(carts.get_cart, "ada")
    await save(shop, "ada", "p1")
    synced = await save(shop, "ada", "p2", "p3")
    assert [event.rooms for event in shop.emitted()] == [("user:ada",), ("user:ada",)]
    stored = await shop.database.read(carts.get_cart, "ada")
    assert stored == synced
    assert [item.product_id for item in stored.items] == ["p2", "p3"]
    assert stored.timestamp == "2023-11-14T22:13:20.000Z"


async def test_prices_and_stock_reach_the_users_with_the_product_in_their_cart(shop: Shop) -> None:
    await save(shop, "ada", "p1", "p1", "p2")
    await save(shop, "bob", "p2")
    shop.emitted()
    price = PriceChange(old_price=Money(60), new_price=Money(48))
    assert (await shop.do(carts.change_price, "p2", price)).users == 2
    assert (await shop.do(carts.change_stock, "p1", Stock(stock=0, is_available=False))).users == 1
    assert (await shop.do(carts.change_stock, "p9", Stock(stock=1, is_available=True))).users == 0
    first, second = shop.emitted()
    assert (first.name, first.rooms) == ("price_update", ("user:ada", "user:bob"))
    assert (first.data["productId"], first.data["newPrice"]) == ("p2", 48)
    assert (second.name, second.rooms, second.data["isAvailable"]) == ("stock_update", ("user:ada",), False)
    await save(shop, "bob")
    assert (await shop.do(carts.change_price, "p2", price)).users == 1


async def test_a_product_in_very_many_carts(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carts, "USERS_PER_EVENT", 2)
    for user in "abcde":
        await save(shop, user, "p1")
    shop.emitted()
    await shop.do(carts.change_stock, "p1", Stock(stock=1, is_available=True))
    assert [event.rooms for event in shop.emitted()] == [("user:a", "user:b"), ("user:c", "user:d"), ("user:e",)]


# Reservations.


async def test_what_is_kept_comes_back_when_its_time_is_over(shop: Shop) -> None:
    await shop.do(carts.reserve, "ada", "p1", Reservation(quantity=2, expires_at=SOON))
    (kept,) = shop.emitted()
    assert (kept.name, kept.rooms) == ("cart_item_reserved", ("user:ada",))
    assert (kept.data["quantity"], kept.data["expiresAt"]) == (2, SOON)
    shop.clock.now += 599
    await shop.jobs.done()
    assert shop.emitted() == []
    shop.clock.now += 1
    await shop.jobs.done()
    await shop.outbox.drained()
    released = {"timestamp": "2023-11-14T22:23:20.000Z", "productId": "p1", "reason": "expired"}
    assert shop.emitted() == [Emitted("cart_item_released", ("user:ada",), released)]


async def test_a_file_limit_that_recovers_is_logged_once(shop: Shop) -> None:
    await shop.do(carts.reserve, "ada", "p1", Reservation(quantity=2, expires_at=SOON))
    for _ in range(2):
        await shop.do(carts.release, "ada", "p1", Release(reason="purchased"))
    shop.clock.now += 600
    await shop.jobs.done()
    await shop.outbox.drained()
    assert [event.data.get("reason") for event in shop.emitted()] == [None, "purchased"]


async def test_keeping_it_again_counts_from_then_on(shop: Shop) -> None:
    await shop.do(carts.reserve, "ada", "p1", Reservation(quantity=1, expires_at=SOON))
    later = Time("2023-11-14T22:33:20Z")
    await shop.do(carts.reserve, "ada", "p1", Reservation(quantity=1, expires_at=later))
    shop.emitted()
    shop.clock.now += 600
    await shop.jobs.done()
    assert shop.emitted() == []
    shop.clock.now += 600
    await shop.jobs.done()
    await shop.outbox.drained()
    assert shop.emitted_names() == ["cart_item_released"]


async def test_nothing_is_kept_until_yesterday(shop: Shop) -> None:
    with pytest.raises(InvalidDataError, match="expiresAt"):
        await shop.do(carts.reserve, "ada", "p1", Reservation(quantity=1, expires_at=Time("2020-01-01T00:00:00Z")))
