"""What the panels tell: places, steps of an answer, what moved, and times in words."""

from datetime import timedelta

import pytest
from django.utils import timezone

from approvals.models import Batch, Decision, Delivery, RequestStatus
from dashboard import panels, slip, words
from dashboard.forms import InboxFilter
from dashboard.models import User
from dashboard.templatetags.countersign import initials, serial, span
from streams.models import RunStatus
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return factories.user(username="ada", is_superuser=True)


def steps(made: slip.Slip) -> list[tuple[str, str]]:
    return [(step.name, step.how) for step in made.steps]


def answered(ada: User, status: str, state: str, **delivery: object) -> slip.Slip:
    settled = None if status in ("held", "deciding") else timezone.now()
    asked = factories.request(status=status, settled_at=settled)
    soon = timezone.now() + timedelta(seconds=5)
    decision = Decision.objects.create(request=asked, by=ada, verdict="approve", seen_sha256="", leaves_at=soon)
    Delivery.objects.create(kind="decision", run=asked.run, decision=decision, state=state, **delivery)
    return slip.load(ada, asked.pk)


def test_every_status_has_a_word() -> None:
    assert set(words.REQUEST) == set(RequestStatus)
    assert set(words.RUN) == set(RunStatus)


def test_an_answer_shows_where_it_is(ada: User) -> None:
    now = timezone.now()
    assert steps(answered(ada, "held", "waiting")) == [
        ("Approved by you", "done"), ("Held", "now"), ("Sent to Mindra", "future"), ("Delivered", "future"),
    ]  # fmt: skip
    assert steps(answered(ada, "deciding", "claimed"))[2] == ("Sent to Mindra", "now")
    assert "refused our secret" in answered(ada, "deciding", "parked").steps[2].note
    assert steps(answered(ada, "sent", "sent", sent_at=now))[2:] == [("Sent to Mindra", "done"), ("Delivered", "now")]
    assert steps(answered(ada, "delivered", "delivered", sent_at=now))[3] == ("Delivered", "done")
    assert steps(answered(ada, "unknown", "unknown", sent_at=now))[3] == ("Delivered?", "unknown")
    assert steps(answered(ada, "refused_by_provider", "refused", sent_at=now))[3] == ("Refused by provider", "failed")


def test_a_decision_that_never_left_says_why(ada: User) -> None:
    asked = factories.request(status="withdrawn", settled_at=timezone.now())
    Decision.objects.create(
        request=asked, by=ada, verdict="approve", seen_sha256="", leaves_at=timezone.now(), undone_at=timezone.now(),
        undone_why="withdrawn",
    )  # fmt: skip
    made = slip.load(ada, asked.pk)
    assert steps(made) == [("Approved by you", "done"), ("Nothing was sent", "failed")]
    assert made.steps[1].note == "Withdrawn before it left."


def test_the_stub_knows_when_it_is_old(ada: User) -> None:
    asked = factories.request()
    before = slip.load(ada, asked.pk).rev
    assert slip.load(ada, asked.pk).rev == before
    asked.status = "expired"
    asked.settled_at = timezone.now()
    asked.save()
    assert slip.load(ada, asked.pk).rev != before


def test_a_slip_knows_its_place_and_its_neighbours(ada: User) -> None:
    first, second, third = (factories.request() for _ in range(3))
    place = slip.place(panels.sight(ada), second.pk)
    assert place == slip.Place(2, 3, first.pk, third.pk)


def test_news_name_who_waits_and_what_changed_with_its_companions(ada: User) -> None:
    run = factories.run()
    batch = Batch.objects.create(run=run, total=2)
    open_one = factories.request(run=run, batch=batch, call_id="a")
    factories.request(run=run, batch=batch, call_id="b", status="held")
    found = panels.news(panels.sight(ada), InboxFilter())
    assert found.waiting == [(open_one.pk, "t2")]
    assert {row.batch for row in found.changed} == {"1 of 2 decided"}


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-5, "0 s"), (59, "59 s"), (60, "1 min"), (252, "4 min 12 s"), (305, "5 min 05 s"), (1_234, "20 min"),
     (3_600, "1 h"), (11_100, "3 h 5 min"), (187_200, "2 d 4 h")],
)  # fmt: skip
def test_a_span_is_its_two_largest_units(seconds: int, expected: str) -> None:
    assert span(timedelta(seconds=seconds)) == expected


def test_names_and_numbers_are_short() -> None:
    assert [initials(name) for name in ("mara", "joon.park", "Mei Tanaka", "..")] == ["M", "JP", "MT", "?"]
    assert serial("9b0411ef-0000-4000-8000-000000000000") == "9b04·11ef"


def test_a_filter_reads_only_what_it_knows() -> None:
    from django.http import QueryDict

    chosen = InboxFilter.read(QueryDict("tab=decided&status=nonsense&provider=a&q=+x+"))
    assert chosen == InboxFilter(tab="decided", provider="a", search="x")
    assert chosen.query(tab="waiting") == "provider=a&q=x"
