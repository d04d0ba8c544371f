"""The LangGraph platform's adapter: what recorded threads mean, and what is sent back. Tapes: langgraph-api 0.16.7."""

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.errors import WireError
from streams.events import Asked, Ended, Fact, Gone, Paused, ReadBack
from streams.providers.base import READ_BACK, Account, Answer, Carried, Question, RunView
from streams.providers.langgraph import LangGraph
from streams.sse import Decoder, Frame
from tests.long_form import examples
from tests.streams import tapes
from tests.streams.test_adapters_total import FUZZ, IDS, VALUES, survive

TAPES = tapes.TAPES / "langgraph_platform"
ACCOUNT = Account("http://graphs.example", "lsv2-secret")
THREAD = "11111111-1111-4111-8111-111111111111"
RUN = RunView(UUID(int=7), external_id=THREAD, thread_id=THREAD, workflow="agent", task="Pay it")
KEY = UUID(int=9)
adapter = LangGraph()


def frames(name: str) -> list[Frame]:
    return list(Decoder().feed((TAPES / f"{name}.sse").read_bytes()))


def body(name: str) -> str:
    return (TAPES / f"{name}.state.json").read_text()


def fold(told: list[Frame], account: Account = ACCOUNT) -> tuple[Any, list[Fact]]:
    state, facts = adapter.initial(account, RUN), list[Fact]()
    for frame in told:
        state, more = adapter.step(state, frame)
        facts += more
    return state, facts


def asks(facts: list[Fact]) -> list[Asked]:
    return [fact for fact in facts if isinstance(fact, Asked)]


def said(asked: Asked, verdict: str = "approve", **more: str) -> Answer:
    question = Question(asked.call_id, asked.tool, asked.arguments, asked.tool_call_id, asked.answer_schema)
    return Answer(question, verdict, KEY, **more)  # type: ignore[arg-type]


def sent(name: str, verdict: str = "approve", *, at: int = 0, account: Account = ACCOUNT, **more: str) -> Any:
    """The resume value of an answer to a recorded pause."""
    state, facts = fold(frames(name), account)
    asked = asks(facts)[at]
    call = adapter.decision_call(account, RUN, state, [said(asked, verdict, **more)])
    told = json.loads(call.body or b"")
    assert (call.method, call.url, call.repeatable) == ("POST", f"{ACCOUNT.base_url}/threads/{THREAD}/runs", False)
    assert (told["assistant_id"], told["multitask_strategy"]) == ("agent", "enqueue")
    assert list(told["command"]["resume"]) == [asked.call_id]
    return told["command"]["resume"][asked.call_id]


# --- the start -------------------------------------------------------------------------------------------------------


def test_one_call_makes_the_thread_and_its_first_run() -> None:
    call = adapter.start_call(ACCOUNT, RUN)
    told = json.loads(call.body or b"")
    assert call.url == f"{ACCOUNT.base_url}/threads/{RUN.id}/runs"
    assert call.headers["x-api-key"] == "lsv2-secret"
    assert (told["if_not_exists"], told["stream_resumable"], told["assistant_id"]) == ("create", True, "agent")
    assert told["input"] == {"messages": [{"role": "user", "content": "Pay it"}]}
    assert not call.repeatable
    assert not call.streams


def test_a_thread_is_what_a_start_gives() -> None:
    begun = adapter.read_start(ACCOUNT, json.dumps({"run_id": "r", "thread_id": THREAD}).encode())
    assert begun.external_id == begun.thread_id == THREAD
    for wrong in (b"", b"[]", b"{}", b'{"thread_id": "../state"}', b'{"thread_id": 5}'):
        with pytest.raises(WireError):
            adapter.read_start(ACCOUNT, wrong)


@pytest.mark.parametrize(
    ("said_", "field"),
    [
        ({"task": "x", "workflow": "", "options": {}}, "workflow"),
        ({"task": "", "workflow": "a", "options": {}}, "task"),
        ({"task": "x", "workflow": "a", "options": {"input": {}}}, "task"),
        ({"task": "x", "workflow": "a", "options": {"thread_id": "t"}}, "options"),
        ({"task": "x", "workflow": "a", "options": {"config": 5}}, "options"),
    ],
)
def test_a_start_that_cannot_be_sent_is_named(said_: dict[str, Any], field: str) -> None:
    assert list(adapter.check_start(**said_)) == [field]


