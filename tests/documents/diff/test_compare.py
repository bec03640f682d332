"""Contracts compared: every kind of change, in both directions, with what it means for publishers and for clients."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oyez.contract import Command, Contract, Payload, Was, anyone, member, own, role
from oyez.documents.description import describe
from oyez.documents.diff.compare import compare
from oyez.documents.diff.kinds import BREAKING, KINDS, RISKY, SAFE
from oyez.documents.diff.rights import compare_rights
from oyez.documents.rights import describe_rule
from tests.documents.contracts import NAMES, find_description
from tests.documents.diff.reverses import REVERSES

Data = dict[str, Any]
Change = Callable[[Data], object]


def make_contract() -> Contract:
    contract = Contract("market", roles=("buyer", "seller", "guest"), guests="guest")
    contract.refusal("sold_out", "There is none left.")
    contract.refusal("no_money", "Pay first.", status=402)
    root = contract.namespace("/")
    contract.namespace("/office", who=role("seller"))
    orders = root.room("order:{orderId}", members=[own("orderId"), member()], join="order:watch")
    root.room("hall:{day}", members=anyone(), on_connect=False, values={"day": ("mon", "tue")})

    @root.event("order:moved", to=[orders.of("orderId")], max_bytes=500)
    class OrderMoved(Payload):
        """One of the market."""

        orderId: str
        note: str = ""

    @root.event("order:seen", to=[orders, root.caller], volatile=True, latest=10)
    class OrderSeen(Payload):
        """One of the market."""

        orderId: str

    @root.event("order:at", to=[root.everyone], arguments="positional", webhook=True)
    class OrderAt(Payload):
        """One of the market."""

        x: int
        y: int

    @root.command("order:pay", who=role("buyer"), limit="5/m", reply=OrderAt, max_bytes=100)
    class OrderPay(Command):
        """One of the market."""

        amount: int

    @root.command("order:swap", arguments="positional", volatile=True, limit="5/m")
    class OrderSwap(Command):
        """One of the market."""

        a: int
        b: int

    return contract.build()


BASE = describe(make_contract())
BASE["sign_in_within"] = 60.0
ROOT, OFFICE = 0, 1
MOVED, SEEN, AT = 0, 1, 2
WATCH, PAY, SWAP = 0, 1, 2
HALL = {"text": "`hall:{day}`", "kind": "room", "room": "hall:{day}", "paths": {"day": "day"}}


def put(*path: Any, to: Any) -> Change:
    """Sets the member at a path."""

    def change(description: Data) -> None:
        for step in path[:-1]:
            description = description[step]
        description[path[-1]] = to

    return change


def drop(*path: Any) -> Change:
    """Deletes what is at a path."""

    def change(description: Data) -> None:
        for step in path[:-1]:
            description = description[step]
        del description[path[-1]]

    return change


def event(index: int, name: str, to: Any) -> Change:
    return put("namespaces", ROOT, "events", index, name, to=to)


def command(index: int, name: str, to: Any) -> Change:
    return put("namespaces", ROOT, "commands", index, name, to=to)


def room(index: int, name: str, to: Any) -> Change:
    return put("namespaces", ROOT, "rooms", index, name, to=to)


def reverse(listed: Any) -> Any:
    return list(reversed(listed))


EVENTS, COMMANDS = (BASE["namespaces"][ROOT][kind] for kind in ("events", "commands"))
ROOMS, PAYMENT = BASE["namespaces"][ROOT]["rooms"], COMMANDS[PAY]
ANYONE, BUYER = describe_rule(anyone()), describe_rule(role("buyer"))
GATEWAY = {"name": "desk", "who": ANYONE}
PRESENCE = {"joined": "in", "left": "out", "user": "user", "count": None, "last_seen": None}
LIMIT, SLOWER = PAYMENT["limits"][0], {**PAYMENT["limits"][0], "count": 1, "text": "1 a minute"}
PER_ROOM = {**LIMIT, "scope": "room"}
SELLER_MEMBER = describe_rule(role("seller") & member())
SWAPPED = reverse(COMMANDS[SWAP]["parameters"])
MORE = {**BASE["subjects"], "shop": "shop_id"}


def whole(description: Data) -> None:
    """An event that is in another namespace too."""
    description["namespaces"][OFFICE]["events"].append(deepcopy(EVENTS[MOVED]))


CASES: list[tuple[str, str, Change]] = [
    ("contract-renamed", "contract", put("name", to="bazaar")),
    ("role-removed", "contract", drop("roles", 1)),
    ("default-role-added", "contract, default_role", put("default_role", to="buyer")),
    ("guests-refused", "contract, guests", put("guests", to=None)),
    ("guest-role-changed", "contract, guests", put("guests", to="buyer")),
    ("sign-in-time-shorter", "contract, sign_in_within", put("sign_in_within", to=5.0)),
    ("sign-in-time-longer", "contract, sign_in_within", put("sign_in_within", to=None)),
    ("token-source-removed", "contract, tokens", drop("tokens", 0)),
    ("token-sources-reordered", "contract, tokens", put("tokens", to=reverse(BASE["tokens"]))),
    ("claims-changed", "contract, claims", put("claims", to={"subject": ["id"], "role": "role", "names": {}})),
    ("subject-added", "contract, subjects", put("subjects", to=MORE)),
    ("refusal-removed", "refusal no_money", drop("refusals", -1)),
    ("refusal-code-changed", "refusal no_money", put("refusals", -1, "client_code", to="E402")),
    ("refusal-status-changed", "refusal no_money", put("refusals", -1, "status", to=403)),
    ("refusal-became-temporary", "refusal no_money", put("refusals", -1, "temporary", to=True)),
    ("error-event-changed", "errors", put("errors", "event", to="failure")),
    ("error-form-changed", "errors, member code", put("errors", "shape", "code", to="status")),
    ("error-member-added", "errors", put("errors", "shape", "when", to="timestamp_ms")),
    ("acknowledgement-form-changed", "command order:pay, reply", put(
        "namespaces", ROOT, "commands", PAY, "acknowledgement", "form", "flag", to="success")),
    ("acknowledgement-form-changed", "command order:pay, reply", put(
        "namespaces", ROOT, "commands", PAY, "acknowledgement", "success", "names", to=["error", "paid"])),
    ("namespace-removed", "namespace /office", drop("namespaces", OFFICE)),
    ("gateway-added", "gateway desk", put("namespaces", ROOT, "gateways", to=[GATEWAY])),
    ("room-removed", "room hall:{day}", drop("namespaces", ROOT, "rooms", 1)),
    ("room-joined-on-connect", "room hall:{day}", room(1, "on_connect", True)),
    ("room-command-changed", "room order:{orderId}, join", room(0, "join", "order:follow")),
    ("room-gateway-changed", "room order:{orderId}", room(0, "gateway", "desk")),
    ("room-values-added", "room hall:{day}, {day}", room(1, "values", {"day": ["mon", "tue", "wed"]})),
    ("room-values-added", "room hall:{day}, {day}", room(1, "values", {})),
    ("presence-added", "room hall:{day}", room(1, "presence", PRESENCE)),
    ("rights-widened", "room order:{orderId}, members", room(0, "members", ANYONE)),
    ("rights-narrowed", "namespace /office, who", put("namespaces", OFFICE, "who", to=SELLER_MEMBER)),
    ("rights-changed", "command order:pay, who", command(PAY, "who", describe_rule(role("seller")))),
    ("event-removed", "event order:seen", drop("namespaces", ROOT, "events", SEEN)),
    ("event-in-another-namespace", "namespace /office, event order:moved", whole),

    ("target-added", "event order:moved", event(MOVED, "to", [*EVENTS[MOVED]["to"], HALL])),
    ("target-field-changed", "event order:moved", put(
        "namespaces", ROOT, "events", MOVED, "to", 0, "paths", to={"orderId": "note"})),
    ("room-must-be-named", "event order:moved", put("namespaces", ROOT, "events", MOVED, "to", 0, "paths", to=None)),
    ("delivery-weaker", "event order:moved", event(MOVED, "delivery", "volatile")),
    ("arguments-changed", "event order:at", event(AT, "arguments", "object")),
    ("parameters-reordered", "event order:at", event(AT, "parameters", reverse(EVENTS[AT]["parameters"]))),
    ("timestamp-filled", "event order:moved", event(MOVED, "timestamp", "at")),
    ("latest-longer", "event order:seen", event(SEEN, "latest", 20.0)),
    ("webhook-removed", "event order:at", event(AT, "webhook", False)),
    ("receipts-added", "event order:at", event(AT, "receipts", True)),
    ("event-size-raised", "event order:moved", event(MOVED, "max_bytes", 1_000)),
    ("event-size-by-setting", "event order:moved", event(MOVED, "max_bytes", None)),
    ("event-unknown-fields-ignored", "event order:moved", event(MOVED, "unknown_fields", "ignore")),
    ("relay-added", "event order:moved", event(MOVED, "relayed", True)),
    ("command-removed", "command order:swap", drop("namespaces", ROOT, "commands", SWAP)),
    ("command-arguments-changed", "command order:swap", command(SWAP, "arguments", "object")),
    ("command-parameters-reordered", "command order:swap", command(SWAP, "parameters", SWAPPED)),
    ("reply-removed", "command order:pay, reply", command(PAY, "reply", None)),
    ("limit-tightened", "command order:pay, limit", command(PAY, "limits", [SLOWER])),
    ("limit-changed", "command order:pay, limit", command(PAY, "limits", [{**LIMIT, "count": 6, "seconds": 3600.0}])),
    ("limit-added", "command order:pay, limit", command(PAY, "limits", [LIMIT, {**LIMIT, "seconds": 3600.0}])),
    ("limit-added", "command order:pay, limit", command(PAY, "limits", [LIMIT, PER_ROOM])),
    ("command-effect-changed", "command order:watch, joins", command(WATCH, "joins", "hall:{day}")),
    ("command-never-dropped", "command order:swap", command(SWAP, "volatile", False)),
    ("command-size-raised", "command order:pay", command(PAY, "max_bytes", 200)),
    ("command-size-by-setting", "command order:pay", command(PAY, "max_bytes", None)),
    ("command-unknown-fields-ignored", "command order:pay", command(PAY, "unknown_fields", "ignore")),
]  # fmt: skip
VERSIONS = {"names": ["1", "2"], "default": "1", "name": "version"}
ONE_WAY: list[tuple[str, Change]] = [
    ("default-role-changed", put("default_role", to="seller")),
    ("presence-changed", room(1, "presence", {**PRESENCE, "user": "who"})),
    ("subject-changed", put("subjects", to={"shop": "store_id"})),
    ("version-default-changed", put("versions", to={**VERSIONS, "default": "2"})),
    ("version-name-changed", put("versions", to={**VERSIONS, "name": "v"})),
    ("version-removed", put("versions", to={**VERSIONS, "names": ["2"]})),
    ("version-added", put("versions", to={**VERSIONS, "names": ["1", "2", "3"]})),
]


@pytest.mark.parametrize(
    ("kind", "place", "change"), CASES, ids=[f"{index}-{case[0]}" for index, case in enumerate(CASES)]
)
def test_each_kind_is_found_in_both_directions(kind: str, place: str, change: Change) -> None:
    new = deepcopy(BASE)
    change(new)
    (found,) = compare(BASE, new)
    assert (found.kind, found.publishers, found.clients) == (kind, KINDS[kind].publishers, KINDS[kind].clients)
    assert found.place.endswith(place)
    assert found.text.endswith(KINDS[kind].why)
    assert [change.kind for change in compare(new, BASE)] == [REVERSES[kind]]


@pytest.mark.parametrize(("kind", "change"), ONE_WAY)
def test_what_was_there_before_changes(kind: str, change: Change) -> None:
    old = deepcopy(BASE)
    old.update(default_role="buyer", subjects={"shop": "shop_id"})
    if kind.startswith("version-"):
        old["versions"] = VERSIONS
    old["namespaces"][ROOT]["rooms"][1]["presence"] = PRESENCE
    new = deepcopy(old)
    change(new)
    assert [found.kind for found in compare(old, new)] == [kind]


def test_every_kind_is_tried_and_each_has_its_reverse() -> None:
    tried = {kind for kind, *_ in CASES} | {kind for kind, _ in ONE_WAY}
    assert tried | {REVERSES[kind] for kind in tried} == set(KINDS)
    assert all(REVERSES[REVERSES[kind]] == kind for kind in KINDS)


def test_an_addition_is_never_breaking_and_a_removal_is() -> None:
    levels = {name: max(filter(None, (kind.publishers, kind.clients)), default=SAFE) for name, kind in KINDS.items()}
    assert {levels[name] for name in levels if name.endswith("-removed")} == {BREAKING, SAFE}
    assert {name for name, level in levels.items() if name.endswith("-added") and level is not SAFE} == {
        "limit-added",
        "refusal-added",
    }
    assert levels["limit-added"] is levels["refusal-added"] is RISKY


@pytest.mark.parametrize("name", NAMES)
def test_a_contract_compared_with_itself_has_no_changes(name: str) -> None:
    description = find_description(name)
    assert compare(description, deepcopy(description)) == []


@given(st.lists(st.sampled_from([case[2] for case in CASES]), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_several_changes_and_the_way_back_agree(changes: list[Change]) -> None:
    new = deepcopy(BASE)
    for change in changes:
        try:
            change(new)
        except LookupError:
            return  # An earlier change has removed its place.
    there, back = compare(BASE, new), compare(new, BASE)
    assert sorted(REVERSES[found.kind] for found in there) == sorted(found.kind for found in back)


# Versions of clients.


class Bid(Payload):
    """One of the market."""

    cents: int


class OldBid(Payload):
    """One of the market."""

    price: str


def declare_bid(payload: Any, *was: Was, versions: tuple[str, ...] = ()) -> Data:
    contract = Contract("market", roles=("buyer",), versions=versions)
    root = contract.namespace("/")
    root.event("bid", to=[root.everyone], was=was)(payload)
    return describe(contract.build())


WAS = Was("1", OldBid, lambda bid: OldBid(price=str(bid.cents)))


def test_an_old_form_makes_a_change_safe_for_the_clients_that_know_it() -> None:
    old = declare_bid(OldBid)
    lost, added = compare(old, declare_bid(Bid))
    assert (lost.kind, lost.clients, added.kind) == ("field-removed", BREAKING, "required-field-added")
    kept = compare(old, declare_bid(Bid, WAS, versions=("1", "2")))
    assert max(found.clients for found in kept if found.clients is not None) is SAFE
    assert max(found.publishers for found in kept if found.publishers is not None) is BREAKING


def test_an_old_form_that_is_removed_breaks_the_clients_of_its_version() -> None:
    old = declare_bid(Bid, WAS, versions=("1", "2"))
    broken = [found for found in compare(old, declare_bid(Bid, versions=("1", "2"))) if found.clients is BREAKING]
    assert [(found.kind, found.publishers) for found in broken] == [("field-removed", None)]
    assert broken[0].place.endswith("event bid, field price, clients of version 1")
    gone = [found for found in compare(old, declare_bid(Bid, versions=("2",))) if found.clients is BREAKING]
    assert [found.kind for found in gone] == ["version-removed", "version-default-changed"]


# Payloads: who sends them and who receives them.


def describe_with(payload: Any, command: Any, reply: Any) -> Data:
    contract = Contract("market", roles=("buyer",))
    root = contract.namespace("/")
    root.event("order:moved", to=[root.everyone])(payload)
    root.command("order:pay", reply=reply)(command)
    return describe(contract.build())


class Moved(Payload):
    """One of the market."""

    price: int


class Pay(Command):
    """One of the market."""

    price: int


class Paid(Payload):
    """One of the market."""

    price: int


class OrderMoved(Payload):
    """One of the market."""

    price: float


class OrderPay(Command):
    """One of the market."""

    price: float


class OrderPaid(Payload):
    """One of the market."""

    price: float


def test_a_payload_means_other_things_for_those_who_send_it_and_those_who_receive_it() -> None:
    old = describe_with(Moved, Pay, Paid)
    place = "namespace /, event order:moved, field price"
    (moved,) = compare(old, describe_with(OrderMoved, Pay, Paid))
    assert (moved.place, moved.publishers, moved.clients) == (place, SAFE, BREAKING)
    (moved,) = compare(describe_with(OrderMoved, Pay, Paid), old)
    assert (moved.place, moved.publishers, moved.clients) == (place, BREAKING, SAFE)
    (paid,) = compare(old, describe_with(Moved, OrderPay, Paid))
    assert (paid.publishers, paid.clients) == (None, SAFE)
    (reply,) = compare(old, describe_with(Moved, Pay, OrderPaid))
    assert (reply.place, reply.publishers, reply.clients) == (
        "namespace /, command order:pay, reply, field price",
        None,
        BREAKING,
    )


def test_names_of_placeholders_are_not_on_the_wire() -> None:
    def make(name: str) -> Data:
        contract = Contract("market", roles=("buyer",))
        root = contract.namespace("/")
        orders = root.room(f"order:{{{name}}}", members=own(name, claim="sub"), on_connect=True)

        @root.event("order:moved", to=[orders.of("order_id")])
        class Moved(Payload):
            """One of the market."""

            order_id: str

        return describe(contract.build())

    assert compare(make("orderId"), make("id")) == []


# Rights.

BUYER_OR_SELLER = describe_rule(role("buyer", "seller"))


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (role("buyer"), role("buyer", "seller"), "rights-widened"),
        (role("buyer") & member(), member(), "rights-widened"),
        (member("host"), member("host", "guest"), "rights-widened"),
        (member("host"), member(), "rights-widened"),
        (own("a"), anyone(), "rights-widened"),
        (own("a"), own("b"), "rights-changed"),
        (role("buyer"), role("seller"), "rights-changed"),
        (member() & role("buyer"), role("buyer") & member(), None),
    ],
)
def test_rights_are_compared_by_what_they_allow(old: Any, new: Any, kind: str | None) -> None:
    before, after = describe_rule(old), describe_rule(new)
    assert compare_rights(before, after, ["buyer", "seller"]) == kind
    reverse = REVERSES[kind] if kind is not None else None
    assert compare_rights(after, before, ["buyer", "seller"]) == reverse


def test_a_role_excluded_is_the_others_admitted() -> None:
    everyone_else = {"kind": "not_role", "roles": ["guest"], "text": ""}
    assert compare_rights(everyone_else, BUYER_OR_SELLER, ["buyer", "seller", "guest"]) is None


def test_a_namespace_with_another_name_is_found_by_what_is_in_it() -> None:
    def make(name: str) -> Any:
        made = Contract("c", roles=("user",))
        shop = made.namespace(name)
        shop.signal("opened", to=[shop.everyone], description="It is open.")
        made.namespace("/other")
        return describe(made.build())

    gone, new = [found for found in compare(make("/shop"), make("/shop-{id}")) if found.kind.startswith("namespace-")]
    assert gone.text.startswith("is gone, renamed to /shop-{id}?") and gone.clients is BREAKING
    assert new.text.startswith("is new, renamed from /shop?")
