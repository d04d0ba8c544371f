"""Reading a run itself: what each answer means, what is stored of it, and how often it is asked."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from streams import providers, readback
from streams.errors import StaleEpoch
from streams.events import Asked
from streams.holder import Holder
from streams.models import Event, Lease, Run, RunStatus
from streams.pace import CONNECTS_AT_ONCE, Pace, Urgency
from streams.providers.base import MISREAD, READ_BACK
from tests.streams.holding import (
    fresh,
    held,
    hold,
    house_kinds,
    ignore,
    in_database,
    provider_events,
    provider_of,
    running,
)
from tests.streams.middesk_frames import RUN_ID, asking, frame, interrupt, run, snapshot
from tests.streams.scripted import Answer, Scripted, plain, scripted, silence, staying, stream
from tests.streams.scripted import Asked as Request
from tests.streams.scripted import frame as sse

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_engine]
SECRET = "mk_test_canary_0123456789"
WAITS = asking(interrupt())
BEGUN = sse("RUN_STARTED", frame("RUN_STARTED").data)
ENDS = sse("RUN_FINISHED", frame("RUN_FINISHED").data)
ASKS = sse("STATE_SNAPSHOT", snapshot(WAITS).data)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readback, "SPACE_S", 0.01)
    monkeypatch.setattr(readback, "GONE_S", 0.05)
    monkeypatch.setattr(readback, "LINGER_S", 0.2)
    middesk: Any = providers.get("middesk")
    can = replace(middesk.capabilities, poll_s=0.02, calls_per_s=None)
    monkeypatch.setattr(type(middesk), "capabilities", can)


def body(text: str, status: int = 200) -> bytes:
    return plain(status, text, content_type="application/json")


class Middesk:
    """Answers to the stream's GET and to the run's own, each in turn, the last one again and again."""

    def __init__(self, streams: list[Answer], runs: list[Answer]) -> None:
        self.streams, self.runs = streams, runs
        self.read_at: list[float] = []  # the loop's time of each reading
        self.joined = 0

    def pick(self, asked: Request) -> Answer:
        if asked.path.endswith("/stream"):
            self.joined += 1
            return self.streams[min(self.joined, len(self.streams)) - 1]
        assert asked.path == f"/v1/runs/{RUN_ID}?include=steps"
        assert asked.headers["authorization"] == f"Bearer {SECRET}"
        self.read_at.append(asyncio.get_running_loop().time())
        return self.runs[min(len(self.read_at), len(self.runs)) - 1]


@asynccontextmanager
async def serving(streams: list[Answer], runs: list[Answer]) -> AsyncIterator[tuple[Middesk, Scripted]]:
    made = Middesk(streams, runs)
    async with scripted(pick=made.pick) as server:
        yield made, server


async def started(server: Scripted, **fields: Any) -> Run:
    """A run of ours whose start was answered."""
    fields = {"status": RunStatus.CONNECTING, "opened_at": timezone.now(), **fields}
    return await held(server.url, kind="middesk", secret=SECRET, external_id=RUN_ID, **fields)


def stored(run: Run) -> list[tuple[str, bool]]:
    told = Event.objects.filter(run=run, source="provider", ordinal=None).order_by("seq")
    return list(told.values_list("kind", "marked"))


async def until(is_true: Callable[[], Any]) -> None:
    while not is_true():
        await asyncio.sleep(0.01)


async def end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def slowly(writer: asyncio.StreamWriter) -> None:
    """The head of an answer, and its body never."""
    writer.write(b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n{")
    await writer.drain()
    await asyncio.Event().wait()


NOTHING_LEARNED: dict[str, Answer] = {
    "500": plain(500),
    "503 with Retry-After": plain(503, retry_after="0"),
    "429": plain(429, retry_after="garbage"),
    "408": plain(408),
    "204": plain(204),
    "302": plain(302, location="http://elsewhere.example/"),
    "302 to nowhere": plain(302, location="http://[broken/"),
    "418": plain(418),
    "no answer": silence,
    "a web page": plain(200, "<!doctype html><title>Sign in</title>", content_type="text/html"),
    "half a body": b"HTTP/1.1 200 X\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{",
    "not JSON": body("{"),
    "an empty body": body(""),
    "a list": body("[]"),
    "errors": body('{"errors":[{"message":"not now"}]}'),
    "another run": body(run("completed").replace(RUN_ID, "another")),
    "huge": body(" " * 70_000 + run("completed")),
    "slow": slowly,
    "compressed": plain(200, "x", content_encoding="gzip"),
    "not UTF-8": plain(200, b"\xff\xfe{}"),
}


@pytest.mark.parametrize("answer", NOTHING_LEARNED.values(), ids=NOTHING_LEARNED)
async def test_nothing_is_concluded_before_the_run_itself_could_be_read(
    answer: Answer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EVENT_MAX_BYTES = 60_000
    monkeypatch.setattr(readback, "READ_S", 0.5)
    finished = stream(BEGUN, sse("RUN_FINISHED", frame("RUN_FINISHED").data))
    async with running() as tools, serving([finished], [answer, answer, body(run("completed"))]) as (seen, server):
        one = await started(server)
        await hold(one, tools)
        assert (await fresh(one)).status == RunStatus.FINISHED
        assert len(seen.read_at) == 3
        kinds = await in_database(stored, one)
        assert kinds[-1] == (READ_BACK, False)
        assert set(kinds[:-1]) <= {(MISREAD, True)}
        assert len(kinds) <= 2  # the same again is not stored again


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_credential_stops_the_holding_and_is_told(status: int) -> None:
    async with running() as tools, serving([stream(BEGUN)], [plain(status)]) as (seen, server):
        one = await started(server)
        await hold(one, tools)
        assert (await provider_of(one)).credential_refused_at is not None
        assert (await house_kinds(one)).count("credential") == 1
        assert (await fresh(one)).ended_at is None
        assert len(seen.read_at) == 1


@pytest.mark.parametrize("gone", [404, 410])
async def test_a_run_is_lost_only_where_the_run_itself_is_gone(gone: int) -> None:
    async with running() as tools, serving([plain(gone)], [plain(gone)]) as (seen, server):
        one = await started(server)
        await hold(one, tools)
        assert (await fresh(one)).status == RunStatus.LOST
        assert one.error == f"The provider no longer knows this run (HTTP {gone})."
        assert len(seen.read_at) == 2  # a new run may take a moment to appear


async def test_a_run_that_was_not_there_at_once_is_not_lost() -> None:
    async with (
        running() as tools,
        serving([plain(404), stream(BEGUN)], [plain(404), body(run("completed"))]) as (
            _,
            server,
        ),
    ):
        one = await started(server)
        await hold(one, tools)
        assert (await fresh(one)).status == RunStatus.FINISHED


@pytest.mark.parametrize(
    "no_stream", [plain(404), plain(410), plain(204), stream(), plain(200, "x", content_type="a/b")]
)
async def test_a_stream_that_is_no_longer_kept_leaves_the_run_to_be_read(no_stream: Answer) -> None:
    facts: list[Any] = []
    answers: list[Answer] = [body(WAITS), body(WAITS), body(run("completed"))]
    async with (
        running(lambda told: facts.extend(fact for one in told for fact in one.facts)) as tools,
        serving([no_stream], answers) as (_, server),
    ):
        one = await started(server)
        await hold(one, tools)
        assert (await fresh(one)).status == RunStatus.FINISHED
        assert [fact.call_id for fact in facts if isinstance(fact, Asked)] == ["int-9"]


async def test_a_run_whose_stream_is_open_is_not_lost_whatever_its_own_address_says() -> None:
    async with running() as tools, serving([staying(BEGUN, ASKS)], [plain(404)]) as (seen, server):
        one = await started(server)
        task = asyncio.create_task(hold(one, tools))
        await until(lambda: len(seen.read_at) > 6)
        await end(task)
        assert (await fresh(one)).status == RunStatus.WAITING
        assert (await house_kinds(one)).count("unread") == 1


async def test_a_waiting_run_is_read_now_and_then_and_stored_once() -> None:
    async with running() as tools, serving([staying(BEGUN, ASKS)], [body(WAITS)]) as (seen, server):
        one = await started(server)
        task = asyncio.create_task(hold(one, tools))
        await until(lambda: len(seen.read_at) > 5)
        await end(task)
        assert await in_database(stored, one) == [(READ_BACK, False)]
        assert seen.joined == 1


async def test_a_silent_run_is_read_though_nothing_on_its_stream_asks_for_it() -> None:
    async with running() as tools, serving([staying(BEGUN)], [body(WAITS), body(run("completed"))]) as (_, server):
        one = await started(server)
        await hold(one, tools)
        assert (await fresh(one)).status == RunStatus.FINISHED


async def test_a_run_that_waits_is_not_joined_again_and_again() -> None:
    """Its provider closes the stream at the question: until somebody answers there is nothing on it."""
    async with running() as tools, serving([stream(BEGUN, ASKS)], [body(WAITS)]) as (seen, server):
        one = await started(server)
        task = asyncio.create_task(hold(one, tools))
        await until(lambda: len(seen.read_at) > 5)
        await end(task)
        assert seen.joined == 1


def test_polls_become_rarer_while_nothing_changes_and_never_rarer_than_about_a_minute() -> None:
    waits = [readback.poll_s(10.0, unchanged=count, chance=0.0) for count in range(100)]
    assert waits[0] == 10.0
    assert waits == sorted(waits)
    assert waits[-1] == 60.0
    assert readback.poll_s(10.0, unchanged=0, chance=0.999) < 13


async def test_retry_after_is_honoured() -> None:
    later = plain(429, retry_after="1")
    async with running() as tools, serving([stream(BEGUN)], [later, body(run("completed"))]) as (seen, server):
        one = await started(server)
        await hold(one, tools)
        assert seen.read_at[1] - seen.read_at[0] >= 0.99


async def test_a_reading_is_dated_by_when_it_was_asked_for() -> None:
    """So that it proves nothing about an answer that left while it was on its way."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        asked.set()
        await go_on.wait()
        writer.write(body(WAITS))

    async with running() as tools, serving([staying(BEGUN)], [late]) as (_, server):
        one = await started(server)
        task = asyncio.create_task(hold(one, tools))
        await asked.wait()
        sent_at = timezone.now()
        go_on.set()
        dated: list[datetime] = []

        def look() -> None:
            dated.extend(Event.objects.filter(run=one, kind=READ_BACK).values_list("received_at", flat=True))

        while not dated:
            await in_database(look)
            await asyncio.sleep(0.01)
        await end(task)
        assert dated[0] < sent_at


