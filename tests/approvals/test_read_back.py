"""Answers that count once the run itself shows them: Middesk, whose 2xx proves nothing and whose runs can be read."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from approvals import audit, confirming, courier, outbox, requests
from approvals.answers import Prepared, public_account_of, view_of
from approvals.decisions import decide, reoffer, withdraw
from approvals.errors import NotPending
from approvals.models import ApprovalRequest, AuditEntry, Delivery, DeliveryState, RequestStatus
from approvals.outbox import ClaimLost
from approvals.sending import Answered
from dashboard.models import User
from streams import commit, providers
from streams.commit import Entry
from streams.events import Broken, Fact
from streams.holder import NoAnswer, Unsent
from streams.models import Lease, Provider, Run, RunStatus, Source
from streams.providers.base import MISREAD, READ_BACK
from streams.providers.middesk import Middesk
from streams.sse import Frame
from tests import factories
from tests.approvals import fakes
from tests.approvals.fakes import Clock, newest

pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]
S = RequestStatus
D = DeliveryState
ID = "c1d2e3f4-5678-90ab-cdef-1234567890ab"
SKEWS = [timedelta(0), timedelta(minutes=10), timedelta(minutes=-10)]
ON = {"resume": {"enabled": True}}


def body(status: str = "interrupted", *interrupts: str, **values: Any) -> str:
    """A run as it is read; `interrupts` are the ids that it lists."""
    listed = [{"id": one, "value": {"agent": "watchlist", "label": one, **values}} for one in interrupts]
    return json.dumps({"object": "run", "id": ID, "status": status, "interrupts": listed})


OPEN_BOTH, OPEN, GONE, DONE, FAILED = (
    body("interrupted", "int-1", "int-2"), body("interrupted", "int-1"), body("running"), body("completed"),
    body("error"),
)  # fmt: skip


class Held:
    """A run in a holder's hands: its readings are folded and stored as a holder does it."""

    def __init__(self, clock: Clock, skew: timedelta = timedelta(0)) -> None:
        provider = factories.provider(kind="middesk", options=ON)
        self.run = factories.run(provider=provider, external_id=ID, status=RunStatus.STREAMING)
        Lease.objects.create(run=self.run, owner="holder", epoch=1, expires_at=timezone.now() + timedelta(hours=1))
        self.clock, self.skew, self.adapter = clock, skew, Middesk()
        self.state = fresh_state(self.adapter, self.run)

    def now(self) -> datetime:
        """The holder's own clock."""
        return self.clock.at + self.skew

    def read(self, said: str, *, asked_at: datetime | None = None) -> None:
        """Store a reading, asked for just now unless said otherwise."""
        self.state, facts = self.adapter.read_run(self.state, said)
        useless = any(isinstance(fact, Broken) and fact.useless for fact in facts)
        self._store(MISREAD if useless else READ_BACK, said, facts, None, asked_at or self.now())

    def stream(self, said: str, ordinal: int) -> None:
        """Store a snapshot of the stream."""
        frame = Frame("STATE_SNAPSHOT", json.dumps({"run_id": ID, "snapshot": json.loads(said)}))
        self.state, facts = self.adapter.step(self.state, frame)
        self._store(frame.event, frame.data, facts, ordinal, self.now())

    def _store(self, kind: str, payload: str, facts: tuple[Fact, ...], ordinal: int | None, at: datetime) -> None:
        entry = Entry(
            run_id=self.run.pk,
            epoch=1,
            source=Source.PROVIDER,
            kind=kind,
            payload=payload,
            received_at=at,
            ordinal=ordinal,
            facts=facts,
            state=self.adapter.dump(self.state),
        )
        (seq,) = commit.commit([entry], requests.project)
        assert isinstance(seq, int)

    def nudged(self) -> bool:
        """Whether somebody wants it read; asking takes the word."""
        return bool(Run.objects.filter(pk=self.run.pk, nudged_at__isnull=False).update(nudged_at=None))

    def send(self, by: User, call_id: str = "int-1", verdict: str = "approve") -> Prepared:
        """Decide a question and let the answer leave."""
        one = newest(self.run, call_id)
        decide(one.pk, verdict=verdict, by=by, seen_sha256=one.input_sha256)
        (claim,) = outbox.claim("me", room=1)
        ready = courier.make_ready(claim)
        assert ready is not None
        return ready[0]

    def statuses(self, call_id: str = "int-1") -> list[str]:
        rows = ApprovalRequest.objects.filter(run=self.run, call_id=call_id)
        return list(rows.order_by("version").values_list("status", flat=True))


