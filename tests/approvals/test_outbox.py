"""Claims, what is committed before a byte leaves, and what becomes of an attempt."""

import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from approvals import courier, outbox
from approvals.answers import prepare
from approvals.decisions import decide, reoffer, resolve_unknown
from approvals.models import ApprovalRequest, Delivery, DeliveryState, RequestStatus
from approvals.outbox import AnswersChanged, Claim, ClaimLost
from approvals.sending import Answered
from dashboard.models import User
from streams.events import Ended
from streams.holder import Unsent
from streams.models import Event, Lease, Provider, Run, RunStatus
from tests import factories
from tests.approvals.fakes import Clock, asked, newest, tell

pytestmark = pytest.mark.django_db
S = RequestStatus
D = DeliveryState


def ready(run: Run, by: User, call_id: str = "c1", **fields: str) -> ApprovalRequest:
    tell(run, asked(call_id, **fields))
    one = newest(run, call_id)
    decide(one.pk, verdict="approve", by=by, seen_sha256=one.input_sha256)
    return one


def take() -> Claim:
    (claim,) = outbox.claim("me", room=1)
    return claim


def send(claim: Claim) -> None:
    outbox.mark_sent(claim, answered=prepare(claim).answered, body_sha256="")


def row() -> Delivery:
    return Delivery.objects.get()


def status() -> str:
    return ApprovalRequest.objects.get().status


# --- claims ---------------------------------------------------------------------------------------------------------


def test_a_delivery_is_claimed_once(run: Run, ada: User, clock: Clock) -> None:
    ready(run, ada)
    claim = take()
    assert (claim.epoch, row().state, row().claim_owner) == (1, D.CLAIMED, "me")
    assert outbox.claim("you", room=1) == []


def test_a_claim_that_ran_out_is_free_again_and_its_late_holder_sends_nothing(
    run: Run, ada: User, clock: Clock
) -> None:
    ready(run, ada)
    late = take()
    clock.forward(outbox.CLAIM_S)
    with pytest.raises(ClaimLost):  # though nobody else has it yet
        send(late)
    courier.recover()
    assert (row().state, status()) == (D.READY, S.DECIDING)
    second = take()
    assert second.epoch == late.epoch + 1
    with pytest.raises(ClaimLost):
        send(late)
    assert (row().state, status()) == (D.CLAIMED, S.DECIDING)
    send(second)
    writes: list[Callable[[], None]] = [
        lambda: outbox.mark_delivered(late, status=200),
        lambda: outbox.mark_refused(late, status=404, answer=""),
        lambda: outbox.mark_unknown(late, why=""),
        lambda: outbox.mark_later(late, why="", wait_s=1),
        lambda: outbox.mark_parked(late, why=""),
    ]
    for write in writes:
        with pytest.raises(ClaimLost):
            write()
    assert (row().state, row().attempts, status()) == (D.SENT, 1, S.SENT)


def test_a_claim_is_given_back_only_by_whoever_has_it(run: Run, ada: User, clock: Clock) -> None:
    ready(run, ada)
    claim = take()
    outbox.give_back(Claim(claim.delivery_id, claim.epoch + 1, "you", claim.provider_id))
    assert row().state == D.CLAIMED
    outbox.give_back(claim, why="draining")
    assert row().state == D.READY


def test_deliveries_of_one_run_keep_their_order(run: Run, ada: User, clock: Clock) -> None:
    first = ready(run, ada, "c1")
    second = ready(run, ada, "c2")
    (claim,) = outbox.claim("me", room=9)
    assert prepare(claim).answered == (first.pk,)
    assert outbox.claim("me", room=9) == []
    send(claim)
    assert outbox.claim("me", room=9) == []
    outbox.mark_later(claim, why="429", wait_s=60)
    assert outbox.claim("me", room=9) == []  # the first one waits, so the second one does
    clock.forward(60)
    (claim,) = outbox.claim("me", room=9)
    send(claim)
    outbox.mark_delivered(claim, status=200)
    assert prepare(take()).answered == (second.pk,)


