"""API tokens in the admin: seen and revoked; they are made on the server or by their owner."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone

from approvals.admin import chain
from dashboard import tokens
from dashboard.models import ApiToken
from streams.admin.acts import Act, ActRefused, Doer, Outcome
from streams.admin.columns import ago, made, toned
from streams.admin.history import HistoryAdmin
from streams.admin.tables import Table


def _revoke(row: Any, doer: Doer) -> Outcome:
    if not tokens.revoke(row, actor=doer.name, origin=doer.origin):
        raise ActRefused("it was revoked already")
    return f"Revoked: {row.name}. The next request with it is refused."


def _state(row: Any) -> Any:
    if row.revoked_at:
        return toned("Revoked", "off")
    return toned("Expired", "off") if row.expires_at and row.expires_at <= timezone.now() else toned("Valid", "ok")


@admin.register(ApiToken)
class ApiTokenAdmin(HistoryAdmin):
    """Tokens: nothing about them changes but their end."""

    list_display = (
        "name",
        "user",
        "prefix",
        made(_state, "state", order="revoked_at"),
        "scopes",
        "created_at",
        "expires_at",
        ago("last_used_at", "last used, ago"),
    )
    list_filter = ("user",)
    list_select_related = ("user",)
    date_hierarchy = "created_at"
    search_fields = ("name", "prefix", "user__username")
    search_help_text = "A part of its name or its owner's; the beginning of the token."
    shown = (
        "name",
        "user",
        "prefix",
        made(_state, "state"),
        "scopes",
        "created_at",
        "expires_at",
        "last_used_at",
        "revoked_at",
    )
    by_name = True
    target = "token"
    acts = (
        Act(
            "revoke",
            "Revoke",
            "The token ends at once; the next request with it is refused. It cannot be brought back.",
            "dashboard.change_apitoken",
            _revoke,
            lambda row: "it is revoked already" if row.revoked_at else "",
            grave=True,
        ),
    )

    def tables(self, request: HttpRequest, row: Any) -> list[Table]:
        """What the chain says of it."""
        return [chain.entries(row, "token")]
