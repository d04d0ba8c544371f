"""Rows B1 to B5: cut anywhere and replayed in any way, nothing is lost or doubled, and a gap is shown if it is one."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from streams.models import RunStatus
from tests.faults.proxy import proxy, random_cuts
from tests.long_form import LONG
from tests.plugins.figures import Figure
from tests.streams.holding import fresh, held, hold, house_kinds, provider_events, running
from tests.streams.scripted import DONE, STREAM_HEAD, Answer, Asked, frame, scripted, stream, texts

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_engine]


def words(count: int) -> list[str]:
    return [f"word {n}" for n in range(count)]


def wrong(got: Sequence[str], told: Sequence[str]) -> int:
    """How many are lost, doubled or out of their order."""
    first, second = Counter(got), Counter(told)
    amiss = (first - second).total() + (second - first).total()
    return amiss or sum(one != other for one, other in zip(got, told, strict=True))


@dataclass
class Whole:
    """A run that is over: told from its start, or behind the id that is asked for."""

    frames: list[bytes]
    resumes: bool
    asked: list[str | None] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Answer:
        last = asked.headers.get("last-event-id")
        self.asked.append(last)
        begin = int(last) + 1 if self.resumes and last is not None else 0
        return STREAM_HEAD + b"".join(self.frames[begin:])


async def cut_up(*, count: int, cuts: int, seed: int, ids: bool, resumes: bool) -> tuple[int, set[str], int]:
    """Follow a run whose connections are cut: what is wrong with what was stored, the house's remarks, reconnects."""
    told = Whole([frame("text", word, str(n) if ids else "") for n, word in enumerate(words(count))] + [DONE], resumes)
    size = sum(map(len, told.frames))
    high = 2 * size // cuts if resumes else size
    async with running() as tools, scripted(pick=told) as server:
        with proxy(server.url) as between:
            between.plan = random_cuts(seed, times=cuts, low=1, high=high)
            run = await held(between.url)
            await hold(run, tools)
        got = [data for kind, data in await provider_events(run) if kind == "text"]
        assert (await fresh(run)).status == RunStatus.FINISHED
        return wrong(got, words(count)), set(await house_kinds(run)), run.reconnects


def seeds(long: int) -> list[int]:
    return list(range(1, long + 1)) if LONG else [1]


@pytest.mark.parametrize("resumes", [False, True], ids=["all", "behind-the-id"])
async def test_b1_cuts_of_a_stream_with_ids(resumes: bool, figure: Figure) -> None:
    count, cuts = (10_000, 200) if LONG else (1_000, 20)
    amiss, reconnects = 0, 0
    for seed in seeds(20 if resumes else 2):
        found, kinds, back = await cut_up(count=count, cuts=cuts, seed=seed, ids=True, resumes=resumes)
        assert kinds <= {"connected", "disconnected"}, seed
        amiss, reconnects = max(amiss, found), reconnects + back
    assert amiss == 0
    assert reconnects >= cuts // 4
    figure("B1", worst=amiss, n=reconnects, unit=f"of {count} lost, doubled or moved", seed=seeds(20)[-1])


async def test_b2_cuts_of_a_stream_without_ids_that_is_told_from_its_start(figure: Figure) -> None:
    count, cuts = (10_000, 200) if LONG else (1_000, 20)
    amiss, reconnects = 0, 0
    for seed in seeds(3):
        found, kinds, back = await cut_up(count=count, cuts=cuts, seed=seed, ids=False, resumes=False)
        assert kinds <= {"connected", "disconnected"}, seed
        amiss, reconnects = max(amiss, found), reconnects + back
    assert amiss == 0
    assert reconnects >= cuts // 4
    figure("B2", worst=amiss, n=reconnects, unit=f"of {count} lost, doubled or moved", seed=seeds(3)[-1])


@dataclass
class Live:
    """A run that goes on whether or not we listen. Each connection begins some frames back, or after a hole."""

    chance: random.Random
    frames: list[bytes]
    overlaps: bool
    holes: bool
    connections: int
    position: int = 0  # behind the last frame that was told
    since: int = 0  # where what was told last began: behind the last hole
    true_gaps: int = 0
    joins: int = 0
    told: list[int] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Answer:
        chance = self.chance
        begin = self.position
        if self.position:
            self.joins += 1
            hole = chance.randint(1, 5) if self.holes and chance.random() < 0.4 else 0
            back = chance.randint(1, min(30, self.position - self.since)) if self.overlaps and not hole else 0
            self.true_gaps += bool(hole)
            begin = self.position + hole - back
            self.since = begin if hole else self.since
        end = max(self.position, begin) + chance.randint(1, 20)
        if self.joins >= self.connections:
            end = len(self.frames)
        self.told += range(max(self.position, begin), min(end, len(self.frames)))
        self.position = end
        last = self.frames[end][: chance.randrange(4)] if end < len(self.frames) else b""  # cut within a frame
        return STREAM_HEAD + b"".join(self.frames[begin:end]) + last