def test_a_provider_takes_only_so_many_places(run: Run, ada: User, clock: Clock) -> None:
    for n in range(6):
        ready(factories.run(provider=run.provider), ada, f"c{n}")
    other = factories.run(provider=factories.provider(kind="alone"))
    clock.forward(1)
    ready(other, ada)
    claims = outbox.claim("me", room=32, most_each=4)
    assert sum(claim.provider_id == run.provider_id for claim in claims) == 4
    assert sum(claim.provider_id == other.provider_id for claim in claims) == 1
    assert outbox.claim("me", room=32, busy={run.provider_id: 4}, most_each=4) == []
    assert len(outbox.claim("me", room=32, busy={run.provider_id: 3}, most_each=4)) == 1


@pytest.mark.parametrize("stop", [{"paused": True}, {"credential_refused_at": "2026-11-21T00:00:00Z"}])
def test_nothing_goes_to_a_provider_that_is_paused_or_refuses_our_credential(
    run: Run, ada: User, stop: dict[str, object]
) -> None:
    ready(run, ada)
    Provider.objects.update(**stop)
    assert outbox.claim("me", room=1) == []


# --- sent -----------------------------------------------------------------------------------------------------------


def test_sent_is_committed_with_its_requests_before_anything_leaves(run: Run, ada: User, clock: Clock) -> None:
    one = ready(run, ada)
    claim = take()
    send(claim)
    sent = ApprovalRequest.objects.get(pk=one.pk)
    assert (sent.status, sent.settled_at, row().state, row().sent_at, row().attempts) == (
        S.SENT,
        clock.at,
        D.SENT,
        clock.at,
        1,
    )
    assert row().only_open
    with pytest.raises(AnswersChanged):
        outbox.mark_sent(claim, answered=[one.pk], body_sha256="")


def test_an_answer_sent_while_another_request_is_open_says_so(run: Run, ada: User) -> None:
    ready(run, ada)
    tell(run, asked("c2"), seq=2)
    send(take())
    assert not row().only_open


def test_nothing_is_sent_that_near_to_the_deadline(run: Run, ada: User, clock: Clock) -> None:
    one = ready(run, ada, expires_at=(clock.at + timedelta(seconds=10)).isoformat())
    claim = take()
    clock.forward(8)
    with pytest.raises(ClaimLost):
        courier.make_ready(claim)
    one.refresh_from_db()
    assert (one.status, row().state, row().attempts) == (S.EXPIRED, D.CANCELLED, 0)


def test_nothing_is_sent_for_a_run_that_ended_meanwhile(run: Run, ada: User) -> None:
    ready(run, ada)
    claim = take()
    prepared = prepare(claim)
    tell(run, Ended("finished"), seq=2)
    with pytest.raises(AnswersChanged):
        outbox.mark_sent(claim, answered=prepared.answered, body_sha256="")
    with pytest.raises(ClaimLost):
        courier.make_ready(claim)
    assert (row().state, row().attempts, status()) == (D.CANCELLED, 0, S.WITHDRAWN)


@pytest.mark.parametrize(("how", "becomes"), [("finished", S.WITHDRAWN), ("lost", S.STALE)])
def test_an_answer_that_comes_back_unsent_to_a_run_that_is_over_is_not_sent_again(
    run: Run, ada: User, clock: Clock, how: str, becomes: str
) -> None:
    ready(run, ada)
    claim = take()
    send(claim)
    tell(run, Ended(how), seq=2)  # type: ignore[arg-type]
    Run.objects.filter(pk=run.pk).update(status=RunStatus(how), ended_at=clock.at)  # as the journal does it
    outbox.mark_later(claim, why="cannot connect", wait_s=0)
    assert courier.make_ready(take()) is None
    assert (row().state, status(), row().attempts) == (D.CANCELLED, becomes, 1)


