"""What a run told after a seq reads exactly as the ORM reads it, on each engine."""

from datetime import UTC, datetime, timedelta

import pytest

from streams import events, tail
from streams.models import Event, Run, Source
from tests import factories

pytestmark = pytest.mark.django_db
AT = datetime(2026, 11, 21, 10, 31, 7, tzinfo=UTC)
TEXTS = ["{}", '{"a":"Grüße 🙂"}', "x" * 50, "ü" * 50, "y" * 51, ""]


@pytest.fixture
def run() -> Run:
    made = factories.run()
    for run in (factories.run(), made):
        for seq, text in enumerate(TEXTS, 1):
            Event.objects.create(
                run=run,
                seq=seq,
                source=Source.HOUSE if seq == 2 else Source.PROVIDER,
                kind=f"kind-{seq}",
                ordinal=None if seq == 2 else seq,
                payload=text,
                sha256=events.sha256(text),
                marked=seq == 3,
                received_at=AT + timedelta(microseconds=seq * 250_000 % 1_000_000),
            )
    return made


def test_rows_are_those_of_the_orm_and_a_large_text_is_only_named(run: Run) -> None:
    fields = ("seq", "source", "kind", "payload", "received_at", "ordinal", "marked")
    kept = [tail.Told(*row) for row in Event.objects.filter(run=run).order_by("seq").values_list(*fields)]
    kept[4] = kept[4]._replace(payload="", left_out=51)
    found = tail.after(run.pk, 0, most=100, read_most=50)
    assert found == kept
    assert [type(value) for value in found[2]] == [type(value) for value in kept[2]]


def test_it_begins_behind_the_seq_and_ends_where_it_must(run: Run) -> None:
    assert [told.seq for told in tail.after(run.pk, 2, most=3, read_most=9)] == [3, 4, 5]
    assert tail.after(run.pk, len(TEXTS), most=3, read_most=9) == []


def test_another_run_tells_nothing_here(run: Run) -> None:
    assert tail.after(factories.run().pk, 0, most=3, read_most=9) == []
    assert len(tail.after(run.pk, 0, most=100, read_most=9)) == len(TEXTS)
