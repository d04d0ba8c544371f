"""What an answer to an interrupt says. Raises WireError where nothing may be sent.

A payload that an agent does not take can leave its thread stuck for good: seen with langchain 1.4.7's middleware for
people in the loop, 2026-11.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from streams import jsontext
from streams.errors import WireError
from streams.events import text
from streams.providers.agui import schema
from streams.providers.base import Account, Answer
from streams.providers.langgraph.questions import NO_PLAIN_YES, NO_REFUSAL, OWN_NO, Form

YES, NO = "approve", "reject"  # the account's own words, for graphs whose author made up what they take
REASON: Final = "{reason}"


def words(account: Account) -> bool:
    """Whether the account says what a yes and a no look like."""
    return YES in account.options and NO in account.options and not trouble(account)


def hears(account: Account) -> bool:
    """Whether the account's no has a place for a reason."""
    return words(account) and REASON in jsontext.dumps(account.options[NO])


def trouble(account: Account) -> str:
    """What is wrong with the account's own words; empty where nothing is, or there are none."""
    given = [name for name in (YES, NO) if name in account.options]
    if len(given) == 1:
        return f"the option {given[0]} needs the other one, approve or reject, beside it"
    if not given:
        return ""
    if account.options[YES] == account.options[NO]:
        return "the options approve and reject say the same"
    try:
        spelled = [jsontext.dumps(account.options[name]) for name in given]
    except (ValueError, TypeError):
        return "the options approve and reject are JSON"
    return next((why for one in spelled if (why := jsontext.problem(one))), "")


def payload(form: Form, answer: Answer, account: Account) -> Any:
    """The value that the interrupt gives back to its agent."""
    yes, reason = answer.verdict == "approve", text(answer.reason)[0]
    if yes and (why := jsontext.problem(answer.question.arguments)):
        raise WireError(f"the arguments cannot be approved: {why}")
    match form.shape:
        case "decisions":
            made: Any = {"decisions": [_decision(one, form, answer, reason) for one in form.actions]}
        case "decision":
            made = _decision(form.actions[0], form, answer, reason)
        case "form":
            made = _form(schema.read(form.schema), answer, yes, reason)
        case "own":
            made = _own(answer, account, yes, reason)
    if why := schema.misfit(schema.read(form.schema).schema, made):
        raise WireError(f"the answer does not fit what was asked for: {why}")
    return made


def _decision(action: tuple[str, tuple[str, ...]], form: Form, answer: Answer, reason: str) -> Mapping[str, Any]:
    name, allowed = action
    if answer.answer:
        raise WireError("the question takes yes or no, no free answer")
    if answer.verdict != "approve":
        if "reject" not in allowed:
            raise WireError(NO_REFUSAL)
        return {"type": "reject", **({"message": reason} if reason else {})}
    if not answer.edited:
        if "approve" not in allowed:
            raise WireError(NO_PLAIN_YES)
        return {"type": "approve"}
    if "edit" not in allowed or len(form.actions) != 1:
        raise WireError("edited arguments are not offered")
    return {"type": "edit", "edited_action": {"name": name, "args": _edited(answer)}}


def _edited(answer: Answer) -> Mapping[str, Any]:
    if why := jsontext.problem(answer.edited):
        raise WireError(f"the edited arguments: {why}")
    edited = json.loads(answer.edited)
    if not isinstance(edited, dict):
        raise WireError("edited arguments are an object, complete")
    return edited


def _form(form: schema.Form, answer: Answer, yes: bool, reason: str) -> Any:
    """By the schema that the interrupt came with."""
    if answer.edited:
        raise WireError("edited arguments are not offered")
    if answer.answer:
        return _free(answer, plain=form.kind in ("approval", "boolean") or bool(form.yes and form.no))
    if form.kind == "boolean":
        return yes
    if form.kind == "approval":
        heard = {form.reason_key: reason} if reason and form.reason_key and not yes else {}
        return {form.key: yes, **heard}
    if form.yes and form.no:
        return form.yes if yes else form.no
    raise WireError("the question wants an answer of its own, not just a yes" if yes else OWN_NO)


def _own(answer: Answer, account: Account, yes: bool, reason: str) -> Any:
    """In the words of the account, or of the person who answers."""
    if answer.edited:
        raise WireError("edited arguments are not offered")
    if answer.answer:
        return _free(answer, plain=words(account))
    if not words(account):
        raise WireError("the question wants an answer of its own, not just a yes" if yes else OWN_NO)
    return _filled(account.options[YES if yes else NO], reason)


def _free(answer: Answer, *, plain: bool) -> Any:
    """What a person wrote: a no only where there is no plain one."""
    if answer.verdict != "approve" and plain:
        raise WireError("a rejection carries no answer")
    if why := jsontext.problem(answer.answer):
        raise WireError(f"the answer: {why}")
    return json.loads(answer.answer)


def _filled(template: Any, reason: str) -> Any:
    if isinstance(template, Mapping):
        return {str(key): _filled(value, reason) for key, value in template.items()}
    if isinstance(template, list):
        return [_filled(value, reason) for value in template]
    return template.replace(REASON, reason) if isinstance(template, str) else template
