"""What asks, as questions: the call it is about, what its answer may carry, and why it may not be approved."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from streams import dialects
from streams.dialects import Dialect
from streams.events import Asked, short, text
from streams.providers.agui import actions, calls, schema, together
from streams.providers.agui.state import Ask, State
from streams.providers.agui.told import (
    NEVER_SHOWN,
    NO_CHANGES,
    NO_REFUSAL,
    UNANSWERABLE,
    Pair,
    Told,
    field,
    key_of,
    made_up_key,
    not_allowed,
    spoken,
)


def questions(state: State, tolds: Sequence[Told], trouble: str) -> list[Pair]:
    """The questions of one pause, each once, with what their joint answer cannot carry."""
    used = Counter(told.interrupt["id"] for told in tolds if told.interrupt["id"])
    pairs: dict[str, Pair] = {}
    for told in tolds:
        twice = "its id is used for two questions at once" if used[told.interrupt["id"]] > 1 else ""
        for ask, asked in _read(state, replace(told, trouble=trouble or told.trouble or twice)):
            if ask.key in pairs and not twice:
                asked = together.unapprovable(asked, "its id could be taken for another question's")
            pairs[ask.key] = (ask, asked)
    return together.read(list(pairs.values()))


# --- one ---


def _read(state: State, told: Told) -> list[Pair]:
    pinned = state.opening.dialect
    dialect = told.dialect or dialects.of(told.interrupt, pinned)
    if other := clash(told, pinned):
        why = f"{UNANSWERABLE}: it looks like {other}, and the account is set to {pinned}"
        told = replace(told, trouble=told.trouble if told.trouble.startswith(UNANSWERABLE) else why)
    if dialect.shape == "decisions":
        if pairs := actions.read(state, told, dialect):
            return pairs
        told = replace(told, trouble=told.trouble or f"{UNANSWERABLE}: the actions that it is about cannot be read")
        dialect = replace(dialect, shape="decision")
    return [_one(state, told, dialect)]


def clash(told: Told, pinned: str) -> str:
    """The framework that a question looks like, where the account is set to another one."""
    if told.dialect is not None and pinned in dialects.DIALECTS:
        chosen = dialects.DIALECTS[pinned]
        return "" if chosen.framework == told.dialect.framework or chosen is dialects.PLAIN else told.dialect.name
    return dialects.clash(told.interrupt, pinned)


def _one(state: State, told: Told, dialect: Dialect) -> Pair:
    interrupt = told.interrupt
    tool, arguments, call_id, where = calls.find(state, told, dialect)
    given = field(interrupt, "responseSchema")
    schema_text = schema.text_of(given) if given else told.schema
    form = schema.read(schema_text)
    allows = schema.kinds(form.schema) if dialect.shape == "decision" else ()
    own = dialect.own_answer and not schema_text
    if own and not (tool or arguments):
        arguments = calls.sent(told)  # a person sees at least what was sent
    trouble = told.trouble or where or calls.problem(arguments)
    if dialect.shape == "decision":
        trouble = trouble or ("" if tool else NEVER_SHOWN) or not_allowed(allows)
    if dialect.place_first and not tool:
        trouble = trouble or NEVER_SHOWN
    known = calls.arguments_of(arguments)
    reason = interrupt["reason"]
    ask = Ask(
        key=_key(state, told, dialect),
        id=interrupt["id"],
        tool_call_id=call_id,
        reason=reason,
        schema=schema_text,
        dialect=dialect.name,
        channel=told.channel,
        tool=tool,
        allows=allows,
        event=told.event,
        # Also where the account says plain: CrewAI takes `cancelled` for the first of its options.
        cancels=(dialects.recognised(interrupt) or dialect).cancelled_is_safe and told.channel == "resume",
    )
    no_edit, no_reason = _no_edit(dialect, form, ask), why_unheard(dialect, form, ask, known)
    asked = Asked(
        call_id=ask.key,
        tool=short(tool or reason, 300),
        arguments=text(arguments)[0],
        message=text(calls.words(told, dialect))[0],
        tool_call_id=short(call_id, 300),
        answer_schema=text(schema_text)[0],
        expires_at=short(field(interrupt, "expiresAt") or "", 200),
        reason=short(reason, 200),
        edit=not (no_edit or trouble) and bool(tool) and known is not None,
        hears_reason=not no_reason,
        no_edit=no_edit,
        no_reason=no_reason,
        answer=_wants_answer(dialect, form, ask),
        problem=short(trouble, 500),
        together=True,
        **spoken(dialect, state.opening.dialect),
    )
    return ask, asked


def _key(state: State, told: Told, dialect: Dialect) -> str:
    """What the house calls a question; where all of a thread have one id, each run's has its own name."""
    given = told.interrupt["id"]
    if not given:
        return made_up_key(told)
    return key_of(f"{given}~{state.run_id}" if dialect.one_id else given)


def _no_edit(dialect: Dialect, form: schema.Form, ask: Ask) -> str:
    """Why changed arguments are not offered; empty where they are."""
    if dialect.no_edit:
        return dialect.no_edit
    if dialect.shape in ("decision", "decisions"):
        return "" if "edit" in ask.allows else NO_CHANGES
    if form.edits or (dialect.changes_key and dialect.shape_for(ask.schema) == "key"):
        return ""
    return "it asks for an answer of its own" if form.kind == "answer" else "the agent's question has no place for them"


def why_unheard(dialect: Dialect, form: schema.Form, ask: Ask, arguments: Mapping[str, Any] | None) -> str:
    """Why a refusal carries no reason; empty where there is a place for it that is no (flat) argument of the call."""
    if dialect.no_reason:
        return dialect.no_reason
    shape = dialect.shape_for(ask.schema)
    if shape in ("decision", "decisions"):
        return "" if "reject" in ask.allows or not ask.allows else NO_REFUSAL
    if shape == "key":
        return "" if dialect.reason_key else "this framework takes yes or no, without words"
    if not form.reason_key:
        return "the agent's question has no place for it"
    return "its place is one of the call's own arguments" if form.reason_key in (arguments or {}) else ""


def _wants_answer(dialect: Dialect, form: schema.Form, ask: Ask) -> bool:
    if dialect.shape_for(ask.schema) == "key" and dialect.answer_key:
        return True
    if dialect.shape_for(ask.schema) != "form" or (dialect.options and form.yes and form.no):
        return False
    if dialect.own_answer and not ask.schema:
        return True
    return form.kind == "answer" or (form.kind == "open" and not ask.schema and ask.reason == "input_required")
