"""The projector: what stored events do to requests, once each; and deadlines."""

import hashlib
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from approvals import audit, endings, requests
from approvals.decisions import decide
from approvals.errors import AlreadyDecided, InputChanged, NotPending
from approvals.models import ApprovalRequest, AuditEntry, Decision, Delivery, DeliveryState, RequestStatus
from dashboard.models import User
from streams.events import Asked, Broken, Ended, MovedOn, Paused, Started
from streams.models import Run, RunStatus, Source
from tests import factories
from tests.approvals.fakes import Clock, asked, newest, stored, tell

pytestmark = pytest.mark.django_db
S = RequestStatus


def statuses(run: Run) -> list[str]:
    return list(ApprovalRequest.objects.filter(run=run).order_by("call_id", "version").values_list("status", flat=True))


# --- what it costs --------------------------------------------------------------------------------------------------


def test_events_that_tell_nothing_cost_no_query(run: Run) -> None:
    plain = [stored(run, Started(), Broken("x"), Paused(), seq=n) for n in range(1, 1_000)]
    with CaptureQueriesContext(connection) as asked_of_it:
        requests.project(plain)
    assert len(asked_of_it) == 0


def test_a_kind_that_can_prove_costs_one_query_where_nothing_is_open(run: Run) -> None:
    with CaptureQueriesContext(connection) as asked_of_it:
        requests.project([stored(run, kind="result", seq=n) for n in range(1, 100)])
    assert len(asked_of_it) == 1


# --- asked ----------------------------------------------------------------------------------------------------------


def test_a_question_opens_a_request_with_the_exact_arguments(run: Run, clock: Clock) -> None:
    arguments = '{ "b":1, "a":"é" }'
    tell(run, asked(arguments=arguments, message="pay?", expires_at="2026-12-01T12:00:00", hears_reason=True), seq=7)
    made = newest(run)
    assert (made.status, made.arguments, made.version, made.opened_by_seq) == (S.PENDING, arguments, 1, 7)
    assert made.input_sha256 == hashlib.sha256(arguments.encode()).hexdigest()
    assert (made.deadline_text, made.tier, made.offers_reason, made.requested_at) == (
        "2026-12-01T12:00:00",
        "T2",
        True,
        clock.at,
    )
    assert made.deadline is not None
    assert made.deadline.isoformat() == "2026-12-01T12:00:00+00:00"


def test_a_deadline_that_cannot_be_read_is_shown_and_does_not_expire(run: Run) -> None:
    tell(run, asked(expires_at="when the cows come home"))
    assert (newest(run).deadline, newest(run).deadline_text) == (None, "when the cows come home")
    assert endings.expire_due() == 0


@pytest.mark.parametrize("again", ['{"a":1,"b":[2.0]}', '{"b" : [2.00], "a": 1}', '{"\\u0061":1,"b":[2.0]}'])
def test_asking_again_changes_nothing(run: Run, again: str) -> None:
    first = '{"a":1,"b":[2.0]}'
    tell(run, asked(arguments=first))
    before = audit.verify()
    tell(run, asked(arguments=again), seq=2)
    assert (newest(run).arguments, newest(run).version, statuses(run)) == (first, 1, [S.PENDING])
    assert audit.verify() == before


def test_a_settled_request_stays_settled_when_it_is_asked_again(run: Run) -> None:
    tell(run, asked())
    tell(run, Ended("finished"), seq=2)
    tell(run, asked(), seq=3)
    assert statuses(run) == [S.WITHDRAWN]


@pytest.mark.parametrize("other", [asked(arguments='{"a":2}'), asked(tool="refund")])
def test_changed_arguments_make_a_new_version_while_it_is_pending(run: Run, other: Asked, ada: User) -> None:
    tell(run, asked())
    old = newest(run)
    tell(run, other, seq=2)
    assert statuses(run) == [S.SUPERSEDED, S.PENDING]
    assert newest(run).version == 2
    assert "version 1" in newest(run).alert
    with pytest.raises(InputChanged):
        decide(old.pk, verdict="approve", by=ada, seen_sha256=old.input_sha256)


@pytest.mark.parametrize("undo_s", [0, 60])
def test_changed_arguments_void_a_decision_that_has_not_left(run: Run, ada: User, undo_s: int) -> None:
    tell(run, asked())
    decision = decide(newest(run).pk, verdict="approve", by=ada, seen_sha256=newest(run).input_sha256, undo_s=undo_s)
    tell(run, asked(arguments='{"a":2}'), seq=2)
    decision.refresh_from_db()
    assert (statuses(run), decision.undone_why) == ([S.SUPERSEDED, S.PENDING], "superseded")
    assert decision.undone_at is not None
    assert Delivery.objects.get().state == DeliveryState.CANCELLED
    decide(newest(run).pk, verdict="reject", by=ada, seen_sha256=newest(run).input_sha256)