def test_a_refusal_that_comes_late_still_counts(run: Run, ada: User, clock: Clock) -> None:
    ready(run, ada)
    claim = take()
    send(claim)
    clock.forward(outbox.SENDING_S)
    courier.recover()
    assert status() == S.UNKNOWN
    outbox.mark_refused(claim, status=404, answer="no such approval")
    assert (row().state, status(), row().answer) == (D.REFUSED, S.REFUSED, "no such approval")


LATE: list[tuple[Answered | Unsent, str]] = [
    (Answered(429, b"slow down", "60"), "Not taken: slow down"),
    (Answered(401, b"no key", None), "Not taken: no key"),
    (Answered(403, b"", None), "Not taken: "),
    (Unsent("cannot connect"), "Not taken: cannot connect"),
]


@pytest.mark.parametrize(("outcome", "answer"), LATE)
def test_that_an_answer_did_nothing_counts_though_it_was_given_up(
    run: Run, ada: User, clock: Clock, outcome: Answered | Unsent, answer: str
) -> None:
    one = ready(run, ada)
    claim = take()
    prepared = prepare(claim)
    send(claim)
    clock.forward(outbox.SENDING_S)
    courier.recover()
    courier.conclude(prepared, outcome, chance=0.5)
    assert (row().state, status(), row().answer) == (D.REFUSED, S.REFUSED, answer)
    refused_us = isinstance(outcome, Answered) and outcome.status in (401, 403)
    assert bool(Provider.objects.get(pk=run.provider_id).credential_refused_at) == refused_us
    assert reoffer(one.pk, by=ada, note="it was not taken").status == S.PENDING


@pytest.mark.parametrize(("outcome", "answer"), LATE)
def test_a_late_no_after_a_person_found_out_changes_nothing(
    run: Run, ada: User, clock: Clock, outcome: Answered | Unsent, answer: str
) -> None:
    one = ready(run, ada)
    claim = take()
    prepared = prepare(claim)
    send(claim)
    clock.forward(outbox.SENDING_S)
    courier.recover()
    resolve_unknown(one.pk, by=ada, happened=True, note="seen there")
    with pytest.raises(ClaimLost):
        courier.conclude(prepared, outcome, chance=0.5)
    assert (row().state, status()) == (D.DELIVERED, S.DELIVERED)


def test_a_late_no_to_the_second_attempt_says_nothing_about_the_first(ada: User, clock: Clock, db: None) -> None:
    ready(factories.run(provider=factories.provider(kind="repeatable")), ada)
    for _ in range(courier.DOUBTFUL_MAX):
        claim = take()
        prepared = prepare(claim)
        send(claim)
        clock.forward(outbox.SENDING_S)
        courier.recover()
        clock.forward(60)
    assert row().state == D.UNKNOWN
    with pytest.raises(ClaimLost):
        courier.conclude(prepared, Unsent("cannot connect"), chance=0.5)
    assert (row().state, status()) == (D.UNKNOWN, S.UNKNOWN)


def test_an_answer_may_leave_until_its_first_deadline_and_only_while_its_claim_lasts(
    run: Run, ada: User, clock: Clock
) -> None:
    before = time.monotonic()
    ready(run, ada, expires_at=(clock.at + timedelta(seconds=9)).isoformat())
    prepared = prepare(take())
    assert before + 9 <= prepared.leave_by <= time.monotonic() + 9
    ready(factories.run(provider=run.provider), ada, "c2")
    prepared = prepare(take())
    assert prepared.leave_by <= time.monotonic() + outbox.CLAIM_S
    assert outbox.CLAIM_S < outbox.SENDING_S  # so whoever slept cannot send what was given up meanwhile


def test_what_no_call_can_be_made_of_is_closed_before_a_byte_left(run: Run, ada: User) -> None:
    ready(run, ada)
    Provider.objects.update(options={"mute": True})
    assert courier.make_ready(take()) is None
    assert (row().state, row().last_error, row().attempts, status()) == (
        D.REFUSED,
        "the wire has no word for it",
        0,
        S.REFUSED,
    )


