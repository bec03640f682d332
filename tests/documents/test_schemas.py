"""JSON Schema of every payload, and the code that quicktype generates from it for other languages."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tools.docs.tables import read

from oyez.documents.schemas import DIALECT, build_schemas
from tests.documents.contracts import NAMES, find_description
from tests.support.js_client import FOLDER


def load(name: str) -> Any:
    return json.loads(build_schemas(find_description(name)))


@pytest.mark.parametrize("name", NAMES)
def test_each_event_and_command_has_its_schema(name: str) -> None:
    schemas, description = load(name), find_description(name)
    assert schemas["$schema"] == DIALECT
    for namespace in description["namespaces"]:
        every = (*namespace["events"], *namespace["error_events"], *description["own_events"])
        assert list(schemas["x-events"][namespace["name"]]) == [event["name"] for event in every]
        commands = schemas["x-commands"][namespace["name"]]
        assert list(commands) == [command["name"] for command in namespace["commands"]]
        assert all(command.keys() == {"arguments", "success", "failure"} for command in commands.values())
    names = set(schemas["$defs"])
    assert names >= set(description["$defs"])
    assert set(list_references(schemas)) <= {f"#/$defs/{each}" for each in names}
    assert "discriminator" not in json.dumps(schemas)


def list_references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [each for value in node.values() for each in list_references(value)]
    return [each for value in node for each in list_references(value)] if isinstance(node, list) else []


_ROW = re.compile(r"^\| (\w+) \| `npx (quicktype [^`]+)` \|$", re.MULTILINE)
QUICKTYPE = {language: shlex.split(command) for language, command in _ROW.findall(read("generated-documents"))}
"""The command lines of the page, by language."""


@pytest.mark.parametrize(
    ("language", "name", "expected"),
    [
        ("Dart", "quotes", "class {name} {{"),
        ("Kotlin", "auction", "data class {name} ("),
        ("Swift", "dispatch", "struct {name}: "),
    ],
)
def test_the_commands_of_the_page_make_the_classes(tmp_path: Path, language: str, name: str, expected: str) -> None:
    (tmp_path / "schemas.json").write_bytes(build_schemas(find_description(name)))
    program, *arguments = QUICKTYPE[language]
    command = [str(FOLDER / "node_modules" / ".bin" / program), *arguments]
    subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    written = (tmp_path / arguments[-1]).read_text()
    classes = [each for each, schema in load(name)["$defs"].items() if schema.get("properties")]
    missing = [each for each in classes if expected.format(name=each) not in written]
    assert (len(classes) > 5, missing) == (True, [])
