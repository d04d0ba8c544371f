"""Runs of the emulated Agno AgentOS, from the start to what an answer did."""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from streams import readback, runs
from streams.models import Run
from tests.emulator import Emulator, emulator
from tests.streams.holding import in_database
from tests.streams.whole import frames_of, house, provider

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_engine]


@pytest.fixture(scope="module")
def agents() -> Iterator[Emulator]:
    with emulator("agno") as one:
        yield one


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, settings: Any, agents: Emulator) -> Iterator[None]:
    settings.LOOK_EVERY_S = 0.05
    monkeypatch.setattr(readback, "SPACE_S", 0.05)
    monkeypatch.setattr(readback, "AFTER_NUDGE_S", (0.1,) * 100)
    yield
    agents.disarm()


async def start(agents: Emulator, task: str) -> Run:
    account = await in_database(provider, "agno", agents.agno)
    return await in_database(runs.start, account, workflow="desk", task=task)


async def effects(agents: Emulator, run: Run) -> list[dict[str, Any]]:
    external_id = (await in_database(Run.objects.get, pk=run.pk)).external_id
    return await asyncio.to_thread(agents.effects, run=external_id)


async def told(run: Run) -> list[tuple[str, str]]:
    return await in_database(frames_of, run)


async def test_a_start_that_is_a_stream_is_joined_and_its_call_runs_once(agents: Emulator) -> None:
    async with house() as ours:
        run = await start(agents, "refund")
        (asked,) = await ours.asked(run)
        assert asked.tool == "issue_refund"
        assert asked.batch_id is None
        await ours.decide(asked, "approve")
        await ours.becomes(asked, "delivered")
        done = await ours.ended(run)
    assert done.thread_id == str(run.pk)
    (row,) = await effects(agents, run)
    assert (row["approve"], row["executed"], row["reject"]) == (1, 1, 0)
    assert [kind for kind, _ in await told(run) if kind in ("replay", "catch_up", "subscribed")] == []


async def test_a_pause_of_two_calls_is_answered_whole(agents: Emulator) -> None:
    """One of them is refused and says why; nothing leaves before both are decided."""
    async with house() as ours:
        run = await start(agents, "account-deletion")
        first, second = await ours.asked(run, 2)
        assert first.batch_id == second.batch_id is not None
        await ours.decide(first, "approve", edited='{"name": "other"}')
        assert [row["approve"] for row in await effects(agents, run)] == [0, 0]
        await ours.decide(second, "reject", reason="not yet")
        await ours.becomes(first, "delivered")
        await ours.becomes(second, "delivered")
        await ours.ended(run)
    yes, no = await effects(agents, run)
    assert (yes["approve"], yes["executed"], no["reject"], no["executed"]) == (1, 1, 1, 0)
    assert yes["executed_sha256"] == hashlib.sha256(b'{"name":"other"}').hexdigest()


@pytest.mark.parametrize("code", [409, 422])
async def test_a_pause_whose_answer_was_not_taken_is_asked_again_and_answered_whole(
    agents: Emulator, code: int
) -> None:
    async with house() as ours:
        run = await start(agents, f"account-deletion fault:status={code},on=decision")
        first = await ours.asked(run, 2)
        for one in first:
            await ours.decide(one, "approve")
        for one in first:
            await ours.becomes(one, "stale")
        again = await ours.asked(run, 2)
        assert {one.version for one in again} == {2}
        assert again[0].batch_id == again[1].batch_id not in (None, first[0].batch_id)
        assert [row["executed"] for row in await effects(agents, run)] == [0, 0]
        await ours.decide(again[0], "approve")
        await ours.decide(again[1], "reject")
        for one in again:
            await ours.becomes(one, "delivered")
        await ours.ended(run)
    yes, no = await effects(agents, run)
    assert (yes["executed"], no["executed"]) == (1, 0)


async def test_an_answer_that_was_lost_on_its_way_back_is_not_sent_again(agents: Emulator) -> None:
    async with house() as ours:
        run = await start(agents, "refund fault:effect-then-drop")
        (asked,) = await ours.asked(run)
        await ours.decide(asked, "reject")
        await ours.becomes(asked, "delivered")
        await ours.ended(run)
    (row,) = await effects(agents, run)
    assert (row["approve"], row["reject"], row["executed"]) == (0, 1, 0)


@pytest.mark.parametrize("after", [2, 8])
async def test_a_takeover_in_the_middle_of_a_stream_loses_and_doubles_nothing(agents: Emulator, after: int) -> None:
    async with house() as first:
        run = await start(agents, f"refund fault:stall={after},on=stream")
        await first.until(lambda: len(frames_of(run)) >= after)
    async with house() as second:
        (asked,) = await second.asked(run)
        await second.decide(asked, "approve")
        done = await second.ended(run)
        (kept,) = await asyncio.to_thread(agents.runs, run=done.external_id)
        await second.until(lambda: len(frames_of(run)) >= kept["frames"])
    places = [json.loads(data)["event_index"] for _, data in await told(run)]
    assert places == list(range(kept["frames"]))


async def test_a_run_that_nobody_knows_is_lost(agents: Emulator) -> None:
    """Its stream answers 200 and says so in an event; the run itself is not there."""
    async with house() as ours:
        account = await in_database(provider, "agno", agents.agno)
        run = await in_database(runs.watch, account, "desk/session-1/00000000-0000-4000-8000-000000000001")
        await ours.ended(run, "lost")
