"""Votes, decisions and batches in the admin."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from approvals.admin.columns import CARRIED, REQUEST_TEXTS, TEXTS, named, status, tool, waited
from approvals.models import Batch, Decision, Vote
from streams.admin import RUN_TEXTS
from streams.admin.columns import block, link
from streams.admin.history import HistoryAdmin
from streams.admin.tables import Table, field, table


class Via(admin.SimpleListFilter):
    """Where it was decided."""

    title = "via"
    parameter_name = "via"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The ways there are, without asking the whole table."""
        return [("page", "Page"), ("api", "API"), ("admin", "Admin"), ("chat", "Chat")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        """Those that came that way."""
        return queryset.filter(via=self.value()) if self.value() else queryset


@admin.register(Batch)
class BatchAdmin(HistoryAdmin):
    """Requests that one answer covers."""

    list_display = ("id", link("run"), "round", "total", "created_at", "closed_at")
    list_select_related = ("run",)
    heavy = RUN_TEXTS
    date_hierarchy = "created_at"
    ordering = ("-created_at",)
    search_fields = ("run__external_id__exact",)
    search_ids = ("id", "run__id")
    search_help_text = "An id: the batch's, or its run's, ours or the provider's."
    shown = (link("run"), "round", "total", "changes", "created_at", "closed_at")

    def tables(self, request: HttpRequest, row: Any) -> list[Table]:
        """Its members and what carries their answer."""
        return [
            table("Requests", row.requests.defer(*TEXTS), (named, status, waited, field("version"))),
            table("What left because of it", row.deliveries.select_related("endpoint"), CARRIED, empty="Nothing."),
        ]


@admin.register(Vote)
class VoteAdmin(HistoryAdmin):
    """Votes."""

    list_display = ("voted_at", "by", "verdict", link("request", text=tool), "undone_at")
    list_filter = ("verdict", "by")
    list_select_related = ("by", "request")
    heavy = ("reason", *REQUEST_TEXTS)
    date_hierarchy = "voted_at"
    ordering = ("-voted_at",)
    search_fields = ("by__username",)
    search_ids = ("id", "request__id")
    search_help_text = "Who; an id of the vote or the request."
    shown = (link("request", text=tool), "by", "verdict", block("reason"), "seen_sha256", "voted_at", "undone_at")


@admin.register(Decision)
class DecisionAdmin(HistoryAdmin):
    """Decisions, those that were voided too."""

    list_display = ("decided_at", "by", "verdict", link("request", text=tool), "via", "undone_at", "undone_why")
    list_filter = ("verdict", Via, "undone_why", "by")
    list_select_related = ("by", "request")
    heavy = ("reason", "edited", "answer", *REQUEST_TEXTS)
    date_hierarchy = "decided_at"
    ordering = ("-decided_at",)
    search_fields = ("by__username",)
    search_ids = ("id", "request__id")
    search_hashes = ("seen_sha256",)
    search_help_text = "Who; an id of the decision or the request; the beginning of the hash that was seen."
    shown = (
        "id",
        link("request", text=tool),
        "by",
        "verdict",
        block("reason"),
        block("edited", "edited arguments"),
        block("answer"),
        "seen_sha256",
        "via",
        "decided_at",
        "leaves_at",
        "undone_at",
        "undone_why",
    )

    def tables(self, request: HttpRequest, row: Any) -> list[Table]:
        """What carries it."""
        return [table("What left because of it", row.deliveries.select_related("endpoint"), CARRIED, empty="Nothing.")]
