"""AG-UI 1.0: the call that begins a run, and the one that answers everything a paused run asked."""

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from streams.errors import WireError
from streams.events import Asked
from streams.providers.agui import schema
from streams.providers.agui.state import State
from streams.providers.base import Account, Answer, Call, Carried, RunView
from tests.streams.agui_frames import (
    ACCOUNT,
    APPROVE_SCHEMA,
    KEY,
    RUN,
    agui,
    answer,
    asks,
    begin,
    body_of,
    called,
    end,
    ev,
    finished,
    fold,
    interrupt,
    paused,
    question,
    said,
    started,
)

PLAIN: dict[str, Any] = {"metadata": {"ours": 1}}  # so that no framework's shape is recognised


def ask(**fields: Any) -> tuple[State, Asked]:
    """A paused run with one question."""
    state, facts = fold(started(), *said(), *called(), paused(interrupt(**{**PLAIN, **fields})))
    return state, asks(facts)[0]


def decide(state: State, *answers: Answer, new_run_id: str = "run-2", account: Account = ACCOUNT) -> Call:
    return agui.decision_call(account, RUN, state, answers, new_run_id=new_run_id)


def resume(state: State, *answers: Answer) -> Any:
    return body_of(decide(state, *answers))["resume"]


def payload(verdict: str, *, said: dict[str, Any] | None = None, **fields: Any) -> Any:
    state, asked = ask(**fields)
    (entry,) = resume(state, answer(asked, verdict, **(said or {})))
    assert entry["interruptId"] == "ask-1"
    return entry["payload"] if entry["status"] == "resolved" else entry["status"]


# --- a start ---


def test_a_start_is_one_post_that_is_the_stream() -> None:
    call = agui.start_call(ACCOUNT, RUN)
    assert (call.method, call.url, call.streams, call.repeatable) == ("POST", ACCOUNT.base_url, True, False)
    assert call.headers["authorization"] == "Bearer token-for-tests"
    assert call.headers["accept"] == "text/event-stream"
    assert call.headers["content-type"] == "application/json"
    assert body_of(call) == {
        "threadId": "th-8",
        "runId": "run-1",
        "protocolVersion": "1.0",
        "state": {},
        "messages": [{"id": f"msg-{RUN.id}", "role": "user", "content": "Pay invoice 17"}],
        "tools": [],
        "context": [],
        "forwardedProps": {},
    }


def test_options_go_along_and_a_start_without_a_task_has_no_messages() -> None:
    options = {
        "state": {"n": 1},
        "tools": [{"name": "t", "description": "d"}],
        "context": [{"description": "d", "value": "v"}],
        "forwardedProps": {"x": 1},
    }
    assert agui.check_start(task="", workflow="", options=options) == {}
    body = body_of(agui.start_call(ACCOUNT, RunView(UUID(int=1), options=options)))
    assert {key: body[key] for key in options} == options
    assert body["messages"] == []
    assert None not in body.values()


@pytest.mark.parametrize(
    ("workflow", "options"),
    [
        ("slug", {}),
        ("", {"metadata": {}}),
        ("", {"tools": {}}),
        ("", {"tools": [{"description": "d"}]}),
        ("", {"context": "x"}),
        ("", {"context": [{"description": "d"}]}),
    ],
)
def test_a_start_that_ag_ui_cannot_take_is_refused(workflow: str, options: dict[str, Any]) -> None:
    assert agui.check_start(task="t", workflow=workflow, options=options)


def test_the_secrets_header_can_be_named() -> None:
    account = Account("http://a.example/", secret="s", options={"header": "X-Api-Key"})
    headers = agui.start_call(account, RUN).headers
    assert (headers["x-api-key"], "authorization" in headers) == ("s", False)
    assert "authorization" not in agui.start_call(Account("http://a.example/"), RUN).headers
    for bad in (Account("http://a.example/", "s", options={"header": "x y"}), Account("http://a.example/", "s\n")):
        with pytest.raises(WireError):
            agui.start_call(bad, RUN)


