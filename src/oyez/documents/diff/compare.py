"""Two descriptions of a contract compared: each difference, its kind, its place, and what it means for whom."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from oyez.contract.patterns import PLACEHOLDER
from oyez.documents.diff.kinds import KINDS, SCHEMA_KINDS, Change, Level
from oyez.documents.diff.rights import compare_rights, rename_placeholders
from oyez.documents.diff.schemas import SchemaDiff
from oyez.documents.versions import describe_version

Data = Mapping[str, Any]
EVENT, SENT, RECEIVED = "event", "sent", "received"
"""Who sends the values of a schema: publishers to clients, clients to the server, the server to clients."""


def compare(old: Data, new: Data) -> list[Change]:
    """The changes from one description to another, in the order of the contract.

    Publishers use the newest forms. Clients of each version of the old contract use the forms that the new contract has
    for that version.
    """
    versions = list(_compare_versions(old.get("versions"), new.get("versions")))
    pairs = list(_pair_versions(old, new))
    newest = list(_Comparison(describe_version(dict(old)), describe_version(dict(new))).run())
    found = {(change.kind, change.place, change.text): (change.publishers, change.clients) for change in newest}
    if not old.get("versions") and not new.get("versions"):
        return list(dict.fromkeys(newest))
    for_publishers = {key: levels[0] for key, levels in found.items() if levels[0] is not None}
    for_clients: dict[tuple[str, str, str], tuple[Level, list[str | None]]] = {}
    for version, before, after in pairs:
        for change in _Comparison(before, after).run():
            if change.clients is not None:
                key = (change.kind, change.place, change.text)
                for_clients.setdefault(key, (change.clients, []))[1].append(version)
    changes = []
    for key in dict.fromkeys([*for_publishers, *for_clients]):
        kind, place, text = key
        level, concerned = for_clients.get(key, (None, []))
        if level is not None and len(concerned) < len(pairs):
            place = f"{place}, clients of version {' and '.join(map(str, concerned))}"
        changes.append(Change(kind, place, text, for_publishers.get(key), level))
    return [*versions, *changes]


def _compare_versions(old: Data | None, new: Data | None) -> Iterator[Change]:
    """The changes of the list of versions. A description of an earlier Oyez has none."""
    before, after = old or _NO_VERSIONS, new or _NO_VERSIONS
    if after["names"] or not before["names"]:
        yield from _compare_lists("version", "contract, versions", before["names"], after["names"], "version")
    if before["names"] and after["names"]:
        yield from _changed("version-default-changed", "contract, versions", before["default"], after["default"])
        yield from _changed("version-name-changed", "contract, versions", before["name"], after["name"])


def _pair_versions(old: Data, new: Data) -> Iterator[tuple[str | None, Data, Data]]:
    """Each version of the clients of the old contract: what they know, and what the new contract has for them."""
    before, after = old.get("versions"), new.get("versions")
    for version in [None] if before is None else before["names"]:
        if after is None:
            yield version, describe_version(dict(old), version), new
        elif version is None:
            yield version, old, describe_version(dict(new), after["default"])
        elif version in after["names"]:
            yield version, describe_version(dict(old), version), describe_version(dict(new), version)


class _Comparison:
    """Compares two descriptions. Each method yields the changes of one part."""

    def __init__(self, old: Data, new: Data) -> None:
        self._old = old
        self._new = new
        self._schemas = SchemaDiff(old["$defs"], new["$defs"])
        self._old_events = {_key(event["name"]) for space in old["namespaces"] for event in space["events"]}
        self._new_events = {_key(event["name"]) for space in new["namespaces"] for event in space["events"]}

    def run(self) -> Iterator[Change]:
        yield from self._compare_contract()
        yield from self._compare_refusals()
        yield from self._compare_errors(self._old["errors"], self._new["errors"])
        pairs = list(_pair(self._old["namespaces"], self._new["namespaces"], "name"))
        gone, fresh = [old for _, old, new in pairs if new is None], [new for _, old, new in pairs if old is None]
        for _, old, new in pairs:
            hint = (
                _guess_name(old, fresh, "to") if new is None else _guess_name(new, gone, "from") if old is None else ""
            )
            yield from self._compare_namespace(old, new, hint)

    # The contract.

    def _compare_contract(self) -> Iterator[Change]:
        old, new = self._old, self._new
        yield from _changed("contract-renamed", "contract", old["name"], new["name"])
        yield from _compare_lists("role", "contract", old["roles"], new["roles"], "role")
        yield from _compare_presence(
            ("default-role-added", "default-role-removed", "default-role-changed"),
            "contract, default_role",
            old["default_role"],
            new["default_role"],
        )
        yield from _compare_presence(
            ("guests-admitted", "guests-refused", "guest-role-changed"),
            "contract, guests",
            old["guests"],
            new["guests"],
        )
        yield from _compare_amounts(
            "sign-in-time",
            "contract, sign_in_within",
            old["sign_in_within"],
            new["sign_in_within"],
        )
        yield from self._compare_tokens()
        yield from _changed("claims-changed", "contract, claims", old["claims"], new["claims"])
        before, after = old["subjects"], new["subjects"]
        yield from _compare_lists("subject", "contract, subjects", list(before), list(after), "subject")
        for kind in before:
            if kind in after:
                yield from _changed("subject-changed", f"contract, subject {kind}", before[kind], after[kind])

    def _compare_tokens(self) -> Iterator[Change]:
        before, after = ([source["text"] for source in each["tokens"]] for each in (self._old, self._new))
        yield from _compare_lists("token-source", "contract, tokens", before, after, "token in")
        if [text for text in before if text in after] != [text for text in after if text in before]:
            yield _change("token-sources-reordered", "contract, tokens", "the places are searched in another order")

    def _compare_refusals(self) -> Iterator[Change]:
        for code, old, new in _pair(self._old["refusals"], self._new["refusals"], "code"):
            place = f"refusal {code}"
            if old is None or new is None:
                kind = "refusal-added" if old is None else "refusal-removed"
                yield _change(kind, place, "is new" if old is None else "is gone")
                continue
            yield from _changed("refusal-code-changed", place, old["client_code"], new["client_code"])
            yield from _changed("refusal-status-changed", place, old["status"], new["status"])
            if old["temporary"] != new["temporary"]:
                kind = "refusal-became-temporary" if new["temporary"] else "refusal-became-final"
                yield _change(kind, place, "is now temporary" if new["temporary"] else "is now final")

    def _compare_errors(self, old: Data, new: Data) -> Iterator[Change]:
        yield from _changed("error-event-changed", "errors", old["event"], new["event"])
        yield from _compare_forms("errors", old["shape"], new["shape"])
        yield from _compare_forms("errors of CONNECT", old["connect_shape"], new["connect_shape"])

    # Namespaces.

    def _compare_namespace(self, old: Data | None, new: Data | None, hint: str) -> Iterator[Change]:
        found = old if old is not None else new
        assert found is not None
        place = f"namespace {found['name']}"
        if old is None or new is None:
            yield _change("namespace-added" if old is None else "namespace-removed", place, _new_or_gone(old) + hint)
            yield from self._compare_events((old or _EMPTY)["events"], (new or _EMPTY)["events"], place, whole=False)
            return
        yield from self._rights(f"{place}, who", old["who"], new["who"])
        for name, before, after in _pair(old["gateways"], new["gateways"], "name"):
            gateway = f"{place}, gateway {name}"
            if before is None or after is None:
                yield _change("gateway-added" if before is None else "gateway-removed", gateway, _new_or_gone(before))
            else:
                yield from self._rights(gateway, before["who"], after["who"])
        for _, before, after in _pair(old["rooms"], new["rooms"], "pattern"):
            yield from self._compare_room(before, after, place)
        yield from self._compare_events(old["events"], new["events"], place, whole=True)
        for _, before, after in _pair(old["commands"], new["commands"], "name"):
            yield from self._compare_command(before, after, place)

    def _rights(self, place: str, old: Data, new: Data) -> Iterator[Change]:
        kind = compare_rights(old, new, self._old["roles"])
        if kind is not None:
            yield _change(kind, place, f"the client {old['text']} became the client {new['text']}")

    def _compare_room(self, old: Data | None, new: Data | None, space: str) -> Iterator[Change]:
        found = old if old is not None else new
        assert found is not None
        place = f"{space}, room {found['pattern']}"
        if old is None or new is None:
            yield _change("room-added" if old is None else "room-removed", place, _new_or_gone(old))
            return
        names = dict(zip(new["placeholders"], old["placeholders"], strict=True))
        yield from self._rights(f"{place}, members", old["members"], rename_placeholders(new["members"], names))
        for side in ("join", "leave"):
            yield from _changed("room-command-changed", f"{place}, {side}", old[side], new[side])
        if old["on_connect"] != new["on_connect"]:
            kind = "room-joined-on-connect" if new["on_connect"] else "room-not-joined-on-connect"
            yield _change(kind, place, "is joined on CONNECT" if new["on_connect"] else "is not joined on CONNECT")
        yield from _changed("room-gateway-changed", place, old["gateway"], new["gateway"])
        values = {names[name]: listed for name, listed in new["values"].items()}
        for name in old["placeholders"]:
            yield from _compare_values(f"{place}, {{{name}}}", old["values"].get(name), values.get(name))
        yield from _compare_presence(
            ("presence-added", "presence-removed", "presence-changed"), place, old["presence"], new["presence"]
        )

    # Events.

    def _compare_events(self, old: Sequence[Data], new: Sequence[Data], space: str, *, whole: bool) -> Iterator[Change]:
        """`whole` is False for a namespace that is itself new or gone."""
        for key, before, after in _pair(old, new, "name"):
            found = before if before is not None else after
            assert found is not None
            place = f"{space}, event {found['name']}"
            if before is not None and after is not None:
                yield from self._compare_event(before, after, place)
            elif before is None and key not in self._old_events:
                yield _change("event-added", place, "is new")
            elif after is None and key not in self._new_events:
                yield _change("event-removed", place, "is gone")
            elif whole:
                kind = "event-in-another-namespace" if before is None else "event-left-namespace"
                yield _change(kind, place, "is new here" if before is None else "is gone here")

    def _compare_event(self, old: Data, new: Data, place: str) -> Iterator[Change]:
        yield from self._compare_schema(EVENT, old["payload"], new["payload"], place)
        yield from _compare_parameters("", old, new, place)
        yield from _compare_targets(old["to"], new["to"], place)
        if (rank := _RANKS[old["delivery"]]) != (now := _RANKS[new["delivery"]]):
            kind = "delivery-weaker" if now < rank else "delivery-stronger"
            yield _change(kind, place, f"{old['delivery']} became {new['delivery']}")
        if old["timestamp"] != new["timestamp"]:
            if old["timestamp"] is not None:
                yield _change("timestamp-not-filled", place, f"the server does not fill in {old['timestamp']}")
            if new["timestamp"] is not None:
                yield _change("timestamp-filled", place, f"the server fills in {new['timestamp']}")
        yield from _compare_amounts("latest", place, old["latest"], new["latest"])
        if old["webhook"] != new["webhook"]:
            kind = "webhook-added" if new["webhook"] else "webhook-removed"
            yield _change(kind, place, "may go to webhooks" if new["webhook"] else "does not go to webhooks")
        if old.get("receipts", False) != new["receipts"]:
            kind = "receipts-added" if new["receipts"] else "receipts-removed"
            text = "wants acknowledgements" if new["receipts"] else "does not want acknowledgements"
            yield _change(kind, place, text)
        yield from _compare_size("event", place, old["max_bytes"], new["max_bytes"])
        yield from _compare_unknown("event", place, old, new)
        if old["relayed"] != new["relayed"]:
            kind = "relay-added" if new["relayed"] else "relay-removed"
            yield _change(kind, place, "is relayed" if new["relayed"] else "is not relayed")

    def _compare_schema(self, who: str, old: Data, new: Data, place: str) -> Iterator[Change]:
        for name, path, text in self._schemas.compare(old, new):
            kind = SCHEMA_KINDS[name]
            clients = kind.senders if who == SENT else kind.receivers
            where = f"{place}, field {path}" if path else place
            yield Change(name, where, f"{text}. {kind.why}", kind.senders if who == EVENT else None, clients)

    # Commands.

    def _compare_command(self, old: Data | None, new: Data | None, space: str) -> Iterator[Change]:
        found = old if old is not None else new
        assert found is not None
        place = f"{space}, command {found['name']}"
        if old is None or new is None:
            yield _change("command-added" if old is None else "command-removed", place, _new_or_gone(old))
            return
        yield from self._compare_schema(SENT, old["schema"], new["schema"], place)
        yield from _compare_parameters("command-", old, new, place)
        yield from self._rights(f"{place}, who", old["who"], new["who"])
        yield from _compare_limits(old["limits"], new["limits"], place)
        yield from self._compare_reply(old, new, f"{place}, reply")
        for effect in ("joins", "leaves", "signs_in"):
            yield from _changed("command-effect-changed", f"{place}, {effect}", _key(old[effect]), _key(new[effect]))
        if old["volatile"] != new["volatile"]:
            kind = "command-may-be-dropped" if new["volatile"] else "command-never-dropped"
            yield _change(kind, place, "is now volatile" if new["volatile"] else "is no longer volatile")
        yield from _compare_size("command", place, old["max_bytes"], new["max_bytes"])
        yield from _compare_unknown("command", place, old, new)

    def _compare_reply(self, old: Data, new: Data, place: str) -> Iterator[Change]:
        before, after = old["reply"], new["reply"]
        if before is not None and after is not None:
            yield from self._compare_schema(RECEIVED, before, after, place)
        elif before is not after:
            yield _change("reply-added" if before is None else "reply-removed", place, _new_or_gone(before))
        forms = (each["acknowledgement"]["form"] for each in (old, new))
        yield from _changed("acknowledgement-form-changed", place, *forms, shown=False)
        names, now = (each["acknowledgement"]["success"].get("names", []) for each in (old, new))
        if bool(names) is not bool(now) or names != now[: len(names)]:
            text = f"its arguments were ({', '.join(names)}), and are ({', '.join(now)})"
            yield _change("acknowledgement-form-changed", place, text)
        yield from _changed("error-event-changed", place, old["error_event"], new["error_event"])


_EMPTY: Data = {"events": []}
_NO_VERSIONS: Data = {"names": []}
_RANKS = {"durable": 1, "volatile": 0, "direct": 0}
"""Delivery classes. Events to one client are not stored either."""


def _key(name: str | None) -> str | None:
    """A name whose placeholders have no names: these are not on the wire."""
    return name if name is None else PLACEHOLDER.sub("{}", name)


def _pair(old: Sequence[Data], new: Sequence[Data], name: str) -> Iterator[tuple[str, Any, Any]]:
    """What has the same name in both lists, by it; None where one of them does not have it."""
    before, after = ({str(_key(each[name])): each for each in listed} for listed in (old, new))
    for key in [*before, *(key for key in after if key not in before)]:
        yield key, before.get(key), after.get(key)


def _change(name: str, place: str, text: str) -> Change:
    kind = KINDS[name]
    return Change(name, place, f"{text}. {kind.why}", kind.publishers, kind.clients)


def _new_or_gone(old: Any) -> str:
    return "is new" if old is None else "is gone"


def _guess_name(found: Data, others: Sequence[Data], way: str) -> str:
    """A hint at the other name of a namespace, if one of `others` has at least half of its events and commands."""

    def names(space: Data) -> set[tuple[str, str]]:
        return {(kind, each["name"]) for kind in ("events", "commands") for each in space[kind]}

    best = max(others, key=lambda other: len(names(found) & names(other)), default=None)
    alike = best is not None and 2 * len(names(found) & names(best)) >= max(1, len(names(found)))
    return f", renamed {way} {best['name']}?" if best is not None and alike else ""


def _changed(kind: str, place: str, old: Any, new: Any, *, shown: bool = True) -> Iterator[Change]:
    if old != new:
        yield _change(kind, place, f"{_show(old)} became {_show(new)}" if shown else "has another form")


def _show(value: Any) -> str:
    return "nothing" if value is None else value if isinstance(value, str) else repr(value)


def _compare_presence(kinds: tuple[str, str, str], place: str, old: Any, new: Any) -> Iterator[Change]:
    """Something that may be there or not: the kinds for added, removed and changed."""
    added, removed, changed = kinds
    kind = added if old is None else removed if new is None else changed
    if isinstance(old, Mapping) or isinstance(new, Mapping):
        yield from _changed(kind, place, old, new, shown=False)
    else:
        yield from _changed(kind, place, old, new)


def _compare_lists(kind: str, place: str, old: Sequence[str], new: Sequence[str], what: str) -> Iterator[Change]:
    for name in old:
        if name not in new:
            yield _change(f"{kind}-removed", place, f"{what} {name} is gone")
    for name in new:
        if name not in old:
            yield _change(f"{kind}-added", place, f"{what} {name} is new")


def _compare_amounts(kind: str, place: str, old: float | None, new: float | None) -> Iterator[Change]:
    """Seconds, None for no end."""
    if old == new:
        return
    more = new is None or (old is not None and new > old)
    shown = [_show(seconds if seconds is None else f"{seconds:g} s") for seconds in (old, new)]
    yield _change(f"{kind}-{'longer' if more else 'shorter'}", place, f"{shown[0]} became {shown[1]}")


def _compare_size(kind: str, place: str, old: int | None, new: int | None) -> Iterator[Change]:
    if old == new:
        return
    if old is None or new is None:
        change = "by-setting" if new is None else "set"
    else:
        change = "raised" if new > old else "lowered"
    yield _change(f"{kind}-size-{change}", place, f"max_bytes: {_show(old)} became {_show(new)}")


def _compare_unknown(kind: str, place: str, old: Data, new: Data) -> Iterator[Change]:
    if old["unknown_fields"] != new["unknown_fields"]:
        change = "ignored" if new["unknown_fields"] == "ignore" else "refused"
        yield _change(f"{kind}-unknown-fields-{change}", place, f"unknown fields are now {change}")


def _compare_values(place: str, old: Sequence[str] | None, new: Sequence[str] | None) -> Iterator[Change]:
    """The only values of a placeholder; None for any."""
    if old is None or new is None:
        if old is not new:
            kind = "room-values-added" if new is None else "room-values-removed"
            yield _change(kind, place, "any value is allowed" if new is None else f"only {', '.join(new)} are allowed")
        return
    yield from _compare_lists("room-values", place, old, new, "value")


def _compare_forms(place: str, old: Any, new: Any) -> Iterator[Change]:
    """The form of an error. More members are safe; other values are not."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from _compare_lists("error-member", place, list(old), list(new), "member")
        for name in old:
            if name in new:
                yield from _compare_forms(f"{place}, member {name}", old[name], new[name])
    else:
        yield from _changed("error-form-changed", place, old, new)


