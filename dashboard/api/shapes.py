"""Rows as the API shows them; the command line prints the same."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.db.models import Count, Prefetch, Q, QuerySet
from django.utils import timezone

from approvals import decisions
from approvals import models as asked_models
from approvals.models import ApprovalRequest, DeliveryState, Ran, RequestStatus
from dashboard.api import bodies, schemas
from streams import models as held_models

_LIVE = Q(undone_at__isnull=True)


def run(row: held_models.Run) -> schemas.Run:
    """A run with the number of its requests that wait for a person."""
    continued_by = held_models.Run.objects.filter(continues=row.pk).values_list("pk", flat=True).first()
    pending = ApprovalRequest.objects.filter(run=row, status=RequestStatus.PENDING).count()
    return schemas.Run(
        id=row.pk,
        provider=row.provider.name,
        external_id=row.external_id,
        thread_id=row.thread_id or None,
        continues=row.continues_id,
        continued_by=continued_by,
        status=held_models.RunStatus(row.status),
        outcome=row.outcome or None,
        title=row.title,
        error=row.error or None,
        started_at=row.started_at,
        ended_at=row.ended_at,
        pending=pending,
    )


def event(row: held_models.Event) -> schemas.Event:
    """A stored event; `data` is its exact text."""
    return schemas.Event(
        seq=row.seq,
        source=held_models.Source(row.source),
        kind=row.kind,
        at=row.received_at,
        data=row.payload,
        sha256=row.sha256,
    )


def with_parts(rows: QuerySet[ApprovalRequest]) -> QuerySet[ApprovalRequest]:
    """Requests with everything that approvals() reads, in a fixed number of queries."""
    deliveries = asked_models.Delivery.objects.exclude(state=DeliveryState.CANCELLED)
    decisions = asked_models.Decision.objects.filter(_LIVE).select_related("by")
    return rows.select_related("run__provider", "batch").prefetch_related(
        Prefetch("decisions", decisions, to_attr="live_decisions"),
        Prefetch("live_decisions__deliveries", deliveries, to_attr="live_deliveries"),
        Prefetch("batch__deliveries", deliveries, to_attr="live_deliveries"),
    )


def approvals(rows: Sequence[ApprovalRequest], *, reader_id: int) -> list[schemas.Approval]:
    """Requests that came through with_parts(), as this person sees them."""
    open_in = _open_in({row.batch_id for row in rows if row.batch_id})
    now = timezone.now()
    return [_approval(row, open_in, reader_id, now) for row in rows]


def live_decision(request_id: UUID) -> schemas.Decision | None:
    """The decision that counts, if there is one."""
    row = asked_models.Decision.objects.select_related("by").filter(_LIVE, request=request_id).first()
    return _decision(row) if row else None


def _open_in(batches: Iterable[UUID]) -> dict[UUID, int]:
    """How many members of each batch nobody has decided yet."""
    waiting = Count("requests", filter=Q(requests__status=RequestStatus.PENDING))
    counted = asked_models.Batch.objects.filter(pk__in=list(batches)).annotate(waiting=waiting)
    return dict(counted.values_list("pk", "waiting"))


def _approval(row: ApprovalRequest, open_in: dict[UUID, int], reader_id: int, now: datetime) -> schemas.Approval:
    decision = next(iter(row.live_decisions), None)  # type: ignore[attr-defined]
    carried: Any = row.batch or decision  # prefetched: with_parts()
    waits = row.status == RequestStatus.PENDING  # its batch may have a row already, but nothing of it is to leave
    delivery = next(iter(carried.live_deliveries), None) if carried and not waits else None
    here = not decisions.read_only(row)
    alone = schemas.Batch(id=None, open=int(row.status == RequestStatus.PENDING), total=1)
    return schemas.Approval(
        id=row.pk,
        run_id=row.run_id,
        provider=row.run.provider.name,
        tool_name=row.tool,
        tool_input=bodies.arguments(row.arguments),
        tool_input_text=row.arguments,
        input_sha256=row.input_sha256,
        message=row.message or None,
        status=RequestStatus(row.status),
        tier=asked_models.Tier(row.tier),
        can=schemas.Can(
            edit=here and row.offers_edit,
            reason=here and row.offers_reason,
            answer=here and row.offers_answer,
            undo=here and decision is not None and decision.by_id == reader_id and _undoable(row, decision, now),
        ),
        cannot=schemas.Cannot(
            approve=row.problem or None,
            reject=row.no_reject or None,
            edit=row.no_edit or None,
            reason=row.no_reason or None,
        ),
        needs_answer=row.needs_answer,
        limits=row.limits.splitlines(),
        dialect=schemas.Dialect(name=row.dialect, verified=not row.unverified) if row.dialect else None,
        answer_schema=bodies.arguments(row.answer_schema) if row.answer_schema else None,
        batch=schemas.Batch(id=row.batch.pk, open=open_in[row.batch.pk], total=row.batch.total) if row.batch else alone,
        requested_at=row.requested_at,
        deadline=row.deadline,
        decision=_decision(decision) if decision else None,
        delivery=_delivery(delivery) if delivery else None,
        ran=_ran(row),
        ran_input_text=row.ran_arguments if row.ran == Ran.OTHERWISE else None,
    )


def _ran(row: ApprovalRequest) -> Literal["as_approved", "otherwise"] | None:
    match row.ran:
        case Ran.AS_APPROVED:
            return "as_approved"
        case Ran.OTHERWISE:
            return "otherwise"
    return None


def _undoable(row: ApprovalRequest, decision: asked_models.Decision, now: datetime) -> bool:
    """A batch leaves as a whole: until then each of its decisions can be taken back."""
    return row.status == RequestStatus.HELD and (row.batch_id is not None or decision.leaves_at > now)


def _decision(row: asked_models.Decision) -> schemas.Decision:
    return schemas.Decision(
        verdict=asked_models.Verdict(row.verdict), by=row.by.get_username(), reason=row.reason, at=row.decided_at
    )


def _delivery(row: asked_models.Delivery) -> schemas.Delivery:
    return schemas.Delivery(state=DeliveryState(row.state), attempts=row.attempts, last_error=row.last_error or None)
