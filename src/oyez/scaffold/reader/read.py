"""Reads a document and writes its contract, which builds: what cannot be declared is left out, and listed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from oyez.contract.contract import Contract
from oyez.errors import ContractError
from oyez.scaffold.reader.asyncapi import is_asyncapi, read_asyncapi
from oyez.scaffold.reader.markdown import read_markdown
from oyez.scaffold.reader.model import Decision, Document, DocumentError
from oyez.scaffold.reader.resolve import resolve
from oyez.scaffold.reader.write import Writer, Written

MAX_BYTES = 2_000_000
"""The size of a document: a description of a thousand events has a tenth of it."""
MAX_MESSAGES = 2_000
"""Events and commands of one document."""
MAX_ATTEMPTS = 5
"""How often the contract is written anew without what does not fit."""


@dataclass(frozen=True, slots=True)
class ReadContract:
    """A document as a contract."""

    document: Document
    written: Written
    contract: Contract | None
    """The built contract; None if it has errors."""
    errors: tuple[str, ...] = ()


def read_text(path: Path) -> str:
    """The text of a document. Raises DocumentError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DocumentError(f"{path} cannot be read: {error.strerror}.") from None
    if len(content) > MAX_BYTES:
        raise DocumentError(f"{path} is larger than {MAX_BYTES:,} bytes. Give the part that describes the events.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"{path} is not UTF-8 text: byte {error.start:,} is wrong. Save it as UTF-8.") from None
    if "\x00" in text:
        raise DocumentError(f"{path} is binary data and not text. Give a Markdown or AsyncAPI document.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_document(text: str, suffix: str = ".md") -> Document:
    """What a document says. Raises DocumentError."""
    try:
        document = read_asyncapi(text) if is_asyncapi(text, suffix) else read_markdown(text)
        resolve(document)
    except RecursionError:
        raise DocumentError("The document is nested too deeply. Give the part that describes the events.") from None
    if not document.messages:
        raise DocumentError(
            "The document has no events that could be read. Name each in a heading, a list or a table, in backticks,"
            " below a heading such as `Events` or `Client → Server`."
        )
    if len(document.messages) > MAX_MESSAGES:
        raise DocumentError(f"The document has over {MAX_MESSAGES:,} events. Divide it into several systems.")
    return document


FAULT = re.compile(r"(event|command) (\S+): (.*)")
"""A line of ContractError about a message."""
BAD_EXAMPLE = "its example does not fit"


def write_contract(text: str, name: str, source: str, suffix: str = ".md", package: str | None = None) -> ReadContract:
    """Read a document and write its contract. Raises DocumentError."""
    without_example: set[str] = set()
    left_out: dict[tuple[str, str], str] = {}
    for _ in range(MAX_ATTEMPTS):
        document = read_document(text, suffix)
        leave_out(document, left_out)
        written = Writer(document, name, source, package or name, frozenset(without_example)).write()
        contract, errors = build(written.contract)
        faults = [found.groups() for error in errors if (found := FAULT.search(error))]
        if contract is not None or not faults:
            break
        for kind, message, fault in faults:
            if fault.startswith(BAD_EXAMPLE) and message not in without_example:
                without_example.add(message)
            else:
                left_out.setdefault((kind, message), fault)
    return ReadContract(document, written, contract, tuple(errors))


def leave_out(document: Document, faults: Mapping[tuple[str, str], str]) -> None:
    """Take messages that cannot be declared out of a document, and list them."""
    for message in [found for found in document.messages.values() if (found.direction, found.name) in faults]:
        del document.messages[message.key]
        reason = faults[message.direction, message.name]
        text = f"the {message.direction} `{message.name}`, which is left out of the contract: {reason}."
        document.decisions.append(Decision(message.line, text))


def build(source: str) -> tuple[Contract | None, list[str]]:
    """The contract that a source declares, or its errors."""
    module = ModuleType("oyez_written_contract")
    try:
        # The source is ours: nothing of the document stands in it but names and texts in quotes.
        exec(compile(source, "contract.py", "exec"), vars(module))
        contract: Contract = vars(module)["contract"]
        contract.build()
    except ContractError as error:
        return None, str(error).splitlines()
    except Exception as error:
        return None, [f"{type(error).__name__}: {error}"]
    return contract, []


def describe(decision: Decision, source: str) -> str:
    """A line of the summary."""
    return f"{source}:{decision.line}: {decision.text}"
