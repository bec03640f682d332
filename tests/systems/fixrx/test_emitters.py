"""The emitters of `fixrx`: what a controller may pass to them, what they refuse, and both forms of sending."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert

from oyez.contract import Money, Time
from oyez.errors import InvalidDataError
from oyez.service.outbox.transaction import Transaction
from oyez.systems.fixrx import emitters, system
from oyez.systems.fixrx.contract import Actor, Payment
from oyez.systems.fixrx.emitters import emit_payment_completed, emit_service_created, emit_service_updated
from oyez.systems.fixrx.tables import messages
from oyez.testing import Harness
from tests.systems import contracts

EMITTERS: Mapping[str, Callable[..., Any]] = {
    "service:created": emitters.emit_service_created,
    "service:updated": emitters.emit_service_updated,
    "service:status_changed": emitters.emit_service_status_changed,
    "booking:created": emitters.emit_booking_created,
    "booking:status_changed": emitters.emit_booking_status_changed,
    "booking:cancelled": emitters.emit_booking_cancelled,
    "payment:completed": emitters.emit_payment_completed,
    "payment:failed": emitters.emit_payment_failed,
}
example = partial(contracts.example, "fixrx")
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def arguments(event: str) -> dict[str, Any]:
    """The arguments with which the emitter of `event` sends its example."""
    given = {name: value for name, value in example(event).items() if name != "timestamp"}
    if "previousStatus" in given:
        given["previous_status"] = given.pop("previousStatus")
    return given


@pytest.fixture(scope="module")
def oyez_start() -> float:
    return NOW.timestamp()


def test_there_is_one_for_each_event_of_the_document() -> None:
    assert [event for event in system.contract.events if not event.startswith("chat:")] == list(EMITTERS)


@pytest.mark.parametrize("event", EMITTERS)
async def test_through_a_publisher_it_is_sent_at_once(oyez: Harness, event: str) -> None:
    assert await EMITTERS[event](oyez.publisher, **arguments(event)) is not None
    [(name, rooms, data, _)] = await oyez.take_published()
    assert (name, data) == (event, example(event, timestamp="2026-01-31T12:00:00.000Z"))
    assert contracts.route("fixrx", event, example(event)) == {"/": rooms}


@pytest.mark.parametrize("event", EMITTERS)
async def test_in_a_transaction_it_is_sent_with_the_commit(oyez: Harness, event: str) -> None:
    def change(tx: Transaction, *, fail: bool) -> None:
        tx.connection.execute(insert(messages).values(ROW))
        assert EMITTERS[event](tx, **arguments(event)) is None
        if fail:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await oyez.run(change, fail=True)
    await oyez.run(change, fail=False)
    assert [published.name for published in await oyez.take_published()] == [event]


ROW = {"id": "m", "user_id": "u", "vendor_id": "v", "sender_role": "user", "message": "x", "sent_at": Time.of(NOW)}


class Recorder:
    """What emits, as an emitter sees it."""

    def __init__(self) -> None:
        self.emitted: list[Any] = []

    def emit(self, payload: Any, /) -> int:
        self.emitted.append(payload)
        return len(self.emitted)


PAYMENT = example("payment:completed")["payment"]
ACTOR = {"id": "usr-3051", "role": "user"}


def test_types_and_mappings_mean_the_same() -> None:
    recorder = Recorder()
    typed = msgspec.convert(PAYMENT, Payment, dec_hook=lambda kind, value: kind.from_wire(value))
    assert emit_payment_completed(recorder, payment=typed, actor=Actor(id="usr-3051", role="user")) == 1
    # As a database has them.
    row = {**PAYMENT, "amount": Decimal("95.00"), "createdAt": datetime(2026, 3, 4, 15, 12, tzinfo=UTC)}
    assert emit_payment_completed(recorder, payment=row, actor=ACTOR) == 2
    for emitted in recorder.emitted:
        assert (emitted.payment.amount, emitted.payment.user_id) == (Money(95), "usr-3051")
        assert emitted.actor == Actor(id="usr-3051", role="user")


@pytest.mark.parametrize("event", EMITTERS)
def test_nothing_is_emitted_that_does_not_fit(event: str) -> None:
    recorder = Recorder()
    about = event.partition(":")[0]
    given = arguments(event)
    bad = [
        ({**given, about: {**given[about], "status": "lost"}}, f"{about}.status"),
        ({**given, about: {**given[about], "userId": 7.5}}, f"{about}.userId"),
        ({**given, about: {**given[about], "secret": "x"}}, f"{about}.secret"),
        ({**given, about: {}}, f"{about}.id"),
        ({**given, "actor": {"id": "x", "role": "robot"}}, "actor.role"),
        ({**given, about: {**given[about], "id": object()}}, ""),
    ]
    for arguments_, field in bad:
        with pytest.raises(InvalidDataError) as error:
            EMITTERS[event](recorder, **arguments_)
        assert error.value.field == field
    assert recorder.emitted == []


@pytest.mark.parametrize(
    ("event", "changes", "field", "expected"),
    [
        ("booking:cancelled", {"booking": {"status": "confirmed"}}, "booking.status", "'cancelled', not 'confirmed'"),
        ("payment:completed", {"payment": {"status": "failed"}}, "payment.status", "'completed', not 'failed'"),
        ("payment:failed", {"payment": {"status": "completed"}}, "payment.status", "'failed', not 'completed'"),
        ("service:status_changed", {"previous_status": "assigned"}, "previousStatus", "another status than 'assigned'"),
        ("booking:status_changed", {"previous_status": "confirmed"}, "previousStatus", "another status than"),
        ("booking:status_changed", {"previous_status": "lost"}, "previousStatus", "one of"),
    ],
)
def test_an_event_does_not_contradict_itself(event: str, changes: dict[str, Any], field: str, expected: str) -> None:
    recorder = Recorder()
    given = arguments(event)
    for name, change in changes.items():
        given[name] = {**given[name], **change} if isinstance(change, dict) else change
    with pytest.raises(InvalidDataError) as error:
        EMITTERS[event](recorder, **given)
    assert error.value.field == field
    assert expected in error.value.expected
    assert recorder.emitted == []


def test_a_service_that_is_too_long_is_refused_before_it_is_emitted() -> None:
    recorder = Recorder()
    service = {**example("service:created")["service"], "description": "x" * 2_001}
    for emit in (emit_service_created, emit_service_updated):
        with pytest.raises(InvalidDataError, match=r"service\.description"):
            emit(recorder, service=service, actor=ACTOR)
    assert recorder.emitted == []
