"""A session ends a fixed time after sign-in; whoever loses a right loses it on the pages that stand open, too."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.http import HttpRequest
from django.utils import timezone

from dashboard import hub
from streams import announce

RIGHTS = frozenset({"is_active", "is_staff", "is_superuser", "password"})  # fields of a user that decide what they may


def bound(request: HttpRequest, **_: Any) -> None:
    """At sign-in: fix the end. Saving the session later does not move it, as a plain cookie age would."""
    request.session.set_expiry(timezone.now() + timedelta(seconds=settings.SESSION_COOKIE_AGE))


def watch_rights() -> None:
    """Hear of every change to what a person may do, whoever makes it: admin, settings, command or shell.

    A bulk update sends no signal; every hub asks anew every few seconds anyway.
    """
    user = get_user_model()
    for through in (user.groups.through, user.user_permissions.through, Group.permissions.through):
        m2m_changed.connect(_members_changed, sender=through, dispatch_uid=f"rights {through._meta.label}")
    post_save.connect(_user_saved, sender=user, dispatch_uid="rights of a user")
    for model in (user, Group):  # a deleted group takes its members' rights along, without a word on the members
        post_delete.connect(_deleted, sender=model, dispatch_uid=f"rights {model._meta.label} deleted")


def _members_changed(*, action: str, **_: Any) -> None:
    if action.startswith("post_"):
        _told()


def _user_saved(*, created: bool, update_fields: Iterable[str] | None, **_: Any) -> None:
    """Signing in saves a user too, for the time alone."""
    if not created and (update_fields is None or not RIGHTS.isdisjoint(update_fields)):
        _told()


def _deleted(**_: Any) -> None:
    _told()


def _told() -> None:
    announce.changed(hub.SESSIONS)
