"""The whole job by keyboard, and the keys that must do nothing."""

from collections.abc import Iterable

import pytest
from playwright.sync_api import expect

from tests.browser.visitor import Visit, Visitor
from tests.countersign import eventually
from tests.e2e.stage import Row, Stage

pytestmark = [pytest.mark.long, pytest.mark.browser, pytest.mark.process]


@pytest.fixture(scope="module")
def asks(unhurried: Stage) -> str:
    """A provider of this module's own, so that its requests stand alone in a filtered inbox."""
    return unhurried.provider("keys-mindra", "mindra", unhurried.agents.mindra)


def three(stage: Stage, provider: str) -> list[Row]:
    """Three requests, the oldest first."""
    return [
        stage.asked(stage.start(provider, scenario))[0] for scenario in ("refund", "outbound-email", "sql-migration")
    ]


def clear(stage: Stage, provider: str) -> None:
    """Answer whatever earlier journeys left."""
    for row in stage.api.get("approvals", params={"status": "pending", "provider": provider}).json()["items"]:
        stage.reject(row, undo_s=0)


def opened(me: Visitor) -> str:
    """Which slip is up."""
    return me.slip.get_attribute("data-request") or ""


def press(me: Visitor, keys: Iterable[str]) -> None:
    for key in keys:
        me.page.keyboard.press(key)


def test_approve_reject_undo_and_read_without_a_mouse(unhurried: Stage, asks: str, visit: Visit) -> None:
    clear(unhurried, asks)
    rows = {row["id"]: row for row in three(unhurried, asks)}
    me = visit(unhurried.house)
    me.inbox(f"?provider={asks}")
    with me.without_reloading():
        press(me, "j")
        expect(me.page.locator("#cons")).to_be_focused()
        first = opened(me)
        assert first in rows
        press(me, "j")
        expect(me.slip).not_to_have_attribute("data-request", first)
        second = opened(me)
        press(me, "k")
        me.shows({"id": first})
        press(me, "v")
        expect(me.page.locator("#exact")).to_contain_text(rows[first]["tool_input_text"][:20])
        expect(me.page.locator("#payload")).to_be_hidden()
        press(me, "v")
        expect(me.page.locator("#payload")).to_be_visible()
        me.ready()

        press(me, "a")
        me.shows({"id": second})  # the next one came up, with the focus on its first line
        expect(me.page.locator("#cons")).to_be_focused()
        expect(me.page.locator("#undo")).to_contain_text("Approved.")
        me.ready()
        press(me, "u")
        me.shows({"id": first})
        me.status("pending")
        me.ready()
        press(me, "a")
        me.shows({"id": second})
        me.ready()

        press(me, "2")
        expect(me.page.get_by_role("radio", name="Too wide")).to_be_checked()
        press(me, "r")
        expect(me.slip).not_to_have_attribute("data-request", second)
        expect(me.page.locator("#undo")).to_contain_text("Rejected.")
        third = opened(me)

        later = unhurried.asked(unhurried.start(asks, "shell-command"))[0]
        expect(me.page.locator("#pill")).to_contain_text("1 new")
        press(me, "n")
        expect(me.row(later)).to_be_visible()
        expect(me.page.locator("#say")).to_contain_text("1 added")
        me.shows({"id": third})
    me.ready()
    press(me, "o")
    me.page.wait_for_url(f"**/requests/{third}/")

    yes, no = (unhurried.request(one)["decision"] for one in (first, second))
    assert (yes["verdict"], yes["reason"]) == ("approve", "")
    assert (no["verdict"], no["reason"]) == ("reject", "Too wide")
    assert unhurried.request(third)["status"] == "pending"


def test_a_request_page_takes_the_same_keys(unhurried: Stage, asks: str, visit: Visit) -> None:
    clear(unhurried, asks)
    asked, *_ = three(unhurried, asks)
    me = visit(unhurried.house)
    me.open(asked)
    me.ready()
    press(me, "4")
    press(me, "r")
    me.status("held")
    press(me, "u")
    me.status("pending")
    me.ready()
    press(me, "a")
    me.status("held")
    assert unhurried.request(asked["id"])["decision"]["verdict"] == "approve"


def test_enter_opens_and_never_decides(unhurried: Stage, asks: str, visit: Visit) -> None:
    clear(unhurried, asks)
    asked, *_ = three(unhurried, asks)
    me = visit(unhurried.house)
    me.inbox(f"?provider={asks}")
    me.row(asked).get_by_role("link").focus()
    me.page.keyboard.press("Enter")
    me.shows(asked)
    me.ready()
    posts: list[str] = []
    me.page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    me.page.locator("#cons").focus()
    me.page.keyboard.press("Enter")
    me.page.get_by_role("radio", name="Wrong target").focus()
    me.page.keyboard.press("Space")
    me.page.keyboard.press("Enter")
    me.page.get_by_label("Reason in your words").focus()
    me.page.keyboard.press("Enter")
    expect(me.page.get_by_label("Reason in your words")).to_have_value("\n")
    me.page.keyboard.press("Shift+Tab")
    me.page.keyboard.press("Enter")
    assert posts == []
    me.status("pending")
    assert unhurried.request(asked["id"])["status"] == "pending"


