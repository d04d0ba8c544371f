"""The list of runs, starting one and watching one: plain forms, once each, refused in words beside the field."""

import re
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.utils import timezone

from dashboard.models import User
from streams.models import Run, RunStatus
from tests import factories

pytestmark = pytest.mark.django_db
EVIL = "<script>alert(1)</script>"


def person(client: Client, group: str, **fields: Any) -> User:
    user = factories.user(**fields)
    if group:
        user.groups.add(Group.objects.get(name=group))
    client.force_login(user)
    return user


@pytest.fixture
def operator(client: Client) -> User:
    return person(client, "Operator", username="olga")


def shown(client: Client, query: str = "") -> list[str]:
    """The ids of the runs on a page of the list, in order."""
    answer = client.get(f"/runs/?{query}")
    assert answer.status_code == 200
    found = re.findall(r'<a href="/runs/([0-9a-f-]{36})/"', answer.content.decode())
    return list(found)


def ended(status: str, **fields: Any) -> Run:
    return factories.run(status=status, ended_at=timezone.now(), **fields)


# --- the list ---------------------------------------------------------------------------------------------------------


def test_the_newest_run_stands_first(client: Client, operator: User) -> None:
    first, second = factories.run(), factories.run()
    assert shown(client) == [str(second.pk), str(first.pk)]


def test_a_status_group_shows_its_runs_and_no_others(client: Client, operator: User) -> None:
    going, done, lost = factories.run(), ended("finished"), ended("lost")
    assert shown(client, "status=open") == [str(going.pk)]
    assert set(shown(client, "status=ended")) == {str(done.pk), str(lost.pk)}
    assert shown(client, "status=bad") == [str(lost.pk)]
    assert shown(client, "status=finished") == [str(done.pk)]
    assert len(shown(client, "status=nonsense")) == 3


def test_what_waits_for_a_person_is_found_by_its_request_and_by_its_status(client: Client, operator: User) -> None:
    asking = factories.request(run=factories.run(status="streaming")).run
    waiting = factories.run(status="waiting")
    factories.run()
    answered = factories.request(status="delivered", settled_at=timezone.now()).run
    found = shown(client, "status=waiting")
    assert set(found) == {str(asking.pk), str(waiting.pk)}
    assert str(answered.pk) not in found


def test_mine_are_those_that_i_started(client: Client, operator: User) -> None:
    mine = factories.run(started_by=operator)
    factories.run(started_by=factories.user())
    factories.run()
    assert shown(client, "mine=1") == [str(mine.pk)]


def test_a_provider_is_chosen_by_name_and_an_unknown_one_has_no_runs(client: Client, operator: User) -> None:
    run = factories.run()
    factories.run()
    assert shown(client, f"provider={run.provider.name}") == [str(run.pk)]
    assert shown(client, "provider=nobody") == []


@pytest.mark.parametrize("text", ["odd title", "EXEC_ODD", "thread-odd", "do the odd thing"])
def test_search_looks_at_title_external_id_thread_and_task(client: Client, operator: User, text: str) -> None:
    run = factories.run(
        title="An odd title", external_id="exec_odd_1", thread_id="thread-odd-1", task="Please do the odd thing\nnow"
    )
    factories.run(title="another")
    assert shown(client, f"q={text}") == [str(run.pk)]


def test_a_run_is_found_by_the_number_that_the_page_shows(client: Client, operator: User) -> None:
    run, _ = factories.run(pk=UUID("1397abcd-0000-4000-8000-000000000001")), factories.run()
    for text in ("1397·abcd", "1397abcd", "1397 ABCD", str(run.pk)):
        assert shown(client, f"q={text}") == [str(run.pk)]


def test_what_is_odd_in_a_filter_is_left_out(client: Client, operator: User) -> None:
    factories.run()
    assert len(shown(client, "q=%00&provider=%00&status=%3C&mine=yes&page=-1")) == 1
    assert len(shown(client, "page=99999999999999999999")) == 1
    assert client.get("/runs/", {"q": EVIL}).content.decode().count(EVIL) == 0


def test_a_continued_run_stands_for_itself_only_in_a_search(client: Client, operator: User) -> None:
    before = ended("finished", outcome="continued", external_id="part_one")
    after = factories.run(provider=before.provider, continues=before, external_id="part_two")
    assert shown(client) == [str(after.pk)]
    assert shown(client, "q=part_one") == [str(before.pk)]


