"""Each framework's pause, answered: recognise, approve, refuse, edit, together, proof, asked again, late error.

Frames of frameworks without a tape are made after what their servers were observed to send, 2026-11.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from streams.errors import WireError
from streams.events import Asked, Ended, Executed, Fact, Paused, Recognised
from streams.providers.agui.state import State
from streams.providers.base import Account, Answer, Applied, Call, Carried
from streams.sse import Frame
from tests.streams import tapes
from tests.streams.agui_frames import (
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
    interrupt,
    paused,
    question,
    started,
)

URL = "http://127.0.0.1:9101/agent/"
ARGUMENTS = '{"to": "ana@shop.example", "cents": 1200}'
EDITED = '{"to": "bo@shop.example", "cents": 900}'
ARGS = json.loads(ARGUMENTS)
APPROVED_ONLY = {"type": "object", "properties": {"approved": {"type": "boolean"}}, "required": ["approved"]}
WITH_EDIT = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "editedArgs": {"type": "object"}},
    "required": ["approved"],
}
HEX = "d48e7c413887ae96992f027cdf031981"
HEX2 = "ec9c0da19d69dc2a77708683741b546b"


def mail(call_id: str = "tc-4") -> list[Frame]:
    return called(call_id, "send_email", ARGUMENTS)


def result(call_id: str = "tc-4", content: str = "sent") -> Frame:
    return ev("TOOL_CALL_RESULT", messageId=f"r-{call_id}", toolCallId=call_id, content=content)


def entry(payload: Any, given: str) -> dict[str, Any]:
    return {"resume": [{"interruptId": given, "status": "resolved", "payload": payload}]}


def cancelled(given: str) -> dict[str, Any]:
    return {"resume": [{"interruptId": given, "status": "cancelled"}]}


def command(payload: Any, **more: Any) -> dict[str, Any]:
    return {"forwardedProps": {"command": {"resume": payload, **more}}}


def spoken(payload: Any, call_id: str) -> dict[str, Any]:
    """A trailing tool message."""
    return {"role": "tool", "toolCallId": call_id, "content": payload}


@dataclass(frozen=True)
class Case:
    """One framework's pause for a call of send_email, and what its server takes."""

    frames: list[Frame]
    name: str = ""  # as recognised
    pinned: str = ""
    approve: Mapping[str, Any] | None = None
    reject: Mapping[str, Any] | None = None
    reasoned: Mapping[str, Any] | None = None  # a refusal with the reason `wrong person`; None: as without
    edit: Mapping[str, Any] | None = None  # None: not offered
    nobody: Mapping[str, Any] | None = None  # None: as a refusal
    remembers: bool = True
    own: str = ""  # what a person writes, where only that is an answer
    taken: list[Frame] = field(default_factory=lambda: [result()])  # what an approval brings
    key: str = ""
    verified: bool = False


def decision(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, **more}


def edited_action() -> dict[str, Any]:
    return decision("edit", edited_action={"name": "send_email", "args": json.loads(EDITED)})


def langgraph(raw: Any, given: str = HEX, **fields: Any) -> dict[str, Any]:
    made = {"id": given, "reason": "langgraph:interrupt", "metadata": {"langgraph": {"raw": raw, "ns": None}}}
    return {**made, **fields}


def on_interrupt(value: Any, given: str = HEX, **raw: Any) -> Frame:
    text = value if isinstance(value, str) else json.dumps(value)
    return ev("CUSTOM", name="on_interrupt", value=text, rawEvent={"id": given, "value": value, **raw})


def per_call_schema(*kinds: str) -> dict[str, Any]:
    options = [
        {"type": "object", "properties": {"type": {"const": kind, "type": "string"}}, "required": ["type"]}
        for kind in kinds
    ]
    return {"oneOf": options, "discriminator": {"propertyName": "type"}}


HITL = {
    "action_requests": [{"name": "send_email", "args": ARGS, "description": "May it?"}],
    "review_configs": [{"action_name": "send_email", "allowed_decisions": ["approve", "edit", "reject", "respond"]}],
}
PER_CALL = {"type": "tool_approval", "tool_call_id": "tc-4", "name": "send_email", "args": ARGS}
NODE = {"reason": "tool_call", "message": "Run it?", "toolCallId": "tc-4", "responseSchema": WITH_EDIT}
ALL_KINDS = per_call_schema("approve", "edit", "reject", "respond")
FLAT = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean"},
        "accepted": {"type": "boolean"},
        "to": {"type": "string"},
        "editedArgs": {"type": "object"},
        "reason": {"type": "string"},
    },
    "anyOf": [{"required": ["approved"]}, {"required": ["accepted"]}],
    "additionalProperties": False,
}
SUSPENDED = {
    "type": "mastra_suspend",
    "toolCallId": "tc-4",
    "toolName": "send_email",
    "args": ARGS,
    "runId": "m-1",
    "suspendPayload": {"why": "over 1000"},
    "resumeSchema": json.dumps(APPROVED_ONLY),
}
FUNCTION_CALL = {"call_id": "tc-4", "name": "send_email", "arguments": ARGS}
ADK_CALL = {
    "originalFunctionCall": {"id": "tc-4", "name": "send_email", "args": ARGS},
    "toolConfirmation": {"hint": "?"},
}
ADK_ERROR = result(content='{"error":"This tool call requires confirmation"}')
CREWAI = {"crewai": {"flowId": "th-8", "methodName": "propose", "emit": None, "output": ARGS}}
EMIT = {"type": "string", "enum": ["approved", "rejected"]}
YES, NO = {"approved": True}, {"approved": False}
EDIT = {"approved": True, "editedArgs": json.loads(EDITED)}


