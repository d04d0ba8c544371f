"""What a stored event proves about an answer that went out."""

from collections.abc import Mapping
from typing import Any, Final

from streams import dialects, jsontext
from streams.events import short
from streams.providers.agui.told import JOINED, KEYS, field, key_of, names
from streams.providers.base import Applied, Carried

KINDS: Final = frozenset({"TOOL_CALL_RESULT", "MESSAGES_SNAPSHOT", "RUN_FINISHED"})


def read(carried: Carried, kind: str, payload: str) -> Applied | None:
    """A result for the call, or our run's end without our question: the answer took effect, be it yes or no.

    Headers and RUN_STARTED prove nothing. A run that was cancelled or failed proves nothing either.
    """
    if kind not in KINDS:
        return None
    try:
        event = jsontext.quick(payload)
    except ValueError:
        return None
    if not isinstance(event, dict):
        return None
    if kind == "TOOL_CALL_RESULT":
        return "applied" if _is_about(carried, field(event, "toolCallId")) else None
    if kind == "MESSAGES_SNAPSHOT":
        return _restated(carried, event.get("messages"))
    if not carried.answering_run or field(event, "runId") != carried.answering_run:
        return None
    proof = _asked_again(carried, event)
    return None if proof == "applied" and _ends_silently(carried, event) else proof


def _is_about(carried: Carried, call_id: Any) -> bool:
    if not isinstance(call_id, str) or not call_id:
        return False
    return short(call_id, 300) == carried.question.tool_call_id or key_of(call_id) == carried.question.call_id


def _is_langgraph(carried: Carried) -> bool:
    return KEYS.fullmatch(carried.question.call_id.partition("/")[0]) is not None


def _restated(carried: Carried, messages: Any) -> Applied | None:
    """LangGraph shows what became of a call in its conversation alone; others restate there what was before, too."""
    if not _is_langgraph(carried) or not isinstance(messages, list):
        return None
    results = [one for one in messages if isinstance(one, Mapping) and one.get("role") == "tool"]
    return "applied" if any(_is_about(carried, field(one, "toolCallId")) for one in results) else None


def _ends_silently(carried: Carried, event: Mapping[str, Any]) -> bool:
    """Some end without an outcome whatever was answered, on a thread that they do not know any more, too."""
    dialect = dialects.known(carried.question.dialect)
    by_call = _is_langgraph(carried) or (dialect is not None and dialect.proves_by_call)
    return event.get("outcome") is None and by_call and bool(carried.question.tool_call_id) and not _asks_on(carried)


def _asks_on(carried: Carried) -> bool:
    """Whether a LangGraph thread asks for something else now: it has our answer behind it then."""
    if not _is_langgraph(carried):
        return False
    interrupts = {call_id.partition("/")[0] for call_id in carried.asks}
    return bool(interrupts) and carried.question.call_id.partition("/")[0] not in interrupts


def _asked_again(carried: Carried, event: Mapping[str, Any]) -> Applied | None:
    """What the end of the answering run says about one answer. What it asks must be readable to prove anything."""
    outcome = event.get("outcome")
    if outcome is None or isinstance(outcome, str):
        return _older(carried, event, outcome)
    if not isinstance(outcome, dict):
        return None
    said = outcome.get("type")
    if said == "success":
        ids = field(outcome, "pendingToolCallIds")
        return _compared(carried, [] if ids is None else ids)
    return _compared(carried, _ids(outcome.get("interrupts"))) if said == "interrupt" else None


def _older(carried: Carried, event: Mapping[str, Any], outcome: str | None) -> Applied | None:
    """Drafts ask beside the outcome. What CUSTOM events ask, only the fold of the run knows."""
    listed, single = event.get("interrupts"), event.get("interrupt")
    if listed is not None:
        return _compared(carried, _ids(listed))
    if single is not None:
        return _compared(carried, _ids([single] if isinstance(single, dict) else single))
    return "applied" if outcome in (None, "success") else None


def _ids(interrupts: Any) -> list[Any] | None:
    if not isinstance(interrupts, list):
        return None
    return [isinstance(item, dict) and item.get("id") for item in interrupts]


def _compared(carried: Carried, ids: Any) -> Applied | None:
    if not isinstance(ids, list):
        return None
    question = carried.question.call_id
    if any(isinstance(given, str) and given and names(question, given) for given in ids):
        whole = JOINED not in question or all(one in ids for one in question.split(JOINED))
        return "not_applied" if whole else None  # a part of them is asked again: nobody knows of the others
    return "applied" if all(isinstance(given, str) for given in ids) else None
