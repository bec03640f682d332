"""Where settings come from, their precedence, and the errors of wrong ones."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from oyez.errors import SettingsError
from oyez.settings import GROUPS, Limits, Settings, WebhookSettings, load_settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str, name: str = "oyez.toml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_without_settings_the_defaults_apply(folder: Path) -> None:
    settings = load_settings({})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.log_level) == ("127.0.0.1", 5001, "info")
    assert (settings.ping_interval, settings.ping_timeout) == (25.0, 20.0)
    assert settings.jwt_secret is None
    assert settings.data_folder == Path("oyez-data")
    assert (settings.limits.max_payload, settings.limits.max_attachments) == (1_000_000, 10)


def test_no_default_refuses_itself() -> None:
    assert msgspec.convert(msgspec.to_builtins(Settings()), Settings) == Settings()


def test_every_setting_has_an_upper_case_name_in_the_environment(folder: Path) -> None:
    values = {name: _another(getattr(Settings(), name)) for name in Settings.__struct_fields__ if name not in GROUPS}
    values |= {"log_sync": "full", "client_origin": "https://another.example", "redis_emitter_key": "another"}
    values |= {"time_zone": "Europe/Berlin", "log_level": "error", "metrics_token": "0123456789abcdef", "docs": True}
    values |= {
        "webhook_private_addresses": True,
        "webhook_retries": "7",
        "database_sync": "full",
        "console_tokens": True,
        "admin_keys": f"anna=sha256:{'0' * 64}",
    }
    environ = {name.upper(): str(value) for name, value in values.items()}
    assert msgspec.to_builtins(load_settings(environ)) == {**msgspec.to_builtins(Settings()), **values}


def _another(default: Any) -> Any:
    if default is None or isinstance(default, str):
        return f"another {default}"
    return type(default)(default + 1)


def test_the_environment_is_read_in_upper_case_only(folder: Path) -> None:
    assert load_settings({"port": "1", "oyez_port": "2", "LIMITS": "3"}) == Settings()


def test_every_setting_has_a_name_in_the_environment_that_no_other_program_uses(folder: Path) -> None:
    settings = load_settings({"OYEZ_HOST": "::", "HOST": "my-machine", "PORT": "1", "OYEZ_WORKERS": "2"})
    assert (settings.host, settings.port, settings.workers) == ("::", 1, 2)
    # What Kubernetes sets in all containers if a service is called oyez.
    assert load_settings({"OYEZ_PORT": "tcp://10.0.0.7:5001"}).port == 5001


def test_all_faults_are_reported_at_once(folder: Path) -> None:
    write(folder, "ping_interval = -1\nprot = 5\n")
    with pytest.raises(SettingsError) as found:
        load_settings({"OYEZ_PORT": "x"}, workers=0)
    lines = str(found.value).splitlines()
    assert len(lines) == 4
    for line, name in zip(sorted(lines), ("port", "ping_interval", "workers", "prot"), strict=False):
        assert any(name in other for other in lines), line


def test_what_no_type_can_check_is_reported_with_the_rest(folder: Path) -> None:
    given = {"WORKERS": "x", "CLIENT_ORIGIN": "htp:/x", "TIME_ZONE": "Mars", "LOG_LEVEL": "loud", "COOKIE_NAME": "a\nb"}
    with pytest.raises(SettingsError) as found:
        load_settings(given)
    said = str(found.value)
    assert len(said.splitlines()) == len(given)
    assert all(name.lower() in said.lower() for name in given), said


def test_an_empty_variable_says_nothing(folder: Path) -> None:
    assert load_settings({"PORT": "", "JWT_SECRET": "", "HOST": ""}) == Settings()


def test_the_file_in_the_working_folder_is_read(folder: Path) -> None:
    write(folder, 'host = "0.0.0.0"\ncookie_name = "clé"\n[limits]\nmax_payload = 5\nheader_timeout = 2\n')
    settings = load_settings({})
    assert (settings.host, settings.cookie_name) == ("0.0.0.0", "clé")
    assert settings.limits == Limits(max_payload=5, header_timeout=2)


def test_another_file_can_be_named(folder: Path) -> None:
    write(folder, "port = 1")
    assert load_settings({}, write(folder, "port = 2", "other.toml")).port == 2


def test_the_environment_wins_over_the_file_and_flags_over_both(folder: Path) -> None:
    write(folder, 'port = 1\nhost = "file"\ncookie_name = "file"')
    environ = {"PORT": "2", "HOST": "environment"}
    settings = load_settings(environ, port=3, host=None)
    assert (settings.port, settings.host, settings.cookie_name) == (3, "environment", "file")


def test_the_environment_is_that_of_the_process_by_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COOKIE_NAME", "from the process")
    assert load_settings().cookie_name == "from the process"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("port = -1", "port"),
        ("port = 65536", "port"),
        ("port = 1.5", "port"),
        ("port = true", "port"),
        ('port = "many"', "port"),
        ("host = 1", "host"),
        ("ping_interval = 0", "ping_interval"),
        ("ping_interval = -1.0", "ping_interval"),
        ("ping_timeout = nan", "ping_timeout"),
        ("jwt_leeway = -1", "jwt_leeway"),
        ("compression_threshold = -1", "compression_threshold"),
        ("prot = 1", "prot"),
        ("PORT = 1", "PORT"),
        ("limits = 1", "limits"),
        ("limits.max_payload = 0", "limits.max_payload"),
        ("limits.max_attachments = -1", "limits.max_attachments"),
        ("limits.header_timeout = 0", "limits.header_timeout"),
        ("limits.max_paylod = 1", "max_paylod"),
    ],
)
def test_an_error_in_the_file_names_the_setting_and_the_file(folder: Path, text: str, name: str) -> None:
    write(folder, text)
    with pytest.raises(SettingsError) as raised:
        load_settings({})
    assert name in str(raised.value)
    assert "oyez.toml" in str(raised.value)


NO_ORIGINS = ["shop.example", "https://shop.example/cart", "https://a.example https://b.example"]
NO_PATTERNS = [
    "https://*",
    "https://*.example",
    "https://app-*.example",
    "https://a.*.example",
    "*.shop.example",
    "http://*:80",
]


@pytest.mark.parametrize(
    ("environ", "flags", "message"),
    [
        ({"PORT": "many"}, {}, "port"),
        ({"PORT": "70000"}, {}, "port"),
        ({"PORT": "1.5"}, {}, "port"),
        ({"PING_INTERVAL": "soon"}, {}, "ping_interval"),
        ({"PING_INTERVAL": "inf"}, {}, "ping_interval"),
        ({"PING_TIMEOUT": "0"}, {}, "ping_timeout"),
        *(({"CLIENT_ORIGIN": f"https://ok.example, {origin}"}, {}, "CLIENT_ORIGIN") for origin in NO_ORIGINS),
        *(
            ({"CLIENT_ORIGIN": f"https://ok.example, {origin}"}, {}, r"not a valid pattern.*https://\*\.pr\.example")
            for origin in NO_PATTERNS
        ),
        ({}, {"port": 70_000}, "port"),
        ({}, {"prot": 1}, "prot"),
    ],
)
def test_an_error_in_the_environment_or_a_flag_names_the_setting(
    folder: Path, environ: dict[str, str], flags: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(environ, **flags)


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"port =", None, r"oyez\.toml is not valid TOML"),
        (b'host = "\xff"', None, r"oyez\.toml"),
        (b"", ".", "{folder}"),
        (b"", "missing.toml", r"missing\.toml does not exist"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(folder: Path, content: bytes, name: str | None, message: str) -> None:
    """By default the file is oyez.toml; a folder in its place is refused."""
    (folder / "oyez.toml").write_bytes(content)
    with pytest.raises(SettingsError, match=message.format(folder=re.escape(str(folder)))):
        load_settings({}, *([folder / name] if name else []))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'port = "many"',
            "Setting port in oyez.toml: Expected a whole number, got text. It is 'many'; correct it there.",
        ),
        (
            'log_sync = "fast"',
            "Setting log_sync in oyez.toml: Expected one of normal, full. It is 'fast'; correct it there.",
        ),
        ("prot = 1", "Settings in oyez.toml: Object contains unknown field `prot`. Did you mean `port`?"),
        ("zebra = 1", "Settings in oyez.toml: Object contains unknown field `zebra`. Leave it out."),
        (
            "limits.max_paylod = 1",
            "Setting limits in oyez.toml: Object contains unknown field `max_paylod`. Did you mean `max_payload`?",
        ),
    ],
)
def test_an_error_says_what_is_there_and_what_should_be(folder: Path, text: str, said: str) -> None:
    write(folder, text)
    with pytest.raises(SettingsError) as raised:
        load_settings({})
    assert str(raised.value) == said


def test_a_secret_of_the_wrong_kind_is_not_shown(folder: Path) -> None:
    write(folder, "jwt_secret = 271828")
    with pytest.raises(SettingsError, match="jwt_secret") as raised:
        load_settings({})
    assert "271828" not in str(raised.value)


@pytest.mark.parametrize("origin", ["https://*.pr.example", "http://*.localhost:3000", "https://*.a.b.example:8443"])
def test_patterns(folder: Path, origin: str) -> None:
    assert load_settings({"CLIENT_ORIGIN": origin}).origins == {origin}


@pytest.mark.parametrize(
    "origin", ["*", "null", "http://localhost:3000", "https://shop.example/", "capacitor://localhost"]
)
def test_what_browsers_call_an_origin_is_one(folder: Path, origin: str) -> None:
    assert load_settings({"CLIENT_ORIGIN": origin}).origins == {origin.rstrip("/")}


@pytest.mark.parametrize(
    ("client_origin", "origins"),
    [
        ("", set()),
        ("*", {"*"}),
        ("https://a.example", {"https://a.example"}),
        (" https://a.example/ ,, https://b.example:8443,", {"https://a.example", "https://b.example:8443"}),
    ],
)
def test_origins_are_a_list_with_commas(client_origin: str, origins: set[str]) -> None:
    assert Settings(client_origin=client_origin).origins == origins


def test_what_editors_and_shells_leave_around_a_setting_is_no_part_of_it(folder: Path) -> None:
    write(folder, "\ufeffredis_prefix = 'shop'\r\n")
    settings = load_settings({"PORT": "5002\r\n", "JWKS_URL": "\ufeffhttps://id.example/keys\r", "JWT_ISSUER": "id\n"})
    assert (settings.port, settings.redis_prefix) == (5002, "shop")
    assert (settings.jwks_url, settings.jwt_issuer) == ("https://id.example/keys", "id")
    with pytest.raises(SettingsError, match=r"Setting jwt_audience .*invisible character U\+0009 at position 3"):
        load_settings({"JWT_AUDIENCE": "ab\tc"})
    # A list may go over several lines.
    assert Settings(client_origin="https://a.example,\nhttps://b.example").origins == {
        "https://a.example",
        "https://b.example",
    }


def test_delays_of_webhooks_are_a_list_with_commas() -> None:
    assert Settings(webhook_retries=" 5, 0.5,").webhook_delays == (5.0, 0.5)
    assert Settings(webhook_retries="").webhook_delays == ()


@pytest.mark.parametrize("text", ["soon", "5;300", "0", "-1", "nan", "inf", "1e9", "1," * 51])
def test_wrong_delays_of_webhooks_are_reported_with_the_other_settings(folder: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"(?s)port.*WEBHOOK_RETRIES is .* such as 5, 300"):
        load_settings({"PORT": "many", "WEBHOOK_RETRIES": text})


# Back ends.

BACKEND = {"OYEZ_BACKEND_MY_SHOP_URL": "https://shop.example/oyez", "OYEZ_BACKEND_MY_SHOP_SECRET": f"whsec_{'A' * 32}"}


def test_back_ends_are_read_from_the_file_and_the_environment(folder: Path) -> None:
    Path("oyez.toml").write_text('[backends.pay]\nurl = "http://pay/x"\ntimeout = 2\n')
    secret = {"OYEZ_BACKEND_PAY_SECRET": f"whsec_{'B' * 32}", "OYEZ_BACKEND_MY_SHOP_MAX_QUEUE": "7"}
    backends = load_settings({**BACKEND, **secret}).backends
    assert backends["pay"].url == "http://pay/x"
    assert (backends["pay"].timeout, backends["pay"].secret) == (2.0, f"whsec_{'B' * 32}")
    assert (backends["my_shop"].url, backends["my_shop"].max_queue) == ("https://shop.example/oyez", 7)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("URL", "shop.example", "address of a back end"),
        ("URL", "https://user:password@shop.example", "without a password"),
        ("SECRET", "hunter2", "whsec_"),
        ("SECRET", "whsec_c2hvcnQ=", "24 to 64 bytes"),
        ("TIMEOUT", "60", "Expected a number <= 30"),
        ("MAX_QUEUE", "many", "whole number"),
    ],
)
def test_wrong_settings_of_a_back_end_are_explained(folder: Path, name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_settings({**BACKEND, f"OYEZ_BACKEND_MY_SHOP_{name}": value})
    assert said in str(error.value)
    assert name != "SECRET" or value not in str(error.value)


def test_settings_show_no_secret_of_a_back_end(folder: Path) -> None:
    assert "whsec" not in repr(load_settings(BACKEND))


# Receivers of webhooks.


def test_receivers_are_read_from_the_file_and_the_environment(folder: Path) -> None:
    Path("oyez.toml").write_text('[webhooks.shop]\nsystem = "orders"\nurl = "https://shop.example"\nevents = ["a"]\n')
    secret = f"whsec_{'A' * 32}"
    environ = {"OYEZ_WEBHOOK_SHOP_SECRET": secret, "OYEZ_WEBHOOK_SHOP_EVENTS": "a, b:c", "OYEZ_WEBHOOK_TIMEOUT": "3"}
    settings = load_settings(environ)
    assert settings.webhooks == {
        "shop": WebhookSettings(system="orders", url="https://shop.example", secret=secret, events=("a", "b:c"))
    }
    assert settings.webhook_timeout == 3.0
    assert secret not in repr(settings)
    del environ["OYEZ_WEBHOOK_SHOP_EVENTS"]
    assert load_settings(environ).webhooks["shop"].events == ("a",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[webhooks.shop]\nsystem = 'orders'\nurl = 'https://shop.example'\nsecret = 'hunter2'",
            "webhooks.shop.secret",
        ),
        ("[webhooks.Shop]\nsystem = 'orders'\nurl = 'https://shop.example'\nsecret = 'hunter2'", "small letter"),
        ("[webhooks.shop]\nsystem = 'orders'\nurl = 'https://shop.example'", "secret"),
        ("[webhooks.shop]\nsytem = 'orders'", "Did you mean `system`"),
    ],
)
def test_wrong_settings_of_a_receiver_are_explained(folder: Path, text: str, said: str) -> None:
    write(folder, text)
    with pytest.raises(SettingsError) as error:
        load_settings({})
    assert said in str(error.value)
    assert "hunter2" not in str(error.value)
