"""A Run's moves: the table and move(). Nobody else writes a run's status."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q

from streams.errors import MoveRefused
from streams.models import ENDED, Run, RunStatus

S = RunStatus
_ANY_END = frozenset(ENDED)

MOVES: Mapping[RunStatus, frozenset[RunStatus]] = {
    S.QUEUED: frozenset({S.CONNECTING}) | _ANY_END,
    S.CONNECTING: frozenset({S.QUEUED, S.STREAMING, S.WAITING}) | _ANY_END,  # back to queued: provably never sent
    S.STREAMING: frozenset({S.WAITING, S.CONNECTING}) | _ANY_END,
    S.WAITING: frozenset({S.STREAMING, S.CONNECTING}) | _ANY_END,
    S.FINISHED: frozenset({S.FAILED}),  # AG-UI: a late RUN_ERROR
    S.FAILED: frozenset(),
    S.CANCELLED: frozenset({S.FAILED}),
    S.TRUNCATED: frozenset({S.FAILED}),  # ended in a form we do not know, and then RUN_ERROR
    S.LOST: frozenset({S.CONNECTING}),  # an operator asks the provider again
}


def sources(to: RunStatus) -> list[RunStatus]:
    """The statuses from which a run may become `to`."""
    return [source for source, targets in MOVES.items() if to in targets]


def move(run_id: UUID, *, to: RunStatus, at: datetime, **facts: Any) -> None:
    """Move a run and write what goes with it (outcome, error), or raise MoveRefused."""
    if not try_move(run_id, to=to, at=at, **facts):
        raise MoveRefused(run_id, to)


def try_move(run_id: UUID, *narrowed: Q, to: RunStatus, at: datetime, **facts: Any) -> bool:
    """As move(), but a refusal is an answer. `narrowed`: further conditions of the same UPDATE."""
    ended_at = {"ended_at": at if to in ENDED else None}
    rows = Run.objects.filter(*narrowed, pk=run_id, status__in=sources(to))
    return bool(rows.update(status=to, status_changed_at=at, **ended_at, **facts))
