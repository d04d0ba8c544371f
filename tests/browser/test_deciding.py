"""A verdict and what can come between: another person, an undo, an edit, companions that leave together."""

import json

import pytest
from playwright.sync_api import APIResponse, Route, WebSocketRoute, expect

from tests.browser.visitor import CUT_OFF, EXPECTED, Visit, Visitor
from tests.countersign import eventually
from tests.e2e.stage import Row, Stage, dumps

pytestmark = [pytest.mark.browser, pytest.mark.process]

BUSINESS = "6f1c2a34-0000-4000-8000-00000000beef"


def ask(on: Stage, provider: str = "the-mindra", scenario: str = "refund") -> Row:
    return on.asked(on.start(provider, scenario))[0]


# --- two people -------------------------------------------------------------------------------------------------------


def test_the_other_page_freezes_and_names_the_winner(on: Stage, visit: Visit) -> None:
    asked = ask(on)
    ada, joon = visit(on.house), visit(on.house, "joon")
    ada.open(asked)
    joon.open(asked)
    with ada.without_reloading():
        ada.page.get_by_label("Reason in your words").fill("not this one")
        joon.approve()
        expect(ada.page.locator("#freeze")).to_contain_text("joon approved this")
        expect(ada.stub).to_have_attribute("data-frozen", "")
        expect(ada.approve_button).to_have_count(0)
        expect(ada.reject_button).to_have_count(0)
        kept = ada.page.locator("label", has_text="Your note, not sent").locator("textarea")
        expect(kept).to_be_visible()
        expect(kept).to_have_value("not this one")
        ada.page.keyboard.press("r")
        ada.status("delivered")
    row = on.becomes(asked["id"], "delivered")
    assert (row["decision"]["verdict"], row["decision"]["by"]) == ("approve", "joon")
    assert on.did(asked) == (1, 0, 1, 0)


def test_the_winner_is_named_everywhere_and_nothing_that_was_typed_is_lost(unhurried: Stage, visit: Visit) -> None:
    asked, other = unhurried.asked(unhurried.start("the-agui", "account-deletion"), 2)
    ada, joon, third = visit(unhurried.house), visit(unhurried.house, "joon"), visit(unhurried.house)
    ada.inbox(f"?open={asked['id']}")
    joon.open(asked)
    third.go(f"/runs/{asked['run_id']}/")
    third.live()
    with ada.without_reloading(), third.without_reloading():
        ada.page.locator(".reasons label", has_text="Too wide").click()
        ada.page.get_by_label("Reason in your words").fill("only the backup")
        joon.reject("Wrong target")
        joon.status("held")
        expect(joon.page.locator("#trail-state")).to_have_text("Rejected by you, held.")
        expect(ada.page.locator("#freeze")).to_contain_text("joon rejected this")
        expect(ada.row(asked)).to_contain_text("rejected")
        expect(ada.row(asked).locator(".by")).to_have_text("joon")
        expect(ada.stub).to_contain_text("Rejected by joon")
        expect(ada.page.locator("#trail-state")).to_have_text("Rejected by joon, held.")
        expect(ada.page.locator("#envelope [aria-current]")).to_contain_text("joon")
        expect(third.page.locator("#timeline .call", has_text="Rejected by joon")).to_have_count(1)
        expect(third.page.locator("#run-asks")).to_contain_text("rejected by joon")
        note = ada.page.get_by_label("Your note, not sent")
        expect(note).to_have_value("Too wide. only the backup")
        expect(note).not_to_be_editable()
        expect(ada.page.get_by_label("Reason in your words")).to_have_count(0)
        posts: list[str] = []
        ada.page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
        ada.page.locator("#cons").focus()
        for key in "are2u":
            ada.page.keyboard.press(key)
        expect(ada.stub).to_have_attribute("data-status", "held")
        assert posts == []
    unhurried.reject(other, undo_s=0)


