"""A description of a contract as the clients of one version see it: with the old forms that they know."""

from collections.abc import Iterator
from typing import Any

from oyez.documents.json_schema import PREFIX
from oyez.errors import OyezError

Description = dict[str, Any]


class UnknownVersionError(OyezError):
    """The contract does not have that version."""


def describe_version(description: Description, version: str | None = None) -> Description:
    """The description for clients of `version`; without one, of the newest. Raises UnknownVersionError.

    It has no old forms, and only the schemas that it uses.
    """
    versions = description.get("versions")
    names = [] if versions is None else versions["names"]
    if version is not None and version not in names:
        known = f"there are {', '.join(names)}" if names else "it has no versions"
        raise UnknownVersionError(f"{description['name']} has no version {version!r}: {known}.")
    if not names:
        return description
    seen = {
        **description,
        "for_version": names[-1] if version is None else version,
        "publishes": version in (None, names[-1]),
        "namespaces": [
            {
                **namespace,
                "events": [_choose(event, names, version) for event in namespace["events"]],
                "commands": [_choose(command, names, version) for command in namespace["commands"]],
            }
            for namespace in description["namespaces"]
        ],
    }
    used = _find_used({name: part for name, part in seen.items() if name != "$defs"}, description["$defs"])
    return {**seen, "$defs": {name: schema for name, schema in description["$defs"].items() if name in used}}


def _choose(described: Description, names: list[str], version: str | None) -> Description:
    """An event or a command in the form of a version."""
    chosen = {**described, "was": []}
    for form in described["was"]:
        if version is not None and names.index(version) <= names.index(form["version"]):
            chosen |= {name: value for name, value in form.items() if name != "version"}
    return chosen


def _find_used(part: Any, definitions: Description) -> set[str]:
    """The names of the schemas to which a part refers, also through other schemas."""
    used: set[str] = set()
    waiting = [part]
    while waiting:
        for name in _find_references(waiting.pop()):
            if name not in used:
                used.add(name)
                waiting.append(definitions[name])
    return used


def _find_references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        reference = part.get("$ref")
        if isinstance(reference, str) and reference.startswith(PREFIX):
            yield reference.removeprefix(PREFIX)
        for value in part.values():
            yield from _find_references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _find_references(value)
