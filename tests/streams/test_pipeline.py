"""Reading on while what came is being stored: in order, not too far ahead, and nothing behind a failure."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from django.utils import timezone

from streams import folding, providers, reader
from streams.errors import NotStored, StaleEpoch
from streams.holder import Tools
from streams.journal import Entry, Line, Stored
from streams.listen import Alarm
from streams.models import Checkpoint, Lease, Run, RunStatus, Source
from streams.providers.fake import Fake
from streams.reader import Reader
from streams.sse import Frame
from tests.streams.holding import fresh, held, hold, house_kinds, in_database, lease, make_run, provider_events, running
from tests.streams.scripted import DONE, STREAM_HEAD, Answer, frame, scripted, staying, stream, texts

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_engine]


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(providers.REGISTRY, "fake", Fake())


class Gate:
    """A project() that lets nothing of these sources be committed while it is shut, and never what holds a poison."""

    def __init__(self, *sources: Source, poison: str = "") -> None:
        self._open = threading.Event()
        self._sources = sources or (Source.PROVIDER,)
        self.poison, self.waits = poison, threading.Event()

    def __call__(self, stored: Sequence[Stored]) -> None:
        if any(one.source in self._sources for one in stored):
            self.waits.set()
            if not self._open.wait(30):
                raise RuntimeError("nobody opened the gate")
        if self.poison and any(self.poison in one.payload for one in stored):
            raise ValueError("poison")

    def open(self) -> None:
        self._open.set()


async def until(fits: Callable[[], bool]) -> None:
    while not fits():
        await asyncio.sleep(0.005)


async def made_reader(tools: Tools, *, epoch: int = 1) -> tuple[Run, Reader]:
    run = await in_database(make_run, "http://127.0.0.1:9", external_id="x", status=RunStatus.STREAMING)
    await in_database(lease, run)
    loaded = await in_database(folding.load, run.pk)
    made = Reader(run.pk, epoch, loaded, tools.journal, loaded.adapter.initial(loaded.account, loaded.view))
    return run, made


def frames(*words: object) -> list[Frame]:
    return [Frame("text", str(word)) for word in words]


async def words(run: Run) -> list[str]:
    return [data for kind, data in await provider_events(run) if kind == "text"]


def chunked(*parts: bytes) -> Callable[[asyncio.StreamWriter], Coroutine[Any, Any, None]]:
    """One part a piece of the body, each in a turn of its own; then the connection stays open."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        await asyncio.Event().wait()

    return answer


# --- ahead, and how far ---------------------------------------------------------------------------------------------


async def test_reading_goes_on_while_the_first_frames_are_not_stored_yet() -> None:
    gate = Gate()
    async with running(gate) as tools:
        run, one = await made_reader(tools)
        for number in range(100):
            await one.hand_in(frames(number))
        assert await words(run) == []
        gate.open()
        await one.settled()
        assert await words(run) == [str(number) for number in range(100)]


async def test_reading_waits_once_it_is_far_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "AHEAD_FRAMES", 10)
    gate, handed = Gate(), 0
    async with running(gate) as tools:
        run, one = await made_reader(tools)

        async def read() -> None:
            nonlocal handed
            for number in range(50):
                await one.hand_in(frames(number))
                handed += 1

        task = asyncio.create_task(read())
        await asyncio.to_thread(gate.waits.wait, 30)
        await until(lambda: handed == 10)
        for _ in range(20):
            await asyncio.sleep(0)
        assert handed == 10
        gate.open()
        await task
        await one.settled()
        assert await words(run) == [str(number) for number in range(50)]


async def test_a_large_frame_counts_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "AHEAD_CHARS", 1000)
    gate = Gate()
    async with running(gate) as tools:
        run, one = await made_reader(tools)
        await one.hand_in(frames("small"))
        task = asyncio.create_task(one.hand_in(frames("x" * 2000)))
        await asyncio.to_thread(gate.waits.wait, 30)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not task.done()
        gate.open()
        await task
        assert len(await words(run)) == 2


async def test_many_frames_each_in_its_own_piece_arrive_in_order() -> None:
    whole = texts(range(2000))
    async with running() as tools, scripted(chunked(*whole, DONE)) as server:
        run = await held(server.url)
        await hold(run, tools)
        assert await words(run) == [str(number) for number in range(2000)]
        assert (await fresh(run)).status == RunStatus.FINISHED


async def test_a_checkpoint_says_what_was_folded_up_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "CHECKPOINT_EVENTS", 7)
    async with running() as tools, scripted(chunked(*texts(range(50)), DONE)) as server:
        run = await held(server.url)
        await hold(run, tools)
        saved = await in_database(Checkpoint.objects.get, run=run)
        state = Fake().load(saved.state)
        events = await provider_events(run)
        assert events[state.frames - 1][1] == state.last


# --- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [True, False])
async def test_nothing_behind_a_frame_that_cannot_be_stored_is_stored(together: bool) -> None:
    gate = Gate(poison="poison")
    if not together:
        gate.open()
    async with running(gate) as tools:
        run, one = await made_reader(tools)
        await one.hand_in(frames("a", "b"))
        if not together:
            await one.settled()
        with pytest.raises(NotStored):
            for word in ("poison", "c", "d", "e"):
                await one.hand_in(frames(word))
                if not together and word == "poison":
                    await until(lambda: one._line.failure is not None)  # what comes next is in a batch of its own
            gate.open()
            await one.settled()
        with pytest.raises(NotStored):
            await one.say("note", "behind it")
        assert "poison" not in (stored := await words(run))
        assert not {"c", "d", "e"} & set(stored)


