"""AG-UI 1.0: what a paused run asks for, and that no pause ever looks like success."""

import json
from typing import Any
from uuid import UUID

import pytest

from streams import dialects
from streams.events import Asked, Ended, Paused
from streams.providers.base import RunView
from streams.sse import Frame
from tests.streams.agui_frames import (
    ACCOUNT,
    APPROVE_SCHEMA,
    RUN,
    agui,
    asks,
    begin,
    broken,
    called,
    end,
    ev,
    finished,
    fold,
    interrupt,
    paused,
    started,
)

WITH_TOOL = RunView(RUN.id, "run-1", "th-8", task="t", options={"tools": [{"name": "confirm", "description": "d"}]})


def ask(*before: Frame, **fields: Any) -> Asked:
    """The one question of a run that calls a tool and is interrupted for it."""
    (asked,) = asks(fold(started(), *(before or called()), paused(interrupt(**fields)))[1])
    return asked


def test_an_interrupt_asks_about_its_call_with_the_joined_deltas_exactly() -> None:
    arguments = '{"amount" : 120,\n "payee":"ACME 🤖"}'
    _, facts = fold(
        started(), *called(arguments=arguments, pieces=7), paused(interrupt(message="Pay?", expiresAt="soon"))
    )
    asked, pause = facts[1:]
    assert pause == Paused(closed=True)
    assert asked == Asked(
        call_id="ask-1",
        tool="pay",
        arguments=arguments,
        message="Pay?",
        tool_call_id="tc-4",
        answer_schema=json.dumps(APPROVE_SCHEMA),
        expires_at="soon",
        reason="tool_call",
        edit=True,
        dialect="plain",
        unverified=True,
        hears_reason=True,
        together=True,
        limits=dialects.UNRECOGNISED,
    )


def test_every_interrupt_of_a_run_is_a_question_and_all_belong_together() -> None:
    calls = [*called("a", "pay"), *called("b", "mail", '{"to":"x"}')]
    both = paused(interrupt("1", toolCallId="a"), interrupt("2", toolCallId="b"))
    _, facts = fold(started(), *calls, both)
    assert [(asked.call_id, asked.tool, asked.together) for asked in asks(facts)] == [
        ("1", "pay", True),
        ("2", "mail", True),
    ]


def test_a_call_of_an_earlier_run_is_found_in_the_conversation() -> None:
    call = {"id": "tc-4", "type": "function", "function": {"name": "pay", "arguments": '{"a":1}'}}
    snapshot = ev("MESSAGES_SNAPSHOT", messages=[{"id": "m", "role": "assistant", "toolCalls": [call]}])
    asked = ask(snapshot)
    assert (asked.tool, asked.arguments, asked.problem) == ("pay", '{"a":1}', "")


def test_a_question_without_a_call_shows_its_message_and_may_be_approved() -> None:
    asked = ask(toolCallId=..., message="Go on?", reason="confirmation", responseSchema=...)
    assert (asked.tool, asked.arguments, asked.message, asked.problem) == ("confirmation", "", "Go on?", "")


def test_a_call_without_arguments_may_be_approved() -> None:
    start, *_, close = called()
    assert ask(start, close).problem == ""


def test_a_call_that_was_never_shown_cannot_be_approved() -> None:
    assert ask(toolCallId="tc-9").problem


ODD_ARGUMENTS = {
    "not JSON": "to=a",
    "cut off": '{"to":',
    "duplicate keys": '{"to":"a","to":"b"}',
    "NaN": '{"n":NaN}',
    "10^400": '{"n":1' + "0" * 400 + "}",
    "1e400": '{"n":1e400}',
    "200 deep": "[" * 200 + "]" * 200,
    "escaped NUL": '{"a":"\\u0000"}',
    "raw NUL": '{"a":"\0"}',
    "half a character": '{"a":"\ud800"}',
}


