"""Many runs held at once: taken up, paused, stopped, given back; and answers that open a stream."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from channels.layers import get_channel_layer
from django.db import transaction
from django.utils import timezone

from streams import announce, consumers, leases, providers
from streams.holder import Declined, NoAnswer, Opened, Tools, Unsent
from streams.models import Lease, Provider, Run, RunStatus
from streams.providers.base import Call
from streams.providers.fake import Fake
from streams.supervisor import Supervisor
from tests import factories
from tests.streams.holding import OWNER, fresh, house_kinds, in_database, lease, make_run, provider_events, running
from tests.streams.scripted import DONE, Answer, Scripted, plain, scripted, silence, staying, stream, texts
from tests.streams.test_holder import closed_port

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.LOOK_EVERY_S = 0.02
    for adapter in (Fake(), Fake("once", replay="none", stall_s=None, stall_waiting_s=None, reads_on=True)):
        monkeypatch.setitem(providers.REGISTRY, adapter.kind, adapter)


@asynccontextmanager
async def supervising(*, alone: bool = True, slots: int = 100) -> AsyncIterator[tuple[Supervisor, Tools]]:
    async with running() as tools:
        made = Supervisor(tools.journal, alone=alone, slots=slots, tools=tools)
        await made.begin()
        task = asyncio.create_task(made.run())
        try:
            yield made, tools
        finally:
            task.cancel()
            await asyncio.wait([task])
            await made.drain()


async def until(is_true: Callable[[], Any]) -> None:
    """Poll the database; the tests' limit ends it."""
    while not await in_database(is_true):
        await asyncio.sleep(0.01)


def has(run: Run, **fields: Any) -> Callable[[], bool]:
    return lambda: Run.objects.filter(pk=run.pk, **fields).exists()


async def test_queued_runs_are_started_and_followed() -> None:
    async with scripted(stream(DONE)) as server:
        runs = [await in_database(make_run, server.url) for _ in range(5)]
        async with supervising():
            for run in runs:
                await until(has(run, status=RunStatus.FINISHED))


async def test_only_so_many_are_held_as_there_are_slots() -> None:
    async with scripted(staying()) as server:
        for _ in range(4):
            await in_database(make_run, server.url)
        async with supervising(slots=3) as (made, _):
            await server.heard(3)
            await in_database(make_run, server.url)
            await asyncio.sleep(0.1)
            assert (made.streams, len(server.requests)) == (3, 3)


async def test_a_paused_provider_is_let_go_and_joined_again_later() -> None:
    async with scripted(staying(*texts("a"))) as server:
        run = await in_database(make_run, server.url)
        async with supervising() as (made, _):
            await until(has(run, connected_at__isnull=False))
            await in_database(Provider.objects.filter(pk=run.provider_id).update, paused=True)
            await until(has(run, connected_at=None))
            assert len(server.requests) == 1
            await in_database(Provider.objects.filter(pk=run.provider_id).update, paused=False)
            await until(has(run, connected_at__isnull=False))
            assert len(await provider_events(run)) == 1


async def test_a_pause_does_not_cut_a_stream_that_cannot_be_joined_again() -> None:
    go_on = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(stream(*texts("a")))
        await writer.drain()
        await go_on.wait()
        writer.write(DONE)

    async with scripted(answer) as server:
        run = await in_database(make_run, server.url, kind="once", external_id=None)
        async with supervising():
            await until(has(run, status=RunStatus.STREAMING))
            await in_database(Provider.objects.filter(pk=run.provider_id).update, paused=True)
            await asyncio.sleep(0.1)
            go_on.set()
            await until(has(run, status=RunStatus.FINISHED))


async def test_a_pause_does_not_cut_a_start_that_is_under_way() -> None:
    """Nobody would know what it started."""
    go_on = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(plain(200, '{"id": "r-9"}'))

    async with scripted(answer, staying(*texts("a"))) as server:
        run = await in_database(make_run, server.url, external_id=None)
        async with supervising() as (made, _):
            await server.heard(1)
            await in_database(Provider.objects.filter(pk=run.provider_id).update, paused=True)
            await asyncio.sleep(0.1)
            assert made.streams == 1
            go_on.set()
            await until(has(run, external_id="r-9"))
            while made.streams:
                await asyncio.sleep(0.01)
            assert len(server.requests) == 1
            await in_database(Provider.objects.filter(pk=run.provider_id).update, paused=False)
            await until(has(run, status=RunStatus.STREAMING))


