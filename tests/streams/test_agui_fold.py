"""AG-UI 1.0: what a stream may say in which order, and what of it is kept (docs.ag-ui.com/spec/1.0, read 2026-11)."""

import json
from typing import Any

import pytest

from streams.events import Ended, MovedOn, Paused, Started
from streams.providers.agui import wire
from streams.providers.agui.state import State
from streams.sse import Frame
from tests.streams.agui_frames import (
    agui,
    asks,
    broken,
    called,
    end,
    ev,
    finished,
    fold,
    interrupt,
    paused,
    said,
    started,
)

OPEN = [started()]


def messages(state: State) -> list[dict[str, Any]]:
    return [dict(message) for message in state.messages.values()]


def rejected(*frames: Frame) -> bool:
    """Whether the stream was found to break the protocol, and the run failed for it."""
    _, facts = fold(*frames)
    ended = [fact for fact in facts if isinstance(fact, Ended)]
    return bool(ended) and ended[-1].outcome == "protocol_violation"


# --- runs ---


def test_a_run_from_its_start_to_success() -> None:
    state, facts = fold(started(), *said(), finished(outcome={"type": "success"}))
    assert facts == [Started("run-1", "th-8"), Ended("finished", "success")]
    assert agui.at_eof(state) == ()


@pytest.mark.parametrize("told", ["1.0", "0.9", "1.0.7", ...])
def test_a_version_that_is_known_is_not_worth_a_word(told: Any) -> None:
    fields = {} if told is ... else {"protocolVersion": told}
    _, facts = fold(ev("RUN_STARTED", threadId="th-8", runId="run-1", **fields), finished())
    assert broken(facts) == []


@pytest.mark.parametrize("told", ["1.1", "1.10", "2.0", "10.0", "one", "", "1", "1.x", "٢.0", "1.0\n"])
def test_a_newer_or_unreadable_version_is_marked_and_the_run_goes_on(told: str) -> None:
    state, facts = fold(ev("RUN_STARTED", threadId="th-8", runId="run-1", protocolVersion=told), *said(), finished())
    assert len(broken(facts)) == 1
    assert facts[0] == Started("run-1", "th-8")
    assert end(facts) == Ended("finished", "")


def test_an_absent_outcome_is_success_without_a_word() -> None:
    assert end(fold(started(), finished())[1]) == Ended("finished", "")
    assert end(fold(started(), finished(outcome=None, result=None))[1]) == Ended("finished", "")


def test_cancelled_is_its_own_end() -> None:
    assert end(fold(started(), finished(outcome={"type": "cancelled"}))[1]) == Ended("cancelled", "cancelled")


def test_an_unknown_outcome_is_never_success() -> None:
    _, facts = fold(started(), finished(outcome={"type": "parked"}))
    assert end(facts).how == "truncated"
    assert end(facts).outcome == "unknown"
    assert broken(facts)


@pytest.mark.parametrize("frames", [[], [started()], [started(), *said()], [started("old"), finished("old")]])
def test_a_stream_that_stops_without_the_last_word_is_truncated(frames: list[Frame]) -> None:
    state, _ = fold(*frames)
    (fact,) = agui.at_eof(state)
    assert isinstance(fact, Ended)
    assert fact.how == "truncated"


def test_a_run_error_fails_the_run_and_keeps_what_was_said() -> None:
    start, content, _ = said()
    state, facts = fold(started(), start, content, ev("RUN_ERROR", message="no model", code="MODEL_DOWN"))
    assert end(facts) == Ended("failed", "MODEL_DOWN", "MODEL_DOWN: no model")
    assert messages(state)[-1]["content"] == "Let me pay."


def test_a_run_error_may_come_first() -> None:
    state, facts = fold(ev("RUN_ERROR", message="no agent"))
    assert end(facts) == Ended("failed", "error", "no agent")
    assert agui.at_eof(state) == ()


