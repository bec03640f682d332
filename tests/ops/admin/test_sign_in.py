"""The sign-in of operators: keys, tokens, and what is refused."""

from pathlib import Path

import httpx
import pytest

from oyez.client import ConnectRefused, connect
from oyez.errors import RATE_LIMITED, TOKEN_EXPIRED, TOKEN_INVALID, RefusedError, SettingsError
from oyez.ops.admin.sign_in import FAILURES, SESSION_SECONDS, TOKEN_SECONDS, SignIns, hash_key, make_key
from oyez.runtime.failed_sign_ins import FailedSignIns
from oyez.service.auth.tokens import Signer
from oyez.settings import Settings
from tests.support.clock import WALL_TIME, Clock
from tests.support.operators import KEY, KEYS, build, operated, sign_in
from tests.support.pharmacy import system
from tests.support.shops import serve

SECRET = "s" * 64


class Signing:
    """Sign-ins with clocks that the test moves."""

    def __init__(self, **keys: str) -> None:
        self.wall, self.monotonic = Clock(WALL_TIME), Clock()
        self.signer = Signer(SECRET, clock=self.wall)
        self.use(**keys)

    def use(self, **keys: str) -> None:
        hashed = {name: hash_key(key) for name, key in keys.items()}
        self.sign_ins = SignIns(hashed, self.signer, FailedSignIns(FAILURES, self.monotonic), self.wall)

    def code(self, token: str) -> str:
        with pytest.raises(RefusedError) as refused:
            self.sign_ins.authorize(token)
        return refused.value.refusal.code


def test_a_key_becomes_a_token_of_its_operator() -> None:
    anna, ben = make_key(), make_key()
    signing = Signing(anna=anna, ben=ben)
    session = signing.sign_ins.sign_in(ben, "10.0.0.1")
    assert session.name == "ben"
    assert signing.sign_ins.authorize(session.token)[0] == "ben"
    assert session.expires_at.seconds == pytest.approx(WALL_TIME + TOKEN_SECONDS, abs=0.001)
    assert session.ends_at.seconds == pytest.approx(WALL_TIME + SESSION_SECONDS, abs=0.001)


def test_a_token_ends_unless_it_is_renewed() -> None:
    signing = Signing(anna=KEY)
    first = signing.sign_ins.sign_in(KEY, "10.0.0.1")
    signing.wall.now += TOKEN_SECONDS / 2
    second = signing.sign_ins.renew(first.token)
    signing.wall.now += TOKEN_SECONDS / 2 + 20
    assert signing.code(first.token) == TOKEN_EXPIRED.code
    assert signing.sign_ins.authorize(second.token)[0] == "anna"


def test_a_session_ends_however_often_it_is_renewed() -> None:
    signing = Signing(anna=KEY)
    session = first = signing.sign_ins.sign_in(KEY, "10.0.0.1")
    while signing.wall.now + TOKEN_SECONDS / 2 < first.ends_at.seconds:
        signing.wall.now += TOKEN_SECONDS / 2
        session = signing.sign_ins.renew(session.token)
    assert session.expires_at.seconds == pytest.approx(first.ends_at.seconds, abs=1)
    signing.wall.now = first.ends_at.seconds + 5
    with pytest.raises(RefusedError) as refused:
        signing.sign_ins.renew(session.token)
    assert refused.value.refusal is TOKEN_EXPIRED


def test_a_key_that_is_removed_or_replaced_ends_its_tokens() -> None:
    signing = Signing(anna=KEY)
    token = signing.sign_ins.sign_in(KEY, "10.0.0.1").token
    signing.use(ben=KEY)
    assert signing.code(token) == TOKEN_INVALID.code
    signing.use(anna=make_key())
    assert signing.code(token) == TOKEN_INVALID.code


def test_other_tokens_of_the_same_secret_are_no_operators() -> None:
    signing = Signing(anna=KEY)
    for token in (
        signing.signer.sign_user("anna", None, {"began": WALL_TIME, "key": hash_key(KEY)[:16]}, 60.0),
        signing.signer.sign_service("pharmacy", 60.0),
        "x.y.z",
        "",
    ):
        assert signing.code(token) == TOKEN_INVALID.code
    with pytest.raises(RefusedError):
        signing.signer.verify_service(signing.sign_ins.sign_in(KEY, "10.0.0.1").token, "pharmacy")


