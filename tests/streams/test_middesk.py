"""Middesk's wire as documented on docs.middesk.com (read 2026-11): start, stream, snapshots, the run itself."""

import json
from typing import Any
from uuid import UUID

import pytest

from streams import jsontext
from streams.errors import WireError
from streams.events import Broken, Ended, Gone, Paused, ReadBack, Started
from streams.providers.base import READ_BACK, Account, RunView
from streams.sse import Decoder, Frame
from tests.streams.middesk_frames import (
    ACCOUNT,
    ON,
    RUN,
    RUN_ID,
    VALUE,
    asking,
    asks,
    fold,
    frame,
    gone,
    interrupt,
    middesk,
    reads,
    run,
    snapshot,
    start,
)

BUSINESS = {"business_id": "5b1e0000-0000-4000-8000-000000000001"}
ASKS = snapshot(asking(interrupt()))

# --- start ---


def test_a_run_is_created_by_post_v1_runs_with_agent_type_and_context() -> None:
    call = middesk.start_call(ACCOUNT, RUN)
    assert (call.method, call.url) == ("POST", "https://api.middesk.example/v1/runs")
    assert json.loads(call.body or b"") == {"type": "cip_orchestrator", "business_id": "b-17"}
    assert call.headers["authorization"] == "Bearer mk_test_for_tests"
    assert call.headers["content-type"] == "application/json"
    assert not call.repeatable
    assert not call.streams


@pytest.mark.parametrize("base", ["https://a.example", "https://a.example/", "https://a.example/v1"])
def test_the_version_in_the_base_url_may_be_left_out(base: str) -> None:
    assert middesk.start_call(Account(base), RUN).url == "https://a.example/v1/runs"


def test_a_base_url_keeps_its_path_prefix() -> None:
    assert (
        middesk.start_call(Account("http://127.0.0.1:8800/middesk"), RUN).url == "http://127.0.0.1:8800/middesk/v1/runs"
    )


@pytest.mark.parametrize(
    "options",
    [
        BUSINESS,
        {"context_type": "business", "context_id": "5b1e"},
        {"thread_id": "th-1"},
        {**BUSINESS, "thread_id": "th-1"},
    ],
)
def test_a_business_a_context_or_a_thread_can_be_started(options: dict[str, Any]) -> None:
    assert middesk.check_start(task="", workflow="cip_orchestrator", options=options) == {}
    call = middesk.start_call(ACCOUNT, RunView(UUID(int=1), workflow="cip_orchestrator", options=options))
    assert json.loads(call.body or b"") == {"type": "cip_orchestrator", **options}


@pytest.mark.parametrize(
    ("task", "workflow", "options", "field"),
    [
        ("Check it", "a", BUSINESS, "task"),
        ("", "", BUSINESS, "workflow"),
        ("", "x" * 201, BUSINESS, "workflow"),
        ("", "a", {}, "options"),
        ("", "a", {**BUSINESS, "input": "hello"}, "options"),
        ("", "a", {"business_id": 5}, "options"),
        ("", "a", {"business_id": ""}, "options"),
        ("", "a", {"context_type": "business"}, "options"),
        ("", "a", {"context_id": "x"}, "options"),
        ("", "a", {**BUSINESS, "context_type": "business", "context_id": "x"}, "options"),
    ],
)
def test_a_start_that_middesk_cannot_take_is_refused(task: str, workflow: str, options: Any, field: str) -> None:
    assert set(middesk.check_start(task=task, workflow=workflow, options=options)) == {field}


@pytest.mark.parametrize("wrap", [lambda body: body, lambda body: {"run": body}])
def test_the_returned_run_id_and_thread_are_read(wrap: Any) -> None:
    body = wrap({"object": "run", "id": RUN_ID, "status": "running", "thread_id": "th-1", "interrupts": []})
    begun = middesk.read_start(ACCOUNT, json.dumps(body).encode())
    assert (begun.external_id, begun.thread_id, begun.stream_url) == (RUN_ID, "th-1", "")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"id":5}', b'{"id":".."}', b'{"id":"' + b"x" * 300 + b'"}']
)
def test_a_start_without_a_usable_id_is_a_wire_error(body: bytes) -> None:
    with pytest.raises(WireError):
        middesk.read_start(ACCOUNT, body)


