"""decide(), undo and what people say about the unknown."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from approvals import audit, courier, outbox
from approvals.decisions import decide, may_decide, read_only, reoffer, resolve_unknown, undo, withdraw
from approvals.errors import AlreadyDecided, InputChanged, InvalidDecision, NotAllowed, NotPending, UndoRefused
from approvals.models import (
    ApprovalRequest,
    AuditEntry,
    Decision,
    Delivery,
    DeliveryKind,
    DeliveryState,
    RequestStatus,
    Vote,
)
from dashboard.models import User
from streams import openings
from streams.events import Ended
from streams.models import Provider, Run, RunStatus, Source
from streams.providers.base import READ_BACK
from tests import factories
from tests.approvals import fakes
from tests.approvals.fakes import Clock, asked, newest, tell

pytestmark = pytest.mark.django_db
S = RequestStatus
D = DeliveryState


@pytest.fixture
def question(run: Run, clock: Clock) -> ApprovalRequest:
    tell(run, asked(answer=True))
    return newest(run)


def test_a_decision_without_an_undo_window_is_ready_to_leave_at_once(question: ApprovalRequest, ada: User) -> None:
    decision = decide(question.pk, verdict="approve", by=ada, seen_sha256=question.input_sha256, reason="ok")
    question.refresh_from_db()
    row = Delivery.objects.get()
    assert (question.status, row.state, row.kind, row.run_id) == (S.DECIDING, D.READY, "decision", question.run_id)
    assert (decision.by_id, decision.reason, decision.seen_sha256) == (ada.pk, "ok", question.input_sha256)
    assert Vote.objects.get().verdict == "approve"


def test_a_decision_is_held_for_its_undo_window(question: ApprovalRequest, ada: User, clock: Clock) -> None:
    decide(question.pk, verdict="approve", by=ada, seen_sha256=question.input_sha256, undo_s=5)
    question.refresh_from_db()
    assert (question.status, Delivery.objects.get().state) == (S.HELD, D.WAITING)
    clock.forward(4.9)
    assert outbox.release_due() == 0
    clock.forward(0.1)
    assert outbox.release_due() == 1
    question.refresh_from_db()
    assert (question.status, Delivery.objects.get().state) == (S.DECIDING, D.READY)


def test_the_same_decision_again_is_already_decided_by_oneself(question: ApprovalRequest, ada: User) -> None:
    first = decide(question.pk, verdict="approve", by=ada, seen_sha256=question.input_sha256, reason="ok")
    with pytest.raises(AlreadyDecided, match="by you") as caught:
        decide(question.pk, verdict="approve", by=ada, seen_sha256=question.input_sha256, reason="ok")
    assert (caught.value.decision, caught.value.own) == (first, True)
    with pytest.raises(AlreadyDecided) as caught:
        decide(question.pk, verdict="reject", by=ada, seen_sha256=question.input_sha256)
    assert not caught.value.own
    assert (Decision.objects.count(), Vote.objects.count(), Delivery.objects.count()) == (1, 1, 1)


def test_who_is_too_late_is_told_that_whatever_else_is_wrong(question: ApprovalRequest, ada: User, bo: User) -> None:
    decide(question.pk, verdict="approve", by=ada, seen_sha256=question.input_sha256)
    with pytest.raises(AlreadyDecided, match=f"by {ada.get_username()}"):
        decide(question.pk, verdict="reject", by=bo, seen_sha256=question.input_sha256, answer="no rejection has one")


def test_other_arguments_than_those_seen_decide_nothing(question: ApprovalRequest, ada: User) -> None:
    before = audit.verify()
    with pytest.raises(InputChanged):
        decide(question.pk, verdict="approve", by=ada, seen_sha256="f" * 64)
    question.refresh_from_db()
    assert (question.status, Decision.objects.count(), Delivery.objects.count()) == (S.PENDING, 0, 0)
    assert audit.verify() == before


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"verdict": "ja"}, "verdict"),
        ({"verdict": "approve", "edited": "[]"}, "edited_input"),
        ({"verdict": "reject", "answer": "1"}, "answer"),
        ({"verdict": "reject", "reason": "\x00"}, "reason"),
        ({"verdict": "reject", "undo_s": 601}, "undo_s"),
    ],
)
def test_a_wrong_field_decides_nothing(
    question: ApprovalRequest, ada: User, fields: dict[str, str], field: str
) -> None:
    with pytest.raises(InvalidDecision) as caught:
        decide(question.pk, by=ada, seen_sha256=question.input_sha256, **fields)  # type: ignore[arg-type]
    assert (caught.value.field, Decision.objects.count()) == (field, 0)


def test_edits_and_answers_are_kept_as_they_were_written(question: ApprovalRequest, ada: User) -> None:
    decision = decide(
        question.pk,
        verdict="approve",
        by=ada,
        seen_sha256=question.input_sha256,
        edited='{ "a": 2 }',
        answer='"now"',
        via="api",
        origin="127.0.0.1",
    )
    assert (decision.edited, decision.answer, decision.via) == ('{ "a": 2 }', '"now"', "api")
    entry = AuditEntry.objects.get(action="decision.made")
    assert (entry.actor, entry.origin) == (ada.username, "api 127.0.0.1")
    assert question.input_sha256 in entry.data
    assert "now" not in entry.data


def test_only_whoever_may_decide_decides_and_a_denial_is_kept(question: ApprovalRequest) -> None:
    nobody = factories.user()
    with pytest.raises(NotAllowed) as caught:
        decide(question.pk, verdict="approve", by=nobody, seen_sha256=question.input_sha256)
    assert caught.value.code == "not_permitted"
    assert AuditEntry.objects.get(action="decision.denied").actor == nobody.username
    assert may_decide(factories.user(is_superuser=True), question)


def test_somebody_who_was_disabled_decides_nothing(question: ApprovalRequest, ada: User) -> None:
    ada.is_active = False
    assert not may_decide(ada, question)


def test_four_eyes_keep_a_run_from_whoever_started_it(question: ApprovalRequest, ada: User, bo: User) -> None:
    Run.objects.update(started_by=ada)
    assert may_decide(ada, question)
    question.run.provider.options = {"four_eyes": True}
    question.run.provider.save()
    with pytest.raises(NotAllowed) as caught:
        decide(question.pk, verdict="approve", by=ada, seen_sha256=question.input_sha256)
    assert caught.value.code == "own_run"
    decide(question.pk, verdict="approve", by=bo, seen_sha256=question.input_sha256)


# --- undo -----------------------------------------------------------------------------------------------------------


def test_an_undone_request_is_pending_again_and_can_be_decided_anew(
    question: ApprovalRequest, ada: User, bo: User, clock: Clock
) -> None:
    decide(question.pk, verdict="approve", by=ada, seen_sha256=question.input_sha256, undo_s=5)
    undone = undo(question.pk, by=ada)
    question.refresh_from_db()
    assert (question.status, undone.undone_why, Delivery.objects.get().state) == (S.PENDING, "undone", D.CANCELLED)
    assert Vote.objects.get().undone_at == clock.at
    decide(question.pk, verdict="reject", by=ada, seen_sha256=question.input_sha256)
    clock.forward(600)
    outbox.release_due()
    assert Delivery.objects.exclude(state=D.CANCELLED).get().decision != undone


def test_nobody_undoes_another_ones_decision(question: ApprovalRequest, ada: User, bo: User) -> None:
    decision = decide(question.pk, verdict="approve", by=ada, seen_sha256=question.input_sha256, undo_s=5)
    with pytest.raises(UndoRefused) as caught:
        undo(question.pk, by=bo)
    assert caught.value.decision == decision


@pytest.mark.parametrize("undo_s", [0, 5])
def test_an_undo_after_its_window_is_refused(question: ApprovalRequest, ada: User, clock: Clock, undo_s: int) -> None:
    decide(question.pk, verdict="approve", by=ada, seen_sha256=question.input_sha256, undo_s=undo_s)
    clock.forward(undo_s)
    with pytest.raises(UndoRefused):
        undo(question.pk, by=ada)
    assert Decision.objects.get().undone_at is None


def test_without_a_decision_there_is_nothing_to_undo(question: ApprovalRequest, ada: User) -> None:
    with pytest.raises(UndoRefused):
        undo(question.pk, by=ada)


# --- the unknown ----------------------------------------------------------------------------------------------------


@pytest.fixture
def doubtful(question: ApprovalRequest, ada: User, clock: Clock) -> ApprovalRequest:
    decide(question.pk, verdict="approve", by=ada, seen_sha256=question.input_sha256)
    claim = outbox.claim("me", room=1)[0]
    outbox.mark_sent(claim, answered=[question.pk], body_sha256="")
    outbox.mark_unknown(claim, why="no answer in time")
    question.refresh_from_db()
    assert question.status == S.UNKNOWN
    return question


@pytest.mark.parametrize(
    ("happened", "status", "state"), [(True, S.DELIVERED, D.DELIVERED), (False, S.REFUSED, D.REFUSED)]
)
def test_a_person_resolves_the_unknown_once(
    doubtful: ApprovalRequest, bo: User, happened: bool, status: str, state: str
) -> None:
    resolve_unknown(doubtful.pk, by=bo, happened=happened, note="the mail is there")
    doubtful.refresh_from_db()
    row = Delivery.objects.get()
    assert (doubtful.status, row.state, row.evidence) == (status, state, f"{bo.username}: the mail is there")
    with pytest.raises(NotPending):
        resolve_unknown(doubtful.pk, by=bo, happened=not happened, note="no")
    assert AuditEntry.objects.filter(action="request.resolved").count() == 1


@pytest.mark.parametrize(("happened", "becomes"), [(True, RunStatus.FINISHED), (False, RunStatus.WAITING)])
def test_a_run_whose_answer_was_taken_after_all_waits_for_nobody(
    thread: Run, ada: User, happened: bool, becomes: str
) -> None:
    tell(thread, asked(together=True))
    one = newest(thread)
    decide(one.pk, verdict="approve", by=ada, seen_sha256=one.input_sha256)
    claim = outbox.claim("me", room=1)[0]
    opened = outbox.mark_sent(claim, answered=[one.pk], body_sha256="", answering_id="run-2")
    assert opened is not None
    tell(opened, Ended("truncated"), source=Source.HOUSE)
    Run.objects.filter(pk=opened).update(status=RunStatus.TRUNCATED, ended_at=timezone.now())  # as the journal does it
    resolve_unknown(one.pk, by=ada, happened=happened, note="the console says so")
    thread.refresh_from_db()
    assert thread.status == becomes
    assert (thread.outcome, Run.objects.get(pk=opened).continues) == (("continued", thread) if happened else ("", None))


def test_a_run_whose_answer_was_not_taken_is_asked_again_and_finishes_with_the_next_one(thread: Run, ada: User) -> None:
    tell(thread, asked(together=True))
    one = newest(thread)
    decide(one.pk, verdict="approve", by=ada, seen_sha256=one.input_sha256)
    first = outbox.mark_sent(outbox.claim("me", room=1)[0], answered=[one.pk], body_sha256="", answering_id="run-2")
    assert first is not None
    tell(first, Ended("truncated"), source=Source.HOUSE)
    Run.objects.filter(pk=first).update(status=RunStatus.TRUNCATED, ended_at=timezone.now())  # as the journal does it
    resolve_unknown(one.pk, by=ada, happened=False, note="the console still asks")
    again = reoffer(one.pk, by=ada, note="the console still asks")
    decide(again.pk, verdict="reject", by=ada, seen_sha256=again.input_sha256)
    second = outbox.mark_sent(outbox.claim("me", room=1)[0], answered=[again.pk], body_sha256="", answering_id="run-3")
    assert second is not None
    openings.continued(second)  # as its holder does once the stream is open
    thread.refresh_from_db()
    assert (thread.status, thread.outcome) == (RunStatus.FINISHED, "continued")
    assert Run.objects.get(pk=second).continues == thread


def test_resolving_needs_a_note_and_the_permission(doubtful: ApprovalRequest, ada: User) -> None:
    with pytest.raises(InvalidDecision):
        resolve_unknown(doubtful.pk, by=ada, happened=True, note=" ")
    with pytest.raises(NotAllowed):
        resolve_unknown(doubtful.pk, by=factories.user(), happened=True, note="x")


def test_what_is_found_open_is_offered_again_as_a_new_version(doubtful: ApprovalRequest, ada: User, bo: User) -> None:
    again = reoffer(doubtful.pk, by=bo, note="the console says waiting")
    doubtful.refresh_from_db()
    assert (doubtful.status, again.status, again.version, again.reoffers) == (S.STALE, S.PENDING, 2, doubtful)
    assert again.input_sha256 == doubtful.input_sha256
    assert Delivery.objects.get().state == D.REFUSED
    decide(again.pk, verdict="approve", by=ada, seen_sha256=again.input_sha256)
    with pytest.raises(NotPending):
        reoffer(doubtful.pk, by=bo, note="again")
    assert ApprovalRequest.objects.count() == 2


def test_a_request_of_a_run_that_is_over_is_not_offered_again(doubtful: ApprovalRequest, ada: User) -> None:
    Run.objects.update(status=RunStatus.FINISHED, ended_at=timezone.now())
    with pytest.raises(NotPending):
        reoffer(doubtful.pk, by=ada, note="x")


def test_a_request_that_was_taken_is_not_offered_again(question: ApprovalRequest, ada: User) -> None:
    with pytest.raises(NotPending):
        reoffer(question.pk, by=ada, note="x")


# --- all or nothing -------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("where", ["append_all", "enqueue", "Vote"])
def test_a_decision_that_breaks_off_leaves_nothing_behind(
    question: ApprovalRequest, ada: User, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Exception):
        pass

    def fail(*_: object, **__: object) -> None:
        raise Broken

    target = {"append_all": (audit, "append_all"), "enqueue": (outbox, "enqueue"), "Vote": (Vote.objects, "create")}[
        where
    ]
    before = audit.verify()
    with monkeypatch.context() as patch:
        patch.setattr(*target, fail)
        with pytest.raises(Broken):
            decide(question.pk, verdict="approve", by=ada, seen_sha256=question.input_sha256)
    question.refresh_from_db()
    assert (question.status, Vote.objects.count(), Decision.objects.count(), Delivery.objects.count()) == (
        S.PENDING,
        0,
        0,
        0,
    )
    assert audit.verify() == before
    decide(question.pk, verdict="approve", by=ada, seen_sha256=question.input_sha256)


def test_a_delivery_without_its_cause_is_refused_by_the_database(question: ApprovalRequest) -> None:
    from django.db import IntegrityError, transaction

    with pytest.raises(IntegrityError), transaction.atomic():
        Delivery.objects.create(kind=DeliveryKind.DECISION, run=question.run)


def test_the_room_before_the_deadline_cuts_the_undo_window(run: Run, ada: User, clock: Clock) -> None:
    tell(run, asked(expires_at=(clock.at + timedelta(seconds=20)).isoformat()))
    decision = decide(newest(run).pk, verdict="approve", by=ada, seen_sha256=newest(run).input_sha256, undo_s=600)
    assert decision.leaves_at == clock.at + timedelta(seconds=15)


# --- withdrawn ------------------------------------------------------------------------------------------------------


@pytest.fixture
def olga(db: None) -> User:
    """Somebody who operates, and decides nothing."""
    made = factories.user(username="olga")
    made.user_permissions.add(Permission.objects.get(codename="withdraw_request"))
    return User.objects.get(pk=made.pk)


@pytest.mark.parametrize("undo_s", [None, 60, 0])
def test_a_person_withdraws_what_nobody_should_answer(
    question: ApprovalRequest, ada: User, olga: User, undo_s: int | None
) -> None:
    if undo_s is not None:
        decide(question.pk, verdict="approve", by=ada, seen_sha256=question.input_sha256, undo_s=undo_s)
    withdraw(question.pk, by=olga, note="the customer\n  called it off", origin="10.0.0.7")
    question.refresh_from_db()
    assert (question.status, question.ended_why) == (S.WITHDRAWN, "Withdrawn by olga: the customer called it off")
    assert question.settled_at is not None
    assert not Decision.objects.filter(undone_at=None).exists()
    assert (outbox.release_due(), outbox.claim("me", room=5)) == (0, [])
    entry = AuditEntry.objects.get(action="request.withdrawn")
    assert (entry.actor, entry.origin, entry.target) == ("olga", "page 10.0.0.7", f"request:{question.pk}")
    assert '"by":"person"' in entry.data
    assert "called it off" not in entry.data
    assert audit.verify().bad is None
    with pytest.raises(NotPending):
        decide(question.pk, verdict="approve", by=ada, seen_sha256=question.input_sha256)


def test_what_was_claimed_is_withdrawn_before_it_leaves(question: ApprovalRequest, ada: User, olga: User) -> None:
    decide(question.pk, verdict="approve", by=ada, seen_sha256=question.input_sha256)
    (claim,) = outbox.claim("me", room=1)
    withdraw(question.pk, by=olga, note="stop")
    with pytest.raises(outbox.ClaimLost):
        courier.make_ready(claim)
    assert (Delivery.objects.get().state, Delivery.objects.get().attempts) == (D.CANCELLED, 0)


@pytest.mark.parametrize("status", [S.SENT, S.UNKNOWN, S.DELIVERED, S.REFUSED, S.EXPIRED, S.WITHDRAWN, S.STALE])
def test_what_has_left_or_ended_cannot_be_withdrawn(
    question: ApprovalRequest, olga: User, clock: Clock, status: RequestStatus
) -> None:
    ApprovalRequest.objects.update(status=status, settled_at=clock.at)
    with pytest.raises(NotPending):
        withdraw(question.pk, by=olga, note="stop")
    question.refresh_from_db()
    assert (question.status, question.ended_why) == (status, "")


def test_withdrawing_needs_its_own_permission_and_a_note(question: ApprovalRequest, ada: User, olga: User) -> None:
    with pytest.raises(NotAllowed) as refused:
        withdraw(question.pk, by=ada, note="stop")
    assert refused.value.code == "not_permitted"
    assert AuditEntry.objects.get(action="withdrawal.denied").actor == ada.get_username()
    for note in ("", " ", "x" * 4_001, "\x00"):
        with pytest.raises(InvalidDecision) as wrong:
            withdraw(question.pk, by=olga, note=note)
        assert wrong.value.field == "note"
    question.refresh_from_db()
    assert question.status == S.PENDING


def test_a_long_note_is_cut_where_it_is_shown(question: ApprovalRequest, olga: User) -> None:
    withdraw(question.pk, by=olga, note="x" * 4_000)
    question.refresh_from_db()
    assert (len(question.ended_why), question.ended_why[-1]) == (300, "…")


def test_a_withdrawn_question_that_is_told_again_stays_withdrawn(
    run: Run, question: ApprovalRequest, olga: User
) -> None:
    withdraw(question.pk, by=olga, note="stop")
    tell(run, asked(answer=True), seq=2)
    tell(run, asked(answer=True), seq=3, kind=READ_BACK)
    assert (newest(run).status, newest(run).version) == (S.WITHDRAWN, 1)


# --- read-only ------------------------------------------------------------------------------------------------------


def test_what_the_provider_takes_from_nobody_here_is_decided_by_nobody(
    question: ApprovalRequest, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_only(question) == ""
    monkeypatch.setattr(fakes.FakeProvider, "decidable", lambda self, account: "Decide it there.")
    with pytest.raises(NotAllowed) as refused:
        decide(question.pk, verdict="approve", by=ada, seen_sha256=question.input_sha256)
    assert (refused.value.code, refused.value.detail) == ("read_only", "Decide it there.")
    assert '"code":"read_only"' in AuditEntry.objects.get(action="decision.denied").data
    assert may_decide(ada, question)  # that is about the person
    question.refresh_from_db()
    assert question.status == S.PENDING


def test_whoever_may_not_decide_hears_that_first(
    question: ApprovalRequest, olga: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fakes.FakeProvider, "decidable", lambda self, account: "Decide it there.")
    with pytest.raises(NotAllowed) as refused:
        decide(question.pk, verdict="approve", by=olga, seen_sha256=question.input_sha256)
    assert refused.value.code == "not_permitted"


def test_being_read_only_needs_no_secret(question: ApprovalRequest) -> None:
    Provider.objects.update(secret_sealed="nonsense")
    question.refresh_from_db()
    assert read_only(ApprovalRequest.objects.select_related("run__provider").get(pk=question.pk)) == ""
