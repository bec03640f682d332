"""The HTTP API of `qscrap`: lists and their pages, who may use it, and problems that name the field."""

from typing import Any

import pytest
from tools.docs.qscrap_tables import LISTINGS, find_actions

from oyez.systems.qscrap import states
from tests.systems.qscrap.backend import Backend

BODIES: dict[str, dict[str, Any]] = {
    "/tickets": {"customer_id": "U-1", "subject": "Where is my refund?"},
    "/tickets/T-1/messages": {"sender_id": "U-1", "sender_role": "customer", "message": "Hello?"},
    "/requests": {"customer_id": "U-1", "expires_at": "2026-01-13T08:15:00Z"},
    "/disputes": {
        "order_id": "O-1",
        "customer_id": "U-1",
        "garage_id": "G-1",
        "reason": "damaged",
        "refund_amount": 40,
        "respond_by": "2026-01-14T08:00:00Z",
    },
    "/payouts": {
        "order_id": "O-1",
        "garage_id": "G-1",
        "amount": 162.5,
        "reference": "TRF-1",
        "schedule_at": "2026-01-13T00:00:00Z",
        "scheduled_date": "2026-01-20T00:00:00Z",
    },
    "/subscriptions": {"expires_at": "2026-01-24T21:00:00Z"},
}
"""For each kind of record what is put."""
OTHERS = {"customer_id": "U-2", "garage_id": "G-2", "order_id": "O-2"}


@pytest.fixture
async def backend(backend: Backend) -> Backend:
    await backend.put("/tickets/T-1", **BODIES["/tickets"])
    return backend


def test_every_kind_of_record_is_tried() -> None:
    assert [listing.path.replace("{ticket_id}", "T-1") for listing in LISTINGS] == list(BODIES)


async def test_what_is_put_is_shown_and_listed(backend: Backend) -> None:
    for path, body in BODIES.items():
        status, record = await backend.put(f"{path}/X-1", **body)
        assert status == 201
        assert record.items() >= body.items()
        assert await backend.get(f"{path}/X-1") == (200, record)
        assert record in (await backend.get(path))[1]["items"]
        assert await backend.put(f"{path}/X-1", **body) == (200, record)


async def test_lists_come_in_pages(backend: Backend) -> None:
    for path, body in BODIES.items():
        if path == "/tickets":
            continue
        # Messages come in the order in which they were written, all others by their ids.
        ids = ["X-2", "X-1", "X-5", "X-4", "X-3"]
        records = [(await backend.put(f"{path}/{key}", **body))[1] for key in ids]
        if "messages" not in path:
            records.sort(key=lambda record: next(value for value in record.values() if str(value).startswith("X-")))
        pages, query = [], {"limit": 2}
        while True:
            status, page = await backend.get(path, **query)
            assert status == 200
            pages.append(page["items"])
            if page["next"] is None:
                break
            query["after"] = page["next"]
        assert pages == [records[:2], records[2:4], records[4:]], path
        assert (await backend.get(path, limit=5))[1]["next"] is None


async def test_lists_can_be_narrowed(backend: Backend) -> None:
    for listing in LISTINGS:
        for name in listing.filters:
            if name == "status":
                continue
            await backend.put(f"{listing.path}/{name}-1", **BODIES[listing.path])
            await backend.put(f"{listing.path}/{name}-2", **{**BODIES[listing.path], name: OTHERS[name]})
            _, page = await backend.get(listing.path, **{name: OTHERS[name]})
            assert [record[listing.cursor.name] for record in page["items"]] == [f"{name}-2"]
    await backend.post("/tickets/T-1/close")
    _, page = await backend.get("/tickets", status="closed")
    assert [ticket["ticket_id"] for ticket in page["items"]] == ["T-1"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 101}, "limit"),
        ({"status": "lost"}, "status"),
        ({"customer_id": "a\x01b"}, "customer_id"),
        ({"after": "a\x01b"}, "after"),
    ],
)
async def test_what_a_list_cannot_be_asked_for(backend: Backend, query: dict[str, Any], field: str) -> None:
    status, problem = await backend.get("/tickets", **query)
    assert (status, problem["code"], problem["errors"][0]["field"]) == (422, "invalid_data", field)


async def test_every_field_is_named_where_it_does_not_fit(backend: Backend) -> None:
    for path, body in BODIES.items():
        for name in body:
            status, problem = await backend.put(f"{path}/X-1", **{**body, name: []})
            assert (status, problem["code"], problem["errors"][0]["field"]) == (422, "invalid_data", name)
        status, problem = await backend.put(f"{path}/X-1", **body, surprise=1)
        assert (status, problem["errors"][0]["field"]) == (422, "surprise")
        status, problem = await backend.put(f"{path}/{'x' * 129}", **body)
        assert (status, problem["errors"][0]["expected"]) == (
            422,
            "a string of 1 to 128 characters, without control characters",
        )
    assert (await backend.get("/requests"))[1] == {"items": [], "next": None}
    assert await backend.emitted() != []  # The ticket that was there before,
    assert await backend.emitted() == []  # and nothing else.


async def test_actions_need_a_record_and_say_which(backend: Backend) -> None:
    for listing in LISTINGS:
        for name, action in find_actions(listing).items():
            body = {"reason": "x"} if name == "hold" else {"resolution": "claim_rejected", "refund_amount": 0}
            response = await backend.request("POST", f"{listing.path}/none/{name}", body if action.body else None)
            assert (response.status_code, response.json()["code"]) == (404, "unknown_record")
            assert response.json()["detail"] == f"There is no record whose {listing.cursor.name} is 'none'."
            if action.body is not None:
                status, problem = await backend.post(f"{listing.path}/none/{name}", surprise=1)
                assert (status, problem["errors"][0]["field"]) == (422, "surprise")


def test_every_action_is_in_the_tables_of_states() -> None:
    tables = {"/tickets": states.TICKET, "/requests": states.REQUEST, "/disputes": states.DISPUTE}
    tables["/payouts"] = states.PAYOUT
    by_time = {"/requests": {"expire"}, "/payouts": {"schedule"}}
    for listing in LISTINGS:
        known = {action for possible in tables.get(listing.path, {}).values() for action in possible}
        assert set(find_actions(listing)) == known - by_time.get(listing.path, set())
