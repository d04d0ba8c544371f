"""How fast a process knocks at its providers: so many at once, the urgent first, slower where one said "too often"."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from heapq import heappop, heappush
from uuid import UUID

from streams.backoff import ConnectRate

CONNECTS_AT_ONCE = 64  # at one provider: one that never answers keeps nobody else's places


class Urgency(IntEnum):
    """Who goes first where a provider's turns are scarce."""

    HURRY = 0  # somebody waits for it: it waits only for others of its kind, as many a second as of all the rest
    START = 1  # somebody started a run
    WANTED = 2  # a stream to be joined, a run of which something is to be known
    ROUTINE = 3  # a look now and then


class Pace:
    """Whoever opens a stream or reads a run takes a turn; an answer to a person's click does not wait for one."""

    def __init__(self) -> None:
        self._lines: dict[UUID, _Line] = {}

    def heard(self, provider_id: UUID, status: int) -> None:
        """An answer came to a call that had waited for no turn."""
        self._line(provider_id).rate.heard(status, at=asyncio.get_running_loop().time())

    @asynccontextmanager
    async def turn(
        self, provider_id: UUID, *, per_s: float | None = None, urgency: Urgency = Urgency.WANTED
    ) -> AsyncIterator[ConnectRate]:
        """A turn. `per_s`: at most so many a second."""
        line, least_s = self._line(provider_id), 1 / per_s if per_s else 0.0
        if urgency is Urgency.HURRY:
            await asyncio.sleep(line.rate.hurried_s(asyncio.get_running_loop().time(), least_s=least_s))
            yield line.rate
            return
        await line.wait(urgency, least_s)
        async with line.at_once:
            yield line.rate

    def _line(self, provider_id: UUID) -> "_Line":
        return self._lines.setdefault(provider_id, _Line())


class _Line:
    """Who waits for a turn at one provider."""

    def __init__(self) -> None:
        self.rate = ConnectRate()
        self.at_once = asyncio.Semaphore(CONNECTS_AT_ONCE)
        self._waiting: list[tuple[Urgency, int, float, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, urgency: Urgency, least_s: float) -> None:
        """Wait for one's turn, and take it."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (urgency, next(self._numbers), least_s, turn))
        if self._timer is None:
            self._serve()
        await turn

    def _serve(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._waiting:
            _, _, least_s, turn = self._waiting[0]
            if not turn.done():  # else it was cancelled
                if (wait_s := self.rate.free_in_s(loop.time())) > 0:
                    self._timer = loop.call_later(wait_s, self._serve)
                    return
                self.rate.wait_s(loop.time(), least_s=least_s)
                turn.set_result(None)
            heappop(self._waiting)
