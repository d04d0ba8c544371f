"""How fast a process knocks at its providers: so many at once, the urgent first, slower where one said "too often"."""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from heapq import heappop, heappush
from typing import NamedTuple
from uuid import UUID

from streams.backoff import ConnectRate

CONNECTS_AT_ONCE = 64  # at one provider: one that never answers keeps nobody else's places
OLDEST_EVERY = 4  # turns: then it is for whoever waits longest, so that what is never urgent comes to its turn too


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


class _Place(NamedTuple):
    """In the order of urgency, and of arrival."""

    urgency: Urgency
    number: int
    least_s: float
    turn: "asyncio.Future[None]"


class _Line:
    """Who waits for a turn at one provider."""

    def __init__(self) -> None:
        self.rate = ConnectRate()
        self.at_once = asyncio.Semaphore(CONNECTS_AT_ONCE)
        self._by_urgency: list[_Place] = []  # a heap
        self._by_age: deque[_Place] = deque()
        self._numbers, self._turn = itertools.count(), 1
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return sum(not place.turn.done() for place in self._by_age)

    async def wait(self, urgency: Urgency, least_s: float) -> None:
        """Wait for one's turn, and take it."""
        place = _Place(urgency, next(self._numbers), least_s, asyncio.get_running_loop().create_future())
        heappush(self._by_urgency, place)
        self._by_age.append(place)
        if self._timer is None:
            self._serve()
        await place.turn

    def _serve(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while (place := self._next()) is not None:
            if (wait_s := self.rate.free_in_s(loop.time())) > 0:
                self._timer = loop.call_later(wait_s, self._serve)
                return
            self.rate.wait_s(loop.time(), least_s=place.least_s)
            place.turn.set_result(None)
            self._turn += 1

    def _next(self) -> "_Place | None":
        """Whose turn it is; nobody's who had one, or was cancelled."""
        while self._by_urgency and self._by_urgency[0].turn.done():
            heappop(self._by_urgency)
        while self._by_age and self._by_age[0].turn.done():
            self._by_age.popleft()
        if not self._by_age:
            return None
        return self._by_age[0] if self._turn % OLDEST_EVERY == 0 else self._by_urgency[0]
