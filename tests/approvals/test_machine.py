"""Random lives of requests: people, providers, clocks, crashes and late writers, against the promises we make."""

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from approvals import audit, batches, courier, deadlines, decisions, outbox
from approvals.answers import Prepared
from approvals.errors import DecisionRefused
from approvals.models import OPEN, ApprovalRequest, AuditEntry, Decision, Delivery, DeliveryState, RequestStatus
from approvals.outbox import Claim, ClaimLost
from approvals.sending import Answered
from dashboard.models import User
from streams import events
from streams.events import Ended, Gone, MovedOn
from streams.holder import Declined, NoAnswer, Opened, Unsent
from streams.models import ENDED, Checkpoint, Event, Provider, Run, RunStatus
from streams.providers.base import READ_BACK, Refusal
from tests import factories
from tests.approvals import fakes
from tests.approvals.fakes import Clock, asked, tell
from tests.long_form import examples

S = RequestStatus
D = DeliveryState
CALLS = st.sampled_from(["c1", "c2", "c3", "c4", "c5", "c6"])
STAGES = st.sampled_from(["claimed", "sent", "answered", "answered"])
CODES = st.sampled_from([200, 200, 404, 500, 429, 401, 0, -1])  # 0: no answer; -1: never left
PICK = st.integers(min_value=0, max_value=9)
NOT_TAKEN = (401, 429)
# read: an answer counts once a reading of the run shows it; pauses: and one answer covers all that a reading lists
KINDS = ["alone", "together", "repeatable", "read", "pauses"]
READ = ("read", "pauses")
BATCHED = ("together", "pauses")
FINAL = (S.DELIVERED, S.EXPIRED, S.WITHDRAWN, S.STALE, S.SUPERSEDED)
UNSENT = {D.READY, D.CLAIMED, D.PARKED}
STATES: dict[RequestStatus, set[DeliveryState | None]] = {  # of what carries a request alone
    S.PENDING: {None},
    S.HELD: {D.WAITING},
    S.DECIDING: {D.READY, D.CLAIMED, D.PARKED},
    S.SENT: {D.SENT},
    S.UNKNOWN: {D.UNKNOWN},
}


@dataclass
class Flight:
    """A delivery in some courier's hands."""

    claim: Claim
    prepared: Prepared | None = None


@dataclass
class Wire:
    """What left, by request: its verdicts, its keys, and how many attempts may have acted."""

    verdicts: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    may_have_acted: int = 0