@pytest.mark.long
def test_what_was_typed_comes_back_when_the_other_takes_it_back(unhurried: Stage, visit: Visit) -> None:
    asked = ask(unhurried, "the-agui", "outbound-email")
    ada, joon = visit(unhurried.house), visit(unhurried.house, "joon")
    ada.open(asked)
    joon.open(asked)
    with ada.without_reloading():
        ada.page.get_by_role("link", name="Edit").click()
        area = ada.page.get_by_label("All arguments, as JSON").last
        area.fill('{"to": "half of an edit')
        ada.page.locator(".reasons label", has_text="Too wide").click()
        reason = ada.page.get_by_label("Reason in your words")
        reason.fill("half a sentence")
        reason.evaluate("one => one.setSelectionRange(4, 5)")
        joon.approve()
        joon.status("held")
        expect(ada.page.locator("#freeze")).to_contain_text("joon approved this")
        expect(ada.page.get_by_label("Your note, not sent")).to_have_value("Too wide. half a sentence")
        expect(ada.page.get_by_label("Your edit, not sent")).to_have_value('{"to": "half of an edit')
        joon.stub.get_by_role("button", name="Undo").click()
        joon.status("pending")
        ada.status("pending")
        expect(reason).to_have_value("half a sentence")
        expect(reason).to_be_editable()
        expect(ada.page.get_by_role("radio", name="Too wide")).to_be_checked()
        expect(area).to_have_value('{"to": "half of an edit')
        expect(ada.page.locator("#freeze")).to_be_empty()
        ada.page.get_by_role("button", name="Review the change").click()  # the form that came back still works
        expect(ada.page.locator("#editing").get_by_role("alert")).to_contain_text("Not an edit yet")
    unhurried.reject(asked, undo_s=0)


@pytest.mark.long
def test_who_loses_without_javascript_reads_who_won(on: Stage, visit: Visit) -> None:
    asked = ask(on)
    ada, joon = visit(on.house, java_script_enabled=False), visit(on.house, "joon")
    ada.go(f"/requests/{asked['id']}/")
    joon.open(asked)
    joon.reject("Not needed")
    on.becomes(asked["id"], "delivered")
    ada.page.locator(".reasons label", has_text="Too wide").click()
    ada.page.get_by_label("Reason in your words").fill("my own words")
    ada.approve_button.click()
    expect(ada.page.locator("#freeze")).to_contain_text(
        "joon was quicker and rejected it. Nothing you pressed was sent."
    )
    expect(ada.stub).to_contain_text("by joon")
    expect(ada.page.get_by_label("Your note, not sent")).to_have_value("Too wide. my own words")


def deaf(visitor: Visitor) -> None:
    """This page hears nothing: its socket is silent and its questions are lost."""

    def lost(route: Route) -> None:
        route.abort()

    def silent(_: WebSocketRoute) -> None:
        pass

    visitor.expected = EXPECTED + CUT_OFF
    visitor.page.route("**/live/**", lost)
    visitor.page.route_web_socket("**/ws/**", silent)


def test_a_click_that_comes_too_late_decides_nothing_and_says_so(on: Stage, visit: Visit) -> None:
    asked = ask(on)
    ada = visit(on.house)
    deaf(ada)
    ada.go(f"/requests/{asked['id']}/")
    ada.ready()
    on.reject(asked, undo_s=0)
    ada.page.get_by_label("Reason in your words").fill("looks right to me")
    with ada.page.expect_response("**/decision/") as answered:
        ada.approve_button.click()
    assert answered.value.status == 409
    expect(ada.page.locator("#freeze")).to_contain_text("You have rejected it already, elsewhere. Nothing you pressed")
    expect(ada.approve_button).to_have_count(0)
    expect(ada.page.get_by_label("Your note, not sent")).to_have_value("looks right to me")
    assert on.becomes(asked["id"], "delivered")["decision"]["verdict"] == "reject"
    assert on.did(asked) == (0, 1, 0, 1)


