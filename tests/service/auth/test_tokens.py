"""Tokens of users and of back ends: what is accepted, what is refused, and that nothing else ever happens."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk, jwt

from oyez.contract.claims import Claims as ContractClaims
from oyez.errors import TOKEN_EXPIRED, TOKEN_INVALID, InvalidDataError, Refusal, RefusedError, SettingsError
from oyez.service.auth.claims import ClaimNames
from oyez.service.auth.keys import HS256, Key, LocalKeys, parse_key_set
from oyez.service.auth.secrets import Secret, load_secret, secret_key
from oyez.service.auth.tokens import MAX_TOKEN_BYTES, Signer, VerifiedClaims, Verifier, build_signer, build_verifier
from oyez.settings import Settings

SECRET = "correct-horse-battery-staple-0123"
NOW = 1_800_000_000.0
LEEWAY = 10.0
RSA = jwk.RSAKey.generate_key(2048)
EC = jwk.ECKey.generate_key("P-256")


def clock() -> float:
    return NOW


def make_verifier(keys: list[Key] | None = None, **options: Any) -> Verifier:
    return Verifier(LocalKeys(keys or [secret_key(SECRET)]), leeway=LEEWAY, clock=clock, **options)


def make_signer(**options: Any) -> Signer:
    return Signer(SECRET, leeway=LEEWAY, clock=clock, **options)


def sign(payload: Mapping[str, Any] | bytes, header: Mapping[str, Any] | None = None) -> str:
    """A token with exactly this payload and header, signed with SECRET, valid or not."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    head = json.dumps({"alg": "HS256"} if header is None else header).encode()
    signed = b".".join(encode(part) for part in (head, body))
    signature = HS256.model.sign(signed, secret_key(SECRET).material)
    return b".".join((signed, encode(signature))).decode()


def encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def accept(token: str, verifier: Verifier | None = None) -> VerifiedClaims:
    claims = (verifier or make_verifier()).verify_now(token)
    assert claims is not None
    return claims


def expect_refused(token: str, reason: str | None = None, refusal: Refusal = TOKEN_INVALID, **options: Any) -> None:
    with pytest.raises(RefusedError, match=reason) as caught:
        make_verifier(**options).verify_now(token)
    assert caught.value.refusal is refusal


# Users.


async def test_a_signed_token_comes_back_as_its_claims() -> None:
    token = make_signer().sign_user("ada", "supplier", {"plan": "gold"}, 60)

    claims = await make_verifier().verify(token)

    assert claims.subject == "ada"
    assert claims.claims == {"sub": "ada", "role": "supplier", "plan": "gold", "iat": NOW, "exp": NOW + 60}
    assert claims.expires_at == NOW + 60 + LEEWAY


def test_a_token_of_another_library_is_accepted() -> None:
    token = jwt.encode({"alg": "HS256"}, {"sub": "ada"}, jwk.OctKey.import_key(SECRET))

    assert accept(token) == VerifiedClaims("ada", {"sub": "ada"}, None)


@pytest.mark.parametrize("claims", [{"sub": "ada"}, {"userId": "ada"}, {"sub": "ada", "userId": "ada"}])
def test_sub_and_user_id_both_name_the_user(claims: dict[str, Any]) -> None:
    assert accept(sign(claims)).subject == "ada"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({}, "'sub' or 'userId'"),
        ({"sub": "ada", "userId": "bob"}, "different users"),
        ({"sub": None}, "user is None"),
        ({"sub": 1, "userId": 2}, "different users"),
        ({"sub": 1.5}, "user is 1.5, expected a string"),
        ({"sub": 10**200}, "1 to 128"),
        ({"userId": True}, "user is True"),
        ({"sub": ["ada"]}, "expected a string"),
        ({"sub": ""}, "1 to 128"),
        ({"sub": "a" * 129}, "1 to 128"),
        ({"sub": "a\nb"}, "printable"),
        ({"sub": "a\x00"}, "printable"),
        ({"sub": "a\u202eb"}, "printable"),
    ],
)
def test_a_user_is_one_short_printable_string(claims: dict[str, Any], reason: str) -> None:
    expect_refused(sign(claims), reason)


