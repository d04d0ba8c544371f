"""Where something of a run's stream may be missing, and whether what came later has shown it after all.

The house's own remarks tell: `gap` and `oversize` open a doubt, `covered` ends it. They have no place on the provider's
stream, so that the index on places finds the few of them among any number of events.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from streams.models import GOING, Event, Run, Source

GAP, OVERSIZE, COVERED = "gap", "oversize", "covered"
BY_REPLAY, BY_READING = "replay", "read_back"


@dataclass(slots=True)
class Gaps:
    """The gaps of one run, by the ordinals in front of which frames may be missing."""

    places: set[int] = field(default_factory=set)  # all there ever were
    open: set[int] = field(default_factory=set)
    certain: set[int] = field(default_factory=set)  # of the open ones: the provider's own numbering jumps
    since: datetime | None = None  # when the newest open doubt was noted: a gap, or an event that was too large
    oversize: bool = False

    def heard(self, kind: str, told: dict[str, object], at: datetime) -> None:
        """The next remark."""
        if kind == COVERED:
            self.open.clear()
            self.certain.clear()
            self.oversize = self.oversize and told.get("by") != BY_READING  # no replay gets past it
            self.since = self.since if self.oversize else None
            return
        self.since, self.oversize = at, self.oversize or kind == OVERSIZE
        place = told.get("place")
        if isinstance(place, int):
            self.places.add(place)
            self.open.add(place)
            if told.get("certain"):
                self.certain.add(place)


def of(run_id: UUID) -> Gaps:
    """The gaps of a run."""
    return _read(Event.objects.filter(run=run_id)).get(run_id, Gaps())


def open_in(runs: QuerySet[Run]) -> dict[UUID, datetime]:
    """Which of these runs go on with something missing, perhaps, and since when: what to look for at the provider."""
    going = runs.filter(status__in=GOING).order_by().values("pk")
    found = _read(Event.objects.filter(run__in=going))
    return {run_id: gaps.since for run_id, gaps in found.items() if gaps.since is not None}


def _read(events: QuerySet[Event]) -> dict[UUID, Gaps]:
    told = events.filter(ordinal=None, source=Source.HOUSE, kind__in=(GAP, OVERSIZE, COVERED)).order_by("run", "seq")
    found: dict[UUID, Gaps] = {}
    rows: Iterable[tuple[UUID, str, str, datetime]] = told.values_list("run_id", "kind", "payload", "received_at")
    for run_id, kind, payload, at in rows:
        found.setdefault(run_id, Gaps()).heard(kind, json.loads(payload), at)
    return found
