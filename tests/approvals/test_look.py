"""A look of the courier with nothing under way asks next to nothing; with anything that the clock moves, everything."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals import courier, outbox
from approvals.models import Batch, Delivery, DeliveryKind, DeliveryState
from tests import factories

pytestmark = pytest.mark.django_db
D = DeliveryState
FINAL = {D.DELIVERED, D.REFUSED, D.CANCELLED}


def delivery(state: DeliveryState, *, patient: bool = False) -> Delivery:
    """A delivery in a state; `patient`: the run may still show what came of it."""
    run = factories.run()
    batch = Batch.objects.create(run=run, round=1, total=1)
    until = timezone.now() + timedelta(seconds=10) if patient else None
    return Delivery.objects.create(kind=DeliveryKind.BATCH, run=run, batch=batch, state=state, claim_expires_at=until)


def test_an_idle_look_is_two_questions() -> None:
    for state in FINAL:
        delivery(state)
    delivery(D.UNKNOWN)  # only a person can say what came of it
    with CaptureQueriesContext(connection) as asked_of_it:
        claims, due = courier.look("me", 32, {})
    clocks = sum("clock_timestamp" in query["sql"] for query in asked_of_it.captured_queries)
    assert (claims, due, len(asked_of_it) - clocks) == ([], None, 2)


@pytest.mark.parametrize("state", sorted(set(D) - FINAL - {D.UNKNOWN}))
def test_whatever_can_move_is_looked_at(state: DeliveryState) -> None:
    assert not outbox.any_unfinished()
    delivery(state)
    assert outbox.any_unfinished()


def test_an_answer_in_doubt_is_looked_at_while_its_run_may_show_it() -> None:
    delivery(D.UNKNOWN, patient=True)
    assert outbox.any_unfinished()