def test_a_late_run_error_fails_a_run_that_had_finished() -> None:
    _, facts = fold(started(), finished(outcome={"type": "success"}), ev("RUN_ERROR", message="flush"))
    assert facts[-2:] == [Ended("finished", "success"), Ended("failed", "error", "flush")]


def test_a_late_run_error_after_an_interrupt_takes_the_questions_back() -> None:
    state, facts = fold(started(), *called(), paused(), ev("RUN_ERROR", message="lost"))
    assert facts[-1] == Ended("failed", "error", "lost")
    assert state.asks == ()


def test_an_error_after_history_and_before_our_run_fails_it_at_the_end_of_the_stream() -> None:
    state, facts = fold(started("old"), finished("old"), ev("RUN_ERROR", message="cannot start"))
    assert facts == []
    assert agui.at_eof(state) == (Ended("failed", "error", "cannot start"),)


def test_runs_replayed_before_ours_are_history_and_ask_for_nothing() -> None:
    old = ev("RUN_FINISHED", threadId="th-8", runId="run-0", outcome={"type": "interrupt", "interrupts": [interrupt()]})
    snapshot = ev("MESSAGES_SNAPSHOT", messages=[{"id": "h1", "role": "user", "content": "before"}])
    state, facts = fold(started("run-0"), snapshot, old, started(), finished())
    assert facts == [Started("run-1", "th-8"), Ended("finished", "")]
    assert [message["id"] for message in messages(state)] == ["h1"]


def test_another_run_after_our_pause_takes_the_question_away() -> None:
    state, facts = fold(started(), *called(), paused(), started("run-2"), finished("run-2"))
    assert facts[-2:] == [MovedOn("another run began"), Ended("finished", "continued")]
    assert state.asks == ()


@pytest.mark.parametrize(
    "frames",
    [
        said(),
        [ev("CUSTOM", name="x", value=1)],
        [finished()],
        [started(), started("run-2")],
        [started(), finished("run-2")],
        [started(thread="th-9")],
        [started(), finished(thread="th-9")],
        [ev("RUN_STARTED", runId="run-1")],
        [ev("RUN_STARTED", threadId="th-8", runId=5)],
        [started(), finished(outcome={"type": 5})],
        [started(), finished(outcome=[])],
        [started(), finished(outcome={})],
        [started(), finished(outcome={"type": "interrupt"})],
        [started(), finished(outcome={"type": "interrupt", "interrupts": []})],
        [started(), finished(outcome={"type": "interrupt", "interrupts": ["x"]})],
        [started(), finished(outcome={"type": "success", "pendingToolCallIds": [5]})],
        [started(), ev("RUN_ERROR")],
    ],
)
def test_a_run_that_is_told_out_of_order_fails_as_a_protocol_violation(frames: list[Frame]) -> None:
    assert rejected(*frames)


@pytest.mark.parametrize("late", [said()[0], ev("CUSTOM", name="x", value=1), finished(), started()])
def test_what_comes_after_the_end_is_marked_and_the_end_stands(late: Frame) -> None:
    state, facts = fold(started(), finished(outcome={"type": "success"}), late)
    assert [type(fact).__name__ for fact in facts] == ["Started", "Ended", "Broken"]
    assert fold(ev("RUN_ERROR", message="x"), state=state)[1][-1].__class__.__name__ == "Broken"


def test_a_question_stands_when_the_stream_breaks_after_it() -> None:
    state, facts = fold(started(), *called(), paused(), said()[0])
    assert len(asks(facts)) == 1
    assert isinstance(facts[-2], Paused)
    assert len(state.asks) == 1


def test_after_a_violation_nothing_is_followed_and_all_is_marked() -> None:
    state, facts = fold(started(), said()[1], *called(), paused())
    assert not asks(facts)
    assert len(broken(facts)) == 1 + len(called()) + 1
    assert [type(fact).__name__ for fact in facts].count("Ended") == 1
    assert agui.at_eof(state) == ()


# --- open, content, close ---

