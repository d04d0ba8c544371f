"""Agno AgentOS' adapter: what recorded runs mean, and what is sent back. Tapes: agno 3.1.10."""

import json
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import WireError
from streams.events import Asked, Broken, Ended, Executed, Fact, Gone, ReadBack
from streams.providers.agno import Agno
from streams.providers.base import READ_BACK, Account, Answer, Carried, Question, RunView
from streams.sse import Decoder, Frame
from tests.streams import tapes
from tests.streams.test_adapters_total import FUZZ, IDS, VALUES, survive

TAPES = tapes.TAPES / "agno_os"
ACCOUNT = Account("http://os.example", "os-key")
KEY = UUID(int=9)
adapter = Agno()


def raw(name: str) -> bytes:
    return (TAPES / name).read_bytes()


def frames(name: str) -> list[Frame]:
    """A recorded stream as it counts: with our ids, without what a connection says of itself."""
    placed = [adapter.placed(frame) for frame in Decoder().feed(raw(f"{name}.sse"))]
    return [frame for frame in placed if frame is not None]


def body(name: str) -> str:
    return raw(f"{name}.run.json").decode()


def run_of(name: str) -> RunView:
    told = json.loads(frames(name)[0].data)
    return RunView(UUID(int=7), told["run_id"], told["session_id"], workflow="gated", task="Pay it")


def fold(name: str) -> tuple[Any, list[Fact]]:
    state, facts = adapter.initial(ACCOUNT, run_of(name)), list[Fact]()
    for frame in frames(name):
        state, more = adapter.step(state, frame)
        facts += more
    return state, facts


def asks(facts: list[Fact]) -> list[Asked]:
    return [fact for fact in facts if isinstance(fact, Asked)]


def said(asked: Asked, verdict: str = "approve", **more: str) -> Answer:
    question = Question(asked.call_id, asked.tool, asked.arguments, asked.tool_call_id)
    return Answer(question, verdict, KEY, **more)  # type: ignore[arg-type]


def form(call: Any) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(call.body.decode()).items()}


# --- the start, and who joins ----------------------------------------------------------------------------------------


def test_a_start_is_a_form_in_the_background_and_a_stream() -> None:
    run = RunView(UUID(int=7), workflow="gated/x", task="Pay ünlü it", options={"metadata": {"a": 1}})
    call = adapter.start_call(ACCOUNT, run)
    assert call.url == "http://os.example/agents/gated%2Fx/runs"
    assert call.headers["authorization"] == "Bearer os-key"
    assert (call.streams, call.repeatable) == (True, False)
    told = form(call)
    assert (told["stream"], told["background"], told["session_id"]) == ("true", "true", str(run.id))
    assert (told["message"], told["metadata"]) == ("Pay ünlü it", '{"a":1}')


def test_the_first_event_names_the_run_and_no_more_is_read() -> None:
    whole = raw("start-two.sse")
    first = whole[: whole.index(b"\n\n") + 2]
    begun = adapter.read_start(ACCOUNT, first)
    assert (begun.external_id, begun.thread_id) == (run_of("start-two").external_id, "tape-1")
    for part in (b"", first[:-1], b": heartbeat\n\n", raw("unknown-run-answered.sse"), b'{"detail":"x"}'):
        with pytest.raises(WireError):
            adapter.read_start(ACCOUNT, part)


def test_joining_is_a_post_that_only_reads_behind_the_last_event_index() -> None:
    call = adapter.stream_call(ACCOUNT, run_of("paused-two"), "3")
    assert (call.method, call.repeatable, call.streams) == ("POST", True, True)
    assert call.url.endswith("/resume")
    assert form(call) == {"session_id": "tape-1", "last_event_index": "3"}
    assert "last_event_index" not in form(adapter.stream_call(ACCOUNT, run_of("paused-two"), ""))


def test_a_leading_replay_is_no_event_of_the_run_and_an_event_index_is_its_id() -> None:
    told = list(Decoder().feed(raw("paused-two.sse")))
    assert told[0].event == "replay"
    assert [frame.own_id for frame in frames("paused-two")] == [str(index) for index in range(6)]
    assert [frame.event for frame in frames("running-joined")] == ["RunContinued", "ToolCallStarted"]


def test_a_watched_run_is_named_with_its_agent_and_its_session() -> None:
    watched = RunView(UUID(int=7), external_id="gated/tape-1/run-1")
    assert adapter.read_back_call(ACCOUNT, watched).url == "http://os.example/agents/gated/runs/run-1?session_id=tape-1"
    lost = adapter.read_back_call(ACCOUNT, RunView(UUID(int=7), external_id="whatever"))
    assert lost.url == "http://os.example/agents/whatever/runs/whatever?session_id="


