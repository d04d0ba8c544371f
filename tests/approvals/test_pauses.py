"""Calls that one answer must cover, where the run itself shows what came of it: Agno's pauses, asked again together."""

import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.utils import timezone

from approvals import audit, batches, courier, endings, outbox, requests
from approvals.answers import Prepared
from approvals.decisions import decide, withdraw
from approvals.errors import InputChanged
from approvals.models import ApprovalRequest, AuditEntry, Batch, Delivery, DeliveryState, RequestStatus
from approvals.sending import Answered
from dashboard.models import User
from streams import providers
from streams.events import Asked
from streams.holder import NoAnswer
from streams.models import Event, Lease, Run, RunStatus
from streams.providers.agno import Agno
from streams.providers.agno.adapter import NOBODY
from streams.providers.base import READ_BACK
from streams.sse import Frame
from tests import factories
from tests.approvals import fakes
from tests.approvals.fakes import Clock, asked, newest, stored, tell
from tests.approvals.test_read_back import Held, fresh_state

pytestmark = pytest.mark.django_db
S = RequestStatus
D = DeliveryState
ID, SESSION = "run-1", "session-1"
Tool = dict[str, Any]


def tool(call_id: str, value: int = 1, *, confirmed: bool | None = None) -> Tool:
    """A call as the run shows it; not confirmed, it waits."""
    done = "done" if confirmed else None
    args = {"tool_call_id": call_id, "tool_name": "pay", "tool_args": {"a": value}}
    return {**args, "requires_confirmation": confirmed is None, "confirmed": confirmed, "result": done}


def body(*tools: Tool, status: str = "PAUSED") -> str:
    """A run as it is read."""
    return json.dumps({"run_id": ID, "session_id": SESSION, "status": status, "content": "", "tools": list(tools)})


BOTH = body(tool("c1"), tool("c2"))
THREE = body(tool("c1"), tool("c2"), tool("c3"))
OTHER = body(tool("c1", 7), tool("c2", 7))
GOING = body(status="RUNNING")


class Pause(Held):
    """An agent's run in a holder's hands."""

    def __init__(self, clock: Clock) -> None:
        provider = factories.provider(kind="agno")
        self.run = factories.run(
            provider=provider, external_id=ID, workflow="desk", thread_id=SESSION, status=RunStatus.STREAMING
        )
        Lease.objects.create(run=self.run, owner="holder", epoch=1, expires_at=timezone.now() + timedelta(hours=1))
        self.clock, self.skew, self.adapter = clock, timedelta(0), Agno()  # type: ignore[assignment]
        self.state = fresh_state(self.adapter, self.run)

    def stream(self, said: str, ordinal: int) -> None:
        """Store the stream's word that the run is paused for these calls."""
        event = {"event": "RunPaused", "run_id": ID, "tools": json.loads(said)["tools"], "event_index": ordinal}
        frame = Frame("RunPaused", json.dumps(event))
        self.state, facts = self.adapter.step(self.state, frame)
        self._store(frame.event, frame.data, facts, ordinal, self.now())

    def runs(self, call_id: str, ordinal: int) -> None:
        """Store the stream's word that a call begins to run."""
        event = {"event": "ToolCallStarted", "run_id": ID, "tool": tool(call_id, confirmed=True)}
        frame = Frame("ToolCallStarted", json.dumps({**event, "event_index": ordinal}))
        self.state, facts = self.adapter.step(self.state, frame)
        self._store(frame.event, frame.data, facts, ordinal, self.now())

    def say(self, by: User, *call_ids: str, verdict: str = "approve") -> None:
        for call_id in call_ids:
            one = newest(self.run, call_id)
            decide(one.pk, verdict=verdict, by=by, seen_sha256=one.input_sha256)

    def leave(self) -> Prepared:
        """Let the one answer that is due leave."""
        (claim,) = outbox.claim("me", room=9)
        ready = courier.make_ready(claim)
        assert ready is not None
        return ready[0]

    def answer(self, by: User, *call_ids: str, verdict: str = "approve") -> Prepared:
        self.say(by, *call_ids, verdict=verdict)
        return self.leave()

    def not_taken(self, prepared: Prepared, outcome: Answered | NoAnswer, said: str) -> None:
        """An answer came to this, and the run is read until that counts."""
        courier.conclude(prepared, outcome, chance=0.5)
        for wait_s in (0, 0, 10, 10, 0, 0):
            self.clock.forward(wait_s)
            courier.look("me", 0, {})
            self.read(said)

    def all_statuses(self) -> dict[str, list[str]]:
        found = ApprovalRequest.objects.filter(run=self.run).values_list("call_id", flat=True).distinct()
        return {call_id: self.statuses(call_id) for call_id in sorted(set(found.order_by("call_id")))}

    def again(self, *saids: str) -> None:
        """Reading the same once more changes nothing, nor does projecting it twice."""
        before = (self.all_statuses(), audit.verify().seq, Batch.objects.count())
        for said in saids:
            self.read(said)
        told = Event.objects.filter(run=self.run, kind=READ_BACK).latest("seq")
        _, facts = self.adapter.read_run(fresh_state(self.adapter, self.run), told.payload)
        tell(self.run, *facts, kind=READ_BACK, payload=told.payload, seq=told.seq)
        assert (self.all_statuses(), audit.verify().seq, Batch.objects.count()) == before
        assert audit.verify().bad is None


