"""A day in `bookings`: a kitchen is cleaned after one partner could not come, and windows stay as they are."""

from typing import Any

from oyez.errors import FORBIDDEN
from oyez.testing.scenario import Demo, Scenario

STATISTICS = "dashboard:stats_update"


async def play(day: Scenario) -> None:
    await day.at("07:30")
    office = await day.connect("Office", "admin", "/admin")
    night_desk = await day.connect("Night desk", "admin", "/admin")
    await day.call("The office watches all bookings", office, "monitor:bookings")

    await day.at("08:20")
    await day.request(
        "Tap and Tile becomes a partner",
        "PUT",
        f"/partners/{day.id('Tap and Tile')}",
        _partner("Tap and Tile", ["Cleaning", "Tiling"]),
        {"partner:registered": [office], STATISTICS: [office]},
    )
    await day.request(
        "So does Brightwater",
        "PUT",
        f"/partners/{day.id('Brightwater')}",
        _partner("Brightwater", ["Cleaning"]),
        {"partner:registered": [office]},
    )
    tiler = await day.connect("Tap and Tile", "partner", "/partner")
    cleaner = await day.connect("Brightwater", "partner", "/partner")
    submission = await day.request(
        "Brightwater hands its papers in",
        "POST",
        "/kyc-submissions",
        {"partnerId": cleaner.id, "documents": ["IDENTITY", "BANK_ACCOUNT"]},
        {"kyc:submitted": [office]},
    )
    await day.request(
        "They are in order",
        "PUT",
        f"/kyc-submissions/{submission['submissionId']}/review",
        {"status": "APPROVED"},
        {"notification:new": [cleaner]},
    )

    await day.at("09:00")
    for name in ("Cara", "Otis"):
        body = {"name": name, "phone": "+44 20 7946 0457"}
        await day.request(f"{name} becomes a customer", "PUT", f"/customers/{day.id(name)}", body)
    cara, otis = await day.connect("Cara", "customer", "/customer"), await day.connect("Otis", "customer", "/customer")
    booked = await day.request(
        "Cara books a deep clean of her kitchen",
        "POST",
        "/bookings",
        _booking(day, cara.id, "Kitchen deep clean", 129.5),
        {"booking:created": [office]},
    )
    kitchen = booked["bookingId"]
    await day.call("Cara follows it", cara, "booking:track", kitchen)
    await day.expect_refusal("Otis would like to, too", otis, "booking:track", kitchen, code=FORBIDDEN.code)

    await day.at("09:30")
    moved = {"booking:status_updated": [cara], "booking:updated": [office]}
    await day.request(
        "Tap and Tile is asked to come",
        "PUT",
        f"/bookings/{kitchen}/partner",
        {"partnerId": tiler.id},
        {"booking:new_request": [tiler], **moved},
    )
    await day.call(
        "Tap and Tile cannot",
        tiler,
        "booking:reject",
        {"bookingId": kitchen, "reason": "Our van is at the garage."},
        causes=moved,
    )
    await day.request(
        "Brightwater is asked",
        "PUT",
        f"/bookings/{kitchen}/partner",
        {"partnerId": cleaner.id},
        {"booking:new_request": [cleaner], **moved},
    )
    await day.call(
        "Brightwater will come",
        cleaner,
        "booking:accept",
        kitchen,
        causes={"partner:assigned": [cara], **moved},
    )

    await day.at("13:10")
    await day.call(
        "Brightwater is on its way",
        cleaner,
        "location:update",
        {"latitude": 51.5136, "longitude": -0.1365},
        causes={"partner:location_update": [cara]},
    )
    await day.call("Brightwater begins to write", cleaner, "typing:start", cara.id, causes={"typing:indicator": [cara]})
    sent = await day.call(
        "Is there a lift?",
        cleaner,
        "message:send",
        {"recipientId": cara.id, "message": "Ten minutes. Is there a lift?", "bookingId": kitchen},
        causes={"typing:indicator": [cara], "message:received": [cara], "message:sent": [cleaner]},
    )
    await day.call("Brightwater has written", cleaner, "typing:stop", cara.id, causes={"typing:indicator": [cara]})
    await day.call("Cara has read it", cara, "message:mark_read", sent["id"], causes={"message:read": [cara]})
    await day.call(
        "There is one",
        cara,
        "message:send",
        {"recipientId": cleaner.id, "message": "Yes, behind the door.", "bookingId": kitchen},
        causes={"message:received": [cleaner], "message:sent": [cara]},
    )
    for status, text, more in (
        ("IN_PROGRESS", "Brightwater begins", {}),
        ("COMPLETED", "The kitchen shines", {"earnings:updated": [cleaner]}),
    ):
        update = {"bookingId": kitchen, "status": status}
        await day.call(text, cleaner, "booking:status_update", update, causes={**moved, **more})
    await day.call("Cara goes on with her day", cara, "booking:untrack", kitchen)

    await day.at("16:40")
    windows = await day.request(
        "Otis books windows, from Brightwater",
        "POST",
        "/bookings",
        _booking(day, otis.id, "Window cleaning", 60) | {"partnerId": cleaner.id},
        {"booking:created": [office], "booking:new_request": [cleaner]},
    )
    await day.call(
        "The scaffolding is still up: Otis calls it off",
        otis,
        "booking:cancel",
        {"bookingId": windows["bookingId"], "reason": "The scaffolding is still up."},
        causes={"booking:cancelled": [cleaner], "booking:updated": [office]},
    )
    await day.request(
        "Cara is asked how it was",
        "POST",
        "/notifications",
        {
            "recipientId": cara.id,
            "recipientRole": "customer",
            "type": "BOOKING",
            "title": "How was it?",
            "message": "Brightwater would like to know.",
            "bookingId": kitchen,
        },
        {"notification:new": [cara]},
    )

    await day.at("22:00")
    await day.call("The night desk looks at the day", night_desk, "request:stats", causes={STATISTICS: [night_desk]})


def _partner(name: str, services: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "email": f"jobs@{name.lower().replace(' ', '')}.example",
        "phone": "+44 20 7946 0182",
        "services": services,
        "serviceArea": "South London",
    }


def _booking(day: Scenario, customer: str, service: str, amount: float) -> dict[str, Any]:
    return {
        "customerId": customer,
        "service": service,
        "scheduledAt": day.moment(4 * 3600),
        "address": "Flat 12, Cedar Court, 40 Poland Street, London W1F 7NB",
        "amount": amount,
    }


DEMO = Demo(play=play, conflated=frozenset({STATISTICS}))
