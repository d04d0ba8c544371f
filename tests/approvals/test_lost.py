"""Asking for a lost run again: what ended stale with it comes back once, and nothing else does."""

from datetime import timedelta

import pytest
from django.utils import timezone

from approvals import audit, batches, decisions, endings, lost
from approvals.lost import NotAskedAgain
from approvals.models import ApprovalRequest, AuditEntry, Batch, Decision, Delivery, DeliveryState, RequestStatus
from dashboard.models import User
from streams import lifecycle, providers
from streams.events import Ended, Paused
from streams.models import Lease, Run, RunStatus
from tests import factories
from tests.approvals import fakes
from tests.approvals.fakes import Clock, asked, newest, tell
from tests.approvals.test_races import at_once, kinds

pytestmark = pytest.mark.django_db
S = RequestStatus
JOINED = fakes.FakeProvider("joined", replay="full")
WHOLE = fakes.FakeProvider("whole", replay="full", batch=True)


@pytest.fixture(autouse=True)
def _joined_kinds(_fake_providers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "REGISTRY", {**fakes.REGISTRY, "joined": JOINED, "whole": WHOLE})


@pytest.fixture
def run(db: None) -> Run:
    return factories.run(provider=factories.provider(kind="joined"), status=RunStatus.WAITING)


@pytest.fixture
def thread(db: None) -> Run:
    """A run whose questions are answered together."""
    return factories.run(provider=factories.provider(kind="whole"), status=RunStatus.WAITING)


def lose(run: Run) -> None:
    """As the journal does when the provider says 404."""
    tell(run, Ended("lost", error="The provider no longer knows this run (HTTP 404)."))
    facts = {"error": "The provider no longer knows this run (HTTP 404).", "outcome": ""}
    lifecycle.move(run.pk, to=RunStatus.LOST, at=timezone.now(), **facts)


def versions(run: Run, call_id: str = "c1") -> list[tuple[int, str]]:
    rows = ApprovalRequest.objects.filter(run=run, call_id=call_id).order_by("version")
    return list(rows.values_list("version", "status"))


def test_what_a_run_was_lost_with_can_be_decided_again(run: Run, ada: User) -> None:
    tell(run, asked(arguments='{"a": [1]}'), Paused())
    before = newest(run)
    lose(run)
    (made,) = lost.ask_again(run.pk, by=ada, origin="127.0.0.1")
    run.refresh_from_db()
    assert (run.status, run.ended_at, run.error, run.outcome) == (RunStatus.WAITING, None, "", "")
    assert versions(run) == [(1, S.STALE), (2, S.PENDING)]
    before.refresh_from_db()
    assert before.ended_why == endings.RUN_OVER[RunStatus.LOST]
    assert (made.reoffers, made.arguments, made.input_sha256) == (before, before.arguments, before.input_sha256)
    assert (made.alert, made.ended_why, made.settled_at) == (lost.ALERT, "", None)
    decisions.decide(made.pk, verdict="approve", by=ada, seen_sha256=made.input_sha256)
    assert Delivery.objects.get(decision__request=made).state == DeliveryState.READY
    assert audit.verify().bad is None


def test_the_record_names_who_asked(run: Run, ada: User) -> None:
    tell(run, asked())
    lose(run)
    lost.ask_again(run.pk, by=ada, origin="10.0.0.7")
    entry = AuditEntry.objects.get(action="run.asked_again")
    assert (entry.actor, entry.target, entry.origin) == (ada.username, f"run:{run.pk}", "page 10.0.0.7")
    assert entry.data == '{"offered":1}'
    assert AuditEntry.objects.filter(action="request.opened", actor=ada.username).count() == 1


def test_a_run_that_asked_nothing_is_only_taken_up(run: Run, ada: User) -> None:
    lose(run)
    assert lost.ask_again(run.pk, by=ada) == []
    run.refresh_from_db()
    assert (run.status, run.ended_at) == (RunStatus.CONNECTING, None)


def test_a_decision_that_was_void_with_the_run_stays_so(run: Run, ada: User) -> None:
    tell(run, asked())
    decisions.decide(newest(run).pk, verdict="approve", by=ada, seen_sha256=fakes.HASH, undo_s=600)
    lose(run)
    (made,) = lost.ask_again(run.pk, by=ada)
    assert made.status == S.PENDING
    assert Decision.objects.get().undone_why == "stale"
    assert not Delivery.objects.exclude(state=DeliveryState.CANCELLED).exists()


