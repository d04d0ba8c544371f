"""Setting a house up from its pages: from nothing to a reviewer who decides, with and without JavaScript."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.visitor import PASSWORD, Visit, Visitor
from tests.countersign import Countersign, countersign, eventually
from tests.e2e.stage import Stage
from tests.emulator import Emulator, emulator

pytestmark = [pytest.mark.long, pytest.mark.browser, pytest.mark.process]


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulator("all", state=tmp_path_factory.mktemp("agents")) as running:
        yield running


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Countersign]:
    """One in which nothing is set up."""
    with countersign(tmp_path_factory.mktemp("new-house"), env={"COUNTERSIGN_UNDO_S": "1"}) as running:
        yield running
        assert "Traceback" not in running.log.read_text()


def steps_done(me: Visitor) -> int:
    me.go("/")
    return me.page.locator("ol.begin > li.done").count()


def once(me: Visitor) -> str:
    """What the page shows this one time."""
    return me.page.get_by_label("Shown once").input_value()


def test_from_nothing_to_a_reviewer_who_decides(house: Countersign, agents: Emulator, visit: Visit) -> None:
    me = visit(house, java_script_enabled=False)
    assert steps_done(me) == 0
    me.page.get_by_role("link", name="Mindra").click()
    me.page.get_by_label("Name").fill("our-mindra")
    me.page.get_by_label("Address").fill(agents.mindra)
    me.page.get_by_label("Secret").fill("a key")
    me.page.get_by_role("button", name="Connect").click()
    me.page.get_by_role("button", name="Check the connection").click()
    expect(me.page.get_by_role("status").first).to_contain_text("our-mindra: it answers")

    assert steps_done(me) == 1
    me.page.get_by_role("link", name="Start a run").click()
    me.page.get_by_label("Workflow").fill("refund")
    me.page.get_by_label("Task", exact=True).fill("refund")
    me.page.get_by_role("button", name="Start").click()
    me.page.wait_for_url("**/runs/*-*/")

    me.go("/settings/people/")
    me.page.get_by_label("User name").fill("mara")
    me.page.get_by_role("button", name="Invite").click()
    link = once(me)

    mara = visit(house, "", java_script_enabled=False)
    mara.page.goto(link)
    mara.page.get_by_label("New password").fill(PASSWORD)
    mara.page.get_by_label("The same again").fill(PASSWORD)
    mara.page.get_by_role("button", name="Set the password").click()
    expect(mara.page.get_by_role("status")).to_contain_text("Your password is set")
    mara.sign_in("mara", PASSWORD)

    def asked() -> bool:
        mara.go("/")
        return mara.page.locator(".qr").count() == 1

    eventually(asked, within_s=60, why="the run asks")
    mara.page.locator(".qr").click()
    mara.approve_button.click()
    expect(mara.stub).to_contain_text("Approved by you")
    mara.go("/settings/")
    expect(mara.page.get_by_role("heading")).to_have_text("Denied")

    def over() -> bool:
        me.go("/")
        return "No agent is at work either" in me.page.content()

    eventually(over, within_s=60, why="the steps are gone")


def test_a_token_is_made_shown_once_used_and_revoked(on: Stage, visit: Visit) -> None:
    me = visit(on.house)
    me.go("/settings/tokens/")
    me.page.get_by_label("Name").fill("from the page")
    me.page.get_by_label("read approval requests").check()
    me.page.get_by_role("button", name="Make it").dblclick()  # the second press must not hide what is shown once
    token = once(me)
    url, headers = f"{on.house.url}/api/v1/approvals", {"Authorization": f"Bearer {token}"}
    assert httpx.get(url, headers=headers, trust_env=False, timeout=60).status_code == 200
    me.page.get_by_role("link", name="I have it").click()
    assert token not in me.page.content()
    me.page.get_by_role("link", name="Revoke from the page").click()
    me.page.get_by_role("button", name="Revoke it").click()
    expect(me.page.get_by_role("status").first).to_contain_text("from the page is revoked")
    assert httpx.get(url, headers=headers, trust_env=False, timeout=60).status_code == 401


def test_answers_to_middesk_are_previewed_then_switched_on_and_off(on: Stage, visit: Visit) -> None:
    name = "a-middesk"
    on.house.command("providers", "add", name, "--kind", "middesk", "--base-url", on.agents.middesk)
    me = visit(on.house)
    me.go(f"/settings/providers/{name}/")
    expect(me.page.get_by_role("heading", name="Answers")).to_contain_text("Read-only here")
    me.page.get_by_label("Answer from here").check()
    me.page.get_by_label("Template").fill('{"approve": {"yes": true}, "reject": {"yes": true}}')
    me.page.get_by_role("button", name="Save the answers").click()
    expect(me.page.get_by_role("alert").last).to_contain_text("approve and reject would send the same")
    me.page.get_by_label("Template").fill('{"reject": {"decision": "no", "because": "{note}"}}')
    me.page.get_by_role("button", name="Show what would be sent").click()
    expect(me.page.locator("#previews")).to_contain_text("nothing saved yet")
    expect(me.page.locator("#previews figure").nth(1)).to_contain_text('"because": "What the reviewer wrote."')
    me.page.get_by_role("button", name="Save the answers").click()
    expect(me.page.get_by_role("heading", name="Answers")).to_contain_text("Decided here")
    me.page.get_by_label("Answer from here").uncheck()
    me.page.get_by_role("button", name="Save the answers").click()
    expect(me.page.get_by_role("heading", name="Answers")).to_contain_text("Read-only here")


def test_a_paused_provider_starts_nothing_until_it_is_resumed(on: Stage, visit: Visit) -> None:
    name = on.provider("a-resting-mindra", "mindra", on.agents.mindra)
    me = visit(on.house, java_script_enabled=False)
    me.go(f"/settings/providers/{name}/")
    me.page.get_by_role("button", name="Pause").click()
    run_id = on.start(name, "refund")
    me.page.reload()
    expect(me.page.get_by_role("main")).to_contain_text("Nothing is sent and no stream is held")
    assert on.run(run_id)["status"] == "queued"
    me.page.get_by_role("button", name="Resume").click()
    assert on.asked(run_id)


def test_settings_are_changed_by_keys_alone(on: Stage, visit: Visit) -> None:
    me = visit(on.house)
    me.go("/settings/webhooks/")
    me.page.get_by_label("Address").focus()
    me.page.keyboard.type("https://hooks.example.org/by-keys")
    me.page.keyboard.press("Tab")
    me.page.keyboard.press("Tab")
    me.page.keyboard.press("Space")  # of two events one is left
    me.page.keyboard.press("Enter")
    assert once(me).startswith("whsec_")
    me.page.get_by_role("link", name="I have it").focus()
    me.page.keyboard.press("Enter")
    me.page.wait_for_url("**/settings/webhooks/*-*/")
    expect(me.page.get_by_role("main")).to_contain_text("a request waits for a person")
    expect(me.page.get_by_role("main")).not_to_contain_text("a request is settled")
