"""What a decision's fields must look like. Pure."""

from dataclasses import dataclass
from typing import Any

from approvals.models import ApprovalRequest, Verdict
from streams import dialects, jsontext
from streams.providers.agui import schema

REASON_MAX = 4_000
JSON_MAX_BYTES = 1024 * 1024
UNDO_MAX_S = 600
NO_OBJECT = "a JSON object is needed, the complete arguments"


@dataclass(frozen=True, slots=True)
class Said:
    """What a person said about a request."""

    verdict: str
    reason: str = ""
    edited: str = ""  # JSON text of the full replacement arguments
    answer: str = ""  # JSON text of a free answer


def problem(asked: ApprovalRequest, said: Said, *, undo_s: int) -> tuple[str, str] | None:
    """The first field that is wrong, and why; None: the decision can be taken."""
    checks = (
        ("verdict", _verdict_problem(asked, said)),
        ("reason", _reason_problem(asked, said) if said.reason else ""),
        ("edited_input", _edit_problem(asked, said) if said.edited else ""),
        ("answer", _answer_problem(asked, said)),
        ("undo_s", "" if 0 <= undo_s <= UNDO_MAX_S else f"0 to {UNDO_MAX_S} seconds"),
    )
    return next(((field, why) for field, why in checks if why), None)


def _verdict_problem(asked: ApprovalRequest, said: Said) -> str:
    if said.verdict not in Verdict.values:
        return "approve or reject"
    if not asked.answerable:
        return "the provider's id of this request could not be kept, so no answer can name it"
    if said.verdict == Verdict.APPROVE and asked.problem:
        return f"it cannot be approved: {asked.problem}"
    if said.verdict == Verdict.REJECT and asked.no_reject and not asked.offers_answer:
        return f"it cannot be rejected, since no safe no can be sent: {asked.no_reject}"
    return ""


def refuses_reason(asked: ApprovalRequest) -> bool:
    """Whether words beside the verdict would spoil the answer; elsewhere they are kept, heard or not."""
    dialect = dialects.known(asked.dialect)
    return dialect is not None and dialect.refuses_reason


def _reason_problem(asked: ApprovalRequest, said: Said) -> str:
    if refuses_reason(asked):
        return f"no reason can be given here: {asked.no_reason}"
    if len(said.reason) > REASON_MAX:
        return f"at most {REASON_MAX} characters"
    return _unstorable(said.reason) or _reason_misfit(asked, said)


def _reason_misfit(asked: ApprovalRequest, said: Said) -> str:
    """Why the agent would not take a refusal with this reason, where it said what it takes."""
    if said.verdict != Verdict.REJECT or not (asked.offers_reason and asked.answer_schema):
        return ""
    form = schema.read(asked.answer_schema)
    if form.kind != "approval" or not form.reason_key:
        return ""
    why = schema.misfit(form.schema, {form.key: False, form.reason_key: said.reason})
    return f"the agent does not take it: {why}" if why else ""


def _edit_problem(asked: ApprovalRequest, said: Said) -> str:
    if not asked.offers_edit:
        return f"this request does not offer edited arguments{f': {asked.no_edit}' if asked.no_edit else ''}"
    if said.verdict != Verdict.APPROVE:
        return "only an approval can carry edited arguments"
    if said.answer and asked.dialect:
        return "edited arguments and an answer cannot go together"
    value, why = _json(said.edited)
    return why or (_edit_misfit(asked, value) if isinstance(value, dict) else NO_OBJECT)


def _edit_misfit(asked: ApprovalRequest, value: dict[str, Any]) -> str:
    """Why the agent would not take these arguments, where its question says what it takes."""
    form = schema.read(asked.answer_schema) if asked.answer_schema else None
    if form is None or not form.edits:
        return ""
    why = schema.misfit(form.schema, {form.key: True, "editedArgs": value})
    return f"the agent does not take them: {why}" if why else ""


def _answer_problem(asked: ApprovalRequest, said: Said) -> str:
    approves = said.verdict == Verdict.APPROVE
    if not said.answer:
        if approves and asked.needs_answer:
            return "an answer is needed: a plain yes says nothing to the agent"
        if not approves and asked.no_reject and asked.offers_answer:
            return f"an answer that says no is needed: {asked.no_reject}"
        return ""
    if not asked.offers_answer:
        return "this request does not ask for an answer"
    if not approves and not asked.no_reject:
        return "a rejection carries no answer"
    value, why = _json(said.answer)
    return why or schema_problem(asked.answer_schema, value)


def _json(said: str) -> tuple[Any, str]:
    if len(said.encode("utf-8", "surrogatepass")) > JSON_MAX_BYTES:
        return None, f"at most {JSON_MAX_BYTES} bytes"
    why = jsontext.problem(said)
    return (None, why) if why else (jsontext.parse(said), "")


def _unstorable(said: str) -> str:
    return "it holds NUL or half a character" if jsontext.UNSTORABLE.search(said) else ""


def schema_problem(answer_schema: str, value: Any) -> str:
    """Why a value does not fit an agent's JSON Schema. A broken, huge or remote one forbids nothing.

    AG-UI 1.0, interrupts: an invalid responseSchema must not keep a person from answering (read 2026-11).
    """
    return schema.misfit(schema.read(answer_schema).schema, value)
