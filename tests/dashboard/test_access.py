"""Who may see and who may decide: groups, permissions, unknown ids."""

from uuid import uuid4

import pytest
from django.contrib.auth.models import AnonymousUser, Group
from django.http import Http404

from dashboard import access
from tests import factories

pytestmark = pytest.mark.django_db


def member(*groups: str, **fields: object):  # type: ignore[no-untyped-def]
    user = factories.user(**fields)
    user.groups.set(Group.objects.filter(name__in=groups))
    return user


def test_a_new_installation_has_the_three_groups() -> None:
    assert set(Group.objects.values_list("name", flat=True)) == {"Reviewer", "Operator", "Auditor"}


@pytest.mark.parametrize(
    ("group", "decides", "operates"),
    [("Reviewer", True, False), ("Operator", False, True), ("Auditor", False, False), ("", False, False)],
)
def test_what_a_group_may_do(group: str, decides: bool, operates: bool) -> None:
    user = member(group)
    assert access.may_see(user)
    assert access.may_decide(user, factories.request()) is decides
    assert access.may_start(user) is operates
    assert access.may_withdraw(user) is operates
    assert user.has_perm("streams.add_provider") is operates
    assert user.has_perm("approvals.view_auditentry") is bool(group)
    assert not user.has_perm("approvals.change_decision")


def test_a_superuser_may_decide_and_an_inactive_one_sees_nothing() -> None:
    asked = factories.request()
    assert access.may_decide(factories.user(is_superuser=True), asked)
    gone = factories.user(is_superuser=True, is_active=False)
    assert not access.may_decide(gone, asked)
    assert not access.may_withdraw(gone)
    assert not access.may_withdraw(AnonymousUser())
    assert not access.visible_runs(gone).exists()
    assert not access.visible_requests(AnonymousUser()).exists()


def test_an_unknown_id_and_one_out_of_sight_are_the_same_404() -> None:
    asked, user = factories.request(), factories.user()
    assert access.request_or_404(user, asked.pk) == asked
    assert access.run_or_404(user, asked.run_id) == asked.run
    for person, run_id, request_id in (
        (user, uuid4(), uuid4()),
        (AnonymousUser(), asked.run_id, asked.pk),
    ):
        with pytest.raises(Http404, match="no such run"):
            access.run_or_404(person, run_id)
        with pytest.raises(Http404, match="no such request"):
            access.request_or_404(person, request_id)


def test_groups_that_an_operator_changed_stay_as_they_are() -> None:
    group = Group.objects.get(name="Reviewer")
    group.permissions.clear()
    access.create_groups()
    assert not group.permissions.exists()
