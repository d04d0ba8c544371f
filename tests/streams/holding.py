"""What the tests of holder and supervisor share: a journal that runs, a held run, what was stored of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

from channels.db import database_sync_to_async
from django.utils import timezone

from streams import offload
from streams.commit import Project
from streams.holder import Holder, Tools
from streams.journal import Journal, Stored
from streams.models import Event, Lease, Provider, Run, RunStatus
from tests import factories

P = ParamSpec("P")
T = TypeVar("T")
LIMIT_S = 30
OWNER = "me"


async def in_database(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    made: T = await database_sync_to_async(call)(*args, **kwargs)
    return made


def ignore(stored: Sequence[Stored]) -> None:
    pass


@asynccontextmanager
async def running(project: Project = ignore, **tools: Any) -> AsyncIterator[Tools]:
    """Tools with a journal whose thread runs, and no waiting between attempts."""
    journal = Journal(project)
    journal.start()
    try:
        async with asyncio.timeout(LIMIT_S):
            yield Tools(OWNER, journal, **{"chance": lambda: 0.0, **tools})
    finally:
        await journal.close()
        offload.close_all()


def make_run(url: str, *, kind: str = "fake", secret: str = "", **fields: Any) -> Run:
    provider = factories.provider(kind=kind, base_url=url)
    if secret:
        provider.set_secret(secret)
        provider.save()
    return factories.run(provider=provider, **{"status": RunStatus.QUEUED, **fields})


def lease(run: Run, *, epoch: int = 1, owner: str = OWNER) -> None:
    Lease.objects.create(run=run, owner=owner, epoch=epoch, expires_at=timezone.now() + timedelta(seconds=15))


async def held(url: str, **fields: Any) -> Run:
    run = await in_database(make_run, url, **fields)
    await in_database(lease, run)
    return run


async def hold(run: Run, tools: Tools, *, epoch: int = 1) -> None:
    await Holder(run.pk, epoch, tools).hold()


def _stored(run: Run, source: str) -> list[tuple[str, str]]:
    rows = Event.objects.filter(run=run, source=source).order_by("seq")
    return list(rows.values_list("kind", "payload"))


async def provider_events(run: Run) -> list[tuple[str, str]]:
    return await in_database(_stored, run, "provider")


async def house_kinds(run: Run) -> list[str]:
    return [kind for kind, _ in await in_database(_stored, run, "house")]


async def fresh(run: Run) -> Run:
    await in_database(run.refresh_from_db)
    return run


async def provider_of(run: Run) -> Provider:
    return await in_database(Provider.objects.get, pk=run.provider_id)
