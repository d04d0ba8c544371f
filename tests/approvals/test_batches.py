"""Requests that one answer must cover: nothing leaves before the last one is answered, and then all at once."""

from datetime import timedelta

import pytest

from approvals import endings, outbox
from approvals.answers import prepare
from approvals.decisions import decide, reoffer, undo, withdraw
from approvals.errors import NotPending, UndoRefused
from approvals.models import ApprovalRequest, Batch, Decision, Delivery, DeliveryState, RequestStatus
from dashboard.models import User
from streams.events import Ended, Paused
from streams.models import Run, Source
from tests import factories
from tests.approvals.fakes import Clock, asked, newest, tell

pytestmark = pytest.mark.django_db
S = RequestStatus
D = DeliveryState


@pytest.fixture
def root(db: None) -> User:
    return factories.user(is_superuser=True)


def ask(run: Run, *call_ids: str, seq: int = 1, **fields: str) -> None:
    tell(run, *(asked(call_id, together=True, **fields) for call_id in call_ids), Paused(closed=True), seq=seq)


def say(run: Run, call_id: str, by: User, verdict: str = "approve", undo_s: int = 0) -> Decision:
    one = newest(run, call_id)
    return decide(one.pk, verdict=verdict, by=by, seen_sha256=one.input_sha256, undo_s=undo_s)


def statuses(run: Run) -> list[str]:
    rows = ApprovalRequest.objects.filter(run=run).exclude(status=S.SUPERSEDED).order_by("call_id")
    return list(rows.values_list("status", flat=True))


def live() -> Delivery:
    return Delivery.objects.exclude(state=D.CANCELLED).get()


def test_questions_of_one_event_form_a_batch_even_a_single_one(thread: Run) -> None:
    ask(thread, "c1")
    assert (Batch.objects.get().total, newest(thread).batch) == (1, Batch.objects.get())
    assert (live().state, live().kind, live().next_at) == (D.WAITING, "batch", None)


def test_asking_the_same_again_makes_no_second_batch(thread: Run) -> None:
    ask(thread, "c1", "c2")
    ask(thread, "c1", "c2", seq=2)
    assert (Batch.objects.get().total, ApprovalRequest.objects.count()) == (2, 2)


def test_nothing_leaves_before_all_are_answered(thread: Run, ada: User, bo: User, clock: Clock) -> None:
    ask(thread, "c1", "c2", "c3")
    say(thread, "c1", ada)
    say(thread, "c2", bo, "reject", undo_s=5)
    clock.forward(3600)
    assert outbox.release_due() == 0
    assert (statuses(thread), live().state) == ([S.HELD, S.HELD, S.PENDING], D.WAITING)
    say(thread, "c3", ada)
    assert (statuses(thread), live().state) == ([S.DECIDING] * 3, D.READY)
    said = prepare(outbox.claim("me", room=5)[0]).call.body
    assert said is not None
    assert [said.count(word) for word in (b'"approve"', b'"reject"')] == [2, 1]


def test_every_decision_can_be_undone_until_the_last_window_is_over(thread: Run, ada: User, clock: Clock) -> None:
    ask(thread, "c1", "c2")
    say(thread, "c1", ada)
    clock.forward(3600)
    say(thread, "c2", ada, undo_s=10)
    clock.forward(9)
    undo(newest(thread, "c1").pk, by=ada)
    assert (statuses(thread), live().next_at) == ([S.PENDING, S.HELD], None)
    clock.forward(60)
    assert outbox.release_due() == 0
    say(thread, "c1", ada, "reject", undo_s=10)
    assert live().next_at == clock.at + timedelta(seconds=10)
    clock.forward(10)
    assert outbox.release_due() == 1
    with pytest.raises(UndoRefused):
        undo(newest(thread, "c1").pk, by=ada)


def test_the_first_deadline_cuts_the_last_undo_window(thread: Run, ada: User, clock: Clock) -> None:
    tell(
        thread,
        asked("c1", together=True, expires_at=(clock.at + timedelta(seconds=60)).isoformat()),
        asked("c2", together=True),
    )
    say(thread, "c1", ada)
    say(thread, "c2", ada, undo_s=600)
    assert live().next_at == clock.at + timedelta(seconds=55)


