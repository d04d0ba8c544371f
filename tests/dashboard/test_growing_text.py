"""A text that goes on is told by what it grew by, and every page shows what a page opened now would show."""

import json
import re
from dataclasses import dataclass, field
from html import unescape

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard import hidden
from dashboard.rooms import RunRoom
from dashboard.timeline import BODY_MAX, TAIL
from streams import announce
from streams.models import Run, RunStatus
from tests import factories
from tests.dashboard.telling import tell
from tests.long_form import examples

pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]

PIECE = re.compile(r'<li id="(e-[^"]+)"([^>]*)>(.*?)</li>', re.S)
VALUE = re.compile(r'data-(\w+)="([^"]*)"')
CHARS = re.compile(r'data-chars="(\d+)">(.*?)</div></figure>', re.S)
TEXT = re.compile(r'<bdi class="of-agent">(.*?)</bdi>', re.S)
CUT = re.compile(r'<span class="cut">([^<]*)<')
CAPTION = re.compile(r"data-caption>([^<]*)<")


@dataclass
class Shown:
    """What a page shows of one entry."""

    chars: int
    head: str  # of a text whose middle is left out
    text: str
    caption: str
    cut: str


@dataclass
class Page:
    """A page as static/dashboard/app.js keeps it: pieces are put in place, and what a text grew by is added."""

    entries: dict[str, Shown] = field(default_factory=dict)
    missed: int = 0
    grown: int = 0

    def take(self, html: str) -> None:
        for name, attributes, inner in PIECE.findall(html):
            values = dict(VALUE.findall(attributes))
            if "to" not in values:
                self.entries[name] = _whole(inner)
            elif name not in self.entries:
                self.missed += 1
            else:
                self._grow(self.entries[name], values, unescape(inner))

    def _grow(self, here: Shown, values: dict[str, str], more: str) -> None:
        if here.chars >= int(values["to"]):
            return
        if here.chars < int(values["from"]) or bool(here.cut) != bool(values["cut"]):
            self.missed += 1
            return
        here.text += more[here.chars - int(values["from"]) :]
        if values["keep"]:
            here.text = here.text[-int(values["keep"]) :]
        here.chars, here.caption, here.cut = int(values["to"]), values["caption"], values["cut"]
        self.grown += 1


def _whole(inner: str) -> Shown:
    found = CHARS.search(inner)
    assert found, inner
    cut, caption = CUT.search(found[2]), CAPTION.search(inner)
    *head, text = (unescape(re.sub(r"<[^>]*>", "", part)) for part in TEXT.findall(found[2]))
    return Shown(int(found[1]), "".join(head), text, caption[1] if caption else "", cut[1] if cut else "")


def opened(run: Run) -> Page:
    """A page of the run that is opened now."""
    page = Page()
    page.take(RunRoom.of(run.pk).everything(0))
    return page


def room_of(run: Run) -> RunRoom:
    room = RunRoom.of(run.pk)
    room.everything(0)
    room.news()
    return room


def news(room: RunRoom) -> str:
    return room.news({announce.text_topic(room.run_id)})


def talking(*texts: str) -> tuple[Run, RunRoom, Page]:
    """A run that has said so much, its room, and a page in step."""
    run = factories.run(status=RunStatus.STREAMING)
    for text in texts:
        tell(run, content=text)
    room, page = room_of(run), opened(run)
    tell(run, content="It begins. ")
    page.take(news(room))  # the first news of a text are the whole of it
    return run, room, page


def test_only_what_came_is_told_and_it_stays_text() -> None:
    run, room, page = talking("Hello. ")
    tell(run, content="<b>Bold</b> & on. ")
    told = news(room)
    assert "&lt;b&gt;Bold&lt;/b&gt; &amp; on. " in told
    assert "Hello" not in told
    page.take(told)
    assert page == Page(opened(run).entries, grown=1)
    assert page.entries["e-1"].text == "Hello. It begins. <b>Bold</b> & on. "


