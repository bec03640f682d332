"""The receivers that the settings declare: they are written to the database when the server starts.

Their ids are made of their names, so that each process finds the same ones. Ids that the HTTP API makes have no hyphen.
"""

from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b

from sqlalchemy import Connection

from oyez.errors import InvalidDataError, SettingsError
from oyez.service.webhooks import store
from oyez.service.webhooks.addresses import read_place
from oyez.service.webhooks.message import Secret
from oyez.service.webhooks.store import Receiver
from oyez.settings import WebhookSettings

DROPPED = "it is no longer in the settings"


def was_declared(id: str) -> bool:
    """True if the settings declared the receiver at some start of a server."""
    return "-" in id


def build_declared(
    declared: Mapping[str, WebhookSettings],
    system: str,
    events: Collection[str],
    versions: Sequence[str],
    now: float,
    *,
    private: bool,
) -> list[Receiver]:
    """The receivers of a system in the settings. `events` may go out, in the forms of `versions`.

    Raises SettingsError.
    """
    found = [(name, one) for name, one in declared.items() if one.system == system]
    for name, one in found:
        _check(name, one, events, versions, private=private)
    return [_build(name, one, now) for name, one in found]


def write_declared(connection: Connection, system: str, declared: Sequence[Receiver], since: str, now: float) -> None:
    """Write the receivers of the settings. New ones receive what is published after the position `since`.

    Those that the settings no longer declare are disabled, and keep their dead letters.
    """
    known = {receiver.id: receiver for receiver in store.list_receivers(connection, system)}
    for one in declared:
        before = known.get(one.id)
        if before is None:
            store.add_receiver(connection, system, one.starting_at(since))
            continue
        if _find_own(one) != _find_own(before):
            secrets = [list(secret) for secret in one.secrets]
            changed = {"url": one.url, "events": sorted(one.events), "secrets": secrets, "version": one.version}
            store.change_receiver(connection, system, one.id, changed)
        if before.disabled == DROPPED:
            store.enable_receiver(connection, system, one.id, since)
    for id in known.keys() - {one.id for one in declared}:
        if was_declared(id) and known[id].disabled is None:
            store.disable_receiver(connection, system, id, DROPPED, now)


def _find_own(receiver: Receiver) -> tuple[object, ...]:
    """What the settings say of a receiver."""
    return receiver.url, receiver.events, receiver.secrets, receiver.version


def _check(name: str, one: WebhookSettings, events: Collection[str], versions: Sequence[str], *, private: bool) -> None:
    try:
        read_place(one.url, private=private)
    except InvalidDataError as error:
        # The address may hold a secret.
        raise SettingsError(f"Setting webhooks.{name}.url is wrong: expected {error.expected}.") from None
    known = ", ".join(sorted(events)) or "none: no event has webhook=True"
    unknown = [event for event in one.events if event not in events]
    if unknown or not events:
        raise SettingsError(
            f"Setting webhooks.{name}.events names {', '.join(unknown) or 'all events'}. Set it to names of events of"
            f" {one.system} that may go out ({known})."
        )
    if one.version is not None and one.version not in versions:
        raise SettingsError(
            f"Setting webhooks.{name}.version is {one.version!r}: {one.system} has"
            f" {', '.join(versions) or 'no versions: leave it out'}."
        )


def _build(name: str, one: WebhookSettings, now: float) -> Receiver:
    # Several systems may share a database.
    mark = blake2b(one.system.encode(), digest_size=3).hexdigest()
    return Receiver(
        id=f"{name}-{mark}",
        url=one.url,
        events=frozenset(one.events),
        version=one.version,
        secrets=tuple(Secret(text, None) for text in one.secret.split()),
        since="",
        created=now,
        disabled=None,
        failures=0,
        failing_since=None,
        resting_until=0.0,
        gaps=0,
    )
