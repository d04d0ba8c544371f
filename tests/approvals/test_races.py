"""Many at once, on real connections: one decision, one claim, one chain; and an expiry that races a decision."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from approvals import audit, courier, deadlines, endings, outbox, requests
from approvals.answers import prepare
from approvals.decisions import decide, reoffer, undo
from approvals.errors import AlreadyDecided, DecisionRefused, NotPending
from approvals.models import ApprovalRequest, Batch, Decision, Delivery, DeliveryState, RequestStatus, Vote
from dashboard.models import User
from streams import commit
from streams.commit import Entry, Stored
from streams.events import Ended, Gone
from streams.models import Checkpoint, Lease, Run, RunStatus, Source
from streams.providers.base import READ_BACK
from tests import factories
from tests.approvals.fakes import PAUSES, asked, newest, tell
from tests.countersign import eventually

pytestmark = pytest.mark.django_db(transaction=True)
S = RequestStatus
D = DeliveryState


def at_once(acts: Sequence[Callable[[], object]]) -> list[object]:
    """Let all act at the same moment, each on a connection of its own; an exception is a result."""
    barrier = threading.Barrier(len(acts), timeout=30)

    def run(act: Callable[[], object]) -> object:
        try:
            connections["default"].ensure_connection()
            barrier.wait()
            return act()
        except Exception as exc:
            return exc
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def kinds(results: Sequence[object]) -> Counter[str]:
    return Counter(type(result).__name__ for result in results)


def crowd() -> int:
    """As many as the database has room for: PostgreSQL takes 100 connections, some of them not ours."""
    return 80 if connection.vendor == "postgresql" else 30


def test_of_a_crowd_exactly_one_decides(run: Run, reviewer: Callable[..., User]) -> None:
    tell(run, asked())
    one = newest(run)
    people = [reviewer() for _ in range(crowd())]

    def act(n: int) -> Decision:
        verdict = "approve" if n % 2 else "reject"
        return decide(one.pk, verdict=verdict, by=people[n], seen_sha256=one.input_sha256)

    results = at_once([lambda n=n: act(n) for n in range(len(people))])  # type: ignore[misc]
    assert kinds(results) == {"Decision": 1, "AlreadyDecided": len(people) - 1}
    winner = Decision.objects.get()
    assert {result.decision for result in results if isinstance(result, AlreadyDecided)} == {winner}
    assert (Vote.objects.count(), Delivery.objects.count()) == (1, 1)
    assert audit.verify().bad is None


def test_a_double_click_decides_once(run: Run, ada: User) -> None:
    tell(run, asked())
    one = newest(run)
    press = lambda: decide(one.pk, verdict="approve", by=ada, seen_sha256=one.input_sha256)  # noqa: E731
    results = at_once([press] * 5)
    assert kinds(results) == {"Decision": 1, "AlreadyDecided": 4}
    assert all(result.own for result in results if isinstance(result, AlreadyDecided))
    assert Delivery.objects.count() == 1


def test_the_last_two_of_a_batch_let_it_go_once(thread: Run, reviewer: Callable[..., User]) -> None:
    calls = [f"c{n}" for n in range(8)]
    tell(thread, *(asked(call, together=True) for call in calls))
    found = [newest(thread, call) for call in calls]
    people = [reviewer() for _ in found]
    acts = [
        lambda one=one, by=by: decide(one.pk, verdict="approve", by=by, seen_sha256=one.input_sha256)
        for one, by in zip(found, people, strict=True)
    ]
    assert kinds(at_once(acts)) == {"Decision": 8}
    assert set(ApprovalRequest.objects.values_list("status", flat=True)) == {S.DECIDING}
    assert Delivery.objects.get().state == D.READY
    assert audit.verify().bad is None


def pause_of_two() -> Run:
    """A run that is read back and answered whole, which asks two calls."""
    run = factories.run(provider=factories.provider(kind="pauses"), status=RunStatus.WAITING)
    Checkpoint.objects.create(run=run, seq=1, state="{}")
    read_pause(run, seq=1)
    return run


def read_pause(run: Run, *, seq: int) -> None:
    asks = dict.fromkeys(("c1", "c2"), '{"a":1}')
    payload = json.dumps({"asks": asks, "not_applied": list(asks)})
    tell(run, *PAUSES.read_run("{}", payload)[1], kind=READ_BACK, payload=payload, seq=seq)


def test_a_reading_and_a_person_who_offer_a_pause_again_offer_it_once(ada: User) -> None:
    run = pause_of_two()
    for call_id in ("c1", "c2"):
        one = newest(run, call_id)
        decide(one.pk, verdict="approve", by=ada, seen_sha256=one.input_sha256)
    (claim,) = outbox.claim("me", room=1)
    outbox.mark_sent(claim, answered=prepare(claim).answered, body_sha256="")
    outbox.mark_unknown(claim, why="reset")
    read_pause(run, seq=2)
    by_hand = lambda: reoffer(newest(run, "c1").pk, by=ada, note="it still waits")  # noqa: E731
    read, offered = at_once([lambda: read_pause(run, seq=3), by_hand])
    assert read is None
    assert isinstance(offered, ApprovalRequest | NotPending)
    rows = ApprovalRequest.objects.order_by("call_id", "version").values_list("call_id", "version", "status")
    assert list(rows) == [(c, v, S.PENDING if v == 2 else S.STALE) for c in ("c1", "c2") for v in (1, 2)]
    assert newest(run, "c1").batch == newest(run, "c2").batch == Batch.objects.get(round=2)
    assert audit.verify().bad is None


def test_a_call_that_is_listed_again_while_the_others_are_decided_is_waited_for(ada: User) -> None:
    run = pause_of_two()
    tell(run, Gone(("c1",)), kind=READ_BACK, seq=2)
    other = newest(run, "c2")
    results = at_once(
        [
            lambda: read_pause(run, seq=3),
            lambda: decide(other.pk, verdict="approve", by=ada, seen_sha256=other.input_sha256),
        ]
    )
    assert kinds(results) == {"NoneType": 1, "Decision": 1}
    assert (newest(run, "c1").status, newest(run, "c2").status) == (S.PENDING, S.HELD)
    live = Delivery.objects.exclude(state=D.CANCELLED).get()
    assert (live.state, live.next_at, live.batch) == (D.WAITING, None, newest(run, "c1").batch)
    assert audit.verify().bad is None


def test_a_delivery_is_claimed_by_one_of_many_couriers(run: Run, ada: User) -> None:
    tell(run, asked())
    one = newest(run)
    decide(one.pk, verdict="approve", by=ada, seen_sha256=one.input_sha256)
    results = at_once([lambda n=n: outbox.claim(f"courier {n}", room=4) for n in range(8)])  # type: ignore[misc]
    assert sorted(len(claims) for claims in results if isinstance(claims, list)) == [0] * 7 + [1]


def test_parallel_writers_make_one_chain() -> None:
    def write() -> None:
        for n in range(10):
            with transaction.atomic():
                audit.append(action="test", actor="x", target=f"request:{n}")

    assert kinds(at_once([write] * 8)) == {"NoneType": 8}
    found = audit.verify()
    assert (found.seq, found.bad) == (80, None)


@pytest.mark.parametrize("turn", range(6))
def test_undo_and_release_never_both_win(run: Run, ada: User, turn: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(run, asked())
    one = newest(run)
    decision = decide(one.pk, verdict="approve", by=ada, seen_sha256=one.input_sha256, undo_s=60)
    edge = iter([decision.leaves_at - timedelta(microseconds=1), decision.leaves_at])
    lock = threading.Lock()

    def near() -> object:
        with lock:
            return next(edge, decision.leaves_at)

    monkeypatch.setattr(deadlines, "now", near)
    at_once([lambda: undo(one.pk, by=ada), outbox.release_due, outbox.release_due][:: 1 if turn % 2 else -1])
    one.refresh_from_db()
    decision.refresh_from_db()
    state = Delivery.objects.get().state
    if decision.undone_at:
        assert (one.status, state) == (S.PENDING, D.CANCELLED)
    else:
        assert (one.status, state) in {(S.DECIDING, D.READY), (S.HELD, D.WAITING)}


@pytest.mark.parametrize("turn", range(10))
def test_a_decision_and_an_expiry_never_both_win(
    run: Run, ada: User, turn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadline = deadlines.now() + timedelta(hours=1)
    tell(run, asked(expires_at=deadline.isoformat()))
    one = newest(run)
    offset = timedelta(milliseconds=turn - 5)
    monkeypatch.setattr(deadlines, "now", lambda: deadline - deadlines.margin() + offset)
    press = lambda: decide(one.pk, verdict="approve", by=ada, seen_sha256=one.input_sha256)  # noqa: E731

    def carry() -> None:
        for claim in outbox.claim("me", room=1):
            courier.make_ready(claim)

    results = at_once([press, endings.expire_due, carry])
    monkeypatch.setattr(deadlines, "now", lambda: deadline + timedelta(milliseconds=1))
    endings.expire_due()
    one.refresh_from_db()
    assert isinstance(results[0], Decision) == (offset < timedelta(0))
    if one.status == S.SENT:
        assert isinstance(results[0], Decision)
    else:
        assert one.status == S.EXPIRED
        assert not Delivery.objects.exclude(state=D.CANCELLED).exists()
    assert outbox.claim("me", room=1) == []


@pytest.mark.parametrize("turn", range(4))
def test_a_run_that_ends_while_its_answer_leaves_has_one_outcome(run: Run, ada: User, turn: int) -> None:
    tell(run, asked())
    one = newest(run)
    decide(one.pk, verdict="approve", by=ada, seen_sha256=one.input_sha256)
    (claim,) = outbox.claim("me", room=1)
    answered = prepare(claim).answered
    acts: list[Callable[[], object]] = [
        lambda: outbox.mark_sent(claim, answered=answered, body_sha256=""),
        lambda: tell(run, Ended("finished"), seq=2),
    ]
    results = at_once(acts[:: 1 if turn % 2 else -1])
    one.refresh_from_db()
    left = all(not isinstance(result, Exception) for result in results)
    assert (one.status, Delivery.objects.get().state) == ((S.SENT, D.SENT) if left else (S.WITHDRAWN, D.CANCELLED))


@pytest.mark.parametrize("turn", range(4))
def test_arguments_that_change_at_the_click_are_never_approved(run: Run, ada: User, turn: int) -> None:
    tell(run, asked())
    one = newest(run)
    acts: list[Callable[[], object]] = [
        lambda: decide(one.pk, verdict="approve", by=ada, seen_sha256=one.input_sha256),
        lambda: tell(run, asked(arguments='{"a":2}'), seq=2),
    ]
    results = at_once(acts[:: 1 if turn % 2 else -1])
    assert all(result is None or isinstance(result, Decision | DecisionRefused) for result in results), results
    assert not Decision.objects.filter(undone_at=None).exists()
    assert newest(run).status == S.PENDING
    assert not Delivery.objects.exclude(state=D.CANCELLED).exists()


def lock_is_waited_for() -> bool:
    """Whether somebody waits for a lock. SQLite does not tell; there writers wait for each other anyway."""
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
        return cursor.fetchone() is not None


def test_an_event_that_is_being_stored_while_an_answer_leaves_proves_nothing_of_it(run: Run, ada: User) -> None:
    Lease.objects.create(run=run, owner="holder", epoch=1, expires_at=timezone.now() + timedelta(hours=1))
    tell(run, asked())
    one = newest(run)
    decide(one.pk, verdict="approve", by=ada, seen_sha256=one.input_sha256)
    (claim,) = outbox.claim("me", room=1)
    answered = prepare(claim).answered

    def leave() -> None:
        try:
            outbox.mark_sent(claim, answered=answered, body_sha256="")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        leaving = []

        def project(stored: Sequence[Stored]) -> None:
            leaving.append(pool.submit(leave))
            eventually(lambda: leaving[0].done() or lock_is_waited_for())
            requests.project(stored)

        shown = Entry(
            run_id=run.pk,
            epoch=1,
            source=Source.PROVIDER,
            kind="result",
            payload='{"applied": ["c1"]}',
            received_at=timezone.now() + timedelta(minutes=10),  # whatever its holder's clock says
        )
        assert commit.commit([shown], project) == [1]
        leaving[0].result(timeout=30)
    one.refresh_from_db()
    row = Delivery.objects.get()
    assert (row.state, one.status, row.sent_after_seq) == (D.SENT, S.SENT, 1)