@pytest.mark.parametrize("status", [S.SENT, S.UNKNOWN, S.DELIVERED, S.REFUSED, S.EXPIRED])
def test_from_sent_on_changed_arguments_only_raise_an_alert_once(run: Run, status: RequestStatus, clock: Clock) -> None:
    tell(run, asked())
    ApprovalRequest.objects.update(status=status, settled_at=clock.at)
    for seq in (2, 3):
        tell(run, asked(arguments='{"a":2}'), seq=seq)
    assert statuses(run) == [status]
    assert "other arguments" in newest(run).alert
    assert AuditEntry.objects.filter(action="request.diverged").count() == 1


def test_a_question_after_the_end_is_kept_but_cannot_be_answered(run: Run) -> None:
    with transaction.atomic():
        requests.project([stored(run, Ended("finished")), stored(run, asked(), seq=2)])
    lost = factories.run(provider=run.provider, status=RunStatus.LOST, ended_at=run.started_at)
    tell(lost, asked())
    assert (statuses(run), statuses(lost)) == ([S.WITHDRAWN], [S.STALE])


def test_odd_names_are_kept_storable_and_never_answered_wrongly(run: Run) -> None:
    tell(run, asked("\x00" * 3))
    tell(run, asked("x" * 301), seq=2)
    tell(run, asked("c3", tool="t" * 500, tool_call_id="\ud800", reason="r" * 500, message="\x00"), seq=3)
    first, second, third = ApprovalRequest.objects.filter(run=run).order_by("opened_by_seq")
    assert [one.answerable for one in (first, second, third)] == [False, False, True]
    assert all(one.problem for one in (first, second, third))
    assert len(third.tool) == 300


def test_arguments_with_unstorable_characters_are_marked(run: Run) -> None:
    tell(run, asked(arguments='{"a":"\x00\ud800"}', problem="holds a NUL"))
    made = newest(run)
    assert (made.arguments, made.marked, made.problem) == ('{"a":"\\u0000\\ud800"}', True, "holds a NUL")


# --- no longer asked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("finished", S.WITHDRAWN),
        ("failed", S.WITHDRAWN),
        ("cancelled", S.WITHDRAWN),
        ("lost", S.STALE),
        ("truncated", S.STALE),
    ],
)
@pytest.mark.parametrize("undo_s", [None, 60, 0])
def test_the_end_of_a_run_ends_its_requests(run: Run, ada: User, how: str, status: str, undo_s: int | None) -> None:
    tell(run, asked())
    if undo_s is not None:
        decide(newest(run).pk, verdict="approve", by=ada, seen_sha256=newest(run).input_sha256, undo_s=undo_s)
    tell(run, Ended(how), seq=2, source=Source.HOUSE)  # type: ignore[arg-type]
    assert statuses(run) == [status]
    assert not Decision.objects.filter(undone_at=None).exists()
    assert not Delivery.objects.exclude(state=DeliveryState.CANCELLED).exists()
    with pytest.raises(NotPending):
        decide(newest(run).pk, verdict="approve", by=ada, seen_sha256=newest(run).input_sha256)


def test_the_end_of_one_run_leaves_another_alone(run: Run) -> None:
    other = factories.run(provider=run.provider)
    tell(run, asked())
    tell(other, asked())
    tell(run, Ended("finished"), seq=2)
    assert (statuses(run), statuses(other)) == ([S.WITHDRAWN], [S.PENDING])


@pytest.mark.parametrize("undo_s", [None, 60])
def test_a_run_that_goes_on_expires_its_only_request(run: Run, ada: User, undo_s: int | None) -> None:
    tell(run, asked())
    if undo_s is not None:
        decide(newest(run).pk, verdict="approve", by=ada, seen_sha256=newest(run).input_sha256, undo_s=undo_s)
    tell(run, MovedOn("chunk"), seq=2)
    assert statuses(run) == [S.EXPIRED]
    assert '"by":"provider"' in AuditEntry.objects.get(action="request.expired").data
    assert not Decision.objects.filter(undone_at=None).exists()


def test_a_question_that_comes_after_the_run_seemed_to_go_on_is_open_again(run: Run, ada: User) -> None:
    """A replay that spells the past otherwise looks like a run that goes on; then it brings the question again."""
    tell(run, asked())
    decide(newest(run).pk, verdict="approve", by=ada, seen_sha256=newest(run).input_sha256, undo_s=60)
    tell(run, MovedOn("chunk"), seq=2)
    tell(run, asked(), seq=3)
    tell(run, asked(), seq=3)
    first, second = ApprovalRequest.objects.order_by("version")
    assert (first.status, second.status, second.reoffers, second.decisions.count()) == (S.EXPIRED, S.PENDING, first, 0)
    assert second.alert
    tell(run, MovedOn("chunk"), seq=4)
    assert statuses(run) == [S.EXPIRED, S.EXPIRED]


def test_a_question_whose_deadline_is_over_stays_expired_when_it_is_asked_again(run: Run, clock: Clock) -> None:
    deadline = (clock.at + timedelta(seconds=10)).isoformat()
    tell(run, asked(expires_at=deadline))
    clock.forward(10)
    assert endings.expire_due() == 1
    tell(run, asked(expires_at=deadline), seq=2)
    assert statuses(run) == [S.EXPIRED]


