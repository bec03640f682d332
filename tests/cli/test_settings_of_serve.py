"""The settings of `oyez serve`, and its errors before it starts."""

import errno
import socket
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import trustme

from oyez.cli import serve
from oyez.cli.server_flags import ServerFlags
from oyez.errors import SettingsError
from oyez.settings import GROUPS, Settings
from tests.support.terminal import ORDERS, Calls

SETTINGS = [name for name in Settings.__struct_fields__ if name not in GROUPS]


def test_every_setting_is_a_flag(oyez: Calls) -> None:
    assert {field.name for field in fields(ServerFlags)} == {*SETTINGS, "config"}
    shown = oyez("serve", "--help").out
    assert [name for name in SETTINGS if f"--{name.replace('_', '-')} " not in shown] == []


@pytest.mark.parametrize(
    ("flag", "shown"),
    [
        ("port", "Port to listen on; 0 for any free port. [default: 5001]"),
        ("keep_alive", "Seconds for which an HTTP connection is kept open without a request. [default: 75]"),
        ("redis_url", "The Redis (7 or later) or Valkey that holds the logs, for several machines."),
        ("redis_url", "[default: SQLite in oyez_data]"),
        ("serve_client", "[default: yes]"),
        ("jwt_issuer", "The iss that every token must have."),
    ],
)
def test_a_flag_shows_what_its_setting_is_for_and_the_default(flag: str, shown: str) -> None:
    (found,) = [field for field in fields(ServerFlags) if field.name == flag]
    assert shown in found.metadata["help"]


def test_no_flag_is_shown_without_its_meaning() -> None:
    assert [field.name for field in fields(ServerFlags) if len(field.metadata["help"]) < 20] == []


def test_flags_win_over_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "own.toml").write_text("port = 1\nping_timeout = 1\nping_interval = 1\n")
    monkeypatch.setenv("PORT", "2")
    monkeypatch.setenv("PING_TIMEOUT", "2")
    given: dict[str, Any] = {"port": 3, "config": Path("own.toml")}
    settings = ServerFlags(**given).load()
    assert (settings.port, settings.ping_timeout, settings.ping_interval) == (3, 2.0, 1.0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--port 70000", "Setting port in a flag: Expected a whole number <= 65535."),
        ("--ping-interval 0", "Setting ping_interval in a flag"),
        ("--log-level loud", "LOG_LEVEL is 'loud'. Set it to one of debug, info, warning, error; after a comma,"),
        ("--ws-path rt", "WS_PATH is 'rt'. Set it to a path such as /socket.io/."),
        ("--redis-emitter-key a*", "Setting redis_emitter_key in a flag: Expected text matching regex"),
        ("--jwt-secret short", "HS256 needs at least 32"),
        ("--jwks-url https://id.example/keys --jwt-key-file key.pem", "JWKS_URL and JWT_KEY_FILE are both set"),
        ("--jwt-key-file missing.pem", "missing.pem"),
        ("--database-url sqlite:////nowhere/shop.sqlite", "unable to open database file"),
        ("--database-url mysql://root:hidden@localhost/shop", "Set DATABASE_URL to sqlite:///PATH or postgresql://"),
        ("--ssl-keyfile key.pem", "SSL_KEYFILE is set without SSL_CERTFILE. Set both, or neither."),
        ("--ssl-certfile missing.pem", "The certificate in missing.pem cannot be used: No such file or directory."),
        (
            "--oyez-data /dev/null/x",
            "/dev/null is not a folder. Set OYEZ_DATA to another folder.",
        ),
        ("--host nowhere.invalid", "Give an address of this machine as --host, or 0.0.0.0 for all."),
        ("--host a..b", "Give an address of this machine as --host"),
        ("--client-origin shop.example", "CLIENT_ORIGIN names 'shop.example'"),
        ("--config missing.toml", "missing.toml does not exist"),
        ("quotes", "2 systems are called 'quotes'. Name each only once, or rename a contract."),
    ],
)
def test_an_impossible_call_is_reported_in_one_line(
    oyez: Calls, monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    monkeypatch.setenv("PORT", "0")
    ended = oyez("serve", "quotes", *words.split())
    assert (ended.status, ended.out) == (1, "")
    assert said in ended.error
    assert "hidden" not in ended.error


def test_a_bad_setting_in_the_environment_or_the_file_is_named(
    oyez: Calls, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "many")
    assert "Setting port in the environment: Expected a whole number" in oyez("serve").error
    monkeypatch.delenv("PORT")
    (folder / "oyez.toml").write_text("prot = 1")
    assert "Settings in oyez.toml: Object contains unknown field `prot`" in oyez("serve").error


@pytest.mark.parametrize(
    ("flag", "name"), [("--ws-path /rt", "WS_PATH"), ("--redis-emitter-key x", "REDIS_EMITTER_KEY")]
)
def test_a_short_path_and_a_key_are_for_one_system(oyez: Calls, flag: str, name: str) -> None:
    said = oyez("serve", "quotes", ORDERS, "--port", "0", *flag.split()).error
    assert said == f"{name} is for one system, not for 2. Unset it, or serve one."


def test_files_that_do_not_belong_together(oyez: Calls, folder: Path) -> None:
    authority = trustme.CA()
    one, other = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    one.cert_chain_pems[0].write_to_path("cert.pem")
    other.private_key_pem.write_to_path("key.pem")
    said = oyez("serve", "--port", "0", "--ssl-certfile", "cert.pem", "--ssl-keyfile", "key.pem").error
    assert "The certificate in cert.pem and key.pem cannot be used" in said
    assert "PEM files that belong together" in said


def test_it_listens_at_every_address_of_a_host_at_one_port() -> None:
    with serve.listen_at("localhost", 0) as sockets:
        found = {info[4][0] for info in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
        assert {opened.getsockname()[0] for opened in sockets} == found
        assert len({opened.getsockname()[1] for opened in sockets}) == 1
    assert [opened.fileno() for opened in sockets] == [-1] * len(sockets)


def test_a_port_that_needs_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> socket.socket:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(SettingsError, match=r"Permission denied\. Give a --port above 1023"), serve.listen_at("", 80):
        pass
