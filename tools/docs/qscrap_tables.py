"""What only docs/qscrap.md has: the records of the API as rows, the headings first, and what sends each event."""

from collections.abc import Iterable

from oyez.service.resources import Listing, Write
from oyez.systems.qscrap import disputes, payouts, requests, subscriptions, tickets
from oyez.systems.qscrap.contract import contract
from oyez.systems.qscrap.http import RESOURCES

Rows = list[tuple[str, ...]]


OWN = [value for module in (tickets, requests, disputes, payouts, subscriptions) for value in vars(module).values()]
SENDERS = {event.name: "system" if event.payload in OWN else "back end" for event in contract.events.values()}
"""What sends each event."""
LISTINGS = [resource for resource in RESOURCES if isinstance(resource, Listing)]


def find_actions(listing: Listing) -> dict[str, Write]:
    """The actions on a record of that list, by the last part of the path."""
    one = f"{listing.path}/{{{listing.cursor.name}}}/"
    return {
        resource.path.removeprefix(one): resource
        for resource in RESOURCES
        if isinstance(resource, Write) and resource.method == "POST" and resource.path.startswith(one)
    }


def list_records() -> Rows:
    def code(names: Iterable[str]) -> str:
        return ", ".join(f"`{name}`" for name in names)

    rows = [(f"`{listing.path[1:]}`", code(listing.filters), code(find_actions(listing))) for listing in LISTINGS]
    return [("records", "filters", "actions"), *rows]


TABLES: dict[str, Rows] = {"records": list_records()}
