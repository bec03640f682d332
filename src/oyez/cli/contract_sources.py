"""Where a contract's description comes from: a file, a system, a git revision, or a running server."""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from oyez.cli.console import CallError, explain_os_error, show_note
from oyez.documents.description import FORMAT, describe
from oyez.systems.loader import load_system

TIMEOUT = 60.0
"""Seconds for a server's answer, for git, and for the code of a contract."""
MAX_BYTES = 50_000_000
"""Bytes of a description from a server: a large contract has some hundred thousand."""
_MEMBERS = ("name", "roles", "tokens", "refusals", "errors", "namespaces", "$defs")
REMEDY = "Name a .json or .py file, a system, REV:path of a git revision, or the address of a running server."


def read_description(source: str) -> dict[str, Any]:
    """The description of the contract at a source. Raises CallError, SettingsError or ContractError."""
    if source.startswith(("http://", "https://")):
        return _decode(_fetch(source), source)
    if ":" in source and not Path(source).exists():
        return _read_revision(source)
    if source.endswith(".json"):
        return _decode(_read(Path(source)), source)
    if source.endswith(".py"):
        # In a process of its own: modules of two contracts may have the same names.
        _read(Path(source))
        return _decode(_describe_file(Path(source).resolve(), Path.cwd(), {}, source), source)
    return describe(load_system(source).contract)


def _decode(content: bytes, source: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise CallError(f"{source} is not JSON. Write one with `oyez docs contract SYSTEM -o contract.json`.") from None
    if not isinstance(found, dict) or not all(name in found for name in _MEMBERS):
        raise CallError(f"{source} is no description of a contract. `oyez docs contract SYSTEM` writes one.")
    if found.get("format") != FORMAT:
        raise CallError(f"{source} has format {found.get('format')!r}, expected {FORMAT}. Use the Oyez that wrote it.")
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CallError(f"{path} cannot be read: {explain_os_error(error)}. {REMEDY}") from None


def _fetch(source: str) -> bytes:
    """The description that a running server has. An address without a document's name is that of the system."""
    url = source if urlsplit(source).path.endswith(".json") else f"{source.rstrip('/')}/contract.json"
    body = bytearray()
    try:
        with httpx.stream("GET", url, timeout=TIMEOUT) as response:
            if response.status_code != 200:
                remedy = "Name a system of a server whose setting `docs` is on, as http://host/SYSTEM."
                raise CallError(f"{url} answers {response.status_code}. {remedy}")
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise CallError(f"{url} has more than {MAX_BYTES} bytes. Name the contract.json of a server.")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CallError(f"{url} cannot be read: {error}. Is the server running?") from None
    return bytes(body)


# Git.


def _read_revision(source: str) -> dict[str, Any]:
    """The description at `REV:path`, where the path is relative to the repository's top folder, as in git itself."""
    revision, _, path = source.partition(":")
    if not path.endswith((".json", ".py")):
        raise CallError(f"{source!r} is no source of a contract. {REMEDY}")
    top = _git("rev-parse", "--show-toplevel").decode().strip()
    commit = _find_commit(revision)
    if path.endswith(".json"):
        return _decode(_git("show", f"{commit}:{path}"), source)
    with tempfile.TemporaryDirectory() as folder:
        _extract(_git("-C", top, "archive", "--format=tar", commit), folder)
        root, file = Path(folder), Path(folder) / path
        if not file.is_file():
            raise CallError(f"Revision {revision} has no file {path}. Its path begins at the repository's top folder.")
        show_note(f"The code of revision {commit[:12]} is run to read {path}.")
        # Modules of the revision come before the same ones of an installation.
        places = os.pathsep.join([str(root / "src"), str(root), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        return _decode(_describe_file(file, root, {"PYTHONPATH": places}, source), source)


def _extract(archive: bytes, folder: str) -> None:
    """Unpack the files of a revision. Raises CallError if one of them would be outside of the folder."""
    try:
        with tarfile.open(fileobj=BytesIO(archive)) as opened:
            opened.extractall(folder, filter="data")
    except (tarfile.TarError, OSError) as error:
        remedy = "Compare with a description: REV:contract.json."
        raise CallError(f"The revision cannot be unpacked: {error}. {remedy}") from None


def _find_commit(revision: str) -> str:
    try:
        return _git("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").decode().strip()
    except CallError:
        raise CallError(f"Git has no revision {revision!r} here. {REMEDY}") from None


def _git(*words: str) -> bytes:
    return _run(["git", *words], Path.cwd(), {}, "git")


def _describe_file(path: Path, folder: Path, environment: dict[str, str], source: str) -> bytes:
    words = [sys.executable, "-m", "oyez.cli", "docs", "contract", str(path)]
    return _run(words, folder, environment, source)


def _run(words: Sequence[str], folder: Path, environment: dict[str, str], subject: str) -> bytes:
    """The output of a program. Raises CallError with what it says if it fails."""
    try:
        ended = subprocess.run(
            words, cwd=folder, env={**os.environ, **environment}, capture_output=True, timeout=TIMEOUT, check=False
        )
    except FileNotFoundError:
        raise CallError(f"{words[0]} is not installed. {REMEDY}") from None
    except subprocess.TimeoutExpired:
        raise CallError(f"{subject}: no answer within {TIMEOUT:g} s.") from None
    if ended.returncode != 0:
        said = ended.stderr.decode(errors="replace").strip().removeprefix("Error: ").removeprefix("fatal: ")
        raise CallError(f"{subject}: {said or f'ended with status {ended.returncode}'}")
    return ended.stdout