FAMILIES = [
    (
        ev("TEXT_MESSAGE_START", messageId="a"),
        ev("TEXT_MESSAGE_CONTENT", messageId="a", delta="x"),
        ev("TEXT_MESSAGE_END", messageId="a"),
    ),
    (
        ev("TOOL_CALL_START", toolCallId="a", toolCallName="t"),
        ev("TOOL_CALL_ARGS", toolCallId="a", delta="x"),
        ev("TOOL_CALL_END", toolCallId="a"),
    ),
    (
        ev("REASONING_MESSAGE_START", messageId="a"),
        ev("REASONING_MESSAGE_CONTENT", messageId="a", delta="x"),
        ev("REASONING_MESSAGE_END", messageId="a"),
    ),
    (ev("REASONING_START", messageId="a"), None, ev("REASONING_END", messageId="a")),
    (ev("STEP_STARTED", stepName="a"), None, ev("STEP_FINISHED", stepName="a")),
    (ev("SUBAGENT_STARTED", subagentRunId="a", name="n"), None, ev("SUBAGENT_FINISHED", subagentRunId="a")),
]


@pytest.mark.parametrize(
    ("start", "content", "close"), FAMILIES, ids=["text", "call", "reasoning", "span", "step", "sub"]
)
def test_every_family_opens_before_it_goes_on_and_closes_before_the_run_ends(
    start: Frame, content: Frame | None, close: Frame
) -> None:
    assert rejected(started(), start, start)
    assert rejected(started(), close)
    assert rejected(started(), start, close, close)
    assert rejected(started(), start, finished())
    assert not rejected(started(), start, close, finished(outcome={"type": "success"}))
    assert not rejected(started(), start, ev("RUN_ERROR", message="abandons all"))
    if content:
        assert rejected(started(), content)
        assert rejected(started(), start, close, content)
        assert not rejected(started(), start, content, close, finished(outcome={"type": "success"}))


def test_families_interleave_and_two_messages_may_be_open() -> None:
    a, b = said("a", "A"), said("b", "B")
    state, facts = fold(started(), a[0], b[0], *called(), b[1], a[1], a[2], b[2], finished(outcome={"type": "success"}))
    assert end(facts).how == "finished"
    assert [message.get("content") for message in messages(state)[1:3]] == ["A", "B"]


def test_a_closed_message_or_call_may_be_reopened_and_its_content_appends() -> None:
    again = [*said("m2", "Let me"), *said("m2", " pay."), *called(arguments='{"a"'), *called(arguments=":1}")]
    state, facts = fold(started(), *again, paused())
    assert messages(state)[1]["content"] == "Let me pay."
    assert asks(facts)[0].arguments == '{"a":1}'


def test_a_call_cannot_be_reopened_under_another_name() -> None:
    assert rejected(started(), *called(name="read"), *called(name="delete"))


def test_steps_are_kept_apart_by_owner() -> None:
    mine, theirs = ev("STEP_STARTED", stepName="s"), ev("STEP_STARTED", stepName="s", subagentRunId="x")
    close = [ev("STEP_FINISHED", stepName="s"), ev("STEP_FINISHED", stepName="s", subagentRunId="x")]
    assert not rejected(started(), mine, theirs, *close, finished())
    assert rejected(started(), mine, close[1])


def test_a_continuation_may_leave_its_owner_out_but_not_change_it() -> None:
    start = ev("TEXT_MESSAGE_START", messageId="a", subagentRunId="x")
    assert not rejected(started(), start, ev("TEXT_MESSAGE_CONTENT", messageId="a", delta="."))
    assert rejected(started(), start, ev("TEXT_MESSAGE_CONTENT", messageId="a", delta=".", subagentRunId="y"))
    assert rejected(started(), said("a")[0], ev("TEXT_MESSAGE_END", messageId="a", subagentRunId="y"))


def test_a_subagent_that_ended_cannot_start_again_in_the_same_run() -> None:
    start, gone = (
        ev("SUBAGENT_STARTED", subagentRunId="a", name="n"),
        ev("SUBAGENT_ERROR", subagentRunId="a", message="m"),
    )
    assert rejected(started(), start, gone, start)
    assert not rejected(started("run-0"), start, gone, finished("run-0"), started(), start, gone, finished())


