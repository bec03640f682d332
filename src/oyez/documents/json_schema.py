"""JSON Schema (2020-12) of the types of a contract, as the values are on the wire.

Read from msgspec's description of a type, as the decoders are. msgspec's own schemas are not used: they sort the values
of a Literal, do not know `Time` and `Money`, and mix up two classes of one name.
"""

import inspect as python
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT, inspect

from oyez.contract.schema import is_millis, options
from oyez.contract.types import Command, Money, Time, Total
from oyez.documents.field_docs import find_field_docs

Schema = dict[str, Any]
PREFIX = "#/$defs/"
"""The beginning of each reference: the schemas of classes are in `$defs` of the whole document."""

_SCALARS: Mapping[type, Schema] = {
    Time: {"type": "string", "format": "date-time"},
    # Not multipleOf: validators divide in binary, and 19.99 / 0.01 is not a whole number there.
    Money: {"type": "number", "minimum": 0, "exclusiveMaximum": 10**13, "description": "With at most two decimals."},
    Total: {"type": "number", "minimum": 0, "exclusiveMaximum": 10**24, "description": "With at most two decimals."},
}
_PLAIN: Mapping[type[inspect.Type], Schema] = {
    inspect.AnyType: {},
    inspect.NoneType: {"type": "null"},
    inspect.BoolType: {"type": "boolean"},
    inspect.BytesType: {"type": "string", "format": "binary"},
    inspect.DateTimeType: {"type": "string", "format": "date-time"},
    inspect.DateType: {"type": "string", "format": "date"},
    inspect.TimeType: {"type": "string", "format": "time"},
    inspect.TimeDeltaType: {"type": "string", "format": "duration"},
    inspect.UUIDType: {"type": "string", "format": "uuid"},
    inspect.DecimalType: {"type": "number"},
}
_LIMITS: Mapping[str, str] = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
}
_MANY = (inspect.ListType, inspect.VarTupleType, inspect.SetType, inspect.FrozenSetType)


