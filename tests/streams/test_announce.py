"""Hints leave after the commit only, on the loop that was named, and may be lost without harm."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from channels.db import database_sync_to_async
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.conf import settings
from django.db import transaction

from streams import announce

LIMIT_S = 10


@pytest.fixture(autouse=True)
def _no_loop() -> Iterator[None]:
    yield
    announce.use_loop(None)


def layer() -> Any:
    return get_channel_layer()  # type: ignore[no-untyped-call]


@pytest.mark.django_db(transaction=True)
async def test_a_hint_leaves_with_the_commit_on_the_named_loop() -> None:
    async with asyncio.timeout(LIMIT_S):
        await layer().flush()
        announce.use_loop(asyncio.get_running_loop())
        run_id, mine = uuid4(), await layer().new_channel()
        await layer().group_add(announce.LIVE, mine)

        def write() -> None:
            with transaction.atomic():
                announce.changed(announce.run_topic(run_id), announce.INBOX, announce.INBOX)
                announce.stream_wake(run_id)
                assert not announce._tasks

        await database_sync_to_async(write)()
        heard = await layer().receive(mine)
        assert heard == {"type": "live.changed", "topics": [announce.INBOX, f"run.{run_id.hex}"]}
        assert await layer().receive(settings.STREAMS_CHANNEL) == {"type": "stream.wake", "run_id": str(run_id)}


@pytest.mark.django_db(transaction=True)
async def test_whoever_wakes_the_loop_anyway_takes_the_hints_along() -> None:
    async with asyncio.timeout(LIMIT_S):
        await layer().flush()
        announce.use_loop(asyncio.get_running_loop())
        mine = await layer().new_channel()
        await layer().group_add(announce.LIVE, mine)

        def write(topic: str, *, fails: bool = False) -> list[announce.OnLoop]:
            with announce.gathered() as hints, suppress(ZeroDivisionError), transaction.atomic():
                announce.changed(topic)
                assert not hints
                if fails:
                    raise ZeroDivisionError
            return hints

        assert await database_sync_to_async(write)("undone", fails=True) == []
        (hint,) = await database_sync_to_async(write)("gathered")
        await database_sync_to_async(announce.changed)("at once")  # gathered no longer
        assert (await layer().receive(mine))["topics"] == ["at once"]
        hint()
        assert (await layer().receive(mine))["topics"] == ["gathered"]


@pytest.mark.django_db(transaction=True)
async def test_a_rolled_back_change_is_not_announced() -> None:
    announce.use_loop(asyncio.get_running_loop())
    await layer().flush()

    def write() -> None:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            announce.stream_stop(uuid4())
            raise ZeroDivisionError

    await database_sync_to_async(write)()
    await asyncio.sleep(0)
    assert not layer().channels


@pytest.mark.django_db(transaction=True)
def test_a_lost_hint_fails_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(channel: str, message: object) -> None:
        raise ConnectionError("redis is gone")

    monkeypatch.setattr(layer(), "send", refuse)
    announce.delivery_wake(uuid4())


async def test_a_layer_that_takes_nothing_does_not_make_hints_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, go_on = [0], asyncio.Event()

    class Hanging:
        async def send(self, channel: str, message: object) -> None:
            taken[0] += 1
            await go_on.wait()

    monkeypatch.setattr(announce, "WAITING_MOST", 3)
    async with asyncio.timeout(LIMIT_S):
        for _ in range(10):
            announce._spawn(lambda: Hanging().send("", {}))
        await asyncio.sleep(0)
        assert taken == [3]
        go_on.set()
        while announce._tasks:
            await asyncio.sleep(0)
        announce._spawn(lambda: Hanging().send("", {}))
        await asyncio.sleep(0)
        assert taken == [4]


@pytest.mark.django_db(transaction=True)
async def test_who_listens_in_this_process_is_told_without_a_layer_that_reaches_nobody_else() -> None:
    await layer().flush()
    mine, heard = await layer().new_channel(), list[list[str]]()
    await layer().group_add(announce.LIVE, mine)
    told = asyncio.Event()

    def hear(topics: Sequence[str]) -> None:
        heard.append(list(topics))
        told.set()

    announce.use_loop(asyncio.get_running_loop())
    announce.listen(hear)
    try:
        await database_sync_to_async(announce.changed)("run.b", "run.a")
        async with asyncio.timeout(LIMIT_S):
            await told.wait()
        assert heard == [["run.a", "run.b"]]
        assert not announce._tasks
    finally:
        announce.unlisten(hear)
    async with asyncio.timeout(LIMIT_S):
        await database_sync_to_async(announce.changed)("run.c")
        assert (await layer().receive(mine))["topics"] == ["run.c"]
    assert len(heard) == 1


@pytest.mark.django_db(transaction=True)
async def test_another_layer_is_told_once_and_tells_us_with_all_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shared(InMemoryChannelLayer):
        """As Redis is: what is sent may have to reach other processes."""

    shared: Any = Shared()  # type: ignore[no-untyped-call]
    monkeypatch.setattr(announce, "_layer", lambda: shared)
    mine, heard = await shared.new_channel(), list[Sequence[str]]()
    await shared.group_add(announce.LIVE, mine)
    announce.use_loop(asyncio.get_running_loop())
    announce.listen(heard.append)
    try:
        async with asyncio.timeout(LIMIT_S):
            await database_sync_to_async(announce.changed)("run.a")
            assert (await shared.receive(mine))["topics"] == ["run.a"]
    finally:
        announce.unlisten(heard.append)
        announce._listening.clear()
    assert heard == []
