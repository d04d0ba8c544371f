"""Runs in the admin: what each did, event for event, and everything that hangs on it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from approvals.admin import chain
from approvals.admin.columns import TEXTS, named, state, waited
from approvals.admin.columns import status as request_status
from approvals.admin.deliveries import about
from approvals.models import ApprovalRequest, Delivery, RequestStatus
from dashboard import words
from dashboard.admin import record
from streams.admin.columns import NOTHING, ago, block, lasted, link, made, short, to, toned
from streams.admin.history import HistoryAdmin
from streams.admin.tables import Table, field, listed, table
from streams.models import ENDED, Event, ProviderHook, Run, RunStatus

SLOW = timedelta(minutes=10)


def _status(run: Any) -> SafeString:
    word = words.run(run.status)
    return toned(word.text, word.tone)


def _lasted(run: Any) -> SafeString:
    return lasted(run.started_at, run.ended_at or timezone.now())


def _title(run: Any) -> str:
    return short("title")(run) if run.title else short("external_id")(run) if run.external_id else str(run.pk)


status = made(_status, "status", order="status")
RUN_LINK = made(lambda run: to(run, str(run)), "run")


class Attention(admin.SimpleListFilter):
    """What a person should look at."""

    title = "attention"
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """In the order of urgency."""
        return [
            ("needed", "Needs attention"),
            ("unknown", "With an unknown answer"),
            ("slow", "Open for more than 10 minutes"),
            ("silent", "Listening, silent for 10 minutes"),
            ("lost", "Lost or ended without a word"),
        ]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        """The runs of that kind."""
        before = timezone.now() - SLOW
        unknown = Q(pk__in=ApprovalRequest.objects.filter(status=RequestStatus.UNKNOWN).order_by().values("run"))
        silent = Q(status=RunStatus.STREAMING, last_event_at__lt=before)
        day = timezone.now() - timedelta(days=1)
        lost = Q(status__in=(RunStatus.LOST, RunStatus.TRUNCATED))
        chosen = {
            "needed": unknown | silent | (lost & Q(ended_at__gt=day)),
            "unknown": unknown,
            "slow": ~Q(status__in=ENDED) & Q(started_at__lt=before),
            "silent": silent,
            "lost": lost,
        }
        return queryset.filter(chosen.get(self.value() or "", Q()))


@admin.register(Run)
class RunAdmin(HistoryAdmin):
    """Runs."""

    change_form_template = "admin/run.html"
    list_display = (
        "started_at",
        made(_title, "title", order="title"),
        status,
        "provider",
        made(lambda run: run.pending or NOTHING, "pending"),
        made(lambda run: run.told or NOTHING, "events"),
        ago("last_event_at", "last event, ago"),
        made(_lasted, "duration"),
        "started_by",
    )
    list_display_links = ("started_at", list_display[1])
    list_filter = (Attention, "status", "provider", "started_by")
    list_select_related = ("provider", "started_by")
    heavy = ("task", "error", "options", "stream_url")
    ordering = ("-started_at",)
    date_hierarchy = "started_at"
    search_fields = ("title", "external_id__exact", "thread_id__exact", "workflow__exact", "outcome__exact")
    search_ids = ("id",)
    search_help_text = "Part of the title, or an id: ours, the provider's, the thread's."
    target = "run"
    shown = (
        link("provider"),
        short("external_id", limit=255),
        short("thread_id", limit=255),
        block("title"),
        block("task"),
        short("workflow", limit=200),
        "options",
        status,
        "status_changed_at",
        short("outcome"),
        block("error"),
        made(_lasted, "duration"),
        "started_by",
        "started_at",
        "opened_at",
        "opened_by",
        "opened_epoch",
        "connected_at",
        "reconnects",
        "last_event_at",
        "nudged_at",
        "ended_at",
        short("stream_url", limit=1000),
        link("continues", text=lambda run: f"{run} ({run.pk})"),
        made(lambda run: _after(run), "continued by"),
    )

    def attach(self, rows: Sequence[Any]) -> None:
        """What waits in each, and how many events it has: they are numbered without gaps."""
        waiting = ApprovalRequest.objects.filter(run__in=rows, status=RequestStatus.PENDING).order_by()
        pending = dict(waiting.values_list("run").annotate(count=Count("pk")))
        newest = Event.objects.filter(run=OuterRef("pk")).order_by("-seq").values("seq")[:1]
        runs = Run.objects.filter(pk__in=[run.pk for run in rows]).order_by().annotate(newest=Subquery(newest))
        told = dict(runs.values_list("pk", F("newest")))
        for run in rows:
            run.pending, run.told = pending.get(run.pk, 0), told.get(run.pk)

    def tables(self, request: HttpRequest, row: Any) -> list[Table]:
        """What it asked, what left for it, who holds it, what was heard of it, what the chain says."""
        mine = {"run__id__exact": row.pk}
        sent = Delivery.objects.filter(run=row).select_related("decision__request", "batch").order_by("-created_at")
        sent = sent.defer("body", "answer", *(f"decision__request__{name}" for name in TEXTS))
        hooks = ProviderHook.objects.filter(provider=row.provider_id, external_id=row.external_id or "-")
        asked = row.requests.order_by("requested_at", "pk").defer(*TEXTS)
        lease = getattr(row, "lease", None)
        return [
            table(
                "Requests",
                asked,
                (named, request_status, waited, field("version"), field("requested_at")),
                more=listed(ApprovalRequest, **mine),
            ),
            table(
                "Deliveries",
                sent,
                (
                    made(lambda one: to(one, one.get_kind_display()), "delivery"),
                    state,
                    made(about, "about"),
                    field("attempts"),
                    field("sent_at"),
                    short("last_error"),
                ),
                more=listed(Delivery, **mine),
            ),
            table(
                "Lease",
                [lease] if lease else [],
                (field("owner"), field("epoch"), field("expires_at")),
                empty="Nobody ever held it.",
            ),
            table(
                "Webhooks from the provider",
                hooks.order_by("-received_at"),
                (field("received_at"), short("kind"), short("event_id")),
            ),
            chain.entries(row, "run"),
        ]

    def links(self, request: HttpRequest, row: Any) -> list[tuple[str, str]]:
        """Its page for reviewers."""
        return [
            (reverse("run", args=[row.pk]), "Its page"),
            (listed(Event, run__id__exact=row.pk), "Its events as a list"),
        ]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        """With the part of its record that the address asks for."""
        run = context.get("original")
        if run is not None:
            context["record"] = record.read(run, request.GET)
        return super().render_change_form(request, context, *args, **kwargs)


def _after(run: Any) -> Any:
    after = getattr(run, "continued_by", None)
    return to(after, f"{after} ({after.pk})") if after else NOTHING
