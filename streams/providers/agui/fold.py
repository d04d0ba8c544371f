"""One frame onto the state: the ordering rules of AG-UI 1.0, chunk expansion, messages and state.

Source: docs.ag-ui.com/spec/1.0 `events/*` and `basic/patterns/*`, read 2026-11. A known field with a bad value or a
broken order ends the run as failed (`protocol_violation`); unknown events and unreadable data are marked, no more.
"""

from typing import Any, Final

from streams import dialects, jsontext, patch
from streams.events import Broken, Ended, Executed, Fact, MovedOn, Started, short, text
from streams.providers.agui import calls, chunks, conclude, history, items, older, wire
from streams.providers.agui.items import Folded, Handler
from streams.providers.agui.state import (
    ACTIVE,
    AHEAD,
    CLOSED,
    ENDED,
    FAILED,
    LIVE,
    NEW,
    PAUSED,
    REJECTED,
    Rope,
    State,
)
from streams.providers.agui.wire import Event, Violation


def step(state: State, data: str) -> Folded:
    """Fold one frame's data. Never raises for what a provider sent."""
    try:
        event, odd = wire.decode(data)
    except wire.Unreadable as exc:
        return _torn(state), (Broken(short(str(exc), 300)),)
    try:
        state, facts = _event(state, event, data, odd)
    except Violation as exc:
        return _reject(state, str(exc))
    except RecursionError:
        return _reject(state, "nested too deeply to be kept")
    return state, (*facts, Broken(short(f"not strictly JSON: {odd}", 300))) if odd else facts


def _event(state: State, event: Event, data: str, odd: str) -> Folded:
    kind = event.get("type")
    if type(kind) is not str:
        return _torn(state), (Broken("an event without a type"),)
    if kind in wire.RETIRED:
        state, event = _translated(state, event, kind)
        kind = wire.RETIRED[kind]
    handle = HANDLERS.get(kind)
    if handle is None:
        return state, (Broken(f"an event of an unknown type: {short(kind, 100)}"),)
    if state.phase == REJECTED:
        return state, (Broken("came after the stream broke the protocol: not followed"),)
    event = wire.check(kind, event)
    if state.phase != ACTIVE or kind == "RUN_STARTED":
        _check_phase(state, kind)
    if state.chunked and kind not in chunks.BESIDE and not kind.endswith("_CHUNK"):
        state = chunks.close(state, chunks.lane_touched(state, kind, event))
    if odd or "metadata" in event or kind == "TOOL_CALL_RESULT":
        event = _keepable(event, odd)
    if kind in KEEPS_VALUE:
        if trouble := _unkeepable(kind, event, data, odd):
            return state, (Broken(trouble),)
        try:
            event = _exact(kind, event, data)
        except ValueError as exc:
            return state, (Broken(short(f"{kind} was not applied: {exc}", 300)),)
    if kind == "RUN_FINISHED":
        return _run_finished(state, event, data)
    if kind == "CUSTOM":
        return _custom(state, event, data)
    return handle(state, event)


# --- the stream ---


def _check_phase(state: State, kind: str) -> None:
    if state.phase == NEW and kind not in ("RUN_STARTED", "RUN_ERROR"):
        raise Violation(f"the stream begins with {kind}")
    if state.phase == ACTIVE and kind == "RUN_STARTED":
        raise Violation("RUN_STARTED while a run is active")
    if state.phase == CLOSED and kind not in ("RUN_STARTED", "RUN_ERROR"):
        raise Violation(f"{kind} after RUN_FINISHED")
    if state.phase == FAILED and kind != "RUN_STARTED":
        raise Violation(f"{kind} after RUN_ERROR")


def _reject(state: State, why: str) -> Folded:
    """From here on nothing on the stream counts; what was delivered before stays, an ended run included."""
    why = short(f"protocol violation: {why}", 500)
    facts: tuple[Fact, ...] = (Broken(why),)
    if state.ours in (AHEAD, LIVE):
        facts = (*facts, Ended("failed", "protocol_violation", why))
        state = state._replace(ours=ENDED)
    return state._replace(phase=REJECTED, open={}, chunked={}), facts


def _torn(state: State) -> State:
    """An unreadable frame: a piece of anything that is open may be missing."""
    if not state.open:
        return state
    return state._replace(open={key: item._replace(torn=True) for key, item in state.open.items()})