def test_a_secret_that_does_not_open_parks_without_naming_it(run: Run, ada: User, clock: Clock) -> None:
    ready(run, ada)
    Provider.objects.update(secret_sealed="nonsense")
    assert courier.make_ready(take()) is None
    assert (row().state, status()) == (D.PARKED, S.DECIDING)
    assert "nonsense" not in row().last_error
    assert outbox.release_due() == 0
    clock.forward(courier.PARKED_S)
    assert outbox.release_due() == 1


def test_a_parked_delivery_goes_on_with_a_new_secret_only(run: Run, ada: User, clock: Clock) -> None:
    ready(run, ada)
    claim = take()
    send(claim)
    sealed = Provider.objects.get(pk=run.provider_id).secret_sealed
    outbox.mark_parked(claim, why="401", status=401, refused_secret=sealed)
    assert (row().state, row().answer_status, status()) == (D.PARKED, 401, S.DECIDING)
    clock.forward(3600)
    assert outbox.release_due() == 0
    provider = Provider.objects.get(pk=run.provider_id)
    provider.set_secret("a new one")
    provider.save()
    assert outbox.release_due() == 1
    assert take().epoch == 2


def test_a_refusal_of_an_old_secret_does_not_stop_the_new_one(run: Run, ada: User) -> None:
    ready(run, ada)
    claim = take()
    send(claim)
    provider = Provider.objects.get(pk=run.provider_id)
    provider.set_secret("a new one")
    provider.save()
    outbox.mark_parked(claim, why="401", status=401, refused_secret="")
    assert Provider.objects.get(pk=run.provider_id).credential_refused_at is None
    assert outbox.release_due() == 1


# --- after a crash --------------------------------------------------------------------------------------------------


def test_sent_without_an_end_becomes_unknown(run: Run, ada: User, clock: Clock) -> None:
    ready(run, ada)
    claim = take()
    send(claim)
    courier.recover()
    assert status() == S.SENT
    clock.forward(outbox.SENDING_S)
    courier.recover()
    assert (row().state, status()) == (D.UNKNOWN, S.UNKNOWN)
    outbox.mark_delivered(claim, status=200)  # its sender lives after all, and the provider took it
    assert (row().state, status()) == (D.DELIVERED, S.DELIVERED)


@pytest.mark.parametrize("every", [False, True])
def test_a_provider_kind_that_no_longer_exists_stops_nobody(run: Run, ada: User, clock: Clock, every: bool) -> None:
    """What had left is in doubt and not sent again; what had not is parked, and the reason is in both rows."""
    ready(run, ada)
    gone = factories.run(provider=factories.provider(kind="alone"))
    ready(gone, ada, "c2")
    ready(factories.run(provider=gone.provider), ada, "c3")
    for claim in outbox.claim("me", room=2):
        send(claim)
    take()
    Provider.objects.filter(pk=gone.provider_id).update(kind="older")
    clock.forward(outbox.SENDING_S)
    courier.recover(every=every)
    assert (newest(run).status, newest(gone, "c2").status) == (S.UNKNOWN, S.UNKNOWN)
    assert "'older'" in Delivery.objects.get(run=gone).last_error
    assert courier.make_ready(take()) is None
    parked = Delivery.objects.get(decision__request__call_id="c3")
    assert (parked.state, parked.attempts) == (D.PARKED, 0)
    assert "unknown provider kind 'older'" in parked.last_error


def test_the_one_process_of_a_database_takes_over_at_once(run: Run, ada: User, clock: Clock) -> None:
    ready(run, ada)
    send(take())
    ready(factories.run(provider=run.provider), ada, "c2")
    take()
    courier.recover(every=True)
    assert sorted(Delivery.objects.values_list("state", flat=True)) == [D.READY, D.UNKNOWN]


def test_where_a_repeat_cannot_act_twice_it_is_sent_again_with_the_same_key(ada: User, clock: Clock, db: None) -> None:
    run = factories.run(provider=factories.provider(kind="repeatable"))
    ready(run, ada)
    bodies = []
    for attempt in range(1, courier.DOUBTFUL_MAX + 1):
        claim = take()
        prepared = prepare(claim)
        bodies.append(prepared.call.body)
        send(claim)
        clock.forward(outbox.SENDING_S)
        courier.recover()
        assert row().attempts == attempt
        clock.forward(60)
    assert len(set(bodies)) == 1
    assert (row().state, status(), row().maybe_taken) == (D.UNKNOWN, S.UNKNOWN, True)


