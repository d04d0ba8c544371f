"""How the timeline reads a run's events. Stateless and total. Source: agno 3.1.10, 2026-11."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from streams import jsontext
from streams.events import Line, short
from streams.providers.agno import questions, wire
from streams.providers.agno.wire import Unreadable, string
from streams.providers.base import READ_BACK

NOTE_LIMIT, BODY_LIMIT = 2_000, 6_000
SILENT: Final = frozenset(  # around what other events tell
    {"ModelRequestStarted", "ModelRequestCompleted", "RunContentCompleted", "RunContinued"}
)


def read(kind: str, payload: str) -> tuple[Line, ...]:
    """The lines of one stored event."""
    try:
        event = wire.parse(payload)
    except Unreadable:
        return (Line("note", payload[:NOTE_LIMIT], label=kind),)
    match kind:
        case "RunStarted":
            return (Line("start", key=string(event.get("run_id"))[:200]),)
        case "RunContent" | "RunIntermediateContent":
            return tuple(_said(event))
        case "ToolCallStarted" | "ToolCallCompleted" | "ToolCallError":
            return _call(kind, event.get("tool"))
        case "RunPaused":
            return tuple(_asks(payload, event))
        case "RunCompleted" | "RunCancelled":
            return (Line("end", label=kind, ended=True),)
        case "RunError" | "error":
            words = string(event.get("content")) or string(event.get("error"))
            return (Line("note", short(words, NOTE_LIMIT) or payload[:NOTE_LIMIT], label=kind),)
    if kind == READ_BACK:
        return tuple(_run(payload))
    return () if kind in SILENT else (Line("note", payload[:NOTE_LIMIT], label=kind),)


def _said(event: Mapping[str, Any]) -> Iterator[Line]:
    if thought := string(event.get("reasoning_content")):
        yield Line("reasoning", thought, key="thought", role="assistant")
    if said := string(event.get("content")):
        yield Line("text", said, key="answer", role="assistant")


def _call(kind: str, found: Any) -> tuple[Line, ...]:
    tool = found if isinstance(found, dict) else {}
    name, key = short(string(tool.get("tool_name")), 300), string(tool.get("tool_call_id"))[:200]
    if kind == "ToolCallStarted":
        return (Line("tool", _json(tool.get("tool_args")), label=name, key=key),)
    result = tool.get("result")
    return (Line("result", short(string(result) or _json(result), BODY_LIMIT), label=name, key=key),)


def _asks(payload: str, event: Mapping[str, Any]) -> Iterator[Line]:
    for one in questions.read(wire.tools(payload, event)):
        yield Line("ask", one.arguments, label=one.tool, key=one.call_id, whole=True)


def _run(payload: str) -> Iterator[Line]:
    try:
        seen = wire.run(payload)
    except Unreadable:
        yield Line("note", payload[:NOTE_LIMIT], label=READ_BACK)
        return
    for one in questions.read(seen.tools) if seen.status == wire.WAITING else ():
        yield Line("ask", one.arguments, label=one.tool, key=one.call_id, whole=True)
    if seen.status in (wire.COMPLETED, wire.FAILED, wire.CANCELLED):
        yield Line("end", label=short(seen.word, 60), ended=True)
    else:
        yield Line("state", short(seen.word, 60), label="status", key="status", whole=True)


def _json(value: Any) -> str:
    try:
        return short(jsontext.dumps(value), BODY_LIMIT) if value is not None else ""
    except (ValueError, TypeError):
        return "nested too deeply to be shown here"
