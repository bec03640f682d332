"""`oyez token`: a verifier on the same machine accepts what it prints, and impossible options are explained."""

import time
from pathlib import Path
from typing import Any

import pytest

from oyez.service.auth.secrets import load_secret
from oyez.service.auth.tokens import VerifiedClaims, build_signer, build_verifier
from oyez.settings import Settings
from tests.support.terminal import ORDERS, Calls


async def verify(token: str, **settings: Any) -> VerifiedClaims:
    """What a server with these settings makes of a user's token."""
    loaded = Settings(**settings)
    return await build_verifier(loaded, load_secret(loaded)).verify(token.strip())


async def test_a_users_token(oyez: Calls) -> None:
    made = oyez("token", "quotes", "--sub", "ada", "--role", "supplier")
    assert made.status == 0
    claims = await verify(made.out)
    assert (claims.subject, claims.claims["role"]) == ("ada", "supplier")
    assert claims.expires_at == pytest.approx(time.time() + 3600 + Settings().jwt_leeway, abs=60)


async def test_without_a_role_the_default_counts(oyez: Calls) -> None:
    assert "role" not in (await verify(oyez("token", "quotes", "--sub", "ada").out)).claims


async def test_claims_and_lifetime(oyez: Calls) -> None:
    words = "--sub ada --claim team=red --claim note=a=b --lifetime 60"
    claims = await verify(oyez("token", ORDERS, *words.split()).out)
    assert (claims.claims["team"], claims.claims["note"]) == ("red", "a=b")
    assert claims.expires_at == pytest.approx(time.time() + 60 + Settings().jwt_leeway, abs=30)


@pytest.mark.parametrize(("lifetime", "expires"), [([], False), (["--lifetime", "60"], True)])
def test_a_service_key(oyez: Calls, lifetime: list[str], expires: bool) -> None:
    made = oyez("token", "quotes", "--service", *lifetime)
    signer = build_signer(Settings(), load_secret(Settings()))
    assert (signer.verify_service(made.out.strip(), "quotes").expires_at is not None) is expires


@pytest.mark.parametrize(
    "words",
    [
        ["token", "quotes", "--service"],
        ["listen", "quotes", "--sub", "ada"],
        ["publish", "quotes", "quote:offer:updated", "--data", "{}"],
        ["quotes", "add-supplier", "u", "s"],
        ["quotes", "remove-supplier", "u"],
    ],
)
def test_only_a_server_makes_a_data_folder(
    oyez: Calls, folder: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "wrong").mkdir()
    monkeypatch.chdir(folder / "wrong")
    error = oyez(*words).error
    assert f"in {folder}/wrong/oyez-data, where this command looks for the server's data." in error
    assert "Run it in the folder in which `oyez serve` was started, " in error
    assert "--oyez-data" in error
    assert list((folder / "wrong").iterdir()) == []


async def test_settings_come_from_file_environment_and_flags(
    oyez: Calls, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "other.toml").write_text('jwt_issuer = "file"\njwt_audience = "file"\noyez_data = "file"\n')
    monkeypatch.setenv("JWT_AUDIENCE", "environment")
    load_secret(Settings(oyez_data="flag"))
    made = oyez(*["token", "quotes", "--sub", "ada", "--config", "other.toml", "--oyez-data", "flag"])
    claims = await verify(made.out, jwt_issuer="file", jwt_audience="environment", oyez_data="flag")
    assert claims.subject == "ada"


@pytest.mark.parametrize(
    ("words", "status", "what"),
    [
        ([], 2, "Add --sub ID, or --service for a back end's key"),
        (["--sub", "ada", "--role", "king"], 2, "quotes knows no role 'king'. Its roles are user, supplier, admin."),
        (["--sub", "ada", "--claim", "team"], 2, "Write --claim NAME=VALUE"),
        (["--sub", "ada", "--claim", "=red"], 2, "Write --claim NAME=VALUE"),
        (["--sub", "ada", "--claim", "exp=1"], 1, "exp: is set by Oyez itself"),
        (["--sub", ""], 1, "expected a string of 1 to 128"),
        (["--sub", "ada", "--lifetime", "0"], 1, "expected more than 0"),
        (["--service", "--sub", "ada"], 2, "A service key is no user's"),
        (["--service", "--role", "user"], 2, "A service key is no user's"),
    ],
)
def test_what_cannot_be_signed(oyez: Calls, folder: Path, words: list[str], status: int, what: str) -> None:
    (folder / "oyez.toml").write_text('jwt_secret = "0123456789abcdef0123456789abcdef"')
    ended = oyez("token", "quotes", *words)
    assert ended.status == status
    assert what in ended.error


def test_a_system_without_a_default_role_needs_one(oyez: Calls, folder: Path) -> None:
    (folder / "orders.py").write_text(ORDERS.read_text().replace(', default_role="customer"', ""))
    ended = oyez("token", "orders.py", "--sub", "ada")
    assert ended.status == 2
    assert "Add --role with one of customer, courier" in ended.error


def test_a_short_secret_is_refused(oyez: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", "short")
    assert "HS256 needs at least 32" in oyez("token", "quotes", "--service").error


def test_where_an_identity_provider_signs_users_only_service_keys_are_made(
    oyez: Calls, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWKS_URL", "https://id.example/keys")
    key = oyez("token", "quotes", "--service")
    assert build_signer(Settings(), load_secret(Settings())).verify_service(key.out.strip(), "quotes")
    assert "only the identity provider" in oyez("token", "quotes", "--sub", "ada").error
