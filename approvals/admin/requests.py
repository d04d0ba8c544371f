"""Approval requests in the admin, each version, with what was decided and what came of it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from approvals.admin import chain, resolving
from approvals.admin.columns import CARRIED, DECIDED, TEXTS, in_state, serial, status, tool, verdict, waited
from approvals.models import OPEN, ApprovalRequest, Decision, Delivery, DeliveryState, Ran, RequestStatus, Vote
from streams.admin import RUN_TEXTS
from streams.admin.columns import NOTHING, block, link, made, short, to, toned
from streams.admin.history import HistoryAdmin
from streams.admin.tables import Table, field, listed, table

S = RequestStatus
D = DeliveryState
SLOW = timedelta(minutes=10)
RECENT = timedelta(days=7)


class Attention(admin.SimpleListFilter):
    """What a person should look at."""

    title = "attention"
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """In the order of urgency."""
        return [
            ("needed", "Needs attention"),
            ("slow", "Open for more than 10 minutes"),
            ("unknown", "Unknown"),
            ("stuck", "Answer on its way for more than 10 minutes"),
            ("refused", "Refused by provider"),
            ("otherwise", "Ran other arguments than were approved"),
        ]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        """The requests of that kind."""
        now = timezone.now()
        before = now - SLOW
        slow = Q(status=S.PENDING, requested_at__lt=before)
        stuck = Q(status__in=(S.DECIDING, S.SENT), status_changed_at__lt=before)
        chosen = {
            "needed": slow | stuck | Q(status=S.UNKNOWN) | Q(ran=Ran.OTHERWISE, status_changed_at__gt=now - RECENT),
            "slow": Q(status__in=OPEN, requested_at__lt=before),
            "unknown": Q(status=S.UNKNOWN),
            "stuck": stuck,
            "refused": Q(status=S.REFUSED),
            "otherwise": Q(ran=Ran.OTHERWISE),
        }
        return queryset.filter(chosen.get(self.value() or "", Q()))


def _ran(asked: Any) -> Any:
    if asked.ran == Ran.OTHERWISE:
        return toned("Other arguments than were approved", "stop")
    return toned("The approved arguments", "ok") if asked.ran == Ran.AS_APPROVED else NOTHING


@admin.register(ApprovalRequest)
class ApprovalRequestAdmin(HistoryAdmin):
    """Approval requests, each version."""

    list_display = (
        "requested_at",
        short("tool"),
        status,
        waited,
        made(lambda asked: asked.decided, "decided by"),
        made(lambda asked: asked.carried, "answer"),
        link("run"),
        "tier",
        "version",
        "deadline",
    )
    list_display_links = ("requested_at", list_display[1])
    list_filter = (Attention, "status", "tier", "run__provider", "marked", "answerable")
    list_select_related = ("run",)
    heavy = (*TEXTS, *RUN_TEXTS)
    date_hierarchy = "requested_at"
    ordering = ("-requested_at",)
    search_fields = ("tool", "call_id__exact", "tool_call_id__exact", "run__external_id__exact", "run__title")
    search_ids = ("id", "run__id")
    search_hashes = ("input_sha256",)
    search_help_text = "A part of a tool's name or the run's title; an id; the beginning of the arguments' hash."
    acts = resolving.ACTS
    exact = "arguments"
    target = "request"
    shown = (
        link("run"),
        short("tool", limit=300),
        status,
        "status_changed_at",
        waited,
        short("ended_why", "why it ended", 300),
        block("arguments", "arguments (exact text)"),
        "input_sha256",
        "canonical_sha256",
        "marked",
        block("problem", "why it cannot be approved"),
        "answerable",
        "alert",
        block("message"),
        short("reason", "kind of question"),
        block("answer_schema"),
        "offers_edit",
        "offers_reason",
        "offers_answer",
        "needs_answer",
        short("dialect"),
        "unverified",
        block("limits", "what else to know of answers"),
        block("no_edit", "why changes are not offered"),
        block("no_reason", "why a reason stays here"),
        block("no_reject", "why it cannot be rejected"),
        "deadline",
        short("deadline_text", "deadline as sent"),
        "tier",
        "rule_version",
        short("call_id", limit=300),
        short("tool_call_id", limit=300),
        "version",
        "opened_by_seq",
        link("batch", text=serial),
        link("reoffers", text=tool),
        "requested_at",
        "settled_at",
        made(_ran, "ran with"),
        block("ran_arguments", "the other arguments that ran"),
        "ran_seq",
    )

    def attach(self, rows: Sequence[Any]) -> None:
        """Who decided each, and how far the answer is."""
        decided = Decision.objects.filter(request__in=rows, undone_at=None).only("request", "verdict", "by__username")
        by = {one.request_id: one for one in decided.select_related("by")}
        batches = {row.batch_id for row in rows} - {None}
        carriers = Delivery.objects.exclude(state=D.CANCELLED).only("state", "batch_id", "decision_id")
        found = carriers.filter(Q(decision__in=list(by.values())) | Q(batch__in=batches))
        alone = {one.decision_id: one for one in found if one.decision_id}
        together = {one.batch_id: one for one in found if one.batch_id}
        for row in rows:
            decision = by.get(row.pk)
            carrier = alone.get(decision.pk) or together.get(row.batch_id) if decision else None
            row.decided = verdict(decision) if decision else NOTHING
            row.carried = in_state(carrier) if carrier else NOTHING

    def tables(self, request: HttpRequest, row: Any) -> list[Table]:
        """Its versions, who said what, what left because of it, what the chain says."""
        versions = ApprovalRequest.objects.filter(run=row.run_id, call_id=row.call_id).order_by("version").defer(*TEXTS)
        carried = Q(decision__in=list(row.decisions.values_list("pk", flat=True))) | Q(about=row)
        if row.batch_id:
            carried |= Q(batch=row.batch_id)
        mine = {"request__id__exact": row.pk}
        return [
            table(
                "Decisions",
                row.decisions.select_related("by").order_by("decided_at"),
                (made(lambda one: to(one, verdict(one)), "decision"), short("reason"), *DECIDED),
                more=listed(Decision, **mine),
                empty="Nobody decided it.",
            ),
            table(
                "Votes",
                row.votes.select_related("by").order_by("voted_at"),
                (
                    made(lambda one: to(one, f"{one.verdict} by {one.by.get_username()}"), "vote"),
                    field("voted_at"),
                    field("undone_at"),
                ),
                more=listed(Vote, **mine),
                empty="None.",
            ),
            table(
                "What left because of it",
                Delivery.objects.filter(carried).select_related("endpoint").order_by("created_at"),
                CARRIED,
                empty="Nothing.",
            ),
            table(
                "Versions of this call",
                versions,
                (
                    made(lambda one: to(one, f"version {one.version}"), "version"),
                    status,
                    field("requested_at"),
                    short("input_sha256", "SHA-256", 12),
                ),
            ),
            chain.entries(row, "request"),
        ]