def test_a_stream_is_joined_from_its_beginning_whatever_came_last() -> None:
    """Two events of one millisecond have one id: going on behind it could lose the second."""
    first, second = [frame for frame in frames("node-two") if "__interrupt__" in frame.data]
    assert first.id == second.id
    call = adapter.stream_call(ACCOUNT, RUN, first.id)
    assert call.headers["last-event-id"] == "0-0"
    assert call.repeatable


# --- what is asked ---------------------------------------------------------------------------------------------------


def test_the_frames_are_crlf_with_the_id_behind_the_data() -> None:
    assert b"\r\nid: " in (TAPES / "hitl-one.sse").read_bytes()
    assert all(frame.id for frame in frames("hitl-one"))


def test_one_event_for_each_interrupt_and_a_pause_that_the_state_confirms() -> None:
    state, facts = fold(frames("percall-two"))
    assert [(one.tool, one.arguments, one.tool_call_id) for one in asks(facts)] == [
        ("send_email", '{"to":"a@b.example","subject":"s"}', "c1"),
        ("delete_records", '{"table":"x"}', "c2"),
    ]
    assert [one.edit for one in asks(facts)] == [True, False]
    assert any(isinstance(fact, Paused) for fact in facts)
    assert isinstance(facts[-1], ReadBack)
    assert not [fact for fact in facts if isinstance(fact, Ended)]
    _, again = adapter.read_run(state, body("percall-two"))
    assert not asks(list(again))


def test_an_interrupt_of_several_calls_is_one_question_with_a_part_for_each() -> None:
    _, facts = fold(frames("hitl-two"))
    (asked,) = asks(facts)
    assert asked.tool == "send_email, delete_records"
    assert "all of them" in asked.limits
    assert not asked.edit
    assert [part.kind for part in adapter.parts(asked.arguments)] == ["send_email", "delete_records"]
    assert adapter.parts('{"to":"a@b.example"}') == ()


def test_the_state_asks_the_same_questions_as_the_stream() -> None:
    for name in ("node-two", "hitl-one", "hitl-two", "percall-one", "percall-two"):
        _, told = fold(frames(name))
        _, read = adapter.read_run(adapter.initial(ACCOUNT, RUN), body(name))
        assert [(one.call_id, one.tool, one.problem) for one in asks(told)] == [
            (one.call_id, one.tool, one.problem) for one in asks(list(read))
        ]


def test_two_questions_under_one_id_cannot_be_approved() -> None:
    one, other = ({"id": "a" * 32, "value": {"tool": "t", "args": {"n": n}}} for n in (1, 2))
    frame = Frame("updates", json.dumps({"__interrupt__": [one, other]}))
    assert asks(fold([frame])[1])[0].problem == "two different interrupts came under this id"


# --- what is over ----------------------------------------------------------------------------------------------------


def test_partial_answers_work_and_the_state_lists_the_others() -> None:
    state, facts = fold(frames("node-two"))
    state, _ = adapter.read_run(state, body("node-two"))
    first, second = asks(facts)
    state, told = adapter.read_run(state, body("node-one-of-two-answered"))
    assert [fact for fact in told if isinstance(fact, Gone)] == [Gone((first.call_id,))]
    assert [one.id for one in state.open] == [second.call_id]


def test_what_the_stream_alone_has_shown_is_not_taken_back_by_one_reading() -> None:
    state, facts = fold(frames("node-two"))
    _, told = adapter.read_run(state, body("node-one-of-two-answered"))
    assert not [fact for fact in told if isinstance(fact, Gone)]
    assert any(isinstance(fact, ReadBack) for fact in told)
    assert len(asks(facts)) == 2


def test_a_thread_without_a_checkpoint_has_not_begun() -> None:
    """It has nothing next either, and is not over for that."""
    _, facts = adapter.read_run(adapter.initial(ACCOUNT, RUN), body("not-begun"))
    assert facts == ()