async def test_a_run_taken_up_again_during_a_renewal_is_not_let_go_for_its_old_epoch() -> None:
    async with scripted(staying(*texts("a"))) as server:
        run = await in_database(make_run, server.url)
        await in_database(leases.release, await in_database(leases.acquire, [run.pk], owner="before"), owner="before")
        async with supervising(alone=False) as (made, _):
            await until(has(run, status=RunStatus.STREAMING))
            await made._heed(({run.pk: 1}, {run.pk: 2}))
            await asyncio.sleep(0.05)
            assert made.streams == 1
            await made._heed(({run.pk: 2}, {}))
            await asyncio.sleep(0.05)
            await server.heard(2)  # it was let go, and taken up anew


async def test_a_refused_credential_is_asked_once_and_a_new_one_brings_the_stream_back() -> None:
    async with scripted(plain(401), stream(DONE)) as server:
        run = await in_database(make_run, server.url, secret="old")
        async with supervising():
            await until(lambda: Provider.objects.filter(credential_refused_at__isnull=False).exists())
            await asyncio.sleep(0.1)
            assert len(server.requests) == 1

            def renew() -> None:
                provider = Provider.objects.get(pk=run.provider_id)
                provider.set_secret("new")
                provider.save()

            await in_database(renew)
            await until(has(run, status=RunStatus.FINISHED))
            assert server.requests[1].headers["x-api-key"] == "new"


async def test_a_holder_that_fails_takes_nobody_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Fake):
        def stream_call(self, *args: Any, **kwargs: Any) -> Call:
            raise ZeroDivisionError

    monkeypatch.setitem(providers.REGISTRY, "broken", Broken("broken"))
    async with scripted(stream(DONE)) as server:
        bad = await in_database(make_run, server.url, kind="broken")
        good = await in_database(make_run, server.url)
        async with supervising():
            await until(has(good, status=RunStatus.FINISHED))
            await until(lambda: Lease.objects.filter(run=bad, owner="").exists())


async def test_draining_stores_what_was_read_and_gives_the_leases_back() -> None:
    async with scripted(staying(*texts(range(50)))) as server:
        runs = [await in_database(make_run, server.url) for _ in range(10)]
        async with supervising():
            for run in runs:
                await until(has(run, connected_at__isnull=False, last_event_at__isnull=False))
        assert not await in_database(Lease.objects.exclude(owner="").exists)
        for run in runs:
            assert len(await provider_events(run)) == 50
            assert (await fresh(run)).connected_at is None


async def test_a_lease_that_is_taken_away_stops_its_holder(settings: Any) -> None:
    settings.LEASE_RENEW_S = 0.05
    async with scripted(staying(*texts("a"))) as server:
        run = await in_database(make_run, server.url)
        async with supervising(alone=False) as (made, _):
            await until(has(run, connected_at__isnull=False))
            far = timezone.now() + timedelta(hours=1)
            await in_database(Lease.objects.filter(run=run).update, owner="other", epoch=9, expires_at=far)
            while made.streams:
                await asyncio.sleep(0.01)
            assert (await in_database(Lease.objects.get, run=run)).owner == "other"


