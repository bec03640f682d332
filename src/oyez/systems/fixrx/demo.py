"""A day in `fixrx`: a tap leaks, a plumber comes, the card is refused once; and a visit is called off."""

from typing import Any

from oyez.errors import FORBIDDEN
from oyez.testing.scenario import Demo, Scenario


async def play(day: Scenario) -> None:
    await day.at("08:45")
    maya, _ = await day.connect("Maya", "user"), await day.connect("Stan", "user")
    plumber, rival = await day.connect("Swift Plumbing", "vendor"), await day.connect("Gutter Guild", "vendor")
    service, booking, payment = day.id("service"), day.id("booking"), day.id("payment")

    def about(event: str, kind: str, id: str, by: str = "user", **changes: Any) -> dict[str, Any]:
        actor = {"id": maya.id if by == "user" else plumber.id, "role": by}
        whose = {f"{kind}__id": id, f"{kind}__userId": maya.id, f"{kind}__vendorId": plumber.id}
        data: dict[str, Any] = day.example(event, **{"actor": actor, **whose, **changes})
        return data

    await day.at("09:10")
    await day.call("Maya sees that the server is there", maya, "ping")
    await day.call("She enters her room again", maya, "join", {"type": "user", "id": maya.id})
    await day.expect_refusal(
        "The guild tries the plumber's room", rival, "join", {"type": "vendor", "id": plumber.id}, code=FORBIDDEN.code
    )
    await day.publish(
        "Maya's tap leaks: she asks for somebody",
        "service:created",
        about("service:created", "service", service, service__vendorId=None),
        received_by=[maya],
    )
    await day.publish(
        "Swift Plumbing takes it",
        "service:status_changed",
        about("service:status_changed", "service", service, "vendor"),
        received_by=[maya, plumber],
    )
    await day.publish(
        "Maya adds what else drips",
        "service:updated",
        about("service:updated", "service", service),
        received_by=[maya, plumber],
    )

    await day.at("11:30")
    await day.publish(
        "They settle on two o'clock",
        "booking:created",
        about("booking:created", "booking", booking, booking__serviceId=service),
        received_by=[maya, plumber],
    )
    await day.publish(
        "The plumber confirms",
        "booking:status_changed",
        about("booking:status_changed", "booking", booking, "vendor", booking__serviceId=service),
        received_by=[maya, plumber],
    )
    sent = await day.call(
        "The plumber has the cartridge",
        plumber,
        "chat:send",
        {"recipientId": maya.id, "message": "I have the cartridge with me. See you at two."},
        causes={"chat:message": [maya]},
    )
    await day.call(
        "Maya reads it", maya, "chat:read", {"messageId": sent["messageId"]}, causes={"chat:read": [plumber]}
    )

    await day.at("15:10")
    await day.publish(
        "Maya's card has expired",
        "payment:failed",
        about("payment:failed", "payment", payment, payment__bookingId=booking),
        received_by=[maya, plumber],
    )
    await day.publish(
        "Another card is good",
        "payment:completed",
        about("payment:completed", "payment", day.id("payment 2"), payment__bookingId=booking),
        received_by=[maya, plumber],
    )

    await day.at("18:00")
    await day.publish(
        "The gutters are dry again: that visit is called off",
        "booking:cancelled",
        about("booking:cancelled", "booking", day.id("booking 2"), booking__vendorId=rival.id),
        received_by=[maya, rival],
    )


DEMO = Demo(play=play)
