"""The server's own events, `oyez:*`, which every contract has."""

from typing import Any

POSITION = "3aec4718.17"
"""A position of the log, as an example."""

RECOVERY_REASONS = ("new", "unknown_session", "unknown_position", "too_old", "too_much", "interrupted", "damaged")

_POSITION = {"type": "string", "maxLength": 64}
_MAYBE_TIME = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}
_MAYBE_POSITION = {"anyOf": [_POSITION, {"type": "null"}]}

OWN_EVENTS: tuple[dict[str, Any], ...] = (
    {
        "name": "oyez:recovery",
        "description": (
            "The result of a recovery, sent once after the replay to a client that sent `pid`, `offset` or `recovery`"
            " when it connected. If `recovered` is false, the client has to fetch its state again."
        ),
        "payload": {
            "type": "object",
            "properties": {
                "recovered": {"type": "boolean", "description": "True if the client has missed nothing."},
                "replayed": {"type": "integer", "minimum": 0, "description": "Number of events that were replayed."},
                "from": {**_MAYBE_POSITION, "description": "The position from which events were replayed."},
                "to": {**_MAYBE_POSITION, "description": "The client has received everything up to this position."},
                "reason": {
                    "anyOf": [{"enum": list(RECOVERY_REASONS)}, {"type": "null"}],
                    "description": "Why `recovered` is false.",
                },
                "room": {
                    "type": "string",
                    "description": "The name of the room, if the event is about a room that the client joined later.",
                },
            },
            "required": ["recovered", "replayed", "from", "to", "reason"],
            "additionalProperties": False,
        },
        "example": {"recovered": True, "replayed": 3, "from": POSITION, "to": "3aec4718.20", "reason": None},
    },
    {
        "name": "oyez:position",
        "description": (
            "The position of the durable event before it, in the same write. Only official JavaScript clients receive"
            " it; they store it and send it when they reconnect, so only a handler of all events (`onAny`) notices it."
        ),
        "payload": _POSITION,
        "example": POSITION,
    },
    {
        "name": "oyez:status",
        "description": (
            "The server can no longer store and deliver events, or can again. Clients that connect during an outage"
            " receive it too."
        ),
        "payload": {
            "type": "object",
            "properties": {
                "available": {"type": "boolean", "description": "True if events can be stored and delivered."},
                "timestamp": {"type": "string", "format": "date-time"},
            },
            "required": ["available", "timestamp"],
            "additionalProperties": False,
        },
        "example": {"available": False, "timestamp": "2026-01-31T12:00:00.000Z"},
    },
    {
        "name": "oyez:maintenance",
        "description": "An operator announces maintenance. The event is stored: clients that recover receive it too.",
        "payload": {
            "type": "object",
            "properties": {
                "message": {"type": "string", "maxLength": 500, "description": "For people."},
                "at": {**_MAYBE_TIME, "description": "When the maintenance begins; null: not stated."},
                "until": {**_MAYBE_TIME, "description": "When it will have ended; null: not stated."},
                "timestamp": {"type": "string", "format": "date-time"},
            },
            "required": ["message", "at", "until", "timestamp"],
            "additionalProperties": False,
        },
        "example": {
            "message": "The shop is back at noon.",
            "at": "2026-01-31T11:00:00.000Z",
            "until": "2026-01-31T12:00:00.000Z",
            "timestamp": "2026-01-31T10:00:00.000Z",
        },
    },
)
