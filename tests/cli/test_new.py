"""`oyez new`: a project that runs and passes its tests at once, in a folder of its own."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.js_client import JsDriver
from tests.support.served import command, start
from tests.support.terminal import Calls, plain_environment

RUFF = ("check", "--isolated", "--line-length", "120", "--select", "E,F,W,I,UP,B")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("projects")
    made = call(folder, "oyez.cli", "new", "tool-shop")
    assert made.returncode == 0, made.stderr
    return folder / "tool-shop"


def call(project: Path, *words: str, module: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *(["-m"] if module else []), *words],
        cwd=project,
        env=plain_environment(),
        capture_output=True,
        text=True,
    )


def test_its_code_is_in_order(project: Path) -> None:
    checked = call(project, "ruff", *RUFF, ".")
    assert checked.returncode == 0, checked.stdout
    formatted = call(project, "ruff", "format", "--isolated", "--line-length", "120", "--check", ".")
    assert formatted.returncode == 0, formatted.stdout


def test_its_ci_file_passes(project: Path) -> None:
    """Each step that needs neither GitHub nor a package index is run: the check of the contract, and the tests."""
    workflow = yaml.safe_load((project / ".github" / "workflows" / "test.yml").read_text())
    assert workflow[True] == ["push", "pull_request"], "YAML reads `on` as true"
    (job,) = workflow["jobs"].values()
    steps = [step["run"] for step in job["steps"] if "run" in step]
    assert [step.split()[0] for step in steps] == ["pip", "oyez", "python"]
    for step in steps[1:]:
        program, *words = shlex.split(step)
        ended = call(project, *(["oyez.cli", *words] if program == "oyez" else words[1:]))
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_its_dockerfile_has_only_instructions_that_docker_knows(project: Path) -> None:
    text = re.sub(r"\\\n\s*", "", (project / "Dockerfile").read_text())
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    assert [word for word, _ in lines] == [
        *("FROM", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "ENV", "EXPOSE", "HEALTHCHECK", "CMD"),
    ]
    instructions = dict(lines)
    assert json.loads(instructions["CMD"]) == ["oyez", "serve", "system.py"]
    assert f"PORT={instructions['EXPOSE']}" in instructions["ENV"].split()
    probe = shlex.split(instructions["HEALTHCHECK"])
    compile(probe[3], "HEALTHCHECK", "exec")
    for script in (instructions["RUN"], instructions["HEALTHCHECK"].removeprefix("CMD ")):
        assert subprocess.run(["sh", "-n", "-c", script]).returncode == 0


async def test_an_official_client_receives_its_events(project: Path, js: JsDriver, tmp_path: Path) -> None:
    async with start(command("serve", "system.py"), tmp_path / "data", project) as served:
        path = "/tool-shop/socket.io/"
        ada = await js.connect(served.url, path=path, auth={"token": served.token("ada", "customer")})
        answer = await ada.call("order:place", {"item": "lamp", "quantity": 1})
        order = {"orderId": answer["orderId"], "customerId": "ada"}
        placed, *_ = await ada.expect_event("order:placed")
        assert placed.items() >= {**order, "item": "lamp", "quantity": 1}.items()
        shipped = {**order, "carrier": "Swift Post"}
        await served.publish("order:shipped", shipped, system="tool-shop")
        received, *_ = await ada.expect_event("order:shipped")
        assert received.items() >= shipped.items()
        # What Docker asks to know whether it is healthy.
        health = re.search(r"^HEALTHCHECK CMD python (.*)$", (project / "Dockerfile").read_text(), re.M)
        assert health
        probe = call(project, *shlex.split(health[1].replace("http://127.0.0.1:5001", served.url)), module=False)
        assert probe.returncode == 0, probe.stderr


def test_it_says_what_to_do_next_in_three_commands(oyez: Calls) -> None:
    ended = oyez("new", "parcels")
    assert ended.status == 0
    lines = ended.out.splitlines()
    assert lines[0] == "Written: parcels/. Next:"
    enter, test, serve = (shlex.split(line)[1:] for line in lines[1:])
    assert enter == ["cd", "parcels"]
    assert (test[1:], serve[1:]) == (["-m", "pytest"], ["serve", "system.py"])
    # The programs are those of this environment, as they are called in the new folder.
    for program in (test[0], serve[0]):
        assert program in ("python", "oyez") or (Path("parcels") / program).exists()


def test_a_project_is_never_written_over_anything(oyez: Calls, folder: Path) -> None:
    (folder / "parcels").mkdir()
    (folder / "parcels" / "notes").write_text("mine")
    (folder / "link").symlink_to(folder / "elsewhere")
    assert "parcels exists already" in oyez("new", "parcels").error
    assert "link exists already" in oyez("new", "link").error
    assert [path.name for path in (folder / "parcels").iterdir()] == ["notes"]
    assert not (folder / "elsewhere").exists()


def test_an_empty_folder_is_used(oyez: Calls, folder: Path) -> None:
    (folder / "parcels").mkdir()
    assert oyez("new", "parcels").status == 0
    assert (folder / "parcels" / "system.py").exists()


def test_a_folder_that_cannot_be_written_is_named(oyez: Calls, folder: Path) -> None:
    (folder / "parcels").write_text("a file")
    assert "parcels exists already" in oyez("new", "parcels").error


@pytest.mark.parametrize("name", ["Parcels", "parcels!", "../parcels", "1st", "a--b", "-", "x" * 41, "", "über"])
def test_a_name_that_cannot_be_in_an_address_is_refused(oyez: Calls, folder: Path, name: str) -> None:
    assert "cannot be the name of a system" in oyez("new", "--", name).error
    assert {path.name for path in folder.iterdir()} == {"oyez-data"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("class", "cannot be the name of a Python package"),
        ("tests", "cannot be the name of a Python package"),
        ("quotes", "comes with Oyez"),
        ("json", "There is a Python module 'json'"),
        ("oyez", "There is a Python module 'oyez'"),
        ("redis", "There is a Python module 'redis'"),
    ],
)
def test_a_name_that_python_needs_is_refused(oyez: Calls, name: str, reason: str) -> None:
    assert reason in oyez("new", name).error


DOCUMENT = """# Events

