"""A run's record in the admin: every event with its hash, page by page, alarms first, what others wrote inert."""

import hashlib
import json
import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals.models import ApprovalRequest, Delivery, RequestStatus
from dashboard.admin import record
from streams.models import Event, ProviderHook, Run, RunStatus
from tests import factories
from tests.dashboard.test_admin import EVIL, boss, fill, url

__all__ = ["boss"]  # a fixture

pytestmark = pytest.mark.django_db


def events(run: Run, count: int, *, first: int = 1, **fields: Any) -> None:
    payload = fields.pop("payload", '{"type":"chunk","content":"word"}')
    sha256 = hashlib.sha256(payload.encode()).hexdigest()
    given = {"kind": "chunk", "payload": payload, "sha256": sha256, "received_at": timezone.now(), **fields}
    Event.objects.bulk_create(Event(run=run, seq=seq, **given) for seq in range(first, first + count))


def seqs(page: str) -> list[int]:
    return [int(seq) for seq in re.findall(r'<li id="e-(\d+)"', page)]


def test_a_long_run_is_read_page_by_page_without_a_gap(boss: Client) -> None:
    run = factories.run()
    events(run, 250)
    address = url(Run, "change", run.pk)
    page = boss.get(address).content.decode()
    assert seqs(page) == list(range(151, 251))
    assert seqs(boss.get(f"{address}?before=151").content.decode()) == list(range(51, 151))
    assert seqs(boss.get(f"{address}?before=51").content.decode()) == list(range(1, 51))
    assert seqs(boss.get(f"{address}?after=100").content.decode()) == list(range(101, 201))
    assert 77 in seqs(boss.get(f"{address}?at=77").content.decode())
    for odd in ("at=0", "at=-1", "at=x", "before=0", "after=999", f"before={10**20}", "at=1&before=3"):
        assert boss.get(f"{address}?{odd}").status_code == 200


def test_each_event_has_its_hash_and_leads_to_its_exact_text(boss: Client) -> None:
    run = factories.run()
    events(run, 1, payload='{"content":"ünïcode\u202e"}')
    event = Event.objects.get()
    page = boss.get(url(Run, "change", run.pk)).content.decode()
    assert event.sha256 in page and url(Event, "change", event.pk) in page
    answer = boss.get(f"/admin/streams/event/{event.pk}/exact/")
    assert hashlib.sha256(answer.content).hexdigest() == event.sha256
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_exact_arguments_hash_to_what_was_decided_on(boss: Client) -> None:
    asked = factories.request(arguments=json.dumps({"text": EVIL}))
    answer = boss.get(f"/admin/approvals/approvalrequest/{asked.pk}/exact/")
    assert hashlib.sha256(answer.content).hexdigest() == asked.input_sha256
    assert boss.get(f"/admin/streams/run/{asked.run_id}/exact/").status_code == 404


def test_gaps_and_a_past_that_differs_stand_out(boss: Client) -> None:
    run = factories.run()
    events(run, 120)
    events(run, 1, first=121, kind="gap", source="house", payload='{"text":"Events 88 to 93 were not received."}')
    events(run, 1, first=122, kind="divergence", source="house", payload='{"text":"Event 61 differs."}')
    events(run, 150, first=123)
    page = boss.get(url(Run, "change", run.pk)).content.decode()
    assert 'href="?at=121#e-121">Gap at 121<' in page and "Past differs at 122" in page
    there = boss.get(f"{url(Run, 'change', run.pk)}?at=121").content.decode()
    assert re.search(r'<li id="e-121" class="doubt">', there)
    assert "Events 88 to 93 were not received." in there


def test_what_agents_wrote_is_folded_and_inert(boss: Client) -> None:
    run = factories.run()
    payload = json.dumps({"type": "tool_executing", "toolName": EVIL, "content": EVIL}, ensure_ascii=False)
    events(run, 2, payload=payload, kind=EVIL[:100], own_id="", marked=True)
    page = boss.get(url(Run, "change", run.pk)).content.decode()
    assert "<script>alert" not in page and "<img src=x" not in page
    assert "\u202e" not in page and "\x1b" not in page
    assert page.count("<details>") == 2 and "<details open" not in page
    assert "Marked" in page