def crewai(**fields: Any) -> dict[str, Any]:
    return {"id": "th-8", "reason": "crewai:human_feedback", "message": "Go on?", "metadata": CREWAI, **fields}


CASES: dict[str, Case] = {
    "pydantic-ai": Case(
        [*mail(), paused(interrupt("int-tc-4"))],
        name="pydantic-ai",
        approve=entry(YES, "int-tc-4"),
        reject=entry(NO, "int-tc-4"),
        reasoned=entry({**NO, "reason": "wrong person"}, "int-tc-4"),
        edit=entry(EDIT, "int-tc-4"),
        nobody=cancelled("int-tc-4"),
        remembers=False,
        key="int-tc-4",
        verified=True,
    ),
    "pydantic-ai, server mode": Case(
        [*mail(), paused(interrupt("int-tc-4"))],
        pinned="pydantic-ai-server",
        approve=entry(YES, "int-tc-4"),
        reject=entry(NO, "int-tc-4"),
        reasoned=entry({**NO, "reason": "wrong person"}, "int-tc-4"),
        edit=entry(EDIT, "int-tc-4"),
        nobody=cancelled("int-tc-4"),
        key="int-tc-4",
    ),
    "agent-framework": Case(
        [
            *mail(),
            ev("CUSTOM", name="function_approval_request", value={"id": "af-call-1", "function_call": FUNCTION_CALL}),
            *called("c-9", "confirm_changes", '{"function_name": "send_email"}'),
            paused(
                interrupt(
                    "af-call-1", responseSchema=FLAT, metadata={"agent_framework": {"function_call": FUNCTION_CALL}}
                )
            ),
        ],
        name="agent-framework",
        approve=entry(YES, "af-call-1"),
        reject=entry(NO, "af-call-1"),
        edit=entry(EDIT, "af-call-1"),
        key="af-call-1",
        verified=True,
    ),
    "langgraph, a node": Case(
        [
            *mail(),
            on_interrupt(NODE),
            paused(langgraph(NODE, reason="tool_call", toolCallId="tc-4", responseSchema=WITH_EDIT)),
        ],
        name="langgraph",
        approve=entry(YES, HEX),
        reject=entry(NO, HEX),
        edit=entry(EDIT, HEX),
        taken=[
            ev("MESSAGES_SNAPSHOT", messages=[{"id": "t", "role": "tool", "toolCallId": "tc-4", "content": "sent"}])
        ],
        key=HEX,
        verified=True,
    ),
    "langgraph, its middleware": Case(
        [*mail(), on_interrupt(HITL), paused(langgraph(HITL))],
        name="langgraph",
        approve=entry({"decisions": [decision("approve")]}, HEX),
        reject=entry({"decisions": [decision("reject")]}, HEX),
        reasoned=entry({"decisions": [decision("reject", message="wrong person")]}, HEX),
        edit=entry({"decisions": [edited_action()]}, HEX),
        taken=[*mail(), result()],
        key=HEX,
        verified=True,
    ),
    "langgraph, one interrupt a call": Case(
        [*mail(), on_interrupt(PER_CALL, response_schema=ALL_KINDS), paused(langgraph(PER_CALL, toolCallId="tc-4"))],
        name="langgraph",
        approve=entry(decision("approve"), HEX),
        reject=entry(decision("reject"), HEX),
        reasoned=entry(decision("reject", message="wrong person"), HEX),
        edit=entry(edited_action(), HEX),
        taken=[*mail(), result()],
        key=HEX,
        verified=True,
    ),
    "langgraph, defaults": Case(
        [*mail(), on_interrupt(NODE), finished()],
        name="langgraph",
        approve=command(YES),
        reject=command(NO),
        edit=command(EDIT),
        taken=[
            ev("MESSAGES_SNAPSHOT", messages=[{"id": "t", "role": "tool", "toolCallId": "tc-4", "content": "sent"}])
        ],
        key=HEX,
        verified=True,
    ),
    "langgraph, defaults with its middleware": Case(
        [*mail(), on_interrupt(HITL), finished()],
        name="langgraph",
        approve=command({"decisions": [decision("approve")]}),
        reject=command({"decisions": [decision("reject")]}),
        reasoned=command({"decisions": [decision("reject", message="wrong person")]}),
        edit=command({"decisions": [edited_action()]}),
        taken=[*mail(), result()],
        key=HEX,
        verified=True,
    ),
    "strands": Case(
        [
            *mail(),
            paused(
                interrupt(
                    "v1:before_tool_call:tc-4:u",
                    responseSchema=APPROVED_ONLY,
                    metadata={"tool_name": "send_email", "tool_input": ARGS},
                )
            ),
        ],
        name="strands",
        approve=entry(YES, "v1:before_tool_call:tc-4:u"),
        reject=entry(NO, "v1:before_tool_call:tc-4:u"),
        nobody=cancelled("v1:before_tool_call:tc-4:u"),
        taken=[result(content='"sent"')],
        key="v1:before_tool_call:tc-4:u",
    ),
    "adk": Case(
        [
            *mail(),
            *called("adk-1", "adk_request_confirmation", json.dumps(ADK_CALL)),
            ADK_ERROR,
            paused(
                interrupt(
                    "adk-1", reason="confirmation", toolCallId="adk-1", responseSchema=..., metadata={"adk": ADK_CALL}
                )
            ),
        ],
        name="adk",
        approve=entry({"confirmed": True}, "adk-1"),
        reject=entry({"confirmed": False}, "adk-1"),
        nobody=cancelled("adk-1"),
        key="adk-1",
    ),
    "adk, defaults": Case(
        [*mail(), *called("adk-1", "adk_request_confirmation", json.dumps(ADK_CALL)), ADK_ERROR, finished()],
        name="adk",
        approve=spoken('{"confirmed":true}', "adk-1"),
        reject=spoken('{"confirmed":false}', "adk-1"),
        remembers=False,
        key="adk-1",
    ),
    "crewai": Case(
        [ev("CUSTOM", name="on_interrupt", value=crewai()), paused(crewai())],
        name="crewai",
        own='"approved"',
        approve=entry("approved", "th-8"),
        taken=[],
        key="th-8",
    ),
    "crewai, a choice": Case(
        [ev("CUSTOM", name="on_interrupt", value=crewai()), paused(crewai(responseSchema=EMIT))],
        name="crewai",
        approve=entry("approved", "th-8"),
        reject=entry("rejected", "th-8"),
        taken=[],
        key="th-8",
    ),
    "crewai, defaults": Case(
        [ev("CUSTOM", name="on_interrupt", value=crewai(responseSchema=EMIT)), finished()],
        name="crewai",
        approve=entry("approved", "th-8"),
        reject=entry("rejected", "th-8"),
        taken=[],
        key="th-8",
    ),
    "mastra": Case(
        [
            ev("CUSTOM", name="on_interrupt", value=json.dumps(SUSPENDED)),
            paused(
                interrupt(
                    "m-1::tc-4", reason="mastra:tool_suspend", responseSchema=WITH_EDIT, metadata={"mastra": SUSPENDED}
                )
            ),
        ],
        name="mastra",
        approve=entry(YES, "m-1::tc-4"),
        reject=entry(NO, "m-1::tc-4"),
        edit=entry(EDIT, "m-1::tc-4"),
        key="m-1::tc-4",
    ),
    "mastra, before": Case(
        [ev("CUSTOM", name="on_interrupt", value=json.dumps(SUSPENDED)), finished()],
        name="mastra",
        approve=command(YES, interruptEvent=json.dumps(SUSPENDED)),
        reject=command(NO, interruptEvent=json.dumps(SUSPENDED)),
        key="m-1::tc-4",
    ),
    "agno": Case(
        [*mail(), finished()],
        pinned="agno",
        approve=spoken('{"accepted":true}', "tc-4"),
        reject=spoken('{"accepted":false}', "tc-4"),
        reasoned=spoken('{"accepted":false,"note":"wrong person"}', "tc-4"),
        remembers=False,
        taken=[*mail(), result()],
        key="tc-4",
    ),
    "first draft": Case(
        [finished(outcome="interrupt", interrupt={"id": "i-1", "reason": "human_approval", "payload": ARGS})],
        approve={"resume": {"interruptId": "i-1", "payload": YES}},
        reject={"resume": {"interruptId": "i-1", "payload": NO}},
        remembers=False,
        taken=[],
        key="i-1",
    ),
    "second draft": Case(
        [*mail(), finished(outcome="interrupt", interrupts=[interrupt("i-1", responseSchema=WITH_EDIT)])],
        approve=entry(YES, "i-1"),
        reject=entry(NO, "i-1"),
        edit=entry(EDIT, "i-1"),
        nobody=cancelled("i-1"),
        remembers=False,
        key="i-1",
        verified=True,
    ),
    "second draft without an outcome": Case(
        [*mail(), finished(interrupts=[interrupt("i-1", responseSchema=WITH_EDIT)])],
        approve=entry(YES, "i-1"),
        reject=entry(NO, "i-1"),
        edit=entry(EDIT, "i-1"),
        nobody=cancelled("i-1"),
        remembers=False,
        key="i-1",
        verified=True,
    ),
}
ALL = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def account(case: Case) -> Account:
    return Account(URL, dialect=case.pinned)