def fresh_state(adapter: Middesk, run: Run) -> Any:
    return adapter.initial(public_account_of(run.provider), view_of(run))


@pytest.fixture(autouse=True)
def _with_middesk(monkeypatch: pytest.MonkeyPatch, _fake_providers: None) -> None:
    monkeypatch.setattr(providers, "REGISTRY", {**fakes.REGISTRY, "middesk": Middesk()})


@pytest.fixture
def held(db: None, clock: Clock) -> Held:
    made = Held(clock)
    made.read(OPEN)
    return made


def answered(prepared: Prepared, status: int, said: str = "{}") -> None:
    courier.conclude(prepared, Answered(status, said.encode(), None), chance=0.5)


def delivery(request: ApprovalRequest | None = None) -> Delivery:
    return Delivery.objects.get(decision__request=request) if request else Delivery.objects.get()


def state(held: Held) -> tuple[str, str]:
    return delivery().state, ApprovalRequest.objects.filter(run=held.run).order_by("version")[0].status


# --- a yes ----------------------------------------------------------------------------------------------------------


def test_a_2xx_alone_delivers_nothing_and_asks_for_a_reading(held: Held, ada: User) -> None:
    prepared = held.send(ada)
    assert not held.nudged()
    answered(prepared, 200)
    assert (state(held), held.nudged()) == ((D.SENT, S.SENT), True)
    assert (delivery().answer_status, outbox.claim("me", room=9)) == (200, [])


@pytest.mark.parametrize("said", [GONE, DONE, body("interrupted", "int-2")])
def test_a_reading_without_the_question_delivers(held: Held, ada: User, said: str) -> None:
    answered(held.send(ada), 200)
    held.read(said)
    assert state(held) == (D.DELIVERED, S.DELIVERED)
    assert delivery().evidence == f"event 2 of run {held.run.pk}"
    assert "delivery.answered" in AuditEntry.objects.values_list("action", flat=True)
    assert audit.verify().bad is None


def test_a_reading_that_came_before_the_answer_to_our_call_counts_with_it(held: Held, ada: User) -> None:
    """The agent was quick: its run is over before we hear that our answer was taken, and nobody reads it again."""
    prepared = held.send(ada)
    held.read(DONE)
    assert state(held) == (D.SENT, S.SENT)
    answered(prepared, 201)
    assert state(held) == (D.DELIVERED, S.DELIVERED)
    assert ApprovalRequest.objects.get().ended_why == ""


def test_a_reading_that_still_lists_the_question_may_be_older_than_the_answer(held: Held, ada: User) -> None:
    answered(held.send(ada), 200)
    for _ in range(5):
        held.read(OPEN)
    assert (state(held), held.statuses()) == ((D.SENT, S.SENT), [S.SENT])
    held.read(GONE)
    assert state(held) == (D.DELIVERED, S.DELIVERED)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ([], "nothing showed what came of it within 10 s"),
        ([OPEN], "10 s later the run still asked"),
        ([FAILED], "nothing showed what came of it within 10 s"),
    ],
)
def test_without_the_effect_in_time_it_is_in_doubt(held: Held, ada: User, seen: list[str], words: str) -> None:
    answered(held.send(ada), 202)
    for said in seen:
        held.read(said)
    held.clock.forward(9)
    courier.look("me", 4, {})
    courier.recover(every=True)  # a restart forgets nothing of it
    assert state(held) == (D.SENT, S.SENT)
    held.clock.forward(1)
    courier.look("me", 4, {})
    assert state(held) == (D.UNKNOWN, S.UNKNOWN)
    assert delivery().last_error == f"The provider took the answer (HTTP 202), and {words}."