@pytest.mark.parametrize("ids", [True, False], ids=["ids", "no-ids"])
@pytest.mark.parametrize("overlaps", [True, False], ids=["overlap", "tail"])
async def test_b3_every_true_gap_is_shown_and_no_false_one(ids: bool, overlaps: bool, figure: Figure) -> None:
    joins = 200 if LONG else 25
    worst, seen = 0, 0
    for seed in seeds(5):
        frames = [frame("text", word, str(n) if ids else "") for n, word in enumerate(words(joins * 25))] + [DONE]
        live = Live(random.Random(seed), frames, overlaps, holes=ids or overlaps, connections=joins)
        async with running() as tools, scripted(pick=live) as server:
            run = await held(server.url)
            await hold(run, tools)
            got = [data for kind, data in await provider_events(run) if kind == "text"]
            marks = (await house_kinds(run)).count("gap")
        expected = live.true_gaps if ids or overlaps else live.joins
        worst = max(worst, abs(marks - expected), wrong(got, [f"word {n}" for n in live.told[:-1]]))
        seen += expected
    assert worst == 0
    how = f"{'overlap' if overlaps else 'tail'}, {'' if ids else 'no '}ids"
    figure("B3", worst=worst, n=seen, unit=f"gaps hidden or false, frames lost or doubled ({how})", seed=seeds(5)[-1])


async def test_b4_a_past_that_differs_is_told_once_and_adds_only_what_differs(figure: Figure) -> None:
    told = words(30)
    cases = [(changed, upto) for changed in (2, 5, 17) for upto in (changed + 1, changed + 4, 30)]
    alerts = []
    async with running() as tools:
        for changed, upto in cases:
            other = [*told[:changed], "another word", *told[changed + 1 :]]
            differing = stream(*texts(other[:upto]))
            async with scripted(stream(*texts(told)), differing, differing, stream(*texts(told), DONE)) as server:
                run = await held(server.url)
                await hold(run, tools)
            got = [data for kind, data in await provider_events(run) if kind == "text"]
            kinds = Counter(await house_kinds(run))
            assert got == [*told, "another word"], (changed, upto)
            assert kinds["gap"] == 0, (changed, upto)
            alerts.append(kinds["divergence"])
    assert set(alerts) == {1}
    figure("B4", worst=max(alerts), n=len(cases), unit="alerts a run, nothing overwritten or doubled")


async def test_b4_a_past_that_differs_under_its_ids(figure: Figure) -> None:
    told = [frame("text", f"w{n}", str(n)) for n in range(30)]
    other = [*told[:17], frame("text", "another", "17"), *told[18:22]]
    async with running() as tools, scripted(stream(*told), stream(*other), stream(*other), stream(DONE)) as server:
        run = await held(server.url)
        await hold(run, tools)
        got = [data for kind, data in await provider_events(run) if kind == "text"]
        kinds = Counter(await house_kinds(run))
    assert got == [*(f"w{n}" for n in range(30)), "another"]
    assert (kinds["divergence"], kinds["gap"]) == (1, 0)
    figure("B4", worst=kinds["divergence"], n=1, unit="alerts, nothing overwritten or doubled (ids)")


async def test_b5_the_last_id_is_sent_left_out_when_empty_and_carried_over(figure: Figure) -> None:
    answers = (
        stream(frame("text", "a")),  # none yet
        stream(frame("text", "a"), frame("text", "b", "7")),
        stream(frame("text", "c")),  # carried over a connection without one
        stream(b": a comment alone\n\n"),
        stream(b"id: 8\n\n"),  # an id alone counts
        stream(b"id:\ndata: d\n\n"),  # an emptied id is none
        stream(frame("text", "e", "9")),
        stream(b"id: 10\ndata: cut before its end\n"),
        stream(DONE),
    )
    async with running() as tools, scripted(*answers) as server:
        run = await held(server.url)
        await hold(run, tools)
        sent = [asked.headers.get("last-event-id") for asked in server.requests]
    expected = [None, None, "7", "7", "7", "8", None, "9", "9"]
    assert sent == expected
    figure("B5", worst=sum(one != other for one, other in zip(sent, expected, strict=True)), n=len(sent), unit="wrong")


async def test_a_gap_that_a_later_replay_shows_is_closed() -> None:
    first, rest = texts(words(6)), texts(words(12)[6:])
    answers = stream(*first), stream(*rest[3:]), stream(*first, *rest), stream(*first, *rest, DONE)
    async with running() as tools, scripted(*answers) as server:
        run = await held(server.url)
        await hold(run, tools)
        kinds = [kind for kind in await house_kinds(run) if kind in ("gap", "covered", "divergence")]
        got = [data for kind, data in await provider_events(run) if kind == "text"]
    assert kinds == ["gap", "covered"]
    assert sorted(got) == sorted(words(12))


async def test_frames_that_wait_between_two_connections_are_not_lost() -> None:
    """What was read and is not stored yet when a connection breaks is stored before the next one is compared."""
    told = [frame("text", word) for word in words(400)]

    async def abort(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + b"".join(told[:300]))
        await writer.drain()
        writer.transport.abort()

    async with running() as tools, scripted(abort, abort, stream(*told, DONE)) as server:
        run = await held(server.url)
        await hold(run, tools)
        got = [data for kind, data in await provider_events(run) if kind == "text"]
    assert got == words(400)
