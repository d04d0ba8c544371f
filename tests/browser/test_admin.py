"""The admin in a real browser: readable on a phone and in the dark, and what can be done there is done by clicks."""

import json
import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.test_accessibility import GRAVE, NARROWEST, SIZES, looks, shaped, too_wide
from tests.browser.visitor import Visit, Visitor
from tests.e2e.stage import Stage

pytestmark = [pytest.mark.long, pytest.mark.browser, pytest.mark.process]

HOOK = """
import json
import re
from approvals import webhooks
from approvals.models import AuditEntry, Delivery
from streams.models import Event, Provider
hook, _ = webhooks.add("https://hooks.example.com/in", actor="system", origin="test")
sent = webhooks.ping(hook, actor="system", origin="test")
print(json.dumps({
    "endpoint": f"approvals/webhookendpoint/{hook.pk}",
    "delivery": f"approvals/delivery/{sent.pk}",
    "provider": f"streams/provider/{Provider.objects.get(name='the-mindra').pk}",
    "event": f"streams/event/{Event.objects.first().pk}",
    "entry": f"approvals/auditentry/{AuditEntry.objects.first().pk}",
}))
"""
LISTS = {
    "runs": "streams/run",
    "events": "streams/event",
    "requests": "approvals/approvalrequest",
    "decisions": "approvals/decision",
    "deliveries": "approvals/delivery",
    "audit entries": "approvals/auditentry",
    "providers": "streams/provider",
    "people": "dashboard/user",
}


@pytest.fixture(scope="module")
def pages(on: Stage) -> Iterator[dict[str, str]]:
    """Name -> path: the front, lists and a page of each kind of row."""
    odd = on.asked(on.start("the-agui", "odd-characters"))[0]
    lost = on.asked(on.start("the-agui", "shell-command", faults="fault:effect-then-drop"))[0]
    on.approve(lost, undo_s=0)
    on.becomes(lost["id"], "unknown")
    made: dict[str, str] = json.loads(on.house.command("shell", "--no-imports", "-c", HOOK).splitlines()[-1])
    yield {
        "front": "/admin/",
        **{name: f"/admin/{path}/" for name, path in LISTS.items()},
        "requests, filtered": "/admin/approvals/approvalrequest/?attention=unknown",
        "nothing found": "/admin/streams/run/?q=nothing+like+this",
        "run": f"/admin/streams/run/{lost['run_id']}/change/",
        "run, hostile": f"/admin/streams/run/{odd['run_id']}/change/?at=1",
        "request": f"/admin/approvals/approvalrequest/{lost['id']}/change/",
        "request, hostile": f"/admin/approvals/approvalrequest/{odd['id']}/change/",
        "asked once more": f"/admin/approvals/approvalrequest/{lost['id']}/act/happened/",
        "password": "/admin/password_change/",
        **{name: f"/admin/{path}/change/" for name, path in made.items()},
        "add a provider": "/admin/streams/provider/add/",
    }


def faults(me: Visitor, name: str) -> list[str]:
    """What is wrong with the page that is up. Without axe's own copies of style sheets, which the policy refuses."""
    wrong = []
    for size, scheme in looks(name):
        shaped(me, SIZES[size])
        me.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        run = Axe().run(me.page, options={"resultTypes": ["violations"], "preload": False})
        for one in run.response["violations"]:
            if one["impact"] in GRAVE:
                where = [node["html"][:160] for node in one["nodes"][:3]]
                wrong.append(f"{name}, {size}, {scheme}: {one['id']}: {where}")
    for pixels in (NARROWEST, *SIZES.values()):
        shaped(me, pixels)
        if over := too_wide(me):
            wrong.append(f"{name}: {over} px too wide at {pixels[0]} px")
    return wrong


def test_no_page_of_the_admin_has_a_serious_fault(on: Stage, pages: dict[str, str], visit: Visit) -> None:
    me = visit(on.house)
    wrong = []
    for name, path in pages.items():
        answer = me.page.goto(on.house.url + path)
        assert answer and answer.status == 200, name
        expect(me.page).to_have_title(re.compile(r"Countersign$"))
        me.page.wait_for_load_state("networkidle")
        wrong += faults(me, f"admin, {name}")
    assert wrong == []


def test_a_record_is_unfolded_and_leads_to_the_exact_text(on: Stage, pages: dict[str, str], visit: Visit) -> None:
    me = visit(on.house)
    me.go(pages["run, hostile"])
    first = me.page.locator(".events > li").nth(1)
    expect(first.locator("pre")).to_be_hidden()
    first.locator("summary").click()
    expect(first.locator("pre")).to_be_visible()
    digest = first.locator("dd code").first.inner_text()
    first.get_by_role("link", name="Exact text and hash").click()
    expect(me.page.locator("#content")).to_contain_text(digest)
    with me.page.expect_download() as download:
        me.page.get_by_role("link", name="Download the exact text").click()
    assert download.value.suggested_filename.endswith(".txt")
    me.page.get_by_role("link", name="In its run").click()
    expect(me.page.locator("#record")).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_a_provider_is_paused_and_resumed_by_clicks(on: Stage, visit: Visit, scripts: bool) -> None:
    me = visit(on.house, java_script_enabled=scripts)
    me.go("/admin/streams/provider/")
    me.page.get_by_role("link", name="the-middesk").click()
    for word, state in (("Pause", "Paused"), ("Resume", "In use")):
        me.page.get_by_role("link", name=word, exact=True).click()
        expect(me.page.locator("h1")).to_have_text(word)
        me.page.get_by_role("button", name=word).click()
        expect(me.page.get_by_role("listitem").filter(has_text="the-middesk:")).to_be_visible()
        me.go("/admin/streams/provider/")
        expect(me.page.locator("tr", has_text="the-middesk")).to_contain_text(state)
        me.page.get_by_role("link", name="the-middesk").click()


def test_an_unknown_answer_is_settled_with_where_it_was_seen(on: Stage, visit: Visit) -> None:
    lost = on.asked(on.start("the-agui", "shell-command", faults="fault:effect-then-drop"))[0]
    on.approve(lost, undo_s=0)
    on.becomes(lost["id"], "unknown")
    me = visit(on.house)
    me.go("/admin/")
    me.page.get_by_role("link", name="requests of which nobody knows what came").click()
    me.page.locator(f"a[href*='{lost['id']}']").first.click()
    me.page.get_by_role("link", name="It happened", exact=True).click()
    me.page.get_by_label("Where did you see it?").fill("The disk is free again")
    me.page.get_by_role("button", name="It happened").click()
    expect(me.page.locator(".messagelist")).to_contain_text("Noted: it happened.")
    assert on.request(lost["id"])["status"] == "delivered"
    expect(me.page.locator("section", has_text="Audit entries").last).to_contain_text("request.resolved")
