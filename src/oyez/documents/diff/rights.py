"""Rights compared: whether everyone who had a right keeps it. A rule is as `describe_rule` describes it."""

from collections.abc import Mapping, Sequence
from typing import Any

Rule = Mapping[str, Any]


def compare_rights(old: Rule, new: Rule, roles: Sequence[str]) -> str | None:
    """The kind of a change of a right; None if the same clients have it. `roles` are those of the old contract."""
    if _same(old, new):
        return None
    kept, added = _implies(old, new, roles), _implies(new, old, roles)
    if kept and added:
        return None
    return "rights-widened" if kept else "rights-narrowed" if added else "rights-changed"


def rename_placeholders(rule: Any, names: Mapping[str, str]) -> Any:
    """A rule with other names of placeholders."""
    if isinstance(rule, Mapping):
        renamed = {key: rename_placeholders(value, names) for key, value in rule.items()}
        if "placeholder" in renamed:
            renamed["placeholder"] = names.get(renamed["placeholder"], renamed["placeholder"])
        return renamed
    return [rename_placeholders(each, names) for each in rule] if isinstance(rule, list) else rule


def _implies(left: Rule, right: Rule, roles: Sequence[str]) -> bool:
    """True if everyone whom `left` allows is certainly allowed by `right`."""
    if left["kind"] == "nobody" or right["kind"] == "anyone" or _same(left, right):
        return True
    if right["kind"] == "all_of":
        return all(_implies(left, each, roles) for each in right["rules"])
    if left["kind"] == "one_of":
        return all(_implies(each, right, roles) for each in left["rules"])
    if right["kind"] == "one_of" and any(_implies(left, each, roles) for each in right["rules"]):
        return True
    if left["kind"] == "all_of":
        return any(_implies(each, right, roles) for each in left["rules"])
    return _implies_simple(left, right, roles)


def _implies_simple(left: Rule, right: Rule, roles: Sequence[str]) -> bool:
    if left["kind"] in _ROLES:
        return _admitted(left, roles) <= _admitted(right if right["kind"] in _ROLES else _union(right), roles)
    if left["kind"] != right["kind"] or left["kind"] not in ("member", "in_room"):
        return False
    if _without(left, "parts") != _without(right, "parts"):
        return False
    return not right["parts"] or (bool(left["parts"]) and {*left["parts"]} <= {*right["parts"]})


_ROLES = ("role", "not_role")


def _union(rule: Rule) -> Rule:
    """The roles of a list of rules, as one rule: `[role("a"), role("b")]` is `role("a", "b")`."""
    listed = [each for each in rule.get("rules", ()) if rule["kind"] == "one_of" and each["kind"] == "role"]
    return {"kind": "role", "roles": [name for each in listed for name in each["roles"]]}


def _admitted(rule: Rule, roles: Sequence[str]) -> set[str]:
    """The roles that a rule admits; a role that the contract does not have stands for itself."""
    named = {*rule["roles"]}
    return {*roles} - named if rule["kind"] == "not_role" else named


def _same(left: Any, right: Any) -> bool:
    """True if two rules differ in nothing but their text."""
    return bool(_plain(left) == _plain(right))


def _plain(rule: Any) -> Any:
    if isinstance(rule, Mapping):
        return {key: _plain(value) for key, value in rule.items() if key != "text"}
    return [_plain(each) for each in rule] if isinstance(rule, list) else rule


def _without(rule: Rule, *keys: str) -> Any:
    return {key: value for key, value in rule.items() if key not in (*keys, "text")}
