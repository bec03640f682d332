"""The tables of docs/qscrap.md, from the contract, the states and the API: each as rows, the headings first."""

from collections.abc import Iterable

from oyez.service.resources import Listing, Write
from oyez.systems.qscrap import disputes, payouts, requests, states, subscriptions, tickets
from oyez.systems.qscrap.contract import contract
from oyez.systems.qscrap.http import RESOURCES

Rows = list[tuple[str, ...]]


def list_rooms() -> Rows:
    rows = [
        (f"`{room.pattern}`", f"`{room.join}({', '.join(room.placeholders)})`", f"a client that {room.rule.text}")
        for namespace in contract.namespaces
        for room in namespace.rooms.kinds
    ]
    return [("room", "joined by", "who may join"), *rows]


def list_events() -> Rows:
    modules = (tickets, requests, disputes, payouts, subscriptions)
    own = [value for module in modules for value in vars(module).values()]
    rows = [
        (
            f"`{event.name}`",
            " or ".join(target.text for target in event.targets["/"]),
            event.description,
            "system" if event.payload in own else "back end",
        )
        for event in contract.events.values()
    ]
    return [("event", "goes to", "what has happened", "sent by"), *rows]


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


def list_states() -> Rows:
    tables = {"ticket": states.TICKET, "request": states.REQUEST}
    tables |= {"dispute": states.DISPUTE, "payout": states.PAYOUT}
    rows = [
        (kind, f"`{state}`", ", ".join(f"`{action}` → `{after}`" for action, after in possible.items()))
        for kind, moves in tables.items()
        for state, possible in moves.items()
    ]
    return [("record", "state", "actions and the next state"), *rows]


TABLES: dict[str, Rows] = {
    "rooms": list_rooms(),
    "events": list_events(),
    "records": list_records(),
    "states": list_states(),
}
