"""The admin page in Chromium, with a server and clients: sign in, find, trace, act, and everybody can use it."""

import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import quote

import pytest

from oyez.client import Client, ConnectRefused, connect
from tests.support.browser import Browser, Page
from tests.support.operators import KEY, KEYS, build
from tests.support.pairs import SUPPORT
from tests.support.parcels import system as parcels
from tests.support.pharmacy import system
from tests.support.served import serve as serve_process
from tests.support.shops import Market, serve

IMAGE = "<img src=x onerror=window.hacked=1>"
TURNED = f"{IMAGE}\u202e</script>"
"""A text that tries to turn the text after it round, too."""
THEMES: Mapping[str, Sequence[str]] = {"light": (), "dark": ("color-contrast",)}
"""The themes, and the rules of axe-core for each (none: all). Only colours differ."""
KEEP_SAVED = """(() => {
  const make = URL.createObjectURL;
  URL.createObjectURL = (blob) => (blob.text().then((text) => (window.saved = text)), make(blob));
})()"""
"""Keeps the text of the next file that the page saves."""
PHONE = {"width": 360, "height": 740}
VIEWS = ("overview", "connections", "events", "receipts", "history", "work", "keys", "audit")
"""Those that are looked at on a phone: each kind of table and form."""


@pytest.fixture(scope="module")
async def pharmacy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Market]:
    folder = tmp_path_factory.mktemp("admin")
    async with serve(build(folder, [system], port=0, shutdown_timeout=5.0)) as market:
        yield market


@pytest.fixture(scope="module")
async def couriers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Market]:
    async with serve(build(tmp_path_factory.mktemp("couriers"), [parcels], port=0)) as market:
        yield market


def enter(market: Market, user: str) -> AbstractAsyncContextManager[Client]:
    """A customer, who is in a room of their own."""
    token = market.oyez.signer.sign_user(user, None, {"customerId": user}, 3600.0)
    return connect(market.url, path="/pharmacy/socket.io/", auth={"token": token})


async def prescribe(market: Market, user: str, note: str = "") -> None:
    data = {"medicine": "secret-medicine", "patient": {"name": "secret-name", "city": "Paris"}, "note": note}
    body = {"event": "prescribed", "data": data, "to": f"customer:{user}"}
    answer = await market.call("POST", "/pharmacy/events", body)
    assert answer.status_code < 300, answer.text


@asynccontextmanager
async def signed_in(browser: Browser, market: Market, place: str = "", **options: int) -> AsyncIterator[Page]:
    """The page, after an operator has signed in; it has no errors."""
    async with browser.open(f"{market.url}/admin/{place}", **options) as page:
        await page.fill("input[name=key]", KEY)
        await page.click(".primary", "Sign in")
        await page.wait_for("header.top")
        yield page
        assert await page.list_errors() == []


async def confirm(page: Page, text: str, **fields: str) -> None:
    """Do what the open dialog offers."""
    for name, value in fields.items():
        await page.fill(f"dialog [name={name}]", value)
    await page.click("dialog .primary", text)
    await page.command("gone", selector="dialog")


async def test_an_operator_signs_in_and_out(pharmacy: Market, browser: Browser) -> None:
    async with browser.open(f"{pharmacy.url}/admin") as page:
        await page.fill("input[name=key]", "oyo_wrong")
        await page.click(".primary", "Sign in")
        await page.wait_for("[role=alert]", "The key is not an operator's.")
        await page.shoot("admin-sign-in")
        await page.fill("input[name=key]", KEY)
        await page.click(".primary", "Sign in")
        await page.wait_for(".phase", "Live")
        node = pharmacy.oyez.node.id
        await page.wait_for("table tbody th", node)

        # A reload keeps the session; when the token is due, it is renewed.
        stored = "JSON.parse(sessionStorage.getItem('oyez-admin'))"
        token = await page.evaluate(f"{stored}.token")
        await page.evaluate(f"sessionStorage.setItem('oyez-admin', JSON.stringify({{...{stored}, renewAt: 0}}))")
        await page.command("reload")
        await page.wait_for(".phase", "Live")
        # The token itself is the same if both were signed in the same second.
        await page.wait_until(f"{stored}.renewAt > 0")
        assert await page.evaluate("Object.keys(localStorage).filter((name) => name !== 'oyez-theme')") == []
        assert not any(KEY in request or token in request for request in await page.list_requests())
        own = pharmacy.url.partition("//")[2]
        assert {request.split("/")[2] for request in await page.list_requests()} == {own}

        await page.click(".console-button", "Sign out")
        await page.wait_for("input[name=key]")
        assert await page.evaluate("sessionStorage.length") == 0
        # Chromium reports the refused key, and nothing else.
        errors = await page.list_errors()
        assert len(errors) == 1 and "401" in errors[0]


