"""The console of the page in Chromium, with a server: connect, receive, send, publish, cut the connection, recover."""

from msgspec.structs import replace

from oyez.contract import Contract
from oyez.service.app import Oyez
from oyez.service.system import System
from oyez.settings import Settings
from tests.support.browser import Browser, Page
from tests.support.shops import Market, serve
from tests.web import hostile

PANEL = ".work-panel > div:not([hidden])"
"""The part of the console that is open."""


async def connect(page: Page, subject: str = "ada", *, opened: bool = False) -> None:
    """Open the console unless it is open, make a token in it, and connect with it."""
    if not opened:
        await page.wait_for("h1")
        await page.click(".console-button")
    await page.fill(f"{PANEL} input[name=sub]", subject)
    await page.click(f"{PANEL} .primary")
    await page.wait_for(".phase", "Connected")
    # The console goes on to another tab by itself.
    await page.wait_until("document.getElementById('tab-connect').getAttribute('aria-selected') === 'false'")


async def publish(page: Page) -> None:
    """Publish the event that the console shows, as it is."""
    await page.click(f"{PANEL} .primary", "Publish")
    await page.wait_for(f"{PANEL} .result.good", "Published")


async def test_events_arrive_and_missed_ones_after_a_break(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/hostile/docs") as page:
        await connect(page)
        await page.wait_for(".details", "ada")
        await page.click("#tab-publish")
        await page.click(f"{PANEL} .link", "Make one for an hour")
        await page.wait_for(f"{PANEL} .secret")
        await publish(page)
        await page.wait_for(".row-event", "hostile")
        await page.wait_until("document.querySelector('.details').innerText.includes('websocket')")
        await page.shoot("console-received")

        await page.click(".state-buttons button", "Cut")
        await page.wait_for(".phase", "Connection cut")
        await publish(page)
        await page.wait_until("document.querySelectorAll('.row-published').length === 2")
        assert len(await page.texts(".row-event")) == 1
        await page.shoot("console-cut")
        await page.click(".state-buttons button", "Reconnect")
        await page.wait_for(".recovery", "Recovered: 1 missed event arrived")
        await page.wait_for(".row-event", "missed")
        await page.wait_for(".row-event", "oyez:recovery")
        await page.shoot("console-recovered")

        # What arrived stays text.
        await page.click(".row-event summary", "onerror", nth=0)
        await page.wait_for(".row-detail", hostile.IMAGE)
        assert await page.evaluate("document.querySelectorAll('.console img, .console script').length") == 0
        assert await page.evaluate("window.hacked ?? null") is None
        assert await page.list_errors() == []


async def test_commands_are_sent_from_a_form(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/hostile/docs") as page:
        await connect(page)
        await page.evaluate("location.hash = '#command-echo'")
        await page.click("#command-echo .try")
        await page.fill(f"{PANEL} .member textarea, {PANEL} .member input", hostile.IMAGE)
        await page.click(f"{PANEL} .primary", "Send")
        await page.wait_for(f"{PANEL} .result.good", "Acknowledged")
        await page.wait_for(f"{PANEL} .result", hostile.IMAGE)
        # The same arguments as JSON, of which the contract refuses one.
        await page.click(f"{PANEL} .editor .link", "Edit as JSON")
        await page.fill(f"{PANEL} .editor textarea", '{"text": 7')
        await page.wait_for(f"{PANEL} .fault")
        await page.wait_until(f"document.querySelector({f'{PANEL} .primary'!r}).disabled")
        await page.fill(f"{PANEL} .editor textarea", '{"text": 7, "more": 1}')
        await page.click(f"{PANEL} .primary", "Send")
        await page.wait_for(f"{PANEL} .result.bad", "invalid_data")
        await page.wait_for(".row-refused", "echo")
        await page.shoot("console-refused")
        assert await page.find_barriers() == []
        assert await page.list_errors() == []


async def test_a_client_of_an_old_version(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/hostile/docs") as page:
        await page.wait_for("h1")
        await page.click(".console-button")
        assert await page.texts(f"{PANEL} select[name=version] option") == ["2", "1"]
        await page.choose(f"{PANEL} select[name=version]", "1")
        await page.shoot("console-version")
        await connect(page, opened=True)
        await page.wait_for(".details", "version 1")
        # The command has the form that this version sends.
        await page.click("#tab-send")
        await page.fill(f"{PANEL} .member textarea, {PANEL} .member input", "hello")
        await page.click(f"{PANEL} .primary", "Send")
        await page.wait_for(f"{PANEL} .result.good", '"text": "hello"')
        await page.wait_for(".row-sent", "shout")
        # The event that is published arrives as this version knows it.
        await page.click("#tab-publish")
        await page.click(f"{PANEL} .link", "Make one for an hour")
        await page.wait_for(f"{PANEL} .secret")
        await publish(page)
        await page.wait_for(".row-event", f"old {hostile.IMAGE}")
        assert await page.list_errors() == []


async def test_secrets_are_in_memory_only(showcase: Market, browser: Browser) -> None:
    token = showcase.token("ada")
    async with browser.open(f"{showcase.url}/hostile/docs") as page:
        await page.wait_for("h1")
        await page.click(".console-button")
        await page.click(f"{PANEL} .choice", "Paste a token")
        await page.fill(f"{PANEL} input[name=token]", token)
        await page.click(f"{PANEL} .primary")
        await page.wait_for(".phase", "Connected")
        # The script empties the field one frame later.
        await page.wait_until("![...document.querySelectorAll('input')].some((field) => field.value.startsWith('ey'))")
        kept = await page.evaluate(
            "document.documentElement.outerHTML + location.href + JSON.stringify({...localStorage, ...sessionStorage})"
            " + document.cookie + [...document.querySelectorAll('input, textarea')].map((field) => field.value).join()"
        )
        assert token.rpartition(".")[2] not in kept
        assert not any(token in request for request in await page.list_requests())
        await page.evaluate("location.reload()")
        await page.wait_for("h1")
        await page.click(".console-button")
        await page.wait_for(".phase", "Not connected")


async def test_a_token_that_was_made_is_copied(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/hostile/docs") as page:
        await page.command("grant", permissions=["clipboard-read", "clipboard-write"])
        await connect(page)
        await page.click("#tab-connect")
        await page.click(f"{PANEL} .secret .copy", "Copy the token")
        await page.wait_until("navigator.clipboard.readText().then((text) => text !== '')")
        token = await page.evaluate("navigator.clipboard.readText()")
        assert token.count(".") == 2
        assert token not in await page.evaluate("document.documentElement.outerHTML")
        await page.shoot("console-token")
        await page.click("#tab-publish")
        await page.click(f"{PANEL} .link", "Make one for an hour")
        await page.click(f"{PANEL} .secret .copy", "Copy the key")
        await page.wait_until(f"navigator.clipboard.readText().then((text) => text !== {token!r})")
        key = await page.evaluate("navigator.clipboard.readText()")
        assert key != token
        assert key not in await page.evaluate("document.documentElement.outerHTML")


async def test_a_refusal_is_explained(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/bookings/docs") as page:
        await page.wait_for("h1")
        await page.evaluate("location.hash = '#command-partner-booking-accept'")
        await page.click("#command-partner-booking-accept .try")
        await page.click(f"{PANEL} .link", "Go to Connect")
        await page.fill(f"{PANEL} input[name=sub]", "carol")
        await page.click(f"{PANEL} .primary")
        await page.wait_for(".phase", "Refused")
        await page.wait_for(".row-error", "forbidden_role")
        await page.choose(f"{PANEL} .pair select", "partner")
        await page.click(f"{PANEL} .primary")
        await page.wait_for(".phase", "Connected")
        # Back to the command that was chosen.
        await page.wait_for("#tab-send[aria-selected=true]")
        await page.click(f"{PANEL} .primary", "Send")
        await page.wait_for(f"{PANEL} .result.bad .result-title", "Refused: forbidden")
        await page.wait_for(f"{PANEL} .result.bad > p", "No booking 'booking-1' is assigned to you.")


async def test_the_list_is_bounded_paused_and_filtered(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/hostile/docs") as page:
        await connect(page, "bob")
        data = {"user": "bob", "text": "x", "kind": "</script>"}
        many = [{"event": "hostile", "data": {**data, "text": f"number {number}"}} for number in range(600)]
        await showcase.call("POST", "/hostile/events", many)
        await page.wait_for(".row", "number 599")
        await page.wait_until("document.querySelectorAll('.row').length === 500")
        await page.wait_for(".stream-note", "keeps the newest 500")
        await page.fill(".stream-bar input", "number 42")
        await page.wait_until(
            "[...document.querySelectorAll('.row')].every((row) => row.innerText.includes('number 42'))"
        )
        await page.wait_for(".row", "number 421")
        await page.fill(".stream-bar input", "")
        await page.click(".stream-bar button", "Pause")
        await showcase.call("POST", "/hostile/events", {"event": "hostile", "data": {**data, "text": "while paused"}})
        await page.wait_for(".stream-bar button", "Resume (1 new)")
        assert await page.texts(".row", "while paused") == []
        await page.click(".stream-bar button", "Resume")
        await page.wait_for(".row", "while paused")
        await page.click(".stream-bar button", "Clear")
        await page.wait_for(".empty", "Events appear here")


async def test_the_keyboard_is_enough(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/hostile/docs") as page:
        await page.wait_for("h1")
        await page.press("Tab")
        await page.wait_until("document.activeElement.className === 'skip'")
        await page.evaluate("document.querySelector('.console-button').focus()")
        await page.press("Enter")
        await page.wait_until("document.activeElement.id === 'tab-connect'")
        await page.press("ArrowRight")
        await page.wait_until("document.activeElement.id !== 'tab-connect'")
        await page.press("ArrowLeft")
        await page.wait_until("document.activeElement.id === 'tab-connect'")
        await page.press("Tab", "Tab")
        await page.type("eve")
        await page.press("Enter")
        await page.wait_for(".phase", "Connected")
        await page.press("Escape")
        await page.wait_until("document.getElementById('console').hidden")
        await page.wait_until("document.activeElement.className === 'console-button'")


async def test_in_production_the_console_makes_no_tokens(settings: Settings, browser: Browser) -> None:
    oyez = Oyez([hostile.system], replace(settings, docs=True, jwt_secret="s" * 40))
    async with serve(oyez) as market, browser.open(f"{market.url}/hostile/docs") as page:
        await page.wait_for("h1")
        await page.click(".console-button")
        await page.wait_for(f"{PANEL} .choice", "Paste a token")
        assert await page.texts(f"{PANEL} .choice") == ["Paste a token"]
        await page.fill(f"{PANEL} input[name=token]", "not a token")
        await page.click(f"{PANEL} .primary")
        await page.wait_for(".row-error", "token_invalid")


async def test_the_console_asks_for_the_id_in_the_name_of_a_namespace(settings: Settings, browser: Browser) -> None:
    sites = Contract("sites", roles=("worker",), default_role="worker")
    site = sites.namespace("/site-{siteId}")
    site.signal("alarm", to=[site.everyone], description="There is an alarm.")
    oyez = Oyez([System(contract=sites)], replace(settings, oyez_data=f"{settings.oyez_data}-sites"))
    async with serve(oyez) as market, browser.open(f"{market.url}/sites/docs") as page:
        await page.wait_for("h1")
        await page.wait_until("document.body.innerText.includes('/site-17')")
        assert not await page.evaluate(
            "[...document.querySelectorAll('pre')].some((one) => /io.*{siteId}/.test(one.innerText))"
        )
        await page.click(".console-button")
        await page.fill(f"{PANEL} input[name=sub]", "ada")
        await page.wait_until(f"document.querySelector({f'{PANEL} .primary'!r}).disabled")
        await page.fill(f"{PANEL} input[name=siteId]", "9")
        await page.click(f"{PANEL} .primary")
        await page.wait_for(".phase", "Connected")
        answer = await market.call("POST", "/sites/events", {"event": "alarm", "namespace": "/site-8"})
        assert answer.is_success, answer.text
        answer = await market.call("POST", "/sites/events", {"event": "alarm", "namespace": "/site-9"})
        assert answer.is_success, answer.text
        await page.wait_for(".row-event", "alarm")
        assert len(await page.texts(".row-event")) == 1
        assert await page.list_errors() == []
