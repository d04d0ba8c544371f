"""Runs from the page: started and watched by plain forms, by hand or by keys, and found again in the list."""

import re

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.visitor import Visit, Visitor
from tests.countersign import eventually
from tests.e2e.stage import BUSINESS, Stage

pytestmark = [pytest.mark.long, pytest.mark.browser, pytest.mark.process]
RUN_PAGE = re.compile(r"/runs/([0-9a-f-]{36})/$")


def arrived(me: Visitor) -> str:
    """Wait for a run's page; the id of the run."""
    me.page.wait_for_url(RUN_PAGE)
    found = RUN_PAGE.search(me.page.url)
    assert found
    return found[1]


def test_without_javascript_a_run_is_started_in_two_steps(on: Stage, visit: Visit) -> None:
    me = visit(on.house, java_script_enabled=False)
    me.go("/runs/")
    me.page.get_by_role("link", name="Start a run").click()
    me.page.get_by_role("link", name="the-mindra").click()
    me.page.get_by_role("button", name="Start").click()
    expect(me.page.get_by_role("alert")).to_contain_text("Nothing was started.")
    me.page.get_by_label("Workflow").fill("refund")
    me.page.get_by_label("Task", exact=True).fill("refund")
    me.page.get_by_label("Title").fill("Started without a script")
    me.page.get_by_role("button", name="Start").click()
    run_id = arrived(me)
    assert on.asked(run_id)
    me.go("/runs/?q=without+a+script&status=waiting&mine=1")
    expect(me.page.get_by_role("link", name="Started without a script")).to_have_attribute("href", f"/runs/{run_id}/")
    expect(me.page.get_by_role("row", name="Started without a script")).to_contain_text("1 to decide")


def test_a_double_click_on_start_starts_one_run(on: Stage, visit: Visit) -> None:
    me = visit(on.house, java_script_enabled=False)
    me.go("/runs/start/?provider=the-agui")
    me.page.get_by_label("Message").fill("outbound-email")
    me.page.get_by_label("Title").fill("Pressed twice")
    me.page.get_by_role("button", name="Start").dblclick()
    run_id = arrived(me)
    on.asked(run_id)
    me.go("/runs/?q=Pressed+twice")
    expect(me.page.get_by_role("link", name="Pressed twice")).to_have_count(1)


def test_a_run_is_started_by_keys_alone(on: Stage, visit: Visit) -> None:
    me = visit(on.house)
    me.go("/runs/start/?provider=the-middesk")
    me.page.get_by_label("Agent").focus()
    me.page.keyboard.type("cip_orchestrator")
    me.page.keyboard.press("Tab")
    expect(me.page.get_by_label("Business")).to_be_focused()
    me.page.keyboard.type(BUSINESS)
    me.page.keyboard.press("Enter")
    run_id = arrived(me)
    assert on.asked(run_id)


def test_a_run_that_somebody_else_started_is_watched_by_its_id(on: Stage, visit: Visit) -> None:
    started = httpx.post(
        f"{on.agents.mindra}/v1/workflows/refund/run",
        json={"task": "refund", "metadata": {}},
        headers={"x-api-key": "somebody-else"},
        trust_env=False,
        timeout=60,
    )
    external_id = started.raise_for_status().json()["execution_id"]
    me = visit(on.house, java_script_enabled=False)
    me.go("/runs/")
    me.page.get_by_role("link", name="Watch a run").click()
    me.page.get_by_label("Provider").select_option("the-mindra")
    me.page.get_by_label("Run", exact=True).fill(external_id)
    me.page.get_by_role("button", name="Watch").click()
    run_id = arrived(me)
    assert on.run(run_id)["external_id"] == external_id
    assert on.asked(run_id)


def choose(me: Visitor, label: str, value: str) -> None:
    """From a list, with the mouse: what it opens belongs to the browser, which tells the page of the press alone."""
    me.page.get_by_label(label).dispatch_event("pointerdown")
    me.page.get_by_label(label).select_option(value)


def test_choosing_a_filter_with_the_mouse_shows_its_runs_at_once(on: Stage, visit: Visit) -> None:
    run_id = on.start("the-agui", "outbound-email")
    on.asked(run_id)
    me = visit(on.house)
    me.go("/runs/")
    choose(me, "Provider", "the-agui")
    me.page.wait_for_url("**/runs/?*provider=the-agui*")
    choose(me, "Status", "waiting")
    me.page.wait_for_url("**status=waiting*")
    expect(me.page.locator(f'a[href="/runs/{run_id}/"]')).to_be_visible()
    on.reject(on.asked(run_id)[0], undo_s=0)
    on.ended(run_id)

    def gone() -> bool:
        me.page.reload()
        return me.page.locator(f'a[href="/runs/{run_id}/"]').count() == 0

    eventually(gone, within_s=60, why="it waits no longer")
