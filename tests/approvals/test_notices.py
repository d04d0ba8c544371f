"""What webhooks are told: one notice for each opening and each settling, made with what causes it."""

import json
from typing import Any

import pytest
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from approvals import decisions, endings, lifecycle, notices, outbox, webhook
from approvals.models import ApprovalRequest, Delivery, DeliveryKind, RequestStatus, WebhookEndpoint
from dashboard.models import User
from streams.events import Ended, MovedOn
from streams.models import Run
from tests.approvals.fakes import Clock, asked, newest, tell

pytestmark = pytest.mark.django_db
S = RequestStatus


def endpoint(url: str = "https://hooks.example.com/", *events: str, **fields: Any) -> WebhookEndpoint:
    made = WebhookEndpoint(url=url, events=list(events), **fields)
    made.set_secret(webhook.new_secret())
    made.save()
    return made


def told() -> list[tuple[str, str]]:
    """(event, status) of each notice, in order."""
    rows = Delivery.objects.filter(kind=DeliveryKind.WEBHOOK).order_by("created_at", "pk")
    return [(row.event, json.loads(row.body)["data"]["status"]) for row in rows]


def decide(one: ApprovalRequest, by: User, **fields: Any) -> None:
    decisions.decide(one.pk, **{"verdict": "approve", "by": by, "seen_sha256": one.input_sha256, **fields})


def test_a_new_request_is_told_to_each_endpoint_that_wants_it(run: Run, settings: Any) -> None:
    settings.ORIGINS = ["https://approvals.example.org", "https://b.example.org"]
    wants = [endpoint("https://a.example/"), endpoint("https://b.example/", webhook.PENDING)]
    endpoint("https://c.example/", webhook.SETTLED)
    endpoint("https://d.example/", disabled_at=run.started_at)
    tell(run, asked(tool="pay"))
    one = newest(run)
    rows = Delivery.objects.all()
    assert {row.endpoint_id for row in rows} == {row.pk for row in wants}
    for row in rows:
        assert (row.kind, row.event, row.state, row.about_id) == ("webhook", "approval.pending", "ready", one.pk)
        assert json.loads(row.body) == {
            "type": "approval.pending",
            "timestamp": one.requested_at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "data": {
                "id": str(one.pk),
                "run_id": str(run.pk),
                "provider": run.provider.name,
                "tool_name": "pay",
                "tier": "T2",
                "status": "pending",
                "url": f"https://approvals.example.org/requests/{one.pk}/",
            },
        }


def test_without_endpoints_nothing_is_made_for_one_query(run: Run, django_assert_num_queries: Any) -> None:
    tell(run, asked())
    one = newest(run)
    with django_assert_num_queries(1):
        notices.opened(one, at=one.requested_at)
    with django_assert_num_queries(1):
        notices.settled(one.pk, at=one.requested_at)
    assert not Delivery.objects.exists()


def test_what_is_told_holds_nothing_of_what_is_asked(run: Run) -> None:
    endpoint()
    canary = "canary-4711"
    tell(run, asked(arguments=f'{{"to":"{canary}"}}', message=canary, answer_schema=f'{{"title":"{canary}"}}'))
    tell(run, Ended("finished"))
    assert told() == [("approval.pending", "pending"), ("approval.settled", "withdrawn")]
    for body in Delivery.objects.values_list("body", flat=True):
        assert canary not in body and len(body) < 20_000 and body.isascii()


def test_whatever_an_agent_calls_its_tool_the_request_is_opened_and_told(run: Run) -> None:
    endpoint()
    tell(run, asked(tool="\ud800\x00<script>\u202e" + "💶" * 400))
    assert told() == [("approval.pending", "pending")]


# --- when it is told that a request is settled ----------------------------------------------------------------------


def test_a_decision_is_told_when_it_can_be_undone_no_more(run: Run, ada: User, clock: Clock) -> None:
    endpoint()
    tell(run, asked())
    decide(newest(run), ada, undo_s=5)
    assert told() == [("approval.pending", "pending")]
    decisions.undo(newest(run).pk, by=ada)
    decide(newest(run), ada, undo_s=5)
    assert told() == [("approval.pending", "pending")], "an undone decision opens nothing anew"
    clock.forward(6)
    outbox.release_due()
    assert told() == [("approval.pending", "pending"), ("approval.settled", "deciding")]