def test_an_expired_member_counts_as_answered_by_nobody(thread: Run, ada: User, clock: Clock) -> None:
    tell(
        thread,
        asked("c1", together=True, expires_at=(clock.at + timedelta(seconds=60)).isoformat()),
        asked("c2", together=True),
    )
    say(thread, "c2", ada)
    clock.forward(60)
    assert endings.expire_due() == 1
    assert (statuses(thread), live().state) == ([S.EXPIRED, S.DECIDING], D.READY)
    prepared = prepare(outbox.claim("me", room=5)[0])
    assert prepared.call.body is not None
    assert b'{"call": "c1", "verdict": "nobody"' in prepared.call.body
    assert prepared.answered == (newest(thread, "c2").pk,)


def test_a_batch_that_nobody_answered_goes_out_all_the_same(thread: Run, clock: Clock) -> None:
    ask(thread, "c1", "c2", expires_at=(clock.at + timedelta(seconds=60)).isoformat())
    clock.forward(60)
    assert endings.expire_due() == 2
    assert (statuses(thread), live().state) == ([S.EXPIRED] * 2, D.READY)
    claim = outbox.claim("me", room=5)[0]
    prepared = prepare(claim)
    assert prepared.answered == ()
    opened = outbox.mark_sent(claim, answered=(), body_sha256="", answering_id="run-2")
    assert opened is not None
    tell(opened, Ended("finished"))
    assert (statuses(thread), live().state) == ([S.EXPIRED] * 2, D.DELIVERED)


@pytest.mark.parametrize("order", ["withdrawn first", "decided first", "taken back on its way out"])
def test_a_withdrawn_member_counts_as_answered_by_nobody(thread: Run, ada: User, root: User, order: str) -> None:
    ask(thread, "c1", "c2")
    if order == "taken back on its way out":
        say(thread, "c1", ada)
    if order != "withdrawn first":
        say(thread, "c2", ada)
    withdraw(newest(thread, "c1").pk, by=root, note="not ours to answer")
    if order == "withdrawn first":
        assert (statuses(thread), live().state) == ([S.WITHDRAWN, S.PENDING], D.WAITING)
        say(thread, "c2", ada)
    assert (statuses(thread), live().state) == ([S.WITHDRAWN, S.DECIDING], D.READY)
    prepared = prepare(outbox.claim("me", room=5)[0])
    assert prepared.call.body is not None
    assert b'{"call": "c1", "verdict": "nobody"' in prepared.call.body
    assert prepared.answered == (newest(thread, "c2").pk,)


@pytest.mark.parametrize("expired", [False, True])
def test_a_batch_that_was_withdrawn_and_that_nobody_answered_sends_nothing(
    thread: Run, root: User, clock: Clock, expired: bool
) -> None:
    soon = (clock.at + timedelta(seconds=60)).isoformat()
    tell(thread, asked("c1", together=True, expires_at=soon), asked("c2", together=True))
    withdraw(newest(thread, "c2").pk, by=root, note="stop")
    if expired:
        clock.forward(60)
        assert endings.expire_due() == 1
    else:
        withdraw(newest(thread, "c1").pk, by=root, note="stop")
    assert statuses(thread) == [S.EXPIRED if expired else S.WITHDRAWN, S.WITHDRAWN]
    assert not Delivery.objects.exclude(state=D.CANCELLED).exists()
    clock.forward(3600)
    assert (outbox.release_due(), outbox.claim("me", room=5)) == (0, [])


def test_a_batch_with_a_withdrawn_member_is_offered_again_as_a_whole(thread: Run, ada: User, root: User) -> None:
    ask(thread, "c1", "c2")
    withdraw(newest(thread, "c1").pk, by=root, note="stop")
    say(thread, "c2", ada)
    claim = outbox.claim("me", room=5)[0]
    outbox.mark_sent(claim, answered=prepare(claim).answered, body_sha256="", answering_id="run-2")
    outbox.mark_unknown(claim, why="reset")
    reoffer(newest(thread, "c2").pk, by=ada, note="it still waits")
    assert (newest(thread, "c1").status, newest(thread, "c2").status) == (S.PENDING, S.PENDING)
    first = ApprovalRequest.objects.get(call_id="c1", version=1)
    assert (first.status, first.reoffered_as.ended_why) == (S.WITHDRAWN, "")