def test_a_run_starts_with_nothing_open() -> None:
    assert not rejected(started("run-0"), said()[0], ev("RUN_ERROR", message="m"), started(), *said("m3"), finished())


# --- chunks ---


def chunk(**fields: Any) -> Frame:
    return ev("TEXT_MESSAGE_CHUNK", **fields)


def call_chunk(**fields: Any) -> Frame:
    return ev("TOOL_CALL_CHUNK", **fields)


def test_chunks_become_a_message_and_a_call() -> None:
    state, facts = fold(
        started(),
        chunk(messageId="m2", delta="Let me"),
        chunk(delta=" pay."),
        call_chunk(toolCallId="tc-4", toolCallName="pay", parentMessageId="m2", delta='{"amount":'),
        call_chunk(delta=" 120}"),
        call_chunk(toolCallId="tc-4", toolCallName="pay"),
        paused(),
    )
    assert asks(facts)[0].arguments == '{"amount": 120}'
    assert messages(state)[1]["content"] == "Let me pay."
    assert messages(state)[1]["toolCalls"][0]["function"] == {"name": "pay", "arguments": '{"amount": 120}'}


def test_another_id_ends_the_chunked_item_before() -> None:
    state, _ = fold(started(), chunk(messageId="a", delta="A"), chunk(messageId="b", delta="B"), finished())
    assert [message["content"] for message in messages(state)[1:]] == ["A", "B"]
    assert state.open == {}


def test_reasoning_comes_in_chunks_too() -> None:
    one = ev("REASONING_MESSAGE_CHUNK", messageId="r", delta="Hm")
    state, _ = fold(started(), one, ev("REASONING_MESSAGE_CHUNK", delta="m."), finished())
    assert messages(state)[1] == {"id": "r", "role": "reasoning", "content": "Hmm."}


@pytest.mark.parametrize(
    "frames",
    [
        [chunk(delta="x")],
        [call_chunk(toolCallId="a", delta="x")],
        [call_chunk(toolCallName="t", delta="x")],
        [call_chunk(delta="x")],
        [chunk(messageId="a", role="user"), chunk(role="assistant")],
        [chunk(messageId="a"), chunk(role="user")],
        [chunk(messageId="a", name="n"), chunk(name="o")],
        [call_chunk(toolCallId="a", toolCallName="t"), call_chunk(toolCallName="u")],
        [call_chunk(toolCallId="a", toolCallName="t"), chunk(delta="x")],
        [chunk(messageId="a"), ev("TEXT_MESSAGE_CONTENT", messageId="a", delta="x")],
        [said("a")[0], chunk(messageId="a", delta="x")],
        [chunk(messageId="a", delta=5)],
        [chunk(messageId="a", subagentRunId="x"), chunk(messageId="b", subagentRunId="y"), chunk(delta="?")],
    ],
)
def test_a_chunk_that_continues_nothing_or_contradicts_is_a_violation(frames: list[Frame]) -> None:
    assert rejected(started(), *frames)


@pytest.mark.parametrize(
    "beside",
    [
        ev("RAW", event=None),
        ev("ACTIVITY_SNAPSHOT", messageId="p", activityType="t", content={}),
        ev("ACTIVITY_DELTA", messageId="p", activityType="t", patch=[]),
        ev("REASONING_ENCRYPTED_VALUE", subtype="message", entityId="a", encryptedValue="e"),
        ev("SUBAGENT_STARTED", subagentRunId="s", name="n"),
        ev("STEP_STARTED", stepName="s", subagentRunId="other"),
        ev("FUTURE_EVENT"),
    ],
)
def test_what_stands_beside_ends_no_chunked_item(beside: Frame) -> None:
    state, facts = fold(started(), chunk(messageId="a", delta="A"), beside, chunk(delta="B"))
    assert "text:a" in state.open
    assert not [fact for fact in facts if isinstance(fact, Ended)]


