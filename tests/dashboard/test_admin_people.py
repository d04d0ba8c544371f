"""Changes to people and groups in the admin go into the audit chain; nobody takes rights that are not theirs."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client

from approvals import audit
from approvals.models import AuditEntry
from dashboard.models import User
from tests import factories
from tests.dashboard.test_admin import boss, staff, url

__all__ = ["boss"]  # a fixture

pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]
SECRET = "correct horse battery 9"


def told() -> list[tuple[str, str, dict[str, Any]]]:
    """Action, target and data of every entry."""
    rows = AuditEntry.objects.order_by("seq").values_list("action", "target", "data")
    return [(action, target, json.loads(data)) for action, target, data in rows]


def form(user: User, **fields: Any) -> dict[str, Any]:
    """The change form as it stands, with these changes; a box that is not ticked is not sent."""
    given = {
        "username": user.username, "first_name": "", "last_name": "", "email": "",
        "is_active": "on", "groups": [group.pk for group in user.groups.all()], **fields,
    }  # fmt: skip
    return {name: value for name, value in given.items() if value not in ("", None)}


def test_a_new_person_is_in_the_chain_without_their_password(boss: Client) -> None:
    answer = boss.post(
        url(User, "add"), {"username": "mara", "usable_password": "true", "password1": SECRET, "password2": SECRET}
    )
    assert answer.status_code == 302
    mara = User.objects.get(username="mara")
    ((action, target, data),) = told()
    assert (action, target, data["username"], data["is_active"]) == ("person.added", f"user:{mara.pk}", "mara", True)
    assert mara.password not in json.dumps(data) and SECRET not in json.dumps(data)
    assert AuditEntry.objects.get().actor == "boss"


@pytest.mark.parametrize(
    ("name", "words"),
    [("BOSS", "only in its letters"), ("b\u043ess", "letters a to z"), ("system", "where nobody acted in person")],
)
def test_a_name_that_could_be_taken_for_another_is_refused(boss: Client, name: str, words: str) -> None:
    given = {"username": name, "usable_password": "true", "password1": SECRET, "password2": SECRET}
    mara = factories.user(username="mara")
    for answer in (
        boss.post(url(User, "add"), given),
        boss.post(url(User, "change", mara.pk), form(mara, username=name)),
    ):
        assert answer.status_code == 200
        assert words in answer.content.decode()
    assert set(User.objects.values_list("username", flat=True)) == {"boss", "mara"}


def test_a_name_from_before_the_rule_stays(boss: Client) -> None:
    zoe = factories.user(username="zo\u00eb")
    assert boss.post(url(User, "change", zoe.pk), form(zoe, first_name="Zo")).status_code == 302
    zoe.refresh_from_db()
    assert (zoe.username, zoe.first_name) == ("zo\u00eb", "Zo")


def test_what_changed_of_a_person_is_named_and_nothing_else(boss: Client) -> None:
    mara = factories.user(username="mara")
    group = Group.objects.get(name="Reviewer")
    boss.post(url(User, "change", mara.pk), form(mara, groups=[group.pk], is_staff="on"))
    assert told() == [
        ("person.changed", f"user:{mara.pk}", {"username": "mara", "groups": ["Reviewer"], "is_staff": True})
    ]
    mara.refresh_from_db()
    boss.post(url(User, "change", mara.pk), form(mara, is_staff="on", first_name="Mara", email="mara@shop.example"))
    assert told()[1][2] == {"username": "mara", "details": "changed"}
    boss.post(url(User, "change", mara.pk), form(mara, is_staff="on", first_name="Mara", email="mara@shop.example"))
    assert len(told()) == 2  # saved as it was
    page = boss.get(url(User, "change", mara.pk)).content.decode()
    assert "person.changed" in page
    assert audit.verify().bad is None


def test_who_is_deactivated_and_let_in_again_is_in_the_chain(boss: Client) -> None:
    mara = factories.user(username="mara")
    boss.post(url(User, "change", mara.pk), form(mara, is_active=""))
    boss.post(url(User, "change", mara.pk), form(mara))
    assert [(action, data["is_active"]) for action, _, data in told()] == [
        ("person.deactivated", False),
        ("person.reactivated", True),
    ]


def test_a_password_set_for_somebody_is_in_the_chain_by_the_fact_alone(boss: Client) -> None:
    mara = factories.user(username="mara")
    answer = boss.post(
        f"/admin/dashboard/user/{mara.pk}/password/",
        {"usable_password": "true", "password1": SECRET, "password2": SECRET},
    )
    assert answer.status_code == 302
    mara.refresh_from_db()
    assert mara.check_password(SECRET)
    assert told() == [("person.password_set", f"user:{mara.pk}", {"username": "mara"})]


def test_ones_own_password_changed_in_the_admin_is_in_the_chain(boss: Client) -> None:
    me = User.objects.get(username="boss")
    wrong = {"old_password": "not it at all", "new_password1": SECRET, "new_password2": SECRET}
    assert boss.post("/admin/password_change/", wrong).status_code == 200
    assert told() == []
    boss.post("/admin/password_change/", {**wrong, "old_password": "a long pass phrase"})
    me.refresh_from_db()
    assert me.check_password(SECRET)
    assert [(action, target) for action, target, _ in told()] == [("person.password_set", f"user:{me.pk}")]


def test_groups_and_what_they_allow_are_in_the_chain(boss: Client) -> None:
    permission = Permission.objects.get(codename="decide_request")
    boss.post(url(Group, "add"), {"name": "Night shift", "permissions": [permission.pk]})
    group = Group.objects.get(name="Night shift")
    boss.post(url(Group, "change", group.pk), {"name": "Night shift", "permissions": []})
    boss.post(url(Group, "change", group.pk), {"name": "Night shift", "permissions": []})
    assert told() == [
        ("group.created", f"group:{group.pk}", {"name": "Night shift", "permissions": ["decide_request"]}),
        ("group.changed", f"group:{group.pk}", {"name": "Night shift", "permissions": []}),
    ]


def test_nobody_and_no_group_is_deleted(boss: Client) -> None:
    mara, group = factories.user(), Group.objects.get(name="Auditor")
    for row in (mara, group):
        assert boss.post(url(type(row), "delete", row.pk), {"post": "yes"}).status_code == 403
        chosen = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
        boss.post(url(type(row), "changelist"), chosen)
        assert type(row)._default_manager.filter(pk=row.pk).exists()


def test_nobody_locks_themselves_out(boss: Client) -> None:
    me = User.objects.get(username="boss")
    boss.post(url(User, "change", me.pk), {"username": "boss"})
    me.refresh_from_db()
    assert me.is_active and me.is_superuser and me.is_staff


def test_who_may_change_people_gives_nobody_rights_and_touches_no_staff() -> None:
    clerk = factories.user(is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename__in=["add_user", "change_user", "view_user"]))
    client = Client()
    client.force_login(clerk)
    mara, chief = factories.user(), factories.user(is_superuser=True, is_staff=True)
    group = Group.objects.get(name="Operator")
    client.post(url(User, "change", mara.pk), form(mara, is_superuser="on", is_staff="on", groups=[group.pk]))
    mara.refresh_from_db()
    assert not (mara.is_superuser or mara.is_staff or mara.groups.exists())
    for address in (url(User, "change", chief.pk), f"/admin/dashboard/user/{chief.pk}/password/"):
        given = {"username": "x", "usable_password": "true", "password1": SECRET, "password2": SECRET}
        assert client.post(address, given).status_code == 403
    chief.refresh_from_db()
    assert not chief.check_password(SECRET) and chief.username != "x"
    client.post(url(User, "change", clerk.pk), form(clerk, is_superuser="on"))
    clerk.refresh_from_db()
    assert not clerk.is_superuser


def test_a_change_and_its_entry_are_both_there_or_none(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    mara = factories.user(username="mara")
    boss.raise_request_exception = False
    monkeypatch.setattr(audit, "append", _broken)
    password = {"usable_password": "true", "password1": SECRET, "password2": SECRET}
    assert boss.post(f"/admin/dashboard/user/{mara.pk}/password/", password).status_code == 500
    assert boss.post(url(User, "change", mara.pk), form(mara, is_staff="on")).status_code == 500
    mara.refresh_from_db()
    assert not mara.check_password(SECRET) and not mara.is_staff


def _broken(**_: Any) -> None:
    raise RuntimeError("the chain cannot be written")


def test_a_reviewer_in_the_admin_sees_no_accounts() -> None:
    client = staff("Reviewer")
    assert client.get(url(User, "changelist")).status_code == 403
    assert client.get(url(Group, "changelist")).status_code == 403
