"""JSON Schema of every payload of a contract, for validators, and for generators of code in other languages.

`$defs` has the classes, and the acknowledgements by the names that they have in `types.ts` too. `x-events` and
`x-commands` say which schema belongs to which name.
"""

from typing import Any

from oyez.contract.codec import encode_json
from oyez.documents.description import Description
from oyez.documents.json_schema import PREFIX, Schema
from oyez.documents.names import Names, make_title, prefix_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def build_schemas(description: Description) -> bytes:
    """The schemas as one JSON document."""
    return encode_json(_collect(description))


def _collect(description: Description) -> Schema:
    definitions: dict[str, Schema] = {name: _tidy(schema) for name, schema in description["$defs"].items()}
    names = Names(definitions)
    events: dict[str, Any] = {}
    commands: dict[str, Any] = {}

    def define(title: str, schema: Schema) -> Schema:
        """A reference to an object that has no name yet; other schemas are unchanged."""
        tidy: Schema = _tidy(schema)
        if "properties" not in schema:
            return tidy
        name = names.claim(title)
        definitions[name] = {"title": name, **tidy}
        return {"$ref": f"{PREFIX}{name}"}

    for namespace in description["namespaces"]:
        prefix = prefix_of(namespace["name"])
        listed = events[namespace["name"]] = {}
        for event in namespace["events"]:
            listed[event["name"]] = _tidy(event["payload"])
        for event in (*namespace["error_events"], *description["own_events"]):
            listed[event["name"]] = define(f"{prefix}{make_title(event['name'])}", event["payload"])
        commands[namespace["name"]] = {
            command["name"]: {
                "arguments": _tidy(command["schema"]),
                **{
                    part: [
                        define(f"{prefix}{make_title(command['name'])}{part.capitalize()}", schema)
                        for schema in command["acknowledgement"][part]["arguments"]
                    ]
                    for part in ("success", "failure")
                },
            }
            for command in namespace["commands"]
        }
    return {
        "$schema": DIALECT,
        "$id": f"urn:oyez:{description['name']}:schemas",
        "title": description["name"],
        "description": description["description"],
        "$defs": definitions,
        "x-events": events,
        "x-commands": commands,
    }


def _tidy(schema: Any) -> Any:
    """A schema without `discriminator`, which JSON Schema does not have: the `const` of each shape says the same."""
    if isinstance(schema, list):
        return [_tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "anyOf" in schema:
        schema = {name: value for name, value in schema.items() if name != "discriminator"}
    return {name: _tidy(value) for name, value in schema.items()}