@pytest.mark.parametrize(
    "ending",
    [
        ev("STATE_SNAPSHOT", snapshot={}),
        ev("CUSTOM", name="x", value=None),
        ev("STEP_STARTED", stepName="s"),
        ev("TOOL_CALL_RESULT", messageId="r", toolCallId="t", content=""),
        ev("MESSAGES_SNAPSHOT", messages=[]),
        ev("REASONING_START", messageId="r"),
        ev("TEXT_MESSAGE_START", messageId="b"),
    ],
)
def test_an_event_of_the_same_lane_ends_a_chunked_item(ending: Frame) -> None:
    state, _ = fold(started(), chunk(messageId="a", delta="A"), ending)
    assert "text:a" not in state.open


def test_parallel_subagents_have_lanes_of_their_own() -> None:
    state, _ = fold(
        started(),
        ev("SUBAGENT_STARTED", subagentRunId="x", name="n"),
        chunk(messageId="a", delta="A", subagentRunId="x"),
        chunk(messageId="b", delta="B"),
        chunk(delta="b"),
        chunk(delta="a", subagentRunId="x"),
        ev("SUBAGENT_FINISHED", subagentRunId="x"),
        chunk(delta="!"),
        finished(),
    )
    assert [message["content"] for message in messages(state)[1:]] == ["Aa", "Bb!"]
    assert messages(state)[1]["subagentRunId"] == "x"


# --- messages and state ---


def test_tool_calls_hang_on_their_parent_message_or_on_one_of_their_own() -> None:
    parented = [ev("TOOL_CALL_START", toolCallId="c", toolCallName="t", parentMessageId="m2"), called("c")[-1]]
    state, _ = fold(started(), *said(), *parented, *called("d"))
    assert [call["id"] for call in messages(state)[1]["toolCalls"]] == ["c"]
    assert messages(state)[2]["id"] == "d"
    assert "content" not in messages(state)[2]


def test_a_parent_that_is_no_assistant_message_is_not_used() -> None:
    start = ev("TOOL_CALL_START", toolCallId="c", toolCallName="t", parentMessageId=f"msg-{'0' * 8}")
    user = next(iter(fold()[0].messages))
    start = ev("TOOL_CALL_START", toolCallId="c", toolCallName="t", parentMessageId=user)
    state, _ = fold(started(), start)
    assert [message["role"] for message in messages(state)] == ["user", "assistant"]


def test_a_result_is_a_message_of_its_own() -> None:
    result = ev("TOOL_CALL_RESULT", messageId="r1", toolCallId="tc-4", content="paid", role="tool")
    state, _ = fold(started(), *called(), result)
    assert messages(state)[-1] == {"id": "r1", "role": "tool", "toolCallId": "tc-4", "content": "paid"}


def test_a_messages_snapshot_replaces_in_place_appends_and_drops() -> None:
    snapshot = ev(
        "MESSAGES_SNAPSHOT",
        messages=[
            {"id": "new", "role": "tool", "toolCallId": "t", "content": "x", "error": None},
            {"id": "m2", "role": "assistant", "content": "restated"},
        ],
    )
    reasoning = ev("REASONING_MESSAGE_START", messageId="r"), ev("REASONING_MESSAGE_END", messageId="r")
    state, _ = fold(started(), *reasoning, *said(), *said("m3"), snapshot)
    assert [message["id"] for message in messages(state)] == ["r", "m2", "new"]
    assert messages(state)[1]["content"] == "restated"
    assert "error" not in messages(state)[2]


def test_a_snapshot_that_has_reasoning_replaces_reasoning() -> None:
    reasoning = ev("REASONING_MESSAGE_START", messageId="r"), ev("REASONING_MESSAGE_END", messageId="r")
    snapshot = ev("MESSAGES_SNAPSHOT", messages=[{"id": "q", "role": "reasoning", "content": "x"}])
    assert [m["id"] for m in messages(fold(started(), *reasoning, snapshot)[0])] == ["q"]


