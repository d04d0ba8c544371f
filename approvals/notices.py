"""Notices: what webhooks tell of a request, made in the transaction that opens or settles it."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.conf import settings

from approvals import webhook
from approvals.models import (
    ApprovalRequest,
    Delivery,
    DeliveryKind,
    DeliveryState,
    RequestStatus,
    WebhookEndpoint,
)
from approvals.webhook import Data
from streams import announce

PAGE = "/requests/{id}/"
DEFAULT_ADDRESS = "http://127.0.0.1:8000"  # of a process that serves no pages, where no origin is configured

_address = DEFAULT_ADDRESS


def use_address(url: str) -> None:
    """Where this process serves its pages: links lead there unless an origin is configured."""
    global _address
    _address = url


def page(request_id: UUID) -> str:
    """The link that a notice carries."""
    base = settings.ORIGINS[0] if settings.ORIGINS else _address
    return base + PAGE.format(id=request_id)


def opened(asked: ApprovalRequest, *, at: datetime) -> None:
    """A request was opened. One that came after its run's end waits for nobody, and nobody is told."""
    if asked.status == RequestStatus.PENDING:
        _tell(asked.pk, webhook.PENDING, at=at)


def settled(request_id: UUID, *, at: datetime) -> None:
    """A request waits for nobody here any more. Told once: what became of the answer is read behind the link."""
    _tell(request_id, webhook.SETTLED, at=at)


def _tell(request_id: UUID, event: str, *, at: datetime) -> None:
    """One delivery for each endpoint that wants it; without endpoints one cheap query."""
    told = [one for one in _endpoints() if webhook.wanted(one.events, event)]
    if not told or Delivery.objects.filter(about=request_id, event=event).exists():
        return
    asked = ApprovalRequest.objects.select_related("run__provider").get(pk=request_id)
    text = webhook.body(event, at=at, data=_data(asked)).decode("ascii")
    rows = Delivery.objects.bulk_create(
        Delivery(
            kind=DeliveryKind.WEBHOOK,
            endpoint=one,
            about=asked,
            event=event,
            body=text,
            state=DeliveryState.READY,
            next_at=at,
        )
        for one in told
    )
    announce.delivery_wake(rows[0].pk)


def _endpoints() -> Iterable[WebhookEndpoint]:
    return WebhookEndpoint.objects.filter(disabled_at=None).only("pk", "events")


def _data(asked: ApprovalRequest) -> Data:
    return {
        "id": str(asked.pk),
        "run_id": str(asked.run_id),
        "provider": asked.run.provider.name,
        "tool_name": asked.tool,
        "tier": asked.tier,
        "status": asked.status,
        "url": page(asked.pk),
    }
