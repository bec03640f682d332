"""The page for people in Chromium: what every system shows, the search, the copy buttons, phones, and hostile texts."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.support.browser import Browser
from tests.support.shops import Market
from tests.web import hostile
from tests.web.conftest import SYSTEMS

AUDITED = "game"
"""The system that axe-core looks at in both themes and with all rows open: it shows most kinds of elements."""
THEMES: Mapping[str, Sequence[str]] = {"light": (), "dark": ("color-contrast",)}
"""The themes, and the rules of axe-core for each (none: all). Only colours differ."""
PHONE = {"width": 360, "height": 740}


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
async def test_a_system_is_shown_completely(showcase: Market, browser: Browser, system: Any) -> None:
    contract = system.contract
    async with browser.open(f"{showcase.url}/{system.name}/docs") as page:
        await page.wait_for("h1", contract.name)
        names = await page.evaluate("[...document.querySelectorAll('main article h3')].map((title) => title.innerText)")
        declared = [event.name for namespace in contract.namespaces for event in namespace.events]
        declared += [command.name for namespace in contract.namespaces for command in namespace.commands]
        assert sorted(name for name in names if name in declared) == sorted(declared)
        for room in (room for namespace in contract.namespaces for room in namespace.rooms.kinds):
            assert room.pattern in await page.texts("#rooms .card-title")
        codes = " ".join(await page.texts("#errors tbody th"))
        assert all(str(contract.errors.code(refusal.code)) in codes for refusal in contract.refusals)

        await page.shoot(f"{system.name}-light")
        assert await page.find_barriers() == []

        await page.command("resize", **PHONE)
        await page.evaluate("for (const row of document.querySelectorAll('details')) row.open = true")
        assert not await page.is_too_wide()
        await page.wait_until(
            "[...document.querySelectorAll('pre')].every((pre) => pre.scrollWidth <= pre.clientWidth)"
        )
        await page.evaluate("document.querySelector('section.list').scrollIntoView()")
        await page.shoot(f"{system.name}-phone")

        assert await page.list_errors() == []
        assert {request.partition("//")[2].partition("/")[0] for request in await page.list_requests()} == {
            showcase.url.partition("//")[2]
        }


async def test_everybody_can_read_it_in_both_themes(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/{AUDITED}/docs") as page:
        await page.wait_for("h1")
        for theme, rules in THEMES.items():
            await page.command("theme", theme=theme)
            await page.evaluate("document.querySelector('article').scrollIntoView()")
            await page.evaluate("for (const row of document.querySelectorAll('details')) row.open = true")
            await page.shoot(f"{AUDITED}-{theme}")
            assert await page.find_barriers(*rules) == []


async def test_the_search_is_used_with_the_keyboard(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/rez/docs") as page:
        await page.wait_for("h1")
        await page.press("/")
        await page.type("order eta")
        await page.wait_for("#hits li", "order_eta_update")
        await page.shoot("search")
        await page.press("Enter")
        await page.wait_until("location.hash === '#event-order_eta_update'")
        await page.wait_until("document.activeElement.id === 'event-order_eta_update'")
        await page.wait_until(
            "((top) => 0 <= top && top < 200)(document.activeElement.getBoundingClientRect().top)",
        )
        # The name of a field, and the second of several results.
        await page.press("/")
        await page.type("refundAmount")
        await page.wait_for("#hits li", "order_cancelled")
        await page.press("Escape", "/")
        await page.type("order_")
        await page.wait_until("document.querySelectorAll('#hits li').length > 2")
        await page.press("ArrowDown", "ArrowDown", "ArrowUp")
        await page.wait_until("document.querySelector('#hits [aria-selected=true]')?.id === 'hit-1'")
        await page.press("Escape")
        await page.wait_until("document.querySelectorAll('#hits li').length === 0")


async def test_a_role_sees_only_what_it_can_receive_and_send(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/bookings/docs?role=partner") as page:
        await page.wait_for("h1")
        names = await page.evaluate("[...document.querySelectorAll('section.list article')].map((item) => item.id)")
        assert "command-partner-booking-accept" in names
        assert not any("-customer-" in name or "-admin-" in name for name in names)
        await page.choose(".role-picker select", "customer")
        await page.wait_until("document.getElementById('command-customer-booking-track')")
        await page.wait_until("location.search === '?role=customer'")
        await page.shoot("role")
        # What is found is shown, whatever role was chosen.
        await page.press("/")
        await page.type("booking:accept")
        await page.wait_for("#hits li", "booking:accept")
        await page.press("Enter")
        await page.wait_for("#command-partner-booking-accept .facts")
        await page.wait_until("location.search === ''")


async def test_the_http_api_is_listed(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/rez/docs#http") as page:
        await page.wait_for(".operations th", "PUT /api/orders/{orderId}")
        assert "Place an order." in " ".join(await page.texts(".operations td"))
        assert any("/events" in text for text in await page.texts(".operations th", "POST"))
        await page.shoot("http")


async def test_it_says_what_the_settings_say(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/rez/docs") as page:
        await page.wait_for("#connect", "Here that is possible for 5 minutes.")
        await page.wait_for("section.list .legend", "Here that is possible for 5 minutes.")
        await page.wait_for("#connect .error-link", "token_expired")
        await page.click("#connect .fold summary")
        await page.wait_for("#connect .fields", "nextRetry")
        await page.shoot("connect")


async def test_an_address_leads_to_its_event(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/quotes/docs/#event-chat-message") as page:
        await page.wait_until("document.querySelector('nav [aria-current]')?.innerText === 'chat:message'")


async def test_the_contents_mark_what_is_on_the_screen(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/rez/docs") as page:
        for name in ("order_eta_update", "connection_error", "cart_item_released"):
            await page.click(".contents a", name, nth=0)
            await page.wait_until(f"document.querySelector('nav [aria-current]').innerText === '{name}'")


async def test_rooms_lead_to_their_commands_and_events_to_their_rooms(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/rez/docs") as page:
        await page.wait_for("h1")
        await page.evaluate("location.hash = '#event-order_eta_update'")
        await page.click("#event-order_eta_update .facts a", "order:{orderId}")
        await page.wait_until("location.hash === '#room-order-orderId'")
        await page.wait_for("#room-order-orderId", "A command of the system, or the server, puts clients into it.")
        await page.shoot("rooms")
        await page.click("#room-support_ticket-ticketId a", "join_ticket")
        await page.wait_until("location.hash === '#command-join_ticket'")
        await page.wait_for("#command-join_ticket .fields")
        await page.shoot("fields")


async def test_samples_are_copied_in_the_chosen_language(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/quotes/docs") as page:
        await page.wait_for("h1")
        await page.command("grant", permissions=["clipboard-read", "clipboard-write"])
        await page.choose("#connect select", "Python")
        await page.evaluate("location.hash = '#event-chat-message'")
        await page.click("#event-chat-message .side-code .copy", nth=1)
        await page.wait_for("#event-chat-message .copy", "Copied")
        copied = await page.evaluate("navigator.clipboard.readText()")
        assert '@client.on("chat:message", namespace="/")' in copied


async def test_the_chosen_colours_stay(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/quotes/docs") as page:
        await page.click("button[aria-label='Switch to dark colours']")
        await page.wait_for("button[aria-label='Switch to light colours']")
        await page.evaluate("location.reload()")
        await page.wait_for("h1")
        await page.wait_until("document.documentElement.dataset.theme === 'dark'")
        assert await page.evaluate("Object.keys(localStorage)") == ["oyez-theme"]


async def test_everything_is_reached_on_a_phone(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/bookings/docs", **PHONE) as page:
        await page.wait_for("h1")
        await page.click(".menu-button")
        await page.shoot("phone-contents")
        await page.click(".contents a", "booking:accept")
        await page.wait_until("location.hash === '#command-partner-booking-accept'")
        await page.shoot("phone-command")
        await page.click("#command-partner-booking-accept .try")
        await page.wait_for("#console")
        await page.shoot("phone-console")
        assert not await page.is_too_wide()


async def test_results_and_tables_fit_on_a_phone(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/rez/docs", **PHONE) as page:
        await page.wait_until("document.querySelector('.operations')")
        await page.wait_until(
            "[...document.querySelectorAll('.scroll')].every((table) => table.scrollWidth <= table.clientWidth)"
        )
        await page.evaluate("document.getElementById('errors').scrollIntoView()")
        await page.shoot("phone-errors")
        await page.fill(".search input", "order_")
        await page.wait_for("#hits li", "order_")
        await page.wait_until(
            "(({left, right}) => left === 8 && innerWidth - right === 8)"
            "(document.getElementById('hits').getBoundingClientRect())"
        )
        await page.shoot("phone-search")


async def test_texts_of_a_contract_stay_texts(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/hostile/docs") as page:
        await page.wait_for("h1", "hostile")
        await page.press("/")
        await page.type("<img")
        await page.wait_for("#hits li", "hostile")
        await page.press("Escape")
        await page.wait_for(".overview .lead", hostile.IMAGE)
        await page.evaluate("location.hash = '#event-hostile'")
        await page.wait_for("#event-hostile .fields", hostile.IMAGE)
        assert await page.evaluate("document.querySelectorAll('main img, main script, main b').length") == 0
        assert await page.evaluate("document.querySelectorAll(\"a[href^='javascript']\").length") == 0
        assert await page.evaluate("window.hacked ?? null") is None
        assert await page.list_errors() == []


async def test_the_page_for_other_addresses(showcase: Market, browser: Browser) -> None:
    async with browser.open(f"{showcase.url}/wrong/address", status=404) as page:
        for theme, rules in THEMES.items():
            await page.command("theme", theme=theme)
            await page.shoot(f"landing-{theme}")
            assert await page.find_barriers(*rules) == []
        await page.command("resize", **PHONE)
        assert not await page.is_too_wide()
        await page.click("nav[aria-label=quotes] a", "docs")
        await page.wait_for("h1", "quotes")
