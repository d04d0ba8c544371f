"""The hub: one render a flush for everybody, at once when idle, and nobody lost when hints are."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Iterable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.utils.html import format_html

from dashboard import hub as hub_module
from dashboard.hub import COME_LATER, GONE, SESSIONS, Hub
from dashboard.rooms import OWED, Pieced, Pieces
from dashboard.wire import Frame
from streams import announce

IN_TIME_S = 5


class Wall:
    """A room in which a number grows."""

    kind = "wall"
    owes = False
    topics = frozenset({"wall", "wallpaper"})

    def __init__(self) -> None:
        self.number = self.told = 0
        self.rendered: list[str] = []
        self.wholes = 0
        self.asked: list[set[str] | None] = []

    def news(self, told: Collection[str] | None = None) -> str:
        self.asked.append(None if told is None else set(told))
        if self.told == self.number:
            return ""
        self.told = self.number
        self.rendered.append(f"news {self.number}")
        return self.rendered[-1]

    def everything(self, after: int) -> str:
        self.wholes += 1
        return f"all {self.number} after {after}"


class Reader:
    """A socket that keeps what it gets."""

    def __init__(self, key: Hashable = ("s", 1)) -> None:
        self.key, self.after = key, 0
        self.got: list[str] = []
        self.closed: int | None = None
        self.full = self.silent = False
        self.heard = asyncio.Event()

    async def deliver(self, frame: Frame) -> bool:
        if self.full:
            return False
        self.got.append(frame.text)
        self.heard.set()
        return True

    async def shut(self, code: int) -> None:
        self.closed = code
        self.heard.set()

    async def until(self, wanted: Callable[[], Any]) -> None:
        async with asyncio.timeout(IN_TIME_S):
            while not wanted():
                self.heard.clear()
                await self.heard.wait()

    async def reads(self, html: str) -> None:
        await self.until(lambda: self.pieces and self.pieces[-1] == html)

    async def begins(self) -> None:
        await self.until(lambda: self.pieces)

    @property
    def pieces(self) -> list[str]:
        return [said for html in self.got if (said := html.partition("<time")[0])]


async def render(call: Callable[..., Any], *args: Any) -> Any:
    return call(*args)


def admit_all(keys: Iterable[Hashable]) -> set[Hashable]:
    return set(keys)


@asynccontextmanager
async def hub(admit: Callable[[Iterable[Hashable]], set[Hashable]] = admit_all, **options: Any) -> AsyncIterator[Hub]:
    made = Hub(admit, render=options.pop("render", render), beat_s=options.pop("beat_s", 60))
    try:
        yield made
    finally:
        for watcher in list(made._watchers):
            made.leave(watcher)
        await asyncio.sleep(0)


async def seat(hub: Hub, wall: Wall, *readers: Reader) -> None:
    for reader in readers:
        await hub.enter(reader)
        hub.watch(reader, "wall", lambda: wall)
        await reader.begins()


async def test_who_comes_gets_everything_and_then_only_news() -> None:
    wall, reader = Wall(), Reader()
    async with hub() as made:
        await seat(made, wall, reader)
        wall.number = 1
        made.hear(["wall"])
        await reader.until(lambda: len(reader.pieces) == 2)
    assert reader.pieces == ["all 0 after 0", "news 1"]


async def test_one_render_serves_everybody() -> None:
    wall, readers = Wall(), [Reader() for _ in range(50)]
    async with hub() as made:
        await seat(made, wall, *readers)
        wall.number = 1
        made.hear(["wall"])
        for reader in readers:
            await reader.reads("news 1")
    assert wall.rendered == ["news 1"]


async def test_many_hints_become_few_flushes_and_the_last_state_arrives() -> None:
    wall, reader = Wall(), Reader()
    async with hub() as made:
        await seat(made, wall, reader)
        for number in range(1, 1001):
            wall.number = number
            made.hear(["wall"])
        await reader.reads("news 1000")
    assert len(wall.rendered) < 5


@pytest.mark.parametrize(
    ("waited_ms", "rendered_ms", "pause_ms"), [(0, 1, 7), (0, 8, 16), (0, 100, 25), (200, 1, 0), (200, 100, 0)]
)
async def test_a_room_pauses_for_its_own_rendering_and_25_ms_at_most(
    monkeypatch: pytest.MonkeyPatch, waited_ms: int, rendered_ms: int, pause_ms: int
) -> None:
    now_ms = 0

    class Slow(Wall):
        def news(self, told: Collection[str] | None = None) -> str:
            nonlocal now_ms
            now_ms += rendered_ms
            return super().news(told)

    async def later(call: Callable[..., Any], *args: Any) -> Any:
        nonlocal now_ms
        now_ms += waited_ms  # for one of the rendering threads
        return call(*args)

    wall, reader = Slow(), Reader()
    async with hub(render=later) as made:
        await seat(made, wall, reader)
        audience = made._audiences["wall"]
        assert audience.flushing is not None
        await audience.flushing
        monkeypatch.setattr("dashboard.hub.time", SimpleNamespace(monotonic=lambda: now_ms / 1000))
        audience.idle_from = 0.0
        wall.number = 1
        made.hear(["wall"])
        await reader.reads("news 1")
        await audience.flushing
        assert max(round(1000 * audience.idle_from) - now_ms, 0) == pause_ms


async def test_a_room_hears_which_of_its_topics_were_told_since_it_was_asked_last() -> None:
    wall, reader = Wall(), Reader()
    async with hub() as made:
        await seat(made, wall, reader)
        for number, topics in enumerate((["wall"], ["wallpaper", "door"], ["wall", "wallpaper"]), 1):
            wall.number = number
            made.hear(topics)
            await reader.reads(f"news {number}")
        audience = made._audiences["wall"]
        made._wake("wall", audience, None)  # as the beat does
        assert audience.flushing is not None
        await audience.flushing
    assert wall.asked[1:] == [{"wallpaper", "door"}, {"wall", "wallpaper"}, None]


async def test_what_a_room_left_for_later_is_asked_for_a_moment_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.hub.OWED_S", 0.01)

    class Owing(Wall):
        def news(self, told: Collection[str] | None = None) -> str:
            if told is not None and OWED in told:
                self.owes = False
                return f"owed {self.number}"
            self.owes = told is not None
            return super().news(told)

    wall, reader = Owing(), Reader()
    async with hub() as made:
        await seat(made, wall, reader)
        wall.number = 1
        made.hear(["wall"])
        await reader.reads("news 1")
        wall.number = 2
        made.hear(["wallpaper"])
        await reader.reads("owed 2")
    assert reader.pieces[-2:] == ["news 2", "owed 2"]


async def test_hints_arrive_over_the_channel_layer() -> None:
    wall, reader = Wall(), Reader()
    async with hub() as made:
        await seat(made, wall, reader)
        wall.number = 7
        layer: Any = get_channel_layer()  # type: ignore[no-untyped-call]
        await layer.group_send(announce.LIVE, {"type": "live.changed", "topics": ["wall", "other"]})
        await reader.reads("news 7")


async def test_other_topics_wake_nobody() -> None:
    wall, reader = Wall(), Reader()
    async with hub() as made:
        await seat(made, wall, reader)
        wall.number = 1
        made.hear(["other"])
        await asyncio.sleep(0)
        assert reader.pieces == ["all 0 after 0"]


async def test_a_lost_hint_is_made_good_by_the_beat() -> None:
    wall, reader = Wall(), Reader()
    async with hub(beat_s=0.02) as made:
        await seat(made, wall, reader)
        wall.number = 3
        await reader.until(lambda: "news 3" in reader.pieces)


async def test_rooms_that_came_together_are_looked_at_one_after_the_other_and_no_more_once_they_are_left() -> None:
    walls, reader = [Wall() for _ in range(20)], Reader()
    async with hub(beat_s=60) as made:
        await made.enter(reader)
        for place, wall in enumerate(walls):
            made.watch(reader, place, lambda wall=wall: wall)  # type: ignore[misc]
        looks = [audience.looking for audience in made._audiences.values()]
        now = asyncio.get_running_loop().time()
        moments = sorted(look.when() - now for look in looks if look is not None)
        assert len(moments) == 20
        assert 59 <= moments[0] <= moments[-1] <= 120
        assert moments[-1] - moments[0] > 20  # not all at once
        made.leave(reader)
        assert all(look is not None and look.cancelled() for look in looks)


async def test_every_beat_is_a_sign_of_life() -> None:
    reader = Reader()
    async with hub(beat_s=0.01) as made:
        await made.enter(reader)
        await reader.until(lambda: sum('id="beat"' in html for html in reader.got) >= 2)


async def test_who_falls_behind_gets_everything_later_and_holds_up_nobody() -> None:
    wall, slow, quick = Wall(), Reader(), Reader()
    async with hub() as made:
        await seat(made, wall, slow, quick)
        slow.full = True
        for number in (1, 2):
            wall.number = number
            made.hear(["wall"])
            await quick.reads(f"news {number}")
        assert slow.pieces == ["all 0 after 0"]
        slow.full, slow.after = False, 41
        made.catch_up(slow)
        await slow.until(lambda: len(slow.pieces) == 2)
    assert slow.pieces[-1] == "all 2 after 41"
    assert "all 2 after 41" not in quick.pieces


async def test_whose_session_is_over_is_shown_out_and_gets_nothing_more() -> None:
    valid: set[Hashable] = {("s", 1), ("t", 2)}
    wall, gone, stays = Wall(), Reader(("s", 1)), Reader(("t", 2))
    async with hub(lambda keys: set(keys) & valid) as made:
        await seat(made, wall, gone, stays)
        valid.discard(("s", 1))
        made.hear([SESSIONS])
        await gone.until(lambda: gone.closed is not None)
        assert gone.closed == GONE
        wall.number = 1
        made.hear(["wall"])
        await stays.reads("news 1")
    assert gone.pieces == ["all 0 after 0"]


async def test_a_room_that_cannot_be_rendered_comes_back_whole() -> None:
    wall, reader = Wall(), Reader()
    broken = {"now": False}

    async def sometimes(call: Callable[..., Any], *args: Any) -> Any:
        if broken["now"]:
            raise RuntimeError("the database is away")
        return call(*args)

    async with hub(render=sometimes) as made:
        await seat(made, wall, reader)
        broken["now"], wall.number = True, 1
        made.hear(["wall"])
        await asyncio.sleep(0.06)
        broken["now"] = False
        made.hear(["wall"])
        await reader.until(lambda: len(reader.pieces) == 2)
    assert reader.pieces[-1] == "all 1 after 0"


async def test_the_last_socket_takes_the_tasks_and_the_rooms_with_it() -> None:
    wall, reader = Wall(), Reader()
    async with hub() as made:
        await seat(made, wall, reader)
        made.leave(reader)
        assert not made._audiences
        assert not made._tasks
        again = Reader()
        await seat(made, wall, again)
        assert again.pieces == ["all 0 after 0"]


@pytest.mark.parametrize("count", [1, 50])
async def test_the_number_of_renders_does_not_grow_with_the_sockets(count: int) -> None:
    wall = Wall()
    async with hub() as made:
        readers = [Reader() for _ in range(count)]
        await seat(made, wall, *readers)
        before = made.renders("wall")
        wall.number = 1
        made.hear(["wall"])
        for reader in readers:
            await reader.reads("news 1")
        assert made.renders("wall") == before + 1


async def test_who_asks_is_told_everything_anew_and_all_who_ask_by_one_render(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "AGAIN_S", 0.02)
    wall, readers = Wall(), [Reader() for _ in range(20)]
    async with hub() as made:
        await seat(made, wall, *readers)
        before, wall.number = wall.wholes, 1  # and no hint says so
        for reader in readers:
            made.again(reader)
        for reader in readers:
            await reader.reads("all 1 after 0")
        assert wall.wholes == before + 1
        assert all('data-whole="wall"' in reader.got[-1] for reader in readers)


async def test_a_socket_that_never_says_what_it_has_is_closed_and_may_come_again() -> None:
    wall, mute, reader = Wall(), Reader(), Reader()
    async with hub(beat_s=0.02) as made:
        await seat(made, wall, mute, reader)
        mute.silent = True
        await mute.until(lambda: mute.closed is not None)
    assert mute.closed == COME_LATER
    assert reader.closed is None


async def test_a_room_that_cannot_be_rendered_is_tried_again_without_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "TRY_AGAIN_S", 0.02)
    wall, reader, failures = Wall(), Reader(), iter([True, True])

    async def sometimes(call: Callable[..., Any], *args: Any) -> Any:
        if wall.number and next(failures, False):
            raise RuntimeError("the database is away")
        return call(*args)

    async with hub(render=sometimes) as made:
        await seat(made, wall, reader)
        wall.number = 1
        made.hear(["wall"])
        await reader.reads("all 1 after 0")


async def test_a_layer_that_cannot_be_joined_holds_up_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck:
        async def new_channel(self, prefix: str) -> str:
            await asyncio.Event().wait()
            return ""

    monkeypatch.setattr(hub_module, "HEARING_S", 0.02)
    monkeypatch.setattr(hub_module, "get_channel_layer", Stuck)
    wall, reader = Wall(), Reader()
    async with hub(beat_s=0.02) as made:
        await seat(made, wall, reader)
        wall.number = 1
        await reader.until(lambda: "news 1" in reader.pieces)


class Board(Pieced):
    """A room of one piece."""

    kind = "board"
    text = "a"

    def pieces(self) -> Pieces:
        return {"piece": format_html("{}", self.text)}


def test_who_came_while_something_passed_is_told_that_it_is_over() -> None:
    """A newcomer sees the state of the moment; when that goes back to what the others have, it must hear of it too."""
    board = Board(frozenset())
    board.news()
    board.text = "b"
    assert board.everything(0) == "b"
    board.text = "a"
    assert board.news() == "a"
    assert board.news() == ""


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65_535, 65_536])
def test_a_frame_is_one_unmasked_text_message(length: int) -> None:
    made = Frame("é" * (length // 2) + "x" * (length % 2)).bytes
    size = {126: int.from_bytes(made[2:4], "big"), 127: int.from_bytes(made[2:10], "big")}.get(made[1], made[1])
    assert made[0] == 0x81
    assert size == length
    assert len(made) == length + {126: 4, 127: 10}.get(made[1], 2)
