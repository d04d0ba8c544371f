"""A request's and a delivery's moves: the tables, settle() and shift(). Nobody else writes status or state."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q

from approvals import notices
from approvals.errors import NotPending
from approvals.models import OPEN, ApprovalRequest, Delivery, DeliveryKind, DeliveryState, RequestStatus
from streams.faults import fault

S = RequestStatus

MOVES: Mapping[RequestStatus, frozenset[RequestStatus]] = {
    S.PENDING: frozenset({S.HELD, S.EXPIRED, S.WITHDRAWN, S.STALE, S.SUPERSEDED}),
    S.HELD: frozenset({S.PENDING, S.DECIDING, S.EXPIRED, S.WITHDRAWN, S.STALE, S.SUPERSEDED}),
    # Deciding is not sent yet. Held: its batch is incomplete again. Refused: no call could be made of it.
    S.DECIDING: frozenset({S.SENT, S.HELD, S.EXPIRED, S.WITHDRAWN, S.STALE, S.SUPERSEDED, S.REFUSED}),
    S.SENT: frozenset({S.DELIVERED, S.REFUSED, S.UNKNOWN, S.DECIDING}),  # deciding: the provider said "later" (429)
    S.UNKNOWN: frozenset({S.DELIVERED, S.REFUSED, S.STALE}),
    S.DELIVERED: frozenset(),
    S.REFUSED: frozenset({S.STALE}),  # it turned out to be open still: a new version takes over
    S.EXPIRED: frozenset(),
    S.WITHDRAWN: frozenset(),
    S.STALE: frozenset(),
    S.SUPERSEDED: frozenset(),
}

D = DeliveryState

SHIFTS: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    D.WAITING: frozenset({D.READY, D.CANCELLED}),
    D.READY: frozenset({D.CLAIMED, D.CANCELLED}),
    D.CLAIMED: frozenset({D.READY, D.SENT, D.PARKED, D.CANCELLED, D.REFUSED}),
    D.SENT: frozenset({D.DELIVERED, D.REFUSED, D.UNKNOWN, D.READY, D.PARKED}),
    D.UNKNOWN: frozenset({D.DELIVERED, D.REFUSED}),
    D.PARKED: frozenset({D.READY, D.CANCELLED}),
    D.DELIVERED: frozenset(),
    D.REFUSED: frozenset(),
    D.CANCELLED: frozenset(),
}

NOTICE_SHIFTS: Mapping[DeliveryState, frozenset[DeliveryState]] = {  # of webhooks: a repeat is harmless, so no doubt
    D.READY: frozenset({D.READY, D.CLAIMED, D.CANCELLED}),
    D.CLAIMED: frozenset({D.READY, D.DELIVERED, D.REFUSED}),
    D.DELIVERED: frozenset({D.READY}),  # a person has it sent again
    D.REFUSED: frozenset({D.READY}),
    D.CANCELLED: frozenset({D.READY}),
    **dict.fromkeys((D.WAITING, D.SENT, D.UNKNOWN, D.PARKED), frozenset()),
}
WAITS_NO_MORE = frozenset({S.DECIDING, S.EXPIRED, S.WITHDRAWN, S.STALE, S.SUPERSEDED})  # after pending and held


def sources(to: RequestStatus) -> list[RequestStatus]:
    """The statuses from which a request may become `to`."""
    return [source for source, targets in MOVES.items() if to in targets]


def shift_sources(to: DeliveryState) -> list[DeliveryState]:
    """The states from which a delivery may become `to`."""
    return [source for source, targets in SHIFTS.items() if to in targets]


def try_settle(
    request_id: UUID, *narrowed: Q, to: RequestStatus, at: datetime, ended_why: str = "", **conditions: Any
) -> bool:
    """Move a request by one conditional UPDATE; the row count says who won. Conditions narrow the WHERE.

    `ended_why`: where nobody here decided, who or what ended it.
    """
    dated: dict[str, Any] = {"status": to, "status_changed_at": at}
    if ended_why:
        dated["ended_why"] = ended_why
    if to in OPEN:
        dated["settled_at"] = None
    rows = ApprovalRequest.objects.filter(pk=request_id, status__in=sources(to)).filter(*narrowed, **conditions)
    if to not in OPEN:
        # The first settling time stays: `sent` dates it, what comes of it later does not.
        first = rows.filter(status__in=OPEN).update(settled_at=at, **dated)
        moved = bool(first) or bool(rows.exclude(status__in=OPEN).update(**dated))
    else:
        moved = bool(rows.update(**dated))
    if moved and to in WAITS_NO_MORE:
        notices.settled(request_id, at=at)
    fault("request.settled")
    return moved


def settle(request_id: UUID, *narrowed: Q, to: RequestStatus, at: datetime, **conditions: Any) -> None:
    """As try_settle(), but a refusal raises NotPending."""
    if not try_settle(request_id, *narrowed, to=to, at=at, **conditions):
        raise NotPending(request_id, f"the request cannot become {to} from where it is")


def try_shift(
    delivery_id: UUID, *, to: DeliveryState, facts: Mapping[str, Any] | None = None, **conditions: Any
) -> bool:
    """Move a delivery by one conditional UPDATE and write its facts with it."""
    rows = Delivery.objects.filter(pk=delivery_id, state__in=shift_sources(to)).filter(**conditions)
    return bool(rows.update(state=to, **(facts or {})))


def try_shift_notice(
    delivery_id: UUID, *, to: DeliveryState, facts: Mapping[str, Any] | None = None, **conditions: Any
) -> bool:
    """As try_shift(), for a delivery to a webhook."""
    states = [source for source, targets in NOTICE_SHIFTS.items() if to in targets]
    rows = Delivery.objects.filter(pk=delivery_id, kind=DeliveryKind.WEBHOOK, state__in=states).filter(**conditions)
    return bool(rows.update(state=to, **(facts or {})))
