"""A new installation: three steps for staff, each ticked when done, gone with the last; honest words for others."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.utils import timezone

from dashboard import first_use
from dashboard.models import User
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]


@pytest.fixture
def boss(client: Client) -> User:
    user: User = User.objects.create_superuser("boss", password="a long pass phrase")
    client.force_login(user)
    return user


def inbox(client: Client) -> str:
    return str(client.get("/").content.decode())


def ticked(client: Client) -> list[bool]:
    """Which of the steps are done; none if there are no steps."""
    found = re.search(r'<ol class="begin">(.*?)</ol>', inbox(client), re.DOTALL)
    return ["done" in one for one in re.findall(r"<li([^>]*)>", found[1])] if found else []


def reviewer(**fields: Any) -> User:
    user = factories.user(**fields)
    user.groups.add(Group.objects.get(name="Reviewer"))
    return user


def test_the_steps_are_ticked_one_by_one_and_gone_with_the_last(client: Client, boss: User) -> None:
    assert ticked(client) == [False, False, False]
    assert 'href="/settings/add-provider/?kind=mindra"' in inbox(client)
    provider = factories.provider()
    assert ticked(client) == [True, False, False]
    assert 'href="/runs/start/"' in inbox(client)
    factories.run(provider=provider, status="finished", ended_at=timezone.now())
    assert ticked(client) == [True, True, False]
    assert 'href="/settings/people/"' in inbox(client)
    reviewer()
    assert ticked(client) == []
    assert "No agent is at work either" in inbox(client)


def test_a_run_cannot_be_started_before_a_provider_is_there(client: Client, boss: User) -> None:
    reviewer()
    assert ticked(client) == [False, False, True]
    assert 'href="/runs/start/"' not in inbox(client)


@pytest.mark.parametrize("may", ["group", "permission", "superuser"])
def test_whoever_may_decide_besides_me_counts_as_a_reviewer(client: Client, boss: User, may: str) -> None:
    other = factories.user(is_superuser=may == "superuser")
    if may == "group":
        other.groups.add(Group.objects.get(name="Reviewer"))
    if may == "permission":
        other.user_permissions.add(Permission.objects.get(codename="decide_request"))
    assert ticked(client) == [False, False, True]


@pytest.mark.parametrize("group", ["Operator", "Auditor"])
def test_who_cannot_decide_is_no_reviewer(client: Client, boss: User, group: str) -> None:
    factories.user().groups.add(Group.objects.get(name=group))
    reviewer(is_active=False)
    assert ticked(client) == [False, False, False]


def test_what_waits_stands_there_whatever_is_left_to_do(client: Client, boss: User) -> None:
    asked = factories.request()
    html = inbox(client)
    assert str(asked.pk) in html
    assert "things to do" not in html


def test_a_demo_brings_its_own(client: Client, boss: User) -> None:
    factories.provider(name="demo-mindra", options={"demo": True})
    assert first_use.of(boss) is None
    assert ticked(client) == []


@pytest.mark.parametrize("group", ["Reviewer", "Operator", "Auditor"])
def test_others_are_told_what_is_missing_and_who_does_it(client: Client, group: str) -> None:
    user = factories.user()
    user.groups.add(Group.objects.get(name=group))
    client.force_login(user)
    html = inbox(client)
    assert ticked(client) == []
    assert "No agent is connected yet" in html
    assert "Whoever looks after this installation connects one in Settings" in html
    assert "/settings/add-provider/" not in html
    factories.provider()
    assert ('href="/runs/start/"' in inbox(client)) == (group == "Operator")


def test_looking_asks_a_few_queries(client: Client, boss: User, django_assert_max_num_queries: Any) -> None:
    for _ in range(5):
        factories.run(status="finished", ended_at=timezone.now())
    with django_assert_max_num_queries(16):
        inbox(client)
