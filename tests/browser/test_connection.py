"""A line that is cut, a server that dies: the page says so, decides nothing meanwhile, and catches up by itself."""

import json
import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Route, WebSocketRoute, expect

from tests.browser.visitor import CUT_OFF, EXPECTED, Visit, Visitor
from tests.countersign import eventually
from tests.e2e.stage import Row, Stage
from tests.plugins.figures import Figure

pytestmark = [pytest.mark.browser, pytest.mark.process]


def ask(on: Stage, scenario: str = "refund") -> Row:
    return on.asked(on.start("the-mindra", scenario))[0]


class Line:
    """A socket's line to the server, with what the page acknowledged: (count, what had been brought by then)."""

    def __init__(self, route: WebSocketRoute) -> None:
        self.route, self.brought = route, 0
        self.acknowledged: list[tuple[int, int]] = []
        self._server = route.connect_to_server()
        self._server.on_message(self._bring)
        route.on_message(self._take)

    def _bring(self, frame: str | bytes) -> None:
        self.brought += 1
        self.route.send(frame)

    def _take(self, frame: str | bytes) -> None:
        said = json.loads(frame)
        if said.get("type") == "ack":
            self.acknowledged.append((said["n"], self.brought))
        self._server.send(frame)


def beside_the_queue(on: Stage, visit: Visit, asked: Row) -> Visitor:
    """Somebody with the request open beside the inbox, whose line a test will cut."""
    me = visit(on.house)
    me.expected = EXPECTED + CUT_OFF
    me.inbox(f"?open={asked['id']}")
    me.shows(asked)
    me.ready()
    return me


def nothing_can_be_decided(me: Visitor) -> None:
    """Neither by click nor by key nor by a form that is sent in another way."""
    me.approve_button.click(force=True)
    me.reject_button.click(force=True)
    me.page.locator("#cons").focus()
    me.page.keyboard.press("a")
    me.page.keyboard.press("r")
    me.page.evaluate("document.getElementById('decide').requestSubmit(document.getElementById('approve'))")
    expect(me.approve_button).to_have_attribute("aria-disabled", "true")
    expect(me.page.locator("#why-off")).to_contain_text("Decisions are off until the connection is back.")


def test_an_offline_page_says_so_decides_nothing_and_catches_up(on: Stage, visit: Visit, figure: Figure) -> None:
    asked = ask(on)
    me = beside_the_queue(on, visit, asked)
    with me.without_reloading():
        me.page.get_by_label("Reason in your words").fill("half a sen")
        posts: list[str] = []
        me.page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
        me.context.set_offline(True)
        expect(me.banner).to_contain_text("Offline since")
        nothing_can_be_decided(me)
        later = ask(on, "outbound-email")
        assert posts == []
        me.context.set_offline(False)
        expect(me.banner).to_be_hidden()
        expect(me.page.locator("#pill")).to_contain_text("1 new")
        me.page.locator("#pill").click()
        expect(me.row(later)).to_be_visible()
        expect(me.page.get_by_label("Reason in your words")).to_have_value("half a sen")
        me.ready()
    assert on.request(asked["id"])["status"] == "pending"
    assert on.did(asked) == (0, 0, 0, 0)
    figure("I6", worst=len(posts), n=1, unit="verdicts that left an old page")


def test_a_killed_server_is_noticed_and_what_came_meanwhile_is_shown(on: Stage, visit: Visit) -> None:
    asked, other = ask(on), ask(on, "outbound-email")
    me = beside_the_queue(on, visit, asked)
    with me.without_reloading():
        expect(me.row(other)).to_be_visible()
        on.house.kill()
        expect(me.banner).to_contain_text("Offline since")
        nothing_can_be_decided(me)
        on.restart()
        on.reject(on.request(other["id"]), undo_s=0)
        later = ask(on, "shell-command")
        expect(me.banner).to_be_hidden()
        expect(me.page.locator("#pill")).to_contain_text("1 new")
        me.page.keyboard.press("n")
        expect(me.row(later)).to_be_visible()
        expect(me.row(other).locator('[data-status="pending"]')).to_have_count(0)
        me.shows(asked)
        me.reject("Wrong target")
        on.becomes(asked["id"], "held", "deciding", "sent", "delivered")
    on.becomes(asked["id"], "delivered")
    assert on.did(asked) == (0, 1, 0, 1)


