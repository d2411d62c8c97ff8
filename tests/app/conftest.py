"""A real browser on a real server."""

import os
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from headscope.app import running


@pytest.fixture(scope="session")
def chrome() -> str:
    """Path of a Chrome or Chromium; without one the browser tests are skipped, but not in CI."""
    path = running.find_browser()
    if path is None and os.environ.get("CI") == "true":
        pytest.fail(running.NO_BROWSER)
    if path is None:
        pytest.skip(running.NO_BROWSER)
    return path


@pytest.fixture(scope="session")
def server(chrome: str) -> Iterator[str]:
    with running.serving() as address:
        yield address


@pytest.fixture(scope="session")
def browser(chrome: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chrome, args=list(running.BROWSER_OPTIONS)
        )
        # A slow machine computes a study in tens of seconds; a page that is right does not wait.
        expect.set_options(timeout=60_000)
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages, each in a session of its own; their consoles must stay free of errors."""
    errors: list[str] = []
    contexts = []

    def new(
        *, dark: bool = False, width: int = 1280, height: int = 800, tour: bool = False
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        if not tour:
            context.add_init_script(running.NO_TOUR)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        return page

    yield new
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def page(new_page: Callable[..., Page]) -> Page:
    return new_page()