def test_a_very_large_event_is_cut_and_not_read_whole(boss: Client) -> None:
    run = factories.run()
    events(run, 3, payload=json.dumps({"content": "x" * 500_000}))
    page = boss.get(url(Run, "change", run.pk)).content.decode()
    assert len(page) < 100_000
    assert page.count("more characters") == 3
    made = record.read(run, {})
    assert all(len(row.text) == record.SHOWN_CHARS for row in made.rows)


def test_an_event_that_opened_a_request_leads_to_it(boss: Client) -> None:
    asked = factories.request(opened_by_seq=2)
    events(asked.run, 3)
    page = boss.get(url(Run, "change", asked.run_id)).content.decode()
    assert page.count("Opened a request") == 1
    assert url(ApprovalRequest, "change", asked.pk) in page


def test_a_run_page_costs_the_same_number_of_queries_whatever_hangs_on_it(boss: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as made:
            assert boss.get(url(Run, "change", run.pk)).status_code == 200
        return len(made)

    fill()
    run = Run.objects.get(continues__isnull=False)
    queries()
    few = queries()
    events(run, 300, first=2)
    for number in range(30):
        factories.request(run=run, opened_by_seq=number)
        ProviderHook.objects.create(
            provider=run.provider,
            event_id=f"e{number}",
            kind="x",
            external_id=str(run.external_id),
            received_at=timezone.now(),
        )
    assert queries() <= few


def test_every_page_of_a_row_costs_a_fixed_number_of_queries(boss: Client) -> None:
    fill()
    asked = ApprovalRequest.objects.get(batch__isnull=False)
    sent = Delivery.objects.get(kind="webhook")

    def queries(address: str) -> int:
        with CaptureQueriesContext(connection) as made:
            assert boss.get(address).status_code == 200
        return len(made)

    assert asked.batch and sent.endpoint
    pages = [url(type(row), "change", row.pk) for row in (asked, sent, asked.batch, sent.endpoint, asked.run.provider)]
    for page in pages:
        queries(page)
    few = [queries(page) for page in pages]
    for number in range(15):
        factories.request(run=asked.run, batch=asked.batch)
        ended: Any = {"status": RequestStatus.STALE, "settled_at": timezone.now()}
        version = factories.request(run=asked.run, call_id=asked.call_id, version=number + 2, **ended)
        Delivery.objects.create(kind="webhook", endpoint=sent.endpoint, about=asked)
        Delivery.objects.create(kind="webhook", endpoint=sent.endpoint, about=version)
        factories.run(provider=asked.run.provider)
    assert [queries(page) for page in pages] <= few


# --- lists that answer questions ------------------------------------------------------------------------------------


def found(boss: Client, model: Any, **chosen: Any) -> set[Any]:
    answer = boss.get(url(model, "changelist"), chosen)
    assert answer.status_code == 200
    return {row.pk for row in answer.context["cl"].result_list}


def test_the_filters_find_what_needs_attention(boss: Client) -> None:
    from datetime import timedelta

    now = timezone.now()
    long_ago = now - timedelta(minutes=11)
    slow = factories.request(requested_at=long_ago)
    fresh = factories.request()
    lost = factories.request(status=RequestStatus.UNKNOWN, settled_at=now)
    stuck = factories.request(status=RequestStatus.DECIDING, status_changed_at=long_ago)
    assert found(boss, ApprovalRequest, attention="slow") == {slow.pk}
    assert found(boss, ApprovalRequest, attention="unknown") == {lost.pk}
    assert found(boss, ApprovalRequest, attention="needed") == {slow.pk, lost.pk, stuck.pk}
    assert fresh.pk in found(boss, ApprovalRequest)
    silent = factories.run(last_event_at=long_ago)
    assert found(boss, Run, attention="needed") == {silent.pk, lost.run_id}
    Run.objects.filter(pk=silent.pk).update(started_at=long_ago)
    assert found(boss, Run, attention="slow") == {silent.pk}
    gone = factories.run(status=RunStatus.LOST, ended_at=now)
    assert found(boss, Run, attention="lost") == {gone.pk}


def test_the_front_page_counts_what_needs_a_look(boss: Client) -> None:
    assert "Needs a look" in boss.get("/admin/").content.decode()
    factories.request(status=RequestStatus.UNKNOWN, settled_at=timezone.now())
    page = boss.get("/admin/").content.decode()
    assert "requests of which nobody knows what came" in page
    assert f"{url(ApprovalRequest, 'changelist')}?attention=unknown" in page


@pytest.mark.parametrize("field", ["pk", "run_id", "call_id", "input_sha256", "tool"])
def test_a_request_is_found_by_what_is_known_of_it(boss: Client, field: str) -> None:
    asked = factories.request(tool="refund_customer", arguments='{"n": 1}', call_id="apr_xyz_1")
    factories.request()
    said = str(getattr(asked, field))
    assert found(boss, ApprovalRequest, q=said[:12] if field == "input_sha256" else said) == {asked.pk}


def test_a_run_and_its_events_are_found_by_ids_and_hashes(boss: Client) -> None:
    run = factories.run(external_id="exec_abc", thread_id="th_1")
    factories.run()
    events(run, 2, payload="{}")
    for said in (str(run.pk), "exec_abc", "th_1", run.title):
        assert found(boss, Run, q=said) == {run.pk}
    event = Event.objects.all()[0]
    assert len(found(boss, Event, q=event.sha256[:10])) == 2
    assert len(found(boss, Event, q="exec_abc")) == 2
    assert found(boss, Event, q="deadbeef00") == set()


def test_a_run_in_the_list_says_what_waits_and_how_many_events_it_has(boss: Client) -> None:
    run = factories.run()
    events(run, 7)
    factories.request(run=run)
    factories.request(run=run, status=RequestStatus.EXPIRED, settled_at=timezone.now())
    row = boss.get(url(Run, "changelist")).context["cl"].result_list[0]
    assert (row.pending, row.told) == (1, 7)


def test_lists_count_no_further_than_anybody_pages(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from streams.admin import lists

    monkeypatch.setattr(lists, "COUNTED", 100)
    run = factories.run()
    events(run, 130)
    answer = boss.get(url(Event, "changelist"))
    assert answer.context["cl"].result_count == 100
    assert "The first 100; narrow the list" in answer.content.decode()
    with CaptureQueriesContext(connection) as made:
        boss.get(url(Event, "changelist"))
    counted = [query["sql"] for query in made.captured_queries if "COUNT(" in query["sql"].upper()]
    assert counted and all("LIMIT 101" in sql for sql in counted)


def test_the_calendar_leads_from_years_to_days(boss: Client) -> None:
    from datetime import UTC, datetime

    for at in (datetime(2024, 12, 30, tzinfo=UTC), datetime(2026, 2, 3, tzinfo=UTC), datetime(2026, 3, 4, tzinfo=UTC)):
        run = factories.run()
        Run.objects.filter(pk=run.pk).update(started_at=at)
    page = boss.get(url(Run, "changelist")).content.decode()
    assert [year in page for year in (">2024<", ">2025<", ">2026<", ">2027<")] == [True, True, True, False]
    page = boss.get(url(Run, "changelist"), {"started_at__year": 2026}).content.decode()
    assert ">February 2026<" in page and ">March 2026<" in page and ">April 2026<" not in page
    page = boss.get(url(Run, "changelist"), {"started_at__year": 2026, "started_at__month": 2}).content.decode()
    assert ">3 February<" in page and ">28 February<" in page
    assert "started_at__day=3" in page
    assert len(found(boss, Run, started_at__year=2026, started_at__month=2, started_at__day=3)) == 1
