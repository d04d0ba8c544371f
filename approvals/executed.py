"""Whether what ran is what was approved: the arguments that a stream shows as executed, held against the decision."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from approvals import outbox
from approvals.audit import Record
from approvals.models import OPEN, ApprovalRequest, Decision, Delivery, Ran, Verdict
from streams import events, jsontext
from streams.events import Executed
from streams.journal import Remark, Stored
from streams.providers.agui.calls import same_arguments
from streams.providers.agui.told import JOINED

TOOL_CHARS = 100
OTHERWISE = (
    "The agent ran other arguments than were approved: {tool} was carried out with arguments that nobody approved."
)
UNCHANGED = (
    "The agent ran other arguments than were approved: {tool} was carried out as the agent had proposed it, without "
    "the changes under which it was approved."
)


def compare(one: Stored, record: Record) -> list[Remark]:
    """What a stored event shows of calls that ran. Another text for the same arguments is no difference."""
    shown = [fact for fact in one.facts if isinstance(fact, Executed)]
    if not shown:
        return []
    approved = _approved(one.run_id)
    return [remark for fact in shown for remark in _held_against(one, fact, approved, record)]


def _approved(run_id: UUID) -> Mapping[UUID, tuple[ApprovalRequest, Decision]]:
    """The approvals that a run's stream can show the effect of: those that its opening carried, and its own."""
    carried = {row.pk: row for row in ApprovalRequest.objects.filter(run=run_id).exclude(status__in=OPEN)}
    for delivery in Delivery.objects.filter(answering_run=run_id).select_related("decision__request"):
        carried |= {row.pk: row for row in outbox.carried(delivery)}
    rows = Decision.objects.filter(request__in=carried, undone_at=None, verdict=Verdict.APPROVE, answer="")
    return {decision.request_id: (carried[decision.request_id], decision) for decision in rows}


def _held_against(
    one: Stored, fact: Executed, approved: Mapping[UUID, tuple[ApprovalRequest, Decision]], record: Record
) -> list[Remark]:
    found = [pair for pair in approved.values() if pair[0].tool_call_id and pair[0].tool_call_id == fact.tool_call_id]
    if not found:  # a question that names no call is about the next call of its tool
        found = [
            (asked, decision)
            for asked, decision in approved.values()
            if not asked.tool_call_id and asked.tool == fact.tool and asked.ran == Ran.NOT_SHOWN
        ]
    same = [asked for asked, decision in found if _same(fact, asked, decision)]
    if same:
        _mark_same(same[:1], record)
        return []
    return [_mark_other(one, fact, asked, decision, record) for asked, decision in found]


def _same(fact: Executed, asked: ApprovalRequest, decision: Decision) -> bool:
    return any(same_arguments(fact.arguments, text) for text in _texts(asked, decision))


def _texts(asked: ApprovalRequest, decision: Decision) -> Sequence[str]:
    """The arguments that were approved; of several calls that were one question those of each."""
    if decision.edited or JOINED not in asked.call_id:
        return [decision.edited or asked.arguments]
    try:
        return [jsontext.raw_slice(part, ["arguments"]) for part in jsontext.raw_items(asked.arguments)]
    except (ValueError, LookupError):
        return [asked.arguments]


def _mark_same(asked: Sequence[ApprovalRequest], record: Record) -> None:
    for row in asked:
        row.ran = row.ran or Ran.AS_APPROVED
        if ApprovalRequest.objects.filter(pk=row.pk, ran=Ran.NOT_SHOWN).update(ran=Ran.AS_APPROVED):
            record.touch(row)


def _mark_other(one: Stored, fact: Executed, asked: ApprovalRequest, decision: Decision, record: Record) -> Remark:
    first = ApprovalRequest.objects.filter(pk=asked.pk).exclude(ran=Ran.OTHERWISE)
    first.update(ran=Ran.OTHERWISE, ran_arguments=fact.arguments, ran_seq=one.seq)
    asked.ran = Ran.OTHERWISE
    record.add(
        asked,
        "request.ran_otherwise",
        executed_sha256=events.sha256(fact.arguments),
        approved_sha256=events.sha256(decision.edited or asked.arguments),
        run=str(one.run_id),
        seq=one.seq,
    )
    as_proposed = bool(decision.edited) and same_arguments(fact.arguments, asked.arguments)
    text = UNCHANGED if as_proposed else OTHERWISE
    return Remark(one.run_id, "other_arguments", text.format(tool=events.short(fact.tool, TOOL_CHARS)))