class Lives(RuleBasedStateMachine):
    clock: Clock

    @initialize(kind=st.sampled_from(KINDS))
    def begin(self, kind: str) -> None:
        self.world = transaction.atomic()
        self.world.__enter__()
        self.clock = deadlines.now  # type: ignore[assignment]
        self.kind = kind
        self.people = [factories.user(is_superuser=True) for _ in range(2)]
        self.provider = factories.provider(kind=kind)
        self._start_run()
        self.seq = 0
        self.flights: list[Flight] = []
        self.zombies: list[Flight] = []
        self.wire: dict[UUID, Wire] = {}
        self.final: dict[UUID, str] = {}
        self.proved: set[UUID] = set()  # requests whose effect somebody or something has told us of

    def _start_run(self) -> None:
        self.run = factories.run(provider=self.provider, status=RunStatus.WAITING, thread_id="th")
        Checkpoint.objects.create(run=self.run, seq=1, state="{}")

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            assert audit.verify().bad is None  # I10
        finally:
            transaction.set_rollback(True)
            self.world.__exit__(None, None, None)

    def _tell(self, run: Run | UUID, *facts: events.Fact, **fields: Any) -> None:
        self.seq += 1
        if self.kind in READ:
            told = {"kind": "any", "payload": "", **{k: fields[k] for k in ("kind", "payload") if k in fields}}
            run_id = run.pk if isinstance(run, Run) else run
            Event.objects.create(run_id=run_id, seq=self.seq, sha256="", received_at=self.clock.at, **told)
            fields.setdefault("at", self.clock.at)
        tell(run, *facts, seq=self.seq, **fields)

    def _requests(self, *statuses: str) -> list[ApprovalRequest]:
        rows = ApprovalRequest.objects.filter(run__provider=self.provider)
        rows = rows.filter(status__in=statuses) if statuses else rows
        return list(rows.order_by("requested_at", "call_id", "version"))

    # -- the provider

    @rule(calls=st.sets(CALLS, min_size=1), value=st.integers(0, 1), expires_s=st.sampled_from([0, 0, 4, 30]))
    def ask(self, calls: set[str], value: int, expires_s: int) -> None:
        fields: dict[str, Any] = {"arguments": f'{{"a":{value}}}', "together": self.kind in BATCHED}
        if expires_s:
            fields["expires_at"] = str(int(self.clock.at.timestamp() * 1000) + expires_s * 1000)
        self._tell(self.run, *(asked(call_id, **fields) for call_id in sorted(calls)))

    @rule(calls=st.sets(CALLS), others=st.sets(CALLS))
    def go_on(self, calls: set[str], others: set[str]) -> None:
        self._show(self.run, calls)
        said = {"applied": sorted(calls), "not_applied": sorted(others - calls)}
        if self.kind in READ:
            self._tell(self.run, kind=READ_BACK, payload=json.dumps(said))
        else:
            self._tell(self.run, MovedOn("chunk"), kind="result", payload=json.dumps(said), at=self.clock.at)

    @rule(calls=st.sets(CALLS, min_size=1))
    def gone(self, calls: set[str]) -> None:
        if self.kind in READ:
            self._show(self.run, calls)
            self._tell(self.run, Gone(tuple(calls)), kind=READ_BACK, payload=json.dumps({"applied": sorted(calls)}))

    @rule(calls=st.sets(CALLS, min_size=1), value=st.integers(0, 1), alone=st.booleans())
    def read_pause(self, calls: set[str], value: int, alone: bool) -> None:
        """A reading lists these calls as one pause. `alone`: and no others."""
        if self.kind != "pauses":
            return
        asks = dict.fromkeys(sorted(calls), f'{{"a":{value}}}')
        said: dict[str, Any] = {"asks": asks, "not_applied": list(asks)}
        _, facts = fakes.PAUSES.read_run("{}", json.dumps(said))
        if alone:
            others = {one.call_id for one in self._requests()} - calls
            self._show(self.run, others)
            said, facts = {**said, "applied": sorted(others)}, (*facts, Gone(tuple(sorted(others))))
        now = {one.call_id: one for one in self._requests() if one.run_id == self.run.pk}
        # Other arguments behind a yes are the next question, so that the yes was taken.
        self._show(
            self.run, {call_id for call_id in asks if call_id in now and now[call_id].arguments != asks[call_id]}
        )
        for _ in range(2):
            self._tell(self.run, *facts, kind=READ_BACK, payload=json.dumps(said))
        self._one_answer_covers(asks)

    def _one_answer_covers(self, asks: Collection[str]) -> None:
        found = {one.call_id: one for one in self._requests() if one.run_id == self.run.pk and one.call_id in asks}
        if len(asks) == 1 or not any(one.status in OPEN for one in found.values()):
            return
        (batch_id,) = {one.batch_id for one in found.values() if one.status in OPEN}
        assert batch_id is not None
        there = [one.call_id for one in batches.members(batch_id)]
        under_way = {one.call_id for one in found.values() if one.status in (S.SENT, S.UNKNOWN)}
        assert len(set(there)) == len(there)
        assert set(asks) - under_way <= set(there)

    @rule(
        which=PICK, calls=st.sets(CALLS), how=st.sampled_from(["", "finished", "failed", "truncated"]), no=st.booleans()
    )
    def answer_stream_says(self, which: int, calls: set[str], how: str, no: bool) -> None:
        opened = Run.objects.filter(carries__isnull=False, provider=self.provider).order_by("started_at")
        if opened:
            run = opened[which % len(opened)]
            self._show(run, calls)
            facts: list[events.Fact] = [Ended(how, error="not accepted" if no else "")] if how else []  # type: ignore[arg-type]
            self._tell(run, *facts, kind="result", payload=json.dumps({"applied": sorted(calls)}))

    def _show(self, run: Run, calls: set[str]) -> None:
        for delivery in Delivery.objects.filter(answering_run=run) | Delivery.objects.filter(run=run):
            self.proved |= {one.pk for one in outbox.carried(delivery) if one.call_id in calls}

    @rule(how=st.sampled_from(["finished", "failed", "lost", "truncated"]), seldom=st.integers(0, 9))
    def end(self, how: str, seldom: int) -> None:
        if seldom != 7:
            return
        self._tell(self.run, Ended(how))  # type: ignore[arg-type]
        Run.objects.filter(pk=self.run.pk).exclude(status__in=ENDED).update(status=how, ended_at=self.clock.at)
        self._start_run()

    # -- people

    @rule(
        which=PICK,
        verdict=st.sampled_from(["approve", "reject"]),
        who=st.integers(0, 1),
        undo_s=st.sampled_from([0, 0, 0, 5, 60]),
        seen=st.sampled_from(["right", "right", "wrong"]),
    )
    def decide(self, which: int, verdict: str, who: int, undo_s: int, seen: str) -> None:
        if not self._requests(S.PENDING):
            self.ask({"c1", "c3"}, which % 2, 0)
        found = self._requests(S.PENDING) or self._requests()
        if found:
            one = found[which % len(found)]
            self._decide(one, verdict, self.people[who], undo_s, one.input_sha256 if seen == "right" else "0" * 64)

    def _decide(self, one: ApprovalRequest, verdict: str, who: User, undo_s: int, seen: str) -> None:
        try:
            decisions.decide(one.pk, verdict=verdict, by=who, seen_sha256=seen, undo_s=undo_s)
        except DecisionRefused:
            assert ApprovalRequest.objects.get(pk=one.pk).status == one.status
        else:
            assert (one.status, seen) == (S.PENDING, one.input_sha256)

    @rule(
        calls=st.sets(CALLS, min_size=1),
        value=st.integers(0, 1),
        expires_s=st.sampled_from([0, 4]),
        verdict=st.sampled_from(["approve", "reject"]),
    )
    def ask_and_decide(self, calls: set[str], value: int, expires_s: int, verdict: str) -> None:
        self.ask(calls, value, expires_s)
        for one in self._requests(S.PENDING):
            self._decide(one, verdict, self.people[0], 0, one.input_sha256)

    @rule(
        calls=st.sets(CALLS, min_size=1),
        value=st.integers(0, 1),
        expires_s=st.sampled_from([0, 0, 4]),
        stage=STAGES,
        pause_s=st.sampled_from([0, 0, 3]),
        code=CODES,
        rounds=st.integers(1, 2),
    )
    def live_through(
        self, calls: set[str], value: int, expires_s: int, stage: str, pause_s: int, code: int, rounds: int
    ) -> None:
        self.ask_and_decide(calls, value, expires_s, "approve")
        self.carry(stage, pause_s, code, rounds)

    @rule(which=PICK, who=st.integers(0, 1))
    def undo(self, which: int, who: int) -> None:
        found = self._requests(S.HELD, S.DECIDING, S.SENT)
        if found:
            try:
                decisions.undo(found[which % len(found)].pk, by=self.people[who])
            except DecisionRefused:
                pass

    @rule(which=PICK, seldom=st.integers(0, 3))
    def withdraw(self, which: int, seldom: int) -> None:
        found = self._requests(*OPEN)
        if found and not seldom:
            decisions.withdraw(found[which % len(found)].pk, by=self.people[0], note="stop")

    @rule(which=PICK, act=st.sampled_from(["happened", "not", "again"]))
    def clear_up(self, which: int, act: str) -> None:
        found = self._requests(S.UNKNOWN, S.REFUSED)
        if not found:
            return
        one = found[which % len(found)]
        try:
            if act == "again":
                decisions.reoffer(one.pk, by=self.people[0], note="seen")
            else:
                decisions.resolve_unknown(one.pk, by=self.people[0], happened=act == "happened", note="seen")
        except DecisionRefused:
            return
        if act == "happened":
            self.proved.add(one.pk)

    # -- the clock and the courier

    @rule(seconds=st.sampled_from([1, 3, 5, 16, 70]), secret=st.booleans())
    def time_passes(self, seconds: int, secret: bool) -> None:
        self.clock.forward(seconds)
        if secret:
            Provider.objects.update(credential_refused_at=None)

    @rule(
        stage=STAGES,
        pause_s=st.sampled_from([0, 0, 3]),
        code=CODES,
        rounds=st.integers(1, 2),
    )
    def carry(self, stage: str, pause_s: int, code: int, rounds: int) -> None:
        for _ in range(rounds):
            self._carry(stage, pause_s, code)
            self.clock.forward(40 * (rounds - 1))

    def _carry(self, stage: str, pause_s: int, code: int) -> None:
        claims, _ = courier.look("me", 4, {})
        self.clock.forward(pause_s)
        for flight in [Flight(claim) for claim in claims]:
            self.flights.append(flight)
            if stage != "claimed":
                self._let_out(flight)
            if stage == "answered" and flight in self.flights:
                self._answer(flight, code)

    @precondition(lambda self: bool(self.flights))
    @rule(which=PICK, code=CODES)
    def carry_on(self, which: int, code: int) -> None:
        flight = self.flights[which % len(self.flights)]
        if flight.prepared is None:
            self._let_out(flight)
        else:
            self._answer(flight, code)

    def _let_out(self, flight: Flight) -> None:
        try:
            ready = courier.make_ready(flight.claim)
        except ClaimLost:
            ready = None
        if ready is None:
            self.flights.remove(flight)
            return
        flight.prepared = ready[0]
        assert Delivery.objects.get(pk=flight.claim.delivery_id).state == D.SENT
        live = {str(one.pk): one for one in Decision.objects.filter(undone_at=None).select_related("request")}
        for said in json.loads(flight.prepared.call.body or b"")["answers"]:
            if said["verdict"] == "nobody":
                continue
            decision = live[said["key"]]  # I3, I4: committed, live, and its id is the key
            one = decision.request
            assert (one.status, said["verdict"]) == (S.SENT, decision.verdict)
            assert decision.seen_sha256 == one.input_sha256 == events.sha256(one.arguments)  # I6
            assert one.deadline is None or one.deadline > self.clock.at + deadlines.margin()  # I9
            wire = self.wire.setdefault(one.pk, Wire())
            wire.verdicts.add(said["verdict"])
            wire.keys.add(said["key"])
            wire.may_have_acted += 1

    def _answer(self, flight: Flight, code: int) -> None:
        self.flights.remove(flight)
        prepared = flight.prepared
        assert prepared is not None
        streams = bool(prepared.answering_id)
        outcome: Answered | Opened | Declined | Unsent | NoAnswer
        if code in (0, -1):
            outcome = Unsent("refused") if code else NoAnswer("reset")
        elif streams:
            outcome = Opened() if code == 200 else Declined(code, Refusal("", "no"))
        else:
            outcome = Answered(code, b"", None)
        if code == -1 or code in NOT_TAKEN:
            for request_id in prepared.answered:
                self.wire[request_id].may_have_acted -= 1
        elif code == 200 and not streams and self.kind not in READ:
            self.proved |= set(prepared.answered)
        before = Delivery.objects.get(pk=flight.claim.delivery_id)
        try:
            courier.conclude(prepared, outcome, chance=0.5)
        except ClaimLost:
            pass
        after = Delivery.objects.get(pk=flight.claim.delivery_id)
        assert after.state == before.state or before.claim_epoch == flight.claim.epoch  # I7

    @precondition(lambda self: bool(self.flights))
    @rule(stage=st.sampled_from(["", "claimed", "sent"]), code=CODES)
    def crash(self, stage: str, code: int) -> None:
        """The courier dies, another one goes on, and then it turns out that the first one had only slept."""
        zombies, self.flights = self.flights, []
        courier.recover(every=True)
        if stage:
            self.clock.forward(40)
            self._carry(stage, 0, code)
        for flight in zombies:
            self.flights.append(flight)
            if flight.prepared is None:
                self._let_out(flight)
                assert flight.prepared is None  # I7: what it had claimed only, it cannot send any more
            else:
                self._answer(flight, code)

    # -- what always holds

    @invariant()
    def promises(self) -> None:
        if not hasattr(self, "world"):
            return
        rows = self._requests()
        live = {one.request_id: one for one in Decision.objects.filter(undone_at=None)}  # I1: a constraint
        assert AuditEntry.objects.filter(action="decision.made").count() == Decision.objects.count()  # I2
        assert not Delivery.objects.filter(decision__undone_at__isnull=False).exclude(state=D.CANCELLED).exists()
        alone = {d.decision_id: d for d in Delivery.objects.filter(decision__isnull=False).exclude(state=D.CANCELLED)}
        carrying = set(Delivery.objects.exclude(state=D.CANCELLED).values_list("batch", flat=True))
        unsettled = Counter((one.run_id, one.call_id) for one in rows if one.status in (*OPEN, S.SENT, S.UNKNOWN))
        assert all(count == 1 for count in unsettled.values())
        for one in rows:
            assert self.final.get(one.pk, one.status) == one.status  # ends never change
            if one.status in FINAL:
                self.final[one.pk] = one.status
            assert one.status != S.DELIVERED or one.pk in self.proved  # I8
            assert one.status not in OPEN or (one.pk in live) == (one.status != S.PENDING)
            assert one.status not in OPEN or one.batch_id is None or one.batch_id in carrying
            if one.batch_id is None and one.status in STATES:
                state = alone[live[one.pk].pk].state if one.pk in live else None
                assert state in STATES[S(one.status)], (one.status, state)
            wire = self.wire.get(one.pk, Wire())
            assert len(wire.verdicts) <= 1  # I5
            assert len(wire.keys) <= 1
            assert wire.may_have_acted <= (courier.DOUBTFUL_MAX if self.kind == "repeatable" else 1)
        self._batches(rows)

    def _batches(self, rows: list[ApprovalRequest]) -> None:
        for row in Delivery.objects.filter(batch__isnull=False).exclude(state=D.CANCELLED).select_related("batch"):
            statuses = {one.status for one in rows if one.batch_id == row.batch_id and one.status != S.SUPERSEDED}
            if S.PENDING in statuses:
                assert (row.state, row.next_at) == (D.WAITING, None)
            elif S.HELD in statuses:
                assert row.state == D.WAITING
                assert row.next_at is not None
            if S.DECIDING in statuses:
                assert row.state in UNSENT
            if S.SENT in statuses:
                assert row.state == D.SENT


