"""How the timeline reads a thread's events. Stateless and total.

Source: langgraph-api 0.16.7, 2026-11: `messages` is a pair of a message (or a piece of one) and what is known of it,
`updates` what each node wrote; both tell the same messages, so those of `updates` are left out.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from streams import jsontext
from streams.events import Line, short
from streams.providers.base import READ_BACK
from streams.providers.langgraph import fold, questions, wire
from streams.providers.langgraph.wire import INTERRUPT, Unreadable, string

NOTE_LIMIT, BODY_LIMIT, NODES_MAX = 2_000, 6_000, 100


def read(kind: str, payload: str) -> tuple[Line, ...]:
    """The lines of one stored event."""
    name = fold.kind_of(kind)
    if name == "messages":
        return _message(payload)
    try:
        if kind == READ_BACK:
            return tuple(_state(payload))
        event = wire.parse(payload)
    except Unreadable:
        return (Line("note", payload[:NOTE_LIMIT], label=kind),)
    match name:
        case "metadata" if event.get("status") == "run_done":
            return (Line("step", label="run", key=f"run {string(event.get('run_id'))[:200]}", ended=True),)
        case "metadata":
            return (Line("start", key=string(event.get("run_id"))[:200]),)
        case "updates":
            return tuple(_nodes(event, payload))
        case "values":
            return (Line("state", payload[:BODY_LIMIT], label="values", key="values", whole=True),)
        case "error":
            words = string(event.get("message")) or string(event.get("error"))
            return (Line("note", short(words, NOTE_LIMIT) or payload[:NOTE_LIMIT], label=kind),)
    return (Line("note", payload[:NOTE_LIMIT], label=kind),)


def _message(payload: str) -> tuple[Line, ...]:
    try:
        found = jsontext.quick(payload)
    except ValueError:
        return (Line("note", payload[:NOTE_LIMIT], label="messages"),)
    message = found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else None
    if message is None:
        return (Line("note", payload[:NOTE_LIMIT], label="messages"),)
    content, key = _text(message.get("content")), string(message.get("id"))[:200]
    if message.get("type") == "tool":
        call = string(message.get("tool_call_id"))[:200]
        return (Line("result", content, label=short(string(message.get("name")), 300), key=call),)
    role = "user" if message.get("type") == "human" else "assistant"
    said = (Line("text", content, key=key, role=role),) if content else ()
    return (*said, *_calls(message.get("tool_calls")))


def _calls(found: Any) -> Iterator[Line]:
    for call in found[:NODES_MAX] if isinstance(found, list) else []:
        if isinstance(call, dict) and string(call.get("name")):
            key = string(call.get("id"))[:200]
            yield Line("tool", _json(call.get("args")), label=short(string(call.get("name")), 300), key=key)


def _text(content: Any) -> str:
    """A text, or the texts of a list of blocks."""
    if isinstance(content, str):
        return string(content)
    blocks = content[:NODES_MAX] if isinstance(content, list) else []
    return "".join(string(block.get("text")) if isinstance(block, dict) else string(block) for block in blocks)


def _nodes(event: Mapping[str, Any], payload: str) -> Iterator[Line]:
    yield from _asks(wire.raised(payload, event.get(INTERRUPT), (INTERRUPT,)))
    for name in list(event)[:NODES_MAX]:
        if name != INTERRUPT:
            yield Line("step", label=short(name, 300), ended=True)


def _state(payload: str) -> Iterator[Line]:
    seen = wire.state(payload)
    yield from _asks(seen.raised)
    if seen.error:
        yield Line("note", seen.error, label="error")
    elif seen.begun and not seen.next and not seen.raised:
        yield Line("end", label="done", ended=True)


def _asks(found: tuple[wire.Raised, ...]) -> Iterator[Line]:
    for one in questions.read(found, own=False):
        yield Line("ask", one.asked.arguments, label=one.asked.tool, key=one.asked.call_id, whole=True)


def _json(value: Any) -> str:
    try:
        return short(jsontext.dumps(value), BODY_LIMIT)
    except (ValueError, TypeError):
        return "nested too deeply to be shown here"
