"""The page about the streams: what is connected, by whom, since when, and what somebody should do."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from dashboard import panels, stream_health
from dashboard.models import User
from streams.models import HolderProcess, Lease, Run, RunStatus
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]
EVIL = "<script>alert(1)</script>"
OWNER = "host-a:4711:abcd1234"


@pytest.fixture
def reviewer(client: Client) -> User:
    user = factories.user(username="rita")
    user.groups.add(Group.objects.get(name="Reviewer"))
    client.force_login(user)
    return user


@pytest.fixture
def staff(client: Client) -> User:
    user = factories.user(username="sam", is_staff=True)
    client.force_login(user)
    return user


def process(**fields: Any) -> HolderProcess:
    now = timezone.now()
    return HolderProcess.objects.create(
        **{"owner": OWNER, "started_at": now, "seen_at": now, "streams": 1, "slots": 10, **fields}
    )


def held(**fields: Any) -> Run:
    run = factories.run(**{"connected_at": timezone.now(), "last_event_at": timezone.now(), **fields})
    Lease.objects.create(run=run, owner=OWNER, epoch=3, expires_at=timezone.now() + timedelta(minutes=1))
    return run


def text(client: Client, query: str = "") -> str:
    answer = client.get(f"/streams/?{query}")
    assert answer.status_code == 200
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def alerts() -> list[str]:
    return [one.what for one in stream_health.health(panels.whole()).alerts]


def word(run: Run) -> str:
    found = stream_health.connection(Run.objects.select_related("provider", "lease").get(pk=run.pk))
    return found.text if found else ""


# --- one stream -------------------------------------------------------------------------------------------------------


def test_a_stream_is_named_by_what_is_known_of_it() -> None:
    agui = factories.provider(kind="agui")
    assert word(held()) == "Connected"
    assert word(held(connected_at=None)) == "Between two connections"
    assert word(factories.run()) == "Held by nobody"
    assert word(factories.run(status=RunStatus.QUEUED)) == "Queued"
    assert word(factories.run(status=RunStatus.WAITING, provider=agui)) == "Closed for now"
    assert word(factories.run(status=RunStatus.WAITING)) == "Held by nobody"
    middesk = factories.provider(kind="middesk")
    assert word(held(status=RunStatus.WAITING, provider=middesk, connected_at=None)) == "Read now and then"
    assert word(held(provider=middesk, connected_at=None)) == "Between two connections"
    assert word(factories.run(provider=factories.provider(paused=True))) == "Provider paused"
    refusing = factories.provider(credential_refused_at=timezone.now())
    assert word(factories.run(provider=refusing)) == "Secret refused"
    assert word(factories.run(status=RunStatus.FINISHED, ended_at=timezone.now())) == ""


def test_a_lease_that_ran_out_holds_nothing() -> None:
    run = held(connected_at=None)
    Lease.objects.filter(run=run).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert word(run) == "Held by nobody"


# --- what to do -------------------------------------------------------------------------------------------------------


def test_nothing_to_do_is_said(client: Client, reviewer: User) -> None:
    process()
    held()
    assert "Every stream is as it should be." in text(client)


def test_no_process_is_an_alert_and_the_gravest_when_runs_are_open() -> None:
    found = stream_health.health(panels.whole()).alerts
    assert [(one.tone, one.what) for one in found] == [("look", "No process holds streams.")]
    factories.run()
    assert stream_health.health(panels.whole()).alerts[0].tone == "stop"


def test_a_process_that_was_not_seen_lately_does_not_count() -> None:
    process(seen_at=timezone.now() - timedelta(minutes=1))
    assert alerts() == ["No process holds streams."]


def test_taken_slots_a_slow_database_and_a_backlog_are_alerts() -> None:
    process(streams=10)
    assert alerts() == ["Every slot is taken."]
    HolderProcess.objects.update(streams=1, lag_ms=2_500, queued=40)
    assert alerts() == ["host-a:4711 stores with a delay of 2.5 s, 40 events wait."]
    HolderProcess.objects.update(lag_ms=10, queued=9_000)
    assert alerts() == ["host-a:4711 stores with a delay of 0.0 s, 9000 events wait."]


def test_a_refused_secret_and_a_paused_provider_lead_to_the_settings(client: Client, staff: User) -> None:
    process()
    held(provider=factories.provider(name="refusing", credential_refused_at=timezone.now()))
    held(provider=factories.provider(name="resting", paused=True))
    factories.provider(name="idle", paused=True)  # with nothing to hold it is nobody's trouble
    assert alerts() == ["refusing refuses the secret we have.", "resting is paused, with 1 run going on."]
    page = client.get("/streams/").content.decode()
    assert '<a href="/settings/providers/refusing/">' in page


@pytest.mark.parametrize(("seconds", "told"), [(30, False), (120, True)])
def test_a_stream_apart_for_more_than_a_minute_is_an_alert(seconds: int, told: bool) -> None:
    process()
    held(connected_at=None, last_event_at=timezone.now() - timedelta(seconds=seconds))
    assert bool(alerts()) is told


def test_a_waiting_run_whose_stream_is_closed_rightly_is_no_alert() -> None:
    process()
    for kind in ("agui", "middesk"):
        held(
            provider=factories.provider(kind=kind),
            status=RunStatus.WAITING,
            connected_at=None,
            last_event_at=timezone.now() - timedelta(hours=1),
        )
    assert alerts() == []
    assert [one.apart for one in stream_health.health(panels.whole()).accounts] == [0, 0]


def test_a_run_that_ended_without_a_word_is_an_alert_for_a_day(client: Client, reviewer: User) -> None:
    process()
    one = factories.run(status=RunStatus.LOST, ended_at=timezone.now())
    assert alerts() == ["1 run ended without a word since yesterday."]
    Run.objects.filter(pk=one.pk).update(ended_at=timezone.now() - timedelta(days=2))
    assert alerts() == []


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_counts_per_provider(client: Client, reviewer: User) -> None:
    process()
    crm, mail = factories.provider(name="crm"), factories.provider(name="mail")
    held(provider=crm, reconnects=2)
    held(provider=crm, reconnects=3, connected_at=None)
    found = {one.row.name: one for one in stream_health.health(panels.whole()).accounts}
    assert (found["crm"].open, found["crm"].connected, found["crm"].apart, found["crm"].reconnects) == (2, 1, 1, 5)
    assert (found["mail"].open, found["mail"].last_event_at) == (0, None)
    assert "crm" in text(client)
    assert mail.name in text(client)


def test_only_the_streams_of_a_provider_or_only_those_apart(client: Client, reviewer: User) -> None:
    process()
    near, far = held(provider=factories.provider(name="crm")), held(connected_at=None)
    assert {near.title, far.title} <= {one.run.title for one in stream_health.health(panels.whole()).streams}
    assert [one.run for one in stream_health.health(panels.whole(), provider="crm").streams] == [near]
    assert [one.run for one in stream_health.health(panels.whole(), only_apart=True).streams] == [far]
    assert near.title not in text(client, "apart=1")
    assert near.title not in text(client, "provider=%00nobody")


def test_processes_and_holders_are_for_staff(client: Client, reviewer: User) -> None:
    process()
    held()
    assert "host-a" not in text(client)


def test_staff_see_who_holds_what_and_how_busy_it_is(client: Client, staff: User) -> None:
    process(queued=7, lag_ms=12)
    held()
    said = text(client)
    assert "host-a:4711 since" in said
    assert "7 events" in said
    assert "12 ms" in said
    assert "epoch 3" in said
    assert "abcd1234" not in said


def test_what_an_agent_named_is_inert(client: Client, reviewer: User) -> None:
    held(title=EVIL)
    assert EVIL not in client.get("/streams/").content.decode()


def test_the_page_takes_the_same_number_of_queries_however_many_streams(
    client: Client, staff: User, django_assert_max_num_queries: Any
) -> None:
    process()
    for _ in range(30):
        held()
    with django_assert_max_num_queries(16):
        client.get("/streams/")


def test_the_rest_is_counted() -> None:
    process()
    provider = factories.provider()
    for _ in range(stream_health.PAGE + 3):
        held(provider=provider)
    found = stream_health.health(panels.whole())
    assert (len(found.streams), found.more) == (stream_health.PAGE, 3)


def test_a_run_has_its_dot_in_the_list_and_on_its_page(client: Client, reviewer: User) -> None:
    run = held()
    for path in ("/runs/", f"/runs/{run.pk}/"):
        assert '<span class="dot ok" title="Connected">' in client.get(path).content.decode()
    Run.objects.update(status=RunStatus.FINISHED, ended_at=timezone.now(), connected_at=None)
    for path in ("/runs/", f"/runs/{run.pk}/"):
        assert '<span class="dot' not in client.get(path).content.decode()
