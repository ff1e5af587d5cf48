"""A real browser. Where it is missing these tests are left out, with the reason; `make test-browser` installs it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright import sync_api

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ATTACKER = "attacker.test"


@pytest.fixture(scope="session")
def browser() -> Iterator[sync_api.Browser]:
    """Chromium, for which the name attacker.test points to this machine: as the name of a rebinding attacker does."""
    playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing: run `make test-browser`")
    if CHROMIUM is None:
        pytest.skip("chromium is missing: run `make test-browser`")
    with playwright_api.sync_playwright() as playwright:
        arguments = [
            "--no-sandbox",
            f"--host-resolver-rules=MAP {ATTACKER} 127.0.0.1",
            # Chromium has begun to ask before a page may reach this machine; other browsers do not.
            "--disable-features=LocalNetworkAccessChecks",
        ]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: sync_api.Browser) -> Iterator[sync_api.Page]:
    """A page of a fresh profile."""
    with browser.new_context(viewport={"width": 1400, "height": 900}) as context:
        yield context.new_page()
