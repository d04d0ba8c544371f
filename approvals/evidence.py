"""What a stored event proves about answers that went out: delivered, not taken, or nobody can say."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db.models import Q

from approvals import lifecycle, outbox
from approvals.answers import question
from approvals.audit import Record
from approvals.models import ApprovalRequest, Decision, Delivery, DeliveryState, RequestStatus
from streams import events, providers
from streams.events import Asked, Ended, Paused
from streams.journal import Stored
from streams.models import Source
from streams.providers.base import Applied, Carried

S = RequestStatus
D = DeliveryState


def text_of(told: Stored) -> str:
    """How a delivery names what proves its end."""
    return f"event {told.seq} of run {told.run_id}"


def awaited(run_ids: Collection[UUID]) -> list[Delivery]:
    """Deliveries that left and whose end is open, on the runs whose events can tell of it. One query."""
    here = Q(run__in=run_ids, answering_run=None) | Q(answering_run__in=run_ids)
    open_ended = Delivery.objects.filter(here, state__in=(D.SENT, D.UNKNOWN))
    return list(open_ended.select_related("run__provider", "answering_run", "decision__request").order_by("pk"))


def prove(told: Stored, delivery: Delivery, record: Record) -> None:
    """Hold one event against one delivery."""
    provider = delivery.run.provider if delivery.run else None
    if provider is None or told.run_id != (delivery.answering_run_id or delivery.run_id):
        return
    if not delivery.answering_run_id and told.seq <= (delivery.sent_after_seq or 0):
        return  # it was stored before the answer left
    asked = [one for one in outbox.carried(delivery) if one.status in (S.SENT, S.UNKNOWN)]
    if told.source == Source.PROVIDER and asked:
        _weigh(told, delivery, asked, record)
    if delivery.answering_run_id:
        _answer_ended(told, delivery, record)
    conclude(delivery, told, record)


def _weigh(told: Stored, delivery: Delivery, asked: list[ApprovalRequest], record: Record) -> None:
    for one in asked:
        found = shown(told, delivery, one)
        match _read_together(told, one, found) if delivery.answering_run_id else found:
            case "applied":
                settle(one, S.DELIVERED, told, record)
            case "not_applied" if one.status == S.SENT and not delivery.answering_run_id:
                # The answer to our call is still on its way and counts more; this decides where it never comes.
                Delivery.objects.filter(pk=delivery.pk, contrary_seq=None).update(contrary_seq=told.seq)
            case "not_applied":
                settle(one, S.REFUSED, told, record)


def shown(told: Stored, delivery: Delivery, one: ApprovalRequest) -> Applied | None:
    """What an event shows of the answer to one request, by its provider's own rules."""
    assert delivery.run is not None
    verdict = Decision.objects.filter(request=one, undone_at=None).values_list("verdict", flat=True).first()
    carried = Carried(
        question=question(one),
        verdict="approve" if verdict == "approve" else "reject",
        only_open=delivery.only_open and not _others(told, one),
        answering_run=(delivery.answering_run.external_id or "") if delivery.answering_run else "",
        asks=tuple(fact.call_id for fact in told.facts if isinstance(fact, Asked)),
    )
    return providers.get(delivery.run.provider.kind).evidence(carried, told.kind, told.payload)


def _others(told: Stored, one: ApprovalRequest) -> bool:
    """Whether the run had another question since this one was asked: an effect could be that one's."""
    others = ApprovalRequest.objects.filter(run=one.run_id, opened_by_seq__lt=told.seq).exclude(call_id=one.call_id)
    others = others.exclude(status__in=(S.EXPIRED, S.WITHDRAWN, S.SUPERSEDED)).exclude(settled_at__lt=one.requested_at)
    return others.exists()


def _read_together(told: Stored, one: ApprovalRequest, shown: Applied | None) -> Applied | None:
    """What an event of the answering run shows, with what it asks and how it ends.

    The same question once more means that the answer was not taken, whatever form it has; an end that breaks the rules
    or that nobody can read proves nothing, for it may ask the same in a form that we do not know.
    """
    if any(isinstance(fact, Asked) and fact.call_id == one.call_id for fact in told.facts):
        return "not_applied"
    if shown == "applied" and any(isinstance(fact, Ended) and fact.how != "finished" for fact in told.facts):
        return None
    return shown


def _answer_ended(told: Stored, delivery: Delivery, record: Record) -> None:
    """The run that carried the answer is over: what it has not shown by now, it will not show."""
    ended = next((fact for fact in told.facts if isinstance(fact, Ended)), None)
    if ended is None or delivery.run is None:
        return
    refused = ended.how == "failed" and providers.get(delivery.run.provider.kind).not_accepted(ended.error)
    for one in outbox.carried(delivery):
        if one.status == S.SENT or (one.status == S.UNKNOWN and refused):
            settle(one, S.REFUSED if refused else S.UNKNOWN, told, record)


def settle(one: ApprovalRequest, to: RequestStatus, told: Stored, record: Record) -> None:
    """What came of the answer to one request, as an event shows it."""
    if lifecycle.try_settle(one.pk, to=to, at=record.at, status__in=(S.SENT, S.UNKNOWN)):
        one.status = to
        record.add(one, f"delivery.{DELIVERY_WORDS[to]}", evidence=text_of(told))


DELIVERY_WORDS = {S.DELIVERED: D.DELIVERED.value, S.REFUSED: D.REFUSED.value, S.UNKNOWN: D.UNKNOWN.value}


def conclude(delivery: Delivery, told: Stored, record: Record) -> None:
    """End a delivery once all its requests have their end."""
    statuses = {one.status for one in outbox.carried(delivery)}
    to = conclusion(statuses)
    if to is None and not statuses & {S.SENT, S.UNKNOWN}:  # nobody answered anything: it only had to free the thread
        over = any(isinstance(fact, Ended | Paused) for fact in told.facts)
        freed = D.DELIVERED if told.source == Source.PROVIDER else D.UNKNOWN
        to = freed if over else None
    if to is None or to == delivery.state:
        return
    facts: dict[str, Any] = {
        "evidence": text_of(told) if to != D.UNKNOWN else "",
        "finished_at": record.at if to != D.UNKNOWN else None,
        "claim_expires_at": None,
    }
    if to == D.UNKNOWN:
        ended = next((fact for fact in told.facts if isinstance(fact, Ended)), Ended("lost"))
        facts["last_error"] = events.short(ended.error or "the run that carried the answer ended without a word", 2_000)
    if lifecycle.try_shift(delivery.pk, to=to, facts=facts, state__in=(D.SENT, D.UNKNOWN)):
        delivery.state = to


def conclusion(statuses: Collection[str]) -> DeliveryState | None:
    """A delivery's end from those of its requests; None while one has none (or where there is none to speak of)."""
    if S.SENT in statuses:
        return None
    for status, state in ((S.UNKNOWN, D.UNKNOWN), (S.DELIVERED, D.DELIVERED), (S.REFUSED, D.REFUSED)):
        if status in statuses:
            return state
    return None