@pytest.mark.parametrize("status", [200, 409])
def test_an_account_whose_kind_no_longer_exists_stops_nobody(held: Held, ada: User, status: int) -> None:
    answered(held.send(ada), status)
    held.read(OPEN)
    Provider.objects.update(kind="older")
    held.clock.forward(10)
    courier.look("me", 4, {})
    assert state(held) == ((D.UNKNOWN, S.UNKNOWN) if status == 200 else (D.REFUSED, S.REFUSED))


@pytest.mark.parametrize("wait_s", [0, 60])
def test_a_later_reading_without_the_question_lifts_the_doubt(held: Held, ada: User, wait_s: int) -> None:
    answered(held.send(ada), 200)
    held.clock.forward(10)
    courier.look("me", 4, {})
    held.clock.forward(wait_s)
    courier.look("me", 4, {})
    held.read(OPEN)
    held.read(GONE)
    assert state(held) == (D.DELIVERED, S.DELIVERED)
    assert held.statuses() == [S.DELIVERED]


def test_what_is_listed_long_after_a_yes_was_not_taken_and_opens_anew(held: Held, ada: User) -> None:
    answered(held.send(ada), 200)
    held.clock.forward(10)
    courier.look("me", 4, {})
    held.read(OPEN)
    held.read(OPEN)
    assert held.statuses() == [S.UNKNOWN]  # it still has time to take effect
    held.clock.forward(10)
    held.nudged()
    courier.look("me", 4, {})
    assert held.nudged()
    held.read(OPEN)  # this one may have been asked for before the time was over
    assert (held.statuses(), held.nudged()) == ([S.UNKNOWN], True)
    held.read(OPEN)
    assert held.statuses() == [S.STALE, S.PENDING]
    assert (delivery().state, delivery().evidence) == (D.REFUSED, f"event 5 of run {held.run.pk}")
    made = newest(held.run, "int-1")
    assert (made.version, made.reoffers, made.alert) == (2, ApprovalRequest.objects.get(version=1), requests.NOT_TAKEN)
    held.read(OPEN)
    assert held.statuses() == [S.STALE, S.PENDING]
    assert audit.verify().bad is None


def test_the_new_version_can_be_answered(held: Held, ada: User) -> None:
    answered(held.send(ada), 409, "no")
    held.read(OPEN)
    held.read(OPEN)
    made = newest(held.run, "int-1")
    answered(held.send(ada, verdict="reject"), 200)
    held.read(GONE)
    assert held.statuses() == [S.STALE, S.DELIVERED]
    assert delivery(made).state == D.DELIVERED


def test_the_new_version_is_what_the_run_asks_now(held: Held, ada: User) -> None:
    """The arguments changed under an answer that was on its way, and was not taken."""
    answered(held.send(ada), 409, "no longer")
    changed = body("interrupted", "int-1", amount=7)
    held.read(changed)
    held.read(changed)
    made = newest(held.run, "int-1")
    assert (held.statuses(), '"amount": 7' in made.arguments) == ([S.STALE, S.PENDING], True)
    answered(held.send(ada), 200)
    held.read(GONE)
    assert held.statuses() == [S.STALE, S.DELIVERED]


# --- a no -----------------------------------------------------------------------------------------------------------

NOES = [404, 409, 410, 422]


@pytest.mark.parametrize("status", NOES)
def test_a_no_to_a_question_that_is_gone_is_refused_because_somebody_else_answered(
    held: Held, ada: User, status: int
) -> None:
    answered(held.send(ada), status, '{"errors":[{"message":"This interrupt is no longer open."}]}')
    assert (state(held), held.nudged()) == ((D.SENT, S.SENT), True)
    held.read(GONE)
    assert state(held) == (D.REFUSED, S.REFUSED)
    row = delivery()
    assert (row.answer_status, row.last_error) == (status, confirming.ELSEWHERE)
    assert "no longer open" in row.answer
    assert held.statuses() == [S.REFUSED]


def test_a_no_that_comes_when_the_run_is_over_is_refused_at_once(held: Held, ada: User) -> None:
    prepared = held.send(ada)
    held.read(DONE)
    answered(prepared, 409)
    assert state(held) == (D.REFUSED, S.REFUSED)