def _compare_parameters(prefix: str, old: Data, new: Data, place: str) -> Iterator[Change]:
    if old["arguments"] != new["arguments"]:
        yield _change(f"{prefix}arguments-changed", place, f"{old['arguments']} became {new['arguments']}")
        return
    before, after = ([each["name"] for each in side["parameters"] or ()] for side in (old, new))
    common = min(len(before), len(after))
    moved = {*before[:common]} == {*after[:common]} or bool({*before} & {*after})
    if before[:common] != after[:common] and moved:
        yield _change(f"{prefix}parameters-reordered", place, f"({', '.join(before)}) became ({', '.join(after)})")


def _compare_targets(old: Sequence[Data], new: Sequence[Data], place: str) -> Iterator[Change]:
    before, after = ({_target_key(each): each for each in side} for side in (old, new))
    for key, target in before.items():
        if key not in after:
            yield _change("target-removed", place, f"does not go to {target['text']}")
        elif _paths(target) and _paths(after[key]) and _paths(target) != _paths(after[key]):
            yield _change("target-field-changed", place, f"{target['text']} became {after[key]['text']}")
    for key, target in after.items():
        if key not in before:
            yield _change("target-added", place, f"goes to {target['text']} too")
    free, free_now = _follows(old), _follows(new)
    if free is not free_now:
        kind = "room-need-not-be-named" if free_now else "room-must-be-named"
        yield _change(kind, place, "its rooms follow from its data" if free_now else "its rooms do not follow any more")