@pytest.mark.parametrize(
    ("said_", "field"),
    [
        ({"task": "", "workflow": "a", "options": {}}, "task"),
        ({"task": "x", "workflow": "..", "options": {}}, "workflow"),
        ({"task": "x", "workflow": "a", "options": {"run_id": "r"}}, "options"),
        ({"task": "x", "workflow": "a", "options": {"metadata": "r"}}, "options"),
    ],
)
def test_a_start_that_cannot_be_sent_is_named(said_: dict[str, Any], field: str) -> None:
    assert list(adapter.check_start(**said_)) == [field]


# --- what is asked, and what is over ---------------------------------------------------------------------------------


def test_a_pause_asks_for_each_tool_that_waits_and_for_all_of_them_together() -> None:
    state, facts = fold("paused-two")
    assert [(one.call_id, one.tool, one.arguments, one.together, one.edit) for one in asks(facts)] == [
        ("call_1", "send_email", '{"to":"a@b.example","subject":"s"}', True, True),
        ("call_2", "delete_records", '{"table":"x"}', True, True),
    ]
    assert isinstance(facts[-1], ReadBack)
    _, again = adapter.read_run(state, body("paused-two"))
    assert not asks(list(again))


def test_a_tool_that_ran_is_no_question_of_the_next_pause() -> None:
    _, facts = fold("second-pause")
    assert [(one.call_id, one.together) for one in asks(facts)] == [("call_1", False), ("call_9", False)]
    _, read = adapter.read_run(adapter.initial(ACCOUNT, run_of("second-pause")), body("second-pause"))
    assert [one.call_id for one in asks(list(read))] == ["call_9"]


def test_a_late_answer_whose_pause_lists_an_executed_tool_opens_nothing() -> None:
    """A repeat was seen to pause the run, or another one, for a call that had run already."""
    state, _ = fold("completed")
    again = json.loads(next(frame for frame in frames("paused-two") if frame.event == "RunPaused").data)
    for told in (again, {**again, "run_id": "another"}):
        _, facts = adapter.step(state, Frame("RunPaused", json.dumps({**told, "tools": told["tools"][:1]})))
        assert not asks(list(facts))
    assert any(isinstance(fact, Broken) for fact in facts)


def test_a_run_that_says_running_took_the_answer() -> None:
    state, _ = adapter.read_run(adapter.initial(ACCOUNT, run_of("running-joined")), waiting("running"))
    assert [one.id for one in state.open] == ["call_1"]
    _, facts = adapter.read_run(state, body("running"))
    assert [fact for fact in facts if isinstance(fact, Gone)] == [Gone(("call_1",))]


def waiting(name: str) -> str:
    """The recorded run while it was paused."""
    return json.dumps({**json.loads(body(name)), "status": "PAUSED"})


def test_only_the_run_itself_ends_it() -> None:
    state, facts = fold("completed")
    assert not [fact for fact in facts if isinstance(fact, Ended)]
    _, read = adapter.read_run(state, body("completed"))
    assert Ended("finished", "completed") in read
    for word, how in (("ERROR", "failed"), ("CANCELLED", "cancelled")):
        _, read = adapter.read_run(state, json.dumps({**json.loads(body("completed")), "status": word}))
        assert [fact.how for fact in read if isinstance(fact, Ended)] == [how]
    _, read = adapter.read_run(state, json.dumps({**json.loads(body("completed")), "status": "MAYBE"}))
    assert not [fact for fact in read if isinstance(fact, Ended)]


def test_what_a_call_ran_with_is_told() -> None:
    _, facts = fold("completed")
    shown = [fact for fact in facts if isinstance(fact, Executed)]
    assert shown == [Executed("call_1", "send_email", '{"to":"a@b.example","subject":"s"}')]


@pytest.mark.parametrize("flag", ["requires_user_input", "external_execution_required"])
def test_a_pause_that_wants_more_than_yes_or_no_blocks_all_of_it(flag: str) -> None:
    """One answer must cover every tool: one that is left out counts as refused."""
    told = json.loads(next(frame for frame in frames("paused-two") if frame.event == "RunPaused").data)
    told["tools"][0][flag] = True
    _, facts = adapter.step(adapter.initial(ACCOUNT, run_of("paused-two")), Frame("RunPaused", json.dumps(told)))
    assert all(one.problem for one in asks(list(facts)))


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_an_answer_has_every_tool_of_the_pause_as_it_came_with_a_boolean() -> None:
    state, facts = fold("paused-two")
    first, second = asks(facts)
    answers = [said(first, edited='{"to":"x@y.example","subject":"t"}'), said(second, "reject", reason="no deletion")]
    call = adapter.decision_call(ACCOUNT, run_of("paused-two"), state, answers)
    assert call.url.endswith("/continue")
    assert not call.repeatable
    told = form(call)
    assert (told["session_id"], told["background"], told["stream"]) == ("tape-1", "true", "true")
    yes, no = json.loads(told["tools"])
    assert (yes["confirmed"], yes["tool_args"]["to"], no["confirmed"]) == (True, "x@y.example", False)
    assert (no["confirmation_note"], no["tool_args"]) == ("no deletion", {"table": "x"})
    assert set(yes) >= {"tool_call_id", "tool_name", "requires_confirmation", "approval_id"}


