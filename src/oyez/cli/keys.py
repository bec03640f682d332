"""`oyez keys`: keys of operators for the settings, and service keys of a running server."""

from typing import Annotated

from cyclopts import App

from oyez.cli import console
from oyez.cli.console import CallError
from oyez.cli.flags import Repeatable
from oyez.cli.operators import ADMIN, AdminFlags, in_path, name_system, show_rows
from oyez.ops.admin.sign_in import hash_key, make_key
from oyez.settings import OPERATOR_KEY

app = App(name="keys", help="Make keys of operators; make, list and revoke service keys.")


@app.command(name="operator")
def make_operator(name: str, /) -> int:
    """Make a key of an operator. The setting ADMIN_KEYS needs only its hash.

    For example:
      oyez keys operator anna

    Parameters
    ----------
    name
        The operator's name, which the audit shows.
    """
    key = make_key()
    line = f"{name}=sha256:{hash_key(key)}"
    if OPERATOR_KEY.fullmatch(line) is None:
        raise CallError(f"{name!r} is no name of a key. Use 1 to 64 letters, digits, '.', '_' and '-'.")
    console.out.print(f"key         {key}")
    console.out.print(f"ADMIN_KEYS  {line}")
    console.show_note("Keep the key: it is not stored. Add the line to ADMIN_KEYS, after a comma if there are others.")
    return 0


@app.command(name="list")
def list_all(*, admin: AdminFlags = ADMIN) -> int:
    """Show the service keys, and when each was last used.

    For example:
      oyez keys list
    """
    with admin.connect() as client:
        found = client.get("/keys")
    if admin.show_answer(found):
        return 0
    rows = [
        (
            one["id"],
            one["name"],
            ", ".join(one["systems"]),
            ", ".join(one["events"]) or "all",
            "revoked" if one["revoked"] else (f"until {one['until']}" if one["until"] else "valid"),
            one["lastUsed"] or "never",
        )
        for one in found["keys"]
    ]
    show_rows(("id", "name", "systems", "events", "state", "last used"), rows)
    return 0


@app.command
def make(
    name: str,
    /,
    *,
    system: Annotated[tuple[str, ...], Repeatable],
    event: Annotated[tuple[str, ...], Repeatable] = (),
    webhooks: Annotated[bool, Repeatable] = False,
    until: str | None = None,
    admin: AdminFlags = ADMIN,
) -> int:
    """Make a service key for a back end. It is shown once.

    For example:
      oyez keys make warehouse --system orders --event order:packed
      oyez keys make shop --system orders

    Parameters
    ----------
    name
        The name by which the audit and the list show it.
    system
        A system that it is for; repeatable.
    event
        An event that it may publish, or the beginning of names with `*`; repeatable. [default: all, and all else]
    webhooks
        It may keep receivers of webhooks too.
    until
        When it ends, such as 2026-01-31T12:00:00Z. [default: never]
    """
    systems = [name_system(one) for one in system]
    body = {"name": name, "systems": systems, "events": list(event), "webhooks": webhooks, "until": until}
    with admin.connect() as client:
        made = client.request("POST", "/keys", body)
    if not admin.show_answer(made):
        console.out.print(f"id   {made['id']}")
        console.out.print(f"key  {made['key']}")
    return 0


@app.command
def revoke(id: str, /, *, admin: AdminFlags = ADMIN) -> int:
    """Revoke a service key, on all nodes.

    For example:
      oyez keys revoke 5f0c1e2d3a4b

    Parameters
    ----------
    id
        The id of the key.
    """
    with admin.connect() as client:
        client.request("DELETE", in_path("keys", id))
    console.out.print(f"{id} is revoked")
    return 0
