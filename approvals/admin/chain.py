"""The audit chain in the admin; it is proved by `manage.py audit verify`."""

from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from approvals.models import AuditEntry, AuditHead
from streams import inert
from streams.admin.columns import block, digest, made, short
from streams.admin.history import HistoryAdmin
from streams.admin.tables import Table, field, listed, table

PAGES = {  # what the chain calls a row -> where the admin shows it
    "request": "approvals_approvalrequest",
    "delivery": "approvals_delivery",
    "endpoint": "approvals_webhookendpoint",
    "webhook": "approvals_webhookendpoint",
    "run": "streams_run",
    "provider": "streams_provider",
    "token": "dashboard_apitoken",
    "user": "dashboard_user",
    "group": "auth_group",
}


def target(entry: Any) -> SafeString:
    """What an entry is about, as a link where the admin has a page for it."""
    kind, _, key = entry.target.partition(":")
    words = inert.one_line(entry.target, 80)
    try:
        url = reverse(f"admin:{PAGES[kind]}_change", args=[key])
    except (KeyError, NoReverseMatch):
        return format_html('<span class="inert">{}</span>', words)
    return format_html('<a href="{}"><span class="inert">{}</span></a>', url, words)


def entries(row: Model, name: str) -> Table:
    """What the chain says of a row, newest first."""
    about = f"{name}:{row.pk}"
    return table(
        "Audit entries",
        AuditEntry.objects.filter(target=about).order_by("-seq"),
        (ENTRY, field("at"), short("actor"), short("action"), short("origin"), short("data", limit=120)),
        more=listed(AuditEntry, target=about),
        needs="approvals.view_auditentry",
    )


def _number(entry: Any) -> SafeString:
    return format_html('<a href="{}">{}</a>', reverse("admin:approvals_auditentry_change", args=[entry.pk]), entry.pk)


ENTRY = made(_number, "entry", order="seq")


class About(admin.SimpleListFilter):
    """What kind of row an entry is about."""

    title = "about"
    parameter_name = "about"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The kinds there are, without asking a table that only grows."""
        return [(kind, f"{kind}s") for kind in PAGES if kind != "endpoint"]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        """Those that are about it."""
        return queryset.filter(target__startswith=f"{self.value()}:") if self.value() in PAGES else queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(HistoryAdmin):
    """The chain."""

    list_display = (
        "seq",
        "at",
        short("actor"),
        short("action"),
        made(target, "target", order="target"),
        short("origin"),
        digest("hash"),
    )
    list_filter = (About,)
    date_hierarchy = "at"
    dated_by = "seq"
    ordering = ("-seq",)
    sortable_by = ("seq",)
    heavy = ("data", "previous")
    search_fields = ("actor__exact", "action__exact", "target__startswith")
    search_hashes = ("hash",)
    search_help_text = "An actor, an action, a target such as request:<id> or its beginning, a hash or its beginning."
    shown = (
        "seq",
        "format",
        "at",
        short("actor", limit=150),
        short("action"),
        made(target, "target"),
        short("origin", limit=120),
        block("data"),
        "previous",
        "hash",
    )

    def tables(self, request: HttpRequest, row: Any) -> list[Table]:
        """Its neighbours in the chain."""
        near = AuditEntry.objects.filter(seq__gte=row.seq - 3, seq__lte=row.seq + 3).order_by("seq")
        return [
            table(
                "Before and after it",
                near,
                (
                    ENTRY,
                    field("at"),
                    short("actor"),
                    short("action"),
                    made(target, "target"),
                    digest("previous"),
                    digest("hash"),
                ),
            )
        ]


@admin.register(AuditHead)
class AuditHeadAdmin(HistoryAdmin):
    """Where the chain ends."""

    list_display = ("id", "seq", "hash")
    shown = ("id", "seq", "hash")
