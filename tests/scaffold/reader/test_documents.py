"""Whole documents: those of the example systems, measured against the contracts that people wrote for them."""

from pathlib import Path

import pytest
from tools.document_reader import DOCUMENTS, measure

from oyez.scaffold.reader.model import DocumentError
from oyez.scaffold.reader.read import MAX_BYTES, read_text, write_contract
from oyez.systems.loader import load_system


@pytest.mark.parametrize(("document", "contract"), DOCUMENTS.items(), ids=lambda path: Path(path).name)
def test_nine_of_ten_messages_come_out_right(document: str, contract: str) -> None:
    score = measure(Path(document), load_system(contract).contract)
    assert score.total >= 8
    assert score.share >= 0.9, score.wrong
    assert score.beyond == []


LONG = "x" * 3_000
TYPES = "\n".join(f"type T{n} = {{\n" + "\n".join(f"f{k}: T{n + 1};" for k in range(60)) + "\n};" for n in range(8))
CHANNELS = "{/: {subscribe: {message: {name: e, payload: {$ref: '#/a'}}}}}"
ALIASES = "\n".join(f"a{number}: &a{number} [{f'*a{number - 1}, ' * 30}1]" for number in range(1, 9))


@pytest.mark.parametrize(
    ("text", "suffix", "reason"),
    [
        ("# About\n\nThere is nothing here.", ".md", "no events that could be read"),
        ("> " * 200, ".md", "Line 1 of the document is indented"),
        ("a `b` " * 10_000, ".md", "Line 1 of the document has 59,999 characters"),
        (f"# Events\n\n```js\nlet a;\n{LONG}\n```\n", ".md", "Line 5 of the document has 3,000 characters"),
        ("# `e:x`\n" * 100_000, ".md", "over 500,000 characters"),
        ("# Events\n\n" + "".join(f"- `e:{k}`\n" for k in range(2_100)), ".md", "over 2,000 events"),
        (
            f"# Events\n\n- `e:x`\n\n```ts\n{TYPES}\n```\n",
            ".md",
            "types in types",
        ),
        ("asyncapi: 2.6.0\nchannels: [", ".yaml", "not valid YAML: line"),
        ('{"asyncapi": "2.6.0",', ".json", "not valid JSON"),
        ("asyncapi: 1.2.0\n", ".yaml", "Versions 2 and 3"),
        (f"asyncapi: 2.6.0\na0: &a0 1\n{ALIASES}", ".yaml", "YAML aliases"),
        ("asyncapi: 2.6.0\nchannels: {a: {subscribe: {message: {$ref: 'http://x/y'}}}}", ".yaml", "outside of the"),
        (
            "asyncapi: 2.6.0\nchannels: {/: {subscribe: {message: {$ref: '#/a'}}}}\na: {$ref: '#/b'}\nb: {$ref: '#/a'}",
            ".yaml",
            "lead to each other",
        ),
        (
            f"asyncapi: 2.6.0\nchannels: {CHANNELS}\na: {{properties: {{b: {{$ref: '#/a'}}}}}}",
            ".yaml",
            "nested too deeply",
        ),
        ("asyncapi: 2.6.0\nx: " + "[" * 100_000, ".yaml", "nest"),
    ],
)
def test_a_document_that_cannot_be_read_is_refused(text: str, suffix: str, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        write_contract(text, "x", "x", suffix)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\xff\xfe\x00", "not UTF-8"), (b"a\x00b", "binary data"), (b"x" * (MAX_BYTES + 1), "larger than")],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "document.md").write_bytes(content)
    with pytest.raises(DocumentError, match=reason):
        read_text(tmp_path / "document.md")
    with pytest.raises(DocumentError, match="cannot be read"):
        read_text(tmp_path)
