"""Two people at two screens: a pump gets hot, both see it, one takes it on, the other sees that, nobody reloads."""

import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as BrowserTimeout

from tests.flows.conftest import ConnectDevice
from tests.platform import Platform
from tests.waiting import WAIT_SECONDS, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.browser]

expect.set_options(timeout=WAIT_SECONDS * 1000)


@dataclass
class Person:
    """Somebody in front of a browser; remembers what the browser complained about, but for the outage in the story."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def note(self, message: ConsoleMessage) -> None:
        is_outage = any(words in message.text for words in ("ERR_", "WebSocket connection", "htmx:afterRequest", "htmx:sendError"))
        if message.type == "error" and not is_outage:
            self.complaints.append(message.text)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("NO CHROMIUM: the browser story was not told. Install it: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def sit_down(context: BrowserContext, platform: Platform, role: str) -> Person:
    """Log in at the login page."""
    login = platform.demo["tenants"]["acme"]["users"][role]
    person = Person(context.new_page())
    person.page.on("console", person.note)
    person.page.on("pageerror", lambda error: person.complaints.append(str(error)))
    person.page.goto(f"{platform.demo['http']}/t/acme/")
    person.page.get_by_label("E-mail address").fill(login["email"])
    person.page.get_by_label("Password").fill(login["password"])
    person.page.get_by_role("button", name="Log in").click()
    expect(person.page.get_by_role("heading", name="Overview")).to_be_visible()
    return person


@pytest.fixture
def people(chromium: Browser, platform: Platform) -> Iterator[tuple[Person, Person]]:
    """The operator at a desk, and the administrator with a telephone."""
    desk = chromium.new_context(viewport={"width": 1440, "height": 900})
    phone = chromium.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    operator, administrator = sit_down(desk, platform, "operator"), sit_down(phone, platform, "admin")
    yield operator, administrator
    for person in (operator, administrator):
        assert person.complaints == []
    desk.close()
    phone.close()


def value(page: Page, metric: str) -> Any:
    return page.locator(f'.value-row[data-metric="{metric}"] .value')


def has_no_sideways_scroll(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def live_state(page: Page) -> Any:
    return page.locator(".live:visible").first


def test_an_incident_is_seen_and_taken_on_without_a_reload(
    people: tuple[Person, Person], platform: Platform, connect: ConnectDevice
) -> None:
    desk, phone = people[0].page, people[1].page
    pump = connect("pump-7")
    expect(live_state(phone)).to_have_text("Live")
    assert has_no_sideways_scroll(phone)

    # The operator finds the pump and watches it.
    desk.get_by_role("link", name="Devices").first.click()
    desk.get_by_role("searchbox").fill("pump-7")
    expect(desk).to_have_url(re.compile(r"q=pump-7"))
    expect(desk.locator("#device-list tbody tr")).to_have_count(1)
    desk.locator("#device-list tbody tr a").first.click()
    expect(live_state(desk)).to_have_text("Live")
    pump.publish({"temperature": 21.5})
    expect(value(desk, "temperature")).to_have_text("21.5")

    # It gets hot: the desk shows the value and the incident, the telephone the incident.
    pump.publish({"temperature": 99})
    expect(value(desk, "temperature")).to_have_text("99")
    expect(desk.locator("#incidents")).to_contain_text("Critical")
    row = phone.locator("#open-incidents tr", has_text="99 °C")
    expect(row).to_be_visible()
    expect(row).to_contain_text("Critical")

    # The administrator opens it and begins a note; the operator acknowledges; the note is still there.
    row.get_by_role("link").first.click()
    expect(live_state(phone)).to_have_text("Live")
    assert has_no_sideways_scroll(phone)
    phone.get_by_label("Note", exact=True).fill("I am on my way")
    desk.locator("#incidents").get_by_role("button", name="Acknowledge").first.click()
    expect(desk.locator("#incidents")).to_contain_text("Acknowledged")
    expect(phone.locator("#incident .headline")).to_contain_text("Acknowledged")
    expect(phone.locator("#incident .headline")).to_contain_text("Operator of Acme")
    expect(phone.get_by_label("Note", exact=True)).to_have_value("I am on my way")
    phone.get_by_role("button", name="Add note").click()
    expect(phone.locator(".timeline-list")).to_contain_text("I am on my way")
    expect(phone.get_by_label("Note", exact=True)).to_have_value("")

    # The web process dies; meanwhile the pump cools down; both pages come back and catch up by themselves.
    web = platform.process_id("web")
    os.kill(web, signal.SIGKILL)
    pump.publish({"temperature": 50})
    expect(live_state(desk)).to_have_attribute("data-state", "lost")
    wait_until(lambda: platform.process_id("web") not in {0, web})
    with suppress(BrowserTimeout):  # it may have tried by itself meanwhile
        desk.get_by_role("button", name="Try now").click(timeout=500)
    expect(live_state(desk)).to_have_text("Live")
    expect(value(desk, "temperature")).to_have_text("50")
    expect(phone.locator("#incident .headline")).to_contain_text("Resolved")