@pytest.mark.parametrize("status", NOES)
def test_a_no_to_a_question_that_is_open_opens_it_anew_with_the_reason(held: Held, ada: User, status: int) -> None:
    answered(held.send(ada), status, '{"errors":[{"message":"input is wrong"}]}')
    held.read(OPEN)  # it may have been asked for before the no
    assert (held.statuses(), held.nudged()) == ([S.SENT], True)
    held.read(OPEN)
    assert (held.statuses(), delivery().state) == ([S.STALE, S.PENDING], D.REFUSED)
    assert "input is wrong" in newest(held.run, "int-1").alert


@pytest.mark.parametrize("status", NOES)
def test_a_no_that_no_reading_explains_is_refused_in_time(held: Held, ada: User, status: int) -> None:
    answered(held.send(ada), status, '{"errors":[{"message":"no"}]}')
    held.read(FAILED)
    held.clock.forward(10)
    courier.look("me", 4, {})
    assert (state(held), delivery().answer, held.statuses()) == (
        (D.REFUSED, S.REFUSED),
        f"HTTP_{status}: no",
        [S.REFUSED],
    )


@pytest.mark.parametrize("status", [401, 403, 429])
def test_what_was_provably_not_taken_waits_as_everywhere(held: Held, ada: User, status: int) -> None:
    answered(held.send(ada), status)
    assert ApprovalRequest.objects.get().status == S.DECIDING
    held.read(GONE)  # answered outside, meanwhile
    one = ApprovalRequest.objects.get()
    assert (one.status, one.ended_why, delivery().state) == (
        S.WITHDRAWN,
        "Answered outside of Countersign.",
        D.CANCELLED,
    )


# --- no word --------------------------------------------------------------------------------------------------------

WORDLESS = [Answered(500, b"", None), Answered(502, b"", None), Answered(303, b"", None), NoAnswer("reset")]


@pytest.mark.parametrize("outcome", WORDLESS)
def test_without_a_word_it_is_in_doubt_at_once_and_never_sent_again(
    held: Held, ada: User, outcome: Answered | NoAnswer
) -> None:
    courier.conclude(held.send(ada), outcome, chance=0.5)
    assert (state(held), held.nudged()) == ((D.UNKNOWN, S.UNKNOWN), True)
    held.clock.forward(3600)
    assert courier.look("me", 4, {})[0] == []
    assert (delivery().attempts, state(held)) == (1, (D.UNKNOWN, S.UNKNOWN))


@pytest.mark.parametrize("outcome", WORDLESS)
def test_readings_lift_that_doubt_one_way(held: Held, ada: User, outcome: Answered | NoAnswer) -> None:
    courier.conclude(held.send(ada), outcome, chance=0.5)
    held.nudged()
    held.read(GONE)
    assert (held.statuses(), held.nudged()) == ([S.UNKNOWN], True)  # the first may have been asked for too early
    held.read(GONE)
    assert state(held) == (D.DELIVERED, S.DELIVERED)


@pytest.mark.parametrize("outcome", WORDLESS)
def test_readings_lift_that_doubt_the_other_way(held: Held, ada: User, outcome: Answered | NoAnswer) -> None:
    courier.conclude(held.send(ada), outcome, chance=0.5)
    for _ in range(3):
        held.read(OPEN)
    assert held.statuses() == [S.UNKNOWN]  # it may still be under way there
    held.clock.forward(10)
    courier.look("me", 4, {})
    held.read(OPEN)
    held.read(OPEN)
    assert (held.statuses(), delivery().state) == ([S.STALE, S.PENDING], D.REFUSED)


def test_the_last_reading_of_a_run_that_is_over_lifts_it_alone(held: Held, ada: User) -> None:
    courier.conclude(held.send(ada), NoAnswer("reset"), chance=0.5)
    held.read(DONE)
    assert state(held) == (D.DELIVERED, S.DELIVERED)


def test_so_does_one_that_came_while_the_call_was_on_its_way(held: Held, ada: User) -> None:
    prepared = held.send(ada)
    held.clock.forward(1)
    held.read(DONE)
    courier.conclude(prepared, NoAnswer("no answer in time"), chance=0.5)
    assert state(held) == (D.DELIVERED, S.DELIVERED)


