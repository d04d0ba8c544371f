"""Every pair of statuses and of states: a move is made exactly where its table says so."""

import pytest
from django.utils import timezone

from approvals import lifecycle
from approvals.errors import NotPending
from approvals.models import OPEN, ApprovalRequest, Delivery, DeliveryKind, DeliveryState, RequestStatus
from tests import factories

pytestmark = pytest.mark.django_db
FINAL = {
    RequestStatus.DELIVERED,
    RequestStatus.EXPIRED,
    RequestStatus.WITHDRAWN,
    RequestStatus.STALE,
    RequestStatus.SUPERSEDED,
}


def test_every_status_has_a_row_and_the_ends_lead_nowhere() -> None:
    assert set(lifecycle.MOVES) == set(RequestStatus)
    assert {status for status, targets in lifecycle.MOVES.items() if not targets} == FINAL
    assert set(lifecycle.SHIFTS) == set(DeliveryState)
    ends = {state for state, targets in lifecycle.SHIFTS.items() if not targets}
    assert ends == {DeliveryState.DELIVERED, DeliveryState.REFUSED, DeliveryState.CANCELLED}


@pytest.mark.parametrize("source", RequestStatus)
def test_a_request_moves_exactly_where_its_table_says(source: RequestStatus) -> None:
    for target in RequestStatus:
        settled_at = None if source in OPEN else timezone.now()
        asked = factories.request(status=source, settled_at=settled_at)
        moved = lifecycle.try_settle(asked.pk, to=target, at=timezone.now())
        assert moved == (target in lifecycle.MOVES[source]), (source, target)
        asked.refresh_from_db()
        assert asked.status == (target if moved else source)
        assert (asked.settled_at is None) == (asked.status in OPEN)
        if moved and source not in OPEN and target not in OPEN:
            assert asked.settled_at == settled_at  # what comes of it later does not date it anew


@pytest.mark.parametrize("source", DeliveryState)
def test_a_delivery_shifts_exactly_where_its_table_says(source: DeliveryState) -> None:
    asked = factories.request()
    for target in DeliveryState:
        decision = asked.decisions.create(
            by=factories.user(),
            verdict="reject",
            seen_sha256="0" * 64,
            leaves_at=timezone.now(),
            undone_at=timezone.now(),
        )
        row = Delivery.objects.create(kind=DeliveryKind.DECISION, run=asked.run, decision=decision, state=source)
        shifted = lifecycle.try_shift(row.pk, to=target, facts={"last_error": "x"})
        assert shifted == (target in lifecycle.SHIFTS[source]), (source, target)
        row.refresh_from_db()
        assert (row.state, row.last_error) == ((target, "x") if shifted else (source, ""))


def test_conditions_narrow_a_move() -> None:
    asked = factories.request()
    assert not lifecycle.try_settle(asked.pk, to=RequestStatus.HELD, at=timezone.now(), input_sha256="other")
    with pytest.raises(NotPending):
        lifecycle.settle(asked.pk, to=RequestStatus.HELD, at=timezone.now(), input_sha256="other")
    assert ApprovalRequest.objects.get(pk=asked.pk).status == RequestStatus.PENDING
