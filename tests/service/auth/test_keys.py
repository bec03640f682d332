"""Keys in files and at an address: which are used, when they are fetched, and what happens if that fails."""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwk, jwt

from oyez.errors import KEYS_UNAVAILABLE, TOKEN_INVALID, RefusedError, SettingsError
from oyez.service.auth.keys import (
    FETCH_INTERVAL,
    FRESH_TIME,
    MAX_KEY_SET_BYTES,
    PUBLIC_ALGORITHMS,
    Key,
    LocalKeys,
    PublishedKeys,
    check_url,
    load_key_file,
    parse_key_set,
)
from oyez.service.auth.tokens import VerifiedClaims, Verifier
from tests.support.clock import PATIENCE, Clock
from tests.support.logged import capture_logs
from tests.support.tasks import Spawn

KINDS: dict[str, tuple[str, str | None, str | int]] = {
    "RS256": ("RSA", None, 2048),
    "ES256": ("EC", "P-256", "P-256"),
    "EdDSA": ("OKP", "Ed25519", "Ed25519"),
}


def make_key(algorithm: str, kid: str | None = None) -> jwk.Key:
    kty, _, size = KINDS[algorithm]
    return jwk.JWKRegistry.generate_key(kty, size, {"kid": kid} if kid else None)


KEYS = {algorithm: make_key(algorithm) for algorithm in KINDS}
ROTATION = {kid: make_key("ES256", kid) for kid in ("old", "new")}


def sign(key: jwk.Key, algorithm: str, **header: Any) -> str:
    kty, crv, _ = KINDS["EdDSA" if algorithm == "Ed25519" else algorithm]
    registry = PUBLIC_ALGORITHMS[kty, crv]
    return jwt.encode({"alg": algorithm, **header}, {"sub": "ada"}, key, registry=registry)


def public(key: jwk.Key, **members: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), **members}


def verify(keys: list[Key], token: str) -> VerifiedClaims | None:
    return Verifier(LocalKeys(keys)).verify_now(token)


# Files.


@pytest.mark.parametrize("algorithm", KINDS)
@pytest.mark.parametrize("form", ["pem", "jwk", "jwks"])
def test_a_public_key_in_a_file_verifies(tmp_path: Path, algorithm: str, form: str) -> None:
    key = KEYS[algorithm]
    path = tmp_path / "key"
    if form == "pem":
        assert not isinstance(key, jwk.OctKey)
        path.write_bytes(key.as_pem(private=False))
    else:
        path.write_text(json.dumps(public(key) if form == "jwk" else {"keys": [public(key, use="sig")]}))

    claims = verify(load_key_file(path), sign(key, algorithm))

    assert claims is not None and claims.subject == "ada"


def test_ed25519_goes_by_both_its_names(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(json.dumps(public(KEYS["EdDSA"], alg="EdDSA")))
    keys = load_key_file(tmp_path / "key")

    assert verify(keys, sign(KEYS["EdDSA"], "EdDSA")) == verify(keys, sign(KEYS["EdDSA"], "Ed25519"))


WEAK = jwk.RSAKey(jwk.RSAKey.binding.generate_private_key(1024), None)


UNUSABLE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "key"),
    "no key": (b"no key", "key"),
    "half of an object": (b"{", "truncated"),
    "no list": (b'{"keys": 1}', "not a list"),
    "an empty list": (b'{"keys": []}', "no key in it.*empty"),
    "no object in the list": (b'{"keys": [1]}', "JSON object"),
    "a private PEM key": (KEYS["RS256"].as_pem(private=True), "private key.*-pubout"),  # type: ignore[union-attr]
    "a private JWK": (json.dumps(KEYS["ES256"].as_dict(private=True)).encode(), "private"),
    "a weak key": (WEAK.as_pem(private=False), "2048 bits"),
    "the curve P-384": (jwk.ECKey.generate_key("P-384").as_pem(private=False), "P-384"),
    "the curve X25519": (jwk.OKPKey.generate_key("X25519").as_pem(private=False), "X25519"),
    "a secret": (json.dumps({"kty": "oct", "k": "c2VjcmV0"}).encode(), "oct"),
    "another algorithm": (json.dumps(public(KEYS["RS256"], alg="PS256")).encode(), "PS256"),
    "for encryption": (json.dumps(public(KEYS["RS256"], use="enc")).encode(), "signatures"),
    "no operation to verify": (json.dumps(public(KEYS["RS256"], key_ops=["encrypt"])).encode(), "signatures"),
    "a number as kid": (json.dumps(public(KEYS["RS256"], kid=1)).encode(), "kid"),
    "a damaged RSA key": (json.dumps(public(KEYS["RS256"], n=1)).encode(), "2048 bits"),
    "a damaged EC key": (json.dumps(public(KEYS["ES256"], y="AAAA")).encode(), "cannot be used"),
}
"""Files without a usable key, and the reason that is given. They have names: the keys differ from run to run."""