def test_a_thread_is_done_once_its_stream_said_run_done_and_nothing_is_next() -> None:
    state, _ = fold(frames("hitl-one-approved"))
    _, facts = adapter.read_run(state, body("hitl-one-approved"))
    assert [fact for fact in facts if isinstance(fact, Ended)] == [Ended("finished", "completed")]


def test_an_end_that_no_stream_told_counts_only_after_several_readings() -> None:
    state, ended = adapter.initial(ACCOUNT, RUN), 0
    for _ in range(5):
        assert not ended
        state, facts = adapter.read_run(state, body("hitl-one-approved"))
        ended += any(isinstance(fact, Ended) for fact in facts)
    assert ended == 1


@pytest.mark.parametrize(("name", "word"), [("failed", "broken on purpose"), ("poisoned", "KeyError")])
def test_a_thread_in_which_something_failed_has_failed(name: str, word: str) -> None:
    state, _ = fold(frames(name))
    _, facts = adapter.read_run(state, body(name))
    (ended,) = [fact for fact in facts if isinstance(fact, Ended)]
    assert ended.how == "failed"
    assert word in ended.error


def test_a_stream_that_is_replayed_behind_a_reading_asks_nothing_that_is_over() -> None:
    """Somebody else's thread: its stream begins with questions that were answered long ago."""
    state, _ = adapter.read_run(adapter.initial(ACCOUNT, RUN), body("percall-two-approved"))
    asked = []
    for frame in frames("percall-two-approved"):
        state, facts = adapter.step(state, frame)
        asked += asks(list(facts))
    assert asked == []


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_answers_of_the_middleware_are_one_decision_for_each_action_by_position() -> None:
    assert sent("hitl-two") == {"decisions": [{"type": "approve"}, {"type": "approve"}]}
    no = {"type": "reject", "message": "not today"}
    assert sent("hitl-two", "reject", reason="not today") == {"decisions": [no, no]}
    edited = {"name": "send_email", "args": {"to": "x@y.example"}}
    assert sent("hitl-one", edited='{"to":"x@y.example"}') == {"decisions": [{"type": "edit", "edited_action": edited}]}


