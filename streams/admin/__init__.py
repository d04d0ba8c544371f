"""Admin of what the providers said: history to read, never to change. Text of others is inert and framed."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.db.models.functions import Substr
from django.http import HttpRequest

from streams.admin.columns import address, ago, block, digest, link, made, short
from streams.admin.history import HistoryAdmin
from streams.admin.lists import HASH, beginning, by_key
from streams.models import Checkpoint, Event, FieldKey, HolderProcess, Lease, ProviderHook, Run

RUN_TEXTS = ("run__task", "run__error", "run__options", "run__stream_url")  # a link to a run needs none of them


@admin.register(Event)
class EventAdmin(HistoryAdmin):
    """Events, as they came."""

    list_display = (
        "id",
        link("run"),
        "seq",
        "source",
        short("kind"),
        "received_at",
        "marked",
        digest("sha256", "SHA-256"),
        made(lambda row: short("start")(row), "payload"),
    )
    list_filter = ("source", "marked", "run__provider")
    list_select_related = ("run",)
    heavy = ("payload", "own_id", *RUN_TEXTS)
    sortable_by = ()  # in the order of arrival; a run's own in its own order
    ordering = ("-id",)
    search_fields = ("kind",)
    search_help_text = "A run's id, ours or the provider's; a kind; the beginning of a hash."
    exact = "payload"
    shown = (
        link("run"),
        "seq",
        "source",
        short("kind"),
        "received_at",
        made(lambda row: "not known" if row.ordinal is None else row.ordinal, "number on the provider's stream"),
        short("own_id", "the provider's id", 300),
        "marked",
        "sha256",
        block("payload", "payload (exact text)"),
    )

    def get_ordering(self, request: HttpRequest) -> Any:
        """One run's events by their numbers, which have an index for it."""
        return ("run_id", "-seq") if "run__id__exact" in request.GET else self.ordering

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> tuple["QuerySet[Any]", bool]:
        """A run's events by its ids, which have indexes; a hash or a kind by one look over the whole table."""
        term = search_term.strip()
        if not term:
            return queryset, False
        found = by_key(Run.objects.all(), term, ids=("id",), hashes=())
        runs = found if found is not None else Run.objects.filter(external_id=term)
        if keys := list(runs.values_list("pk", flat=True)[:50]):
            return queryset.filter(run__in=keys), False
        return queryset.filter(beginning("sha256", term) if HASH.fullmatch(term.lower()) else Q(kind=term)), False

    def attach(self, rows: Sequence[Any]) -> None:
        """The beginning of each payload, and not the megabytes that may follow."""
        found = Event.objects.filter(pk__in=[row.pk for row in rows])
        starts = dict(found.order_by().values_list("pk", Substr("payload", 1, 81)))
        for row in rows:
            row.start = starts.get(row.pk, "")

    def links(self, request: HttpRequest, row: Any) -> list[tuple[str, str]]:
        """Where it stands in its run."""
        return [*super().links(request, row), (f"{address(row.run)}?at={row.seq}#e-{row.seq}", "In its run")]


@admin.register(Lease)
class LeaseAdmin(HistoryAdmin):
    """Who holds which run."""

    list_display = (link("run"), "owner", "epoch", "expires_at")
    list_display_links = ("owner",)
    list_select_related = ("run",)
    heavy = RUN_TEXTS
    search_fields = ("owner",)
    search_ids = ("run__id",)
    search_help_text = "A run's id; a part of the holder's name."
    ordering = ("-expires_at",)
    shown = (link("run"), "owner", "epoch", "expires_at")


@admin.register(HolderProcess)
class HolderProcessAdmin(HistoryAdmin):
    """The processes that hold streams."""

    list_display = ("owner", "streams", "slots", ago("started_at", "running for"), ago("seen_at", "last seen, ago"))
    ordering = ("-seen_at",)
    shown = ("owner", "streams", "slots", "started_at", "seen_at")


@admin.register(Checkpoint)
class CheckpointAdmin(HistoryAdmin):
    """Where a restart begins to fold."""

    list_display = ("pk", link("run"), "seq")
    list_select_related = ("run",)
    heavy = ("state", *RUN_TEXTS)
    search_fields = ("run__external_id__exact",)
    search_ids = ("run__id",)
    search_help_text = "A run's id, ours or the provider's."
    shown = (link("run"), "seq", block("state"))


@admin.register(ProviderHook)
class ProviderHookAdmin(HistoryAdmin):
    """What providers told us by webhook: a nudge, never news by itself."""

    list_display = (
        "received_at",
        "provider",
        short("kind"),
        short("external_id", "run, by its id there"),
        short("event_id"),
    )
    list_filter = ("provider",)
    list_select_related = ("provider",)
    ordering = ("-received_at",)
    dated_by = "id"
    date_hierarchy = "received_at"
    search_fields = ("event_id__exact", "external_id__exact", "kind__exact")
    search_help_text = "An event's id, a run's id at the provider, a kind; each complete."
    shown = (
        link("provider"),
        short("event_id", limit=255),
        short("kind"),
        short("external_id", limit=255),
        "received_at",
    )


@admin.register(FieldKey)
class FieldKeyAdmin(HistoryAdmin):
    """The keys that this database was sealed with, by their fingerprints."""

    list_display = ("fingerprint", "first_seen_at")
    shown = ("fingerprint", "first_seen_at")