@pytest.mark.parametrize(("content", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_file_without_a_usable_key_is_refused_with_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "key").write_bytes(content)

    with pytest.raises(SettingsError, match=reason):
        load_key_file(tmp_path / "key")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="absent"):
        load_key_file(tmp_path / "absent")


def test_a_file_of_an_editor_for_windows_is_read_or_refused_with_the_remedy(tmp_path: Path) -> None:
    document = json.dumps(public(KEYS["ES256"])).replace(",", ",\r\n") + "\r\n"
    (tmp_path / "key").write_bytes(document.encode("utf-8-sig"))
    assert verify(load_key_file(tmp_path / "key"), sign(KEYS["ES256"], "ES256"))
    (tmp_path / "key").write_bytes(document.encode("utf-16"))
    with pytest.raises(SettingsError, match="UTF-16; save it as UTF-8"):
        load_key_file(tmp_path / "key")


# Which key of several.


def test_a_published_set_leaves_out_what_is_not_for_us() -> None:
    entries = [
        {"kty": "post-quantum"},
        {"kty": "oct", "k": "c2VjcmV0"},
        public(KEYS["RS256"], use="enc"),
        public(KEYS["RS256"], key_ops=1),
        KEYS["EdDSA"].as_dict(private=True),
        "no key",
        public(ROTATION["new"], x5t="ignored", alg="ES256"),
    ]

    assert [key.kid for key in parse_key_set(json.dumps({"keys": entries}).encode())] == ["new"]


def test_a_kid_chooses_the_key_and_must_be_known() -> None:
    keys = parse_key_set(json.dumps({"keys": [public(key) for key in ROTATION.values()]}).encode())

    assert verify(keys, sign(ROTATION["old"], "ES256", kid="old"))
    for header, reason in [({"kid": "new"}, "signature"), ({"kid": "other"}, "'other'"), ({}, "several keys")]:
        with pytest.raises(RefusedError, match=reason):
            verify(keys, sign(ROTATION["old"], "ES256", **header))


def test_a_named_key_goes_before_an_unnamed_one() -> None:
    keys = parse_key_set(json.dumps({"keys": [public(KEYS["ES256"]), public(ROTATION["new"])]}).encode())

    assert verify(keys, sign(ROTATION["new"], "ES256", kid="new"))
    assert verify(keys, sign(KEYS["ES256"], "ES256", kid="whatever"))


def test_a_token_without_kid_is_fine_where_one_key_fits() -> None:
    keys = parse_key_set(json.dumps({"keys": [public(KEYS["RS256"]), public(KEYS["EdDSA"])]}).encode())

    assert verify(keys, sign(KEYS["EdDSA"], "EdDSA"))
    with pytest.raises(RefusedError, match="'ES256', expected Ed25519 or EdDSA or RS256"):
        verify(keys, sign(KEYS["ES256"], "ES256"))


# Behind an address.