@pytest.mark.parametrize("arguments", ODD_ARGUMENTS.values(), ids=ODD_ARGUMENTS)
def test_odd_arguments_are_asked_about_and_cannot_be_approved_or_edited(arguments: str) -> None:
    asked = ask(*called(arguments=arguments, pieces=1))
    assert asked.problem
    assert not asked.edit
    asked.arguments.encode()
    if "\0" not in arguments and arguments.isascii():
        assert asked.arguments == arguments


def test_a_piece_that_could_not_be_read_makes_the_call_unapprovable() -> None:
    start, *deltas, close = called()
    asked = ask(start, *deltas, Frame(data="{broken"), close)
    assert "could not be read" in asked.problem
    assert ask(*called(), Frame(data="{broken")).problem == ""


def test_two_stories_about_the_arguments_make_the_call_unapprovable() -> None:
    def restated(arguments: str) -> Frame:
        call = {"id": "tc-4", "type": "function", "function": {"name": "pay", "arguments": arguments}}
        return ev("MESSAGES_SNAPSHOT", messages=[{"id": "m", "role": "assistant", "toolCalls": [call]}])

    assert ask(*called(), restated('{"amount":120}')).problem == ""
    assert "different calls" in ask(*called(), restated('{"amount":999}')).problem
    rest = ask(*called(arguments='": 120}'), restated('{"amount":120}'))  # langgraph streams only the rest
    assert (rest.arguments, rest.problem) == ('{"amount":120}', "")


@pytest.mark.parametrize(
    "member", ['"metadata":{"n":NaN}', '"metadata":{"a":1,"a":2}', '"reason":"tool_call"', '"message":"\\u0000"']
)
def test_an_interrupt_in_a_frame_that_parsers_read_differently_cannot_be_approved(member: str) -> None:
    data = paused(interrupt(message=...)).data.replace('"reason"', f'{member}, "reason"', 1)
    _, facts = fold(started(), *called(), Frame(data=data))
    assert asks(facts)[0].problem
    assert broken(facts)


def test_an_id_used_for_two_questions_is_asked_once_and_cannot_be_approved() -> None:
    _, facts = fold(started(), *called(), paused(interrupt(), interrupt()))
    (asked,) = asks(facts)
    assert asked.problem


@pytest.mark.parametrize("odd_id", ["run::call", "x" * 5_000, "a\0b", "\ud800", "é/?#", " "])
def test_any_id_can_be_kept_and_two_ids_never_become_one(odd_id: str) -> None:
    (asked,) = asks(fold(started(), *called(), paused(interrupt(odd_id)))[1])
    (other,) = asks(fold(started(), *called(), paused(interrupt(f"{odd_id}2")))[1])
    asked.call_id.encode()
    assert len(asked.call_id) <= 300
    assert "\0" not in asked.call_id
    assert asked.call_id != other.call_id


@pytest.mark.parametrize(
    "fields",
    [
        {"id": 5},
        {"id": ""},
        {"id": ...},
        {"reason": ...},
        {"reason": None},
        {"message": 5},
        {"toolCallId": 5},
        {"expiresAt": 5},
        {"responseSchema": True},
        {"responseSchema": "x"},
        {"metadata": []},
    ],
)
def test_a_malformed_interrupt_is_a_violation(fields: dict[str, Any]) -> None:
    given = {"interrupt_id": fields.pop("id")} if "id" in fields else {}
    _, facts = fold(started(), *called(), paused(interrupt(*given.values(), **fields)))
    assert end(facts).outcome == "protocol_violation"
    assert not asks(facts)


