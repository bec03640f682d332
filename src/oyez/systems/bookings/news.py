"""News: what is told no more than once a second, however often it changes: where partners are, and statistics."""

from oyez.service.pace import Pace
from oyez.service.system import Context
from oyez.systems.bookings.payloads import Location, PartnerLocationUpdate
from oyez.systems.bookings.tables import count_statistics, is_on_the_way, list_on_the_way, to_time
from oyez.systems.bookings.transactions import tell_statistics

INTERVAL = 1.0
"""Seconds between two places of one booking's partner, and between two statistics: as fast as a person looks."""


class News:
    """What one process tells.

    Places are told by the process a partner is connected to, at its own pace. Statistics change everywhere, so their
    pace is kept in the database, by all processes together.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._places = Pace(self._tell_place, INTERVAL)
        self._statistics = Pace(self._tell_statistics, INTERVAL)
        self._closing = False

    async def move(self, partner_id: str, location: Location) -> None:
        """A partner is at `location`: whoever tracks a booking they are on their way to, or at, gets to know."""
        now = to_time(int(self._context.clock() * 1_000))
        for booking_id in await self._context.database.read(list_on_the_way, partner_id):
            update = PartnerLocationUpdate(booking_id=booking_id, location=location, timestamp=now)
            self._places.offer(booking_id, (partner_id, update))

    def count(self) -> None:
        """Something that statistics count has changed."""
        self._statistics.offer("", None)

    async def close(self) -> None:
        self._closing = True
        await self._places.close()
        await self._statistics.close()

    async def _tell_place(self, booking_id: str, place: tuple[str, PartnerLocationUpdate]) -> None:
        partner_id, update = place
        # It may have waited for a second, and the booking may be over.
        if await self._context.database.read(is_on_the_way, booking_id, partner_id):
            await self._context.publisher.emit(update)

    async def _tell_statistics(self, _key: str, _value: None) -> None:
        # Counted beside the transaction: what it read of every booking would collide with whoever changes one.
        now = int(self._context.clock() * 1_000)
        counted = await self._context.database.read(count_statistics, now)
        # The last change before the end is told without waiting: nobody else knows of it.
        interval = 0.0 if self._closing else INTERVAL
        if not await self._context.outbox.run(tell_statistics, counted, now, interval):
            self._statistics.offer("", None)
