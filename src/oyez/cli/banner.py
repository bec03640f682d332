"""The first screen of `oyez serve`: the address, the systems, and three commands to copy into another terminal."""

from collections.abc import Mapping, Sequence

from rich.text import Text

from oyez import __version__
from oyez.cli import console
from oyez.cli.address import EVERYWHERE
from oyez.cli.server_flags import ServerFlags
from oyez.cli.suggestions import Suggestions
from oyez.contract import Contract
from oyez.service.app import Oyez

SCREEN_WIDTH = 80
"""Characters: the width of the smallest terminal that the first screen is made for."""


class Banner:
    """The first screen for the systems that `oyez serve` was called with, at `url`."""

    def __init__(self, oyez: Oyez, url: str, references: Sequence[str], flags: ServerFlags) -> None:
        """`references` are the systems as the command line names them; none: the systems that ship.

        Raises SettingsError if the settings file is not valid without flags and environment.
        """
        self._oyez = oyez
        self._references = references
        self._suggestions = Suggestions(url, oyez.settings, flags.config)

    def show(self, log_reason: str | None = None) -> None:
        """`log_reason` is why the log is unavailable, if it is: clients cannot connect then."""
        self._show_address(log_reason)
        contracts = {name: served.system.contract for name, served in self._oyez.systems.items()}
        console.out.print(Text.assemble("\n", ("Systems", "bold"), f" at {self._suggestions.url}/SYSTEM/socket.io/:"))
        for name, contract in contracts.items():
            line = Text.assemble("  ", (f"{name:<10}", "bold"), contract.description.partition("\n")[0])
            line.rstrip()
            line.truncate(SCREEN_WIDTH, overflow="ellipsis")
            console.out.print(line)
        if self._oyez.settings.serves_docs:
            page = f"{self._suggestions.url}/{next(iter(contracts)) if len(contracts) == 1 else 'SYSTEM'}/docs"
            console.out.print(Text.assemble("\nEvents, samples and a console for a browser: ", (page, "cyan")))
        self._show_commands(contracts)
        different = self._suggestions.list_different()
        if different:
            self._note(f"Before you run them in another terminal, set {' and '.join(different)} there as here.")
        every = self._suggestions.suggest_systems(self._references)
        console.out.print(Text.assemble("\nMore commands, JavaScript and HTTP: ", (every, "cyan")))

    def _show_address(self, log_reason: str | None) -> None:
        everywhere = " and all other addresses of this machine" if self._oyez.settings.host in EVERYWHERE else ""
        does = " listens at " if log_reason is None else " waits for the log at "
        address = Text.assemble("Oyez ", __version__, does, (self._suggestions.url, "bold"), everywhere)
        console.out.print(address.append(" (Ctrl-C stops it)"))
        if log_reason is not None:
            console.out.print(Text(f"Clients cannot connect yet, because the log is away: {log_reason}", "bold red"))
        if self._oyez.secret.made:
            self._note(f"Created a secret for tokens in {self._oyez.secret.path}; keep it private.")

    def _show_commands(self, contracts: Mapping[str, Contract]) -> None:
        """The commands for the system whose commands are the shortest."""
        references = dict(zip(contracts, self._references or contracts, strict=True))
        suggested = {name: self._suggestions.suggest(references[name], contracts[name]) for name in contracts}
        # A system without an event to publish comes last.
        name = min(
            suggested, key=lambda name: ("publish" not in suggested[name], sum(map(len, suggested[name].values())))
        )
        publish = ", publish in a third" if "publish" in suggested[name] else ""
        console.out.print(Text.assemble("\nTry ", (name, "bold"), f": listen in a second terminal{publish}:"))
        for purpose, line in suggested[name].items():
            console.show_command(purpose, line)

    def _note(self, text: str) -> None:
        console.out.print(Text(text, "dim"))
