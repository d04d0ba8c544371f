"""Starting, watching and nudging runs: rows that the supervisor finds."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from streams import candidates, leases, nudges, openings, runs
from streams.models import Event, Lease, Provider, Run, RunStatus
from streams.providers.base import Begun
from streams.runs import StartRefused
from tests import factories
from tests.streams.middesk_frames import RUN_ID

pytestmark = pytest.mark.django_db
BUSINESS = {"business_id": "5b1e0000-0000-4000-8000-000000000001"}


@pytest.fixture
def middesk() -> Provider:
    return factories.provider(kind="middesk")


# --- start and watch ------------------------------------------------------------------------------------------------


def test_a_middesk_run_is_queued_with_its_agent_and_business(middesk: Provider) -> None:
    run = runs.start(middesk, workflow="cip_orchestrator", options=BUSINESS)
    assert (run.status, run.title, run.options) == (RunStatus.QUEUED, "cip_orchestrator", BUSINESS)


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"task": "Check it", "workflow": "cip_orchestrator", "options": BUSINESS}, {"task"}),
        ({"workflow": "cip_orchestrator"}, {"options"}),
        ({"options": BUSINESS}, {"workflow"}),
        ({"workflow": "cip_orchestrator", "options": {**BUSINESS, "prompt": "x"}}, {"options"}),
    ],
)
def test_a_start_that_middesk_cannot_take_is_refused_by_field(middesk: Provider, fields: Any, wrong: set[str]) -> None:
    with pytest.raises(StartRefused) as refused:
        runs.start(middesk, **fields)
    assert set(refused.value.problems) == wrong
    assert not Run.objects.exists()


@pytest.mark.parametrize("external_id", ["", " ", ".", "..", "x" * 256, "a\0b"])
def test_an_id_that_no_address_can_be_made_of_is_not_watched(middesk: Provider, external_id: str) -> None:
    with pytest.raises(StartRefused):
        runs.watch(middesk, external_id)
    assert runs.nudge_external(middesk, external_id) is None
    assert not Run.objects.exists()


# --- nudges ---------------------------------------------------------------------------------------------------------


def test_a_nudge_is_written_into_the_row_and_hinted(middesk: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    hinted: list[Any] = []
    monkeypatch.setattr("streams.announce.stream_wake", hinted.append)
    run = factories.run(provider=middesk)
    runs.nudge(run.pk)
    run.refresh_from_db()
    assert run.nudged_at is not None
    assert hinted == [run.pk]


@pytest.mark.parametrize("status", [RunStatus.FINISHED, RunStatus.LOST])
def test_a_run_that_is_over_is_left_alone(middesk: Provider, status: RunStatus) -> None:
    run = factories.run(provider=middesk, status=status, ended_at=timezone.now())
    runs.nudge(run.pk)
    assert runs.nudge_external(middesk, str(run.external_id)) == run
    run.refresh_from_db()
    assert (run.status, run.nudged_at) == (status, None)


def test_a_nudge_of_a_run_that_there_is_not_changes_nothing() -> None:
    runs.nudge(UUID(int=1))
    assert not Run.objects.exists()


def test_an_unknown_run_is_watched_and_a_known_one_is_found(middesk: Provider) -> None:
    made = runs.nudge_external(middesk, RUN_ID)
    assert made is not None
    assert made.status == RunStatus.QUEUED
    assert runs.nudge_external(middesk, RUN_ID) == made
    assert Run.objects.get().nudged_at is not None


@pytest.mark.parametrize("kind", ["mindra", "agui"])
def test_a_provider_whose_runs_cannot_be_read_is_not_nudged(kind: str) -> None:
    assert runs.nudge_external(factories.provider(kind=kind), RUN_ID) is None
    assert not Run.objects.exists()


def test_a_holder_is_told_of_nudges_of_its_own_runs_alone(middesk: Provider) -> None:
    mine, other, quiet = (factories.run(provider=middesk) for _ in range(3))
    until = timezone.now() + timedelta(hours=1)
    for run, owner in ((mine, "me"), (other, "another"), (quiet, "me")):
        Lease.objects.create(run=run, owner=owner, epoch=1, expires_at=until)
    runs.nudge(mine.pk)
    runs.nudge(other.pk)
    told = nudges.told("me", None)
    assert set(told) == {mine.pk}
    assert nudges.told("me", told[mine.pk]) == told  # it may have been committed after a later one
    assert nudges.told("me", told[mine.pk] + nudges.LATE) == {}


# --- a webhook that is quicker than the answer to the start -----------------------------------------------------------


def starting(provider: Provider) -> Run:
    run = factories.run(
        provider=provider, external_id=None, status=RunStatus.CONNECTING, opened_at=timezone.now(), title="Mine"
    )
    Lease.objects.create(run=run, owner="me", epoch=1, expires_at=timezone.now() + timedelta(hours=1))
    return run


def test_a_run_told_of_by_a_webhook_waits_for_starts_that_are_under_way(middesk: Provider) -> None:
    ours = starting(middesk)
    told = runs.nudge_external(middesk, RUN_ID)
    elsewhere = runs.nudge_external(factories.provider(kind="middesk"), RUN_ID)
    assert told is not None
    assert elsewhere is not None
    assert set(candidates.find(set(), 10)) == {elsewhere.pk}
    Run.objects.filter(pk=ours.pk).update(opened_at=timezone.now() - timedelta(seconds=candidates.START_S + 1))
    assert set(candidates.find(set(), 10)) == {elsewhere.pk, told.pk}


def test_our_own_run_takes_the_place_of_the_one_a_webhook_made(middesk: Provider) -> None:
    ours = starting(middesk)
    runs.nudge_external(middesk, RUN_ID)
    assert openings.store_begun(ours.pk, Begun(RUN_ID), owner="me", epoch=1) == ""
    kept = Run.objects.get()
    assert (kept.pk, kept.external_id, kept.title) == (ours.pk, RUN_ID, "Mine")
    assert kept.nudged_at is not None


def test_a_run_that_is_followed_already_keeps_its_place(middesk: Provider) -> None:
    watched = runs.watch(middesk, RUN_ID)
    assert leases.acquire([watched.pk], owner="another")
    Event.objects.create(run=watched, seq=1, kind="x", sha256="0" * 64, received_at=timezone.now())
    ours = starting(middesk)
    assert "followed as another run" in openings.store_begun(ours.pk, Begun(RUN_ID), owner="me", epoch=1)
    assert set(Run.objects.values_list("pk", flat=True)) == {watched.pk, ours.pk}
