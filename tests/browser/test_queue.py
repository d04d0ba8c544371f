"""A live queue under the pointer: nothing that is pushed moves a row, and a click decides what it was on."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Route, expect

from tests.browser.visitor import Visit, Visitor
from tests.countersign import approvals, eventually
from tests.e2e.stage import Row, Stage

pytestmark = [pytest.mark.browser, pytest.mark.process]

RACES = 20
DOUBLE_CLICKS = 10
SCENARIOS = ("refund", "outbound-email", "sql-migration", "shell-command", "access-grant")


def some(on: Stage, provider: str, count: int) -> list[Row]:
    """So many requests that wait, the oldest first."""
    for number in range(count):
        on.start(provider, SCENARIOS[number % len(SCENARIOS)])

    def look() -> list[Row]:
        rows: list[Row] = on.api.get("approvals", params={"status": "pending", "provider": provider}).json()["items"]
        return rows if len(rows) >= count else []

    return eventually(look, why=f"{count} requests of {provider}")


def places(me: Visitor) -> list[list[float]]:
    """Where every row stands."""
    found: list[list[float]] = me.page.evaluate(
        "Array.from(document.querySelectorAll('.q-item'), (one) => {"
        " const at = one.getBoundingClientRect(); return [at.x, at.y, at.width, at.height]; })"
    )
    return found


def test_what_is_new_waits_behind_the_pill_and_moves_nothing(on: Stage, visit: Visit) -> None:
    provider = on.provider("calm-mindra", "mindra", on.agents.mindra)
    rows = some(on, provider, 3)
    me = visit(on.house)
    me.inbox(f"?provider={provider}")
    with me.without_reloading():
        me.row(rows[1]).hover()
        before = places(me)
        on.start(provider, "refund")
        expect(me.page.locator("#pill")).to_contain_text("1 new")
        on.start(provider, "outbound-email")
        expect(me.page.locator("#pill")).to_contain_text("2 new")
        on.reject(rows[1], undo_s=0)  # somebody else decides the one under the pointer: it keeps its place
        expect(me.row(rows[1])).to_contain_text("rejected")
        assert places(me) == before
        me.page.locator("#pill").click()
        expect(me.page.locator(".q-item")).to_have_count(4)
        expect(me.page.locator("#pill")).to_be_hidden()


@pytest.mark.long
def test_a_click_during_a_push_opens_the_row_it_was_on(on: Stage, visit: Visit) -> None:
    provider = on.provider("swap-mindra", "mindra", on.agents.mindra)
    rows = some(on, provider, 4)
    me = visit(on.house)
    me.inbox(f"?provider={provider}")
    with ThreadPoolExecutor(1) as pushing, me.without_reloading():
        for number in range(RACES):
            row = rows[number % len(rows)]
            at = me.row(row).bounding_box()
            assert at
            started = pushing.submit(on.start, provider, "access-grant")
            me.page.mouse.click(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
            me.shows(row)
            started.result()
        expect(me.page.locator("#pill")).to_contain_text(f"{RACES} new")


def test_a_double_click_decides_one_request_while_others_arrive(on: Stage, visit: Visit) -> None:
    provider = on.provider("race-mindra", "mindra", on.agents.mindra)
    rows = {row["id"]: row for row in some(on, provider, DOUBLE_CLICKS + 1)}
    me = visit(on.house)
    me.inbox(f"?provider={provider}")
    me.page.keyboard.press("j")
    decided: list[str] = []
    with ThreadPoolExecutor(1) as pushing, me.without_reloading():
        for number in range(DOUBLE_CLICKS):
            me.ready()
            now = me.slip.get_attribute("data-request") or ""
            button = me.reject_button.bounding_box()
            assert button
            started = pushing.submit(on.start, provider, "access-grant") if number % 4 == 0 else None
            me.page.mouse.dblclick(button["x"] + button["width"] / 2, button["y"] + button["height"] / 2)
            expect(me.slip).not_to_have_attribute("data-request", now)
            decided.append(now)
            if started is not None:
                started.result()
    assert len(set(decided)) == DOUBLE_CLICKS
    for key, row in rows.items():
        assert (on.request(key)["decision"] is not None) == (key in decided), row


def test_the_title_counts_what_waits_by_itself(on: Stage, visit: Visit) -> None:
    asked = on.asked(on.start("the-mindra", "refund"))[0]
    me = visit(on.house)

    def counted() -> bool:
        """Whether the title says what the API says."""
        waiting = sum(len(approvals(on.api, status=status)) for status in ("pending", "unknown"))
        return me.page.title().startswith(f"({waiting}) " if waiting else "Delivered")

    run = f"/runs/{asked['run_id']}/"
    for path, words in (("/", "Inbox"), (run, "Run"), (f"/requests/{asked['id']}/exact/", "Exact")):
        me.go(path)
        expect(me.page).to_have_title(re.compile(rf"^\(\d+\) {words}"))
    me.open(asked)
    expect(me.page).to_have_title(re.compile(r"^\(\d+\) Pending · Request"))
    with me.without_reloading():
        eventually(counted, why="the title counts")
        other = on.asked(on.start("the-mindra", "outbound-email"))[0]
        eventually(counted, why="the title counts one more")
        on.reject(other, undo_s=0)
        on.reject(asked, undo_s=0)
        expect(me.page).to_have_title(re.compile(r"Delivered · Request"))
        eventually(counted, why="the title counts two less")


@pytest.mark.long
def test_the_queue_is_one_stop_for_tab_and_arrows_move_inside(on: Stage, visit: Visit) -> None:
    provider = on.provider("tab-mindra", "mindra", on.agents.mindra)
    rows = some(on, provider, 3)
    me = visit(on.house)
    me.inbox(f"?provider={provider}")
    links = me.page.locator(".q-item a")
    expect(links).to_have_count(3)
    links.first.focus()
    me.page.keyboard.press("ArrowDown")
    expect(links.nth(1)).to_be_focused()
    assert links.evaluate_all("all => all.map((one) => one.tabIndex)") == [-1, 0, -1]
    me.page.keyboard.press("Enter")
    me.shows({"id": (links.nth(1).get_attribute("data-open") or "")})
    links.nth(1).focus()
    me.page.keyboard.press("Tab")
    assert not me.page.evaluate("document.activeElement.matches('.q-item a')")
    assert len(rows) == 3


@pytest.mark.long
def test_keys_on_a_slow_line_go_on_from_the_slip_that_is_on_its_way(on: Stage, visit: Visit) -> None:
    provider = on.provider("slow-mindra", "mindra", on.agents.mindra)
    some(on, provider, 3)
    me = visit(on.house)
    me.inbox(f"?provider={provider}")

    def wait(route: Route) -> None:
        me.page.wait_for_timeout(1000)
        route.continue_()

    me.page.route("**/requests/*/?pane=1*", wait)
    ids = me.page.locator(".q-item a").evaluate_all("all => all.map((one) => one.dataset.open)")
    for _ in range(3):
        me.page.keyboard.press("j")
    me.shows({"id": ids[2]})
    expect(me.page.locator("#cons")).to_be_focused()