# --- the seed: stream run events ---


def test_make_a_get_request_to_the_stream_endpoint_with_bearer_and_accept() -> None:
    call = middesk.stream_call(ACCOUNT, RUN, "")
    assert (call.method, call.url) == ("GET", f"https://api.middesk.example/v1/runs/{RUN_ID}/stream")
    assert call.headers["authorization"] == "Bearer mk_test_for_tests"
    assert call.headers["accept"] == "text/event-stream"
    assert "last-event-id" not in call.headers
    assert call.repeatable
    assert call.streams


def test_an_event_id_that_is_not_documented_is_sent_back_all_the_same() -> None:
    assert middesk.stream_call(ACCOUNT, RUN, "e-7").headers["last-event-id"] == "e-7"


def test_a_run_id_is_one_segment_of_the_path() -> None:
    watched = RunView(UUID(int=1), external_id="a/../b?c")
    assert middesk.stream_call(ACCOUNT, watched, "").url.endswith("/v1/runs/a%2F..%2Fb%3Fc/stream")
    assert middesk.read_back_call(ACCOUNT, watched).url.endswith("/v1/runs/a%2F..%2Fb%3Fc?include=steps")


def test_each_event_is_delivered_as_a_standard_sse_message_with_snake_case_run_id() -> None:
    wire = (
        f'event: RUN_STARTED\ndata: {{"run_id": "{RUN_ID}", "thread_id": "th-1"}}\n\n'
        f'event: STATE_SNAPSHOT\ndata: {{"run_id": "{RUN_ID}", "snapshot": {{"status": "running"}}}}\n\n'
        f'event: RUN_FINISHED\ndata: {{"run_id": "{RUN_ID}"}}\n\n'
    )
    frames = Decoder().feed(wire.encode())
    assert [middesk.kind_of(one) for one in frames] == ["RUN_STARTED", "STATE_SNAPSHOT", "RUN_FINISHED"]
    _, facts = fold(*frames)
    assert [type(fact) for fact in facts] == [Started, ReadBack]


def test_run_started_is_emitted_when_the_agent_begins_execution() -> None:
    state, facts = fold(frame("RUN_STARTED", thread_id="th-1"))
    assert facts == [Started(thread_id="th-1")]
    assert state.thread_id == "th-1"


def test_state_snapshot_contains_the_current_state_of_the_run_including_steps_and_artifacts() -> None:
    artifact = {"title": "Filing", "type": "document", "confidence": "high", "sources": [{"url": "https://s.example"}]}
    step = {"id": "s1", "type": "activity", "label": "Look up filings", "status": "completed", "artifacts": [artifact]}
    one = frame("STATE_SNAPSHOT", snapshot={"status": "running", "steps": [step]})
    (line,) = [line for line in middesk.lines("STATE_SNAPSHOT", one.data) if line.what == "step"]
    assert line.label == "Look up filings"
    assert line.body == "completed\nFiling · document · confidence: high\n  source: https://s.example"


def test_run_finished_is_emitted_when_the_agent_completes_and_yet_never_ends_the_run_by_itself() -> None:
    _, facts = fold(frame("RUN_FINISHED"))
    assert [type(fact) for fact in facts] == [ReadBack]
    _, facts = fold(frame("RUN_FINISHED"), run("completed"))
    assert facts[-1] == Ended("finished", "completed")


def test_the_connection_closes_after_this_event_which_asks_for_the_run_as_well() -> None:
    state, _ = fold(frame("RUN_FINISHED"))
    assert [type(fact) for fact in middesk.at_eof(state)] == [ReadBack]
    assert middesk.at_eof(fold(run("completed"))[0]) == ()


def test_a_completed_run_replays_all_events_from_the_beginning_and_reopens_nothing() -> None:
    state, _ = fold(run("completed"))
    _, facts = fold(frame("RUN_STARTED"), ASKS, frame("RUN_FINISHED"), state=state)
    assert facts == []
    capabilities = middesk.capabilities
    assert (capabilities.replay, capabilities.replay_exact) == ("full", False)