def test_a_number_is_an_id_too() -> None:
    assert accept(sign({"sub": 42})).subject == "42"
    assert accept(sign({"sub": "42", "userId": 42})).subject == "42"


def test_claims_may_have_other_names() -> None:
    settings = Settings(
        jwt_secret=SECRET,
        jwt_subject="uid, sub",
        jwt_role="realm_access.roles",
        jwt_claims="garage_id=https://id.example/garage, shop_id=shop",
    )
    verifier, signer = build(settings)
    sent = {
        "uid": 7,
        "role": "an employee's",
        "realm_access": {"roles": ["offline_access", "garage"]},
        "https://id.example/garage": "g-1",
        "shop_id": "not ours",
    }

    claims = accept(sign(sent), verifier)
    assert claims.subject == "7"
    assert claims.claims["role"] == ["offline_access", "garage"]
    assert claims.claims["garage_id"] == "g-1"
    assert "shop_id" not in claims.claims, "what has that name in the token is something else"
    assert accept(sign({"uid": "ada", "realm_access.roles": "user"}), verifier).claims["role"] == "user"
    assert "role" not in accept(sign({"uid": "ada", "role": "admin", "realm_access": "none"}), verifier).claims
    # What Oyez signs itself is read in the same way.
    own = accept(signer.sign_user("ada", "garage", {"garage_id": "g-2"}, 60), verifier)
    assert (own.subject, own.claims["role"], own.claims["garage_id"]) == ("ada", "garage", "g-2")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"jwt_subject": " , "}, "JWT_SUBJECT and JWT_ROLE"),
        ({"jwt_role": " "}, "JWT_SUBJECT and JWT_ROLE"),
        ({"jwt_claims": "garage_id"}, "JWT_CLAIMS has 'garage_id'"),
        ({"jwt_claims": "sub=uid"}, "JWT_CLAIMS cannot rename 'sub'"),
    ],
)
def test_names_of_claims_that_cannot_be(settings: dict[str, str], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        build_verifier(Settings(**settings), Secret(SECRET))  # type: ignore[arg-type]


# Times.


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ['"1900000000"', "true", "null", "[]", "{}", "1e13", "-1e13", "1900000000000"])
def test_a_time_is_a_number_of_seconds(name: str, value: str) -> None:
    expect_refused(sign(f'{{"sub":"ada","{name}":{value}}}'.encode()), f"{name} is .*, expected a number of seconds")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e400", "9" * 400])
def test_what_is_no_finite_number_is_refused(value: str) -> None:
    expect_refused(sign(f'{{"sub":"ada","exp":{value}}}'.encode()))


def test_a_token_expires_when_the_leeway_has_passed() -> None:
    assert accept(sign({"sub": "ada", "exp": NOW - LEEWAY + 0.5})).expires_at == NOW + 0.5
    expect_refused(sign({"sub": "ada", "exp": NOW - LEEWAY}), "expired at", TOKEN_EXPIRED)


def test_a_token_counts_from_its_beginning_less_the_leeway() -> None:
    assert accept(sign({"sub": "ada", "nbf": NOW + LEEWAY, "iat": NOW + 3_600}))
    expect_refused(sign({"sub": "ada", "nbf": int(NOW + LEEWAY + 1)}), "not valid before 2027-01-15T08:00:11Z")


def test_times_are_shown_in_readable_units() -> None:
    expired = r"expired at 2027-01-15T07:00:00Z \(it is 2027-01-15T08:00:00Z here\)"
    expect_refused(sign({"sub": "ada", "exp": NOW - 3_600}), expired, TOKEN_EXPIRED)
    expect_refused(sign({"sub": "ada", "exp": -9e11}), "expired at -900000000000 seconds since 1970", TOKEN_EXPIRED)
    expect_refused(sign({"sub": "ada", "nbf": 9e11}), "not valid before 900000000000 seconds since 1970")


