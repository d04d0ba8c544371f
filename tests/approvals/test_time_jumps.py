"""Clocks that jump: back by an hour, over a leap day, over both ends of summer time."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from approvals import audit, deadlines, endings, outbox
from approvals.decisions import decide
from approvals.models import ApprovalRequest, AuditEntry, RequestStatus
from dashboard.models import User
from streams.commit import Entry, commit
from streams.models import Event, Lease, Run, Source
from tests import factories
from tests.approvals.fakes import Clock, asked, newest, tell
from tests.plugins.figures import Figure

pytestmark = pytest.mark.django_db
S = RequestStatus
HOUR = timedelta(hours=1)
SEED = 4
STEPS = 300

INSTANTS = [
    # summer time ends in Berlin: half past two comes twice, and the offset says which
    ("2027-10-31T02:30:00+02:00", datetime(2027, 10, 31, 0, 30, tzinfo=UTC)),
    ("2027-10-31T02:30:00+01:00", datetime(2027, 10, 31, 1, 30, tzinfo=UTC)),
    # it begins: half past two does not exist there, in UTC it does
    ("2027-03-28T02:30:00+01:00", datetime(2027, 3, 28, 1, 30, tzinfo=UTC)),
    ("2027-03-28T02:30:00", datetime(2027, 3, 28, 2, 30, tzinfo=UTC)),
    ("2028-02-29T23:59:59Z", datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC)),
    ("Tue, 29 Feb 2028 12:00:00 GMT", datetime(2028, 2, 29, 12, tzinfo=UTC)),
    ("2028-03-01T00:30:00+01:00", datetime(2028, 2, 29, 23, 30, tzinfo=UTC)),
]


@pytest.mark.parametrize(("said", "meant"), INSTANTS)
def test_a_deadline_is_one_instant_whatever_the_calendar_does(said: str, meant: datetime) -> None:
    assert deadlines.parse(said) == meant


@pytest.mark.parametrize("said", ["2027-02-29T12:00:00Z", "2100-02-29T12:00:00Z"])
def test_a_day_that_does_not_exist_is_no_deadline(said: str) -> None:
    assert deadlines.parse(said) is None


def test_an_undo_window_over_a_leap_day_is_as_long_as_any() -> None:
    eve = datetime(2028, 2, 28, 23, 59, 58, tzinfo=UTC)
    assert deadlines.leaves_at(eve, undo_s=5, deadline=None) == datetime(2028, 2, 29, 0, 0, 3, tzinfo=UTC)


def test_no_request_expires_early_however_the_clock_jumps(run: Run, clock: Clock, figure: Figure) -> None:
    """Steps back of up to an hour and leaps ahead: a request is over when the clock stands behind its deadline."""
    chance = random.Random(SEED)
    ends: dict[str, datetime] = {}
    early = late = 0
    for step in range(STEPS):
        clock.at += timedelta(seconds=chance.uniform(-3600, 3700))
        if step % 10 == 0:
            end = clock.at + timedelta(seconds=chance.uniform(60, 7200))
            tell(run, asked(f"c{step}", expires_at=end.isoformat()))
            ends[f"c{step}"] = end
        before = set(ApprovalRequest.objects.filter(status=S.PENDING).values_list("call_id", flat=True))
        endings.expire_due()
        after = set(ApprovalRequest.objects.filter(status=S.PENDING).values_list("call_id", flat=True))
        early += sum(ends[call_id] > clock.at for call_id in before - after)
        late += sum(ends[call_id] <= clock.at for call_id in after)
    assert (early, late) == (0, 0)
    assert ApprovalRequest.objects.filter(status=S.EXPIRED).exists()
    figure("J4", worst=early, n=len(ends), unit="requests expired early", seed=SEED)


def test_an_expired_request_does_not_come_back_with_the_hour(run: Run, ada: User, clock: Clock) -> None:
    tell(run, asked("c1", expires_at=(clock.at + HOUR / 2).isoformat()))
    clock.at += HOUR
    assert endings.expire_due() == 1
    clock.at -= HOUR
    assert newest(run, "c1").status == S.EXPIRED
    assert endings.expire_due() == 0


def test_a_decision_made_before_the_clock_went_back_leaves_once(run: Run, ada: User, clock: Clock) -> None:
    tell(run, asked("c1"))
    one = newest(run, "c1")
    decide(one.pk, verdict="approve", by=ada, seen_sha256=one.input_sha256)
    clock.at -= HOUR
    outbox.claim("me", room=10)
    clock.at += HOUR
    assert len(outbox.claim("you", room=10)) <= 1
    assert newest(run, "c1").decisions.count() == 1


def test_events_keep_their_order_when_the_clock_steps_back(figure: Figure) -> None:
    run = factories.run()
    Lease.objects.create(run=run, owner="me", epoch=1, expires_at=timezone.now())
    chance, at = random.Random(SEED), timezone.now()
    for number in range(STEPS):
        at += timedelta(seconds=chance.uniform(-3600, 3600))
        entry = Entry(run.pk, 1, Source.PROVIDER, "chunk", str(number), received_at=at, ordinal=number)
        assert commit([entry], lambda stored: None) == [number + 1]
    told = list(Event.objects.filter(run=run).order_by("seq").values_list("seq", "payload"))
    assert told == [(number + 1, str(number)) for number in range(STEPS)]
    figure("J4", worst=0, n=STEPS, unit="events out of order", seed=SEED)


def test_the_audit_chain_holds_over_a_clock_that_goes_back(run: Run, ada: User, clock: Clock) -> None:
    for number in range(20):
        tell(run, asked(f"c{number}"))
        one = newest(run, f"c{number}")
        decide(one.pk, verdict="reject", by=ada, seen_sha256=one.input_sha256)
        clock.at -= HOUR
    assert AuditEntry.objects.count() >= 20
    assert audit.verify().bad is None
