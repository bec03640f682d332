"""The HTTP API of `bookings`: writes, reads and refusals, and the events they cause. On each kind of database."""

import asyncio
from typing import Any

import httpx
import pytest

from oyez.testing import Harness
from tests.systems.bookings.market import API, SERVICE, Market, booking_body, partner_body

CUSTOMER = {"name": "Ada", "phone": "+44 20 7946 0457"}


def fault(response: httpx.Response) -> tuple[int, str, str]:
    """The status, the code and the field of a problem."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem = response.json()
    return response.status_code, problem["code"], problem.get("errors", [{"field": ""}])[0]["field"]


# Customers and partners.


async def test_customers_are_put_and_read(scenario: Market) -> None:
    path = "/customers/ada"
    response = await scenario.put(path, CUSTOMER)
    assert response.status_code == 201
    customer = response.json()
    assert {**customer, "createdAt": ""} == {**CUSTOMER, "customerId": "ada", "createdAt": ""}
    moved = await scenario.put(path, {**CUSTOMER, "phone": "+44 20 7946 0999"})
    assert moved.status_code == 200
    assert await scenario.read(path) == {**customer, "phone": "+44 20 7946 0999"} == moved.json()


async def test_monitors_receive_a_new_partner_once(scenario: Market) -> None:
    admin, idle = await scenario.admin(), await scenario.admin("idle", monitoring=False)
    bystander = await scenario.partner("bystander")
    path, body = "/partners/bob", partner_body("bob")
    assert await scenario.causes(scenario.put(path, body)) == {"root": ["partner:registered"]}
    [(_, told)] = admin.heard
    del told["timestamp"]
    assert told == {
        "partnerId": "bob",
        **{name: body[name] for name in ("name", "email", "phone", "services", "serviceArea")},
    }
    assert idle.heard == bystander.heard == []
    assert await scenario.causes(scenario.put(path, partner_body("bob", rating=5))) == {}
    partner = await scenario.read(path)
    assert (partner["rating"], partner["completedBookings"]) == (5, 0)


async def test_a_partner_without_photo_and_rating(scenario: Market) -> None:
    body = {name: value for name, value in partner_body("bob").items() if name not in ("photo", "rating")}
    response = await scenario.put("/partners/bob", body)
    assert (response.json()["photo"], response.json()["rating"]) == (None, None)
    ada = await scenario.customer("ada")
    bob = await scenario.enter("partner", "bob")
    await bob.done("booking:accept", await scenario.book(ada, bob))
    await scenario.listen()
    assert ada.heard[0][1]["partner"].keys() >= {"id", "name", "phone", "completedBookings"}


async def test_ids_are_those_of_any_token(scenario: Market) -> None:
    for id in ("a/b", "Łódź", "a b", "a@b.example", "x" * 120):
        assert (await scenario.put(f"/customers/{id}", CUSTOMER)).json()["customerId"] == id
        assert (await scenario.read(f"/customers/{id}"))["customerId"] == id


@pytest.mark.parametrize(("path", "body"), [("/customers", CUSTOMER), ("/partners", partner_body("bob"))])
async def test_the_same_put_at_the_same_time(scenario: Market, path: str, body: Any) -> None:
    responses = await asyncio.gather(*(scenario.put(f"{path}/twin", body) for _ in range(8)))
    assert sorted(response.status_code for response in responses) == [200] * 7 + [201]


# Bookings.


async def test_monitors_receive_a_new_booking_and_its_customer_can_track_it(scenario: Market) -> None:
    ada, eve = await scenario.customer("ada"), await scenario.customer("eve")
    bob, admin = await scenario.partner("bob"), await scenario.admin()
    assert await scenario.causes(scenario.post("/bookings", booking_body(ada.id))) == {"root": ["booking:created"]}
    [(_, created)] = admin.heard
    booking = await scenario.read(f"/bookings/{created['bookingId']}")
    del created["timestamp"]
    assert created.items() <= booking.items()
    assert booking["partner"] is booking["reason"] is None
    assert booking["status"] == "PENDING"
    assert booking["customer"] == {"id": ada.id, "name": "Ada", "phone": "+44 20 7946 0457"}
    assert (booking["service"], booking["amount"]) == (SERVICE, 129.5)
    assert booking["scheduledAt"] == "2027-03-12T09:30:00.000Z"
    assert booking["createdAt"] == booking["changedAt"]
    await ada.done("booking:track", booking["bookingId"])
    assert (await eve.refused("booking:track", booking["bookingId"]))[0] == "forbidden"
    assert bob.heard == []


async def test_a_booking_with_a_partner_asks_them(scenario: Market) -> None:
    ada, bob, mallory = await scenario.customer("ada"), await scenario.partner("bob"), await scenario.partner("mallory")
    await scenario.admin()
    heard = await scenario.causes(scenario.post("/bookings", booking_body(ada.id, bob.id)))
    assert heard == {"bob": ["booking:new_request"], "root": ["booking:created"]}
    [(_, request)] = bob.heard
    booking = await scenario.read(f"/bookings/{request['bookingId']}")
    assert {name: request[name] for name in request if name != "timestamp"} == {
        name: booking[name] for name in ("bookingId", "bookingNumber", "service", "scheduledAt", "address", "amount")
    }
    assert (booking["status"], booking["partner"]["id"]) == ("PARTNER_ASSIGNED", bob.id)
    assert mallory.heard == []


async def test_a_booking_is_given_to_a_partner_and_to_another(scenario: Market) -> None:
    ada, bob, mallory = await scenario.customer("ada"), await scenario.partner("bob"), await scenario.partner("mallory")
    await scenario.admin()
    booking = await scenario.book(ada)
    await ada.done("booking:track", booking)
    path = f"/bookings/{booking}/partner"
    heard = await scenario.causes(scenario.put(path, {"partnerId": bob.id}))
    assert heard == {"ada": ["booking:status_updated"], "bob": ["booking:new_request"], "root": ["booking:updated"]}
    assert ada.heard[0][1]["message"] == "Bob has been asked to come."
    assert await scenario.causes(scenario.put(path, {"partnerId": bob.id})) == {}
    await bob.done("booking:accept", booking)
    assert await scenario.causes(scenario.put(path, {"partnerId": bob.id})) == {}
    heard = await scenario.causes(scenario.put(path, {"partnerId": mallory.id}))
    assert heard == {
        "ada": ["booking:status_updated"],
        "bob": ["notification:new"],
        "mallory": ["booking:new_request"],
        "root": ["booking:updated"],
    }
    assert bob.heard[0][1]["bookingId"] == booking
    assert (await bob.refused("booking:status_update", {"bookingId": booking, "status": "IN_PROGRESS"}))[0] == (
        "forbidden"
    )


async def test_a_booking_that_is_over_cannot_be_assigned(scenario: Market) -> None:
    ada, bob = await scenario.customer("ada"), await scenario.partner("bob")
    booking = await scenario.book(ada)
    await ada.done("booking:cancel", {"bookingId": booking, "reason": "Never mind."})
    response = await scenario.put(f"/bookings/{booking}/partner", {"partnerId": bob.id})
    assert fault(response) == (409, "illegal_transition", "")
    assert response.json()["detail"] == "The booking is CANCELLED and cannot become PARTNER_ASSIGNED."


async def test_numbers_of_bookings_differ(scenario: Market) -> None:
    ada = await scenario.customer("ada")
    responses = await asyncio.gather(*(scenario.post("/bookings", booking_body(ada.id)) for _ in range(8)))
    assert {response.status_code for response in responses} == {201}
    assert len({response.json()["bookingNumber"] for response in responses}) == 8


AMOUNTS = [0, 0.01, 999, 1234.56, 9_999_999_999_999.99]


async def test_amounts_are_kept_to_the_cent(scenario: Market) -> None:
    ada = await scenario.customer("ada")
    for amount in AMOUNTS:
        booking = await scenario.book(ada, amount=amount)
        assert (await scenario.read(f"/bookings/{booking}"))["amount"] == amount


TIMES = [
    ("2027-03-12T09:30:00Z", "2027-03-12T09:30:00.000Z"),
    ("2027-03-12T09:30:00.1239Z", "2027-03-12T09:30:00.123Z"),
    ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
    ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
    ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
]


async def test_times_are_kept_to_the_millisecond(scenario: Market) -> None:
    ada = await scenario.customer("ada")
    for time, kept in TIMES:
        booking = await scenario.book(ada, scheduledAt=time)
        assert (await scenario.read(f"/bookings/{booking}"))["scheduledAt"] == kept


# Messages, notifications, KYC.


async def test_a_back_end_sends_messages_and_lists_them(scenario: Market) -> None:
    ada, bob = await scenario.customer("ada"), await scenario.partner("bob")
    booking = await scenario.book(ada, bob)
    body = {"senderId": bob.id, "senderRole": "partner", "recipientId": ada.id, "message": "On my way."}
    assert await scenario.causes(scenario.post("/messages", body)) == {
        "ada": ["message:received"],
        "bob": ["message:sent"],
    }
    await ada.done("message:send", {"recipientId": bob.id, "message": "Good.", "bookingId": booking})
    page = await scenario.read("/messages", customerId=ada.id, partnerId=bob.id)
    assert [(item["senderId"], item["recipientId"], item["message"]) for item in page["items"]] == [
        (ada.id, bob.id, "Good."),
        (bob.id, ada.id, "On my way."),
    ]
    assert page["items"][1].items() >= {**body, "bookingId": None, "readAt": None}.items()
    assert len((await scenario.read("/messages", bookingId=booking))["items"]) == 1
    stranger = {**body, "senderId": "mallory"}
    assert fault(await scenario.post("/messages", stranger)) == (403, "forbidden", "")


@pytest.mark.parametrize("role", ["customer", "partner"])
async def test_a_notification_reaches_its_recipient_only(scenario: Market, role: str) -> None:
    """One id in two roles: only the named role receives it."""
    await scenario.customer("kim")
    await scenario.partner("kim")
    await scenario.admin()
    kim = next(person for person in scenario.people if person.role == role)
    body = {
        "recipientId": kim.id,
        "recipientRole": role,
        "type": "PROMOTION",
        "title": "Spring",
        "message": "Windows are cleaned for half the price.",
    }
    await scenario.listen()
    response = await scenario.post("/notifications", body)
    assert response.status_code == 201
    await scenario.listen()
    [(name, told)] = kim.heard
    assert name == "notification:new"
    assert told.items() >= {"id": response.json()["id"], "title": "Spring", "type": "PROMOTION"}.items()
    assert [person for person in scenario.people if person.heard] == [kim]
    listed = await scenario.read("/notifications", recipientId=kim.id, recipientRole=role)
    assert listed["items"] == [response.json()]
    assert response.json().items() >= {**body, "bookingId": None}.items()


async def test_documents_are_handed_in_and_decided_about_once(scenario: Market) -> None:
    admin, bob = await scenario.admin(), await scenario.partner("bob")
    body = {"partnerId": bob.id, "documents": ["IDENTITY", "BANK_ACCOUNT"]}
    assert await scenario.causes(scenario.post("/kyc-submissions", body)) == {"root": ["kyc:submitted"]}
    [(_, told)] = admin.heard
    assert (told["partnerId"], told["partnerName"], told["documents"]) == (bob.id, "Bob", body["documents"])
    path = f"/kyc-submissions/{told['submissionId']}"
    submission = await scenario.read(path)
    assert (submission["status"], submission["reviewedAt"]) == ("SUBMITTED", None)
    review = {"status": "REJECTED", "note": "The picture is blurred."}
    assert await scenario.causes(scenario.put(f"{path}/review", review)) == {"bob": ["notification:new"]}
    assert (bob.heard[0][1]["type"], bob.heard[0][1]["message"]) == ("KYC", "The picture is blurred.")
    decided = await scenario.read(path)
    assert decided["reviewedAt"] >= decided["createdAt"]
    assert await scenario.causes(scenario.put(f"{path}/review", review)) == {}
    response = await scenario.put(f"{path}/review", {"status": "APPROVED"})
    assert fault(response) == (409, "illegal_transition", "")
    assert (await scenario.read("/kyc-submissions", partnerId=bob.id, status="REJECTED"))["items"] == [decided]
    assert (await scenario.read("/kyc-submissions", partnerId=bob.id, status="SUBMITTED"))["items"] == []


async def test_a_back_end_adds_another_customer_to_a_booking_for_a_while(oyez: Harness, scenario: Market) -> None:
    ada, eve, bob = await scenario.customer("ada"), await scenario.customer("eve"), await scenario.partner("bob")
    booking = await scenario.book(ada, bob)
    members = f"/bookings/rooms/booking:{booking}/members"
    assert (await oyez.request("GET", members)).json()["members"] == [f"user:{ada.id}"]
    assert (await oyez.request("PUT", f"{members}/user:{eve.id}")).status_code == 201
    await eve.done("booking:track", booking)
    heard = await scenario.causes(bob.done("booking:accept", booking))
    assert heard == {"ada": ["partner:assigned"], "eve": ["booking:status_updated", "partner:assigned"]}
    assert (await oyez.request("DELETE", f"{members}/user:{eve.id}")).status_code == 204
    heard = await scenario.causes(bob.done("booking:status_update", {"bookingId": booking, "status": "IN_PROGRESS"}))
    assert heard == {}
    assert (await eve.refused("booking:track", booking))[0] == "forbidden"


# Lists.


async def test_lists_come_in_pages_newest_first(scenario: Market) -> None:
    ada = await scenario.customer("ada")
    made = [await scenario.book(ada) for _ in range(5)]
    found: list[str] = []
    query: dict[str, Any] = {"customerId": ada.id, "limit": 2}
    sizes = []
    while True:
        page = await scenario.read("/bookings", **query)
        found += [item["bookingId"] for item in page["items"]]
        sizes.append(len(page["items"]))
        if page["next"] is None:
            break
        query["before"] = page["next"]
    assert found == made[::-1]
    assert sizes == [2, 2, 1]


async def test_bookings_are_found_by_their_parties_and_status(scenario: Market) -> None:
    ada, bob = await scenario.customer("ada"), await scenario.partner("bob")
    asked, pending = await scenario.book(ada, bob), await scenario.book(ada)
    for query, wanted in [
        ({"customerId": ada.id}, [pending, asked]),
        ({"partnerId": bob.id}, [asked]),
        ({"customerId": ada.id, "status": "PENDING"}, [pending]),
        ({"customerId": "nobody"}, []),
    ]:
        page = await scenario.read("/bookings", **query)
        assert ([item["bookingId"] for item in page["items"]], page["next"]) == (wanted, None)


async def test_people_are_listed(scenario: Market) -> None:
    ada, bob = await scenario.customer("ada"), await scenario.partner("bob")
    assert (await scenario.read("/customers", limit=1))["items"][0]["customerId"] == ada.id
    assert (await scenario.read("/partners", limit=1))["items"][0]["partnerId"] == bob.id


BAD_QUERIES = [
    ("/bookings?before=0", "before"),
    ("/bookings?before=9223372036854775808", "before"),
    ("/bookings?status=DONE", "status"),
    ("/notifications?recipientRole=admin", "recipientRole"),
]


async def test_queries_that_do_not_fit(scenario: Market) -> None:
    for path, field in BAD_QUERIES:
        assert fault(await scenario.get(path)) == (422, "invalid_data", field)


# Refusals.


BAD_BODIES: list[tuple[str, dict[str, Any], str]] = [
    ("/bookings", booking_body("nobody"), "customerId"),
    ("/bookings", booking_body("ada", "nobody"), "partnerId"),
    ("/bookings", booking_body("ada", amount=9.999), "amount"),
    ("/bookings", booking_body("ada", amount=-1), "amount"),
    ("/bookings", booking_body("ada", scheduledAt="tomorrow"), "scheduledAt"),
    ("/bookings", booking_body("ada", address=""), "address"),
    ("/bookings", booking_body("ada", service="x" * 201), "service"),
    ("/bookings", booking_body("ada", colour="red"), "colour"),
    ("/bookings", {"customerId": "ada"}, "service"),
    ("/kyc-submissions", {"partnerId": "nobody", "documents": ["IDENTITY"]}, "partnerId"),
    ("/kyc-submissions", {"partnerId": "bob", "documents": []}, "documents"),
    ("/kyc-submissions", {"partnerId": "bob", "documents": ["SELFIE"]}, "documents[0]"),
    ("/notifications", {"recipientId": "nobody"}, "recipientId"),
    ("/notifications", {"recipientId": "ada", "bookingId": "none"}, "bookingId"),
    ("/notifications", {"recipientId": "ada", "type": "NEWS"}, "type"),
    ("/notifications", {"recipientId": "ada", "message": "a\0b"}, ""),
]


async def test_bodies_that_do_not_fit(scenario: Market) -> None:
    await scenario.customer("ada")
    await scenario.partner("bob")
    for path, body, field in BAD_BODIES:
        if path == "/notifications":
            body = {"recipientRole": "customer", "type": "SYSTEM", "title": "Hello", "message": "Hello", **body}
        assert fault(await scenario.post(path, body)) == (422, "invalid_data", field), body


MISSING: list[tuple[str, str, Any]] = [
    ("GET", "/customers/nobody", None),
    ("GET", "/partners/nobody", None),
    ("GET", "/partners/nobody/earnings", None),
    ("GET", "/bookings/none", None),
    ("GET", "/messages/none", None),
    ("GET", "/notifications/none", None),
    ("GET", "/kyc-submissions/none", None),
    ("PUT", "/bookings/none/partner", {"partnerId": "p"}),
    ("PUT", "/kyc-submissions/none/review", {"status": "APPROVED"}),
]


async def test_what_is_not_there(scenario: Market) -> None:
    for method, path, body in MISSING:
        response = await scenario.server.request(method, f"{API}{path}", body)
        assert fault(response) == (404, "not_found", "")


async def test_an_id_that_no_token_has(scenario: Market) -> None:
    for path, body in (("/customers", CUSTOMER), ("/partners", partner_body("bob"))):
        for id in ("x" * 129, "a%01b"):
            assert fault(await scenario.put(f"{path}/{id}", body)) == (422, "invalid_data", "id")
            assert fault(await scenario.get(f"{path}/{id}")) == (422, "invalid_data", "id")
    assert fault(await scenario.put("/bookings/a%01b/partner", {"partnerId": "p"})) == (422, "invalid_data", "id")


async def test_a_partner_who_fits_into_no_event_is_refused_whole(scenario: Market) -> None:
    body = partner_body("bob", services=["字" * 200] * 30)
    assert fault(await scenario.put("/partners/bob", body)) == (413, "too_large", "")
    assert (await scenario.get("/partners/bob")).status_code == 404