# Issuer and audience.


def test_the_issuer_must_be_the_expected_one() -> None:
    assert accept(sign({"sub": "ada", "iss": "https://id"}), make_verifier(issuer="https://id"))
    assert accept(sign({"sub": "ada", "iss": "https://any"}))
    for iss in ({}, {"iss": "https://other"}, {"iss": ["https://id"]}, {"iss": None}):
        expect_refused(sign({"sub": "ada", **iss}), "issuer is .*, expected 'https://id'", issuer="https://id")


@pytest.mark.parametrize("aud", ["oyez", ["oyez"], ["x", "oyez"]])
def test_the_audience_may_be_one_or_several(aud: object) -> None:
    assert accept(sign({"sub": "ada", "aud": aud}), make_verifier(audience="oyez"))


@pytest.mark.parametrize("aud", ["x", ["x"], [], "", None, 1, ["oyez", 1], {"oyez": 1}])
def test_another_audience_is_refused(aud: object) -> None:
    expect_refused(sign({"sub": "ada", "aud": aud}), "audience is", audience="oyez")


def test_an_audience_is_refused_where_none_is_configured_and_asked_for_where_one_is() -> None:
    expect_refused(sign({"sub": "ada", "aud": "x"}), "audience is 'x', and no jwt_audience is set")
    expect_refused(sign({"sub": "ada"}), "audience is None, expected 'oyez'", audience="oyez")


# Signatures, algorithms, headers (RFC 8725).


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer "])
def test_a_token_with_the_scheme_of_the_header_in_front_is_explained(scheme: str) -> None:
    expect_refused(scheme + sign({"sub": "ada"}), "begins with `Bearer `")


@pytest.mark.parametrize("algorithm", ["none", "None", "HS384", "HS512", "RS256", "", "hs256"])
def test_the_header_does_not_choose_the_algorithm(algorithm: str) -> None:
    expect_refused(sign({"sub": "ada"}, {"alg": algorithm}), "algorithm is .*, expected HS256")
    unsigned = sign({"sub": "ada"}, {"alg": algorithm}).rpartition(".")[0] + "."
    expect_refused(unsigned, "algorithm is")


def test_a_public_key_is_no_secret_to_sign_with() -> None:
    """The classic confusion: HS256 with the RSA key's public PEM as the secret."""
    keys = parse_key_set(json.dumps(RSA.as_dict(private=False)).encode())
    secret = jwk.OctKey(RSA.as_pem(private=False), None)
    token = jwt.encode({"alg": "HS256"}, {"sub": "ada"}, secret)

    expect_refused(token, "'HS256', expected RS256", keys=keys)
    assert accept(jwt.encode({"alg": "RS256"}, {"sub": "ada"}, RSA), make_verifier(keys))


def test_another_key_does_not_verify() -> None:
    keys = parse_key_set(json.dumps(EC.as_dict(private=False)).encode())
    other = jwk.ECKey.generate_key("P-256")

    expect_refused(jwt.encode({"alg": "ES256"}, {"sub": "ada"}, other), "signature does not match", keys=keys)
    expect_refused(jwt.encode({"alg": "HS256"}, {"sub": "ada"}, jwk.OctKey.generate_key()), "signature does not match")


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"b64": False, "crit": ["b64"]},
        {"b64": True},
        {"jwk": EC.as_dict(private=False)},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/cert"},
        {"x5c": ["MIIB"]},
    ],
)
def test_a_token_may_not_bring_its_key_or_its_rules(header: dict[str, Any]) -> None:
    expect_refused(sign({"sub": "ada"}, {"alg": "HS256", **header}), "header may not have")


