"""`oyez doctor`: names the cause of faults, of settings and of a running server."""

from dataclasses import replace
from typing import Annotated

import msgspec
from cyclopts import Parameter

from oyez.cli import console
from oyez.cli.address import Target, base_url
from oyez.cli.check import check_start
from oyez.cli.checks.before_start import Before
from oyez.cli.checks.machine import MACHINE, TIMEOUT, examine_token, is_oyez
from oyez.cli.checks.report import Checks, UnknownError
from oyez.cli.checks.running import RUNNING, Running
from oyez.cli.flags import Repeatable, load_signer
from oyez.cli.server_flags import DEFAULTS, ServerFlags
from oyez.settings import Settings

KEY_SECONDS = 60.0
"""Lifetime of the service key that is made for the server of this machine."""


def doctor(
    url: str | None = None,
    *,
    system: Annotated[tuple[str, ...], Repeatable] = (),
    token: str | None = None,
    key: str | None = None,
    origin: str | None = None,
    path: str | None = None,
    timeout: float = TIMEOUT,
    json: Annotated[bool, Parameter(negative="")] = False,
    flags: ServerFlags = DEFAULTS,
) -> int:
    """Find out what is wrong, and what to do.

    Without an address, it checks the settings as `oyez check` does, then the machine, and the server with these
    settings if it runs. With an address, it checks the server there, as its clients reach it. It changes nothing. The
    status is 1 if there is a problem.

    For example:
      oyez doctor
      oyez doctor https://live.shop.example --origin https://shop.example --token "$TOKEN"
      oyez doctor http://127.0.0.1:5001 --key "$KEY" --json

    Parameters
    ----------
    url
        The address of a running server, as clients reach it.
    system
        A system to check with the settings: its name, or a file with a contract; repeatable. [default: all that ship]
    token
        A user's token: is it accepted?
    key
        A service key: do the nodes fit together?
    origin
        The origin of a page, such as https://shop.example: may it connect?
    path
        The path of Socket.IO. [default: that of the first system]
    timeout
        Seconds to wait for one answer. [default: 5]
    json
        Print a JSON object with all results instead of lines.
    """
    checks = Checks(quiet=json)
    if url is not None:
        found = Running(Target(url).find(Settings()), path, token, lambda system: key, origin, timeout)
        checks.run_table(RUNNING, found)
    else:
        check_settings(checks, system, flags, Running("", path, token, lambda system: key, origin, timeout))
    if json:
        answer = {"problems": checks.problems, "results": checks.results}
        console.out.print(msgspec.json.format(msgspec.json.encode(answer)).decode())
    return 1 if checks.problems else 0


def refuse_own_tls() -> str:
    """Say that the certificate cannot be checked by the address of this machine."""
    raise UnknownError("It serves HTTPS. Run `oyez doctor https://NAME` with the name in its certificate.")


def check_settings(checks: Checks, systems: tuple[str, ...], flags: ServerFlags, wanted: Running) -> None:
    """Check the settings, the machine, and the server with these settings, if it runs."""
    settings = check_start(checks, systems, flags)
    if settings is None:
        return
    names = [result.check.removeprefix("system ") for result in checks.results if result.check.startswith("system ")]
    checks.run_table(MACHINE, Before(settings, names))
    if not is_oyez(settings):
        if wanted.token is not None:
            checks.describe("token", lambda: examine_token(settings, wanted.token))
        return

    if settings.ssl_certfile is not None:
        checks.describe("running server", refuse_own_tls)
        return

    def make_key(system: str) -> str | None:
        # Only the server of this machine is sent a key that its secret signs.
        return wanted.make_key(system) or load_signer(settings).sign_service(system, KEY_SECONDS)

    checks.run_table(RUNNING, replace(wanted, url=base_url(settings), make_key=make_key))
