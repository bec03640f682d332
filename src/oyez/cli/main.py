"""The `oyez` command: serve, make tokens, publish, listen.

A command says what went wrong in one line, with the remedy, and ends with status 1; a wrong call ends with status 2.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

from cyclopts import App, CycloptsError, Parameter

from oyez import __version__
from oyez.cli import console
from oyez.cli.console import CallError, fail
from oyez.errors import ContractError, OyezError, SettingsError
from oyez.systems.listing import list_systems

COMMANDS = {
    "new": ("new:new", "Write a starting project into a new folder."),
    "serve": ("serve:serve", "Start the server and show how to use it."),
    "systems": ("systems:systems", "Show each system with the commands, JavaScript and HTTP that reach it."),
    "check": ("check:check", "Check whether the server could start, without starting it."),
    "doctor": ("doctor:doctor", "Find out what is wrong, and what to do."),
    "token": ("tokens:token", "Print a token of a user, or the key of a back end."),
    "publish": ("publish:publish", "Publish one event, as a back end would: over HTTP."),
    "webhooks": ("webhooks:app", "Keep the receivers of webhooks, and send again what they did not accept."),
    "users": ("users:users", "List connected users, or show one: sockets, rooms, rights and history."),
    "rooms": ("rooms:rooms", "List rooms in which clients are, or show one: its rule, its clients and its members."),
    "events": (
        "events:events",
        "Show the newest events of the log, the newest last; with --follow, also those that come.",
    ),
    "receipts": (
        "receipts:receipts",
        "List events with receipts, or show whom one has reached and who has acknowledged it.",
    ),
    "disconnect": (
        "disconnect:disconnect",
        "Disconnect a user, a socket, a room or everyone. Official clients do not return by themselves.",
    ),
    "revoke": ("revoke:revoke", "Refuse tokens by their id, user or role, and disconnect their clients."),
    "keys": ("keys:app", "Make keys of operators; make, list and revoke service keys."),
    "listen": ("listen:listen", "Connect as a user and print each event with its time, name and data."),
    "demo": (
        "demo:demo",
        "Play a day at the market against a running server: customers, garages, partners and shops, all simulated.",
    ),
    "docs": ("docs:app", "Write documents, types and models of a system's contract."),
    "contract": ("contract:app", "Compare contracts."),
    "migrate": ("migrate:app", "Write migrations of a system's own tables."),
    "quotes": ("quotes:app", "Keep the quotes system's own records."),
}
"""Where each is, and the first line of its help. Only the command that is called is imported: the imports of all take
most of a second."""


def load(tokens: Sequence[str]) -> App:
    """The command line, with the command that is called, if one is, imported."""
    app = App(
        name="oyez",
        version=__version__,
        help=(
            "Real-time events for marketplaces: typed contracts, Socket.IO on the wire, an ordered log underneath.\n\n"
            "Begin with `oyez serve`; it shows what to do next."
        ),
        help_epilogue=(
            f"A system is one that ships ({', '.join(list_systems())}) or a Python file with a contract. Settings come"
            " from oyez.toml, then from the environment (PORT or OYEZ_PORT, …), then from flags; the last one wins."
        ),
        help_format="plaintext",
        default_parameter=Parameter(show_default=False),
        result_action="return_value",
    )
    called = tokens[0] if tokens else ""
    for name, (place, summary) in COMMANDS.items():
        # The command that is called has more to say than its first line.
        app.command(f"oyez.cli.{place}", name=name, help=None if name == called else summary)
    if called in COMMANDS:
        _ = app[called]
    return app


def main(tokens: Sequence[str] | None = None, app: App | None = None) -> NoReturn:
    """Run the command line and exit. `app` is what `load` has returned for `tokens`."""
    tokens = sys.argv[1:] if tokens is None else tokens
    app = app or load(tokens)
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
    except Exception as error:
        if (answer := find_database_answer(error)) is None:
            raise
        status = fail(f"The database answers: {answer}. Correct that, or set DATABASE_URL to another.")
    sys.exit(status)


def find_database_answer(error: Exception) -> object | None:
    """What the database said, if it is the origin of `error`."""
    # Without SQLAlchemy, which half of the commands do not import, there are no such errors.
    errors = sys.modules.get("sqlalchemy.exc")
    return error.orig if errors is not None and isinstance(error, errors.DBAPIError) else None