@pytest.mark.parametrize(
    "header", [{"kid": "any"}, {"typ": "JWT"}, {"typ": "application/at+JWT"}, {"cat": "x", "x5t": "y"}]
)
def test_harmless_headers_are_accepted(header: dict[str, Any]) -> None:
    assert accept(sign({"sub": "ada"}, {"alg": "HS256", **header}))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"alg": "HS256", "typ": "logout+jwt"}, "type is 'logout\\+jwt'"),
        ({"alg": "HS256", "typ": 1}, "must be strings"),
        ({"alg": "HS256", "kid": 1}, "must be strings"),
        ({"alg": ["HS256"]}, "must be strings"),
        ({"alg": None}, "must be strings"),
        ({}, "not well-formed"),
        ({"alg": "HS256", "pad": "x" * 2_048}, "not well-formed"),
    ],
)
def test_odd_headers_are_refused(header: dict[str, Any], reason: str) -> None:
    expect_refused(sign({"sub": "ada"}, header), reason)


@pytest.mark.parametrize("head", [b'["alg"]', b'"alg"', b"1", b"[" * 1_500, b"\xff", b""])
def test_a_header_that_is_no_object_is_refused(head: bytes) -> None:
    expect_refused(f"{encode(head).decode()}.e30.AAAA")


@pytest.mark.parametrize("payload", [b"", b"[]", b"1", b"\xff", b'{"sub":"\\ud800"}', b"[" * 5_000, b'{"a":' * 900])
def test_a_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    expect_refused(sign(payload), "not well-formed")


@pytest.mark.parametrize("token", ["", ".", "..", "a.b", "a.b.c.d.e", "é.é.é", "\ud800", "x" * (MAX_TOKEN_BYTES + 1)])
def test_what_is_no_token_is_refused(token: str) -> None:
    expect_refused(token)


def test_a_token_is_text() -> None:
    for value in (None, 1, b"a.b.c", {"token": "x"}):
        expect_refused(value)  # type: ignore[arg-type]


def test_size_is_checked_first() -> None:
    assert accept(sign({"sub": "ada", "pad": "x" * 5_900}))
    expect_refused(sign({"sub": "ada", "pad": "x" * 6_200}), f"at most {MAX_TOKEN_BYTES} bytes")


def test_no_message_holds_the_secret() -> None:
    for token in (sign({"sub": 1.5}), sign({"sub": "ada"})[:-4] + "AAAA", "x.y.z"):
        with pytest.raises(RefusedError) as caught:
            make_verifier().verify_now(token)
        assert SECRET not in str(caught.value)
    assert SECRET not in repr(secret_key(SECRET))


# Any input: claims or a refusal.

VALID = sign({"sub": "ada", "exp": NOW + 60, "aud": "oyez"})
CHARACTERS = 'ABab01-_.=+/ {"é\n'
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
REGISTERED = st.sampled_from(["sub", "userId", "exp", "nbf", "iat", "iss", "aud", "role"])
HEADERS = st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "cty"])


@given(st.text(max_size=200) | st.text(CHARACTERS, max_size=200))
def test_garbage_is_refused(token: str) -> None:
    expect_refused(token)


@given(st.data())
def test_a_changed_token_is_refused(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(VALID) - 1))
    length = data.draw(st.integers(0, 5))
    changed = VALID[:start] + data.draw(st.text(CHARACTERS, max_size=5)) + VALID[start + length :]
    if changed != VALID:
        expect_refused(changed, audience="oyez")


@given(st.dictionaries(REGISTERED, JSON), st.dictionaries(HEADERS, JSON))
def test_any_signed_claims_are_accepted_or_refused(claims: dict[str, Any], header: dict[str, Any]) -> None:
    token = sign(claims, {"alg": "HS256", **header})
    try:
        assert accept(token).subject
    except RefusedError as error:
        assert error.refusal in (TOKEN_INVALID, TOKEN_EXPIRED)


