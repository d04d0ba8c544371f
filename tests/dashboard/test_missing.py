"""The inbox says in which runs a request may have been missed, whole and live, for as long as that is so."""

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dashboard import missing, panels
from dashboard.models import User
from dashboard.rooms import InboxRoom
from streams.models import Run, RunStatus
from tests import factories
from tests.dashboard.test_views import ada  # noqa: F401
from tests.streams.test_gaps import remark

pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]
SAYS = "A request may have been missed in"


def doubtful(title: str = "Refunds of May") -> Run:
    run = factories.run(title=title, provider=factories.provider(name=f"acme-{title[:3].lower()}"))
    remark(run, "gap", place=3, certain=False)
    return run


@pytest.mark.parametrize("query", ["", "?tab=decided", "?provider=somebody-else", "?q=nothing"])
def test_the_inbox_names_the_run_and_the_provider_whatever_is_filtered(ada: User, client: Client, query: str) -> None:  # noqa: F811
    run = doubtful()
    page = client.get(f"/{query}").content.decode()
    assert SAYS in page
    link = page.partition(f'<a href="{reverse("run", args=[run.pk])}">')[2]
    assert "Refunds of May" in link[:200]
    assert "check at acme-ref." in page


def test_an_inbox_that_misses_nothing_says_nothing(ada: User, client: Client) -> None:  # noqa: F811
    factories.request()
    page = client.get("/").content.decode()
    assert SAYS not in page
    assert '<div id="missing"' in page  # the place where it will appear


def test_the_notice_is_gone_when_the_run_is_over_or_nothing_is_missing_any_more(ada: User, client: Client) -> None:  # noqa: F811
    shown, over = doubtful(), doubtful("Payments")
    remark(shown, "covered", by="replay")
    Run.objects.filter(pk=over.pk).update(status=RunStatus.FINISHED, ended_at=timezone.now())
    assert SAYS not in client.get("/").content.decode()


def test_the_newest_three_are_named_and_the_others_counted(ada: User, client: Client) -> None:  # noqa: F811
    for n in range(6):
        doubtful(f"{n} is its number")
    found = missing.find(panels.whole())
    assert ([run.title[0] for run in found.runs], found.more) == (["5", "4", "3"], 3)
    assert 'The same in 3 other <a href="/runs/">runs</a>' in client.get("/").content.decode()


def test_a_title_is_shown_inert(ada: User, client: Client) -> None:  # noqa: F811
    doubtful("<b onclick=x>\u202eevil</b>")
    page = client.get("/").content.decode()
    assert "<b onclick" not in page
    assert "\u202e" not in page


def test_the_notice_comes_and_goes_live() -> None:
    room = InboxRoom()
    room.news()
    run = doubtful()
    told = room.news()
    assert SAYS in told
    assert 'id="missing" role="status" hx-swap-oob="true"' in told
    assert room.news() == ""
    remark(run, "covered", by="read_back")
    told = room.news()
    assert 'id="missing"' in told
    assert SAYS not in told
