"""`oyez contract diff`: contracts from files, systems, git revisions and a running server, and what the status says."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.served import Served
from tests.support.terminal import Calls

CONTRACT = '''
from oyez.contract import Contract, Payload
from fields import {kind}

contract = Contract("shop", roles=("buyer",))
root = contract.namespace("/")


@root.event("price:changed", to=[root.everyone])
class PriceChanged(Payload):
    """A price changed."""

    price: {kind}
'''


def write(folder: Path, kind: str) -> Path:
    """A contract and a module of its own, which has the same name in every folder."""
    folder.mkdir(exist_ok=True)
    (folder / "fields.py").write_text(f"{kind} = {kind}\n")
    (folder / "shop.py").write_text(CONTRACT.format(kind=kind))
    return folder / "shop.py"


def test_files_are_compared(oyez: Calls, folder: Path) -> None:
    old, new = write(folder / "old", "int"), write(folder / "new", "float")
    ended = oyez("contract", "diff", old, new)
    assert (ended.status, ended.err) == (1, "")
    assert ended.out == (
        "Breaking (1)\n"
        "  namespace /, event price:changed, field price: integer became number. Receivers may find another type."
        " [type-widened: safe for publishers, breaking for clients]\n"
    )
    same = oyez("contract", "diff", old, old)
    assert (same.status, same.out) == (0, "No change that publishers or clients would notice.\n")


def test_json_and_the_status(oyez: Calls, folder: Path) -> None:
    assert oyez("docs", "contract", "quotes", "-o", "old.json").status == 0
    description = json.loads((folder / "old.json").read_text())
    description["refusals"].pop()
    (folder / "older.json").write_text(json.dumps(description))
    ended = oyez("contract", "diff", "older.json", "quotes", "--json")
    (change,) = json.loads(ended.out)["changes"]
    assert ended.status == 0
    assert (change["level"], change["publishers"], change["clients"]) == ("risky", "risky", "risky")
    assert change["kind"] == "refusal-added"
    assert oyez("contract", "diff", "older.json", "quotes", "--fail-on", "risky").status == 1
    assert oyez("contract", "diff", "quotes", "older.json", "--fail-on", "risky").status == 0


def test_a_git_revision_is_run_with_its_own_modules(oyez: Calls, folder: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words], cwd=folder, check=True)

    git("init", "-q")
    write(folder, "int")
    assert oyez("docs", "contract", "quotes", "-o", "quotes.json").status == 0
    git("add", ".")
    git("commit", "-q", "-m", "old")
    write(folder, "float")
    ended = oyez("contract", "diff", "HEAD:shop.py", "shop.py")
    assert ended.status == 1
    assert "integer became number" in ended.out
    assert ended.err.startswith("The code of revision ")
    assert oyez("contract", "diff", "HEAD:quotes.json", "quotes").status == 0
    assert "has no file other.py" in oyez("contract", "diff", "HEAD:other.py", "shop.py").error
    assert oyez("contract", "diff", "none:shop.py", "shop.py").error.startswith("Git has no revision 'none' here.")
    assert oyez("contract", "diff", "--", "--output=x:shop.py", "shop.py").error.startswith("Git has no revision")
    assert not (folder / "x").exists()


async def test_a_running_server_is_compared(served: Served, oyez: Calls) -> None:
    url = served.url
    assert oyez("contract", "diff", f"{url}/quotes", "quotes").status == 0
    assert oyez("contract", "diff", f"{url}/quotes/contract.json", "quotes").status == 0
    assert "answers 404" in oyez("contract", "diff", f"{url}/none", "quotes").error
    assert "Is the server running?" in oyez("contract", "diff", "http://127.0.0.1:1/quotes", "quotes").error


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("{", "is not JSON"),
        ("[]", "is no description of a contract"),
        ("[" * 100_000, "is not JSON"),
        ('{"format": 1}', "is no description of a contract"),
    ],
)
def test_other_files_are_refused(oyez: Calls, folder: Path, content: str, error: str) -> None:
    (folder / "a.json").write_text(content)
    assert error in oyez("contract", "diff", "a.json", "quotes").error


def test_incomplete_descriptions_are_refused(oyez: Calls, folder: Path) -> None:
    assert oyez("docs", "contract", "quotes", "-o", "a.json").status == 0
    description = json.loads((folder / "a.json").read_text())
    (folder / "b.json").write_text(json.dumps({**description, "format": 2}))
    assert "has format 2, expected 1" in oyez("contract", "diff", "b.json", "quotes").error
    del description["namespaces"][0]["events"][0]["payload"]
    (folder / "c.json").write_text(json.dumps(description))
    assert "cannot be compared" in oyez("contract", "diff", "c.json", "quotes").error
    assert "cannot be read" in oyez("contract", "diff", "missing.json", "quotes").error
    assert "There is no system" in oyez("contract", "diff", "missing", "quotes").error
