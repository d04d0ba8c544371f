"""Runs that a proxy's 404 lost, and their provider has still: asked for again, answered, and acted on once."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from approvals import lost
from approvals.models import ApprovalRequest
from streams import readback, runs
from streams.models import Run
from tests.emulator import Emulator, emulator
from tests.streams.holding import in_database
from tests.streams.scripted import plain
from tests.streams.whole import House, house, provider

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_engine]
KINDS = {"mindra": "refund", "langgraph": "agent", "agno": "desk"}  # kind -> workflow


@pytest.fixture(scope="module")
def agents() -> Iterator[Emulator]:
    with emulator() as one:
        yield one


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.LOOK_EVERY_S = 0.05
    monkeypatch.setattr(readback, "SPACE_S", 0.05)
    monkeypatch.setattr(readback, "GONE_S", 0.1)
    monkeypatch.setattr(readback, "AWAY_S", 0.2)
    monkeypatch.setattr(readback, "LINGER_S", 0.1)
    monkeypatch.setattr(readback, "POLL_MOST_S", 0.2)
    monkeypatch.setattr(readback, "AFTER_NUDGE_S", (0.1,) * 100)


class Gate:
    """A reverse proxy. Shut, it cuts what is open and knows nothing: 404 to every request."""

    def __init__(self, behind: str) -> None:
        self._behind = urlsplit(behind)
        self.url, self.shut, self.refused = "", False, 0
        self._open: set[asyncio.StreamWriter] = set()
        self.tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        self.shut = True
        for writer in self._open:
            writer.close()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                if self.shut:
                    await reader.readuntil(b"\r\n\r\n")
                    self.refused += 1
                    writer.write(plain(404, "no such route"))
                    await writer.drain()
                else:
                    await self._through(reader, writer)
        finally:
            self.tasks.discard(task)
            writer.close()

    async def _through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, to_them = await asyncio.open_connection(self._behind.hostname, self._behind.port)
        both = {writer, to_them}
        self._open |= both

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while chunk := await source.read(65_536):
                    sink.write(chunk)
                    await sink.drain()
            sink.close()

        try:
            await asyncio.gather(pump(reader, to_them), pump(theirs, writer))
        finally:
            self._open -= both
            to_them.close()


@asynccontextmanager
async def gate(behind: str) -> AsyncIterator[Gate]:
    made = Gate(behind)
    server = await asyncio.start_server(made.pass_on, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{urlsplit(behind).path}"
    try:
        yield made
    finally:
        server.close()
        for task in list(made.tasks):
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)


async def lose(ours: House, way: Gate, kind: str, task: str = "refund", count: int = 1) -> Run:
    """A run that asked, and then was not there."""
    account = await in_database(provider, kind, way.url)
    run = await in_database(runs.start, account, workflow=KINDS[kind], task=task)
    await ours.asked(run, count)
    way.close()
    await ours.ended(run, "lost")
    assert {status for _, status in await versions(run)} == {"stale"}
    return run


async def again(ours: House, run: Run) -> list[ApprovalRequest]:
    made = await in_database(lost.ask_again, run.pk, by=ours.person)
    ours.supervisor.wake()  # as its consumer does when it hears the hint
    return made


async def versions(run: Run) -> list[tuple[int, str]]:
    rows = ApprovalRequest.objects.filter(run=run).order_by("call_id", "version")
    return await in_database(lambda: list(rows.values_list("version", "status")))


async def effects(agents: Emulator, run: Run) -> list[dict[str, Any]]:
    external_id = (await in_database(Run.objects.get, pk=run.pk)).external_id
    return await asyncio.to_thread(agents.effects, run=external_id)


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_a_run_that_is_found_again_is_answered_and_acts_once(agents: Emulator, kind: str) -> None:
    async with gate(getattr(agents, kind)) as way, house() as ours:
        run = await lose(ours, way, kind)
        way.shut = False
        (asked,) = await again(ours, run)
        await ours.decide(asked, "approve")
        await ours.becomes(asked, "delivered")
        await ours.ended(run)
        assert await versions(run) == [(1, "stale"), (2, "delivered")]
    (row,) = await effects(agents, run)
    assert (row["approve"], row["executed"], row["reject"]) == (1, 1, 0)


async def test_questions_that_are_answered_together_come_back_together(agents: Emulator) -> None:
    async with gate(agents.agno) as way, house() as ours:
        run = await lose(ours, way, "agno", "account-deletion", 2)
        way.shut = False
        first, second = await again(ours, run)
        assert first.batch_id == second.batch_id is not None
        await ours.decide(first, "approve")
        await ours.decide(second, "reject")
        await ours.becomes(first, "delivered")
        await ours.becomes(second, "delivered")
        await ours.ended(run)
    did = {row["approval"]: (row["approve"], row["executed"], row["reject"]) for row in await effects(agents, run)}
    assert did == {first.call_id: (1, 1, 0), second.call_id: (0, 0, 1)}


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_a_run_that_is_not_found_again_is_lost_again_and_stays_so(agents: Emulator, kind: str) -> None:
    async with gate(getattr(agents, kind)) as way, house() as ours:
        run = await lose(ours, way, kind)
        for count in (2, 3):
            refused = way.refused
            (asked,) = await again(ours, run)
            await ours.becomes(asked, "stale")
            await ours.ended(run, "lost")
            assert way.refused > refused
            assert await versions(run) == [(version, "stale") for version in range(1, count + 1)]
    (row,) = await effects(agents, run)
    assert (row["approve"], row["executed"], row["reject"]) == (0, 0, 0)


async def test_what_was_answered_elsewhere_meanwhile_can_be_answered_by_nobody_here(agents: Emulator) -> None:
    async with gate(agents.mindra) as way, house() as ours:
        run = await lose(ours, way, "mindra")
        run = await in_database(Run.objects.get, pk=run.pk)
        (old,) = await ours.asked(run, status="stale")
        url = f"{agents.mindra}/v1/workflows/execute/{run.external_id}/approve/{old.call_id}"
        async with httpx.AsyncClient(trust_env=False) as client:
            (await client.post(url, json={}, headers={"x-api-key": "somebody-else"})).raise_for_status()
        way.shut = False
        await again(ours, run)
        await ours.ended(run)
        assert (await versions(run))[1][1] in ("expired", "withdrawn")
    (row,) = await effects(agents, run)
    assert (row["approve"], row["executed"]) == (1, 1)
