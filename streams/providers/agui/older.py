"""Pauses in forms from before AG-UI 1.0, or that a framework has to itself. None of them may look like success.

Two drafts (a text as outcome, `interrupt` or `interrupts` beside it), CUSTOM `on_interrupt` of LangGraph, Mastra and
CrewAI, Agent Framework's `function_approval_request`, calls that servers make up to ask with, and a call without a
result. What cannot be answered from here is shown all the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from streams import dialects, jsontext
from streams.dialects import ADK_CONFIRMS, DIALECTS, PLAIN, SYNTHETIC_CALLS
from streams.events import Asked, short, text
from streams.providers.agui import schema
from streams.providers.agui.state import State, ToolCall
from streams.providers.agui.told import UNANSWERABLE, Told, field, key_of
from streams.providers.agui.wire import Event, Violation

MAX_ASKS: Final = 1_000
CUSTOMS: Final = frozenset({"on_interrupt", "function_approval_request"})
APPROVALS: Final = frozenset({"human_approval", "tool_call", "confirmation"})  # reasons that a yes or no answers
BEFORE_JULY: Final = f"{UNANSWERABLE}: Agent Framework from before July 2026 takes answers of its own kind"
CONTRADICTS: Final = f"{UNANSWERABLE}: it asks, and says that it ended in success"
MAY_WAIT: Final = f"{UNANSWERABLE}: it may be waiting. If the server is Agno, the account's framework can say so"

Read = tuple[list[Told], list[Asked]]  # what can be answered, and what is only shown
NOTHING: Final[Read] = ([], [])


def read(state: State, event: Event, data: str, waiting: Sequence[tuple[str, ToolCall]], ours: set[Any]) -> Read:
    """What RUN_FINISHED asks for without an outcome of AG-UI 1.0. `waiting`: calls of the run without a result."""
    pinned, outcome = state.opening.dialect, event.get("outcome")
    found = _drafts(event, data) or _customs(state, data, said_success=isinstance(outcome, dict))
    if found is None and outcome == "interrupt":
        return [], [shown("interrupt", "", data)]
    if found is None and not isinstance(outcome, dict):
        theirs = [(call_id, call) for call_id, call in waiting if call.name not in ours]
        found = _made_up(theirs) or _silent(theirs, pinned)
    tolds, asked = found or NOTHING
    if tolds and (asked or pinned == PLAIN.name and any(told.channel != "resume" for told in tolds)):
        return [], [*asked, *(shown(told.interrupt["id"] or "interrupt", "", told.text) for told in tolds)]
    return tolds, asked


def shown(given_id: str, tool: str, said: str, why: str = UNANSWERABLE) -> Asked:
    """A question that a person can only read."""
    return Asked(
        call_id=key_of(given_id),
        tool=short(tool or "unknown", 300),
        arguments=text(said)[0],
        reason="older form",
        problem=why,
        together=True,
    )


def _once(asked: Iterable[Asked]) -> list[Asked]:
    return list({one.call_id: one for one in asked}.values())[:MAX_ASKS]


# --- drafts ---


def _drafts(event: Event, data: str) -> Read | None:
    listed, single = event.get("interrupts"), event.get("interrupt")
    if isinstance(listed, list) and listed:
        if all(_well_formed(item) for item in listed[:MAX_ASKS]) and len(listed) <= MAX_ASKS:
            return [Told(item, data, ("interrupts", index)) for index, item in enumerate(listed)], []
        return [], _list_shown(listed, "interrupts", data, UNANSWERABLE)
    if isinstance(single, dict) and event.get("outcome") == "interrupt" and (told := _draft(single, data)):
        return [told], []
    if isinstance(single, list) and single:
        return [], _list_shown(single, "interrupt", data, BEFORE_JULY)
    if isinstance(listed, dict) or isinstance(single, dict):
        key = "interrupts" if isinstance(listed, dict) else "interrupt"
        given = event[key].get("id")
        return [], [shown(given if isinstance(given, str) and given else key, "", _slice(data, [key]))]
    return None


def _draft(single: Mapping[str, Any], data: str) -> Told | None:
    given, reason = single.get("id"), single.get("reason")
    if type(given) not in (str, type(None)) or type(reason) not in (str, type(None)):
        return None
    base = ("interrupt",)
    interrupt = {"id": given or "", "reason": reason or "interrupt"}
    dialect = dialects.named("draft" if interrupt["reason"] in APPROVALS else "draft-answer")
    return Told(interrupt, data, base, channel="object", dialect=dialect, event=_slice(data, base))


def _list_shown(items: Sequence[Any], key: str, data: str, why: str) -> list[Asked]:
    ids = [item.get("id") if isinstance(item, dict) else None for item in items[:MAX_ASKS]]
    return _once(
        shown(given if isinstance(given, str) and given else f"{key}-{index}", "", _slice(data, [key, index]), why)
        for index, given in enumerate(ids)
    )


def _well_formed(interrupt: Any) -> bool:
    try:
        check_interrupt(interrupt)
    except Violation:
        return False
    return True


def check_interrupt(interrupt: Any) -> None:
    """Raises Violation for an interrupt that AG-UI 1.0 does not allow."""
    if type(interrupt) is not dict:
        raise Violation("an interrupt is an object")
    for name in ("id", "reason"):
        if type(interrupt.get(name)) is not str or not interrupt["id"]:
            raise Violation(f"an interrupt without {name}")
    for name in ("message", "toolCallId", "expiresAt", "subagentRunId"):
        if type(field(interrupt, name)) not in (str, type(None)):
            raise Violation(f"an interrupt's {name} is a text")
    for name in ("responseSchema", "metadata"):
        if type(field(interrupt, name)) not in (dict, type(None)):
            raise Violation(f"an interrupt's {name} is an object")


# --- CUSTOM events ---


def _customs(state: State, data: str, *, said_success: bool) -> Read | None:
    if not state.older:
        return None
    tolds: list[Told] = []
    asked: list[Asked] = []
    for number, said in enumerate(state.older):
        told = None if said_success else _custom(said)
        if told is not None:
            tolds.append(told)
        else:
            asked.append(_custom_shown(said, number, CONTRADICTS if said_success else UNANSWERABLE))
    return tolds, _once(asked)


def _custom(said: str) -> Told | None:
    """One CUSTOM event that asks; its value is an object, or a text that is often JSON."""
    try:
        event = jsontext.strict(said)
    except ValueError:
        return None
    value = event.get("value") if isinstance(event, dict) else None
    if event.get("name") != "on_interrupt" or not value:
        return None
    if isinstance(value, dict):
        known = _well_formed(value) and dialects.recognised(value)
        return Told(value, said, ("value",)) if known else None
    if not isinstance(value, str):
        return None
    inner: Any = value
    if value.lstrip()[:1] in ("{", "["):
        try:
            inner = jsontext.strict(value)
        except ValueError:
            return None
    if isinstance(inner, dict) and inner.get("type") == "mastra_suspend":
        return _mastra(inner, value)
    return _langgraph(inner, value, event.get("rawEvent"))


def _mastra(inner: Mapping[str, Any], value: str) -> Told | None:
    call_id, run_id, schema_text = inner.get("toolCallId"), inner.get("runId"), inner.get("resumeSchema")
    if not isinstance(call_id, str) or not call_id or not isinstance(run_id, str) or not run_id:
        return None  # by both of them the server finds what waits
    interrupt = {"id": f"{run_id}::{call_id}", "reason": "mastra:tool_suspend", "toolCallId": call_id}
    told = schema_text if isinstance(schema_text, str) else schema.text_of(schema_text) if schema_text else ""
    return Told(
        {**interrupt, "metadata": {"mastra": inner}},
        value,
        root=(),
        channel="command",
        event=value,
        schema=told,
    )


def _langgraph(inner: Any, value: str, raw: Any) -> Told | None:
    """What a node raised. Its id comes beside it; a command answers whatever waits."""
    own = inner if isinstance(inner, dict) else {}
    given = raw.get("id") if isinstance(raw, dict) else None
    told = raw.get("response_schema") if isinstance(raw, dict) else None
    interrupt: dict[str, Any] = {
        "id": given if isinstance(given, str) else "",
        "reason": _text(own, "reason") or "langgraph:interrupt",
        "message": value if isinstance(inner, str) else _text(own, "message"),
        "toolCallId": _text(own, "toolCallId") or _text(own, "tool_call_id"),
        "expiresAt": _text(own, "expiresAt") or _text(own, "expires_at"),
        "metadata": {"langgraph": {"raw": inner}},
    }
    schemas = [field(own, "responseSchema"), told]
    found = next((one for one in schemas if isinstance(one, dict) and one), None)
    if found is not None:
        interrupt["responseSchema"] = found
    spelled = "" if isinstance(inner, str) else value
    return Told(interrupt, spelled, root=(), channel="command", event=value)


def _custom_shown(said: str, number: int, why: str) -> Asked:
    value = _slice(said, ["value"])
    inner = _inner(value)
    try:
        told, beside = jsontext.lenient(inner), jsontext.lenient(said)
    except ValueError:
        told, beside = {}, {}
    told = told if isinstance(told, dict) else {}
    call = told.get("function_call") if isinstance(told.get("function_call"), dict) else told
    raw = beside.get("rawEvent") if isinstance(beside, dict) else None
    ids = [told.get("id"), raw.get("id") if isinstance(raw, dict) else None, told.get("toolCallId")]
    given = next((one for one in ids if isinstance(one, str) and one), f"on_interrupt-{number}")
    names = (call.get(key) for key in ("toolName", "name")) if isinstance(call, dict) else ()
    return shown(given, next((name for name in names if isinstance(name, str)), ""), inner, why)


def beside(state: State) -> dict[str, str]:
    """The schemas that CUSTOM events tell for interrupts that have none themselves, by the interrupts' ids."""
    found: dict[str, str] = {}
    for said in state.older:
        try:
            event = jsontext.strict(said)
        except ValueError:
            continue
        raw = event.get("rawEvent") if isinstance(event, dict) else None
        if isinstance(raw, dict) and isinstance(raw.get("id"), str) and isinstance(raw.get("response_schema"), dict):
            found[raw["id"]] = schema.text_of(raw["response_schema"])
    return found


