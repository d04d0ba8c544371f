"""Without JavaScript every act works by links, forms and loading the page again."""

import json
import re

import httpx
import pytest
from playwright.sync_api import Locator, expect

from tests.browser.visitor import Visit, Visitor
from tests.countersign import eventually
from tests.e2e.stage import BUSINESS, Row, Stage

pytestmark = [pytest.mark.browser, pytest.mark.process]


def plain(visit: Visit, stage: Stage, name: str = "admin") -> Visitor:
    return visit(stage.house, name, java_script_enabled=False)


def press(me: Visitor, what: Locator) -> None:
    """Press what loads another page, and wait until that one is there: loading again too soon would cut it off."""
    with me.page.expect_navigation():
        what.click()


def to_the_request(me: Visitor, asked: Row) -> None:
    """From the inbox by its link."""
    me.go("/")
    press(me, me.row(asked).get_by_role("link"))
    me.page.wait_for_url(f"**/requests/{asked['id']}/")


def reloaded_until(me: Visitor, status: str) -> None:
    def look() -> bool:
        me.page.reload()
        return me.stub.get_attribute("data-status") == status

    eventually(look, why=f"the page says {status}")


def undo_button(me: Visitor) -> Locator:
    return me.stub.get_by_role("button", name="Undo")


def test_signing_in_deciding_and_the_outcome(on: Stage, visit: Visit) -> None:
    yes, no = (on.asked(on.start("the-mindra", scenario))[0] for scenario in ("refund", "shell-command"))
    me = plain(visit, on, "")
    me.go("/")
    with me.page.expect_navigation():
        me.sign_in("admin", on.house.password)
    to_the_request(me, yes)
    press(me, me.approve_button)
    reloaded_until(me, "delivered")
    expect(me.stub).to_contain_text("Approved by you")
    to_the_request(me, no)
    me.page.locator(".reasons label", has_text="Too wide").click()
    me.page.get_by_label("Reason in your words").fill("Only the logs")
    press(me, me.reject_button)
    reloaded_until(me, "delivered")
    expect(me.stub).to_contain_text("Too wide. Only the logs")
    assert on.did(yes) == (1, 0, 1, 0)
    assert on.did(no) == (0, 1, 0, 1)
    on.ended(yes["run_id"])
    me.go(f"/runs/{no['run_id']}/")
    expect(me.page.locator("#timeline")).to_contain_text("Understood (Too wide. Only the logs).")


def test_undoing(unhurried: Stage, visit: Visit) -> None:
    asked = unhurried.asked(unhurried.start("the-mindra", "refund"))[0]
    me = plain(visit, unhurried)
    to_the_request(me, asked)
    press(me, me.approve_button)
    me.status("held")
    press(me, undo_button(me))
    me.status("pending")
    expect(me.approve_button).to_be_visible()
    assert unhurried.did(asked) == (0, 0, 0, 0)


def test_editing(on: Stage, visit: Visit) -> None:
    asked = on.asked(on.start("the-agui", "outbound-email"))[0]
    me = plain(visit, on)
    to_the_request(me, asked)
    press(me, me.page.get_by_role("link", name="Edit"))
    area = me.page.get_by_label("All arguments, as JSON").last
    area.fill(area.input_value().replace(str(asked["tool_input"]["to"]), "nobody@shop.example"))
    press(me, me.page.get_by_role("button", name="Review the change"))
    expect(me.approve_button).to_contain_text("Approve edit")
    press(me, me.approve_button)
    reloaded_until(me, "delivered")
    last = on.ended(asked["run_id"])
    assert "Sent to nobody@shop.example" in str(on.events(last["id"], kind="TOOL_CALL_RESULT"))


def test_a_second_answer_is_refused_in_words(on: Stage, visit: Visit) -> None:
    asked = on.asked(on.start("the-mindra", "refund"))[0]
    me = plain(visit, on)
    to_the_request(me, asked)
    on.reject(asked, undo_s=0)
    press(me, me.approve_button)
    expect(me.page.locator("#freeze")).to_contain_text("Nothing you pressed was sent.")
    on.becomes(asked["id"], "delivered")
    assert on.did(asked) == (0, 1, 0, 1)