async def test_the_secret_is_in_no_row_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    echo: list[Answer] = [plain(400, f"no {SECRET}"), plain(302, location=f"http://x/{SECRET}"), plain(401)]
    async with running() as tools, serving([stream(BEGUN)], echo) as (_, server):
        one = await started(server)
        await hold(one, tools)
        rows = str(await in_database(lambda: list(Event.objects.filter(run=one).values_list("payload"))))
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpcore", "hpack"))]
    assert SECRET not in rows + "".join(ours)


async def test_a_broken_frame_makes_the_run_be_read() -> None:
    facts: list[Any] = []
    async with (
        running(lambda told: facts.extend(fact for one in told for fact in one.facts)) as tools,
        serving([staying(BEGUN, sse("STATE_SNAPSHOT", "{"))], [body(WAITS), body(run("error"))]) as (_, server),
    ):
        one = await started(server)
        await hold(one, tools)
        assert [fact.call_id for fact in facts if isinstance(fact, Asked)] == ["int-9"]
        assert (await fresh(one)).status == RunStatus.FAILED


async def test_a_stale_holder_reads_and_writes_nothing_more() -> None:
    changing: list[Answer] = [body(asking(interrupt(f"int-{count}"))) for count in range(1000)]
    async with running(ignore) as tools, serving([staying(BEGUN)], changing) as (seen, server):
        one = await started(server)
        task = asyncio.create_task(hold(one, tools))
        await until(lambda: seen.read_at)
        await in_database(Lease.objects.filter(run=one).update, epoch=2)
        with pytest.raises(StaleEpoch):
            await task


