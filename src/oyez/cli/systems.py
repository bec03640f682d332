"""`oyez systems`: what each system is for, and the commands that reach it."""

from rich.text import Text

from oyez.cli import console
from oyez.cli.address import FOUND, Target
from oyez.cli.flags import OWN_SETTINGS, SettingsFlags
from oyez.cli.suggestions import Suggestions
from oyez.systems.listing import list_systems
from oyez.systems.loader import load_system


def systems(*systems: str, target: Target = FOUND, flags: SettingsFlags = OWN_SETTINGS) -> int:
    """Show each system with the commands, JavaScript and HTTP that reach it.

    It reads contracts and settings only; no server needs to run.

    For example:
      oyez systems
      oyez systems quotes my_contract.py

    Parameters
    ----------
    systems
        Names of systems that ship, and files with a contract. [default: all that ship]
    """
    settings = flags.load()
    suggestions = Suggestions(target.find(settings), settings, flags.config)
    for reference in systems or list_systems():
        show_system(reference, suggestions)
    return 0


def show_system(reference: str, suggestions: Suggestions) -> None:
    """Everything that a client or back end needs to reach a system for the first time."""
    system = load_system(reference)
    contract, path = system.contract, f"/{system.name}/socket.io/"
    console.out.print(Text.assemble((system.name, "bold"), f"  {contract.description}".rstrip()))
    for purpose, line in suggestions.suggest(reference, contract).items():
        console.show_command(purpose, line)
    console.show_command("key", suggestions.suggest_key(reference))
    address = suggestions.url + contract.namespaces[0].name.rstrip("/")
    console.show_command("script", f'io("{address}", {{path: "{path}", auth: {{token}}}})')
    console.show_command("http", f"POST {suggestions.url}/{system.name}/events with the key")
    console.out.print()