def test_a_batch_goes_when_its_last_answer_is_given(on: Stage, visit: Visit) -> None:
    first, second = on.asked(on.start("the-agui", "account-deletion"), 2)
    me = plain(visit, on)
    to_the_request(me, first)
    press(me, me.approve_button)
    expect(me.page.locator("#envelope")).to_contain_text("1 of 2 decided, nothing sent yet")
    press(me, me.page.locator("#envelope").get_by_role("link", name="open"))
    me.page.wait_for_url(f"**/requests/{second['id']}/")
    press(me, me.reject_button)
    reloaded_until(me, "delivered")
    expect(me.page.locator("#envelope")).to_contain_text("all 2 decided")
    on.becomes(first["id"], "delivered")
    assert (on.did(first), on.did(second)) == ((1, 0, 1, 0), (0, 1, 0, 1))


def test_long_arguments_are_opened_before_they_can_be_approved(on: Stage, visit: Visit) -> None:
    asked = on.asked(on.start("the-agui", "odd-characters"))[0]
    me = plain(visit, on)
    to_the_request(me, asked)
    expect(me.stub).to_contain_text("Approving opens when everything was opened.")
    expect(me.approve_button).to_have_count(0)
    press(me, me.page.get_by_role("link", name="Open everything"))
    press(me, me.approve_button)
    reloaded_until(me, "delivered")
    assert on.did(asked) == (1, 0, 1, 0)


@pytest.mark.long
def test_finding_reading_and_signing_out(on: Stage, visit: Visit) -> None:
    """Filters, the exact text, a run and an event of it, the list of what was decided, and out."""
    provider = on.provider("plain-mindra", "mindra", on.agents.mindra)
    asked, other = (on.asked(on.start(provider, scenario))[0] for scenario in ("refund", "sql-migration"))
    me = plain(visit, on, "")
    me.go(f"/requests/{asked['id']}/")
    with me.page.expect_navigation():
        me.sign_in("admin", on.house.password)
    me.page.wait_for_url(f"**/requests/{asked['id']}/")  # where it led before the sign-in came between
    press(me, me.page.locator("#to-exact"))
    expect(me.page.locator("main")).to_contain_text(json.dumps(asked["tool_input"]["order"]))
    me.go("/")
    me.page.get_by_label("Provider").select_option(provider)
    press(me, me.page.get_by_role("button", name="Apply"))
    expect(me.page.locator(".q-item")).to_have_count(2)
    me.page.get_by_label("Search").fill("run_sql")
    press(me, me.page.get_by_role("button", name="Apply"))
    expect(me.page.locator(".q-item")).to_have_count(1)
    press(me, me.row(other).get_by_role("link"))
    press(me, me.reject_button)
    reloaded_until(me, "delivered")
    me.go(f"/?tab=decided&provider={provider}")
    expect(me.row(other)).to_be_visible()
    expect(me.row(asked)).to_have_count(0)
    press(me, me.page.get_by_role("link", name="Runs").first)
    press(me, me.page.locator(f'a[href="/runs/{asked["run_id"]}/"]'))
    expect(me.page.locator("#timeline .call")).to_be_visible()
    press(me, me.page.locator("#timeline").get_by_role("link", name="Event 1, exact text"))
    me.page.wait_for_url(f"**/runs/{asked['run_id']}/events/1/")
    press(me, me.page.get_by_role("button", name="Sign out").first)
    me.page.wait_for_url("**/accounts/login/**")
    me.go(f"/requests/{asked['id']}/")
    me.page.wait_for_url("**/accounts/login/**")


