"""The API's page and the whole admin in a real browser: they render, and the security policy refuses nothing."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.countersign import Countersign, countersign

pytestmark = [pytest.mark.long, pytest.mark.browser, pytest.mark.process]

WATCH = """
window.refused = [];
document.addEventListener("securitypolicyviolation", (one) => {
  window.refused.push(one.violatedDirective + " " + one.blockedURI);
});
"""
SIGN_IN = """
from django.contrib.auth import BACKEND_SESSION_KEY as B, HASH_SESSION_KEY as H, SESSION_KEY as K
from django.contrib.sessions.backends.db import SessionStore
from dashboard.models import User
user, session = User.objects.get(username="admin"), SessionStore()
session[K], session[H] = str(user.pk), user.get_session_auth_hash()
session[B] = "django.contrib.auth.backends.ModelBackend"
session.save()
print(session.session_key)
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Countersign]:
    with countersign(tmp_path_factory.mktemp("machine-pages")) as running:
        running.command("providers", "add", "nobody", "--kind", "mindra", "--base-url", "http://127.0.0.1:9/")
        running.command("runs", "watch", "nobody", "<b>exec_1</b>")
        running.command("tokens", "create", "ci", "--user", "admin", "--scope", "runs:read")
        yield running


@pytest.fixture(scope="module")
def session(house: Countersign) -> str:
    return house.command("shell", "--no-imports", "-c", SIGN_IN).strip()


@pytest.fixture
def visitor(house: Countersign, session: str, page: Page) -> Page:
    page.context.add_cookies([{"name": "countersign", "value": session, "url": house.url}])
    page.add_init_script(WATCH)
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    return page


def refused(page: Page) -> list[str]:
    page.wait_for_load_state("networkidle")
    found: list[str] = page.evaluate("window.refused")
    return found


def test_the_api_page_renders_and_calls(house: Countersign, visitor: Page) -> None:
    visitor.goto(f"{house.url}/api/v1/docs")
    visitor.wait_for_selector(".opblock")
    assert visitor.locator(".opblock").count() == 8
    token = house.command("tokens", "create", "docs", "--user", "admin", "--scope", "approvals:read").strip()
    visitor.click("button.authorize")
    visitor.fill("#auth-bearer-value", token)
    visitor.click(".auth-btn-wrapper button.authorize")
    visitor.click(".auth-btn-wrapper button.btn-done")
    visitor.click(".opblock-get:has-text('List approval requests')")
    visitor.click("button.try-out__btn")
    visitor.click("button.execute")
    answer = visitor.wait_for_selector(".live-responses-table .response-col_description code")
    assert answer and json.loads(answer.inner_text()) == {"items": [], "next": None}
    assert refused(visitor) == []


def test_every_admin_page_is_clean(house: Countersign, visitor: Page) -> None:
    visitor.goto(f"{house.url}/admin/")
    assert refused(visitor) == []
    lists = visitor.eval_on_selector_all("#content-main th a", "found => found.map(one => one.href)")
    assert len(lists) >= 17
    for address in lists:
        visitor.goto(address)
        assert refused(visitor) == [], address
        rows = visitor.eval_on_selector_all("#result_list tbody th a", "found => found.map(one => one.href)")
        for one in (*rows[:1], f"{address}add/"):
            visitor.goto(one)
            assert refused(visitor) == [], one


def test_agents_text_stays_text(house: Countersign, visitor: Page) -> None:
    visitor.goto(f"{house.url}/admin/streams/run/")
    cell = visitor.locator("td.field-title .inert").first
    assert cell.inner_text() == "<b>exec_1</b>"
    assert visitor.locator("td.field-title b").count() == 0


def test_a_refused_form_comes_back_without_the_secret(house: Countersign, visitor: Page) -> None:
    visitor.goto(f"{house.url}/admin/streams/provider/add/")
    visitor.fill("#id_new_secret", "canary")
    assert visitor.get_attribute("#id_new_secret", "type") == "password"
    visitor.click("input[name=_save]")  # the name is missing: the form comes back without the secret
    assert visitor.input_value("#id_new_secret") == ""