def test_what_becomes_of_the_answer_is_not_told_again(run: Run, ada: User) -> None:
    endpoint()
    tell(run, asked())
    decide(newest(run), ada)
    one = newest(run)
    for status in (S.SENT, S.DECIDING, S.SENT, S.UNKNOWN, S.STALE):
        lifecycle.settle(one.pk, to=status, at=one.requested_at)
    assert told() == [("approval.pending", "pending"), ("approval.settled", "deciding")]


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(
    ("facts", "status"),
    [
        ([Ended("finished")], S.WITHDRAWN),
        ([Ended("lost")], S.STALE),
        ([MovedOn("chunk")], S.EXPIRED),
        ([asked(arguments='{"a":2}')], S.SUPERSEDED),
    ],
)
def test_an_end_without_an_answer_is_told_once(
    run: Run, ada: User, facts: list[Any], status: RequestStatus, held: bool
) -> None:
    endpoint()
    tell(run, asked())
    if held:
        decide(newest(run), ada, undo_s=60)
    tell(run, *facts)
    again = [("approval.pending", "pending")] if status == S.SUPERSEDED else []
    assert sorted(told()) == sorted([("approval.pending", "pending"), ("approval.settled", status), *again])


def test_a_deadline_that_is_over_is_told(run: Run, clock: Clock) -> None:
    endpoint()
    tell(run, asked(expires_at=str(int(clock.at.timestamp()) + 10)))
    clock.forward(11)
    endings.expire_due()
    assert told() == [("approval.pending", "pending"), ("approval.settled", "expired")]


def test_what_is_asked_after_the_runs_end_waits_for_nobody_and_nobody_is_told(run: Run) -> None:
    endpoint()
    Run.objects.filter(pk=run.pk).update(status="finished", ended_at=timezone.now())
    tell(run, asked())
    assert newest(run).status == S.WITHDRAWN
    assert told() == []


def test_a_batch_is_told_question_by_question(thread: Run, ada: User) -> None:
    endpoint()
    tell(thread, asked("c1", together=True), asked("c2", together=True))
    decide(newest(thread, "c1"), ada)
    assert [event for event, _ in told()] == ["approval.pending"] * 2, "nothing leaves before all are answered"
    decide(newest(thread, "c2"), ada)
    assert told()[2:] == [("approval.settled", "deciding")] * 2


def test_a_request_that_is_offered_again_is_a_new_one(run: Run, ada: User) -> None:
    endpoint()
    tell(run, asked())
    decide(newest(run), ada)
    lifecycle.settle(newest(run).pk, to=S.SENT, at=newest(run).requested_at)
    lifecycle.settle(newest(run).pk, to=S.UNKNOWN, at=newest(run).requested_at)
    decisions.reoffer(newest(run).pk, by=ada, note="they still wait")
    assert told() == [
        ("approval.pending", "pending"), ("approval.settled", "deciding"), ("approval.pending", "pending"),
    ]  # fmt: skip
    assert Delivery.objects.filter(about=newest(run)).count() == 1


def test_a_replay_tells_nothing_again(run: Run) -> None:
    endpoint()
    for _ in range(3):
        tell(run, asked())
    assert told() == [("approval.pending", "pending")]


def test_what_is_rolled_back_was_never_told(run: Run) -> None:
    endpoint()
    with pytest.raises(RuntimeError), transaction.atomic():
        tell(run, asked())
        raise RuntimeError
    assert told() == []


# --- the link -------------------------------------------------------------------------------------------------------


def test_the_link_is_the_requests_page(run: Run, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(run, asked())
    one = newest(run)
    path = reverse("request", args=[one.pk])
    settings.ORIGINS = []
    monkeypatch.setattr(notices, "_address", notices.DEFAULT_ADDRESS)
    assert notices.page(one.pk) == f"http://127.0.0.1:8000{path}"
    notices.use_address("http://127.0.0.1:8123")
    assert notices.page(one.pk) == f"http://127.0.0.1:8123{path}"
    settings.ORIGINS = ["https://approvals.example.org"]
    assert notices.page(one.pk) == f"https://approvals.example.org{path}"
