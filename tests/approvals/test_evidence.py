"""What stored events prove about answers that went out."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from approvals import audit, outbox
from approvals.answers import prepare
from approvals.decisions import decide
from approvals.models import ApprovalRequest, AuditEntry, Delivery, DeliveryState, RequestStatus
from approvals.outbox import Claim, ClaimLost
from dashboard.models import User
from streams.events import Asked, Ended, MovedOn, Paused
from streams.models import Event, Run, Source
from tests.approvals.fakes import asked, newest, tell

pytestmark = pytest.mark.django_db
S = RequestStatus
D = DeliveryState


def proof(**said: list[str]) -> dict[str, str]:
    return {"kind": "result", "payload": json.dumps(said)}


def send(run: Run, by: User, *call_ids: str, together: bool = False) -> tuple[Claim, Run]:
    """Ask, approve and send; returns the claim and the run on which the answer is told."""
    tell(run, *(asked(call_id, together=together) for call_id in call_ids))
    for call_id in call_ids:
        one = newest(run, call_id)
        decide(one.pk, verdict="approve", by=by, seen_sha256=one.input_sha256)
    claim = outbox.claim("me", room=1)[0]
    answering_id = "run-2" if together else ""
    opened = outbox.mark_sent(claim, answered=prepare(claim).answered, body_sha256="", answering_id=answering_id)
    return claim, Run.objects.get(pk=opened) if opened else run


def state(run: Run, *call_ids: str) -> tuple[str, ...]:
    row = Delivery.objects.exclude(state=D.CANCELLED).order_by("created_at").first()
    assert row is not None
    return (row.state, *(newest(run, call_id).status for call_id in call_ids or ("c1",)))


@pytest.mark.parametrize("doubt", [False, True])
def test_an_event_that_shows_the_effect_delivers(run: Run, ada: User, doubt: bool) -> None:
    claim, _ = send(run, ada, "c1")
    if doubt:
        outbox.mark_unknown(claim, why="reset")
    tell(run, seq=190, **proof(applied=["c1"]))
    assert state(run) == (D.DELIVERED, S.DELIVERED)
    assert Delivery.objects.get().evidence == f"event 190 of run {run.pk}"
    assert AuditEntry.objects.filter(action="delivery.delivered").count() == 1


def test_a_later_write_of_the_courier_loses_silently(run: Run, ada: User) -> None:
    claim, _ = send(run, ada, "c1")
    tell(run, seq=2, **proof(applied=["c1"]))
    before = audit.verify()
    with pytest.raises(ClaimLost):
        outbox.mark_unknown(claim, why="reset")
    with pytest.raises(ClaimLost):
        outbox.mark_refused(claim, status=404, answer="gone")
    assert (state(run), audit.verify()) == ((D.DELIVERED, S.DELIVERED), before)


@pytest.mark.parametrize("skew", [timedelta(0), timedelta(minutes=10), timedelta(minutes=-10)])
def test_only_what_was_stored_after_the_answer_left_proves_anything_whatever_the_clocks_say(
    run: Run, ada: User, skew: timedelta
) -> None:
    at = timezone.now() + skew
    for seq in (1, 2, 3):
        Event.objects.create(run=run, seq=seq, kind="result", sha256="0" * 64, received_at=at)
    send(run, ada, "c1")
    assert Delivery.objects.get().sent_after_seq == 3
    for seq in (2, 3):
        tell(run, seq=seq, at=at, **proof(applied=["c1"]))
        assert state(run) == (D.SENT, S.SENT)
    tell(run, seq=4, at=at, **proof(applied=["c1"]))
    assert state(run) == (D.DELIVERED, S.DELIVERED)


def test_evidence_against_an_answer_waits_for_the_answer_to_our_call(run: Run, ada: User) -> None:
    claim, _ = send(run, ada, "c1")
    tell(run, MovedOn("chunk"), seq=5, **proof(not_applied=["c1"]))
    assert state(run) == (D.SENT, S.SENT)
    outbox.mark_delivered(claim, status=200)
    assert state(run) == (D.DELIVERED, S.DELIVERED)


def test_evidence_against_an_answer_decides_where_no_answer_comes(run: Run, ada: User) -> None:
    claim, _ = send(run, ada, "c1")
    tell(run, seq=5, **proof(not_applied=["c1"]))
    outbox.mark_unknown(claim, why="no answer in time")
    assert state(run) == (D.REFUSED, S.REFUSED)
    assert Delivery.objects.get().evidence == "event 5"


def test_evidence_against_an_unknown_answer_refuses_it(run: Run, ada: User) -> None:
    claim, _ = send(run, ada, "c1")
    outbox.mark_unknown(claim, why="no answer in time")
    tell(run, seq=5, **proof(not_applied=["c1"]))
    assert state(run) == (D.REFUSED, S.REFUSED)


def test_the_house_proves_nothing(run: Run, ada: User) -> None:
    send(run, ada, "c1")
    tell(run, seq=2, source=Source.HOUSE, **proof(applied=["c1"]))
    assert state(run) == (D.SENT, S.SENT)


def test_the_end_of_a_run_alone_leaves_the_unknown_unknown(run: Run, ada: User) -> None:
    claim, _ = send(run, ada, "c1")
    outbox.mark_unknown(claim, why="reset")
    tell(run, Ended("finished"), seq=2)
    assert state(run) == (D.UNKNOWN, S.UNKNOWN)


def test_what_happens_after_a_later_question_proves_nothing_about_the_one_before(run: Run, ada: User) -> None:
    """Two questions about the same tool and input: the effect belongs to the one that was approved last."""
    claim, _ = send(run, ada, "c1")
    outbox.mark_unknown(claim, why="no answer in time")
    tell(run, asked("c2"), seq=5)
    second = newest(run, "c2")
    decide(second.pk, verdict="approve", by=ada, seen_sha256=second.input_sha256)
    later = outbox.claim("me", room=1)[0]
    outbox.mark_sent(later, answered=[second.pk], body_sha256="")
    outbox.mark_delivered(later, status=200)
    tell(run, seq=6, **proof(alone=["c1", "c2"]))
    assert (newest(run, "c1").status, newest(run, "c2").status) == (S.UNKNOWN, S.DELIVERED)


def test_what_happens_after_another_open_question_was_answered_proves_nothing(run: Run, ada: User) -> None:
    """Two open questions, answered in reverse order: the effect may be that of the other answer."""
    tell(run, asked("c1"), seq=1)
    tell(run, asked("c2"), seq=2)
    claims = []
    for call_id in ("c2", "c1"):
        one = newest(run, call_id)
        decide(one.pk, verdict="approve", by=ada, seen_sha256=one.input_sha256)
        claims += outbox.claim("me", room=1)
        outbox.mark_sent(claims[-1], answered=[one.pk], body_sha256="")
        if call_id == "c2":
            outbox.mark_delivered(claims[-1], status=200)
    outbox.mark_unknown(claims[-1], why="reset")
    tell(run, seq=3, **proof(alone=["c1"]))
    assert (newest(run, "c1").status, newest(run, "c2").status) == (S.UNKNOWN, S.DELIVERED)


# --- answers that stream --------------------------------------------------------------------------------------------


def test_each_call_of_a_batch_is_delivered_by_its_own_result(thread: Run, ada: User) -> None:
    _, answering = send(thread, ada, "c1", "c2", together=True)
    tell(answering, seq=1, **proof(applied=["c1"]))
    assert state(thread, "c1", "c2") == (D.SENT, S.DELIVERED, S.SENT)
    tell(answering, Ended("finished"), seq=2, **proof(applied=["c2"]))
    assert state(thread, "c1", "c2") == (D.DELIVERED, S.DELIVERED, S.DELIVERED)


def test_events_of_the_asking_run_prove_nothing_about_an_answer_that_streams(thread: Run, ada: User) -> None:
    send(thread, ada, "c1", together=True)
    tell(thread, seq=2, **proof(applied=["c1"]))
    assert state(thread) == (D.SENT, S.SENT)


@pytest.mark.parametrize("how", ["truncated", "lost", "failed", "cancelled", "finished"])
def test_an_answering_run_that_ends_without_evidence_leaves_doubt(thread: Run, ada: User, how: str) -> None:
    _, answering = send(thread, ada, "c1", "c2", together=True)
    tell(answering, seq=1, **proof(applied=["c2"]))
    tell(answering, Ended(how, error="boom"), seq=2)  # type: ignore[arg-type]
    assert state(thread, "c1", "c2") == (D.UNKNOWN, S.UNKNOWN, S.DELIVERED)
    assert Delivery.objects.get().last_error == "boom"


@pytest.mark.parametrize("doubt", [False, True])
def test_an_error_that_says_not_accepted_refuses(thread: Run, ada: User, doubt: bool) -> None:
    claim, answering = send(thread, ada, "c1", together=True)
    if doubt:
        outbox.mark_unknown(claim, why="reset")
    tell(answering, Ended("failed", error="not accepted"))
    assert state(thread) == (D.REFUSED, S.REFUSED)


def test_a_question_that_is_asked_again_was_not_answered(thread: Run, ada: User) -> None:
    _, answering = send(thread, ada, "c1", "c2", together=True)
    again: list[Asked] = [asked("c1", together=True)]
    tell(answering, *again, Paused(closed=True), seq=9, **proof(not_applied=["c1"], applied=["c2"]))
    assert state(thread, "c1", "c2") == (D.DELIVERED, S.STALE, S.DELIVERED)
    made = newest(answering)
    assert (made.status, made.version, made.reoffers) == (S.PENDING, 1, newest(thread))
    tell(answering, *again, Paused(closed=True), seq=9, **proof(not_applied=["c1"], applied=["c2"]))
    assert ApprovalRequest.objects.count() == 3
    actions = list(AuditEntry.objects.values_list("action", flat=True))
    assert actions.count("delivery.refused") == actions.count("request.stale") == 1


@pytest.mark.parametrize("how", ["truncated", "failed"])
def test_an_end_that_nobody_can_read_proves_nothing(thread: Run, ada: User, how: str) -> None:
    """The agent stopped in a form that we cannot answer: it may be asking the same once more."""
    _, answering = send(thread, ada, "c1", "c2", together=True)
    tell(answering, seq=8, **proof(applied=["c2"]))
    tell(answering, Ended(how, error="older form"), seq=9, **proof(applied=["c1"]))  # type: ignore[arg-type]
    assert state(thread, "c1", "c2") == (D.UNKNOWN, S.UNKNOWN, S.DELIVERED)


def test_the_same_question_in_the_answering_run_refutes_whatever_its_end_says(thread: Run, ada: User) -> None:
    _, answering = send(thread, ada, "c1", together=True)
    tell(answering, asked("c1", together=True), Paused(closed=True), seq=9, **proof(applied=["c1"]))
    assert state(thread) == (D.REFUSED, S.STALE)
    assert newest(answering).reoffers == newest(thread)
