"""The page in a real Chromium over TLS: live, on a phone, in the dark, by keyboard, without JavaScript."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect
from tests.board import NAME, SCRATCH, TOKEN, Open
from tests.stack import Stack

URL = f"https://{NAME}/api/deployments"
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
SHOTS = SCRATCH / "pictures"


def watched(context: BrowserContext) -> tuple[Page, list[str]]:
    """Return a page, and what its console complains of, such as what the policy refuses."""
    page, complaints = context.new_page(), list[str]()

    def hear(message: ConsoleMessage) -> None:
        # That header names features which not every Chromium knows.
        if message.type in ("error", "warning") and "Permissions-Policy" not in message.text:
            complaints.append(message.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return page, complaints


def write(stack: Stack, release: str) -> int:
    """Have a deployment begin, and return its id."""
    body = {"app": "shop", "host": "app1", "release": release, "version": "v9 <b>"}
    answer = stack.request("POST", URL, json=body, headers=TOKEN)
    assert answer.status_code == 201, answer.text
    number: int = answer.json()["id"]
    return number


def change(stack: Stack, number: int, **fields: Any) -> None:
    """Say more of a deployment."""
    answer = stack.request("PATCH", f"{URL}/{number}", json=fields, headers=TOKEN)
    assert answer.status_code == 200, answer.text


def newest(stack: Stack) -> int:
    """Return the newest deployment of which all is known."""
    items = stack.get(f"{URL}?app=shop&status=succeeded").json()["items"]
    numbers: list[int] = [item["id"] for item in items]
    return next(each for each in numbers if stack.get(f"{URL}/{each}").json()["latency"])


def test_it_is_live_without_a_reload_and_breaks_no_policy(fleet: Stack, browser: Open) -> None:
    with browser(viewport=DESK) as context:
        page, complaints = watched(context)
        page.goto("/?app=shop")
        expect(page.locator("#live")).to_have_text("Live")
        page.evaluate("window.here = true")
        number = write(fleet, "feedbeef")
        row = page.locator(f'tr[data-id="{number}"]')
        expect(row).to_contain_text("feedbeef")
        expect(row).to_contain_text("v9 <b>")
        expect(page.locator("tbody tr").first).to_have_attribute("data-id", str(number))
        change(
            fleet, number, status="succeeded", probe={"requests": 12480, "failed": 0, "p99_ms": 9.5}
        )
        expect(row).to_contain_text("succeeded")
        expect(row).to_contain_text("0 of 12,480 failed, p99 9.5 ms")
        expect(page.locator("#serving")).to_contain_text("feedbeef")
        other = fleet.request(
            "POST", URL, json={"app": "other", "host": "app1", "release": "0"}, headers=TOKEN
        ).json()["id"]
        after = write(fleet, "feedbee0")
        expect(page.locator(f'tr[data-id="{after}"]')).to_be_visible()
        expect(page.locator(f'tr[data-id="{other}"]')).to_have_count(0)
        assert page.evaluate("window.here") is True
        assert complaints == []


def test_where_no_websocket_comes_through_it_is_live_by_server_sent_events(
    fleet: Stack, browser: Open
) -> None:
    with browser(viewport=DESK) as context:
        page, _ = watched(context)
        page.add_init_script(
            "window.WebSocket = class { constructor() { setTimeout(() => this.onclose()); } };"
        )
        page.goto("/")
        expect(page.locator("#live")).to_have_text("Live", timeout=30_000)
        number = write(fleet, "5e5e5e")
        expect(page.locator(f'tr[data-id="{number}"]')).to_be_visible()


def test_it_reads_without_javascript(fleet: Stack, browser: Open) -> None:
    with browser(viewport=DESK, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto("/")
        expect(page.locator("#serving h3").first).to_be_visible()
        expect(page.locator("tbody tr")).to_have_count(50)
        page.get_by_label("Host").fill("app3")
        page.get_by_label("Status").select_option("failed")
        page.get_by_role("button", name="Show").click()
        expect(page.locator(".filters li")).to_have_count(2)
        page.goto("/")
        page.get_by_role("link", name="Older deployments").click()
        expect(page.locator("tbody tr")).to_have_count(50)
        page.goto(f"/deployments/{newest(fleet)}")
        expect(page.locator(".plot svg")).to_be_visible()
        expect(page.locator("figcaption")).to_contain_text("p99 at most")


def test_it_is_used_by_keyboard(fleet: Stack, browser: Open) -> None:
    with browser(viewport=DESK) as context:
        page, _ = watched(context)
        page.goto("/")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="To the deployments")).to_be_focused()
        reached: list[str] = []
        while "link" not in reached and len(reached) < 400:
            page.keyboard.press("Tab")
            reached.append(
                page.evaluate(
                    "document.activeElement.dataset.field ?? document.activeElement.tagName"
                )
            )
        form = [each for each in reached if each in ("INPUT", "SELECT", "BUTTON")]
        assert form == ["INPUT", "INPUT", "SELECT", "BUTTON"]
        assert reached[-3:] == ["app", "host", "link"]
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("/deployments/[0-9]+$"))


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_axe_finds_nothing_serious_and_it_fits(
    fleet: Stack, browser: Open, colours: Literal["light", "dark"], size: dict[str, int]
) -> None:
    with browser(viewport=size, color_scheme=colours) as context:
        page, _ = watched(context)
        for path in ("/", "/?status=failed", "/?app=none", f"/deployments/{newest(fleet)}"):
            page.goto(path)
            expect(page.locator("#live")).to_have_text("Live")
            found = Axe().run(page)
            serious = [
                f"{each['id']}: {[node['html'] for node in each['nodes']][:3]}"
                for each in found.response["violations"]
                if each["impact"] in ("serious", "critical")
            ]
            assert serious == [], path
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], path


def test_pictures_of_it(fleet: Stack, browser: Open, tmp_path: Path) -> None:
    if fleet.name != "board13":
        pytest.skip("one of each is enough")
    SHOTS.mkdir(exist_ok=True)
    shots: list[tuple[str, Literal["light", "dark"], dict[str, int], str]] = [
        ("board", "light", DESK, "/"),
        ("board-dark", "dark", DESK, "/"),
        ("board-phone", "light", PHONE, "/"),
        ("board-deployment", "light", DESK, f"/deployments/{newest(fleet)}"),
    ]
    for name, colours, size, path in shots:
        with browser(viewport=size, color_scheme=colours) as context:
            page, _ = watched(context)
            page.goto(path)
            expect(page.locator("#live")).to_have_text("Live")
            page.wait_for_timeout(2000)  # until what has just come doesn't shine any more
            page.screenshot(path=SHOTS / f"{name}.png")
            assert (SHOTS / f"{name}.png").stat().st_size > 10_000


def test_files_have_hashed_names_and_are_kept_for_ever(stack: Stack) -> None:
    html = stack.get(f"https://{NAME}/").text
    names = [part.split('"')[0] for part in html.split("/static/")[1:]]
    assert len(names) == 3
    for name in names:
        answer = stack.get(f"https://{NAME}/static/{name}")
        assert answer.status_code == 200
        assert "immutable" in answer.headers["Cache-Control"]
