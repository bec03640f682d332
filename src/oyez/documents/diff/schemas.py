"""Schemas compared: what has changed in the values that they allow, and where.

Names of classes do not matter, only what they contain. The schemas are those that `json_schema` makes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from oyez.documents.json_schema import PREFIX

Schema = Mapping[str, Any]
_ANY: Schema = {}
_BOUNDS = {
    "minimum": ("range", -1),
    "exclusiveMinimum": ("range", -1),
    "maximum": ("range", 1),
    "exclusiveMaximum": ("range", 1),
    "minLength": ("length", -1),
    "maxLength": ("length", 1),
    "minItems": ("length", -1),
    "maxItems": ("length", 1),
    "minProperties": ("length", -1),
    "maxProperties": ("length", 1),
}
"""Keywords that bound a value. 1: a greater bound allows more; -1: a smaller one does."""


class SchemaChange(NamedTuple):
    """One difference between two schemas."""

    kind: str
    path: str
    """The field, with those around it: `items[].price`; empty for the value itself."""
    text: str


class SchemaDiff:
    """Compares schemas of two descriptions, whose `$defs` are given."""

    def __init__(self, old: Mapping[str, Schema], new: Mapping[str, Schema]) -> None:
        self._old = old
        self._new = new
        self._compared: dict[tuple[str, str], list[SchemaChange]] = {}

    def compare(self, old: Schema, new: Schema, path: str = "") -> list[SchemaChange]:
        """The changes from `old` to `new`, each once."""
        return list(dict.fromkeys(self._compare(old, new, path)))

    def _compare(self, old: Schema, new: Schema, path: str) -> Iterator[SchemaChange]:
        if "$ref" in old and "$ref" in new:
            yield from self._compare_classes(old["$ref"], new["$ref"], path)
            return
        old, new = self._resolve(old, self._old), self._resolve(new, self._new)
        if "anyOf" in old or "anyOf" in new:
            yield from self._compare_unions(_options(old), _options(new), path)
        else:
            yield from self._compare_one(old, new, path)

    def _compare_classes(self, old: str, new: str, path: str) -> Iterator[SchemaChange]:
        """Each pair of classes is compared once: they may contain themselves."""
        if (old, new) not in self._compared:
            self._compared[old, new] = []
            found = self._compare(self._resolve({"$ref": old}, self._old), self._resolve({"$ref": new}, self._new), "")
            self._compared[old, new] = list(dict.fromkeys(found))
        for kind, below, text in self._compared[old, new]:
            yield SchemaChange(kind, _join(path, below), text)

    def _resolve(self, schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
        return definitions[schema["$ref"].removeprefix(PREFIX)] if "$ref" in schema else schema

    # Unions.

    def _compare_unions(self, old: Sequence[Schema], new: Sequence[Schema], path: str) -> Iterator[SchemaChange]:
        before = {self._key(each, self._old): each for each in old}
        after = {self._key(each, self._new): each for each in new}
        if _ANYTHING in before or _ANYTHING in after:
            if _ANYTHING not in before or _ANYTHING not in after:
                kind, verb = ("type-widened", "is") if _ANYTHING in after else ("type-narrowed", "is no longer")
                yield SchemaChange(kind, path, f"{verb} any value")
            return
        null = ("type", "null")
        if null in before and null not in after:
            yield SchemaChange("null-refused", path, "is no longer null")
        if null in after and null not in before:
            yield SchemaChange("null-allowed", path, "may be null")
        removed = [key for key in before if key not in after and key != null]
        added = [key for key in after if key not in before and key != null]
        if len(removed) == len(added) == 1 and "tag" not in (removed[0][0], added[0][0]):
            yield from self._compare_one_of(before[removed[0]], after[added[0]], path)
        else:
            yield from self._compare_sets(removed, added, path)
        for key in before:
            if key in after:
                below = f"{path} ({key[1]})".lstrip() if key[0] == "tag" else path
                yield from self._compare(before[key], after[key], below)

    def _compare_one_of(self, old: Schema, new: Schema, path: str) -> Iterator[SchemaChange]:
        """The one type of a union that has become another one."""
        yield from self._compare_one(self._resolve(old, self._old), self._resolve(new, self._new), path)

    def _compare_sets(self, removed: Sequence[Any], added: Sequence[Any], path: str) -> Iterator[SchemaChange]:
        for keys, tagged, plain, verb in (
            (removed, "shape-removed", "type-narrowed", "is gone"),
            (added, "shape-added", "type-widened", "is new"),
        ):
            for source, name in keys:
                what = "shape" if source == "tag" else "type"
                yield SchemaChange(tagged if source == "tag" else plain, path, f"{what} {name} {verb}")

    def _key(self, schema: Schema, definitions: Mapping[str, Schema]) -> tuple[str, str]:
        """What tells one option of a union from the others: its tag, or its type."""
        found = self._resolve(schema, definitions)
        for name, member in found.get("properties", {}).items():
            if "const" in member and "default" not in member:
                return "tag", f"{name}: {member['const']}"
        return "type", _name_type(found)

    # One type.

    def _compare_one(self, old: Schema, new: Schema, path: str) -> Iterator[SchemaChange]:
        kind = _compare_types(old, new)
        if kind is not None:
            yield SchemaChange(kind, path, f"{_name_type(old)} became {_name_type(new)}")
            return
        yield from _compare_values(old, new, path)
        yield from _compare_bounds(old, new, path)
        yield from _compare_patterns(old, new, path)
        if "prefixItems" in old or "prefixItems" in new:
            yield from self._compare_tuples(old, new, path)
        elif old.get("type") == "array":
            yield from self._compare(old.get("items", _ANY), new.get("items", _ANY), f"{path}[]")
        elif "properties" in old or "properties" in new:
            yield from self._compare_objects(old, new, path)
        elif old.get("type") == "object":
            yield from self._compare_maps(old, new, path)

    def _compare_objects(self, old: Schema, new: Schema, path: str) -> Iterator[SchemaChange]:
        before, after = old.get("properties", {}), new.get("properties", {})
        needed, needed_now = {*old.get("required", ())}, {*new.get("required", ())}
        for name, schema in before.items():
            if name not in after:
                kind = "field-removed" if name in needed else "optional-field-removed"
                yield SchemaChange(kind, _join(path, name), "is gone")
                continue
            if (name in needed) is not (name in needed_now):
                required = name in needed_now
                kind, text = ("field-now-required", "is now required") if required else _NOW_OPTIONAL
                yield SchemaChange(kind, _join(path, name), text)
            if "default" in schema and "default" in after[name] and schema["default"] != after[name]["default"]:
                text = f"default {schema['default']!r} became {after[name]['default']!r}"
                yield SchemaChange("default-changed", _join(path, name), text)
            yield from self._compare(schema, after[name], _join(path, name))
        for name in after:
            if name not in before:
                required = name in needed_now
                text = "is new and required" if required else "is new"
                yield SchemaChange("required-field-added" if required else "field-added", _join(path, name), text)
        closed, closed_now = old.get("additionalProperties") is False, new.get("additionalProperties") is False
        if closed and not closed_now:
            yield SchemaChange("unknown-fields-allowed", path, "may have more fields")
        if closed_now and not closed:
            yield SchemaChange("unknown-fields-refused", path, "may have no more fields")

    def _compare_tuples(self, old: Schema, new: Schema, path: str) -> Iterator[SchemaChange]:
        before, after = old.get("prefixItems"), new.get("prefixItems")
        if before is None or after is None:
            yield SchemaChange("type-changed", path, f"{_name_type(old)} became {_name_type(new)}")
            return
        if len(before) != len(after) or old.get("minItems") != new.get("minItems"):
            yield SchemaChange("length-changed", path, f"{len(before)} values became {len(after)}")
        for index, (left, right) in enumerate(zip(before, after, strict=False)):
            yield from self._compare(left, right, f"{path}[{index}]")

    def _compare_maps(self, old: Schema, new: Schema, path: str) -> Iterator[SchemaChange]:
        yield from self._compare(old.get("propertyNames", _ANY), new.get("propertyNames", _ANY), f"{path}{{name}}")
        before, after = old.get("additionalProperties", _ANY), new.get("additionalProperties", _ANY)
        yield from self._compare(before, after, f"{path}{{}}")


_ANYTHING = ("type", "anything")
_NOW_OPTIONAL = ("field-now-optional", "is now optional")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name and name[0] not in "[{" else path + name


def _options(schema: Schema) -> list[Schema]:
    return list(schema["anyOf"]) if "anyOf" in schema else [schema]


def _name_type(schema: Schema) -> str:
    if "prefixItems" in schema:
        return "tuple"
    if "type" in schema:
        return f"{schema['type']} ({schema['format']})" if "format" in schema else str(schema["type"])
    kinds = {_JSON_TYPES.get(type(value), "object") for value in _values(schema)}
    return next(iter(kinds)) if len(kinds) == 1 else "one of its values" if kinds else "anything"


_JSON_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null", list: "array"}


def _compare_types(old: Schema, new: Schema) -> str | None:
    """The kind of a change of the type; None if there is none."""
    if _name_type(old) == _name_type(new):
        return None
    if "binary" in (old.get("format"), new.get("format")):
        return "binary-changed"
    if _is_wider(old, new):
        return "type-widened"
    return "type-narrowed" if _is_wider(new, old) else "type-changed"


def _is_wider(old: Schema, new: Schema) -> bool:
    """True if the type of `new` has all values of the type of `old`, and more."""
    if _name_type(new) == "anything":
        return True
    if (old.get("type"), new.get("type")) == ("integer", "number"):
        return True
    return old.get("type") == new.get("type") == "string" and "format" in old and "format" not in new


def _values(schema: Schema) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", ()))


def _compare_values(old: Schema, new: Schema, path: str) -> Iterator[SchemaChange]:
    before, after = _values(old), _values(new)
    if before and not after:
        yield SchemaChange("values-added", path, "any value is allowed")
        return
    if after and not before:
        yield SchemaChange("values-removed", path, f"only {_list(after)} are allowed")
        return
    if removed := [value for value in before if value not in after]:
        yield SchemaChange("values-removed", path, f"no longer {_list(removed)}")
    if added := [value for value in after if value not in before]:
        yield SchemaChange("values-added", path, f"also {_list(added)}")


def _list(values: Sequence[Any]) -> str:
    return ", ".join(map(repr, values))


def _compare_bounds(old: Schema, new: Schema, path: str) -> Iterator[SchemaChange]:
    tuples = "prefixItems" in old or "prefixItems" in new
    for keyword, (what, sign) in _BOUNDS.items():
        before, after = old.get(keyword), new.get(keyword)
        if before == after or tuples:
            continue
        wider = after is None or (before is not None and (after - before) * sign > 0)
        text = f"{keyword} {_show(before)} became {_show(after)}"
        yield SchemaChange(f"{what}-{'widened' if wider else 'narrowed'}", path, text)
    before, after = bool(old.get("uniqueItems")), bool(new.get("uniqueItems"))
    if before is not after:
        text = "values must differ" if after else "values may be equal"
        yield SchemaChange("range-narrowed" if after else "range-widened", path, text)


def _show(bound: Any) -> str:
    return "none" if bound is None else str(bound)


def _compare_patterns(old: Schema, new: Schema, path: str) -> Iterator[SchemaChange]:
    for keyword in ("pattern", "multipleOf"):
        before, after = old.get(keyword), new.get(keyword)
        if before == after:
            continue
        kind = "pattern-removed" if after is None else "pattern-added" if before is None else "pattern-changed"
        yield SchemaChange(kind, path, f"{keyword} {_show(before)} became {_show(after)}")
