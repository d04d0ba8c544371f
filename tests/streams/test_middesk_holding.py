"""Holding runs of the emulated Middesk: what its stream does not tell, the run itself does."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from channels.layers import get_channel_layer

from streams import announce, consumers, folding, providers, readback, runs
from streams.events import Asked, Ended, Gone
from streams.journal import Stored
from streams.models import Checkpoint, Event, Provider, Run, RunStatus
from streams.providers.base import READ_BACK
from streams.supervisor import Supervisor
from tests import factories
from tests.emulator import Emulator, emulator
from tests.streams.holding import fresh, house_kinds, in_database, running

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_engine]
BUSINESS = "5b1e0000-0000-4000-8000-000000000001"
KEY = {"authorization": "Bearer mk_test_demo"}


@pytest.fixture(scope="module")
def agents() -> Iterator[Emulator]:
    with emulator("middesk") as one:
        yield one


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, settings: Any, agents: Emulator) -> Iterator[None]:
    settings.LOOK_EVERY_S = 0.02
    monkeypatch.setattr(readback, "SPACE_S", 0.05)
    monkeypatch.setattr(readback, "LINGER_S", 60.0)
    monkeypatch.setattr(readback, "AFTER_NUDGE_S", (0.1,) * 100)
    yield
    agents.disarm()


class Told:
    """What the projector was given, in order."""

    def __init__(self) -> None:
        self.stored: list[Stored] = []

    def project(self, stored: Sequence[Stored]) -> None:
        self.stored += stored

    def facts(self, *kinds: type) -> list[Any]:
        return [fact for one in self.stored for fact in one.facts if isinstance(fact, kinds)]

    def asked(self) -> list[str]:
        return [fact.call_id for fact in self.facts(Asked)]

    async def asks(self, count: int) -> list[str]:
        """Wait until so many questions were asked."""
        while len(self.asked()) < count:
            await asyncio.sleep(0.01)
        return self.asked()


@asynccontextmanager
async def supervising(told: Told) -> AsyncIterator[Supervisor]:
    async with running(told.project) as tools:
        made = Supervisor(tools.journal, alone=True, slots=100, tools=tools)
        await made.begin()
        task = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.wait([task])
            await made.drain()


def account(agents: Emulator) -> Provider:
    made = factories.provider(kind="middesk", base_url=agents.middesk)
    made.set_secret("mk_test_demo")
    made.save()
    return made


def start(agents: Emulator, agent: str) -> Run:
    return runs.start(account(agents), workflow=agent, options={"business_id": BUSINESS})


def start_elsewhere(agents: Emulator, agent: str) -> str:
    """A run that somebody else starts; its id."""
    body = {"type": agent, "business_id": BUSINESS}
    made: str = httpx.post(f"{agents.middesk}/v1/runs", json=body, headers=KEY, trust_env=False).json()["id"]
    return made


def read(agents: Emulator, external_id: str) -> Any:
    return httpx.get(f"{agents.middesk}/v1/runs/{external_id}", headers=KEY, trust_env=False).json()


async def stands(agents: Emulator, external_id: str, status: str) -> Any:
    while (found := read(agents, external_id))["status"] != status:
        await asyncio.sleep(0.01)
    return found


def answer(agents: Emulator, external_id: str | None, interrupt_id: str, verdict: str = "approve") -> None:
    """As the courier would, or somebody in Middesk's own dashboard."""
    body = {"interrupt_id": interrupt_id, "input": {"decision": verdict}}
    url = f"{agents.middesk}/v1/runs/{external_id}/resume"
    assert httpx.post(url, json=body, headers=KEY, trust_env=False).status_code == 200


async def until(is_true: Callable[[], Any]) -> Any:
    """Poll the database; the tests' limit ends it."""
    while not (found := await in_database(is_true)):
        await asyncio.sleep(0.02)
    return found


def has(run: Run, **fields: Any) -> Callable[[], bool]:
    return lambda: Run.objects.filter(pk=run.pk, **fields).exists()


async def let_go(made: Supervisor) -> None:
    """Wait until nothing is held any longer."""
    while made.streams:
        await asyncio.sleep(0.01)


def stream_of(run: Run) -> list[tuple[str, str]]:
    told = Event.objects.filter(run=run, source="provider", ordinal__isnull=False).order_by("seq")
    return list(told.values_list("kind", "payload"))


def readings(run: Run) -> list[str]:
    told = Event.objects.filter(run=run, source="provider", kind=READ_BACK).order_by("seq")
    return list(told.values_list("payload", flat=True))


