"""The whole job from signing in to signing out, by keyboard alone: every stop is reached by Tab, seen, and pressed."""

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.visitor import Visit, Visitor
from tests.countersign import eventually
from tests.e2e.stage import BUSINESS, Row, Stage, dumps

pytestmark = [pytest.mark.browser, pytest.mark.process]

STOPS = 150  # Tab presses after which nothing can be called reachable
FOCUSED = """
(one) => {
  const at = document.activeElement;
  if (!one || at !== one) return "";
  const box = at.getBoundingClientRect();
  const ringed = (one) => {
    const look = getComputedStyle(one);
    return look.outlineStyle !== "none" && parseFloat(look.outlineWidth) > 0;
  };
  const ring = ringed(at) || (at.closest("label") !== null && ringed(at.closest("label")));
  const inside = box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth;
  return !ring ? "no ring" : !box.width || !box.height || !inside ? "out of sight" : "seen";
}
"""


@pytest.fixture(scope="module")
def asks(unhurried: Stage) -> Iterator[dict[str, str]]:
    """Providers of this journey's own, so that its requests stand alone; no other name begins so."""
    agents = unhurried.agents
    yield {
        "mindra": unhurried.provider("zinc-mindra", "mindra", agents.mindra),
        "agui": unhurried.provider("yew-agui", "agui", agents.agent),
    }


def ask(on: Stage, provider: str, scenario: str, count: int = 1) -> list[Row]:
    return on.asked(on.start(provider, scenario), count)


class Keyboard:
    """Somebody who never touches a pointer."""

    def __init__(self, me: Visitor) -> None:
        self.me, self.page = me, me.page

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def to(self, what: Locator, *, back: bool = False) -> None:
        """Tab until it has the focus, with a ring that can be seen."""
        expect(what).to_be_visible()
        for _ in range(STOPS):
            if look := what.evaluate(FOCUSED):
                assert look == "seen", f"{look}: {what}"
                return
            self.press("Shift+Tab" if back else "Tab")
        raise AssertionError(f"Tab never comes to {what}")

    def push(self, what: Locator, *, back: bool = False) -> None:
        self.to(what, back=back)
        self.press("Enter")

    def open_row(self, row: Row) -> None:
        """Open a request of the queue: one stop of Tab, then arrows."""
        link = self.me.row(row).get_by_role("link")
        expect(link).to_be_visible()
        self.to(self.page.locator('.q-item a:not([tabindex="-1"])').first)
        self.press(*["ArrowUp"] * self.page.locator(".q-item").count())
        for _ in range(STOPS):
            if look := link.evaluate(FOCUSED):
                assert look == "seen", look
                self.press("Enter")
                return
            self.press("ArrowDown")
        raise AssertionError("no arrow leads to the request")

    def choose(self, select: Locator, word: str) -> None:
        """Type the first letter of an option, and apply it."""
        self.to(select)
        self.press(word[0], "Enter")

    def sign_in(self, name: str, password: str) -> None:
        expect(self.page.get_by_label("User name")).to_be_focused()
        self.page.keyboard.type(name)
        self.press("Tab")
        self.page.keyboard.type(password)
        self.press("Enter")
        self.me.live()


def test_the_whole_job_without_a_pointer(unhurried: Stage, asks: dict[str, str], visit: Visit) -> None:
    on = unhurried
    [first] = ask(on, asks["mindra"], "refund")
    [second] = ask(on, asks["mindra"], "sql-migration")
    [mail] = ask(on, asks["agui"], "outbound-email")
    one, other = ask(on, asks["agui"], "account-deletion", 2)
    me = visit(on.house, "")
    hand = Keyboard(me)

    me.go("/")
    hand.sign_in("admin", on.house.password)
    hand.choose(me.page.get_by_label("Provider"), asks["mindra"])
    me.page.wait_for_url(f"**provider={asks['mindra']}**")
    me.live()
    expect(me.page.locator(".q-item")).to_have_count(2)

    # Read one, reject it with a reason and words, and take that back
    hand.press("j")
    me.shows(first)
    hand.press("v")
    expect(me.page.locator("#exact")).to_contain_text(first["tool_input_text"][:20])
    hand.press("v")
    me.ready()
    hand.press("3")
    hand.to(me.page.get_by_label("Reason in your words"))
    me.page.keyboard.type("The parcel arrived.")
    hand.press("Tab", "r")
    me.shows(second)
    assert on.request(first["id"])["decision"]["reason"] == "Not needed. The parcel arrived."
    me.ready()  # a press meant for the slip before does not count
    hand.press("u")
    me.shows(first)
    me.status("pending")
    me.ready()
    hand.press("a")
    me.shows(second)
    assert on.request(first["id"])["decision"]["verdict"] == "approve"

    # Edit another provider's request, alone on its page
    me.inbox(f"?provider={asks['agui']}")
    hand.open_row(mail)
    me.shows(mail)
    me.ready()
    hand.press("o")
    me.page.wait_for_url(f"**/requests/{mail['id']}/")
    me.live()
    me.ready()
    hand.press("e")
    area = me.page.get_by_label("All arguments, as JSON").last
    expect(area).to_be_focused()
    hand.press("Control+A")
    me.page.keyboard.insert_text(dumps({**mail["tool_input"], "subject": "By keyboard"}))
    hand.push(me.page.get_by_role("button", name="Review the change"))
    expect(me.approve_button).to_contain_text("Approve edit")
    hand.push(me.approve_button)
    me.status("held")

    # A batch: one answer, then over to the other, whose answer lets both go
    hand.push(me.page.get_by_role("link", name="Inbox").first, back=True)
    me.live()
    hand.open_row(one)
    me.shows(one)
    me.ready()
    hand.press("o")
    me.page.wait_for_url(f"**/requests/{one['id']}/")
    me.live()
    me.ready()
    hand.press("a")
    me.status("held")
    expect(me.page.locator("#envelope")).to_contain_text("1 of 2 decided, nothing sent yet")
    hand.push(me.page.locator("#envelope").get_by_role("link", name="open"), back=True)
    me.shows(other)
    me.live()
    me.ready()
    hand.press("2", "r")
    me.status("held")
    expect(me.page.locator("#envelope")).to_contain_text("all 2 decided")

    # Its run, an event of it byte for byte, and out
    hand.push(me.page.get_by_role("link", name="Runs").first, back=True)
    me.page.wait_for_url("**/runs/**")
    hand.choose(me.page.get_by_label("Provider"), asks["mindra"])
    me.page.wait_for_url(f"**provider={asks['mindra']}**")
    me.live()
    hand.push(me.page.locator(f'a[href="/runs/{first["run_id"]}/"]'))
    expect(me.page.locator("#timeline .call")).to_be_visible()
    hand.push(me.page.locator("#timeline").get_by_role("link", name="Event 1, exact text"))
    me.page.wait_for_url(f"**/runs/{first['run_id']}/events/1/")
    expect(me.page.locator("main")).to_contain_text(json.loads(on.events(first["run_id"])[0]["data"]).get("text", ""))
    hand.push(me.page.get_by_role("button", name="Sign out").first, back=True)
    expect(me.page.get_by_label("User name")).to_be_focused()

    verdicts = {row["id"]: on.request(row["id"])["decision"]["verdict"] for row in (first, mail, one, other)}
    assert verdicts == {first["id"]: "approve", mail["id"]: "approve", one["id"]: "approve", other["id"]: "reject"}
    assert on.request(second["id"])["status"] == "pending"