def test_a_stream_cannot_be_joined_and_a_start_has_no_other_answer() -> None:
    with pytest.raises(WireError):
        agui.stream_call(ACCOUNT, RUN, "")
    with pytest.raises(WireError):
        agui.read_start(ACCOUNT, b"{}")


# --- an answer ---


def test_an_approval_sends_the_whole_conversation_and_the_state_under_a_new_run_id() -> None:
    state, facts = fold(
        started(),
        *said(),
        ev("STATE_SNAPSHOT", snapshot={"cart": [1]}),
        ev("MESSAGES_SNAPSHOT", messages=[{"id": "act", "role": "activity", "activityType": "t", "content": {}}]),
        ev("TEXT_MESSAGE_START", messageId="m9"),
        ev("TEXT_MESSAGE_END", messageId="m9"),
        *called(),
        paused(interrupt(**PLAIN)),
    )
    body = body_of(decide(state, answer(asks(facts)[0])))
    assert (body["threadId"], body["runId"], body["protocolVersion"], body["state"]) == (
        "th-8",
        "run-2",
        "1.0",
        {"cart": [1]},
    )
    assert body["resume"] == [{"interruptId": "ask-1", "status": "resolved", "payload": {"approved": True}}]
    assert [message["role"] for message in body["messages"]] == ["assistant", "assistant"]
    (call,) = body["messages"][-1]["toolCalls"]
    assert call == {
        "id": "tc-4",
        "type": "function",
        "function": {"name": "pay", "arguments": call["function"]["arguments"]},
    }


def test_a_refusal_is_resolved_too_and_gives_its_reason_where_the_schema_has_a_place() -> None:
    assert payload("reject", said={"reason": "wrong"}) == {"approved": False, "reason": "wrong"}
    assert payload("reject") == {"approved": False}
    only = {"type": "object", "properties": {"approved": {"type": "boolean"}}, "additionalProperties": False}
    assert payload("reject", said={"reason": "wrong"}, responseSchema=only) == {"approved": False}
    comment = {"properties": {"approved": {"type": "boolean"}, "comment": {"type": "string"}}}
    assert payload("reject", said={"reason": "wrong"}, responseSchema=comment) == {
        "approved": False,
        "comment": "wrong",
    }
    assert payload("reject", said={"reason": "wrong"}, responseSchema=...) == {"approved": False}


def test_an_approval_carries_no_reason() -> None:
    assert payload("approve", said={"reason": "fine"}) == {"approved": True}


def test_edited_arguments_replace_all_of_them_where_they_are_offered() -> None:
    edited = '{"amount": 100}'
    assert payload("approve", said={"edited": edited}) == {"approved": True, "editedArgs": {"amount": 100}}


@pytest.mark.parametrize(
    ("edited", "fields"),
    [
        ('{"a":1}', {"responseSchema": ...}),
        ('{"a":1}', {"responseSchema": {"properties": {"approved": {"type": "boolean"}}}}),
        ('{"a":1}', {"id": "v1:before_tool_call:x"}),
        ("[1]", {}),
        ('{"a":1,"a":2}', {}),
        ('{"a":NaN}', {}),
        ("{", {}),
    ],
)
def test_edits_that_are_not_offered_or_no_object_are_never_sent(edited: str, fields: dict[str, Any]) -> None:
    given = [fields.pop("id")] if "id" in fields else []
    state, facts = fold(started(), *called(), paused(interrupt(*given, **{**PLAIN, **fields})))
    with pytest.raises(WireError):
        decide(state, answer(asks(facts)[0], edited=edited))


def test_edits_are_held_against_the_schema() -> None:
    schema = {
        "properties": {
            "approved": {"type": "boolean"},
            "editedArgs": {"type": "object", "properties": {"amount": {"maximum": 100}}},
        }
    }
    assert payload("approve", said={"edited": '{"amount":100}'}, responseSchema=schema)
    with pytest.raises(WireError, match="fit"):
        payload("approve", said={"edited": '{"amount":101}'}, responseSchema=schema)