def test_pages_lead_to_each_other_and_keep_the_filter(client: Client, operator: User) -> None:
    provider = factories.provider()
    runs = [factories.run(provider=provider) for _ in range(53)]
    factories.run()
    query = f"provider={provider.name}&status=open"
    first = client.get(f"/runs/?{query}").content.decode()
    older = re.search(r'href="\?([^"]+&amp;page=2&amp;before=[^"]+)"', first)
    assert older
    assert older[1].startswith(f"provider={provider.name}&amp;status=open")
    assert "Newer" not in first
    second = client.get(f"/runs/?{query}&page=2").content.decode()
    assert f'href="?provider={provider.name}&amp;status=open"' in second
    assert "Older" not in second
    both = shown(client, query) + shown(client, f"{query}&page=2")
    assert both == [str(run.pk) for run in reversed(runs)]
    factories.run(provider=provider)
    assert shown(client, older[1].replace("&amp;", "&")) == both[50:], "a new run moves nothing on an older page"
    assert "Nothing on page 3" in client.get(f"/runs/?{query}&page=3").content.decode()


def test_the_way_back_leads_over_the_same_pages(client: Client, operator: User) -> None:
    for _ in range(120):
        factories.run()

    def follow(query: str, word: str) -> str:
        html = client.get(f"/runs/?{query}").content.decode()
        found = re.search(rf'href="\?([^"]+)"><svg[^>]*><use[^>]*/></svg>{word}<', html)
        assert found, word
        return found[1].replace("&amp;", "&")

    second = follow("", "Older")
    third = follow(second, "Older")
    assert len(shown(client, third)) == 20
    assert shown(client, follow(third, "Newer")) == shown(client, second)
    assert shown(client, follow(second, "Newer")) == shown(client)


@pytest.mark.parametrize("place", ["x", "2026-11-21,x", "0001-01-01T00:00:00+00:00,", "9999-12-31T23:59:59+00:00", ","])
def test_a_place_that_is_none_is_left_out(client: Client, operator: User, place: str) -> None:
    for _ in range(51):
        factories.run()
    for way in ("before", "after"):
        assert len(shown(client, f"page=2&{way}={place}")) == 1
        assert len(shown(client, f"page=2&{way}={place}{uuid4()}")) == 1


def test_an_exact_external_id_finds_its_run_alone(client: Client, operator: User) -> None:
    run = factories.run(external_id="exec_1")
    factories.run(external_id="exec_12")
    assert shown(client, "q=exec_1") == [str(run.pk)]
    assert len(shown(client, "q=exec_")) == 2


def test_a_row_says_what_there_is_to_decide_and_who_started_it(client: Client, operator: User) -> None:
    run = factories.run(started_by=operator, title=EVIL)
    factories.request(run=run)
    factories.request(run=run)
    html = client.get("/runs/").content.decode()
    assert "2 to decide" in html
    assert "by olga" in html
    assert EVIL not in html


def test_an_empty_list_says_what_to_do_or_who_does_it(client: Client, operator: User) -> None:
    assert "Whoever looks after this installation" in client.get("/runs/").content.decode()
    factories.provider()
    assert 'href="/runs/start/"' in client.get("/runs/").content.decode()
    person(client, "Reviewer")
    html = client.get("/runs/").content.decode()
    assert 'href="/runs/start/"' not in html
    assert "You may read runs and not start them" in html
    assert "No run matches" in client.get("/runs/?q=x").content.decode()


def test_the_list_asks_as_many_queries_for_many_runs_as_for_few(
    client: Client, operator: User, django_assert_max_num_queries: Any
) -> None:
    for count in (2, 60):
        for _ in range(count):
            factories.request()
        for query in ("", "status=waiting&mine=1", "q=x&status=open&page=2"):
            with django_assert_max_num_queries(12):
                client.get(f"/runs/?{query}")


# --- starting ---------------------------------------------------------------------------------------------------------


def key_of(client: Client, provider: str) -> str:
    found = re.search(r'name="key" value="([^"]+)"', client.get(f"/runs/start/?provider={provider}").content.decode())
    assert found
    return found[1]


def start(client: Client, provider: str, **fields: str) -> Any:
    fields.setdefault("key", str(uuid4()))
    return client.post(f"/runs/start/?provider={provider}", fields)


