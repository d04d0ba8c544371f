"""Threads of the emulated LangGraph platform, from the start to what an answer did."""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from approvals.models import ApprovalRequest
from streams import readback, runs
from streams.models import Run
from streams.sse import Decoder
from tests.emulator import Emulator, emulator
from tests.streams.holding import in_database
from tests.streams.whole import frames_of, house, provider

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_engine]


@pytest.fixture(scope="module")
def agents() -> Iterator[Emulator]:
    with emulator("langgraph") as one:
        yield one


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, settings: Any, agents: Emulator) -> Iterator[None]:
    settings.LOOK_EVERY_S = 0.05
    monkeypatch.setattr(readback, "SPACE_S", 0.05)
    monkeypatch.setattr(readback, "AFTER_NUDGE_S", (0.1,) * 100)
    yield
    agents.disarm()


async def start(agents: Emulator, task: str, **fields: Any) -> Run:
    account = await in_database(provider, "langgraph", agents.langgraph, **fields)
    return await in_database(runs.start, account, workflow="agent", task=task)


async def effect(agents: Emulator, run: Run) -> dict[str, Any]:
    """The one effect of a thread."""
    thread = (await in_database(Run.objects.get, pk=run.pk)).external_id
    (row,) = await asyncio.to_thread(agents.effects, run=thread)
    return row


async def test_a_call_that_is_approved_runs_once(agents: Emulator) -> None:
    async with house() as ours:
        run = await start(agents, "refund")
        (asked,) = await ours.asked(run)
        assert asked.tool == "issue_refund"
        assert asked.offers_edit
        assert asked.offers_reason
        await ours.decide(asked, "approve")
        await ours.becomes(asked, "delivered")
        await ours.ended(run)
    row = await effect(agents, run)
    assert (row["approve"], row["executed"], row["reject"]) == (1, 1, 0)
    assert row["approval"] == asked.call_id


async def test_a_call_that_is_refused_does_not_run_and_its_agent_hears_why(agents: Emulator) -> None:
    async with house() as ours:
        run = await start(agents, "refund")
        (asked,) = await ours.asked(run)
        await ours.decide(asked, "reject", reason="not before Friday")
        await ours.becomes(asked, "delivered")
        await ours.ended(run)
        await ours.until(lambda: "Understood (not before Friday)" in said_by(run))
    row = await effect(agents, run)
    assert (row["approve"], row["executed"], row["reject"], row["skipped"]) == (0, 0, 1, 1)


async def test_a_call_that_is_changed_runs_with_the_changes(agents: Emulator) -> None:
    async with house() as ours:
        run = await start(agents, "refund")
        (asked,) = await ours.asked(run)
        await ours.decide(asked, "approve", edited='{"amount": 1, "order": "9"}')
        await ours.becomes(asked, "delivered")
        await ours.ended(run)
    row = await effect(agents, run)
    assert row["executed_sha256"] == hashlib.sha256(b'{"amount":1,"order":"9"}').hexdigest()
    assert row["executed"] == 1


async def test_an_answer_that_was_lost_on_its_way_back_is_not_sent_again(agents: Emulator) -> None:
    async with house() as ours:
        run = await start(agents, "refund fault:effect-then-drop")
        (asked,) = await ours.asked(run)
        await ours.decide(asked, "approve")
        await ours.becomes(asked, "delivered")
        await ours.ended(run)
    row = await effect(agents, run)
    assert (row["approve"], row["executed"]) == (1, 1)


async def test_an_answer_without_a_word_is_in_doubt_and_is_not_sent_again(agents: Emulator) -> None:
    async with house() as ours:
        run = await start(agents, "refund fault:drop-before-effect")
        (asked,) = await ours.asked(run)
        await ours.decide(asked, "approve")
        await ours.becomes(asked, "unknown")
    row = await effect(agents, run)
    assert row["executed"] == 0


async def test_interrupts_of_one_pause_are_answered_one_by_one_by_their_ids(agents: Emulator) -> None:
    """Two of them came in one moment, under one SSE id: neither is lost."""
    async with house() as ours:
        run = await start(agents, "account-deletion fault:question-form=percall")
        first = (await ours.asked(run))[0]
        while (await in_database(Run.objects.get, pk=run.pk)).status not in ("finished", "failed"):
            for one in await in_database(lambda: list(ApprovalRequest.objects.filter(run=run, status="pending"))):
                await ours.decide(one, "approve")
                await ours.becomes(one, "delivered")
            await asyncio.sleep(0.05)
        done = await in_database(Run.objects.get, pk=run.pk)
        assert done.status == "finished"
    rows = await asyncio.to_thread(agents.effects, run=done.external_id)
    assert first.reason == "tool_approval"
    assert [row["executed"] for row in rows] == [1] * len(rows)
    assert [row["approve"] for row in rows] == [1] * len(rows)


def said_by(run: Run) -> str:
    """The agent's words, joined."""
    return "".join(json.loads(data)[0].get("content", "") for kind, data in frames_of(run) if kind == "messages")


async def told(run: Run) -> list[tuple[str, str]]:
    return await in_database(frames_of, run)


@pytest.mark.parametrize("after", [2, 8])
async def test_a_takeover_in_the_middle_of_a_stream_loses_and_doubles_nothing(agents: Emulator, after: int) -> None:
    """The next process begins at the stream's start, whatever was the last id that came."""
    async with house() as first:
        run = await start(agents, f"refund fault:stall={after}")
        await first.until(lambda: len(frames_of(run)) >= after)
    async with house() as second:
        (asked,) = await second.asked(run)
        await second.decide(asked, "approve")
        await second.ended(run)
        whole = await everything(agents, run)
        await second.until(lambda: len(frames_of(run)) >= len(whole))
    assert await told(run) == whole


async def everything(agents: Emulator, run: Run) -> list[tuple[str, str]]:
    """The thread's stream as a second watcher has it."""
    thread = (await in_database(Run.objects.get, pk=run.pk)).external_id
    decoder, frames = Decoder(), []
    url, headers = f"{agents.langgraph}/threads/{thread}/stream", {"last-event-id": "0-0", "x-api-key": "k"}
    count = next(row["frames"] for row in await asyncio.to_thread(agents.runs, run=thread))
    async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", url, headers=headers) as answer:
        async for chunk in answer.aiter_raw():
            frames += decoder.feed(chunk)
            if len(frames) >= count:
                break
    return [(frame.event, frame.data) for frame in frames]


async def test_a_thread_that_nobody_knows_is_lost(agents: Emulator) -> None:
    async with house() as ours:
        account = await in_database(provider, "langgraph", agents.langgraph)
        run = await in_database(runs.watch, account, "00000000-0000-4000-8000-000000000001")
        await ours.ended(run, "lost")


async def test_somebody_elses_thread_is_watched_and_answered(agents: Emulator) -> None:
    thread = "00000000-0000-4000-8000-00000000000a"
    body = {"assistant_id": "refund", "input": {"messages": []}, "if_not_exists": "create"}
    assert httpx.post(f"{agents.langgraph}/threads/{thread}/runs", json=body, trust_env=False).status_code == 200
    async with house() as ours:
        account = await in_database(provider, "langgraph", agents.langgraph)
        run = await in_database(runs.watch, account, thread)
        (asked,) = await ours.asked(run)
        await ours.decide(asked, "approve")
        await ours.becomes(asked, "delivered")
        await ours.ended(run)
    assert (await effect(agents, run))["executed"] == 1