def test_a_snapshot_amid_a_message_is_what_later_pieces_append_to() -> None:
    snapshot = ev("MESSAGES_SNAPSHOT", messages=[{"id": "m2", "role": "assistant", "content": "So: "}])
    start, content, close = said()
    assert messages(fold(started(), start, snapshot, content, close)[0])[0]["content"] == "So: Let me pay."
    dropped = ev("MESSAGES_SNAPSHOT", messages=[])
    assert messages(fold(started(), start, dropped, content, close)[0])[0]["content"] == "Let me pay."


@pytest.mark.parametrize("elements", [[5], [{"role": "user"}], [{"id": 5, "role": "user"}], [{"id": "a"}], "x", None])
def test_a_snapshot_with_a_malformed_message_is_a_violation(elements: Any) -> None:
    assert rejected(started(), ev("MESSAGES_SNAPSHOT", messages=elements))


def test_a_message_of_an_unknown_role_is_dropped_with_a_mark() -> None:
    state, facts = fold(started(), ev("MESSAGES_SNAPSHOT", messages=[{"id": "a", "role": "oracle"}]))
    assert messages(state) == []
    assert broken(facts)


def test_encrypted_values_are_kept_with_what_they_name_and_replaced_with_their_type() -> None:
    def seal(value: str, **fields: str) -> Frame:
        return ev("REASONING_ENCRYPTED_VALUE", encryptedValue=value, **fields)

    state, facts = fold(
        started(),
        *said(),
        *called(),
        seal("one", subtype="message", entityId="m2", encryptedValueType="kind"),
        seal("two", subtype="message", entityId="m2"),
        seal("call", subtype="tool-call", entityId="tc-4"),
        seal("lost", subtype="message", entityId="nobody"),
        seal("lost", subtype="future", entityId="m2"),
    )
    assert (messages(state)[1]["encryptedValue"], messages(state)[1].get("encryptedValueType")) == ("two", None)
    assert messages(state)[2]["toolCalls"][0]["encryptedValue"] == "call"
    assert len(broken(facts)) == 2


def test_metadata_merges_into_its_message_key_by_key() -> None:
    start = ev("TEXT_MESSAGE_START", messageId="a", metadata={"x": 1, "y": 1})
    close = ev("TEXT_MESSAGE_END", messageId="a", metadata={"y": 2})
    assert messages(fold(started(), start, close)[0])[1]["metadata"] == {"x": 1, "y": 2}


def test_state_begins_with_the_input_is_replaced_and_amended() -> None:
    state, _ = fold(started())
    assert state.value == {}
    delta = ev("STATE_DELTA", delta=[{"op": "add", "path": "/a/-", "value": 2}])
    state, _ = fold(started(), ev("STATE_SNAPSHOT", snapshot={"a": [1]}), delta)
    assert state.value == {"a": [1, 2]}
    assert fold(ev("STATE_SNAPSHOT", snapshot=None), state=state)[0].value is None


@pytest.mark.parametrize(
    "delta",
    [
        [{"op": "test", "path": "/a", "value": 9}, {"op": "remove", "path": "/a"}],
        [{"op": "remove", "path": "/nowhere"}],
        [{"op": "future", "path": "/a"}],
    ],
)
def test_a_delta_that_does_not_apply_is_marked_and_the_old_state_stands(delta: list[Any]) -> None:
    state, facts = fold(started(), ev("STATE_SNAPSHOT", snapshot={"a": 1}), ev("STATE_DELTA", delta=delta))
    assert state.value == {"a": 1}
    assert broken(facts)
    assert not [fact for fact in facts if isinstance(fact, Ended)]


@pytest.mark.parametrize("delta", [{"op": "add"}, "x", None, [5], [{"op": "add", "path": "/a"}], [{"path": "/a"}]])
def test_a_malformed_delta_is_a_violation(delta: Any) -> None:
    assert rejected(started(), ev("STATE_DELTA", delta=delta))
    assert rejected(started(), ev("ACTIVITY_DELTA", messageId="m", activityType="t", patch=delta))


