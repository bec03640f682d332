"""Reads AsyncAPI 2 and 3, in YAML or JSON: channels, operations and messages become namespaces, events and commands.

In version 2, what a channel calls `publish` is sent by clients, and `subscribe` is received by them. In version 3, an
operation says what the described application does: a server receives commands, and sends events.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from oyez.contract.patterns import NamespaceName
from oyez.scaffold.reader.model import (
    COMMAND,
    EVENT,
    NO_SAMPLE,
    ROOT,
    Array,
    Choice,
    Direction,
    Document,
    DocumentError,
    Either,
    Field,
    Items,
    Map,
    Message,
    Object,
    Scalar,
    Shape,
)
from oyez.scaffold.reader.words import NAME, OWN

MAX_DEPTH = 40
"""Schemas in schemas, references included: more than any document has, and too few to exhaust the stack."""
MAX_LEVELS = 200
"""Objects and lists in each other."""
MAX_ALIASES = 200
"""Aliases in YAML: each can repeat a part of the document, so that a few lines become gigabytes."""
MAX_FIELDS = 50_000
"""Fields of all schemas together, with what they refer to."""
FORMATS = {"date-time": "Time", "uuid": "Id", "byte": "bytes", "binary": "bytes"}


def is_asyncapi(text: str, suffix: str) -> bool:
    """True if the document is one of AsyncAPI."""
    return re.search(r"""^\s*[{]?\s*["']?asyncapi["']?\s*:""", text, re.MULTILINE) is not None and suffix != ".md"


def read_asyncapi(text: str) -> Document:
    """What the document says. Raises DocumentError."""
    tree = load(text)
    version = str(tree.get("asyncapi", ""))
    if not version.startswith(("2.", "3.")):
        raise DocumentError(f"The document is AsyncAPI {version or 'without a version'}. Versions 2 and 3 can be read.")
    return Reader(tree, text).read(version.startswith("3."))


def load(text: str) -> dict[str, Any]:
    """The tree of a YAML or JSON document. Raises DocumentError."""
    try:
        tree = json.loads(text) if text.lstrip().startswith("{") else load_yaml(text)
    except ValueError as error:
        raise DocumentError(f"The document is not valid JSON: {error}.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark is not None else ""
        raise DocumentError(f"The document is not valid YAML: {place}{getattr(error, 'problem', error)}.") from None
    if not isinstance(tree, dict):
        raise DocumentError("The document is not an object, as an AsyncAPI document is.")
    return tree


def load_yaml(text: str) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    aliases = depth = 0
    for event in yaml.parse(text, Loader=loader):
        aliases += isinstance(event, yaml.AliasEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if aliases > MAX_ALIASES:
            raise DocumentError(f"The document has over {MAX_ALIASES} YAML aliases. Write $ref instead.")
        if depth > MAX_LEVELS:
            raise DocumentError(f"The document is nested too deeply: over {MAX_LEVELS} levels.")
    return yaml.load(text, Loader=loader)


_NAMESPACE = re.compile(r"/\w(?:[\w/-]|\{\w+\})*")
"""Namespaces as documents name them, such as `/shop-{shopId}`. Other addresses are those of rooms or brokers."""


class Reader:
    """Reads one tree."""

    def __init__(self, tree: dict[str, Any], text: str) -> None:
        self._tree = tree
        self._text = text
        self._document = Document()
        self._fields = 0

    def read(self, third: bool) -> Document:
        messages = self._read_third() if third else self._read_second()
        for namespace, direction, name, message in messages:
            self._add(namespace, direction, name, message)
        info = self._tree.get("info")
        if isinstance(info, dict) and isinstance(info.get("description"), str):
            self._document.sentences.append(info["description"])
        return self._document

    def _read_second(self) -> Iterator[tuple[str, Direction, str, Any]]:
        """The namespace, direction, name and content of each message."""
        for channel, item in self._entries(self._tree.get("channels")):
            for word, direction in (("publish", COMMAND), ("subscribe", EVENT)):
                operation = self._find(item.get(word))
                message = self._find(operation.get("message"))
                for one in message.get("oneOf", [message] if message else []):
                    found = self._find(one)
                    name = self._name(found, one, operation, channel)
                    yield self._find_namespace(channel, item), direction, name, found

    def _read_third(self) -> Iterator[tuple[str, Direction, str, Any]]:
        for key, operation in self._entries(self._tree.get("operations")):
            direction = COMMAND if operation.get("action") == "receive" else EVENT
            channel = self._find(operation.get("channel"))
            address = str(channel.get("address") or self._key(operation.get("channel")))
            listed = operation.get("messages") or list(self._mapping(channel.get("messages")).values())
            for one in listed if isinstance(listed, list) else []:
                found = self._find(one)
                name = self._name(found, one, {"operationId": key}, address)
                yield self._find_namespace(address, channel), direction, name, found

    def _find_namespace(self, address: str, channel: Mapping[str, Any]) -> str:
        """The namespace of a channel: its tag in documents of Oyez, otherwise its address if that can be one."""
        tags = [tag.get("name") for tag in self._list(channel.get("tags")) if isinstance(tag, dict)]
        tagged = next((tag for tag in tags if isinstance(tag, str) and tag.startswith("/")), None)
        name = tagged or address
        fits = name == ROOT or (_NAMESPACE.fullmatch(name) is not None and not NamespaceName(name).fault)
        return name if fits else ROOT

    def _name(self, message: Mapping[str, Any], reference: Any, operation: Mapping[str, Any], channel: str) -> str:
        """The name on the wire, from the first place that has one."""
        key = self._key(reference) if isinstance(reference, dict) and "$ref" in reference else ""
        names = (message.get("name"), key, operation.get("operationId"), channel, message.get("title"))
        return next((str(name) for name in names if isinstance(name, str) and NAME.fullmatch(name)), "")

    def _add(self, namespace: str, direction: Direction, name: str, message: Mapping[str, Any]) -> None:
        if not name or name in OWN:
            return
        payload = message.get("payload")
        schema = self._find(payload)
        if isinstance(payload, dict) and "schema" in payload and "schemaFormat" in payload:
            schema = self._find(payload["schema"])
        line = self._find_line(name)
        self._document.add(
            Message(
                name=name,
                direction=direction,
                namespace=namespace,
                line=line,
                end=line,
                description=str(message.get("summary") or message.get("description") or message.get("title") or ""),
                arguments=self._read_arguments(schema) if payload is not None else (),
                variants=self._read_variants(schema),
                example=self._read_example(message) if schema.get("maxItems") != 0 else NO_SAMPLE,
            )
        )

    def _read_arguments(self, schema: Mapping[str, Any]) -> tuple[Field, ...] | None:
        if schema.get("type") == "array" and schema.get("maxItems") == 0:
            return ()
        shape, nullable = self._shape(schema, 0)
        if isinstance(shape, Scalar) and shape.name == "Any":
            return None
        return (Field("data" if isinstance(shape, Object) else "value", shape, nullable=nullable),)

    def _read_variants(self, schema: Mapping[str, Any]) -> tuple[Object, ...]:
        shapes = [self._shape(self._find(part), 1)[0] for part in self._list(schema.get("oneOf"))]
        return tuple(s for s in shapes if isinstance(s, Object)) if all(isinstance(s, Object) for s in shapes) else ()

    def _read_example(self, message: Mapping[str, Any]) -> Any:
        for example in self._list(message.get("examples")):
            if isinstance(example, dict) and "payload" in example:
                return example["payload"]
        return NO_SAMPLE

    # Schemas.

    def _shape(self, schema: Mapping[str, Any], depth: int) -> tuple[Shape, bool]:
        """The shape of a schema, and True if the value may be null."""
        self._fields += 1
        if depth > MAX_DEPTH or self._fields > MAX_FIELDS:
            raise DocumentError("The schemas of the document are nested too deeply, or refer to themselves too often.")
        if "const" in schema:
            return self._choice([schema["const"]])
        if isinstance(schema.get("enum"), list):
            return self._choice(schema["enum"])
        for word in ("oneOf", "anyOf"):
            if isinstance(schema.get(word), list):
                return self._either(schema[word], depth)
        if isinstance(schema.get("allOf"), list):
            return self._join(schema["allOf"], depth), False
        kinds = schema.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        nullable = "null" in kinds or schema.get("nullable") is True
        rest = [kind for kind in kinds if kind != "null"]
        if len(rest) > 1:
            shapes = tuple(self._one(schema, kind, depth) for kind in rest)
            return Either(shapes), nullable
        return self._one(schema, rest[0] if rest else None, depth), nullable

    def _one(self, schema: Mapping[str, Any], kind: Any, depth: int) -> Shape:
        if kind == "object" or "properties" in schema:
            return self._object(schema, depth)
        if kind == "array":
            if isinstance(schema.get("prefixItems"), list):
                return Items(tuple(self._shape(self._find(part), depth + 1)[0] for part in schema["prefixItems"]))
            return Array(self._shape(self._find(schema.get("items")), depth + 1)[0])
        if kind == "string":
            return Scalar(FORMATS.get(str(schema.get("format")), "str"))
        return Scalar({"integer": "int", "number": "float", "boolean": "bool"}.get(str(kind), "Any"))

    def _object(self, schema: Mapping[str, Any], depth: int) -> Shape:
        required = self._list(schema.get("required"))
        fields = []
        for name, part in self._mapping(schema.get("properties")).items():
            found = self._find(part)
            shape, nullable = self._shape(found, depth + 1)
            sample = next(iter(self._list(found.get("examples"))), found.get("example", NO_SAMPLE))
            fields.append(Field(str(name), shape, name not in required, nullable, sample))
        extra = schema.get("additionalProperties")
        if not fields and isinstance(extra, dict):
            return Map(self._shape(self._find(extra), depth + 1)[0])
        return Object(tuple(fields)) if fields else Map(Scalar("Any"))

    def _choice(self, values: Sequence[Any]) -> tuple[Shape, bool]:
        words = tuple(value for value in values if isinstance(value, str | int) and not isinstance(value, bool))
        if not words:
            return Scalar("bool" if any(isinstance(value, bool) for value in values) else "Any"), None in values
        return Choice(words), None in values

    def _either(self, parts: Sequence[Any], depth: int) -> tuple[Shape, bool]:
        found = [self._find(part) for part in parts]
        nullable = any(part.get("type") == "null" for part in found)
        shapes = [self._shape(part, depth + 1) for part in found if part.get("type") != "null"]
        distinct = tuple(dict.fromkeys(shape for shape, _ in shapes))
        nullable = nullable or any(may for _, may in shapes)
        return (distinct[0] if len(distinct) == 1 else Either(distinct)) if distinct else Scalar("Any"), nullable

    def _join(self, parts: Sequence[Any], depth: int) -> Shape:
        """The fields of all parts."""
        shapes = [self._shape(self._find(part), depth + 1)[0] for part in parts]
        fields = {field.name: field for shape in shapes if isinstance(shape, Object) for field in shape.fields}
        return Object(tuple(fields.values())) if fields else Scalar("Any")

    # The tree.

    def _find(self, value: Any) -> dict[str, Any]:
        """An object of the tree, where a reference leads to; an empty one if it leads nowhere."""
        for _ in range(MAX_DEPTH):
            if not isinstance(value, dict):
                return {}
            reference = value.get("$ref")
            if not isinstance(reference, str):
                return value
            value = self._follow(reference)
        raise DocumentError("References of the document lead to each other.")

    def _follow(self, reference: str) -> Any:
        if not reference.startswith("#/"):
            raise DocumentError(f"{reference} is outside of the document. Put everything into one file.")
        value: Any = self._tree
        for part in reference[2:].split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def _key(self, value: Any) -> str:
        """The last part of a reference."""
        reference = value.get("$ref") if isinstance(value, dict) else None
        return str(reference).rpartition("/")[2].replace("~1", "/").replace("~0", "~") if reference else ""

    def _entries(self, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        for key, part in self._mapping(value).items():
            yield str(key), self._find(part)

    @staticmethod
    def _mapping(value: Any) -> dict[str, Any]:
        return value if isinstance(value, dict) else {}

    @staticmethod
    def _list(value: Any) -> list[Any]:
        return value if isinstance(value, list) else []

    def _find_line(self, name: str) -> int:
        """The line where the name stands first."""
        found = re.search(rf"(?<![\w:]){re.escape(name)}(?![\w:])", self._text)
        return self._text.count("\n", 0, found.start()) + 1 if found else 1
