"""`oyez docs`: the documents, types and models of a contract, written without a server."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from oyez.cli.address import Target
from oyez.cli.console import CallError, explain_os_error
from oyez.cli.flags import OWN_SETTINGS, SettingsFlags, SystemName
from oyez.documents.catalog import DOCUMENTS
from oyez.documents.description import describe
from oyez.systems.loader import load_system
from oyez.web.docs_page import export_page

app = App(
    name="docs",
    help=(
        "Write documents, types and models of a system's contract.\n\n"
        "They are made from the contract alone; no server needs to run. A server has the same files at"
        " /SYSTEM/contract.json, /SYSTEM/asyncapi.json and so on, if its setting `docs` allows it."
    ),
)

Version = Annotated[
    str | None,
    Parameter(name="--version", help="The version of the clients for which it is written. [default: the newest]"),
]
Output = Annotated[
    Path | None, Parameter(name=["--output", "-o"], help="The file to write. [default: standard output]")
]


@app.command
def asyncapi(
    system: SystemName,
    /,
    *,
    version: Version = None,
    output: Output = None,
    url: str | None = None,
    flags: SettingsFlags = OWN_SETTINGS,
) -> int:
    """Write the AsyncAPI 3 document: servers, channels, operations, messages and schemas, as JSON.

    For example:
      oyez docs asyncapi quotes --url https://live.example -o asyncapi.json

    Parameters
    ----------
    url
        The address of the server in the document. [default: as the settings have it]
    """
    return write("asyncapi.json", system, output, version, Target(url=url).find(flags.load()))


def _add_document(command: str, file: str, text: str) -> None:
    """A command that writes a document for which only the contract is needed."""

    def write_document(system: SystemName, /, *, version: Version = None, output: Output = None) -> int:
        return write(file, system, output, version)

    app.command(write_document, name=command, help=text)


_add_document(
    "typescript",
    "types.ts",
    "Write TypeScript types: for socket.io-client, for Redis emitters, and for publishers over HTTP.\n\n"
    "For example:\n  oyez docs typescript quotes -o src/quotes.ts",
)
_add_document(
    "schemas",
    "schemas.json",
    "Write JSON Schema of every payload, for validators and for generators of code in other languages.\n\n"
    "For example:\n  oyez docs schemas quotes -o schemas.json\n"
    "  npx quicktype --src-lang schema --src 'schemas.json#/$defs/' --lang kotlin -o Models.kt",
)
_add_document(
    "models",
    "models.py",
    "Write typed Python models for clients: a module that needs only the standard library.\n\n"
    "For example:\n  oyez docs models quotes -o quotes_models.py",
)
_add_document(
    "contract",
    "contract.json",
    "Write the description of the contract, from which all other documents are made, as JSON.\n\n"
    "For example:\n  oyez docs contract my_contract.py -o contract.json",
)


@app.command
def html(
    system: SystemName,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    url: str | None = None,
    flags: SettingsFlags = OWN_SETTINGS,
) -> int:
    """Write the page for people into a folder, for any web server. The other documents are beside it.

    For example:
      oyez docs html quotes -o site
      oyez docs html quotes -o site --url https://live.example

    Parameters
    ----------
    output
        The folder to write. It is created if it does not exist.
    url
        The address of the server that the page's console connects to. The setting `client_origin` of that server must
        list the page's origin. [default: the page has no console]
    """
    contract = load_system(system).contract
    address = None if url is None else Target(url=url).find(flags.load())
    description = describe(contract)
    documents = {
        name: document.make(document.choose(description), address or "") for name, document in DOCUMENTS.items()
    }
    server = f"{address}/{contract.name}/" if address is not None else None
    try:
        export_page(output, contract.name, contract.description, documents, server)
    except OSError as error:
        raise CallError(f"{output} cannot be written: {explain_os_error(error)}. Name another folder.") from None
    return 0


def write(name: str, system: str, output: Path | None, version: str | None = None, url: str = "") -> int:
    """Write a document of a system to a file or to standard output.

    Raises CallError if the file cannot be written, UnknownVersionError.
    """
    document = DOCUMENTS[name]
    content = document.make(document.choose(describe(load_system(system).contract), version), url)
    content += b"" if content.endswith(b"\n") else b"\n"
    if output is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return 0
    try:
        output.write_bytes(content)
    except OSError as error:
        raise CallError(f"{output} cannot be written: {explain_os_error(error)}. Name another file.") from None
    return 0