# --- undo -------------------------------------------------------------------------------------------------------------


def test_an_undone_verdict_never_left(unhurried: Stage, visit: Visit) -> None:
    asked = ask(unhurried)
    me = visit(unhurried.house)
    me.open(asked)
    with me.without_reloading():
        me.approve()
        me.status("held")
        expect(me.stub).to_contain_text("Approved by you")
        me.stub.get_by_role("button", name="Undo").click()
        me.status("pending")
        me.ready()
    assert unhurried.request(asked["id"])["decision"] is None
    assert unhurried.did(asked) == (0, 0, 0, 0)


def test_the_undo_bar_takes_the_last_verdict_back(unhurried: Stage, visit: Visit) -> None:
    asked, _ = ask(unhurried), ask(unhurried, scenario="outbound-email")
    me = visit(unhurried.house)
    me.inbox(f"?open={asked['id']}")
    me.reject("Too wide")
    expect(me.page.locator("#undo")).to_contain_text("Rejected.")
    expect(me.slip).not_to_have_attribute("data-request", asked["id"])  # the next one came up
    me.page.locator("#undo").get_by_role("button", name="Undo").click()
    me.shows(asked)
    me.status("pending")
    assert unhurried.did(asked) == (0, 0, 0, 0)


# --- a slow line ------------------------------------------------------------------------------------------------------


def slow(visitor: Visitor, pattern: str, *, seconds: float = 1.0) -> None:
    """Every answer of the server to these takes its time."""

    def wait(route: Route) -> None:
        visitor.page.wait_for_timeout(seconds * 1000)
        route.continue_()

    visitor.page.route(pattern, wait)


@pytest.mark.long
@pytest.mark.parametrize("line", ["quick", "slow"])
def test_the_next_slip_opens_by_itself_and_keeps_what_is_picked_and_typed(
    unhurried: Stage, visit: Visit, line: str
) -> None:
    provider = unhurried.provider(f"{line}-mindra", "mindra", unhurried.agents.mindra)
    first, second = (unhurried.asked(unhurried.start(provider, one))[0] for one in ("refund", "outbound-email"))
    me = visit(unhurried.house)
    me.inbox(f"?provider={provider}&open={first['id']}")
    if line == "slow":
        slow(me, "**/requests/*/?pane=1*")
    with me.without_reloading():
        me.reject("Not needed")
        me.row(second).get_by_role("link").click()  # on its way already: it must not come twice
        me.shows(second)
        me.page.locator(".reasons label", has_text="Too wide").click()
        me.page.get_by_label("Reason in your words").fill("Only")
        me.row(second).get_by_role("link").click()
        me.page.get_by_label("Reason in your words").press_sequentially(" the logs")
        unhurried.start(provider, "shell-command")  # something is pushed meanwhile
        expect(me.page.locator("#pill")).to_contain_text("1 new")
        expect(me.page.get_by_label("Reason in your words")).to_have_value("Only the logs")
        expect(me.page.get_by_role("radio", name="Too wide")).to_be_checked()
        me.row(first).get_by_role("link").click()
        me.shows(first)
        me.row(second).get_by_role("link").click()
        me.shows(second)
        expect(me.page.get_by_label("Reason in your words")).to_have_value("Only the logs")
        expect(me.page.get_by_role("radio", name="Too wide")).to_be_checked()
        me.reject()
    assert unhurried.becomes(second["id"], "held")["decision"]["reason"] == "Too wide. Only the logs"
    assert unhurried.request(first["id"])["decision"]["reason"] == "Not needed"