def test_stream_data_is_retained_for_a_limited_time_so_an_empty_stream_asks_for_the_run() -> None:
    assert [type(fact) for fact in middesk.at_eof(start())] == [ReadBack]


def test_the_kind_alone_is_a_frames_identity_on_a_replay() -> None:
    assert middesk.identity("STATE_SNAPSHOT", "a" * 64) == middesk.identity("STATE_SNAPSHOT", "b" * 64)
    assert middesk.identity("STATE_SNAPSHOT", "a" * 64) != middesk.identity("RUN_FINISHED", "a" * 64)


# --- kinds and keys ---


def test_the_kind_is_the_json_type_only_where_there_is_no_event_line() -> None:
    assert middesk.kind_of(Frame(data='{"type":"RUN_STARTED"}')) == "RUN_STARTED"
    assert middesk.kind_of(Frame("RUN_FINISHED", '{"type":"RUN_STARTED"}')) == "RUN_FINISHED"
    assert middesk.kind_of(Frame(data="{")) == "message"
    assert len(middesk.kind_of(Frame("x" * 500, ""))) == 100


def test_no_frame_of_a_stream_passes_for_a_read_back() -> None:
    forged = Frame(READ_BACK, run("completed"))
    assert middesk.kind_of(forged) != READ_BACK
    assert not any(isinstance(fact, Ended) for fact in fold(forged)[1])


@pytest.mark.parametrize("key", ["run_id", "runId"])
def test_both_key_styles_name_the_run(key: str) -> None:
    _, facts = fold(Frame("RUN_STARTED", json.dumps({key: RUN_ID.upper(), "threadId": "th-1"})))
    assert facts == [Started(thread_id="th-1")]
    _, facts = fold(Frame("RUN_STARTED", json.dumps({key: "another"})))
    assert [type(fact) for fact in facts] == [Broken]


def test_a_snapshot_of_another_run_asks_nothing_but_the_run_is_read() -> None:
    other = Frame("STATE_SNAPSHOT", ASKS.data.replace(f'"run_id":"{RUN_ID}"', '"run_id":"another"'))
    assert [type(fact) for fact in fold(other)[1]] == [Broken, ReadBack]


def test_an_unknown_kind_is_kept_marked_and_the_stream_goes_on() -> None:
    _, facts = fold(frame("TEXT_MESSAGE_CONTENT", delta="x"), frame("RUN_STARTED"))
    assert [type(fact) for fact in facts] == [Broken, Started]


def test_run_error_is_read_back_and_its_words_are_kept_for_a_failure() -> None:
    state, facts = fold(frame("RUN_ERROR", message="no credits"))
    assert [type(fact) for fact in facts] == [ReadBack]
    assert fold(run("error"), state=state)[1] == [Ended("failed", "error", "no credits")]


# --- questions ---

SHAPES = {
    "the run": '{{"run_id":"{id}","snapshot":{run}}}',
    "under run": '{{"run_id":"{id}","snapshot":{{"run":{run}}}}}',
    "under run, beside a thread": '{{"run_id":"{id}","snapshot":{{"status":"x","steps":[],"run":{run}}}}}',
    "under state": '{{"run_id":"{id}","snapshot":{{"state":{run}}}}}',
    "as a webhook has it": '{{"run_id":"{id}","snapshot":{{"data":{{"object":{run}}}}}}}',
    "camelCase around it": '{{"runId":"{id}","type":"STATE_SNAPSHOT","snapshot":{run}}}',
    "no snapshot key": "{run}",
}


@pytest.mark.parametrize("around", SHAPES.values(), ids=SHAPES)
def test_an_interrupt_is_found_wherever_the_snapshot_has_the_run(around: str) -> None:
    _, facts = fold(snapshot(asking(interrupt()), around))
    (asked,) = asks(facts)
    assert (asked.call_id, asked.tool, asked.message) == ("int-9", "watchlist_resolution", "Dismiss this hit?")
    assert asked.arguments == VALUE
    assert asked.problem == ""
    assert not (asked.edit or asked.answer)
    assert [type(fact) for fact in facts[1:]] == [Paused, ReadBack]