def sent_tools(prepared: Prepared) -> dict[str, tuple[bool, str]]:
    """What an answer says of each call."""
    assert prepared.call.body is not None
    (told,) = parse_qs(prepared.call.body.decode())["tools"]
    return {one["tool_call_id"]: (one["confirmed"], one.get("confirmation_note", "")) for one in json.loads(told)}


YES, NO, AS_NOBODY = (True, ""), (False, ""), (False, NOBODY)


@pytest.fixture(autouse=True)
def _with_agno(monkeypatch: pytest.MonkeyPatch, _fake_providers: None) -> None:
    monkeypatch.setattr(providers, "REGISTRY", {**fakes.REGISTRY, "agno": Agno()})


@pytest.fixture
def held(db: None, clock: Clock) -> Pause:
    made = Pause(clock)
    made.read(BOTH)
    return made


@pytest.fixture
def root(db: None) -> User:
    return factories.user(is_superuser=True)


def batch_of(held: Pause, *call_ids: str) -> Batch:
    """The one batch of the newest versions of these calls, which has nobody else in it."""
    found = {newest(held.run, call_id).batch for call_id in call_ids}
    assert len(found) == 1
    (batch,) = found
    assert batch is not None
    assert [one.call_id for one in sorted(batches.members(batch.pk), key=lambda one: one.call_id)] == list(call_ids)
    assert batch.total == len(call_ids)
    return batch


def waits(batch: Batch) -> bool:
    """Whether its one answer waits for its members."""
    row = Delivery.objects.filter(batch=batch).exclude(state=D.CANCELLED).get()
    return (row.state, row.next_at) == (D.WAITING, None)


def answered_whole(held: Pause, by: User, *call_ids: str) -> None:
    """All of a pause are answered in one call, which the run then takes."""
    first, *rest = call_ids
    held.say(by, first)
    assert outbox.claim("me", room=9) == []
    prepared = held.answer(by, *rest)
    assert sent_tools(prepared) == dict.fromkeys(call_ids, YES)
    courier.conclude(prepared, Answered(200, b"", None), chance=0.5)
    held.read(GOING)
    assert {newest(held.run, call_id).status for call_id in call_ids} == {S.DELIVERED}
    assert audit.verify().bad is None


# --- an answer that was not taken ------------------------------------------------------------------------------------