def test_a_socket_that_the_server_ends_comes_back_by_itself(on: Stage, visit: Visit, figure: Figure) -> None:
    asked = ask(on)
    me = visit(on.house)
    met: list[WebSocketRoute] = []

    def pass_on(route: WebSocketRoute) -> None:
        route.connect_to_server()
        met.append(route)

    me.page.route_web_socket("**/ws/**", pass_on)
    me.inbox(f"?open={asked['id']}")
    with me.without_reloading():
        me.page.get_by_label("Reason in your words").fill("half a sen")
        met[0].close(code=1012)
        on.reject(asked, undo_s=0)  # what happened meanwhile is told to the new one
        me.status("delivered")
        expect(me.page.locator("[data-live-word]").first).to_have_text("Live")
        expect(me.banner).to_be_hidden()
        expect(me.page.get_by_label("Your note, not sent")).to_have_value("half a sen")
    assert len(met) == 2
    waits_ms = me.page.evaluate("Array.from({length: 2000}, () => htmx.config.wsReconnectDelay(0))")
    together = max(sum(at <= other < at + 1000 for other in waits_ms) for at in waits_ms)
    assert together <= len(waits_ms) / 4, "pages that lost their sockets together do not come back together"
    figure("I5", worst=round(100 * together / len(waits_ms)), n=len(waits_ms), unit="% of the pages in one second")


@pytest.mark.long
def test_a_page_acknowledges_what_its_present_socket_brought(on: Stage, visit: Visit) -> None:
    asked = ask(on)
    me = visit(on.house)
    me.expected = EXPECTED + CUT_OFF
    lines: list[Line] = []
    polls: list[str] = []
    me.page.on("response", lambda answer: polls.append(answer.url) if "/live/?" in answer.url else None)

    def pass_on(route: WebSocketRoute) -> None:
        if lines and not polls:
            route.close(code=1012)  # until the page has asked by itself: what that brings is no frame of a socket
        else:
            lines.append(Line(route))

    me.page.route_web_socket("**/ws/**", pass_on)
    me.inbox(f"?open={asked['id']}")
    eventually(lambda: me.page.title() and lines[0].acknowledged, why="the first socket's frames are acknowledged")
    lines[0].route.close(code=1012)
    eventually(lambda: me.page.title() and len(lines) == 2 and lines[1].acknowledged, why="the second one's are too")
    on.reject(asked, undo_s=0)
    eventually(lambda: me.page.title() and len(lines[1].acknowledged) > 1, why="and so they go on")
    for line in lines:
        assert all(count <= brought for count, brought in line.acknowledged), "the server ignores such a count"
    assert polls


def filtered(visit: Visit, on: Stage, bring: Callable[[str], bool]) -> Visitor:
    """Somebody at the inbox whose line brings only some of the frames; the page sees an open socket all the time."""
    me = visit(on.house)

    def pass_on(route: WebSocketRoute) -> None:
        server = route.connect_to_server()
        server.on_message(lambda frame: route.send(frame) if bring(str(frame)) else None)

    me.page.route_web_socket("**/ws/**", pass_on)
    return me