# --- answers that stream --------------------------------------------------------------------------------------------


@pytest.fixture
def streaming(thread: Run, ada: User, clock: Clock) -> Claim:
    ready(thread, ada, together=True)  # type: ignore[arg-type]
    return take()


def open_run(claim: Claim) -> Run:
    opened = outbox.mark_sent(
        claim, answered=prepare(claim).answered, body_sha256="", answering_id=f"run-{claim.epoch}"
    )
    assert opened is not None
    return Run.objects.get(pk=opened)


def test_the_answering_run_is_made_in_the_commit_that_says_sent(streaming: Claim, thread: Run, clock: Clock) -> None:
    opened = open_run(streaming)
    assert (opened.status, opened.external_id, opened.thread_id, opened.provider_id, opened.opened_at) == (
        RunStatus.CONNECTING,
        "run-1",
        "th-1",
        thread.provider_id,
        clock.at,
    )
    lease = Lease.objects.get(run=opened)
    assert (lease.owner, lease.epoch, opened.opened_by, opened.opened_epoch) == ("me", 1, "me", 1)
    assert row().answering_run == opened


def test_an_answering_run_whose_call_never_left_is_unmade(streaming: Claim, clock: Clock) -> None:
    opened = open_run(streaming)
    outbox.mark_later(streaming, why="cannot connect", wait_s=0)
    assert not Run.objects.filter(pk=opened.pk).exists()
    assert (row().answering_run, row().state) == (None, D.READY)
    assert open_run(take()).external_id == "run-2"


def test_an_answering_run_that_has_a_history_is_cancelled_instead(streaming: Claim, clock: Clock) -> None:
    opened = open_run(streaming)
    Event.objects.create(run=opened, seq=1, kind="note", sha256="", received_at=clock.at)
    outbox.mark_later(streaming, why="cannot connect", wait_s=0)
    opened.refresh_from_db()
    assert (opened.status, opened.outcome) == (RunStatus.CANCELLED, "never began")


def test_an_answering_run_that_was_refused_failed(streaming: Claim) -> None:
    opened = open_run(streaming)
    outbox.mark_refused(streaming, status=409, answer="no such interrupt")
    opened.refresh_from_db()
    assert (opened.status, opened.error, status()) == (RunStatus.FAILED, "no such interrupt", S.REFUSED)


def test_an_answer_that_streams_is_given_up_only_when_its_run_is_over(streaming: Claim, clock: Clock) -> None:
    opened = open_run(streaming)
    clock.forward(3600)
    courier.recover()
    assert status() == S.SENT
    Run.objects.filter(pk=opened.pk).update(status=RunStatus.TRUNCATED, ended_at=clock.at)
    courier.recover()
    assert (status(), row().state) == (S.UNKNOWN, D.UNKNOWN)


def test_an_answer_that_never_left_goes_out_again_though_its_courier_died_before_it_could_say_so(
    streaming: Claim, clock: Clock
) -> None:
    opened = open_run(streaming)
    Run.objects.filter(pk=opened.pk).update(opened_at=None, opened_by="", opened_epoch=None)  # clear_opened's commit
    courier.recover()
    assert row().state == D.SENT  # whoever sent it may be about to say so
    clock.forward(outbox.SENDING_S)
    courier.recover()
    assert (row().state, status(), row().answering_run) == (D.READY, S.DECIDING, None)
    assert not Run.objects.filter(pk=opened.pk).exists()


def test_without_the_saved_history_no_answer_that_streams_is_sent(streaming: Claim, thread: Run) -> None:
    thread.checkpoint.delete()
    assert courier.make_ready(streaming) is None
    assert "history was not saved" in row().last_error
    assert status() == S.REFUSED
