"""A day in `fixrx`: a tap leaks, a plumber comes, the card is refused once; and a visit is called off."""

from typing import Any

from oyez.errors import FORBIDDEN
from oyez.testing.scenario import Demo, Person, Scenario


async def play(day: Scenario) -> None:
    await day.at("08:45")
    maya, _ = await day.connect("Maya", "user"), await day.connect("Stan", "user")
    plumber, rival = await day.connect("Swift Plumbing", "vendor"), await day.connect("Gutter Guild", "vendor")
    both = (maya, plumber)
    service, booking, payment = day.id("service"), day.id("booking"), day.id("payment")

    async def publish(text: str, event: str, id: str, *to: Person, by: str = "user", **changes: Any) -> None:
        """Publish the example of an event about the record with this id. Maya and the plumber are its parties."""
        kind, _, _ = event.partition(":")
        actor = {"id": maya.id if by == "user" else plumber.id, "role": by}
        whose = {f"{kind}__id": id, f"{kind}__userId": maya.id, f"{kind}__vendorId": plumber.id}
        data = day.example(event, **{"actor": actor, **whose, **changes})
        await day.publish(text, event, data, received_by=to or both)

    await day.at("09:10")
    await day.call("Maya sees that the server is there", maya, "ping")
    await day.call("She enters her room again", maya, "join", {"type": "user", "id": maya.id})
    await day.expect_refusal(
        "The guild tries the plumber's room", rival, "join", {"type": "vendor", "id": plumber.id}, code=FORBIDDEN.code
    )
    await publish("Maya's tap leaks: she asks for somebody", "service:created", service, maya, service__vendorId=None)
    await publish("Swift Plumbing takes it", "service:status_changed", service, by="vendor")
    await publish("Maya adds what else drips", "service:updated", service)

    await day.at("11:30")
    await publish("They settle on two o'clock", "booking:created", booking, booking__serviceId=service)
    await publish("The plumber confirms", "booking:status_changed", booking, by="vendor", booking__serviceId=service)
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
    await publish("Maya's card has expired", "payment:failed", payment, payment__bookingId=booking)
    await publish("Another card is good", "payment:completed", day.id("payment 2"), payment__bookingId=booking)

    await day.at("18:00")
    await publish(
        "The gutters are dry again: that visit is called off",
        "booking:cancelled",
        day.id("booking 2"),
        maya,
        rival,
        booking__vendorId=rival.id,
    )


DEMO = Demo(play=play)