def told_by(agents: Emulator, external_id: str | None) -> list[tuple[str, str]]:
    """The whole stream, read once more from its beginning."""
    from streams.sse import Decoder

    url = f"{agents.middesk}/v1/runs/{external_id}/stream"
    body = httpx.get(url, headers=KEY, trust_env=False, timeout=10).content
    return [(frame.event, frame.data) for frame in Decoder().feed(body)]


def refolded(run: Run) -> tuple[str, str]:
    """The fold state from the checkpoint, and from the first event."""
    adapter: Any = providers.get("middesk")
    row = Run.objects.select_related("provider").get(pk=run.pk)
    saved = adapter.dump(folding.state_of(row))
    Checkpoint.objects.filter(run=run).delete()
    return saved, adapter.dump(folding.state_of(row))


# --- to the end -----------------------------------------------------------------------------------------------------


async def test_a_run_without_a_question_is_followed_to_its_end(agents: Emulator) -> None:
    told = Told()
    async with supervising(told) as made:
        run = await in_database(start, agents, "industry_classification")
        await until(has(run, status=RunStatus.FINISHED))
        assert (await fresh(run)).outcome == "completed"
        await let_go(made)
        assert await in_database(stream_of, run) == told_by(agents, run.external_id)
        assert told.facts(Asked, Gone) == []
        assert run.connected_at is None


async def test_a_run_that_fails_says_where(agents: Emulator) -> None:
    async with supervising(Told()):
        run = await in_database(start, agents, "registry_search")
        await until(has(run, status=RunStatus.FAILED))
        assert (await fresh(run)).error.startswith("failed at: The registry")


async def test_a_failure_that_the_stream_tells_counts_once_the_run_itself_says_so(agents: Emulator) -> None:
    agents.arm("error-event")
    async with supervising(Told()):
        run = await in_database(start, agents, "registry_search")
        await until(has(run, status=RunStatus.FAILED))
        assert "RUN_ERROR" in [kind for kind, _ in await in_database(stream_of, run)]


async def test_each_question_is_asked_once_and_the_same_run_goes_on_after_the_answer(agents: Emulator) -> None:
    told = Told()
    async with supervising(told) as made:
        run = await in_database(start, agents, "kyb_followup")
        for count in (1, 2):
            asked = await told.asks(count)
            await until(has(run, status=RunStatus.WAITING))
            answer(agents, (await fresh(run)).external_id, asked[-1])
            await in_database(runs.nudge, run.pk)
        await until(has(run, status=RunStatus.FINISHED))
        await let_go(made)
        assert len(set(told.asked())) == len(told.asked()) == 2
        assert await in_database(stream_of, run) == told_by(agents, run.external_id)
        saved, again = await in_database(refolded, run)
        assert saved == again


async def test_two_questions_at_once_are_answered_one_by_one(agents: Emulator) -> None:
    told = Told()
    async with supervising(told) as made:
        run = await in_database(start, agents, "people_screening")
        first, second = await told.asks(2)
        await fresh(run)
        answer(agents, run.external_id, second, "reject")
        await in_database(runs.nudge, run.pk)
        while Gone((second,)) not in told.facts(Gone):
            await asyncio.sleep(0.01)
        assert (await fresh(run)).status == RunStatus.WAITING
        answer(agents, run.external_id, first)
        await in_database(runs.nudge, run.pk)
        await until(has(run, status=RunStatus.FINISHED))
        await let_go(made)
        assert told.asked() == [first, second]
        assert await in_database(stream_of, run) == told_by(agents, run.external_id)


# --- the ways to notice a question ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["steps-only", "no-interrupts"])
async def test_a_question_that_only_the_run_itself_names_is_asked(agents: Emulator, shape: str) -> None:
    agents.arm("snapshot-shape", shape=shape)
    told = Told()
    async with supervising(told):
        run = await in_database(start, agents, "tin_verification")
        (asked,) = await told.asks(1)
        await until(has(run, status=RunStatus.WAITING))
        answer(agents, (await fresh(run)).external_id, asked)
        await in_database(runs.nudge, run.pk)
        await until(has(run, status=RunStatus.FINISHED))
        assert told.asked() == [asked]


async def test_snapshot_reading_and_nudge_ask_one_question(agents: Emulator) -> None:
    agents.arm("respelled")
    told = Told()
    async with supervising(told):
        run = await in_database(start, agents, "watchlist_resolution")
        await told.asks(1)
        before = len(await until(lambda: readings(run)))
        await fresh(run)
        await in_database(runs.nudge_external, await in_database(lambda: run.provider), str(run.external_id))
        await until(lambda: len(readings(run)) > before + 1)
        assert len(told.asked()) == 1


