"""A day in `quotes`: somebody needs a roof, two roofers hear of it, and one of them gets the work."""

from oyez.testing.scenario import Demo, Scenario


async def play(day: Scenario) -> None:
    await day.at("08:00")
    supplier, rival = day.id("supplier bright"), day.id("supplier slate")
    for name, record in (("Bright Roofs", supplier), ("Slate and Sons", rival)):
        await day.request(f"{name} is a supplier", "PUT", f"/suppliers/{day.id(name)}", {"supplierId": record})
    roofer, slater = await day.connect("Bright Roofs", "supplier"), await day.connect("Slate and Sons", "supplier")
    nora, _ = await day.connect("Nora", "user"), await day.connect("Olaf", "user")

    await day.at("09:30")
    request = day.id("request")
    created = day.example("quote:request:created", requestId=request, userId=nora.id)
    await day.publish(
        "Nora's roof leaks: she asks for quotes",
        "quote:request:created",
        created,
        to=[f"quote-request:supplier:{supplier}", f"quote-request:supplier:{rival}"],
        received_by=[roofer, slater],
    )

    await day.at("11:20")
    offer = day.id("offer")
    await day.publish(
        "Bright Roofs offers a price",
        "quote:offer:received",
        day.example("quote:offer:received", offerId=offer, quoteRequestId=request, userId=nora.id),
        received_by=[nora],
    )
    message = day.id("message")
    written = day.example(
        "chat:message",
        messageId=message,
        chatId=day.id("chat"),
        senderId=roofer.id,
        recipientId=nora.id,
        message__id=message,
        message__senderId=roofer.id,
        message__sender__id=roofer.id,
    )
    await day.publish("Bright Roofs writes to Nora", "chat:message", written, received_by=[nora])
    await day.publish(
        "Bright Roofs sees that it has come",
        "chat:delivered",
        day.example("chat:delivered", messageId=message, recipientId=nora.id),
        to=f"chat:supplier:{roofer.id}",
        received_by=[roofer],
    )

    await day.at("17:45")
    await day.publish(
        "Nora takes the offer",
        "quote:offer:updated",
        day.example("quote:offer:updated", offerId=offer, userId=nora.id, status="accepted"),
        received_by=[nora],
    )
    await day.publish(
        "Her request is closed",
        "quote:request:updated",
        day.example("quote:request:updated", requestId=request),
        to=[f"quote-request:supplier:{supplier}", f"quote-request:supplier:{rival}"],
        received_by=[roofer, slater],
    )


DEMO = Demo(play=play)