def _target_key(target: Data) -> tuple[str, str | None]:
    return target["kind"], _key(target.get("room"))


def _paths(target: Data) -> list[str]:
    """The fields that name the room, in the order of its placeholders. Their names do not matter."""
    paths = target.get("paths") or {}
    return [paths[name] for name in PLACEHOLDER.findall(target.get("room") or "{socketId}") if name in paths]


def _follows(targets: Sequence[Data]) -> bool:
    """True if the event may be published without the name of a room."""
    return any(target["kind"] in ("everyone", "caller") or target["paths"] is not None for target in targets)


def _compare_limits(old: Sequence[Data], new: Sequence[Data], place: str) -> Iterator[Change]:
    before, after = (_group_limits(old), _group_limits(new))
    for scope in [*before, *(scope for scope in after if scope not in before)]:
        for limit, now in zip_longest(before.get(scope, ()), after.get(scope, ())):
            if now is None:
                yield _change("limit-removed", f"{place}, limit", f"{limit['text']} is gone")
            elif limit is None:
                yield _change("limit-added", f"{place}, limit", f"{now['text']} is new")
            elif (kind := _compare_limit(limit, now)) is not None:
                yield _change(kind, f"{place}, limit", f"{limit['text']} became {now['text']}")


def _group_limits(limits: Sequence[Data]) -> dict[tuple[str, str | None], list[Data]]:
    """The limits of each scope, those of short times first."""
    grouped: dict[tuple[str, str | None], list[Data]] = {}
    for limit in sorted(limits, key=lambda limit: limit["seconds"]):
        grouped.setdefault((limit["scope"], _key(limit["room"])), []).append(limit)
    return grouped


def _compare_limit(old: Data, new: Data) -> str | None:
    """A limit is both a burst (its count) and a rate: it is looser only if neither is smaller."""
    pairs = [
        (side["count"], side["count"] / side["seconds"] if side["seconds"] else side["count"]) for side in (old, new)
    ]
    before, after = pairs
    if before == after:
        return None
    if all(new >= old for old, new in zip(before, after, strict=True)):
        return "limit-loosened"
    if all(new <= old for old, new in zip(before, after, strict=True)):
        return "limit-tightened"
    return "limit-changed"