@pytest.mark.parametrize(("verdict", "value"), [("approve", True), ("reject", False)])
def test_the_form_of_yes_and_no_follows_the_schema(verdict: str, value: bool) -> None:
    assert payload(verdict, responseSchema={"type": "boolean"}) is value
    assert payload(verdict, responseSchema=..., reason="confirmation") is value
    assert payload(verdict, responseSchema=...) == {"approved": value}
    assert payload(verdict, responseSchema={"properties": {"confirmed": {"type": "boolean"}}}) == {"confirmed": value}
    invalid = {"type": "object", "properties": {"approved": {"type": "nonsense"}}, "required": ["other"]}
    assert payload(verdict, responseSchema=invalid) == {"approved": value}


def test_nobody_is_said_as_cancelled_where_that_runs_nothing() -> None:
    state, asked = ask()
    assert resume(state, answer(asked, "nobody")) == [{"interruptId": "ask-1", "status": "cancelled"}]


def test_nobody_is_said_as_a_refusal_in_words_elsewhere() -> None:
    refused = payload("nobody", metadata={"mastra": {}})
    assert refused["approved"] is False
    assert "Nobody answered" in refused["reason"]
    assert payload("nobody", metadata={"agent_framework": {}}) == {"approved": False}
    unsafe = {"type": "string", "enum": ["approved", "rejected"]}  # CrewAI takes `cancelled` for the first of them
    plain = Account(ACCOUNT.base_url, dialect="plain")
    paused_at = paused(interrupt(metadata={"crewai": {"output": {}}}, toolCallId=..., responseSchema=unsafe))
    state, facts = fold(started(), paused_at, state=begin(account=plain))
    with pytest.raises(WireError, match="no form for a no"):
        resume(state, answer(asks(facts)[0], "nobody"))


def test_a_free_answer_fits_its_schema_or_is_not_sent() -> None:
    schema = {"type": "object", "properties": {"date": {"type": "string"}}, "required": ["date"]}
    date = '{"date":"2026-12-01"}'
    assert payload("approve", said={"answer": date}, responseSchema=schema) == {"date": "2026-12-01"}
    assert payload("reject", responseSchema=schema) == "cancelled"
    for wrong in ({"answer": '{"date":5}'}, {"answer": "{"}, {}):
        with pytest.raises(WireError):
            payload("approve", said=wrong, responseSchema=schema)
    with pytest.raises(WireError):
        payload("approve", said={"answer": date})
    with pytest.raises(WireError, match="no form for a no"):
        payload("reject", responseSchema=schema, metadata={"mastra": {}})


def test_input_without_a_schema_takes_any_json() -> None:
    assert payload("approve", said={"answer": '"blue"'}, responseSchema=..., reason="input_required") == "blue"


def both() -> tuple[State, list[Asked]]:
    calls = [*called("a", "pay"), *called("b", "mail")]
    interrupts = interrupt("1", toolCallId="a", **PLAIN), interrupt("2", toolCallId="b", **PLAIN)
    state, facts = fold(started(), *calls, paused(*interrupts))
    return state, asks(facts)


def test_all_open_questions_are_answered_together_and_nothing_else() -> None:
    state, (one, two) = both()
    entries = resume(state, answer(two, "reject"), answer(one))
    assert [(entry["interruptId"], entry["payload"]["approved"]) for entry in entries] == [("1", True), ("2", False)]
    stranger = Asked("3", "t", "{}")
    for wrong in ([answer(one)], [answer(one), answer(one)], [answer(one), answer(two), answer(stranger)], []):
        with pytest.raises(WireError):
            decide(state, *wrong)


@pytest.mark.parametrize("new_run_id", ["", "run-1"])
def test_an_answer_needs_a_run_id_of_its_own(new_run_id: str) -> None:
    state, asked = ask()
    with pytest.raises(WireError):
        decide(state, answer(asked), new_run_id=new_run_id)


