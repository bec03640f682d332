"""Debug lines about clients, commands and events, written from the reports of observers."""

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
    SlowClientReport,
)
from oyez.protocol.socket_ids import is_own_room, is_user_room, socket_of, user_of

clients = get_logger("oyez.clients")
commands = get_logger("oyez.commands")
events = get_logger("oyez.events")


class ActivityLog(Observer):
    """Writes one line for each report. `connection` is the same in all lines about a connection."""

    def connected(self, report: ConnectReport) -> None:
        clients.debug(
            "connected",
            system=report.system,
            namespace=report.named or report.namespace,
            user=report.user_id,
            role=report.role,
            address=report.address,
            socket=report.socket_id,
            connection=report.connection_id,
            rooms=_show_rooms(report.rooms),
        )

    def refused(self, report: RefusalReport) -> None:
        clients.debug(
            f"{report.kind} refused",
            system=report.system,
            namespace=report.namespace,
            code=report.code,
            name=report.name,
            user=report.user_id,
            address=report.address,
            socket=report.socket_id,
            connection=report.connection_id,
        )

    def joined(self, report: JoinReport) -> None:
        self._show_move("joined", report)

    def left(self, report: LeaveReport) -> None:
        self._show_move("left", report)

    def _show_move(self, event: str, report: JoinReport | LeaveReport) -> None:
        clients.debug(
            event,
            system=report.system,
            namespace=report.namespace,
            room=_show_room(report.room),
            user=report.user_id,
            socket=report.socket_id,
            connection=report.connection_id,
        )

    def recovered(self, report: RecoveryReport) -> None:
        clients.debug(
            "recovered" if report.recovered else "not recovered",
            system=report.system,
            namespace=report.namespace,
            replayed=report.replayed,
            reason=report.reason,
            room=_show_room(report.room),
            user=report.user_id,
            socket=report.socket_id,
            connection=report.connection_id,
        )

    def slow(self, report: SlowClientReport) -> None:
        clients.debug(
            "too slow",
            system=report.system,
            user=report.user_id,
            address=report.address,
            connection=report.connection_id,
        )

    def disconnected(self, report: DisconnectReport) -> None:
        clients.debug(
            "disconnected",
            system=report.system,
            namespace=report.namespace,
            reason=report.reason,
            user=report.user_id,
            address=report.address,
            socket=report.socket_id,
            connection=report.connection_id,
        )

    def command(self, report: CommandReport) -> None:
        commands.debug(
            "command",
            system=report.system,
            namespace=report.namespace,
            name=report.name,
            outcome=report.code or "ok",
            ms=_to_ms(report.seconds),
            user=report.user_id,
            socket=report.socket_id,
            connection=report.connection_id,
        )

    def published(self, report: PublishReport) -> None:
        events.debug(
            "published",
            system=report.system,
            namespace=report.namespace,
            name=report.name,
            rooms=_show_rooms(report.rooms),
            position=report.position,
            origin=report.origin,
            ms=_to_ms(report.seconds),
        )

    def delivered(self, report: DeliveryReport) -> None:
        events.debug(
            "delivered",
            system=report.system,
            namespace=report.namespace,
            names=", ".join(report.names),
            rooms=_show_rooms(report.rooms),
            position=report.position,
            recipients=report.recipients,
            bytes=report.size,
        )


def build_activity_log() -> list[Observer]:
    """The ActivityLog, if debug lines of at least one of its loggers are written: otherwise nothing is reported."""
    return [ActivityLog()] if any(map(is_debugged, (clients, commands, events))) else []


def _to_ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _show_rooms(rooms: tuple[str, ...]) -> str:
    return ", ".join(map(_show_room, rooms)) or "*"


def _show_room(room: str) -> str:
    """A room's name; `socket ID` or `user ID` for the rooms that clients cannot name."""
    if is_own_room(room):
        return f"socket {socket_of(room)}"
    return f"user {user_of(room)}" if is_user_room(room) else room
