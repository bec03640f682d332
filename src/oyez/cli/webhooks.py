"""`oyez webhooks`: the receivers of a running server, what could not be delivered, and replays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.table import Table

from oyez.cli import console
from oyez.cli.address import FOUND, Target, explain_unreachable
from oyez.cli.flags import OWN_SETTINGS, Repeatable, SettingsFlags, SystemName, load_signer
from oyez.client import NotOyezError, PublisherError, Retries, SyncPublisher, UnreachableError
from oyez.errors import OyezError
from oyez.service.auth.tokens import WEBHOOKS
from oyez.systems.loader import load_system

KEY_LIFETIME = 60.0
"""Seconds; the key is used at once."""
MAX_LISTED = 1_000
"""Dead letters that are shown."""

app = App(name="webhooks", help="Keep the receivers of webhooks, and send again what they did not accept.")


Receiver = Annotated[str, Parameter(help="The receiver's id.")]


class WebhooksError(OyezError):
    """The server did not do it."""


@Parameter(name="*")
@dataclass(frozen=True)
class ServerAccess:
    """The server, and its settings."""

    target: Target = FOUND
    flags: SettingsFlags = OWN_SETTINGS

    def request(
        self, system: str, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None
    ) -> Any:
        """What a request to the API of receivers answers. Raises WebhooksError, SettingsError."""
        loaded, settings = load_system(system), self.flags.load()
        url = self.target.find(settings)
        key = self.target.token or load_signer(settings).sign_service(loaded.name, KEY_LIFETIME, WEBHOOKS)
        try:
            with SyncPublisher(url, loaded.name, key, retries=Retries(attempts=1)) as publisher:
                return publisher.request(method, f"/webhooks{path}", body, query=query)
        except UnreachableError as error:
            raise WebhooksError(explain_unreachable(url, error)) from None
        except NotOyezError as error:
            raise WebhooksError(f"{error} Give Oyez' own --url.") from None
        except PublisherError as error:
            raise WebhooksError(str(error)) from None


THIS = ServerAccess()


@app.command(name="list")
def list_all(system: SystemName, /, *, server: ServerAccess = THIS) -> int:
    """Show the receivers, and how many events wait for each.

    For example:
      oyez webhooks list orders.py
    """
    answer = server.request(system, "GET", "")
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "url", "events", "state", "waiting", "dead"):
        table.add_column(heading)
    for one in answer["receivers"]:
        events = ", ".join(one["events"]) or "all"
        table.add_row(one["id"], one["url"], events, _describe(one), str(one["waiting"]), str(one["dead"]))
    console.show_table(table)
    return 0


@app.command
def add(
    system: SystemName,
    url: str,
    /,
    *,
    event: Annotated[tuple[str, ...], Repeatable] = (),
    version: Annotated[str | None, Parameter(name="--version")] = None,
    server: ServerAccess = THIS,
) -> int:
    """Send events to an address from now on. Prints the secret that verifies them.

    For example:
      oyez webhooks add orders.py https://shop.example/webhooks --event order:packed

    Parameters
    ----------
    url
        Where events are sent.
    event
        An event that is sent; repeatable. [default: all events that may go out]
    version
        The version of the contract whose forms of events are sent. [default: the newest]
    """
    body = {"url": url, "events": list(event), "version": version}
    added = server.request(system, "POST", "", body)
    console.out.print(f"receiver {added['id']}")
    console.out.print(f"secret {added['secret']}")
    return 0


@app.command
def remove(system: SystemName, receiver: Receiver, /, *, server: ServerAccess = THIS) -> int:
    """Remove a receiver, and all that waits for it.

    For example:
      oyez webhooks remove orders.py rcv_1f0c
    """
    server.request(system, "DELETE", f"/{receiver}")
    console.out.print(f"{receiver} is removed")
    return 0


@app.command
def enable(system: SystemName, receiver: Receiver, /, *, server: ServerAccess = THIS) -> int:
    """Send events to a disabled receiver again, from now on.

    For example:
      oyez webhooks enable orders.py rcv_1f0c
    """
    server.request(system, "PATCH", f"/{receiver}", {"enabled": True})
    console.out.print(f"{receiver} is enabled")
    return 0


@app.command
def disable(system: SystemName, receiver: Receiver, /, *, server: ServerAccess = THIS) -> int:
    """Send a receiver nothing any more. What waits for it becomes dead letters.

    For example:
      oyez webhooks disable orders.py rcv_1f0c
    """
    server.request(system, "PATCH", f"/{receiver}", {"enabled": False})
    console.out.print(f"{receiver} is disabled")
    return 0


@app.command
def rotate(
    system: SystemName,
    receiver: Receiver,
    /,
    *,
    keep: float = 86_400.0,
    server: ServerAccess = THIS,
) -> int:
    """Make a new secret. The old one also signs for a time, so that the receiver can change it without a gap.

    For example:
      oyez webhooks rotate orders.py rcv_1f0c

    Parameters
    ----------
    keep
        Seconds for which the old secret also signs.
    """
    made = server.request(system, "POST", f"/{receiver}/secret", {"keep": keep})
    console.out.print(f"secret {made['secret']}")
    console.show_note(f"The old secret also signs until {made['oldUntil']}.")
    return 0


@app.command
def test(system: SystemName, receiver: Receiver, /, *, server: ServerAccess = THIS) -> int:
    """Send a receiver a message of the type `oyez:test`, and show whether it is accepted.

    For example:
      oyez webhooks test orders.py rcv_1f0c
    """
    tried = server.request(system, "POST", f"/{receiver}/test", {})
    if not tried["accepted"]:
        raise WebhooksError(f"{receiver} did not accept it: {tried['error']}.")
    console.out.print(f"{receiver} has accepted it")
    return 0


@app.command
def dead(system: SystemName, receiver: Receiver, /, *, server: ServerAccess = THIS) -> int:
    """Show the events that a receiver did not accept in all attempts.

    For example:
      oyez webhooks dead orders.py rcv_1f0c
    """
    page = server.request(system, "GET", f"/{receiver}/dead", query={"limit": str(MAX_LISTED)})
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "event", "created", "attempts", "error"):
        table.add_column(heading)
    for one in page["dead"]:
        table.add_row(one["id"], one["event"], one["created"], str(one["attempts"]), console.printable(one["error"]))
    console.show_table(table)
    if page["next"] is not None:
        console.show_note(f"There are more than {MAX_LISTED}; the HTTP API has all of them.")
    return 0


@app.command
def replay(system: SystemName, receiver: Receiver, /, *messages: str, server: ServerAccess = THIS) -> int:
    """Send dead letters again.

    For example:
      oyez webhooks replay orders.py rcv_1f0c
      oyez webhooks replay orders.py rcv_1f0c msg_bb56a6e7_12

    Parameters
    ----------
    messages
        The ids of the dead letters. [default: all of the receiver]
    """
    body = {"ids": list(messages)} if messages else {}
    answer = server.request(system, "POST", f"/{receiver}/replay", body)
    console.out.print(f"{answer['replayed']} are sent again")
    return 0


def _describe(receiver: Mapping[str, Any]) -> str:
    if not receiver["enabled"]:
        return f"disabled: {receiver['disabledReason']}"
    return f"failing since {receiver['failingSince']}" if receiver["failures"] else "enabled"
