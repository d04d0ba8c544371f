"""What runs in one process ends with any of its parts: whoever runs the process starts it again."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from approvals import courier
from dashboard import server
from streams import offload
from streams.journal import Journal
from streams.models import HolderProcess
from streams.supervisor import Supervisor

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_engine]


@pytest.fixture(autouse=True)
async def _close_the_threads_connection() -> AsyncIterator[None]:
    yield
    await sync_to_async(connections.close_all)()


def thread_ends(self: Journal) -> None:
    raise SystemExit


async def returns(*args: Any, **kwargs: Any) -> None:
    pass


async def fails(*args: Any, **kwargs: Any) -> None:
    raise OSError("gone")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the journal's, as is meant
@pytest.mark.parametrize(
    ("owner", "name", "dies"),
    [
        (Journal, "_next", thread_ends),
        (courier, "carry", returns),
        (courier, "carry", fails),
        (Supervisor, "run", fails),
        (server, "listen", fails),
    ],
)
async def test_a_part_that_ends_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, dies: Any
) -> None:
    monkeypatch.setattr(owner, name, dies)
    with pytest.raises(ExceptionGroup):
        async with asyncio.timeout(20):
            await server.work(asyncio.Event())
    await asyncio.to_thread(offload.close_all)


async def test_a_stop_drains_and_takes_the_process_off_the_list() -> None:
    stop = asyncio.Event()

    async def part(stopped: asyncio.Event) -> None:
        assert await HolderProcess.objects.acount() == 1
        stopped.set()

    async with asyncio.timeout(20):
        await server.work(stop, part)
    assert await HolderProcess.objects.acount() == 0
    await asyncio.to_thread(offload.close_all)