@pytest.mark.long
def test_a_slip_that_was_left_again_does_not_come_up_late(unhurried: Stage, visit: Visit) -> None:
    provider = unhurried.provider("left-mindra", "mindra", unhurried.agents.mindra)
    first, second = (unhurried.asked(unhurried.start(provider, one))[0] for one in ("refund", "outbound-email"))
    me = visit(unhurried.house)
    me.inbox(f"?provider={provider}&open={first['id']}")
    me.page.get_by_label("Reason in your words").fill("stays")
    slow(me, f"**/requests/{second['id']}/?pane=1*", seconds=2)
    with me.page.expect_response(f"**/requests/{second['id']}/?pane=1*"):
        me.row(second).get_by_role("link").click()
        me.row(first).get_by_role("link").click()
    me.page.evaluate("() => new Promise(requestAnimationFrame)")
    me.shows(first)
    expect(me.page.get_by_label("Reason in your words")).to_have_value("stays")


@pytest.mark.long
def test_choosing_another_slip_while_a_verdict_is_on_its_way_mixes_nothing_up(unhurried: Stage, visit: Visit) -> None:
    provider = unhurried.provider("busy-mindra", "mindra", unhurried.agents.mindra)
    kinds = ("refund", "outbound-email", "sql-migration")
    first, second, third = (unhurried.asked(unhurried.start(provider, one))[0] for one in kinds)
    me = visit(unhurried.house)
    me.inbox(f"?provider={provider}&open={first['id']}")
    slow(me, "**/decision/")
    with me.without_reloading():
        me.approve()
        me.row(third).get_by_role("link").click()
        me.shows(third)
        expect(me.page.locator("#undo")).to_contain_text("Approved.")
        me.status("pending")
        expect(me.page.locator("#freeze")).to_be_empty()
        expect(me.row(first)).to_contain_text("approved")
    assert unhurried.request(second["id"])["decision"] is None
    assert unhurried.request(third["id"])["decision"] is None


class Held:
    """Answers of the server that wait on a slow line until they are let go, in any order."""

    def __init__(self, visitor: Visitor, asked: Row) -> None:
        self._page, self._held = visitor.page, dict[str, tuple[Route, APIResponse]]()
        self._page.route(f"**/requests/{asked['id']}/**", self._hold)

    def _hold(self, route: Route) -> None:
        what = {"sign": "stub", "edit": "edit"}.get(route.request.headers.get("hx-target", ""), "page")
        name = "verdict" if route.request.method == "POST" else what
        if name == "page" or name in self._held:
            route.continue_()
        else:
            self._held[name] = route, route.fetch()

    def until(self, *names: str) -> None:
        """Wait until these are on their way."""
        eventually(lambda: self._page.title() and all(name in self._held for name in names))

    def let_go(self, name: str) -> None:
        """The page gets it, and has done with it what it does."""
        route, answer = self._held[name]
        with self._page.expect_response(route.request.url):
            route.fulfill(response=answer)
        self._page.evaluate("() => new Promise((done) => setTimeout(() => requestAnimationFrame(done), 100))")


@pytest.mark.long
@pytest.mark.parametrize("order", [("stub", "verdict"), ("verdict", "stub")])
def test_a_stub_that_crosses_a_verdict_on_a_slow_line_leaves_one_that_tells_what_is(
    unhurried: Stage, visit: Visit, order: tuple[str, str]
) -> None:
    asked = ask(unhurried)
    me = visit(unhurried.house, "joon")
    me.open(asked)
    me.armed()
    held = Held(me, asked)
    with me.without_reloading():
        unhurried.approve(asked, undo_s=600)  # the push of it makes the page ask for its stub
        held.until("stub")
        me.reject_button.click()
        held.until("verdict")
        for name in order:
            held.let_go(name)
        me.status("held")
        expect(me.page.locator("#freeze")).to_contain_text("approved this")
        unhurried.api.delete(f"approvals/{asked['id']}/decision").raise_for_status()
        me.status("pending")  # it is the stub that stands there that goes on changing
        expect(me.page.locator("#sign")).to_have_count(1)


