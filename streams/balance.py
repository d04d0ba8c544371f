"""How many streams each of several processes is to hold, and how many one of them gives back. Pure: time is given.

A move costs a reconnect, so small differences stay.
"""

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

logger = logging.getLogger(__name__)

MOVES_LEAST = 8  # at once; of a large surplus an eighth
YIELD_S = 3.0  # how long what is free is left to those who hold less than we do
GIVEN_S = 10.0  # how long what we gave back is left to the others
NOBODY_TAKES_S = 60.0  # how long nothing is given back when the others did not take what was


@dataclass(frozen=True, slots=True)
class Share:
    """One process that lives: how many leases it has, how many it has room for, how long ago it was last seen."""

    owner: str
    streams: int
    slots: int
    silent_s: float


def fair(shares: Sequence[Share], *, free: int = 0) -> int:
    """How many each would hold, rounded up, if all shared alike what is held and what is free."""
    if not shares:
        return free
    return -(-(sum(share.streams for share in shares) + free) // len(shares))


def to_take(shares: Sequence[Share], *, owner: str, free: int) -> int:
    """How much of what is free this process takes at once; the rest is left to the others for a moment."""
    mine = next((share.streams for share in shares if share.owner == owner), 0)
    known = any(share.owner == owner for share in shares)
    everybody = shares if known else [*shares, Share(owner, 0, 1, 0.0)]
    return max(0, min(free, fair(everybody, free=free) - mine))


def to_give(shares: Sequence[Share], *, owner: str, most: int) -> int:
    """How many streams this process gives back now; none where the difference is not worth a reconnect.

    Every process decides so from the same rows: together they give no more than the others have room for.
    """
    mine = next((share.streams for share in shares if share.owner == owner), 0)
    level, peak = fair(shares), max((share.streams for share in shares), default=0)
    room = sum(max(0, min(level, share.slots) - share.streams) for share in shares if share.owner != owner)
    least = min(
        (share.streams for share in shares if share.owner != owner and share.streams < share.slots), default=mine
    )
    if not room or mine - least < 2 or 4 * mine <= 5 * least:  # within a quarter is even enough
        return 0
    if peak <= level:  # rounding up hides the difference (4, 4 and 2): one of those who have most gives one
        return int(owner == min(share.owner for share in shares if share.streams == peak))
    surplus, everybodys = max(0, mine - level), sum(max(0, share.streams - level) for share in shares)
    return min(surplus, -(-room * surplus // everybodys), most, max(MOVES_LEAST, surplus // 8))


class Scale:
    """One process's memory of who was there, what was free and what it gave back; `now` is a clock that nobody sets."""

    def __init__(self, owner: str, *, settled_after_s: float) -> None:
        self._owner, self._settled_after_s = owner, settled_after_s
        self._free_since: dict[UUID, float] = {}
        self._given: dict[UUID, float] = {}
        self._crew: tuple[frozenset[str], float] = frozenset(), 0.0  # who lives, and since when it is these
        self._give_after = 0.0

    def left_to_others(self, now: float) -> set[UUID]:
        """What we gave back a moment ago."""
        return {run_id for run_id, at in self._given.items() if now - at < GIVEN_S}

    def take(self, shares: Sequence[Share], found: Collection[UUID], now: float) -> tuple[list[UUID], int]:
        """Of what is free: our share of it, or else what nobody took for a while. What to ask for, and how much."""
        self._free_since = {run_id: self._free_since.get(run_id, now) for run_id in found}
        old = [run_id for run_id, since in self._free_since.items() if now - since >= YIELD_S]
        most = to_take(shares, owner=self._owner, free=len(found))
        return (list(found), most) if most >= len(old) else (old, len(old))

    def give(self, shares: Sequence[Share], *, most: int, now: float) -> int:
        """How many to give back now. None while somebody joins, leaves or is silent: it may be about to be gone."""
        crew = frozenset(share.owner for share in shares)
        if crew != self._crew[0]:
            self._crew = crew, now
        heard = all(share.silent_s < self._settled_after_s for share in shares)
        if self._given or self._owner not in crew or not heard or now < self._give_after:
            return 0
        return to_give(shares, owner=self._owner, most=most) if now - self._crew[1] >= self._settled_after_s else 0

    @property
    def given(self) -> set[UUID]:
        """What we gave back and nobody is known to have taken. The next lot goes when there is none."""
        return set(self._given)

    def gave(self, run_ids: Iterable[UUID], now: float) -> None:
        """These were given back."""
        self._given = dict.fromkeys(run_ids, now)

    def still_free(self, run_ids: Collection[UUID], now: float) -> None:
        """Of what we gave back, nobody has taken these yet."""
        self._given = {run_id: at for run_id, at in self._given.items() if run_id in run_ids}
        if len(self.left_to_others(now)) < len(self._given):
            logger.warning("holder %s: nobody took %d streams that it gave back", self._owner, len(self._given))
            self._given, self._give_after = {}, now + NOBODY_TAKES_S
