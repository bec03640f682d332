"""Events that are sent at most once a second: the locations of partners, and statistics."""

from oyez.concurrency.conflate import Conflater
from oyez.contract.codec import decode_json, encode_json
from oyez.service.system import Services
from oyez.systems.bookings.payloads import Location, PartnerLocationUpdate
from oyez.systems.bookings.tables import count_statistics, find_day, is_on_the_way, list_on_the_way, to_time
from oyez.systems.bookings.transactions import INTERVAL, send_statistics

LAST_LOCATION_SECONDS = 300.0
"""Seconds that the last location is kept for clients that start to track later; an older one is outdated."""
SPARE = 0.01
"""Seconds that each process waits longer, so that its own last record in the log has expired."""


class ConflatedEvents:
    """Sends these events at a rate that all processes share.

    The time of the last statistics is in the database. The time of the last location is a record in the log, because
    locations are much more frequent. A partner may have two devices that are connected to two processes.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._locations = Conflater(self._emit_location, INTERVAL + SPARE, services.time.sleep)
        self._statistics = Conflater(self._emit_statistics, INTERVAL, services.time.sleep)
        self._closing = False

    async def send_location(self, partner_id: str, location: Location) -> None:
        """Send the location of a partner to the trackers of each booking that the partner is on the way to, or at."""
        now = to_time(int(self._services.clock() * 1_000))
        for booking_id in await self._services.database.read(list_on_the_way, partner_id):
            update = PartnerLocationUpdate(booking_id=booking_id, location=location, timestamp=now)
            self._locations.submit(booking_id, (partner_id, update))

    def statistics_changed(self) -> None:
        """Send the statistics to the monitors, at most once a second."""
        self._statistics.submit("", None)

    async def close(self) -> None:
        self._closing = True
        await self._locations.close()
        await self._statistics.close()

    async def _emit_location(self, booking_id: str, location: tuple[str, PartnerLocationUpdate]) -> bool:
        partner_id, update = location
        # The booking may have ended while the location waited.
        if not await self._services.database.read(is_on_the_way, booking_id, partner_id):
            return True
        moment = str(update.timestamp).encode()
        if not self._closing:
            last_sent = await self._services.log.put_if_absent(f"pace:place:{booking_id}", moment, INTERVAL)
            if last_sent is not None:
                # False if this location is newer than the last one sent: the conflater tries again.
                return last_sent >= moment
        # Before the event, so that a client that starts to track now misses nothing.
        await self._services.log.put(
            _location_key(booking_id), encode_json((partner_id, update)), LAST_LOCATION_SECONDS
        )
        await self._services.publisher.emit(update)
        return True

    async def find_location(self, booking_id: str) -> PartnerLocationUpdate | None:
        """The last location of a booking's partner; None if there is no recent one."""
        kept = await self._services.log.get(_location_key(booking_id))
        if kept is None:
            return None
        partner_id, location = decode_json(kept, tuple[str, PartnerLocationUpdate])
        return location if await self._services.database.read(is_on_the_way, booking_id, partner_id) else None

    async def _emit_statistics(self, _key: str, _value: None) -> bool:
        # Counted outside the transaction: reading all bookings would conflict with transactions that change one.
        now = self._services.clock()
        counted = await self._services.database.read(count_statistics, find_day(now, self._services.settings.zone))
        # At shutdown the last change is sent at once, because no other process knows of it.
        interval = 0.0 if self._closing else INTERVAL
        return await self._services.outbox.run(send_statistics, counted, int(now * 1_000), interval)


def _location_key(booking_id: str) -> str:
    return f"place:{booking_id}"