def test_failed_sign_ins_of_an_address_are_limited() -> None:
    signing = Signing(anna=KEY)
    for _ in range(FAILURES.count):
        with pytest.raises(RefusedError) as refused:
            signing.sign_ins.sign_in("oyo_wrong", "10.0.0.1")
        assert refused.value.refusal is TOKEN_INVALID
    with pytest.raises(RefusedError) as refused:
        # Also the right key: otherwise the answer would tell that it is right.
        signing.sign_ins.sign_in(KEY, "10.0.0.1")
    assert refused.value.refusal is RATE_LIMITED
    assert signing.sign_ins.sign_in(KEY, "10.0.0.2").name == "anna"
    signing.monotonic.now += FAILURES.period
    assert signing.sign_ins.sign_in(KEY, "10.0.0.1").name == "anna"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("anna", "Key 1 of ADMIN_KEYS is not NAME=sha256:HASH"),
        (f"{KEYS}, ben={KEY}", "Key 2 of ADMIN_KEYS is not NAME=sha256:HASH"),
        (f"{KEYS}, {KEYS}", "two keys of 'anna'"),
    ],
)
def test_wrong_settings_name_the_fault_and_no_key(keys: str, words: str) -> None:
    with pytest.raises(SettingsError) as error:
        _ = Settings(admin_keys=keys).operator_keys
    assert words in str(error.value)
    assert KEY not in str(error.value)
    assert KEY not in repr(Settings(admin_keys=keys))


async def test_without_keys_there_is_no_admin(tmp_path: Path) -> None:
    async with serve(build(tmp_path, [system], keys=None)) as market:
        for path in ("/admin/api/sign-in", "/admin/api/users", "/admin/socket.io/"):
            assert (await market.request("POST", path, json={"key": KEY})).status_code == 404


async def test_a_system_cannot_take_the_name(tmp_path: Path) -> None:
    from tests.support.shops import shop

    with pytest.raises(SettingsError, match="called 'admin'"):
        build(tmp_path, [shop("admin")])


async def test_every_operation_asks_for_a_token(tmp_path: Path) -> None:
    async with operated(tmp_path, system) as (market, operator):
        document = await operator.get("/openapi.json")
        user = market.token("anna")
        service = market.oyez.signer.sign_service("pharmacy", 60.0)
        async with httpx.AsyncClient(base_url=market.url) as client:
            for path, methods in document["paths"].items():
                for method in methods:
                    if path.endswith("/sign-in"):
                        continue
                    for token in ("", user, service):
                        headers = {"authorization": f"Bearer {token}"} if token else {}
                        answer = await client.request(
                            method.upper(), path.replace("{", "").replace("}", ""), headers=headers
                        )
                        assert answer.status_code == 401, (path, answer.text)
                        assert answer.headers["cache-control"] == "no-store"


async def test_over_http(tmp_path: Path) -> None:
    async with operated(tmp_path, system) as (market, operator):
        wrong = await market.request("POST", "/admin/api/sign-in", json={"key": "oyo_wrong"})
        assert (wrong.status_code, wrong.json()["code"]) == (401, "token_invalid")
        renewed = await operator.post("/renew")
        assert renewed["name"] == "anna"
        assert (await operator.get("/overview"))["systems"][0]["name"] == "pharmacy"
        again = await sign_in(market.url)
        records = (await again.get("/audit", action="sign_in"))["records"]
        assert [(one["by"], one["outcome"]) for one in records] == [
            ("anna", "done"),
            ("", "token_invalid"),
            ("anna", "done"),
        ]


async def test_admin_events_are_for_operators(tmp_path: Path) -> None:
    async with operated(tmp_path, system) as (market, operator):
        for token in (market.token("anna"), "nonsense"):
            with pytest.raises(ConnectRefused):
                async with connect(market.url, path="/admin/socket.io/", auth={"token": token}):
                    pass
        with pytest.raises(ConnectRefused):
            async with connect(market.url, path="/admin/socket.io/", auth={}):
                pass
        async with connect(market.url, path="/admin/socket.io/", auth={"token": operator.token}) as page:
            renewed = (await operator.post("/renew"))["token"]
            assert (await page.call("renew", {"token": renewed}))["ok"] is True
            assert (await page.call("renew", {"token": market.token("anna")}))["ok"] is False