OUTCOMES = [Answered(200, b"", None), Answered(409, b"", None), Answered(422, b"", None), NoAnswer("cut")]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_pause_whose_answer_was_not_taken_is_asked_again_together(
    held: Pause, ada: User, outcome: Answered | NoAnswer
) -> None:
    held.not_taken(held.answer(ada, "c1", "c2"), outcome, BOTH)
    assert held.all_statuses() == {"c1": [S.STALE, S.PENDING], "c2": [S.STALE, S.PENDING]}
    batch = batch_of(held, "c1", "c2")
    assert (batch.round, batch.closed_at, waits(batch)) == (2, None, True)
    assert Batch.objects.get(round=1).deliveries.get().state == D.REFUSED
    held.again(BOTH, BOTH)
    answered_whole(held, ada, "c1", "c2")


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_of_a_pause_of_which_a_part_was_taken_the_rest_is_asked_again(
    clock: Clock, ada: User, outcome: Answered | NoAnswer
) -> None:
    held = Pause(clock)
    held.read(THREE)
    left = body(tool("c1"), tool("c2"), tool("c3", confirmed=True))
    held.not_taken(held.answer(ada, "c1", "c2", "c3"), outcome, left)
    assert (held.statuses("c1"), held.statuses("c2")) == ([S.STALE, S.PENDING], [S.STALE, S.PENDING])
    taken = S.REFUSED if isinstance(outcome, Answered) and outcome.status != 200 else S.DELIVERED
    assert held.statuses("c3") == [taken]
    assert waits(batch_of(held, "c1", "c2"))
    held.again(left)
    answered_whole(held, ada, "c1", "c2")


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_last_call_that_is_left_of_a_pause_is_answered_alone(
    held: Pause, ada: User, outcome: Answered | NoAnswer
) -> None:
    left = body(tool("c1"), tool("c2", confirmed=True))
    held.not_taken(held.answer(ada, "c1", "c2"), outcome, left)
    assert (held.statuses("c1"), newest(held.run, "c1").batch) == ([S.STALE, S.PENDING], None)
    assert Batch.objects.count() == 1
    held.again(left)
    prepared = held.answer(ada, "c1")
    assert sent_tools(prepared) == {"c1": YES}
    courier.conclude(prepared, Answered(200, b"", None), chance=0.5)
    held.read(GOING)
    assert held.statuses("c1") == [S.STALE, S.DELIVERED]


@pytest.mark.parametrize("said", [BOTH, OTHER])
def test_what_was_put_aside_stays_so_in_the_pause_that_is_asked_again(
    held: Pause, ada: User, root: User, said: str
) -> None:
    """Its one answer must cover it, so it goes as nobody's once more; with other arguments it is another question."""
    withdraw(newest(held.run, "c1").pk, by=root, note="not ours")
    prepared = held.answer(ada, "c2")
    assert sent_tools(prepared) == {"c1": AS_NOBODY, "c2": YES}
    held.not_taken(prepared, Answered(409, b"", None), said)
    same = said == BOTH
    assert held.statuses("c1") == [S.WITHDRAWN, S.WITHDRAWN if same else S.PENDING]
    assert held.statuses("c2") == [S.STALE, S.PENDING]
    assert waits(batch_of(held, "c1", "c2"))
    held.again(said, said)
    if not same:
        return
    first, second = ApprovalRequest.objects.filter(call_id="c1").order_by("version")
    assert (second.ended_why, second.reoffers) == (first.ended_why, first)
    carried = AuditEntry.objects.filter(target=f"request:{second.pk}").order_by("seq")
    assert list(carried.values_list("action", flat=True)) == ["request.opened", "request.withdrawn"]
    assert sent_tools(held.answer(ada, "c2")) == {"c1": AS_NOBODY, "c2": YES}