| event | target | payload |
| --- | --- | --- |
| `order:shipped` | `user:{userId}` | `{ orderId: "o-1", userId: "ada", carrier: "Swift Post" }` |

# Commands

| command | payload |
| --- | --- |
| `order:place` | `{ item, quantity }` |
"""


@pytest.fixture(scope="module")
def read_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was written from a document."""
    folder = tmp_path_factory.mktemp("read")
    (folder / "events.md").write_text(DOCUMENT)
    made = call(folder, "oyez.cli", "new", "parcels", "--from", "events.md")
    assert made.returncode == 0, made.stderr
    assert "events.md:5: " not in made.stdout, "the document says all of the event"
    assert "  events.md:11: who may send `order:place`. Every client may, until you decide." in made.stdout.splitlines()
    return folder / "parcels"


def test_a_project_from_a_document_is_in_order_and_passes_its_tests(read_project: Path) -> None:
    for words in (("pytest", "-q", "-p", "no:cacheprovider"), ("ruff", *RUFF, ".")):
        ended = call(read_project, *words)
        assert ended.returncode == 0, ended.stdout
    assert not (read_project / "parcels" / "tables.py").exists()


async def test_an_official_client_receives_the_events_of_the_document(
    read_project: Path, js: JsDriver, tmp_path: Path
) -> None:
    async with start(command("serve", "system.py"), tmp_path / "data", read_project) as served:
        ada = await js.connect(served.url, path="/parcels/socket.io/", auth={"token": served.token("ada")})
        order = {"orderId": "o-1", "userId": "ada", "carrier": "Swift Post"}
        await served.publish("order:shipped", order, system="parcels")
        assert (await ada.expect_event("order:shipped"))[0] == order
        answer = await ada.call("order:place", {"item": "lamp", "quantity": 1})
        assert answer["error"]["code"] == "not_written"


def test_a_document_that_cannot_be_read_leaves_no_folder(oyez: Calls, folder: Path) -> None:
    (folder / "events.md").write_bytes(b"\xff\x00")
    assert "events.md is not UTF-8 text" in oyez("new", "parcels", "--from", "events.md").error
    (folder / "events.md").write_text("# Nothing")
    assert "no events that could be read" in oyez("new", "parcels", "--from", "events.md").error
    assert "missing.md cannot be read" in oyez("new", "parcels", "--from", "missing.md").error
    assert not (folder / "parcels").exists()