async def test_a_webhook_about_an_unknown_run_makes_it_watched(agents: Emulator) -> None:
    told = Told()
    async with supervising(told):
        provider = await in_database(account, agents)
        external_id = start_elsewhere(agents, "tin_verification")
        await stands(agents, external_id, "interrupted")
        run = await in_database(runs.nudge_external, provider, external_id)
        assert run is not None
        assert await told.asks(1) == [read(agents, external_id)["interrupts"][0]["id"]]
        again = await in_database(runs.nudge_external, provider, external_id)
        assert again is not None
        assert again.pk == run.pk
        await until(has(run, status=RunStatus.WAITING))


@pytest.mark.parametrize("how", ["silent", "eof", "once"])
async def test_however_an_interrupted_runs_stream_ends_the_run_goes_on(agents: Emulator, how: str) -> None:
    agents.arm("interrupt-end", how=how, times=None)
    told = Told()
    async with supervising(told) as made:
        run = await in_database(start, agents, "kyb_followup")
        for count in (1, 2):
            asked = await told.asks(count)
            await until(has(run, status=RunStatus.WAITING))
            answer(agents, (await fresh(run)).external_id, asked[-1])
            await in_database(runs.nudge, run.pk)
        await until(has(run, status=RunStatus.FINISHED))
        await let_go(made)
        assert len(told.asked()) == 2
        assert "gap" not in await house_kinds(run)
        assert "divergence" not in await house_kinds(run)
        saved, again = await in_database(refolded, run)
        assert saved == again


async def test_a_question_that_was_answered_elsewhere_is_gone(agents: Emulator) -> None:
    told = Told()
    async with supervising(told):
        run = await in_database(start, agents, "watchlist_resolution")
        (asked,) = await told.asks(1)
        await until(lambda: readings(run))
        answer(agents, (await fresh(run)).external_id, asked)
        await in_database(runs.nudge, run.pk)  # a webhook says so; a poll would find out, only later
        await until(has(run, status=RunStatus.FINISHED))
        assert told.facts(Gone) == [Gone((asked,))]


async def test_an_answer_that_takes_effect_late_is_read_until_it_did(agents: Emulator) -> None:
    agents.arm("slow-readback", seconds=0.5)
    told = Told()
    async with supervising(told):
        run = await in_database(start, agents, "watchlist_resolution")
        (asked,) = await told.asks(1)
        before = len(await until(lambda: readings(run)))
        answer(agents, (await fresh(run)).external_id, asked)
        await in_database(runs.nudge, run.pk)
        await until(has(run, status=RunStatus.FINISHED))
        assert len(await in_database(readings, run)) > before + 1  # each is evidence, though the first says nothing new
        assert told.asked() == [asked]


@pytest.mark.parametrize("fault", [("vocabulary", {"words": "old"}), ("event-fields", {"style": "camel"})])
async def test_other_spellings_of_the_wire_are_followed(agents: Emulator, fault: tuple[str, Any]) -> None:
    agents.arm(fault[0], **fault[1])
    async with supervising(Told()):
        done = await in_database(start, agents, "industry_classification")
        failed = await in_database(start, agents, "registry_search")
        await until(has(done, status=RunStatus.FINISHED))
        await until(has(failed, status=RunStatus.FAILED))


async def test_a_status_that_nobody_knows_concludes_nothing(agents: Emulator) -> None:
    agents.arm("vocabulary", words="unknown")
    told = Told()
    async with supervising(told):
        run = await in_database(start, agents, "tin_verification")
        (asked,) = await told.asks(1)
        answer(agents, (await fresh(run)).external_id, asked)
        await in_database(runs.nudge, run.pk)
        await until(has(run, status=RunStatus.FINISHED))
        assert [fact.how for fact in told.facts(Ended)] == ["finished"]


# --- replays and what is no longer kept -----------------------------------------------------------------------------


async def test_a_replay_that_differs_asks_nothing_anew_and_is_kept_once(agents: Emulator) -> None:
    agents.arm("replay-divergent", at=2, times=None)
    told = Told()
    async with supervising(told) as made:
        run = await in_database(start, agents, "kyb_followup")
        for count in (1, 2):
            asked = await told.asks(count)
            await until(has(run, status=RunStatus.WAITING, connected_at=None))
            answer(agents, (await fresh(run)).external_id, asked[-1])
            await in_database(runs.nudge, run.pk)
        await until(has(run, status=RunStatus.FINISHED))
        await let_go(made)
        assert len(told.asked()) == 2
        revised = [data for _, data in await in_database(stream_of, run) if '"revised":true' in data]
        assert len(revised) == len(set(revised)) <= 1
        assert "divergence" not in await house_kinds(run)
        saved, again = await in_database(refolded, run)
        assert saved == again