def test_other_arguments_after_a_yes_are_the_next_pause(held: Pause, ada: User) -> None:
    courier.conclude(held.answer(ada, "c1", "c2"), Answered(200, b"", None), chance=0.5)
    held.read(OTHER)
    assert held.all_statuses() == {"c1": [S.DELIVERED, S.PENDING], "c2": [S.DELIVERED, S.PENDING]}
    assert newest(held.run, "c1").alert == requests.ASKED_AGAIN
    assert waits(batch_of(held, "c1", "c2"))
    held.again(OTHER)
    answered_whole(held, ada, "c1", "c2")


@pytest.mark.parametrize("hasty", [False, True])
def test_a_call_whose_fate_is_known_later_joins_the_others_of_its_pause(held: Pause, ada: User, hasty: bool) -> None:
    """One is the next question at once, of the other nobody knows yet; and who is hasty answers only the first."""
    mixed = body(tool("c1", 7), tool("c2"))
    courier.conclude(held.answer(ada, "c1", "c2"), Answered(200, b"", None), chance=0.5)
    held.read(mixed)
    assert held.all_statuses() == {"c1": [S.DELIVERED, S.PENDING], "c2": [S.SENT]}
    if hasty:
        held.say(ada, "c1")
    for _ in range(2):
        held.clock.forward(10)
        courier.look("me", 0, {})
    if hasty:
        (claim,) = outbox.claim("me", room=9)
        assert courier.make_ready(claim) is None  # an answer must cover both
        assert held.statuses("c1") == [S.DELIVERED, S.REFUSED]
    held.read(mixed)
    held.read(mixed)
    again = [S.DELIVERED, S.STALE, S.PENDING] if hasty else [S.DELIVERED, S.PENDING]
    assert held.all_statuses() == {"c1": again, "c2": [S.STALE, S.PENDING]}
    assert waits(batch_of(held, "c1", "c2"))
    held.again(mixed)
    answered_whole(held, ada, "c1", "c2")


# --- a pause that seemed to be over ----------------------------------------------------------------------------------


def over(held: Pause, how: str, by: User) -> None:
    if how != "outside":
        status = 200 if how == "delivered" else 409
        courier.conclude(held.answer(by, "c1", "c2"), Answered(status, b"", None), chance=0.5)
    held.read(GOING)
    held.read(GOING)
    ends = {"outside": S.WITHDRAWN, "delivered": S.DELIVERED, "refused": S.REFUSED}
    assert held.all_statuses() == {"c1": [ends[how]], "c2": [ends[how]]}


@pytest.mark.parametrize("again", [BOTH, OTHER], ids=["same", "other"])
@pytest.mark.parametrize("first", ["stream", "run"])
@pytest.mark.parametrize("how", ["outside", "delivered", "refused"])
def test_a_pause_that_seemed_to_be_over_is_asked_again_whole(
    held: Pause, ada: User, how: str, first: str, again: str
) -> None:
    over(held, how, ada)
    before = held.all_statuses()
    if first == "stream":
        held.stream(again, 1)
        assert held.all_statuses() == before  # a replayed pause may be an old one
    held.read(again)
    ended = S.STALE if how == "refused" else before["c1"][0]
    assert held.all_statuses() == {"c1": [ended, S.PENDING], "c2": [ended, S.PENDING]}
    batch = batch_of(held, "c1", "c2")
    assert (batch.round, waits(batch)) == (2, True)
    words = {"delivered": requests.ASKED_AGAIN, "outside": requests.LISTED_AGAIN, "refused": requests.LISTED_AGAIN}
    expected = words[how] if again == BOTH or how == "delivered" else requests.OTHERWISE.format(version=1)
    assert {newest(held.run, call_id).alert for call_id in ("c1", "c2")} == {expected}
    held.again(again, again)
    answered_whole(held, ada, "c1", "c2")


