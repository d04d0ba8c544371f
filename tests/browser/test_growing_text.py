"""A page on which an agent's text goes on: it shows what a page opened now shows, and keeps what is selected."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, WebSocket, expect

from dashboard.timeline import BODY_MAX
from tests.browser.typist import Typist, typist
from tests.browser.visitor import Visit, Visitor
from tests.e2e.stage import Stage

pytestmark = [pytest.mark.browser, pytest.mark.process]

READ = """() => Array.from(document.querySelectorAll('#timeline [data-chars]')).map((text) => {
    const entry = text.closest('li');
    return [entry.id, text.dataset.chars, text.textContent, entry.querySelector('.when a').textContent,
            entry.querySelector('[data-caption]').textContent];
})"""


@pytest.fixture
def agent(on: Stage) -> Iterator[Typist]:
    with typist() as made:
        yield made


@pytest.fixture
def me(on: Stage, agent: Typist, visit: Visit, request: pytest.FixtureRequest) -> Visitor:
    """On the page of a run that has begun to tell."""
    name = f"typist-{request.node.name[:40]}"
    on.provider(name, "agui", agent.url)
    run_id = on.api.post("runs", json={"provider": name, "task": "tell"}).json()["id"]
    agent.say("It begins. ")
    made = visit(on.house)
    made.go(f"/runs/{run_id}/")
    made.live()
    expect(made.page.locator("#timeline [data-chars='11']")).to_be_visible()
    return made


def said(page: Page, chars: int) -> None:
    """Wait until the page has so much of the text."""
    expect(page.locator(f"#timeline [data-chars='{chars}']")).to_be_attached()


def as_opened_now(me: Visitor) -> None:
    other = me.context.new_page()
    other.goto(me.page.url)
    assert me.page.evaluate(READ) == other.evaluate(READ)
    other.close()


def test_a_page_adds_what_a_text_grew_by(me: Visitor, agent: Typist) -> None:
    frames: list[str] = []

    def listen(socket: WebSocket) -> None:
        socket.on("framereceived", lambda said: frames.append(str(said)))

    me.page.on("websocket", listen)
    me.page.reload()
    me.live()
    chars = 11
    parts = ["More & <b>more</b>. ", "Grüße, 你好 🎉. ", "word " * (BODY_MAX // 5), "🎉 then ", "on and on. "]
    with me.without_reloading():
        for part in parts:
            agent.say(part)
            chars += len(part)
            said(me.page, chars)
            as_opened_now(me)
    grown = [frame for frame in frames if "data-from=" in frame]
    assert any("on and on. " in frame for frame in grown)
    assert max(map(len, grown)) < 3_000
    expect(me.page.locator("#timeline")).not_to_contain_text("Grüße, 你好 🎉. Grüße")


def test_what_is_selected_stays_selected_while_the_text_goes_on(me: Visitor, agent: Typist) -> None:
    agent.say("A sentence that somebody copies. ")
    said(me.page, 44)
    me.page.evaluate("""() => {
        const words = document.querySelector('#timeline [data-chars] bdi').firstChild;
        getSelection().setBaseAndExtent(words, 0, words, 9);
    }""")
    agent.say("Then it goes on.")
    said(me.page, 60)
    assert me.page.evaluate("() => String(getSelection())") == "It begins"


def test_a_page_that_missed_something_gets_everything(me: Visitor, agent: Typist) -> None:
    agent.say("Something that is lost on the way. ")
    said(me.page, 46)
    me.page.evaluate("""() => {
        const text = document.querySelector('#timeline [data-chars]');
        text.dataset.chars = '11';
        text.querySelector('bdi').textContent = 'It begins. ';
    }""")
    agent.say("The rest.")
    said(me.page, 55)
    as_opened_now(me)