def test_a_courier_that_dies_before_it_looks_back_loses_no_reading(held: Held, ada: User) -> None:
    prepared = held.send(ada)
    held.clock.forward(1)
    held.read(DONE)
    outbox.mark_unknown(prepared.claim, why="reset", confirm_s=10)
    held.clock.forward(10)
    courier.look("me", 4, {})
    assert state(held) == (D.DELIVERED, S.DELIVERED)


def test_a_sender_that_died_leaves_a_doubt_that_readings_lift(held: Held, ada: User) -> None:
    held.send(ada)
    held.clock.forward(outbox.SENDING_S)
    held.nudged()
    courier.recover()
    assert (state(held), held.nudged()) == ((D.UNKNOWN, S.UNKNOWN), True)
    held.read(GONE)
    held.read(GONE)
    assert state(held) == (D.DELIVERED, S.DELIVERED)


@pytest.mark.parametrize(("status", "expected"), [(200, S.DELIVERED), (409, S.REFUSED)])
def test_a_word_that_comes_late_counts_though_the_answer_was_given_up(
    held: Held, ada: User, status: int, expected: str
) -> None:
    prepared = held.send(ada)
    held.clock.forward(outbox.SENDING_S)
    courier.recover()
    answered(prepared, status)
    held.read(GONE)
    assert held.statuses() == [expected]


def test_an_answer_that_never_left_is_made_again(held: Held, ada: User) -> None:
    courier.conclude(held.send(ada), Unsent("cannot connect"), chance=0.0)
    assert ApprovalRequest.objects.get().status == S.DECIDING
    (claim,) = outbox.claim("me", room=1)
    ready = courier.make_ready(claim)
    assert ready is not None
    answered(ready[0], 200)
    held.read(GONE)
    assert state(held) == (D.DELIVERED, S.DELIVERED)


# --- which readings count -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "said", "skew"),
    [
        *((Answered(200, b"", None), GONE, skew) for skew in SKEWS if skew <= timedelta(0)),
        *((NoAnswer("reset"), GONE, skew) for skew in SKEWS),
        *((NoAnswer("reset"), DONE, skew) for skew in SKEWS if skew <= timedelta(0)),
    ],
)
def test_a_reading_asked_for_before_the_answer_left_proves_nothing(
    clock: Clock, ada: User, outcome: Answered | NoAnswer, said: str, skew: timedelta
) -> None:
    """Somebody answered elsewhere a moment before; the reading that shows it was under way when our answer left."""
    held = Held(clock, skew)
    held.read(OPEN)
    asked_at = held.now()
    clock.forward(1)
    courier.conclude(held.send(ada), outcome, chance=0.5)
    held.read(said, asked_at=asked_at)
    assert S.DELIVERED not in held.statuses()


@pytest.mark.parametrize("skew", SKEWS)
def test_the_second_reading_since_counts_whatever_the_clocks_say(clock: Clock, ada: User, skew: timedelta) -> None:
    held = Held(clock, skew)
    held.read(OPEN)
    answered(held.send(ada), 200)
    held.read(GONE)
    held.read(GONE)
    assert state(held) == (D.DELIVERED, S.DELIVERED)


def test_snapshots_of_the_stream_and_bodies_that_are_no_run_prove_nothing(held: Held, ada: User) -> None:
    answered(held.send(ada), 200)
    for ordinal, said in enumerate((GONE, OPEN, DONE), start=1):
        held.stream(said, ordinal)
    held.read("<html>")
    held.read(json.dumps({"object": "run", "id": "another", "status": "completed", "interrupts": []}))
    held.read(json.dumps({"object": "run", "id": ID, "status": "interrupted"}))
    assert state(held) == (D.SENT, S.SENT)


def test_one_of_two_questions_is_proved_by_its_own_absence(clock: Clock, ada: User) -> None:
    held = Held(clock)
    held.read(OPEN_BOTH)
    answered(held.send(ada, "int-1"), 200)
    one = newest(held.run, "int-2")
    decide(one.pk, verdict="reject", by=ada, seen_sha256=one.input_sha256)
    assert outbox.claim("me", room=9) == []  # the next answer waits until this one's effect shows
    held.read(body("interrupted", "int-2"))
    assert (held.statuses("int-1"), held.statuses("int-2")) == ([S.DELIVERED], [S.DECIDING])
    assert len(outbox.claim("me", room=9)) == 1