def test_snapshot_read_back_and_webhook_ask_the_same_question_once() -> None:
    hook = json.loads(asking(interrupt()))
    for again in (asking(interrupt()), asking(interrupt(value=VALUE.replace(": ", ":"))), json.dumps(hook, indent=1)):
        _, facts = fold(ASKS, again, f'{{"object":"event","data":{{"object":{again}}}}}')
        assert len(asks(facts)) == 1
        fresh = asks(fold(again)[1])[0]
        first = asks(facts)[0]
        assert (fresh.call_id, fresh.tool) == (first.call_id, first.tool)
        assert jsontext.canonical(fresh.arguments) == jsontext.canonical(first.arguments)


def test_the_same_snapshot_again_asks_and_reads_nothing_but_the_run_still_waits() -> None:
    state, _ = fold(ASKS)
    assert fold(ASKS, state=state)[1] == [Paused()]


def test_several_interrupts_are_several_questions() -> None:
    _, facts = fold(snapshot(asking(interrupt("a"), interrupt("b"))))
    assert [asked.call_id for asked in asks(facts)] == ["a", "b"]


def test_changed_arguments_are_asked_anew() -> None:
    _, facts = fold(ASKS, asking(interrupt(value='{"label":"Other"}')))
    assert [asked.message for asked in asks(facts)] == ["Dismiss this hit?", "Other"]


@pytest.mark.parametrize(
    ("item", "tool"),
    [
        ('{"id":"i","value":{"type":"combined_proposal","agent":"cip"}}', "combined_proposal"),
        ('{"id":"i","value":{"agent":"cip"}}', "cip"),
        ('{"id":"i","agent":"watchlist_resolution","value":{}}', "watchlist_resolution"),
        ('{"id":"i","value":{"type":5}}', "interrupt"),
    ],
)
def test_a_question_is_named_by_its_type_else_its_agent(item: str, tool: str) -> None:
    assert asks(fold(snapshot(asking(item)))[1])[0].tool == tool


PROBLEMS = {
    "no value": '{"id":"i"}',
    "a value that is a text": '{"id":"i","value":"approve me"}',
    "a value that is null": '{"id":"i","value":null}',
    "a key twice": '{"id":"i","value":{"to":1,"to":2}}',
    "an id twice": '{"id":"i","id":"j","value":{}}',
    "no number": '{"id":"i","value":{"n":NaN}}',
    "too large a number": '{"id":"i","value":{"n":1e400}}',
    "a NUL": '{"id":"i","value":{"n":"\\u0000"}}',
    "half a character": '{"id":"i","value":{"n":"\\ud800"}}',
    "too deep": '{"id":"i","value":{"n":' + "[" * 150 + "]" * 150 + "}}",
    "no id": '{"value":{"a":1}}',
    "an id that is a number": '{"id":5,"value":{"a":1}}',
    "an id that is too long": '{"id":"' + "x" * 301 + '","value":{"a":1}}',
    "an id with a NUL": '{"id":"a\\u0000","value":{"a":1}}',
    "not an object": '"int-9"',
    "null": "null",
}


@pytest.mark.parametrize("item", PROBLEMS.values(), ids=PROBLEMS)
@pytest.mark.parametrize("read_back", [False, True], ids=["snapshot", "read-back"])
def test_what_cannot_be_approved_is_asked_all_the_same_and_says_why(item: str, read_back: bool) -> None:
    told = asking(item)
    _, facts = fold(told if read_back else snapshot(told))
    (asked,) = asks(facts)
    assert asked.problem
    assert 0 < len(asked.call_id) <= 300
    asked.call_id.encode()
    assert Paused() in facts


def test_two_different_interrupts_under_one_id_cannot_be_approved() -> None:
    _, facts = fold(snapshot(asking(interrupt(), interrupt(value='{"label":"Other"}'))))
    (asked,) = asks(facts)
    assert "two different" in asked.problem
    _, facts = fold(snapshot(asking(interrupt(), interrupt())))
    assert asks(facts)[0].problem == ""


def test_a_step_of_type_interrupt_without_interrupts_is_a_hint_to_read_the_run() -> None:
    step = {"id": "s", "type": "interrupt", "status": "running", "label": "Dismiss?"}
    one = frame("STATE_SNAPSHOT", snapshot={"steps": [{"id": "p", "type": "activity", "steps": [step]}]})
    _, facts = fold(one, one)
    assert [type(fact) for fact in facts] == [ReadBack]
    assert asks(fold(one, asking(interrupt()))[1])[0].call_id == "int-9"


