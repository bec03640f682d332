"""The operations of the HTTP API for receivers of webhooks, for the OpenAPI document."""

from functools import partial

from oyez.service.auth.tokens import WEBHOOKS
from oyez.service.server_api.operations import Operation, Parameter
from oyez.service.webhooks.answers import (
    AddedReceiver,
    DeadLetterPage,
    NewSecret,
    ReceiverList,
    Replayed,
    ShownReceiver,
    Tried,
)
from oyez.service.webhooks.api import MAX_LISTED, ChangedReceiver, NewReceiver, Replay, Rotation

AFTER = Parameter("after", "query", "`next` of the page before.", {"type": "integer", "minimum": 0})
LIMIT = Parameter(
    "limit", "query", "Dead letters of one page.", {"type": "integer", "minimum": 1, "maximum": MAX_LISTED}
)

_operation = partial(Operation, scope=WEBHOOKS)

WEBHOOK_OPERATIONS = (
    _operation(
        id="listReceivers",
        method="get",
        path="/webhooks",
        summary="List the receivers of webhooks, and the events that may go out.",
        answers={200: ReceiverList},
    ),
    _operation(
        id="addReceiver",
        method="post",
        path="/webhooks",
        summary="Add a receiver: it is sent all its events that are published from now on.",
        body=NewReceiver,
        body_required=True,
        answers={201: AddedReceiver},
    ),
    _operation(
        id="findReceiver",
        method="get",
        path="/webhooks/{receiver}",
        summary="Find a receiver.",
        answers={200: ShownReceiver},
    ),
    _operation(
        id="changeReceiver",
        method="patch",
        path="/webhooks/{receiver}",
        summary="Change the address, the events or the version of a receiver, disable it, or enable it again.",
        body=ChangedReceiver,
        body_required=True,
        answers={200: ShownReceiver},
    ),
    _operation(
        id="removeReceiver",
        method="delete",
        path="/webhooks/{receiver}",
        summary="Remove a receiver, and what waits for it.",
        answers={204: None},
    ),
    _operation(
        id="rotateSecret",
        method="post",
        path="/webhooks/{receiver}/secret",
        summary="Replace the secret of a receiver.",
        body=Rotation,
        answers={200: NewSecret},
    ),
    _operation(
        id="testReceiver",
        method="post",
        path="/webhooks/{receiver}/test",
        summary="Send a message of the type `oyez:test` to a receiver.",
        answers={200: Tried},
    ),
    _operation(
        id="listDeadLetters",
        method="get",
        path="/webhooks/{receiver}/dead",
        summary="List the deliveries to a receiver that were given up.",
        parameters=(AFTER, LIMIT),
        answers={200: DeadLetterPage},
    ),
    _operation(
        id="replayDeadLetters",
        method="post",
        path="/webhooks/{receiver}/replay",
        summary="Send dead letters again.",
        body=Replay,
        answers={200: Replayed},
    ),
)