def test_answers_to_one_interrupt_a_call_are_one_decision() -> None:
    assert sent("percall-one") == {"type": "approve"}
    assert sent("percall-two", "reject", at=1, reason="no") == {"type": "reject", "message": "no"}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("hitl-two", {"edited": "{}"}),  # several calls
        ("hitl-one", {"edited": "[]"}),
        ("hitl-one", {"answer": "true"}),
        ("percall-two", {"at": 1, "edited": '{"table":"y"}'}),  # allowed_decisions has no edit
        ("percall-one", {"edited": '{"to":5}'}),  # the schema wants a text
        ("node-two", {}),  # nobody knows what this graph takes
        ("node-two", {"verdict": "reject"}),
        ("hitl-one", {"verdict": "nobody"}),
    ],
)
def test_what_the_agent_does_not_take_is_never_sent_for_it_would_stick(name: str, more: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        sent(name, **more)


def test_a_graph_of_ones_own_takes_what_its_account_says() -> None:
    words = {"approve": {"approved": True}, "reject": {"approved": False, "why": "{reason}"}}
    account = Account(ACCOUNT.base_url, "k", options=words)
    assert adapter.decidable(account) == ""
    assert sent("node-two", account=account) == {"approved": True}
    assert sent("node-two", "reject", account=account, reason="no") == {"approved": False, "why": "no"}
    assert sent("node-two", answer='{"approved":"maybe"}') == {"approved": "maybe"}
    for wrong in ({"approve": 1}, {"approve": 1, "reject": 1}):
        assert adapter.decidable(Account(ACCOUNT.base_url, options=wrong))


def test_what_cannot_be_said_has_its_reason_in_words() -> None:
    for name in ("hitl-two", "node-two"):
        assert all(asked.no_edit and not asked.edit for asked in asks(fold(frames(name))[1]))
    reasoned = {"approve": 1, "reject": {"no": "{reason}"}}
    for words, heard in ((reasoned, True), ({"approve": 1, "reject": 0}, False), ({}, False)):
        asked = asks(fold(frames("node-two"), Account(ACCOUNT.base_url, options=words))[1])[0]
        assert (asked.hears_reason, bool(asked.no_reason)) == (heard, not heard)


def test_only_what_the_thread_offers_now_is_answered() -> None:
    state, facts = fold(frames("hitl-one"))
    asked = asks(facts)[0]
    changed = Answer(Question(asked.call_id, asked.tool, '{"to":"else"}'), "approve", KEY)
    unknown = Answer(Question("0" * 32, asked.tool, asked.arguments), "approve", KEY)
    for answers in ([changed], [unknown], [], [said(asked), said(asked)]):
        with pytest.raises(WireError):
            adapter.decision_call(ACCOUNT, RUN, state, answers)


def test_a_watched_thread_is_answered_by_the_assistant_that_its_state_names() -> None:
    watched = RunView(UUID(int=7), external_id=THREAD)
    state, facts = fold(frames("hitl-one"))
    with pytest.raises(WireError, match="which assistant"):
        adapter.decision_call(ACCOUNT, watched, state, [said(asks(facts)[0])])
    state, _ = adapter.read_run(state, body("hitl-one"))
    call = adapter.decision_call(ACCOUNT, watched, state, [said(asks(facts)[0])])
    assert json.loads(call.body or b"")["assistant_id"] == json.loads(body("hitl-one"))["metadata"]["assistant_id"]


def test_evidence_is_the_state_alone() -> None:
    asked = asks(fold(frames("node-two"))[1])[0]
    carried = Carried(Question(asked.call_id, asked.tool, asked.arguments), "approve", only_open=True)
    assert adapter.evidence(carried, READ_BACK, body("node-two")) == "not_applied"
    assert adapter.evidence(carried, READ_BACK, body("node-one-of-two-answered")) == "applied"
    assert adapter.evidence(carried, READ_BACK, body("not-begun")) is None
    assert adapter.evidence(carried, READ_BACK, body("poisoned")) is None  # it failed: nobody knows
    for frame in frames("node-both-answered"):
        assert adapter.evidence(carried, adapter.kind_of(frame), frame.data) is None


# --- whatever comes --------------------------------------------------------------------------------------------------


@st.composite
def odd(draw: st.DrawFn) -> Frame:
    """A frame that is often nearly right."""
    keys = ["value", "id", "response_schema"]
    names = st.sampled_from(["action_requests", "review_configs", "type", "args"])
    value = draw(VALUES | st.dictionaries(names, VALUES))
    item = {**dict.fromkeys(keys), "id": draw(IDS | st.integers()), "value": value, "response_schema": draw(VALUES)}
    made = draw(st.sampled_from([{"__interrupt__": [item]}, {"__interrupt__": [item, item]}, {"node": value}, value]))
    kind = draw(st.sampled_from(["updates", "metadata", "messages", "values", "error", "updates|sub", "message", "x"]))
    data = json.dumps(made)
    return Frame(kind, data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 5)) == 0 else data)


@FUZZ
@given(st.lists(odd(), max_size=6), VALUES)
def test_any_frames_and_any_states_are_survived(told: list[Frame], found: Any) -> None:
    facts = survive(adapter, told)
    assert not [fact for fact in facts if isinstance(fact, Ended)]
    state, _ = fold(told)
    for made in (found, {"next": [], "tasks": [], "interrupts": [found]}, {"next": found, "tasks": found}):
        state, _ = adapter.read_run(state, json.dumps(made))
        assert adapter.load(adapter.dump(state)) == state
        adapter.lines(READ_BACK, json.dumps(made))


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(path.stem for path in TAPES.glob("*.sse"))), st.integers(0, 20))
def test_folding_on_from_a_checkpoint_is_folding_the_whole(name: str, at: int) -> None:
    whole, facts = fold(frames(name))
    state, same = adapter.initial(ACCOUNT, RUN), list[Fact]()
    for index, frame in enumerate(frames(name)):
        state = adapter.load(adapter.dump(state)) if index == at else state
        state, more = adapter.step(state, frame)
        same += more
    assert (state, same) == (whole, facts)