@pytest.mark.parametrize("fault", ["cut", "duplicate", "slow", "line-end", "oversize", "unknown-event"])
async def test_a_stream_with_a_fault_still_asks_once_and_ends(agents: Emulator, fault: str, settings: Any) -> None:
    settings.EVENT_MAX_BYTES = 200_000
    agents.arm(fault, **({"size": 300_000} if fault == "oversize" else {}))
    told = Told()
    async with supervising(told):
        run = await in_database(start, agents, "tin_verification")
        (asked,) = await told.asks(1)
        answer(agents, (await fresh(run)).external_id, asked)
        await in_database(runs.nudge, run.pk)
        await until(has(run, status=RunStatus.FINISHED))
        assert told.asked() == [asked]


@pytest.mark.parametrize("how", ["404", "done", "eof"])
async def test_a_completed_run_is_known_even_if_its_stream_is_no_longer_kept(agents: Emulator, how: str) -> None:
    provider = await in_database(account, agents)
    external_id = start_elsewhere(agents, "industry_classification")
    await stands(agents, external_id, "completed")
    agents.arm("after-done", how=how)
    async with supervising(Told()):
        run = await in_database(runs.watch, provider, external_id)
        await until(has(run, status=RunStatus.FINISHED, outcome="completed"))


async def test_a_watched_run_that_was_over_opens_no_question_of_its_past(agents: Emulator) -> None:
    told = Told()
    provider = await in_database(account, agents)
    external_id = start_elsewhere(agents, "tin_verification")
    found = await stands(agents, external_id, "interrupted")
    answer(agents, external_id, found["interrupts"][0]["id"])
    await stands(agents, external_id, "completed")
    async with supervising(told) as made:
        run = await in_database(runs.watch, provider, external_id)
        await until(has(run, status=RunStatus.FINISHED))
        await until(lambda: stream_of(run))
        await let_go(made)
        assert await in_database(stream_of, run) == told_by(agents, external_id)  # its history all the same
        assert told.asked() == []


async def test_a_run_that_the_provider_never_had_is_lost(agents: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readback, "GONE_S", 0.1)
    provider = await in_database(account, agents)
    async with supervising(Told()):
        run = await in_database(runs.watch, provider, "c1d2e3f4-5678-40ab-8def-1234567890ab")
        await until(has(run, status=RunStatus.LOST))
        assert (await fresh(run)).error == "The provider no longer knows this run (HTTP 404)."


# --- restarts -------------------------------------------------------------------------------------------------------


async def test_a_new_holder_goes_on_where_the_old_one_stopped(agents: Emulator) -> None:
    told = Told()
    async with supervising(told):
        run = await in_database(start, agents, "kyb_followup")
        (first,) = await told.asks(1)
        await until(has(run, status=RunStatus.WAITING))
    async with supervising(told):
        await until(lambda: Event.objects.filter(run=run, kind="connected").count() == 2)
        answer(agents, (await fresh(run)).external_id, first)
        await in_database(runs.nudge, run.pk)
        _, second = await told.asks(2)
    answer(agents, run.external_id, second)  # nobody holds it
    await stands(agents, str(run.external_id), "completed")
    async with supervising(told) as made:
        await until(has(run, status=RunStatus.FINISHED))
        await let_go(made)
        assert told.asked() == [first, second]
        assert await in_database(stream_of, run) == told_by(agents, run.external_id)
        saved, again = await in_database(refolded, run)
        assert saved == again


async def test_a_nudge_while_nobody_holds_the_run_is_heeded_by_the_next_holder(agents: Emulator) -> None:
    agents.arm("interrupt-end", how="silent", times=None)  # nothing on its stream makes anybody read it
    told = Told()
    async with supervising(told):
        run = await in_database(start, agents, "tin_verification")
        await told.asks(1)
        before = len(await until(lambda: readings(run)))
    await in_database(runs.nudge, run.pk)
    async with supervising(told):
        await until(lambda: len(readings(run)) > before)


async def test_a_nudge_is_heard_at_once(agents: Emulator, settings: Any) -> None:
    agents.arm("interrupt-end", how="silent", times=None)
    told = Told()
    await get_channel_layer().flush()  # type: ignore[no-untyped-call]
    async with supervising(told) as made:
        run = await in_database(start, agents, "tin_verification")
        await told.asks(1)
        before = len(await until(lambda: readings(run)))
        settings.LOOK_EVERY_S = 60.0
        made.wake()  # the look that is under way may still be a short one
        announce.use_loop(asyncio.get_running_loop())
        listening = asyncio.create_task(consumers.listen(made))
        await in_database(runs.nudge, run.pk)
        await until(lambda: len(readings(run)) > before)
        listening.cancel()
        await asyncio.wait([listening])
        announce.use_loop(None)