async def test_without_renewal_a_holder_stops_by_itself(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.LEASE_RENEW_S, settings.LEASE_SELF_STOP_S = 0.5, 3.0

    def away(**kwargs: Any) -> dict[UUID, int]:
        raise OSError("the database is gone")

    async with scripted(staying(*texts("a"))) as server:
        run = await in_database(make_run, server.url)
        async with supervising(alone=False) as (made, _):
            await until(has(run, connected_at__isnull=False))
            with monkeypatch.context() as patch:
                patch.setattr(leases, "renew", away)
                await until(has(run, connected_at=None))
                await asyncio.sleep(0.1)
                assert made.streams == 0, "without leases nothing is taken up"
            await until(has(run, connected_at__isnull=False))
            assert len(server.requests) == 2


async def test_the_only_process_never_takes_a_stream_from_itself(settings: Any) -> None:
    """Its leases may run out, when the machine slept or the database was locked: there is nobody to lose them to."""
    settings.LEASE_RENEW_S = 60
    async with scripted(staying(*texts("a"))) as server:
        run = await in_database(make_run, server.url, kind="once", external_id=None)
        async with supervising() as (made, _):
            await until(has(run, status=RunStatus.STREAMING))
            long_ago = timezone.now() - timedelta(seconds=60)
            await in_database(Lease.objects.filter(run=run).update, expires_at=long_ago)
            await asyncio.sleep(0.2)
            assert (await in_database(Lease.objects.get, run=run)).epoch == 1
            assert made.streams == 1


async def test_what_is_being_taken_during_a_drain_is_given_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    taking, go_on, take = threading.Event(), threading.Event(), leases.acquire

    def slowly(run_ids: Any, **more: Any) -> dict[UUID, int]:
        if run_ids:
            taking.set()
            go_on.wait(30)
        return take(run_ids, **more)

    monkeypatch.setattr(leases, "acquire", slowly)
    async with scripted(staying()) as server, running() as tools:
        await in_database(make_run, server.url)
        made = Supervisor(tools.journal, alone=False, slots=9, tools=tools)
        await made.begin()
        task = asyncio.create_task(made.run())
        await asyncio.to_thread(taking.wait, 30)
        task.cancel()
        await asyncio.wait([task])
        asyncio.get_running_loop().call_later(0.1, go_on.set)  # drain() is under way by then
        await made.drain()
        assert not await in_database(Lease.objects.exclude(owner="").exists)


async def test_a_lease_that_could_not_be_given_back_is_given_back_later(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LEASE_RENEW_S = 0.1
    release, failures = leases.release, iter(range(1))

    def fails_once(held: Any, **more: Any) -> None:
        if next(failures, None) is not None:
            raise OSError("the database is away")
        release(held, **more)

    monkeypatch.setattr(leases, "release", fails_once)
    async with scripted(stream(DONE)) as server:
        run = await in_database(make_run, server.url)
        async with supervising(alone=False):
            await until(has(run, status=RunStatus.FINISHED))
            await until(lambda: Lease.objects.filter(run=run, owner="").exists())


# --- balance --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def another(tools: Tools, owner: str) -> AsyncIterator[Supervisor]:
    """One more process, as far as leases can tell."""
    made = Supervisor(tools.journal, alone=False, slots=100, tools=replace(tools, owner=owner))
    await made.begin()
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.wait([task])
        await in_database(leases.release_all, owner=owner)


def settle_soon(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.LEASE_RENEW_S = 0.5
    monkeypatch.setattr("streams.supervisor.STAY_S", 0.0)


async def test_who_joins_gets_its_share_and_no_stream_moves_twice(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle_soon(settings, monkeypatch)
    async with scripted(staying(*texts("a"))) as server:
        runs = [await in_database(make_run, server.url) for _ in range(10)]
        async with supervising(alone=False) as (first, tools):
            for run in runs:
                await until(has(run, status=RunStatus.STREAMING))
            async with another(tools, "second") as second:
                while (first.streams, second.streams) != (5, 5):
                    await asyncio.sleep(0.01)
                await server.heard(15)
                await asyncio.sleep(1)
                assert len(server.requests) == 15
                assert (first.streams, second.streams) == (5, 5)


async def test_what_cannot_be_joined_again_or_is_being_answered_stays_where_it_is(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle_soon(settings, monkeypatch)
    async with scripted(staying(*texts("a"))) as server:
        once = [await in_database(make_run, server.url, kind="once", external_id=None) for _ in range(4)]
        answered, other = [await in_database(make_run, server.url) for _ in range(2)]
        async with running() as tools:
            tools = replace(tools, owner="first")
            first = Supervisor(tools.journal, alone=False, slots=100, tools=tools, busy=lambda runs: {answered.pk})
            await first.begin()
            task = asyncio.create_task(first.run())
            try:
                for run in (*once, answered, other):
                    await until(has(run, status=RunStatus.STREAMING))
                async with another(tools, "second") as second:
                    await until(lambda: Lease.objects.filter(run=other, owner="second").exists())
                    await asyncio.sleep(1)
                    assert second.streams == 1
                    kept = Lease.objects.filter(run__in=[run.pk for run in (*once, answered)], owner="first", epoch=1)
                    assert await in_database(kept.count) == 5
            finally:
                task.cancel()
                await asyncio.wait([task])
                await first.drain()


async def test_a_hint_is_heard_at_once(settings: Any) -> None:
    settings.LOOK_EVERY_S = 60.0
    await get_channel_layer().flush()  # type: ignore[no-untyped-call]
    async with scripted(stream(DONE)) as server, supervising() as (made, _):
        announce.use_loop(asyncio.get_running_loop())
        listening = asyncio.create_task(consumers.listen(made))
        await get_channel_layer().send(settings.STREAMS_CHANNEL, {"type": "nonsense"})  # type: ignore[no-untyped-call]
        await get_channel_layer().send(settings.STREAMS_CHANNEL, {"type": "stream.stop"})  # type: ignore[no-untyped-call]
        run = await in_database(make_run, server.url)
        await in_database(announce.stream_wake, run.pk)
        await until(has(run, status=RunStatus.FINISHED))
        await in_database(announce.delivery_wake, run.pk)
        await made.delivery_due.wait()
        listening.cancel()
        await asyncio.wait([listening])
        announce.use_loop(None)


# --- answers that open a stream -------------------------------------------------------------------------------------


@transaction.atomic
def prepared(server: Scripted | str) -> tuple[Run, Run, Call]:
    """As the courier leaves it: the run that asked, the one that is to carry the answer, and the call."""
    url = server if isinstance(server, str) else server.url
    old = make_run(url, kind="once", status=RunStatus.WAITING, thread_id="t-1")
    new = factories.run(
        provider=old.provider, status=RunStatus.CONNECTING, thread_id="t-1",
        opened_at=timezone.now(), opened_by=OWNER, opened_epoch=1,
    )  # fmt: skip
    lease(new)
    return old, new, Call("POST", f"{url}/answer", body=b"{}", streams=True)


async def test_an_answer_that_streams_is_held_and_ends_what_it_continues() -> None:
    async with scripted(stream(*texts("ab"), DONE)) as server, supervising() as (made, _):
        old, new, call = await in_database(prepared, server)
        assert await made.open(new.pk, 1, call) == Opened()
        await until(has(new, status=RunStatus.FINISHED))
        assert len(await provider_events(new)) == 3
        assert ((await fresh(old)).status, old.outcome) == (RunStatus.FINISHED, "continued")
        assert (await fresh(new)).continues_id == old.pk


@pytest.mark.parametrize(
    ("answer", "outcome", "becomes"),
    [
        (plain(409, "no longer open"), Declined, RunStatus.CONNECTING),
        (plain(503, "later", retry_after="7"), Declined, RunStatus.CONNECTING),
        (plain(200, "hello", content_type="text/plain"), Declined, RunStatus.CONNECTING),
        (silence, NoAnswer, RunStatus.TRUNCATED),
    ],
)
async def test_an_answer_that_does_not_stream(answer: Answer, outcome: type, becomes: RunStatus) -> None:
    async with scripted(answer) as server, supervising() as (made, _):
        old, new, call = await in_database(prepared, server)
        answered = await made.open(new.pk, 1, call)
        assert isinstance(answered, outcome)
        if isinstance(answered, Declined) and answered.status == 503:
            assert (answered.refusal.text, answered.retry_after_s) == ("later", 7.0)
        assert (await fresh(new)).status == becomes
        assert (await fresh(old)).status == RunStatus.WAITING
        assert len(server.requests) == 1


async def test_an_answer_that_never_left_can_be_sent_again() -> None:
    async with supervising() as (made, _):
        _, new, call = await in_database(prepared, closed_port())
        assert isinstance(await made.open(new.pk, 1, call), Unsent)
        assert (await fresh(new)).opened_at is None
        await until(lambda: Lease.objects.filter(run=new, owner="").exists())
        assert await house_kinds(new) == []


async def test_an_answer_whose_process_died_is_truncated_by_the_next() -> None:
    async with scripted(stream(DONE)) as server:
        _, new, _ = await in_database(prepared, server)
        async with supervising():
            await until(has(new, status=RunStatus.TRUNCATED))
            assert server.requests == []


async def test_a_refused_answer_is_left_to_whoever_sent_it_and_not_taken_for_a_lost_one() -> None:
    async with scripted(plain(409, "no longer open")) as server, supervising() as (made, _):
        _, new, call = await in_database(prepared, server)
        assert isinstance(await made.open(new.pk, 1, call), Declined)
        while made.streams:
            await asyncio.sleep(0.01)
        assert await in_database(leases.acquire, [new.pk], owner="another:1:process") == {}
        assert (await fresh(new)).status == RunStatus.CONNECTING


async def test_an_answer_leaves_at_once_however_slowly_its_provider_is_knocked_at() -> None:
    """Between `sent` and the first byte nothing may wait: deadlines were looked at before `sent`."""
    async with scripted(stream(DONE)) as server, supervising() as (made, tools):
        _, new, call = await in_database(prepared, server)
        async with tools.pace.turn(new.provider_id) as rate:
            for _ in range(12):
                rate.heard(429, at=asyncio.get_running_loop().time())
            async with asyncio.timeout(5):
                assert await made.open(new.pk, 1, call) == Opened()