async def test_a_session_that_is_refused_ends(pharmacy: Market, browser: Browser) -> None:
    async with browser.open(f"{pharmacy.url}/admin/#/keys") as page:
        session = "{token: 'oyo', name: 'x', renewAt: 1e15, expiresAt: 1e15, endsAt: 1e15}"
        await page.evaluate(f"sessionStorage.setItem('oyez-admin', JSON.stringify({session}))")
        await page.command("reload")
        await page.wait_for(".notice", "Your session has ended. Sign in again.")
        await page.fill("input[name=key]", KEY)
        await page.click(".primary", "Sign in")
        # The operator goes on where the session has ended.
        await page.wait_for("h1", "Service keys")


async def test_why_an_event_reached_one_user_and_not_another(pharmacy: Market, browser: Browser) -> None:
    async with enter(pharmacy, "ada") as ada, enter(pharmacy, "ben"), signed_in(browser, pharmacy) as page:
        await prescribe(pharmacy, "ada")
        await ada.expect_event("prescribed")
        await page.press("/")
        await page.type("ada")
        await page.press("Enter")
        await page.wait_for("[role=status]", "1 socket found")
        await page.shoot("admin-connections")
        await page.click("tbody a", "ada")
        await page.wait_for(".card", "customer:ada")
        await page.wait_for(".card .mark", "may be here")
        await page.shoot("admin-user")
        await page.click("[aria-label='Last events of the user\\'s rooms'] a", "prescribed")
        await page.wait_for(".step", "Delivered")
        steps = await page.texts(".step-head")
        assert [step.split("\n")[0].split(" ")[0] for step in steps] == ["Published", "Stored", "Delivered"]
        # What the contract calls private is not shown.
        await page.wait_for(".event-data", "Paris")
        shown = await page.evaluate("document.body.innerText")
        assert "Paris" in shown and "[private]" in shown and "secret" not in shown
        await page.fill(".filters input", "ben")
        await page.click(".filters .primary", "Ask")
        await page.wait_for(".step", "Not entitled")
        await page.wait_for(".step", "The client was in none of the rooms customer:ada")
        await page.shoot("admin-event")
        await page.fill(".filters input", "zoe")
        await page.click(".filters .primary", "Ask")
        await page.wait_for(".step", "Was away")


async def test_who_has_received_and_acknowledged_an_event(couriers: Market, browser: Browser) -> None:
    async def publish(body: Mapping[str, object]) -> str:
        return str((await couriers.call("POST", "/parcels/events", body)).json()["position"])

    for user in ("ada", IMAGE):
        await couriers.call("PUT", f"/parcels/rooms/crew:north/members/user:{quote(user)}")
    async with couriers.connect("parcels", "ada") as ada, signed_in(browser, couriers, "#/receipts") as page:
        ada.answer("arrived", lambda data: None)
        await ada.call("join_crew", "north")
        arrived = {"event": "arrived", "data": {"customerId": "ada", "parcel": "p-1"}}
        position = await publish(arrived)
        await ada.expect_event("arrived")
        await publish({"event": "briefing", "to": "crew:north", "data": {"text": "now"}})
        await ada.expect_event("briefing")
        # The acknowledgements are sent before the command.
        await ada.call("track", {"parcel": "p-1"})
        await couriers.oyez.systems["parcels"].receipts.flushed()
        await page.click(".try", "Refresh")
        await page.wait_for("tbody th", "briefing")
        await page.shoot("admin-receipts")
        await page.click("tbody a", position)
        await page.wait_for("h1", "Receipts of arrived")
        await page.wait_for("tbody", "ada")
        assert "Have acknowledged it\n1 user" in await page.evaluate("document.querySelector('.facts').innerText")
        await page.click(".facts a", position)
        await page.click(".facts a", "Who has received and acknowledged it")
        await page.wait_for("h1", "Receipts of arrived")
        await page.click(".contents a", "Receipts")
        await page.click("tbody a", "briefing")
        await page.wait_for(".facts", "Never received it")
        await page.evaluate("location.hash = `${location.hash}&state=never`")
        await page.wait_for("tbody th", IMAGE)
        await page.shoot("admin-receipt")
        await page.evaluate("location.hash = location.hash.replace('never', 'unacknowledged') + '&search=AD'")
        await page.wait_for("tbody th", "ada")
        await page.command("gone", selector="tbody th", text=IMAGE)
        assert await page.find_barriers() == []