@pytest.mark.django_db
def test_random_lives_keep_every_promise(clock: Clock) -> None:
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=examples(40),
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
        ),
    )
    assert User.objects.count() == 0


@pytest.mark.django_db
@pytest.mark.one_engine
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("died", ["claimed", "sent"])
def test_a_courier_that_only_slept_changes_nothing(clock: Clock, kind: str, died: str) -> None:
    """The lives that chance finds too seldom: each way to go on, and each answer that comes too late."""
    for went_on in ("", "claimed", "sent"):
        for code in (200, 404, 500, -1):
            lives = Lives()
            lives.begin(kind)
            lives.live_through({"c1"}, 0, 0, died, 0, code, 1)
            lives.promises()
            lives.crash(went_on, code)
            lives.promises()
            lives.teardown()


@pytest.mark.django_db
@pytest.mark.one_engine
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("code", [200, 404, 500, 429, 401, 0, -1])
def test_an_answer_is_acted_upon_once_whatever_is_asked_next(clock: Clock, kind: str, code: int) -> None:
    for value, expires_s, pause_s in ((0, 0, 0), (1, 0, 0), (0, 4, 0), (0, 4, 3)):
        lives = Lives()
        lives.begin(kind)
        lives.live_through({"c1", "c2"}, 0, expires_s, "answered", pause_s, code, 2)
        lives.promises()
        lives.ask({"c1"}, value, 0)
        lives.promises()
        lives.live_through({"c1", "c2"}, value, 0, "answered", 0, code, 2)
        lives.promises()
        lives.end("finished", 7)
        lives.promises()
        lives.teardown()