def test_a_run_that_asks_for_nothing_gets_no_answer() -> None:
    _, asked = ask()
    for frames in ([started()], [started(), finished(outcome={"type": "success"})], [ev("RUN_ERROR", message="m")]):
        with pytest.raises(WireError):
            decide(fold(*frames)[0], answer(asked))


def test_unparsable_arguments_are_refused_but_never_approved() -> None:
    state, facts = fold(started(), *called(arguments='{"a":1,"a":2}'), paused(interrupt(**PLAIN)))
    (asked,) = asks(facts)
    with pytest.raises(WireError):
        decide(state, answer(asked))
    assert resume(state, answer(asked, "reject"))[0]["payload"] == {"approved": False}


def test_an_approval_of_other_arguments_than_the_conversation_holds_is_never_sent() -> None:
    """pydantic-ai's client mode runs the call that we send back."""
    state, asked = ask()
    changed = replace(asked, arguments='{"amount": 1}')
    with pytest.raises(WireError, match="other arguments"):
        decide(state, answer(changed))
    assert resume(state, answer(replace(asked, arguments='{"amount":120}')))  # a mere re-spelling


def test_an_odd_id_goes_back_exactly_as_it_came() -> None:
    for odd in ("x" * 5_000, "a\0b", "run::call é"):
        state, facts = fold(started(), *called(), paused(interrupt(odd, **PLAIN)))
        state = agui.load(agui.dump(state))
        assert resume(state, answer(asks(facts)[0]))[0]["interruptId"] == odd


def test_a_call_of_our_own_tool_is_answered_by_a_tool_message() -> None:
    run = RunView(RUN.id, "run-1", "th-8", options={"tools": [{"name": "confirm", "description": "d"}]})
    state, facts = fold(started(), *called("c1", "confirm"), finished(), state=begin(run))
    (asked,) = asks(facts)

    def last(verdict: str, **fields: Any) -> dict[str, Any]:
        body = body_of(decide(state, answer(asked, verdict, **fields)))
        assert "resume" not in body
        assert body["tools"] == [{"name": "confirm", "description": "d"}]
        assert body["messages"][-2]["toolCalls"][0]["id"] == "c1"
        message: dict[str, Any] = body["messages"][-1]
        assert (message["role"], message["toolCallId"]) == ("tool", "c1")
        return message

    assert json.loads(last("approve")["content"]) == {"approved": True}
    assert last("approve", answer='{"date":1}')["content"] == '{"date":1}'
    assert "wrong day" in last("reject", reason="wrong day")["content"]
    assert "error" not in last("reject")
    assert "Nobody" in last("nobody")["error"]
    with pytest.raises(WireError):
        decide(state, answer(asked, edited="{}"))


def test_one_input_carries_both_kinds_of_answer() -> None:
    run = RunView(RUN.id, "run-1", "th-8", options={"tools": [{"name": "confirm", "description": "d"}]})
    state, facts = fold(started(), *called(), *called("c1", "confirm"), paused(interrupt(**PLAIN)), state=begin(run))
    body = body_of(decide(state, *(answer(asked) for asked in asks(facts))))
    assert [entry["interruptId"] for entry in body["resume"]] == ["ask-1"]
    assert body["messages"][-1]["toolCallId"] == "c1"


def test_a_pinned_dialect_decides_whether_the_conversation_goes_back() -> None:
    account = Account(ACCOUNT.base_url, dialect="pydantic-ai-server")
    state, facts = fold(started(), *called(), paused(), state=begin(account=account))
    assert body_of(decide(state, answer(asks(facts)[0])))["messages"] == []


def test_the_answering_run_begins_with_what_was_sent_and_can_be_paused_again() -> None:
    state, asked = ask()
    call = decide(state, answer(asked))
    again = begin(RunView(UUID(int=2), "run-2", "th-8"), call=call)
    assert again.opening.resumes
    more = [started("run-2"), *called("tc-5", "mail", '{"to":"x"}')]
    second = interrupt("ask-2", toolCallId="tc-5", **PLAIN)
    outcome = {"type": "interrupt", "interrupts": [second]}
    again, facts = fold(*more, finished("run-2", outcome=outcome), state=again)
    body = body_of(decide(again, answer(asks(facts)[0]), new_run_id="run-3"))
    ids = [call["id"] for message in body["messages"] for call in message.get("toolCalls", [])]
    assert ids == ["tc-4", "tc-5"]
    assert body["messages"][0]["content"] == "Pay invoice 17"
    assert body["threadId"] == "th-8"