def test_a_deadline_that_is_over_when_the_question_arrives_expires_it_unanswered(
    run: Run, ada: User, clock: Clock
) -> None:
    tell(run, asked(expires_at=(clock.at - timedelta(seconds=1)).isoformat()))
    with pytest.raises(NotPending):
        decide(newest(run).pk, verdict="approve", by=ada, seen_sha256=newest(run).input_sha256)
    assert (endings.expire_due(), statuses(run)) == (1, [S.EXPIRED])


def test_a_run_that_goes_on_expires_none_of_two(run: Run) -> None:
    tell(run, asked("c1"))
    tell(run, asked("c2"), seq=2)
    tell(run, MovedOn("chunk"), seq=3)
    assert statuses(run) == [S.PENDING, S.PENDING]


@pytest.mark.parametrize("status", [S.DECIDING, S.SENT, S.UNKNOWN])
def test_a_run_that_goes_on_because_of_an_answer_expires_nothing(run: Run, clock: Clock, status: RequestStatus) -> None:
    tell(run, asked("c1"))
    tell(run, asked("c2"), seq=2)
    settled_at = None if status == S.DECIDING else clock.at
    ApprovalRequest.objects.filter(call_id="c1").update(status=status, settled_at=settled_at)
    tell(run, MovedOn("chunk"), seq=3)
    assert statuses(run) == [status, S.PENDING]


@pytest.mark.parametrize(("after_s", "left"), [(-1, S.EXPIRED), (1, S.PENDING)])
def test_an_answer_delivered_after_it_was_asked_explains_why_the_run_goes_on(
    run: Run, clock: Clock, after_s: int, left: str
) -> None:
    at = clock.at + timedelta(seconds=after_s)
    factories.request(run=run, call_id="c0", status=S.DELIVERED, settled_at=at, status_changed_at=at)
    tell(run, asked("c1"), seq=2)
    tell(run, MovedOn("chunk"), seq=3)
    assert statuses(run) == [S.DELIVERED, left]


# --- deadlines ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("undo_s", [None, 600, 0])
def test_a_request_expires_at_its_deadline_whether_decided_or_not(
    run: Run, ada: User, clock: Clock, undo_s: int | None
) -> None:
    tell(run, asked(expires_at=(clock.at + timedelta(seconds=60)).isoformat()))
    if undo_s is not None:
        decision = decide(
            newest(run).pk, verdict="approve", by=ada, seen_sha256=newest(run).input_sha256, undo_s=undo_s
        )
        assert decision.leaves_at <= clock.at + timedelta(seconds=55)
    clock.forward(59)
    if undo_s is None:
        assert endings.expire_due() == 0
    clock.forward(1)
    assert endings.expire_due() == 1
    assert statuses(run) == [S.EXPIRED]
    assert not Delivery.objects.exclude(state=DeliveryState.CANCELLED).exists()
    assert endings.expire_due() == 0


def test_no_decision_is_taken_so_near_the_deadline_that_it_could_not_leave(run: Run, ada: User, clock: Clock) -> None:
    tell(run, asked(expires_at=(clock.at + timedelta(seconds=10)).isoformat()))
    clock.forward(8)
    with pytest.raises(NotPending, match="deadline"):
        decide(newest(run).pk, verdict="approve", by=ada, seen_sha256=newest(run).input_sha256)
    assert statuses(run) == [S.PENDING]
    assert not Decision.objects.exists()


def test_a_request_that_is_sent_does_not_expire(run: Run, clock: Clock) -> None:
    tell(run, asked(expires_at=clock.at.isoformat()))
    ApprovalRequest.objects.update(status=S.SENT, settled_at=clock.at)
    assert endings.expire_due() == 0


def test_everything_that_ends_a_request_is_in_the_audit_chain(run: Run, ada: User) -> None:
    tell(run, asked())
    tell(run, asked(arguments='{"a":2}'), seq=2)
    tell(run, Ended("finished"), seq=3)
    assert list(AuditEntry.objects.values_list("action", "actor")) == [
        ("request.opened", "system"),
        ("request.superseded", "system"),
        ("request.opened", "system"),
        ("request.withdrawn", "system"),
    ]
    assert all('"a"' not in data.replace('"a":null', "") for data in AuditEntry.objects.values_list("data", flat=True))
    assert audit.verify().bad is None


def test_the_winner_is_named_to_whoever_comes_late(run: Run, ada: User, bo: User) -> None:
    tell(run, asked())
    first = decide(newest(run).pk, verdict="approve", by=ada, seen_sha256=newest(run).input_sha256)
    with pytest.raises(AlreadyDecided) as caught:
        decide(newest(run).pk, verdict="reject", by=bo, seen_sha256=newest(run).input_sha256)
    assert caught.value.decision == first
    assert not caught.value.own