def _run_started(state: State, event: Event) -> Folded:
    run_id, thread_id = event["runId"], event["threadId"]
    facts: list[Fact] = []
    ours = state.ours
    if run_id == state.opening.run_id:
        if ours != AHEAD:
            raise Violation("RUN_STARTED with the id of a run that has ended")
        if thread_id != state.opening.thread_id:
            raise Violation("RUN_STARTED of our run names another thread")
        ours = LIVE
        facts.append(Started(run_id, thread_id))
        if newer := wire.other_version(event):
            facts.append(Broken(newer))
    elif ours == PAUSED:  # the thread went on without an answer: only the last interrupted run can be open
        facts += [MovedOn("another run began"), Ended("finished", "continued")]
        ours, state = ENDED, state._replace(asks=())
    state = state._replace(
        phase=ACTIVE, ours=ours, run_id=run_id, open={}, chunked={}, gone=frozenset(), older=(), error=""
    )
    return state, tuple(facts)


def _run_finished(state: State, event: Event, data: str) -> Folded:
    if event["runId"] != state.run_id:
        raise Violation("RUN_FINISHED of another run than the active one")
    if state.open:
        raise Violation(f"RUN_FINISHED while {short(next(iter(state.open)), 100)} is open")
    if state.ours != LIVE:  # history
        conclude.check_outcome(event)
        return state._replace(phase=CLOSED), ()
    if event["threadId"] != state.opening.thread_id:
        raise Violation("RUN_FINISHED of our run names another thread")
    asks, facts = conclude.conclude(state, event, data)
    paused = bool(asks)
    return state._replace(phase=CLOSED, ours=PAUSED if paused else ENDED, asks=asks), facts


def _run_error(state: State, event: Event) -> Folded:
    code, message = event.get("code", ""), event["message"]
    error = short(f"{code}: {message}" if code else message, 2_000)
    first, ours = state.phase == NEW, state.ours
    own = first or (ours != AHEAD and state.run_id == state.opening.run_id)
    state = items.finish_all(state)._replace(phase=FAILED, open={}, chunked={})
    if dialects.not_accepted(error) and (state.size or state.calls or state.results):
        error = f"{dialects.HAD_GONE_ON}: {error}"  # words of a refusal, but something was done before them
    if own:  # also late: after RUN_FINISHED, an interrupt included, the run counts as failed
        return state._replace(ours=ENDED, asks=()), (Ended("failed", short(code or "error", 60), error),)
    return state._replace(error=error if ours == AHEAD else ""), ()


def _translated(state: State, event: Event, kind: str) -> tuple[State, Event]:
    """Retired THINKING_*: the same without an id, so one is made up; spans and messages have their own."""
    count, span, message = state.thinking
    part = "message" if "MESSAGE" in kind else "span"
    current = message if part == "message" else span
    if kind.endswith("_START"):
        count += 1
        current = f"thinking-{part}-{state.opening.run_id}-{count}"
        state = state._replace(thinking=(count, span, current) if part == "message" else (count, current, message))
    return state, {**event, "messageId": current or "thinking"}


def _call_result(state: State, event: Event) -> Folded:
    """A result. In a run that carries an answer it tells with which arguments a call ran, where the call is told whole.

    Of a call that was told in pieces of which one is missing or unreadable, nobody can say what it ran with.
    """
    state, facts = items.call_result(state, event)
    call_id = event["toolCallId"]
    told = state.calls.get(call_id)
    if not state.opening.resumes or state.ours != LIVE or told is None or told.run_id != state.run_id:
        return state, facts
    if told.torn or calls.arguments_of(told.arguments) is None:
        return state, facts
    arguments = text(told.arguments)[0]
    return state, (*facts, Executed(short(call_id, 300), short(told.name, 300), arguments))


# --- values ---

KEEPS_VALUE: Final = frozenset({"STATE_SNAPSHOT", "STATE_DELTA", "MESSAGES_SNAPSHOT"})


def _unkeepable(kind: str, event: Event, data: str, odd: str) -> str:
    """Why a value cannot be kept and sent back as JSON; the older one stands until the next snapshot."""
    if odd:
        return f"{kind} is not strictly JSON and was not applied"
    if len(data) > patch.MAX_SIZE:
        return f"{kind} is too large and was not applied"
    return f"{kind} is nested too deeply and was not applied" if jsontext.too_deep(event) else ""


def _keepable(event: Event, odd: str) -> Event:
    """The event without what no checkpoint or later input could carry: values not JSON, or nested too deeply."""
    if not odd and not jsontext.too_deep(event):
        return event
    made = {key: value for key, value in event.items() if key != "metadata"}
    if isinstance(made.get("content"), list):
        made["content"] = "(content that could not be read)"
    return made


