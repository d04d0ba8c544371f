"""Each framework's pause and the answers it understands, as a table.

Frames of frameworks without a tape are made after what their servers were observed to send, 2026-11.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from streams.events import Asked, Fact
from streams.providers.agui.state import State
from streams.providers.base import Account, Applied, Call, Carried
from streams.sse import Frame
from tests.streams.agui_frames import (
    RUN,
    agui,
    answer,
    asks,
    begin,
    body_of,
    called,
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
ADK_ARGUMENTS = {**ADK_CALL, "toolConfirmation": {"hint": "?", "confirmed": False, "payload": ARGS}}
ADK_PAYLOAD = {**ADK_CALL, "toolConfirmation": {"hint": "?", "confirmed": False, "payload": {"to": ""}}}
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
        verified=True,
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
        remembers=False,
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
        verified=True,
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
        verified=True,
    ),
    "adk, defaults": Case(
        [*mail(), *called("adk-1", "adk_request_confirmation", json.dumps(ADK_CALL)), ADK_ERROR, finished()],
        name="adk",
        approve=spoken('{"confirmed":true}', "adk-1"),
        reject=spoken('{"confirmed":false}', "adk-1"),
        key="adk-1",
        verified=True,
    ),
    "adk, arguments": Case(
        [
            *mail(),
            *called("adk-1", "adk_request_confirmation", json.dumps(ADK_ARGUMENTS)),
            result(content='{"status": "a person is asked"}'),
            paused(interrupt("adk-1", toolCallId="adk-1", responseSchema=..., metadata={"adk": ADK_ARGUMENTS})),
        ],
        name="adk",
        approve=entry({"confirmed": True, "payload": ARGS}, "adk-1"),
        reject=entry({"confirmed": False}, "adk-1"),
        edit=entry({"confirmed": True, "payload": json.loads(EDITED)}, "adk-1"),
        nobody=cancelled("adk-1"),
        key="adk-1",
        verified=True,
    ),
    "adk, payload": Case(
        [*mail(), *called("adk-1", "adk_request_confirmation", json.dumps(ADK_PAYLOAD)), finished()],
        name="adk",
        approve=spoken('{"confirmed":true,"payload":{"to":"bo"}}', "adk-1"),
        reject=spoken('{"confirmed":false}', "adk-1"),
        own='{"to": "bo"}',
        key="adk-1",
        verified=True,
    ),
    "crewai": Case(
        [ev("CUSTOM", name="on_interrupt", value=crewai()), paused(crewai())],
        name="crewai",
        own='"approved"',
        approve=entry("approved", "th-8"),
        taken=[],
        key="th-8~run-1",
        verified=True,
    ),
    "crewai, a choice": Case(
        [ev("CUSTOM", name="on_interrupt", value=crewai()), paused(crewai(responseSchema=EMIT))],
        name="crewai",
        approve=entry("approved", "th-8"),
        reject=entry("rejected", "th-8"),
        taken=[],
        key="th-8~run-1",
        verified=True,
    ),
    "crewai, defaults": Case(
        [ev("CUSTOM", name="on_interrupt", value=crewai(responseSchema=EMIT)), finished()],
        name="crewai",
        approve=entry("approved", "th-8"),
        reject=entry("rejected", "th-8"),
        taken=[],
        key="th-8~run-1",
        verified=True,
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
        verified=True,
    ),
    "mastra, before": Case(
        [ev("CUSTOM", name="on_interrupt", value=json.dumps(SUSPENDED)), finished()],
        name="mastra",
        approve=command(YES, interruptEvent=json.dumps(SUSPENDED)),
        reject=command(NO, interruptEvent=json.dumps(SUSPENDED)),
        key="m-1::tc-4",
        verified=True,
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
        verified=True,
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


def proofs(case: Case, *frames: Frame) -> list[Applied | None]:
    _, _, asked = pause(case)
    carried = Carried(question(asked), "approve", only_open=True, answering_run="run-2")
    return [agui.evidence(carried, agui.kind_of(frame), frame.data) for frame in frames]


def after(case: Case, *frames: Frame) -> list[Fact]:
    """The run that the approval opened."""
    state = agui.initial(account(case), RUN, send(case, "approve"))
    return fold(started("run-2"), *frames, state=state)[1]