@given(
    st.text(min_size=1, max_size=128).filter(str.isprintable),
    st.none() | st.text(max_size=10),
    st.floats(0.001, 1e9),
    st.none() | st.just("https://id"),
    st.none() | st.just("oyez"),
)
def test_what_the_signer_signs_the_verifier_accepts(
    subject: str, role: str | None, lifetime: float, issuer: str | None, audience: str | None
) -> None:
    token = make_signer(issuer=issuer, audience=audience).sign_user(subject, role, {"k": "v"}, lifetime)
    claims = accept(token, make_verifier(issuer=issuer, audience=audience))

    assert (claims.subject, claims.claims.get("role"), claims.claims["k"]) == (subject, role, "v")


# Back ends.


def test_a_service_token_is_for_one_system() -> None:
    signer = make_signer()
    token = signer.sign_service("quotes", 60)

    assert signer.verify_service(token, "quotes").expires_at == NOW + 60 + LEEWAY
    assert signer.verify_service(signer.sign_service("quotes", None), "quotes").expires_at is None
    for system in ("bookings", "quote", "quotes2", ""):
        with pytest.raises(RefusedError, match="no service token") as caught:
            signer.verify_service(token, system)
        assert caught.value.refusal is TOKEN_INVALID


def test_a_service_token_expires() -> None:
    late = Signer(SECRET, leeway=LEEWAY, clock=lambda: NOW + 100)

    with pytest.raises(RefusedError) as caught:
        late.verify_service(make_signer().sign_service("quotes", 60), "quotes")
    assert caught.value.refusal is TOKEN_EXPIRED


@pytest.mark.parametrize("audience", [None, "oyez"])
def test_a_service_token_is_no_user(audience: str | None) -> None:
    expect_refused(make_signer().sign_service("quotes", None), "service token", audience=audience)
    expect_refused(sign({"sub": "ada", "aud": ["oyez", "oyez:publish:quotes"]}), "service token", audience=audience)


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "service"},
        {"sub": "service", "aud": "oyez"},
        {"sub": "service", "aud": ["oyez:publish:quotes"]},
        {"sub": "ada", "aud": "oyez:publish:quotes"},
        {"userId": "service", "aud": "oyez:publish:quotes"},
    ],
)
def test_a_user_is_no_service(claims: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match="no service token"):
        make_signer().verify_service(sign(claims), "quotes")


def test_a_service_token_of_another_secret_is_refused() -> None:
    with pytest.raises(RefusedError, match="signature"):
        make_signer().verify_service(Signer("x" * 32).sign_service("quotes", None), "quotes")


# What a signer will not sign.


@pytest.mark.parametrize("name", ["sub", "role", "iss", "aud", "exp", "nbf", "iat"])
def test_claims_that_oyez_sets_are_not_taken(name: str) -> None:
    with pytest.raises(InvalidDataError, match=name):
        make_signer().sign_user("ada", "user", {name: "x"}, 60)


@pytest.mark.parametrize("lifetime", [0, -1, float("nan"), float("inf"), 1e13])
def test_a_lifetime_is_positive_and_finite(lifetime: float) -> None:
    with pytest.raises(InvalidDataError, match="lifetime"):
        make_signer().sign_user("ada", None, {}, lifetime)


@pytest.mark.parametrize(("subject", "claims"), [("", {}), ("a\n", {}), ("a" * 129, {}), ("ada", {"userId": "bob"})])
def test_a_user_that_no_verifier_takes_is_not_signed(subject: str, claims: dict[str, Any]) -> None:
    with pytest.raises(InvalidDataError, match="sub"):
        make_signer().sign_user(subject, None, claims, 60)


def test_a_token_too_large_to_verify_is_not_signed() -> None:
    with pytest.raises(InvalidDataError, match="at most 8192"):
        make_signer().sign_user("ada", None, {"pad": "x" * 7_000}, 60)