@pytest.mark.parametrize(
    "url",
    [
        "",
        "keys.json",
        "http://id.example/keys",
        "http://localhost.id.example/keys",
        "http://10.0.0.1/keys",
        "https:///keys",
        "https://user:word@id.example/keys",
        "https://[::1/keys",
        "file:///etc/passwd",
        "ftp://127.0.0.1/keys",
    ],
)
def test_an_unsafe_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="jwks_url") as caught:
        PublishedKeys(url)
    assert "word" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize(
    "url", ["https://id.example/keys", "http://localhost/k", "http://127.0.0.1:80/k", "http://[::1]:9/k"]
)
def test_a_safe_address_is_accepted(url: str) -> None:
    check_url(url)


@dataclass
class Issuer:
    """A real HTTP server that publishes what a test gives it, and counts its requests."""

    url: str = ""
    body: bytes = b""
    status: int = 200
    requests: int = 0
    arrived: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(default_factory=threading.Event)

    def publish(self, *kids: str) -> None:
        self.status, self.body = 200, json.dumps({"keys": [public(ROTATION[kid]) for kid in kids]}).encode()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    issuer.may_answer.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.requests += 1
            issuer.arrived.set()
            issuer.may_answer.wait()
            self.send_response(issuer.status)
            if issuer.status == 302:
                self.send_header("Location", f"{issuer.url}/elsewhere")
            self.send_header("Content-Length", str(len(issuer.body)))
            self.end_headers()
            self.wfile.write(issuer.body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        issuer.publish("old")
        yield issuer
        issuer.may_answer.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(issuer: Issuer, clock: Clock) -> Verifier:
    return Verifier(PublishedKeys(issuer.url, clock=clock))


OLD, NEW, GARBAGE = (
    sign(key, "ES256", kid=kid)
    for key, kid in ((ROTATION["old"], "old"), (ROTATION["new"], "new"), (ROTATION["new"], "x"))
)


async def expect_refused(verifier: Verifier, token: str, refusal: Any) -> None:
    with pytest.raises(RefusedError) as caught:
        await verifier.verify(token)
    assert caught.value.refusal is refusal


async def test_keys_are_fetched_on_first_use_and_kept(verifier: Verifier, issuer: Issuer) -> None:
    assert issuer.requests == 0
    assert verifier.verify_now(OLD) is None

    assert (await verifier.verify(OLD)).subject == "ada"
    assert verifier.verify_now(OLD) is not None
    assert issuer.requests == 1


async def test_a_new_key_counts_at_once(verifier: Verifier, issuer: Issuer, spawn: Spawn) -> None:
    """Also right after a fetch that did not find it: no refusal is permanent."""
    await verifier.verify(OLD)
    issuer.publish("old", "new")
    arriving = [spawn(verifier.verify(NEW)) for _ in range(100)]
    assert {claims.subject for claims in await asyncio.gather(*arriving)} == {"ada"}
    assert verifier.verify_now(OLD) and verifier.verify_now(NEW)
    assert issuer.requests == 2


async def test_a_token_that_arrives_during_a_fetch_waits_for_the_next_one(
    verifier: Verifier, issuer: Issuer, spawn: Spawn
) -> None:
    """What is being fetched may be older than the token."""
    issuer.may_answer.clear()
    first = spawn(verifier.verify(OLD))
    await asyncio.to_thread(issuer.arrived.wait)
    second = spawn(verifier.verify(NEW))
    await asyncio.sleep(0)
    issuer.may_answer.set()
    await first
    issuer.publish("old", "new")

    assert (await second).subject == "ada"
    assert issuer.requests == 2


async def test_invented_kids_do_not_flood_the_issuer(verifier: Verifier, issuer: Issuer) -> None:
    for number in (1, 2):
        arriving = [verifier.verify(GARBAGE) for _ in range(50)]
        refused = await asyncio.gather(*arriving, return_exceptions=True)
        assert {error.refusal for error in refused if isinstance(error, RefusedError)} == {TOKEN_INVALID}
        assert issuer.requests == number


async def test_old_keys_are_fetched_again_and_a_withdrawn_one_ends(
    verifier: Verifier, issuer: Issuer, clock: Clock
) -> None:
    await verifier.verify(OLD)
    issuer.publish("new")
    clock.now += FRESH_TIME - 1
    assert verifier.verify_now(OLD)

    clock.now += 1
    await expect_refused(verifier, OLD, TOKEN_INVALID)
    assert await verifier.verify(NEW)


async def test_old_keys_stay_in_use_while_the_issuer_is_down(verifier: Verifier, issuer: Issuer, clock: Clock) -> None:
    await verifier.verify(OLD)
    issuer.status = 500
    clock.now += FRESH_TIME
    with capture_logs() as logs:
        assert await verifier.verify(OLD)
        assert await verifier.verify(OLD)
    assert issuer.requests == 2
    told = [(entry["event"], entry["host"], entry["known_keys"]) for entry in logs]
    assert told == [("the keys that verify tokens cannot be fetched", "127.0.0.1", 1)]
    await expect_refused(verifier, NEW, KEYS_UNAVAILABLE)

    issuer.publish("new")
    clock.now += FETCH_INTERVAL
    assert await verifier.verify(NEW)


async def test_the_issuers_return_is_noticed_at_once(issuer: Issuer, spawn: Spawn) -> None:
    """Also while no token needs a key."""
    issuer.status = 500
    keys = PublishedKeys(issuer.url)
    with capture_logs() as logs:
        running = spawn(keys.run())
        async with asyncio.timeout(PATIENCE):
            while keys.reason is None:  # noqa: ASYNC110 - as probes do
                await asyncio.sleep(0.01)
        assert "500" in keys.reason
        issuer.publish("new")
        async with asyncio.timeout(PATIENCE):
            while keys.reason is not None:  # noqa: ASYNC110 - as probes do
                await asyncio.sleep(0.01)
        assert (await Verifier(keys).verify(NEW)).subject == "ada"
        running.cancel()
    assert [entry["log_level"] for entry in logs] == ["warning", "info"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"{}"),
        (302, b""),
        (200, b""),
        (200, b"<html>"),
        (200, b'{"keys": []}'),
        (200, b'{"keys": ' + b"[" * 10_000),
        (200, b" " * (MAX_KEY_SET_BYTES + 1)),
    ],
)
async def test_an_answer_without_keys_is_temporary(
    verifier: Verifier, issuer: Issuer, status: int, body: bytes
) -> None:
    issuer.status, issuer.body = status, body

    with capture_logs():
        await expect_refused(verifier, OLD, KEYS_UNAVAILABLE)
    await expect_refused(verifier, OLD, KEYS_UNAVAILABLE)
    assert issuer.requests == 1


