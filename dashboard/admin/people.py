"""People and groups in the admin: what they are and may do, each change in the audit chain; nobody is deleted."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as PlainGroupAdmin
from django.contrib.auth.admin import UserAdmin as PlainUserAdmin
from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.http import HttpRequest, HttpResponse

from approvals import audit
from approvals.admin import chain
from approvals.models import Decision
from dashboard import people
from dashboard.admin.names import ChangedPerson, NewPerson
from dashboard.models import ApiToken, User
from streams.admin import acts
from streams.admin.columns import at
from streams.admin.history import RecordAdmin
from streams.admin.tables import Table, listed
from streams.models import Run

if TYPE_CHECKING:  # the stubs' class is generic, Django's own is not
    Users = PlainUserAdmin[User]
else:
    Users = PlainUserAdmin
RIGHTS = ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")
DATES = (at("last_login", "last signed in"), at("date_joined", "added"))
NAMED = ("username", "is_active", "is_staff", "is_superuser")  # whose values the chain keeps


def _facts(user: User) -> dict[str, Any]:
    """What the chain is told of an account; names of groups and permissions, nothing of the password but its change."""
    permissions = user.user_permissions.order_by("codename").values_list("codename", flat=True)
    return {
        **{name: getattr(user, name) for name in NAMED},
        "groups": list(user.groups.order_by("name").values_list("name", flat=True)),
        "permissions": list(permissions),
        "others": (user.first_name, user.last_name, user.email),
        "password": user.password,
    }


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What is different, with the values that may be kept."""
    made = {name: after[name] for name in (*NAMED, "groups", "permissions") if before.get(name) != after[name]}
    if before.get("others") != after["others"]:
        made["details"] = "changed"  # a name or an address of a person stays out of a chain that is never shortened
    return made


def _action(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if before["is_active"] == after["is_active"]:
        return "person.changed"
    return "person.reactivated" if after["is_active"] else "person.deactivated"


class Audited(RecordAdmin):
    """Accounts whose changes go into the chain."""

    by_name = True

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Boxes to tick: all can be read, and none needs a script."""
        kwargs["widget"] = forms.CheckboxSelectMultiple
        if db_field.related_model is Permission:
            kwargs["queryset"] = Permission.objects.select_related("content_type")  # which its name begins with
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if field is not None:
            field.help_text = ""
        return field

    def _tell(self, request: HttpRequest, action: str, row: Any, **data: object) -> None:
        who = acts.doer(request)
        audit.append(action=action, actor=who.name, target=f"{self.target}:{row.pk}", origin=who.origin, data=data)


@admin.register(User)
class UserAdmin(Users, Audited):
    """People. Who leaves is made inactive: what they did stays theirs."""

    target = "user"
    form = ChangedPerson
    add_form = NewPerson
    filter_horizontal = ()
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("Rights", {"fields": RIGHTS}),
        ("Dates", {"fields": DATES}),  # type: ignore[typeddict-item]  # columns are callables
    )
    list_display = ("username", "email", "is_active", "is_staff", "is_superuser", "last_login", "date_joined")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """History names them."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Staff only by a superuser: their password would be a way to become one."""
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or people.touchable(obj, acts.doer(request).user))  # type: ignore[arg-type]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Nobody gives rights that they could then use, and nobody locks themselves out."""
        fields = (*super().get_readonly_fields(request, obj), *DATES)
        if not request.user.is_superuser:
            return (*fields, *RIGHTS)
        own = obj is not None and obj.pk == request.user.pk
        return (*fields, "is_active", "is_staff", "is_superuser") if own else fields

    def tables(self, request: HttpRequest, row: Any) -> list[Table]:
        """What the chain says of the account."""
        return [chain.entries(row, "user")]

    def links(self, request: HttpRequest, row: Any) -> list[tuple[str, str]]:
        """What they did and hold."""
        return [
            (listed(Decision, by__id__exact=row.pk), "Decisions"),
            (listed(Run, started_by__id__exact=row.pk), "Runs started"),
            (listed(ApiToken, user__id__exact=row.pk), "Tokens"),
        ]

    def changeform_view(self, request: HttpRequest, object_id: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Remember what the account was before the form was filled in."""
        if object_id is not None and request.method == "POST":
            row = self.get_object(request, object_id)
            request.account_before = _facts(row) if row else {}  # type: ignore[attr-defined]
        return super().changeform_view(request, object_id, *args, **kwargs)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Into the chain, as the last thing of the transaction."""
        made = super().log_addition(request, obj, message)
        self._tell(request, "person.added", obj, **_changes({}, _facts(obj)))
        return made

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """The same; a password by the fact alone."""
        made = super().log_change(request, obj, message)
        before, after = getattr(request, "account_before", None), _facts(obj)
        if before is None or before["password"] != after["password"]:
            self._tell(request, "person.password_set", obj, username=obj.username)
        if before is not None and (changed := _changes(before, after)):
            self._tell(request, _action(before, after), obj, **{"username": obj.username, **changed})
        return made

    def user_change_password(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The new password and its entry, both or none."""
        with transaction.atomic():
            return super().user_change_password(request, *args, **kwargs)


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(PlainGroupAdmin, Audited):
    """What whoever is in them may do."""

    target = "group"
    filter_horizontal = ()
    list_display = ("name",)

    def _permissions(self, row: Group) -> list[str]:
        return list(row.permissions.order_by("codename").values_list("codename", flat=True))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The chain names them; take away what one allows instead."""
        return False

    def changeform_view(self, request: HttpRequest, object_id: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Remember what it allowed before."""
        if object_id is not None and request.method == "POST" and (row := self.get_object(request, object_id)):
            request.group_before = (row.name, self._permissions(row))  # type: ignore[attr-defined]
        return super().changeform_view(request, object_id, *args, **kwargs)

    def tables(self, request: HttpRequest, row: Any) -> list[Table]:
        """What the chain says of it."""
        return [chain.entries(row, "group")]

    def links(self, request: HttpRequest, row: Any) -> list[tuple[str, str]]:
        """Who is in it."""
        return [(listed(User, groups__id__exact=row.pk), "Members")]

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Into the chain."""
        made = super().log_addition(request, obj, message)
        self._tell(request, "group.created", obj, name=obj.name, permissions=self._permissions(obj))
        return made

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """What it allows now, if that changed."""
        made = super().log_change(request, obj, message)
        before, after = getattr(request, "group_before", None), (obj.name, self._permissions(obj))
        if before != after:
            self._tell(request, "group.changed", obj, name=after[0], permissions=after[1])
        return made