@pytest.mark.long
@pytest.mark.parametrize("order", [("edit", "verdict"), ("verdict", "edit")])
def test_an_edit_that_crosses_a_verdict_on_a_slow_line_does_not_open_behind_it(
    unhurried: Stage, visit: Visit, order: tuple[str, str]
) -> None:
    asked = ask(unhurried, "the-agui", "outbound-email")
    me = visit(unhurried.house)
    me.open(asked)
    me.armed()
    held = Held(me, asked)
    with me.without_reloading():
        me.page.locator("#to-edit").click()
        held.until("edit")
        me.reject_button.click()
        held.until("verdict")
        for name in order:
            held.let_go(name)
        me.status("held")
        expect(me.page.locator("#editing")).to_have_count(0)
    assert unhurried.request(asked["id"])["decision"]["verdict"] == "reject"


# --- keys on a button -------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_enter_presses_a_verdict_that_has_the_focus_but_not_on_a_slip_that_has_just_come_up(
    unhurried: Stage, visit: Visit
) -> None:
    provider = unhurried.provider("enter-mindra", "mindra", unhurried.agents.mindra)
    first, second = (unhurried.asked(unhurried.start(provider, one))[0] for one in ("refund", "outbound-email"))
    me = visit(unhurried.house)
    me.inbox(f"?provider={provider}&open={first['id']}")
    me.ready()
    me.page.evaluate("""
      document.addEventListener("htmx:afterSwap", (event) => {
        if (event.detail.target.id !== "pane") return;
        const button = document.querySelector('#sign button[value="reject"]');
        button.focus();
        button.click();  // what the browser makes of Enter
        window.pressed = true;
      }, { once: true });
    """)
    posts: list[str] = []
    me.page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    me.row(second).get_by_role("link").click()
    me.shows(second)
    me.ready()
    assert me.page.evaluate("window.pressed === true")
    assert posts == []
    me.reject_button.focus()
    me.page.keyboard.press("Enter")
    expect(me.page.locator("#undo")).to_contain_text("Rejected.")
    assert unhurried.becomes(second["id"], "held")["decision"]["verdict"] == "reject"


# --- edited arguments -------------------------------------------------------------------------------------------------


def test_an_edit_is_shown_as_a_difference_and_is_what_runs(on: Stage, visit: Visit) -> None:
    asked = ask(on, "the-agui", "outbound-email")
    wanted = {**asked["tool_input"], "subject": "One last word about the invoice"}
    me = visit(on.house)
    me.open(asked)
    with me.without_reloading():
        me.page.get_by_role("link", name="Edit").click()
        area = me.page.get_by_label("All arguments, as JSON").last
        assert json.loads(area.input_value()) == asked["tool_input"]
        area.fill(dumps(wanted))
        me.page.get_by_role("button", name="Review the change").click()
        changes = me.page.locator("#editing")
        expect(changes).to_contain_text(str(asked["tool_input"]["subject"]))
        expect(changes).to_contain_text("One last word about the invoice")
        expect(me.approve_button).to_contain_text("Approve edit")
        me.approve()
        me.status("delivered")
    me.page.reload()
    expect(me.page.locator(".doc")).to_contain_text("One last word about the invoice")
    last = on.ended(asked["run_id"])
    results = [json.loads(row["data"])["content"] for row in on.events(last["id"], kind="TOOL_CALL_RESULT")]
    assert results == [f"Sent to {wanted['to']}: One last word about the invoice"]
    assert on.did(asked) == (1, 0, 1, 0)


def test_what_was_changed_and_not_reviewed_keeps_approving_off(on: Stage, visit: Visit) -> None:
    asked = ask(on, "the-agui", "outbound-email")
    me = visit(on.house)
    me.open(asked)
    me.ready()
    me.page.get_by_role("link", name="Edit").click()
    me.page.get_by_label("All arguments, as JSON").last.fill('{"to": "nobody@shop.example"}')
    expect(me.approve_button).to_have_attribute("aria-disabled", "true")
    expect(me.page.locator("#why-off")).to_contain_text("review your edit")
    me.page.locator("#cons").focus()
    me.page.keyboard.press("a")
    me.status("pending")
    me.page.get_by_role("link", name="Leave it as it was").click()
    me.approve()
    me.status("delivered")
    assert on.did(asked) == (1, 0, 1, 0)