def test_a_long_text_keeps_its_head_and_moves_its_tail() -> None:
    run, room, page = talking("a " * (BODY_MAX // 2 - 100))
    for number in range(60):
        tell(run, content=f"and {number} more words. ")
        told = news(room)
        page.take(told)
        assert page.entries == opened(run).entries
    assert page.missed == 0
    assert page.grown == 59  # the whole was told once, when its middle was left out
    assert f'data-keep="{TAIL}"' in told
    assert len(told) < 600


@pytest.mark.parametrize(
    "part",
    ["p\u0430ypal", "zero\u200bwidth", "e\u0301 combined", "\u2764\ufe0f", "\u202eback"],
)
def test_a_text_in_which_something_may_hide_is_told_whole(part: str) -> None:
    """Whether a letter pretends is seen by the word that it stands in, whose other half may have come before."""
    run, room, page = talking("Pay p")
    tell(run, content=part)
    told = news(room)
    assert "It begins" in told
    page.take(told)
    tell(run, content="more")
    page.take(news(room))
    assert page.entries == opened(run).entries
    assert page.grown == 0


def test_text_of_other_languages_grows_as_well() -> None:
    run, room, page = talking("Grüße, 你好 – ")
    tell(run, content="naïve “quotes” 🎉 ")
    page.take(news(room))
    assert page.grown == 1
    assert page.entries == opened(run).entries


def test_arguments_of_a_call_grow_until_it_is_answered() -> None:
    run = factories.run(provider=factories.provider(kind="agui"), status=RunStatus.STREAMING)

    def say(**event: str) -> None:
        tell(run, event["type"], **event)

    say(type="TOOL_CALL_START", toolCallId="c1", toolCallName="search")
    say(type="TOOL_CALL_ARGS", toolCallId="c1", delta='{"q": "in')
    room, page = room_of(run), opened(run)
    for delta in ("voi", "ces", ' of May"}'):
        say(type="TOOL_CALL_ARGS", toolCallId="c1", delta=delta)
        page.take(news(room))
        assert page.entries == opened(run).entries
    assert page.grown == 2
    say(type="TOOL_CALL_RESULT", messageId="m1", toolCallId="c1", content="3 found")
    told = news(room)
    assert "3 found" in told
    assert "in" in told


def test_a_page_that_missed_something_knows_it() -> None:
    run, room, page = talking("One. ")
    tell(run, content="Two. ")
    news(room)  # was lost on the way
    tell(run, content="Three. ")
    page.take(news(room))
    assert page.missed == 1
    page.take(room.everything(0))
    assert page.entries == opened(run).entries
    tell(run, content="Four. ")
    page.take(news(room))
    assert page.entries == opened(run).entries


PARTS = st.one_of(
    st.text(alphabet="ab <&\"'\n", min_size=1, max_size=40),
    st.sampled_from(["ü", "你好", "🎉", "\u0430", "\u200b", "p", "\u0301"]),
    st.integers(1, 9_000).map(lambda count: "word " * (count // 5 + 1)),
)


@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(PARTS, st.sampled_from(["", "flush", "lost", "joins", "again"])), min_size=1, max_size=25))
def test_every_page_shows_what_a_page_opened_now_shows(steps: list[tuple[str, str]]) -> None:
    run = factories.run(status=RunStatus.STREAMING)
    tell(run, content="Begin. ")
    room, pages = room_of(run), [opened(run)]
    for part, then in steps:
        tell(run, content=part)
        if then == "joins":
            pages.append(Page())
        if then in ("joins", "again"):  # one of them gets everything; the others are told with the next flush
            pages[-1].take(room.everything(0))
        if then == "flush":
            told = news(room)
            for page in pages:
                page.take(told)
        if then == "lost":
            told = news(room)
            for page in pages[1:]:
                page.take(told)
    tell(run, content="The end.")  # whoever lost the frame before learns it from this one
    told, anew = news(room), room.everything(0)
    for page in pages:
        page.take(told)
        if page.missed:
            page.take(anew)
        assert page.entries == opened(run).entries


def test_what_is_clean_is_never_marked_whatever_stands_beside_it() -> None:
    for part in ("plain", "Grüße", "你好", "tab\tand\nline"):
        assert hidden.clean(part)
        assert all(not piece.mark for piece in hidden.pieces(f"before {part} behind"))
    for part in ("\u0430", "\u200b", "\u0301", "\r", "\u00a0\u00ad"):
        assert not hidden.clean(part), json.dumps(part)