async def test_a_frame_that_cannot_be_stored_ends_the_holding_although_nothing_more_comes() -> None:
    gate = Gate(poison="poison")
    gate.open()
    async with running(gate) as tools, scripted(staying(*texts(["a", "poison"]))) as server:
        run = await held(server.url)
        with pytest.raises(NotStored):
            await hold(run, tools)
        gate.poison = ""
        server.answers = [stream(*texts(["a", "poison", "b"]), DONE)]
        await hold(run, tools)
        assert await words(run) == ["a", "poison", "b"]


async def test_a_lease_that_another_took_ends_the_holding_although_nothing_more_comes() -> None:
    async with running() as tools:
        run: Run

        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write(STREAM_HEAD + frame("text", "a"))
            await writer.drain()
            while not await words(run):
                await asyncio.sleep(0.01)
            await in_database(Lease.objects.filter(run=run).update, epoch=2)
            writer.write(frame("text", "b"))
            await writer.drain()
            await asyncio.Event().wait()

        async with scripted(answer) as server:
            run = await held(server.url)
            with pytest.raises(StaleEpoch):
                await hold(run, tools)
            assert await words(run) == ["a"]


async def test_who_is_stopped_waits_for_what_is_on_its_way() -> None:
    gate = Gate()
    async with running(gate) as tools, scripted(staying(*texts(range(20)))) as server:
        run = await held(server.url)
        task = asyncio.create_task(hold(run, tools))
        assert await asyncio.to_thread(gate.waits.wait, 30)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await words(run) == [str(number) for number in range(20)]


async def test_who_is_stopped_closes_the_connection_before_it_waits() -> None:
    """Also where not even the remark that it is connected can be stored: without a lease nothing may be read."""
    gate, closed = Gate(Source.HOUSE), asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        while not writer.transport.is_closing():
            writer.write(b": still here\n\n")
            await asyncio.sleep(0.005)
        closed.set()

    async with running(gate) as tools, scripted(answer) as server:
        run = await held(server.url)
        task = asyncio.create_task(hold(run, tools))
        assert await asyncio.to_thread(gate.waits.wait, 30)
        task.cancel()
        await closed.wait()
        assert not task.done()
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await house_kinds(run) == ["connected"]


async def test_the_next_connection_is_compared_with_all_that_came() -> None:
    """What is on its way when a connection breaks is part of the past that the next one replays."""
    answers: list[Answer] = [
        stream(*texts(range(40))),
        stream(*texts(range(60))),
        stream(*texts(range(60)), DONE),
    ]
    async with running() as tools, scripted(*answers) as server:
        run = await held(server.url)
        await hold(run, tools)
        assert await words(run) == [str(number) for number in range(60)]


async def test_the_journal_refuses_what_is_behind_a_failure_and_nothing_else() -> None:
    gate = Gate(poison="poison")
    gate.open()
    async with running(gate) as tools:
        one, _ = await made_reader(tools)
        two, _ = await made_reader(tools)
        line, told = Line(), []
        line.on_failure = lambda: told.append(1)

        def entry(run: Run, payload: str) -> list[Entry]:
            return [Entry(run.pk, 1, Source.PROVIDER, "text", payload, timezone.now())]

        bad = await tools.journal.hand_in(entry(one, "poison"), line)
        behind = await tools.journal.hand_in(entry(one, "behind"), line)
        other = await tools.journal.append(entry(two, "of another run"))
        for stored in (bad, behind):
            with pytest.raises(NotStored):
                await stored
        assert other == [1]
        assert told
        assert await words(one) == []
        assert await tools.journal.append(entry(one, "said anew")) == [1]


# --- the alarm ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def limited() -> AsyncIterator[asyncio.AbstractEventLoop]:
    async with asyncio.timeout(30):
        yield asyncio.get_running_loop()


async def test_an_alarm_ends_a_wait_that_is_too_long() -> None:
    async with limited() as loop:
        alarm = Alarm()
        with pytest.raises(TimeoutError), alarm:
            alarm.set_for(loop.time() + 0.01)
            await asyncio.Event().wait()
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_an_alarm_that_is_put_off_does_not_ring_and_one_brought_forward_does() -> None:
    async with limited() as loop:
        alarm = Alarm()
        with pytest.raises(TimeoutError), alarm:
            alarm.set_for(loop.time() + 0.01)
            alarm.set_for(loop.time() + 3600)
            await asyncio.sleep(0.03)
            alarm.set_for(loop.time() + 0.01)
            await asyncio.Event().wait()


async def test_an_alarm_at_rest_leaves_other_work_alone() -> None:
    async with limited() as loop:
        alarm = Alarm()
        with alarm:
            alarm.set_for(loop.time() + 0.01)
            alarm.rest()
            alarm.ring()
            await asyncio.sleep(0.03)


async def test_who_cancels_from_outside_is_not_taken_for_the_alarm() -> None:
    async with limited() as loop:
        waits = asyncio.Event()

        async def wait() -> None:
            with Alarm() as alarm:
                alarm.set_for(loop.time() + 3600)
                waits.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(wait())
        await waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_both_at_once_is_the_one_from_outside() -> None:
    async with limited() as loop:
        made: list[Alarm] = []

        async def wait() -> None:
            with Alarm() as alarm:
                made.append(alarm)
                alarm.set_for(loop.time() + 3600)
                await asyncio.Event().wait()

        task = asyncio.create_task(wait())
        await until(lambda: bool(made))
        task.cancel()
        made[0].ring()
        with pytest.raises(asyncio.CancelledError):
            await task
