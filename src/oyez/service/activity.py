"""Debug lines about clients, commands and events, written from the reports of observers."""

from structlog.stdlib import BoundLogger

from oyez.logger import get_logger, is_debugged
from oyez.observer import (
    CommandReport,
    ConnectReport,
    DeliveryReport,
    DisconnectReport,
    JoinReport,
    LeaveReport,
    Observer,
    PublishReport,
    RecoveryReport,
    RefusalReport,
    Report,
    SlowClientReport,
)
from oyez.protocol.socket_ids import is_own_room, is_user_room, socket_of, user_of

clients = get_logger("oyez.clients")
commands = get_logger("oyez.commands")
events = get_logger("oyez.events")


class ActivityLog(Observer):
    """Writes one line for each report. `connection` is the same in all lines about a connection."""

    def connected(self, report: ConnectReport) -> None:
        namespace, rooms = report.named or report.namespace, _show_rooms(report.rooms)
        fields = "namespace user role address socket connection rooms"
        _write(clients, "connected", report, fields, namespace=namespace, rooms=rooms)

    def refused(self, report: RefusalReport) -> None:
        _write(clients, f"{report.kind} refused", report, "namespace code name user address socket connection")

    def joined(self, report: JoinReport) -> None:
        _write(clients, "joined", report, "namespace room user socket connection", room=_show_room(report.room))

    def left(self, report: LeaveReport) -> None:
        _write(clients, "left", report, "namespace room user socket connection", room=_show_room(report.room))

    def recovered(self, report: RecoveryReport) -> None:
        event = "recovered" if report.recovered else "not recovered"
        fields = "namespace replayed reason room user socket connection"
        _write(clients, event, report, fields, room=_show_room(report.room))

    def slow(self, report: SlowClientReport) -> None:
        _write(clients, "too slow", report, "user address connection")

    def disconnected(self, report: DisconnectReport) -> None:
        _write(clients, "disconnected", report, "namespace reason user address socket connection")

    def command(self, report: CommandReport) -> None:
        outcome, ms = report.code or "ok", _to_ms(report.seconds)
        _write(commands, "command", report, "namespace name outcome ms user socket connection", outcome=outcome, ms=ms)

    def published(self, report: PublishReport) -> None:
        rooms, ms = _show_rooms(report.rooms), _to_ms(report.seconds)
        _write(events, "published", report, "namespace name rooms position origin ms", rooms=rooms, ms=ms)

    def delivered(self, report: DeliveryReport) -> None:
        names, rooms = ", ".join(report.names), _show_rooms(report.rooms)
        fields = "namespace names rooms position recipients bytes"
        _write(events, "delivered", report, fields, names=names, rooms=rooms, bytes=report.size)


def build_activity_log() -> list[Observer]:
    """The ActivityLog, if debug lines of at least one of its loggers are written: otherwise nothing is reported."""
    return [ActivityLog()] if any(map(is_debugged, (clients, commands, events))) else []


_SOURCES = {"user": "user_id", "socket": "socket_id", "connection": "connection_id"}
"""The fields of reports that have other names in lines."""


def _write(logger: BoundLogger, event: str, report: Report, fields: str, **shown: object) -> None:
    """Write a line with these fields of a report, in this order; `shown` replaces their values."""
    values = {
        name: shown[name] if name in shown else getattr(report, _SOURCES.get(name, name)) for name in fields.split()
    }
    logger.debug(event, system=report.system, **values)


def _to_ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _show_rooms(rooms: tuple[str, ...]) -> str:
    return ", ".join(map(_show_room, rooms)) or "*"


def _show_room(room: str) -> str:
    """A room's name; `socket ID` or `user ID` for the rooms that clients cannot name."""
    if is_own_room(room):
        return f"socket {socket_of(room)}"
    return f"user {user_of(room)}" if is_user_room(room) else room