@pytest.mark.parametrize("group", ["Reviewer", "Auditor", ""])
def test_who_may_not_start_runs_is_denied_and_sees_no_button(client: Client, group: str) -> None:
    provider = factories.provider()
    person(client, group)
    for path in ("/runs/start/", "/runs/watch/"):
        assert client.get(path).status_code == 403
        assert client.post(path, {"provider": provider.name, "external_id": "x"}).status_code == 403
    assert start(client, provider.name, workflow="w", task="t").status_code == 403
    assert not Run.objects.exists()
    assert "Start a run" not in client.get("/runs/").content.decode()


def test_one_provider_is_not_asked_for_and_several_are(client: Client, operator: User) -> None:
    assert "No provider is connected" in client.get("/runs/start/").content.decode()
    one = factories.provider(name="first")
    assert 'name="workflow"' in client.get("/runs/start/").content.decode()
    factories.provider(name="second", kind="agui")
    html = client.get("/runs/start/").content.decode()
    assert 'href="?provider=first"' in html
    assert 'href="?provider=second"' in html
    assert 'name="workflow"' not in html
    assert client.get("/runs/start/?provider=third").status_code == 404
    assert one.runs.count() == 0


def test_a_start_queues_the_run_for_whoever_pressed_the_button(client: Client, operator: User) -> None:
    provider = factories.provider()
    fields = {"workflow": "refunds", "task": "Refund order 7\r\nand say so", "metadata": '{"ticket": 4711}'}
    answer = start(client, provider.name, **fields)
    run = Run.objects.get()
    assert answer.headers["Location"] == f"/runs/{run.pk}/"
    assert (run.status, run.started_by, run.provider) == (RunStatus.QUEUED, operator, provider)
    assert (run.workflow, run.task, run.options) == (
        "refunds",
        "Refund order 7\nand say so",
        {"metadata": {"ticket": 4711}},
    )
    assert run.title == "Refund order 7"


def test_pressing_start_twice_starts_one_run(client: Client, operator: User) -> None:
    provider = factories.provider()
    fields = {"key": key_of(client, provider.name), "workflow": "w", "task": "t", "title": "Named"}
    first, second = (start(client, provider.name, **fields) for _ in range(2))
    assert first.headers["Location"] == second.headers["Location"] == f"/runs/{Run.objects.get().pk}/"


def test_a_form_that_started_a_run_starts_no_other(client: Client, operator: User) -> None:
    provider = factories.provider()
    key = key_of(client, provider.name)
    start(client, provider.name, key=key, workflow="w", task="one")
    answer = start(client, provider.name, key=key, workflow="w", task="two")
    html = answer.content.decode()
    assert answer.status_code == 422
    assert "It started another run already." in html
    assert "two" in html
    new = re.search(r'name="key" value="([^"]+)"', html)
    assert new
    assert new[1] != key
    assert start(client, provider.name, key=new[1], workflow="w", task="two").status_code == 302
    assert Run.objects.count() == 2


@pytest.mark.parametrize("key", ["", "x", "1"])
def test_a_form_without_its_key_starts_nothing_and_gets_one(client: Client, operator: User, key: str) -> None:
    answer = start(client, factories.provider().name, key=key, workflow="w", task="t")
    assert answer.status_code == 422
    assert "This form was not whole" in answer.content.decode()
    assert re.search(r'name="key" value="[0-9a-f-]{36}"', answer.content.decode())
    assert not Run.objects.exists()


def wrong_fields(answer: Any) -> set[str]:
    """The fields that the answer marks."""
    assert answer.status_code == 422
    assert not Run.objects.exists()
    return set(
        re.findall(r'<(?:input|textarea|select)[^>]* name="(\w+)"[^>]*aria-invalid="true"', answer.content.decode())
    )