def test_whole_numbers_past_64_bits_come_back_exactly() -> None:
    number = 2**70 + 1
    state, _ = fold(started(), ev("STATE_SNAPSHOT", snapshot={"n": number}))
    assert state.value == {"n": number}


@pytest.mark.parametrize(
    "data",
    [
        '{"type":"STATE_SNAPSHOT","snapshot":{"n":NaN}}',
        '{"type":"STATE_SNAPSHOT","snapshot":{"n":1e400}}',
        '{"type":"STATE_SNAPSHOT","snapshot":1' + "0" * 308 + "}",
        '{"type":"STATE_SNAPSHOT","snapshot":' + "[" * 150 + "]" * 150 + "}",
        '{"type":"STATE_SNAPSHOT","snapshot":' + "[" * 5000 + "]" * 5000 + "}",
        '{"type":"MESSAGES_SNAPSHOT","messages":[],"metadata":{"n":NaN}}',
    ],
)
def test_a_value_that_could_not_be_sent_back_is_marked_and_not_taken(data: str) -> None:
    state, facts = fold(started(), ev("STATE_SNAPSHOT", snapshot={"a": 1}), Frame(data=data))
    assert state.value == {"a": 1}
    assert len(messages(state)) == 1
    assert broken(facts)
    agui.dump(state)


def test_halves_of_a_character_in_two_deltas_are_put_together() -> None:
    start, _, close = called(arguments="x", pieces=1)
    halves = [
        Frame(data=f'{{"type":"TOOL_CALL_ARGS","toolCallId":"tc-4","delta":"{half}"}}')
        for half in ('\\"\\ud83d', '\\ude00\\"')
    ]
    _, facts = fold(started(), start, *halves, close, paused())
    assert (asks(facts)[0].arguments, asks(facts)[0].problem) == ('"😀"', "")


# --- tolerance ---


@pytest.mark.parametrize(
    "data",
    [
        "",
        "null",
        "[]",
        "5",
        '"x"',
        "{",
        "{}",
        '{"type":5}',
        '{"type":null}',
        '{"type":"FUTURE"}',
        '{"type":"run_started"}',
    ],
)
def test_data_that_maps_to_no_known_event_is_marked_and_the_run_goes_on(data: str) -> None:
    _, facts = fold(started(), Frame(data=data), finished(outcome={"type": "success"}))
    assert len(broken(facts)) == 1
    assert end(facts).how == "finished"


def test_event_id_and_retry_lines_mean_nothing() -> None:
    state, facts = fold(Frame("TEXT_MESSAGE_END", started().data, "7"))
    assert facts == [Started("run-1", "th-8")]
    assert agui.kind_of(Frame("anything", started().data)) == "RUN_STARTED"


def test_unknown_members_and_the_nulls_of_old_peers_are_no_error() -> None:
    data = {
        "type": "TOOL_CALL_START",
        "toolCallId": "c",
        "toolCallName": "t",
        "parentMessageId": None,
        "rawEvent": None,
    }
    _, facts = fold(started(), Frame(data=json.dumps({**data, "future": {"x": 1}})), called("c")[-1])
    assert facts == [Started("run-1", "th-8")]


def test_snake_case_envelopes_are_read_and_payloads_left_alone() -> None:
    snake = [
        {"type": "RUN_STARTED", "thread_id": "th-8", "run_id": "run-1"},
        {"type": "TOOL_CALL_START", "tool_call_id": "tc-4", "tool_call_name": "pay"},
        {"type": "TOOL_CALL_END", "tool_call_id": "tc-4"},
        {"type": "STATE_SNAPSHOT", "snapshot": {"thread_id": 1}},
        {
            "type": "RUN_FINISHED",
            "thread_id": "th-8",
            "run_id": "run-1",
            "outcome": {
                "type": "interrupt",
                "interrupts": [{"id": "i", "reason": "r", "tool_call_id": "tc-4", "expires_at": "soon"}],
            },
        },
    ]
    state, facts = fold(*(Frame(data=json.dumps(one)) for one in snake))
    assert (asks(facts)[0].tool, asks(facts)[0].expires_at) == ("pay", "soon")
    assert state.value == {"thread_id": 1}


