"""How long to wait before the next attempt: full jitter, and what a provider asks for."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

BASE_S = 1.0
CAP_S = 60.0
ASKED_CAP_S = 3600.0  # nobody may send us away for longer than this
HEALTHY_S = 30.0  # a stream that lived this long starts the count again


class Backoff:
    """Delays of one stream: `max(asked, U(0, min(CAP_S, BASE_S * 2^n)))`."""

    __slots__ = ("_chance", "failures")

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance  # random.random, or a test's
        self.failures = 0

    def next_s(self, *, asked_s: float = 0.0) -> float:
        """The next delay; `asked_s` is the provider's lower bound (`retry:`, Retry-After)."""
        ceiling = min(CAP_S, BASE_S * 2.0 ** min(self.failures, 16))
        self.failures += 1
        return max(min(asked_s, ASKED_CAP_S), self._chance() * ceiling)

    def lived(self, seconds: float) -> None:
        """A connection ended after so many seconds of service."""
        if seconds >= HEALTHY_S:
            self.failures = 0


def retry_after_s(value: str | None, *, now: datetime) -> float | None:
    """Retry-After in seconds from now: digits or an HTTP date (RFC 9110 section 10.2.3). None where it says nothing.

    Capped at ASKED_CAP_S; a date that is over means now.
    """
    said = (value or "").strip()
    if said.isascii() and said.isdigit():
        return min(float(said), ASKED_CAP_S)
    try:
        at = parsedate_to_datetime(said)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    wait_s = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    # Our clock and theirs differ, and their date has whole seconds: rounding up is never early.
    return min(float(math.ceil(max(wait_s, 0.0))), ASKED_CAP_S)


class ConnectRate:
    """How often one provider is knocked at: without limit until it says 429, then half as often each time it does."""

    __slots__ = ("_free_at", "_hurried_at", "interval_s")

    def __init__(self) -> None:
        self.interval_s = self._free_at = self._hurried_at = 0.0

    def wait_s(self, now: float, *, least_s: float = 0.0) -> float:
        """How long to wait for the next turn, which is taken thereby. `least_s`: between two turns, come what may."""
        starts_at = max(now, self._free_at)
        self._free_at = starts_at + max(self.interval_s, least_s)
        return starts_at - now

    def free_in_s(self, now: float) -> float:
        """How long the next turn is not to be had yet."""
        return max(0.0, self._free_at - now)

    def hurried_s(self, now: float, *, least_s: float) -> float:
        """As wait_s(), for who cannot wait behind the others: at most as many of them a second again."""
        starts_at = max(now, self._hurried_at)
        self._hurried_at = starts_at + least_s
        return starts_at - now

    def heard(self, status: int, *, at: float) -> None:
        """An answer came."""
        if status == 429:
            self.interval_s = min(max(2 * self.interval_s, 0.1), CAP_S)
            self._free_at = max(self._free_at, at + self.interval_s)
        elif self.interval_s and status < 400:
            self.interval_s = self.interval_s / 2 if self.interval_s > 0.1 else 0.0
