"""What lived long and ended in a cycle goes with the next full collection; and threads share one heap."""

import asyncio
import gc
import os
import subprocess
import sys
import weakref
from types import SimpleNamespace

import pytest

from dashboard import memory
from tests.countersign import ROOT


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
    monkeypatch.setattr(memory, "COLLECT_EVERY_S", 0.01)
    task = asyncio.create_task(memory.collect_now_and_then())
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

    monkeypatch.setattr(memory, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(memory, "gc", SimpleNamespace(collect=lambda: 0))
    monkeypatch.setattr(memory, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    with pytest.raises(asyncio.CancelledError):
        await memory.collect_now_and_then()
    assert slept == [300.0, 300.0, pytest.approx(1200.0)]


HEAPS = """
import ctypes, os, sys, threading
from dashboard import memory
from tests.countersign import ROOT

memory.share_one_heap()
libc = ctypes.CDLL(None)
if not hasattr(libc, "malloc_info"):
    sys.exit()
libc.malloc.restype = ctypes.c_void_p
libc.fopen.restype = ctypes.c_void_p
ready = threading.Barrier(9)

def allocate():
    libc.malloc(ctypes.c_size_t(100_000))
    ready.wait()
    ready.wait()

for _ in range(8):
    threading.Thread(target=allocate).start()
ready.wait()
file = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, file)
libc.fflush(file)
ready.wait()
"""


@pytest.mark.parametrize(("chosen", "heaps"), [(None, 1), ("3", 3)])
def test_threads_share_one_heap_unless_somebody_chose_otherwise(chosen: str | None, heaps: int) -> None:
    kept = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    done = subprocess.run(
        [sys.executable, "-c", HEAPS], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT,
        env={**kept, **({"MALLOC_ARENA_MAX": chosen} if chosen else {})},
    )  # fmt: skip
    if not done.stdout:
        pytest.skip("a C library without such heaps")
    assert done.stdout.count("<heap nr=") == heaps
