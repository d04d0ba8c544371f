"""Rows B6 to B11: what each answer leads to and how often it is asked again, in time that a test can count."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime
from functools import partial
from statistics import fmean
from typing import Any

import httpx
import pytest
from django.test import override_settings

from streams.backoff import ASKED_CAP_S, CAP_S
from streams.client import CallUnanswered, RedirectRefused
from tests.long_form import LONG
from tests.plugins.figures import Figure
from tests.streams.rows import virtual
from tests.streams.rows.virtual import BEGAN, FOREVER, Answer, Stage, answer, refused, stream
from tests.streams.scripted import DONE, frame

HELLO, ASK = frame("text", "hello"), frame("ask", '{"id": "q1", "tool": "send", "input": 1}')
SSE = {"content_type": "text/event-stream"}
SILENCES = ((HELLO, 60.0), (HELLO + b"data: hal", 60.0), (ASK, 600.0))  # the last bytes, and how long is waited
DOUBLING = [0, 1, 3, 7, 15, 31]  # seconds at which is knocked in a minute, where chance draws the longest delays

AGAIN: dict[str, Callable[[], Answer]] = {
    "200, ended before its last word": lambda: stream(HELLO),
    "200, nothing in it": lambda: stream(),
    "200, reset": lambda: stream(HELLO, httpx.ReadError("reset")),
    "200, a type with parameters in any case": lambda: answer(200, HELLO, content_type="Text/Event-Stream;Charset=x"),
    "200, a page": lambda: answer(200, b"<html>", content_type="text/html"),
    "200, JSON": lambda: answer(200, b"{}", content_type="application/json"),
    "200, no type": lambda: answer(200, HELLO),
    "200, compressed": lambda: answer(200, b"\x1f\x8b", content_encoding="gzip", **SSE),
    "200, compressed otherwise": lambda: answer(200, b"\x0b", content_encoding="br", **SSE),
    "a redirect that is not followed": lambda: RedirectRefused("elsewhere"),
    "connection refused": refused,
    "no answer": lambda: CallUnanswered("reset"),
    **{f"{status}": partial(answer, status, b"") for status in (
        201, 202, 206, 300, 304, 400, 402, 405, 406, 408, 409, 415, 418, 422, 425, 451, 500, 501, 502, 503, 504, 599,
    )},
}  # fmt: skip
NO_STREAM = ("page", "JSON", "no type", "compressed", "redirect", *map(str, (201, 202, 206, 300, 304, 400, 402, 405, 406, 409, 415, 418, 422, 451)))  # fmt: skip # noqa: E501
ONCE: dict[str, tuple[Callable[[], Answer], str]] = {
    "200 with its last word": (lambda: stream(HELLO, DONE, FOREVER), ""),
    "200 with its last word, then its end": (lambda: stream(HELLO, DONE), ""),
    "204": (lambda: answer(204), "truncated"),
    "401": (lambda: answer(401, b"no"), "credential"),
    "403": (lambda: answer(403, b"no"), "credential"),
    "404": (lambda: answer(404, b"no"), "lost"),
    "410": (lambda: answer(410, b"no"), "lost"),
}


def _always(make: Callable[[], Answer]) -> Callable[[int], Answer]:
    return lambda _: make()


def test_b6_an_answer_after_which_is_asked_again(monkeypatch: pytest.MonkeyPatch, figure: Figure) -> None:
    for name, given in AGAIN.items():
        one = Stage(monkeypatch, lambda: 1.0).stream(_always(given))
        virtual.run(one.follow(most_s=60))
        assert [round(at) for at in one.wire.connects] == DOUBLING, name
        assert len(one.kept.said("misconfigured")) == any(word in name for word in NO_STREAM), name
        assert one.kept.said("lost", "truncated", "credential", "gap") == [], name
    figure("B6", worst=len(DOUBLING), n=len(AGAIN), unit="connects in 60 s, of answers after which is asked again")


def test_b6_and_b7_an_answer_after_which_nothing_is_asked(monkeypatch: pytest.MonkeyPatch, figure: Figure) -> None:
    worst = 0
    for name, (given, said) in ONCE.items():
        stage = Stage(monkeypatch, lambda: 1.0)
        one = stage.stream(_always(given))
        virtual.run(one.follow(most_s=3600))
        worst = max(worst, len(one.wire.connects) - 1)
        assert one.kept.said("lost", "truncated", "credential", "misconfigured") == ([0.0] if said else []), name
        assert len(one.kept.said(said)) == bool(said), name
        assert stage.refusals == (said == "credential"), name
    assert worst == 0
    figure("B7", worst=worst, n=len(ONCE), unit="connects in the hour after")


def test_a_healthy_stream_begins_the_delays_anew_and_a_short_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    lives = [29.0, 29.0, 29.0, 30.0, 5.0]
    one = Stage(monkeypatch, lambda: 1.0).stream(lambda n: stream(HELLO, lives[n], HELLO) if n < 5 else stream(DONE))
    virtual.run(one.follow())
    waits = [round(b - a - life) for a, b, life in zip(one.wire.connects, one.wire.connects[1:], lives, strict=False)]
    assert waits == [1, 2, 4, 1, 2]


def test_what_the_stream_itself_asks_for_is_a_lower_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Stage(monkeypatch, lambda: 1.0).stream(lambda _: stream(b"retry: 5000\n\n", HELLO))
    virtual.run(one.follow(most_s=60))
    assert [round(at) for at in one.wire.connects] == [0, 5, 10, 15, 23, 39]


def test_b8_delays_are_jittered_over_their_whole_width(monkeypatch: pytest.MonkeyPatch, figure: Figure) -> None:
    count = 1000
    one = Stage(monkeypatch, random.Random(8).random).stream(lambda n: refused() if n < count + 7 else stream(DONE))
    virtual.run(one.follow())
    at = one.wire.connects[6:]
    drawn = sorted(later - before for before, later in zip(at, at[1:], strict=False))[:count]
    distance = max(abs((n + 1) / len(drawn) - delay / CAP_S) for n, delay in enumerate(drawn))
    assert max(drawn) <= CAP_S + 0.03
    assert distance < 1.628 / len(drawn) ** 0.5  # Kolmogorov-Smirnov, p = 0.01
    assert abs(fmean(drawn) - CAP_S / 2) < 0.05 * CAP_S / 2
    figure("B8", worst=round(distance, 4), n=len(drawn), unit=f"KS distance, mean {fmean(drawn):.1f} s", seed=8)


RETRY_AFTER = {
    "20": 20.0, " 7 ": 7.0, "0": 0.0, "1000000000": ASKED_CAP_S, "9" * 300: ASKED_CAP_S, "garbage": 0.0, "-20": 0.0,
    "1.5": 0.0, "": 0.0, "in 30 s": 0.0, "date +40": 40.0, "date -40": 0.0, "date +1000000": ASKED_CAP_S,
}  # fmt: skip


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_b10_retry_after_is_kept_and_never_longer_than_an_hour(
    status: int, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    early = late = 0.0
    for said, wait_s in RETRY_AFTER.items():
        value = said
        if said.startswith("date"):
            value = format_datetime(BEGAN + timedelta(seconds=int(said[5:])), usegmt=True)
        answers: list[Answer] = [answer(status, b"", retry_after=value), stream(DONE)]
        one = Stage(monkeypatch, lambda: 0.5).stream(answers.__getitem__)
        virtual.run(one.follow())
        waited_s = one.wire.connects[1] - one.wire.connects[0]
        early, late = max(early, wait_s - waited_s), max(late, waited_s - max(wait_s, 0.5))
    assert early <= 0
    assert late <= 1.0
    figure("B10", worst=round(max(early, 0), 3), n=len(RETRY_AFTER), unit=f"s too early (HTTP {status})")


def test_b10_each_429_halves_how_often_a_provider_is_knocked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """All streams of the provider together."""
    stage = Stage(monkeypatch, random.Random(10).random)
    streams = [stage.stream(lambda n: answer(429, b"") if n < 6 else stream(DONE)) for _ in range(50)]

    async def follow_all() -> None:
        await asyncio.gather(*(one.follow() for one in streams))

    virtual.run(follow_all())
    connects = sorted(at for one in streams for at in one.wire.connects)
    first, later = [at for at in connects if at < 10], [at for at in connects if 30 <= at < 130]
    assert len(first) < 70  # the first knocks of all of them, and few more
    assert len(later) <= 10


OUTAGES_S = (0.0, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0)


@pytest.mark.parametrize("outage_s", OUTAGES_S)
def test_b9_streams_that_were_lost_together_come_back_spread_over_time(
    outage_s: float, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    """500 streams of one provider, which goes down at second 100 and is up again after an outage."""
    count, down_at, up_at = 500, 100.0, 100.0 + outage_s
    worst, slowest = 0.0, 0.0
    for seed in range(1, 6 if LONG else 2):
        stage = Stage(monkeypatch, random.Random(seed).random)

        def given(_: int) -> Answer:
            at = virtual.now()
            if down_at <= at < up_at:
                return refused()
            return stream(HELLO, down_at - at, httpx.ReadError("reset")) if at < down_at else stream(HELLO, FOREVER)

        streams = [stage.stream(given, stall_s=None) for _ in range(count)]

        async def follow_all(streams: list[virtual.Stream] = streams) -> None:
            await asyncio.gather(*(one.follow(most_s=up_at + 3 * CAP_S) for one in streams))

        with override_settings(RUN_MAX_S=10**9):
            virtual.run(follow_all())
        again = [at - down_at for one in streams for at in one.wire.connects if at >= down_at]
        back = max(one.wire.connects[-1] for one in streams)
        peak = max(Counter(map(int, again)).values())
        worst = max(worst, peak / (len(again) / max(back - down_at, 1.0)))
        slowest = max(slowest, back - up_at)
    assert worst <= 3
    assert slowest <= 2 * CAP_S
    unit = f"peak/mean of connects a second, all back {slowest:.0f} s after an outage of {outage_s:.0f} s"
    figure("B9", worst=round(worst, 2), n=count, unit=unit, seed="1..5" if LONG else 1)


# --- silence --------------------------------------------------------------------------------------------------------


def test_b11_a_stream_that_falls_silent_is_given_up_after_its_limit(
    monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    worst = 0.0
    cases = [(before, *case) for before in (0.0, 1.0, 59.0) for case in SILENCES]
    for before, last, limit_s in cases:
        answers = [stream(b": hi\n", before, last, FOREVER), stream(DONE)]
        one = Stage(monkeypatch, lambda: 0.0).stream(answers.__getitem__)
        virtual.run(one.follow())
        (stalled_at,) = one.kept.said("stalled")
        worst = max(worst, stalled_at - before - limit_s)
        assert stalled_at >= before + limit_s
        assert len(one.wire.connects) == 2
    assert worst <= 2
    figure("B11", worst=round(worst, 3), n=len(cases), unit="s behind the limit until silence was noticed")


def test_b11_any_byte_is_life(monkeypatch: pytest.MonkeyPatch, figure: Figure) -> None:
    """Ten minutes, a byte each 50 seconds."""
    false = 0
    for life in (b": ping\n\n", b":\n", b"\n", b"d"):
        beats = [step for _ in range(12) for step in (50.0, life)]
        one = Stage(monkeypatch, lambda: 0.0).stream(_always(partial(stream, HELLO, *beats, b"\n\n", DONE)))
        virtual.run(one.follow())
        assert len(one.wire.connects) == 1, life
        false += len(one.kept.said("stalled"))
    assert false == 0
    figure("B11", worst=false, n=4, unit="false stalls in 10 min of heartbeats")


def test_b11_a_stream_that_cannot_be_joined_again_is_never_given_up_for_silence(
    monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    never: dict[str, Any] = {"replay": "none", "stall_s": None, "stall_waiting_s": None}
    one = Stage(monkeypatch, lambda: 0.0).stream(lambda _: refused(), **never)
    why = virtual.run(one.read(stream(HELLO, 600.0, HELLO, 6 * 3000.0, DONE)))
    assert (why, one.kept.said("stalled"), one.reader.ended) == ("", [], True)
    other = Stage(monkeypatch, lambda: 0.0).stream(
        lambda _: refused(), replay="none", stall_s=None, stall_waiting_s=None
    )
    assert "360 minutes" in virtual.run(other.read(stream(HELLO, FOREVER, DONE)))
    figure("B11", worst=0, n=1, unit="streams closed in 10 min of silence (AG-UI)")
