"""The tally of a day: for each kind of event how often it was sent, who had to hear it, and who heard it."""

from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from oyez.contract import Contract


@dataclass(slots=True)
class Line:
    """One kind of event."""

    ways: dict[str, None] = field(default_factory=dict)
    """How it came about: published, by which request or command, by which job."""
    sent: int = 0
    due: int = 0
    """How many deliveries that makes: each of those who should hear it, each time."""
    heard: int = 0
    listeners: dict[str, None] = field(default_factory=dict)


class Tally:
    """One system's day. `faults` says what was not as it should be, in sentences."""

    def __init__(self, contract: Contract) -> None:
        self.system = contract.name
        self.lines = {name: Line() for name in contract.events}
        self.faults: list[str] = []
        self.cut_short = False
        """Whether the day has ended before it was over."""

    @property
    def kinds_heard(self) -> int:
        return sum(1 for line in self.lines.values() if line.heard)

    def send(self, event: str, way: str, due: int) -> None:
        """It was accepted, or came by itself; `due` people should hear it."""
        line = self.lines[event]
        line.ways[way] = None
        line.sent += 1
        line.due += due

    def hear(self, event: str, listener: str) -> None:
        line = self.lines[event]
        line.heard += 1
        line.listeners[listener] = None

    def close(self) -> None:
        """Find the kinds of event that nobody has sent or heard."""
        for name, line in self.lines.items():
            if not line.sent and not self.cut_short:
                self.faults.append(f"{name} was not sent: the day does not play it.")
            if line.sent and not line.heard:
                self.faults.append(f"{name} was heard by nobody.")

    def to_table(self) -> Table:
        table = Table(title=f"{self.system}: a day at the market", title_justify="left", box=None, pad_edge=False)
        table.add_column("event", no_wrap=True)
        table.add_column("sent", justify="right")
        table.add_column("to hear", justify="right")
        table.add_column("heard", justify="right")
        table.add_column("by whom", max_width=40)
        table.add_column("how it came about", overflow="fold")
        for name, line in self.lines.items():
            style = "green" if line.heard and line.heard == line.due else "bold red"
            table.add_row(
                Text(name, style),
                str(line.sent),
                str(line.due),
                str(line.heard),
                ", ".join(sorted(line.listeners)),
                ", ".join(line.ways),
            )
        return table

    def summary(self) -> str:
        sent, due, heard = (
            sum(getattr(line, name) for line in self.lines.values()) for name in ("sent", "due", "heard")
        )
        return (
            f"{self.system}: {self.kinds_heard} of {len(self.lines)} kinds of event heard;"
            f" {sent} sent, {heard} of {due} deliveries"
        )
