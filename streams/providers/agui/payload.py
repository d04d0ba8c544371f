"""What an answer says, in the words of its dialect and its schema. Raises WireError where nothing may be sent."""

import json
from collections.abc import Mapping
from typing import Any, Final

from streams import dialects, jsontext
from streams.dialects import Dialect
from streams.errors import WireError
from streams.events import text
from streams.providers.agui import asking, calls, schema
from streams.providers.agui.state import Ask
from streams.providers.base import Answer

NOBODY: Final = "Nobody answered in time, so this was not approved."
REFUSED: Final = "A reviewer refused this call. It was not carried out."


class Cancelled:
    """Instead of a payload: nobody answered, or only that says no."""


CANCELLED: Final = Cancelled()


def of(ask: Ask, answer: Answer) -> Any:
    """The payload of one answer, or CANCELLED."""
    dialect, form = dialects.named(ask.dialect), schema.read(ask.schema)
    if answer.verdict == "approve":
        check_approvable(answer)
        made = _approval(ask, answer, dialect, form)
    elif answer.verdict == "nobody" and ask.cancels:
        return CANCELLED
    else:
        made = _refusal(ask, answer, dialect, form)
        if made is CANCELLED:
            return made
    if why := schema.misfit(form.schema, made):
        raise WireError(f"the answer does not fit what was asked for: {why}")
    return made


def check_approvable(answer: Answer) -> None:
    arguments = answer.question.arguments
    if arguments.strip() and (why := jsontext.problem(arguments)):
        raise WireError(f"the arguments cannot be approved: {why}")


# --- yes ---


def _approval(ask: Ask, answer: Answer, dialect: Dialect, form: schema.Form) -> Any:
    edited = _edited(ask, answer, dialect, form) if answer.edited else None
    if dialect.shape in ("decision", "decisions"):
        _no_answer(answer)
        if ask.allows and "approve" not in ask.allows and edited is None:
            raise WireError("the server takes no plain yes for it")
        if edited is None:
            return {"type": "approve"}
        return {"type": "edit", "edited_action": {"name": ask.tool, "args": edited}}
    if dialect.shape_for(ask.schema) == "key":
        return {dialect.key: True, **_beside_yes(answer, dialect, edited)}
    if dialect.options and form.yes and form.no:
        _no_answer(answer)
        return form.yes
    if answer.answer:
        if form.kind not in ("answer", "open"):
            raise WireError("the question takes yes or no, no free answer")
        return _json(answer.answer, "the answer")
    if form.kind == "answer" or (dialect.own_answer and not ask.schema):
        raise WireError("the question wants an answer of its own, not just a yes")
    return _plain(ask, dialect, form, True) if edited is None else {form.key: True, "editedArgs": edited}


def _beside_yes(answer: Answer, dialect: Dialect, edited: Mapping[str, Any] | None) -> dict[str, Any]:
    if dialect.answer_key:
        if not answer.answer:
            raise WireError("the question wants an answer of its own, not just a yes")
        return {dialect.answer_key: _json(answer.answer, "the answer")}
    _no_answer(answer)
    if not dialect.changes_key:
        return {}
    return {dialect.changes_key: _json(answer.question.arguments, "the arguments") if edited is None else edited}


def _no_answer(answer: Answer) -> None:
    if answer.answer:
        raise WireError("the question takes yes or no, no free answer")


def _edited(ask: Ask, answer: Answer, dialect: Dialect, form: schema.Form) -> Mapping[str, Any]:
    edited = _json(answer.edited, "the edited arguments")
    match dialect.shape_for(ask.schema):
        case "decision" | "decisions":
            offered = "edit" in ask.allows and bool(ask.tool)
        case "key":
            offered = bool(dialect.changes_key)
        case _:
            offered = form.edits
    if answer.answer or not offered or dialect.no_edit:
        raise WireError("edited arguments are not offered")
    if not isinstance(edited, dict):
        raise WireError("edited arguments are an object, complete")
    return edited


# --- no ---


def _refusal(ask: Ask, answer: Answer, dialect: Dialect, form: schema.Form) -> Any:
    """The payload of a no, CANCELLED where only that says it. Raises WireError where nothing safe does."""
    reason = NOBODY if answer.verdict == "nobody" else text(answer.reason)[0]
    heard = reason if reason and _heard(ask, answer, dialect, form) else ""
    if dialect.shape in ("decision", "decisions"):
        if ask.allows and "reject" not in ask.allows:
            raise WireError("the server takes no refusal for it")
        return {"type": "reject", **({"message": heard} if heard else {})}
    if dialect.shape_for(ask.schema) == "key":
        return {dialect.key: False, **({dialect.reason_key: heard} if heard else {})}
    if dialect.options and form.yes and form.no:
        return form.no
    if form.kind == "answer" or (dialect.own_answer and not ask.schema):
        if answer.answer and answer.verdict == "reject":
            return _json(answer.answer, "the answer")
        if ask.cancels:
            return CANCELLED
        raise WireError("the question has no form for a no")
    made = _plain(ask, dialect, form, False)
    if heard and isinstance(made, dict):
        made[form.reason_key] = heard
    return made


def _heard(ask: Ask, answer: Answer, dialect: Dialect, form: schema.Form) -> bool:
    return not asking.why_unheard(dialect, form, ask, calls.arguments_of(answer.question.arguments))


def _plain(ask: Ask, dialect: Dialect, form: schema.Form, yes: bool) -> Any:
    bare = form.kind == "boolean" or (
        form.kind == "open" and not ask.schema and dialect.bare_boolean and ask.reason == "confirmation"
    )
    return yes if bare else {form.key: yes}


def _json(spelled: str, what: str) -> Any:
    if why := jsontext.problem(spelled):
        raise WireError(f"{what}: {why}")
    return json.loads(spelled)
