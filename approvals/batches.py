"""Requests that one answer must cover: when they are all answered, and when that answer may leave."""

from datetime import datetime
from uuid import UUID

from django.db.models import Exists, F, OuterRef, QuerySet

from approvals import deadlines, lifecycle
from approvals.audit import Record
from approvals.models import (
    ApprovalRequest,
    Batch,
    Decision,
    Delivery,
    DeliveryKind,
    DeliveryState,
    RequestStatus,
)
from streams import announce

S = RequestStatus
D = DeliveryState
UNSENT = (D.WAITING, D.READY, D.CLAIMED, D.PARKED)


def lock(batch_id: UUID) -> None:
    """Keep everybody else's moves of the batch's members waiting until this transaction ends; taken before them."""
    Batch.objects.filter(pk=batch_id).update(changes=F("changes") + 1)


def members(batch_id: UUID) -> list[ApprovalRequest]:
    """The newest version of each question, in the order in which rows are locked."""
    return list(newest(ApprovalRequest.objects.filter(batch=batch_id)).order_by("pk"))


def newest(rows: QuerySet[ApprovalRequest]) -> QuerySet[ApprovalRequest]:
    """Of members of batches: each question once. One that seemed to be gone may be asked again beside the others."""
    later = ApprovalRequest.objects.filter(
        batch=OuterRef("batch"), call_id=OuterRef("call_id"), version__gt=OuterRef("version")
    )
    return rows.exclude(status=S.SUPERSEDED).filter(~Exists(later.exclude(status=S.SUPERSEDED)))


def reschedule(batch_id: UUID, record: Record, *, over: bool = False) -> None:
    """After a member's move, and with the batch locked: say when its answer leaves, or let it leave now.

    `over`: the run is, so there is nobody to answer. A member that a person withdrew counts as answered by nobody, as
    an expired one does; but where nobody answered any of the others either, nothing is sent.
    """
    asked = members(batch_id)
    statuses = {one.status for one in asked}
    if over or S.STALE in statuses or (S.WITHDRAWN in statuses and statuses <= {S.WITHDRAWN, S.EXPIRED}):
        _cancel(batch_id, record.at)
    elif S.PENDING in statuses:
        _reopen(batch_id, asked, record)
        _waiting(batch_id, next_at=None)
    elif Batch.objects.filter(pk=batch_id, closed_at=None).exists():
        due = _due(asked, record.at)
        _waiting(batch_id, next_at=due)
        if due <= record.at:
            close(batch_id, asked, record)


def close(batch_id: UUID, asked: list[ApprovalRequest], record: Record) -> None:
    """Let the answer go: every member is answered and no undo window is open any more."""
    if not Batch.objects.filter(pk=batch_id, closed_at=None).update(closed_at=record.at):
        return
    for one in asked:
        if one.status == S.HELD:
            lifecycle.settle(one.pk, to=S.DECIDING, at=record.at)
            record.touch(one)
    delivery_id = Delivery.objects.values_list("pk", flat=True).get(batch=batch_id, state=D.WAITING)
    lifecycle.try_shift(delivery_id, to=D.READY, facts={"next_at": record.at})
    announce.delivery_wake(delivery_id)


def _due(asked: list[ApprovalRequest], at: datetime) -> datetime:
    """The end of the last undo window, but early enough for the first deadline; at once where nobody answered."""
    held = [one for one in asked if one.status == S.HELD]
    live = Decision.objects.filter(request__in=held, undone_at=None)
    due = max(live.values_list("leaves_at", flat=True), default=at)
    last_calls = [deadlines.last_call(one.deadline) for one in held if one.deadline]
    return max(at, min([due, *last_calls]))


def _reopen(batch_id: UUID, asked: list[ApprovalRequest], record: Record) -> None:
    """A member's arguments changed although the answer was on its way out: it has not left, so it is called back."""
    if not Batch.objects.filter(pk=batch_id, closed_at__isnull=False).update(closed_at=None):
        return
    _cancel(batch_id, record.at)
    for one in asked:
        if one.status == S.DECIDING:
            lifecycle.settle(one.pk, to=S.HELD, at=record.at)
            record.touch(one)


def _cancel(batch_id: UUID, at: datetime) -> None:
    for delivery_id in Delivery.objects.filter(batch=batch_id, state__in=UNSENT).values_list("pk", flat=True):
        lifecycle.try_shift(delivery_id, to=D.CANCELLED, facts={"finished_at": at})


def _waiting(batch_id: UUID, *, next_at: datetime | None) -> None:
    run_id = Batch.objects.values_list("run_id", flat=True).get(pk=batch_id)
    waiting = Delivery.objects.filter(batch=batch_id, state=D.WAITING)
    if not waiting.update(next_at=next_at):
        Delivery.objects.create(kind=DeliveryKind.BATCH, run_id=run_id, batch_id=batch_id, next_at=next_at)
