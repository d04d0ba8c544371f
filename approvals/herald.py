"""The herald: an async loop that sends webhooks, in a lane of its own, so that no receiver delays a decision."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.utils import timezone

from approvals import tries, webhook_client
from approvals.tries import Claim
from approvals.webhook_client import Posted
from streams import offload
from streams.errors import SecretError
from streams.faults import fault

logger = logging.getLogger(__name__)

AT_ONCE = 128
DRAIN_S = 2.0
UNWIND_S = 0.3
GIVE_BACK_S = 0.8
WRITE_AGAIN_S = (0.2, 1.0, 3.0)

Post = Callable[[str, bytes, Mapping[str, str]], Awaitable[Posted]]


async def carry(
    stop: asyncio.Event, owner: str, *, wake: asyncio.Event | None = None, post: Post = webhook_client.post
) -> None:
    """Send until `stop`. `wake` is set by whoever hears that a webhook may be due; we look every second anyway."""
    pool = offload.Pool("herald", 2)
    try:
        async with asyncio.TaskGroup() as group:
            await Herald(owner, group, pool, wake or asyncio.Event(), post).run(stop)
    finally:
        await asyncio.to_thread(pool.close)


@dataclass(slots=True)
class Herald:
    """One process's herald."""

    owner: str
    group: asyncio.TaskGroup
    pool: offload.Pool
    wake: asyncio.Event
    post: Post = webhook_client.post
    chance: Callable[[], float] = random.random
    _in_flight: dict[asyncio.Task[None], Claim] = field(default_factory=dict)
    _failing: set[UUID] = field(default_factory=set)  # endpoints whose last try failed

    async def run(self, stop: asyncio.Event) -> None:
        """Look, send, wait for the next reason to look; at the end let what is under way finish."""
        logger.info("herald: started as %s", self.owner)
        every = connection.vendor == "sqlite"  # the one process of this database: every claim of before is nobody's
        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                self.wake.clear()
                wait_s = await self._look(every=every)
                every = False
                await self._until_something(stopped, wait_s)
        finally:
            stopped.cancel()
            await self._drain()
        logger.info("herald: stopped")

    async def _look(self, *, every: bool) -> float:
        """Begin all tries that are due; returns how long there is nothing to do."""
        busy = Counter(claim.endpoint_id for claim in self._in_flight.values())
        room = AT_ONCE - len(self._in_flight)
        try:
            claims, due = await self.pool.run(tries.look, self.owner, room, busy, set(self._failing), every=every)
        except DatabaseError as exc:
            logger.warning("herald: the database is away, trying again: %s", type(exc).__name__)
            return float(settings.LOOK_EVERY_S)
        for claim in claims:
            self._start(claim)
        return 0.0 if claims else self._wait_s(due)

    def _wait_s(self, due: datetime | None) -> float:
        """Until the next try is due by the database's clock; ours may differ, so never longer than usual."""
        longest = float(settings.LOOK_EVERY_S)
        if due is None:
            return longest
        return min(longest, max(0.01, (due - timezone.now()).total_seconds()))

    def _start(self, claim: Claim) -> None:
        fault("herald.claimed")
        task = self.group.create_task(self._send_one(claim), name=f"webhook {claim.delivery_id}")
        self._in_flight[task] = claim
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._in_flight.pop(task, None)
        self.wake.set()  # the next one of its endpoint, or of its request, may go now

    async def _until_something(self, stopped: "asyncio.Task[bool]", wait_s: float) -> None:
        woken = asyncio.create_task(self.wake.wait())
        try:
            await asyncio.wait([woken, stopped], timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()

    async def _drain(self) -> None:
        """What is under way may end; what does not is made again by whoever looks next."""
        if self._in_flight:
            await asyncio.wait(list(self._in_flight), timeout=DRAIN_S)
        broken_off = dict(self._in_flight)
        for task in broken_off:
            task.cancel()
        if broken_off:
            await asyncio.wait(broken_off, timeout=UNWIND_S)
            try:
                async with asyncio.timeout(GIVE_BACK_S):
                    await self.pool.run(tries.give_back, list(broken_off.values()))
            except (DatabaseError, TimeoutError) as exc:
                logger.warning("herald: claims were not given back, they run out: %s", type(exc).__name__)

    async def _send_one(self, claim: Claim) -> None:
        """The boundary around one try: whatever goes wrong here, the others go on."""
        try:
            tried = await self._try(claim)
            if tried is not None:
                await self._conclude(claim, *tried)
                fault("herald.recorded")
        except Exception as exc:  # its row is found again when the claim runs out
            logger.error("webhook %s: its end could not be written: %s", claim.delivery_id, type(exc).__name__)

    async def _try(self, claim: Claim) -> tuple[Posted, datetime | None] | None:
        """What came of it, and when it was signed; None where the claim is another's by now."""
        try:
            letter = await self.pool.run(tries.prepare, claim)
            if letter is None:
                return None
            fault("herald.leaving")
            return await self.post(letter.url, letter.body, letter.headers), letter.at
        except DatabaseError:
            raise
        except SecretError as exc:
            return Posted(why=str(exc)), None
        except Exception as exc:
            # Never the exception's own words: they may quote the URL. It counts as a try, so that it comes to an end.
            logger.error("webhook %s: a try failed: %s", claim.delivery_id, type(exc).__name__)
            return Posted(why=f"it could not be sent: {type(exc).__name__}"), None

    async def _conclude(self, claim: Claim, posted: Posted, sent_at: datetime | None) -> None:
        """Write what came of it; a database that is away for a moment is waited for."""
        fault("herald.answered")
        taken = posted.status is not None and 200 <= posted.status < 300
        (self._failing.discard if taken else self._failing.add)(claim.endpoint_id)
        for wait_s in (*WRITE_AGAIN_S, None):
            try:
                return await self.pool.run(tries.conclude, claim, posted, chance=self.chance(), sent_at=sent_at)
            except DatabaseError as exc:
                if wait_s is None:
                    raise
                logger.warning("webhook %s: its end is written again: %s", claim.delivery_id, type(exc).__name__)
                await asyncio.sleep(wait_s)
