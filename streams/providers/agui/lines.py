"""How the timeline reads a stored AG-UI event. Stateless and total."""

from collections.abc import Mapping
from typing import Any

from streams import jsontext
from streams.events import Line
from streams.providers.agui.wire import RETIRED

NOTE_LIMIT = 2_000


def read(kind: str, payload: str) -> tuple[Line, ...]:
    """The lines of one event; none for what only machines read (RAW, encrypted values)."""
    try:
        event = jsontext.quick(payload)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        return (Line("note", payload[:NOTE_LIMIT], label=kind),)
    told = event.get("type")
    name = told if isinstance(told, str) else kind
    return _lines(RETIRED.get(name, name), event, payload)


def _lines(kind: str, event: Mapping[str, Any], payload: str) -> tuple[Line, ...]:
    family, _, act = kind.rpartition("_")
    message, call = _text(event, "messageId"), _text(event, "toolCallId")
    delta, ended = _text(event, "delta"), act in ("END", "FINISHED")
    match family:
        case "TEXT_MESSAGE":
            role = _text(event, "role") or ("assistant" if act in ("START", "CHUNK") else "")
            return (Line("text", delta, key=message, role=role, ended=ended),)
        case "REASONING_MESSAGE":
            return (Line("reasoning", delta, key=message, role="reasoning", ended=ended),)
        case "TOOL_CALL":
            return _tool(act, event, payload, call, delta)
        case "STEP":
            return (Line("step", label=_text(event, "stepName"), key=_text(event, "stepName"), ended=ended),)
        case "SUBAGENT":
            body = _text(event, "message") or _text(event, "description")
            what = _text(event, "name") or _text(event, "subagentRunId")
            return (Line("step", body, label=what, key=_text(event, "subagentRunId"), ended=act != "STARTED"),)
        case "STATE" | "MESSAGES" | "ACTIVITY":
            return (Line("state", _part(payload, event), label=kind),)
        case "RUN":
            return _run(kind, event)
    if kind in ("RAW", "REASONING_ENCRYPTED_VALUE", "REASONING_START", "REASONING_END"):
        return ()
    label = _text(event, "name") if kind == "CUSTOM" else kind
    return (Line("note", (_part(payload, event) or payload)[:NOTE_LIMIT], label=label or kind),)


def _tool(act: str, event: Mapping[str, Any], payload: str, call: str, delta: str) -> tuple[Line, ...]:
    name = _text(event, "toolCallName")
    if act == "RESULT":
        content = event.get("content")
        return (Line("result", content if isinstance(content, str) else _part(payload, event), key=call),)
    lines = [Line("tool", label=name, key=call)] if act == "START" or (act == "CHUNK" and name) else []
    if act in ("ARGS", "END") or (act == "CHUNK" and delta):
        lines.append(Line("arguments", delta, key=call, ended=act == "END"))
    return tuple(lines)


def _run(kind: str, event: Mapping[str, Any]) -> tuple[Line, ...]:
    if kind == "RUN_STARTED":
        return (Line("start", key=_text(event, "runId")),)
    if kind == "RUN_ERROR":
        return (Line("end", _text(event, "message"), label=_text(event, "code") or "error", ended=True),)
    outcome = event.get("outcome")
    said = outcome.get("type") if isinstance(outcome, dict) else outcome
    found = outcome.get("interrupts") if isinstance(outcome, dict) else None
    asks = [
        Line("ask", _text(interrupt, "message"), label=_text(interrupt, "reason"), key=_text(interrupt, "id"))
        for interrupt in (found if isinstance(found, list) else [])
        if isinstance(interrupt, dict)
    ]
    return (*asks, Line("end", label=said if isinstance(said, str) else "finished", ended=True))


def _text(event: Mapping[str, Any], name: str) -> str:
    found = event.get(name)
    if found is None:
        found = event.get("".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name))
    return found if isinstance(found, str) else ""


def _part(payload: str, event: Mapping[str, Any]) -> str:
    """The value that an event is about, exactly as it is spelled."""
    for key in ("snapshot", "delta", "patch", "messages", "content", "value"):
        if key in event:
            try:
                return jsontext.raw_slice(payload, [key])
            except (ValueError, LookupError):
                return ""
    return ""