def test_a_result_that_a_snapshot_restates_under_another_id_goes_back_behind_its_call() -> None:
    """As agent-framework 1.7 restates it, where the run that carried an answer asks again."""
    state, asked = ask()
    again = begin(RunView(UUID(int=2), "run-2", "th-8"), call=decide(state, answer(asked)))
    more = [
        started("run-2"),
        ev("TOOL_CALL_RESULT", messageId="r-1", toolCallId="tc-4", content="sent"),
        *said("m3"),
        *called("tc-5", "mail", '{"to":"x"}'),
    ]
    again, _ = fold(*more, state=again)
    known = {message["id"]: message for message in again.messages.values()}
    result = {**known.pop("r-1"), "id": "approval-response-1"}
    ids = list(known)
    outcome = {"type": "interrupt", "interrupts": [interrupt("ask-2", toolCallId="tc-5", **PLAIN)]}
    again, facts = fold(
        ev("MESSAGES_SNAPSHOT", messages=[*known.values(), result]), finished("run-2", outcome=outcome), state=again
    )
    assert list(again.messages) == [*ids, "approval-response-1"]  # as the specification has it
    body = body_of(decide(again, answer(asks(facts)[0]), new_run_id="run-3"))
    told = [message["id"] for message in body["messages"]]
    (holder,) = [one["id"] for one in body["messages"] if "tc-4" in str(one.get("toolCalls"))]
    assert told[told.index(holder) + 1] == "approval-response-1"
    assert sorted(told) == sorted([*ids, "approval-response-1"])


def test_a_call_of_an_earlier_run_may_be_ended_again_after_a_resume() -> None:
    state, asked = ask()
    again = begin(RunView(UUID(int=2), "run-2", "th-8"), call=decide(state, answer(asked)))
    _, facts = fold(started("run-2"), called()[-1], finished("run-2", outcome={"type": "success"}), state=again)
    assert [type(fact).__name__ for fact in facts] == ["Started", "Broken", "Ended"]


# --- schemas ---


def doubled(levels: int) -> dict[str, Any]:
    """A schema of few lines that costs 2^levels to follow."""
    definitions = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{levels}": {"type": "object"}}}


@pytest.mark.parametrize(
    "hostile",
    [
        doubled(40),
        {"$ref": "#"},
        {"$ref": "http://127.0.0.1:9/schema"},
        {"$ref": "file:///etc/passwd"},
        {"$dynamicRef": "#x"},
        {"properties": {"a": {"$ref": "#/$defs/none"}}},
        {"enum": ["x" * 70_000]},
        json.loads('{"not":' * 40 + "{}" + "}" * 40),
        {"type": "nonsense"},
        {"required": "approved"},
    ],
)
def test_a_hostile_or_invalid_schema_blocks_no_plain_yes_or_no(hostile: dict[str, Any]) -> None:
    assert schema.read(json.dumps(hostile)).kind == "open"


def test_patterns_of_strangers_are_not_run() -> None:
    evil = {
        "type": "object",
        "properties": {"approved": {"type": "boolean"}, "reason": {"type": "string", "pattern": "(a+)+$"}},
    }
    form = schema.read(json.dumps(evil))
    assert schema.misfit(form.schema, {"approved": False, "reason": "a" * 60 + "!"}) == ""


def test_local_references_are_followed() -> None:
    referring = {
        "type": "object",
        "properties": {"approved": {"$ref": "#/$defs/yes"}, "editedArgs": {"$ref": "#/$defs/args"}},
        "$defs": {"yes": {"type": "boolean"}, "args": {"type": "object", "required": ["to"]}},
    }
    form = schema.read(json.dumps(referring))
    assert (form.kind, form.edits) == ("approval", True)
    assert schema.misfit(form.schema, {"approved": True, "editedArgs": {}})


