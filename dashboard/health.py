"""Is this process alive, is the installation ready, what is it doing: for probes and for Prometheus."""

import ipaddress
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

import redis
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.db.models import Count, Min, QuerySet, Sum
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from approvals.models import ApprovalRequest, Delivery, DeliveryKind, DeliveryState, RequestStatus
from dashboard import tokens
from streams.models import HolderProcess, Run, RunStatus

logger = logging.getLogger(__name__)
LAYER_TIMEOUT_S = 2.0


@login_not_required
@never_cache
@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """The process answers; nothing else is asked."""
    return JsonResponse({"status": "ok"})


@login_not_required
@never_cache
@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """Database, layer and holders do their part; 503 names the ones that do not."""
    found = {name: check() for name, check in CHECKS.items()}
    missing = [name for name, problem in found.items() if problem]
    body = {
        "status": "unavailable" if missing else "ok",
        "missing": missing,
        "checks": {name: problem or "ok" for name, problem in found.items()},
    }
    return JsonResponse(body, status=503 if missing else 200)


@login_not_required
@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Gauges for Prometheus: with a token of scope metrics:read, or from loopback while no origin is configured."""
    if not _may_read_metrics(request):
        answer = JsonResponse(
            {"code": "unauthorized", "detail": "a token with scope metrics:read is needed"}, status=401
        )
        answer["WWW-Authenticate"] = "Bearer"
        return answer
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gauges())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


# --- ready ----------------------------------------------------------------------------------------------------------


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as exc:
        logger.error("health: the database does not answer: %s", exc)
        return "it does not answer"
    return ""


def _layer() -> str:
    if not settings.REDIS_URL:
        return ""
    try:
        with redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=LAYER_TIMEOUT_S, socket_connect_timeout=LAYER_TIMEOUT_S
        ) as client:
            client.ping()
    except (redis.RedisError, OSError) as exc:
        logger.error("health: Redis does not answer: %s", exc)
        return "Redis does not answer"
    return ""


def _holders() -> str:
    try:
        fresh = _fresh_holders().exists()
    except DatabaseError:
        return "unknown while the database does not answer"
    return "" if fresh else f"no process that holds streams was seen in the last {settings.LEASE_TTL_S} s"


def _fresh_holders() -> QuerySet[HolderProcess]:
    """By the database's clock, which wrote the signs of life."""
    return HolderProcess.objects.filter(seen_at__gt=Now() - timedelta(seconds=settings.LEASE_TTL_S))


CHECKS: Mapping[str, Callable[[], str]] = {"database": _database, "layer": _layer, "holders": _holders}


# --- metrics --------------------------------------------------------------------------------------------------------


def _may_read_metrics(request: HttpRequest) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        row = tokens.find(token.strip())
        return row is not None and "metrics:read" in row.scopes
    # Behind a proxy on the same machine everybody comes from loopback; a public installation has origins.
    return not settings.ORIGINS and _is_loopback(request.META.get("REMOTE_ADDR", ""))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class _Gauges:
    """Read from the database at each scrape, so that every process tells the same."""

    def collect(self) -> Iterable[Metric]:
        requests, sent = ApprovalRequest.objects.all(), Delivery.objects.exclude(kind=DeliveryKind.WEBHOOK)
        told = Delivery.objects.filter(kind=DeliveryKind.WEBHOOK)
        yield _counted("countersign_runs", "Runs by status.", Run.objects.all(), "status", RunStatus.values)
        yield _counted("countersign_requests", "Requests by status.", requests, "status", RequestStatus.values)
        yield _counted("countersign_deliveries", "Answers to agents by state.", sent, "state", DeliveryState.values)
        yield _counted("countersign_webhooks", "Webhooks to receivers by state.", told, "state", DeliveryState.values)
        oldest = ApprovalRequest.objects.filter(status=RequestStatus.PENDING).aggregate(at=Min("requested_at"))["at"]
        yield GaugeMetricFamily(
            "countersign_oldest_pending_seconds",
            "Age of the oldest pending request; 0 when none waits.",
            value=max(0.0, (timezone.now() - oldest).total_seconds()) if oldest else 0.0,
        )
        holders = _fresh_holders().aggregate(processes=Count("owner"), streams=Sum("streams"), slots=Sum("slots"))
        for name, said in (
            ("processes", "Processes that hold streams."),
            ("streams", "Streams they hold."),
            ("slots", "Streams they could hold."),
        ):
            yield GaugeMetricFamily(f"countersign_holder_{name}", said, value=holders[name] or 0)


def _counted(name: str, said: str, rows: QuerySet[Any], field: str, values: Iterable[str]) -> Metric:
    counts = dict(rows.order_by().values_list(field).annotate(n=Count("pk")))
    gauge = GaugeMetricFamily(name, said, labels=[field])
    for value in values:
        gauge.add_metric([value], counts.get(value, 0))
    return gauge