async def test_a_reading_that_somebody_waits_for_waits_for_no_turn() -> None:
    pace, account = Pace(), UUID(int=1)
    async with asyncio.timeout(20):
        async with pace.turn(account, per_s=0.001):
            pass
        async with pace.turn(account, per_s=0.001, urgency=Urgency.HURRY):
            pass
        queued = asyncio.ensure_future(pace.turn(account, per_s=0.001).__aenter__())
        await asyncio.sleep(0)
        assert not queued.done()
        queued.cancel()


async def test_who_hurries_waits_only_for_others_who_do() -> None:
    pace, account, took = Pace(), UUID(int=1), list[float]()
    loop = asyncio.get_running_loop()

    async def one(urgency: Urgency) -> None:
        async with pace.turn(account, per_s=50, urgency=urgency):
            took.append(loop.time())

    async with asyncio.timeout(20):
        waiting = [asyncio.create_task(one(Urgency.WANTED)) for _ in range(300)]
        await asyncio.sleep(0)
        before = loop.time()
        await asyncio.gather(*(one(Urgency.HURRY) for _ in range(11)))
        assert loop.time() - before >= 10 / 50  # a storm of webhooks is no storm of requests
        assert not all(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


async def test_what_somebody_wants_goes_before_what_is_only_routine() -> None:
    pace, account, order = Pace(), UUID(int=1), list[str]()

    async def one(name: str, urgency: Urgency) -> None:
        async with pace.turn(account, per_s=100, urgency=urgency):
            order.append(name)

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for name, urgency in (
            ("first", Urgency.ROUTINE), ("look", Urgency.ROUTINE), ("join", Urgency.WANTED), ("start", Urgency.START)
        ):  # fmt: skip
            group.create_task(one(name, urgency))
    assert order == ["first", "start", "join", "look"]


async def test_what_is_only_routine_comes_to_its_turn_however_many_join_their_streams() -> None:
    """Streams that were lost together may come back for minutes, and a run must be read meanwhile."""
    pace, account, order = Pace(), UUID(int=1), list[str]()

    async def joins() -> None:
        while "look" not in order:
            async with pace.turn(account, per_s=200, urgency=Urgency.WANTED):
                order.append("join")

    async def looks() -> None:
        async with pace.turn(account, per_s=200, urgency=Urgency.ROUTINE):
            order.append("look")

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(joins())
        group.create_task(looks())
    assert order.index("look") < 4 * (10 + 2)


async def test_a_turn_that_nobody_waits_for_any_more_is_given_to_the_next() -> None:
    pace, account = Pace(), UUID(int=1)
    async with asyncio.timeout(20):
        async with pace.turn(account, per_s=20):
            pass
        gone = [asyncio.ensure_future(pace.turn(account, per_s=0.0001).__aenter__()) for _ in range(5)]
        await asyncio.sleep(0)
        for one in gone:
            one.cancel()
        async with pace.turn(account, per_s=20):
            pass


async def test_an_account_that_never_answers_keeps_no_turns_of_another() -> None:
    pace = Pace()
    async with asyncio.timeout(20), AsyncExitStack() as held_up:
        for _ in range(CONNECTS_AT_ONCE):
            await held_up.enter_async_context(pace.turn(UUID(int=1)))
        async with pace.turn(UUID(int=2)):
            pass


async def test_a_nudge_is_heeded_though_a_routine_look_waits_in_line() -> None:
    """A thousand waiting runs of an account: whoever answered one of them is not told after all the others."""
    async with running() as tools, serving([staying(BEGUN, ASKS)], [body(WAITS)]) as (seen, server):
        one = await started(server)
        holder = Holder(one.pk, 1, tools)
        task = asyncio.create_task(holder.hold())
        await until(lambda: len(seen.read_at) > 2)
        line = tools.pace._line(one.provider_id)
        line.rate.wait_s(asyncio.get_running_loop().time(), least_s=1000.0)
        await until(lambda: line.waiting)
        count = len(seen.read_at)
        wished = holder._bell.heard
        assert wished is not None
        for later_s in range(3):
            wished(timezone.now() + timedelta(seconds=later_s))
            await asyncio.sleep(0)  # what is on its way to the front is asked for once more
        await until(lambda: len(seen.read_at) > count)
        await end(task)


async def test_an_old_nudge_does_not_make_a_new_holder_hurry() -> None:
    async with running() as tools, serving([staying(BEGUN, ASKS)], [body(WAITS)]) as (seen, server):
        one = await started(server)
        task = asyncio.create_task(hold(one, tools))
        await until(lambda: len(seen.read_at) > 2)
        await end(task)
        line, count = tools.pace._line(one.provider_id), len(seen.read_at)
        line.rate.wait_s(asyncio.get_running_loop().time(), least_s=1000.0)
        await in_database(Run.objects.filter(pk=one.pk).update, nudged_at=timezone.now())
        later = replace(tools, now=lambda: timezone.now() + timedelta(hours=1))
        await in_database(Event.objects.filter(run=one).update, received_at=timezone.now() - timedelta(hours=1))
        task = asyncio.create_task(hold(one, later))
        await until(lambda: line.waiting == 2)  # to join the stream, and to look
        assert len(seen.read_at) == count
        await end(task)


@pytest.mark.parametrize("over", [stream(BEGUN, ENDS), plain(404), plain(204)], ids=["finished", "404", "204"])
async def test_a_stream_that_is_over_with_its_run_is_not_joined_once_more(over: Answer) -> None:
    async with running() as tools, serving([over], [body(run("completed"))]) as (seen, server):
        one = await started(server)
        await hold(one, tools)
        assert (await fresh(one)).status == RunStatus.FINISHED
        assert seen.joined == 1


@pytest.mark.parametrize("waits", [0, 1, 2])
async def test_a_stream_that_was_closed_at_the_question_is_joined_for_the_end(
    monkeypatch: pytest.MonkeyPatch, waits: int
) -> None:
    monkeypatch.setattr(readback, "LINGER_S", 60.0)
    streams: list[Answer] = [stream(BEGUN, ASKS), stream(BEGUN, ASKS, ENDS)]
    runs: list[Answer] = [*[body(WAITS)] * waits, body(run("completed"))]
    async with running() as tools, serving(streams, runs) as (seen, server):
        one = await started(server)
        await hold(one, tools)
        assert (seen.joined, [kind for kind, _ in await provider_events(one)].count("RUN_FINISHED")) == (2, 1)


async def test_a_run_read_as_over_before_its_stream_closes_is_joined_for_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readback, "LINGER_S", 60.0)
    over = asyncio.Event()

    async def closing_late(writer: asyncio.StreamWriter) -> None:
        writer.write(stream(BEGUN, ASKS))
        await writer.drain()
        await over.wait()

    async with (
        running() as tools,
        serving([closing_late, stream(BEGUN, ASKS, ENDS)], [body(run("completed"))]) as (
            seen,
            server,
        ),
    ):
        one = await started(server)
        task = asyncio.create_task(hold(one, tools))
        async with asyncio.timeout(60):
            while (await fresh(one)).status != RunStatus.FINISHED:
                await asyncio.sleep(0.01)
        assert seen.joined == 1
        over.set()
        await task
        assert (seen.joined, [kind for kind, _ in await provider_events(one)].count("RUN_FINISHED")) == (2, 1)


async def test_a_run_that_was_there_is_not_lost_by_a_moment_without_it() -> None:
    """A gateway in front of a provider that restarts knows no address; questions that wait survive that."""
    runs: list[Answer] = [body(WAITS), *[plain(404)] * 8, body(WAITS)]
    async with running() as tools, serving([stream(BEGUN, ASKS), plain(404)], runs) as (seen, server):
        one = await started(server)
        task = asyncio.create_task(hold(one, tools))
        await until(lambda: len(seen.read_at) > 12)
        assert seen.read_at[8] - seen.read_at[1] > readback.GONE_S
        assert (await fresh(one)).status == RunStatus.WAITING
        await end(task)


async def test_a_run_that_was_there_and_stays_away_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readback, "AWAY_S", 0.3)
    runs: list[Answer] = [body(WAITS), plain(404)]
    async with running() as tools, serving([stream(BEGUN, ASKS), plain(404)], runs) as (_, server):
        one = await started(server)
        await hold(one, tools)
        assert (await fresh(one)).status == RunStatus.LOST
