"""Runs that go on although a request of theirs may have been missed: what the inbox says above its list."""

from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.panels import Sight
from streams import gaps
from streams.models import Run

LINES = 3


@dataclass(frozen=True, slots=True)
class Missing:
    """`runs`: the newest of them, with their providers; `more`: how many others there are."""

    runs: Sequence[Run] = ()
    more: int = 0


def find(seen: Sight) -> Missing:
    """In one query where nothing is missing."""
    since = gaps.open_in(seen.runs)
    newest = sorted(since, key=lambda run_id: since[run_id], reverse=True)
    if not newest:
        return Missing()
    runs = seen.runs.select_related("provider").in_bulk(newest[:LINES])
    return Missing([runs[run_id] for run_id in newest[:LINES] if run_id in runs], max(0, len(newest) - LINES))