# --- evidence ---


def carried(asked: Asked, verdict: Any = "approve") -> Carried:
    return Carried(question(asked), verdict, only_open=True, answering_run="run-2")


def evidence(kind: str, **fields: Any) -> str | None:
    return agui.evidence(carried(ask()[1]), kind, json.dumps({"type": kind, **fields}))


def test_a_result_for_the_call_proves_that_the_answer_took_effect() -> None:
    assert evidence("TOOL_CALL_RESULT", toolCallId="tc-4", messageId="r", content="paid") == "applied"
    assert evidence("TOOL_CALL_RESULT", tool_call_id="tc-4") == "applied"
    assert evidence("TOOL_CALL_RESULT", toolCallId="tc-5") is None


def test_the_end_of_the_answering_run_proves_it_unless_it_asks_again() -> None:
    def ended(outcome: Any = None, run: str = "run-2") -> str | None:
        return evidence("RUN_FINISHED", runId=run, threadId="th-8", **({"outcome": outcome} if outcome else {}))

    assert ended() == "applied"
    assert ended({"type": "success"}) == "applied"
    assert ended({"type": "interrupt", "interrupts": [{"id": "ask-2"}]}) == "applied"
    assert ended({"type": "interrupt", "interrupts": [{"id": "ask-1"}]}) == "not_applied"
    assert ended({"type": "success", "pendingToolCallIds": ["ask-1"]}) == "not_applied"
    assert ended({"type": "success"}, run="run-1") is None
    assert ended({"type": "cancelled"}) is None
    assert ended({"type": "future"}) is None
    assert ended("interrupt") is None
    unreadable: list[Any] = [None, "ask-1", {}, [{"id": 5}], [{}], ["ask-1"], [{"id": "ask-2"}, None]]
    for interrupts in unreadable:
        assert ended({"type": "interrupt", "interrupts": interrupts}) is None
    assert ended({"type": "interrupt", "interrupts": [None, {"id": "ask-1"}]}) == "not_applied"
    pending: list[Any] = ["ask-1", {"ask-1": True}, [5]]
    for ids in pending:
        assert ended({"type": "success", "pendingToolCallIds": ids}) is None


def test_a_started_or_failed_run_proves_nothing() -> None:
    assert evidence("RUN_STARTED", runId="run-2", threadId="th-8") is None
    assert evidence("RUN_ERROR", message="m") is None
    for payload in ("", "[]", "{", "null"):
        assert agui.evidence(carried(ask()[1]), "RUN_FINISHED", payload) is None
        assert agui.evidence(carried(ask()[1]), "TOOL_CALL_RESULT", payload) is None


def test_the_words_of_a_refusal_count_only_where_nothing_was_done_before_them() -> None:
    refusal = ev("RUN_ERROR", message="does not match", code="INVALID_PAYLOAD")
    result = ev("TOOL_CALL_RESULT", messageId="r", toolCallId="tc-4", content="paid")
    for before, refused in (([], True), ([ev("STEP_STARTED", stepName="s")], True), (said(), False), ([result], False)):
        _, facts = fold(started(), *before, refusal)
        assert agui.not_accepted(end(facts).error) is refused
        assert "INVALID_PAYLOAD: does not match" in end(facts).error


# --- the rest ---


def test_capabilities_promise_what_the_protocol_has() -> None:
    can = agui.capabilities
    assert (can.edit, can.reason, can.batch, can.answer_streams, can.reads_on) == (True,) * 5
    assert (can.ask, can.cancel_run, can.idempotent_decision, can.read_back, can.watch) == (False,) * 5
    assert (can.replay, can.stall_s, can.stall_waiting_s, can.repeatable_start) == ("none", None, None, False)


