"""What the admin page costs a server with many connections: its CPU with and without it, and how fast its views are.

    .venv/bin/python -m bench.admin_page

The clients are connected and silent, so the CPU without the page is that of heartbeats. Chromium is on the core of
the load.
"""

import argparse
import asyncio
import time

from tests.support.browser import Browser, Page

from bench.children import BenchError
from bench.generators import Load
from bench.servers import OYEZ, SERVERS, Running, prepare
from oyez.ops.admin.sign_in import hash_key, make_key

CLIENTS = 10_000
SECONDS = 20.0
SETTLING = 5.0
"""Seconds after something has begun and before its CPU is measured."""
VIEWS = ("connections", "users", "rooms", "events", "history")
"""Views, whose titles are the same words."""
THERE = """(document.querySelector('h1').innerText === '{title}'
  && document.querySelector('main tbody th, main .nothing:not([role])') !== null)"""
"""True when a view has its rows, or says that there are none."""
OYEZ_SERVER = next(server for server in SERVERS if server.key == OYEZ)


def measure_cpu(running: Running, seconds: float) -> float:
    """Percent of one core that the server takes."""
    before, began = running.read_cpu(), time.monotonic()
    time.sleep(seconds)
    return running.read_cpu().since(before).total / (time.monotonic() - began) * 100


async def measure_page(running: Running, key: str, clients: int, seconds: float) -> dict[str, float]:
    """CPU of the server while the page is open, and the seconds until its views are there."""
    figures: dict[str, float] = {}
    async with Browser.start() as browser, browser.open(f"http://127.0.0.1:{running.port}/admin/") as page:
        await page.fill("input[name=key]", key)
        await page.click(".primary", "Sign in")
        await page.wait_for(".phase", "Live")
        await page.wait_for(".figure", f"{clients:,}")
        await asyncio.sleep(SETTLING)
        figures["CPU with the overview open, percent of a core"] = await asyncio.to_thread(
            measure_cpu, running, seconds
        )
        for view in VIEWS:
            figures[f"{view}, seconds"] = await measure_view(page, view)
        figures["search for a user, seconds"] = await measure_view(page, "connections?search=user-777")
        errors = await page.list_errors()
    if errors:
        raise BenchError(f"the page has errors: {errors[0]}")
    return figures


async def measure_view(page: Page, place: str) -> float:
    """Seconds from the change of the address until the view is there."""
    began = time.monotonic()
    await page.evaluate(f"location.hash = '#/{place}'")
    await page.wait_until(THERE.format(title=place.partition("?")[0].title()))
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for which CPU is measured")
    options = parser.parse_args()
    key = make_key()
    admin = {"ADMIN_KEYS": f"bench=sha256:{hash_key(key)}"}
    with prepare("oyez-admin-page-", options.clients) as around, Running(OYEZ_SERVER, around, admin) as running:
        idle = Load(
            "idle-admin",
            "idle",
            running.port,
            path=running.server.path,
            core=around.load_core,
            clients=options.clients,
            tokens=around.tokens,
            timeout=120,
            options=(),
        )
        with idle:
            idle.wait_until_ready()
            time.sleep(SETTLING)
            without = measure_cpu(running, options.seconds)
            print(f"CPU without the page, percent of a core: {without:.1f}", flush=True)
            for name, value in asyncio.run(measure_page(running, key, options.clients, options.seconds)).items():
                print(f"{name}: {value:.2f}", flush=True)


if __name__ == "__main__":
    main()