def fold(*frames: Frame, state: State) -> tuple[State, list[Fact]]:
    facts: list[Fact] = []
    for frame in frames:
        state, told = agui.step(state, frame)
        facts += told
    return state, facts


def pause(case: Case) -> tuple[State, list[Fact], Asked]:
    state, facts = fold(started(), *case.frames, state=begin(account=account(case)))
    (asked,) = asks(facts)
    return agui.load(agui.dump(state)), facts, asked


def send(case: Case, verdict: str, **said: str) -> Call:
    state, _, asked = pause(case)
    said = {"answer": case.own, **said} if case.own and verdict == "approve" and "edited" not in said else said
    return agui.decision_call(account(case), RUN, state, [answer(asked, verdict, **said)], new_run_id="run-2")


def sent(case: Case, verdict: str, **said: str) -> dict[str, Any]:
    """The part of the input that is the answer, whatever its form."""
    body = body_of(send(case, verdict, **said))
    assert body["runId"] == "run-2"
    if "resume" in body:
        return {"resume": body["resume"]}
    if "command" in body["forwardedProps"]:
        return {"forwardedProps": body["forwardedProps"]}
    *_, last = body["messages"]
    return {key: last[key] for key in ("role", "toolCallId", "content")}


# --- recognise ---


@ALL
def test_a_pause_is_one_question_with_the_whole_call(case: Case) -> None:
    state, facts, asked = pause(case)
    assert facts[-1] == Paused(closed=True)
    assert json.loads(asked.arguments) == ARGS
    assert (asked.call_id, asked.problem, asked.together) == (case.key, "", True)
    assert asked.tool in ("send_email", "crewai:human_feedback", "human_approval")
    assert len(state.asks) == 1