def test_an_http_error_is_read_whatever_it_holds() -> None:
    body = b'[{"type":"missing","loc":["runId"],"msg":"Field required"}]'
    assert agui.read_refusal(422, body).text == "runId: Field required"


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("TEXT_MESSAGE_START", {"messageId": "m"}, [("text", "", "m", "", False)]),
        ("TEXT_MESSAGE_CONTENT", {"messageId": "m", "delta": "Hi"}, [("text", "Hi", "m", "", False)]),
        ("TEXT_MESSAGE_END", {"messageId": "m"}, [("text", "", "m", "", True)]),
        ("TEXT_MESSAGE_CHUNK", {"message_id": "m", "delta": "Hi"}, [("text", "Hi", "m", "", False)]),
        ("TOOL_CALL_START", {"toolCallId": "c", "toolCallName": "pay"}, [("tool", "", "c", "pay", False)]),
        ("TOOL_CALL_ARGS", {"toolCallId": "c", "delta": "{"}, [("arguments", "{", "c", "", False)]),
        ("TOOL_CALL_END", {"toolCallId": "c"}, [("arguments", "", "c", "", True)]),
        (
            "TOOL_CALL_CHUNK",
            {"toolCallId": "c", "toolCallName": "pay", "delta": "{"},
            [("tool", "", "c", "pay", False), ("arguments", "{", "c", "", False)],
        ),
        ("TOOL_CALL_RESULT", {"toolCallId": "c", "content": "paid"}, [("result", "paid", "c", "", False)]),
        ("TOOL_CALL_RESULT", {"toolCallId": "c", "content": [{"a": 1}]}, [("result", '[{"a": 1}]', "c", "", False)]),
        ("REASONING_MESSAGE_CONTENT", {"messageId": "m", "delta": "Hm"}, [("reasoning", "Hm", "m", "", False)]),
        ("THINKING_TEXT_MESSAGE_CONTENT", {"delta": "Hm"}, [("reasoning", "Hm", "", "", False)]),
        ("STEP_STARTED", {"stepName": "s"}, [("step", "", "s", "s", False)]),
        ("STEP_FINISHED", {"stepName": "s"}, [("step", "", "s", "s", True)]),
        ("SUBAGENT_ERROR", {"subagentRunId": "x", "message": "m"}, [("step", "m", "x", "x", True)]),
        ("STATE_SNAPSHOT", {"snapshot": {"a": 1}}, [("state", '{"a": 1}', "", "STATE_SNAPSHOT", False)]),
        ("RUN_STARTED", {"runId": "r"}, [("start", "", "r", "", False)]),
        ("RUN_ERROR", {"message": "m", "code": "C"}, [("end", "m", "", "C", True)]),
        (
            "RUN_FINISHED",
            {"outcome": {"type": "interrupt", "interrupts": [{"id": "i", "reason": "r", "message": "Pay?"}]}},
            [("ask", "Pay?", "i", "r", False), ("end", "", "", "interrupt", True)],
        ),
        ("RUN_FINISHED", {}, [("end", "", "", "finished", True)]),
        ("CUSTOM", {"name": "progress", "value": 5}, [("note", "5", "", "progress", False)]),
        ("RAW", {"event": {}}, []),
    ],
)
def test_the_timeline_reads_every_family(kind: str, fields: dict[str, Any], expected: list[Any]) -> None:
    lines = agui.lines(kind, json.dumps({"type": kind, **fields}))
    assert [(line.what, line.body, line.key, line.label, line.ended) for line in lines] == expected


def test_the_timeline_shows_unknown_and_unreadable_events_as_notes() -> None:
    assert agui.lines("FUTURE", '{"type":"FUTURE"}')[0].what == "note"
    assert agui.lines("unreadable", "{" * 5_000)[0].body == "{" * 2_000


def test_a_key_goes_along_nowhere_but_in_our_own_tools_message() -> None:
    state, asked = ask()
    assert str(KEY) not in json.dumps(resume(state, answer(asked)))
    assert APPROVE_SCHEMA["required"] == ["approved"]