@pytest.mark.parametrize("status", [S.DELIVERED, S.REFUSED, S.UNKNOWN, S.SENT, S.EXPIRED, S.WITHDRAWN])
def test_what_ended_otherwise_or_is_in_doubt_stays_as_it_is(run: Run, ada: User, status: RequestStatus) -> None:
    tell(run, asked())
    ApprovalRequest.objects.update(status=status, settled_at=timezone.now())
    lose(run)
    assert lost.ask_again(run.pk, by=ada) == []
    assert versions(run) == [(1, status)]


def test_only_the_newest_version_comes_back(run: Run, ada: User) -> None:
    tell(run, asked())
    tell(run, asked(arguments='{"a":2}'))
    lose(run)
    lost.ask_again(run.pk, by=ada)
    lose(run)
    assert versions(run) == [(1, S.SUPERSEDED), (2, S.STALE), (3, S.STALE)]
    (made,) = lost.ask_again(run.pk, by=ada)
    assert (made.version, made.arguments) == (4, '{"a":2}')


def test_a_version_that_is_stale_for_another_reason_stays_stale(run: Run, ada: User) -> None:
    tell(run, asked())
    ApprovalRequest.objects.update(status=S.STALE, settled_at=timezone.now())
    lose(run)
    assert lost.ask_again(run.pk, by=ada) == []


def test_what_was_asked_when_the_run_was_lost_already_comes_back_too(run: Run, ada: User) -> None:
    lose(run)
    tell(run, asked())
    assert newest(run).ended_why == endings.BEHIND_THE_END
    (made,) = lost.ask_again(run.pk, by=ada)
    assert (made.version, made.status) == (2, S.PENDING)


def test_lost_again_the_new_version_ends_stale_and_nothing_comes_by_itself(run: Run, ada: User) -> None:
    tell(run, asked())
    lose(run)
    lost.ask_again(run.pk, by=ada)
    lose(run)
    assert versions(run) == [(1, S.STALE), (2, S.STALE)]
    tell(run, asked())  # and the same question, told again, opens nothing
    assert versions(run) == [(1, S.STALE), (2, S.STALE)]


def test_pressing_twice_asks_once(run: Run, ada: User, bo: User) -> None:
    tell(run, asked())
    lose(run)
    lost.ask_again(run.pk, by=ada)
    for status in (RunStatus.WAITING, RunStatus.STREAMING):
        Run.objects.update(status=status)
        with pytest.raises(NotAskedAgain, match="the run is not lost"):
            lost.ask_again(run.pk, by=bo)
        assert Run.objects.get().status == status
    assert versions(run) == [(1, S.STALE), (2, S.PENDING)]
    assert AuditEntry.objects.filter(action="run.asked_again").count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("was_held", [True, False])
def test_from_many_tabs_at_once_it_is_asked_once(run: Run, ada: User, was_held: bool) -> None:
    if was_held:
        Lease.objects.create(run=run, owner="", epoch=3, expires_at=timezone.now())
    tell(run, asked())
    lose(run)
    results = at_once([lambda: lost.ask_again(run.pk, by=ada)] * 6)
    assert kinds(results) == {"list": 1, "NotAskedAgain": 5}
    assert versions(run) == [(1, S.STALE), (2, S.PENDING)]
    assert audit.verify().bad is None


# --- deadlines ------------------------------------------------------------------------------------------------------


def test_a_question_whose_deadline_is_over_meanwhile_is_not_offered(run: Run, ada: User, clock: Clock) -> None:
    soon, later = (clock.at + timedelta(seconds=s) for s in (60, 600))
    tell(run, asked("c1", expires_at=soon.isoformat()), asked("c2", expires_at=later.isoformat()))
    lose(run)
    clock.forward(59)  # nothing could leave in time any more
    (made,) = lost.ask_again(run.pk, by=ada)
    assert (made.call_id, made.deadline) == ("c2", later)
    assert versions(run, "c1") == [(1, S.STALE)]


def test_in_a_batch_such_a_question_counts_as_answered_by_nobody(thread: Run, ada: User, clock: Clock) -> None:
    soon = (clock.at + timedelta(seconds=60)).isoformat()
    tell(thread, asked("c1", expires_at=soon, together=True), asked("c2", together=True), Paused())
    lose(thread)
    clock.forward(61)
    made = lost.ask_again(thread.pk, by=ada)
    assert len(made) == 2
    assert (versions(thread, "c1")[-1], versions(thread, "c2")[-1]) == ((2, S.EXPIRED), (2, S.PENDING))
    decisions.decide(newest(thread, "c2").pk, verdict="approve", by=ada, seen_sha256=fakes.HASH)
    assert Delivery.objects.get(batch=newest(thread).batch).state == DeliveryState.READY
    assert audit.verify().bad is None


