"""The row of a question, made of what its provider asks."""

from approvals import deadlines, endings
from approvals.audit import Record
from approvals.models import ApprovalRequest
from streams import events
from streams.events import Asked
from streams.journal import Stored


def made(one: Stored, fact: Asked, record: Record) -> ApprovalRequest:
    """The row of a question, with everything made storable and whatever had to be changed said in `problem`."""
    arguments, marked = events.text(fact.arguments)
    call_id, problem, answerable = kept_id(fact)
    return ApprovalRequest(
        run_id=one.run_id,
        call_id=call_id,
        tool=events.short(fact.tool, 300),
        tool_call_id=events.short(fact.tool_call_id, 300),
        arguments=arguments,
        input_sha256=events.sha256(arguments),
        canonical_sha256=events.canonical_sha256(arguments),
        marked=marked or one.marked,
        problem=events.text(problem)[0],
        answerable=answerable,
        message=events.text(fact.message)[0],
        reason=events.short(fact.reason, 200),
        answer_schema=events.text(fact.answer_schema)[0],
        offers_edit=fact.edit,
        offers_reason=fact.hears_reason,
        offers_answer=fact.answer,
        needs_answer=fact.needs_answer,
        dialect=fact.dialect[:40],
        unverified=fact.unverified,
        limits=events.text(fact.limits)[0],
        no_edit=events.text(fact.no_edit)[0],
        no_reason=events.text(fact.no_reason)[0],
        no_reject=events.text(fact.no_reject)[0],
        deadline=deadlines.parse(fact.expires_at) if fact.expires_at else None,
        deadline_text=events.short(fact.expires_at, 200),
        opened_by_seq=one.seq,
        requested_at=record.at,
        status_changed_at=record.at,
    )


def kept_id(fact: Asked) -> tuple[str, str, bool]:
    """The id to keep, what is wrong with the question, and whether an answer can name it."""
    if (kept := endings.storable_id(fact.call_id)) != fact.call_id:
        return kept, "its id cannot be kept as it is, so no answer could name it", False
    if any(events.text(name)[1] or len(name) > endings.ID_MAX for name in (fact.tool, fact.tool_call_id)):
        return fact.call_id, fact.problem or "the name of its tool or call cannot be kept as it is", True
    return fact.call_id, fact.problem, True