def _exact(kind: str, event: Event, data: str) -> Event:
    """The same event with whole numbers past 64 bits as they are: the quick parser makes floats of them."""
    if jsontext.has_long_number(data):
        return wire.check(kind, jsontext.parse(data))
    return event


def _state_snapshot(state: State, event: Event) -> Folded:
    return state._replace(value=event["snapshot"]), ()


def _state_delta(state: State, event: Event) -> Folded:
    try:
        operations, unknown = patch.check(event["delta"])
    except patch.MalformedPatch as exc:
        raise Violation(f"STATE_DELTA: {exc}") from exc
    facts: tuple[Fact, ...] = tuple(Broken(f"STATE_DELTA: unknown op {short(op, 60)}") for op in unknown[:1])
    try:
        return state._replace(value=patch.apply(state.value, operations)), facts
    except patch.PatchFailed as exc:
        return state, (*facts, Broken(short(f"STATE_DELTA does not apply: {exc}", 300)))


def _activity_delta(state: State, event: Event) -> Folded:
    """Activities are for the screen and are never sent back: only the patch's shape is checked."""
    try:
        patch.check(event["patch"])
    except patch.MalformedPatch as exc:
        raise Violation(f"ACTIVITY_DELTA: {exc}") from exc
    return state, ()


def _messages_snapshot(state: State, event: Event) -> Folded:
    messages, unknown = history.restated(state.messages, event["messages"])
    opened = {
        key: item._replace(rope=Rope(history.content_of(messages, key.removeprefix("text:"))))
        if key.startswith("text:") and key.removeprefix("text:") in messages
        else item
        for key, item in state.open.items()
    }
    facts = tuple(Broken(f"MESSAGES_SNAPSHOT: unknown role {short(role, 60)}") for role in unknown[:1])
    return state._replace(messages=messages, open=opened), facts


def _encrypted(state: State, event: Event) -> Folded:
    messages = history.sealed(state.messages, event)
    if messages is None:
        return state, (Broken("REASONING_ENCRYPTED_VALUE for nothing that is known"),)
    return state._replace(messages=messages), ()


def _custom(state: State, event: Event, data: str) -> Folded:
    if event["name"] in older.CUSTOMS and len(state.older) < older.MAX_ASKS:
        return state._replace(older=(*state.older, data)), ()
    return state, ()


def _ignored(state: State, event: Event) -> Folded:
    return state, ()


HANDLERS: Final[dict[str, Handler]] = {
    "RUN_STARTED": _run_started,
    "RUN_FINISHED": _ignored,  # needs the raw data: see _event
    "RUN_ERROR": _run_error,
    "STEP_STARTED": items.step_started,
    "STEP_FINISHED": items.step_finished,
    "TEXT_MESSAGE_START": items.text_start,
    "TEXT_MESSAGE_CONTENT": items.text_content,
    "TEXT_MESSAGE_END": items.text_end,
    "TEXT_MESSAGE_CHUNK": chunks.text_chunk,
    "TOOL_CALL_START": items.call_start,
    "TOOL_CALL_ARGS": items.call_args,
    "TOOL_CALL_END": items.call_end,
    "TOOL_CALL_CHUNK": chunks.call_chunk,
    "TOOL_CALL_RESULT": _call_result,
    "STATE_SNAPSHOT": _state_snapshot,
    "STATE_DELTA": _state_delta,
    "MESSAGES_SNAPSHOT": _messages_snapshot,
    "ACTIVITY_SNAPSHOT": _ignored,
    "ACTIVITY_DELTA": _activity_delta,
    "REASONING_START": items.span_start,
    "REASONING_END": items.span_end,
    "REASONING_MESSAGE_START": items.reasoning_start,
    "REASONING_MESSAGE_CONTENT": items.reasoning_content,
    "REASONING_MESSAGE_END": items.reasoning_end,
    "REASONING_MESSAGE_CHUNK": chunks.reasoning_chunk,
    "REASONING_ENCRYPTED_VALUE": _encrypted,
    "SUBAGENT_STARTED": items.subagent_started,
    "SUBAGENT_FINISHED": items.subagent_ended,
    "SUBAGENT_ERROR": items.subagent_ended,
    "RAW": _ignored,
    "CUSTOM": _ignored,  # needs the raw data: see _event
}


def fresh_value(value: Any) -> Any:
    """The state that a run starts from: the input's, or the empty object."""
    return {} if value is None else value
