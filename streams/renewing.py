"""When a process renews its leases, and when it stops by itself because it could not: by a clock nobody can set."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from django.conf import settings

logger = logging.getLogger(__name__)

AGAIN_S = 1.0  # between two tries of who has stopped
LETTING_GO = 0.15  # of the time that is left without a renewal: what it takes until nothing is read any more
WOKEN_S = 1.0  # who was asleep past the end has one try of this length before it stops

T = TypeVar("T")


async def keep_renewing(
    renew: Callable[[], Awaitable[T]], heed: Callable[[T], Awaitable[None]], stop: Callable[[], Awaitable[None]]
) -> None:
    """Renew, and pass on to `heed` what is still ours; `stop` once when none has succeeded for too long.

    The time counts from before the renewal that succeeded: a lease runs from when the database heard of it, and an
    answer may take long.
    """
    loop = asyncio.get_running_loop()
    renewed_at = tried_at = loop.time()
    stopped = False
    while True:
        stop_at = renewed_at + (1 - LETTING_GO) * settings.LEASE_SELF_STOP_S
        due_at = tried_at + (AGAIN_S if stopped else settings.LEASE_RENEW_S)
        await asyncio.sleep((due_at if stopped else min(due_at, stop_at)) - loop.time())
        now = loop.time()
        in_time, woken = now < stop_at, now > stop_at + WOKEN_S
        if in_time or stopped or woken:
            tried_at = now
            until = stop_at if in_time else now + (settings.LEASE_SELF_STOP_S if stopped else WOKEN_S)
            try:
                async with asyncio.timeout_at(until):
                    mine = await renew()
            except Exception as exc:  # the boundary: without a lease we stop, but keep trying
                logger.warning("leases: not renewed: %s", type(exc).__name__)
            else:
                renewed_at, stopped = tried_at, False
                try:
                    async with asyncio.timeout_at(max(renewed_at + settings.LEASE_SELF_STOP_S, loop.time() + WOKEN_S)):
                        await heed(mine)
                except Exception as exc:  # the next renewal tells it again
                    logger.warning("leases: what became of them was not heeded: %s", type(exc).__name__)
                continue
        if not stopped and loop.time() >= stop_at:
            stopped = True
            await stop()
