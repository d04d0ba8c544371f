"""How a run ended: its outcome and what it asks for. What asks in an older way is in older.py; none is a success.

Source: docs.ag-ui.com/spec/1.0 `events/lifecycle`, `events/tool-calls`, `basic/patterns/*`, read 2026-11.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from streams import dialects, jsontext
from streams.events import Asked, Broken, Clash, Ended, Fact, Paused, Recognised, short, text
from streams.providers.agui import answer, asking, history, older, rehearsal
from streams.providers.agui.state import Ask, State, ToolCall
from streams.providers.agui.told import NEVER_SHOWN, UNANSWERABLE, Pair, Told, field, key_of
from streams.providers.agui.wire import Event, Violation

MAX_ASKS: Final = older.MAX_ASKS

Concluded = tuple[tuple[Ask, ...], tuple[Fact, ...]]


def conclude(state: State, event: Event, data: str) -> Concluded:
    """What RUN_FINISHED of our run means: the open questions, and the facts for the house. Raises Violation."""
    kind = check_outcome(event)
    trouble = jsontext.problem(data)
    facts = (Broken(short(trouble, 300)),) if trouble else ()
    if kind == "cancelled":
        return (), (*facts, Ended("cancelled", "cancelled"))
    waiting = _without_result(state, besides=answer.OURS)
    shown: list[Asked] = []
    if kind == "interrupt" and isinstance(event["outcome"], dict):
        tolds = _interrupts(state, event["outcome"]["interrupts"], data)
    else:
        tolds, shown = older.read(state, event, data, waiting, _advertised(state))
    pairs = rehearsal.read(asking.questions(state, tolds, trouble))
    if not shown:
        pairs += _frontend(state, event, pairs, trouble)
    asked = (*(told for _, told in pairs), *shown)
    if any(told.problem.startswith(UNANSWERABLE) for told in asked):
        return (), (*facts, *_clashes(state, tolds), *asked, _unknown(UNANSWERABLE))
    if pairs:
        return tuple(ask for ask, _ in pairs), (*facts, *_recognised(state, pairs), *asked, Paused(closed=True))
    if kind not in ("", "success"):
        return (), (*facts, Broken("an outcome of an unknown type"), _unknown(f"ended as {short(kind, 60)}"))
    return (), (*facts, Ended("finished", kind))


def check_outcome(event: Event) -> str:
    """The type of a run's outcome; "" where there is none. Raises Violation for a known one with a bad value."""
    outcome = event.get("outcome")
    if outcome is None or isinstance(outcome, str):  # a text: the first drafts, see older.py
        return outcome or ""
    if type(outcome) is not dict or type(outcome.get("type")) is not str:
        raise Violation("RUN_FINISHED: the outcome is no object with a type")
    kind: str = outcome["type"]
    if kind == "interrupt":
        found = outcome.get("interrupts")
        if type(found) is not list or not found or len(found) > MAX_ASKS:
            raise Violation("RUN_FINISHED: an interrupt outcome has a list of interrupts")
        for interrupt in found:
            older.check_interrupt(interrupt)
    if kind == "success":
        pending = field(outcome, "pendingToolCallIds")
        if pending is not None and (type(pending) is not list or any(type(item) is not str for item in pending)):
            raise Violation("RUN_FINISHED: pendingToolCallIds is a list of texts")
    return kind


def _interrupts(state: State, interrupts: Sequence[Any], data: str) -> list[Told]:
    beside = older.beside(state)
    return [
        Told(
            interrupt,
            data,
            ("outcome", "interrupts", index),
            schema="" if field(interrupt, "responseSchema") else beside.get(interrupt["id"], ""),
        )
        for index, interrupt in enumerate(interrupts)
    ]


def _recognised(state: State, pairs: Sequence[Pair]) -> tuple[Recognised, ...]:
    """The framework, for an account that names none: where all questions of the pause agree on it."""
    found = {dialects.named(ask.dialect).framework for ask, _ in pairs if not ask.frontend}
    if state.opening.dialect in dialects.DIALECTS or len(found) != 1 or found & {"plain", "draft"}:
        return ()
    return (Recognised(found.pop()),)


def _clashes(state: State, tolds: Sequence[Told]) -> tuple[Clash, ...]:
    """That it looks like another framework than the account is set to; once a pause."""
    pinned = state.opening.dialect
    other = next((other for told in tolds if (other := asking.clash(told, pinned))), "")
    return (Clash(other, pinned),) if other else ()


def _unknown(why: str) -> Ended:
    """Ended, but nobody knows how: never success, and no failure that was reported."""
    return Ended("truncated", "unknown", why)


# --- calls of our own tools ---


def _frontend(state: State, event: Event, pairs: Sequence[Pair], trouble: str) -> list[Pair]:
    """Calls that wait for our own answer: those listed, else calls without a result of tools that we advertised."""
    asked = {name for ask, _ in pairs for one in (ask, *ask.members) for name in (one.tool_call_id, one.id)}
    outcome = event.get("outcome")
    listed = (field(outcome, "pendingToolCallIds") or []) if isinstance(outcome, dict) else []
    ours = _advertised(state)
    made_up = {dialects.named(ask.dialect).made_up for ask, _ in pairs}  # the same question in a second form
    derived = [call_id for call_id, call in _without_result(state) if call.name in ours - made_up]
    pending = dict.fromkeys(listed or derived)
    return [_frontend_ask(state, call_id, trouble) for call_id in pending if call_id and call_id not in asked]


def _advertised(state: State) -> set[Any]:
    return {tool.get("name") for tool in state.opening.tools if isinstance(tool, Mapping)}


def _without_result(state: State, *, besides: str = "") -> list[tuple[str, ToolCall]]:
    """The calls of the run that just ended that nobody has answered.

    `besides`: messages whose ids begin so are no results. A call by which a server asks and which it tells again after
    our answer was not answered by it.
    """
    return [
        (call_id, call)
        for call_id, call in state.calls.items()
        if call.run_id == state.run_id
        and call_id not in state.results
        and not history.has_result(state.messages, call_id, besides=besides)
    ]


def _frontend_ask(state: State, call_id: str, trouble: str) -> Pair:
    told, held = state.calls.get(call_id), history.find_call(state.messages, call_id)
    name, arguments = (told.name, told.arguments) if told else held or ("", "")
    if told is None and held is None:
        trouble = trouble or NEVER_SHOWN
    if told is not None and told.torn:
        trouble = trouble or "a piece of its arguments could not be read"
    ask = Ask(key=key_of(call_id), id=call_id, frontend=True, tool_call_id=call_id, reason="frontend_tool")
    asked = Asked(
        call_id=ask.key,
        tool=short(name or "frontend_tool", 300),
        arguments=text(arguments)[0],
        tool_call_id=short(call_id, 300),
        reason="frontend_tool",
        hears_reason=True,
        answer=True,
        problem=short(trouble or (jsontext.problem(arguments) if arguments.strip() else ""), 500),
        together=True,
    )
    return ask, asked
