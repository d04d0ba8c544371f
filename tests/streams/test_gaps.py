"""Which runs go on with something missing: opened by a gap or an event too large, closed by what shows it after all."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from streams import events, gaps
from streams.models import Event, Run, RunStatus
from tests import factories

pytestmark = pytest.mark.django_db


def remark(run: Run, kind: str, **told: Any) -> None:
    text = json.dumps({"text": "words", **told})
    seq = Event.objects.filter(run=run).count() + 1
    fields = {"source": "house", "kind": kind, "payload": text, "sha256": events.sha256(text)}
    Event.objects.create(run=run, seq=seq, received_at=timezone.now(), **fields)


@pytest.mark.parametrize(
    ("remarks", "missing"),
    [
        ([("gap", {"place": 3})], True),
        ([("connected", {}), ("stalled", {}), ("divergence", {})], False),
        ([("gap", {"place": 3}), ("covered", {"by": "replay"})], False),
        ([("gap", {"place": 3}), ("covered", {"by": "read_back"})], False),
        ([("gap", {"place": 3}), ("covered", {"by": "replay"}), ("gap", {"place": 9})], True),
        ([("oversize", {})], True),
        ([("oversize", {}), ("covered", {"by": "replay"})], True),  # no replay gets past it
        ([("oversize", {}), ("covered", {"by": "read_back"})], False),
        ([("gap", {"place": 3}), ("oversize", {}), ("covered", {"by": "replay"})], True),
    ],
)
def test_a_doubt_is_open_until_something_shows_what_was_missing(
    remarks: list[tuple[str, dict[str, Any]]], missing: bool
) -> None:
    run = factories.run()
    for kind, told in remarks:
        remark(run, kind, **told)
    assert (run.pk in gaps.open_in(Run.objects.all())) == missing


def test_a_run_that_is_over_is_not_looked_for() -> None:
    runs = [factories.run(status=status) for status in (RunStatus.STREAMING, RunStatus.WAITING, RunStatus.CONNECTING)]
    over = factories.run(status=RunStatus.LOST, ended_at=timezone.now())
    for run in (*runs, over):
        remark(run, "gap", place=1)
    assert set(gaps.open_in(Run.objects.all())) == {run.pk for run in runs}


def test_the_gaps_of_a_run_by_their_places() -> None:
    run = factories.run()
    remark(run, "gap", place=3, certain=True)
    remark(run, "covered", by="replay")
    remark(run, "gap", place=7, certain=True)
    remark(run, "gap", place=9, certain=False)
    found = gaps.of(run.pk)
    assert (found.places, found.open, found.certain) == ({3, 7, 9}, {7, 9}, {7})


def test_any_number_of_events_is_passed_over_by_an_index() -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        gaps.open_in(Run.objects.all())
    assert len(queries) == 1
    with connection.cursor() as cursor:
        cursor.execute(("EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN ") + queries[0]["sql"])
        plan = str(cursor.fetchall())
    if connection.vendor == "sqlite":
        assert "event_by_ordinal (run_id=? AND ordinal=?)" in plan
