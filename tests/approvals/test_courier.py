"""The courier's loop against a real socket: carried once, in time, and the table of answers."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections

from approvals import audit, courier, outbox, sending
from approvals.decisions import decide
from approvals.models import ApprovalRequest, Delivery, DeliveryState, RequestStatus
from dashboard.models import User
from streams import offload
from streams.events import Ended
from streams.holder import Declined, NoAnswer, Opened, Unsent
from streams.models import Provider, Run, RunStatus
from streams.providers.base import Call, Refusal
from tests import factories
from tests.approvals import agents
from tests.approvals.agents import status
from tests.approvals.fakes import asked, newest, tell

pytestmark = pytest.mark.django_db(transaction=True)
S = RequestStatus
D = DeliveryState
SECRET = "canary-secret-0123456789"


@pytest.fixture(autouse=True)
async def _close_the_threads_connection() -> AsyncIterator[None]:
    yield
    await sync_to_async(connections.close_all)()


@dataclass
class FakeHolding:
    """A supervisor whose answers are given."""

    owner: str = "host:1:test"
    answers: list[Opened | Declined | Unsent | NoAnswer] = field(default_factory=list)
    opened: list[tuple[UUID, int, Call]] = field(default_factory=list)

    async def open(self, run_id: UUID, epoch: int, call: Call) -> Opened | Declined | Unsent | NoAnswer:
        self.opened.append((run_id, epoch, call))
        return self.answers.pop(0)


@asynccontextmanager
async def carrying(holding: FakeHolding | None = None) -> AsyncIterator[asyncio.Event]:
    """A courier at work; yields its wake event."""
    stop, wake = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(courier.carry(stop, holding or FakeHolding(), wake=wake))
    try:
        yield wake
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task
        await asyncio.to_thread(offload.courier.close)


async def until(holds: Callable[[], bool], wake: asyncio.Event) -> None:
    """Wait until rows say so; the courier is woken, as by a hint."""
    async with asyncio.timeout(10):
        while not await sync_to_async(holds)():
            wake.set()
            await asyncio.sleep(0.01)


def point_at(run: Run, url: str) -> None:
    provider = Provider.objects.get(pk=run.provider_id)
    provider.base_url = url
    provider.set_secret(SECRET)
    provider.save()


def ready(run: Run, by: User, call_id: str = "c1", verdict: str = "approve", **fields: Any) -> ApprovalRequest:
    tell(run, asked(call_id, **fields))
    one = newest(run, call_id)
    decide(one.pk, verdict=verdict, by=by, seen_sha256=one.input_sha256)
    return one


def outcome() -> tuple[str, str, int]:
    row = Delivery.objects.get()
    return row.state, ApprovalRequest.objects.get().status, row.attempts


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (status(200, "{}"), (D.DELIVERED, S.DELIVERED, 1)),
        (status(204), (D.DELIVERED, S.DELIVERED, 1)),
        (status(200, "<p>Sign in</p>", Content_Type="text/html; charset=utf-8"), (D.UNKNOWN, S.UNKNOWN, 1)),
        (status(404, "<p>Not here</p>", Content_Type="text/html"), (D.REFUSED, S.REFUSED, 1)),
        (agents.broken_body, (D.DELIVERED, S.DELIVERED, 1)),
        (status(401, "no key"), (D.PARKED, S.DECIDING, 1)),
        (status(403), (D.PARKED, S.DECIDING, 1)),
        (status(429, Retry_After="60"), (D.READY, S.DECIDING, 1)),
        (status(404, "no such approval"), (D.REFUSED, S.REFUSED, 1)),
        (status(409), (D.REFUSED, S.REFUSED, 1)),
        (status(410), (D.REFUSED, S.REFUSED, 1)),
        (status(422, "bad"), (D.REFUSED, S.REFUSED, 1)),
        (status(308, Location="/x"), (D.REFUSED, S.REFUSED, 1)),
        (status(308, Location="http://[::no"), (D.REFUSED, S.REFUSED, 1)),
        (status(303, Location="/x"), (D.UNKNOWN, S.UNKNOWN, 1)),
        (status(500), (D.UNKNOWN, S.UNKNOWN, 1)),
        (status(503, Retry_After="1"), (D.UNKNOWN, S.UNKNOWN, 1)),
        (agents.drop, (D.UNKNOWN, S.UNKNOWN, 1)),
        (agents.reset, (D.UNKNOWN, S.UNKNOWN, 1)),
    ],
)
async def test_each_answer_has_its_end_and_is_asked_for_once(
    run: Run, ada: User, answer: agents.Answer, expected: tuple[str, str, int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with agents.agent() as agent:
        agent.script = [answer]
        await sync_to_async(point_at)(run, agent.url)
        await sync_to_async(ready)(run, ada)
        async with carrying() as wake:
            await until(lambda: outcome() == expected, wake)
        assert len(agent.heard) == 1
    headers, body = agent.heard[0]
    decision = await sync_to_async(lambda: ApprovalRequest.objects.get().decisions.get())()
    assert body["answers"] == [{"call": "c1", "verdict": "approve", "key": str(decision.pk)}]
    assert headers["x-key"] == SECRET
    assert SECRET not in caplog.text
    assert (await sync_to_async(audit.verify)()).bad is None


async def test_a_provider_that_refuses_us_is_named_and_gets_nothing_more(run: Run, ada: User) -> None:
    async with agents.agent() as agent:
        agent.script = [status(401)]
        await sync_to_async(point_at)(run, agent.url)
        await sync_to_async(ready)(run, ada)
        async with carrying() as wake:
            await until(lambda: outcome()[0] == D.PARKED, wake)
            assert await sync_to_async(lambda: Provider.objects.get(pk=run.provider_id).credential_refused_at)()
            await sync_to_async(point_at)(run, agent.url)  # with a new secret
            await until(lambda: outcome() == (D.DELIVERED, S.DELIVERED, 2), wake)
        assert len(agent.heard) == 2


async def test_a_provider_that_is_away_is_tried_again_until_it_is_back(
    run: Run, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "RETRY_CAP_S", 0.05)
    async with agents.agent() as gone:
        pass
    await sync_to_async(point_at)(run, gone.url)
    await sync_to_async(ready)(run, ada)
    async with carrying() as wake:
        await until(lambda: Delivery.objects.get().attempts >= 3, wake)
        async with agents.agent() as agent:
            await sync_to_async(point_at)(run, agent.url)
            await until(lambda: outcome()[:2] == (D.DELIVERED, S.DELIVERED), wake)
            assert len(agent.heard) == 1


async def test_a_provider_that_never_answers_delays_nobody_else(
    run: Run, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def others_delivered() -> bool:
        return ApprovalRequest.objects.filter(run__provider=good.provider, status=S.DELIVERED).count() == 5

    async with agents.agent() as mute, agents.agent() as agent:
        mute.otherwise = agents.silence
        await sync_to_async(point_at)(run, mute.url)
        for n in range(10):
            stuck = await sync_to_async(factories.run)(provider=run.provider)
            await sync_to_async(ready)(stuck, ada, f"c{n}")
        good = await sync_to_async(lambda: factories.run(provider=factories.provider(kind="alone")))()
        await sync_to_async(point_at)(good, agent.url)
        for n in range(5):
            await sync_to_async(ready)(good, ada, f"g{n}")
        monkeypatch.setattr(courier, "DRAIN_S", 0.05)
        async with carrying() as wake:
            await until(others_delivered, wake)
            assert len(mute.heard) == courier.AT_ONCE_PER_PROVIDER
        assert [body["answers"][0]["call"] for _, body in agent.heard] == [f"g{n}" for n in range(5)]


async def test_what_is_under_way_at_the_end_is_not_sent_again(
    run: Run, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "DRAIN_S", 0.05)
    async with agents.agent() as agent:
        agent.otherwise = agents.silence
        await sync_to_async(point_at)(run, agent.url)
        await sync_to_async(ready)(run, ada)
        async with carrying() as wake:
            await until(lambda: bool(agent.heard), wake)
        assert await sync_to_async(outcome)() == (D.SENT, S.SENT, 1)
        await sync_to_async(courier.recover)(every=True)
        assert await sync_to_async(outcome)() == (D.UNKNOWN, S.UNKNOWN, 1)
        async with carrying():
            await asyncio.sleep(0)
        assert len(agent.heard) == 1


async def test_an_end_is_written_again_when_the_database_is_away_for_a_moment(
    run: Run, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "WRITE_AGAIN_S", (0.0, 0.0, 0.0))
    real, failures = outbox.mark_delivered, iter(range(2))

    def sometimes(*args: Any, **kwargs: Any) -> None:
        if next(failures, None) is not None:
            raise OperationalError("database is locked")
        real(*args, **kwargs)

    monkeypatch.setattr(outbox, "mark_delivered", sometimes)
    async with agents.agent() as agent:
        await sync_to_async(point_at)(run, agent.url)
        await sync_to_async(ready)(run, ada)
        async with carrying() as wake:
            await until(lambda: outcome() == (D.DELIVERED, S.DELIVERED, 1), wake)
        assert len(agent.heard) == 1


async def test_nothing_is_sent_where_sent_cannot_be_committed(
    run: Run, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Event()
    loop = asyncio.get_running_loop()

    def full(*_: Any, **__: Any) -> None:
        loop.call_soon_threadsafe(tried.set)
        raise OperationalError("database or disk is full")

    async with agents.agent() as agent:
        await sync_to_async(point_at)(run, agent.url)
        await sync_to_async(ready)(run, ada)
        monkeypatch.setattr(audit, "append_all", full)
        async with carrying(), asyncio.timeout(10):
            await tried.wait()
        assert agent.heard == []
    assert await sync_to_async(lambda: ApprovalRequest.objects.get().status)() == S.DECIDING


# --- answers that stream --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected", "run_status"),
    [
        (Opened(), (D.SENT, S.SENT, 1), RunStatus.CONNECTING),
        (Declined(404, Refusal("", "gone")), (D.REFUSED, S.REFUSED, 1), RunStatus.FAILED),
        (Declined(500, Refusal("", "oops")), (D.UNKNOWN, S.UNKNOWN, 1), RunStatus.FAILED),
        (Declined(200, Refusal("", "html")), (D.UNKNOWN, S.UNKNOWN, 1), RunStatus.FAILED),
        (Declined(429, Refusal("", "later"), 60.0), (D.READY, S.DECIDING, 1), None),
        (Declined(401, Refusal("", "key")), (D.PARKED, S.DECIDING, 1), None),
        (NoAnswer("reset"), (D.UNKNOWN, S.UNKNOWN, 1), RunStatus.CONNECTING),
    ],
)
async def test_an_answer_that_streams_is_opened_by_the_supervisor_beside(
    thread: Run, ada: User, answer: Opened | Declined | NoAnswer, expected: tuple[str, str, int], run_status: str | None
) -> None:
    holding = FakeHolding(answers=[answer])
    await sync_to_async(ready)(thread, ada, together=True)
    async with carrying(holding) as wake:
        await until(lambda: bool(holding.opened) and outcome() == expected, wake)
    run_id, epoch, call = holding.opened[0]
    assert (epoch, call.streams, len(holding.opened)) == (1, True, 1)
    assert time.monotonic() - 30 < call.leave_by <= time.monotonic() + outbox.CLAIM_S  # whoever connects looks again
    opened = await sync_to_async(lambda: Run.objects.filter(pk=run_id).first())()
    assert (opened.status if opened else None) == run_status


@pytest.mark.parametrize("together", [False, True])
async def test_an_answer_whose_moment_is_over_does_not_leave(
    run: Run, thread: Run, ada: User, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    """Whatever held it up between the commit that it is sent and the first byte: a slow connection, a loop at rest."""
    real = courier.make_ready

    def late(claim: outbox.Claim) -> object:
        ready = real(claim)
        return ready and (replace(ready[0], leave_by=0.0), ready[1])

    monkeypatch.setattr(courier, "make_ready", late)
    holding = FakeHolding()
    async with agents.agent() as agent:
        asking = thread if together else run
        await sync_to_async(point_at)(asking, agent.url)
        await sync_to_async(ready)(asking, ada, together=together)
        async with carrying(holding) as wake:
            await until(lambda: Delivery.objects.get().last_error == sending.TOO_LATE, wake)
        assert (agent.heard, holding.opened) == ([], [])


async def test_an_answer_that_streams_is_opened_as_another_run_where_none_left(thread: Run, ada: User) -> None:
    holding = FakeHolding(answers=[Unsent("cannot connect"), Opened()])
    await sync_to_async(ready)(thread, ada, together=True)
    async with carrying(holding) as wake:
        await until(lambda: len(holding.opened) == 2 and outcome() == (D.SENT, S.SENT, 2), wake)
        first, second = (run_id for run_id, _, _ in holding.opened)
        assert first != second
        await sync_to_async(tell)(second, Ended("finished"), kind="result", payload='{"applied": ["c1"]}')
        await until(lambda: outcome() == (D.DELIVERED, S.DELIVERED, 2), wake)