async def test_a_user_is_blocked_and_the_block_is_ended(pharmacy: Market, browser: Browser) -> None:
    async with signed_in(browser, pharmacy, "#/user?system=pharmacy&id=eva") as page:
        async with enter(pharmacy, "eva") as eva:
            await page.click(".try", "Refresh")
            await page.wait_for(".card", "customer:eva")
            await page.click(".view-head .try", "Block")
            await page.wait_for("dialog", "All connections of the user end")
            await page.shoot("admin-dialog")
            # The keyboard closes a dialog, and nothing has happened.
            await page.press("Escape")
            await page.command("gone", selector="dialog")
            await page.click(".view-head .try", "Block")
            await confirm(page, "Block", reason="spam")
            await eva.expect_disconnect()
        await page.wait_for(".done", "Blocked until")
        await page.wait_for("[aria-label=Restrictions]", "spam")
        with pytest.raises(ConnectRefused):
            async with enter(pharmacy, "eva"):
                pass
        await page.click("[aria-label=Restrictions] .link", "End the block")
        await confirm(page, "End the block")
        await page.wait_for(".done", "The block has ended.")
        async with enter(pharmacy, "eva"):
            pass
        await page.click(".contents a", "Audit")
        await page.wait_until(
            "((actions) => actions.includes('block') && actions.includes('unblock'))"
            "([...document.querySelectorAll('td[data-label=Action]')].map((cell) => cell.innerText))"
        )
        await page.evaluate(KEEP_SAVED)
        await page.click(".try", "Export")
        await page.wait_until("(window.saved ?? '').includes('\"unblock\"')")


async def test_actions_are_noticed_by_the_client(pharmacy: Market, browser: Browser) -> None:
    place = "#/user?system=pharmacy&id=ida"
    token = pharmacy.oyez.signer.sign_user("ida", None, {"customerId": "ida", "jti": "t-ida"}, 3600.0)

    def enter_again() -> AbstractAsyncContextManager[Client]:
        return connect(pharmacy.url, path="/pharmacy/socket.io/", auth={"token": token})

    async with signed_in(browser, pharmacy) as page, enter_again() as ida:
        await page.wait_for(".phase", "Live")
        await page.click(".view-head .try", "Announce maintenance")
        await confirm(page, "Announce", message="Back at noon")
        assert (await ida.expect_event("oyez:maintenance")).args[0]["message"] == "Back at noon"

        await ida.call("join_counter", "7")
        await page.evaluate(f"location.hash = {place!r}")
        await page.click(".card .link", "Remove from counter:7")
        await confirm(page, "Remove from the room", reason="not her turn")
        await page.wait_for(".done", "Removed from the room.")
        called = {"event": "called", "data": {"ticket": 7}, "to": "counter:7"}
        assert (await pharmacy.call("POST", "/pharmacy/events", called)).status_code == 200
        await prescribe(pharmacy, "ida", note="twice")
        first = await ida.expect_event("prescribed")
        await ida.expect_nothing("called")

        await page.click(".try", "Refresh")
        await page.click("[aria-label='Last events of the user\\'s rooms'] a", "prescribed")
        await page.click(".view-head .try", "Send again")
        await confirm(page, "Send again")
        await page.wait_for(".done", "to 1 socket")
        assert (await ida.expect_event("prescribed")).args == first.args

        await page.evaluate(f"location.hash = {place!r}")
        await page.click(".card .try", "Revoke its token")
        await confirm(page, "Revoke", reason="stolen")
        await ida.expect_disconnect()
        with pytest.raises(ConnectRefused) as refused:
            async with enter_again():
                pass
        assert refused.value.data["code"] == "token_revoked"
        await page.click(".contents a", "Restrictions")
        await page.click("[aria-label=Restrictions] .link", "Accept again of t-ida")
        await confirm(page, "Accept again")
        await page.wait_for(".done", "The tokens are accepted again.")
        async with enter_again() as again:
            await page.evaluate(f"location.hash = {place!r}")
            await page.click(".view-head .try", "Disconnect")
            await confirm(page, "Disconnect", reason="maintenance")
            await again.expect_disconnect()
        await page.click(".contents a", "Audit")
        for action in ("announce", "remove_from_room", "resend", "revoke", "restore", "disconnect"):
            await page.wait_for("td[data-label=Action]", action)