async def test_an_issuer_that_is_not_there_is_temporary() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        port = closed.server_port
    with capture_logs():
        await expect_refused(Verifier(PublishedKeys(f"http://127.0.0.1:{port}/")), OLD, KEYS_UNAVAILABLE)


async def test_an_issuer_that_does_not_answer_is_given_up(issuer: Issuer) -> None:
    issuer.may_answer.clear()
    verifier = Verifier(PublishedKeys(issuer.url, timeout=0.05))

    with capture_logs():
        await expect_refused(verifier, OLD, KEYS_UNAVAILABLE)


async def test_all_callers_share_one_fetch_and_a_cancelled_one_does_not_end_it(
    verifier: Verifier, issuer: Issuer, spawn: Spawn
) -> None:
    issuer.may_answer.clear()
    waiting = [spawn(verifier.verify(OLD)) for _ in range(5)]
    await asyncio.to_thread(issuer.arrived.wait)
    waiting[0].cancel()
    issuer.may_answer.set()

    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert all(isinstance(result, VerifiedClaims) for result in results[1:])
    assert issuer.requests == 1


async def test_known_keys_verify_while_a_fetch_hangs(
    verifier: Verifier, issuer: Issuer, clock: Clock, spawn: Spawn
) -> None:
    await verifier.verify(OLD)
    clock.now += FRESH_TIME
    issuer.may_answer.clear()
    issuer.arrived.clear()
    first = spawn(verifier.verify(OLD))
    await asyncio.to_thread(issuer.arrived.wait)

    assert verifier.verify_now(OLD)
    assert verifier.verify_now(NEW) is None
    issuer.may_answer.set()
    assert await first
