"""The whole product in a test's own process, beside a real emulator: so that a test may count, break and patch it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from django.contrib.auth.models import Permission

from approvals import decisions
from approvals.models import ApprovalRequest, AuditHead, RequestStatus
from dashboard import server
from dashboard.models import User
from streams import offload, runs
from streams.models import ENDED, Provider, Run, RunStatus
from tests import factories
from tests.countersign import PATIENT_S
from tests.e2e import ledger
from tests.emulator import Emulator
from tests.faults.history import Record, violations
from tests.streams.holding import in_database

T = TypeVar("T")

CATCH_UP = 400  # looks; a planted fault never goes away, so its test looks a few times only
ON_ITS_WAY = {"pending", "held", "deciding", "sent"}


@dataclass
class System:
    """What one test started, and what its reviewers were told: request -> verdict, "" for one that was taken back."""

    agents: Emulator
    folder: Path  # the emulator's state
    before: set[tuple[str, str]]  # runs of other tests
    confirmed: dict[str, str] = field(default_factory=dict)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    work: "asyncio.Task[None] | None" = None

    # -- what is done

    async def begin(self) -> None:
        """Journal, supervisor, courier, herald and listener on this loop."""
        self.stop = asyncio.Event()
        self.work = asyncio.create_task(server.work(self.stop))

    async def end(self) -> None:
        """An orderly stop; every thread's connection is closed."""
        self.stop.set()
        if self.work is not None:
            async with asyncio.timeout(PATIENT_S):
                await self.work
        await asyncio.to_thread(offload.close_all)

    async def start(self, kind: str, scenario: str = "outbound-email", *, faults: str = "") -> UUID:
        """A run of a scenario; its id."""
        return await in_database(self._start, kind, scenario, faults)

    def _start(self, kind: str, scenario: str, faults: str) -> UUID:
        provider = Provider.objects.get(kind=kind)
        workflow = scenario if kind == "mindra" else ""
        return runs.start(provider, task=f"{scenario} {faults}".strip(), workflow=workflow).pk

    async def asked(self, run_id: UUID) -> ApprovalRequest:
        """The run's pending request, once there is one."""
        waiting = ApprovalRequest.objects.filter(run=run_id, status=RequestStatus.PENDING)
        return await self.until(waiting.first)

    async def decide(
        self, asked: ApprovalRequest, verdict: str = "approve", *, undo_s: int = 0, seen: str = ""
    ) -> None:
        """By a reviewer who saw the arguments with this hash, the request's own unless said otherwise."""
        by, seen = await in_database(User.objects.get), seen or asked.input_sha256
        await in_database(decisions.decide, asked.pk, verdict=verdict, by=by, seen_sha256=seen, undo_s=undo_s)
        self.confirmed[str(asked.pk)] = verdict

    async def undo(self, asked: ApprovalRequest) -> None:
        by = await in_database(User.objects.get)
        await in_database(decisions.undo, asked.pk, by=by)
        self.confirmed[str(asked.pk)] = ""

    # -- what there is

    async def until(self, look: Callable[[], T | None]) -> T:
        """What a look at the database finds, once it finds something."""
        async with asyncio.timeout(PATIENT_S):
            while not (found := await in_database(look)):
                await asyncio.sleep(0.02)
            return found

    async def at_rest(self, *run_ids: UUID) -> None:
        """Every request of these runs has an end, and so have they, or they wait for nobody that we know of."""

        def quiet() -> bool:
            asked = ApprovalRequest.objects.filter(run__in=run_ids)
            return not asked.filter(status__in=ON_ITS_WAY).exists() and not (
                Run.objects.filter(pk__in=run_ids).exclude(status__in=[*ENDED, RunStatus.WAITING]).exists()
            )

        await self.until(quiet)

    async def broken(self, *, looks: int = CATCH_UP) -> list[str]:
        """The agents' record against the database; whoever has not caught up yet is waited for."""
        found: list[str] = []
        for _ in range(looks):
            books = ledger.parse(await in_database(ledger.told))
            record = Record.read(self.folder).without(self.before)
            if not (found := violations(record, books, confirmed=self.confirmed)):
                break
            await asyncio.sleep(0.05)
        return found


def _prepare(urls: Mapping[str, str]) -> None:
    AuditHead.objects.get_or_create(pk=1, defaults={"hash": "0" * 64})
    for kind, url in urls.items():
        made = factories.provider(name=f"the-{kind}", kind=kind, base_url=url)
        made.set_secret("key-for-tests")
        made.save()
    person = factories.user()
    person.user_permissions.add(Permission.objects.get(codename="decide_request"))


@asynccontextmanager
async def system(agents: Emulator, folder: Path, **urls: str) -> AsyncIterator[System]:
    """Accounts, a reviewer and everything that runs; for a test with `django_db(transaction=True)`.

    `urls`: other ways to an agent, by its kind.
    """
    await in_database(_prepare, {"mindra": agents.mindra, "agui": agents.agent, **urls})
    made = System(agents, folder, Record.read(folder).runs())
    await made.begin()
    try:
        yield made
    finally:
        await made.end()
