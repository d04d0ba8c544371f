"""One walk through every kind of page: its policy refuses nothing, nothing leaves the house, nobody can frame it."""

import pytest
from playwright.sync_api import expect

from tests.browser.visitor import Visit
from tests.e2e.stage import Stage

pytestmark = [pytest.mark.browser, pytest.mark.process]

POLICY = {
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'",
    "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
}  # fmt: skip


def test_a_full_walk_breaks_no_rule(on: Stage, visit: Visit) -> None:
    first, _ = on.asked(on.start("the-agui", "account-deletion"), 2)
    mail = on.asked(on.start("the-agui", "outbound-email"))[0]
    done = on.asked(on.start("the-mindra", "refund"))[0]
    on.approve(done, undo_s=0)
    on.becomes(done["id"], "delivered")
    paths = [
        "/", f"/?open={mail['id']}", "/?tab=decided", "/?q=nothing+like+this", f"/requests/{first['id']}/",
        f"/requests/{mail['id']}/", f"/requests/{mail['id']}/exact/", f"/requests/{mail['id']}/edit/",
        f"/requests/{done['id']}/", "/runs/", f"/runs/{done['run_id']}/", f"/runs/{done['run_id']}/events/1/",
        "/nowhere/", "/requests/00000000-0000-4000-8000-000000000000/", "/admin/", "/admin/streams/run/",
        "/admin/approvals/approvalrequest/", "/admin/streams/provider/add/", "/api/v1/docs",
    ]  # fmt: skip
    me = visit(on.house, "")  # it signs out at the end: not with the key that others carry
    me.go("/")
    me.sign_in("admin", on.house.password)
    me.live()
    for path in paths:
        answer = me.page.goto(on.house.url + path)
        assert answer
        rules = {rule.strip() for rule in answer.headers["content-security-policy"].split(";")}
        assert rules >= POLICY, path
        assert not [rule for rule in rules if "unsafe" in rule or "nonce" in rule or "*" in rule], path
        assert answer.headers["x-frame-options"] == "DENY"
        if me.page.locator("[data-live]").count():
            me.live()
        if path.startswith(("/admin", "/api")):
            me.page.wait_for_load_state("networkidle")
    me.page.wait_for_selector(".opblock")

    me.inbox(f"?open={mail['id']}")
    me.page.get_by_role("button", name="Keys").click()
    me.page.keyboard.press("Escape")
    me.page.locator("#to-exact").click()
    expect(me.page.locator("#exact")).not_to_be_empty()
    me.page.locator("#to-edit").click()
    expect(me.page.locator("#editing")).to_be_visible()
    me.page.get_by_label("Provider").select_option("the-agui")
    me.page.get_by_role("button", name="Apply").click()
    me.page.wait_for_url("**provider=the-agui**")
    me.page.get_by_role("button", name="Sign out").first.click()
    me.page.wait_for_url("**/accounts/login/**")
    expect(me.page.get_by_label("User name")).to_be_focused()


def test_a_signed_out_tab_decides_nothing(on: Stage, visit: Visit) -> None:
    asked = on.asked(on.start("the-mindra", "refund"))[0]
    me = visit(on.house, "")
    me.go("/")
    me.sign_in("admin", on.house.password)
    me.live()
    me.open(asked)
    me.ready()
    other = me.context.new_page()
    other.goto(f"{on.house.url}/runs/")
    other.get_by_role("button", name="Sign out").first.click()
    expect(me.banner).to_contain_text("You are signed out.")
    me.reject_button.click(force=True)
    expect(me.reject_button).to_have_attribute("aria-disabled", "true")
    assert on.request(asked["id"])["status"] == "pending"


def test_no_other_page_can_frame_the_verdicts(on: Stage, visit: Visit) -> None:
    asked = on.asked(on.start("the-mindra", "refund"))[0]
    me = visit(on.house)
    me.expected = (*me.expected, "Framing '", "Refused to frame", "Refused to display")
    with me.page.expect_console_message(lambda said: "fram" in said.text.lower()):
        me.page.set_content(f"<iframe src='{on.house.url}/requests/{asked['id']}/'></iframe>")
    assert me.page.frame_locator("iframe").locator("#approve").count() == 0
