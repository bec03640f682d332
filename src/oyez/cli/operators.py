"""What the commands for operators share: a client of the admin API, its flags and its output."""

import getpass
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import msgspec
from cyclopts import Group, Parameter
from rich.table import Table

from oyez.cli import console
from oyez.cli.address import FOUND, Target, explain_unreachable
from oyez.cli.console import printable
from oyez.cli.flags import OWN_SETTINGS, SettingsFlags, load_signer
from oyez.errors import OyezError
from oyez.ops.admin.sign_in import LOCAL
from oyez.systems.loader import load_system

TOKEN_LIFETIME = 300.0
"""Seconds of a token that a command makes for itself; one that follows events makes another before it ends."""
TIMEOUT = 15.0
"""Seconds for one request: the nodes have one second to answer."""
MAX_LISTED = 200


AdminSystem = Annotated[str, Parameter(help="The system.")]


class OperatorError(OyezError):
    """The server did not do it."""


@Parameter(name="*", group=Group("Operator", sort_key=0))
@dataclass(frozen=True)
class OperatorFlags:
    """The operator, and the form of the output."""

    key: Annotated[str | None, Parameter(env_var="OYEZ_ADMIN_KEY")] = None
    """An operator's key; safer as OYEZ_ADMIN_KEY in the environment. [default: a token of this machine's secret]"""
    json: Annotated[bool, Parameter(negative="")] = False
    """Print the server's answer as JSON."""


@Parameter(name="*")
@dataclass(frozen=True)
class AdminFlags:
    """The admin API of a server, as a command calls it."""

    operator: OperatorFlags = OperatorFlags()
    target: Target = FOUND
    flags: SettingsFlags = OWN_SETTINGS

    @contextmanager
    def connect(self) -> Iterator["AdminClient"]:
        """A client of the admin API. Raises OperatorError, SettingsError."""
        settings = self.flags.load()
        url = self.target.find(settings)
        with httpx.Client(base_url=url, timeout=TIMEOUT) as http:
            client = AdminClient(http, url)
            token = self.target.token
            if token is None and self.operator.key is not None:
                token = client.request("POST", "/sign-in", {"key": self.operator.key})["token"]
            if token is None:
                name = f"{LOCAL}:{_user_name()}"
                token = load_signer(settings).sign_operator(name, LOCAL, time.time(), TOKEN_LIFETIME)
            http.headers["authorization"] = f"Bearer {token}"
            yield client

    def show_answer(self, answer: Any) -> bool:
        """True if the answer was printed as JSON, because `--json` was given."""
        if self.operator.json:
            console.out.print(msgspec.json.encode(answer).decode())
        return self.operator.json

    def show_list(self, client: "AdminClient", name: str, query: Mapping[str, Any], columns: Sequence[str]) -> None:
        """List what the admin API has at `/{name}`: these fields of each, MAX_LISTED at most."""
        found = client.get(f"/{name}", {**query, "limit": MAX_LISTED})
        if self.show_answer(found):
            return
        show_rows(columns, [[one[column] for column in columns] for one in found[name]])
        if found["next"] is not None:
            console.show_note(f"There are more than {MAX_LISTED}: give a --search.")
        warn_missing(found)


ADMIN = AdminFlags()


class AdminClient:
    """Requests to the admin API of one server."""

    def __init__(self, http: httpx.Client, url: str) -> None:
        self._http = http
        self._url = url

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """What a GET answers. Raises OperatorError."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return self.request("GET", path, query=given)

    def request(self, method: str, path: str, body: Any = None, query: Mapping[str, Any] | None = None) -> Any:
        """What a request answers; None for no content. Raises OperatorError."""
        try:
            answer = self._http.request(method, f"/admin/api{path}", json=body, params=query)
        except httpx.TimeoutException:
            raise OperatorError(f"{self._url} did not answer within {TIMEOUT:g} s. Try again.") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OperatorError(explain_unreachable(self._url, error)) from None
        if answer.status_code < HTTPStatus.MULTIPLE_CHOICES:
            return msgspec.json.decode(answer.content) if answer.content else None
        raise OperatorError(_explain(answer))


def _explain(answer: httpx.Response) -> str:
    """Why a request was refused, and what to do."""
    try:
        problem = msgspec.json.decode(answer.content, type=dict[str, Any])
    except msgspec.DecodeError:
        return f"The server answered {answer.status_code}, and not as Oyez does. Give Oyez' own --url."
    if answer.status_code == HTTPStatus.NOT_FOUND and "code" not in problem:
        return "The server has no admin. Set ADMIN_KEYS, with a key that `oyez keys operator NAME` makes."
    faults = [f"{one['field']}: expected {one['expected']}" for one in problem.get("errors", ())]
    return " ".join([str(problem.get("detail", "")), *faults])


def _user_name() -> str:
    """The user of this machine, for the audit."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = "unknown"
    return name if name.isprintable() else "unknown"


def name_system(system: str) -> str:
    """The name of a system, which may be given as a file with its contract."""
    return load_system(system).name if system.endswith(".py") else system


def in_path(*parts: str) -> str:
    """A path below the admin API."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def show_rows(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table of what clients have named, too: it is printed without characters that command a terminal."""
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*("" if cell is None else printable(str(cell)) for cell in row))
    console.show_table(table)


def warn_missing(answer: Mapping[str, Any]) -> None:
    """Say that the answer is not complete."""
    names = [f"{one['id']} ({one['host'] or 'unknown'}, process {one['pid']})" for one in answer.get("missing", ())]
    if names:
        console.show_note(f"Not complete: {', '.join(names)} did not answer.")
