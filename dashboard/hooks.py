"""Webhooks that providers send us: proved to be theirs, kept once, and taken as a nudge to read the run itself."""

import logging
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from dashboard import accounts
from streams import inert, providers, runs
from streams.errors import SecretError, WireError
from streams.models import ENDED, Provider, ProviderHook, Run
from streams.providers.base import Hook, Unsigned

logger = logging.getLogger(__name__)

BODY_MAX_BYTES = 1024 * 1024
REFUSALS_EVERY_S = 60.0  # anybody can send us rubbish; our log shall not grow with it


@csrf_exempt  # no session is asked: the signature over the body says who sent it
@login_not_required
@never_cache
@require_POST
def receive(request: HttpRequest, name: str) -> HttpResponse:
    """A provider's webhook. 2xx also for what we have already and for what we do not need: neither is to come again."""
    row = Provider.objects.filter(name=name).first()
    if row is None or not accounts.sends_webhooks(row.kind):
        return _refused(404, "not_found", "There is nothing at this address.")
    raw = _body(request)
    if raw is None:
        _log.warn(row, f"its body has more than {BODY_MAX_BYTES} bytes")
        return _refused(413, "too_large", f"A webhook has at most {BODY_MAX_BYTES} bytes.")
    try:
        hook = providers.get(row.kind).read_webhook(raw, request.headers, [row.webhook_secret])
    except Unsigned as exc:
        _log.warn(row, str(exc))
        return _refused(401, "unsigned", "The signature is missing or does not fit the body.")
    except WireError as exc:
        _log.warn(row, str(exc))
        return _refused(400, "unreadable", "The body is no event.")
    except SecretError as exc:
        logger.error("provider %s: its webhooks cannot be checked: %s", row.name, exc)
        return _refused(503, "unavailable", "Signatures cannot be checked now.")
    try:
        take(row, hook)
    except TooEarly as exc:
        logger.info("provider %s: webhook %s: %s", row.name, inert.one_line(hook.kind, 60), exc)
        return _refused(503, "too_early", "Send it again in a moment.")
    return HttpResponse(status=204)


class TooEarly(Exception):
    """It may tell of a run that we are starting, and whose id the provider has not told us yet."""


def take(row: Provider, hook: Hook) -> bool:
    """Keep a webhook and nudge its run; False where there is nothing to do, or where it was taken before.

    A paused provider's is kept as well: nothing is sent before it is resumed, and then the run is read.
    Raises TooEarly, with nothing kept: the provider sends it again.
    """
    said = (row.name, inert.one_line(hook.kind, 60), inert.one_line(hook.event_id, 60))
    if not hook.run_id:
        logger.info("provider %s: webhook %s %s: nothing to do", *said)
        return False
    if _known(row, hook):
        logger.info("provider %s: webhook %s %s: came before", *said)
        return False
    if _may_be_starting(row, hook.run_id):
        raise TooEarly("a start is under way, and its run may be the one: it will be sent again")
    try:
        with transaction.atomic():
            ProviderHook.objects.create(
                provider=row,
                event_id=hook.event_id,
                kind=hook.kind,
                external_id=hook.run_id,
                received_at=timezone.now(),
            )
            run = runs.nudge_external(row, hook.run_id)
    except IntegrityError:
        if not _known(row, hook):
            raise
        logger.info("provider %s: webhook %s %s: came twice at once", *said)
        return False
    logger.info("provider %s: webhook %s %s: run %s will be read", *said, run.pk if run else "(none)")
    return True


def address(row: Provider) -> str:
    """Where the provider is to send its webhooks; a path alone while no origin is configured. Empty for other kinds."""
    if not accounts.sends_webhooks(row.kind):
        return ""
    return (settings.ORIGINS[0] if settings.ORIGINS else "") + reverse("provider-hook", args=[row.name])


def _body(request: HttpRequest) -> bytes | None:
    """The bytes exactly as they came; None where there are too many."""
    length: Any = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and (len(length) > 9 or int(length) > BODY_MAX_BYTES):
        return None
    raw = request.read(BODY_MAX_BYTES + 1)  # a length need not be told, or true
    return None if len(raw) > BODY_MAX_BYTES else raw


def _may_be_starting(row: Provider, run_id: str) -> bool:
    """Whether an unknown run may be one that is being started here: followed as another's, it would be there twice."""
    runs_of = Run.objects.filter(provider=row)
    if runs_of.filter(external_id=run_id).exists():
        return False
    return runs_of.filter(external_id=None, opened_at__isnull=False).exclude(status__in=ENDED).exists()


def _known(row: Provider, hook: Hook) -> bool:
    return ProviderHook.objects.filter(provider=row, event_id=hook.event_id).exists()


def _refused(status: int, code: str, detail: str) -> HttpResponse:
    return JsonResponse({"code": code, "detail": detail, "errors": []}, status=status)


@dataclass(slots=True)
class _Refusals:
    """The log of what was refused: each reason of a provider once a minute."""

    told: dict[tuple[UUID, str], float] = field(default_factory=dict)

    def warn(self, row: Provider, why: str) -> None:
        now = time.monotonic()
        if now - self.told.get((row.pk, why), -REFUSALS_EVERY_S) < REFUSALS_EVERY_S:
            return
        self.told[row.pk, why] = now
        logger.warning("provider %s: a webhook was refused: %s", row.name, why)


_log = _Refusals()