@pytest.mark.long
def test_a_run_is_started_and_its_combined_proposals_are_answered_without_a_pointer(
    unhurried: Stage, visit: Visit
) -> None:
    on, me = unhurried, visit(unhurried.house)
    hand = Keyboard(me)
    me.go("/runs/")
    hand.push(me.page.get_by_role("link", name="Start a run").first)
    hand.push(me.page.locator("main").get_by_role("link", name="the-middesk"))
    hand.to(me.page.get_by_label("Agent", exact=True))
    me.page.keyboard.type("cip_orchestrator")
    hand.to(me.page.get_by_label("Business optional", exact=True))
    me.page.keyboard.type(BUSINESS)
    hand.press("Enter")  # as in any form, it starts: nothing is decided here
    me.page.wait_for_url(re.compile("/runs/[0-9a-f-]{36}/$"))
    expect(me.page.locator("#timeline .call")).to_be_visible()
    hand.push(me.page.locator("#timeline").get_by_role("link", name="Open request"))
    me.page.wait_for_url("**/requests/**")
    me.live()
    me.ready()
    for fold in me.page.locator("#exhibit details:not([open]) > summary").all():
        hand.push(fold)
    hand.press("a")
    me.status("held")
    hand.press("u")
    me.status("pending")
    me.ready()
    hand.press("1", "r")
    me.status("held")
    row = on.request(me.page.url.split("/")[-2])
    assert (row["decision"]["verdict"], row["decision"]["reason"]) == ("reject", "Wrong target")


@pytest.mark.long
def test_nothing_traps_the_focus_and_every_stop_can_be_seen(
    unhurried: Stage, asks: dict[str, str], visit: Visit
) -> None:
    """Tab goes once round a request's page and comes back; what it stops at is a control with a name and a ring."""
    [asked] = ask(unhurried, asks["agui"], "outbound-email")
    me = visit(unhurried.house)
    for path in (f"/requests/{asked['id']}/", f"/?open={asked['id']}", f"/runs/{asked['run_id']}/", "/runs/"):
        me.go(path)
        me.live()
        stops: list[str] = []
        for _ in range(STOPS):
            me.page.keyboard.press("Tab")
            at = me.page.locator(":focus")
            if not at.count():  # past the last one: the browser itself has the focus
                break
            stops.append(at.evaluate("(one) => one.outerHTML.slice(0, 120)"))
            assert at.evaluate(FOCUSED) == "seen", f"{path}: {stops[-1]}"
        assert 5 < len(stops) < STOPS, path
        assert len(set(stops)) > 5, path


def test_the_focus_stays_where_it_is_while_the_page_lives(unhurried: Stage, asks: dict[str, str], visit: Visit) -> None:
    """What is pushed never takes the focus, the words or the cursor out of a field."""
    [asked] = ask(unhurried, asks["mindra"], "refund")
    me = visit(unhurried.house)
    me.inbox(f"?provider={asks['mindra']}&open={asked['id']}")
    me.ready()
    field = me.page.get_by_label("Reason in your words")
    field.focus()
    me.page.keyboard.type("half ")
    unhurried.start(asks["mindra"], "shell-command")
    expect(me.page.locator("#pill")).to_contain_text("1 new")
    expect(field).to_be_focused()
    me.page.keyboard.type("a sentence")
    expect(field).to_have_value("half a sentence")
    other = eventually(
        lambda: unhurried.api.get("approvals", params={"status": "pending", "provider": asks["mindra"]}).json()["items"]
    )
    unhurried.reject(next(row for row in other if row["id"] != asked["id"]), undo_s=0)
    expect(field).to_be_focused()
    expect(field).to_have_value("half a sentence")