@ALL
def test_the_framework_is_told_unless_the_account_names_it(case: Case) -> None:
    _, facts, asked = pause(case)
    assert [fact.dialect for fact in facts if isinstance(fact, Recognised)] == ([case.name] if case.name else [])
    again = Case(**{**case.__dict__, "pinned": case.name}) if case.name else case
    _, facts, same = pause(again)
    assert not [fact for fact in facts if isinstance(fact, Recognised)]
    assert same == asked


@ALL
def test_what_was_not_tried_with_a_real_server_says_so(case: Case) -> None:
    _, _, asked = pause(case)
    assert ("has not been tried" in asked.limits or "unverified" in asked.limits) == (
        not case.verified or not (case.name or case.pinned)
    )


@ALL
def test_a_pause_of_another_framework_than_the_accounts_is_shown_and_cannot_be_answered(case: Case) -> None:
    if not case.name:
        return
    other = "strands" if case.name != "strands" else "mastra"
    state, facts = fold(started(), *case.frames, state=begin(account=Account(URL, dialect=other)))
    assert asks(facts)
    assert all(asked.problem.startswith("paused in a form") for asked in asks(facts))
    assert (end(facts).outcome, state.asks) == ("unknown", ())


# --- answer ---


@ALL
def test_an_approval_is_said_as_the_server_understands_it(case: Case) -> None:
    assert sent(case, "approve") == case.approve


@ALL
def test_a_refusal_is_said_as_the_server_understands_it(case: Case) -> None:
    if case.reject is None:
        with pytest.raises(WireError, match="no form for a no"):
            send(case, "reject")
        return
    assert sent(case, "reject") == case.reject


@ALL
def test_a_reason_goes_along_only_where_the_server_hears_it(case: Case) -> None:
    _, _, asked = pause(case)
    assert asked.hears_reason == (case.reasoned is not None)
    if case.reject is not None:
        assert sent(case, "reject", reason="wrong person") == (case.reasoned or case.reject)


@ALL
def test_changes_are_offered_and_sent_only_where_the_server_honours_them(case: Case) -> None:
    _, _, asked = pause(case)
    assert asked.edit == (case.edit is not None)
    if case.edit is None:
        with pytest.raises(WireError):
            send(case, "approve", edited=EDITED)
        return
    assert sent(case, "approve", edited=EDITED) == case.edit


@ALL
def test_that_nobody_answered_is_said_without_running_anything(case: Case) -> None:
    if case.reject is None:
        with pytest.raises(WireError, match="no form for a no"):
            send(case, "nobody")
        return
    said = json.dumps(sent(case, "nobody"))
    if case.nobody is not None:
        assert json.loads(said) == case.nobody
    else:
        assert "true" not in said.replace("mastra_suspend", "").split("interruptEvent")[0].lower()
        assert ("Nobody answered" in said) == (case.reasoned is not None)


@ALL
def test_conversation_and_state_go_back_only_where_the_server_keeps_none(case: Case) -> None:
    state, _, asked = pause(case)
    state = state._replace(value={"n": 1})
    said = {"answer": case.own} if case.own else {}
    call = agui.decision_call(account(case), RUN, state, [answer(asked, **said)], new_run_id="run-2")
    body = body_of(call)
    assert (body["messages"] == []) == case.remembers
    owned = case.name in ("langgraph", "crewai")  # what they show as state is their own record
    assert body["state"] == ({} if owned else {"n": 1})
    assert ("parentRunId" in body, body["threadId"]) == (False, "th-8")


@ALL
def test_an_answer_names_no_id_that_was_not_just_offered(case: Case) -> None:
    state, _, asked = pause(case)
    other = answer(asked)
    other = Answer(question(asked).__class__("other", asked.tool, asked.arguments), "approve", other.key)
    with pytest.raises(WireError, match="exactly the open questions"):
        agui.decision_call(account(case), RUN, state, [other], new_run_id="run-2")


@ALL
def test_a_command_is_not_said_again_with_the_next_answer(case: Case) -> None:
    call = send(case, "approve")
    state = agui.initial(account(case), RUN, call)
    assert state.opening.resumes
    state, facts = fold(started("run-2"), *mail("tc-5"), finished("run-2", outcome=asking()), state=state)
    (again,) = asks(facts)
    body = body_of(agui.decision_call(account(case), RUN, state, [answer(again)], new_run_id="run-3"))
    assert body["forwardedProps"] == {}


def asking(given: str = "ask-2", call_id: str = "tc-5") -> dict[str, Any]:
    schema = interrupt(given, toolCallId=call_id)
    return {"type": "interrupt", "interrupts": [{**schema, "responseSchema": APPROVED_ONLY}]}


# --- what came of it ---


