"""Whoever loses a right loses it at once on the pages that stand open: no beat is waited for."""

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, Permission
from django.utils import timezone

from dashboard import hub, live
from dashboard.models import User
from streams import announce
from tests import factories
from tests.dashboard.test_live import make_user, opened, sign_in

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_engine]
SEE = "approvals.view_approvalrequest"


@pytest.fixture(autouse=True)
def _no_beat_comes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults: dict[str, Any] = hub.Hub.__init__.__kwdefaults__ or {}
    monkeypatch.setattr(hub.Hub.__init__, "__kwdefaults__", {**defaults, "beat_s": 3_600.0})


@pytest.fixture
def _only_who_has_the_right_may_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what a role takes away can be seen: its loss ends the socket."""
    fits = live._fits
    monkeypatch.setattr(live, "_fits", lambda session, user: fits(session, user) and user.has_perm(SEE))


def leave_group(user: User) -> None:
    user.groups.clear()


def group_loses_right(user: User) -> None:
    Group.objects.get(name="Reviewer").permissions.clear()


def group_is_deleted(user: User) -> None:
    Group.objects.get(name="Reviewer").delete()


def lose_own_right(user: User) -> None:
    user.user_permissions.remove(Permission.objects.get(codename="view_approvalrequest"))


def own_right_alone(user: User) -> None:
    user.user_permissions.add(Permission.objects.get(codename="view_approvalrequest"))
    user.groups.clear()


def no_superuser_any_more(user: User) -> None:
    User.objects.get(pk=user.pk)  # another process's object: nothing is remembered here
    changed = User.objects.get(pk=user.pk)
    changed.is_superuser = False
    changed.save()


def superuser_alone(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_superuser=True)
    user.groups.clear()


def nothing(user: User) -> None:
    pass


@pytest.mark.parametrize(
    ("before", "change"),
    [
        (nothing, leave_group),
        (nothing, group_loses_right),
        (nothing, group_is_deleted),
        (own_right_alone, lose_own_right),
        (superuser_alone, no_superuser_any_more),
    ],
    ids=lambda step: step.__name__,
)
@pytest.mark.usefixtures("_only_who_has_the_right_may_watch")
async def test_a_lost_right_ends_the_open_socket_at_once(
    before: Callable[[User], None], change: Callable[[User], None]
) -> None:
    user = await sync_to_async(make_user)()
    await sync_to_async(before)(user)
    client = await sync_to_async(sign_in)(user)
    async with opened(client, "/ws/inbox/") as socket:
        await socket.until('id="waiting"')
        await sync_to_async(change)(user)
        assert await socket.code() == hub.GONE


@pytest.mark.parametrize("how", ["password", "inactive", "deleted"])
async def test_a_new_password_or_the_end_of_an_account_ends_the_open_socket_at_once(how: str) -> None:
    user = await sync_to_async(make_user)()
    client = await sync_to_async(sign_in)(user)

    def change() -> None:
        if how == "deleted":
            user.delete()
            return
        if how == "password":
            user.set_password("another long pass phrase")
        else:
            user.is_active = False
        user.save()

    async with opened(client, "/ws/inbox/") as socket:
        await socket.until('id="waiting"')
        await sync_to_async(change)()
        assert await socket.code() == hub.GONE


async def test_who_keeps_the_right_keeps_the_socket_while_others_lose_theirs() -> None:
    stays, goes = await sync_to_async(make_user)(), await sync_to_async(make_user)()
    staying, going = await sync_to_async(sign_in)(stays), await sync_to_async(sign_in)(goes)
    async with opened(staying, "/ws/inbox/") as kept, opened(going, "/ws/inbox/") as lost:
        await kept.until('id="waiting"')
        await lost.until('id="waiting"')
        goes.is_active = False
        await sync_to_async(goes.save)()
        assert await lost.code() == hub.GONE
        asked = await sync_to_async(factories.request)()
        await sync_to_async(announce.changed)(announce.INBOX)
        await kept.until('id="waiting"', str(asked.pk))


def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    said: list[tuple[str, ...]] = []
    monkeypatch.setattr(announce, "changed", lambda *topics: said.append(topics))
    return said


def test_only_what_changes_a_right_is_told(monkeypatch: pytest.MonkeyPatch, client: Any) -> None:
    user = make_user()
    said = told(monkeypatch)
    user.last_login = timezone.now()
    user.save(update_fields=["last_login"])
    factories.user()
    assert said == [], "signing in and new people change nobody's rights"
    user.is_staff = True
    user.save(update_fields=["is_staff"])
    assert said == [(hub.SESSIONS,)]


def test_a_sign_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    said = told(monkeypatch)
    live.signed_out()
    assert said == [(hub.SESSIONS,)]