@pytest.mark.long
def test_an_edit_that_is_no_json_is_refused_where_it_stands(on: Stage, visit: Visit) -> None:
    asked = ask(on, "the-agui", "outbound-email")
    me = visit(on.house)
    me.open(asked)
    me.page.get_by_role("link", name="Edit").click()
    me.page.get_by_label("All arguments, as JSON").last.fill('{"to": ')
    me.page.get_by_role("button", name="Review the change").click()
    expect(me.page.locator("#editing").get_by_role("alert")).to_contain_text("Not an edit yet")
    expect(me.page.get_by_label("All arguments, as JSON").last).to_have_value('{"to": ')
    expect(me.approve_button).not_to_contain_text("Approve edit")
    expect(me.approve_button).to_have_attribute("aria-disabled", "true")
    me.reject("Ask me first")
    on.becomes(asked["id"], "delivered")


# --- a batch ----------------------------------------------------------------------------------------------------------


def test_answers_of_one_run_leave_together(on: Stage, visit: Visit) -> None:
    first, second = on.asked(on.start("the-agui", "account-deletion"), 2)
    me = visit(on.house)
    me.open(first)
    with me.without_reloading():
        me.approve()
        me.status("held")
        expect(me.page.locator("#envelope")).to_contain_text("1 of 2 decided, nothing sent yet")
    assert on.did(first) == on.did(second) == (0, 0, 0, 0)
    me.page.locator("#envelope").get_by_role("link", name="open").click()
    me.shows(second)
    me.live()
    expect(me.page.locator("#envelope")).to_contain_text("1 of 2 decided, nothing sent yet")
    with me.without_reloading():
        me.reject("Too wide")
        me.status("delivered")
        expect(me.page.locator("#envelope")).to_contain_text("all 2 decided")
    on.becomes(first["id"], "delivered")
    assert on.did(first) == (1, 0, 1, 0)
    assert on.did(second) == (0, 1, 0, 1)


# --- what cannot be decided from here, and what is made of parts ------------------------------------------------------


@pytest.mark.long
def test_a_read_only_request_says_where_to_decide_and_its_keys_do_nothing(on: Stage, visit: Visit) -> None:
    provider = "read-only-middesk"  # the account's options say nothing of how an answer looks
    add = ("providers", "add", provider, "--kind", "middesk", "--base-url", on.agents.middesk, "--secret-env", "KEY")
    on.house.command(*add, env={"KEY": "key-for-tests"})
    body = {"provider": provider, "workflow": "cip_orchestrator", "options": {"business_id": BUSINESS}}
    [asked] = on.asked(on.api.post("runs", json=body).raise_for_status().json()["id"])
    me = visit(on.house)
    me.inbox(f"?open={asked['id']}")
    me.open(asked)
    posts: list[str] = []
    me.page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    for path in (f"/?open={asked['id']}", f"/requests/{asked['id']}/"):
        me.go(path)
        me.live()
        expect(me.stub).to_contain_text("Decide in Middesk; this page is read-only.")
        expect(me.stub.get_by_role("button")).to_have_count(0)
        expect(me.page.locator("#payload figure.agent").first).to_contain_text("About all parts")
        expect(me.page.locator("#payload figure.agent").nth(1)).to_contain_text("Part 1 of 3")
        me.page.locator("#cons").focus()
        for key in "are1u":
            me.page.keyboard.press(key)
        expect(me.slip).to_have_attribute("data-request", asked["id"])
    assert posts == []
    plain = visit(on.house, java_script_enabled=False)
    plain.go(f"/requests/{asked['id']}/")
    expect(plain.stub).to_contain_text("Decide in Middesk; this page is read-only.")
    expect(plain.page.locator("form#decide")).to_have_count(0)
    assert on.request(asked["id"])["status"] == "pending"
