"""What lived long and ended in a cycle goes with the next full collection, which comes by the clock."""

import asyncio
import gc
import weakref
from types import SimpleNamespace

import pytest

from dashboard import server


class Socket:
    """Holds itself, as a connection and its protocol hold each other."""

    def __init__(self) -> None:
        self.protocol = self


async def test_an_old_cycle_is_gone_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Socket()
    gc.collect()
    gc.collect()  # it is among the old by now, where only a full collection looks
    gone = asyncio.Event()
    weakref.finalize(one, gone.set)
    del one
    assert not gone.is_set()
    monkeypatch.setattr(server, "COLLECT_EVERY_S", 0.01)
    task = asyncio.create_task(server.collect_now_and_then())
    async with asyncio.timeout(20):
        await gone.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_collections_that_take_long_come_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else happens during one, and with thousands of streams it takes more than half a second."""
    slept: list[float] = []
    moments = iter([100.0, 100.05, 200.0, 200.6])

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr(server, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(server, "gc", SimpleNamespace(collect=lambda: 0))
    monkeypatch.setattr(server, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    with pytest.raises(asyncio.CancelledError):
        await server.collect_now_and_then()
    assert slept == [300.0, 300.0, pytest.approx(1200.0)]