@pytest.mark.parametrize(
    ("schema", "edit", "hears", "answer"),
    [
        (APPROVE_SCHEMA, True, True, False),
        ({"type": "object", "properties": {"approved": {"type": "boolean"}}}, False, False, False),
        ({"properties": {"approved": {"type": "boolean"}, "editedArgs": {"type": "string"}}}, False, False, False),
        ({"properties": {"approved": {"type": "boolean"}, "editedArgs": True}}, False, False, False),
        (
            {"properties": {"approved": {"type": "boolean"}, "feedback": {"type": ["string", "null"]}}},
            False,
            True,
            False,
        ),
        (
            {"properties": {"approved": {"type": "boolean"}, "amount": {}, "reason": {"type": "number"}}},
            False,
            False,
            False,
        ),
        ({"type": "boolean"}, False, False, False),
        ({}, False, False, False),
        ({"type": "string", "enum": ["yes", "no"]}, False, False, True),
        ({"type": "object", "properties": {"date": {"type": "string"}}, "required": ["date"]}, False, False, True),
        (
            {"properties": {"approved": {"type": "boolean"}, "by": {"type": "string"}}, "required": ["by"]},
            False,
            False,
            True,
        ),
        ({"type": 5}, False, False, False),
        ({"$ref": "http://evil.example/schema"}, False, False, False),
        ({"properties": {"approved": {"$ref": "#/properties/approved"}}}, False, False, False),
    ],
)
def test_the_schema_says_what_an_answer_may_carry(schema: Any, edit: bool, hears: bool, answer: bool) -> None:
    asked = ask(responseSchema=schema)
    assert (asked.edit, asked.hears_reason, asked.answer, asked.problem) == (edit, hears, answer, "")


def test_input_that_is_required_without_a_schema_takes_a_free_answer() -> None:
    assert ask(toolCallId=..., responseSchema=..., reason="input_required").answer


def test_a_reason_that_is_an_argument_of_the_call_is_no_place_for_the_reviewers_reason() -> None:
    assert not ask(*called(arguments='{"reason":"late"}')).hears_reason


# --- calls of our own tools ---


def test_an_unanswered_call_of_an_advertised_tool_is_a_question() -> None:
    calls = called("c1", "confirm", '{"what":"pay"}')
    for outcome in ({}, {"outcome": {"type": "success"}}, {"outcome": {"type": "success", "pendingToolCallIds": []}}):
        _, facts = fold(started(), *calls, finished(**outcome), state=begin(WITH_TOOL))
        (asked,) = asks(facts)
        assert (asked.call_id, asked.tool, asked.arguments, asked.problem) == ("c1", "confirm", '{"what":"pay"}', "")
        assert (asked.answer, asked.hears_reason, asked.edit, asked.together) == (True, True, False, True)
        assert facts[-1] == Paused(closed=True)


def test_listed_calls_are_questions_whatever_their_name() -> None:
    pending = {"type": "success", "pendingToolCallIds": ["tc-4", "tc-9"]}
    _, facts = fold(started(), *called(), finished(outcome=pending))
    assert [(asked.call_id, bool(asked.problem)) for asked in asks(facts)] == [("tc-4", False), ("tc-9", True)]


def test_an_advertised_tool_with_a_made_up_looking_name_is_still_ours() -> None:
    run = RunView(RUN.id, "run-1", "th-8", options={"tools": [{"name": "request_approval", "description": "d"}]})
    _, facts = fold(started(), *called("c1", "request_approval"), finished(), state=begin(run))
    assert asks(facts)[0].problem == ""
    assert facts[-1] == Paused(closed=True)


def test_a_call_with_a_result_or_of_a_server_tool_is_no_question() -> None:
    result = ev("TOOL_CALL_RESULT", messageId="r", toolCallId="c1", content="ok")
    done = finished(outcome={"type": "success"})
    assert not asks(fold(started(), *called("c1", "confirm"), result, done, state=begin(WITH_TOOL))[1])
    assert not asks(fold(started(), *called("c2", "other"), done, state=begin(WITH_TOOL))[1])


def test_both_kinds_of_question_can_come_in_one_run_and_none_twice() -> None:
    calls = [*called(), *called("c1", "confirm")]
    _, facts = fold(started(), *calls, paused(), state=begin(WITH_TOOL))
    assert [asked.call_id for asked in asks(facts)] == ["ask-1", "c1"]
    _, facts = fold(started(), *called(name="confirm"), paused(), state=begin(WITH_TOOL))
    assert [asked.call_id for asked in asks(facts)] == ["ask-1"]


# --- older forms ---