# --- calls ---


def _made_up(waiting: Sequence[tuple[str, ToolCall]]) -> Read | None:
    """Open calls by which a server asks. ADK's holds the call that it is about."""
    found = [(call_id, call) for call_id, call in waiting if call.name in SYNTHETIC_CALLS]
    if not found:
        return None
    if all(call.name == ADK_CONFIRMS and not call.torn and not jsontext.problem(call.arguments) for _, call in found):
        return [_confirmation(call_id, call) for call_id, call in found[:MAX_ASKS]], []
    return [], _once(shown(call_id, call.name, call.arguments) for call_id, call in found)


def _confirmation(call_id: str, call: ToolCall) -> Told:
    said = jsontext.strict(call.arguments)
    confirms = said.get("toolConfirmation") if isinstance(said, dict) else None
    hint = _text(confirms, "hint") if isinstance(confirms, dict) else ""
    interrupt = {"id": call_id, "reason": "confirmation", "message": hint, "toolCallId": call_id}
    dialect = dialects.recognised({**interrupt, "metadata": {"adk": said}})
    return Told(interrupt, call.arguments, root=(), channel="tool", dialect=dialect or DIALECTS["adk"])


def _silent(waiting: Sequence[tuple[str, ToolCall]], pinned: str) -> Read | None:
    """A call without a result may be a question (agno asks so), or a tool that reports nothing."""
    if not waiting:
        return None
    dialect = DIALECTS.get(pinned)
    if dialect is not None and dialect.asks_silently:
        interrupts = [{"id": call_id, "reason": "tool_call", "toolCallId": call_id} for call_id, _ in waiting]
        return [Told(interrupt, "", channel="tool", dialect=dialect) for interrupt in interrupts], []
    why = UNANSWERABLE if dialect is not None else MAY_WAIT
    return [], _once(shown(call_id, call.name, call.arguments, why) for call_id, call in waiting)


# --- text ---


def _text(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


def _slice(data: str, path: Sequence[str | int]) -> str:
    try:
        return jsontext.raw_slice(data, path)
    except (ValueError, LookupError):
        return data


def _inner(spelled: str) -> str:
    if not spelled.startswith('"'):
        return spelled
    try:
        value = jsontext.lenient(spelled)
    except ValueError:
        return spelled
    return value if isinstance(value, str) and value else spelled