async def test_a_node_that_does_not_answer_is_shown(pharmacy: Market, browser: Browser) -> None:
    data = pharmacy.oyez.settings.data_folder
    async with (
        serve_process(data, str(SUPPORT / "pharmacy.py"), ADMIN_KEYS=KEYS) as other,
        signed_in(browser, pharmacy) as page,
    ):
        process = other.process
        await page.wait_until(f"document.querySelector('main').innerText.includes('{process.pid}')")
        process.send_signal(signal.SIGSTOP)
        try:
            await page.wait_for(".notice", f"process {process.pid}")
            await page.wait_for(".notice", "One node has not answered")
            await page.shoot("admin-missing-node")
        finally:
            process.send_signal(signal.SIGCONT)


async def test_a_service_key_is_shown_once(pharmacy: Market, browser: Browser) -> None:
    async with signed_in(browser, pharmacy, "#/keys") as page:
        await page.click(".try", "Make a key")
        await page.fill("dialog [name=name]", "billing")
        await page.click("dialog .primary", "Make the key")
        await page.wait_for("dialog", "it is not shown again")
        key = (await page.texts("dialog code"))[0]
        answer = await pharmacy.call(
            "POST",
            "/pharmacy/events",
            {"event": "called", "data": {"ticket": 7}, "to": "counter:1"},
            headers={"authorization": f"Bearer {key}"},
        )
        assert answer.status_code < 300, answer.text
        await page.click("dialog .primary", "Close")
        await page.wait_for("tbody th", "billing")
        assert key not in await page.evaluate("document.documentElement.outerHTML")


async def test_hostile_strings_stay_texts(pharmacy: Market, browser: Browser) -> None:
    async with enter(pharmacy, IMAGE) as client, signed_in(browser, pharmacy, "#/users") as page:
        await client.call("join_counter", IMAGE)
        await prescribe(pharmacy, IMAGE, note=TURNED)
        await client.expect_event("prescribed")
        await page.click("tbody a", IMAGE)
        await page.wait_for("h1", IMAGE)
        await page.wait_for(".card", f"counter:{IMAGE}")
        await page.click(".card .link", "Remove", nth=0)
        await page.wait_for("dialog h2", IMAGE)
        await page.press("Escape")
        await page.click("[aria-label='Last events of the user\\'s rooms'] a", "prescribed")
        await page.wait_for(".event-data", IMAGE + r"\u{202e}</script>")
        await page.click(".facts a", IMAGE)
        await page.wait_for("h1", f"customer:{IMAGE}")
        for view in ("rooms", "connections", "history", "events"):
            await page.click(".contents a", {"history": "History"}.get(view, view.title()))
            await page.wait_for("table", IMAGE)
        assert await page.evaluate("document.querySelectorAll('img, #page script').length") == 0
        assert await page.evaluate("window.hacked ?? null") is None


async def test_everybody_can_use_it(pharmacy: Market, browser: Browser) -> None:
    async with enter(pharmacy, "uma") as uma, signed_in(browser, pharmacy) as page:
        await prescribe(pharmacy, "uma")
        await uma.expect_event("prescribed")
        await page.wait_for(".phase", "Live")
        await page.wait_until("document.querySelectorAll('.chart canvas').length === 8")
        for theme, rules in THEMES.items():
            await page.command("theme", theme=theme)
            await page.shoot(f"admin-overview-{theme}")
            assert await page.find_barriers(*rules) == []
        await page.evaluate("location.hash = '#/user?system=pharmacy&id=uma'")
        await page.wait_for(".card", "customer:uma")
        await page.click(".view-head .try", "Revoke tokens")
        await page.wait_for("dialog")
        assert await page.find_barriers() == []
        await page.shoot("admin-user-dark")
        await page.press("Escape")
        await page.command("theme", theme="light")
        await page.command("resize", **PHONE)
        for view in (*VIEWS, "user?system=pharmacy&id=uma", "room?system=pharmacy&id=customer%3Auma"):
            await page.evaluate(f"location.hash = '#/{view}'")
            await page.wait_until("document.querySelector('main h1') && !document.querySelector('main .loading')")
            await page.command("gone", selector="main .nothing", text="Loading")
            assert not await page.is_too_wide(), view
            await page.shoot(f"admin-phone-{view.partition('?')[0]}")
        await page.click(".menu-button")
        await page.click(".contents a", "Service keys")
        await page.wait_for("h1", "Service keys")