def test_a_member_that_expires_on_its_way_out_changes_the_answer(thread: Run, ada: User, clock: Clock) -> None:
    tell(
        thread,
        asked("c1", together=True, expires_at=(clock.at + timedelta(seconds=60)).isoformat()),
        asked("c2", together=True),
    )
    say(thread, "c1", ada)
    say(thread, "c2", ada)
    claim = outbox.claim("me", room=5)[0]
    stale = prepare(claim)
    clock.forward(5)
    ApprovalRequest.objects.filter(call_id="c1").update(deadline=clock.at + timedelta(seconds=1))
    with pytest.raises(outbox.AnswersChanged) as caught:
        outbox.mark_sent(claim, answered=stale.answered, body_sha256="")
    assert list(caught.value.late) == [newest(thread, "c1").pk]
    assert endings.expire(newest(thread, "c1").pk)
    with pytest.raises(outbox.AnswersChanged):
        outbox.mark_sent(claim, answered=stale.answered, body_sha256="")
    assert statuses(thread) == [S.EXPIRED, S.DECIDING]
    outbox.mark_sent(claim, answered=prepare(claim).answered, body_sha256="", answering_id="run-2")
    assert (statuses(thread), live().state) == ([S.EXPIRED, S.SENT], D.SENT)


def test_changed_arguments_call_a_batch_back_that_has_not_left(thread: Run, ada: User) -> None:
    ask(thread, "c1", "c2")
    say(thread, "c1", ada)
    say(thread, "c2", ada)
    claim = outbox.claim("me", room=5)[0]
    prepared = prepare(claim)
    tell(thread, asked("c2", '{"a":2}', together=True), seq=2)
    assert (statuses(thread), live().state, live().next_at) == ([S.HELD, S.PENDING], D.WAITING, None)
    with pytest.raises((outbox.AnswersChanged, outbox.ClaimLost)):
        outbox.mark_sent(claim, answered=prepared.answered, body_sha256="")
    say(thread, "c2", ada, "reject")
    assert (statuses(thread), live().state) == ([S.DECIDING] * 2, D.READY)


def test_the_end_of_the_run_cancels_the_whole_batch(thread: Run, ada: User) -> None:
    ask(thread, "c1", "c2", "c3")
    say(thread, "c1", ada)
    tell(thread, Ended("failed"), seq=2)
    assert statuses(thread) == [S.WITHDRAWN] * 3
    assert not Delivery.objects.exclude(state=D.CANCELLED).exists()
    assert not Decision.objects.filter(undone_at=None).exists()


def sent(run: Run, ada: User, *call_ids: str) -> outbox.Claim:
    for call_id in call_ids:
        say(run, call_id, ada)
    claim = outbox.claim("me", room=5)[0]
    outbox.mark_sent(claim, answered=prepare(claim).answered, body_sha256="", answering_id="run-2")
    return claim


def test_a_batch_whose_fate_is_unknown_is_offered_again_as_a_whole(thread: Run, ada: User, clock: Clock) -> None:
    ask(thread, "c1", "c2")
    outbox.mark_unknown(sent(thread, ada, "c1", "c2"), why="reset")
    assert statuses(thread) == [S.UNKNOWN] * 2
    again = reoffer(newest(thread, "c2").pk, by=ada, note="it still waits")
    first, second = Batch.objects.order_by("round")
    assert (again.batch, first.closed_at is None, second.closed_at, second.total) == (second, False, None, 2)
    assert sorted(second.requests.values_list("status", "version")) == [(S.PENDING, 2)] * 2
    assert set(first.requests.values_list("status", flat=True)) == {S.STALE}
    for call_id in ("c1", "c2"):
        say(thread, call_id, ada)
    assert outbox.claim("me", room=5)[0].delivery_id != first.deliveries.get().pk


def test_a_batch_of_which_a_part_was_taken_is_not_offered_again(thread: Run, ada: User) -> None:
    ask(thread, "c1", "c2")
    outbox.mark_unknown(sent(thread, ada, "c1", "c2"), why="reset")
    ApprovalRequest.objects.filter(call_id="c1").update(status=S.DELIVERED)
    with pytest.raises(NotPending):
        reoffer(newest(thread, "c2").pk, by=ada, note="it still waits")


@pytest.mark.parametrize(("source", "state"), [(Source.PROVIDER, D.DELIVERED), (Source.HOUSE, D.UNKNOWN)])
def test_an_answer_that_nobody_gave_frees_the_thread_only_where_the_provider_ends_it(
    thread: Run, clock: Clock, source: Source, state: str
) -> None:
    ask(thread, "c1", expires_at=(clock.at + timedelta(seconds=10)).isoformat())
    clock.forward(10)
    assert endings.expire_due() == 1
    claim = outbox.claim("me", room=1)[0]
    opened = outbox.mark_sent(claim, answered=prepare(claim).answered, body_sha256="", answering_id="run-2")
    assert opened is not None
    tell(opened, Ended("truncated"), source=source)
    assert (live().state, statuses(thread)) == (state, [S.EXPIRED])