def test_a_call_that_ran_is_not_asked_again_with_the_others(clock: Clock, ada: User) -> None:
    held = Pause(clock)
    held.read(THREE)
    courier.conclude(held.answer(ada, "c1", "c2", "c3"), Answered(200, b"", None), chance=0.5)
    held.runs("c2", 1)
    held.read(GOING)
    held.read(GOING)
    held.read(THREE)
    assert held.all_statuses() == {
        "c1": [S.DELIVERED, S.PENDING],
        "c2": [S.DELIVERED],
        "c3": [S.DELIVERED, S.PENDING],
    }
    answered_whole(held, ada, "c1", "c3")


def test_a_new_call_beside_one_that_is_asked_again_is_in_its_batch(held: Pause, ada: User) -> None:
    over(held, "outside", ada)
    held.read(body(tool("c1"), tool("c9")))
    assert held.all_statuses() == {"c1": [S.WITHDRAWN, S.PENDING], "c2": [S.WITHDRAWN], "c9": [S.PENDING]}
    answered_whole(held, ada, "c1", "c9")


def test_one_call_of_a_pause_that_is_asked_again_by_itself_is_answered_alone(held: Pause, ada: User) -> None:
    over(held, "outside", ada)
    held.read(body(tool("c1")))
    assert (held.statuses("c1"), newest(held.run, "c1").batch) == ([S.WITHDRAWN, S.PENDING], None)
    assert sent_tools(held.answer(ada, "c1")) == {"c1": YES}


@pytest.mark.parametrize("aside", [("c1",), ("c1", "c2")])
def test_what_a_person_put_aside_is_not_asked_again(held: Pause, ada: User, root: User, aside: tuple[str, ...]) -> None:
    for call_id in aside:
        withdraw(newest(held.run, call_id).pk, by=root, note="not ours")
    held.read(GOING)
    held.read(BOTH)
    if len(aside) == 2:
        assert held.all_statuses() == {"c1": [S.WITHDRAWN], "c2": [S.WITHDRAWN]}
        assert Batch.objects.count() == 1
        held.again(BOTH)
        return
    assert held.all_statuses() == {"c1": [S.WITHDRAWN, S.WITHDRAWN], "c2": [S.WITHDRAWN, S.PENDING]}
    assert waits(batch_of(held, "c1", "c2"))
    held.again(BOTH)
    assert sent_tools(held.answer(ada, "c2")) == {"c1": AS_NOBODY, "c2": YES}


def test_a_pause_that_is_withdrawn_whole_the_second_time_sends_nothing(held: Pause, root: User) -> None:
    withdraw(newest(held.run, "c1").pk, by=root, note="not ours")
    held.read(GOING)
    held.read(BOTH)
    withdraw(newest(held.run, "c2").pk, by=root, note="nor this")
    assert not Delivery.objects.exclude(state=D.CANCELLED).exists()
    held.again(BOTH)


# --- a part of it ----------------------------------------------------------------------------------------------------


def test_what_is_left_of_a_pause_is_answered_without_what_is_gone(held: Pause, ada: User) -> None:
    """Be it that somebody else answered it, or that it had been put aside before."""
    held.read(body(tool("c2")))
    assert held.all_statuses() == {"c1": [S.WITHDRAWN], "c2": [S.PENDING]}
    assert sent_tools(held.answer(ada, "c2")) == {"c2": YES}


@pytest.mark.parametrize("far", ["pending", "held", "deciding", "claimed"])
def test_a_part_that_was_gone_and_is_listed_again_joins_the_rest(held: Pause, ada: User, far: str) -> None:
    """What was decided of the others stays decided, and an answer that was about to leave is called back."""
    if far in ("deciding", "claimed"):
        held.say(ada, "c1", "c2")
    if far == "held":
        held.say(ada, "c1")
        held.read(body(tool("c1")))
        held.clock.forward(1)
        assert held.all_statuses() == {"c1": [S.DECIDING], "c2": [S.WITHDRAWN]}
    else:
        held.read(body(tool("c1")))
    claims = outbox.claim("me", room=9) if far == "claimed" else []
    held.read(BOTH)
    assert held.statuses("c2") == [S.WITHDRAWN, S.PENDING]
    assert held.statuses("c1") == [S.PENDING if far == "pending" else S.HELD]
    batch = batch_of(held, "c1", "c2")
    assert (batch.round, waits(batch)) == (1, True)
    for claim in claims:
        with pytest.raises((outbox.ClaimLost, outbox.AnswersChanged)):
            courier.make_ready(claim)
    held.again(BOTH)
    if far == "pending":
        held.say(ada, "c1")
    assert sent_tools(held.answer(ada, "c2")) == {"c1": YES, "c2": YES}