def proofs(case: Case, *frames: Frame) -> list[Applied | None]:
    _, _, asked = pause(case)
    carried = Carried(question(asked), "approve", only_open=True, answering_run="run-2")
    return [agui.evidence(carried, agui.kind_of(frame), frame.data) for frame in frames]


def after(case: Case, *frames: Frame) -> list[Fact]:
    """The run that the approval opened."""
    state = agui.initial(account(case), RUN, send(case, "approve"))
    return fold(started("run-2"), *frames, state=state)[1]


@ALL
def test_what_the_server_does_with_an_approval_proves_it(case: Case) -> None:
    frames = [started("run-2"), *case.taken, finished("run-2")]
    found = proofs(case, *frames)
    assert found[0] is None
    assert "applied" in found
    assert "not_applied" not in found
    assert end(after(case, *case.taken, finished("run-2"))) == Ended("finished", "")


@ALL
def test_the_same_question_asked_again_was_not_answered(case: Case) -> None:
    last = case.frames[-1].data.replace('"run-1"', '"run-2"')
    frames = [*case.frames[:-1], Frame(data=last)]
    again = [frame for frame in frames if frame is not ADK_ERROR]
    _, _, asked = pause(case)
    facts = after(case, *again)
    assert [one.call_id for one in asks(facts)] == [asked.call_id]
    assert proofs(case, Frame(data=last)) in ([None], ["not_applied"], ["applied"])
    if '"interrupts"' in last or '"interrupt":' in last:
        assert proofs(case, Frame(data=last)) != ["applied"]


@ALL
def test_an_error_after_the_result_does_not_take_the_proof_back(case: Case) -> None:
    error = ev("RUN_ERROR", message="the model is down")
    facts = after(case, *case.taken, error)
    assert (end(facts).how, agui.not_accepted(end(facts).error)) == ("failed", False)
    if case.taken:
        assert "applied" in proofs(case, *case.taken, error)


@ALL
def test_an_error_after_the_pause_withdraws_the_question(case: Case) -> None:
    state, _, _ = pause(case)
    state, facts = fold(ev("RUN_ERROR", message="late"), state=state)
    assert (end(facts).how, state.asks) == ("failed", ())


@ALL
def test_an_error_before_the_run_began_is_an_end(case: Case) -> None:
    state = agui.initial(account(case), RUN, send(case, "approve"))
    _, facts = fold(ev("RUN_ERROR", message="m", code="UNKNOWN_INTERRUPT"), state=state)
    assert (end(facts).how, agui.not_accepted(end(facts).error)) == ("failed", True)


# --- edge cases of single frameworks ---


def one(*frames: Frame, pinned: str = "") -> tuple[State, list[Asked]]:
    state, facts = fold(started(), *frames, state=begin(account=Account(URL, dialect=pinned)))
    return state, asks(facts)


def answered(state: State, *answers: Answer) -> dict[str, Any]:
    return body_of(agui.decision_call(Account(URL), RUN, state, answers, new_run_id="run-2"))


def hitl(*allowed: list[str], **raw: Any) -> dict[str, Any]:
    names = ["send_email", "delete_rows", "pay"][: len(allowed)]
    return {
        "action_requests": [{"name": name, "args": {"n": place}} for place, name in enumerate(names)],
        "review_configs": [
            {"action_name": name, "allowed_decisions": kinds} for name, kinds in zip(names, allowed, strict=True)
        ],
        **raw,
    }


def test_each_action_of_an_interrupt_is_a_question_and_the_decisions_go_by_place() -> None:
    state, found = one(paused(langgraph(hitl(["approve", "edit", "reject"], ["approve", "reject"]))))
    assert [(asked.call_id, asked.tool, asked.edit) for asked in found] == [
        (f"{HEX}/0", "send_email", True),
        (f"{HEX}/1", "delete_rows", False),
    ]
    mail_asked, delete = found
    body = answered(state, answer(delete, "reject", reason="no"), answer(mail_asked, edited='{"n": 5}'))
    assert (
        body["resume"]
        == entry(
            {
                "decisions": [
                    decision("edit", edited_action={"name": "send_email", "args": {"n": 5}}),
                    decision("reject", message="no"),
                ]
            },
            HEX,
        )["resume"]
    )


def test_actions_are_found_again_when_their_interrupt_is() -> None:
    state, (first, _) = one(paused(langgraph(hitl(["approve"], ["approve"]))))
    carried = Carried(question(first), "approve", only_open=True, answering_run="run-1")
    again = paused(langgraph(hitl(["approve"], ["approve"])))
    assert agui.evidence(carried, "RUN_FINISHED", again.data) == "not_applied"


@pytest.mark.parametrize(
    "raw",
    [
        hitl(["reject"]),
        hitl([]),
        hitl(["approve"], review_configs=None),
        hitl(["approve"], review_configs=[{"action_name": "other", "allowed_decisions": ["approve"]}]),
        hitl(["approve"], action_requests=[{"name": "send_email"}]),
        hitl(["approve"], action_requests=[{"args": {}}]),
        hitl(["approve"], action_requests=[{"name": "send_email", "args": [1]}]),
        hitl(["approve"], action_requests=[5]),
        hitl(["approve"], action_requests=[]),
        hitl(["approve"], action_requests="all"),
        hitl(["approve"], action_requests=[{"name": "send_email", "args": {}}] * 101),
        {
            **hitl(["approve"]),
            "review_configs": [
                {"action_name": "send_email", "allowed_decisions": kinds} for kinds in (["approve"], ["reject"])
            ],
        },
    ],
    ids=str,
)
def test_an_action_that_cannot_be_read_or_takes_no_yes_cannot_be_approved(raw: Any) -> None:
    _, found = one(paused(langgraph(raw)))
    assert found
    assert all(asked.problem and not asked.edit for asked in found)


