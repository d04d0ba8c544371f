"""The main job: one command, agents ask, a person decides, the agents go on because of it."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, expect

from tests.browser.visitor import Visit, Visitor
from tests.countersign import PATIENT_S, Countersign, countersign, eventually

pytestmark = [pytest.mark.browser, pytest.mark.process]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Countersign]:
    with countersign(tmp_path_factory.mktemp("demo"), demo=True) as house:
        yield house


@pytest.fixture
def api(demo: Countersign) -> Iterator[httpx.Client]:
    with demo.api() as client:
        yield client


def emulated(demo: Countersign) -> str:
    """The address of the demo's emulator."""
    accounts = json.loads(demo.command("providers", "list", "--json"))
    url: str = next(one["base_url"] for one in accounts if one["name"] == "demo-mindra")
    return url.removesuffix("/mindra")


def first(visitor: Visitor, provider: str) -> str:
    """The id of the first waiting single request of a provider, once the inbox shows one. Nothing is reloaded."""
    rows: Locator = visitor.page.locator(".q-item", has_text=provider).filter(has_not_text="answers")
    pill = visitor.page.locator("#pill")

    def look() -> str:
        if pill.is_visible():
            visitor.page.keyboard.press("n")
        return (rows.first.get_attribute("id") or "").removeprefix("row-") if rows.count() else ""

    return eventually(look, why=f"{provider} asks")


def effect(address: str, asked: dict[str, Any], run: dict[str, Any]) -> dict[str, int]:
    """What the emulated agent did about a request."""
    rows = httpx.get(f"{address}/_effects", trust_env=False, timeout=PATIENT_S).json()["effects"]
    [row] = [r for r in rows if r["run"] == run["external_id"] and r["input_sha256"] == asked["input_sha256"]]
    return {name: row[name] for name in ("approve", "reject", "executed", "skipped")}


def test_people_decide_and_agents_go_on(demo: Countersign, api: httpx.Client, visit: Visit) -> None:
    me = visit(demo, "")
    me.go("/")
    me.sign_in("admin", demo.password)
    expect(me.page.get_by_role("heading", name="Inbox")).to_be_visible()
    me.live()
    with me.without_reloading():
        ids = {"approve": first(me, "demo-agui"), "reject": first(me, "demo-mindra")}
        me.row({"id": ids["approve"]}).locator("a").click()
        me.shows({"id": ids["approve"]})
        me.approve()
        expect(me.page.locator("#undo")).to_contain_text("Approved.")
        me.row({"id": ids["reject"]}).locator("a").click()
        me.shows({"id": ids["reject"]})
        me.reject("Not needed", "The customer has written again.")
        expect(me.page.locator("#undo")).to_contain_text("Rejected.")
        for key in ids.values():
            me.row({"id": key}).locator("a").click()
            me.shows({"id": key})
            me.status("delivered")
            expect(me.stub.locator(".st").first).to_have_text("Delivered")
    asked = {verdict: api.get(f"approvals/{key}").json() for verdict, key in ids.items()}
    runs = {verdict: api.get(f"runs/{one['run_id']}").json() for verdict, one in asked.items()}

    me.page.goto(f"{demo.url}/runs/{runs['approve']['id']}/")
    me.page.locator("#run-state").get_by_role("link", name="run").click()  # an AG-UI agent goes on in a run of its own
    expect(me.page.locator("#timeline")).to_contain_text("result")
    expect(me.page.locator("#run-state")).to_contain_text("Finished")

    me.page.goto(f"{demo.url}/runs/{runs['reject']['id']}/")
    expect(me.page.locator("#timeline")).to_contain_text("Understood (Not needed. The customer has written again.).")
    expect(me.page.locator("#run-state")).to_contain_text("Finished")

    where = emulated(demo)
    yes, no = (effect(where, asked[verdict], runs[verdict]) for verdict in ("approve", "reject"))
    assert yes == {"approve": 1, "reject": 0, "executed": 1, "skipped": 0}
    assert no == {"approve": 0, "reject": 1, "executed": 0, "skipped": 1}


def test_the_run_page_grows_by_itself(demo: Countersign, api: httpx.Client, visit: Visit) -> None:
    started = api.post("runs", json={"provider": "demo-mindra", "workflow": "refund", "task": "refund"})
    me = visit(demo)
    me.go(f"/runs/{started.json()['id']}/")
    with me.without_reloading():
        expect(me.page.locator("#run-state")).to_contain_text("Waiting for a person")
        expect(me.page.locator("#timeline .call")).to_be_visible()
        expect(me.page.locator("#run-asks")).to_contain_text("1 to decide")
    me.page.locator("#timeline").get_by_role("link", name="Open request").click()
    me.live()
    me.reject("Wrong target")
    me.status("held", "deciding", "sent", "delivered")  # it leaves after the undo window, looked at or not
