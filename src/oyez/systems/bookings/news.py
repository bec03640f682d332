"""Events that are sent at most once a second: the places of partners, and statistics."""

import msgspec

from oyez.concurrency.conflate import Conflater
from oyez.contract.codec import encode_json
from oyez.contract.types import read_scalar
from oyez.service.system import Services
from oyez.systems.bookings.payloads import Location, PartnerLocationUpdate
from oyez.systems.bookings.tables import count_statistics, find_day, is_on_the_way, list_on_the_way, to_time
from oyez.systems.bookings.transactions import tell_statistics

INTERVAL = 1.0
"""Seconds between two places of one booking's partner, and between two statistics: as fast as a person looks."""
LAST_PLACE_SECONDS = 300.0
"""How long the last place is kept for clients that begin to track: an older one does not show where a partner is."""
SPARE = 0.01
"""Seconds by which each process waits longer: its own last word must not stand in its way."""


class News:
    """Sends these events at a rate that all processes share.

    That of statistics is in the database. That of places, which come much more often and are nothing to keep, is a
    record of the log: a partner may have two devices, at two processes.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._places = Conflater(self._tell_place, INTERVAL + SPARE)
        self._statistics = Conflater(self._tell_statistics, INTERVAL)
        self._closing = False

    async def move(self, partner_id: str, location: Location) -> None:
        """Send the location of a partner to the trackers of each booking that the partner is on the way to, or at."""
        now = to_time(int(self._services.clock() * 1_000))
        for booking_id in await self._services.database.read(list_on_the_way, partner_id):
            update = PartnerLocationUpdate(booking_id=booking_id, location=location, timestamp=now)
            self._places.submit(booking_id, (partner_id, update))

    def count(self) -> None:
        """Something that statistics count has changed."""
        self._statistics.submit("", None)

    async def close(self) -> None:
        self._closing = True
        await self._places.close()
        await self._statistics.close()

    async def _tell_place(self, booking_id: str, place: tuple[str, PartnerLocationUpdate]) -> bool:
        partner_id, update = place
        # It may have waited for a second, and the booking may be over.
        if not await self._services.database.read(is_on_the_way, booking_id, partner_id):
            return True
        moment = str(update.timestamp).encode()
        if not self._closing:
            told = await self._services.log.put_if_absent(f"pace:place:{booking_id}", moment, INTERVAL)
            if told is not None:
                # The place that another process has sent is as new, or this one waits.
                return told >= moment
        # Before the event, so that a client that begins to track now misses nothing.
        await self._services.log.put(_place_record(booking_id), encode_json((partner_id, update)), LAST_PLACE_SECONDS)
        await self._services.publisher.emit(update)
        return True

    async def find_place(self, booking_id: str) -> PartnerLocationUpdate | None:
        """The last place of a booking's partner, if it is recent enough."""
        kept = await self._services.log.get(_place_record(booking_id))
        if kept is None:
            return None
        partner_id, place = msgspec.json.decode(kept, type=tuple[str, PartnerLocationUpdate], dec_hook=read_scalar)
        return place if await self._services.database.read(is_on_the_way, booking_id, partner_id) else None

    async def _tell_statistics(self, _key: str, _value: None) -> bool:
        # Counted beside the transaction: its reads of all bookings would collide with transactions that change one.
        now = self._services.clock()
        counted = await self._services.database.read(count_statistics, find_day(now, self._services.settings.zone))
        # The last change before the end is sent at once: no other process knows of it.
        interval = 0.0 if self._closing else INTERVAL
        return await self._services.outbox.run(tell_statistics, counted, int(now * 1_000), interval)


def _place_record(booking_id: str) -> str:
    return f"place:{booking_id}"
