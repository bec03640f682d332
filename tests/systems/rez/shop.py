"""`rez` without a server: its transactions on a real database, and what they emit."""

from contextlib import AbstractAsyncContextManager

from oyez.systems.rez import system
from oyez.systems.rez.carts import RESERVATION_ENDS, end_reservation
from tests.support.ledger import Process as Shop


def open_shop(url: str) -> AbstractAsyncContextManager[Shop]:
    """An empty shop on the database at `url`."""
    return Shop.open(url, system, jobs={RESERVATION_ENDS: end_reservation})


__all__ = ["Shop", "open_shop"]