class Schemas:
    """Makes schemas. Those of classes are collected in `definitions`, by a name that only one class has."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        self._names: dict[type, str] = {}

    def make(self, kind: Any) -> Schema:
        """The schema of a type; of a class, a reference."""
        return self._make(inspect.type_info(kind), kind)

    def resolve(self, schema: Schema) -> Schema:
        """The schema to which a reference leads; another schema is unchanged."""
        return self.definitions[schema["$ref"].removeprefix(PREFIX)] if "$ref" in schema else schema

    def _make(self, found: inspect.Type, hint: Any) -> Schema:
        extra: Schema = {}
        while isinstance(found, inspect.Metadata):
            extra = {**(found.extra_json_schema or {}), **extra}
            found = found.type
        schema = (
            self._make_one_of(found, hint) if isinstance(found, inspect.UnionType) else self._make_kind(found, hint)
        )
        return {**schema, **extra}

    def _make_one_of(self, found: inspect.UnionType, hint: Any) -> Schema:
        kinds = list(options(found))
        if any(isinstance(kind, inspect.FloatType) for kind in kinds):
            kinds = [kind for kind in kinds if not isinstance(kind, inspect.IntType)]
        schemas = [self._make_kind(kind, hint) for kind in kinds]
        if len(schemas) == 1:
            return schemas[0]
        tagged = [kind for kind in kinds if isinstance(kind, inspect.StructType) and kind.tag_field is not None]
        union: Schema = {"anyOf": schemas}
        if len(tagged) > 1:
            mapping = {str(kind.tag): f"{PREFIX}{self._names[kind.cls]}" for kind in tagged}
            union["discriminator"] = {"propertyName": tagged[0].tag_field, "mapping": mapping}
        return union

    def _make_kind(self, found: inspect.Type, hint: Any) -> Schema:
        match found:
            case inspect.StructType():
                return {"$ref": f"{PREFIX}{self._define(found)}"}
            case inspect.CustomType(cls=cls):
                return dict(_SCALARS.get(cls, {}))
            case inspect.LiteralType():
                return _make_enum(_order(found.values, hint))
            case inspect.EnumType(cls=cls):
                return _make_enum([member.value for member in cls])
            case inspect.StrType():
                return {"type": "string", **_length(found, "Length"), **_limits(found)}
            case inspect.IntType():
                text = {"description": "Milliseconds since 1970."} if is_millis(found) else {}
                return {"type": "integer", **_limits(found), **text}
            case inspect.FloatType():
                return {"type": "number", **_limits(found)}
            case inspect.DictType():
                return self._make_map(found, hint)
            case inspect.TupleType(item_types=kinds):
                items = [self._make(kind, hint) for kind in kinds]
                return {"type": "array", "prefixItems": items, "minItems": len(items), "items": False}
            case inspect.CollectionType():
                unique = {"uniqueItems": True} if isinstance(found, inspect.SetType | inspect.FrozenSetType) else {}
                return {
                    "type": "array",
                    "items": self._make(found.item_type, hint),
                    **_length(found, "Items"),
                    **unique,
                }
        return dict(_PLAIN.get(type(found), {}))

    def _make_map(self, found: inspect.DictType, hint: Any) -> Schema:
        keys = self._make(found.key_type, hint)
        if keys.get("type") == "integer":
            keys = {"pattern": "^-?[0-9]+$"}
        keys.pop("type", None)
        names = {"propertyNames": keys} if keys else {}
        values = self._make(found.value_type, hint)
        return {"type": "object", **names, "additionalProperties": values, **_length(found, "Properties")}

    def _define(self, found: inspect.StructType) -> str:
        """The name of a class in `definitions`."""
        if found.cls in self._names:
            return self._names[found.cls]
        name = self._names[found.cls] = self._choose_name(found.cls)
        if name not in self.definitions:
            # Before its fields, because a class may contain itself.
            self.definitions[name] = {}
            self.definitions[name] = self._make_object(found, name)
        return name

    def _choose_name(self, cls: type[msgspec.Struct]) -> str:
        """A name that no other class has, unless the other one has the same fields and text."""
        names = [cls.__name__]
        if issubclass(cls, Command) and not cls.__name__.endswith("Command"):
            names.append(f"{cls.__name__}Command")
        names += [f"{cls.__name__}{number}" for number in range(2, len(self._names) + 3)]
        same = _essence(cls)
        taken = {name: kind for kind, name in self._names.items()}
        return next(name for name in names if name not in taken or _essence(taken[name]) == same)

    def _make_object(self, found: inspect.StructType, name: str) -> Schema:
        hints, docs = get_type_hints(found.cls, include_extras=True), find_field_docs(found.cls)
        properties: dict[str, Schema] = {}
        if found.tag_field is not None:
            properties[found.tag_field] = {"const": found.tag}
        required = list(properties)
        for field in found.fields:
            schema = self._make(field.type, hints[field.name])
            if field.name in docs and "description" not in schema:
                schema = {**schema, "description": docs[field.name]}
            elif field.name in docs:
                schema["description"] = f"{docs[field.name]} {schema['description']}"
            if field.default is not NODEFAULT and (default := _plain(field.default)) is not NODEFAULT:
                schema = {**schema, "default": default}
            properties[field.encode_name] = schema
            if field.required:
                required.append(field.encode_name)
        described = {"description": text} if (text := _own_text(found.cls)) else {}
        if found.array_like:
            items = list(properties.values())
            array = {"type": "array", "prefixItems": items, "minItems": len(required), "items": False}
            return {"title": name, **described, **array}
        schema = {"title": name, **described, "type": "object", "properties": properties, "required": required}
        if found.forbid_unknown_fields:
            schema["additionalProperties"] = False
        return schema


def _own_text(cls: type) -> str:
    return python.cleandoc(cls.__dict__.get("__doc__") or "")


def _essence(cls: type) -> Any:
    """What the schema of a class is made from."""
    fields = [(field.encode_name, field.type, field.required) for field in msgspec.structs.fields(cls)]
    config = cls.__struct_config__  # type: ignore[attr-defined]
    return fields, cls.__doc__, config.tag, config.tag_field, config.forbid_unknown_fields


def _plain(value: Any) -> Any:
    """A default as JSON has it; NODEFAULT if JSON cannot hold it."""
    try:
        return msgspec.to_builtins(value, str_keys=True)
    except (TypeError, ValueError):
        return NODEFAULT


def _limits(found: Any) -> Schema:
    values = {name: getattr(found, attribute, None) for attribute, name in _LIMITS.items()}
    return {name: value for name, value in values.items() if value is not None}


def _length(found: Any, unit: str) -> Schema:
    bounds = {f"min{unit}": found.min_length, f"max{unit}": found.max_length}
    return {name: value for name, value in bounds.items() if value is not None}


def _make_enum(values: Sequence[Any]) -> Schema:
    for kind, name in ((str, "string"), (int, "integer")):
        if all(type(value) is kind for value in values):
            return {"type": name, "enum": list(values)}
    return {"enum": list(values)}


def _order(values: tuple[Any, ...], hint: Any) -> list[Any]:
    """The values of a Literal in the contract's order: msgspec sorts them."""
    found = (literal for literal in _find_literals(hint) if {*literal} - {None} == {*values} - {None})
    return [value for value in next(found, values) if value in values]


def _find_literals(hint: Any) -> Iterator[tuple[Any, ...]]:
    if get_origin(hint) is Literal:
        yield get_args(hint)
    else:
        for part in get_args(hint):
            yield from _find_literals(part)


def holds_binary(description: Mapping[str, Any], name: str, seen: frozenset[str] = frozenset()) -> bool:
    """True if a value of the class `name` of a description holds binary data, at any depth."""
    text = json.dumps(description["$defs"][name])
    below = set(re.findall(rf'"{re.escape(PREFIX)}([^"]+)"', text)) - seen - {name}
    return '"format": "binary"' in text or any(holds_binary(description, each, seen | {name}) for each in below)