def test_snapshots_of_a_run_at_work_are_not_read_back() -> None:
    assert fold(snapshot(run("running")), snapshot(run("running", steps=[{"id": "1"}])))[1] == []


@pytest.mark.parametrize("data", ["{", "[]", '{"snapshot":5}', '{"snapshot":{"a":1}}', "[" * 5_000, ""])
def test_a_broken_snapshot_may_hide_a_question_so_the_run_is_read(data: str) -> None:
    assert [type(fact) for fact in fold(Frame("STATE_SNAPSHOT", data))[1]] == [Broken, ReadBack]


@pytest.mark.parametrize("end", [frame("RUN_FINISHED"), frame("RUN_ERROR", message="x"), frame("CUSTOM")])
def test_a_waiting_run_waits_on_whatever_else_its_stream_says(end: Frame) -> None:
    state, _ = fold(ASKS)
    assert Paused() in fold(end, state=state)[1]


# --- the run itself ---


def test_the_read_back_is_a_repeatable_get_with_steps() -> None:
    call = middesk.read_back_call(ACCOUNT, RUN)
    assert (call.method, call.url) == ("GET", f"https://api.middesk.example/v1/runs/{RUN_ID}?include=steps")
    assert call.headers["authorization"] == "Bearer mk_test_for_tests"
    assert call.repeatable
    assert not call.streams


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        ("completed", Ended("finished", "completed")),
        ("error", Ended("failed", "error")),
        ("failed", Ended("failed", "failed")),
        ("running", None),
        ("pending", None),
    ],
)
def test_both_vocabularies_of_status_are_read(status: str, ended: Ended | None) -> None:
    assert fold(run(status))[1] == ([ended] if ended else [])


@pytest.mark.parametrize("status", ["paused", "cancelled", "COMPLETED", ""])
def test_an_unknown_status_is_kept_as_unknown_and_ends_nothing(status: str) -> None:
    state, facts = fold(run(status))
    assert not state.ended
    assert [type(fact) for fact in facts] == ([Broken] if status else [])


def test_a_failed_run_says_which_step_failed() -> None:
    failed = run("error", steps=[{"id": "1", "type": "error", "label": "Fetch filings", "status": "error"}])
    assert fold(failed)[1] == [Ended("failed", "error", "failed at: Fetch filings")]


def test_interrupted_is_not_terminal_even_with_an_end_date() -> None:
    _, facts = fold(asking(interrupt(), more=',"ended_at":"2026-11-20T10:00:00Z"'))
    assert not any(isinstance(fact, Ended) for fact in facts)
    assert Paused() in facts


def test_an_interrupt_that_a_read_back_confirmed_and_the_next_lacks_was_answered_elsewhere() -> None:
    state, _ = fold(ASKS, asking(interrupt()))
    state, facts = fold(run("running"), state=state)
    assert facts == [Gone(("int-9",))]
    assert state.open == ()


def test_one_that_only_the_stream_has_shown_takes_two_read_backs() -> None:
    state, _ = fold(ASKS)
    state, facts = fold(run("running"), state=state)
    assert gone(facts) == []
    assert reads(facts) == 1
    assert gone(fold(run("running"), state=state)[1]) == ["int-9"]


def test_one_that_the_stream_itself_dropped_takes_one_read_back() -> None:
    state, facts = fold(ASKS, snapshot(run("running")))
    assert gone(facts) == []  # a snapshot takes nothing back: it may be old
    assert reads(facts) == 2
    assert gone(fold(run("running"), state=state)[1]) == ["int-9"]


def test_only_the_interrupt_that_vanished_is_gone() -> None:
    state, _ = fold(asking(interrupt("a"), interrupt("b")))
    _, facts = fold(asking(interrupt("b")), state=state)
    assert gone(facts) == ["a"]
    assert Paused() in facts


