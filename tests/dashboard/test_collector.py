"""What lived long and ended in a cycle goes with the next full collection, which comes by the clock."""

import asyncio
import gc
import weakref

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
