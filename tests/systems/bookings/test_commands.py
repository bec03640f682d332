"""What the commands of `bookings` do, which clients receive the events, and refusals.

On every database there is.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oyez.service.typing import SILENCE
from tests.systems.bookings.market import LOCATION, SERVICE, STATS, Market, Person, open_two

TOLD = "booking:status_updated"
WATCHED = "booking:updated"


class Cast:
    """One booking with its clients. Ada tracks her booking; Eve, Mallory and idle are not concerned."""

    def __init__(self, scenario: Market) -> None:
        self.scenario = scenario
        self.booking = ""

    async def gather(self, *, assigned: bool = True) -> "Cast":
        self.ada, self.eve = await self.scenario.customer("ada"), await self.scenario.customer("eve")
        self.bob, self.mallory = await self.scenario.partner("bob"), await self.scenario.partner("mallory")
        self.root, self.idle = await self.scenario.admin(), await self.scenario.admin("idle", monitoring=False)
        self.booking = await self.scenario.book(self.ada, self.bob if assigned else None)
        assert await self.ada.done("booking:track", self.booking) == {"room": f"booking:{self.booking}"}
        return self

    async def move(self, *statuses: str) -> None:
        for status in statuses:
            await self.bob.done("booking:status_update", {"bookingId": self.booking, "status": status})

    async def status(self) -> str:
        status: str = (await self.scenario.read(f"/bookings/{self.booking}"))["status"]
        return status


@pytest.fixture
async def cast(scenario: Market) -> Cast:
    return await Cast(scenario).gather()


# Tracking.


async def test_a_customer_tracks_their_own_bookings_only(cast: Cast) -> None:
    assert (await cast.eve.refused("booking:track", cast.booking))[0] == "forbidden"
    assert (await cast.ada.refused("booking:track", "no-such-booking"))[0] == "forbidden"
    assert (await cast.bob.refused("booking:track", cast.booking))[0] == "unknown_event"


async def test_a_client_that_left_receives_no_more(cast: Cast) -> None:
    await cast.ada.done("booking:untrack", cast.booking)
    heard = await cast.scenario.causes(cast.bob.done("booking:accept", cast.booking))
    assert heard == {"ada": ["partner:assigned"], "root": [WATCHED]}
    await cast.ada.done("booking:track", cast.booking)
    heard = await cast.scenario.causes(cast.move("IN_PROGRESS"))
    assert heard == {"ada": [TOLD], "root": [WATCHED]}


async def test_only_monitors_receive_all_bookings(cast: Cast) -> None:
    heard = await cast.scenario.causes(cast.scenario.book(cast.eve))
    assert heard == {"root": ["booking:created"]}
    assert (await cast.ada.refused("monitor:bookings"))[0] == "unknown_event"


# Accepting and rejecting.


async def test_customer_and_monitors_receive_an_acceptance(cast: Cast) -> None:
    heard = await cast.scenario.causes(cast.bob.done("booking:accept", cast.booking))
    assert heard == {"ada": [TOLD, "partner:assigned"], "root": [WATCHED]}
    [(_, told), (_, assigned)] = cast.ada.heard
    [(_, watched)] = cast.root.heard
    assert (
        told.items()
        >= {
            "bookingId": cast.booking,
            "status": "PARTNER_ACCEPTED",
            "message": "Bob will come.",
        }.items()
    )
    assert assigned["partner"] == {
        "id": cast.bob.id,
        "name": "Bob",
        "phone": "+44 20 7946 0182",
        "photo": "https://cdn.bookings.example/bob.jpg",
        "rating": 4.8,
        "completedBookings": 0,
    }
    assert (watched["status"], watched["previousStatus"]) == ("PARTNER_ACCEPTED", "PARTNER_ASSIGNED")
    assert (watched["customer"]["id"], watched["partner"]["id"]) == (cast.ada.id, cast.bob.id)
    assert (watched["service"], watched["amount"]) == (SERVICE, 129.5)


async def test_the_answer_says_how_the_booking_stands(cast: Cast) -> None:
    assert await cast.bob.done("booking:accept", cast.booking) == {
        "bookingId": cast.booking,
        "status": "PARTNER_ACCEPTED",
    }


async def test_a_rejection_contains_its_reason(cast: Cast) -> None:
    rejecting = cast.bob.done("booking:reject", {"bookingId": cast.booking, "reason": "My van is broken."})
    assert await cast.scenario.causes(rejecting) == {"ada": [TOLD], "root": [WATCHED]}
    assert cast.root.heard[0][1]["reason"] == "My van is broken."
    assert "reason" not in cast.ada.heard[0][1]
    assert await cast.status() == "PARTNER_REJECTED"


async def test_a_rejected_booking_is_assigned_to_another_partner(cast: Cast) -> None:
    await cast.bob.done("booking:reject", {"bookingId": cast.booking, "reason": "Full."})
    assigning = cast.scenario.put(f"/bookings/{cast.booking}/partner", {"partnerId": cast.mallory.id})
    heard = await cast.scenario.causes(assigning)
    assert heard == {"ada": [TOLD], "mallory": ["booking:new_request"], "root": [WATCHED]}
    assert (await cast.bob.refused("booking:accept", cast.booking))[0] == "forbidden"
    await cast.mallory.done("booking:accept", cast.booking)


@pytest.mark.parametrize(
    ("command", "data"),
    [
        ("booking:accept", None),
        ("booking:reject", {"reason": "No."}),
        ("booking:status_update", {"status": "PARTNER_ACCEPTED"}),
    ],
)
async def test_only_the_assigned_partner_decides(cast: Cast, command: str, data: dict[str, str] | None) -> None:
    def argument(booking: str) -> Any:
        return booking if data is None else {"bookingId": booking, **data}

    for booking in (cast.booking, "no-such-booking"):
        code, message = await cast.mallory.refused(command, argument(booking))
        assert (code, message) == ("forbidden", f"No booking {booking!r} is assigned to you.")
    assert (await cast.ada.refused(command, argument(cast.booking)))[0] == "unknown_event"
    assert await cast.status() == "PARTNER_ASSIGNED"


async def test_of_simultaneous_accepts_one_succeeds_and_the_others_are_refused(cast: Cast) -> None:
    devices = [cast.bob, *[await cast.scenario.enter("partner", cast.bob.id) for _ in range(7)]]
    await cast.scenario.listen()
    answers = await asyncio.gather(*(device.call("booking:accept", cast.booking) for device in devices))
    assert [answer["ok"] for answer in answers].count(True) == 1
    refusals = [answer["error"] for answer in answers if not answer["ok"]]
    assert {refusal["code"] for refusal in refusals} == {"illegal_transition"}
    assert {refusal["message"] for refusal in refusals} == {
        "The booking is PARTNER_ACCEPTED and cannot become PARTNER_ACCEPTED."
    }
    await cast.scenario.listen()
    assert [name for name, _ in cast.ada.heard] == [TOLD, "partner:assigned"]
    assert [name for name, _ in cast.root.heard] == [WATCHED]


async def test_accept_and_reject_at_the_same_time_have_one_winner(cast: Cast) -> None:
    other = await cast.scenario.enter("partner", cast.bob.id)
    answers = await asyncio.gather(
        cast.bob.call("booking:accept", cast.booking),
        other.call("booking:reject", {"bookingId": cast.booking, "reason": "No."}),
        cast.bob.call("booking:accept", cast.booking),
    )
    [winner] = [answer for answer in answers if answer["ok"]]
    losers = [answer for answer in answers if not answer["ok"]]
    assert {loser["error"]["code"] for loser in losers} == {"illegal_transition"}
    assert await cast.status() == winner["status"]
    assert all(loser["error"]["details"]["from"] == winner["status"] for loser in losers)


async def test_servers_that_share_a_database_and_a_log_agree_on_the_winner(
    make_database: Callable[[], str], tmp_path: Path
) -> None:
    async with open_two(make_database(), tmp_path) as (scenario, elsewhere):
        ada, bob = await scenario.customer("ada"), await scenario.partner("bob")
        devices = [await place.enter("partner", bob.id) for place in (scenario, elsewhere) * 3]
        for _ in range(5):
            booking = await scenario.book(ada, bob)
            await ada.done("booking:track", booking)
            answers = await asyncio.gather(*(device.call("booking:accept", booking) for device in devices))
            assert [answer["ok"] for answer in answers].count(True) == 1
            codes = {answer["error"]["code"] for answer in answers if not answer["ok"]}
            assert codes == {"illegal_transition"}
            # Either server may have processed and published it.
            for event in (TOLD, "partner:assigned"):
                _, [told] = await ada.client.expect_event(event)
                assert told["bookingId"] == booking
        await ada.client.expect_nothing()


# Working.


async def test_a_booking_goes_its_way_to_the_earnings(cast: Cast) -> None:
    await cast.bob.done("booking:accept", cast.booking)
    assert await cast.scenario.causes(cast.move("IN_PROGRESS")) == {"ada": [TOLD], "root": [WATCHED]}
    heard = await cast.scenario.causes(cast.move("COMPLETED"))
    assert heard == {"ada": [TOLD], "bob": ["earnings:updated"], "root": [WATCHED]}
    earnings = cast.bob.heard[0][1]
    del earnings["timestamp"]
    number = earnings.pop("bookingNumber")
    assert number.startswith("BK-")
    assert earnings == {
        "bookingId": cast.booking,
        "amount": 129.5,
        "todayEarnings": 129.5,
        "totalEarnings": 129.5,
        "completedBookings": 1,
    }


async def test_many_at_once_do_not_get_in_each_others_way(scenario: Market) -> None:
    pairs = [(await scenario.customer(f"ada{n}"), await scenario.partner(f"bob{n}")) for n in range(8)]
    way = ["PARTNER_ACCEPTED", "IN_PROGRESS", "COMPLETED"]

    async def live(customer: Person, partner: Person) -> None:
        for _ in range(2):
            booking = await scenario.book(customer, partner)
            await customer.done("booking:track", booking)
            for status in way:
                await partner.done("booking:status_update", {"bookingId": booking, "status": status})

    await asyncio.gather(*(live(customer, partner) for customer, partner in pairs))
    await scenario.listen()
    for customer, partner in pairs:
        assert [data["status"] for name, data in customer.heard if name == TOLD] == way * 2
        assert [data["totalEarnings"] for name, data in partner.heard if name == "earnings:updated"] == [129.5, 259]


async def test_earnings_add_up(cast: Cast) -> None:
    for amount in (0.1, 0.2, 100):
        booking = await cast.scenario.book(cast.ada, cast.bob, amount=amount)
        for status in ("PARTNER_ACCEPTED", "IN_PROGRESS", "COMPLETED"):
            await cast.bob.done("booking:status_update", {"bookingId": booking, "status": status})
    await cast.scenario.listen()
    totals = [data["totalEarnings"] for name, data in cast.bob.heard if name == "earnings:updated"]
    assert totals == [0.1, 0.3, 100.3]
    assert await cast.scenario.read(f"/partners/{cast.bob.id}/earnings") == {
        "partnerId": cast.bob.id,
        "todayEarnings": 100.3,
        "totalEarnings": 100.3,
        "completedBookings": 3,
    }


async def test_a_status_may_be_named_in_place_of_accepting(cast: Cast) -> None:
    heard = await cast.scenario.causes(cast.move("PARTNER_ACCEPTED"))
    assert heard == {"ada": [TOLD, "partner:assigned"], "root": [WATCHED]}


IMPOSSIBLE = [
    ("PARTNER_ASSIGNED", "IN_PROGRESS"),
    ("PARTNER_ASSIGNED", "COMPLETED"),
    ("PARTNER_ASSIGNED", "PENDING"),
    ("PARTNER_ASSIGNED", "CANCELLED"),
    ("PARTNER_ACCEPTED", "COMPLETED"),
    ("PARTNER_ACCEPTED", "PARTNER_REJECTED"),
    ("IN_PROGRESS", "PARTNER_ACCEPTED"),
    ("COMPLETED", "IN_PROGRESS"),
]


async def test_what_a_booking_cannot_become(cast: Cast) -> None:
    for status, target in IMPOSSIBLE:
        cast.booking = await cast.scenario.book(cast.ada, cast.bob)
        way = ["PARTNER_ACCEPTED", "IN_PROGRESS", "COMPLETED"]
        await cast.move(*(way[: way.index(status) + 1] if status in way else []))
        await cast.scenario.listen()
        answer = await cast.bob.call("booking:status_update", {"bookingId": cast.booking, "status": target})
        assert answer["error"]["code"] == "illegal_transition"
        assert answer["error"]["message"] == f"The booking is {status} and cannot become {target}."
        assert answer["error"]["details"] == {"from": status, "to": target}
        await cast.scenario.listen()
        assert not any(person.heard for person in cast.scenario.people)


# Cancelling.


@pytest.mark.parametrize("accepted", [False, True])
async def test_the_partner_receives_a_cancellation(cast: Cast, accepted: bool) -> None:
    if accepted:
        await cast.bob.done("booking:accept", cast.booking)
    cancelling = cast.ada.done("booking:cancel", {"bookingId": cast.booking, "reason": "I have moved."})
    heard = await cast.scenario.causes(cancelling)
    assert heard == {"ada": [TOLD], "bob": ["booking:cancelled"], "root": [WATCHED]}
    cancelled = cast.bob.heard[0][1]
    assert (cancelled["bookingId"], cancelled["reason"]) == (cast.booking, "I have moved.")
    assert cancelled["service"] == SERVICE
    assert cast.root.heard[0][1]["reason"] == "I have moved."


async def test_a_partner_who_rejected_is_not_notified(cast: Cast) -> None:
    await cast.bob.done("booking:reject", {"bookingId": cast.booking, "reason": "Full."})
    cancelling = cast.ada.done("booking:cancel", {"bookingId": cast.booking, "reason": "Never mind."})
    assert await cast.scenario.causes(cancelling) == {"ada": [TOLD], "root": [WATCHED]}


async def test_cancelling_without_a_partner(cast: Cast) -> None:
    booking = await cast.scenario.book(cast.ada)
    cancelling = cast.ada.done("booking:cancel", {"bookingId": booking, "reason": "Never mind."})
    assert await cast.scenario.causes(cancelling) == {"root": [WATCHED]}


async def test_only_its_customer_cancels_a_booking(cast: Cast) -> None:
    for booking in (cast.booking, "no-such-booking"):
        refused = await cast.eve.refused("booking:cancel", {"bookingId": booking, "reason": "Mischief."})
        assert refused == ("forbidden", f"You have no booking {booking!r}.")
    assert (await cast.bob.refused("booking:cancel", {"bookingId": cast.booking, "reason": "x"}))[0] == "unknown_event"


async def test_work_that_has_begun_is_not_cancelled(cast: Cast) -> None:
    await cast.move("PARTNER_ACCEPTED", "IN_PROGRESS")
    refused = await cast.ada.refused("booking:cancel", {"bookingId": cast.booking, "reason": "Too late."})
    assert refused == ("illegal_transition", "The booking is IN_PROGRESS and cannot become CANCELLED.")


# Places.


def place(latitude: float) -> dict[str, float]:
    return {"latitude": latitude, "longitude": -0.1365}


async def test_a_location_reaches_the_client_that_tracks_an_accepted_booking(cast: Cast) -> None:
    other = await cast.scenario.book(cast.eve, cast.bob)
    await cast.eve.done("booking:track", other)
    await cast.move("PARTNER_ACCEPTED")
    await cast.scenario.listen()
    await cast.bob.done("location:update", place(51.5))
    update = await cast.scenario.await_event(cast.ada, LOCATION)
    assert (update["bookingId"], update["location"]) == (cast.booking, place(51.5))
    await cast.scenario.listen()
    assert not any(person.heard for person in cast.scenario.people)


async def test_places_come_at_most_once_a_second_and_the_newest_wins(cast: Cast) -> None:
    await cast.move("PARTNER_ACCEPTED")
    await cast.scenario.listen()
    oyez, began = cast.scenario.server, cast.scenario.server.now
    await cast.bob.done("location:update", place(51))
    first = await cast.scenario.await_event(cast.ada, LOCATION)
    for step in range(1, 10):
        await oyez.advance(0.01)
        await cast.bob.done("location:update", place(51 + step / 100))
    second = await cast.scenario.await_event(cast.ada, LOCATION)
    assert oyez.now - began >= 1.0
    assert first["location"] == place(51)
    assert second["location"] == place(51.09)
    assert first["timestamp"] < second["timestamp"]
    await oyez.advance(5)
    await cast.scenario.listen()
    assert cast.ada.heard == []


async def test_a_location_is_sent_for_each_active_booking(cast: Cast) -> None:
    other = await cast.scenario.book(cast.eve, cast.bob)
    await cast.eve.done("booking:track", other)
    await cast.bob.done("booking:accept", other)
    await cast.move("PARTNER_ACCEPTED", "IN_PROGRESS")
    await cast.scenario.listen()
    await cast.bob.done("location:update", place(51.5))
    for person, booking in ((cast.ada, cast.booking), (cast.eve, other)):
        assert (await cast.scenario.await_event(person, LOCATION))["bookingId"] == booking


async def test_a_waiting_location_is_not_sent_after_the_booking(cast: Cast) -> None:
    await cast.move("PARTNER_ACCEPTED", "IN_PROGRESS")
    await cast.bob.done("location:update", place(51.5))
    await cast.scenario.await_event(cast.ada, LOCATION)
    await cast.bob.done("location:update", place(51.6))
    await cast.move("COMPLETED")
    other = await cast.scenario.book(cast.ada, cast.bob)
    await cast.ada.done("booking:track", other)
    await cast.bob.done("booking:accept", other)
    await cast.bob.done("location:update", place(51.7))
    await cast.scenario.await_event(cast.ada, LOCATION)
    await cast.bob.done("location:update", place(51.8))
    # What waited for the first booking was due earlier than what waits for this one.
    update = await cast.scenario.await_event(cast.ada, LOCATION)
    assert (update["bookingId"], update["location"]) == (other, place(51.8))


# Messages.


async def test_a_message_reaches_the_other_side_in_its_namespace(cast: Cast) -> None:
    message = {"recipientId": cast.bob.id, "message": "Is there a lift?", "bookingId": cast.booking}
    await cast.scenario.listen()
    sent = await cast.ada.done("message:send", message)
    await cast.scenario.listen()
    assert cast.ada.heard == [("message:sent", {**sent, **message})]
    [(name, received)] = cast.bob.heard
    assert name == "message:received"
    assert received == {
        "id": sent["id"],
        "senderId": cast.ada.id,
        "senderName": "Ada",
        "senderRole": "customer",
        "recipientId": cast.bob.id,
        "message": "Is there a lift?",
        "bookingId": cast.booking,
        "createdAt": sent["createdAt"],
    }
    others = [cast.eve, cast.mallory, cast.root, cast.idle]
    assert not any(person.heard for person in others)
    answer = cast.bob.done("message:send", {"recipientId": cast.ada.id, "message": "There is."})
    assert await cast.scenario.causes(answer) == {"ada": ["message:received"], "bob": ["message:sent"]}
    assert cast.ada.heard[0][1]["senderRole"] == "partner"


async def test_only_parties_of_one_booking_send_messages_to_each_other(cast: Cast) -> None:
    for sender, recipient in [(cast.ada, cast.mallory), (cast.eve, cast.bob), (cast.mallory, cast.ada)]:
        refused = await sender.refused("message:send", {"recipientId": recipient.id, "message": "Hello"})
        assert refused == ("forbidden", f"You share no booking with {recipient.id!r}.")
    other = await cast.scenario.book(cast.eve, cast.bob)
    message = {"recipientId": cast.bob.id, "message": "Hello", "bookingId": other}
    refused = await cast.ada.refused("message:send", message)
    assert refused == ("forbidden", f"You share no booking {other!r} with {cast.bob.id!r}.")
    assert (await cast.ada.refused("message:send", {"recipientId": cast.ada.id, "message": "x"}))[0] == "forbidden"
    assert (await cast.root.refused("message:send", message))[0] == "unknown_event"


async def test_a_partner_who_rejected_shares_the_booking_no_longer(cast: Cast) -> None:
    await cast.bob.done("booking:reject", {"bookingId": cast.booking, "reason": "Full."})
    assert (await cast.bob.refused("message:send", {"recipientId": cast.ada.id, "message": "x"}))[0] == "forbidden"
    await cast.ada.done("booking:cancel", {"bookingId": cast.booking, "reason": "Never mind."})
    assert (await cast.ada.refused("message:send", {"recipientId": cast.bob.id, "message": "x"}))[0] == "forbidden"


@pytest.mark.parametrize("letter", ["x", "ж"])
async def test_a_message_of_four_thousand_characters(cast: Cast, letter: str) -> None:
    await cast.scenario.listen()
    await cast.ada.done("message:send", {"recipientId": cast.bob.id, "message": letter * 4_000})
    await cast.scenario.listen()
    assert cast.bob.heard[0][1]["message"] == letter * 4_000


async def test_a_message_that_fits_into_no_event_is_refused_by_its_bytes(cast: Cast) -> None:
    answer = await cast.ada.call("message:send", {"recipientId": cast.bob.id, "message": "字" * 4_000})
    assert answer["error"]["code"] == "too_large"
    assert answer["error"]["details"] == {"field": "message", "bytes": 12_000}
    assert "12000 bytes" in answer["error"]["message"]
    assert (await cast.scenario.read("/messages", customerId=cast.ada.id))["items"] == []
    await cast.ada.done("message:send", {"recipientId": cast.bob.id, "message": "字" * 3_000})


async def test_a_message_is_read_once(cast: Cast) -> None:
    sent = await cast.ada.done("message:send", {"recipientId": cast.bob.id, "message": "Hello"})
    for person in (cast.ada, cast.eve, cast.mallory, cast.root):
        refused = await person.refused("message:mark_read", sent["id"])
        assert refused == ("forbidden", f"You have received no message {sent['id']!r}.")
    read = await cast.bob.done("message:mark_read", sent["id"])
    assert read["messageId"] == sent["id"]
    assert read["readAt"] >= sent["createdAt"]
    assert await cast.bob.done("message:mark_read", sent["id"]) == read
    assert (await cast.scenario.read(f"/messages/{sent['id']}"))["readAt"] == read["readAt"]
    assert (await cast.bob.refused("message:mark_read", "no-such-message"))[0] == "forbidden"


async def test_the_same_person_in_two_roles_is_two_parties(scenario: Market) -> None:
    """A user who is a partner for some services and a customer of others."""
    customer, partner = await scenario.customer("kim"), await scenario.partner("kim")
    await scenario.book(customer, partner)
    sent = await customer.done("message:send", {"recipientId": partner.id, "message": "A note to myself"})
    assert (await customer.refused("message:mark_read", sent["id"]))[0] == "forbidden"
    await partner.done("message:mark_read", sent["id"])


async def test_all_devices_of_a_user_know_what_was_sent_and_read(cast: Cast) -> None:
    """Another tab, and the second client of the recipient."""
    tab, phone = await cast.scenario.enter("customer", cast.ada.id), await cast.scenario.enter("partner", cast.bob.id)
    message = {"recipientId": cast.bob.id, "message": "Is there a lift?"}
    sent = await cast.ada.done("message:send", message)
    await cast.scenario.listen()
    assert tab.heard == cast.ada.heard == [("message:sent", {**sent, **message, "bookingId": None})]
    for _ in range(2):
        read = await cast.bob.done("message:mark_read", sent["id"])
    await cast.scenario.listen()
    assert phone.heard == cast.bob.heard == [("message:read", read)]
    assert not cast.ada.heard, "whether a message was read is the reader's business"


async def test_a_new_tracker_receives_the_last_location_at_once(cast: Cast) -> None:
    await cast.scenario.listen()
    await cast.bob.done("booking:accept", cast.booking)
    await cast.ada.done("booking:track", cast.booking)
    await cast.bob.done("location:update", place(51.4))
    first = await cast.scenario.await_event(cast.ada, LOCATION)
    tab = await cast.scenario.enter("customer", cast.ada.id)
    await tab.done("booking:track", cast.booking)
    last = (await tab.client.expect_event(LOCATION)).data
    assert last == first
    assert (last["bookingId"], last["location"]) == (cast.booking, place(51.4))
    await cast.bob.done("booking:status_update", {"bookingId": cast.booking, "status": "IN_PROGRESS"})
    await cast.bob.done("booking:status_update", {"bookingId": cast.booking, "status": "COMPLETED"})
    late = await cast.scenario.enter("customer", cast.ada.id)
    await late.done("booking:track", cast.booking)
    await late.client.expect_nothing(LOCATION)


# Typing.


async def test_typing_ends_by_itself(cast: Cast) -> None:
    """When the typist is silent, sends, or has gone; and once."""

    async def expect(typing: bool, person: Person) -> None:
        event = await cast.bob.client.expect_event("typing:indicator")
        assert event.data == {"userId": person.id, "typing": typing}

    tab = await cast.scenario.enter("customer", cast.ada.id)
    message = {"recipientId": cast.bob.id, "message": "Hello"}
    for person in (cast.ada, tab):
        await person.done("typing:start", cast.bob.id)
        await expect(True, cast.ada)
    await tab.done("message:send", message)
    await expect(False, cast.ada)
    await cast.ada.done("typing:start", cast.bob.id)
    await expect(True, cast.ada)
    posted = {**message, "senderId": cast.ada.id, "senderRole": "customer"}
    assert (await cast.scenario.post("/messages", posted)).status_code == 201
    await expect(False, cast.ada)
    await tab.done("typing:start", cast.bob.id)
    await expect(True, cast.ada)
    await tab.client.disconnect()
    await expect(False, cast.ada)
    await cast.ada.done("typing:start", cast.bob.id)
    await expect(True, cast.ada)
    await cast.scenario.server.advance(SILENCE - 1)
    await cast.bob.client.expect_nothing("typing:indicator")
    await cast.scenario.server.advance(1)
    await expect(False, cast.ada)
    # Neither the message nor the end of the connection reports again what has ended.
    await cast.ada.done("message:send", message)
    await cast.bob.client.expect_nothing("typing:indicator")


async def test_typing_is_shown_to_the_other_side(cast: Cast) -> None:
    assert await cast.scenario.causes(cast.ada.done("typing:start", cast.bob.id)) == {"bob": ["typing:indicator"]}
    assert cast.bob.heard[0][1] == {"userId": cast.ada.id, "typing": True}
    assert await cast.scenario.causes(cast.bob.done("typing:stop", cast.ada.id)) == {"ada": ["typing:indicator"]}
    assert cast.ada.heard[0][1] == {"userId": cast.bob.id, "typing": False}


async def test_admins_type_to_anybody_in_whichever_namespace_they_are(cast: Cast) -> None:
    for person, name in ((cast.ada, "ada"), (cast.bob, "bob"), (cast.idle, "idle")):
        assert await cast.scenario.causes(cast.root.done("typing:start", person.id)) == {name: ["typing:indicator"]}


async def test_typing_to_strangers_is_refused(cast: Cast) -> None:
    for command in ("typing:start", "typing:stop"):
        for person, recipient in ((cast.eve, cast.bob), (cast.mallory, cast.ada), (cast.ada, cast.root)):
            assert (await person.refused(command, recipient.id))[0] == "forbidden"


# Statistics.


async def test_only_the_caller_receives_requested_statistics(cast: Cast) -> None:
    await cast.scenario.listen()
    assert await cast.idle.done("request:stats") == {}
    statistics = (await cast.idle.client.expect_event(STATS)).data
    of_http = await cast.scenario.read("/statistics")
    assert {**statistics, "timestamp": ""} == {**of_http, "timestamp": ""}
    assert statistics["activeBookings"] >= 1
    assert (await cast.ada.refused("request:stats"))[0] == "unknown_event"
