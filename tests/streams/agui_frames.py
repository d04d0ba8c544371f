"""Short ways to say AG-UI frames in tests, and to fold them."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from streams.events import Asked, Broken, Ended, Fact
from streams.providers.agui import AGUI
from streams.providers.agui.state import State
from streams.providers.base import Account, Answer, Call, Question, RunView
from streams.sse import Frame

agui = AGUI()
ACCOUNT = Account("http://127.0.0.1:9101/agent/", secret="token-for-tests")
RUN = RunView(UUID(int=1), external_id="run-1", thread_id="th-8", task="Pay invoice 17")
KEY = UUID("00000000-0000-4000-8000-000000000007")
APPROVE_SCHEMA = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "editedArgs": {"type": "object"}, "reason": {"type": "string"}},
    "required": ["approved"],
}


def ev(kind: str, **fields: Any) -> Frame:
    return Frame(data=json.dumps({"type": kind, **fields}))


def started(run: str = "run-1", thread: str = "th-8") -> Frame:
    return ev("RUN_STARTED", threadId=thread, runId=run)


def finished(run: str = "run-1", thread: str = "th-8", **fields: Any) -> Frame:
    return ev("RUN_FINISHED", threadId=thread, runId=run, **fields)


def called(
    call_id: str = "tc-4", name: str = "pay", arguments: str = '{"amount": 120}', pieces: int = 3
) -> list[Frame]:
    size = max(1, len(arguments) // pieces)
    deltas = [arguments[index : index + size] for index in range(0, len(arguments), size)]
    return [
        ev("TOOL_CALL_START", toolCallId=call_id, toolCallName=name),
        *(ev("TOOL_CALL_ARGS", toolCallId=call_id, delta=delta) for delta in deltas),
        ev("TOOL_CALL_END", toolCallId=call_id),
    ]


def said(message_id: str = "m2", text: str = "Let me pay.") -> list[Frame]:
    return [
        ev("TEXT_MESSAGE_START", messageId=message_id, role="assistant"),
        ev("TEXT_MESSAGE_CONTENT", messageId=message_id, delta=text),
        ev("TEXT_MESSAGE_END", messageId=message_id),
    ]


def interrupt(interrupt_id: str = "ask-1", **fields: Any) -> dict[str, Any]:
    made = {"id": interrupt_id, "reason": "tool_call", "toolCallId": "tc-4", "responseSchema": APPROVE_SCHEMA, **fields}
    return {key: value for key, value in made.items() if value is not ...}


def paused(*interrupts: dict[str, Any]) -> Frame:
    return finished(outcome={"type": "interrupt", "interrupts": list(interrupts or [interrupt()])})


def begin(run: RunView = RUN, account: Account = ACCOUNT, call: Call | None = None) -> State:
    return agui.initial(account, run, call)


def fold(*frames: Frame, state: State | None = None) -> tuple[State, list[Fact]]:
    state = begin() if state is None else state
    facts: list[Fact] = []
    for frame in frames:
        state, told = agui.step(state, frame)
        facts += told
    return state, facts


def asks(facts: Sequence[Fact]) -> list[Asked]:
    return [fact for fact in facts if isinstance(fact, Asked)]


def end(facts: Sequence[Fact]) -> Ended:
    (found,) = [fact for fact in facts if isinstance(fact, Ended)]
    return found


def broken(facts: Sequence[Fact]) -> list[str]:
    return [fact.problem for fact in facts if isinstance(fact, Broken)]


def question(asked: Asked) -> Question:
    return Question(asked.call_id, asked.tool, asked.arguments, asked.tool_call_id, asked.answer_schema, asked.dialect)


def answer(asked: Asked, verdict: Any = "approve", **fields: Any) -> Answer:
    return Answer(question(asked), verdict, KEY, **fields)


def body_of(call: Call) -> dict[str, Any]:
    return json.loads(call.body or b"")  # type: ignore[no-any-return]
