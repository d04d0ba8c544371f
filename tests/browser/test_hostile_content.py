"""What an agent writes stays text: nothing runs, nothing is fetched, nothing hides, nothing speaks for the house."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.hostile import HIDDEN, PRETENDED, hostile_agent, worst
from tests.browser.visitor import Visit, Visitor
from tests.countersign import eventually
from tests.e2e.stage import Row, Stage

pytestmark = [pytest.mark.long, pytest.mark.browser, pytest.mark.process]

STRAY = """
() => Array.from(document.querySelectorAll(
  "script:not([src]), iframe, link[href*=evil], base, meta[http-equiv], form[action*=evil], a[href*=evil], "
  + "a[href^=javascript], [onerror], [onload], [onfocus], [hx-get*=evil], [ws-connect*=evil], img, style"
), (one) => one.outerHTML.slice(0, 200))
"""
NAMES = """
() => Array.from(document.querySelectorAll("button, input, select, [role], h2, h3, legend, summary, nav a"), (one) =>
  [one.ariaLabel, one.title, one.placeholder, one.matches("button, h2, h3, legend, summary") ? one.textContent : ""]
    .filter(Boolean).join(" "))
"""


@pytest.fixture(scope="module")
def asked(on: Stage) -> Iterator[Row]:
    with hostile_agent() as url:
        on.provider("hostile", "agui", url)
        [row] = on.asked(on.api.post("runs", json={"provider": "hostile", "task": worst()}).json()["id"])
        yield row
        on.reject(row, undo_s=0)
        on.becomes(row["id"], "delivered", "unknown", "refused_by_provider", "stale")


def inert(me: Visitor) -> None:
    """Nothing of the agent's became markup or a name of ours."""
    assert me.page.evaluate(STRAY) == []
    assert "APPROVED" not in me.page.title()
    assert "canary" not in me.page.title()
    names: list[str] = me.page.evaluate(NAMES)
    assert [name for name in names if "canary" in name or PRETENDED in name or "\u202e" in name] == []
    assert me.page.evaluate("({}).polluted === undefined")
    raw = me.page.evaluate("document.body.innerText + document.title")
    assert [name for name, text in HIDDEN.items() for char in text if ord(char) > 0x2000 and char in raw] == []


def test_a_request_shows_it_as_text_and_exposes_what_hides(on: Stage, asked: Row, visit: Visit) -> None:
    me = visit(on.house)
    me.open(asked)
    inert(me)
    payload = me.page.locator("#payload")
    expect(payload).to_contain_text("<script>canary('script')</script>")
    for name in HIDDEN:
        expect(payload.locator(".hid", has_text=name).first).to_be_attached()
    me.page.locator("#to-exact").click()
    expect(me.page.locator("#exact")).to_contain_text("canary('img')")
    inert(me)
    for path in ("exact/", "?parts=all", "?edit=1"):
        me.go(f"/requests/{asked['id']}/{path}")
        inert(me)


def test_every_word_of_the_agent_stands_in_its_own_frame(on: Stage, asked: Row, visit: Visit) -> None:
    me = visit(on.house)
    me.open(asked)
    outside = me.page.evaluate(
        """(said) => {
          const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
          for (let node = walk.nextNode(); node; node = walk.nextNode())
            if (node.data.includes(said) && !node.parentElement.closest("figure.agent, .of-agent, bdi"))
              found.push(node.parentElement.outerHTML.slice(0, 200));
          return found;
        }""",
        "APPROVED by admin",
    )
    assert outside == []


def test_the_inbox_and_the_lists_show_it_as_text(on: Stage, asked: Row, visit: Visit) -> None:
    me = visit(on.house)
    for path in (f"/?open={asked['id']}", "/?provider=hostile", "/runs/", "/?q=%3Cscript%3Ecanary(1)%3C/script%3E"):
        me.go(path)
        me.live()
        inert(me)


def test_a_run_shows_it_as_text_on_the_page_and_over_the_socket(on: Stage, asked: Row, visit: Visit) -> None:
    me = visit(on.house)
    me.go(f"/runs/{asked['run_id']}/")
    me.live()
    inert(me)
    expect(me.page.locator("#timeline")).to_contain_text("<svg/onload=canary('svg')>")
    seqs = [row["seq"] for row in on.events(asked["run_id"])]
    for seq in (seqs[0], seqs[2], seqs[-1]):
        me.go(f"/runs/{asked['run_id']}/events/{seq}/")
        inert(me)
    queued = on.api.post("runs", json={"provider": "hostile", "task": worst()}).json()["id"]
    me.go(f"/runs/{queued}/")
    expect(me.page.locator("#timeline .call")).to_be_visible()
    inert(me)


def test_what_the_agent_says_at_the_end_stays_text(on: Stage, visit: Visit) -> None:
    with hostile_agent() as url:
        on.provider("hostile-end", "agui", url)
        [row] = on.asked(on.api.post("runs", json={"provider": "hostile-end", "task": "end"}).json()["id"])
        me = visit(on.house)
        me.open(row)
        me.reject()
        me.status("delivered", "unknown", "refused_by_provider")
        inert(me)
        last = on.ended(row["run_id"], "failed")
    me.go(f"/runs/{last['id']}/")
    expect(me.page.locator("#run-state")).to_contain_text("canary('script')")
    inert(me)


def test_the_emulators_odd_message_is_signed_only_when_all_was_opened(on: Stage, visit: Visit) -> None:
    asked = on.asked(on.start("the-agui", "odd-characters"))[0]
    me = visit(on.house)
    me.open(asked)
    inert(me)
    expect(me.stub).to_contain_text("Approving opens when everything was opened.")
    me.page.get_by_role("link", name="Open everything").click()
    me.live()
    inert(me)
    me.approve()
    me.status("delivered")
    assert on.did(asked) == (1, 0, 1, 0)


@pytest.mark.parametrize("form", ["unparsable", "duplicate-keys", "lone-surrogate", "huge-float", "deep", "nul"])
def test_an_odd_payload_has_no_approve_that_works(on: Stage, visit: Visit, form: str) -> None:
    asked = on.asked(on.start("the-mindra", "refund", faults=f"fault:payload={form}"))[0]
    me = visit(on.house)
    me.open(asked)
    inert(me)
    expect(me.page.locator("#payload")).to_be_visible()
    expect(me.page.get_by_text("Uninspectable")).to_be_visible()
    expect(me.approve_button).to_have_count(0)
    expect(me.stub).to_contain_text("Cannot be approved")
    expect(me.stub.get_by_role("button", name="Approve")).to_have_attribute("aria-disabled", "true")
    eventually(lambda: rejected(me), why="the page takes a click")
    on.becomes(asked["id"], "delivered")
    effects = on.agents.effects(run=on.run(asked["run_id"])["external_id"])
    assert [(row["executed"], row["skipped"]) for row in effects] == [(0, 1)]


def rejected(me: Visitor) -> bool:
    """Press Reject, until the slip has settled and takes it."""
    me.page.evaluate("document.querySelector('#sign button[value=reject]')?.click()")
    return me.stub.get_attribute("data-status") != "pending"
