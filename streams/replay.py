"""What of a new connection's frames is new: pure matching against what is stored, by the stream's ids or by position.

A provider may replay a run from its start, from somewhere, or not at all, and does not say which. Frames that equal
stored ones are held back until that is clear; since a held-back frame is always identical to a stored one, no new
question is ever delayed. Nothing here reads a clock or the database.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
Mode = Literal["full", "tail", "none", "unknown"]

SURE_FRAMES = 8  # so many frames equal from the very start are a replay, not chance
TELLING_FRAMES = 2  # and so many, where each stands only once in the past
SEARCH_FRAMES = 64  # how many frames in a row a differing replay may bring before it counts as over
DENSE_IDS = 20  # how many stored ids are asked whether they count by one
NUMBERED = re.compile(r"(.*?)(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Past:
    """What is stored of one run's stream."""

    positions: Sequence[frozenset[str]] = ()  # ordinal -> identities; several where replays differed
    ids: Mapping[str, int] = field(default_factory=dict)  # own id -> ordinal, in stored order
    gaps: frozenset[int] = frozenset()  # ordinals in front of which frames may be missing
    open: frozenset[int] = frozenset()  # of the gaps: nothing has shown yet what is there
    certain: frozenset[int] = frozenset()  # of the open ones: the ids jump there
    missing_since: datetime | None = None  # when the newest of what is open was noted
    payloads: frozenset[str] = frozenset()  # of all frames, where an identity does not tell two of them apart


