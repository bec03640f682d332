"""The `oyez` command: serve, make tokens, publish, listen.

A command says what went wrong in one line, with the remedy, and ends with status 1; a wrong call ends with status 2.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

from cyclopts import App, CycloptsError, Parameter
from sqlalchemy.exc import DBAPIError

from oyez import __version__
from oyez.cli import console
from oyez.cli.console import CallError, fail
from oyez.errors import ContractError, OyezError, SettingsError
from oyez.systems.loader import list_systems

COMMANDS = {
    "new": "new:new",
    "serve": "serve:serve",
    "systems": "systems:systems",
    "check": "check:check",
    "token": "tokens:token",
    "publish": "publish:publish",
    "webhooks": "webhooks:app",
    "listen": "listen:listen",
    "demo": "demo:demo",
    "docs": "docs:app",
    "migrate": "migrate:app",
    "quotes": "quotes:app",
}
"""Where each is. Only the one that is called is imported: that is half of the time that most of them take."""

app = App(
    name="oyez",
    version=__version__,
    help=(
        "Real-time events for marketplaces: typed contracts, Socket.IO on the wire, an ordered log underneath.\n\n"
        "Begin with `oyez serve`; it shows what to do next."
    ),
    help_epilogue=(
        f"A system is one that ships ({', '.join(list_systems())}) or a Python file with a contract. Settings come from"
        " oyez.toml, then from the environment (PORT or OYEZ_PORT, …), then from flags; the last one wins."
    ),
    help_format="plaintext",
    default_parameter=Parameter(show_default=False),
    result_action="return_value",
)
for name, place in COMMANDS.items():
    app.command(f"oyez.cli.{place}", name=name)


def load(tokens: Sequence[str]) -> None:
    """Import the command that is called; where none is, all of them: the list says of each what it is for."""
    for name in tokens[:1] if tokens and tokens[0] in COMMANDS else COMMANDS:
        _ = app[name]


def main(tokens: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    tokens = sys.argv[1:] if tokens is None else tokens
    load(tokens)
    try:
        status = app(tokens, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        called = console.join_words([*console.invocation(), *(error.command_chain or ())])
        status = fail(f"{error} See `{called} --help`.", 2)
    except CallError as error:
        status = fail(str(error), 2)
    except (ContractError, SettingsError) as error:
        # Each fault is a line of its own.
        status = max(fail(line) for line in str(error).splitlines())
    except OyezError as error:
        status = fail(str(error))
    except DBAPIError as error:
        status = fail(f"The database answers: {error.orig}. Correct that, or set DATABASE_URL to another.")
    sys.exit(status)
