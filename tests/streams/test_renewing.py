"""A process that cannot renew its leases stops by itself, once, and goes on when it can again."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from streams.renewing import keep_renewing

LIMIT_S = 30


class House:
    """What a renewal does, and what came of it."""

    def __init__(self, *renewals: Callable[[], Awaitable[int]]) -> None:
        self._renewals = list(renewals)
        self.heeded: list[int] = []
        self.stops = 0
        self.changed = asyncio.Event()

    async def renew(self) -> int:
        return await (self._renewals.pop(0) if len(self._renewals) > 1 else self._renewals[0])()

    async def heed(self, mine: int) -> None:
        self.heeded.append(mine)
        self.changed.set()

    async def stop(self) -> None:
        self.stops += 1
        self.changed.set()

    async def until(self, fits: Callable[[], bool]) -> None:
        task = asyncio.create_task(keep_renewing(self.renew, self.heed, self.stop))
        try:
            async with asyncio.timeout(LIMIT_S):
                while not fits():
                    self.changed.clear()
                    await self.changed.wait()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def works() -> int:
    return 7


async def refused() -> int:
    raise OSError("the database is away")


async def never() -> int:
    await asyncio.Event().wait()
    return 0


@pytest.fixture(autouse=True)
def _soon(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.LEASE_RENEW_S, settings.LEASE_SELF_STOP_S = 0.05, 0.3
    monkeypatch.setattr("streams.renewing.AGAIN_S", 0.05)


async def test_a_renewal_is_heeded_again_and_again() -> None:
    house = House(works)
    await house.until(lambda: len(house.heeded) == 3)
    assert house.stops == 0


@pytest.mark.parametrize("away", [refused, never])
async def test_without_a_renewal_it_stops_once_and_goes_on_with_the_next(away: Callable[[], Awaitable[int]]) -> None:
    house = House(works, away, away, away, away, away, away, away, away, away, works)
    await house.until(lambda: len(house.heeded) >= 2)
    assert house.stops <= 1  # a refusal is quick: the tenth may come before the time is over
    stuck = House(away)
    await stuck.until(lambda: stuck.stops == 1)
    assert stuck.heeded == []


async def test_the_time_counts_from_before_the_renewal_that_succeeded(settings: Any) -> None:
    """Its lease runs from when the database heard of it; how long the answer took is lost time."""
    settings.LEASE_SELF_STOP_S = 2.0
    loop, asked_at, stopped_at = asyncio.get_running_loop(), [0.0], [0.0]

    async def answers_late() -> int:
        asked_at[0] = loop.time()
        await asyncio.sleep(1.0)
        return 1

    class Stopping(House):
        async def stop(self) -> None:
            stopped_at[0] = loop.time()
            await super().stop()

    house = Stopping(answers_late, never)
    await house.until(lambda: house.stops == 1)
    assert house.heeded == [1]
    # Not three: the second that the answer took is part of the two.
    assert stopped_at[0] - asked_at[0] < 2.9


async def test_what_cannot_be_heeded_does_not_end_the_renewals() -> None:
    class Failing(House):
        async def heed(self, mine: int) -> None:
            await super().heed(mine)
            raise OSError("the database is away again")

    house = Failing(works)
    await house.until(lambda: len(house.heeded) == 3)


async def test_who_slept_past_the_end_tries_once_before_it_stops(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped process that is woken still has what nobody took."""
    monkeypatch.setattr("streams.renewing.WOKEN_S", 0.0)
    settings.LEASE_RENEW_S, settings.LEASE_SELF_STOP_S = 0.3, 0.3  # the renewal is never due before the end
    house = House(works)
    await house.until(lambda: len(house.heeded) == 2)
    assert house.stops == 0
