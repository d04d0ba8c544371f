"""A real Chromium for the browser journeys, driven by Playwright; where there is none they are skipped."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from dashboard import chromium
from tests.browser.visitor import WAIT_MS, Reception, Visit, Visitor
from tests.countersign import Countersign
from tests.e2e.stage import Stage, stage

QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]


@pytest.fixture(scope="package")  # not session: Playwright's loop would be running under the async tests that follow
def browser() -> Iterator[Browser]:
    path = chromium.find()
    if path is None:
        pytest.skip("there is no Chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=QUIET, timeout=3 * WAIT_MS)
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page with cookies and storage of its own."""
    context = browser.new_context()
    context.set_default_timeout(WAIT_MS)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="package")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Server and emulator for all journeys; a verdict leaves after a second."""
    with stage(tmp_path_factory.mktemp("journeys"), env={"COUNTERSIGN_UNDO_S": "1"}) as made:
        yield made
        log = made.house.log.read_text()
    assert "Traceback" not in log, log[-5000:]


@pytest.fixture(scope="package")
def unhurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The same where a verdict is held for ten minutes."""
    with stage(tmp_path_factory.mktemp("unhurried"), env={"COUNTERSIGN_UNDO_S": "600"}) as made:
        yield made
        log = made.house.log.read_text()
    assert "Traceback" not in log, log[-5000:]


@pytest.fixture(scope="package")
def reception(browser: Browser) -> Reception:
    return Reception(browser)


@pytest.fixture
def visit(reception: Reception) -> Iterator[Visit]:
    """Let somebody in: `visit(house, name)`. At the end no page may have done anything wrong."""
    visitors: list[Visitor] = []

    def admit(house: Countersign, name: str = "admin", **options: Any) -> Visitor:
        visitors.append(reception.admit(house, name, **options))
        return visitors[-1]

    yield admit
    wrong = [line for visitor in visitors for line in visitor.wrong]
    for visitor in visitors:
        visitor.context.close()
    assert wrong == []