def test_a_read_back_that_does_not_speak_of_interrupts_takes_none_back() -> None:
    state, _ = fold(asking(interrupt()))
    for silent in ('{"status":"interrupted"}', '{"steps":[]}', '{"status":"odd"}', "{", "[]", "", "null"):
        after, facts = fold(silent, state=state)
        assert gone(facts) == []
        assert Paused() in facts
        assert after.open == state.open


def test_questions_of_a_completed_run_were_answered_elsewhere_those_of_a_failed_one_were_not() -> None:
    state, _ = fold(ASKS)
    assert fold(run("completed"), state=state)[1] == [Gone(("int-9",)), Ended("finished", "completed")]
    assert fold(run("error"), state=state)[1] == [Ended("failed", "error")]


def test_an_old_snapshot_after_the_run_was_read_is_read_back_again_and_taken_back() -> None:
    state, _ = fold(asking(interrupt()), run("running"))
    state, facts = fold(ASKS, state=state)
    assert reads(facts) == 1
    state, _ = fold(run("running"), state=state)
    assert gone(fold(run("running"), state=state)[1]) == ["int-9"]


def test_another_runs_body_changes_nothing() -> None:
    state, _ = fold(ASKS)
    after, facts = fold(run("completed").replace(RUN_ID, "another"), state=state)
    assert after == state
    assert [type(fact) for fact in facts] == [Broken, Paused]


def test_interrupted_without_an_interrupt_waits_and_is_marked() -> None:
    assert [type(fact) for fact in fold(run("interrupted"))[1]] == [Paused, Broken]


def test_a_thread_that_the_run_names_is_taken_over_once() -> None:
    state, facts = fold(run("running", thread_id="th-1"))
    assert facts == [Started(thread_id="th-1")]
    assert fold(run("running", thread_id="th-2"), state=state)[1] == []


def test_a_checkpoint_brings_the_state_back() -> None:
    state, _ = fold(frame("RUN_STARTED", thread_id="th-1"), ASKS, asking(interrupt()))
    assert middesk.load(middesk.dump(state)) == state


# --- lines ---


def test_a_policys_resolution_is_shown_as_what_it_is_in_both_places() -> None:
    for word, said in (("auto_approve", "all proposed actions are carried out"), ("skip", "none of the proposed")):
        for where in ({"result": {"resolution": word}}, {"resolution": word}):
            step = {"id": "s", "type": "interrupt", "label": "Dismiss?", "status": "completed", **where}
            (line,) = [one for one in middesk.lines(READ_BACK, run("running", steps=[step])) if one.what == "step"]
            assert said in line.body
            assert "no person decided" in line.body


def test_a_persons_answer_has_no_resolution_and_an_open_question_waits() -> None:
    steps = [
        {"id": "1", "type": "interrupt", "label": "Dismiss?", "status": "completed"},
        {"id": "2", "type": "interrupt", "label": "And this?", "status": "running"},
    ]
    told = [one for one in middesk.lines(READ_BACK, run("running", steps=steps)) if one.what == "step"]
    assert [(line.body, line.ended) for line in told] == [("completed", True), ("running\nWaits for a person.", False)]


def test_lines_of_snapshots_replace_each_other_by_step_status_and_question() -> None:
    told = middesk.lines("STATE_SNAPSHOT", ASKS.data)
    assert [(line.what, line.key, line.whole) for line in told] == [
        ("state", "status interrupted", True),
        ("ask", "int-9", True),
    ]
    assert told[1].body == VALUE


def test_nested_steps_the_end_and_the_output_have_lines() -> None:
    steps = [{"id": "1", "label": "Outer", "steps": [{"id": "2", "label": "Inner"}, 5]}, {"id": "3", "label": "Last"}]
    output = {"artifacts": [{"title": "Report", "type": "memo"}]}
    told = middesk.lines(READ_BACK, run("completed", steps=steps, output=output))
    assert [(line.what, line.label) for line in told] == [
        ("end", "completed"),
        ("step", "Outer"),
        ("step", "Inner"),
        ("step", "Last"),
        ("state", "output"),
    ]
    assert told[-1].body == "Report · memo"


def test_a_reason_has_a_place_only_where_the_template_has_one() -> None:
    assert asks(fold(ASKS, state=start(ON))[1])[0].hears_reason
    assert not asks(fold(ASKS, state=start(ACCOUNT))[1])[0].hears_reason
