"""What keeps the memory of a process that runs for months where it is: collections by the clock, and one heap."""

import asyncio
import ctypes
import gc
import os
import time
from contextlib import suppress

COLLECT_AFTER = (50_000, 20, 50)  # objects made; each held stream keeps some hundred of them
COLLECT_EVERY_S = 300.0
COLLECT_SHARE = 1 / 2000  # of the time, at most: with 5,000 streams a full collection stops everything for 0.6 s
M_ARENA_MAX = -8  # of glibc's <malloc.h>


def prepare() -> None:
    """Once, when everything is loaded and before there are threads."""
    share_one_heap()
    keep_what_is_loaded()


def share_one_heap() -> None:
    """By glibc's default each thread allocates from a heap of its own, and what it frees no other thread can use.

    With a dozen threads that work now and then the process grew by 15 MiB an hour, although what was in use did not.
    Nearly all of ours allocate under the interpreter's lock: there is nobody to wait for. MALLOC_ARENA_MAX goes first.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(AttributeError, OSError):  # another C library, without such heaps
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def keep_what_is_loaded() -> None:
    """No collection walks through all of Django again: that would stop the loop for tens of milliseconds each time.

    And none comes so often that the objects of thousands of streams are walked through with every few events.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


async def collect_now_and_then() -> None:
    """A full collection, until cancelled: what lived long and ends in a cycle (a socket, a client) waits for one.

    By themselves there would be none for hours, and a page that came and went costs some kilobytes until then.
    """
    took_s = 0.0
    while True:
        await asyncio.sleep(max(COLLECT_EVERY_S, took_s / COLLECT_SHARE))
        began = time.monotonic()
        gc.collect()
        took_s = time.monotonic() - began