@pytest.mark.parametrize("first", ["stream", "run"])
def test_the_next_pause_is_not_added_to_one_that_was_answered_elsewhere(held: Pause, ada: User, first: str) -> None:
    held.read(GOING)
    after = body(tool("c3"), tool("c4"))
    if first == "stream":
        held.stream(after, 1)
    held.read(after)
    assert batch_of(held, "c3", "c4").round == 2
    answered_whole(held, ada, "c3", "c4")


@pytest.mark.parametrize("decided", [False, True])
def test_a_call_that_waits_alone_is_asked_anew_where_the_pause_has_more(clock: Clock, ada: User, decided: bool) -> None:
    held = Pause(clock)
    held.read(body(tool("c1")))
    seen = newest(held.run, "c1")
    if decided:
        held.say(ada, "c1")
    held.read(BOTH)
    assert held.all_statuses() == {"c1": [S.SUPERSEDED, S.PENDING], "c2": [S.PENDING]}
    assert newest(held.run, "c1").alert == requests.TOGETHER.format(version=1)
    assert not Delivery.objects.filter(decision__isnull=False).exclude(state=D.CANCELLED).exists()
    with pytest.raises(InputChanged if not decided else Exception):
        decide(seen.pk, verdict="approve", by=ada, seen_sha256=seen.input_sha256)
    held.again(BOTH)
    answered_whole(held, ada, "c1", "c2")


def test_arguments_that_change_in_a_pause_stay_in_its_batch(held: Pause, ada: User) -> None:
    held.say(ada, "c1")
    held.read(body(tool("c1", 7), tool("c2")))
    assert held.all_statuses() == {"c1": [S.SUPERSEDED, S.PENDING], "c2": [S.PENDING]}
    assert batch_of(held, "c1", "c2").round == 1
    answered_whole(held, ada, "c1", "c2")


def test_a_call_that_lapsed_here_is_nobodys_in_the_pause_that_is_asked_again(held: Pause, ada: User) -> None:
    ApprovalRequest.objects.filter(call_id="c1").update(deadline=held.clock.at + timedelta(seconds=60))
    held.clock.forward(60)
    assert endings.expire_due() == 1
    held.not_taken(held.answer(ada, "c2"), Answered(409, b"", None), BOTH)
    assert held.all_statuses() == {"c1": [S.EXPIRED, S.EXPIRED], "c2": [S.STALE, S.PENDING]}
    held.again(BOTH)
    assert sent_tools(held.answer(ada, "c2")) == {"c1": AS_NOBODY, "c2": YES}


# --- what a stream repeats -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [S.WITHDRAWN, S.EXPIRED, S.REFUSED, S.DELIVERED])
def test_what_a_replay_asks_again_together_stays_what_it_is(thread: Run, clock: Clock, how: str) -> None:
    """Only the run itself says that a pause waits still; an AG-UI stream may repeat the past."""
    asks: list[Asked] = [asked("c1", together=True), asked("c2", together=True)]
    tell(thread, *asks)
    ApprovalRequest.objects.update(status=how, settled_at=clock.at, ended_why=endings.OUTSIDE)
    before = (audit.verify().seq, ApprovalRequest.objects.count(), Batch.objects.count())
    tell(thread, *asks, seq=2)
    assert (audit.verify().seq, ApprovalRequest.objects.count(), Batch.objects.count()) == before
    assert stored(thread).kind != READ_BACK
