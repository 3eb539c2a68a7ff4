"""The admin and the API's documentation in a real browser: they work under our Content-Security-Policy."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client
from django_tenants.utils import tenant_context
from playwright.sync_api import Page, expect, sync_playwright

from tenants.models import Tenant, User
from tests.conftest import MakeDevice
from tests.waiting import WAIT_SECONDS
from tests.web_server import run_web_server

expect.set_options(timeout=WAIT_SECONDS * 1000)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt-get install chromium)"),
]


@pytest.fixture
def page(acme: Tenant, acme_admin: User, make_device: MakeDevice, process_env: dict[str, str], tmp_path: Path) -> Iterator[Page]:
    """A browser in which the admin of acme is logged in; relative addresses go to the server."""
    with tenant_context(acme):
        make_device("pump-7")
    client = Client()
    client.force_login(acme_admin)
    session = client.cookies["sessionid"].value
    env = {**process_env, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    with run_web_server(env, tmp_path / "uvicorn.log") as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(base_url=address)
        context.add_cookies([{"name": "sessionid", "value": session, "url": address}])
        yield context.new_page()
        browser.close()


@pytest.fixture
def complaints(page: Page) -> list[str]:
    """What the browser's console complains about."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def test_the_admin_works_without_inline_scripts_and_styles(page: Page, complaints: list[str]) -> None:
    page.goto("/t/acme/admin/")
    page.goto("/t/acme/admin/devices/device/")
    expect(page.get_by_text("Pump 7")).to_be_visible()
    leave = page.get_by_text("Log out")
    expect(leave).to_be_hidden()
    page.get_by_text("admin@acme.example").first.click()
    expect(leave).to_be_visible()
    page.goto("/t/acme/admin/tenants/apikey/add/")
    page.get_by_label("Name").fill("historian")
    page.get_by_label("device:read").check()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("iiot_key_").first).to_be_visible()
    assert complaints == []


def test_swagger_ui_and_redoc_show_the_api(page: Page, complaints: list[str]) -> None:
    page.goto("/api/v1/docs/")
    expect(page.get_by_text("/api/v1/auth/login", exact=True)).to_be_visible()  # the schema takes seconds
    page.emulate_media(color_scheme="dark")
    expect(page.locator("html.dark-mode")).to_be_attached()
    assert complaints == []
    page.goto("/api/v1/redoc/")
    expect(page.get_by_role("heading", name="IIoT platform")).to_be_visible()
    # The theme's own logo lies on somebody else's server, and ReDoc has no favicon.
    assert [text for text in complaints if "logo-mini.svg" not in text and "404" not in text] == []