ON_INTERRUPT = json.dumps({"type": "mastra_suspend", "toolName": "pay", "toolCallId": "tc-4", "args": {"a": 1}})
OLDER = {
    "first draft, odd": [finished(outcome="interrupt", interrupt={"id": 5, "reason": "r", "payload": {"x": 1}})],
    "first draft, no outcome": [finished(interrupt={"id": "i-1", "reason": "r", "payload": {"x": 1}})],
    "first draft, bare": [finished(outcome="interrupt")],
    "second draft": [finished(outcome="interrupt", interrupts=[{"id": "i-1", "value": 1}])],
    "second draft, no outcome": [finished(interrupts=[{"id": "i-1"}, {"id": "i-2"}])],
    "agent-framework, old": [finished(interrupt=[{"id": "i-1", "value": {}}])],
    "on_interrupt, JSON in a text": [ev("CUSTOM", name="on_interrupt", value=ON_INTERRUPT), finished()],
    "on_interrupt, half a JSON": [ev("CUSTOM", name="on_interrupt", value='{"id":'), finished()],
    "on_interrupt, two keys": [ev("CUSTOM", name="on_interrupt", value='{"id": "a", "id": "b"}'), finished()],
    "on_interrupt, object": [ev("CUSTOM", name="on_interrupt", value={"id": "i"}), finished()],
    "on_interrupt, said to be success": [
        ev("CUSTOM", name="on_interrupt", value="x"),
        finished(outcome={"type": "success"}),
    ],
    "function_approval_request": [
        ev("CUSTOM", name="function_approval_request", value={"id": "f", "function_call": {"name": "pay"}}),
        finished(),
    ],
    "made-up call": [*called("c-1", "confirm_changes"), finished()],
    "a call without a result": [*called(), finished()],
}


@pytest.mark.parametrize("frames", OLDER.values(), ids=OLDER)
def test_an_older_pause_is_shown_unapprovable_and_the_run_is_no_success(frames: list[Frame]) -> None:
    state, facts = fold(started(), *frames)
    assert asks(facts)
    assert all(asked.problem.startswith("paused in a form") for asked in asks(facts))
    assert (end(facts).how, end(facts).outcome) == ("truncated", "unknown")
    assert state.asks == ()


def test_an_older_pause_tells_what_it_is_about() -> None:
    (asked,) = asks(fold(started(), *OLDER["on_interrupt, JSON in a text"])[1])
    assert (asked.call_id, asked.tool, asked.arguments) == ("tc-4", "pay", ON_INTERRUPT)


def test_a_pause_that_comes_in_both_forms_counts_once_and_the_outcome_wins() -> None:
    _, facts = fold(started(), *called(), ev("CUSTOM", name="on_interrupt", value="x"), paused())
    assert [asked.problem for asked in asks(facts)] == [""]
    assert facts[-1] == Paused(closed=True)


def test_an_open_call_and_no_outcome_may_be_a_pause_so_it_is_no_success() -> None:
    _, facts = fold(started(), *called(), finished())
    assert (end(facts).how, end(facts).outcome) == ("truncated", "unknown")
    _, facts = fold(started(), *called(), finished(outcome={"type": "success"}))
    assert end(facts) == Ended("finished", "success")
    result = ev("TOOL_CALL_RESULT", messageId="r", toolCallId="tc-4", content="ok")
    assert end(fold(started(), *called(), result, finished())[1]) == Ended("finished", "")


# --- checkpoints ---


def test_a_pause_survives_its_checkpoint() -> None:
    state, _ = fold(started(), *called(), ev("STATE_SNAPSHOT", snapshot={"n": 2**70, "s": "\ud800"}), paused())
    again = agui.load(agui.dump(state))
    assert again == state
    assert agui.dump(again).isascii()


def test_a_checkpoint_of_another_format_is_refused() -> None:
    other = agui.dump(fold(started())[0]).replace('"format":1', '"format":2')
    with pytest.raises(ValueError, match="format"):
        agui.load(other)


def test_ids_that_a_run_lacks_come_from_its_own_row() -> None:
    run = RunView(UUID(int=5), task="t")
    state = agui.initial(ACCOUNT, run)
    assert state.opening.run_id == str(run.id)
    assert str(run.id) in state.opening.thread_id