# --- answered elsewhere ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("undo_s", [None, 0, 60])
@pytest.mark.parametrize("said", [GONE, DONE])
def test_a_question_that_somebody_else_answered_is_withdrawn_in_words(
    held: Held, ada: User, said: str, undo_s: int | None
) -> None:
    one = newest(held.run, "int-1")
    if undo_s is not None:
        decide(one.pk, verdict="approve", by=ada, seen_sha256=one.input_sha256, undo_s=undo_s)
    held.read(said)
    one.refresh_from_db()
    assert (one.status, one.ended_why) == (S.WITHDRAWN, "Answered outside of Countersign.")
    assert not one.decisions.filter(undone_at=None).exists()
    assert not Delivery.objects.exclude(state=D.CANCELLED).exists()
    entry = AuditEntry.objects.get(action="request.withdrawn")
    assert (entry.actor, json.loads(entry.data)["by"]) == (audit.SYSTEM, "provider")
    with pytest.raises(NotPending):
        decide(one.pk, verdict="approve", by=ada, seen_sha256=one.input_sha256)


def test_an_answer_that_was_only_claimed_is_not_sent_to_a_question_that_is_gone(held: Held, ada: User) -> None:
    one = newest(held.run, "int-1")
    decide(one.pk, verdict="approve", by=ada, seen_sha256=one.input_sha256)
    (claim,) = outbox.claim("me", room=1)
    held.read(GONE)
    with pytest.raises(ClaimLost):
        courier.make_ready(claim)
    assert (held.statuses(), delivery().state, delivery().attempts) == ([S.WITHDRAWN], D.CANCELLED, 0)


def test_the_end_of_a_run_withdraws_what_it_never_said_was_gone_in_words(held: Held, ada: User) -> None:
    factories.request(run=held.run, call_id="int-7")
    held.read(DONE)
    other = newest(held.run, "int-7")
    assert (other.status, other.ended_why) == (S.WITHDRAWN, "The run finished without an answer from here.")


def test_a_question_that_a_later_reading_lists_again_is_open_again(held: Held) -> None:
    held.read(GONE)
    held.stream(OPEN, 1)
    assert held.statuses() == [S.WITHDRAWN]  # the snapshot may be an old one
    held.read(OPEN)
    assert held.statuses() == [S.WITHDRAWN, S.PENDING]
    assert newest(held.run, "int-1").alert == requests.LISTED_AGAIN
    held.read(OPEN)
    assert held.statuses() == [S.WITHDRAWN, S.PENDING]


OTHER = body("interrupted", "int-1", amount=7)


@pytest.mark.parametrize("again", [OPEN, OTHER], ids=["same", "other"])
@pytest.mark.parametrize("first", ["stream", "run"])
def test_an_agent_may_ask_again_under_the_id_of_a_question_that_was_answered(
    held: Held, ada: User, again: str, first: str
) -> None:
    answered(held.send(ada), 200)
    held.read(GONE)
    if first == "stream":
        held.stream(again, 1)
        assert held.statuses() == [S.DELIVERED]  # the snapshot may be an old one
    held.read(again)
    held.read(again)
    assert held.statuses() == [S.DELIVERED, S.PENDING]
    made = newest(held.run, "int-1")
    assert (made.alert, '"amount": 7' in made.arguments) == (requests.ASKED_AGAIN, again == OTHER)
    answered(held.send(ada), 200)
    held.read(GONE)
    assert held.statuses() == [S.DELIVERED, S.DELIVERED]
    assert audit.verify().bad is None


@pytest.mark.parametrize("first", ["stream", "run"])
def test_other_arguments_under_the_id_of_a_question_answered_elsewhere_are_asked(held: Held, first: str) -> None:
    held.read(GONE)
    if first == "stream":
        held.stream(OTHER, 1)
    held.read(OTHER)
    assert held.statuses() == [S.WITHDRAWN, S.PENDING]
    assert '"amount": 7' in newest(held.run, "int-1").arguments


