"""The tally of a scenario: for each event, how often it was sent, its due deliveries, and its actual recipients."""

from dataclasses import dataclass, field

from oyez.contract import Contract


@dataclass(slots=True)
class Line:
    """The counts of one event."""

    ways: dict[str, None] = field(default_factory=dict)
    """The causes of the event: a publish, a request, a command or a job."""
    sent: int = 0
    due: int = 0
    """Number of expected deliveries: one for each recipient, each time."""
    received: int = 0
    recipients: dict[str, None] = field(default_factory=dict)


class Tally:
    """The tally of one system. `faults` has a sentence for each error."""

    def __init__(self, contract: Contract) -> None:
        self.system = contract.name
        self.lines = {name: Line() for name in contract.events}
        self.faults: list[str] = []
        self.cut_short = False
        """True if the scenario has ended early."""

    @property
    def events_received(self) -> int:
        return sum(1 for line in self.lines.values() if line.received)

    def send(self, event: str, way: str, due: int) -> None:
        """Count an event that was sent because of `way` and has `due` recipients."""
        line = self.lines[event]
        line.ways[way] = None
        line.sent += 1
        line.due += due

    def receive(self, event: str, recipient: str) -> None:
        line = self.lines[event]
        line.received += 1
        line.recipients[recipient] = None

    def close(self) -> None:
        """Report the events that were not sent, and those that no client has received."""
        for name, line in self.lines.items():
            if not line.sent and not self.cut_short:
                self.faults.append(f"{name} was not sent: the scenario does not cause it.")
            if line.sent and not line.received:
                self.faults.append(f"{name} was sent, but no client received it.")

    def summary(self) -> str:
        sent, due, received = (
            sum(getattr(line, name) for line in self.lines.values()) for name in ("sent", "due", "received")
        )
        return (
            f"{self.system}: {self.events_received} of {len(self.lines)} events received;"
            f" {sent} sent, {received} of {due} deliveries"
        )