def test_a_refusal_that_the_server_does_not_take_is_not_sent() -> None:
    state, (asked,) = one(paused(langgraph(hitl(["approve"]))))
    assert not asked.hears_reason
    with pytest.raises(WireError, match="takes no refusal"):
        answered(state, answer(asked, "reject"))


def two(schema: Any = ALL_KINDS) -> list[Frame]:
    other = {**PER_CALL, "tool_call_id": "tc-5"}
    return [
        *mail(),
        *mail("tc-5"),
        on_interrupt(PER_CALL, response_schema=schema),
        on_interrupt(other, HEX2, response_schema=per_call_schema("approve", "reject")),
        paused(langgraph(PER_CALL, toolCallId="tc-4"), langgraph(other, HEX2, toolCallId="tc-5")),
    ]


def test_several_interrupts_of_langgraph_are_answered_by_their_ids_in_a_command() -> None:
    state, (first, second) = one(*two())
    body = answered(state, answer(first), answer(second, "reject"))
    assert "resume" not in body
    assert body["forwardedProps"] == {"command": {"resume": {HEX: decision("approve"), HEX2: decision("reject")}}}


def test_several_interrupts_whose_ids_langgraph_did_not_make_cannot_be_answered() -> None:
    _, found = one(paused(langgraph(PER_CALL, "a"), langgraph(PER_CALL, "b")))
    assert [asked.problem.startswith("paused in a form") for asked in found] == [True, True]


def test_a_call_that_takes_no_plain_yes_is_not_approved() -> None:
    only = per_call_schema("reject")
    frames = [*mail(), on_interrupt(PER_CALL, response_schema=only), paused(langgraph(PER_CALL, toolCallId="tc-4"))]
    _, (asked,) = one(*frames)
    assert (asked.problem, asked.edit) == ("the server takes no plain yes for it", False)


def test_a_call_whose_schema_nobody_told_takes_yes_and_no_and_no_changes() -> None:
    state, (asked,) = one(*mail(), paused(langgraph(PER_CALL, toolCallId="tc-4")))
    assert (asked.problem, asked.edit) == ("", False)
    assert answered(state, answer(asked))["resume"][0]["payload"] == {"type": "approve"}


def test_a_question_of_which_only_the_author_knows_the_answer_takes_one_that_a_person_writes() -> None:
    state, (asked,) = one(paused(langgraph({"choose": ["red", "blue"]})))
    assert (asked.answer, asked.edit, json.loads(asked.arguments)) == (
        True,
        False,
        {"langgraph": {"raw": {"choose": ["red", "blue"]}, "ns": None}},
    )
    assert answered(state, answer(asked, answer='"blue"'))["resume"][0]["payload"] == "blue"
    for verdict in ("approve", "reject", "nobody"):
        with pytest.raises(WireError):
            answered(state, answer(asked, verdict))


def test_a_text_as_interrupt_is_its_message() -> None:
    state, (asked,) = one(ev("CUSTOM", name="on_interrupt", value="Which city?"), finished())
    assert (asked.message, asked.answer, asked.arguments, asked.problem) == ("Which city?", True, "", "")
    assert answered(state, answer(asked, answer='"Oslo"'))["forwardedProps"] == {"command": {"resume": "Oslo"}}


def test_the_same_question_without_an_id_has_the_same_name_and_another_one_another() -> None:
    ids = [one(ev("CUSTOM", name="on_interrupt", value=text), finished())[1][0].call_id for text in ("A?", "A?", "B?")]
    assert ids[0] == ids[1] != ids[2]


def test_two_questions_that_a_command_cannot_tell_apart_cannot_be_answered() -> None:
    customs = [ev("CUSTOM", name="on_interrupt", value=text) for text in ("A?", "B?")]
    state, found = one(*customs, finished())
    assert [asked.problem.startswith("paused in a form") for asked in found] == [True, True]
    assert state.asks == ()


def test_langgraph_is_not_believed_a_success_that_shows_nothing_of_the_call() -> None:
    """It ends well on a thread that it has forgotten, too."""
    case = CASES["langgraph, its middleware"]
    assert proofs(case, finished("run-2")) == [None]
    assert proofs(case, finished("run-2", outcome={"type": "success"})) == ["applied"]
    forgot = ev("MESSAGES_SNAPSHOT", messages=[{"id": "a", "role": "assistant", "content": "Hello"}])
    assert proofs(case, forgot) == [None]
    state, (asked,) = one(paused(langgraph(hitl(["approve"]))))  # no call is known: only the end can tell
    carried = Carried(question(asked), "approve", only_open=True, answering_run="run-2")
    assert agui.evidence(carried, "RUN_FINISHED", finished("run-2").data) == "applied"


def test_other_servers_restate_old_results_so_their_snapshots_prove_nothing() -> None:
    restated = ev("MESSAGES_SNAPSHOT", messages=[{"id": "t", "role": "tool", "toolCallId": "tc-4", "content": "{}"}])
    assert proofs(CASES["adk"], restated) == proofs(CASES["strands"], restated) == [None]


