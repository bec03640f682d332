"""`oyez revoke`: tokens that a running server does not accept any more, on all nodes."""

from typing import Annotated

from cyclopts import Parameter

from oyez.cli import console
from oyez.cli.operators import ADMIN, AdminFlags, AdminSystem, in_path, name_system


def revoke(
    system: AdminSystem,
    /,
    *,
    token_id: str | None = None,
    user: str | None = None,
    role: str | None = None,
    until: str | None = None,
    undo: Annotated[bool, Parameter(negative="")] = False,
    reason: str = "",
    admin: AdminFlags = ADMIN,
) -> int:
    """Refuse tokens by their id, user or role, and disconnect their clients.

    Tokens of a user or a role that are issued later are accepted.

    For example:
      oyez revoke orders --user ada
      oyez revoke orders --token-id 5f0c1e --reason stolen
      oyez revoke orders --user ada --undo

    Parameters
    ----------
    token_id
        The id of a token: its claim `jti`.
    user
        The id of a user.
    role
        A role.
    until
        When the last of these tokens ends, such as 2026-01-31T12:00:00Z. [default: as far as the server knows]
    undo
        Accept the tokens again.
    reason
        Why, for the audit.
    """
    body = {"token": token_id, "user": user, "role": role, "reason": reason}
    action = "restore" if undo else "revoke"
    with admin.connect() as client:
        path = in_path("systems", name_system(system), action)
        done = client.request("POST", path, body if undo else {**body, "until": until})
    if not admin.show_answer(done):
        console.out.print("accepted again" if undo else f"revoked until {done['until']}")
    return 0
