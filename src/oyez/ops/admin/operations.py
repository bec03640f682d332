"""The operations of the admin API as a table: the routes and the OpenAPI document are made from it.

All paths are below `/admin/api`. All but `signIn` ask for the token of a sign-in.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from oyez.contract.types import Payload
from oyez.ops.admin import answers, changes
from oyez.service.receipts.answers import EventReceipts, ReceiptEventPage, ReceiptEventsQuery, ReceiptsQuery

SIGN_IN = "signIn"
"""The only operation without a token."""
RENEW = "renew"
MAKE_KEY = "makeKey"
SYSTEM = "/systems/{system}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminOperation:
    """One method of one path."""

    id: str
    method: str
    path: str
    summary: str
    query: type[Payload] | None = None
    body: type[Payload] | None = None
    answers: Mapping[int, type[Payload] | str | None]
    """By status: the type of the answer, the media type of an answer that is not JSON, or None for no body."""

    @property
    def acts(self) -> bool:
        """True if it changes something; it is recorded in the audit."""
        return self.method != "GET" and self.id not in (SIGN_IN, RENEW)

    @property
    def keyed(self) -> bool:
        """True if it honours an Idempotency-Key. An answer with a secret is not kept for repeats."""
        return self.acts and self.id != MAKE_KEY


def _get(
    id: str, path: str, summary: str, answer: type[Payload] | str, query: type[Payload] | None = None
) -> AdminOperation:
    return AdminOperation(id=id, method="GET", path=path, summary=summary, query=query, answers={200: answer})


def _post(
    id: str, path: str, summary: str, body: type[Payload] | None, answer: type[Payload] | None = None, status: int = 200
) -> AdminOperation:
    statuses = {204: None} if answer is None else {status: answer}
    return AdminOperation(id=id, method="POST", path=path, summary=summary, body=body, answers=statuses)


OPERATIONS = (
    _post(SIGN_IN, "/sign-in", "Exchange an operator's key for a token.", answers.SignIn, answers.Session),
    _post(RENEW, "/renew", "Exchange a token for one that ends later.", None, answers.Session),
    _get("overview", "/overview", "Show what is served, and who is signed in.", answers.Overview),
    # What is connected.
    _get(
        "listConnections",
        "/connections",
        "List and find sockets on all nodes.",
        answers.SocketPage,
        answers.ConnectionsQuery,
    ),
    _get("listRooms", "/rooms", "List and find rooms on all nodes.", answers.RoomPage, answers.RoomsQuery),
    _get("listUsers", "/users", "List and find connected users on all nodes.", answers.UserPage, answers.UsersQuery),
    _get("showUser", f"{SYSTEM}/users/{{user}}", "Show a user: sockets, rights, history, events.", answers.UserDetail),
    _get(
        "showRoom",
        f"{SYSTEM}/rooms/{{room}}",
        "Show a room: sockets, members, history, events.",
        answers.RoomDetail,
        answers.RoomQuery,
    ),
    _get(
        "listHistory",
        "/history",
        "List what the nodes remember about clients.",
        answers.HistoryPage,
        answers.HistoryQuery,
    ),
    # Events.
    _get("listEvents", f"{SYSTEM}/events", "List events of the log.", answers.EventPage, answers.EventsQuery),
    _get(
        "traceEvent",
        f"{SYSTEM}/events/{{position}}",
        "Show whom an event has reached, and why it has not reached others.",
        answers.EventTrace,
        answers.EventQuery,
    ),
    _get(
        "listReceiptEvents",
        f"{SYSTEM}/receipts",
        "List events with receipts, and how many users they have reached.",
        ReceiptEventPage,
        ReceiptEventsQuery,
    ),
    _get(
        "listReceipts",
        f"{SYSTEM}/events/{{position}}/receipts",
        "Show whom an event with receipts has reached, and who has acknowledged it.",
        EventReceipts,
        ReceiptsQuery,
    ),
    # The server.
    _get("listNodes", "/nodes", "List the nodes, their positions and their lag.", answers.NodeList),
    _get("showRates", "/rates", "Show rates and latencies of the last minutes.", answers.Rates, answers.RatesQuery),
    _get("showWork", f"{SYSTEM}/work", "Show the outbox, jobs and webhooks of a system.", answers.Work),
    _get(
        "listDeadLetters",
        f"{SYSTEM}/webhooks/{{receiver}}/dead",
        "List webhooks that were given up.",
        answers.DeadPage,
        answers.DeadQuery,
    ),
    _post(
        "sendDeadLetters",
        f"{SYSTEM}/webhooks/{{receiver}}/replay",
        "Send dead letters again.",
        answers.SendDead,
        answers.Sent,
    ),
    # Actions.
    _post(
        "disconnect",
        f"{SYSTEM}/disconnect",
        "Disconnect a user, a socket, a room or everyone.",
        changes.Disconnect,
        changes.Disconnected,
    ),
    _post("removeFromRoom", f"{SYSTEM}/remove", "Remove a user from a room.", changes.Remove, changes.Disconnected),
    _post(
        "block",
        f"{SYSTEM}/block",
        "Refuse a user until a time, and disconnect the user.",
        changes.Block,
        answers.Restriction,
    ),
    _post("unblock", f"{SYSTEM}/unblock", "End the block of a user.", changes.Unblock),
    _post(
        "revoke",
        f"{SYSTEM}/revoke",
        "Refuse tokens by their id, user or role, and disconnect their sockets.",
        changes.Revoke,
        answers.Restriction,
    ),
    _post("restore", f"{SYSTEM}/restore", "Accept revoked tokens again.", changes.Restore),
    _get(
        "listRestrictions",
        f"{SYSTEM}/restrictions",
        "List the blocks and revocations that hold.",
        answers.RestrictionList,
    ),
    _post("resend", f"{SYSTEM}/resend", "Publish an event of the log again.", changes.Resend, changes.Resent),
    _post(
        "announce",
        f"{SYSTEM}/announce",
        "Announce maintenance to all clients of a system.",
        changes.Announce,
        changes.Disconnected,
    ),
    # Audit.
    _get("listAudit", "/audit", "Find records of the audit.", changes.AuditPage, changes.AuditQuery),
    _get(
        "exportAudit",
        "/audit.jsonl",
        "Export records of the audit, the oldest first, as JSON lines.",
        "application/jsonl",
        changes.AuditQuery,
    ),
    # Service keys.
    _get("listKeys", "/keys", "List the service keys.", changes.KeyList),
    _post(MAKE_KEY, "/keys", "Make a service key.", changes.NewKey, changes.MadeKey, 201),
    AdminOperation(
        id="revokeKey", method="DELETE", path="/keys/{key}", summary="Revoke a service key.", answers={204: None}
    ),
    _get("openapi", "/openapi.json", "This document.", "application/json"),
)
"""Every operation. Those of systems name the system in the path."""
