"""A day in `quotes`: somebody needs a roof, two roofers hear of it, and one of them gets the work."""

from typing import Any

from oyez.testing.scenario import Demo, Person, Scenario


async def play(day: Scenario) -> None:
    await day.at("08:00")
    supplier, rival = day.id("supplier bright"), day.id("supplier slate")
    for name, record in (("Bright Roofs", supplier), ("Slate and Sons", rival)):
        await day.request(f"{name} is a supplier", "PUT", f"/suppliers/{day.id(name)}", {"supplierId": record})
    roofer, slater = await day.connect("Bright Roofs", "supplier"), await day.connect("Slate and Sons", "supplier")
    nora, _ = await day.connect("Nora", "user"), await day.connect("Olaf", "user")

    suppliers = [f"quote-request:supplier:{id}" for id in (supplier, rival)]

    async def publish(text: str, event: str, *receivers: Person, to: list[str] | None = None, **changes: Any) -> None:
        await day.publish(text, event, day.example(event, **changes), to=to, received_by=receivers)

    await day.at("09:30")
    request = day.id("request")
    asked: dict[str, Any] = {"to": suppliers, "requestId": request}
    text = "Nora's roof leaks: she asks for quotes"
    await publish(text, "quote:request:created", roofer, slater, userId=nora.id, **asked)

    await day.at("11:20")
    message = day.id("message")
    offer: dict[str, Any] = {"offerId": day.id("offer"), "userId": nora.id}
    await publish("Bright Roofs offers a price", "quote:offer:received", nora, quoteRequestId=request, **offer)
    await publish(
        "Bright Roofs writes to Nora",
        "chat:message",
        nora,
        messageId=message,
        chatId=day.id("chat"),
        senderId=roofer.id,
        recipientId=nora.id,
        message__id=message,
        message__senderId=roofer.id,
        message__sender__id=roofer.id,
    )
    seen: dict[str, Any] = {"to": [f"chat:supplier:{roofer.id}"], "messageId": message, "recipientId": nora.id}
    await publish("Bright Roofs sees that it has come", "chat:delivered", roofer, **seen)

    await day.at("17:45")
    await publish("Nora takes the offer", "quote:offer:updated", nora, status="accepted", **offer)
    await publish("Her request is closed", "quote:request:updated", roofer, slater, **asked, status="closed")


DEMO = Demo(play=play)