@pytest.mark.parametrize(
    ("kind", "fields", "wrong"),
    [
        ("mindra", {}, {"workflow", "task"}),
        ("mindra", {"workflow": "w", "task": "t", "metadata": "{bad"}, {"metadata"}),
        ("mindra", {"workflow": "w", "task": "t", "metadata": "[1]"}, {"metadata"}),
        ("mindra", {"workflow": "w", "task": "t", "metadata": '{"a": "\\u0000"}'}, {"metadata"}),
        ("mindra", {"workflow": "w", "task": "t", "metadata": '{"a": 1, "a": 2}'}, {"metadata"}),
        ("mindra", {"workflow": "..", "task": "t"}, {"workflow"}),
        ("mindra", {"workflow": "w", "task": "a\x00b"}, {"task"}),
        ("middesk", {}, {"workflow"}),
        ("middesk", {"workflow": "cip", "business_id": "b" * 256}, {"business_id"}),
        ("middesk", {"workflow": "cip", "context_type": "order"}, {"context_type"}),
        (
            "middesk",
            {"workflow": "cip", "business_id": "b", "context_type": "order", "context_id": "1"},
            {"business_id"},
        ),
        ("agui", {"state": "nope"}, {"state"}),
        ("agui", {"tools": '{"name": "x"}'}, {"tools"}),
        ("agui", {"context": '[{"description": "d"}]'}, {"context"}),
    ],
)
def test_what_a_provider_could_not_take_is_said_at_its_field(
    client: Client, operator: User, kind: str, fields: dict[str, str], wrong: set[str]
) -> None:
    assert wrong_fields(start(client, factories.provider(kind=kind).name, **fields)) == wrong


def test_what_concerns_no_single_field_is_said_at_the_head(client: Client, operator: User) -> None:
    answer = start(client, factories.provider(kind="middesk").name, workflow="cip")
    assert wrong_fields(answer) == set()
    assert "A business_id, a context_type with context_id, or a thread_id is needed." in answer.content.decode()


def test_each_kind_is_asked_for_its_own(client: Client, operator: User) -> None:
    start(client, factories.provider(kind="middesk").name, workflow="cip_orchestrator", business_id="biz_1")
    run = Run.objects.get()
    assert (run.workflow, run.task, run.options) == ("cip_orchestrator", "", {"business_id": "biz_1"})
    run.delete()
    start(client, factories.provider(kind="agui").name, state='{"n": 0}', tools="[]", forwardedProps="0", title="Count")
    run = Run.objects.get()
    assert (run.task, run.title) == ("", "Count")
    assert run.options == {"state": {"n": 0}, "tools": [], "forwardedProps": 0}


def test_what_was_typed_stands_there_again_and_inert(client: Client, operator: User) -> None:
    html = start(client, factories.provider().name, task=EVIL, metadata="{").content.decode()
    assert EVIL not in html
    assert "&lt;script&gt;" in html


def test_a_paused_provider_says_that_the_run_will_wait(client: Client, operator: User) -> None:
    provider = factories.provider(paused=True)
    assert "is paused" in client.get(f"/runs/start/?provider={provider.name}").content.decode()
    assert start(client, provider.name, workflow="w", task="t").status_code == 302


def test_starting_needs_the_csrf_token() -> None:
    strict = Client(enforce_csrf_checks=True)
    person(strict, "Operator")
    assert start(strict, factories.provider().name, workflow="w", task="t").status_code == 403
    assert not Run.objects.exists()


# --- watching ---------------------------------------------------------------------------------------------------------


def watch(client: Client, provider: str, external_id: str) -> Any:
    return client.post("/runs/watch/", {"provider": provider, "external_id": external_id})


def test_a_run_is_watched_by_its_external_id_and_found_again(client: Client, operator: User) -> None:
    provider = factories.provider()
    first, second = (watch(client, provider.name, " exec_7 ") for _ in range(2))
    run = Run.objects.get()
    assert (run.external_id, run.started_by, run.status) == ("exec_7", operator, RunStatus.QUEUED)
    assert first.headers["Location"] == second.headers["Location"] == f"/runs/{run.pk}/"


def test_only_providers_whose_runs_can_be_watched_are_offered(client: Client, operator: User) -> None:
    agui = factories.provider(kind="agui")
    assert "No provider here can be watched" in client.get("/runs/watch/").content.decode()
    mindra, middesk = factories.provider(), factories.provider(kind="middesk")
    html = client.get("/runs/watch/").content.decode()
    assert mindra.name in html
    assert middesk.name in html
    assert agui.name not in html
    assert "There is no such provider" in watch(client, agui.name, "x").content.decode()
    assert not Run.objects.exists()


@pytest.mark.parametrize("external_id", ["", "  ", "..", "x" * 256, "a\x00b"])
def test_an_id_that_no_run_can_have_is_refused(client: Client, operator: User, external_id: str) -> None:
    assert wrong_fields(watch(client, factories.provider().name, external_id)) == {"external_id"}


def test_the_permission_is_what_counts_not_the_group(client: Client) -> None:
    user = person(client, "")
    user.user_permissions.add(Permission.objects.get(codename="add_run"))
    assert client.get("/runs/start/").status_code == 200
