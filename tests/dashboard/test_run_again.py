"""Asking the provider for a lost run again, from the run's page: by whom, for which runs, and once."""

import re
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from approvals import endings
from approvals.models import ApprovalRequest, AuditEntry
from dashboard import panels, rooms, stream_health
from dashboard.models import User
from streams.models import HolderProcess, Run, RunStatus
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]
BUTTON = "Ask the provider again"


def person(client: Client, group: str, **fields: Any) -> User:
    user = factories.user(**fields)
    if group:
        user.groups.add(Group.objects.get(name=group))
    client.force_login(user)
    return user


@pytest.fixture
def operator(client: Client) -> User:
    return person(client, "Operator", username="olga")


def lost(**fields: Any) -> Run:
    """A lost run with the question that it was lost with."""
    run = factories.run(**{"status": RunStatus.LOST, "ended_at": timezone.now(), "error": "HTTP 404", **fields})
    why = endings.RUN_OVER[RunStatus.LOST]
    factories.request(run=run, status="stale", settled_at=timezone.now(), ended_why=why)
    return run


def asked_again(client: Client, run: Run) -> Any:
    return client.post(f"/runs/{run.pk}/again/")


def html_of(client: Client, run: Run) -> str:
    return client.get(f"/runs/{run.pk}/").content.decode()


def form(html: str) -> str:
    found = re.search(r'<form class="again.*?</form>', html, re.DOTALL)
    return found[0] if found else ""


def test_an_operator_presses_a_plain_button_and_the_question_is_back(client: Client, operator: User) -> None:
    run = lost()
    shown = form(html_of(client, run))
    assert f'method="post" action="/runs/{run.pk}/again/"' in shown
    assert "csrfmiddlewaretoken" in shown
    assert BUTTON in shown
    assert "offered again" in shown  # what it does, in words
    answer = asked_again(client, run)
    assert (answer.status_code, answer["Location"]) == (302, f"/runs/{run.pk}/")
    assert list(ApprovalRequest.objects.order_by("version").values_list("status", flat=True)) == ["stale", "pending"]
    assert AuditEntry.objects.get(action="run.asked_again").actor == "olga"
    html = html_of(client, run)
    assert "1 to decide" in html
    assert 'data-status="waiting"' in html


def test_the_second_tab_is_told_that_nothing_was_changed(client: Client, operator: User) -> None:
    run = lost()
    asked_again(client, run)
    answer = asked_again(client, run)
    assert answer.status_code == 409
    html = answer.content.decode()
    assert "Nothing was changed: the run is not lost, or somebody asked for it already." in html
    assert "http-equiv" not in html  # without JavaScript the page would load itself again, and this address has none
    assert ApprovalRequest.objects.count() == 2
    assert AuditEntry.objects.filter(action="run.asked_again").count() == 1


@pytest.mark.parametrize("group", ["Reviewer", "Auditor", ""])
def test_who_may_not_is_denied_and_sees_no_button(client: Client, group: str) -> None:
    run = lost()
    person(client, group)
    assert BUTTON not in html_of(client, run)
    assert asked_again(client, run).status_code == 403
    assert Run.objects.get().status == RunStatus.LOST
    assert not AuditEntry.objects.exists()


def test_a_get_asks_nothing_and_an_unknown_run_is_not_found(client: Client, operator: User) -> None:
    run = lost()
    assert client.get(f"/runs/{run.pk}/again/").status_code == 405
    assert client.post(f"/runs/{uuid4()}/again/").status_code == 404
    assert Run.objects.get().status == RunStatus.LOST


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "agui", "status": RunStatus.TRUNCATED},
        {"kind": "agui"},
        {"kind": "unheard-of"},
        {"external_id": None},  # its start was never confirmed
        {"status": RunStatus.TRUNCATED},
        {"status": RunStatus.FAILED},
    ],
)
def test_what_cannot_be_joined_is_not_offered(client: Client, operator: User, fields: dict[str, Any]) -> None:
    given = {**fields}
    provider = factories.provider(kind=given.pop("kind", "mindra"))
    run = lost(provider=provider, **given)
    assert not form(html_of(client, run))
    assert asked_again(client, run).status_code == 409
    assert Run.objects.get().status == run.status
    assert ApprovalRequest.objects.count() == 1


def test_a_paused_provider_is_not_asked_and_the_page_says_why(client: Client, operator: User) -> None:
    run = lost(provider=factories.provider(name="resting", paused=True))
    answer = asked_again(client, run)
    assert answer.status_code == 409
    assert "resting is paused" in answer.content.decode()


def test_a_page_that_stands_open_is_told_of_the_state_that_shows_the_button(client: Client, operator: User) -> None:
    """The form is of the page, for it is personal; what is pushed says when it is to be seen."""
    run = factories.run()
    assert form(html_of(client, run))
    Run.objects.update(status=RunStatus.LOST, ended_at=timezone.now())
    pushed = rooms.RunRoom.of(run.pk).everything(0)
    assert 'id="run-state" data-status="lost"' in pushed
    assert "<form" not in pushed


def test_what_to_do_about_lost_runs_says_that_they_can_be_asked_for(client: Client, operator: User) -> None:
    now = timezone.now()
    HolderProcess.objects.create(owner="h:1:x", started_at=now, seen_at=now, streams=1, slots=10)

    def said() -> str:
        (one,) = stream_health.health(panels.whole()).alerts
        return one.do

    lost(external_id=None)
    lost(provider=factories.provider(kind="agui"))
    assert "asks the provider again" not in said()
    lost()
    assert said().endswith("For 1 of them, the run's page has a button that asks the provider again.")
    assert "has a button that asks the provider again" in client.get("/streams/").content.decode()
