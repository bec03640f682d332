"""`oyez token`: tokens of users and keys of back ends, signed with this machine's secret."""

from typing import Annotated, Literal

from cyclopts import Parameter

from oyez.cli import console
from oyez.cli.console import CallError
from oyez.cli.flags import NOBODY, OWN_SETTINGS, TOKEN_LIFETIME, SettingsFlags, UserFlags, load_signer
from oyez.systems.loader import load_system


def token(
    system: str,
    /,
    *,
    user: UserFlags = NOBODY,
    service: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    scope: Literal["publish", "webhooks"] = "publish",
    lifetime: float | None = None,
    flags: SettingsFlags = OWN_SETTINGS,
) -> int:
    """Print a token of a user, or the key of a back end.

    It is signed with the server's secret.

    For example:
      oyez token quotes --sub 5f0c --role supplier
      oyez token quotes --service

    Parameters
    ----------
    system
        The system it is for: the name of one that ships, or a file with a contract.
    service
        Make a service key, by which a back end publishes, instead of a user's token.
    scope
        What a service key is for: publishing, members and the system's own API, or receivers of webhooks.
    lifetime
        Seconds it is valid. [default: 3600 for a user, until the secret changes for a service]
    """
    loaded, settings = load_system(system), flags.load()
    if service:
        if user != NOBODY:
            raise CallError("A service key is no user's. Leave out --sub, --role and --claim, or --service.")
        made = load_signer(settings).sign_service(loaded.name, lifetime, scope)
    elif user.sub is None:
        raise CallError("A user's token needs the user's id. Add --sub ID, or --service for a back end's key.")
    else:
        made = user.sign(loaded, settings, TOKEN_LIFETIME if lifetime is None else lifetime)
    console.out.print(made)
    return 0
