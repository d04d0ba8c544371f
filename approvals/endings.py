"""How requests end that nobody here answered: with their run, answered elsewhere, too late, at a person's word."""

import hashlib
from collections.abc import Iterable
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from approvals import batches, deadlines, lifecycle, outbox
from approvals.audit import Record
from approvals.models import OPEN, ApprovalRequest, RequestStatus, Undone
from streams import events
from streams.events import Gone
from streams.models import ENDED, Run, RunStatus

S = RequestStatus
ROWS_AT_ONCE = 200
ID_MAX = 300
NO_ANSWER = (RunStatus.LOST, RunStatus.TRUNCATED)

WENT_ON = "The agent went on without an answer."
OUTSIDE = "Answered outside of Countersign."
BEHIND_THE_END = "Asked when the run was over."
RUN_OVER = {
    RunStatus.FINISHED: "The run finished without an answer from here.",
    RunStatus.FAILED: "The run failed before an answer left.",
    RunStatus.CANCELLED: "The run was cancelled before an answer left.",
    RunStatus.TRUNCATED: "The run's stream ended without a last word before an answer left.",
    RunStatus.LOST: "The run was lost before an answer left.",
}
WITH_A_LOST_RUN = (RUN_OVER[RunStatus.LOST], BEHIND_THE_END)  # why a request of one is stale, if nothing else ended it


def storable_id(call_id: str) -> str:
    """A question's id as it is kept."""
    if not events.text(call_id)[1] and len(call_id) <= ID_MAX:
        return call_id
    return f"sha256:{hashlib.sha256(call_id.encode('utf-8', 'surrogatepass')).hexdigest()}"


def end_all(run_id: UUID, how: RunStatus, record: Record) -> None:
    """The run is over."""
    open_ones = ApprovalRequest.objects.filter(run=run_id, status__in=OPEN).order_by("pk")
    _lock_batches(open_ones)
    to = S.STALE if how in NO_ANSWER else S.WITHDRAWN
    for asked in open_ones:
        _close(asked, to=to, record=record, why=RUN_OVER[how], over=True)


@transaction.atomic
def end_open(run_id: UUID) -> None:
    """End what an attempt that came to nothing left open on a run that ended meanwhile."""
    status = RunStatus(Run.objects.values_list("status", flat=True).get(pk=run_id))
    if status in ENDED:
        record = Record(deadlines.now())
        end_all(run_id, status, record)
        record.write()


def close_gone(run_id: UUID, gone: Gone, record: Record) -> None:
    """Questions that the run does not list any more; what an answer of ours is under way to, the evidence settles."""
    ids = [storable_id(call_id) for call_id in gone.call_ids]
    open_ones = ApprovalRequest.objects.filter(run=run_id, call_id__in=ids, status__in=OPEN).order_by("pk")
    _lock_batches(open_ones)
    for asked in open_ones:
        _close(asked, to=S.WITHDRAWN, record=record, by="provider", why=OUTSIDE)


def withdraw(asked: ApprovalRequest, *, why: str, note_sha256: str, record: Record) -> bool:
    """End an open request because a person says so; its batch is locked."""
    return _close(asked, to=S.WITHDRAWN, record=record, by="person", why=why, note_sha256=note_sha256)


def move_on(run_id: UUID, record: Record) -> None:
    """The agent went on: where exactly one request can be meant, nobody waits for its answer any more."""
    unsettled = (*OPEN, S.SENT, S.UNKNOWN)
    found = list(ApprovalRequest.objects.filter(run=run_id, status__in=unsettled)[:2])
    if len(found) != 1 or found[0].status not in (S.PENDING, S.HELD):
        return
    asked = found[0]
    # An answer that arrived after this one was asked is reason enough for the agent to go on.
    answered = ApprovalRequest.objects.filter(run=run_id, status=S.DELIVERED, status_changed_at__gte=asked.requested_at)
    if not answered.exists():
        _lock_batches([asked])
        _close(asked, to=S.EXPIRED, record=record, by="provider", why=WENT_ON)


def _lock_batches(asked: Iterable[ApprovalRequest]) -> None:
    for batch_id in sorted({one.batch_id for one in asked if one.batch_id}):
        batches.lock(batch_id)


WHY = {S.EXPIRED: Undone.EXPIRED, S.WITHDRAWN: Undone.WITHDRAWN, S.STALE: Undone.STALE}


def _close(
    asked: ApprovalRequest,
    *narrowed: Q,
    to: RequestStatus,
    record: Record,
    by: str = "",
    why: str = "",
    over: bool = False,
    **noted: object,
) -> bool:
    """End a request that nobody can answer any more; its batch is locked. Nothing of it has left, nothing will.

    `why`: in our words, for people; `over`: its whole run is.
    """
    if not lifecycle.try_settle(asked.pk, *narrowed, to=to, at=record.at, ended_why=why, status__in=OPEN):
        return False
    outbox.void(asked, why=WHY[to], record=record)
    if asked.batch_id:
        batches.reschedule(asked.batch_id, record, over=over)
    record.add(asked, f"request.{to}", by=by, **noted)
    return True


def expire_due() -> int:
    """End every request whose deadline is over and whose answer has not left, by the database's clock."""
    due = ApprovalRequest.objects.filter(status__in=OPEN, deadline__lte=deadlines.now())
    return sum(expire(request_id) for request_id in due.values_list("pk", flat=True)[:ROWS_AT_ONCE])


@transaction.atomic
def expire(request_id: UUID) -> bool:
    """End one request whose deadline is over; a decision that waits to leave is too late a little earlier."""
    asked = ApprovalRequest.objects.get(pk=request_id)
    _lock_batches([asked])
    record = Record(deadlines.now())
    expired = expire_late(asked, record)
    record.write()
    return expired


def expire_late(asked: ApprovalRequest, record: Record) -> bool:
    """End an open request if it is too late for it; its batch is locked."""
    over = Q(deadline__lte=record.at)
    too_late = Q(deadline__lte=record.at + deadlines.margin(), status__in=(S.HELD, S.DECIDING))
    return _close(asked, over | too_late, to=S.EXPIRED, record=record)