def test_an_omitted_second_tool_would_be_refused_so_nothing_is_sent() -> None:
    state, facts = fold("paused-two")
    first, second = asks(facts)
    for answers in ([said(first)], [said(first), said(first)], []):
        with pytest.raises(WireError, match="cover exactly"):
            adapter.decision_call(ACCOUNT, run_of("paused-two"), state, answers)
    changed = Answer(Question("call_2", "delete_records", '{"table":"y"}', "call_2"), "approve", KEY)
    with pytest.raises(WireError, match="other arguments"):
        adapter.decision_call(ACCOUNT, run_of("paused-two"), state, [said(first), changed])
    assert adapter.decision_call(ACCOUNT, run_of("paused-two"), state, [said(second), said(first)])


def test_a_member_that_nobody_answered_goes_as_a_refusal_that_says_so() -> None:
    state, facts = fold("paused-two")
    first, second = asks(facts)
    call = adapter.decision_call(ACCOUNT, run_of("paused-two"), state, [said(first), said(second, "nobody")])
    _, no = json.loads(form(call)["tools"])
    assert (no["confirmed"], "Nobody answered" in no["confirmation_note"]) == (False, True)


def test_what_nobody_answers_and_the_pause_no_longer_has_stays_out() -> None:
    state, facts = fold("second-pause")
    asked, gone = asks(facts)[-1], Question("call_77", "pay", "{}", "call_77")
    call = adapter.decision_call(ACCOUNT, run_of("second-pause"), state, [said(asked), Answer(gone, "nobody", KEY)])
    assert [one["tool_call_id"] for one in json.loads(form(call)["tools"])] == ["call_9"]
    for answers in ([said(asked), Answer(gone, "reject", KEY)], [Answer(gone, "nobody", KEY)]):
        with pytest.raises(WireError, match="cover exactly"):
            adapter.decision_call(ACCOUNT, run_of("second-pause"), state, answers)
    over, _ = adapter.read_run(state, json.dumps({"run_id": state.run_id, "status": "RUNNING", "tools": []}))
    with pytest.raises(WireError, match="cover exactly"):
        adapter.decision_call(ACCOUNT, run_of("second-pause"), over, [Answer(gone, "nobody", KEY)])


def test_a_second_pause_is_answered_without_the_tool_that_ran() -> None:
    state, facts = fold("second-pause")
    asked = asks(facts)[-1]
    call = adapter.decision_call(ACCOUNT, run_of("second-pause"), state, [said(asked)])
    assert [one["tool_call_id"] for one in json.loads(form(call)["tools"])] == ["call_9"]


def test_evidence_is_the_run_alone_and_only_where_it_has_our_answer() -> None:
    question = Question("call_1", "send_email", "{}", "call_1")
    yes, no = (Carried(question, verdict, only_open=True) for verdict in ("approve", "reject"))
    assert adapter.evidence(yes, READ_BACK, body("paused-two")) == "not_applied"
    assert adapter.evidence(yes, READ_BACK, body("running")) == "applied"
    assert adapter.evidence(yes, READ_BACK, body("completed")) == "applied"
    assert adapter.evidence(no, READ_BACK, body("completed")) is None  # somebody else said yes
    assert adapter.evidence(yes, "RunCompleted", body("completed")) is None


# --- whatever comes --------------------------------------------------------------------------------------------------


@st.composite
def odd(draw: st.DrawFn) -> Frame:
    """A frame that is often nearly right."""
    tools = st.dictionaries(
        st.sampled_from(["tool_call_id", "tool_name", "tool_args", "requires_confirmation", "confirmed", "result"]),
        VALUES | st.just(True),
    )
    kind = draw(st.sampled_from(["RunStarted", "RunPaused", "RunPaused", "ToolCallStarted", "RunError", "error", "x"]))
    event = {"event": draw(st.just(kind) | IDS), "tools": draw(st.lists(tools, max_size=3) | VALUES)}
    event |= draw(st.dictionaries(st.sampled_from(["tool", "content", "session_id", "event_index"]), VALUES))
    data = json.dumps(event)
    return Frame(kind, data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 5)) == 0 else data)


@FUZZ
@given(st.lists(odd(), max_size=6), VALUES)
def test_any_frames_and_any_runs_are_survived(told: list[Frame], found: Any) -> None:
    facts = survive(adapter, told)
    assert not [fact for fact in facts if isinstance(fact, Ended)]
    state = adapter.initial(ACCOUNT, RunView(UUID(int=7), workflow="a"))
    for frame in told:
        adapter.placed(frame)
        state, _ = adapter.step(state, frame)
    for made in (found, {"run_id": "r", "status": "PAUSED", "tools": found}, {"run_id": "r", "status": found}):
        state, _ = adapter.read_run(state, json.dumps(made))
        assert adapter.load(adapter.dump(state)) == state
        adapter.lines(READ_BACK, json.dumps(made))