def test_keys_do_nothing_in_a_field_in_a_dialog_or_with_a_modifier(unhurried: Stage, asks: str, visit: Visit) -> None:
    clear(unhurried, asks)
    asked, *_ = three(unhurried, asks)
    me = visit(unhurried.house)
    me.inbox(f"?provider={asks}&open={asked['id']}")
    me.ready()
    posts: list[str] = []
    me.page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    press(me, "/")
    search = me.page.locator("input[type=search]")
    expect(search).to_be_focused()
    press(me, "jaru?")
    expect(search).to_have_value("jaru?")
    me.page.get_by_label("Reason in your words").focus()
    press(me, "ar2jn")
    expect(me.page.get_by_label("Reason in your words")).to_have_value("ar2jn")
    expect(me.page.locator('input[name="because"]:checked')).to_have_count(0)
    me.page.locator("#cons").focus()
    press(me, "?")
    expect(me.page.get_by_role("dialog")).to_be_visible()
    press(me, "ar")
    me.page.keyboard.press("Escape")
    expect(me.page.get_by_role("dialog")).to_be_hidden()
    me.page.locator("#cons").focus()
    for chord in ("Control+r", "Alt+a", "Meta+a"):
        me.page.evaluate(
            "([key, held]) => document.activeElement.dispatchEvent("
            "new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true, [held]: true}))",
            [chord[-1], {"C": "ctrlKey", "A": "altKey", "M": "metaKey"}[chord[0]]],
        )
    me.shows(asked)
    assert posts == []


def test_single_keys_can_be_turned_off(unhurried: Stage, asks: str, visit: Visit) -> None:
    clear(unhurried, asks)
    asked, *_ = three(unhurried, asks)
    me = visit(unhurried.house)
    me.inbox(f"?provider={asks}&open={asked['id']}")
    me.ready()
    press(me, "?")
    me.page.get_by_label("Single keys are on").uncheck()
    me.page.keyboard.press("Escape")
    posts: list[str] = []
    me.page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    press(me, "arjv")
    me.page.reload()
    me.live()
    me.ready()
    press(me, "arjv")
    me.shows(asked)
    expect(me.page.locator("#payload")).to_be_visible()
    assert posts == []


def test_a_press_that_was_meant_for_the_slip_before_decides_nothing(unhurried: Stage, asks: str, visit: Visit) -> None:
    clear(unhurried, asks)
    asked, other, *_ = three(unhurried, asks)
    me = visit(unhurried.house)
    me.inbox(f"?provider={asks}&open={asked['id']}")
    me.ready()
    posts: list[str] = []
    me.page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    me.page.evaluate("""
      document.addEventListener("htmx:afterSwap", (event) => {
        if (event.detail.target.id !== "pane") return;
        for (const key of "aru") document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
        for (const button of document.querySelectorAll("#sign button.v")) button.click();
        window.pressed = true;
      });
    """)
    me.row(other).get_by_role("link").click()
    me.shows(other)
    eventually(lambda: me.page.evaluate("window.pressed === true"), why="the keys were pressed")
    me.ready()
    assert posts == []
    press(me, "a")
    expect(me.page.locator("#undo")).to_contain_text("Approved.")
    assert [url.split("/requests/")[1] for url in posts] == [f"{other['id']}/decision/"]
    assert unhurried.request(asked["id"])["status"] == "pending"


@pytest.mark.parametrize("how", ["Enter", "the button"])
@pytest.mark.parametrize("path", ["/", "/runs/"])
def test_a_filter_chosen_with_keys_is_applied_by_enter_or_the_button_and_not_before(
    unhurried: Stage, asks: str, visit: Visit, path: str, how: str
) -> None:
    unhurried.asked(unhurried.start(asks, "refund"))
    me = visit(unhurried.house)
    me.go(path)
    provider = me.page.get_by_label("Provider")
    with me.without_reloading():
        provider.focus()
        press(me, ["ArrowDown", "ArrowDown", "ArrowUp", asks[0]])
        expect(provider).to_have_value(asks)
        expect(me.page.locator("#main")).to_be_visible()
        assert "provider=" not in me.page.url
    if how == "Enter":
        me.page.keyboard.press("Enter")
    else:
        me.page.get_by_role("button", name="Apply").focus()
        me.page.keyboard.press("Enter")
    me.page.wait_for_url(f"**provider={asks}*")