# From settings.


def build(settings: Settings) -> tuple[Verifier, Signer]:
    secret = load_secret(settings)
    return build_verifier(settings, secret, clock=clock), build_signer(settings, secret, clock=clock)


def test_without_settings_the_secret_in_the_data_folder_does_it_all(tmp_path: Path) -> None:
    settings = Settings(oyez_data=str(tmp_path), jwt_issuer="https://id", jwt_audience="oyez")
    verifier, _ = build(settings)
    _, signer = build(settings)

    assert accept(signer.sign_user("ada", None, {}, 60), verifier).claims["aud"] == "oyez"
    assert signer.verify_service(signer.sign_service("quotes", None), "quotes")


def test_with_a_key_file_only_the_provider_signs_users(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(RSA.as_pem(private=False))
    verifier, signer = build(Settings(oyez_data=str(tmp_path), jwt_key_file=str(tmp_path / "key.pem")))

    assert accept(jwt.encode({"alg": "RS256"}, {"sub": "ada"}, RSA), verifier)
    assert signer.verify_service(signer.sign_service("quotes", None), "quotes")
    with pytest.raises(SettingsError, match="only the identity provider"):
        signer.sign_user("ada", None, {}, 60)


def test_a_secret_beside_published_keys_verifies_no_users() -> None:
    settings = Settings(jwt_secret=SECRET, jwks_url="https://id.example/keys")
    verifier, signer = build(settings)

    assert verifier.verify_now(sign({"sub": "ada"})) is None
    assert signer.sign_service("quotes", None)
    with pytest.raises(SettingsError, match="JWKS_URL"):
        signer.sign_user("ada", None, {}, 60)


def test_contradicting_settings_are_refused() -> None:
    both = Settings(jwks_url="https://id.example/keys", jwt_key_file="key.pem")
    for settings, reason in [(both, "both set"), (Settings(jwt_audience="oyez:publish:quotes"), "jwt_audience")]:
        with pytest.raises(SettingsError, match=reason):
            build_verifier(settings, Secret(SECRET))


# Names of claims that a contract states.

STATED = ContractClaims(subject="user.id", role="type", names={"shop_id": "https://id.example/shop"})


def test_a_contract_names_the_claims_of_its_tokens() -> None:
    settings = ClaimNames(("sub",), "role", {"shop_id": "shop", "garage_id": "garage"})
    verifier = make_verifier(names=settings).of_contract(STATED)
    token = sign(
        {
            "user": {"id": 42},
            "type": "courier",
            "https://id.example/shop": 7,
            "garage": "g",
            "sub": "x",
            "role": "admin",
        }
    )
    accepted = accept(token, verifier)
    named = {name: accepted.claims.get(name) for name in ("role", "shop_id", "garage_id")}
    assert (accepted.subject, named) == ("42", {"role": "courier", "shop_id": 7, "garage_id": "g"})


def test_what_a_contract_does_not_name_is_as_in_the_settings() -> None:
    verifier = make_verifier(names=ClaimNames(("uid",), "kind")).of_contract(ContractClaims(role="type"))
    accepted = accept(sign({"uid": "ada", "type": "courier", "kind": "admin"}), verifier)
    assert (accepted.subject, accepted.claims["role"]) == ("ada", "courier")


def test_a_token_is_signed_with_the_names_of_the_contract() -> None:
    token = make_signer().of_contract(STATED).sign_user("42", "courier", {"shop_id": "s"}, 60)
    accepted = accept(token, make_verifier().of_contract(STATED))
    assert (accepted.subject, accepted.claims["role"], accepted.claims["shop_id"]) == ("42", "courier", "s")
    expect_refused(token, "does not say who its user is")


def test_keys_are_shared_by_the_verifiers_of_all_systems() -> None:
    verifier = make_verifier()
    assert verifier.of_contract(STATED).keys is verifier.keys