def test_retired_thinking_events_are_reasoning() -> None:
    state, facts = fold(
        started(),
        ev("THINKING_START", title="t"),
        ev("THINKING_TEXT_MESSAGE_START"),
        ev("THINKING_TEXT_MESSAGE_CONTENT", delta="Hmm."),
        ev("THINKING_TEXT_MESSAGE_END"),
        ev("THINKING_TEXT_MESSAGE_START"),
        ev("THINKING_TEXT_MESSAGE_CONTENT", delta="Aha."),
        ev("THINKING_TEXT_MESSAGE_END"),
        ev("THINKING_END"),
        finished(outcome={"type": "success"}),
    )
    assert end(facts).how == "finished"
    assert [message["content"] for message in messages(state)[1:]] == ["Hmm.", "Aha."]
    assert rejected(started(), ev("THINKING_END"))


def test_a_member_that_a_type_does_not_have_is_not_kept() -> None:
    state, _ = fold(started(), Frame(data='{"type":"REASONING_MESSAGE_START","messageId":"r","name":1e999}'))
    assert messages(state)[1] == {"id": "r", "role": "reasoning", "content": ""}
    agui.dump(state)


def test_an_unknown_role_of_a_text_is_read_as_absent() -> None:
    state, _ = fold(started(), ev("TEXT_MESSAGE_START", messageId="a", role="oracle"))
    assert messages(state)[1]["role"] == "assistant"


@pytest.mark.parametrize("kind", sorted(wire.FIELDS))
def test_every_known_event_refuses_a_known_field_with_a_bad_value(kind: str) -> None:
    good = {
        "threadId": "th-8", "runId": "run-1", "message": "m", "stepName": "s", "messageId": "a", "toolCallId": "c",
        "toolCallName": "t", "delta": "d", "content": "c", "snapshot": {}, "messages": [], "activityType": "t",
        "patch": [], "subtype": "message", "entityId": "e", "encryptedValue": "v", "subagentRunId": "x", "name": "n",
        "event": {}, "value": 1,
    }  # fmt: skip
    if kind == "STATE_DELTA":
        good["delta"] = []
    if kind == "ACTIVITY_SNAPSHOT":
        good["content"] = {}
    needed = {name: good[name] for name, _, _, required in wire.FIELDS[kind] if required}
    wire.check(kind, {"type": kind, **needed})
    candidates: list[Any] = [5, "x", [], {"a": 1}, True]
    for name, _, fits, required in wire.FIELDS[kind]:
        bad = next((value for value in candidates if not fits(value)), None)
        if bad is not None:
            with pytest.raises(wire.Violation):
                wire.check(kind, {"type": kind, **needed, name: bad})
        if required:
            with pytest.raises(wire.Violation):
                wire.check(kind, {"type": kind, **{key: value for key, value in needed.items() if key != name}})


def test_there_are_31_event_types() -> None:
    assert len(wire.FIELDS) == 31


def test_a_timestamp_may_be_any_number_but_no_text() -> None:
    assert not rejected(started(), ev("CUSTOM", name="x", value=1, timestamp=1795217665923.25))
    assert rejected(started(), ev("CUSTOM", name="x", value=1, timestamp="now"))


def test_a_frame_that_is_not_strictly_json_is_followed_where_it_can_be_and_marked() -> None:
    odd = Frame(data='{"type":"TEXT_MESSAGE_CONTENT","messageId":"m2","delta":"Hi","metadata":{"p":NaN}}')
    start, _, close = said()
    state, facts = fold(started(), start, odd, close)
    assert messages(state)[1] == {"id": "m2", "role": "assistant", "content": "Hi"}
    assert broken(facts)


def test_a_stream_cannot_say_more_than_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.providers.agui.items.MAX_SIZE", 10)
    start, content, _ = said(text="123456")
    assert not rejected(started(), start, content)
    assert rejected(started(), start, content, content)