def test_other_arguments_are_asked_though_a_no_had_closed_the_question(held: Held, ada: User) -> None:
    answered(held.send(ada), 409, "no longer")
    held.read(GONE)
    held.read(GONE)
    assert held.statuses() == [S.REFUSED]
    held.read(OTHER)
    assert held.statuses() == [S.STALE, S.PENDING]
    assert audit.verify().bad is None


@pytest.mark.parametrize("late", [False, True], ids=["read after the yes", "read before it came"])
def test_other_arguments_after_a_yes_are_the_next_question(held: Held, ada: User, late: bool) -> None:
    sent = held.send(ada)
    if late:
        held.read(OTHER)
        assert held.statuses() == [S.SENT]
    answered(sent, 200)
    held.read(OTHER)
    assert held.statuses() == [S.DELIVERED, S.PENDING]
    assert '"amount": 7' in newest(held.run, "int-1").arguments
    held.read(OTHER)
    assert held.statuses() == [S.DELIVERED, S.PENDING]
    assert delivery().state == D.DELIVERED


def test_other_arguments_after_no_word_at_all_leave_the_doubt_in_words(held: Held, ada: User) -> None:
    courier.conclude(held.send(ada), NoAnswer("cut"), chance=0.5)
    held.clock.forward(10)
    courier.look("me", 4, {})
    held.read(OTHER)
    held.read(OTHER)
    assert held.statuses() == [S.STALE, S.PENDING]
    made = newest(held.run, "int-1")
    assert (made.alert, '"amount": 7' in made.arguments) == (requests.IN_DOUBT, True)


def test_what_a_person_withdrew_is_not_asked_again_in_the_same_words(held: Held, ada: User) -> None:
    ada.user_permissions.add(Permission.objects.get(codename="withdraw_request"))
    withdraw(newest(held.run, "int-1").pk, by=User.objects.get(pk=ada.pk), note="not for us")
    held.read(GONE)
    held.read(OPEN)
    assert held.statuses() == [S.WITHDRAWN]
    held.read(OTHER)
    assert held.statuses() == [S.WITHDRAWN, S.PENDING]


def test_doing_it_again_changes_nothing(held: Held, ada: User) -> None:
    answered(held.send(ada), 200)
    held.read(GONE)
    before = audit.verify()
    for said in (GONE, GONE):
        held.read(said)
    assert (held.statuses(), audit.verify()) == ([S.DELIVERED], before)


def test_a_person_may_offer_again_what_stays_in_doubt(held: Held, ada: User) -> None:
    one = newest(held.run, "int-1")
    answered(held.send(ada), 200)
    held.clock.forward(10)
    courier.look("me", 4, {})
    reoffer(one.pk, by=ada, note="Middesk still shows it")
    assert held.statuses() == [S.STALE, S.PENDING]
    held.read(OPEN)
    held.read(OPEN)
    assert held.statuses() == [S.STALE, S.PENDING]


def test_what_a_person_offers_again_is_what_the_run_asks_now(held: Held, ada: User) -> None:
    one = newest(held.run, "int-1")
    courier.conclude(held.send(ada), NoAnswer("cut"), chance=0.5)
    held.read(OTHER)
    reoffer(one.pk, by=ada, note="Middesk still shows it")
    assert held.statuses() == [S.STALE, S.PENDING]
    assert '"amount": 7' in newest(held.run, "int-1").arguments
    answered(held.send(ada), 200)
    held.read(GONE)
    assert held.statuses() == [S.STALE, S.DELIVERED]


def test_an_answer_in_doubt_to_a_kind_that_is_gone_stays_in_doubt_and_stops_nobody(held: Held, ada: User) -> None:
    prepared = held.send(ada)
    held.clock.forward(1)
    held.read(DONE)
    outbox.mark_unknown(prepared.claim, why="reset", confirm_s=10)
    Provider.objects.update(kind="no-longer-here")
    confirming.look_back(prepared.claim)
    held.clock.forward(11)
    confirming.end_due()
    assert state(held) == (D.UNKNOWN, S.UNKNOWN)
