"""Every pair of a run's statuses: either the table has the move and it happens, or nothing changes."""

import itertools

import pytest
from django.utils import timezone

from streams import lifecycle
from streams.errors import MoveRefused
from streams.models import ENDED, Run, RunStatus
from tests import factories

pytestmark = pytest.mark.django_db


def run_in(status: RunStatus) -> Run:
    return factories.run(status=status, ended_at=timezone.now() if status in ENDED else None)


def test_every_status_has_a_row() -> None:
    assert set(lifecycle.MOVES) == set(RunStatus)


@pytest.mark.parametrize(("before", "after"), list(itertools.product(RunStatus, RunStatus)))
def test_a_run_moves_as_the_table_says(before: RunStatus, after: RunStatus) -> None:
    run = run_in(before)
    if after in lifecycle.MOVES[before]:
        lifecycle.move(run.pk, to=after, at=timezone.now(), outcome="told")
    else:
        with pytest.raises(MoveRefused):
            lifecycle.move(run.pk, to=after, at=timezone.now(), outcome="told")
    run.refresh_from_db()
    moved = after in lifecycle.MOVES[before]
    assert (run.status, run.outcome) == ((after, "told") if moved else (before, ""))
    assert (run.ended_at is not None) == (run.status in ENDED)


def test_what_failed_never_changes() -> None:
    assert not lifecycle.MOVES[RunStatus.FAILED]