@dataclass(frozen=True, slots=True)
class New(Generic[T]):
    """A frame that is not stored yet."""

    item: T
    ordinal: int
    own_id: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames are missing here (certain), or may be."""

    certain: bool
    ordinal: int


@dataclass(frozen=True, slots=True)
class Divergence:
    """The replayed past differs from the stored one from here on. Told once a connection."""

    ordinal: int


@dataclass(frozen=True, slots=True)
class Replayed(Generic[T]):
    """A frame that stands where a stored one of its identity does, and that no stored one equals."""

    item: T
    ordinal: int


@dataclass(frozen=True, slots=True)
class Covered:
    """This replay went through every place where frames may have been missing: nothing is, any more."""


Found = New[T] | Gap | Divergence | Replayed[T] | Covered


class Matcher(Generic[T]):
    """Takes one connection's frames in order and hands out what is new; `live` once all that follows is.

    `exact`: a replayed frame is the first one byte for byte, so that a difference is worth an alert. Where it is not,
    identities are coarse, and a matched frame whose payload is not among the past's is handed out as Replayed.
    """

    def __init__(self, past: Past, mode: Mode, *, exact: bool = True) -> None:
        self._past, self._mode, self._exact = past, mode, exact
        self.end = self._end = len(past.positions)  # ordinals below it are the past's
        self._next = self._end  # the next new frame's ordinal
        self._alerted = False
        self._held: list[tuple[T, str]] = []
        self._where: dict[str, list[int]] = {}
        self._at: list[int] = []  # positions where a differing replay may stand
        self._differs: int | None = None  # which of its frames was the first that is not where the past has it
        self._index = 0  # of the next frame on this connection
        self._telling = 0  # held-back frames that stand only once in the past
        self._passed: set[int] = set()  # places at which the replay had the frames on both sides
        self._payload, self._payloads = "", set(past.payloads)
        self._strange = 0  # frames in a row that are not stored
        self._overlaps = self._resumed = False
        self.live = not self._end or mode == "none"
        if self.live:
            return
        for position, identities in enumerate(past.positions):
            for identity in identities:
                self._where.setdefault(identity, []).append(position)
        self._take = self._by_id if past.ids else self._by_position
        self._starts: set[int] | None = None  # where in the stored stream this connection may have begun
        self._ended: set[int] = set()  # those of them that reached the stored end
        last = list(past.ids.values())[-1] if past.ids else -1
        self._cursors = {0, last + 1}
        self._place, self._between = -1, False  # of the last frame that was known; whether others came behind it

    def feed(self, item: T, identity: str, own_id: str = "", payload: str = "") -> list[Found[T]]:
        """Take the next frame. `payload` is wanted where the matching is not exact."""
        self._payload = payload
        return [self._new(item, own_id)] if self.live else self._take(item, identity, own_id)

    def place(self) -> int:
        """The ordinal of the next frame, where that can only be a new one (`live`)."""
        self._next += 1
        return self._next - 1

    def _new(self, item: T, own_id: str) -> New[T]:
        self._next += 1
        return New(item, self._next - 1, own_id)

    def _go_live(self) -> None:
        self.live = True
        self._held, self._where, self._past, self._payloads = [], {}, Past(), set()

    def _known(self, item: T, ordinal: int) -> list[Found[T]]:
        if self._exact or self._payload in self._payloads:
            return []
        self._payloads.add(self._payload)
        return [Replayed(item, ordinal)]

    def _diverged(self, ordinal: int) -> list[Found[T]]:
        alert: list[Found[T]] = [Divergence(ordinal)] if self._exact and not self._alerted else []
        self._alerted = True
        return alert

    def _through(self, *places: int) -> None:
        if self._past.open:
            self._passed.update(places)

    def _covered(self) -> list[Found[T]]:
        """Said where the replay has come to the end of the past."""
        return [Covered()] if self._past.open and self._past.open <= self._passed else []

    # -- a stream with ids

    def _by_id(self, item: T, identity: str, own_id: str) -> list[Found[T]]:
        if own_id in self._past.ids:
            position = self._past.ids[own_id]
            self._cursors, self._overlaps, self._strange = {position + 1}, True, 0
            if identity in self._past.positions[position]:
                return [*self._known(item, position), *self._reach(position)]
            # Kept beside the other, whose id it has.
            return [*self._diverged(position), New(item, position, ""), *self._reach(position)]
        if not own_id:
            for position in self._cursors:
                if position < self._end and identity in self._past.positions[position]:
                    self._cursors = {position + 1}
                    return [*self._known(item, position), *self._reach(position)]
            self._between = True
            return [self._new(item, "")]
        self._between = True
        found: list[Found[T]] = []
        if not self._resumed:
            self._resumed = True
            found = self._id_gap(own_id)
        self._strange += 1
        if self._strange > SEARCH_FRAMES:
            self._go_live()
        return [*found, self._new(item, own_id)]

    def _reach(self, position: int) -> list[Found[T]]:
        """A known frame came. Where the ids jump, what is between them has to come as well."""
        if position == self._place + 1 and (self._between or position not in self._past.certain):
            self._through(position)
        self._place, self._between = position, False
        return self._covered() if position + 1 == self._end else []

    def _id_gap(self, own_id: str) -> list[Found[T]]:
        """Whether frames are missing in front of the first new id. Ids that count by one tell, others do not."""
        numbers = [_number(known) for known in list(self._past.ids)[-DENSE_IDS:]]
        fresh, last = _number(own_id), numbers[-1]
        steps = [_step(one, two) for one, two in zip(numbers, numbers[1:], strict=False)]
        if fresh and last and fresh[0] == last[0] and steps and 2 * steps.count(1) >= len(steps):
            return [Gap(True, self._next)] if fresh[1] > last[1] + 1 else []
        if self._overlaps or self._mode == "full":
            return []
        return [Gap(False, self._next)]

    # -- a stream without

    def _by_position(self, item: T, identity: str, own_id: str) -> list[Found[T]]:
        if self._at:
            return self._resync(item, identity, own_id)
        if self._differs is not None:
            return self._rejoin(self._differs, item, identity, own_id)
        count, starts = len(self._held), self._starts
        if starts is None:
            starts = {0} if self._mode == "full" else set(self._where.get(identity, ()))
        still = {start for start in starts if identity in self._past.positions[start + count]}
        if not still:
            return self._resolve(item, identity, own_id, starts)
        self._hold(item, identity, own_id)
        ended = {start for start in still if start + count + 1 == self._end}
        self._ended |= ended
        self._starts = still - ended
        found = self._known(item, min(still) + count)
        if not self._starts:  # the longest overlap ended with this very frame
            self._through(*range(self._end - count, self._end))
            found += self._covered()
            self._go_live()
        return found

    def _hold(self, item: T, identity: str, own_id: str) -> None:
        self._held.append((item, own_id))
        self._telling += len(self._where.get(identity, ())) == 1

    def _resolve(self, item: T, identity: str, own_id: str, starts: set[int]) -> list[Found[T]]:
        """A frame that continues no stored sequence: now it is clear what the held-back ones were."""
        count, began = len(self._held), min(starts, default=0)
        sure = count >= SURE_FRAMES or 2 * count >= self._end or count in self._past.gaps
        sure = began == 0 and (sure or self._telling >= TELLING_FRAMES)
        if self._mode == "full" or (count and sure) or self._telling >= SURE_FRAMES:
            self._through(*range(began + 1, began + count))
            self._held, self._at = [], [began + count]
            return self._resync(item, identity, own_id)
        gap: list[Found[T]] = []
        fresh = [*self._held, (item, own_id)]
        if self._ended:
            fresh = fresh[self._end - min(self._ended) :]
            self._go_live()
        else:
            gap = [Gap(False, self._next)]
            self._look_out(count)
        return [*gap, *(self._new(*one) for one in fresh)]

    def _look_out(self, differs: int) -> None:
        """It looks like a tail; it may be a replay from the start all the same, whose very first frames differ."""
        self._differs, self._index = differs, differs + 1
        self._held, self._telling = [], 0
        if not self._exact or self._index >= self._end:
            self._go_live()

    def _rejoin(self, differs: int, item: T, identity: str, own_id: str) -> list[Found[T]]:
        """Frames that stand on this connection just where the past has them are held back until they are proof."""
        place = self._index
        self._index += 1
        if identity in self._past.positions[place]:
            self._hold(item, identity, own_id)
            if self._telling >= TELLING_FRAMES:
                self._through(*range(1, place + 1))
                self._held, self._at = [], [place + 1]
                return [*self._diverged(differs), *self._at_end()]
            if len(self._held) < SURE_FRAMES and self._index < self._end:
                return []
            fresh = self._held
        else:
            fresh = [*self._held, (item, own_id)]
        self._held, self._telling = [], 0
        if self._index >= min(self._end, SEARCH_FRAMES):
            self._go_live()
        return [self._new(*one) for one in fresh]

    def _at_end(self) -> list[Found[T]]:
        """Whether a differing replay has come to the end of the past."""
        if self._at[0] < self._end:
            return []
        found = self._covered()
        self._go_live()
        return found

    def _resync(self, item: T, identity: str, own_id: str) -> list[Found[T]]:
        """A replay from the start whose past differs: what is stored is passed over, what is not is kept beside it."""
        known = self._where.get(identity)
        if known:
            self._strange = 0
            ahead = [position for position in known if position >= self._at[0]]
            if not ahead and not self._exact and self._payload not in self._payloads:
                self._go_live()  # nothing like it is ahead in the past, so it comes behind all of it
                return [self._new(item, own_id)]
            if not ahead:
                return []  # stored at another place
            found = [*(self._diverged(ahead[0]) if ahead[0] not in self._at else []), *self._known(item, ahead[0])]
            if ahead[0] == self._at[0]:
                self._through(ahead[0])
            self._at = [ahead[0] + 1]
            return [*found, *self._at_end()]
        self._strange += 1
        if self._at[-1] == self._end or self._strange > SEARCH_FRAMES:
            found = self._covered() if self._at[-1] == self._end else []
            self._go_live()
            return [*found, self._new(item, own_id)]
        ordinal = self._at[0]
        expected = any(position in self._past.gaps for position in self._at)  # it fills what we knew to be missing
        self._at.append(self._at[-1] + 1)
        return [*([] if expected else self._diverged(ordinal)), New(item, ordinal, own_id)]


def _number(own_id: str) -> tuple[str, int] | None:
    """An id's name and number: `evt-17` -> ("evt-", 17)."""
    found = NUMBERED.fullmatch(own_id)
    return (found[1], int(found[2])) if found and found[2].isascii() else None


def _step(one: tuple[str, int] | None, two: tuple[str, int] | None) -> int:
    return two[1] - one[1] if one and two and one[0] == two[0] else 0