@pytest.mark.long
def test_what_a_live_line_never_brought_is_asked_for(on: Stage, visit: Visit, figure: Figure) -> None:
    ask(on)
    cut = False
    people = [
        filtered(visit, on, lambda frame: not cut or "data-whole" in frame),  # the news are lost: the page asks for all
        filtered(visit, on, lambda frame: not cut or frame.startswith("<time")),  # and here that is lost too
    ]
    for me in people:
        me.inbox()
        expect(me.page.locator("#waiting")).to_have_attribute("data-waiting", re.compile("."))
    cut = True
    later, began, worst = ask(on, "outbound-email"), time.monotonic(), 0.0
    for me in people:
        with me.without_reloading():
            expect(me.page.locator("#pill")).to_contain_text("new")
            worst = max(worst, time.monotonic() - began)
            expect(me.page.locator("#waiting")).to_have_attribute("data-waiting", re.compile(later["id"]))
            expect(me.page.locator("[data-live-word]").first).to_have_text("Live")
    figure("I1", worst=round(worst, 1), n=len(people), unit="s until a page is right that heard no news")


@pytest.mark.long
def test_a_late_answer_does_not_undo_what_the_socket_told(on: Stage, visit: Visit) -> None:
    ask(on)
    me = visit(on.house)
    me.expected = EXPECTED + CUT_OFF
    met: list[WebSocketRoute] = []
    held: list[Route] = []

    def pass_on(route: WebSocketRoute) -> None:
        met.append(route)
        if len(met) == 1 or held:
            route.connect_to_server()
        else:
            route.close(code=1012)  # until the page has asked by itself

    me.page.route_web_socket("**/ws/**", pass_on)
    me.page.route("**/live/?*", lambda route: held.append(route) if not held else route.continue_())
    me.inbox()
    met[0].close(code=1012)
    eventually(lambda: me.page.title() and held, why="the page asks by itself")
    old = held[0].fetch()
    later = ask(on, "outbound-email")
    told = re.compile(later["id"])
    expect(me.page.locator("#waiting")).to_have_attribute("data-waiting", told)
    assert later["id"] not in old.text()
    with me.page.expect_event("requestfinished", lambda request: "/live/" in request.url):
        held[0].fulfill(response=old)
    me.page.evaluate("new Promise(requestAnimationFrame)")
    assert told.search(me.page.locator("#waiting").get_attribute("data-waiting") or "")


@pytest.mark.long
def test_a_list_brought_late_hides_nothing_that_was_told_meanwhile(on: Stage, visit: Visit) -> None:
    name = on.provider(f"quiet-mindra-{len(on.started)}", "mindra", on.agents.mindra)
    me = visit(on.house)
    held: list[Route] = []
    me.inbox(f"?provider={name}")
    me.page.route("**/?provider=*", lambda route: held.append(route) if not held else route.continue_())
    first = on.asked(on.start(name, "refund"))[0]
    eventually(lambda: me.page.title() and held, why="an empty inbox brings its first request by itself")
    old = held[0].fetch()
    second = on.asked(on.start(name, "refund"))[0]
    expect(me.page.locator("#waiting")).to_have_attribute("data-waiting", re.compile(second["id"]))
    held[0].fulfill(response=old)
    expect(me.row(first)).to_be_visible()
    expect(me.page.locator("#pill")).to_contain_text("1 new")
    expect(me.row(second)).to_have_count(0)


def test_where_no_socket_opens_everything_works_by_asking(on: Stage, visit: Visit, figure: Figure) -> None:
    asked = ask(on)
    me = visit(on.house)
    me.expected = EXPECTED + CUT_OFF
    me.page.route_web_socket("**/ws/**", lambda route: route.close(code=1008))
    me.go(f"/?open={asked['id']}")
    expect(me.page.locator("[data-live-word]").first).to_have_text("Live, by asking")
    me.shows(asked)
    later = ask(on, "outbound-email")
    expect(me.page.locator("#waiting")).to_have_attribute("data-waiting", re.compile(later["id"]))
    me.reject("Wrong target")
    on.becomes(asked["id"], "delivered")
    assert on.did(asked) == (0, 1, 0, 1)
    figure("I8", worst=0, n=2, unit="acts that need a socket")