def framework(given: str, call_id: str, name: str) -> dict[str, Any]:
    call = {"call_id": call_id, "name": name, "arguments": {"n": call_id}}
    return interrupt(
        given, toolCallId=call_id, responseSchema=FLAT, metadata={"agent_framework": {"function_call": call}}
    )


BOTH = paused(framework("af-1", "a", "send_email"), framework("af-2", "b", "delete_rows"))


@pytest.mark.parametrize(("verdict", "said"), [("approve", True), ("reject", False), ("nobody", False)])
def test_calls_that_agent_framework_takes_together_only_are_one_question(verdict: str, said: bool) -> None:
    state, (asked,) = one(BOTH)
    state = agui.load(agui.dump(state))
    assert (asked.tool, asked.edit, asked.hears_reason, asked.problem) == ("send_email, delete_rows", False, False, "")
    assert json.loads(asked.arguments) == [
        {"tool": "send_email", "arguments": {"n": "a"}},
        {"tool": "delete_rows", "arguments": {"n": "b"}},
    ]
    assert "approve all of them or none" in asked.limits
    resume = answered(state, answer(asked, verdict))["resume"]
    assert [(one["interruptId"], one["payload"]) for one in resume] == [
        ("af-1", {"approved": said}),
        ("af-2", {"approved": said}),
    ]
    with pytest.raises(WireError):
        answered(state, answer(asked, edited='{"n": 1}'))


def test_a_part_of_them_asked_again_proves_nothing_and_all_of_them_that_they_were_not_taken() -> None:
    _, (asked,) = one(BOTH)
    carried = Carried(question(asked), "approve", only_open=True, answering_run="run-1")
    rest = paused(framework("af-2", "b", "delete_rows"))
    assert agui.evidence(carried, "RUN_FINISHED", BOTH.data) == "not_applied"
    assert agui.evidence(carried, "RUN_FINISHED", rest.data) is None
    assert agui.evidence(carried, "TOOL_CALL_RESULT", result("a").data) == "applied"


def test_one_broken_call_keeps_the_others_with_it_from_approval() -> None:
    broken = Frame(data=BOTH.data.replace('{"n": "b"}', '{"n": "b", "n": "c"}'))
    _, (asked,) = one(broken)
    assert asked.problem


def test_a_question_that_tells_another_call_than_the_stream_cannot_be_approved() -> None:
    other = {"tool_name": "send_email", "tool_input": {**ARGS, "cents": 9_999_999}}
    asking_of = interrupt("v1:before_tool_call:tc-4:u", responseSchema=APPROVED_ONLY, metadata=other)
    _, (asked,) = one(*mail(), paused(asking_of))
    assert "different calls" in asked.problem
    same = {"tool_name": "send_email", "tool_input": {"cents": 1200.0, "to": "ana@shop.example"}}
    _, (asked,) = one(*mail(), paused({**asking_of, "metadata": same}))
    assert asked.problem == ""
    hidden = {"originalFunctionCall": {"id": "tc-4", "name": "send_email", "args": {"to": "eve"}}}
    adk = interrupt("adk-1", toolCallId="adk-1", responseSchema=..., metadata={"adk": hidden})
    _, (asked,) = one(*mail(), *called("adk-1", "adk_request_confirmation", "{}"), paused(adk))
    assert "different calls" in asked.problem


def test_an_adk_question_without_its_call_cannot_be_approved() -> None:
    bare = interrupt("adk-1", toolCallId="adk-1", responseSchema=..., metadata={"adk": {}})
    _, (asked,) = one(*called("adk-1", "adk_request_confirmation", "{}"), paused(bare))
    assert "never shown" in asked.problem
    _, (asked,) = one(*called("adk-1", "adk_request_confirmation", "{}"), finished())
    assert "never shown" in asked.problem


def several(name: str) -> tuple[State, list[Asked]]:
    if name == "agno":
        return one(*mail("a"), *mail("b"), finished(), pinned="agno")
    calls: list[dict[str, Any]] = [
        {"originalFunctionCall": {"id": given, "name": "pay", "args": {}}} for given in ("a", "b")
    ]
    if name == "adk":
        made = [interrupt(f"adk-{n}", toolCallId=..., metadata={"adk": call}) for n, call in enumerate(calls)]
        return one(paused(*made))
    if name == "adk, defaults":
        frames = [
            f for n, call in enumerate(calls) for f in called(f"adk-{n}", "adk_request_confirmation", json.dumps(call))
        ]
        return one(*frames, finished())
    return one(paused(*(interrupt(f"m::{n}", toolCallId=..., metadata={"mastra": SUSPENDED}) for n in (1, 2))))


@pytest.mark.parametrize("name", ["adk", "adk, defaults", "agno", "mastra"])
def test_where_only_one_of_several_answers_counts_none_can_be_approved_and_all_can_be_refused(name: str) -> None:
    state, found = several(name)
    assert [asked.problem for asked in found] == ["of several answers this framework carries out only one"] * 2
    with pytest.raises(WireError):
        answered(state, *(answer(asked) for asked in found))
    body = answered(state, *(answer(asked, "reject") for asked in found))
    said = body.get("resume") or body["messages"][-2:]
    assert len(said) == 2
    assert "true" not in json.dumps(said)


