"""What is opened, goes on and ends: messages, calls, reasoning, steps, subagents.

Source: docs.ag-ui.com/spec/1.0 `basic/patterns/streaming` and `events/*`, read 2026-11.
"""

from collections.abc import Callable
from typing import Final

from streams import jsontext
from streams.events import Broken, Fact, short
from streams.providers.agui import history, wire
from streams.providers.agui.state import Open, Rope, State, ToolCall
from streams.providers.agui.wire import Event, Violation

MAX_SIZE: Final = 64 * 1024 * 1024  # characters that one stream may say: it all stays in memory
Folded = tuple[State, tuple[Fact, ...]]
Handler = Callable[[State, Event], Folded]


def begin(state: State, kind: str, name: str, item: Open) -> State:
    key = f"{kind}:{name}"
    if key in state.open:
        raise Violation(f"{short(key, 100)} is started twice")
    return state._replace(open={**state.open, key: item})


def going(state: State, kind: str, name: str, event: Event) -> Open:
    item = state.open.get(f"{kind}:{name}")
    if item is None:
        raise Violation(f"{short(f'{kind}:{name}', 100)} goes on without a start")
    if "subagentRunId" in event and event["subagentRunId"] != item.owner:
        raise Violation(f"{short(f'{kind}:{name}', 100)} goes on under another owner")
    return item


def grow(state: State, kind: str, name: str, delta: str, event: Event) -> State:
    item = going(state, kind, name, event)
    size = state.size + len(delta)
    if size > MAX_SIZE:
        raise Violation(f"more than {MAX_SIZE} characters on one stream")
    grown = Open(item.owner, item.rope.plus(delta), item.name, item.role, item.parent, item.torn)
    return state._replace(open={**state.open, f"{kind}:{name}": grown}, size=size)


def without(state: State, key: str) -> State:
    return state._replace(open={other: item for other, item in state.open.items() if other != key})


def finish(state: State, key: str) -> State:
    """End an item: its text goes into the conversation."""
    item = state.open[key]
    kind, _, name = key.partition(":")
    state = without(state, key)
    if kind in ("text", "reasoning"):
        role = "reasoning" if kind == "reasoning" else item.role
        return state._replace(messages=history.said(state.messages, name, str(item.rope), role))
    if kind == "call":
        arguments = str(item.rope)
        made = ToolCall(item.name, arguments, state.run_id, item.torn)
        messages = history.called(state.messages, name, item.name, arguments, item.parent, item.owner)
        return state._replace(calls={**state.calls, name: made}, messages=messages)
    return state


def finish_all(state: State) -> State:
    for key in list(state.open):
        state = finish(state, key)
    return state


def text_start(state: State, event: Event) -> Folded:
    name, role = event["messageId"], event.get("role", "assistant")
    role = (
        role if role in wire.ROLES else "assistant"
    )  # an unknown member of the set is stripped, and absent means this
    rope = Rope(history.content_of(state.messages, name))
    item = Open(event.get("subagentRunId", ""), rope, event.get("name", ""), role)
    state = begin(state, "text", name, item)
    return state._replace(messages=history.opened(state.messages, name, role, event)), ()


def text_content(state: State, event: Event) -> Folded:
    state = grow(state, "text", event["messageId"], event["delta"], event)
    return metadata(state, event["messageId"], event), ()


def text_end(state: State, event: Event) -> Folded:
    going(state, "text", event["messageId"], event)
    return metadata(finish(state, f"text:{event['messageId']}"), event["messageId"], event), ()


def reasoning_start(state: State, event: Event) -> Folded:
    name = event["messageId"]
    rope = Rope(history.content_of(state.messages, name))
    state = begin(state, "reasoning", name, Open(event.get("subagentRunId", ""), rope, role="reasoning"))
    return state._replace(messages=history.opened(state.messages, name, "reasoning", event)), ()


def reasoning_content(state: State, event: Event) -> Folded:
    state = grow(state, "reasoning", event["messageId"], event["delta"], event)
    return metadata(state, event["messageId"], event), ()


def reasoning_end(state: State, event: Event) -> Folded:
    going(state, "reasoning", event["messageId"], event)
    return metadata(finish(state, f"reasoning:{event['messageId']}"), event["messageId"], event), ()


def metadata(state: State, message_id: str, event: Event) -> State:
    if "metadata" not in event:
        return state
    return state._replace(messages=history.with_metadata(state.messages, message_id, event))


def span_start(state: State, event: Event) -> Folded:
    return begin(state, "span", event["messageId"], Open(event.get("subagentRunId", ""))), ()


def span_end(state: State, event: Event) -> Folded:
    going(state, "span", event["messageId"], event)
    return without(state, f"span:{event['messageId']}"), ()


def call_start(state: State, event: Event) -> Folded:
    name, tool, owner = event["toolCallId"], event["toolCallName"], event.get("subagentRunId", "")
    before = history.find_call(state.messages, name)
    if name in state.calls:
        before = state.calls[name].name, state.calls[name].arguments  # a closed call goes on where it was
        if before[0] != tool:
            raise Violation("a call is started again under another name")
        torn = state.calls[name].torn
        item = Open(owner, Rope(before[1]), tool, parent=event.get("parentMessageId", ""), torn=torn)
    else:  # a call that only the history knows is told anew, as some servers do after a resume
        item = Open(owner, Rope(), tool, parent=event.get("parentMessageId", ""))
    state = begin(state, "call", name, item)
    arguments = before[1] if before else ""
    return state._replace(messages=history.called(state.messages, name, tool, arguments, item.parent, owner)), ()


def call_args(state: State, event: Event) -> Folded:
    return grow(state, "call", event["toolCallId"], event["delta"], event), ()


def call_end(state: State, event: Event) -> Folded:
    name = event["toolCallId"]
    if state.opening.resumes and f"call:{name}" not in state.open and name not in state.calls:
        # agent-framework 1.7 ends a call of the run before once more after a resume: harmless, and said so
        return state, (Broken("TOOL_CALL_END of a call of an earlier run"),)
    going(state, "call", name, event)
    return finish(state, f"call:{name}"), ()


def call_result(state: State, event: Event) -> Folded:
    content = event["content"]
    size = state.size + (len(content) if isinstance(content, str) else len(jsontext.dumps(content)))
    if size > MAX_SIZE:
        raise Violation(f"more than {MAX_SIZE} characters on one stream")
    messages = history.answered(state.messages, event)
    return state._replace(messages=messages, results=state.results | {event["toolCallId"]}, size=size), ()


def step_started(state: State, event: Event) -> Folded:
    owner = event.get("subagentRunId", "")
    return begin(state, "step", f"{owner}/{event['stepName']}", Open(owner)), ()


def step_finished(state: State, event: Event) -> Folded:
    name = f"{event.get('subagentRunId', '')}/{event['stepName']}"
    going(state, "step", name, event)
    return without(state, f"step:{name}"), ()


def subagent_started(state: State, event: Event) -> Folded:
    name = event["subagentRunId"]
    if name in state.gone:
        raise Violation("SUBAGENT_STARTED with the id of one that has ended in this run")
    return begin(state, "subagent", name, Open(name)), ()


def subagent_ended(state: State, event: Event) -> Folded:
    name = event["subagentRunId"]
    going(state, "subagent", name, event)
    return without(state, f"subagent:{name}")._replace(gone=state.gone | {name}), ()
