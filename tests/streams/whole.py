"""A supervisor, a courier and the projector in one loop, as `serve` has them: runs that people answer, end to end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from approvals import courier, decisions, requests
from approvals.models import ApprovalRequest, Decision
from dashboard.models import User
from streams.journal import Journal
from streams.models import Event, Provider, Run
from streams.supervisor import Supervisor
from tests import factories
from tests.streams.holding import in_database, running

T = TypeVar("T")


class House:
    """What a test asks of it."""

    def __init__(self, supervisor: Supervisor, person: User) -> None:
        self.supervisor, self.person = supervisor, person

    async def until(self, fits: Callable[[], T | None]) -> T:
        """Poll the database until it is true; the test's own limit ends it."""
        while not (found := await in_database(fits)):
            await asyncio.sleep(0.02)
        return found

    async def asked(self, run: Run, count: int = 1, **fields: Any) -> list[ApprovalRequest]:
        """So many requests of a run, in the order in which they were asked."""
        wanted = {"status": "pending", **fields}
        rows = ApprovalRequest.objects.filter(run=run, **wanted).order_by("requested_at", "pk")
        return await self.until(lambda: found if len(found := list(rows.all())) >= count else [])

    async def decide(self, one: ApprovalRequest, verdict: str, **said: Any) -> Decision:
        """As somebody at a page would."""
        return await in_database(
            decisions.decide, one.pk, verdict=verdict, by=self.person, seen_sha256=one.input_sha256, **said
        )

    async def becomes(self, one: ApprovalRequest, status: str) -> ApprovalRequest:
        """Wait until a request has a status."""
        rows = ApprovalRequest.objects.filter(pk=one.pk, status=status)
        return await self.until(lambda: rows.first())

    async def ended(self, run: Run, status: str = "finished") -> Run:
        """Wait until a run is over in this way."""
        return await self.until(lambda: Run.objects.filter(pk=run.pk, status=status).first())


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    """A process that holds streams and carries decisions, with its own journal."""
    person = await in_database(factories.user, is_superuser=True, is_staff=True)
    stop = asyncio.Event()
    async with running(requests.project) as tools:
        made = Supervisor(tools.journal, alone=True, slots=100, tools=tools)
        await made.begin()
        work = asyncio.create_task(made.run())
        carrying = asyncio.create_task(courier.carry(stop, made, wake=made.delivery_due))
        try:
            yield House(made, person)
        finally:
            stop.set()
            await asyncio.wait([carrying])
            work.cancel()
            await asyncio.wait([work])
            await made.drain()


def provider(kind: str, url: str, **fields: Any) -> Provider:
    """An account at an emulated provider."""
    made = factories.provider(kind=kind, base_url=url, **fields)
    made.set_secret("key-for-tests")
    made.save()
    return made


def frames_of(run: Run) -> list[tuple[str, str]]:
    """What came on the run's stream, in order."""
    told = Event.objects.filter(run=run, source="provider", ordinal__isnull=False).order_by("seq")
    return list(told.values_list("kind", "payload"))


__all__ = ["House", "Journal", "frames_of", "house", "provider"]