def test_answers_of_strands_may_differ() -> None:
    made = [
        interrupt(f"v1:before_tool_call:{call_id}:u", toolCallId=call_id, responseSchema=APPROVED_ONLY)
        for call_id in ("tc-4", "tc-5")
    ]
    state, (first, second) = one(*mail(), *mail("tc-5"), paused(*made))
    resume = answered(state, answer(first), answer(second, "reject"))["resume"]
    assert [entry["payload"] for entry in resume] == [{"approved": True}, {"approved": False}]


def test_a_tool_of_strands_that_asks_by_itself_takes_what_a_person_writes() -> None:
    own = interrupt("v1:tool_call:tc-4:u", toolCallId=..., responseSchema=..., metadata={"reason": {"q": 1}})
    state, (asked,) = one(paused(own))
    assert (asked.answer, asked.edit, asked.problem, asked.arguments) == (True, False, "", '{"reason": {"q": 1}}')
    assert answered(state, answer(asked, answer='{"ok": true}'))["resume"][0]["payload"] == {"ok": True}
    with pytest.raises(WireError):
        answered(state, answer(asked))


@pytest.mark.parametrize(
    "options", [["approved", "confirm"], ["ship it", "hold"], ["approved"], ["approved", "rejected", "no"], []]
)
def test_options_that_are_not_plainly_yes_and_no_are_chosen_by_a_person(options: list[str]) -> None:
    state, (asked,) = one(paused(crewai(responseSchema={"type": "string", "enum": options})))
    assert asked.answer or not options
    with pytest.raises(WireError):
        answered(state, answer(asked))
    with pytest.raises(WireError):
        answered(state, answer(asked, "nobody"))
    if options:
        chosen = answered(state, answer(asked, answer=json.dumps(options[0])))
        assert chosen["resume"][0]["payload"] == options[0]


def test_a_draft_without_an_id_is_answered_without_one() -> None:
    state, (asked,) = one(finished(outcome="interrupt", interrupt={"reason": "human_approval", "payload": {"a": 1}}))
    assert answered(state, answer(asked))["resume"] == {"payload": {"approved": True}}
    state, (asked,) = one(finished(outcome="interrupt", interrupt={"reason": "upload", "payload": {"a": 1}}))
    assert asked.answer
    assert answered(state, answer(asked, answer='"file-7"'))["resume"] == {"payload": "file-7"}


def test_a_silent_pause_is_answered_only_where_the_account_says_agno() -> None:
    state, (asked,) = one(*mail(), finished())
    assert "may be waiting" in asked.problem
    assert state.asks == ()
    _, found = one(*mail(), result(), finished(), pinned="agno")
    assert found == []


def test_a_tool_of_our_own_is_asked_about_beside_an_interrupt_whatever_its_name() -> None:
    tools = [{"name": name, "description": "d"} for name in ("request_approval", "confirm_changes")]
    run = replace(RUN, options={"tools": tools})
    frames = [*mail(), *called("c-1", "request_approval", "{}"), *called("c-2", "confirm_changes", "{}")]
    _, facts = fold(started(), *frames, paused(interrupt(metadata={"x": 1})), state=begin(run))
    assert [asked.call_id for asked in asks(facts)] == ["ask-1", "c-1", "c-2"]
    _, facts = fold(started(), *frames, paused(framework("af-1", "tc-9", "pay")), state=begin(run))
    assert [asked.call_id for asked in asks(facts)] == ["af-1", "c-1"]  # its own second signal of the same pause


@pytest.mark.parametrize("name", ["langgraph, defaults", "mastra, before", "adk, defaults", "first draft"])
def test_who_pins_plain_wants_no_other_form_answered(name: str) -> None:
    state, found = one(*CASES[name].frames, pinned="plain")
    assert [asked.problem.startswith("paused in a form") for asked in found] == [True]
    assert state.asks == ()


def test_forwarded_properties_go_along_without_an_old_command() -> None:
    opening = tapes.opening("langgraph/legacy-01-run1-email")
    body = {**json.loads(opening.body or b""), "forwardedProps": {"tenant": 5, "command": {"resume": "old"}}}
    call = Call("POST", URL, body=json.dumps(body).encode())
    state, facts = tapes.play("langgraph/legacy-01-run1-email", call=call)
    sent_body = answered(state, answer(asks(facts)[0]))
    assert sent_body["forwardedProps"] == {"tenant": 5, "command": {"resume": {"approved": True}}}
    call = Call("POST", URL, body=json.dumps({**body, "forwardedProps": [1]}).encode())
    state, facts = tapes.play("langgraph/legacy-01-run1-email", call=call)
    with pytest.raises(WireError, match="no object"):
        answered(state, answer(asks(facts)[0]))


# --- with which arguments a call ran ---


def ran(facts: list[Fact]) -> list[Executed]:
    return [fact for fact in facts if isinstance(fact, Executed)]


def test_an_answering_run_that_tells_the_call_again_tells_what_it_ran_with() -> None:
    case = CASES["langgraph, its middleware"]
    facts = after(case, *called("tc-4", "send_email", EDITED), result(), finished("run-2"))
    assert ran(facts) == [Executed("tc-4", "send_email", EDITED)]


def test_a_result_alone_and_a_run_that_answers_nothing_tell_no_arguments() -> None:
    assert ran(after(CASES["pydantic-ai"], result(), finished("run-2"))) == []
    _, facts = fold(started(), *mail(), result(), finished(), state=begin())
    assert ran(facts) == []