def test_pages_that_wait_load_themselves_again(on: Stage, visit: Visit) -> None:
    """The inbox and a run do, every 20 s; a request's page does not: somebody may be typing there."""
    asked = on.asked(on.start("the-mindra", "refund"))[0]
    me = plain(visit, on)
    for path, again in (("/", 1), (f"/runs/{asked['run_id']}/", 1), (f"/requests/{asked['id']}/", 0)):
        me.go(path)
        assert me.page.locator('noscript meta[http-equiv="refresh"], meta[http-equiv="refresh"]').count() == again, path


def test_starting_a_run_at_each_provider_and_deciding_what_it_asks(on: Stage, visit: Visit) -> None:
    me = plain(visit, on)
    told = {
        "the-mindra": {"Workflow": "refund", "Task": "refund by hand"},
        "the-middesk": {"Agent": "cip_orchestrator", "Business optional": BUSINESS},
        "the-agui": {"Message optional": "outbound-email"},
    }
    for provider, fields in told.items():
        me.go("/runs/")
        press(me, me.page.get_by_role("link", name="Start a run").first)
        press(me, me.page.locator("main").get_by_role("link", name=provider))
        for label, text in fields.items():
            me.page.get_by_label(label, exact=True).fill(text)
        press(me, me.page.get_by_role("button", name="Start"))
        me.page.wait_for_url(re.compile("/runs/[0-9a-f-]{36}/$"))
        asked = on.asked(me.page.url.split("/")[-2])[0]
        to_the_request(me, asked)
        me.page.get_by_label("Reason in your words").fill("Not this time")
        press(me, me.reject_button)
        reloaded_until(me, "delivered")
        assert on.did(asked) == (0, 1, 0, 1), provider


@pytest.mark.long
def test_somebody_is_invited_sets_a_password_decides_and_is_let_in_no_more(on: Stage, visit: Visit) -> None:
    asked = on.asked(on.start("the-middesk", "watchlist_resolution"))[0]
    me, she = plain(visit, on), plain(visit, on, "")
    me.go("/settings/people/")
    me.page.locator("main").get_by_label("User name").fill("ines")
    me.page.locator("main").get_by_label("Reviewer").check()
    press(me, me.page.get_by_role("button", name="Invite"))
    link = me.page.get_by_label("Shown once").input_value()
    she.page.goto(link)
    for field in she.page.locator("input[type=password]").all():
        field.fill("kestrel harbour 77")
    press(she, she.page.locator("main button").last)
    she.page.wait_for_url("**/accounts/login/**")
    with she.page.expect_navigation():
        she.sign_in("ines", "kestrel harbour 77")
    to_the_request(she, asked)
    press(she, she.approve_button)
    reloaded_until(she, "delivered")
    assert on.did(asked) == (1, 0, 1, 0)
    assert on.request(asked["id"])["decision"]["by"] == "ines"

    stranger = plain(visit, on, "")
    stranger.page.goto(link)  # it worked once
    expect(stranger.page.locator("input[type=password]")).to_have_count(0)

    me.go("/settings/people/")
    press(me, me.page.get_by_role("link", name="ines"))
    press(me, me.page.get_by_role("link", name="Deactivate").or_(me.page.get_by_role("button", name="Deactivate")))
    press(me, me.page.get_by_role("button", name="Deactivate"))
    she.go("/")
    she.page.wait_for_url("**/accounts/login/**")


@pytest.mark.long
def test_a_token_made_on_its_page_works_until_it_is_revoked(on: Stage, visit: Visit) -> None:
    me = plain(visit, on)
    me.go("/settings/tokens/")
    me.page.locator("main").get_by_label("Name").fill("by-hand")
    me.page.locator("main").get_by_label("approvals:read").check()
    press(me, me.page.get_by_role("button", name="Make it"))
    token = me.page.get_by_label("Shown once").input_value()

    def status() -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{on.house.url}/api/v1/approvals", headers=headers, trust_env=False, timeout=60).status_code

    assert status() == 200
    press(me, me.page.get_by_role("link", name="I have it"))
    assert token not in me.page.content()
    press(me, me.page.get_by_role("link", name="Revoke by-hand"))
    press(me, me.page.get_by_role("button", name="Revoke"))
    assert status() == 401