def test_a_batch_that_nobody_could_answer_in_time_stays_stale(thread: Run, ada: User, clock: Clock) -> None:
    soon = (clock.at + timedelta(seconds=60)).isoformat()
    tell(thread, asked("c1", expires_at=soon, together=True), asked("c2", together=True), Paused())
    decisions.withdraw(newest(thread, "c2").pk, by=boss(), note="not needed")
    lose(thread)
    clock.forward(61)
    assert lost.ask_again(thread.pk, by=ada) == []
    assert Batch.objects.count() == 1


def boss() -> User:
    return factories.user(is_superuser=True)


# --- batches --------------------------------------------------------------------------------------------------------


def test_a_batch_comes_back_as_one_new_batch_and_leaves_as_one(thread: Run, ada: User) -> None:
    tell(thread, *(asked(call, together=True) for call in ("c1", "c2", "c3")), Paused())
    first = newest(thread).batch_id
    decisions.decide(newest(thread, "c2").pk, verdict="approve", by=ada, seen_sha256=fakes.HASH)
    lose(thread)
    made = lost.ask_again(thread.pk, by=ada)
    (batch_id,) = {one.batch_id for one in made}
    assert batch_id not in (None, first)
    batch = Batch.objects.get(pk=batch_id)
    assert (batch.round, batch.total, len(batches.members(batch.pk))) == (2, 3, 3)
    for one in made:
        assert ApprovalRequest.objects.get(pk=one.pk).status == S.PENDING
        assert not Delivery.objects.filter(state=DeliveryState.READY).exists()
        decisions.decide(one.pk, verdict="approve", by=ada, seen_sha256=one.input_sha256)
    (leaving,) = Delivery.objects.exclude(state=DeliveryState.CANCELLED)
    assert (leaving.batch, leaving.state) == (batch, DeliveryState.READY)


def test_a_batch_of_which_a_part_left_is_not_offered(thread: Run, ada: User) -> None:
    tell(thread, asked("c1", together=True), asked("c2", together=True), Paused())
    one = newest(thread)
    ApprovalRequest.objects.filter(pk=one.pk).update(status=S.UNKNOWN, settled_at=timezone.now())
    lose(thread)
    assert versions(thread, "c2") == [(1, S.STALE)]
    assert lost.ask_again(thread.pk, by=ada) == []


# --- runs that cannot be joined -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fields", "why"),
    [
        ("together", {}, "cannot be joined again"),  # its stream is the answer to one call
        ("joined", {"external_id": None}, "cannot be joined again"),  # its start was never confirmed
        ("gone", {}, "cannot be joined again"),  # of a version that knew more
        ("joined", {"status": RunStatus.TRUNCATED}, "not lost"),
        ("joined", {"status": RunStatus.FINISHED}, "not lost"),
        ("joined", {"status": RunStatus.STREAMING, "ended_at": None}, "not lost"),
    ],
)
def test_a_run_that_no_holder_would_join_is_left_alone(
    kind: str, fields: dict[str, object], why: str, ada: User
) -> None:
    provider = factories.provider(kind=kind)
    run = factories.run(**{"provider": provider, "status": RunStatus.LOST, "ended_at": timezone.now(), **fields})
    stale = factories.request(run=run, status=S.STALE, settled_at=timezone.now(), ended_why=endings.WITH_A_LOST_RUN[0])
    with pytest.raises(NotAskedAgain, match=why):
        lost.ask_again(run.pk, by=ada)
    assert Run.objects.get().status == run.status
    assert ApprovalRequest.objects.get() == stale
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize(
    ("fields", "why"),
    [({"paused": True}, "is paused"), ({"credential_refused_at": timezone.now()}, "refuses the secret")],
)
def test_nothing_is_asked_where_nothing_is_sent(fields: dict[str, object], why: str, ada: User) -> None:
    provider = factories.provider(kind="joined", **fields)
    run = factories.run(provider=provider, status=RunStatus.LOST, ended_at=timezone.now())
    with pytest.raises(NotAskedAgain, match=why):
        lost.ask_again(run.pk, by=ada)
    assert Run.objects.get().status == RunStatus.LOST
